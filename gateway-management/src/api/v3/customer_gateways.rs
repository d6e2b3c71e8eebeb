//! Operations on customer gateways.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::refusal::Refusal;
use super::wire::{self, Done, Filter, Filters, Tag};
use crate::service::CustomerGatewayFilter;
use crate::store::StoreError;
use crate::{download, objects};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreateCustomerGateway {
    /// 1 to 60 characters, unique.
    customer_gateway_name: String,
    /// Public IPv4 address of the device, unique.
    ip_address: String,
    tags: Option<Vec<Tag>>,
    /// 0: BGP is not offered.
    bgp_asn: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Created {
    customer_gateway: CustomerGateway,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteCustomerGateway {
    customer_gateway_id: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ModifyCustomerGatewayAttribute {
    customer_gateway_id: String,
    /// 1 to 60 characters, unique.
    customer_gateway_name: String,
    /// 0: BGP is not offered.
    bgp_asn: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeCustomerGateways {
    /// At most 100. One that is not there is left out.
    customer_gateway_ids: Option<Vec<String>>,
    /// `customer-gateway-id`, `customer-gateway-name` (a part of it), `ip-address`.
    filters: Option<Vec<Filter>>,
    offset: Option<u32>,
    limit: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CustomerGateways {
    total_count: usize,
    customer_gateway_set: Vec<CustomerGateway>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct CustomerGateway {
    customer_gateway_id: String,
    customer_gateway_name: String,
    ip_address: String,
    created_time: String,
    tag_set: Vec<Tag>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DescribeCustomerGatewayVendors {}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Vendors {
    customer_gateway_vendor_set: Vec<Vendor>,
}

/// A device that there is a configuration file for.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct Vendor {
    platform: &'static str,
    software_version: &'static str,
    vendor_name: &'static str,
}

pub(super) fn create(context: &Context<'_>, request: CreateCustomerGateway) -> Result<Created, Refusal> {
    wire::without_bgp(request.bgp_asn)?;
    let made = context.management.create_tagged_customer_gateway(
        context.now,
        context.actor,
        &request.customer_gateway_name,
        &request.ip_address,
        &wire::tags(request.tags),
    )?;
    let customer_gateway = with_tags(context, vec![made])?;
    Ok(Created {
        customer_gateway: wire::only(customer_gateway)?,
    })
}

pub(super) fn delete(context: &Context<'_>, request: DeleteCustomerGateway) -> Result<Done, Refusal> {
    let id = &request.customer_gateway_id;
    context
        .management
        .delete_customer_gateway(context.now, context.actor, id)?;
    Ok(Done {})
}

pub(super) fn modify(
    context: &Context<'_>,
    request: ModifyCustomerGatewayAttribute,
) -> Result<Done, Refusal> {
    wire::without_bgp(request.bgp_asn)?;
    let (id, name) = (&request.customer_gateway_id, &request.customer_gateway_name);
    context
        .management
        .rename_customer_gateway(context.now, context.actor, id, name)?;
    Ok(Done {})
}

pub(super) fn describe(
    context: &Context<'_>,
    request: DescribeCustomerGateways,
) -> Result<CustomerGateways, Refusal> {
    let page = wire::page(request.offset, request.limit)?;
    let (total_count, found) = match wire::ids("CustomerGatewayIds", request.customer_gateway_ids)? {
        Some(ids) => {
            Filters::new(request.filters).end()?;
            wire::cut(context.management.customer_gateways_with_ids(&ids)?, &page)
        }
        None => {
            let mut filters = Filters::new(request.filters);
            let filter = CustomerGatewayFilter {
                id: filters.take("customer-gateway-id")?,
                name: filters.take("customer-gateway-name")?,
                address: filters.take("ip-address")?,
            };
            filters.end()?;
            let found = context.management.find_customer_gateways(&filter, &page)?;
            (found.total, found.items)
        }
    };
    Ok(CustomerGateways {
        total_count,
        customer_gateway_set: with_tags(context, found)?,
    })
}

pub(super) fn vendors(
    _context: &Context<'_>,
    _request: DescribeCustomerGatewayVendors,
) -> Result<Vendors, Refusal> {
    let vendor = |vendor: &download::Vendor| Vendor {
        platform: vendor.platform,
        software_version: vendor.software,
        vendor_name: vendor.name,
    };
    Ok(Vendors {
        customer_gateway_vendor_set: download::VENDORS.iter().map(vendor).collect(),
    })
}

fn with_tags(
    context: &Context<'_>,
    found: Vec<objects::CustomerGateway>,
) -> Result<Vec<CustomerGateway>, StoreError> {
    let ids: Vec<_> = found.iter().map(|gateway| gateway.id.as_str()).collect();
    let mut tags = context.management.tags(&ids)?;
    let gateway = |gateway: objects::CustomerGateway| CustomerGateway {
        tag_set: wire::tag_set(tags.remove(&gateway.id)),
        customer_gateway_id: gateway.id,
        customer_gateway_name: gateway.name,
        ip_address: gateway.address.to_string(),
        created_time: gateway.created.civil(),
    };
    Ok(found.into_iter().map(gateway).collect())
}
