//! RFC 6311: one end is a cluster whose other member has gone on with what it knew.

use std::time::Duration;

use crate::net::{End, FIRST, Fate, Pair, TUNNEL};
use crate::setup::Setup;

const SECOND: Duration = Duration::from_secs(1);

/// Both ends make requests of either kind, and the tunnel carries traffic without a loss.
#[track_caller]
fn assert_goes_on(pair: &mut Pair) {
    for end in [End::A, End::B, End::A] {
        let child = *pair.node(end).sealing.get(&FIRST).unwrap();
        pair.with(end, |endpoint, now| endpoint.rekey_child(now, child));
        pair.run_with_traffic(10 * SECOND, Duration::from_millis(100));
        assert_ne!(pair.node(end).sealing.get(&FIRST), Some(&child));
        pair.with(end, |endpoint, now| endpoint.rekey_ike(now, TUNNEL));
        pair.run_with_traffic(10 * SECOND, Duration::from_millis(100));
    }
    pair.assert_up(1);
    assert_eq!(pair.lost_esp, []);
    assert!(pair.a.failures.is_empty() && pair.b.failures.is_empty());
}

#[test]
fn requests_of_both_ends_go_on_after_a_synchronisation() {
    for end in [End::A, End::B] {
        let mut pair = Pair::established(Setup::v2());
        let before = pair.sent.len();
        assert!(pair.with(end, |endpoint, now| endpoint.synchronise(now, TUNNEL)));
        pair.run_for(SECOND);
        // INFORMATIONAL with Message ID 0, and its answer.
        assert_eq!(pair.sent.len(), before + 2);
        for (_, _, octets) in &pair.sent[before..] {
            assert_eq!((octets[18], &octets[20..24]), (37, &[0; 4][..]));
        }
        assert_goes_on(&mut pair);
        // An IKE SA that replaced the first one inherits the agreement.
        assert!(pair.with(end, |endpoint, now| endpoint.synchronise(now, TUNNEL)));
        pair.run_for(SECOND);
        assert_goes_on(&mut pair);
    }
}

#[test]
fn a_lost_question_or_answer_is_made_up_for() {
    for (loses, count) in [(End::A, 1), (End::A, 3), (End::B, 1), (End::B, 3)] {
        let mut pair = Pair::established(Setup::v2());
        let mut left = count;
        pair.filter = Some(Box::new(move |from, _, _| {
            if from == loses && left > 0 {
                left -= 1;
                return Fate::Lose;
            }
            Fate::Deliver
        }));
        assert!(pair.with(End::A, |endpoint, now| endpoint.synchronise(now, TUNNEL)));
        pair.run_for(40 * SECOND);
        assert_goes_on(&mut pair);
    }
}

#[test]
fn requests_under_way_on_either_end_are_asked_again() {
    for delay in [0, 5, 15] {
        for (asks, fails) in [(End::A, End::B), (End::B, End::A), (End::A, End::A)] {
            let mut pair = Pair::established(Setup::v2());
            pair.run_for(2 * SECOND);
            let child = *pair.node(asks).sealing.get(&FIRST).unwrap();
            pair.with(asks, |endpoint, now| endpoint.rekey_child(now, child));
            pair.run_for(Duration::from_millis(delay));
            pair.with(fails, |endpoint, now| endpoint.synchronise(now, TUNNEL));
            pair.run_with_traffic(30 * SECOND, Duration::from_millis(100));
            assert_ne!(
                pair.node(asks).sealing.get(&FIRST),
                Some(&child),
                "{delay} {asks:?} {fails:?}"
            );
            assert_eq!(pair.lost_esp, []);
            pair.assert_mirrored();
        }
    }
}

#[test]
fn a_peer_that_is_gone_is_not_asked_for_ever() {
    let mut pair = Pair::established(Setup::v2());
    pair.filter = Some(Box::new(|_, _, _| Fate::Lose));
    assert!(pair.with(End::A, |endpoint, now| endpoint.synchronise(now, TUNNEL)));
    pair.run_for(300 * SECOND);
    assert!(pair.a.installed.is_empty(), "{:#?}", pair.a.log);
    assert!(!pair.with(End::A, |endpoint, now| endpoint.synchronise(now, TUNNEL)));
}
