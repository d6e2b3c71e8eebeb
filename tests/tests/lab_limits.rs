//! SAs with small limits under traffic.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::config::TUNNEL;
use gateway_tests::ping::bring_up;
use gateway_tests::stream::Stream;
use gateway_tests::{Agent, Config, Lab, Side};

/// Ten megabytes last four seconds at this rate.
const KILOBYTES: u64 = 9766;
const PER_SECOND: u32 = 2500;
/// Four such lives: the renewals are counted over this time.
const TRAFFIC: Duration = Duration::from_secs(16);
const PAYLOAD: usize = 972;

#[test]
fn a_small_volume_limit_is_renewed_in_time_and_loses_nothing() {
    let lab = Lab::new().unwrap();
    let start = |side| {
        let config = Config::new(&lab, side).tunnels(|tunnel| {
            tunnel.ipsec.lifetime_kilobytes = Some(KILOBYTES);
        });
        Agent::start(&lab, side, &config).unwrap()
    };
    let (a, b) = (start(Side::A), start(Side::B));
    bring_up(&lab, Side::A).unwrap();
    let stream = Stream::start(&lab, Side::A, PER_SECOND, PAYLOAD).unwrap();
    std::thread::sleep(TRAFFIC);
    let report = stream.finish();
    let status = a.status().unwrap();
    let tunnel = status.tunnel(TUNNEL).unwrap();
    let far = b.status().unwrap();
    assert_eq!((tunnel.dropped(), tunnel.failure()), (0, None), "{status}");
    assert_eq!(
        (far.tunnel(TUNNEL).unwrap().dropped(), far.verdicts("unknown_spi")),
        (0, 0),
        "{far}"
    );
    // No gateway lost one. A machine that is busy with other things loses some in the sockets of the hosts.
    assert!(report.lost() * 500 <= report.sent, "{report:?}");
    let renewed = tunnel.json()["negotiations"]["child_rekeys"].as_u64().unwrap();
    assert!((3..=16).contains(&renewed), "{renewed} renewals: {status}");
}
