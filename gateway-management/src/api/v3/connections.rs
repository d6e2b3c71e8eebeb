//! Operations on tunnels, which this API calls VPN connections.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::health::{self, HealthCheckConfig};
use super::options::{self, IkeOptions, IpsecOptions, SpdRule};
use super::refusal::Refusal;
use super::wire::{self, Done, Filter, Filters, Number, Tag};
use crate::algorithms::{DpdAction, Start};
use crate::download::{self, Device};
use crate::objects::{Role, Status, TunnelView};
use crate::psk::PresharedKey;
use crate::service::{NewTunnel, TunnelChange, TunnelQuery};
use crate::store::StoreError;

/// What stands for a key that the caller did not ask for or may not see.
const MASKED: &str = "******";
/// Seconds between probes of an idle peer unless the request says them.
const DPD_SECONDS: u32 = 30;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreateVpnConnection {
    vpn_gateway_id: String,
    customer_gateway_id: String,
    /// 1 to 60 characters, unique.
    vpn_connection_name: String,
    pre_share_key: String,
    /// The VPC of the gateway; need not be said.
    vpc_id: Option<String>,
    security_policy_databases: Vec<SpdRule>,
    #[serde(rename = "IKEOptionsSpecification")]
    ike: Option<IkeOptions>,
    #[serde(rename = "IPSECOptionsSpecification")]
    ipsec: Option<IpsecOptions>,
    tags: Option<Vec<Tag>>,
    /// `STATIC`, `StaticRoute` or `Policy`, which all mean the rules.
    route_type: Option<String>,
    /// `active`, the default, `passive` or `flowTrigger`.
    negotiation_type: Option<String>,
    /// 1: an idle peer is probed.
    dpd_enable: Option<Number>,
    /// Seconds between probes, 30 unless given.
    dpd_timeout: Option<Number>,
    /// What follows a dead peer: `clear`: nothing more; `restart`: the tunnel is brought up again, the default of `active` ones;
    /// `hold`: the next packet brings it up.
    dpd_action: Option<String>,
    /// Whether ICMP echoes through the tunnel tell of its health.
    enable_health_check: Option<bool>,
    /// Where echoes come from. Comes with `HealthCheckRemoteIp`; without both two addresses of 169.254.128.0/17.
    health_check_local_ip: Option<String>,
    /// Who answers.
    health_check_remote_ip: Option<String>,
    health_check_config: Option<HealthCheckConfig>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Created {
    vpn_connection: VpnConnection,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ModifyVpnConnectionAttribute {
    vpn_connection_id: String,
    /// 1 to 60 characters, unique.
    vpn_connection_name: Option<String>,
    pre_share_key: Option<String>,
    security_policy_databases: Option<Vec<SpdRule>>,
    #[serde(rename = "IKEOptionsSpecification")]
    ike: Option<IkeOptions>,
    #[serde(rename = "IPSECOptionsSpecification")]
    ipsec: Option<IpsecOptions>,
    /// `active`, `passive` or `flowTrigger`.
    negotiation_type: Option<String>,
    /// 1: an idle peer is probed.
    dpd_enable: Option<Number>,
    /// Seconds between probes, 30 unless given.
    dpd_timeout: Option<Number>,
    /// What follows a dead peer: `clear`, `restart` or `hold`.
    dpd_action: Option<String>,
    /// Whether ICMP echoes through the tunnel tell of its health.
    enable_health_check: Option<bool>,
    /// Where echoes come from. Comes with `HealthCheckRemoteIp`; without both two addresses of 169.254.128.0/17.
    health_check_local_ip: Option<String>,
    /// Who answers.
    health_check_remote_ip: Option<String>,
    health_check_config: Option<HealthCheckConfig>,
    /// Change nothing and say what the change would disturb.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Modified {
    /// What the change disturbs: `nothing`, `newPairs` or `renegotiation`.
    effect: &'static str,
}

/// Names one tunnel.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct One {
    /// The tunnel's gateway; need not be said.
    vpn_gateway_id: Option<String>,
    vpn_connection_id: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeVpnConnections {
    /// At most 100. One that is not there is left out.
    vpn_connection_ids: Option<Vec<String>>,
    /// `vpc-id`, `vpn-gateway-id`, `customer-gateway-id`, `vpn-connection-name` (a part of it), `vpn-connection-id`.
    filters: Option<Vec<Filter>>,
    offset: Option<u32>,
    limit: Option<u32>,
    /// Show pre-shared keys; needs the role admin.
    #[serde(default)]
    show_pre_share_key: bool,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VpnConnections {
    total_count: usize,
    vpn_connection_set: Vec<VpnConnection>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DownloadCustomerGatewayConfiguration {
    /// The tunnel's gateway; need not be said.
    vpn_gateway_id: Option<String>,
    vpn_connection_id: String,
    customer_gateway_vendor: Vendor,
    /// The interface of the device that has the public address.
    interface_name: Option<String>,
}

/// A device of `DescribeCustomerGatewayVendors`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Vendor {
    platform: String,
    software_version: Option<String>,
    vendor_name: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Configuration {
    customer_gateway_configuration: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct VpnConnection {
    vpn_connection_id: String,
    vpn_connection_name: String,
    vpc_id: String,
    vpn_gateway_id: String,
    customer_gateway_id: String,
    pre_share_key: String,
    vpn_proto: &'static str,
    encrypt_proto: &'static str,
    route_type: &'static str,
    created_time: String,
    state: &'static str,
    net_status: &'static str,
    security_policy_database_set: Vec<SpdRule>,
    #[serde(rename = "IKEOptionsSpecification")]
    ike: IkeOptions,
    #[serde(rename = "IPSECOptionsSpecification")]
    ipsec: IpsecOptions,
    #[serde(flatten)]
    health_check: health::Shown,
    dpd_enable: u8,
    dpd_timeout: String,
    dpd_action: &'static str,
    negotiation_type: &'static str,
    tag_set: Vec<Tag>,
    /// Weak algorithms, in the words of the configuration file.
    weaknesses: Vec<String>,
    /// Why the last change was refused by the data plane; empty otherwise.
    error_message: String,
}

pub(super) fn create(context: &Context<'_>, request: CreateVpnConnection) -> Result<Created, Refusal> {
    match request.route_type.as_deref() {
        None | Some("" | "STATIC" | "StaticRoute" | "Policy") => {}
        Some(_) => {
            return Err(Refusal::new(
                "UnsupportedOperation.VpnUnsupportedBgp",
                "RouteType is STATIC, StaticRoute or Policy",
            ));
        }
    }
    let dpd = dpd(request.dpd_enable, request.dpd_timeout)?;
    let start = start(request.negotiation_type)?.unwrap_or(Start::Always);
    let health = health::Fields {
        enable: request.enable_health_check,
        local: request.health_check_local_ip,
        remote: request.health_check_remote_ip,
        config: request.health_check_config,
    };
    let wanted = NewTunnel {
        name: request.vpn_connection_name,
        vpc: wire::given(request.vpc_id),
        gateway: request.vpn_gateway_id,
        customer_gateway: request.customer_gateway_id,
        psk: PresharedKey::parse(&request.pre_share_key)?,
        spd: options::spd(&request.security_policy_databases)?,
        start,
        ike: request
            .ike
            .unwrap_or_default()
            .patch()?
            .apply(options::IKE_DEFAULTS),
        ipsec: request
            .ipsec
            .unwrap_or_default()
            .patch()?
            .apply(options::IPSEC_DEFAULTS),
        dpd_seconds: dpd.unwrap_or(0),
        dpd_action: dpd_action(request.dpd_action)?.unwrap_or_else(|| DpdAction::default_of(start)),
        health: health.patch()?,
        tags: wire::tags(request.tags),
    };
    let made = context
        .management
        .create_tunnel(context.now, context.actor, wanted)?;
    Ok(Created {
        vpn_connection: wire::only(to_wire(context, vec![made.view])?)?,
    })
}

pub(super) fn modify(
    context: &Context<'_>,
    request: ModifyVpnConnectionAttribute,
) -> Result<Modified, Refusal> {
    if request.dpd_enable.is_none() && request.dpd_timeout.is_some() {
        return Err(Refusal::field("DpdTimeout", "comes with DpdEnable"));
    }
    let health = health::Fields {
        enable: request.enable_health_check,
        local: request.health_check_local_ip,
        remote: request.health_check_remote_ip,
        config: request.health_check_config,
    };
    let spd = request.security_policy_databases;
    let psk = wire::given(request.pre_share_key).filter(|key| key != MASKED);
    let change = TunnelChange {
        name: wire::given(request.vpn_connection_name),
        psk: psk.map(|key| PresharedKey::parse(&key)).transpose()?,
        spd: spd.map(|rules| options::spd(&rules)).transpose()?,
        start: start(request.negotiation_type)?,
        ike: request.ike.unwrap_or_default().patch()?,
        ipsec: request.ipsec.unwrap_or_default().patch()?,
        dpd_seconds: dpd(request.dpd_enable, request.dpd_timeout)?,
        dpd_action: dpd_action(request.dpd_action)?,
        health: health.patch()?,
        dry_run: request.dry_run,
    };
    let query = query(request.vpn_connection_id, None);
    let changed = context
        .management
        .modify_tunnel(context.now, context.actor, &query, change)?;
    Ok(Modified {
        effect: changed.effect.name(),
    })
}

pub(super) fn delete(context: &Context<'_>, request: One) -> Result<Done, Refusal> {
    let query = query(request.vpn_connection_id, request.vpn_gateway_id);
    context
        .management
        .delete_tunnel(context.now, context.actor, &query)?;
    Ok(Done {})
}

pub(super) fn reset(context: &Context<'_>, request: One) -> Result<Done, Refusal> {
    let query = query(request.vpn_connection_id, request.vpn_gateway_id);
    context
        .management
        .reset_tunnel(context.now, context.actor, &query)?;
    Ok(Done {})
}

pub(super) fn describe(
    context: &Context<'_>,
    request: DescribeVpnConnections,
) -> Result<VpnConnections, Refusal> {
    let page = wire::page(request.offset, request.limit)?;
    let with_psk = request.show_pre_share_key;
    let (total_count, found) = match wire::ids("VpnConnectionIds", request.vpn_connection_ids)? {
        Some(ids) => {
            Filters::new(request.filters).end()?;
            let found = context
                .management
                .tunnels_with_ids(context.actor, &ids, with_psk)?;
            wire::cut(found, &page)
        }
        None => {
            let mut filters = Filters::new(request.filters);
            let query = TunnelQuery {
                vpc: filters.take("vpc-id")?,
                gateway: filters.take("vpn-gateway-id")?,
                customer_gateway: filters.take("customer-gateway-id")?,
                id: filters.take("vpn-connection-id")?,
                name: filters.take("vpn-connection-name")?,
                with_psk,
            };
            filters.end()?;
            let found = context.management.list_tunnels(context.actor, &query, &page)?;
            (found.total, found.items)
        }
    };
    Ok(VpnConnections {
        total_count,
        vpn_connection_set: to_wire(context, found)?,
    })
}

pub(super) fn download(
    context: &Context<'_>,
    request: DownloadCustomerGatewayConfiguration,
) -> Result<Configuration, Refusal> {
    // The file needs the key; without the right to see it there is a place to write it.
    let query = TunnelQuery {
        with_psk: context.actor.role >= Role::Admin,
        ..query(request.vpn_connection_id, request.vpn_gateway_id)
    };
    let view = context.management.tunnel(context.actor, &query)?;
    let vendor = &request.customer_gateway_vendor;
    let device = Device {
        vendor: &vendor.vendor_name,
        platform: &vendor.platform,
        software: vendor.software_version.as_deref(),
        interface: request.interface_name.as_deref(),
    };
    Ok(Configuration {
        customer_gateway_configuration: download::render(&view, context.now, &device)?,
    })
}

fn query(id: String, gateway: Option<String>) -> TunnelQuery {
    TunnelQuery {
        id: Some(id),
        gateway: wire::given(gateway),
        ..TunnelQuery::default()
    }
}

fn start(text: Option<String>) -> Result<Option<Start>, Refusal> {
    let text = wire::given(text);
    Ok(text
        .map(|text| Start::from_wire("NegotiationType", &text))
        .transpose()?)
}

fn dpd_action(text: Option<String>) -> Result<Option<DpdAction>, Refusal> {
    let text = wire::given(text);
    Ok(text
        .map(|text| DpdAction::from_wire("DpdAction", &text))
        .transpose()?)
}

/// Seconds between probes of an idle peer; `None` when the request does not say.
fn dpd(enable: Option<Number>, timeout: Option<Number>) -> Result<Option<u32>, Refusal> {
    let seconds = timeout.map(|number| number.0);
    if seconds.is_some_and(|seconds| !(1..=3600).contains(&seconds)) {
        return Err(Refusal::field("DpdTimeout", "is 1 to 3600 seconds"));
    }
    match enable.map(|number| number.0) {
        None => Ok(None),
        Some(0) => Ok(Some(0)),
        Some(1) => Ok(Some(seconds.unwrap_or(DPD_SECONDS))),
        Some(_) => Err(Refusal::field("DpdEnable", "is 0 or 1")),
    }
}

fn to_wire(context: &Context<'_>, views: Vec<TunnelView>) -> Result<Vec<VpnConnection>, StoreError> {
    let ids: Vec<_> = views.iter().map(|view| view.tunnel.id.as_str()).collect();
    let mut tags = context.management.tags(&ids)?;
    let connection = |view: TunnelView| {
        let (ike, ipsec) = (IkeOptions::of(&view), IpsecOptions::of(&view));
        let TunnelView {
            tunnel,
            gateway,
            customer_gateway,
            psk,
        } = view;
        let live = context.management.live(&tunnel.id);
        let up = live.is_some_and(|live| live.up);
        let weak = tunnel.ike.weaknesses().into_iter();
        VpnConnection {
            vpc_id: gateway.vpc,
            vpn_gateway_id: gateway.id,
            customer_gateway_id: customer_gateway.id,
            pre_share_key: psk.map_or_else(|| MASKED.to_owned(), |psk| psk.expose().to_owned()),
            vpn_proto: "IPSEC",
            encrypt_proto: "IKE",
            route_type: "STATIC",
            created_time: tunnel.created.civil(),
            state: match tunnel.status {
                Status::Running | Status::ModifyError => "AVAILABLE",
                Status::Creating | Status::Modifying | Status::CreateError => "PENDING",
                Status::Deleting => "DELETING",
            },
            net_status: if up { "AVAILABLE" } else { "UNAVAILABLE" },
            security_policy_database_set: tunnel.spd.iter().map(SpdRule::of).collect(),
            ike,
            ipsec,
            health_check: health::Shown::of(tunnel.health.as_ref(), live.and_then(|live| live.health)),
            dpd_enable: u8::from(tunnel.dpd_seconds > 0),
            dpd_timeout: tunnel.dpd_seconds.to_string(),
            dpd_action: tunnel.dpd_action.wire(),
            negotiation_type: tunnel.start.wire(),
            tag_set: wire::tag_set(tags.remove(&tunnel.id)),
            weaknesses: weak.chain(tunnel.ipsec.weaknesses()).collect(),
            error_message: tunnel.error,
            vpn_connection_id: tunnel.id,
            vpn_connection_name: tunnel.name,
        }
    };
    Ok(views.into_iter().map(connection).collect())
}
