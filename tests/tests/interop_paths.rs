//! What lies between the ends, and what they may do besides: NATs and fragments.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::lab::BEHIND_NAT;
use gateway_tests::matrix::Exchange;
use gateway_tests::ping::ping;
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig, wait};

/// Whether packets are lost is asked elsewhere.
#[track_caller]
fn assert_traffic(lab: &Lab, agent: &Agent, what: &str) {
    for from in [Side::A, Side::B] {
        wait::until("pings to be answered", Duration::from_secs(10), || {
            let report = ping(lab.host(from), from.other().host(), 3, 20, &["-W", "1"]).ok()?;
            (report.lost() == 0).then_some(())
        })
        .unwrap_or_else(|error| panic!("{what}, from {from:?}: {error}\n{}", agent.log()));
    }
}

#[test]
fn a_peer_behind_a_nat_is_answered() {
    for exchange in Exchange::ALL {
        let lab = Lab::with_nat().unwrap();
        let theirs = StrongSwanConfig {
            local_address: BEHIND_NAT,
            ..StrongSwanConfig::new(Side::B)
        }
        .speaking(exchange);
        let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
        let config = Config::new(&lab, Side::A).speaking(exchange).start("answer");
        let agent = Agent::start(&lab, Side::A, &config).unwrap();
        peer.initiate().unwrap_or_else(|error| {
            panic!("{exchange:?}: {error}\n{}", agent.log());
        });
        assert_traffic(&lab, &agent, &format!("{exchange:?}"));
    }
}

#[test]
fn fragments_of_ike_messages_are_put_together_in_both_directions() {
    for exchange in Exchange::ALL {
        for start in ["traffic", "answer"] {
            let lab = Lab::new().unwrap();
            let theirs = StrongSwanConfig::new(Side::B)
                .speaking(exchange)
                .connection(&["fragmentation = yes"])
                .daemon(&["fragment_size = 256"]);
            let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
            let config = Config::new(&lab, Side::A).speaking(exchange).start(start);
            let agent = Agent::start(&lab, Side::A, &config).unwrap();
            if start == "answer" {
                peer.initiate().unwrap();
            }
            assert_traffic(&lab, &agent, &format!("{exchange:?} {start}"));
        }
    }
}
