//! S11: the synchronisation of RFC 6311 by a peer that means no good.

use gateway_ike::config::IkeVersion;
use gateway_ike::wire::v2::{IdPayload, NotifyPayload, NotifyType, Payload};
use gateway_ike::wire::{ExchangeType, Flags};

use crate::v2_peer::Peer;
use crate::victim::{Victim, Who};

const SUPPORTED: NotifyType = NotifyType::IKEV2_MESSAGE_ID_SYNC_SUPPORTED;
const COUNTERS: NotifyType = NotifyType::IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED;

fn established(agreed: bool) -> (Victim, Peer) {
    with_notifies(if agreed { &[SUPPORTED] } else { &[] })
}

fn with_notifies(said: &[NotifyType]) -> (Victim, Peer) {
    let mut victim = Victim::new(IkeVersion::V2);
    let mut peer = Peer::start(&mut victim, Who::Hostile, 1);
    let id = IdPayload::from_address(Who::Hostile.address().into());
    let mut payloads = peer.ike_auth(id, 0x1000);
    payloads.extend(said.iter().copied().map(Payload::notify));
    let answer = peer.ask(&mut victim, ExchangeType::IKE_AUTH, &payloads).unwrap();
    for known in [SUPPORTED, COUNTERS] {
        assert_eq!(
            answer.notifies().contains(&known),
            said.contains(&known),
            "said only to those that say it"
        );
    }
    (victim, peer)
}

fn sync(m1: u32, p1: u32) -> Payload {
    let data = [[1, 2, 3, 4], m1.to_be_bytes(), p1.to_be_bytes()].concat();
    Payload::Notify(NotifyPayload::new(NotifyType::IKEV2_MESSAGE_ID_SYNC, data))
}

/// Sends a synchronisation and returns P2 and M2 of its answer.
fn send(victim: &mut Victim, peer: &mut Peer, payload: Payload) -> Option<(u32, u32)> {
    send_all(victim, peer, &[payload])
}

fn send_all(victim: &mut Victim, peer: &mut Peer, payloads: &[Payload]) -> Option<(u32, u32)> {
    let name = (ExchangeType::INFORMATIONAL, 0, Flags::INITIATOR);
    let datagram = peer.sealed(name, payloads);
    let sent = victim.deliver(Who::Hostile.address(), &datagram);
    let answer = peer.opened(sent.first()?);
    let message = answer.message();
    let data = &message.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC)?.data;
    assert_eq!(data[..4], [1, 2, 3, 4], "the nonce comes back");
    let number = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
    Some((number(4), number(8)))
}

#[test]
fn s11_without_agreement_every_synchronisation_is_silently_dropped() {
    let (mut victim, mut peer) = established(false);
    for m1 in [0, 1, 2, 3, 100] {
        assert_eq!(send(&mut victim, &mut peer, sync(m1, 0)), None);
    }
    peer.assert_alive(&mut victim);
}

#[test]
fn s11_lower_repeated_and_replayed_numbers_are_silently_dropped() {
    let (mut victim, mut peer) = established(true);
    // The victim expects 2: 0 and 1 were the set-up's.
    for m1 in [0, 1] {
        assert_eq!(send(&mut victim, &mut peer, sync(m1, 0)), None, "{m1}");
    }
    assert_eq!(send(&mut victim, &mut peer, sync(u32::MAX, 0)), None);
    assert_eq!(send(&mut victim, &mut peer, sync(10, u32::MAX)), None);
    peer.assert_alive(&mut victim);
    assert_eq!(send(&mut victim, &mut peer, sync(10, 5)), Some((5, 10)));
    for m1 in 0..=10 {
        assert_eq!(send(&mut victim, &mut peer, sync(m1, 5)), None, "{m1}");
    }
    peer.message_id = 10;
    peer.assert_alive(&mut victim);
    assert_eq!(
        send(&mut victim, &mut peer, sync(11, 0)),
        Some((5, 11)),
        "nothing goes back"
    );
    peer.message_id = 3;
    let old = peer.ask(&mut victim, ExchangeType::INFORMATIONAL, &[]);
    assert!(old.is_none(), "requests from before are old");
    peer.message_id = 11;
    peer.assert_alive(&mut victim);
}

#[test]
fn s11_a_synchronisation_of_another_shape_or_under_another_number_changes_nothing() {
    let (mut victim, mut peer) = established(true);
    for len in [0, 4, 11, 13, 1000] {
        let payload = NotifyPayload::new(NotifyType::IKEV2_MESSAGE_ID_SYNC, vec![1; len]);
        assert_eq!(
            send(&mut victim, &mut peer, Payload::Notify(payload)),
            None,
            "{len}"
        );
    }
    let answer = peer
        .ask(&mut victim, ExchangeType::INFORMATIONAL, &[sync(50, 50)])
        .unwrap();
    assert_eq!(answer.notifies(), [], "an ordinary request, answered like one");
    // An answer to a question that nobody has asked.
    let name = (
        ExchangeType::INFORMATIONAL,
        0,
        Flags::INITIATOR.with(Flags::RESPONSE),
    );
    let datagram = peer.sealed(name, &[sync(50, 50)]);
    assert!(victim.deliver(Who::Hostile.address(), &datagram).is_empty());
    peer.assert_alive(&mut victim);
}

fn jump(delta: &[u8]) -> Payload {
    let notify_type = NotifyType::IPSEC_REPLAY_COUNTER_SYNC;
    Payload::Notify(NotifyPayload::new(notify_type, delta.to_vec()))
}

#[test]
fn s11_sequence_numbers_jump_once_for_each_accepted_synchronisation_of_an_agreed_peer() {
    let thousand = 1000u32.to_be_bytes();
    for said in [&[][..], &[SUPPORTED], &[COUNTERS], &[SUPPORTED, COUNTERS]] {
        let (mut victim, mut peer) = with_notifies(said);
        let child = victim.children_of(Who::Hostile)[0].id;
        let accepted = said.contains(&SUPPORTED);
        let payloads = [sync(10, 5), jump(&thousand)];
        let answer = send_all(&mut victim, &mut peer, &payloads);
        assert_eq!(answer.is_some(), accepted, "{said:?}");
        let agreed: &[_] = if said.len() == 2 { &[(child, 1000)] } else { &[] };
        assert_eq!(victim.raised, agreed, "{said:?}");
        // The same again is a replay.
        assert_eq!(send_all(&mut victim, &mut peer, &payloads), None);
        assert_eq!(victim.raised, agreed, "{said:?}");
    }
}

#[test]
fn s11_a_jump_of_another_width_alone_or_beyond_a_quarter_of_the_numbers_raises_nothing() {
    let (mut victim, mut peer) = with_notifies(&[SUPPORTED, COUNTERS]);
    let long = 1000u64.to_be_bytes();
    let huge = ((1u32 << 30) + 1).to_be_bytes();
    for (m1, delta) in (10..).zip([&long[..], &huge, &[], &[0; 3], &[0; 5], &[0; 100]]) {
        let answer = send_all(&mut victim, &mut peer, &[sync(m1, 5), jump(delta)]);
        assert_eq!(answer.map(|(_, m2)| m2), Some(m1), "{delta:?}");
    }
    assert_eq!(send(&mut victim, &mut peer, jump(&1000u32.to_be_bytes())), None);
    assert_eq!(victim.raised, []);
    assert_eq!(victim.children_of(Who::Hostile).len(), 1);
}
