//! Rows S1 to S19 of the attack catalogue, as far as two endpoints can show them.

use std::net::SocketAddrV4;
use std::time::Duration;

use gateway_ike::wire::v2::{DeletePayload, MessageBuilder, NotifyPayload, NotifyType, Payload};
use gateway_ike::wire::{ExchangeType, Flags, IkeSpi};

use crate::net::{End, FIRST, Fate, Pair};
use crate::setup::Setup;

const SECOND: Duration = Duration::from_secs(1);

/// Hands a datagram to an end as if its peer had sent it, and returns what the end answers.
fn inject(pair: &mut Pair, to: End, octets: &[u8]) -> Vec<Vec<u8>> {
    let (a, b): (SocketAddrV4, SocketAddrV4) = (
        "192.0.2.1:500".parse().unwrap(),
        "198.51.100.2:500".parse().unwrap(),
    );
    let (local, peer) = match to {
        End::A => (a, b),
        End::B => (b, a),
    };
    let before = pair.sent.len();
    pair.with(to, |endpoint, now| {
        endpoint.handle_datagram(now, local, peer, octets)
    });
    let answers = pair.sent[before..].iter().filter(|(_, end, _)| *end == to);
    answers.map(|(_, _, octets)| octets.clone()).collect()
}

fn spis(octets: &[u8]) -> (IkeSpi, IkeSpi) {
    let spi = |at: usize| IkeSpi(octets[at..at + 8].try_into().unwrap());
    (spi(0), spi(8))
}

fn in_the_clear(
    (initiator, responder): (IkeSpi, IkeSpi),
    exchange: ExchangeType,
    (id, flags): (u32, Flags),
    payload: &Payload,
) -> Vec<u8> {
    MessageBuilder::new(initiator, responder, exchange, id, flags)
        .payload(payload)
        .and_then(MessageBuilder::clear)
        .unwrap()
}

/// What A sends first.
fn first_message() -> Vec<u8> {
    let mut pair = Setup::v2().start();
    pair.initiate(End::A);
    pair.sent[0].2.clone()
}

#[test]
fn s1_a_first_message_cut_at_any_octet_is_dropped() {
    let first = first_message();
    for len in 0..first.len() {
        let mut pair = Setup::v2().start();
        let mut cut = first[..len].to_vec();
        if len >= 28 {
            cut[24..28].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
        }
        assert!(inject(&mut pair, End::B, &cut).is_empty(), "{len} octets");
        assert_eq!(pair.b.endpoint.snapshots(pair.now).len(), 0);
    }
}

#[test]
fn s1_to_s3_no_other_exchange_comes_before_ike_auth() {
    for exchange in [
        ExchangeType::CREATE_CHILD_SA,
        ExchangeType::INFORMATIONAL,
        ExchangeType::IKE_INTERMEDIATE,
        ExchangeType::IKE_SA_INIT,
        ExchangeType(99),
    ] {
        for flags in [Flags::NONE, Flags::INITIATOR, Flags::RESPONSE] {
            let mut pair = Setup::v2().start();
            pair.filter = Some(Box::new(|from, count, _| {
                if from == End::A && count == 1 {
                    Fate::Lose
                } else {
                    Fate::Deliver
                }
            }));
            pair.initiate(End::A);
            pair.run_for(Duration::from_millis(100));
            let spis = spis(&pair.sent[1].2);
            let auth = pair.sent[2].2.clone();
            // A real IKE_AUTH under another exchange type, and one in the clear.
            let mut renamed = auth.clone();
            renamed[18] = exchange.0;
            let clear = in_the_clear(
                spis,
                exchange,
                (1, flags),
                &Payload::notify(NotifyType::INITIAL_CONTACT),
            );
            for forged in [renamed, clear] {
                assert!(inject(&mut pair, End::B, &forged).is_empty(), "{exchange}");
            }
            assert!(pair.b.ike_sas.is_empty() && pair.b.installed.is_empty());
            pair.filter = None;
            pair.run_for(5 * SECOND);
            pair.assert_up(1);
        }
    }
}

#[test]
fn s4_s5_an_ike_auth_that_is_damaged_anywhere_installs_nothing() {
    let mut pair = Setup::v2().start();
    pair.filter = Some(Box::new(|from, count, _| {
        if from == End::A && count == 1 {
            Fate::Lose
        } else {
            Fate::Deliver
        }
    }));
    pair.initiate(End::A);
    pair.run_for(Duration::from_millis(100));
    let auth = pair.sent[2].2.clone();
    for at in 0..auth.len() {
        let mut damaged = auth.clone();
        damaged[at] ^= 1;
        inject(&mut pair, End::B, &damaged);
        assert!(
            pair.b.ike_sas.is_empty() && pair.b.installed.is_empty(),
            "octet {at}"
        );
    }
    pair.filter = None;
    pair.run_for(5 * SECOND);
    pair.assert_up(1);
}

#[test]
fn s7_errors_that_nobody_has_authenticated_end_nothing() {
    let errors = [
        NotifyType::NO_PROPOSAL_CHOSEN,
        NotifyType::AUTHENTICATION_FAILED,
        NotifyType::INVALID_SYNTAX,
        NotifyType::INVALID_MAJOR_VERSION,
        NotifyType::INVALID_KE_PAYLOAD,
        NotifyType::COOKIE,
    ];
    let mut pair = Setup::v2().start();
    pair.filter = Some(Box::new(|from, count, _| {
        if from == End::B && count < 2 {
            Fate::Lose
        } else {
            Fate::Deliver
        }
    }));
    pair.initiate(End::A);
    let (initiator, _) = spis(&pair.sent[0].2);
    for round in 0..200_u16 {
        for error in errors {
            let payload = Payload::Notify(NotifyPayload::new(error, round.to_be_bytes().to_vec()));
            let forged = in_the_clear(
                (initiator, IkeSpi([9; 8])),
                ExchangeType::IKE_SA_INIT,
                (0, Flags::RESPONSE),
                &payload,
            );
            inject(&mut pair, End::A, &forged);
        }
    }
    pair.run_for(20 * SECOND);
    pair.assert_up(1);
}

#[test]
fn s7_an_established_tunnel_ignores_what_comes_in_the_clear() {
    let mut pair = Pair::established(Setup::v2());
    let spis = spis(&pair.sent[3].2);
    for payload in [
        Payload::Delete(DeletePayload::ike()),
        Payload::notify(NotifyType::INITIAL_CONTACT),
        Payload::notify(NotifyType::AUTHENTICATION_FAILED),
        Payload::notify(NotifyType::INVALID_SPI),
    ] {
        for end in [End::A, End::B] {
            for id in 0..4 {
                for flags in [Flags::NONE, Flags::INITIATOR, Flags::RESPONSE] {
                    let forged = in_the_clear(spis, ExchangeType::INFORMATIONAL, (id, flags), &payload);
                    assert!(inject(&mut pair, end, &forged).is_empty());
                }
            }
        }
    }
    pair.assert_up(1);
    assert_eq!((pair.a.ike_sas.len(), pair.b.ike_sas.len()), (1, 1));
}

#[test]
fn s9_a_repeated_request_gets_the_same_octets_and_changes_nothing() {
    let mut pair = Pair::established(Setup::v2());
    let child = *pair.a.sealing.get(&FIRST).unwrap();
    pair.run_for(SECOND);
    pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, child));
    pair.run_for(Duration::from_millis(100));
    let of = |end| {
        pair.sent
            .iter()
            .rfind(|(_, from, _)| *from == end)
            .unwrap()
            .2
            .clone()
    };
    let (request, response) = (of(End::A), of(End::B));
    let installed = pair.b.installed.len();
    for _ in 0..10 {
        assert_eq!(
            inject(&mut pair, End::B, &request),
            std::slice::from_ref(&response)
        );
    }
    assert_eq!(pair.b.installed.len(), installed);
    let auth = pair.sent[2].2.clone();
    assert!(
        inject(&mut pair, End::B, &auth).is_empty(),
        "older than the last one"
    );
}

#[test]
fn s10_message_ids_outside_the_window_are_dropped() {
    let mut pair = Pair::established(Setup::v2());
    let auth = pair.sent[2].2.clone();
    for id in [0_u32, 2, 3, 7, u32::MAX] {
        let mut moved = auth.clone();
        moved[20..24].copy_from_slice(&id.to_be_bytes());
        assert!(inject(&mut pair, End::B, &moved).is_empty());
    }
    pair.assert_up(1);
}

#[test]
fn s12_our_own_messages_come_back_in_vain() {
    let mut pair = Setup::v2().start();
    pair.initiate(End::A);
    let first = pair.sent[0].2.clone();
    assert!(inject(&mut pair, End::A, &first).is_empty());
    pair.run_for(SECOND);
    pair.assert_up(1);
    for (_, end, octets) in pair.sent.clone() {
        inject(&mut pair, end, &octets);
    }
    pair.run_for(SECOND);
    pair.assert_up(1);
}

#[test]
fn s13_a_group_that_is_not_configured_is_never_used() {
    let mut pair = Setup::v2().start();
    pair.initiate(End::A);
    let (initiator, _) = spis(&pair.sent[0].2);
    for group in [1_u16, 2, 5, 22, 24, 9999] {
        let payload = NotifyPayload::new(NotifyType::INVALID_KE_PAYLOAD, group.to_be_bytes().to_vec());
        let forged = in_the_clear(
            (initiator, IkeSpi::ZERO),
            ExchangeType::IKE_SA_INIT,
            (0, Flags::RESPONSE),
            &Payload::Notify(payload),
        );
        assert!(inject(&mut pair, End::A, &forged).is_empty(), "group {group}");
    }
    pair.run_for(SECOND);
    pair.assert_up(1);
}

#[test]
fn s16_s17_a_storm_of_rekeys_is_bounded() {
    let mut pair = Pair::established(Setup::v2());
    for _ in 0..500 {
        if let Some(child) = pair.a.sealing.get(&FIRST).copied() {
            pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, child));
        }
        pair.run_for(Duration::from_millis(50));
        assert!(pair.b.installed.len() <= 17, "{}", pair.b.installed.len());
    }
    pair.run_for(20 * SECOND);
    pair.assert_mirrored();
}

#[test]
fn s19_beyond_a_threshold_only_initiators_that_repeat_a_cookie_cost_anything() {
    let first = first_message();
    let mut pair = Setup::v2().start();
    let b: SocketAddrV4 = "198.51.100.2:500".parse().unwrap();
    let mut cookies = 0;
    for number in 0..300_u64 {
        let mut forged = first.clone();
        forged[..8].copy_from_slice(&(number + 1).to_be_bytes());
        let before = pair.sent.len();
        pair.with(End::B, |endpoint, now| {
            endpoint.handle_datagram(now, b, "192.0.2.1:500".parse().unwrap(), &forged)
        });
        cookies += usize::from(pair.sent[before..].iter().any(|(_, _, octets)| octets.len() < 80));
    }
    let half_open = pair.b.endpoint.totals().half_open;
    assert!(half_open <= 100, "{half_open} half open, {cookies} cookies");
    pair.initiate(End::A);
    pair.run_for(5 * SECOND);
    pair.assert_up(1);
}
