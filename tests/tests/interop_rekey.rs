//! Keys are replaced under traffic and no packet is lost.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::config::TUNNEL;
use gateway_tests::ping::{bring_up, ping};
use gateway_tests::stream::{Stream, StreamReport};
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig};

/// Lifetime of IPsec SAs, in seconds.
const LIFETIME: u32 = 10;
/// How long traffic runs.
const TRAFFIC: Duration = Duration::from_secs(60);
/// Datagrams per second.
const RATE: u32 = 1000;

fn lifetimes(config: Config, ike: u32, ipsec: u32) -> Config {
    config.tunnels(|tunnel| {
        tunnel.ike.lifetime_seconds = Some(ike);
        tunnel.ipsec.lifetime_seconds = Some(ipsec);
    })
}

/// Brings the tunnel up and runs a stream in each direction, one after the other, for half of the time.
fn stream(lab: &Lab) -> Vec<StreamReport> {
    bring_up(lab, Side::A).unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 3, 50, &[])
            .unwrap()
            .lost(),
        0
    );
    [Side::A, Side::B]
        .into_iter()
        .map(|from| {
            let stream = Stream::start(lab, from, RATE, 200).unwrap();
            std::thread::sleep(TRAFFIC / 2);
            stream.finish()
        })
        .collect()
}

#[track_caller]
fn assert_nothing_lost(reports: &[StreamReport], agent: &Agent) {
    for report in reports {
        assert!(report.sent > u64::from(RATE) * 25, "{report:?}");
        assert_eq!(
            (report.lost(), report.repeated),
            (0, 0),
            "{report:?}\n{}",
            agent.status().unwrap()
        );
    }
}

/// How often a kind of SA was replaced.
fn rekeys(agent: &Agent, kind: &str) -> u64 {
    agent.status().unwrap().tunnel(TUNNEL).unwrap().json()["negotiations"][kind]
        .as_u64()
        .unwrap()
}

#[test]
fn our_quick_mode_rekeys_lose_nothing() {
    let lab = Lab::new().unwrap();
    let theirs = StrongSwanConfig {
        child: vec!["rekey_time = 0".to_owned(), "life_time = 0".to_owned()],
        ..StrongSwanConfig::new(Side::B)
    };
    let _peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
    let agent = Agent::start(
        &lab,
        Side::A,
        &lifetimes(Config::new(&lab, Side::A), 3600, LIFETIME),
    )
    .unwrap();
    let reports = stream(&lab);
    assert_nothing_lost(&reports, &agent);
    assert!(rekeys(&agent, "child_rekeys") >= 5, "{}", agent.status().unwrap());
}

#[test]
fn strongswans_rekeys_lose_nothing() {
    let lab = Lab::new().unwrap();
    let line = |text: &str| text.to_owned();
    let theirs = StrongSwanConfig {
        connection: vec![
            line("reauth_time = 0"),
            line("rekey_time = 25s"),
            line("rand_time = 0s"),
        ],
        child: vec![
            line("rekey_time = 8s"),
            line("life_time = 12s"),
            line("rand_time = 0s"),
        ],
        ..StrongSwanConfig::new(Side::B)
    };
    let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
    let agent = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    peer.initiate().unwrap();
    let reports = stream(&lab);
    assert_nothing_lost(&reports, &agent);
    assert!(rekeys(&agent, "child_rekeys") >= 5, "{}", agent.status().unwrap());
}

#[test]
fn our_main_mode_rekeys_lose_nothing() {
    let lab = Lab::new().unwrap();
    let _peer = StrongSwan::start(&lab, Side::B, &StrongSwanConfig::new(Side::B)).unwrap();
    let agent = Agent::start(&lab, Side::A, &lifetimes(Config::new(&lab, Side::A), 15, 3600)).unwrap();
    let reports = stream(&lab);
    assert_nothing_lost(&reports, &agent);
    assert!(rekeys(&agent, "ike_rekeys") >= 3, "{}", agent.status().unwrap());
}
