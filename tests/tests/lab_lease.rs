//! What the owner of a gateway buys, on real traffic: its bandwidth, changed by the API, and its period, which ends and is renewed.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway_tests::config::{Bandwidth, GATEWAY, TUNNEL};
use gateway_tests::ping::bring_up;
use gateway_tests::quick_start::{self, admin_key};
use gateway_tests::status::Status;
use gateway_tests::stream::Stream;
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, wait};
use serde_json::json;

/// The stage is that of the last turn, once a second; the rest is a busy machine.
const PROMPT: Duration = Duration::from_secs(3);
/// How long an import, a tunnel and the looks at it take before the period ends.
const PERIOD: u64 = 12;

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// `2027-01-31T12:00:00Z`.
fn utc(seconds: u64) -> String {
    let at = format!("@{seconds}");
    let output = Command::new("date")
        .args(["-u", "-d", &at, "+%FT%TZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Imports the objects of [`Config::new`], with further lines in the gateway's section, and waits until they run.
fn import(lab: &Lab, agent: &Agent, gateway: &str) {
    let objects = Config::new(lab, Side::A).bandwidth(Bandwidth::Mbps(100));
    let text = objects
        .to_toml()
        .replace("[[gateway]]\n", &format!("[[gateway]]\n{gateway}\n"));
    agent.import(&text).unwrap();
    agent
        .wait_tunnel(TUNNEL, "down", Duration::from_secs(10))
        .unwrap();
}

#[test]
fn a_bandwidth_that_the_api_changes_is_in_effect_at_once_and_negotiates_nothing() {
    let lab = Lab::new().unwrap();
    let a = Agent::start(&lab, Side::A, &Config::managed(&lab, Side::A)).unwrap();
    let b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    import(&lab, &a, "");
    let key = admin_key(&a).unwrap();
    bring_up(&lab, Side::A).unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", a.log(), b.log()));
    let negotiated = || {
        let status = a.status().unwrap();
        let tunnel = status.tunnel(TUNNEL).unwrap();
        (tunnel.spis(), tunnel.json()["negotiations"].clone())
    };
    let before = negotiated();
    // 74 Mbit/s of IP packets: above every setting but the last.
    let stream = Stream::start(&lab, Side::A, 6_800, 1332).unwrap();
    stream.wait_arrival().unwrap();
    for mbps in [20, 5, 50, 10, 100] {
        let body = json!({ "VpnGatewayId": GATEWAY, "InternetMaxBandwidthOut": mbps });
        quick_start::call(&lab, &key, &[("ResetVpnGatewayInternetMaxBandwidth", body)]).unwrap();
        // What was answered is on disk, and in the data plane a moment later.
        std::thread::sleep(Duration::from_millis(500));
        let rate = stream.measure_mbps(Duration::from_secs(2));
        let expected = f64::from(mbps).min(6_800.0 * 1360.0 * 8.0 / 1e6);
        eprintln!("{mbps} Mbit/s: {rate:.2}");
        // A shared machine may starve the sender, never speed it up beyond what it catches up with.
        assert!(
            (0.85..1.1).contains(&(rate / expected)),
            "{rate:.2} Mbit/s at a setting of {mbps}"
        );
    }
    stream.finish();
    assert_eq!(negotiated(), before, "a bandwidth change negotiated");
}

#[test]
fn a_period_that_ends_disturbs_no_traffic_and_refuses_changes_until_it_is_renewed() {
    let lab = Lab::new().unwrap();
    let config = Config::managed(&lab, Side::A);
    let mut a = Agent::start(&lab, Side::A, &config).unwrap();
    let end = now().as_secs() + PERIOD;
    import(&lab, &a, &format!("expires = \"{}\"", utc(end)));
    let file = [
        "config-for",
        TUNNEL,
        "--vendor",
        "strongswan",
        "--platform",
        "swanctl",
    ];
    let peer = StrongSwan::start_with_file(&lab, Side::B, &a.configured(&file).unwrap()).unwrap();
    bring_up(&lab, Side::A).unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", a.log(), peer.log()));
    assert_eq!(peer.installed().unwrap(), 1);
    let lease = |agent: &Agent| agent.status().unwrap().json()["gateways"][0]["lease"].clone();
    assert_eq!(lease(&a), json!({ "state": "expiring", "expires": end }));
    wait::until("the reminder", PROMPT, || {
        a.log().contains("the period ends soon").then_some(())
    })
    .unwrap();

    // Traffic runs through the end.
    let stream = Stream::start(&lab, Side::A, 500, 200).unwrap();
    stream.wait_arrival().unwrap();
    assert!(now().as_secs() < end, "the machine is too slow for the period");
    let isolated =
        |status: &Status| (status.json()["gateways"][0]["lease"]["state"] == "isolated").then_some(());
    a.wait_status("isolation", Duration::from_secs(PERIOD) + PROMPT, isolated)
        .unwrap();
    let late = now().saturating_sub(Duration::from_secs(end));
    assert!(now().as_secs() >= end && late < PROMPT, "isolated {late:?} late");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(a.status().unwrap().tunnel(TUNNEL).unwrap().state(), "up");
    let change = |agent: &Agent| {
        let output = agent.operator(&["gateways", "modify", GATEWAY, "--bandwidth", "50"]);
        let output = output.unwrap();
        let sentence = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), sentence)
    };
    let (taken, sentence) = change(&a);
    assert!(!taken && sentence.contains("isolated"), "{sentence}");
    let report = stream.finish();
    assert_eq!(report.lost(), 0, "{report:?}");

    let metrics = a.metrics().unwrap();
    let gauge = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels);
    let isolated = [("gateway", GATEWAY), ("state", "isolated")];
    assert_eq!(gauge("ipsecgw_gateway_lease_state", &isolated), Some(1.0));
    let expiry = gauge("ipsecgw_gateway_lease_expiry_timestamp_seconds", &isolated[..1]);
    assert_eq!(expiry.map(|seconds| format!("{seconds}")), Some(end.to_string()));

    // A restart does not forget it, and the tunnel comes up after one.
    a.stop().unwrap();
    let a = Agent::start(&lab, Side::A, &config).unwrap();
    assert_eq!(lease(&a)["state"], "isolated");
    bring_up(&lab, Side::A).unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", a.log(), peer.log()));
    assert!(!change(&a).0);

    let renewed = a
        .operator(&["gateways", "renew", GATEWAY, "--months", "1"])
        .unwrap();
    assert!(renewed.status.success(), "{renewed:?}");
    a.wait_status("the renewal", PROMPT, |status| {
        (status.json()["gateways"][0]["lease"]["state"] == "running").then_some(())
    })
    .unwrap();
    let (taken, sentence) = change(&a);
    assert!(taken, "{sentence}");
    let told = a.operator(&["audit"]).unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    for operation in [
        "remind of gateway",
        "isolate gateway",
        "restore gateway",
        "renew gateway",
    ] {
        assert!(told.contains(operation), "{operation} is not in\n{told}");
    }
}
