//! An authenticated IKEv2 peer that means no good.

use std::time::{Duration, Instant};

use gateway_ike::Code;
use gateway_ike::config::IkeVersion;
use gateway_ike::wire::v2::{
    DeletePayload, KePayload, NotifyPayload, NotifyType, Payload, TrafficSelector, TsPayload,
};
use gateway_ike::wire::{ExchangeType, Flags, Header, PayloadType, ProtocolId};

use crate::v2_peer::{Answer, Peer};
use crate::victim::{Victim, Who};

fn both() -> (Victim, Peer, Peer) {
    let mut victim = Victim::new(IkeVersion::V2);
    let neighbour = Peer::established(&mut victim, Who::Neighbour, 9);
    let peer = Peer::established(&mut victim, Who::Hostile, 1);
    victim.pass(Duration::from_secs(60));
    (victim, peer, neighbour)
}

#[track_caller]
fn assert_untouched(victim: &mut Victim, peer: &mut Peer, neighbour: &mut Peer) {
    assert_eq!(victim.counts(Who::Hostile), (1, 1));
    assert_eq!(victim.counts(Who::Neighbour), (1, 1));
    peer.assert_alive(victim);
    neighbour.assert_alive(victim);
}

fn rekey_sa(protocol: ProtocolId, spi: &[u8]) -> Payload {
    Payload::Notify(NotifyPayload {
        protocol,
        spi: spi.to_vec(),
        notify_type: NotifyType::REKEY_SA,
        data: Vec::new(),
    })
}

fn create_child(victim: &mut Victim, peer: &mut Peer, spi: u32, more: &[Payload]) -> Answer {
    let payloads = [more, &peer.another_child(spi)].concat();
    peer.ask(victim, ExchangeType::CREATE_CHILD_SA, &payloads)
        .unwrap()
}

#[test]
fn s6_a_rekey_of_what_is_not_the_peers_is_not_found_and_touches_nothing() {
    let (mut victim, mut peer, mut neighbour) = both();
    let spi_of = |victim: &Victim, who| {
        let child = victim.children_of(who)[0];
        (child.outbound.spi.to_be_bytes(), child.inbound.spi.to_be_bytes())
    };
    let (own, victims) = spi_of(&victim, Who::Hostile);
    let (neighbours, victims_for_neighbour) = spi_of(&victim, Who::Neighbour);
    let rows = [
        ("protocol 0", ProtocolId(0), &own[..]),
        ("the ike sa", ProtocolId::IKE, &own[..]),
        ("ah", ProtocolId::AH, &own[..]),
        ("protocol 255", ProtocolId(255), &own[..]),
        ("no spi", ProtocolId::ESP, &[]),
        ("half an spi", ProtocolId::ESP, &own[..2]),
        ("an spi and more", ProtocolId::ESP, &[1, 2, 3, 4, 5, 6, 7, 8]),
        ("zero", ProtocolId::ESP, &[0; 4]),
        ("nobody's", ProtocolId::ESP, &[0xde, 0xad, 0xbe, 0xef]),
        ("the other direction", ProtocolId::ESP, &victims),
        ("the neighbour's", ProtocolId::ESP, &neighbours),
        (
            "the neighbour's other direction",
            ProtocolId::ESP,
            &victims_for_neighbour,
        ),
    ];
    for (what, protocol, spi) in rows {
        let answer = create_child(&mut victim, &mut peer, 0x5000, &[rekey_sa(protocol, spi)]);
        assert_eq!(answer.notifies(), [NotifyType::CHILD_SA_NOT_FOUND], "{what}");
        assert!(!answer.grants(), "{what}");
        assert_untouched(&mut victim, &mut peer, &mut neighbour);
    }
    // The right one is found.
    let answer = create_child(&mut victim, &mut peer, 0x6000, &[rekey_sa(ProtocolId::ESP, &own)]);
    assert!(answer.grants(), "{:?}", answer.notifies());
}

#[test]
fn s6_a_deletion_of_what_is_not_the_peers_touches_nothing() {
    let (mut victim, mut peer, mut neighbour) = both();
    let child = victim.children_of(Who::Neighbour)[0];
    let spis = vec![
        child.outbound.spi.to_be_bytes(),
        child.inbound.spi.to_be_bytes(),
        [0; 4],
        [255; 4],
    ];
    let deletes = [
        DeletePayload::esp(spis.clone()),
        DeletePayload {
            protocol: ProtocolId::AH,
            spis: vec![victim.children_of(Who::Hostile)[0].outbound.spi.to_be_bytes()],
        },
        DeletePayload {
            protocol: ProtocolId(0),
            spis,
        },
        DeletePayload::esp(Vec::new()),
    ];
    for delete in deletes {
        let answer = peer.ask(
            &mut victim,
            ExchangeType::INFORMATIONAL,
            &[Payload::Delete(delete)],
        );
        assert_eq!(answer.unwrap().message().deletes().count(), 0);
        assert_untouched(&mut victim, &mut peer, &mut neighbour);
    }
}

#[test]
fn a_child_sa_that_is_granted_for_other_selectors_is_deleted_at_the_peer() {
    let mut victim = Victim::with(IkeVersion::V2, |config| config.may_initiate = true);
    let mut peer = Peer::established(&mut victim, Who::Hostile, 1);
    victim.pass(Duration::from_secs(60));
    let child = victim.children_of(Who::Hostile)[0].id;
    victim.endpoint.rekey_child(victim.now, child);
    let asked = victim.drain();
    let (header, _) = Header::parse(&asked[0]).unwrap();
    let request = peer.opened(&asked[0]);
    let spi = request.message().sa().unwrap().proposals[0].spi.clone();
    // The ranges of either end where those of the other belong.
    let payloads = peer.another_child(0x9000);
    let flags = Flags::INITIATOR.with(Flags::RESPONSE);
    let granted = peer.sealed(
        (ExchangeType::CREATE_CHILD_SA, header.message_id, flags),
        &payloads,
    );
    let sent = victim.deliver(Who::Hostile.address(), &granted);
    assert_eq!(victim.failures, [Code::SelectorMismatch]);
    let answer = peer.opened(sent.first().expect("a delete"));
    let deleted: Vec<_> = answer
        .message()
        .deletes()
        .flat_map(|delete| delete.spis.clone())
        .collect();
    assert_eq!(deleted, [&spi[..]]);
    assert_eq!(victim.counts(Who::Hostile), (1, 1));
}

#[test]
fn a_peer_that_says_it_does_not_know_our_spi_loses_that_child_sa_only() {
    let (mut victim, mut peer, mut neighbour) = both();
    let spi_of = |victim: &Victim, who| victim.children_of(who)[0].outbound.spi.to_be_bytes();
    let say = |victim: &mut Victim, peer: &mut Peer, spi: [u8; 4]| {
        let notify = NotifyPayload::new(NotifyType::INVALID_SPI, spi.to_vec());
        let name = (ExchangeType::INFORMATIONAL, peer.message_id, Flags::INITIATOR);
        let request = peer.sealed(name, &[Payload::Notify(notify)]);
        peer.message_id += 1;
        victim.deliver(Who::Hostile.address(), &request)
    };
    let (own, neighbours) = (spi_of(&victim, Who::Hostile), spi_of(&victim, Who::Neighbour));
    for spi in [neighbours, [0; 4], [0xff; 4]] {
        assert_eq!(say(&mut victim, &mut peer, spi).len(), 1, "the answer");
    }
    assert_untouched(&mut victim, &mut peer, &mut neighbour);
    let sent = say(&mut victim, &mut peer, own);
    assert!(sent.len() >= 2, "the answer, and the delete of our half");
    assert_eq!(victim.counts(Who::Hostile), (1, 0));
    assert_eq!(victim.counts(Who::Neighbour), (1, 1));
}

#[test]
fn s3_exchanges_of_the_set_up_are_refused_once_it_is_over() {
    let (mut victim, mut peer, mut neighbour) = both();
    let auth = peer.ike_auth(
        gateway_ike::wire::v2::IdPayload::from_address(Who::Hostile.address().into()),
        0x7000,
    );
    for exchange in [
        ExchangeType::IKE_AUTH,
        ExchangeType::IKE_INTERMEDIATE,
        ExchangeType(99),
    ] {
        let answer = peer.ask(&mut victim, exchange, &auth).unwrap();
        assert_eq!(answer.notifies(), [NotifyType::INVALID_SYNTAX], "{exchange}");
        assert_untouched(&mut victim, &mut peer, &mut neighbour);
    }
}

#[test]
fn s9_s10_requests_repeat_their_answer_octet_by_octet_and_others_out_of_order_get_none() {
    let (mut victim, mut peer, _) = both();
    let payloads = peer.another_child(0x8000);
    let name = |id| (ExchangeType::CREATE_CHILD_SA, id, Flags::INITIATOR);
    let request = peer.sealed(name(peer.message_id), &payloads);
    let first = victim.deliver(Who::Hostile.address(), &request);
    let count = victim.counts(Who::Hostile);
    for _ in 0..100 {
        assert_eq!(victim.deliver(Who::Hostile.address(), &request), first);
    }
    assert_eq!(victim.counts(Who::Hostile), count);
    let last = peer.message_id;
    for id in [
        0,
        last - 1,
        last + 2,
        last + 3,
        last + 1000,
        u32::MAX,
        u32::MAX - 1,
        0x8000_0000,
    ] {
        let datagram = peer.sealed(name(id), &payloads);
        assert_eq!(victim.deliver(Who::Hostile.address(), &datagram).len(), 0, "{id}");
        let response = peer.sealed(
            (
                ExchangeType::CREATE_CHILD_SA,
                id,
                Flags::INITIATOR.with(Flags::RESPONSE),
            ),
            &payloads,
        );
        assert_eq!(victim.deliver(Who::Hostile.address(), &response).len(), 0, "{id}");
    }
    assert_eq!(victim.counts(Who::Hostile), count);
    peer.message_id += 1;
    peer.assert_alive(&mut victim);
}

#[test]
fn s16_more_child_sas_than_the_cap_are_refused_and_the_neighbour_gets_its_own() {
    let (mut victim, mut peer, mut neighbour) = both();
    let mut refused = 0;
    for number in 0..200 {
        let answer = create_child(&mut victim, &mut peer, 0x9000 + number, &[]);
        if !answer.grants() {
            assert_eq!(answer.notifies(), [NotifyType::NO_ADDITIONAL_SAS]);
            refused += 1;
        }
    }
    assert_eq!(refused, 200 - 15);
    assert_eq!(victim.counts(Who::Hostile), (1, 16));
    assert!(create_child(&mut victim, &mut neighbour, 0xf000, &[]).grants());
}

#[test]
fn s17_a_rekey_every_ten_milliseconds_is_slowed_down() {
    let (mut victim, mut peer, mut neighbour) = both();
    let (mut granted, mut newest) = (0, victim.children_of(Who::Hostile)[0].outbound.spi.to_be_bytes());
    for number in 0..1000_u32 {
        let spi = 0x9000 + number;
        let answer = create_child(&mut victim, &mut peer, spi, &[rekey_sa(ProtocolId::ESP, &newest)]);
        if answer.grants() {
            granted += 1;
            newest = spi.to_be_bytes();
        } else {
            let [refusal] = answer.notifies()[..] else {
                panic!("one reason")
            };
            let reasons = [NotifyType::TEMPORARY_FAILURE, NotifyType::NO_ADDITIONAL_SAS];
            assert!(reasons.contains(&refusal), "{refusal}");
        }
        assert!(victim.counts(Who::Hostile).1 <= 16);
        victim.pass(Duration::from_millis(10));
    }
    assert!((1..=20).contains(&granted), "{granted} in ten seconds");
    neighbour.assert_alive(&mut victim);
}

#[test]
fn p14_authentic_selectors_that_fit_nothing_are_unacceptable() {
    let (mut victim, mut peer, mut neighbour) = both();
    let good = peer.another_child(0x9000);
    let selector = |from: [u8; 4], to: [u8; 4], ports| TrafficSelector::Ipv4 {
        protocol: 0,
        ports,
        addresses: (from.into(), to.into()),
    };
    let reversed = selector([10, 101, 255, 255], [10, 101, 0, 0], (0, 65_535));
    let ts = |selectors| TsPayload { selectors };
    let rows = [
        ("reversed", ts(vec![reversed.clone()])),
        ("255 of them", ts(vec![reversed; 255])),
        (
            "ports reversed",
            ts(vec![selector([10, 101, 0, 0], [10, 101, 255, 255], (65_534, 3))]),
        ),
        (
            "elsewhere",
            ts(vec![selector([10, 102, 0, 0], [10, 102, 255, 255], (0, 65_535))]),
        ),
        ("none", ts(Vec::new())),
    ];
    for (what, ts) in rows {
        let mut payloads = good.clone();
        payloads[1] = Payload::TsI(ts);
        let answer = peer
            .ask(&mut victim, ExchangeType::CREATE_CHILD_SA, &payloads)
            .unwrap();
        assert_eq!(answer.notifies(), [NotifyType::TS_UNACCEPTABLE], "{what}");
        assert_untouched(&mut victim, &mut peer, &mut neighbour);
    }
}

/// Payloads inside the encryption, as many as a message can have.
#[test]
fn p4_p13_long_chains_inside_the_encrypted_payload_are_refused_in_linear_time() {
    let notify = |next: u8| [next, 0, 0, 8, 0, 0, 0xa0, 1];
    for count in [255_usize, 256, 1000, 8000] {
        for payload in [PayloadType(200), PayloadType::V2_NOTIFY] {
            let (mut victim, mut peer, mut neighbour) = both();
            let mut chain = notify(payload.0).repeat(count);
            let last = chain.len() - 8;
            chain[last] = 0;
            let datagram = peer.sealed_chain(ExchangeType::INFORMATIONAL, payload, &chain);
            let start = Instant::now();
            let answers = victim.deliver(Who::Hostile.address(), &datagram);
            assert!(start.elapsed() < Duration::from_millis(100), "{count}");
            assert_eq!(answers.len(), 1, "an authentic request is answered");
            peer.message_id += 1;
            assert_untouched(&mut victim, &mut peer, &mut neighbour);
        }
    }
}

#[test]
fn p8_a_key_exchange_that_nobody_asked_for_does_no_harm() {
    let (mut victim, mut peer, mut neighbour) = both();
    for (group, data) in [
        (0, vec![]),
        (31, vec![0; 32]),
        (2, vec![0xff; 128]),
        (1025, vec![1; 64]),
        (65_535, vec![1]),
    ] {
        let mut payloads = peer.another_child(0x9000 + u32::from(group));
        payloads.push(Payload::Ke(KePayload { group, data }));
        let answer = peer.ask(&mut victim, ExchangeType::CREATE_CHILD_SA, &payloads);
        assert!(answer.is_some(), "group {group}");
        assert!(victim.counts(Who::Hostile).1 <= 16);
    }
    peer.assert_alive(&mut victim);
    neighbour.assert_alive(&mut victim);
}

#[test]
fn p12_p13_notifications_of_any_type_and_content_change_nothing() {
    let (mut victim, mut peer, mut neighbour) = both();
    let leave_out = [NotifyType::AUTHENTICATION_FAILED, NotifyType::INITIAL_CONTACT];
    for number in (0..=u16::MAX).step_by(7).chain(0..50).chain(16_384..16_450) {
        let notify_type = NotifyType(number);
        if leave_out.contains(&notify_type) {
            continue;
        }
        let payload = Payload::Notify(NotifyPayload {
            protocol: ProtocolId(u8::try_from(number & 0xff).unwrap()),
            spi: vec![0x41; usize::from(number) % 9],
            notify_type,
            data: b"\0\x1b[2J\n%n%s'; DROP TABLE".to_vec(),
        });
        assert!(
            peer.ask(&mut victim, ExchangeType::INFORMATIONAL, &[payload])
                .is_some()
        );
    }
    assert_untouched(&mut victim, &mut peer, &mut neighbour);
}

/// The victim follows its peer's port, which a NAT may change, by authentic and fresh messages only.
#[test]
fn s18_only_an_authentic_and_fresh_message_moves_the_peers_port() {
    let (mut victim, mut peer, _) = both();
    let moved = |victim: &mut Victim, from: &str, datagram: &[u8]| {
        victim.deliver_from(from.parse().unwrap(), datagram)
    };
    let port_of = |victim: &mut Victim| {
        victim.endpoint.terminate(victim.now, Who::Hostile.tunnel());
        while victim.endpoint.poll_event().is_some() {}
        let transmit = victim.endpoint.poll_transmit().expect("a farewell");
        transmit.peer.port()
    };
    let name = |id| (ExchangeType::INFORMATIONAL, id, Flags::INITIATOR);
    let old = peer.sealed(name(peer.message_id), &[]);
    assert_eq!(victim.deliver(Who::Hostile.address(), &old).len(), 1);
    peer.message_id += 1;
    // Replayed, forged, out of order, from another address.
    moved(&mut victim, "192.0.2.1:4444", &old);
    let mut forged = peer.sealed(name(peer.message_id), &[]);
    if let Some(last) = forged.last_mut() {
        *last ^= 1;
    }
    moved(&mut victim, "192.0.2.1:4445", &forged);
    let ahead = peer.sealed(name(peer.message_id + 1), &[]);
    moved(&mut victim, "192.0.2.1:4446", &ahead);
    let fresh = peer.sealed(name(peer.message_id), &[]);
    assert_eq!(moved(&mut victim, "203.0.113.66:500", &fresh).len(), 0);
    assert_eq!(port_of(&mut victim), 500);

    let (mut victim, mut peer, _) = both();
    let fresh = peer.sealed(name(peer.message_id), &[]);
    assert_eq!(moved(&mut victim, "192.0.2.1:4447", &fresh).len(), 1);
    assert_eq!(port_of(&mut victim), 4447);
}
