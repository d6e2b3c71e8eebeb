//! The parser rows of the attack catalogue (P1 to P17), as far as they concern IKEv2 messages: what must be refused is refused with
//! an error that says why, nothing panics, and what is kept is never larger than what came.

#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by panicking, in its helpers too"
)]

mod bodies;
mod encrypted;

use std::time::{Duration, Instant};

use gateway_ike::wire::v2::{MAX_PAYLOADS, Message, MessageBuilder, NotifyPayload, NotifyType, Payload};
use gateway_ike::wire::{ExchangeType, Flags, Header, IkeSpi, PayloadType, Version, WireError};

/// What any hostile message may cost, with room for a busy machine: the catalogue says 1 ms.
const MAX_TIME: Duration = Duration::from_millis(20);

pub(crate) fn message(payloads: &[Payload]) -> Vec<u8> {
    MessageBuilder::new(
        IkeSpi([1; 8]),
        IkeSpi([2; 8]),
        ExchangeType::IKE_SA_INIT,
        0,
        Flags::INITIATOR,
    )
    .payloads(payloads)
    .unwrap()
    .clear()
    .unwrap()
}

/// A generic payload header with the length as given, and a body.
pub(crate) fn generic(next: PayloadType, critical: u8, length: usize, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(length).unwrap().to_be_bytes();
    [&[next.0, critical, length[0], length[1]], body].concat()
}

/// A chain of one payload.
pub(crate) fn chain(body: &[u8]) -> Vec<u8> {
    generic(PayloadType::NONE, 0, 4 + body.len(), body)
}

#[track_caller]
pub(crate) fn refused(kind: PayloadType, body: &[u8], expected: WireError) {
    assert_eq!(Payload::parse(kind, false, body), Err(expected));
}

/// Reads a chain in bounded time, and checks that no more is kept than came.
pub(crate) fn read(first: PayloadType, body: &[u8]) -> Result<usize, WireError> {
    let start = Instant::now();
    let parsed = Message::parse(first, body);
    let inner = Message::parse_decrypted(first, body);
    assert!(
        start.elapsed() < MAX_TIME,
        "{:?} for {} octets",
        start.elapsed(),
        body.len()
    );
    for message in [&parsed, &inner].into_iter().flatten() {
        let kept: usize = message
            .payloads
            .iter()
            .map(|parsed| parsed.payload.to_bytes().unwrap().len())
            .sum();
        assert!(kept <= body.len());
    }
    parsed.map(|message| message.payloads.len())
}

#[test]
fn p1_datagrams_shorter_than_a_header_are_refused() {
    let whole = message(&[]);
    assert_eq!(whole.len(), Header::LEN);
    for len in 0..Header::LEN {
        assert!(matches!(
            Header::parse(&whole[..len]),
            Err(WireError::Truncated { .. })
        ));
    }
}

#[test]
fn p2_a_header_length_that_is_not_the_datagrams_is_refused() {
    let good = message(&[Payload::Nonce(vec![7; 16])]);
    let len = u32::try_from(good.len()).unwrap();
    for wrong in [0, 27, 28, len - 1, len + 1, 1 << 31, u32::MAX] {
        let mut datagram = good.clone();
        datagram[24..28].copy_from_slice(&wrong.to_be_bytes());
        assert!(
            matches!(Header::parse(&datagram), Err(WireError::BadLength { .. })),
            "{wrong}"
        );
    }
}

#[test]
fn p3_payload_lengths_below_the_header_or_beyond_the_end_are_refused() {
    for kind in 1..=u8::MAX {
        for length in (0..4).chain([21, 22, 255, 65_535]) {
            let body = generic(PayloadType::NONE, 0, length, &[0; 16]);
            assert!(
                read(PayloadType(kind), &body).is_err(),
                "payload {kind} of {length}"
            );
        }
        for len in 0..4 {
            assert!(
                read(PayloadType(kind), &vec![0; len]).is_err(),
                "payload {kind} in {len}"
            );
        }
    }
}

#[test]
fn p4_chains_are_read_up_to_the_cap_and_refused_beyond() {
    for count in [0, 1, MAX_PAYLOADS] {
        let datagram = message(&vec![Payload::VendorId(Vec::new()); count]);
        let (header, body) = Header::parse(&datagram).unwrap();
        assert_eq!(read(header.next_payload, body), Ok(count));
    }
    for count in [MAX_PAYLOADS + 1, 255, 256, 10_000, 16_000, 65_535] {
        let body = generic(PayloadType(200), 0, 4, &[]).repeat(count);
        let expected = WireError::TooMany {
            what: "payloads",
            limit: MAX_PAYLOADS,
        };
        assert_eq!(read(PayloadType(200), &body), Err(expected), "{count}");
    }
}

#[test]
fn p5_every_payload_number_is_read_refused_or_left_out() {
    for kind in 0..=u8::MAX {
        let body = chain(&[]);
        let outcome = read(PayloadType(kind), &body);
        match kind {
            // An empty chain with octets behind it.
            0 => assert!(matches!(outcome, Err(WireError::BadLength { .. }))),
            // Payloads of IKEv1 (RFC 7296 section 3.2 reserves 1 to 32).
            1..=32 => assert_eq!(
                outcome,
                Err(WireError::Unexpected {
                    what: "payload type",
                    got: u32::from(kind)
                })
            ),
            // Payloads that cannot be empty.
            33..=36 | 39..=42 | 44 | 45 | 53 => assert!(outcome.is_err(), "{kind}"),
            // The encrypted payload is no part of the list.
            46 => assert_eq!(outcome, Ok(0)),
            _ => assert_eq!(outcome, Ok(1), "{kind}"),
        }
    }
}

#[test]
fn p5_nothing_may_follow_or_be_inside_an_encrypted_payload() {
    for kind in [PayloadType::V2_ENCRYPTED, PayloadType::V2_ENCRYPTED_FRAGMENT] {
        let sk = generic(PayloadType::V2_NOTIFY, 0, 12, &[0, 1, 0, 1, 9, 9, 9, 9]);
        let parsed = Message::parse(kind, &sk).unwrap();
        assert_eq!(parsed.encrypted.unwrap().first, PayloadType::V2_NOTIFY);
        let followed = [&sk[..], &chain(&[])].concat();
        assert!(matches!(read(kind, &followed), Err(WireError::BadLength { .. })));
        assert!(matches!(
            Message::parse_decrypted(kind, &sk),
            Err(WireError::Unexpected { .. })
        ));
    }
}

#[test]
fn p5_what_an_exchange_has_once_must_not_come_twice() {
    for kind in [33, 34, 35, 36, 39, 40, 44, 45] {
        let body: &[u8] = match kind {
            33 => &[0, 0, 0, 8, 1, 1, 0, 0],
            34 => &[0, 14, 0, 0, 1],
            35 | 36 => &[2, 0, 0, 0, b'a'],
            39 => &[2, 0, 0, 0],
            40 => &[7; 16],
            _ => &[0, 0, 0, 0],
        };
        let once = chain(body);
        assert_eq!(read(PayloadType(kind), &once), Ok(1), "{kind}");
        let twice = [generic(PayloadType(kind), 0, 4 + body.len(), body), once].concat();
        assert_eq!(
            read(PayloadType(kind), &twice),
            Err(WireError::Unexpected {
                what: "repeated payload",
                got: u32::from(kind)
            })
        );
    }
}

#[test]
fn p6_an_unknown_critical_payload_is_reported_with_its_number() {
    for kind in (49..=52).chain(54..=u8::MAX) {
        let critical = generic(PayloadType::NONE, 0x80, 4, &[]);
        let expected = WireError::CriticalPayload {
            payload: PayloadType(kind),
        };
        assert_eq!(read(PayloadType(kind), &critical), Err(expected));
        // The seven reserved bits mean nothing.
        assert_eq!(
            read(PayloadType(kind), &generic(PayloadType::NONE, 0x7f, 4, &[])),
            Ok(1)
        );
    }
    // On payloads that RFC 7296 defines, the bit means nothing.
    for kind in [37, 38, 43, 47, 48] {
        assert_eq!(
            read(PayloadType(kind), &generic(PayloadType::NONE, 0xff, 4, &[])),
            Ok(1),
            "{kind}"
        );
    }
}

#[test]
fn p6_versions_are_read_as_they_are() {
    for (octet, expected) in [
        (0x20, (2, 0)),
        (0x2f, (2, 15)),
        (0x00, (0, 0)),
        (0x30, (3, 0)),
        (0xff, (15, 15)),
    ] {
        let mut datagram = message(&[]);
        datagram[17] = octet;
        let (header, _) = Header::parse(&datagram).unwrap();
        let Version { major, minor } = header.version;
        assert_eq!((major, minor), expected);
    }
}

#[test]
fn p13_thousands_of_notifications_are_refused_in_linear_time() {
    for count in [MAX_PAYLOADS + 1, 10_000] {
        let notify = generic(PayloadType::V2_NOTIFY, 0, 8, &[0, 0, 0x40, 0]);
        assert!(matches!(
            read(PayloadType::V2_NOTIFY, &notify.repeat(count)),
            Err(WireError::TooMany { .. })
        ));
    }
    // One notification may be as large as a payload can be; it is kept once.
    let large = message(&[Payload::Notify(NotifyPayload::new(
        NotifyType::COOKIE,
        vec![1; 65_000],
    ))]);
    let (header, body) = Header::parse(&large).unwrap();
    assert_eq!(read(header.next_payload, body), Ok(1));
}
