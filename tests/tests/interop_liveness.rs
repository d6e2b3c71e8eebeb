//! Peers that die, come back, or only ask whether we are there.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::thread;
use std::time::Duration;

use gateway_tests::config::TUNNEL;
use gateway_tests::matrix::Exchange;
use gateway_tests::ping::{bring_up, ping};
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig, wait};

/// Idle time, five repetitions of the probe in 63 s, and some of the machine's own.
const FOUND_OUT: Duration = Duration::from_secs(100);

/// How long nothing must happen.
const WATCH: Duration = Duration::from_secs(2);

/// What follows when the peer was found dead, by the configured action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Clear,
    Restart,
    Hold,
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Restart => "restart",
            Self::Hold => "hold",
        }
    }
}

fn a_killed_peer_is_found_out(exchange: Exchange, action: Action) {
    let lab = Lab::new().unwrap();
    let theirs = StrongSwanConfig::new(Side::B).speaking(exchange);
    let mut peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
    let config = Config::new(&lab, Side::A).speaking(exchange).tunnels(|tunnel| {
        tunnel.ike.dpd_seconds = Some(2);
        tunnel.ike.dpd_action = Some(action.name().to_owned());
    });
    let agent = Agent::start(&lab, Side::A, &config).unwrap();
    bring_up(&lab, Side::A).unwrap();
    peer.kill_9().unwrap();
    agent
        .wait_status("the peer to be found dead", FOUND_OUT, |status| {
            status.tunnel(TUNNEL)?.spis().is_empty().then_some(())
        })
        .unwrap_or_else(|error| panic!("{exchange:?} {action:?}: {error}"));

    let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
    if action == Action::Restart {
        // Without traffic.
        agent
            .wait_tunnel(TUNNEL, "up", FOUND_OUT)
            .unwrap_or_else(|error| panic!("{exchange:?} {action:?}: {error}"));
    } else {
        // Nothing happens, not even an attempt.
        let is_down = || agent.status().unwrap().tunnel(TUNNEL).unwrap().state() == "down";
        assert!(is_down(), "{exchange:?} {action:?}");
        thread::sleep(WATCH);
        assert!(is_down(), "{exchange:?} {action:?}");
        assert_eq!(peer.installed().unwrap(), 0, "{exchange:?} {action:?}");
    }
    let report = wait::until("traffic to flow again", Duration::from_secs(10), || {
        let report = ping(lab.host(Side::A), Side::B.host(), 3, 50, &["-W", "1"]).ok()?;
        (report.lost() == 0).then_some(())
    });
    report.unwrap_or_else(|error| panic!("{exchange:?} {action:?}: {error}\n{}", agent.log()));
}

/// At once, because each of them mostly waits.
fn each_action_on_a_killed_peer(exchange: Exchange) {
    thread::scope(|scope| {
        for action in [Action::Clear, Action::Restart, Action::Hold] {
            scope.spawn(move || a_killed_peer_is_found_out(exchange, action));
        }
    });
}

#[test]
fn each_action_on_a_killed_peer_works_with_ikev1() {
    each_action_on_a_killed_peer(Exchange::Main);
}

#[test]
fn each_action_on_a_killed_peer_works_with_ikev2() {
    each_action_on_a_killed_peer(Exchange::V2);
}

#[test]
fn a_peer_that_asks_whether_we_are_there_is_told() {
    for exchange in Exchange::ALL {
        let lab = Lab::new().unwrap();
        let theirs = StrongSwanConfig::new(Side::B)
            .speaking(exchange)
            .connection(&["dpd_delay = 1s", "dpd_timeout = 3s"]);
        let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
        let config = Config::new(&lab, Side::A).speaking(exchange);
        let agent = Agent::start(&lab, Side::A, &config).unwrap();
        bring_up(&lab, Side::A).unwrap();
        let before = agent.status().unwrap().tunnel(TUNNEL).unwrap().spis();
        // One more than the peer sends before it gives up on one that does not answer.
        wait::until("the peer to ask four times", Duration::from_secs(20), || {
            (peer.log().matches("sending DPD request").count() >= 4).then_some(())
        })
        .unwrap_or_else(|error| panic!("{exchange:?}: {error}\n{}", peer.log()));
        let after = agent.status().unwrap().tunnel(TUNNEL).unwrap().spis();
        assert_eq!((peer.installed().unwrap(), after), (1, before), "{exchange:?}");
    }
}

/// A restarted peer negotiates anew, and traffic follows at once: nobody has to find out.
#[test]
fn a_restarted_peer_that_starts_itself_replaces_what_it_has_forgotten() {
    for exchange in Exchange::ALL {
        let lab = Lab::new().unwrap();
        let theirs = StrongSwanConfig::new(Side::B).speaking(exchange);
        let mut peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
        let config = Config::new(&lab, Side::A).speaking(exchange);
        let agent = Agent::start(&lab, Side::A, &config).unwrap();
        bring_up(&lab, Side::A).unwrap();
        peer.kill_9().unwrap();
        let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
        peer.initiate().unwrap();
        let report = ping(lab.host(Side::A), Side::B.host(), 5, 50, &["-W", "1"]).unwrap();
        assert_eq!(report.lost(), 0, "{exchange:?}: {report:?}\n{}", agent.log());
        let status = agent.status().unwrap();
        let spis = status.tunnel(TUNNEL).unwrap().spis();
        // strongSwan sends INITIAL-CONTACT in main mode only: after aggressive mode the old SA lives out its time, unused.
        let most = if exchange == Exchange::Aggressive { 2 } else { 1 };
        assert!(spis.len() <= most, "{exchange:?}: {status}");
    }
}
