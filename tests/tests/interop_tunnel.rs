//! Our gateway against strongSwan: who starts, who ends, and what happens when a peer vanishes.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::config::TUNNEL;
use gateway_tests::iperf::{Load, iperf};
use gateway_tests::ping::{bring_up, ping};
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig};

fn start(change: impl Fn(Config) -> Config) -> (Agent, StrongSwan, Lab) {
    let lab = Lab::new().unwrap();
    let peer = StrongSwan::start(&lab, Side::B, &StrongSwanConfig::new(Side::B)).unwrap();
    let agent = Agent::start(&lab, Side::A, &change(Config::new(&lab, Side::A))).unwrap();
    (agent, peer, lab)
}

#[test]
fn the_first_ping_brings_the_tunnel_up_and_is_answered() {
    let (agent, peer, lab) = start(|config| config);
    let report = ping(lab.host(Side::A), Side::B.host(), 20, 50, &[]).unwrap();
    assert_eq!(report.lost(), 0, "{report:?}\n{}\n{}", agent.log(), peer.log());
    assert_eq!(peer.installed().unwrap(), 1);
    let status = agent.status().unwrap();
    let tunnel = status.tunnel(TUNNEL).unwrap();
    assert_eq!((tunnel.state(), tunnel.dropped()), ("up", 0), "{status}");
    // strongSwan 5.9.8 has no ESP outside of UDP and pretends to be behind a NAT.
    assert_eq!(tunnel.json()["nat"], true, "{status}");
    assert!(iperf(&lab, Side::A, 2, Load::Tcp).unwrap().mbps > 20.0);
    assert!(iperf(&lab, Side::B, 2, Load::Tcp).unwrap().mbps > 20.0);
}

#[test]
fn strongswan_may_start() {
    let (agent, peer, lab) =
        start(|config| config.tunnels(|tunnel| tunnel.start = Some("answer".to_owned())));
    // Traffic alone starts nothing here.
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 2, 100, &["-W", "1"])
            .unwrap()
            .received,
        0
    );
    assert_eq!(peer.installed().unwrap(), 0);

    peer.initiate()
        .unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
    for from in [Side::A, Side::B] {
        assert_eq!(
            ping(lab.host(from), from.other().host(), 10, 20, &[])
                .unwrap()
                .lost(),
            0,
            "{}",
            agent.log()
        );
    }
    assert_eq!(agent.status().unwrap().tunnel(TUNNEL).unwrap().state(), "up");
}

#[test]
fn a_tunnel_that_is_always_up_needs_no_traffic() {
    let (agent, peer, _lab) =
        start(|config| config.tunnels(|tunnel| tunnel.start = Some("always".to_owned())));
    agent.wait_tunnel(TUNNEL, "up", Duration::from_secs(5)).unwrap();
    assert_eq!(peer.installed().unwrap(), 1);
}

#[test]
fn a_tunnel_that_strongswan_deletes_comes_back_with_traffic() {
    let (agent, peer, lab) = start(|config| config);
    for round in 0..3 {
        let report = ping(lab.host(Side::A), Side::B.host(), 5, 200, &[]).unwrap();
        assert_eq!(
            report.lost(),
            0,
            "round {round}: {report:?}\n{}\n{}",
            agent.log(),
            peer.log()
        );
        peer.terminate().unwrap();
        agent.wait_tunnel(TUNNEL, "down", Duration::from_secs(3)).unwrap();
    }
}

#[test]
fn a_tunnel_that_we_delete_is_gone_at_strongswan_too() {
    let (agent, peer, lab) = start(|config| config);
    bring_up(&lab, Side::A).unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 3, 20, &[])
            .unwrap()
            .lost(),
        0
    );
    assert!(agent.operator(&["down", TUNNEL]).unwrap().status.success());
    gateway_tests::wait::until("strongSwan to drop its SAs", Duration::from_secs(3), || {
        (peer.installed().ok()? == 0).then_some(())
    })
    .unwrap();
}

#[test]
fn a_restarted_agent_reaches_a_strongswan_that_still_has_the_old_sas() {
    let (mut agent, peer, lab) = start(|config| config);
    bring_up(&lab, Side::A).unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 3, 20, &[])
            .unwrap()
            .lost(),
        0
    );
    agent.kill_9().unwrap();
    let agent = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    let report = ping(lab.host(Side::A), Side::B.host(), 10, 100, &[]).unwrap();
    assert_eq!(report.lost(), 0, "{report:?}\n{}\n{}", agent.log(), peer.log());
}

#[test]
fn a_restarted_strongswan_is_found_by_liveness_checks() {
    let (agent, mut peer, lab) =
        start(|config| config.tunnels(|tunnel| tunnel.start = Some("always".to_owned())));
    agent.wait_tunnel(TUNNEL, "up", Duration::from_secs(5)).unwrap();
    peer.kill_9().unwrap();
    let peer = StrongSwan::start(&lab, Side::B, &StrongSwanConfig::new(Side::B)).unwrap();
    // Nobody told us: traffic that stays unanswered starts the check, and the tunnel is negotiated again.
    gateway_tests::wait::until("traffic to flow again", Duration::from_secs(90), || {
        let report = ping(lab.host(Side::A), Side::B.host(), 2, 200, &["-W", "1"]).ok()?;
        (report.lost() == 0).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}\n{}", agent.log(), peer.log()));
}
