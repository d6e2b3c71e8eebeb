//! Rows V1 to V15 and P1, P2 of the attack catalogue, as far as two endpoints can show them.

use std::net::SocketAddrV4;
use std::time::Duration;

use gateway_ike::crypto::{RandomSource, SeededRandom};
use gateway_ike::wire::v1::{Doi, MessageBuilder, NotifyPayload, NotifyType, Payload};
use gateway_ike::wire::{ExchangeType, IkeSpi, ProtocolId};

use crate::net::{End, FIRST, Pair};
use crate::setup::Setup;

const SECOND: Duration = Duration::from_secs(1);

fn addresses(to: End) -> (SocketAddrV4, SocketAddrV4) {
    let (a, b) = (
        "192.0.2.1:500".parse().unwrap(),
        "198.51.100.2:500".parse().unwrap(),
    );
    match to {
        End::A => (a, b),
        End::B => (b, a),
    }
}

/// Hands a datagram to an end as if its peer had sent it, and returns what the end answers.
fn inject(pair: &mut Pair, to: End, octets: &[u8]) -> Vec<Vec<u8>> {
    let (local, peer) = addresses(to);
    let before = pair.sent.len();
    pair.with(to, |endpoint, now| {
        endpoint.handle_datagram(now, local, peer, octets)
    });
    pair.sent[before..]
        .iter()
        .filter(|(_, end, _)| *end == to)
        .map(|(_, _, octets)| octets.clone())
        .collect()
}

fn random(rng: &mut SeededRandom, len: usize) -> Vec<u8> {
    let mut octets = vec![0; len];
    rng.fill(&mut octets);
    octets
}

/// Message 1 with an SPI of its own.
fn forged_first_message(template: &[u8], spi: u64) -> Vec<u8> {
    let mut octets = template.to_vec();
    octets[..8].copy_from_slice(&spi.to_be_bytes());
    octets
}

fn first_message(pair: &mut Pair) -> Vec<u8> {
    pair.initiate(End::A);
    pair.sent[0].2.clone()
}

#[test]
fn v1_a_spoofed_message_gets_at_most_one_answer_that_is_not_larger_and_none_by_a_timer() {
    let mut pair = Setup::new().start();
    let template = first_message(&mut pair);
    let mut pair = Setup::new().start();
    let forged = forged_first_message(&template, 0x1122_3344_5566_7788);
    let answers = inject(&mut pair, End::B, &forged);
    assert_eq!(answers.len(), 1);
    assert!(
        answers[0].len() <= forged.len(),
        "{} octets for {}",
        answers[0].len(),
        forged.len()
    );
    let before = pair.sent.len();
    pair.run_for(60 * SECOND);
    assert_eq!(pair.sent.len(), before, "sent again by a timer");
    assert_eq!(pair.b.endpoint.totals().half_open, 0);

    // A refusal is no larger either.
    let mut setup = Setup::new();
    setup.b.ike[0].group = gateway_ike::crypto::DhGroup::Modp2048;
    let mut pair = setup.start();
    let answers = inject(&mut pair, End::B, &forged);
    assert_eq!(answers.len(), 1);
    assert!(answers[0].len() <= forged.len());
}

#[test]
fn v1_a_peer_that_offers_little_gets_no_more_back() {
    let mut pair = Setup::new().start();
    let full = first_message(&mut pair);
    // Only the SA payload: the chain ends behind it.
    let sa_len = usize::from(u16::from_be_bytes([full[30], full[31]]));
    let mut bare = full[..28 + sa_len].to_vec();
    bare[28] = 0;
    let length = u32::try_from(bare.len()).unwrap();
    bare[24..28].copy_from_slice(&length.to_be_bytes());
    let mut pair = Setup::new().start();
    let answers = inject(&mut pair, End::B, &bare);
    assert_eq!(answers.iter().map(Vec::len).collect::<Vec<_>>(), [bare.len()]);
}

/// the limit holds per source, and the peer itself still gets through.
#[test]
fn half_open_exchanges_are_bounded_and_the_real_peer_gets_through() {
    let mut pair = Setup::new().start();
    let template = first_message(&mut pair);
    let mut pair = Setup::new().start();
    for spi in 1..2000 {
        inject(&mut pair, End::B, &forged_first_message(&template, spi));
        assert!(pair.b.endpoint.totals().half_open <= 8);
    }
    pair.initiate(End::A);
    for spi in 2000..2004 {
        pair.run_for(Duration::from_millis(5));
        inject(&mut pair, End::B, &forged_first_message(&template, spi));
    }
    pair.run_for(2 * SECOND);
    pair.assert_up(1);
    pair.run_for(40 * SECOND);
    assert_eq!(pair.b.endpoint.totals().half_open, 0);
}

#[test]
fn p1_p2_v6_garbage_is_dropped_counted_and_costs_nothing() {
    let mut rng = SeededRandom::new([9; 32]);
    let mut pair = Pair::established(Setup::new());
    let real: Vec<_> = pair
        .sent
        .iter()
        .map(|(_, end, octets)| (*end, octets.clone()))
        .collect();
    let before = (pair.a.log.len(), pair.b.log.len());
    let mut injected = 0;
    for round in 0..3000usize {
        let octets = random(&mut rng, round % 300);
        for end in [End::A, End::B] {
            assert!(inject(&mut pair, end, &octets).is_empty());
            injected += 1;
        }
    }
    // Real messages cut short at every length.
    for (from, octets) in &real {
        for len in 0..octets.len() {
            inject(&mut pair, from.other(), &octets[..len]);
            injected += 1;
        }
    }
    let dropped = pair.a.endpoint.totals().dropped_datagrams + pair.b.endpoint.totals().dropped_datagrams;
    assert_eq!(dropped, injected);
    assert_eq!((pair.a.log.len(), pair.b.log.len()), before);
    assert_eq!(
        (
            pair.a.endpoint.totals().half_open,
            pair.b.endpoint.totals().half_open
        ),
        (0, 0)
    );
    pair.assert_up(1);
}

/// Every real message with one octet changed, in every place, against an established pair and a starting one.
#[test]
fn v11_changed_messages_neither_advance_nor_end_anything() {
    let mut pair = Pair::established(Setup::new());
    let real: Vec<_> = pair
        .sent
        .iter()
        .map(|(_, end, octets)| (*end, octets.clone()))
        .collect();
    for (from, octets) in &real {
        for at in 0..octets.len() {
            let mut changed = octets.clone();
            changed[at] ^= 0x41;
            inject(&mut pair, from.other(), &changed);
        }
    }
    pair.run_for(100 * SECOND);
    pair.assert_up(1);
    assert_eq!((pair.a.ike_sas.len(), pair.b.ike_sas.len()), (1, 1));
    assert_eq!(
        (
            pair.a.endpoint.totals().half_open,
            pair.b.endpoint.totals().half_open
        ),
        (0, 0)
    );
    assert!(pair.send_esp(End::A, FIRST));
    pair.run_for(SECOND);
    assert_eq!(pair.lost_esp, []);
}

fn spis_of(message: &[u8]) -> (IkeSpi, IkeSpi) {
    let half = |at: usize| IkeSpi(message[at..at + 8].try_into().unwrap());
    (half(0), half(8))
}

fn in_the_clear(exchange: ExchangeType, spis: (IkeSpi, IkeSpi), id: u32, payload: &Payload) -> Vec<u8> {
    MessageBuilder::new(spis.0, spis.1, exchange, id)
        .payload(payload)
        .unwrap()
        .clear()
        .unwrap()
}

fn notify(notify_type: NotifyType, spi: Vec<u8>) -> Payload {
    Payload::Notify(NotifyPayload {
        doi: Doi::IPSEC,
        protocol: ProtocolId::IKE,
        spi,
        notify_type,
        data: vec![0, 0, 0, 1],
    })
}

/// V4, V5, V9: whatever says to end or renew something must be protected.
#[test]
fn v4_informationals_in_the_clear_end_nothing() {
    let mut pair = Pair::established(Setup::new());
    let spis = spis_of(&pair.sent[8].2);
    let joined = [spis.0.0, spis.1.0].concat();
    let delete = |protocol, spi| {
        Payload::Delete(gateway_ike::wire::v1::DeletePayload {
            doi: Doi::IPSEC,
            protocol,
            spis: vec![spi],
        })
    };
    let esp = pair
        .a
        .installed
        .values()
        .next()
        .unwrap()
        .sa
        .inbound
        .spi
        .to_be_bytes()
        .to_vec();
    let payloads = [
        delete(ProtocolId::IKE, joined.clone()),
        delete(ProtocolId::ESP, esp),
        notify(NotifyType::INITIAL_CONTACT, joined.clone()),
        notify(NotifyType::R_U_THERE, joined.clone()),
        notify(NotifyType::NO_PROPOSAL_CHOSEN, joined.clone()),
        notify(NotifyType::INVALID_COOKIE, joined),
    ];
    for payload in &payloads {
        let message = in_the_clear(ExchangeType::INFORMATIONAL_V1, spis, 77, payload);
        for end in [End::A, End::B] {
            assert_eq!(inject(&mut pair, end, &message), Vec::<Vec<u8>>::new());
        }
    }
    pair.run_for(SECOND);
    pair.assert_up(1);
    assert!(pair.a.failures.is_empty() && pair.b.failures.is_empty());
}

/// Errors that anybody can send are told and do not end the exchange.
#[test]
fn v4_s7_errors_in_the_clear_do_not_end_a_main_mode_that_goes_well() {
    for delay in [0, 15, 25, 35, 45] {
        let mut pair = Setup::new().start();
        pair.initiate(End::A);
        let spi = spis_of(&pair.sent[0].2).0;
        pair.run_for(Duration::from_millis(delay));
        for notify_type in [
            NotifyType::NO_PROPOSAL_CHOSEN,
            NotifyType::AUTHENTICATION_FAILED,
            NotifyType::INVALID_COOKIE,
        ] {
            let spis = pair
                .sent
                .iter()
                .map(|(_, _, octets)| spis_of(octets))
                .next_back()
                .unwrap();
            let message = in_the_clear(
                ExchangeType::INFORMATIONAL_V1,
                (spi, spis.1),
                5,
                &notify(notify_type, vec![]),
            );
            inject(&mut pair, End::A, &message);
        }
        pair.run_for(2 * SECOND);
        pair.assert_up(1);
        assert!(pair.a.failures.len() <= 1, "told once");
    }
}

/// V5: an old R-U-THERE is no sign of life and gets no answer.
#[test]
fn v5_a_replayed_probe_is_not_answered_and_does_not_keep_the_peer_alive() {
    let setup = Setup::new().both(|side| side.dpd_delay = Some(10 * SECOND));
    let mut pair = Pair::established(setup);
    let before = pair.sent.len();
    pair.run_for(25 * SECOND);
    let probes: Vec<_> = pair.sent[before..].to_vec();
    assert!(!probes.is_empty());
    for (_, from, octets) in &probes {
        assert!(inject(&mut pair, from.other(), octets).is_empty());
    }
    // From here on A hears replays only.
    pair.filter = Some(Box::new(|_, _, _| crate::net::Fate::Lose));
    for _ in 0..60 {
        for (_, from, octets) in &probes {
            inject(&mut pair, from.other(), octets);
        }
        pair.run_for(SECOND);
    }
    assert!(pair.a.installed.is_empty(), "{:#?}", pair.a.log);
}

/// V12: message 5 in the clear.
#[test]
fn v12_an_unencrypted_message_5_is_refused() {
    let mut pair = Setup::new().start();
    pair.filter = Some(Box::new(|end, count, _| {
        if end == End::A && count == 2 {
            crate::net::Fate::Lose
        } else {
            crate::net::Fate::Deliver
        }
    }));
    pair.initiate(End::A);
    pair.run_for(Duration::from_millis(100));
    let mut fifth = pair.sent[4].2.clone();
    assert_eq!(fifth[19], 1, "message 5 is encrypted");
    fifth[19] = 0;
    assert!(inject(&mut pair, End::B, &fifth).is_empty());
    let id = Payload::Id(gateway_ike::wire::v1::IdPayload::from_address(
        "192.0.2.1".parse().unwrap(),
    ));
    let clear = in_the_clear(ExchangeType::IDENTITY_PROTECTION, spis_of(&fifth), 0, &id);
    assert!(inject(&mut pair, End::B, &clear).is_empty());
    assert!(pair.b.ike_sas.is_empty());
    pair.run_for(3 * SECOND);
    pair.assert_up(1);
}

/// V13, V7: exchanges that are not ours, in every state.
#[test]
fn v13_other_exchanges_are_refused_in_every_state() {
    for sent in 0..9 {
        let mut pair = Setup::new().start();
        pair.initiate(End::A);
        pair.run_for(Duration::from_millis(10 * sent + 5));
        let last = pair.sent.last().unwrap().2.clone();
        for exchange in (0..=u8::MAX).filter(|exchange| ![2, 5, 32].contains(exchange)) {
            let mut octets = last.clone();
            octets[18] = exchange;
            for end in [End::A, End::B] {
                assert!(inject(&mut pair, end, &octets).is_empty(), "exchange {exchange}");
            }
        }
        pair.run_for(2 * SECOND);
        pair.assert_up(1);
    }
}

/// Exchange type of deletes (RFC 2408 section 3.1).
const INFORMATIONAL: u8 = 5;

/// V14: lifetimes of zero, of everything and of nonsense end in ours or theirs, whichever is shorter, and never in none.
#[test]
fn v14_lifetimes_are_clamped() {
    for (theirs, at_most) in [(0u64, 3600), (1, 5), (60, 60), (u64::from(u32::MAX), 3600)] {
        let mut setup = Setup::new();
        setup.a.lifetime.time = Duration::from_secs(theirs);
        setup.a.may_initiate = true;
        let mut pair = setup.start();
        // Only lifetimes shall end anything: deletes of the end that believes in nonsense are lost.
        pair.filter = Some(Box::new(|end, _, octets| match (end, octets[18]) {
            (End::A, INFORMATIONAL) => crate::net::Fate::Lose,
            _ => crate::net::Fate::Deliver,
        }));
        pair.initiate(End::A);
        pair.run_for(Duration::from_millis(200));
        let child = &pair
            .b
            .installed
            .values()
            .next()
            .unwrap_or_else(|| panic!("{theirs}: no child"))
            .sa;
        let left = (child.expires_at - pair.now).as_secs_f64();
        assert!(left <= at_most as f64 && left >= 4.0, "{theirs}: {left}");
    }
}

#[test]
fn s12_reflected_messages_are_dropped() {
    let mut pair = Setup::new().start();
    pair.initiate(End::A);
    let mut reflected = 0;
    while reflected < 9 && pair.now < pair.start + 5 * SECOND {
        if let Some((_, from, octets)) = pair.sent.get(reflected).cloned() {
            inject(&mut pair, from, &octets);
            reflected += 1;
        } else {
            pair.run_for(Duration::from_millis(1));
        }
    }
    pair.run_for(2 * SECOND);
    pair.assert_up(1);
    assert_eq!(
        (
            pair.a.endpoint.totals().half_open,
            pair.b.endpoint.totals().half_open
        ),
        (0, 0)
    );
}

/// Messages from another address with the right SPIs are nobody's.
#[test]
fn another_source_address_is_not_the_peer() {
    let mut pair = Pair::established(Setup::new());
    let last = pair.sent.last().unwrap().2.clone();
    let dropped = pair.b.endpoint.totals().dropped_datagrams;
    pair.with(End::B, |endpoint, now| {
        let local = "198.51.100.2:500".parse().unwrap();
        endpoint.handle_datagram(now, local, "203.0.113.77:500".parse().unwrap(), &last);
    });
    assert_eq!(pair.b.endpoint.totals().dropped_datagrams, dropped + 1);
}
