//! What an operator reads when a negotiation fails, on both ends.

use std::time::Duration;

use gateway_ike::Code;
use gateway_ike::config::{EspCipher, Identity, SelectorPair};
use gateway_ike::crypto::{DhGroup, Encryption, Hash};

use crate::net::{End, FIRST, Pair};
use crate::setup::{Setup, Side, esp, ike};

#[track_caller]
fn check(change: impl FnOnce(&mut Side), a: Option<Code>, b: Option<Code>) {
    let mut setup = Setup::v2();
    change(&mut setup.b);
    let mut pair = setup.start();
    pair.initiate(End::A);
    pair.run_for(Duration::from_secs(70));
    for (end, expected) in [(End::A, a), (End::B, b)] {
        let node = pair.node(end);
        let told = node.failures.first().map(|failure| failure.code);
        assert_eq!(told, expected, "{end:?}: {:#?}", node.log);
        assert!(node.sealing.is_empty());
    }
}

#[test]
fn each_difference_has_its_code_on_both_ends() {
    check(
        |side| side.ike = vec![ike(Encryption::Aes256Gcm16, Hash::Sha2_256, DhGroup::Modp1024)],
        Some(Code::IkeProposalMismatch),
        Some(Code::IkeProposalMismatch),
    );
    check(
        |side| side.ike = vec![ike(Encryption::Aes128Cbc, Hash::Sha2_256, DhGroup::Modp2048)],
        Some(Code::IkeProposalMismatch),
        Some(Code::IkeProposalMismatch),
    );
    check(
        |side| side.psk = "another key",
        Some(Code::PskMismatch),
        Some(Code::PskMismatch),
    );
    check(
        |side| side.peer_id = Identity::Fqdn("branch.example".into()),
        Some(Code::PskMismatch),
        Some(Code::IdentityMismatch),
    );
    check(
        |side| side.local_id = Identity::Fqdn("dc.example".into()),
        Some(Code::IdentityMismatch),
        None,
    );
    check(
        |side| side.esp = vec![esp(EspCipher::Aes256Gcm16, None)],
        Some(Code::EspProposalMismatch),
        Some(Code::EspProposalMismatch),
    );
    check(
        |side| {
            side.selectors = vec![SelectorPair {
                local: "10.9.0.0/24".parse().unwrap(),
                peer: "10.8.0.0/24".parse().unwrap(),
            }];
        },
        Some(Code::SelectorMismatch),
        Some(Code::SelectorMismatch),
    );
    check(
        |side| side.peer = "203.0.113.9".parse().unwrap(),
        Some(Code::NoResponse),
        Some(Code::UnknownPeer),
    );
}

#[test]
fn a_tunnel_that_only_answers_finds_a_pfs_mismatch_itself_and_asks_once() {
    let groups = [None, Some(DhGroup::Modp1024), Some(DhGroup::Modp2048)];
    for theirs in groups {
        let mut setup = Setup::v2();
        // The peer has no PFS to be tried, or finds it out first.
        setup.a.pfs = theirs;
        setup.b.pfs = Some(DhGroup::Modp2048);
        setup.b.may_initiate = false;
        let mut pair = Pair::established(setup);
        pair.run_for(Duration::from_secs(20));
        let told = pair.b.failures.first().map(|failure| failure.code);
        let expected = (theirs != Some(DhGroup::Modp2048)).then_some(Code::PfsMismatch);
        assert_eq!(told, expected, "{theirs:?}: {:#?}", pair.b.log);
        assert!(pair.a.sealing.contains_key(&FIRST) && pair.b.sealing.contains_key(&FIRST));
        if theirs.is_none() {
            let before = pair.sent.len();
            pair.run_for(Duration::from_secs(600));
            assert_eq!(pair.sent.len(), before, "asked once");
        }
    }
}

#[test]
fn a_pfs_mismatch_shows_at_once_and_the_tunnel_stays() {
    for (a, b) in [
        (Some(DhGroup::Modp1024), None),
        (Some(DhGroup::Modp1024), Some(DhGroup::Modp2048)),
    ] {
        let mut setup = Setup::v2();
        setup.a.pfs = a;
        setup.b.pfs = b;
        let mut pair = Pair::established(setup);
        pair.run_for(Duration::from_secs(5));
        let told = pair.a.failures.first().map(|failure| failure.code);
        assert_eq!(told, Some(Code::PfsMismatch), "{:#?}", pair.a.log);
        assert!(pair.a.sealing.contains_key(&FIRST) && pair.b.sealing.contains_key(&FIRST));
    }
}
