//! Commands on the objects of the store: each is an operation of API 3.0 that a running agent carries out for the local operator.

use serde_json::{Map, Value, json};

use super::arguments::AgentSocket;
use super::exit::Exit;
use super::{ask, print_json, print_response};
use crate::control_socket::{Request, Response};

mod arguments;
mod defense;
mod health;
mod routes;
mod show;
mod tunnel;

pub(super) use arguments::{CustomerGateways, Gateways, Last, Tunnels};
use arguments::{Listing, One};
pub(super) use defense::DefensePackages;
pub(super) use routes::Routes;

/// Objects asked for at once.
const PAGE: usize = 100;

/// What differs between the kinds of objects.
struct Kind {
    /// `VPN gateway`.
    name: &'static str,
    describe: &'static str,
    /// Field of the answer with the objects.
    set: &'static str,
    /// Field of the request with ids.
    ids: &'static str,
    /// Field with the id of one.
    id: &'static str,
    delete: &'static str,
    /// Heads and fields of the table; a field is a JSON pointer.
    columns: &'static [(&'static str, &'static str)],
}

const GATEWAY: Kind = Kind {
    name: "VPN gateway",
    describe: "DescribeVpnGateways",
    set: "VpnGatewaySet",
    ids: "VpnGatewayIds",
    id: "VpnGatewayId",
    delete: "DeleteVpnGateway",
    columns: &[
        ("ID", "/VpnGatewayId"),
        ("NAME", "/VpnGatewayName"),
        ("VPC", "/VpcId"),
        ("ADDRESS", "/PublicIpAddress"),
        ("MBIT/S", "/InternetMaxBandwidthOut"),
        ("STATE", "/RestrictState"),
        ("ENDS", "/ExpiredTime"),
        ("RENEWAL", "/RenewFlag"),
    ],
};

const CUSTOMER_GATEWAY: Kind = Kind {
    name: "customer gateway",
    describe: "DescribeCustomerGateways",
    set: "CustomerGatewaySet",
    ids: "CustomerGatewayIds",
    id: "CustomerGatewayId",
    delete: "DeleteCustomerGateway",
    columns: &[
        ("ID", "/CustomerGatewayId"),
        ("NAME", "/CustomerGatewayName"),
        ("ADDRESS", "/IpAddress"),
        ("CREATED", "/CreatedTime"),
    ],
};

const TUNNEL: Kind = Kind {
    name: "tunnel",
    describe: "DescribeVpnConnections",
    set: "VpnConnectionSet",
    ids: "VpnConnectionIds",
    id: "VpnConnectionId",
    delete: "DeleteVpnConnection",
    columns: &[
        ("ID", "/VpnConnectionId"),
        ("NAME", "/VpnConnectionName"),
        ("GATEWAY", "/VpnGatewayId"),
        ("CUSTOMER", "/CustomerGatewayId"),
        ("IKE", "/IKEOptionsSpecification/IKEVersion"),
        ("STATE", "/State"),
        ("TRAFFIC", "/NetStatus"),
        ("ERROR", "/ErrorMessage"),
    ],
};

/// The way to the agent, or to a store in tests.
type Caller<'a> = &'a dyn Fn(&str, Value) -> Result<Value, Exit>;

pub(super) fn gateways(command: &Gateways) -> Exit {
    with_agent(command.agent(), |call| run_gateways(call, command))
}

pub(super) fn customer_gateways(command: &CustomerGateways) -> Exit {
    with_agent(command.agent(), |call| run_customer_gateways(call, command))
}

pub(super) fn defense_packages(command: &DefensePackages) -> Exit {
    with_agent(command.agent(), |call| defense::run(call, command))
}

pub(super) fn tunnels(command: &Tunnels) -> Exit {
    with_agent(command.agent(), |call| run_tunnels(call, command))
}

pub(super) fn routes(command: &Routes) -> Exit {
    with_agent(command.agent(), |call| routes::run(call, command))
}

/// Lists the last changes.
pub(super) fn audit(wanted: &Last) -> Exit {
    const COLUMNS: &[(&str, &str)] = &[
        ("TIME", "/Time"),
        ("ACTOR", "/Actor"),
        ("OPERATION", "/Operation"),
        ("OBJECT", "/Object"),
        ("DETAIL", "/Detail"),
    ];
    with_agent(&wanted.agent, |call| {
        let answer = call("DescribeAuditLog", json!({ "Limit": wanted.limit }))?;
        print_set(answer.get("AuditLogSet"), COLUMNS, wanted.json)
    })
}

/// Lists the last alarms.
pub(super) fn alarms(wanted: &Last) -> Exit {
    const COLUMNS: &[(&str, &str)] = &[
        ("BEGAN", "/FirstOccurTime"),
        ("SECONDS", "/Duration"),
        ("STATUS", "/AlarmStatus"),
        ("POLICY", "/PolicyName"),
        ("OBJECT", "/Dimensions"),
        ("NAME", "/AlarmObject"),
        ("CONDITION", "/Content"),
    ];
    with_agent(&wanted.agent, |call| {
        let answer = call("DescribeAlarmHistories", json!({ "PageSize": wanted.limit }))?;
        print_set(answer.get("Histories"), COLUMNS, wanted.json)
    })
}

fn with_agent(agent: &AgentSocket, work: impl FnOnce(Caller<'_>) -> Result<(), Exit>) -> Exit {
    let call = |action: &str, body: Value| {
        let request = Request::Api {
            action: action.to_owned(),
            body,
        };
        match ask(agent, &request)? {
            Response::Api(answer) => Ok(answer),
            other @ (Response::Status(_)
            | Response::Done(_)
            | Response::Refused(_)
            | Response::Mistakes(_)) => Err(print_response(other)),
        }
    };
    work(&call).map_or_else(|exit| exit, |()| Exit::Success)
}

fn run_gateways(call: Caller<'_>, command: &Gateways) -> Result<(), Exit> {
    match command {
        Gateways::List(wanted) => list(call, &GATEWAY, wanted),
        Gateways::Show(wanted) => show(call, &GATEWAY, wanted, json!({})),
        Gateways::Delete(wanted) => delete(call, &GATEWAY, wanted),
        Gateways::Create {
            name,
            vpc,
            bandwidth,
            months,
            json,
            ..
        } => {
            let mut body = json!({
                "VpnGatewayName": name,
                "VpcId": vpc,
                "InternetMaxBandwidthOut": bandwidth,
            });
            if let (Some(months), Some(fields)) = (months, body.as_object_mut()) {
                fields.insert("InstanceChargeType".into(), "PREPAID".into());
                fields.insert("InstanceChargePrepaid".into(), json!({ "Period": months }));
            }
            let answer = call("CreateVpnGateway", body)?;
            show::created(answer.get("VpnGateway"), &GATEWAY, *json)
        }
        Gateways::Modify {
            id,
            name,
            bandwidth,
            renewal,
            ..
        } => {
            if let Some(name) = name {
                let body = json!({ "VpnGatewayId": id, "VpnGatewayName": name });
                call("ModifyVpnGatewayAttribute", body)?;
                println!("{id}: named {name}");
            }
            if let Some(bandwidth) = bandwidth {
                let body = json!({ "VpnGatewayId": id, "InternetMaxBandwidthOut": bandwidth });
                call("ResetVpnGatewayInternetMaxBandwidth", body)?;
                println!("{id}: {bandwidth} Mbit/s");
            }
            if let Some(renewal) = renewal {
                let body = json!({ "VpnGatewayIds": [id], "AutoRenewFlag": renewal.flag() });
                call("SetVpnGatewaysRenewFlag", body)?;
                println!("{id}: renewal {}", renewal.name());
            }
            Ok(())
        }
        Gateways::Renew { id, months, .. } => {
            let body = json!({ "VpnGatewayId": id, "InstanceChargePrepaid": { "Period": months } });
            call("RenewVpnGateway", body)?;
            println!("{id}: {months} months more");
            Ok(())
        }
    }
}

fn run_customer_gateways(call: Caller<'_>, command: &CustomerGateways) -> Result<(), Exit> {
    match command {
        CustomerGateways::List(wanted) => list(call, &CUSTOMER_GATEWAY, wanted),
        CustomerGateways::Show(wanted) => show(call, &CUSTOMER_GATEWAY, wanted, json!({})),
        CustomerGateways::Delete(wanted) => delete(call, &CUSTOMER_GATEWAY, wanted),
        CustomerGateways::Create {
            name, address, json, ..
        } => {
            let body = json!({ "CustomerGatewayName": name, "IpAddress": address });
            let answer = call("CreateCustomerGateway", body)?;
            show::created(answer.get("CustomerGateway"), &CUSTOMER_GATEWAY, *json)
        }
        CustomerGateways::Modify { id, name, .. } => {
            let body = json!({ "CustomerGatewayId": id, "CustomerGatewayName": name });
            call("ModifyCustomerGatewayAttribute", body)?;
            println!("{id}: named {name}");
            Ok(())
        }
        CustomerGateways::Vendors { json, .. } => {
            const COLUMNS: &[(&str, &str)] = &[
                ("VENDOR", "/VendorName"),
                ("PLATFORM", "/Platform"),
                ("SOFTWARE", "/SoftwareVersion"),
            ];
            let answer = call("DescribeCustomerGatewayVendors", json!({}))?;
            print_set(answer.get("CustomerGatewayVendorSet"), COLUMNS, *json)
        }
    }
}

fn run_tunnels(call: Caller<'_>, command: &Tunnels) -> Result<(), Exit> {
    match command {
        Tunnels::List(wanted) => list(call, &TUNNEL, wanted),
        Tunnels::Show { one, show_psk } => show(call, &TUNNEL, one, json!({ "ShowPreShareKey": show_psk })),
        Tunnels::Delete(wanted) => delete(call, &TUNNEL, wanted),
        Tunnels::Create {
            name,
            gateway,
            customer_gateway,
            settings,
            json,
            ..
        } => {
            let mut body = tunnel::body(settings)?;
            body.insert("VpnConnectionName".into(), name.as_str().into());
            body.insert("VpnGatewayId".into(), gateway.as_str().into());
            body.insert("CustomerGatewayId".into(), customer_gateway.as_str().into());
            let answer = call("CreateVpnConnection", body.into())?;
            show::created(answer.get("VpnConnection"), &TUNNEL, *json)
        }
        Tunnels::Modify {
            id,
            name,
            settings,
            dry_run,
            json,
            ..
        } => {
            let mut body = tunnel::body(settings)?;
            if let Some(name) = name {
                body.insert("VpnConnectionName".into(), name.as_str().into());
            }
            body.insert("VpnConnectionId".into(), id.as_str().into());
            body.insert("DryRun".into(), (*dry_run).into());
            let answer = call("ModifyVpnConnectionAttribute", body.into())?;
            if *json {
                return finish(print_json(&answer));
            }
            let effect = match answer.get("Effect").and_then(Value::as_str) {
                Some("nothing") => "disturbs nothing that runs",
                Some("newPairs") => "adds or removes pairs of SAs; the others go on",
                Some(_) | None => "renegotiates the tunnel",
            };
            let done = if *dry_run { "the change" } else { "changed; it" };
            println!("{id}: {done} {effect}");
            Ok(())
        }
        Tunnels::Reset(One { id, json, .. }) => {
            let answer = call("ResetVpnConnection", json!({ "VpnConnectionId": id }))?;
            if *json {
                return finish(print_json(&answer));
            }
            println!("{id}: negotiates anew");
            Ok(())
        }
    }
}

/// Reads all pages of what `of` asks for.
fn all(call: Caller<'_>, kind: &Kind, of: &Value, filters: &[(String, String)]) -> Result<Vec<Value>, Exit> {
    let filters: Vec<_> = filters
        .iter()
        .map(|(name, value)| json!({ "Name": name, "Values": [value] }))
        .collect();
    let mut objects = Vec::new();
    loop {
        let mut body = of.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("Offset".into(), objects.len().into());
            fields.insert("Limit".into(), PAGE.into());
            if !filters.is_empty() {
                fields.insert("Filters".into(), filters.clone().into());
            }
        }
        let mut answer = call(kind.describe, body)?;
        let total = answer.get("TotalCount").and_then(Value::as_u64).unwrap_or(0);
        let page = match answer.get_mut(kind.set).map(Value::take) {
            Some(Value::Array(page)) => page,
            Some(_) | None => Vec::new(),
        };
        let end = page.is_empty();
        objects.extend(page);
        if end || u64::try_from(objects.len()).unwrap_or(u64::MAX) >= total {
            return Ok(objects);
        }
    }
}

fn list(call: Caller<'_>, kind: &Kind, wanted: &Listing) -> Result<(), Exit> {
    let objects = all(call, kind, &json!({}), &wanted.filters)?;
    print_set(Some(&objects.into()), kind.columns, wanted.json)
}

fn show(call: Caller<'_>, kind: &Kind, wanted: &One, mut body: Value) -> Result<(), Exit> {
    if let Some(fields) = body.as_object_mut() {
        fields.insert(kind.ids.into(), json!([wanted.id]));
    }
    let answer = call(kind.describe, body)?;
    let Some(object) = answer.get(kind.set).and_then(|set| set.get(0)) else {
        eprintln!("no {} is called {}", kind.name, wanted.id);
        return Err(Exit::Refused);
    };
    if wanted.json {
        return finish(print_json(object));
    }
    print!("{}", show::fields(object));
    Ok(())
}

fn delete(call: Caller<'_>, kind: &Kind, wanted: &One) -> Result<(), Exit> {
    let body = Map::from_iter([(kind.id.to_owned(), Value::from(wanted.id.as_str()))]);
    let answer = call(kind.delete, body.into())?;
    if wanted.json {
        return finish(print_json(&answer));
    }
    println!("{}: deleted", wanted.id);
    Ok(())
}

fn print_set(set: Option<&Value>, columns: &[(&str, &str)], json: bool) -> Result<(), Exit> {
    let objects = set
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if json {
        return finish(print_json(&objects));
    }
    print!("{}", show::table(objects, columns));
    Ok(())
}

fn finish(exit: Exit) -> Result<(), Exit> {
    if exit == Exit::Success { Ok(()) } else { Err(exit) }
}

#[cfg(test)]
mod tests;
