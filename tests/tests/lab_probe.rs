//! Probes through the tunnel: health, loss and delay, as a peer that answers and one that stops answering make them.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::config::{Probe, TUNNEL};
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig, wait};
use serde_json::Value;

fn quick(addresses: Option<(String, String)>) -> Probe {
    let (local, remote) = addresses.unzip();
    Probe {
        local,
        remote,
        interval_ms: Some(1000),
        threshold: Some(3),
        timeout_ms: Some(500),
    }
}

fn probe(agent: &Agent) -> Value {
    let status = agent.status().unwrap();
    status.tunnel(TUNNEL).unwrap().json()["probe"].clone()
}

fn wait_for(agent: &Agent, health: &str) -> Value {
    wait::until(
        &format!("the probe to be {health}"),
        Duration::from_secs(15),
        || Some(probe(agent)).filter(|probe| probe["health"] == health),
    )
    .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", agent.status().unwrap(), agent.log()))
}

#[test]
fn a_host_behind_strongswan_is_probed_and_its_silence_noticed() {
    let lab = Lab::new().unwrap();
    let peer = StrongSwan::start(&lab, Side::B, &StrongSwanConfig::new(Side::B)).unwrap();
    let addresses = (Side::A.inside().to_string(), Side::B.host().to_string());
    let config = Config::new(&lab, Side::A).tunnels(|tunnel| {
        tunnel.probe = Some(quick(Some(addresses.clone())));
    });
    let agent = Agent::start(&lab, Side::A, &config).unwrap();
    // The probe itself is the traffic that brings the tunnel up.
    wait_for(&agent, "healthy");
    assert_eq!(peer.installed().unwrap(), 1);
    let seen = wait::until("answers", Duration::from_secs(10), || {
        Some(probe(&agent)).filter(|probe| probe["answered"].as_u64() >= Some(4))
    })
    .unwrap();
    let micros = seen["last_rtt_microseconds"].as_u64().unwrap();
    assert!((20..100_000).contains(&micros), "{seen}");
    println!("answers through strongSwan: {seen}");

    let silent = |value| {
        let host = lab.host(Side::B);
        host.sysctl("ipv4/icmp_echo_ignore_all", value).unwrap();
    };
    let lost = seen["lost"].as_u64().unwrap();
    silent("1");
    let unhealthy = wait_for(&agent, "unhealthy");
    assert!(unhealthy["lost"].as_u64().unwrap() >= lost + 3, "{unhealthy}");
    let metrics = agent.metrics().unwrap();
    let value = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels).unwrap();
    let state = [("phase", "probe"), ("state", "unhealthy")];
    assert!((value("ipsecgw_tunnel_state", &state) - 1.0).abs() < 0.1);
    assert!(value("ipsecgw_tunnel_probe_lost_total", &[]) >= 3.0);
    assert!(value("ipsecgw_tunnel_probe_rtt_seconds_count", &[]) >= 4.0);
    silent("0");
    wait_for(&agent, "healthy");
    assert_eq!(agent.status().unwrap().tunnel(TUNNEL).unwrap().state(), "up");
}

#[test]
fn two_gateways_probe_each_other_over_a_pair_of_sas_of_the_probes_own() {
    let lab = Lab::new().unwrap();
    let start = |side, addresses: Option<(String, String)>| {
        let config = Config::new(&lab, side).tunnels(|tunnel| {
            tunnel.probe = Some(quick(addresses.clone()));
        });
        Agent::start(&lab, side, &config).unwrap()
    };
    // The defaults of one end, the other way round at the other end.
    let a = start(Side::A, None);
    let own = probe(&a);
    let address = |name: &str| own[name].as_str().unwrap().to_owned();
    assert!(address("local").starts_with("169.254."), "{own}");
    let b = start(Side::B, Some((address("remote"), address("local"))));
    for agent in [&a, &b] {
        wait_for(agent, "healthy");
        let status = agent.status().unwrap();
        assert_eq!(status.tunnel(TUNNEL).unwrap().json()["pairs"], 2, "{status}");
    }
}
