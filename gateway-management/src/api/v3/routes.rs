//! Operations on routes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::refusal::Refusal;
use super::wire::{self, Done, Filter, Filters};
use crate::objects;
use crate::service::{NewRoute, RouteChange};
use crate::store::RouteFilter;
use crate::values;

/// The only next hop that is offered.
const TUNNEL: &str = "VPNCONN";
/// Most routes of one request.
const MOST: usize = 100;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreateVpnGatewayRoutes {
    vpn_gateway_id: String,
    /// 1 to 100; all of them are made, or none.
    routes: Vec<WantedRoute>,
}

/// A route to make.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct WantedRoute {
    /// IPv4 range that meets a peer range of the tunnel's rules and no other route of the tunnel.
    destination_cidr_block: String,
    /// `VPNCONN`.
    instance_type: Option<String>,
    /// Id of the tunnel.
    instance_id: String,
    /// 0 or 100.
    priority: Option<u32>,
    /// `ENABLE` or `DISABLE`.
    status: Option<String>,
    /// At most 100 characters.
    description: Option<String>,
    // What only an answer says is left alone: clients that write an answer back send it.
    #[serde(rename = "RouteId")]
    _id: Option<String>,
    #[serde(rename = "Type")]
    _kind: Option<String>,
    #[serde(rename = "CreateTime")]
    _created: Option<String>,
    #[serde(rename = "UpdateTime")]
    _updated: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ModifyVpnGatewayRoutes {
    vpn_gateway_id: String,
    /// 1 to 100; all of them are changed, or none.
    routes: Vec<ChangedRoute>,
}

/// What changes of a route.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ChangedRoute {
    route_id: String,
    /// `ENABLE` or `DISABLE`.
    status: Option<String>,
    /// At most 100 characters.
    description: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteVpnGatewayRoutes {
    vpn_gateway_id: String,
    /// 1 to 100; all of them are removed, or none.
    route_ids: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeVpnGatewayRoutes {
    vpn_gateway_id: String,
    /// `DestinationCidr`, `InstanceId`, `InstanceType`.
    filters: Option<Vec<Filter>>,
    offset: Option<u32>,
    limit: Option<u32>,
}

/// Routes that were made or changed.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Routes {
    routes: Vec<Route>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RoutePage {
    total_count: usize,
    routes: Vec<Route>,
}

/// An entry of the VPC's route table.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct Route {
    destination_cidr_block: String,
    /// `VPNCONN`.
    instance_type: &'static str,
    /// Id of the tunnel.
    instance_id: String,
    priority: u32,
    /// `ENABLE` or `DISABLE`.
    status: &'static str,
    route_id: String,
    /// `Static`.
    #[serde(rename = "Type")]
    kind: &'static str,
    create_time: String,
    update_time: String,
    description: String,
}

impl From<objects::Route> for Route {
    fn from(route: objects::Route) -> Self {
        Self {
            destination_cidr_block: route.destination.to_string(),
            instance_type: TUNNEL,
            instance_id: route.tunnel,
            priority: route.priority,
            status: if route.enabled { "ENABLE" } else { "DISABLE" },
            route_id: route.id,
            kind: "Static",
            create_time: route.created.civil(),
            update_time: route.updated.civil(),
            description: route.description,
        }
    }
}

impl Routes {
    fn new(routes: Vec<objects::Route>) -> Self {
        Self {
            routes: routes.into_iter().map(Into::into).collect(),
        }
    }
}

pub(super) fn create(context: &Context<'_>, request: CreateVpnGatewayRoutes) -> Result<Routes, Refusal> {
    check_count("Routes", request.routes.len())?;
    let wanted = request.routes.into_iter().map(wanted);
    let made = context.management.create_routes(
        context.now,
        context.actor,
        &request.vpn_gateway_id,
        wanted.collect::<Result<_, _>>()?,
    )?;
    Ok(Routes::new(made))
}

pub(super) fn modify(context: &Context<'_>, request: ModifyVpnGatewayRoutes) -> Result<Routes, Refusal> {
    check_count("Routes", request.routes.len())?;
    let changes = request.routes.into_iter().map(|route| {
        Ok(RouteChange {
            id: route.route_id,
            enabled: status(route.status.as_deref())?,
            description: route.description,
        })
    });
    let changed = context.management.modify_routes(
        context.now,
        context.actor,
        &request.vpn_gateway_id,
        changes.collect::<Result<_, Refusal>>()?,
    )?;
    Ok(Routes::new(changed))
}

pub(super) fn delete(context: &Context<'_>, request: DeleteVpnGatewayRoutes) -> Result<Done, Refusal> {
    check_count("RouteIds", request.route_ids.len())?;
    context.management.delete_routes(
        context.now,
        context.actor,
        &request.vpn_gateway_id,
        &request.route_ids,
    )?;
    Ok(Done {})
}

pub(super) fn describe(
    context: &Context<'_>,
    request: DescribeVpnGatewayRoutes,
) -> Result<RoutePage, Refusal> {
    let page = wire::page(request.offset, request.limit)?;
    let mut filters = Filters::new(request.filters);
    let destination = filters.take("DestinationCidr")?;
    let filter = RouteFilter {
        destination: destination
            .map(|text| {
                values::range(&text).map_err(|rule| Refusal::field("Filters \"DestinationCidr\"", &rule))
            })
            .transpose()?,
        tunnel: filters.take("InstanceId")?,
    };
    only_tunnels(filters.take("InstanceType")?.as_deref())?;
    filters.end()?;
    let found = context
        .management
        .list_routes(&request.vpn_gateway_id, &filter, &page)?;
    Ok(RoutePage {
        total_count: found.total,
        routes: Routes::new(found.items).routes,
    })
}

fn wanted(route: WantedRoute) -> Result<NewRoute, Refusal> {
    only_tunnels(route.instance_type.as_deref())?;
    let destination = values::range(&route.destination_cidr_block);
    Ok(NewRoute {
        destination: destination.map_err(|rule| Refusal::field("DestinationCidrBlock", &rule))?,
        tunnel: route.instance_id,
        priority: route.priority.unwrap_or(0),
        enabled: status(route.status.as_deref())?.unwrap_or(true),
        description: route.description.unwrap_or_default(),
    })
}

fn status(text: Option<&str>) -> Result<Option<bool>, Refusal> {
    match text {
        None | Some("") => Ok(None),
        Some("ENABLE") => Ok(Some(true)),
        Some("DISABLE") => Ok(Some(false)),
        Some(_) => Err(Refusal::field("Status", "is ENABLE or DISABLE")),
    }
}

fn only_tunnels(kind: Option<&str>) -> Result<(), Refusal> {
    match kind {
        None | Some("" | TUNNEL) => Ok(()),
        Some(_) => Err(Refusal::field("InstanceType", "is VPNCONN")),
    }
}

fn check_count(field: &str, count: usize) -> Result<(), Refusal> {
    if (1..=MOST).contains(&count) {
        return Ok(());
    }
    Err(Refusal::field(field, "has 1 to 100 elements"))
}
