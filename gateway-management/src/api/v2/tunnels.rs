//! Actions on tunnels.

use serde_json::{Value, json};

use super::Context;
use super::options::{ike_defaults, ike_json, ike_patch, ipsec_defaults, ipsec_json, ipsec_patch, spd};
use super::refusal::Refusal;
use crate::algorithms::{DpdAction, Start};
use crate::download::{self, Device};
use crate::health::HealthPatch;
use crate::objects::{Role, TunnelView};
use crate::psk::PresharedKey;
use crate::service::{Changed, NewTunnel, TunnelChange, TunnelQuery};
use crate::spd as rules;
use crate::store::Resolution;
use crate::time::Timestamp;

/// What stands for a key that the caller did not ask for or may not see.
const MASKED: &str = "******";
/// Seconds between probes of an idle peer; the API has no word for it.
const DPD_SECONDS: u32 = 30;

pub(super) fn add(context: &Context<'_>) -> Result<Value, Refusal> {
    let parameters = context.parameters;
    let site = context.management.site();
    let vpc = site.vpc(parameters.required("vpcId")?)?;
    let start = parameters
        .text("negotiationType")
        .map(|text| Start::from_wire("negotiationType", text))
        .transpose()?;
    let start = start.unwrap_or(Start::Traffic);
    let wanted = NewTunnel {
        name: parameters.required("vpnConnName")?.to_owned(),
        vpc: Some(vpc.id.clone()),
        gateway: parameters.required("vpnGwId")?.to_owned(),
        customer_gateway: parameters.required("userGwId")?.to_owned(),
        psk: PresharedKey::parse(parameters.required("preSharedKey")?)?,
        spd: spd(parameters, vpc.cidr)?.ok_or_else(|| {
            Refusal::new(
                4000,
                "MissingParameter",
                "spdAcl or userGwCidrBlock.n is required",
            )
        })?,
        start,
        ike: ike_patch(parameters)?.apply(ike_defaults()),
        ipsec: ipsec_patch(parameters)?.apply(ipsec_defaults()),
        dpd_seconds: DPD_SECONDS,
        dpd_action: DpdAction::default_of(start),
        health: HealthPatch::default(),
        tags: Vec::new(),
    };
    let made = context
        .management
        .create_tunnel(context.now, context.actor, wanted)?;
    let Changed { view, task, .. } = &made;
    Ok(json!({ "data": {
        "vpnGwId": view.gateway.id,
        "userGwId": view.customer_gateway.id,
        "vpnConnId": view.tunnel.id,
        "taskId": task,
        "vpnConnStatus": view.tunnel.status.number(),
        "preSharedKey": MASKED,
        "userGwSubnetList": subnets(view),
    } }))
}

pub(super) fn modify(context: &Context<'_>) -> Result<Value, Refusal> {
    let parameters = context.parameters;
    let site = context.management.site();
    let vpc = site.vpc(parameters.required("vpcId")?)?;
    let change = TunnelChange {
        name: parameters.owned("vpnConnName"),
        psk: parameters
            .text("preSharedKey")
            .filter(|key| *key != MASKED)
            .map(PresharedKey::parse)
            .transpose()?,
        spd: spd(parameters, vpc.cidr)?,
        start: parameters
            .text("negotiationType")
            .map(|text| Start::from_wire("negotiationType", text))
            .transpose()?,
        ike: ike_patch(parameters)?,
        ipsec: ipsec_patch(parameters)?,
        dpd_seconds: None,
        dpd_action: None,
        health: HealthPatch::default(),
        dry_run: parameters.flag("dryRun")?.unwrap_or(false),
    };
    let changed = context
        .management
        .modify_tunnel(context.now, context.actor, &one(context)?, change)?;
    let Changed { view, task, effect } = &changed;
    Ok(json!({ "data": {
        "vpnGwId": view.gateway.id,
        "vpcConnId": view.tunnel.id,
        "userGwId": view.customer_gateway.id,
        "taskId": task,
        "vpcConnStatus": view.tunnel.status.number(),
        "preSharedKey": MASKED,
        "userGwSubnetList": subnets(view),
        "effect": effect.name(),
    } }))
}

pub(super) fn delete(context: &Context<'_>) -> Result<Value, Refusal> {
    let Changed { view, task, .. } =
        context
            .management
            .delete_tunnel(context.now, context.actor, &one(context)?)?;
    Ok(json!({ "data": {
        "vpnGwId": view.gateway.id,
        "vpcConnId": view.tunnel.id,
        "taskId": task,
        "state": view.tunnel.status.number(),
    } }))
}

pub(super) fn reset(context: &Context<'_>) -> Result<Value, Refusal> {
    context
        .management
        .reset_tunnel(context.now, context.actor, &one(context)?)?;
    Ok(json!({}))
}

pub(super) fn task(context: &Context<'_>) -> Result<Value, Refusal> {
    let task = context.management.task(context.parameters.number("taskId")?)?;
    let (code, message) = if task.error.is_empty() {
        ("", "")
    } else {
        ("FailedOperation", task.error.as_str())
    };
    Ok(json!({ "data": {
        "status": task.state.number(),
        "output": { "errorCode": code, "errorMsg": message },
    } }))
}

pub(super) fn describe(context: &Context<'_>) -> Result<Value, Refusal> {
    let parameters = context.parameters;
    let query = TunnelQuery {
        vpc: parameters.owned("vpcId"),
        gateway: parameters.owned("vpnGwId"),
        customer_gateway: None,
        id: parameters.owned("vpnConnId"),
        name: parameters.owned("vpnConnName"),
        with_psk: parameters.flag("showPreSharedKey")?.unwrap_or(false),
    };
    let list = context
        .management
        .list_tunnels(context.actor, &query, &parameters.page("vpnConnName")?)?;
    let data: Vec<_> = list.items.iter().map(|view| to_json(context, view)).collect();
    Ok(json!({ "totalCount": list.total, "data": data }))
}

pub(super) fn config(context: &Context<'_>) -> Result<Value, Refusal> {
    let parameters = context.parameters;
    // The file needs the key; without the right to see it there is a place to write it.
    let query = TunnelQuery {
        id: Some(parameters.required("vpnConnId")?.to_owned()),
        with_psk: context.actor.role >= Role::Admin,
        ..TunnelQuery::default()
    };
    let view = context.management.tunnel(context.actor, &query)?;
    let device = Device {
        vendor: parameters.required("vendorname")?,
        platform: parameters.required("platform")?,
        software: parameters.text("software"),
        interface: parameters.text("interfaceName"),
    };
    let text = download::render(&view, context.now, &device)?;
    Ok(json!({ "data": { "configFileInfo": text } }))
}

pub(super) fn monitor(context: &Context<'_>) -> Result<Value, Refusal> {
    const STEP: i64 = Resolution::FiveMinutes.seconds();
    const DAY: i64 = 24 * 3600;
    let parameters = context.parameters;
    let view = context.management.tunnel(context.actor, &one(context)?)?;
    let outbound = match parameters.required("metricName")?.to_ascii_lowercase().as_str() {
        "outtraffic" => true,
        "intraffic" => false,
        _ => return Err(Refusal::parameter("metricName is outtraffic or intraffic")),
    };
    let time = |name: &str| {
        let read = |text| {
            Timestamp::parse_civil(text).ok_or_else(|| {
                Refusal::parameter(format!("{name} is a time such as 2016-07-07 12:00:00, in GMT+8"))
            })
        };
        parameters.text(name).map(read).transpose()
    };
    let end = time("endtime")?.unwrap_or(context.now);
    let start = time("starttime")?
        .unwrap_or_else(|| end.plus_seconds(-DAY))
        .max(end.plus_seconds(-2 * DAY));
    if start > end {
        return Err(Refusal::parameter("starttime is before endtime"));
    }
    let start = start.0 - start.0.rem_euclid(STEP);
    let points =
        context
            .management
            .tunnel_traffic(&view.tunnel.id, Resolution::FiveMinutes, Timestamp(start), end)?;
    let count = usize::try_from((end.0 - start + STEP - 1) / STEP).unwrap_or(0);
    let mut data = vec![0_u64; count];
    for point in points {
        let index = usize::try_from((point.start.0 - start) / STEP).unwrap_or(usize::MAX);
        if let Some(bits_per_second) = data.get_mut(index) {
            let bytes = if outbound {
                point.traffic.bytes_out
            } else {
                point.traffic.bytes_in
            };
            *bits_per_second = bytes.saturating_mul(8) / STEP.unsigned_abs();
        }
    }
    Ok(json!({ "data": data }))
}

/// The tunnel that the request names, with the VPC and the gateway it must belong to.
fn one(context: &Context<'_>) -> Result<TunnelQuery, Refusal> {
    let parameters = context.parameters;
    Ok(TunnelQuery {
        vpc: Some(parameters.required("vpcId")?.to_owned()),
        gateway: Some(parameters.required("vpnGwId")?.to_owned()),
        id: Some(parameters.required("vpnConnId")?.to_owned()),
        ..TunnelQuery::default()
    })
}

fn subnets(view: &TunnelView) -> Vec<String> {
    let mut peers: Vec<_> = rules::pairs(&view.tunnel.spd).map(|(_, peer)| peer).collect();
    peers.sort_unstable();
    peers.dedup();
    peers.iter().map(ToString::to_string).collect()
}

fn to_json(context: &Context<'_>, view: &TunnelView) -> Value {
    let TunnelView {
        tunnel,
        gateway,
        customer_gateway,
        psk,
    } = view;
    let site = context.management.site();
    let vpc = site.vpc(&gateway.vpc).ok();
    let up = context.management.live(&tunnel.id).is_some_and(|live| live.up);
    let locals: Vec<_> = tunnel.spd.iter().map(|rule| rule.local.to_string()).collect();
    let spd: serde_json::Map<_, _> = tunnel
        .spd
        .iter()
        .map(|rule| {
            (
                rule.local.to_string(),
                json!(rule.peers.iter().map(ToString::to_string).collect::<Vec<_>>()),
            )
        })
        .collect();
    let weak: Vec<_> = tunnel
        .ike
        .weaknesses()
        .into_iter()
        .chain(tunnel.ipsec.weaknesses())
        .collect();
    json!({
        "vpcId": gateway.vpc,
        "unVpcId": gateway.vpc,
        "vpcName": vpc.map(|vpc| vpc.name.as_str()),
        "vpcCidrBlock": vpc.map(|vpc| vpc.cidr.to_string()),
        "vpnGwId": gateway.number,
        "unVpnGwId": gateway.id,
        "vpnGwName": gateway.name,
        "vpnGwAddress": gateway.address,
        "vpnConnId": tunnel.number,
        "unVpnConnId": tunnel.id,
        "vpnConnName": tunnel.name,
        "userGwId": customer_gateway.number,
        "unUserGwId": customer_gateway.id,
        "userGwName": customer_gateway.name,
        "userGwAddress": customer_gateway.address,
        "vpcConnStatus": tunnel.status.number(),
        "netStatus": if up { "available" } else { "unavailable" },
        "preSharedKey": psk.as_ref().map_or(MASKED, PresharedKey::expose),
        "remoteSlaIp": "",
        "sourceCidr": locals,
        "destinationCidr": subnets(view),
        "spdAcl": Value::Object(spd),
        "vpnProto": "ip-sec",
        "negotiationType": tunnel.start.wire(),
        "createTime": tunnel.created.civil(),
        "IKEArr": ike_json(view),
        "IPSECArr": ipsec_json(view),
        "weak": weak,
        "errorMsg": tunnel.error,
    })
}
