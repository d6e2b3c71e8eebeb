//! What the operator of the machine does with the command line alone: objects, routes, and a look at what runs.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::os::unix::fs::PermissionsExt as _;

use gateway_tests::ping::{bring_up, ping};
use gateway_tests::{Agent, Config, Lab, Side, config};
use serde_json::Value;

#[test]
fn commands_make_a_tunnel_that_carries_traffic_and_remove_it() {
    let lab = Lab::new().unwrap();
    let a = Agent::start(&lab, Side::A, &Config::managed(&lab, Side::A)).unwrap();
    let b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    let key = lab.directory().join("psk.txt");
    std::fs::write(&key, format!("{}\n", config::PSK)).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();

    let (vpc, peer) = (config::VPC, Side::B.outside());
    let gateway = a
        .operate(&format!(
            "gateways create --name edge --vpc {vpc} --bandwidth 100"
        ))
        .unwrap();
    let customer = a
        .operate(&format!("customer-gateways create --name idc --address {peer}"))
        .unwrap();
    let (gateway, customer) = (gateway.trim(), customer.trim());
    let create = format!(
        "tunnels create --name first --gateway {gateway} --customer-gateway {customer} --psk-file {} --spd {}={} \
         --start traffic --ike-encryption aes-128 --ike-authentication sha1 --dh-group group14",
        key.display(),
        Side::A.network(),
        Side::B.network()
    );
    let tunnel = a.operate(&create).unwrap();
    let tunnel = tunnel.trim();
    bring_up(&lab, Side::A).unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", a.log(), b.log()));
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 10, 20, &[])
            .unwrap()
            .lost(),
        0
    );

    let shown: Value =
        serde_json::from_str(&a.operate(&format!("tunnels show {tunnel} --json")).unwrap()).unwrap();
    assert_eq!(shown["State"], "AVAILABLE");
    assert_eq!(shown["PreShareKey"], "******");
    let top = a.operate("top --once").unwrap();
    assert!(top.contains("1 up") && top.contains(tunnel), "{top}");
    let dry = a
        .operate(&format!("tunnels modify {tunnel} --dh-group group2 --dry-run"))
        .unwrap();
    assert!(dry.contains("renegotiates"), "{dry}");
    a.operate(&format!("gateways modify {gateway} --bandwidth 200"))
        .unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 10, 20, &[])
            .unwrap()
            .lost(),
        0
    );

    let refused = a.operator(&["gateways", "delete", gateway]).unwrap();
    let sentence = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(12), "{sentence}");
    assert!(sentence.contains(gateway), "{sentence}");

    a.operate(&format!("tunnels delete {tunnel}")).unwrap();
    let gone = a.operator(&["tunnels", "reset", tunnel]).unwrap();
    assert_eq!(
        gone.status.code(),
        Some(12),
        "{}",
        String::from_utf8_lossy(&gone.stderr)
    );
    let audit = a.operate("audit").unwrap();
    assert!(audit.contains("local") && audit.contains(tunnel), "{audit}");
}

#[test]
fn without_a_store_or_an_agent_commands_on_objects_say_so() {
    let lab = Lab::new().unwrap();
    let mut agent = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    let output = agent.operator(&["gateways", "list"]).unwrap();
    let sentence = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(12), "{sentence}");
    assert!(sentence.contains("[store]"), "{sentence}");
    agent.stop().unwrap();
    let output = agent.operator(&["gateways", "list"]).unwrap();
    let sentence = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(8), "{sentence}");
    assert!(sentence.contains("no agent answers"), "{sentence}");
}

#[test]
fn only_what_is_routed_takes_the_tunnel() {
    let lab = Lab::new().unwrap();
    // Half of the peer's range; the host is in the other half.
    let other_half = Side::B.network().replace(".0/24", ".128/25");
    let routed = |routes: Option<&str>| {
        Config::new(&lab, Side::A).tunnels(|tunnel| {
            tunnel.routes = routes.map(|routes| vec![routes.to_owned()]);
        })
    };
    let a = Agent::start(&lab, Side::A, &routed(Some(&other_half))).unwrap();
    let b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    let count = |name: &str| {
        let status = a.status().unwrap();
        status.tunnel(config::TUNNEL).unwrap().count(name)
    };
    let report = ping(lab.host(Side::A), Side::B.host(), 5, 20, &["-W", "1"]).unwrap();
    assert_eq!((report.received, count("packets_out")), (0, 0), "{}", a.log());

    let host = format!("{}/32", Side::B.host());
    a.reload(&routed(Some(&host))).unwrap();
    bring_up(&lab, Side::A).unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", a.log(), b.log()));
    let spis = || a.status().unwrap().tunnel(config::TUNNEL).unwrap().spis();
    let (before, sent) = (spis(), count("packets_out"));
    assert!(sent > 0);

    // The route is taken away and comes back: no SA is touched.
    a.reload(&routed(Some(&other_half))).unwrap();
    let report = ping(lab.host(Side::A), Side::B.host(), 5, 20, &["-W", "1"]).unwrap();
    assert_eq!((report.received, count("packets_out")), (0, sent));
    a.reload(&routed(None)).unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 10, 20, &[])
            .unwrap()
            .lost(),
        0
    );
    assert_eq!(spis(), before);
}
