//! The management API with the clients that people have: the product's quick start, and what outlives a kill.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::ping::bring_up;
use gateway_tests::quick_start::{self, Client, admin_key, not_called};
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, clients, wait};
use serde_json::{Value, json};

#[track_caller]
fn drives_the_quick_start(client: Client) {
    let report = quick_start::run(client).unwrap();
    assert_eq!(report.ping_lost, 0);
    match client {
        Client::PythonV2 | Client::NodeV2 => assert_eq!(not_called(&[report]), <[&str; 0]>::default()),
        Client::PythonV3 => assert!(report.actions.contains("CreateVpnConnection"), "{report:?}"),
    }
}

#[test]
fn the_v2_client_of_pypi_drives_the_quick_start_from_an_empty_gateway_to_a_ping() {
    drives_the_quick_start(Client::PythonV2);
}

#[test]
fn the_v2_client_of_npm_drives_the_quick_start_from_an_empty_gateway_to_a_ping() {
    drives_the_quick_start(Client::NodeV2);
}

#[test]
fn the_v3_client_of_pypi_drives_the_quick_start_from_an_empty_gateway_to_a_ping() {
    drives_the_quick_start(Client::PythonV3);
}

#[test]
fn stored_tunnels_come_back_after_a_kill() {
    let lab = Lab::new().unwrap();
    let config = Config::managed(&lab, Side::A);
    let mut agent = Agent::start(&lab, Side::A, &config).unwrap();
    let arguments = quick_start::arguments(&admin_key(&agent).unwrap());
    let made = quick_start::step(&lab, Client::PythonV2, "make", &arguments).unwrap();
    agent.kill_9().unwrap();
    drop(agent);
    let _agent = Agent::start(&lab, Side::A, &config).unwrap();
    let _peer = StrongSwan::start_with_file(&lab, Side::B, made["file"].as_str().unwrap()).unwrap();
    bring_up(&lab, Side::A).unwrap();
}

/// A gateway, a customer gateway and a tunnel with these peer ranges, made by API 3.0; their ids.
fn made(lab: &Lab, key: &Value, peers: &[&str]) -> [Value; 3] {
    let call = |action: &str, body: Value| quick_start::call(lab, key, &[(action, body)]).unwrap().remove(0);
    let gateway = call(
        "CreateVpnGateway",
        json!({ "VpcId": gateway_tests::config::VPC, "VpnGatewayName": "gw", "InternetMaxBandwidthOut": 100 }),
    )["VpnGateway"]["VpnGatewayId"]
        .take();
    let customer = call(
        "CreateCustomerGateway",
        json!({ "CustomerGatewayName": "idc", "IpAddress": Side::B.outside() }),
    )["CustomerGateway"]["CustomerGatewayId"]
        .take();
    let tunnel = call(
        "CreateVpnConnection",
        json!({ "VpnGatewayId": gateway, "CustomerGatewayId": customer, "VpnConnectionName": "t", "PreShareKey": "Secret.1",
                "NegotiationType": "flowTrigger", "IKEOptionsSpecification": { "DhGroupName": "GROUP14" },
                "SecurityPolicyDatabases": rules(peers) }),
    )["VpnConnection"]["VpnConnectionId"]
        .take();
    [gateway, customer, tunnel]
}

fn rules(peers: &[&str]) -> Value {
    json!([{ "LocalCidrBlock": Side::A.network(), "RemoteCidrBlock": peers }])
}

#[test]
fn a_further_rule_adds_a_child_sa_and_leaves_the_others_alone() {
    let lab = Lab::new().unwrap();
    let agent = Agent::start(&lab, Side::A, &Config::managed(&lab, Side::A)).unwrap();
    let key = admin_key(&agent).unwrap();
    let network: ipnet::Ipv4Net = Side::B.network().parse().unwrap();
    let halves: Vec<_> = network.subnets(25).unwrap().collect();
    let [first, second] = [&*halves[0].to_string(), &*halves[1].to_string()];
    let [gateway, _, tunnel] = made(&lab, &key, &[first, second]);
    let id = tunnel.as_str().unwrap().to_owned();
    let call = |action: &str, body: Value| {
        quick_start::call(&lab, &key, &[(action, body)])
            .unwrap()
            .remove(0)
    };
    let modify = |body: Value| {
        let mut body = body;
        body["VpnConnectionId"] = tunnel.clone();
        call("ModifyVpnConnectionAttribute", body)["Effect"].clone()
    };
    // The peer knows both rules from the start.
    let vendor = json!({ "VendorName": "strongswan", "Platform": "swanctl" });
    let file = call(
        "DownloadCustomerGatewayConfiguration",
        json!({ "VpnGatewayId": gateway, "VpnConnectionId": tunnel, "CustomerGatewayVendor": vendor }),
    );
    modify(json!({ "SecurityPolicyDatabases": rules(&[first]) }));
    let file = file["CustomerGatewayConfiguration"].as_str().unwrap();
    let _peer = StrongSwan::start_with_file(&lab, Side::B, file).unwrap();
    bring_up(&lab, Side::A).unwrap();
    let spis = || agent.status().unwrap().tunnel(&id).unwrap().spis();
    let before = spis();
    assert_eq!(before.len(), 1);

    let wanted = rules(&[first, second]);
    assert_eq!(
        modify(json!({ "SecurityPolicyDatabases": wanted, "DryRun": true })),
        "newPairs"
    );
    assert_eq!(spis(), before, "a dry run changed something");
    assert_eq!(modify(json!({ "SecurityPolicyDatabases": wanted })), "newPairs");
    let there = halves[1].hosts().next().unwrap();
    wait::until("the second Child SA", Duration::from_secs(15), || {
        gateway_tests::ping::ping(lab.host(Side::A), there, 1, 1000, &["-W", "1"]).ok();
        (spis().len() == 2).then_some(())
    })
    .unwrap();
    assert!(
        before.iter().all(|pair| spis().contains(pair)),
        "{before:?}, {:?}",
        spis()
    );

    // Names and bandwidth disturb nothing.
    let both = spis();
    assert_eq!(modify(json!({ "VpnConnectionName": "renamed" })), "nothing");
    call(
        "ResetVpnGatewayInternetMaxBandwidth",
        json!({ "VpnGatewayId": gateway, "InternetMaxBandwidthOut": 5 }),
    );
    wait::until("the change to be in force", Duration::from_secs(10), || {
        let found = call("DescribeVpnConnections", json!({ "VpnConnectionIds": [tunnel] }));
        (found["VpnConnectionSet"][0]["State"] == "AVAILABLE").then_some(())
    })
    .unwrap();
    assert_eq!(spis(), both);
}

/// `GATEWAY_SCHEMATHESIS_CASES` is the number of cases per operation and phase, 8 unless set.
#[test]
fn schemathesis_finds_no_server_error_and_no_answer_that_differs_from_the_document() {
    let lab = Lab::new().unwrap();
    let agent = Agent::start(&lab, Side::A, &Config::managed(&lab, Side::A)).unwrap();
    let key = admin_key(&agent).unwrap();
    let [gateway, customer, tunnel] = made(&lab, &key, &[&Side::B.network()]);
    let mut arguments = quick_start::arguments(&key);
    arguments["ids"] = json!({
        "VpcId": gateway_tests::config::VPC, "VpnGatewayId": gateway, "CustomerGatewayId": customer, "VpnConnectionId": tunnel,
    });
    let cases = std::env::var("GATEWAY_SCHEMATHESIS_CASES").unwrap_or_else(|_unset| "8".to_owned());
    let authority = lab.directory().join("api-ca.pem");
    let script = "schemathesis_run.py";
    let report = clients::run(lab.gateway(Side::A), &authority, script, &[&cases], &arguments).unwrap();
    eprintln!(
        "{}",
        json!({ "cases": report["cases"], "answers": report["answers"] })
    );
    assert_eq!(
        report["failed"],
        false,
        "{}",
        report["output"].as_str().unwrap_or_default()
    );
    assert!(report["cases"].as_u64().unwrap() >= 200, "{report}");
    assert!(
        report["answers"]["200 answered"].as_u64().unwrap_or(0) > 20,
        "{report}"
    );
    assert!(!agent.log().contains("panicked"), "{}", agent.log());
}
