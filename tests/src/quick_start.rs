//! The product's quick start: a real client drives an empty gateway to a ping through the tunnel, against a strongSwan that was
//! configured with the downloaded file and nothing else, and takes everything down again.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::ping::{bring_up, ping};
use crate::{Agent, Config, Lab, Side, StrongSwan, clients, config, wait};

/// The actions of the product, all of which the clients of API v2 call.
pub const ACTIONS: [&str; 16] = [
    "InquiryVpnPrice",
    "CreateVpn",
    "ModifyVpnGw",
    "DescribeVpnGw",
    "RenewVpn",
    "AddUserGw",
    "DeleteUserGw",
    "ModifyUserGw",
    "DescribeUserGw",
    "DescribeUserGwVendor",
    "AddVpnConn",
    "DeleteVpnConn",
    "ModifyVpnConn",
    "DescribeVpnConn",
    "GetVpnConnConfig",
    "DescribeVpnConnMonitor",
];

/// Pings through the tunnel after the one that brought it up.
const PINGS: u32 = 10;

/// A client that people have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// PyPI `qcloudapi-sdk-python`, API v2.
    PythonV2,
    /// npm `qcloudapi-sdk`, API v2.
    NodeV2,
    /// PyPI `tencentcloud-sdk-python`, API 3.0.
    PythonV3,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PythonV2, Self::NodeV2, Self::PythonV3];

    const fn script(self) -> &'static str {
        match self {
            Self::PythonV2 => "qcloudapi_quick_start.py",
            Self::NodeV2 => "qcloudapi_quick_start.js",
            Self::PythonV3 => "tencentcloud_quick_start.py",
        }
    }

    /// Method and signature method that a step is taken with: each that the client has is used once.
    const fn ways(self) -> [[&'static str; 2]; 3] {
        match self {
            Self::PythonV2 | Self::NodeV2 => {
                [["POST", "HmacSHA256"], ["GET", "HmacSHA1"], ["POST", "HmacSHA1"]]
            }
            Self::PythonV3 => [["POST", "TC3-HMAC-SHA256"]; 3],
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PythonV2 => "qcloudapi-sdk-python",
            Self::NodeV2 => "qcloudapi-sdk (npm)",
            Self::PythonV3 => "tencentcloud-sdk-python",
        })
    }
}

/// What a client's quick start saw.
#[derive(Clone, Debug)]
pub struct Report {
    /// Actions it called.
    pub actions: BTreeSet<String>,
    /// Pings without an answer, of those after the one that brought the tunnel up.
    pub ping_lost: u32,
}

/// The service of the gateway's own objects in API 3.0, with its version.
const VPC_SERVICE: (&str, &str) = ("vpc", "2017-03-12");

/// A key of the API with the role admin, as `gateway api-key create --json` prints it.
pub fn admin_key(agent: &Agent) -> Result<Value> {
    let printed = agent.configured(&["api-key", "create", "--json", "--role", "admin"])?;
    Ok(serde_json::from_str(&printed)?)
}

/// What every client script is told.
pub fn arguments(key: &Value) -> Value {
    json!({
        "endpoint": config::API,
        "secret_id": key["secret_id"],
        "secret_key": key["secret_key"],
        "vpc": config::VPC,
        "customer_address": Side::B.outside(),
        "local": Side::A.network(),
        "peer": Side::B.network(),
        "psk": "Schlüssel \"1\" für das IDC",
        "platform": "swanctl",
    })
}

/// Takes one step of a client; what it found.
pub fn step(lab: &Lab, client: Client, step: &str, arguments: &Value) -> Result<Value> {
    let [first, second, third] = client.ways();
    let [method, signature] = match step {
        "make" => first,
        "look" => second,
        _ => third,
    };
    let authority = lab.directory().join("api-ca.pem");
    let options = [step, method, signature];
    clients::run(
        lab.gateway(Side::A),
        &authority,
        client.script(),
        &options,
        arguments,
    )
    .with_context(|| format!("{client}, {step}"))
}

/// Calls operations of API 3.0, one after the other; their answers.
pub fn call(lab: &Lab, key: &Value, calls: &[(&str, Value)]) -> Result<Vec<Value>> {
    call_service(lab, key, VPC_SERVICE, calls)
}

/// Calls operations of a service with its version, as [`call`] does.
pub fn call_service(
    lab: &Lab,
    key: &Value,
    service: (&str, &str),
    calls: &[(&str, Value)],
) -> Result<Vec<Value>> {
    let found = run_calls(lab, key, service, calls)?;
    let answers = found["answers"].as_array();
    answers.cloned().with_context(|| format!("no answers: {found}"))
}

/// How long the client waits for each answer, in seconds, its own work included.
pub fn time_calls(lab: &Lab, key: &Value, calls: &[(&str, Value)]) -> Result<Vec<f64>> {
    let found = run_calls(lab, key, VPC_SERVICE, calls)?;
    Ok(serde_json::from_value(found["seconds"].clone())?)
}

fn run_calls(
    lab: &Lab,
    key: &Value,
    (service, version): (&str, &str),
    calls: &[(&str, Value)],
) -> Result<Value> {
    let mut arguments = arguments(key);
    arguments["service"] = service.into();
    arguments["version"] = version.into();
    arguments["calls"] = calls
        .iter()
        .map(|(action, body)| json!({ "action": action, "body": body }))
        .collect();
    step(lab, Client::PythonV3, "call", &arguments)
}

/// Drives the whole quick start with one client, in a lab of its own.
pub fn run(client: Client) -> Result<Report> {
    let lab = Lab::new()?;
    let agent = Agent::start(&lab, Side::A, &Config::managed(&lab, Side::A))?;
    drive(&lab, &agent, client).with_context(|| format!("the gateway's log:\n{}", agent.log()))
}

fn drive(lab: &Lab, agent: &Agent, client: Client) -> Result<Report> {
    let mut arguments = arguments(&admin_key(agent)?);
    let mut actions = BTreeSet::new();
    let mut take = |name: &str, arguments: &Value| {
        let found = step(lab, client, name, arguments)?;
        let called = found["actions"].as_array().into_iter().flatten();
        actions.extend(called.filter_map(|action| action.as_str().map(str::to_owned)));
        anyhow::Ok(found)
    };

    let made = take("make", &arguments)?;
    ensure!(
        made["address"] == Side::A.outside().to_string(),
        "the address is not of the pool: {made}"
    );
    for name in ["gateway", "customer", "tunnel"] {
        arguments[name] = made[name].clone();
    }
    ensure!(
        take("look", &arguments)?["up"] == false,
        "the tunnel is up before the ping"
    );

    let file = made["file"].as_str().context("there is no configuration file")?;
    let peer = StrongSwan::start_with_file(lab, Side::B, file)?;
    bring_up(lab, Side::A).with_context(|| peer.log())?;
    let pings = ping(lab.host(Side::A), Side::B.host(), PINGS, 20, &[])?;
    let seen = wait::until("the client to see the tunnel up", Duration::from_secs(10), || {
        take("look", &arguments).ok().filter(|seen| seen["up"] == true)
    })?;
    // Steps of five minutes of a day, both ends included; only the clients of API v2 ask for them.
    ensure!(seen["points"].is_null() || seen["points"] == 289, "{seen}");

    let tunnel = made["tunnel"].as_str().context("the tunnel has no id")?;
    ensure!(
        agent.status()?.tunnel(tunnel).is_some(),
        "the agent does not run {tunnel}"
    );
    ensure!(take("remove", &arguments)?["gateways"] == 0, "a gateway is left");
    ensure!(
        agent.status()?.tunnel(tunnel).is_none(),
        "the agent still runs {tunnel}"
    );
    Ok(Report {
        actions,
        ping_lost: pings.lost(),
    })
}

/// The actions of the product that no client of API v2 called.
pub fn not_called(reports: &[Report]) -> Vec<&'static str> {
    let called = |action: &&str| reports.iter().any(|report| report.actions.contains(*action));
    ACTIONS.into_iter().filter(|action| !called(action)).collect()
}
