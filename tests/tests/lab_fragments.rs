//! ESP packets that a router on the way cut into IP fragments.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use gateway_tests::config::TUNNEL;
use gateway_tests::ping::ping;
use gateway_tests::{Agent, Config, Lab, Side};

/// Pings of `size` octets arrive whatever the encapsulation, although the router before gateway B carries 1000 octets only.
#[track_caller]
fn check(encapsulation: Option<&str>) {
    let lab = Lab::with_wire().unwrap();
    lab.narrow_towards_b(1000).unwrap();
    let start = |side| {
        let config = Config::new(&lab, side).tunnels(|tunnel| {
            tunnel.ipsec.encapsulation = encapsulation.map(str::to_owned);
        });
        Agent::start(&lab, side, &config).unwrap()
    };
    let (_a, b) = (start(Side::A), start(Side::B));
    let small = ping(lab.host(Side::A), Side::B.host(), 3, 20, &[]).unwrap();
    assert_eq!(small.lost(), 0, "{small:?}");
    let injected = || b.status().unwrap().workers("injected");
    assert_eq!(injected(), 0, "whole packets come through the XDP program");

    let arguments = ["-s", "1350", "-M", "dont"];
    let long = ping(lab.host(Side::A), Side::B.host(), 20, 20, &arguments).unwrap();
    assert_eq!(long.lost(), 0, "{long:?}\n{}", b.log());
    assert_eq!(injected(), 20);
    let status = b.status().unwrap();
    let tunnel = status.tunnel(TUNNEL).unwrap();
    assert_eq!(
        (tunnel.count("packets_in"), tunnel.dropped()),
        (23, 0),
        "{status}"
    );
}

#[test]
fn esp_in_fragments_is_opened_like_any_other() {
    check(None);
}

#[test]
fn esp_in_udp_in_fragments_is_opened_like_any_other() {
    check(Some("udp"));
}
