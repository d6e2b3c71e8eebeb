//! Operations on VPN gateways.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::refusal::Refusal;
use super::wire::{self, Done, Filter, Filters, Number, Tag};
use crate::defense::DefenseState;
use crate::lease::Lease;
use crate::objects;
use crate::service::{GatewayChange, GatewayFilter, NewGateway};
use crate::store::StoreError;

/// Renewed by itself.
const RENEWS: &str = "NOTIFY_AND_AUTO_RENEW";
/// Renewed by the owner.
const MANUAL: &str = "NOTIFY_AND_MANUAL_RENEW";
/// Not renewed, and nobody is told.
const ENDS: &str = "NOT_NOTIFY_AND_NOT_RENEW";
/// Paid for a period.
const PREPAID: &str = "PREPAID";
/// Paid by the hour.
const BY_HOUR: &str = "POSTPAID_BY_HOUR";

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreateVpnGateway {
    /// A VPC of the machine's file.
    vpc_id: String,
    /// 1 to 60 characters, unique.
    vpn_gateway_name: String,
    /// Bandwidth setting in Mbit/s: 5, 10, 20, 50, 100, 200, 500, 1000 or 3000.
    internet_max_bandwidth_out: u32,
    /// `PREPAID` or `POSTPAID_BY_HOUR`, the default.
    instance_charge_type: Option<String>,
    instance_charge_prepaid: Option<Prepaid>,
    tags: Option<Vec<Tag>>,
    /// `IPSEC`, the only type.
    #[serde(rename = "Type")]
    kind: Option<String>,
    /// One machine is one zone.
    #[expect(dead_code, reason = "one machine is one zone")]
    zone: Option<String>,
    /// Connections of the type SSL.
    #[expect(dead_code, reason = "there is no type SSL")]
    max_connection: Option<u32>,
    /// 0: BGP is not offered.
    bgp_asn: Option<u32>,
}

/// A purchase.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Prepaid {
    /// Months, 1 to 36.
    pub(super) period: u32,
    /// `NOTIFY_AND_AUTO_RENEW`, `NOTIFY_AND_MANUAL_RENEW` or `NOT_NOTIFY_AND_NOT_RENEW`.
    renew_flag: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Created {
    vpn_gateway: VpnGateway,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteVpnGateway {
    vpn_gateway_id: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeVpnGateways {
    /// At most 100. One that is not there is left out.
    vpn_gateway_ids: Option<Vec<String>>,
    /// `vpc-id`, `vpn-gateway-id`, `vpn-gateway-name` (a part of it), `public-ip-address`.
    filters: Option<Vec<Filter>>,
    offset: Option<u32>,
    limit: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VpnGateways {
    total_count: usize,
    vpn_gateway_set: Vec<VpnGateway>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ModifyVpnGatewayAttribute {
    vpn_gateway_id: String,
    /// 1 to 60 characters, unique.
    vpn_gateway_name: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct RenewVpnGateway {
    vpn_gateway_id: String,
    instance_charge_prepaid: Prepaid,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct SetVpnGatewaysRenewFlag {
    vpn_gateway_ids: Vec<String>,
    /// 1: they renew themselves; 0 and 2: they do not.
    auto_renew_flag: Number,
    /// `IPSEC`, the only type.
    #[serde(rename = "Type")]
    kind: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ResetVpnGatewayInternetMaxBandwidth {
    vpn_gateway_id: String,
    /// Bandwidth setting in Mbit/s.
    internet_max_bandwidth_out: u32,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct VpnGateway {
    vpn_gateway_id: String,
    vpc_id: String,
    vpn_gateway_name: String,
    #[serde(rename = "Type")]
    kind: &'static str,
    state: &'static str,
    public_ip_address: String,
    renew_flag: &'static str,
    instance_charge_type: &'static str,
    internet_max_bandwidth_out: u32,
    created_time: String,
    expired_time: String,
    /// Whether the shield of its high defense package shuts strangers out.
    is_address_blocked: bool,
    restrict_state: &'static str,
    /// An extension: `unlimited`, `running`, `expiring` (within 7 days), `isolated` or `over`.
    lease_state: &'static str,
    zone: &'static str,
    vpn_gateway_quota_set: Vec<Quota>,
    version: &'static str,
    network_instance_id: String,
    tag_set: Vec<Tag>,
}

/// A further setting that could be bought; there is none.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct Quota {
    bandwidth: u32,
}

pub(super) fn create(context: &Context<'_>, request: CreateVpnGateway) -> Result<Created, Refusal> {
    wire::only_ipsec(request.kind.as_deref())?;
    wire::without_bgp(request.bgp_asn)?;
    let by_hour = match request.instance_charge_type.as_deref() {
        None | Some("" | BY_HOUR) => true,
        Some(PREPAID) => false,
        Some(_) => {
            return Err(Refusal::field(
                "InstanceChargeType",
                "is PREPAID or POSTPAID_BY_HOUR",
            ));
        }
    };
    let renews = request.instance_charge_prepaid.as_ref().map(renews).transpose()?;
    let period = request
        .instance_charge_prepaid
        .map_or(1, |prepaid| prepaid.period);
    let wanted = NewGateway {
        name: request.vpn_gateway_name,
        vpc: request.vpc_id,
        bandwidth: request.internet_max_bandwidth_out,
        months: (!by_hour).then_some(period),
        auto_renew: renews.unwrap_or(false),
        tags: wire::tags(request.tags),
    };
    let made = context
        .management
        .create_gateway(context.now, context.actor, &wanted)?;
    Ok(Created {
        vpn_gateway: wire::only(with_tags(context, vec![made])?)?,
    })
}

pub(super) fn delete(context: &Context<'_>, request: DeleteVpnGateway) -> Result<Done, Refusal> {
    context
        .management
        .delete_gateway(context.now, context.actor, &request.vpn_gateway_id)?;
    Ok(Done {})
}

pub(super) fn describe(context: &Context<'_>, request: DescribeVpnGateways) -> Result<VpnGateways, Refusal> {
    let page = wire::page(request.offset, request.limit)?;
    let (total_count, found) = match wire::ids("VpnGatewayIds", request.vpn_gateway_ids)? {
        Some(ids) => {
            Filters::new(request.filters).end()?;
            wire::cut(context.management.gateways_with_ids(&ids)?, &page)
        }
        None => {
            let mut filters = Filters::new(request.filters);
            let filter = GatewayFilter {
                vpc: filters.take("vpc-id")?,
                id: filters.take("vpn-gateway-id")?,
                name: filters.take("vpn-gateway-name")?,
                address: filters.take("public-ip-address")?,
            };
            filters.end()?;
            let found = context.management.list_gateways(&filter, &page)?;
            (found.total, found.items)
        }
    };
    Ok(VpnGateways {
        total_count,
        vpn_gateway_set: with_tags(context, found)?,
    })
}

pub(super) fn modify(context: &Context<'_>, request: ModifyVpnGatewayAttribute) -> Result<Done, Refusal> {
    let change = GatewayChange {
        name: wire::given(request.vpn_gateway_name),
        ..GatewayChange::default()
    };
    change_one(context, &request.vpn_gateway_id, &change)
}

pub(super) fn renew(context: &Context<'_>, request: RenewVpnGateway) -> Result<Done, Refusal> {
    let prepaid = &request.instance_charge_prepaid;
    let auto_renew = prepaid.renew_flag.as_ref().map(|_| renews(prepaid)).transpose()?;
    let id = &request.vpn_gateway_id;
    context
        .management
        .renew_gateway(context.now, context.actor, id, prepaid.period, auto_renew)?;
    Ok(Done {})
}

pub(super) fn set_renew_flag(
    context: &Context<'_>,
    request: SetVpnGatewaysRenewFlag,
) -> Result<Done, Refusal> {
    wire::only_ipsec(request.kind.as_deref())?;
    let auto_renew = match request.auto_renew_flag.0 {
        0 | 2 => false,
        1 => true,
        _ => return Err(Refusal::field("AutoRenewFlag", "is 0, 1 or 2")),
    };
    let ids = wire::ids("VpnGatewayIds", Some(request.vpn_gateway_ids))?.unwrap_or_default();
    let change = GatewayChange {
        auto_renew: Some(auto_renew),
        ..GatewayChange::default()
    };
    context
        .management
        .modify_gateways(context.now, context.actor, &ids, &change)?;
    Ok(Done {})
}

pub(super) fn reset_bandwidth(
    context: &Context<'_>,
    request: ResetVpnGatewayInternetMaxBandwidth,
) -> Result<Done, Refusal> {
    let change = GatewayChange {
        bandwidth: Some(request.internet_max_bandwidth_out),
        ..GatewayChange::default()
    };
    change_one(context, &request.vpn_gateway_id, &change)
}

fn change_one(context: &Context<'_>, id: &str, change: &GatewayChange) -> Result<Done, Refusal> {
    context
        .management
        .modify_gateway(context.now, context.actor, id, change)?;
    Ok(Done {})
}

fn renews(prepaid: &Prepaid) -> Result<bool, Refusal> {
    match prepaid.renew_flag.as_deref() {
        Some(RENEWS) => Ok(true),
        None | Some("" | MANUAL | ENDS) => Ok(false),
        Some(_) => Err(Refusal::field(
            "RenewFlag",
            "is NOTIFY_AND_AUTO_RENEW, NOTIFY_AND_MANUAL_RENEW or NOT_NOTIFY_AND_NOT_RENEW",
        )),
    }
}

fn with_tags(context: &Context<'_>, found: Vec<objects::VpnGateway>) -> Result<Vec<VpnGateway>, StoreError> {
    let ids: Vec<_> = found.iter().map(|gateway| gateway.id.as_str()).collect();
    let mut tags = context.management.tags(&ids)?;
    let gateway = |gateway: objects::VpnGateway| {
        let lease = gateway.lease(context.now);
        VpnGateway {
            kind: "IPSEC",
            state: "AVAILABLE",
            public_ip_address: gateway.address.to_string(),
            renew_flag: if gateway.auto_renew { RENEWS } else { MANUAL },
            instance_charge_type: match lease {
                Lease::Unlimited => BY_HOUR,
                Lease::Running | Lease::Expiring | Lease::Isolated | Lease::Over => PREPAID,
            },
            internet_max_bandwidth_out: gateway.bandwidth,
            created_time: gateway.created.civil(),
            expired_time: gateway.expires.civil(),
            is_address_blocked: context.management.defense_state(&gateway.id) == Some(DefenseState::Blocked),
            restrict_state: if lease.is_in_force() {
                "NORMAL"
            } else {
                "PROTECTIVELY_ISOLATED"
            },
            lease_state: lease.name(),
            zone: "",
            vpn_gateway_quota_set: Vec::new(),
            version: "1.0",
            network_instance_id: gateway.vpc.clone(),
            tag_set: wire::tag_set(tags.remove(&gateway.id)),
            vpn_gateway_id: gateway.id,
            vpc_id: gateway.vpc,
            vpn_gateway_name: gateway.name,
        }
    };
    Ok(found.into_iter().map(gateway).collect())
}
