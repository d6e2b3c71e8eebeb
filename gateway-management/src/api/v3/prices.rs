//! Price inquiries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::gateways::Prepaid;
use super::refusal::Refusal;
use super::wire;
use crate::error::{Error, Kind};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct InquiryPriceCreateVpnGateway {
    /// Bandwidth setting in Mbit/s.
    internet_max_bandwidth_out: u32,
    /// The price is that of a period of this many months, or of one month.
    #[expect(dead_code, reason = "the price of an hour is part of every answer")]
    instance_charge_type: Option<String>,
    instance_charge_prepaid: Option<Prepaid>,
    /// `IPSEC`.
    #[serde(rename = "Type")]
    kind: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct InquiryPriceRenewVpnGateway {
    vpn_gateway_id: String,
    instance_charge_prepaid: Option<Prepaid>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct InquiryPriceResetVpnGatewayInternetMaxBandwidth {
    vpn_gateway_id: String,
    /// Bandwidth setting in Mbit/s.
    internet_max_bandwidth_out: u32,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Answer {
    price: Price,
}

/// What it costs, bandwidth included.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct Price {
    instance_price: Item,
    bandwidth_price: Item,
}

/// In the currency of the price book.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct Item {
    /// For an hour.
    unit_price: f64,
    charge_unit: &'static str,
    /// For the whole period.
    original_price: f64,
    discount_price: f64,
}

pub(super) fn create(
    context: &Context<'_>,
    request: InquiryPriceCreateVpnGateway,
) -> Result<Answer, Refusal> {
    wire::only_ipsec(request.kind.as_deref())?;
    price(
        context,
        request.internet_max_bandwidth_out,
        request.instance_charge_prepaid.as_ref(),
    )
}

pub(super) fn renew(context: &Context<'_>, request: InquiryPriceRenewVpnGateway) -> Result<Answer, Refusal> {
    let bandwidth = bandwidth(context, request.vpn_gateway_id)?;
    price(context, bandwidth, request.instance_charge_prepaid.as_ref())
}

pub(super) fn reset_bandwidth(
    context: &Context<'_>,
    request: InquiryPriceResetVpnGatewayInternetMaxBandwidth,
) -> Result<Answer, Refusal> {
    bandwidth(context, request.vpn_gateway_id)?;
    price(context, request.internet_max_bandwidth_out, None)
}

/// The bandwidth of a gateway, which has to be there.
fn bandwidth(context: &Context<'_>, id: String) -> Result<u32, Refusal> {
    let found = context.management.gateways_with_ids(std::slice::from_ref(&id))?;
    match found.first() {
        Some(gateway) => Ok(gateway.bandwidth),
        None => Err(Error::not_found(Kind::Gateway, id).into()),
    }
}

fn price(context: &Context<'_>, bandwidth: u32, prepaid: Option<&Prepaid>) -> Result<Answer, Refusal> {
    let months = prepaid.map_or(1, |prepaid| prepaid.period);
    let period = context.management.price(None, bandwidth, months)?;
    let site = context.management.site();
    let hour = site.prices.per_hour_micros(&site.region);
    let item = Item {
        unit_price: wire::decimal(hour, 1_000_000.0),
        charge_unit: "HOUR",
        original_price: wire::decimal(period, 100.0),
        discount_price: wire::decimal(period, 100.0),
    };
    Ok(Answer {
        price: Price {
            instance_price: item,
            bandwidth_price: item,
        },
    })
}
