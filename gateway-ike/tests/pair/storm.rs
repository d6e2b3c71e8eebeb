//! Bad networks: every message lost once, every message twice, everything again.

use std::time::Duration;

use crate::net::{End, FIRST, Fate, Pair};
use crate::setup::Setup;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_loss_of_any_one_message_is_survived() {
    for (end, messages) in [(End::A, 5), (End::B, 4)] {
        for lost in 0..messages {
            let mut pair = Setup::new().start();
            pair.filter = Some(Box::new(move |from, count, _| {
                if (from, count) == (end, lost) {
                    Fate::Lose
                } else {
                    Fate::Deliver
                }
            }));
            pair.initiate(End::A);
            pair.run_for(5 * SECOND);
            pair.assert_up(1);
            assert_eq!(
                (pair.a.ike_sas.len(), pair.b.ike_sas.len()),
                (1, 1),
                "{end:?} {lost}"
            );
            assert!(pair.a.failures.is_empty() && pair.b.failures.is_empty());
        }
    }
}

#[test]
fn the_repetition_of_any_one_message_changes_nothing() {
    for (end, messages) in [(End::A, 5), (End::B, 4)] {
        for doubled in 0..messages {
            let mut pair = Setup::new().start();
            pair.filter = Some(Box::new(move |from, count, _| {
                if (from, count) == (end, doubled) {
                    Fate::Duplicate
                } else {
                    Fate::Deliver
                }
            }));
            pair.initiate(End::A);
            pair.run_for(70 * SECOND);
            pair.assert_up(1);
            assert_eq!(
                (pair.a.ike_sas.len(), pair.b.ike_sas.len()),
                (1, 1),
                "{end:?} {doubled}"
            );
            assert!(
                pair.sent.len() <= 9 + 2,
                "{end:?} {doubled}: {} messages",
                pair.sent.len()
            );
            assert_eq!(pair.b.endpoint.totals().half_open, 0);
        }
    }
}

/// V10: everything that was ever sent, sent again, in order and against it.
#[test]
fn a_replay_of_all_messages_makes_no_sa_and_ends_none() {
    let mut pair = Pair::established(Setup::new());
    let sent = pair.sent.clone();
    let before = (
        pair.a.installed.len(),
        pair.b.installed.len(),
        pair.a.ike_sas.len(),
        pair.b.ike_sas.len(),
    );
    for (_, from, octets) in sent.iter().chain(sent.iter().rev()) {
        let (local, peer) = match from {
            End::A => ("198.51.100.2:500", "192.0.2.1:500"),
            End::B => ("192.0.2.1:500", "198.51.100.2:500"),
        };
        pair.with(from.other(), |endpoint, now| {
            endpoint.handle_datagram(now, local.parse().unwrap(), peer.parse().unwrap(), octets);
        });
    }
    pair.run_for(100 * SECOND);
    let after = (
        pair.a.installed.len(),
        pair.b.installed.len(),
        pair.a.ike_sas.len(),
        pair.b.ike_sas.len(),
    );
    assert_eq!(before, after);
    pair.assert_up(1);
    assert_eq!(
        (
            pair.a.endpoint.totals().half_open,
            pair.b.endpoint.totals().half_open
        ),
        (0, 0)
    );
}

#[test]
fn traffic_flows_through_a_rekey_that_takes_three_attempts() {
    let mut pair = Pair::established(Setup::new());
    let old = *pair.a.sealing.get(&FIRST).unwrap();
    let from = pair.sent.len();
    let mut seen = 0;
    pair.filter = Some(Box::new(move |_, _, _| {
        seen += 1;
        if seen <= 3 { Fate::Lose } else { Fate::Deliver }
    }));
    pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, old));
    pair.run_with_traffic(30 * SECOND, SECOND);
    assert!(pair.sent.len() > from + 5);
    assert_eq!(pair.lost_esp, []);
    pair.assert_up(1);
}
