//! Make before break: successors of Child SAs and IKE SAs, from one end and from both.

use std::time::Duration;

use gateway_ike::crypto::DhGroup;

use crate::net::{End, FIRST, Fate, Pair, TUNNEL};
use crate::setup::Setup;

const SECOND: Duration = Duration::from_secs(1);

fn short_child() -> Setup {
    Setup::v2().both(|side| side.lifetime.time = Duration::from_secs(60))
}

#[test]
fn a_child_sa_is_renewed_before_its_end_and_no_packet_is_lost() {
    let mut pair = Pair::established(short_child());
    let old = *pair.a.sealing.get(&FIRST).unwrap();
    pair.run_with_traffic(Duration::from_secs(58), Duration::from_millis(100));
    assert_ne!(old, *pair.a.sealing.get(&FIRST).unwrap(), "{:#?}", pair.a.log);
    assert_eq!(pair.lost_esp, []);
    pair.assert_up(1);
    assert_eq!(pair.a.ike_sas.len(), 1);
}

#[test]
fn the_end_of_what_was_renewed_is_told_once() {
    let mut pair = Pair::established(Setup::v2());
    pair.run_with_traffic(5 * SECOND, Duration::from_millis(100));
    let (child, before) = (*pair.a.sealing.get(&FIRST).unwrap(), pair.sent.len());
    pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, child));
    pair.run_with_traffic(20 * SECOND, Duration::from_millis(100));
    // Requests of the exchange INFORMATIONAL: with traffic both ways nobody asks whether the other is there.
    let told = pair.sent[before..]
        .iter()
        .filter(|(_, _, octets)| octets[18] == 37 && octets[19] & 0x20 == 0)
        .count();
    assert_eq!(told, 1);
    pair.assert_up(1);
}

#[test]
fn an_hour_of_rekeys_loses_no_packet() {
    for pfs in [None, Some(DhGroup::Modp1024)] {
        let setup = Setup::v2().both(|side| {
            side.lifetime.time = Duration::from_secs(60);
            side.ike_lifetime = Duration::from_secs(300);
            side.pfs = pfs;
        });
        let mut pair = Pair::established(setup);
        pair.run_with_traffic(Duration::from_secs(3600), SECOND);
        assert_eq!(pair.lost_esp, []);
        pair.assert_mirrored();
        let rekeys = pair.a.log.iter().filter(|line| line.contains("install")).count();
        assert!((60..100).contains(&rekeys), "{rekeys} child sas");
        let ike = pair.a.log.iter().filter(|line| line.contains("ike up")).count();
        assert!((12..20).contains(&ike), "{ike} ike sas");
        assert!(pair.a.installed.len() <= 2 && pair.a.ike_sas.len() <= 2);
        assert!(
            pair.a.failures.is_empty() && pair.b.failures.is_empty(),
            "{:?}",
            pair.a.failures
        );
    }
}

#[test]
fn both_ends_renew_a_child_sa_at_once_and_one_remains() {
    for seed in 0..30 {
        let mut setup = Setup::v2();
        setup.seed = seed;
        if seed % 2 == 0 {
            setup = setup.both(|side| side.pfs = Some(DhGroup::Modp1024));
        }
        let mut pair = Pair::established(setup);
        pair.run_with_traffic(10 * SECOND, Duration::from_millis(100));
        // a --> CREATE_CHILD_SA { N(REKEY_SA), ... }   <-- b, at once
        for end in [End::A, End::B] {
            let child = *pair.node(end).sealing.get(&FIRST).unwrap();
            pair.with(end, |endpoint, now| endpoint.rekey_child(now, child));
        }
        pair.run_with_traffic(20 * SECOND, Duration::from_millis(100));
        pair.assert_up(1);
        pair.assert_mirrored();
        assert_eq!(
            pair.lost_esp,
            [],
            "seed {seed}: {:#?} {:#?}",
            pair.a.log,
            pair.b.log
        );
        assert!(pair.a.failures.is_empty() && pair.b.failures.is_empty());
    }
}

#[test]
fn both_ends_renew_the_ike_sa_at_once_and_one_remains() {
    for seed in 0..30 {
        let mut setup = Setup::v2().both(|side| side.ike_lifetime = Duration::from_secs(600));
        setup.seed = seed;
        let mut pair = Pair::established(setup);
        pair.run_with_traffic(5 * SECOND, Duration::from_millis(100));
        for end in [End::A, End::B] {
            pair.with(end, |endpoint, now| endpoint.rekey_ike(now, TUNNEL));
        }
        pair.run_with_traffic(10 * SECOND, Duration::from_millis(100));
        pair.assert_up(1);
        pair.assert_mirrored();
        assert_eq!(pair.lost_esp, []);
        assert_eq!(
            (pair.a.ike_sas.len(), pair.b.ike_sas.len()),
            (1, 1),
            "seed {seed}: {:#?} {:#?}",
            pair.a.log,
            pair.b.log
        );
        assert_eq!(pair.a.ike_sas, pair.b.ike_sas);
    }
}

#[test]
fn the_loss_of_any_message_of_a_rekey_is_made_up_for() {
    for end in [End::A, End::B] {
        for lost in 0..4 {
            let mut pair = Pair::established(Setup::v2());
            pair.run_with_traffic(5 * SECOND, Duration::from_millis(100));
            let from_here = pair.sent.iter().filter(|(_, from, _)| *from == end).count();
            pair.filter = Some(Box::new(move |from, count, _| {
                if from == end && count == from_here + lost {
                    Fate::Lose
                } else {
                    Fate::Deliver
                }
            }));
            let child = *pair.a.sealing.get(&FIRST).unwrap();
            pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, child));
            pair.run_with_traffic(20 * SECOND, Duration::from_millis(100));
            pair.assert_up(1);
            pair.assert_mirrored();
            assert_eq!(
                pair.lost_esp,
                [],
                "{end:?} {lost}: {:#?} {:#?}",
                pair.a.log,
                pair.b.log
            );
        }
    }
}

#[test]
fn reauthentication_makes_before_it_breaks() {
    let setup = Setup::v2().both(|side| {
        side.keep_up = true;
        side.reauthentication = Some(Duration::from_secs(60));
    });
    let mut pair = setup.start();
    pair.run_for(10 * SECOND);
    pair.run_with_traffic(Duration::from_secs(300), Duration::from_millis(100));
    assert_eq!(pair.lost_esp, [], "{:#?}", pair.a.log);
    pair.assert_mirrored();
    let inits = pair
        .sent
        .iter()
        .filter(|(_, end, octets)| *end == End::A && octets[18] == 34)
        .count();
    assert!(inits >= 4, "{inits}");
    assert!(pair.a.ike_sas.len() <= 2, "{:?}", pair.a.ike_sas);
}
