//! Actions on VPN gateways.

use serde_json::{Value, json};

use super::Context;
use super::refusal::Refusal;
use crate::objects::VpnGateway;
use crate::service::{GatewayChange, GatewayFilter, NewGateway};
use crate::site::Site;
use crate::time::Timestamp;

/// Settings of the product; larger ones are ours.
pub(super) fn price(context: &Context<'_>) -> Result<Value, Refusal> {
    let parameters = context.parameters;
    let months = match parameters.optional_number("period")? {
        Some(months) => months,
        None => parameters.optional_number("chargePrepaid.period")?.unwrap_or(1),
    };
    let cents =
        context
            .management
            .price(parameters.text("Region"), parameters.number("bandwidth")?, months)?;
    Ok(json!({ "price": cents, "currency": context.management.site().prices.currency }))
}

pub(super) fn create(context: &Context<'_>) -> Result<Value, Refusal> {
    let parameters = context.parameters;
    let wanted = NewGateway {
        name: parameters.required("name")?.to_owned(),
        vpc: parameters.required("vpcId")?.to_owned(),
        bandwidth: parameters.number("bandwidth")?,
        months: Some(parameters.number("period")?),
        auto_renew: parameters.flag("isAutoRenewals")?.unwrap_or(false),
        tags: Vec::new(),
    };
    let made = context
        .management
        .create_gateway(context.now, context.actor, &wanted)?;
    // The gateway's id is an extension: the document leaves clients to look for the deal.
    Ok(json!({ "data": { "dealIds": [deal(&made)], "vpnGwId": made.id } }))
}

pub(super) fn run(context: &Context<'_>) -> Result<Value, Refusal> {
    let parameters = context.parameters;
    let by_hour = parameters.text("chargeType") == Some("POSTPAID_BY_HOUR");
    let months = parameters.optional_number("chargePrepaid.period")?;
    let wanted = NewGateway {
        name: parameters.required("name")?.to_owned(),
        vpc: parameters.required("vpcId")?.to_owned(),
        bandwidth: parameters.number("bandwidth")?,
        months: (!by_hour).then(|| months.unwrap_or(1)),
        auto_renew: parameters.flag("chargePrepaid.isAutoRenewals")?.unwrap_or(false),
        tags: Vec::new(),
    };
    let made = context
        .management
        .create_gateway(context.now, context.actor, &wanted)?;
    Ok(json!({ "data": { "vpnGwId": made.id } }))
}

pub(super) fn modify(context: &Context<'_>) -> Result<Value, Refusal> {
    let parameters = context.parameters;
    let change = GatewayChange {
        name: parameters.owned("vpnGwName"),
        bandwidth: parameters.optional_number("bandwidth")?,
        auto_renew: parameters.flag("isAutoRenewals")?,
    };
    context
        .management
        .modify_gateway(context.now, context.actor, of_vpc(context)?, &change)?;
    Ok(json!({}))
}

pub(super) fn renew(context: &Context<'_>) -> Result<Value, Refusal> {
    let months = context.parameters.number("period")?;
    context
        .management
        .renew_gateway(context.now, context.actor, of_vpc(context)?, months, None)?;
    Ok(json!({}))
}

pub(super) fn delete(context: &Context<'_>) -> Result<Value, Refusal> {
    context
        .management
        .delete_gateway(context.now, context.actor, of_vpc(context)?)?;
    Ok(json!({}))
}

pub(super) fn describe(context: &Context<'_>) -> Result<Value, Refusal> {
    let parameters = context.parameters;
    let of_deal = parameters
        .text("dealId")
        .map(|deal| deal.trim_start_matches("deal-").to_owned());
    let filter = GatewayFilter {
        vpc: parameters.owned("vpcId"),
        id: parameters.owned("vpnGwId").or(of_deal),
        name: parameters.owned("vpnGwName"),
        address: None,
    };
    let list = context
        .management
        .list_gateways(&filter, &parameters.page("vpnGwName")?)?;
    let site = context.management.site();
    let data: Vec<_> = list
        .items
        .iter()
        .map(|gateway| to_json(context.now, &site, gateway))
        .collect();
    Ok(json!({ "totalCount": list.total, "data": data }))
}

/// The gateway's id; the VPC must be the gateway's own.
fn of_vpc<'a>(context: &Context<'a>) -> Result<&'a str, Refusal> {
    let filter = GatewayFilter {
        vpc: Some(context.parameters.required("vpcId")?.to_owned()),
        id: Some(context.parameters.required("vpnGwId")?.to_owned()),
        ..GatewayFilter::default()
    };
    let page = context.parameters.page("vpnGwName")?;
    if context.management.list_gateways(&filter, &page)?.total == 0 {
        return Err(Refusal::new(
            5000,
            "InvalidVpnGw.NotFound",
            "the VPC has no such VPN gateway",
        ));
    }
    context.parameters.required("vpnGwId")
}

fn deal(gateway: &VpnGateway) -> String {
    format!("deal-{}", gateway.number)
}

/// `vpnGwStatus` of a gateway that runs.
const RUNNING: u8 = 6;

fn to_json(now: Timestamp, site: &Site, gateway: &VpnGateway) -> Value {
    let vpc = site.vpcs.iter().find(|vpc| vpc.id == gateway.vpc);
    json!({
        "vpcId": gateway.vpc,
        "unVpcId": gateway.vpc,
        "vpcName": vpc.map(|vpc| vpc.name.as_str()),
        "vpcCidrBlock": vpc.map(|vpc| vpc.cidr.to_string()),
        "vpnGwId": gateway.number,
        "unVpnGwId": gateway.id,
        "vpnGwName": gateway.name,
        "bandwidth": gateway.bandwidth,
        "vpnGwStatus": RUNNING,
        "vpnGwAddress": gateway.address,
        "dealId": deal(gateway),
        "localSlaIp": format!("169.254.97.{}", gateway.number.rem_euclid(254) + 1),
        "isAutoRenewals": u8::from(gateway.auto_renew),
        "expireTime": gateway.expires.civil(),
        // An extension.
        "leaseState": gateway.lease(now).name(),
        "createTime": gateway.created.civil(),
    })
}
