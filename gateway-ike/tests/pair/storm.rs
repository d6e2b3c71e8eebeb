//! Bad networks: every message lost once, every message twice, and seeds of everything at once.

use std::time::Duration;

use crate::net::{End, FIRST, Fate, Pair, Weather};
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

/// One seed of bad weather with rekeys: what must hold while it lasts, and that it clears up afterwards.
fn weather(seed: u64) -> Result<(), String> {
    let mut setup = Setup::new().both(|side| {
        side.lifetime.time = Duration::from_secs(120);
        side.ike_lifetime = Duration::from_secs(300);
        side.dpd_delay = Some(30 * SECOND);
    });
    setup.seed = seed;
    setup.b.may_initiate = !seed.is_multiple_of(3);
    let mut pair = setup.start();
    pair.weather = Weather {
        loss: 20,
        duplicates: 10,
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(200),
        work: Duration::ZERO,
    };
    pair.initiate(End::A);
    if seed.is_multiple_of(5) {
        pair.initiate(End::B);
    }
    pair.run_with_traffic(Duration::from_secs(400), 2 * SECOND);
    let (black_holes, void, delivered) = (pair.lost_esp.len(), pair.void.len(), pair.delivered_esp);
    pair.weather = Weather::FAIR;
    pair.run_with_traffic(Duration::from_secs(240), 2 * SECOND);
    let story = |what: &str| {
        Err(format!(
            "seed {seed}: {what}\nA {:#?}\nB {:#?}\n{:?}",
            pair.a.log, pair.b.log, pair.lost_esp
        ))
    };
    if black_holes > 0 {
        return story("packets for an SA that was not there");
    }
    if void > 0 {
        return story(&format!("sealing into the void: {:?}", pair.void));
    }
    if delivered < 200 {
        return story("hardly any traffic");
    }
    if pair.a.sealing.is_empty() || pair.b.sealing.is_empty() {
        return story("stuck");
    }
    if pair.a.installed.len() > 6 || pair.b.installed.len() > 6 || pair.a.ike_sas.len() > 4 {
        return story("SAs leak");
    }
    pair.assert_mirrored();
    // With nothing to do the rest drains away.
    for end in [End::A, End::B] {
        pair.with(end, |endpoint, now| endpoint.terminate(now, crate::net::TUNNEL));
    }
    pair.run_for(Duration::from_secs(400));
    pair.assert_empty();
    Ok(())
}

#[test]
fn five_hundred_seeds_of_bad_weather_never_get_stuck_leak_or_seal_into_the_void() {
    let failures: Vec<_> = (0..500).filter_map(|seed| weather(seed).err()).collect();
    assert!(
        failures.is_empty(),
        "{} seeds fail\n{}",
        failures.len(),
        failures[0]
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
