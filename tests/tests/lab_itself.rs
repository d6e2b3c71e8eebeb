//! The lab proves itself with strongSwan on both ends, so that a failure elsewhere is our gateway's.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::iperf::{Load, iperf};
use gateway_tests::lab::PUBLIC;
use gateway_tests::ping::ping;
use gateway_tests::stream::Stream;
use gateway_tests::{Capture, Lab, Side, StrongSwan, StrongSwanConfig};

#[test]
fn two_strongswans_carry_traffic_only_through_their_tunnel() {
    let lab = Lab::new().unwrap();
    let _a = StrongSwan::start(&lab, Side::A, &StrongSwanConfig::new(Side::A)).unwrap();
    let b = StrongSwan::start(&lab, Side::B, &StrongSwanConfig::new(Side::B)).unwrap();
    b.initiate().unwrap();
    assert_eq!(b.installed().unwrap(), 1);

    let capture = Capture::start(&lab, lab.gateway(Side::A), PUBLIC).unwrap();
    let pings = ping(lab.host(Side::A), Side::B.host(), 5, 20, &["-p", "ca11ab1e"]).unwrap();
    assert_eq!((pings.sent, pings.lost()), (5, 0));
    assert!(pings.first_ms.is_some());
    let packets = capture.stop().unwrap();
    assert!(packets.len() >= 10, "{packets:?}");
    assert!(
        packets.iter().all(|packet| packet.ports() == Some((4500, 4500))),
        "{packets:?}"
    );
    assert!(
        !packets
            .iter()
            .any(|packet| packet.is_in_the_clear() || packet.contains(&[0xca, 0x11, 0xab, 0x1e]))
    );

    b.terminate().unwrap();
    assert_eq!(b.installed().unwrap(), 0);
}

#[test]
fn a_capture_sees_packets_in_the_clear() {
    let lab = Lab::new().unwrap();
    lab.route_in_the_clear().unwrap();
    let capture = Capture::start(&lab, lab.gateway(Side::A), PUBLIC).unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 2, 20, &["-p", "ca11ab1e"])
            .unwrap()
            .lost(),
        0
    );
    let packets = capture.stop().unwrap();
    assert!(
        packets.iter().filter(|packet| packet.is_in_the_clear()).count() >= 4,
        "{packets:?}"
    );
    assert!(
        packets
            .iter()
            .any(|packet| packet.contains(&[0xca, 0x11, 0xab, 0x1e]))
    );

    lab.no_route_in_the_clear().unwrap();
    let host = lab.host(Side::A);
    assert_eq!(
        ping(host, Side::B.host(), 1, 20, &["-W", "1"]).unwrap().received,
        0
    );
}

#[test]
fn streams_and_iperf_count_what_arrives() {
    let lab = Lab::new().unwrap();
    lab.route_in_the_clear().unwrap();
    let stream = Stream::start(&lab, Side::A, 1000, 100).unwrap();
    let rate = stream.measure_mbps(Duration::from_secs(1));
    let report = stream.finish();
    assert!((0.8..1.2).contains(&rate), "{rate} Mbit/s");
    assert!(
        report.sent > 900 && report.lost() == 0 && report.repeated == 0,
        "{report:?}"
    );

    assert!(iperf(&lab, Side::A, 1, Load::Tcp).unwrap().mbps > 50.0);
    let udp = iperf(
        &lab,
        Side::B,
        1,
        Load::Udp {
            mbps: 10,
            payload: 1000,
        },
    )
    .unwrap();
    assert!((9.0..11.0).contains(&udp.mbps), "{udp:?}");
}

#[test]
fn nothing_is_left_when_a_lab_ends() {
    let lab = Lab::new().unwrap();
    let (directory, name) = (lab.directory().to_owned(), lab.gateway(Side::A).name().to_owned());
    let netns = std::path::Path::new("/run/netns").join(&name);
    assert!(directory.exists() && netns.exists());
    drop(lab);
    assert!(!directory.exists() && !netns.exists());
}
