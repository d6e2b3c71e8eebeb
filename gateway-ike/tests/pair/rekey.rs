//! Make before break: successors of Child SAs and IKE SAs, from one end and from both.

use std::time::Duration;

use crate::net::{End, FIRST, Fate, Pair, TUNNEL};
use crate::setup::Setup;

const SECOND: Duration = Duration::from_secs(1);

fn short_child() -> Setup {
    Setup::new().both(|side| side.lifetime.time = Duration::from_secs(60))
}

#[test]
fn a_child_sa_is_renewed_before_its_end_and_the_old_one_is_deleted_when_both_have_left_it() {
    let mut pair = Pair::established(short_child());
    let old = *pair.a.sealing.get(&FIRST).unwrap();
    pair.run_with_traffic(Duration::from_secs(52), Duration::from_millis(100));
    let new = *pair.a.sealing.get(&FIRST).unwrap();
    assert_ne!(old, new, "{:#?}", pair.a.log);
    assert!(pair.a.installed.contains_key(&new));
    pair.run_with_traffic(6 * SECOND, Duration::from_millis(100));
    pair.assert_up(1);
    assert_eq!(pair.lost_esp, []);
    assert_eq!(pair.a.ike_sas.len(), 1);
}

#[test]
fn an_idle_child_sa_is_renewed_too_and_the_old_one_ends_with_its_lifetime() {
    let mut pair = Pair::established(short_child());
    pair.run_for(Duration::from_secs(56));
    assert_eq!(
        (pair.a.installed.len(), pair.b.installed.len()),
        (2, 2),
        "{:#?}",
        pair.a.log
    );
    pair.run_for(Duration::from_secs(5));
    pair.assert_up(1);
}

#[test]
fn an_hour_of_rekeys_loses_no_packet() {
    let setup = Setup::new().both(|side| {
        side.lifetime.time = Duration::from_secs(60);
        side.ike_lifetime = Duration::from_secs(300);
    });
    let mut pair = Pair::established(setup);
    pair.run_with_traffic(Duration::from_secs(3600), SECOND);
    assert_eq!(pair.lost_esp, []);
    pair.assert_mirrored();
    let rekeys = pair.a.log.iter().filter(|line| line.contains("install")).count();
    assert!((65..110).contains(&rekeys), "{rekeys} child sas");
    let ike = pair.a.log.iter().filter(|line| line.contains("ike up")).count();
    assert!((13..18).contains(&ike), "{ike} ike sas");
    assert!(pair.a.installed.len() <= 2 && pair.a.ike_sas.len() <= 2);
    assert!(pair.a.failures.is_empty() && pair.b.failures.is_empty());
}

#[test]
fn the_responder_renews_when_the_initiator_may_not() {
    let mut setup = short_child();
    setup.a.may_initiate = false;
    let mut pair = setup.start();
    pair.initiate(End::A);
    pair.run_for(SECOND);
    assert_eq!(pair.sent.len(), 0, "an end that only answers does not start");
    pair.initiate(End::B);
    pair.run_with_traffic(Duration::from_secs(300), SECOND);
    pair.assert_mirrored();
    assert_eq!(pair.lost_esp, []);
    assert!(pair.a.log.iter().filter(|line| line.contains("install")).count() >= 5);
}

#[test]
fn an_ike_sa_is_renewed_and_the_children_live_on() {
    let setup = Setup::new().both(|side| side.ike_lifetime = Duration::from_secs(60));
    let mut pair = Pair::established(setup);
    let child = *pair.a.sealing.get(&FIRST).unwrap();
    pair.run_with_traffic(Duration::from_secs(200), SECOND);
    assert_eq!(pair.a.sealing.get(&FIRST), Some(&child));
    pair.assert_up(1);
    assert_eq!(pair.lost_esp, []);
    assert!(pair.a.log.iter().filter(|line| line.contains("ike up")).count() >= 4);
    for end in [End::A, End::B] {
        assert!(pair.node(end).ike_sas.len() <= 2, "{:#?}", pair.node(end).log);
    }
}

#[test]
fn an_ike_sa_that_protects_nothing_is_left_to_its_end() {
    let mut setup = Setup::new().both(|side| side.ike_lifetime = Duration::from_secs(100));
    setup.b.selectors = vec![];
    let mut pair = setup.start();
    pair.initiate(End::A);
    pair.run_for(Duration::from_secs(101));
    pair.assert_empty();
}

#[test]
fn octets_ask_for_a_rekey_through_the_driver() {
    let mut pair = Pair::established(Setup::new());
    let old = *pair.a.sealing.get(&FIRST).unwrap();
    pair.with(End::A, |endpoint, now| {
        endpoint.rekey_child(now, old);
        endpoint.rekey_child(now, old);
    });
    pair.run_with_traffic(10 * SECOND, Duration::from_millis(100));
    assert_ne!(pair.a.sealing.get(&FIRST), Some(&old));
    pair.assert_up(1);
    assert_eq!(pair.lost_esp, []);
    pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, old));
    assert_eq!(
        pair.sent.iter().filter(|(at, _, _)| *at > 11 * SECOND).count(),
        0,
        "it is gone"
    );
}

#[test]
fn s14_simultaneous_initiation_ends_with_traffic_and_converges() {
    let mut pair = short_child().start();
    pair.initiate(End::A);
    pair.initiate(End::B);
    pair.run_with_traffic(Duration::from_secs(600), SECOND);
    pair.assert_mirrored();
    assert_eq!(pair.lost_esp, []);
    for end in [End::A, End::B] {
        let node = pair.node(end);
        assert!(node.failures.is_empty(), "{:#?}", node.failures);
        assert!(node.installed.len() <= 3, "{:#?}", node.log);
    }
}

#[test]
fn simultaneous_rekeys_keep_all_inbound_sas_and_lose_nothing() {
    let mut pair = Pair::established(short_child());
    let (a, b) = (
        *pair.a.sealing.get(&FIRST).unwrap(),
        *pair.b.sealing.get(&FIRST).unwrap(),
    );
    pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, a));
    pair.with(End::B, |endpoint, now| endpoint.rekey_child(now, b));
    pair.run_with_traffic(20 * SECOND, Duration::from_millis(50));
    assert_eq!(pair.lost_esp, []);
    pair.assert_mirrored();
    assert!(!pair.a.installed.contains_key(&a) && !pair.b.installed.contains_key(&b));
    pair.run_with_traffic(Duration::from_secs(300), SECOND);
    assert_eq!(pair.lost_esp, []);
    pair.assert_mirrored();
}

#[test]
fn simultaneous_rekeys_of_the_ike_sa_lose_nothing() {
    // The same margin on both ends: the seeds make them collide often enough in an hour.
    let setup = Setup::new().both(|side| {
        side.ike_lifetime = Duration::from_secs(20);
        side.lifetime.time = Duration::from_secs(30);
    });
    let mut pair = Pair::established(setup);
    pair.run_with_traffic(Duration::from_secs(900), SECOND);
    assert_eq!(pair.lost_esp, []);
    pair.assert_mirrored();
}

#[test]
fn a_delete_during_a_rekey_leaves_the_new_one() {
    let mut pair = Pair::established(Setup::new());
    let old = *pair.a.sealing.get(&FIRST).unwrap();
    // Message 3 of the rekey is lost for good: only the delete of the old SA tells B.
    let mut third = None;
    pair.filter = Some(Box::new(move |end, count, octets| {
        if end == End::A && count >= 5 {
            let is_third = third.is_none() && count > 5 || third.as_deref() == Some(octets);
            if is_third && octets[18] == 32 {
                third.get_or_insert_with(|| octets.to_vec());
                return Fate::Lose;
            }
        }
        Fate::Deliver
    }));
    pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, old));
    pair.run_for(2 * SECOND);
    assert_eq!((pair.a.installed.len(), pair.b.installed.len()), (2, 2));
    let b_old = *pair.b.sealing.get(&FIRST).unwrap();
    // B still seals with the old one, then sees A's traffic on the new one.
    assert!(pair.send_esp(End::B, FIRST));
    assert!(pair.send_esp(End::A, FIRST));
    pair.run_for(SECOND);
    assert_ne!(*pair.b.sealing.get(&FIRST).unwrap(), b_old);
    pair.run_with_traffic(10 * SECOND, SECOND);
    assert_eq!(pair.lost_esp, []);
    pair.assert_up(1);
}

#[test]
fn a_terminated_tunnel_during_a_rekey_leaves_nothing() {
    for steps in 0..40 {
        let mut pair = Pair::established(Setup::new());
        let old = *pair.a.sealing.get(&FIRST).unwrap();
        pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, old));
        pair.run_for(Duration::from_millis(steps));
        pair.with(End::B, |endpoint, now| endpoint.terminate(now, TUNNEL));
        pair.run_for(Duration::from_secs(200));
        pair.assert_empty();
    }
}

#[test]
fn packets_wait_until_a_slow_peer_can_have_installed_its_half() {
    let mut pair = Setup::new().start();
    pair.weather.work = Duration::from_millis(80);
    pair.initiate(End::A);
    // One packet each millisecond, from before the tunnel is up: the first that is sealed opens at the other end.
    for _ in 0..2000 {
        pair.send_esp(End::A, FIRST);
        pair.run_for(Duration::from_millis(1));
    }
    pair.assert_up(1);
    assert!(pair.delivered_esp > 500, "{}", pair.delivered_esp);
    let old = *pair.a.sealing.get(&FIRST).unwrap();
    pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, old));
    pair.run_with_traffic(3 * SECOND, Duration::from_millis(1));
    assert_ne!(*pair.a.sealing.get(&FIRST).unwrap(), old);
    assert_eq!(pair.lost_esp, []);
}
