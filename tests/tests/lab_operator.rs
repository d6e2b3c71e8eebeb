//! What the operator of the machine does with the command line alone: objects, routes, and a look at what runs.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::os::unix::fs::PermissionsExt as _;

use std::time::Duration;

use gateway_tests::config::StoreSection;
use gateway_tests::ping::{bring_up, ping};
use gateway_tests::{Agent, Config, Lab, Side, config, wait};
use serde_json::Value;

/// The texts of a tunnel's timeline, oldest first.
fn events(agent: &Agent, tunnel: &str) -> Vec<String> {
    let printed = agent.operate(&format!("events {tunnel} --json")).unwrap();
    let lines: Vec<Value> = serde_json::from_str(&printed).unwrap();
    lines
        .iter()
        .map(|line| line["text"].as_str().unwrap().to_owned())
        .collect()
}

const STARTED: &str = "the agent started";
const UP: &str = "up, was negotiating";

#[test]
fn events_outlive_the_agent_for_tunnels_of_the_file_too() {
    let lab = Lab::new().unwrap();
    let mut config = Config::new(&lab, Side::A);
    config.store = Some(StoreSection {
        path: lab.directory().join("store.db"),
    });
    let mut a = Agent::start(&lab, Side::A, &config).unwrap();
    let b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    bring_up(&lab, Side::A).unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", a.log(), b.log()));
    let before = events(&a, config::TUNNEL);
    assert!(before.first().is_some_and(|text| text == STARTED), "{before:?}");
    assert!(before.iter().any(|text| text == UP), "{before:?}");

    // A clean stop loses none, and what the stop itself did is there too.
    a.stop().unwrap();
    drop(a);
    let mut a = Agent::start(&lab, Side::A, &config).unwrap();
    let after = events(&a, config::TUNNEL);
    assert!(after.starts_with(&before), "{before:?} {after:?}");
    let starts = |lines: &[String]| lines.iter().filter(|text| *text == STARTED).count();
    assert_eq!(starts(&after), 2, "{after:?}");
    let table = a.operate(&format!("events {}", config::TUNNEL)).unwrap();
    assert!(
        table.starts_with("20") && table.contains("Z  the agent started"),
        "{table}"
    );
    let status = a.operate(&format!("status {} --json", config::TUNNEL)).unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["tunnels"][0]["events"][0]["text"], STARTED);
    assert_eq!(status["lost_events"], 0);
    let lost = a.metrics().unwrap().sum("ipsecgw_store_events_lost_total", &[]);
    assert_eq!(lost, Some(0.0));

    // The kernel ends it: what is older than a few seconds is on disk.
    std::thread::sleep(Duration::from_secs(8));
    a.kill_9().unwrap();
    drop(a);
    let a = Agent::start(&lab, Side::A, &config).unwrap();
    let killed = events(&a, config::TUNNEL);
    assert!(killed.starts_with(&after), "{after:?} {killed:?}");
    assert_eq!(starts(&killed), 3, "{killed:?}");

    // They go with the tunnel, and one that comes back begins anew.
    let mut empty = config.clone();
    empty.tunnel.clear();
    a.reload(&empty).unwrap();
    a.reload(&config).unwrap();
    wait::until("the earlier events to be gone", Duration::from_secs(15), || {
        (starts(&events(&a, config::TUNNEL)) == 0).then_some(())
    })
    .unwrap();
}

#[test]
fn commands_make_a_tunnel_that_carries_traffic_and_remove_it() {
    let lab = Lab::new().unwrap();
    let mut a = Agent::start(&lab, Side::A, &Config::managed(&lab, Side::A)).unwrap();
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

    // The store has what happened to its tunnel before a restart, under its new name too.
    a.operate(&format!("tunnels modify {tunnel} --name second"))
        .unwrap();
    let before = events(&a, tunnel);
    assert!(before.iter().any(|text| text == UP), "{before:?}");
    a.stop().unwrap();
    drop(a);
    let a = Agent::start(&lab, Side::A, &Config::managed(&lab, Side::A)).unwrap();
    let after = events(&a, tunnel);
    assert!(after.starts_with(&before), "{before:?} {after:?}");
    assert!(after.iter().any(|text| text == STARTED), "{after:?}");

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
