//! IKE_AUTH by a peer that has the keys of IKE_SA_INIT, which anybody can have.

use std::time::Duration;

use gateway_ike::Code;
use gateway_ike::config::IkeVersion;
use gateway_ike::wire::v2::{AuthMethod, AuthPayload, IdPayload, NotifyPayload, NotifyType, Payload};
use gateway_ike::wire::{ExchangeType, Flags, IdType, PayloadType};

use crate::v2_peer::Peer;
use crate::victim::{Victim, Who};

fn own_id() -> IdPayload {
    IdPayload::from_address(Who::Hostile.address().into())
}

/// Nothing came of it, and nothing is left of it.
#[track_caller]
fn assert_nothing(victim: &mut Victim, what: &str) {
    assert_eq!(victim.counts(Who::Hostile), (0, 0), "{what}");
    victim.pass(Duration::from_secs(120));
    assert_eq!(victim.endpoint.totals().half_open, 0, "{what}");
    assert_eq!(
        victim.endpoint.snapshots(victim.now).len(),
        1,
        "{what}: the neighbour's only"
    );
    assert_eq!(victim.counts(Who::Neighbour), (1, 1), "{what}");
}

fn start() -> (Victim, Peer) {
    let mut victim = Victim::new(IkeVersion::V2);
    Peer::established(&mut victim, Who::Neighbour, 9);
    let peer = Peer::start(&mut victim, Who::Hostile, 1);
    (victim, peer)
}

#[test]
fn s1_an_ike_auth_without_any_of_its_payloads_makes_no_child_sa_and_without_proof_no_ike_sa() {
    for left_out in 0..5 {
        let (mut victim, mut peer) = start();
        let mut payloads = peer.ike_auth(own_id(), 0x1000);
        payloads.remove(left_out);
        peer.ask(&mut victim, ExchangeType::IKE_AUTH, &payloads);
        assert_eq!(victim.counts(Who::Hostile).1, 0, "payload {left_out}");
        if left_out < 2 {
            assert_nothing(&mut victim, "without proof");
        }
    }
    let (mut victim, mut peer) = start();
    peer.ask(&mut victim, ExchangeType::IKE_AUTH, &[]);
    assert_nothing(&mut victim, "empty");
}

#[test]
fn s2_s3_no_exchange_but_ike_auth_does_anything_before_authentication_even_with_the_right_keys() {
    for exchange in 0..=u8::MAX {
        let exchange = ExchangeType(exchange);
        if exchange == ExchangeType::IKE_AUTH {
            continue;
        }
        for flags in [
            Flags::INITIATOR,
            Flags::INITIATOR.with(Flags::RESPONSE),
            Flags::NONE,
        ] {
            let (mut victim, mut peer) = start();
            let payloads = [
                peer.another_child(0x1000),
                vec![Payload::notify(NotifyType::INITIAL_CONTACT)],
            ]
            .concat();
            for message_id in 0..3 {
                let datagram = peer.sealed((exchange, message_id, flags), &payloads);
                let answers = victim.deliver(Who::Hostile.address(), &datagram);
                assert_eq!(answers.len(), 0, "{exchange} {flags:?} {message_id}");
            }
            assert_nothing(&mut victim, "no ike_auth");
        }
    }
}

#[test]
fn s4_s5_only_the_exact_proof_of_the_pre_shared_key_is_accepted() {
    let changed = |change: &dyn Fn(&mut AuthPayload)| {
        let (mut victim, mut peer) = start();
        let mut payloads = peer.ike_auth(own_id(), 0x1000);
        if let Some(Payload::Auth(auth)) = payloads.get_mut(1) {
            change(auth);
        }
        let answer = peer.ask(&mut victim, ExchangeType::IKE_AUTH, &payloads);
        let notifies = answer.map(|answer| answer.notifies()).unwrap_or_default();
        assert!(!notifies.is_empty(), "refused with a reason");
        assert_nothing(&mut victim, "another proof");
        victim.failures.clone()
    };
    let len = {
        let (_, peer) = start();
        peer.proof(&own_id()).data.len()
    };
    for cut in 0..len {
        changed(&|auth| auth.data.truncate(cut));
    }
    for more in [1, 4, 1000] {
        changed(&|auth| auth.data.extend(vec![0; more]));
    }
    assert_eq!(changed(&|auth| auth.data.fill(0)), [Code::PskMismatch]);
    assert_eq!(changed(&|auth| auth.data[0] ^= 0x80), [Code::PskMismatch]);
    // RSA, DSS, NULL, digital signature, and numbers that nobody has.
    for method in [0, 1, 3, 13, 14, 99, 255] {
        let failures = changed(&|auth| auth.method = AuthMethod(method));
        assert_eq!(failures, [Code::ExchangeRefused], "method {method}");
    }
}

/// The victim's key is known to somebody who is not the peer of this tunnel, or a victim of a third party is made to prove itself here.
#[test]
fn s15_a_right_proof_for_another_identity_is_refused_and_leaves_nothing() {
    let others = [
        IdPayload::from_address(Who::Neighbour.address().into()),
        IdPayload::new(IdType::FQDN, b"192.0.2.1"),
        IdPayload::new(IdType::KEY_ID, &Who::Hostile.address().octets()),
        IdPayload::new(IdType::FQDN, b""),
        IdPayload::new(IdType::FQDN, b"a\0b\x1b[31m%n'; DROP"),
    ];
    for other in others {
        let (mut victim, mut peer) = start();
        let payloads = peer.ike_auth(other.clone(), 0x1000);
        let answer = peer.ask(&mut victim, ExchangeType::IKE_AUTH, &payloads);
        let notifies = answer.map(|answer| answer.notifies()).unwrap_or_default();
        // A name of no octets is none.
        let reason = if other.data.is_empty() {
            NotifyType::INVALID_SYNTAX
        } else {
            NotifyType::AUTHENTICATION_FAILED
        };
        assert_eq!(notifies, [reason], "{other:?}");
        assert!(victim.failures.len() <= 1);
        assert_nothing(&mut victim, "another identity");
    }
}

#[test]
fn s8_initial_contact_under_the_identity_of_another_peer_ends_nothing_of_it() {
    let (mut victim, mut peer) = start();
    let id = IdPayload::from_address(Who::Neighbour.address().into());
    let mut payloads = peer.ike_auth(id, 0x1000);
    payloads.push(Payload::notify(NotifyType::INITIAL_CONTACT));
    peer.ask(&mut victim, ExchangeType::IKE_AUTH, &payloads);
    assert_nothing(&mut victim, "initial contact");
}

#[test]
fn s8_initial_contact_ends_the_older_sas_of_its_own_tunnel_only() {
    let mut victim = Victim::new(IkeVersion::V2);
    let mut neighbour = Peer::established(&mut victim, Who::Neighbour, 9);
    Peer::established(&mut victim, Who::Hostile, 1);
    victim.pass(Duration::from_secs(1));
    let mut peer = Peer::start(&mut victim, Who::Hostile, 2);
    let mut payloads = peer.ike_auth(own_id(), 0x2000);
    payloads.push(Payload::notify(NotifyType::INITIAL_CONTACT));
    assert!(
        peer.ask(&mut victim, ExchangeType::IKE_AUTH, &payloads)
            .unwrap()
            .grants()
    );
    assert_eq!(victim.counts(Who::Hostile), (1, 1), "the older ones are gone");
    assert_eq!(victim.counts(Who::Neighbour), (1, 1));
    neighbour.assert_alive(&mut victim);
    peer.assert_alive(&mut victim);
    // The same, said again and by a notification of its own.
    let again = [
        Payload::notify(NotifyType::INITIAL_CONTACT),
        Payload::Notify(NotifyPayload::new(NotifyType::INITIAL_CONTACT, vec![1; 100])),
    ];
    peer.ask(&mut victim, ExchangeType::INFORMATIONAL, &again);
    peer.assert_alive(&mut victim);
    assert_eq!(
        (victim.counts(Who::Hostile), victim.counts(Who::Neighbour)),
        ((1, 1), (1, 1))
    );
}

/// Chains of payloads that do not parse, and what RFC 7296 sections 2.5 and 2.21 want answered.
const UNREADABLE: [(&str, PayloadType, &[u8], NotifyType); 4] = [
    (
        "a length below the header's",
        PayloadType::V2_NOTIFY,
        &[0, 0, 0, 3],
        NotifyType::INVALID_SYNTAX,
    ),
    (
        "a length beyond the end",
        PayloadType::V2_ID_I,
        &[0, 0, 0xff, 0xff, 1, 0, 0, 0],
        NotifyType::INVALID_SYNTAX,
    ),
    (
        "an identity cut short",
        PayloadType::V2_ID_I,
        &[0, 0, 0, 5, 1],
        NotifyType::INVALID_SYNTAX,
    ),
    (
        "an unknown critical payload",
        PayloadType(200),
        &[0, 0x80, 0, 4],
        NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD,
    ),
];

#[test]
fn an_ike_auth_that_does_not_parse_is_answered_with_the_reason_and_reported() {
    for (what, first, chain, reason) in UNREADABLE {
        let (mut victim, mut peer) = start();
        let request = peer.sealed_chain(ExchangeType::IKE_AUTH, first, chain);
        let answers = victim.deliver(Who::Hostile.address(), &request);
        let [answer] = &answers[..] else {
            panic!("{what}: {} answers", answers.len())
        };
        assert_eq!(peer.opened(answer).notifies(), [reason], "{what}");
        assert_eq!(victim.failures, [Code::Malformed], "{what}");
        assert_eq!(
            victim.deliver(Who::Hostile.address(), &request),
            answers,
            "{what}: the same again"
        );
        assert_nothing(&mut victim, what);
    }
}

#[test]
fn a_later_request_that_does_not_parse_is_answered_with_the_reason_and_reported() {
    for exchange in [ExchangeType::CREATE_CHILD_SA, ExchangeType::INFORMATIONAL] {
        for (what, first, chain, reason) in UNREADABLE {
            let mut victim = Victim::new(IkeVersion::V2);
            let mut peer = Peer::established(&mut victim, Who::Hostile, 1);
            let request = peer.sealed_chain(exchange, first, chain);
            let answers = victim.deliver(Who::Hostile.address(), &request);
            let [answer] = &answers[..] else {
                panic!("{what}: {} answers", answers.len())
            };
            assert_eq!(peer.opened(answer).notifies(), [reason], "{exchange} {what}");
            assert_eq!(victim.failures, [Code::Malformed], "{exchange} {what}");
            peer.message_id += 1;
            peer.assert_alive(&mut victim);
            assert_eq!(victim.counts(Who::Hostile), (1, 1), "{exchange} {what}");
        }
    }
}
