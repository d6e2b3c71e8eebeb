//! Routes, switched through API 3.0 on real traffic: what has no route in force does not take the tunnel, and no SA is disturbed.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::net::Ipv4Addr;
use std::time::Duration;

use gateway_tests::config::{Bandwidth, GATEWAY, TUNNEL};
use gateway_tests::ping::{bring_up, ping};
use gateway_tests::quick_start::{self, admin_key};
use gateway_tests::{Agent, Config, Lab, Side, wait};
use ipnet::Ipv4Net;
use serde_json::{Value, json};

/// What was answered is on disk, and in the data plane a moment later; the rest is a busy machine.
const PROMPT: Duration = Duration::from_secs(3);

/// Whether a ping from the VPC to the customer's host is answered within a second.
fn passes(lab: &Lab) -> bool {
    let report = ping(lab.host(Side::A), Side::B.host(), 1, 1000, &["-W", "1"]);
    report.is_ok_and(|report| report.received == 1)
}

/// The host's own routes into tunnels.
fn host_routes(lab: &Lab) -> String {
    let mut command = lab.gateway(Side::A).command("ip");
    let output = command.args(["route", "show", "proto", "87"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until a ping is answered or not, as wanted.
fn wait_passes(lab: &Lab, agent: &Agent, wanted: bool, why: &str) {
    wait::until("the route's effect", PROMPT, || {
        (passes(lab) == wanted).then_some(())
    })
    .unwrap_or_else(|error| panic!("{why}: {error:#}\n{}", agent.log()));
}

#[test]
fn only_what_a_route_of_the_api_names_takes_the_tunnel_and_without_routes_its_rules_decide() {
    let lab = Lab::new().unwrap();
    let a = Agent::start(&lab, Side::A, &Config::managed(&lab, Side::A)).unwrap();
    let b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    // The store's bandwidth is a number.
    let objects = Config::new(&lab, Side::A).bandwidth(Bandwidth::Mbps(100));
    a.import(&objects.to_toml()).unwrap();
    a.wait_tunnel(TUNNEL, "down", Duration::from_secs(10)).unwrap();
    bring_up(&lab, Side::A).unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", a.log(), b.log()));
    let negotiated = || {
        let status = a.status().unwrap();
        let tunnel = status.tunnel(TUNNEL).unwrap();
        (tunnel.spis(), tunnel.json()["negotiations"].clone())
    };
    let before = negotiated();
    let network: Ipv4Net = Side::B.network().parse().unwrap();
    let host: Ipv4Addr = Side::B.host();
    let (with, without): (Vec<_>, Vec<_>) = network
        .subnets(25)
        .unwrap()
        .partition(|half| half.contains(&host));
    let [with, without] = [with[0].to_string(), without[0].to_string()];
    assert!(
        host_routes(&lab).contains(&network.to_string()),
        "{}",
        host_routes(&lab)
    );

    let key = admin_key(&a).unwrap();
    let call = |action: &str, mut body: Value| {
        body["VpnGatewayId"] = json!(GATEWAY);
        let mut answers = quick_start::call(&lab, &key, &[(action, body)]).unwrap();
        answers.pop().unwrap()
    };
    let make = |destination: &str| {
        let route = json!({
            "DestinationCidrBlock": destination, "InstanceType": "VPNCONN", "InstanceId": TUNNEL, "Priority": 0,
            "Status": "ENABLE",
        });
        let made = call("CreateVpnGatewayRoutes", json!({ "Routes": [route] }));
        let id = made["Routes"][0]["RouteId"].as_str();
        id.unwrap_or_else(|| panic!("{made}")).to_owned()
    };
    let other = make(&without);
    wait_passes(&lab, &a, false, "a route to other hosts alone");
    let route = make(&with);
    wait_passes(&lab, &a, true, "a route in force");
    for (status, wanted) in [("DISABLE", false), ("ENABLE", true)] {
        call(
            "ModifyVpnGatewayRoutes",
            json!({ "Routes": [{ "RouteId": route, "Status": status }] }),
        );
        wait_passes(&lab, &a, wanted, status);
        assert_eq!(host_routes(&lab).contains(&with), wanted, "{status}");
    }
    assert_eq!(call("DescribeVpnGatewayRoutes", json!({}))["TotalCount"], 2);
    call("DeleteVpnGatewayRoutes", json!({ "RouteIds": [route] }));
    wait_passes(&lab, &a, false, "deleted");
    assert!(!host_routes(&lab).contains(&with), "{}", host_routes(&lab));
    call("DeleteVpnGatewayRoutes", json!({ "RouteIds": [other] }));
    wait_passes(&lab, &a, true, "without routes the rules decide");
    assert!(
        host_routes(&lab).contains(&network.to_string()),
        "{}",
        host_routes(&lab)
    );
    assert_eq!(negotiated(), before, "a change of a route negotiated");
}
