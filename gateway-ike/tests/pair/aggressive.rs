//! Aggressive Mode: three messages, identities in the clear, both roles.

use std::time::Duration;

use gateway_ike::Code;
use gateway_ike::config::{Identity, Phase1Mode};
use gateway_ike::crypto::{DhGroup, Encryption, Hash};

use crate::net::{End, FIRST, Fate, Pair, TUNNEL};
use crate::setup::{Setup, Side, ike};

const SECOND: Duration = Duration::from_secs(1);

fn aggressive() -> Setup {
    Setup::new().both(|side| side.mode = Phase1Mode::Aggressive)
}

#[track_caller]
fn check(setup: Setup) {
    let mut pair = setup.start();
    pair.initiate(End::A);
    pair.run_for(SECOND);
    pair.assert_up(1);
    assert_eq!(
        pair.sent.len(),
        6,
        "three messages of aggressive mode, three of quick mode: {:#?}",
        pair.a.log
    );
    assert!(pair.send_esp(End::A, FIRST) && pair.send_esp(End::B, FIRST));
    pair.run_for(SECOND);
    assert_eq!((pair.delivered_esp, pair.lost_esp.len()), (2, 0));
}

#[test]
fn every_algorithm_establishes() {
    for encryption in Encryption::CBC {
        for hash in Hash::ALL {
            check(aggressive().both(|side| side.ike = vec![ike(encryption, hash, DhGroup::Modp768)]));
        }
    }
}

#[test]
fn every_group_establishes() {
    for group in DhGroup::ALL.into_iter().filter(|group| group.is_for_ikev1()) {
        check(aggressive().both(|side| {
            side.ike = vec![ike(Encryption::Aes128Cbc, Hash::Sha2_256, group)];
            side.pfs = Some(group);
            side.fragmentation = false;
        }));
    }
}

#[test]
fn every_kind_of_identity_is_recognised() {
    let identities = [
        Identity::Fqdn("branch.example".into()),
        Identity::UserFqdn("gateway@branch.example".into()),
        Identity::KeyId(vec![0, 255, 10, 39]),
        Identity::Ipv4("203.0.113.7".parse().unwrap()),
    ];
    for (ours, theirs) in identities.iter().zip(identities.iter().cycle().skip(1)) {
        let mut setup = aggressive();
        setup.a.local_id = ours.clone();
        setup.b.peer_id = ours.clone();
        setup.b.local_id = theirs.clone();
        setup.a.peer_id = theirs.clone();
        check(setup);
    }
}

/// V1: the answer may be half as large again as the message. Long hashes and identities meet that limit: the answer then goes without
/// what it can do without, and an operator is told when that is not enough.
#[test]
fn an_answer_that_would_be_too_large_does_without_what_it_can_or_is_explained() {
    let (mut shortened, mut refused) = (0, 0);
    for len in (1..=250).step_by(3) {
        let mut setup = aggressive().both(|side| {
            side.ike = vec![ike(Encryption::Aes128Cbc, Hash::Sha2_512, DhGroup::Modp768)];
        });
        setup.b.local_id = Identity::KeyId(vec![7; len]);
        setup.a.peer_id = setup.b.local_id.clone();
        let mut pair = setup.start();
        pair.initiate(End::A);
        pair.run_for(SECOND);
        let answer = pair.sent.iter().find(|(_, from, _)| *from == End::B);
        if let Some((_, _, answer)) = answer {
            assert!(answer.len() * 2 <= pair.sent[0].2.len() * 3, "{len}");
            pair.assert_up(1);
            let fragmentation = [0x40, 0x48, 0xb7, 0xd5];
            shortened += usize::from(!answer.windows(4).any(|octets| octets == fragmentation));
        } else {
            refused += 1;
            let codes: Vec<_> = pair.b.failures.iter().map(|diagnosis| diagnosis.code).collect();
            assert_eq!(codes, [Code::ExchangeRefused], "{len}: {:#?}", pair.b.log);
        }
    }
    assert!(shortened > 0 && refused > 0, "{shortened} {refused}");
}

#[test]
fn only_proposals_with_the_group_of_the_best_are_offered() {
    let mut setup = aggressive();
    setup.a.ike = vec![
        ike(Encryption::Aes256Cbc, Hash::Sha1, DhGroup::Modp1536),
        ike(Encryption::Aes128Cbc, Hash::Sha1, DhGroup::Modp1024),
        ike(Encryption::TripleDes, Hash::Md5, DhGroup::Modp1536),
    ];
    setup.b.ike = vec![
        ike(Encryption::Aes128Cbc, Hash::Sha1, DhGroup::Modp1024),
        ike(Encryption::TripleDes, Hash::Md5, DhGroup::Modp1536),
    ];
    let pair = Pair::established(setup);
    let chosen = |line: &String| line.contains("3des/md5/group5");
    assert!(pair.b.log.iter().any(chosen), "{:#?}", pair.b.log);
}

#[test]
fn a_nat_moves_everything_behind_message_2_to_port_4500() {
    for behind in [true, false] {
        let mut setup = aggressive();
        if behind {
            setup = setup.behind_nat();
        } else {
            setup.b.force_udp = true;
        }
        setup.a.local_id = Identity::Fqdn("a.example".into());
        setup.b.peer_id = Identity::Fqdn("a.example".into());
        let mut pair = Pair::established(setup);
        for end in [End::A, End::B] {
            let child = pair.node(end).installed.values().next().expect("child");
            let udp = child.sa.encapsulation.expect("udp");
            assert_eq!(udp.local_port, 4500);
            let outside = if behind && end == End::B { 34_500 } else { 4500 };
            assert_eq!(udp.peer_port, outside);
        }
        assert!(pair.send_esp(End::A, FIRST) && pair.send_esp(End::B, FIRST));
        pair.run_for(SECOND);
        assert_eq!((pair.delivered_esp, pair.lost_esp.len()), (2, 0));
    }
}

#[test]
fn a_restarted_initiator_replaces_what_the_peer_still_has() {
    let mut pair = Pair::established(aggressive());
    pair.restart(End::A, &aggressive().a);
    pair.initiate(End::A);
    pair.run_for(SECOND);
    pair.assert_up(1);
    assert_eq!(pair.b.ike_sas.len(), 1, "initial contact: {:#?}", pair.b.log);
}

#[test]
fn the_loss_of_any_one_message_is_survived() {
    for (end, messages) in [(End::A, 4), (End::B, 2)] {
        for lost in 0..messages {
            let mut pair = aggressive().start();
            pair.filter = Some(Box::new(move |from, count, _| {
                if (from, count) == (end, lost) {
                    Fate::Lose
                } else {
                    Fate::Deliver
                }
            }));
            pair.initiate(End::A);
            pair.run_for(8 * SECOND);
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
    for (end, messages) in [(End::A, 4), (End::B, 2)] {
        for doubled in 0..messages {
            let mut pair = aggressive().start();
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
            assert_eq!((pair.a.ike_sas.len(), pair.b.ike_sas.len()), (1, 1));
            assert!(pair.sent.len() <= 6 + 2, "{end:?} {doubled}: {}", pair.sent.len());
            assert_eq!(pair.b.endpoint.totals().half_open, 0);
        }
    }
}

#[test]
fn rekeys_lose_nothing() {
    let setup = aggressive().both(|side| {
        side.ike_lifetime = 60 * SECOND;
        side.lifetime.time = 40 * SECOND;
    });
    let mut pair = Pair::established(setup);
    pair.run_with_traffic(600 * SECOND, SECOND);
    assert_eq!(pair.lost_esp, []);
    pair.assert_mirrored();
    let ike = pair.a.log.iter().filter(|line| line.contains("ike up")).count();
    assert!(ike >= 10, "{ike} ike sas");
    assert!(pair.a.failures.is_empty() && pair.b.failures.is_empty());
}

/// Code, ours, theirs.
type Told<'a> = Option<(Code, &'a str, &'a str)>;

#[track_caller]
fn check_told(change_b: impl FnOnce(&mut Side), a: Told<'_>, b: Told<'_>) {
    let mut setup = aggressive();
    change_b(&mut setup.b);
    let mut pair = setup.start();
    pair.initiate(End::A);
    pair.run_for(70 * SECOND);
    for (end, expected) in [(End::A, a), (End::B, b)] {
        let node = pair.node(end);
        let told = node.failures.first();
        let told = told.map(|failure| (failure.code, failure.local.as_str(), failure.peer.as_str()));
        assert_eq!(told, expected, "{end:?}: {:#?}", node.log);
        assert!(
            node.sealing.is_empty() && node.ike_sas.is_empty(),
            "{:#?}",
            node.log
        );
    }
    assert_eq!(pair.b.endpoint.totals().half_open, 0);
}

#[test]
fn pre_shared_keys_that_differ_are_told_on_both_ends() {
    check_told(
        |side| side.psk = "another",
        Some((
            Code::PskMismatch,
            "tunnel has another pre-shared key",
            "peer's aggressive mode message 2 carries the hash of another key",
        )),
        Some((
            Code::PskMismatch,
            "tunnel's pre-shared key or identity is not what the peer expects",
            "peer answers aggressive mode message 2 with PAYLOAD-MALFORMED",
        )),
    );
}

#[test]
fn a_responder_with_another_identity_is_told_on_both_ends() {
    check_told(
        |side| side.local_id = Identity::Fqdn("dc.example".into()),
        Some((
            Code::IdentityMismatch,
            "tunnel expects 198.51.100.2",
            "peer identifies itself as dc.example",
        )),
        Some((
            Code::IdentityMismatch,
            "tunnel identifies itself as dc.example",
            "peer answers aggressive mode message 2 with INVALID-ID-INFORMATION",
        )),
    );
}

/// The initiator counts the SA as established: it has to hear that it is not.
#[test]
fn an_initiator_with_another_identity_is_told_and_left_with_nothing() {
    check_told(
        |side| side.peer_id = Identity::KeyId(vec![1, 2, 3]),
        Some((
            Code::IdentityMismatch,
            "tunnel identifies itself as 192.0.2.1",
            "peer answers aggressive mode message 3 with INVALID-ID-INFORMATION",
        )),
        Some((
            Code::IdentityMismatch,
            "tunnel expects key-id:0x010203",
            "peer identifies itself as 192.0.2.1",
        )),
    );
}

#[test]
fn proposals_without_a_common_one_are_told_on_both_ends() {
    check_told(
        |side| side.ike = vec![ike(Encryption::Aes256Cbc, Hash::Sha1, DhGroup::Modp2048)],
        Some((
            Code::IkeProposalMismatch,
            "tunnel allows aes-128/sha1/group2",
            "peer refuses every ike proposal",
        )),
        Some((
            Code::IkeProposalMismatch,
            "tunnel allows aes-256/sha1/group14",
            "peer offers aes-128/sha1/group2",
        )),
    );
}

/// V2: who has not asked for it does not answer it.
#[test]
fn v2_a_tunnel_in_main_mode_does_not_answer() {
    check_told(
        |side| side.mode = Phase1Mode::Main,
        Some((
            Code::NoResponse,
            "sent aggressive mode message 1 6 times to 198.51.100.2:500",
            "peer does not answer",
        )),
        Some((
            Code::ExchangeRefused,
            "tunnel allows ikev1 main mode",
            "peer starts ikev1 aggressive mode",
        )),
    );
}

#[test]
fn a_tunnel_in_aggressive_mode_does_not_answer_main_mode() {
    let mut setup = aggressive();
    setup.a.mode = Phase1Mode::Main;
    let mut pair = setup.start();
    pair.initiate(End::A);
    pair.run_for(5 * SECOND);
    let failure = pair.b.failures.first().expect("a failure");
    assert_eq!(
        (failure.code, failure.local.as_str()),
        (Code::ExchangeRefused, "tunnel allows ikev1 aggressive mode")
    );
}

#[test]
fn terminate_ends_both_ends() {
    for end in [End::A, End::B] {
        let mut pair = Pair::established(aggressive());
        pair.with(end, |endpoint, now| endpoint.terminate(now, TUNNEL));
        pair.run_for(SECOND);
        pair.assert_empty();
    }
}

/// An initiator is done with its last message, and only what the peer says under the new IKE SA proves that it came. Until then the
/// older IKE SA stays, and the message goes again with what is asked for.
#[test]
fn a_successor_whose_last_message_is_lost_for_long_comes_up_and_the_child_sa_is_renewed() {
    let mut pair = Pair::established(aggressive());
    let before = pair.sent.len();
    pair.with(End::A, |endpoint, now| endpoint.rekey_ike(now, TUNNEL));
    pair.run_for(Duration::from_millis(15));
    // Message 3 and its repetitions are lost.
    pair.filter = Some(Box::new(|from, _, octets: &[u8]| {
        if from == End::A && octets.get(18) == Some(&4) {
            Fate::Lose
        } else {
            Fate::Deliver
        }
    }));
    pair.run_for(20 * SECOND);
    assert!(pair.sent.len() > before + 2, "message 3 was sent");
    assert_eq!(pair.a.ike_sas.len(), 2, "the older one stays: {:#?}", pair.a.log);
    pair.filter = None;
    let child = pair.a.sealing[&FIRST];
    pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, child));
    pair.run_with_traffic(10 * SECOND, Duration::from_millis(100));
    assert_ne!(pair.a.sealing[&FIRST], child, "{:#?}", pair.a.log);
    pair.run_for(10 * SECOND);
    for end in [End::A, End::B] {
        assert_eq!(
            pair.node(end).ike_sas.len(),
            1,
            "{end:?}: {:#?}",
            pair.node(end).log
        );
    }
    assert_eq!(pair.lost_esp, []);
    pair.assert_mirrored();
}
