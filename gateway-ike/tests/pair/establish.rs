//! Bringing a tunnel up, in both roles, with every algorithm, through NATs.

use std::time::Duration;

use gateway_ike::config::{EspCipher, EspIntegrity, Identity, PairIndex};
use gateway_ike::crypto::{DhGroup, Encryption, Hash};

use crate::net::{End, FIRST, Pair, TUNNEL};
use crate::setup::{Setup, esp, ike};

#[track_caller]
fn check(setup: Setup) {
    let mut pair = setup.start();
    pair.initiate(End::A);
    pair.run_for(Duration::from_secs(1));
    pair.assert_up(1);
    assert_eq!(
        pair.sent.len(),
        9,
        "six messages of main mode, three of quick mode"
    );
    assert!(pair.send_esp(End::A, FIRST) && pair.send_esp(End::B, FIRST));
    pair.run_for(Duration::from_secs(1));
    assert_eq!((pair.delivered_esp, pair.lost_esp.len()), (2, 0));
}

#[test]
fn every_ike_algorithm_establishes() {
    for encryption in Encryption::CBC {
        for hash in Hash::ALL {
            check(Setup::new().both(|side| side.ike = vec![ike(encryption, hash, DhGroup::Modp768)]));
        }
    }
}

#[test]
fn every_group_establishes_for_phase_1_and_for_pfs() {
    for group in DhGroup::ALL.into_iter().filter(|group| group.is_for_ikev1()) {
        check(Setup::new().both(|side| {
            side.ike = vec![ike(Encryption::Aes128Cbc, Hash::Sha1, group)];
            side.pfs = Some(group);
        }));
    }
}

#[test]
fn every_esp_algorithm_establishes() {
    let cbc = [
        EspCipher::TripleDes,
        EspCipher::Aes128Cbc,
        EspCipher::Aes192Cbc,
        EspCipher::Aes256Cbc,
    ];
    let hmac = [
        EspIntegrity::HmacMd5,
        EspIntegrity::HmacSha1,
        EspIntegrity::HmacSha2_256,
    ];
    let combinations = cbc
        .into_iter()
        .flat_map(|cipher| hmac.map(|integrity| esp(cipher, Some(integrity))))
        .chain([EspCipher::Aes128Gcm16, EspCipher::Aes256Gcm16].map(|cipher| esp(cipher, None)));
    for proposal in combinations {
        check(Setup::new().both(|side| side.esp = vec![proposal.clone()]));
    }
}

#[test]
fn the_best_common_proposal_of_the_responder_is_chosen() {
    let weak = ike(Encryption::TripleDes, Hash::Md5, DhGroup::Modp1024);
    let strong = ike(Encryption::Aes256Cbc, Hash::Sha2_256, DhGroup::Modp1536);
    let mut setup = Setup::new();
    setup.a.ike = vec![weak.clone(), strong.clone()];
    setup.b.ike = vec![strong, weak];
    let pair = Pair::established(setup);
    assert!(
        pair.a
            .log
            .iter()
            .any(|line| line.contains("aes-256/sha2-256/group5")),
        "{:?}",
        pair.a.log
    );
}

#[test]
fn names_identify_both_ends() {
    let mut setup = Setup::new();
    setup.a.local_id = Identity::Fqdn("a.example".into());
    setup.b.peer_id = Identity::Fqdn("A.Example".into());
    setup.b.local_id = Identity::Fqdn("b.example".into());
    setup.a.peer_id = Identity::Fqdn("b.example".into());
    check(setup);
}

#[test]
fn a_nat_in_front_of_the_initiator_moves_everything_to_port_4500() {
    let mut setup = Setup::new().behind_nat();
    setup.a.local_id = Identity::Fqdn("a.example".into());
    setup.b.peer_id = Identity::Fqdn("a.example".into());
    let mut pair = Pair::established(setup);
    let udp = |end: End| {
        pair.node(end)
            .installed
            .values()
            .next()
            .and_then(|child| child.sa.encapsulation)
    };
    let (a, b) = (udp(End::A).expect("udp"), udp(End::B).expect("udp"));
    assert_eq!((a.local_port, a.peer_port), (4500, 4500));
    assert_eq!((b.local_port, b.peer_port), (4500, 34_500));
    assert!(pair.send_esp(End::A, FIRST) && pair.send_esp(End::B, FIRST));
    pair.run_for(Duration::from_secs(61));
    assert_eq!((pair.delivered_esp, pair.lost_esp.len()), (2, 0));
    assert_eq!(
        pair.keepalives, 3,
        "only the end behind the nat keeps the mapping, every 20 seconds"
    );
}

#[test]
fn an_end_that_pretends_to_have_a_nat_gets_udp() {
    for (a, b) in [(true, false), (false, true), (true, true)] {
        let mut setup = Setup::new();
        (setup.a.force_udp, setup.b.force_udp) = (a, b);
        let pair = Pair::established(setup);
        for end in [End::A, End::B] {
            let child = pair.node(end).installed.values().next().expect("child");
            assert!(child.sa.encapsulation.is_some(), "{end:?} with {a} {b}");
        }
    }
}

#[test]
fn without_a_nat_esp_goes_over_ip() {
    let pair = Pair::established(Setup::new());
    for end in [End::A, End::B] {
        assert!(
            pair.node(end)
                .installed
                .values()
                .all(|child| child.sa.encapsulation.is_none())
        );
    }
    assert_eq!(pair.keepalives, 0);
}

#[test]
fn pairs_queue_up_behind_one_phase_1() {
    let mut setup = Setup::new();
    for n in 2..12 {
        let (a, b) = (
            format!("10.1.{n}.0/24").parse().unwrap(),
            format!("10.2.{n}.0/24").parse().unwrap(),
        );
        setup
            .a
            .selectors
            .push(gateway_ike::config::SelectorPair { local: a, peer: b });
        setup
            .b
            .selectors
            .push(gateway_ike::config::SelectorPair { local: b, peer: a });
    }
    let mut pair = setup.start();
    for n in 0..12 {
        pair.with(End::A, |endpoint, now| {
            endpoint.initiate(now, TUNNEL, PairIndex(n))
        });
        pair.with(End::A, |endpoint, now| {
            endpoint.initiate(now, TUNNEL, PairIndex(n))
        });
    }
    pair.run_for(Duration::from_secs(2));
    pair.assert_up(12);
    assert_eq!(pair.a.ike_sas.len(), 1);
    assert_eq!(pair.sent.len(), 6 + 12 * 3);
    for n in 0..12 {
        pair.with(End::A, |endpoint, now| {
            endpoint.initiate(now, TUNNEL, PairIndex(n))
        });
    }
    assert_eq!(pair.sent.len(), 6 + 12 * 3, "what is up is not negotiated again");
}

#[test]
fn the_smaller_lifetime_counts_on_both_ends() {
    let mut setup = Setup::new();
    setup.a.lifetime.time = Duration::from_secs(1000);
    setup.a.lifetime.kilobytes = Some(5000);
    setup.b.lifetime.time = Duration::from_secs(3000);
    setup.b.lifetime.kilobytes = Some(4000);
    let mut pair = setup.start();
    pair.initiate(End::A);
    pair.run_for(Duration::from_secs(1));
    let child = |end: End| &pair.node(end).installed.values().next().expect("child").sa;
    for end in [End::A, End::B] {
        let left = child(end).expires_at - pair.now;
        assert!(
            left > Duration::from_secs(998) && left <= Duration::from_secs(1000),
            "{end:?} {left:?}"
        );
    }
    assert_eq!(child(End::B).octets, Some(4000 * 1024));
}
