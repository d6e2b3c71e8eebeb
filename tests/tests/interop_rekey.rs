//! Keys are replaced under traffic in both directions and no packet is lost.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::config::{Pfs, TUNNEL, Tunnel};
use gateway_tests::matrix::Exchange;
use gateway_tests::ping::{bring_up, ping};
use gateway_tests::stream::Stream;
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig};

/// How long traffic runs.
const TRAFFIC: Duration = Duration::from_secs(30);
/// Datagrams per second in each direction.
const RATE: u32 = 1000;
/// strongSwan's words for SAs that it never renews by itself.
const THEY_NEVER: [&str; 2] = ["rekey_time = 0", "life_time = 0"];

/// Who renews what.
struct Story {
    exchange: Exchange,
    /// Who brings the tunnel up.
    first: Side,
    ours: fn(&mut Tunnel),
    theirs: fn(StrongSwanConfig) -> StrongSwanConfig,
    /// Which count of our status must have risen by how much.
    renewed: (&'static str, u64),
}

impl Story {
    /// Runs a stream each way and lets keys be replaced meanwhile.
    #[track_caller]
    fn run(self) {
        let lab = Lab::new().unwrap();
        let theirs = (self.theirs)(StrongSwanConfig::new(Side::B).speaking(self.exchange));
        let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
        let config = Config::new(&lab, Side::A)
            .speaking(self.exchange)
            .tunnels(self.ours);
        let agent = Agent::start(&lab, Side::A, &config).unwrap();
        if self.first == Side::B {
            peer.initiate().unwrap();
        }
        bring_up(&lab, Side::A).unwrap();
        let report = ping(lab.host(Side::A), Side::B.host(), 3, 50, &[]).unwrap();
        assert_eq!(report.lost(), 0, "{report:?}");
        let streams = [Side::A, Side::B].map(|from| Stream::start(&lab, from, RATE, 200).unwrap());
        std::thread::sleep(TRAFFIC);
        for report in streams.map(Stream::finish) {
            assert!(
                report.sent > u64::from(RATE) * (TRAFFIC.as_secs() - 5),
                "{report:?}"
            );
            assert_eq!(
                (report.lost(), report.repeated),
                (0, 0),
                "{report:?}\n{}",
                agent.status().unwrap()
            );
        }
        let (kind, least) = self.renewed;
        let status = agent.status().unwrap();
        let count = status.tunnel(TUNNEL).unwrap().json()["negotiations"][kind]
            .as_u64()
            .unwrap();
        assert!(count >= least, "{kind}: {count}\n{status}");
    }
}

fn our_child_rekeys(exchange: Exchange) {
    Story {
        exchange,
        first: Side::A,
        ours: |tunnel| {
            tunnel.ipsec.lifetime_seconds = Some(10);
            tunnel.ipsec.pfs = Some(Pfs::Group(14));
        },
        theirs: |config| {
            StrongSwanConfig {
                esp: format!("{}-modp2048", config.esp),
                ..config
            }
            .child(&THEY_NEVER)
        },
        renewed: ("child_rekeys", 2),
    }
    .run();
}

#[test]
fn our_rekeys_of_ikev1_child_sas_lose_nothing() {
    our_child_rekeys(Exchange::Main);
}

#[test]
fn our_rekeys_of_ikev2_child_sas_lose_nothing() {
    our_child_rekeys(Exchange::V2);
}

fn our_ike_rekeys(exchange: Exchange) {
    Story {
        exchange,
        first: Side::A,
        ours: |tunnel| {
            tunnel.ike.lifetime_seconds = Some(12);
            // strongSwan has no such limit and agrees to ours.
            let is_v1 = tunnel.ike.version.as_deref() != Some("ikev2");
            tunnel.ike.lifetime_kilobytes = is_v1.then_some(64);
        },
        theirs: |config| config,
        renewed: ("ike_rekeys", 2),
    }
    .run();
}

#[test]
fn our_main_modes_lose_nothing() {
    our_ike_rekeys(Exchange::Main);
}

#[test]
fn our_aggressive_modes_lose_nothing() {
    our_ike_rekeys(Exchange::Aggressive);
}

#[test]
fn our_rekeys_of_ikev2_sas_lose_nothing() {
    our_ike_rekeys(Exchange::V2);
}

/// strongSwan's timers for many rekeys within the time of the traffic.
fn they_rekey(config: StrongSwanConfig) -> StrongSwanConfig {
    config
        .connection(&["reauth_time = 0", "rekey_time = 12s", "rand_time = 0s"])
        .child(&["rekey_time = 8s", "life_time = 14s", "rand_time = 0s"])
}

fn their_rekeys(exchange: Exchange) {
    Story {
        exchange,
        first: Side::B,
        ours: |_| {},
        theirs: they_rekey,
        renewed: ("child_rekeys", 3),
    }
    .run();
}

#[test]
fn strongswans_rekeys_by_ikev1_lose_nothing() {
    their_rekeys(Exchange::Main);
}

#[test]
fn strongswans_rekeys_by_ikev2_lose_nothing() {
    their_rekeys(Exchange::V2);
}

/// Both ends renew after eight seconds, give or take the jitter: some rekeys cross.
fn both_rekey(exchange: Exchange) {
    Story {
        exchange,
        first: Side::A,
        ours: |tunnel| {
            tunnel.ike.lifetime_seconds = Some(15);
            tunnel.ipsec.lifetime_seconds = Some(10);
        },
        theirs: they_rekey,
        renewed: ("child_rekeys", 3),
    }
    .run();
}

#[test]
fn rekeys_of_both_ends_by_ikev1_lose_nothing() {
    both_rekey(Exchange::Main);
}

#[test]
fn rekeys_of_both_ends_by_ikev2_lose_nothing() {
    both_rekey(Exchange::V2);
}

/// The peer sees as many octets as we send; whoever comes first to its limit renews.
fn rekeys_by_volume(exchange: Exchange, ours: fn(&mut Tunnel), theirs: [&'static str; 2]) {
    let lab = Lab::new().unwrap();
    let config = StrongSwanConfig::new(Side::B).speaking(exchange).child(&theirs);
    let _peer = StrongSwan::start(&lab, Side::B, &config).unwrap();
    let config = Config::new(&lab, Side::A).speaking(exchange).tunnels(ours);
    let agent = Agent::start(&lab, Side::A, &config).unwrap();
    bring_up(&lab, Side::A).unwrap();
    let streams = [Side::A, Side::B].map(|from| Stream::start(&lab, from, 400, 1000).unwrap());
    let renewed = agent.wait_status("three rekeys", Duration::from_secs(40), |status| {
        let count = status.tunnel(TUNNEL)?.json()["negotiations"]["child_rekeys"].as_u64()?;
        (count >= 3).then_some(())
    });
    for report in streams.map(Stream::finish) {
        assert_eq!(report.lost(), 0, "{report:?}\n{}", agent.status().unwrap());
    }
    renewed.unwrap();
}

#[test]
fn our_limit_of_kilobytes_renews_in_time() {
    for exchange in [Exchange::Main, Exchange::V2] {
        rekeys_by_volume(
            exchange,
            |tunnel| tunnel.ipsec.lifetime_kilobytes = Some(5000),
            THEY_NEVER,
        );
    }
}

#[test]
fn strongswans_limit_of_octets_renews_in_time() {
    for exchange in [Exchange::Main, Exchange::V2] {
        rekeys_by_volume(
            exchange,
            |_| {},
            [
                "rekey_bytes = 2000000\n        rand_bytes = 0",
                "life_bytes = 8000000",
            ],
        );
    }
}

#[test]
fn our_reauthentication_by_ikev2_loses_nothing() {
    Story {
        exchange: Exchange::V2,
        first: Side::A,
        ours: |tunnel| tunnel.ike.reauthentication_seconds = Some(12),
        theirs: |config| config,
        renewed: ("ike_rekeys", 2),
    }
    .run();
}
