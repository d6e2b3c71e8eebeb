//! An authenticated IKEv1 peer that means no good.

use std::time::Duration;

use gateway_ike::config::{DpdAction, DpdConfig, IkeVersion};
use gateway_ike::wire::v1::{DeletePayload, Doi, IdPayload, NotifyPayload, NotifyType, Payload};
use gateway_ike::wire::{ExchangeType, IdType, ProtocolId};

use crate::v1_peer::Peer;
use crate::victim::{Victim, Who};

const SECOND: Duration = Duration::from_secs(1);

fn both() -> (Victim, Peer) {
    let mut victim = Victim::new(IkeVersion::V1);
    let neighbour = Peer::established(&mut victim, Who::Neighbour, 9);
    neighbour.quick_mode(&mut victim, 0x99, 0x9999);
    let peer = Peer::established(&mut victim, Who::Hostile, 1);
    peer.quick_mode(&mut victim, 1, 0x1000);
    assert_eq!(victim.counts(Who::Hostile), (1, 1));
    (victim, peer)
}

#[track_caller]
fn assert_untouched(victim: &mut Victim) {
    victim.pass(SECOND);
    assert_eq!(victim.counts(Who::Hostile), (1, 1));
    assert_eq!(victim.counts(Who::Neighbour), (1, 1));
}

#[test]
fn v8_client_identities_that_are_missing_alone_swapped_or_names_are_refused() {
    let (mut victim, peer) = both();
    let good = peer.quick_payloads(0x2000);
    let [sa, nonce, id_i, id_r] = &good[..] else {
        panic!("four payloads")
    };
    let name = Payload::Id(IdPayload {
        id_type: IdType::FQDN,
        protocol: 0,
        port: 0,
        data: b"10.101.0.0".to_vec(),
    });
    let rows = [
        ("none", vec![]),
        ("one", vec![id_i.clone()]),
        ("swapped", vec![id_r.clone(), id_i.clone()]),
        ("three", vec![id_i.clone(), id_r.clone(), id_r.clone()]),
        ("a name for ours", vec![id_i.clone(), name.clone()]),
        ("a name for theirs", vec![name, id_r.clone()]),
        ("the same twice", vec![id_i.clone(), id_i.clone()]),
    ];
    for (number, (what, ids)) in rows.into_iter().enumerate() {
        let payloads = [vec![sa.clone(), nonce.clone()], ids].concat();
        let message_id = 100 + u32::try_from(number).unwrap();
        let answers = peer.send(&mut victim, ExchangeType::QUICK_MODE, message_id, &payloads);
        assert!(answers.len() <= 1, "{what}");
        // Where there is an answer, it is a notification, not message 2.
        assert!(
            answers
                .iter()
                .all(|answer| answer[18] == ExchangeType::INFORMATIONAL_V1.0),
            "{what}"
        );
        assert_untouched(&mut victim);
    }
}

#[test]
fn v10_messages_1_and_3_replayed_make_no_second_sa_in_the_life_of_the_isakmp_sa() {
    let (mut victim, peer) = both();
    let recorded = peer.quick_mode(&mut victim, 2, 0x2000);
    assert_eq!(victim.counts(Who::Hostile), (1, 2));
    let spis: Vec<_> = victim.children.values().map(|child| child.inbound.spi).collect();
    for round in 0..20 {
        for datagram in recorded.iter().chain(recorded.iter().rev()) {
            victim.deliver(Who::Hostile.address(), datagram);
        }
        let after: Vec<_> = victim.children.values().map(|child| child.inbound.spi).collect();
        assert_eq!(after, spis, "round {round}");
        // Long after the exchange itself is forgotten.
        victim.pass(Duration::from_secs(200));
    }
    // The Message ID is used up for another request too.
    let answers = peer.send(
        &mut victim,
        ExchangeType::QUICK_MODE,
        2,
        &peer.quick_payloads(0x2001),
    );
    assert!(answers.is_empty());
    assert_eq!(victim.counts(Who::Hostile), (1, 2));
}

#[test]
fn v10_message_id_0_is_no_quick_mode() {
    let (mut victim, peer) = both();
    let answers = peer.send(
        &mut victim,
        ExchangeType::QUICK_MODE,
        0,
        &peer.quick_payloads(0x2000),
    );
    assert!(answers.is_empty());
    assert_untouched(&mut victim);
}

#[test]
fn v10_a_flood_of_message_1_without_message_3_is_capped_and_seals_nothing() {
    let (mut victim, peer) = both();
    let mut answered = 0;
    for number in 0..1000 {
        let payloads = peer.quick_payloads(0x2000 + number);
        answered += peer
            .send(
                &mut victim,
                ExchangeType::QUICK_MODE,
                0x1_0000 + number,
                &payloads,
            )
            .len();
        assert!(victim.counts(Who::Hostile).1 <= 17);
    }
    assert!(answered <= 16, "{answered} quick modes wait");
    // What was answered opens until its end, because message 3 may be lost and the SA in use; it never seals.
    let sealing = victim.sealing.clone();
    victim.pass(Duration::from_secs(400));
    assert_eq!(victim.sealing, sealing);
    assert_eq!(victim.counts(Who::Neighbour), (1, 1));
    assert!(victim.counts(Who::Hostile).1 <= 17);
    victim.pass(Duration::from_secs(36_000));
    assert_eq!(victim.counts(Who::Hostile).1, 0);
}

#[test]
fn v4_an_informational_with_the_wrong_hash_does_nothing() {
    let (mut victim, peer) = both();
    let delete = Payload::Delete(DeletePayload {
        doi: Doi::IPSEC,
        protocol: ProtocolId::ESP,
        spis: vec![0x1000_u32.to_be_bytes().to_vec()],
    });
    let datagram = peer.sealed(ExchangeType::INFORMATIONAL_V1, 50, &[delete]);
    for at in 28..datagram.len() {
        let mut changed = datagram.clone();
        changed[at] ^= 1;
        assert!(victim.deliver(Who::Hostile.address(), &changed).is_empty());
    }
    assert_untouched(&mut victim);
    // Under another Message ID, which the hash covers.
    let mut moved = datagram.clone();
    moved[23] ^= 1;
    assert!(victim.deliver(Who::Hostile.address(), &moved).is_empty());
    assert_untouched(&mut victim);
    victim.deliver(Who::Hostile.address(), &datagram);
    assert_eq!(victim.counts(Who::Hostile).1, 0, "the right one does");
}

fn dpd(notify_type: NotifyType, spi: &[u8], sequence: u32) -> Payload {
    Payload::Notify(NotifyPayload {
        doi: Doi::IPSEC,
        protocol: ProtocolId::IKE,
        spi: spi.to_vec(),
        notify_type,
        data: sequence.to_be_bytes().to_vec(),
    })
}

#[test]
fn v5_probes_with_a_wrong_spi_or_number_and_answers_to_nothing_get_no_answer() {
    let (mut victim, peer) = both();
    let right = peer.spis();
    let send = |victim: &mut Victim, id, payload| {
        peer.send(victim, ExchangeType::INFORMATIONAL_V1, id, &[payload])
            .len()
    };
    assert_eq!(send(&mut victim, 10, dpd(NotifyType::R_U_THERE, &right, 1000)), 1);
    let rows = [
        ("old", dpd(NotifyType::R_U_THERE, &right, 3)),
        ("another spi", dpd(NotifyType::R_U_THERE, &[7; 16], 1001)),
        ("no spi", dpd(NotifyType::R_U_THERE, &[], 1001)),
        ("an answer to nothing", dpd(NotifyType::R_U_THERE_ACK, &right, 1)),
    ];
    for (number, (what, payload)) in rows.into_iter().enumerate() {
        let id = 20 + u32::try_from(number).unwrap();
        assert_eq!(send(&mut victim, id, payload), 0, "{what}");
        assert_untouched(&mut victim);
    }
}

/// A peer that only says what nobody asked for is as good as silent: its dead timer runs on.
#[test]
fn v5_answers_to_nothing_replayed_do_not_keep_a_tunnel_alive() {
    let mut victim = Victim::with(IkeVersion::V1, |config| {
        config.dpd = Some(DpdConfig {
            delay: 10 * SECOND,
            action: DpdAction::Clear,
        });
    });
    let peer = Peer::established(&mut victim, Who::Hostile, 1);
    peer.quick_mode(&mut victim, 1, 0x1000);
    let ack = dpd(NotifyType::R_U_THERE_ACK, &peer.spis(), 1);
    let datagram = peer.sealed(ExchangeType::INFORMATIONAL_V1, 60, &[ack]);
    for _ in 0..90 {
        victim.pass(SECOND);
        victim.deliver(Who::Hostile.address(), &datagram);
    }
    assert_eq!(victim.counts(Who::Hostile).1, 0, "dead");
}

#[test]
fn v9_a_deletion_with_more_behind_it_and_again_is_safe() {
    let (mut victim, peer) = both();
    let delete = |spi: u32| {
        Payload::Delete(DeletePayload {
            doi: Doi::IPSEC,
            protocol: ProtocolId::ESP,
            spis: vec![spi.to_be_bytes().to_vec(); 3],
        })
    };
    let all = [
        delete(0x1000),
        delete(0x1000),
        dpd(NotifyType::R_U_THERE, &peer.spis(), 9),
        dpd(NotifyType::INITIAL_CONTACT, &peer.spis(), 9),
        delete(0x9999),
    ];
    let datagram = peer.sealed(ExchangeType::INFORMATIONAL_V1, 70, &all);
    for _ in 0..10 {
        victim.deliver(Who::Hostile.address(), &datagram);
    }
    assert_eq!(victim.counts(Who::Hostile), (1, 0));
    assert_eq!(victim.counts(Who::Neighbour), (1, 1), "S6: not the neighbour's");
    peer.quick_mode(&mut victim, 80, 0x8000);
    assert_eq!(victim.counts(Who::Hostile), (1, 1));
}
