//! What a rule protects never leaves in the clear. The gateway's kernel is given a route to the far network on purpose: only
//! the XDP program stands between a packet and the public side. Captures are taken on the wire between the gateways.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use gateway_tests::lab::WIRE;
use gateway_tests::ping::ping;
use gateway_tests::process::ended_by;
use gateway_tests::stream::Stream;
use gateway_tests::{Agent, Capture, Config, Lab, Side};
use nix::sys::signal::Signal;

/// Octets that every echo request carries.
const MARK: ([u8; 4], &str) = ([0xca, 0x11, 0xab, 0x1e], "ca11ab1e");

#[track_caller]
fn assert_nothing_leaked(capture: Capture, when: &str) -> usize {
    let packets = capture.stop().unwrap();
    let leaked: Vec<_> = packets
        .iter()
        .filter(|packet| packet.is_in_the_clear() || packet.contains(&MARK.0))
        .collect();
    assert!(
        leaked.is_empty(),
        "{when}: {} of {} leaked: {:?}",
        leaked.len(),
        packets.len(),
        leaked.first()
    );
    packets.len()
}

fn knock(lab: &Lab, count: u32) -> u32 {
    let report = ping(
        lab.host(Side::A),
        Side::B.host(),
        count,
        20,
        &["-p", MARK.1, "-W", "1"],
    )
    .unwrap();
    report.received
}

#[test]
fn not_while_the_tunnel_is_down_or_coming_up_or_the_agent_is_dead() {
    let lab = Lab::with_wire().unwrap();
    lab.route_in_the_clear().unwrap();
    let capture = || Capture::start(&lab, lab.wire().unwrap(), WIRE).unwrap();

    // The agent is not there yet: the route works, so the capture could see a leak.
    let clear = capture();
    assert!(knock(&lab, 2) > 0);
    assert!(
        clear
            .stop()
            .unwrap()
            .iter()
            .any(|packet| packet.contains(&MARK.0))
    );

    let mut a = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    let down = capture();
    assert_eq!(knock(&lab, 20), 0, "nobody answers yet");
    assert_nothing_leaked(down, "the peer does not exist");

    let coming_up = capture();
    let b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    let stream = Stream::start(&lab, Side::A, 1000, 200).unwrap();
    let answered = (0..50).map(|_| knock(&lab, 5)).find(|&answered| answered == 5);
    assert!(answered.is_some(), "the tunnel does not come up:\n{}", a.log());
    stream.finish();
    assert_nothing_leaked(coming_up, "coming up and up");

    let killed = capture();
    let stream = Stream::start(&lab, Side::A, 1000, 200).unwrap();
    stream.wait_arrival().unwrap();
    let status = a.process().kill().unwrap();
    assert!(
        ended_by(status, Signal::SIGKILL),
        "the agent had ended before: {status}"
    );
    stream.wait_sent(500).unwrap();
    assert_eq!(knock(&lab, 5), 0, "a dead agent forwards nothing");
    let report = stream.finish();
    assert!(report.received > 0 && report.lost() > 0, "{report:?}");
    assert_nothing_leaked(killed, "killed with -9");

    // Starting again must not open a gap either.
    let restarted = capture();
    let stream = Stream::start(&lab, Side::A, 1000, 200).unwrap();
    let a = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    let answered = (0..50).map(|_| knock(&lab, 5)).find(|&answered| answered == 5);
    assert!(
        answered.is_some(),
        "the tunnel does not come back:\n{}\n{}",
        a.log(),
        b.log()
    );
    stream.finish();
    assert_nothing_leaked(restarted, "started again");
}

#[test]
fn not_after_an_orderly_stop_until_the_operator_detaches() {
    let lab = Lab::with_wire().unwrap();
    lab.route_in_the_clear().unwrap();
    let mut a = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    a.stop().unwrap();
    let stopped = Capture::start(&lab, lab.wire().unwrap(), WIRE).unwrap();
    assert_eq!(knock(&lab, 5), 0);
    assert_nothing_leaked(stopped, "stopped");

    a.detach().unwrap();
    assert_eq!(knock(&lab, 5), 5, "after `detach` the kernel routes");
}

#[test]
fn packets_in_the_clear_from_outside_are_refused() {
    let lab = Lab::with_wire().unwrap();
    lab.route_in_the_clear().unwrap();
    let a = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    // Host B sends straight to host A: the rule says that such packets come through the tunnel.
    let report = ping(lab.host(Side::B), Side::A.host(), 5, 20, &["-W", "1"]).unwrap();
    assert_eq!(report.received, 0);
    assert_eq!(
        a.status().unwrap().verdicts("cleartext_inbound"),
        5,
        "{}",
        a.status().unwrap()
    );
}
