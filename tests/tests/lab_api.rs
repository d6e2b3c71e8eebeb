//! The product's quick start, driven by the real clients of its API, ending with a ping through the tunnel to a strongSwan that was
//! configured with the downloaded file and nothing else.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use gateway_tests::ping::{bring_up, ping};
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, clients, config, wait};
use serde_json::{Value, json};

/// The actions of the product.
const ACTIONS: [&str; 16] = [
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

/// A key of the API with the role admin.
fn admin_key(agent: &Agent) -> Value {
    let output = std::process::Command::new(gateway_tests::agent::binary().unwrap())
        .args(["api-key", "create", "--json", "--role", "admin", "--config"])
        .arg(agent.config_file())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_v2_client_drives_the_quick_start_from_an_empty_gateway_to_a_ping() {
    let lab = Lab::new().unwrap();
    let agent = Agent::start(&lab, Side::A, &Config::managed(&lab, Side::A)).unwrap();
    let key = admin_key(&agent);
    let mut arguments = json!({
        "endpoint": config::API,
        "secret_id": key["secret_id"],
        "secret_key": key["secret_key"],
        "vpc": config::VPC,
        "customer_address": Side::B.outside(),
        "local": Side::A.network(),
        "peer": Side::B.network(),
        "psk": "Schlüssel \"1\" für das IDC",
        "platform": "swanctl",
    });
    let authority = lab.directory().join("api-ca.pem");
    let mut called = BTreeSet::new();
    let mut client = |step: &str, method: &str, signature: &str, arguments: &Value| {
        let script = "qcloudapi_quick_start.py";
        let found = clients::run(
            lab.gateway(Side::A),
            &authority,
            script,
            &[step, method, signature],
            arguments,
        )
        .unwrap_or_else(|error| panic!("{step}: {error:#}\n{}", agent.log()));
        let actions = found["actions"].as_array().unwrap().iter();
        called.extend(actions.map(|action| action.as_str().unwrap().to_owned()));
        found
    };

    let made = client("make", "POST", "HmacSHA256", &arguments);
    assert_eq!(made["address"], Side::A.outside().to_string());
    for name in ["gateway", "customer", "tunnel"] {
        arguments[name] = made[name].clone();
    }
    assert_eq!(
        client("look", "GET", "HmacSHA1", &arguments)["netStatus"],
        "unavailable"
    );

    let peer = StrongSwan::start_with_file(&lab, Side::B, made["file"].as_str().unwrap()).unwrap();
    bring_up(&lab, Side::A).unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", agent.log(), peer.log()));
    let report = ping(lab.host(Side::A), Side::B.host(), 10, 20, &[]).unwrap();
    assert_eq!(report.lost(), 0);
    wait::until("netStatus to be available", Duration::from_secs(10), || {
        let seen = client("look", "GET", "HmacSHA256", &arguments);
        (seen["netStatus"] == "available" && seen["points"] == 289).then_some(())
    })
    .unwrap();

    let tunnel = made["tunnel"].as_str().unwrap();
    assert!(agent.status().unwrap().tunnel(tunnel).is_some());
    assert_eq!(client("remove", "POST", "HmacSHA1", &arguments)["gateways"], 0);
    assert!(agent.status().unwrap().tunnel(tunnel).is_none());
    let missing: Vec<_> = ACTIONS
        .iter()
        .filter(|action| !called.contains(**action))
        .collect();
    assert!(missing.is_empty(), "not called: {missing:?}");
}

#[test]
fn stored_tunnels_come_back_after_a_kill() {
    let lab = Lab::new().unwrap();
    let config = Config::managed(&lab, Side::A);
    let mut agent = Agent::start(&lab, Side::A, &config).unwrap();
    let key = admin_key(&agent);
    let arguments = json!({
        "endpoint": config::API,
        "secret_id": key["secret_id"],
        "secret_key": key["secret_key"],
        "vpc": config::VPC,
        "customer_address": Side::B.outside(),
        "local": Side::A.network(),
        "peer": Side::B.network(),
        "psk": "Secret.1234",
        "platform": "swanctl",
    });
    let authority = lab.directory().join("api-ca.pem");
    let options = ["make", "POST", "HmacSHA1"];
    let made = clients::run(
        lab.gateway(Side::A),
        &authority,
        "qcloudapi_quick_start.py",
        &options,
        &arguments,
    )
    .unwrap();
    agent.kill_9().unwrap();
    drop(agent);
    let _agent = Agent::start(&lab, Side::A, &config).unwrap();
    let _peer = StrongSwan::start_with_file(&lab, Side::B, made["file"].as_str().unwrap()).unwrap();
    bring_up(&lab, Side::A).unwrap();
}
