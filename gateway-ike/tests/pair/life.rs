//! Ends, restarts, changes of configuration, dead peers, NATs that forget.

use std::time::Duration;

use gateway_common::Spi;
use gateway_ike::Code;
use gateway_ike::config::{Identity, PairIndex, SelectorPair};

use crate::net::{End, FIRST, Fate, Pair, TUNNEL};
use crate::setup::Setup;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn terminate_ends_both_ends_whichever_message_comes_first_or_not_at_all() {
    for end in [End::A, End::B] {
        let mut pair = Pair::established(Setup::new());
        let before = pair.sent.len();
        pair.with(end, |endpoint, now| endpoint.terminate(now, TUNNEL));
        pair.run_for(SECOND);
        pair.assert_empty();
        assert_eq!(
            pair.sent.len() - before,
            2,
            "all in one, and the ike sa once more for peers that read one delete"
        );
        pair.initiate(End::A);
        pair.run_for(SECOND);
        pair.assert_up(1);
    }
    for lost in 0..2 {
        let mut pair = Pair::established(Setup::new());
        let mut seen = 0;
        pair.filter = Some(Box::new(move |_, _, _| {
            seen += 1;
            if seen == lost + 1 {
                Fate::Lose
            } else {
                Fate::Deliver
            }
        }));
        pair.with(End::A, |endpoint, now| endpoint.terminate(now, TUNNEL));
        pair.filter = None;
        pair.run_for(SECOND);
        assert!(pair.a.installed.is_empty());
        if lost == 1 {
            pair.assert_empty();
        }
    }
}

#[test]
fn a_peer_that_deletes_only_the_ike_sa_keeps_its_children_and_gets_a_new_one() {
    let mut pair = Pair::established(Setup::new());
    // The first message, with the Child SAs in it, is lost: all that B learns is the end of the IKE SA.
    let mut seen = 0;
    pair.filter = Some(Box::new(move |_, _, _| {
        seen += 1;
        if seen == 1 { Fate::Lose } else { Fate::Deliver }
    }));
    pair.with(End::A, |endpoint, now| endpoint.terminate(now, TUNNEL));
    pair.filter = None;
    pair.run_for(SECOND);
    assert_eq!(pair.b.installed.len(), 1, "children outlive their ike sa");
    pair.run_for(3 * SECOND);
    assert_eq!(
        (pair.a.ike_sas.len(), pair.b.ike_sas.len()),
        (1, 1),
        "{:#?}",
        pair.b.log
    );
}

#[test]
fn a_removed_tunnel_is_unknown() {
    let mut pair = Pair::established(Setup::new());
    pair.with(End::B, |endpoint, now| endpoint.remove_connection(now, TUNNEL));
    pair.run_for(SECOND);
    pair.assert_empty();
    pair.initiate(End::A);
    pair.run_for(SECOND);
    assert_eq!(
        pair.b.failures.last().map(|failure| failure.code),
        Some(Code::UnknownPeer)
    );
    assert_eq!(pair.b.endpoint.totals().half_open, 0);
}

#[test]
fn changes_that_the_sas_do_not_depend_on_leave_them() {
    let mut pair = Pair::established(Setup::new());
    let mut side = Setup::new().a;
    side.may_initiate = false;
    side.dpd_delay = Some(5 * SECOND);
    let pair_three = SelectorPair {
        local: "10.1.9.0/24".parse().unwrap(),
        peer: "10.2.9.0/24".parse().unwrap(),
    };
    side.selectors.push(pair_three);
    let before = pair.sent.len();
    pair.with(End::A, |endpoint, now| {
        endpoint.put_connection(now, side.config())
    });
    pair.run_for(SECOND);
    pair.assert_up(1);
    assert_eq!(pair.sent.len(), before);
}

#[test]
fn changes_that_the_sas_depend_on_end_them_and_tell_the_peer() {
    let changes: [fn(&mut crate::setup::Side); 6] = [
        |side| side.psk = "another",
        |side| side.pfs = Some(gateway_ike::crypto::DhGroup::Modp1024),
        |side| side.lifetime.time = 100 * SECOND,
        |side| side.peer_id = Identity::Fqdn("b".into()),
        |side| side.selectors.remove(0).local.addr().octets()[0] = 0,
        |side| side.force_udp = true,
    ];
    for change in changes {
        let mut pair = Pair::established(Setup::new());
        let mut side = Setup::new().a;
        change(&mut side);
        pair.with(End::A, |endpoint, now| {
            endpoint.put_connection(now, side.config())
        });
        pair.run_for(SECOND);
        pair.assert_empty();
    }
}

#[test]
fn a_restarted_initiator_replaces_what_the_peer_still_has() {
    let mut pair = Pair::established(Setup::new());
    pair.restart(End::A, &Setup::new().a);
    pair.initiate(End::A);
    pair.run_for(SECOND);
    pair.assert_up(1);
    assert_eq!(pair.b.ike_sas.len(), 1, "initial contact: {:#?}", pair.b.log);
}

#[test]
fn a_restarted_end_is_found_out_by_dpd_and_comes_back() {
    let setup = || Setup::new().both(|side| side.dpd_delay = Some(10 * SECOND));
    let mut pair = Pair::established(setup());
    pair.restart(End::B, &setup().b);
    pair.run_for(45 * SECOND);
    assert_eq!(
        pair.a.failures.last().map(|failure| failure.code),
        Some(Code::PeerDead),
        "{:#?}",
        pair.a.log
    );
    pair.assert_empty();
    pair.initiate(End::A);
    pair.run_for(SECOND);
    pair.assert_up(1);
}

#[test]
fn traffic_and_answers_keep_a_peer_alive_without_needless_probes() {
    let setup = Setup::new().both(|side| side.dpd_delay = Some(10 * SECOND));
    let mut pair = Pair::established(setup);
    let before = pair.sent.len();
    pair.run_with_traffic(100 * SECOND, SECOND);
    assert_eq!(pair.sent.len(), before, "traffic makes probes needless");
    pair.run_for(100 * SECOND);
    let probes = pair.sent.len() - before;
    assert!((10..=44).contains(&probes), "{probes} messages");
    pair.assert_up(1);
}

#[test]
fn a_tunnel_that_shall_be_up_comes_up_by_itself_and_again_after_every_loss() {
    let mut setup = Setup::new().both(|side| side.dpd_delay = Some(10 * SECOND));
    setup.a.keep_up = true;
    let mut pair = setup.start();
    pair.run_for(SECOND);
    pair.assert_up(2);
    pair.with(End::B, |endpoint, now| endpoint.terminate(now, TUNNEL));
    pair.run_for(5 * SECOND);
    pair.assert_up(2);
    pair.filter = Some(Box::new(|_, _, _| Fate::Lose));
    pair.run_for(300 * SECOND);
    assert!(pair.a.sealing.is_empty(), "{:#?}", pair.a.log);
    pair.filter = None;
    pair.run_for(130 * SECOND);
    pair.assert_up(2);
}

#[test]
fn a_tunnel_that_traffic_brings_up_does_not_come_back_by_itself() {
    let mut pair = Pair::established(Setup::new());
    pair.with(End::B, |endpoint, now| endpoint.terminate(now, TUNNEL));
    pair.run_for(600 * SECOND);
    pair.assert_empty();
}

#[test]
fn without_an_answer_an_initiation_ends_and_says_so() {
    let mut pair = Setup::new().start();
    pair.filter = Some(Box::new(|_, _, _| Fate::Lose));
    pair.initiate(End::A);
    pair.run_for(62 * SECOND);
    assert_eq!(pair.a.failures, []);
    pair.run_for(2 * SECOND);
    let failure = pair.a.failures.first().expect("a failure");
    assert_eq!(failure.code, Code::NoResponse);
    assert_eq!(
        failure.local,
        "sent main mode message 1 6 times to 198.51.100.2:500"
    );
    pair.assert_empty();
    assert_eq!(pair.a.endpoint.totals().retransmits, 5);
    assert_eq!(
        pair.a.endpoint.poll_timeout(),
        None,
        "nothing is left to wait for"
    );
}

#[test]
fn a_peer_that_lost_the_ike_sa_is_reached_by_a_new_one() {
    // No DPD: only the Quick Mode without an answer tells.
    let mut pair = Pair::established(Setup::new());
    pair.restart(End::B, &Setup::new().b);
    pair.with(End::A, |endpoint, now| {
        endpoint.initiate(now, TUNNEL, PairIndex(1))
    });
    pair.run_for(65 * SECOND);
    assert_eq!(
        pair.a.failures.last().map(|failure| failure.code),
        Some(Code::NoResponse)
    );
    pair.with(End::A, |endpoint, now| {
        endpoint.initiate(now, TUNNEL, PairIndex(1))
    });
    pair.run_for(SECOND);
    assert!(pair.b.sealing.contains_key(&PairIndex(1)), "{:#?}", pair.a.log);
}

#[test]
fn a_nat_that_forgets_its_mapping_is_followed_on_authenticated_messages_only() {
    let mut setup = Setup::new()
        .behind_nat()
        .both(|side| side.dpd_delay = Some(10 * SECOND));
    setup.a.local_id = Identity::Fqdn("a".into());
    setup.b.peer_id = Identity::Fqdn("a".into());
    let mut pair = Pair::established(setup);
    let port = |pair: &Pair| {
        pair.b
            .installed
            .values()
            .next()
            .and_then(|child| child.sa.encapsulation)
    };
    assert_eq!(port(&pair).map(|udp| udp.peer_port), Some(34_500));
    pair.nat_shift = 1000;
    // A replayed message from the new port moves nothing.
    let old = pair.sent[4].2.clone();
    pair.with(End::B, |endpoint, now| {
        let local = "198.51.100.2:4500".parse().unwrap();
        endpoint.handle_datagram(now, local, "192.0.2.1:35500".parse().unwrap(), &old);
    });
    assert!(!pair.b.log.iter().any(|line| line.contains("peer port")));
    // A's probe, from the new port, does.
    pair.run_for(25 * SECOND);
    assert!(
        pair.b.log.iter().any(|line| line.contains("peer port 35500")),
        "{:#?}",
        pair.b.log
    );
    assert!(pair.send_esp(End::B, FIRST));
    pair.run_for(SECOND);
    assert_eq!((pair.delivered_esp, pair.lost_esp.len()), (1, 0));
    pair.assert_up(1);
}

#[test]
fn children_survive_the_end_of_the_ike_sa_and_a_new_one_is_made() {
    // B only answers, and A's attempts to renew are lost while the IKE SA lasts.
    let mut setup = Setup::new().both(|side| side.ike_lifetime = 60 * SECOND);
    setup.b.may_initiate = false;
    let mut pair = Pair::established(setup);
    pair.run_for(30 * SECOND);
    pair.filter = Some(Box::new(|_, _, _| Fate::Lose));
    pair.run_for(35 * SECOND);
    assert!(pair.a.ike_sas.is_empty(), "{:#?}", pair.a.log);
    assert_eq!(pair.a.installed.len(), 1);
    pair.filter = None;
    pair.run_with_traffic(40 * SECOND, SECOND);
    assert!(!pair.a.ike_sas.is_empty(), "{:#?}", pair.a.log);
    pair.assert_mirrored();
}

#[test]
fn a_new_ike_sa_from_behind_another_port_of_the_nat_takes_its_child_sas_along() {
    let mut setup = Setup::new()
        .behind_nat()
        .both(|side| side.ike_lifetime = 100 * SECOND);
    setup.b.may_initiate = false;
    let mut pair = Pair::established(setup);
    pair.nat_shift = 1000;
    // A has no reason to speak before its main mode.
    pair.run_for(95 * SECOND);
    assert!(pair.send_esp(End::B, FIRST));
    pair.run_for(SECOND);
    assert_eq!(
        (pair.delivered_esp, pair.weathered_esp),
        (1, 0),
        "{:#?}",
        pair.b.log
    );
    pair.assert_up(1);
}

#[test]
fn a_peer_that_only_a_nat_keeps_from_answering_keeps_its_child_sas() {
    // B cannot reach A: its messages are lost, while ESP of A arrives.
    let mut setup = Setup::new().both(|side| side.ike_lifetime = 60 * SECOND);
    setup.a.may_initiate = false;
    let mut pair = setup.start();
    pair.initiate(End::B);
    pair.run_for(SECOND);
    pair.assert_up(1);
    pair.filter = Some(Box::new(|_, _, _| Fate::Lose));
    for _ in 0..130 {
        assert!(pair.send_esp(End::A, FIRST));
        pair.run_for(SECOND);
        pair.initiate(End::B);
    }
    let gave_up = |failure: &gateway_ike::Diagnosis| failure.code == Code::NoResponse;
    assert!(pair.b.failures.iter().any(gave_up), "{:#?}", pair.b.log);
    assert_eq!(pair.b.installed.len(), 1, "{:#?}", pair.b.log);
    assert_eq!(pair.lost_esp, []);
}

#[test]
fn a_peer_that_seals_with_what_we_lost_is_told_and_negotiates_anew() {
    let mut pair = Pair::established(Setup::new());
    pair.restart(End::A, &Setup::new().a);
    // B renews the IKE SA and has no reason to doubt its Child SA.
    pair.with(End::B, |endpoint, now| endpoint.rekey_ike(now, TUNNEL));
    pair.run_for(SECOND);
    assert_eq!((pair.a.installed.len(), pair.b.installed.len()), (0, 1));
    for _ in 0..20 {
        pair.send_esp(End::B, FIRST);
        pair.run_for(SECOND / 10);
    }
    assert!(!pair.lost_esp.is_empty());
    pair.initiate(End::B);
    pair.run_for(SECOND);
    pair.assert_up(1);
}

#[test]
fn a_peer_is_told_of_an_unknown_spi_once_in_ten_seconds_and_not_of_what_was_on_its_way() {
    for setup in [Setup::new(), Setup::v2()] {
        let ends = (setup.a.local, setup.a.peer);
        let mut pair = Pair::established(setup);
        let unknown = Spi::from_be_bytes([0x20, 1, 2, 3]).unwrap();
        let note = |pair: &mut Pair| {
            let (local, peer) = ends;
            pair.with(End::A, |endpoint, now| {
                endpoint.note_unknown_spi(now, local, peer, unknown)
            });
        };
        let sent = |pair: &Pair| pair.sent.iter().filter(|(_, from, _)| *from == End::A).count();
        let before = sent(&pair);
        note(&mut pair);
        pair.run_for(SECOND / 10);
        note(&mut pair);
        pair.run_for(SECOND);
        assert_eq!(sent(&pair), before, "it may have been on its way");
        for _ in 0..19 {
            note(&mut pair);
            pair.run_for(SECOND / 2);
        }
        assert_eq!(sent(&pair), before + 1);
        for _ in 0..3 {
            note(&mut pair);
            pair.run_for(SECOND / 2);
        }
        assert_eq!(sent(&pair), before + 2, "it still goes on");
        // B has no such SA, so nothing of it changes.
        pair.assert_up(1);
    }
}
