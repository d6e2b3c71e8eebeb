//! What an operator is told, on both ends, when a tunnel does not come up.

use std::time::Duration;

use gateway_ike::Code;
use gateway_ike::config::{EspCipher, EspIntegrity, Identity, SelectorPair};
use gateway_ike::crypto::{DhGroup, Encryption, Hash};

use crate::net::End;
use crate::setup::{Setup, Side, esp, ike};

/// Code, ours, theirs, as the end tells it.
type Told<'a> = Option<(Code, &'a str, &'a str)>;

#[track_caller]
fn check(setup: Setup, a: Told<'_>, b: Told<'_>) {
    let mut pair = setup.start();
    pair.initiate(End::A);
    pair.run_for(Duration::from_secs(70));
    for (end, expected) in [(End::A, a), (End::B, b)] {
        let told: Vec<_> = pair
            .node(end)
            .failures
            .iter()
            .map(|failure| (failure.code, failure.local.as_str(), failure.peer.as_str()))
            .collect();
        assert_eq!(
            told.first().copied(),
            expected,
            "{end:?}: {:#?}",
            pair.node(end).log
        );
        assert!(
            pair.node(end)
                .failures
                .iter()
                .all(|failure| !failure.advice.is_empty())
        );
        assert!(pair.node(end).sealing.is_empty());
    }
}

#[track_caller]
fn change_b(change: impl FnOnce(&mut Side), a: Told<'_>, b: Told<'_>) {
    let mut setup = Setup::new();
    change(&mut setup.b);
    check(setup, a, b);
}

#[test]
fn ike_proposals_without_a_common_one() {
    let mut setup = Setup::new();
    setup.a.ike = vec![
        ike(Encryption::TripleDes, Hash::Md5, DhGroup::Modp1024),
        ike(Encryption::Aes256Cbc, Hash::Sha2_256, DhGroup::Modp2048),
    ];
    setup.b.ike = vec![ike(Encryption::Aes128Cbc, Hash::Sha1, DhGroup::Modp2048)];
    check(
        setup,
        Some((
            Code::IkeProposalMismatch,
            "tunnel allows 3des/md5/group2, aes-256/sha2-256/group14",
            "peer refuses every ike proposal",
        )),
        Some((
            Code::IkeProposalMismatch,
            "tunnel allows aes-128/sha1/group14",
            "peer offers 3des/md5/group2, aes-256/sha2-256/group14",
        )),
    );
}

#[test]
fn esp_proposals_without_a_common_one() {
    change_b(
        |side| {
            side.esp = vec![
                esp(EspCipher::Aes256Gcm16, None),
                esp(EspCipher::TripleDes, Some(EspIntegrity::HmacMd5)),
            ]
        },
        Some((
            Code::EspProposalMismatch,
            "tunnel allows aes-128/sha1, pfs off, tunnel mode",
            "peer refuses every ipsec proposal",
        )),
        Some((
            Code::EspProposalMismatch,
            "tunnel allows aes-256-gcm, 3des/md5, pfs off, tunnel mode",
            "peer offers aes-128/sha1 (pfs off, tunnel mode)",
        )),
    );
}

#[test]
fn pfs_on_one_end_only() {
    let refused = Some((
        Code::EspProposalMismatch,
        "tunnel allows aes-128/sha1, pfs off, tunnel mode",
        "peer refuses every ipsec proposal",
    ));
    change_b(
        |side| side.pfs = Some(DhGroup::Modp2048),
        refused,
        Some((Code::PfsMismatch, "tunnel has pfs group14", "peer offers pfs off")),
    );
}

#[test]
fn pfs_with_another_group() {
    let mut setup = Setup::new();
    setup.a.pfs = Some(DhGroup::Modp1024);
    setup.b.pfs = Some(DhGroup::Modp2048);
    check(
        setup,
        Some((
            Code::EspProposalMismatch,
            "tunnel allows aes-128/sha1, pfs group2, tunnel mode",
            "peer refuses every ipsec proposal",
        )),
        Some((
            Code::PfsMismatch,
            "tunnel has pfs group14",
            "peer offers pfs group2",
        )),
    );
}

#[test]
fn selectors_that_no_rule_has() {
    change_b(
        |side| {
            side.selectors = vec![SelectorPair {
                local: "10.2.0.0/24".parse().unwrap(),
                peer: "172.16.0.0/16".parse().unwrap(),
            }];
        },
        Some((
            Code::SelectorMismatch,
            "tunnel has 10.1.0.0/24 to 10.2.0.0/24, 10.1.1.0/24 to 10.2.1.0/24",
            "peer refuses 10.1.0.0/24 to 10.2.0.0/24",
        )),
        Some((
            Code::SelectorMismatch,
            "tunnel has 10.2.0.0/24 to 172.16.0.0/16",
            "peer asks for 10.2.0.0/24 to 10.1.0.0/24",
        )),
    );
}

/// V8: the right ranges, the wrong way round.
#[test]
fn selectors_that_are_swapped() {
    change_b(
        |side| {
            for pair in &mut side.selectors {
                *pair = SelectorPair {
                    local: pair.peer,
                    peer: pair.local,
                };
            }
        },
        Some((
            Code::SelectorMismatch,
            "tunnel has 10.1.0.0/24 to 10.2.0.0/24, 10.1.1.0/24 to 10.2.1.0/24",
            "peer refuses 10.1.0.0/24 to 10.2.0.0/24",
        )),
        Some((
            Code::SelectorMismatch,
            "tunnel has 10.1.0.0/24 to 10.2.0.0/24, 10.1.1.0/24 to 10.2.1.0/24",
            "peer asks for 10.2.0.0/24 to 10.1.0.0/24",
        )),
    );
}

#[test]
fn pre_shared_keys_that_differ() {
    change_b(
        |side| side.psk = "a key that both ends know\n",
        Some((
            Code::PskMismatch,
            "tunnel's pre-shared key or identity is not what the peer expects",
            "peer answers main mode message 5 with PAYLOAD-MALFORMED",
        )),
        Some((
            Code::PskMismatch,
            "tunnel has another pre-shared key",
            "peer's main mode message 5 does not decrypt to what it must contain",
        )),
    );
}

#[test]
fn an_initiator_with_another_identity() {
    change_b(
        |side| side.peer_id = Identity::Fqdn("branch.example".into()),
        Some((
            Code::IdentityMismatch,
            "tunnel identifies itself as 192.0.2.1",
            "peer answers main mode message 5 with INVALID-ID-INFORMATION",
        )),
        Some((
            Code::IdentityMismatch,
            "tunnel expects branch.example",
            "peer identifies itself as 192.0.2.1",
        )),
    );
}

#[test]
fn a_responder_with_another_identity() {
    change_b(
        |side| side.local_id = Identity::Fqdn("dc.example".into()),
        Some((
            Code::IdentityMismatch,
            "tunnel expects 198.51.100.2",
            "peer identifies itself as dc.example",
        )),
        None,
    );
}

#[test]
fn a_peer_without_a_tunnel() {
    let mut setup = Setup::new();
    setup.b.peer = "203.0.113.9".parse().unwrap();
    check(
        setup,
        Some((
            Code::NoResponse,
            "sent main mode message 1 6 times to 198.51.100.2:500",
            "peer does not answer",
        )),
        Some((
            Code::UnknownPeer,
            "no tunnel between 198.51.100.2 and this peer",
            "peer 192.0.2.1 starts main mode",
        )),
    );
}

#[test]
fn a_peer_that_wants_another_exchange() {
    for (octet, value, told) in [
        (18, 4, "peer starts ikev1 aggressive mode"),
        (17, 0x20, "peer starts ikev2"),
    ] {
        let mut pair = Setup::new().start();
        pair.initiate(End::A);
        let mut first = pair.sent[0].2.clone();
        first[octet] = value;
        pair.with(End::B, |endpoint, now| {
            let local = "198.51.100.2:500".parse().unwrap();
            endpoint.handle_datagram(now, local, "192.0.2.1:500".parse().unwrap(), &first);
        });
        let failure = pair.b.failures.first().expect("a failure");
        assert_eq!(
            (failure.code, failure.peer.as_str()),
            (Code::ExchangeRefused, told)
        );
    }
}

#[test]
fn a_peer_that_is_silent_after_message_4() {
    let mut setup = Setup::new();
    setup.b.psk = "another";
    let mut pair = setup.start();
    pair.filter = Some(Box::new(|end, count, _| {
        if end == End::B && count >= 2 {
            crate::net::Fate::Lose
        } else {
            crate::net::Fate::Deliver
        }
    }));
    pair.initiate(End::A);
    pair.run_for(Duration::from_secs(70));
    let failure = pair.a.failures.first().expect("a failure");
    assert_eq!(failure.code, Code::PskMismatch);
    assert_eq!(failure.local, "tunnel sent main mode message 5 6 times");
}

#[test]
fn the_same_failure_is_told_once_in_a_while_and_again_after_a_change() {
    let mut setup = Setup::new();
    setup.b.ike = vec![ike(Encryption::Aes256Cbc, Hash::Sha1, DhGroup::Modp1024)];
    let changed = setup.b.config();
    let mut pair = setup.start();
    pair.initiate(End::A);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(
        pair.b.failures.len(),
        1,
        "three messages, one line: {:#?}",
        pair.b.log
    );
    pair.with(End::B, |endpoint, now| endpoint.put_connection(now, changed));
    pair.run_for(Duration::from_secs(3));
    assert_eq!(pair.b.failures.len(), 2);
}

/// The refusal of a Quick Mode is repeated when the peer, having missed it, repeats its message.
#[test]
fn a_refusal_that_is_lost_is_repeated() {
    let mut setup = Setup::new();
    setup.b.selectors.clear();
    let mut pair = setup.start();
    pair.filter = Some(Box::new(|end, count, _| {
        if end == End::B && count == 3 {
            crate::net::Fate::Lose
        } else {
            crate::net::Fate::Deliver
        }
    }));
    pair.initiate(End::A);
    pair.run_for(Duration::from_secs(2));
    assert_eq!(
        pair.a.failures.first().map(|failure| failure.code),
        Some(Code::SelectorMismatch)
    );
    assert_eq!(pair.b.failures.len(), 1);
}
