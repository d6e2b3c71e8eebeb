//! Renewals of IKEv1 on a path that loses: what was there stays until what follows is proven.

use std::collections::BTreeSet;
use std::time::Duration;

use gateway_ike::config::Phase1Mode;

use crate::net::{End, FIRST, Fate, Pair, TUNNEL};
use crate::setup::Setup;

const SECOND: Duration = Duration::from_secs(1);
/// Exchange types of RFC 2408 section 3.1 and RFC 2409 appendix A.
const MAIN_MODE: u8 = 2;
const AGGRESSIVE: u8 = 4;
const QUICK_MODE: u8 = 32;

fn aggressive() -> Setup {
    Setup::new().both(|side| side.mode = Phase1Mode::Aggressive)
}

/// The exchange type of a message.
fn exchange(octets: &[u8]) -> u8 {
    octets[18]
}

/// How many IKE SAs each end holds.
fn ike_sas(pair: &Pair) -> [usize; 2] {
    [End::A, End::B].map(|end| pair.node(end).ike_sas.len())
}

/// A renews its IKE SA; the first `lost` copies of message 3, the last one, are lost.
fn renew_losing(pair: &mut Pair, lost: usize) {
    let mut own = 0;
    pair.filter = Some(Box::new(move |from, _, octets| {
        if from == End::A && exchange(octets) == AGGRESSIVE {
            own += 1;
            // The first of them is message 1.
            if (2..lost + 2).contains(&own) {
                return Fate::Lose;
            }
        }
        Fate::Deliver
    }));
    pair.with(End::A, |endpoint, now| endpoint.rekey_ike(now, TUNNEL));
}

/// How often A has sent message 3 of its renewal.
fn last_messages(pair: &Pair) -> usize {
    let renewal = |(at, from, octets): &&(Duration, End, Vec<u8>)| {
        *at >= SECOND && *from == End::A && exchange(octets) == AGGRESSIVE
    };
    pair.sent.iter().filter(renewal).count() - 1
}

#[test]
fn an_older_ike_sa_stays_until_a_sign_of_life_proves_the_new_one() {
    let mut pair = Pair::established(aggressive().both(|side| side.dpd_delay = Some(10 * SECOND)));
    renew_losing(&mut pair, 4);
    pair.run_for(14 * SECOND);
    assert_eq!((ike_sas(&pair), last_messages(&pair)), ([2, 1], 4));
    pair.run_for(2 * SECOND);
    // It has come, and the initiator cannot know: aggressive mode has no fourth message.
    assert_eq!((ike_sas(&pair), last_messages(&pair)), ([2, 2], 5));
    pair.run_for(8 * SECOND);
    assert_eq!(ike_sas(&pair), [1, 1], "{:#?}", pair.a.log);
    pair.run_for(60 * SECOND);
    assert_eq!(last_messages(&pair), 5, "what is proven is not repeated");
    pair.assert_up(1);
    assert!(pair.a.failures.is_empty() && pair.b.failures.is_empty());
}

#[test]
fn without_signs_of_life_an_older_ike_sa_ends_with_its_lifetime_and_nothing_is_left_over() {
    for lost in [1, 3] {
        let mut pair = Pair::established(aggressive().both(|side| side.ike_lifetime = 100 * SECOND));
        let old = pair.a.ike_sas.clone();
        assert_eq!((old.len(), &old), (1, &pair.b.ike_sas));
        renew_losing(&mut pair, lost);
        for second in 1..=600 {
            pair.run_for(SECOND);
            let there = [End::A, End::B].map(|end| pair.node(end).ike_sas.is_superset(&old));
            assert_eq!(there, [second <= 99; 2], "{lost} lost, after {second} s");
            let sas = ike_sas(&pair);
            assert!(sas.iter().all(|&count| count <= 3), "{lost} lost: {sas:?}");
        }
        pair.assert_mirrored();
        let sas = ike_sas(&pair);
        assert!(
            sas.iter().all(|&count| (1..=2).contains(&count)),
            "{lost} lost: {sas:?}"
        );
        let half_open = [End::A, End::B].map(|end| pair.node(end).endpoint.totals().half_open);
        assert_eq!(half_open, [0, 0], "{lost} lost");
    }
}

#[test]
fn a_renewal_of_a_child_sa_that_fails_goes_again_before_the_old_one_ends() {
    let mut setup = Setup::new().both(|side| side.lifetime.time = 600 * SECOND);
    // Otherwise B's own renewal comes in time and hides that A's did not.
    setup.b.may_initiate = false;
    let mut pair = Pair::established(setup);
    let old = pair.a.sealing[&FIRST];
    // Everything of the first renewal is lost, however often it is repeated.
    let mut first = None;
    pair.filter = Some(Box::new(move |_, _, octets| {
        let message_id = octets[20..24].to_vec();
        if exchange(octets) == QUICK_MODE && *first.get_or_insert_with(|| message_id.clone()) == message_id {
            Fate::Lose
        } else {
            Fate::Deliver
        }
    }));
    pair.run_with_traffic(599 * SECOND, SECOND);
    let renewals: BTreeSet<_> = pair
        .sent
        .iter()
        .filter(|(at, _, octets)| *at > SECOND && exchange(octets) == QUICK_MODE)
        .map(|(_, _, octets)| octets[20..24].to_vec())
        .collect();
    assert!(renewals.len() >= 2, "{:#?}", pair.a.log);
    assert_ne!(pair.a.sealing[&FIRST], old, "{:#?}", pair.a.log);
    pair.run_with_traffic(60 * SECOND, SECOND);
    assert_eq!(pair.lost_esp, []);
    pair.assert_up(1);
}

#[test]
fn a_peer_without_the_new_ike_sa_renews_a_child_sa_on_the_older_one_first() {
    for seed in 0..16 {
        let mut pair = Pair::established(Setup { seed, ..aggressive() });
        let old = [End::A, End::B].map(|end| pair.node(end).sealing[&FIRST]);
        // Each Quick Mode on the new IKE SA repeats message 3 too.
        renew_losing(&mut pair, 12);
        pair.run_for(SECOND);
        // A asks on the IKE SA that B does not have yet, B on the older one.
        pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, old[0]));
        pair.with(End::B, |endpoint, now| endpoint.rekey_child(now, old[1]));
        pair.run_with_traffic(12 * SECOND, SECOND);
        assert_eq!(ike_sas(&pair), [2, 1], "seed {seed}");
        for (end, old) in [End::A, End::B].into_iter().zip(old) {
            let node = pair.node(end);
            assert_ne!(node.sealing[&FIRST], old, "seed {seed}: {:#?}", node.log);
        }
        pair.run_with_traffic(60 * SECOND, SECOND);
        assert_eq!(pair.lost_esp, [], "seed {seed}");
        pair.assert_mirrored();
    }
}

#[test]
fn message_6_goes_again_with_a_quick_mode_that_stays_without_an_answer() {
    let mut pair = Setup::new().start();
    let mut seen = [0; 2];
    // Message 6 is lost, and so is every message 5 that asks for it again.
    pair.filter = Some(Box::new(move |end, _, octets| {
        let is_main_mode = exchange(octets) == MAIN_MODE;
        let seen = &mut seen[usize::from(end == End::B)];
        *seen += usize::from(is_main_mode);
        let lost = match end {
            End::A => *seen > 3,
            End::B => *seen == 3,
        };
        if is_main_mode && lost {
            Fate::Lose
        } else {
            Fate::Deliver
        }
    }));
    pair.initiate(End::A);
    pair.run_for(SECOND / 2);
    assert_eq!((pair.a.ike_sas.len(), pair.b.ike_sas.len()), (0, 1));
    pair.initiate(End::B);
    pair.run_for(5 * SECOND);
    assert_eq!(pair.a.ike_sas.len(), 1, "{:#?}", pair.a.log);
    pair.assert_mirrored();
    assert!(!pair.a.sealing.is_empty() && !pair.b.sealing.is_empty());
}

#[test]
fn a_main_mode_that_renews_goes_again_before_the_old_ike_sa_ends() {
    let mut setup = Setup::new().both(|side| side.ike_lifetime = 60 * SECOND);
    setup.b.may_initiate = false;
    let mut pair = Pair::established(setup);
    let ups = |pair: &Pair| pair.a.log.iter().filter(|line| line.contains("ike up")).count();
    pair.filter = Some(Box::new(|_, _, octets| {
        if exchange(octets) == MAIN_MODE {
            Fate::Lose
        } else {
            Fate::Deliver
        }
    }));
    pair.run_for(56 * SECOND);
    assert!(pair.a.log.iter().any(|line| line.contains("main mode started")));
    assert_eq!(ups(&pair), 1);
    pair.filter = None;
    pair.run_for(5 * SECOND / 2);
    assert_eq!(ups(&pair), 2, "{:#?}", pair.a.log);
    pair.run_with_traffic(10 * SECOND, SECOND);
    pair.assert_up(1);
    assert_eq!(pair.lost_esp, []);
}
