//! Actions on customer gateways.

use serde_json::{Value, json};

use super::Context;
use super::refusal::Refusal;
use crate::download;

pub(super) fn add(context: &Context<'_>) -> Result<Value, Refusal> {
    let (name, address) = (
        context.parameters.required("userGwName")?,
        context.parameters.required("userGwAddr")?,
    );
    let made = context
        .management
        .create_customer_gateway(context.now, context.actor, name, address)?;
    Ok(json!({ "userGwId": made.id }))
}

pub(super) fn modify(context: &Context<'_>) -> Result<Value, Refusal> {
    let (id, name) = (
        context.parameters.required("userGwId")?,
        context.parameters.required("userGwName")?,
    );
    context
        .management
        .rename_customer_gateway(context.now, context.actor, id, name)?;
    Ok(json!({}))
}

pub(super) fn delete(context: &Context<'_>) -> Result<Value, Refusal> {
    context.management.delete_customer_gateway(
        context.now,
        context.actor,
        context.parameters.required("userGwId")?,
    )?;
    Ok(json!({}))
}

pub(super) fn describe(context: &Context<'_>) -> Result<Value, Refusal> {
    let parameters = context.parameters;
    let page = parameters.page("userGwName")?;
    let list = context.management.list_customer_gateways(
        parameters.text("userGwId"),
        parameters.text("userGwName"),
        &page,
    )?;
    let one = |(gateway, tunnels): &(crate::objects::CustomerGateway, usize)| {
        json!({
            "userGwId": gateway.number,
            "unUserGwId": gateway.id,
            "userGwName": gateway.name,
            "userGwAddr": gateway.address,
            "vpnConnNum": tunnels,
            "createTime": gateway.created.civil(),
        })
    };
    Ok(json!({ "totalCount": list.total, "data": list.items.iter().map(one).collect::<Vec<_>>() }))
}

pub(super) fn vendors(_context: &Context<'_>) -> Result<Value, Refusal> {
    let one = |vendor: &download::Vendor| json!({ "platform": vendor.platform, "software": vendor.software, "vendorname": vendor.name });
    Ok(json!({ "data": download::VENDORS.iter().map(one).collect::<Vec<_>>() }))
}
