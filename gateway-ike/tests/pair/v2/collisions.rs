//! Both ends do the same at once, and messages of it get lost (RFC 7296 sections 2.8 and 2.25).

use std::time::Duration;

use gateway_ike::config::PairIndex;
use gateway_ike::crypto::DhGroup;

use crate::net::{End, FIRST, Fate, Pair, TUNNEL};
use crate::setup::Setup;

const SECOND: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(100);

/// Both ends seal with two halves of the same Child SA, there is one IKE SA, and nothing was ever sealed in vain.
#[track_caller]
fn assert_agreed(pair: &Pair, what: &str) {
    let story = || format!("{what}: {:#?} {:#?}", pair.a.log, pair.b.log);
    assert_eq!(pair.lost_esp, [], "{}", story());
    assert_eq!(pair.void, [], "{}", story());
    pair.assert_mirrored();
    assert_eq!(pair.a.ike_sas, pair.b.ike_sas, "{}", story());
    assert_eq!(pair.a.ike_sas.len(), 1, "{}", story());
    for (index, ours) in &pair.a.sealing {
        let theirs = &pair.b.installed[&pair.b.sealing[index]].sa;
        let ours = &pair.a.installed[ours].sa;
        assert_eq!(ours.outbound.spi, theirs.inbound.spi, "{}", story());
    }
}

#[test]
fn both_ends_initiate_at_once_and_one_tunnel_remains() {
    // a --> IKE_SA_INIT   <-- b, at once; a --> IKE_AUTH   <-- b, at once or not
    for seed in 0..40 {
        for wait in [0, 5, 15, 25, 35] {
            let mut setup = Setup::v2();
            setup.seed = seed;
            let mut pair = setup.start();
            pair.initiate(End::A);
            pair.run_for(Duration::from_millis(wait));
            pair.initiate(End::B);
            pair.run_with_traffic(20 * SECOND, STEP);
            assert_agreed(&pair, &format!("seed {seed}, {wait} ms"));
            pair.assert_up(1);
        }
    }
}

#[test]
fn two_tunnels_that_crossed_are_renewed_in_time() {
    for seed in 0..10 {
        let mut setup = Setup::v2().both(|side| side.lifetime.time = 60 * SECOND);
        setup.seed = seed;
        let mut pair = setup.start();
        pair.initiate(End::A);
        pair.initiate(End::B);
        pair.run_with_traffic(2 * SECOND, STEP);
        for _ in 0..300 {
            assert!(
                pair.send_esp(End::A, FIRST) && pair.send_esp(End::B, FIRST),
                "seed {seed}"
            );
            pair.run_for(SECOND);
        }
        assert_eq!((&pair.lost_esp, &pair.void), (&vec![], &vec![]), "seed {seed}");
    }
}

#[test]
fn both_ends_ask_for_another_child_sa_at_once_and_one_remains() {
    // a --> CREATE_CHILD_SA { SA, Ni, TSi, TSr }   <-- b, at once
    for seed in 0..20 {
        for pfs in [None, Some(DhGroup::Modp1024)] {
            let mut setup = Setup::v2().both(|side| side.pfs = pfs);
            setup.seed = seed;
            let mut pair = Pair::established(setup);
            pair.run_with_traffic(10 * SECOND, STEP);
            let second = PairIndex(1);
            for end in [End::A, End::B] {
                pair.with(end, |endpoint, now| endpoint.initiate(now, TUNNEL, second));
            }
            for _ in 0..200 {
                pair.send_esp(End::A, second);
                pair.send_esp(End::B, second);
                pair.run_with_traffic(STEP, STEP);
            }
            assert_agreed(&pair, &format!("seed {seed}"));
            pair.assert_up(2);
        }
    }
}

#[test]
fn colliding_rekeys_lose_nothing_whichever_message_is_lost() {
    // a --> CREATE_CHILD_SA { N(REKEY_SA), ... }   <-- b, at once; one message of either does not arrive
    for seed in 0..10 {
        for from in [End::A, End::B] {
            for lost in 0..4 {
                let mut setup = Setup::v2();
                setup.seed = seed;
                let mut pair = Pair::established(setup);
                pair.run_with_traffic(5 * SECOND, STEP);
                let before = pair.sent.iter().filter(|(_, end, _)| *end == from).count();
                pair.filter = Some(Box::new(move |end, count, _| {
                    if (end, count) == (from, before + lost) {
                        Fate::Lose
                    } else {
                        Fate::Deliver
                    }
                }));
                for end in [End::A, End::B] {
                    let child = *pair.node(end).sealing.get(&FIRST).unwrap();
                    pair.with(end, |endpoint, now| endpoint.rekey_child(now, child));
                }
                pair.run_with_traffic(30 * SECOND, STEP);
                assert_agreed(&pair, &format!("seed {seed}, message {lost} of {from:?}"));
                pair.assert_up(1);
            }
        }
    }
}

#[test]
fn a_responder_seals_when_the_initiator_has_its_answer() {
    // a --> IKE_AUTH   <-- b, which is lost three times
    let mut pair = Setup::v2().start();
    let mut answers = 0;
    pair.filter = Some(Box::new(move |end, _, octets| {
        answers += usize::from(end == End::B && octets[18] == 35);
        let is_lost = end == End::B && octets[18] == 35 && answers <= 3;
        if is_lost { Fate::Lose } else { Fate::Deliver }
    }));
    pair.initiate(End::A);
    for _ in 0..200 {
        // Only B has something to send.
        pair.send_esp(End::B, FIRST);
        pair.run_for(STEP);
    }
    assert_agreed(&pair, "b alone has traffic");
    assert!(pair.delivered_esp > 100, "{:#?}", pair.b.log);
}

#[test]
fn a_peer_whose_packets_come_in_is_not_dead_however_many_messages_are_lost() {
    let mut pair = Pair::established(Setup::v2().both(|side| side.dpd_delay = Some(10 * SECOND)));
    let child = *pair.a.sealing.get(&FIRST).unwrap();
    pair.filter = Some(Box::new(|_, _, _| Fate::Lose));
    pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, child));
    pair.run_with_traffic(90 * SECOND, SECOND);
    pair.filter = None;
    pair.run_with_traffic(20 * SECOND, SECOND);
    assert_eq!(
        (pair.a.failures.len(), pair.b.failures.len()),
        (0, 0),
        "{:#?}",
        pair.a.log
    );
    assert_ne!(pair.a.sealing[&FIRST], child);
    assert_agreed(&pair, "after ninety seconds");
}
