//! Commands on routes. A route belongs to a VPN gateway, which every operation names.

use clap::{Args, Subcommand};
use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::arguments::Listing;
use super::{Caller, GATEWAY, Kind, all, finish, print_set, show};
use crate::cli::arguments::AgentSocket;
use crate::cli::exit::Exit;
use crate::cli::print_json;

const ROUTE: Kind = Kind {
    name: "route",
    describe: "DescribeVpnGatewayRoutes",
    set: "Routes",
    ids: "RouteIds",
    id: "RouteId",
    delete: "DeleteVpnGatewayRoutes",
    columns: &[
        ("ID", "/RouteId"),
        ("DESTINATION", "/DestinationCidrBlock"),
        ("TUNNEL", "/InstanceId"),
        ("STATUS", "/Status"),
        ("PRIORITY", "/Priority"),
        ("CREATED", "/CreateTime"),
        ("DESCRIPTION", "/Description"),
    ],
};

/// What to do with routes.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Routes {
    /// List them
    List {
        /// Of this VPN gateway only
        #[arg(long)]
        gateway: Option<String>,
        #[command(flatten)]
        list: Listing,
    },
    /// Make one; from the first one on, a tunnel carries what its routes name
    Create {
        /// Id of the VPN gateway
        #[arg(long)]
        gateway: String,
        /// Id of the tunnel that packets to the destination take
        #[arg(long)]
        tunnel: String,
        /// A range that meets the peer ranges of the tunnel
        #[arg(long, value_name = "RANGE")]
        destination: Ipv4Net,
        /// At most 100 characters
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        /// Make it out of force
        #[arg(long)]
        disabled: bool,
        /// Machine-readable
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Put some in force
    Enable(Chosen),
    /// Take some out of force: what they name does not take the tunnel
    Disable(Chosen),
    /// Delete some; a tunnel without routes follows its rules
    Delete(Chosen),
}

/// Which routes.
#[derive(Debug, Args)]
pub(in crate::cli) struct Chosen {
    /// Their ids
    #[arg(required = true)]
    ids: Vec<String>,
    /// Id of their VPN gateway
    #[arg(long)]
    gateway: String,
    /// Machine-readable
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    agent: AgentSocket,
}

impl Routes {
    pub(super) const fn agent(&self) -> &AgentSocket {
        match self {
            Self::List {
                list: Listing { agent, .. },
                ..
            }
            | Self::Create { agent, .. }
            | Self::Enable(Chosen { agent, .. })
            | Self::Disable(Chosen { agent, .. })
            | Self::Delete(Chosen { agent, .. }) => agent,
        }
    }
}

pub(super) fn run(call: Caller<'_>, command: &Routes) -> Result<(), Exit> {
    match command {
        Routes::List { gateway, list } => {
            let mut routes = Vec::new();
            for gateway in gateways(call, gateway.as_deref())? {
                let of = json!({ "VpnGatewayId": gateway });
                routes.extend(all(call, &ROUTE, &of, &list.filters)?);
            }
            print_set(Some(&routes.into()), ROUTE.columns, list.json)
        }
        Routes::Create {
            gateway,
            tunnel,
            destination,
            description,
            disabled,
            json,
            ..
        } => {
            let route = json!({
                "DestinationCidrBlock": destination,
                "InstanceType": "VPNCONN",
                "InstanceId": tunnel,
                "Priority": 0,
                "Status": status(!disabled),
                "Description": description,
            });
            let body = json!({ "VpnGatewayId": gateway, "Routes": [route] });
            let answer = call("CreateVpnGatewayRoutes", body)?;
            show::created(answer.pointer("/Routes/0"), &ROUTE, *json)
        }
        Routes::Enable(chosen) => switch(call, chosen, true),
        Routes::Disable(chosen) => switch(call, chosen, false),
        Routes::Delete(chosen) => {
            let body = json!({ "VpnGatewayId": chosen.gateway, "RouteIds": chosen.ids });
            let answer = call(ROUTE.delete, body)?;
            told(chosen, &answer, "deleted")
        }
    }
}

/// The one that was named, or all.
fn gateways(call: Caller<'_>, named: Option<&str>) -> Result<Vec<String>, Exit> {
    if let Some(id) = named {
        return Ok(vec![id.to_owned()]);
    }
    let gateways = all(call, &GATEWAY, &json!({}), &[])?;
    let id = |gateway: &Value| gateway.get(GATEWAY.id).and_then(Value::as_str).map(str::to_owned);
    Ok(gateways.iter().filter_map(id).collect())
}

fn switch(call: Caller<'_>, chosen: &Chosen, enabled: bool) -> Result<(), Exit> {
    let change = |id: &String| json!({ "RouteId": id, "Status": status(enabled) });
    let changes: Vec<_> = chosen.ids.iter().map(change).collect();
    let body = json!({ "VpnGatewayId": chosen.gateway, "Routes": changes });
    let answer = call("ModifyVpnGatewayRoutes", body)?;
    told(chosen, &answer, if enabled { "enabled" } else { "disabled" })
}

fn told(chosen: &Chosen, answer: &Value, what: &str) -> Result<(), Exit> {
    if chosen.json {
        return finish(print_json(answer));
    }
    for id in &chosen.ids {
        println!("{id}: {what}");
    }
    Ok(())
}

const fn status(enabled: bool) -> &'static str {
    if enabled { "ENABLE" } else { "DISABLE" }
}
