//! The parser rows of the attack catalogue (P1 to P17), as far as they concern IKEv1 messages: what must be refused is refused with
//! an error that says why, and nothing panics or is read twice.

#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by panicking, in its helpers too"
)]

mod bodies;
mod proposals;

use gateway_ike::wire::v1::{MAX_PAYLOADS, Message, MessageBuilder, Payload, Protection};
use gateway_ike::wire::{ExchangeType, Header, IkeSpi, PayloadType, Version, WireError};

pub(crate) fn message(payloads: &[Payload]) -> Vec<u8> {
    MessageBuilder::new(
        IkeSpi([1; 8]),
        IkeSpi([2; 8]),
        ExchangeType::IDENTITY_PROTECTION,
        0,
    )
    .payloads(payloads)
    .unwrap()
    .clear()
    .unwrap()
}

/// A generic payload header with the length as given, and a body.
pub(crate) fn generic(next: PayloadType, length: usize, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(length).unwrap().to_be_bytes();
    [&[next.0, 0, length[0], length[1]], body].concat()
}

#[track_caller]
pub(crate) fn refused(kind: PayloadType, body: &[u8], expected: WireError) {
    assert_eq!(Payload::parse(kind, body), Err(expected));
}

#[test]
fn p1_datagrams_shorter_than_a_header_are_refused() {
    for len in 0..Header::LEN {
        let expected = WireError::Truncated {
            what: "header",
            needed: 28,
            have: len,
        };
        assert_eq!(Header::parse(&vec![0xff; len]).unwrap_err(), expected);
    }
}

#[test]
fn p2_a_header_length_that_is_not_the_datagrams_is_refused() {
    let good = message(&[Payload::Nonce(vec![7; 16])]);
    let len = u32::try_from(good.len()).unwrap();
    assert!(Header::parse(&good).is_ok());
    for wrong in [0, 27, 28, len - 1, len + 1, 1 << 31, u32::MAX] {
        let mut datagram = good.clone();
        datagram[24..28].copy_from_slice(&wrong.to_be_bytes());
        let expected = WireError::BadLength {
            what: "message",
            got: good.len(),
        };
        assert_eq!(Header::parse(&datagram).unwrap_err(), expected, "{wrong}");
    }
}

#[test]
fn p3_payload_lengths_below_the_header_or_beyond_the_end_are_refused() {
    for kind in 0..=u8::MAX {
        for protection in [Protection::Clear, Protection::Decrypted] {
            for length in 0..4 {
                let body = generic(PayloadType::NONE, length, &[0; 16]);
                let expected = WireError::BadLength {
                    what: "payload length",
                    got: length,
                };
                assert_eq!(
                    Message::parse(PayloadType(kind), &body, protection),
                    Err(expected)
                );
            }
            for length in [21, 22, 255, 65_535] {
                let body = generic(PayloadType::NONE, length, &[0; 16]);
                let expected = WireError::Truncated {
                    what: "payload",
                    needed: length - 4,
                    have: 16,
                };
                assert_eq!(
                    Message::parse(PayloadType(kind), &body, protection),
                    Err(expected)
                );
            }
        }
    }
}

#[test]
fn p3_a_body_that_ends_inside_a_generic_header_is_refused() {
    for len in 0..4 {
        let body = vec![0; len];
        assert!(matches!(
            Message::parse(PayloadType::VENDOR_ID, &body, Protection::Clear),
            Err(WireError::Truncated { .. })
        ));
    }
}

#[test]
fn p4_chains_are_read_up_to_the_cap_and_refused_beyond() {
    for count in [1, MAX_PAYLOADS] {
        let datagram = message(&vec![Payload::VendorId(Vec::new()); count]);
        let (header, body) = Header::parse(&datagram).unwrap();
        let parsed = Message::parse(header.next_payload, body, Protection::Clear).unwrap();
        assert_eq!(parsed.payloads.len(), count);
    }
    for count in [MAX_PAYLOADS + 1, 255, 256, 10_000, 16_000] {
        let body: Vec<u8> = (0..count)
            .flat_map(|_| generic(PayloadType(200), 4, &[]))
            .collect();
        let expected = WireError::TooMany {
            what: "payloads",
            limit: MAX_PAYLOADS,
        };
        assert_eq!(
            Message::parse(PayloadType(200), &body, Protection::Decrypted),
            Err(expected)
        );
    }
}

#[test]
fn p5_payloads_of_ikev2_and_nested_payloads_cannot_stand_in_a_message() {
    for kind in (0..=u8::MAX).map(PayloadType) {
        let body = generic(PayloadType::NONE, 4 + 40, &[0; 40]);
        let parsed = Message::parse(kind, &body, Protection::Clear);
        let nested = matches!(
            kind,
            PayloadType::NONE | PayloadType::PROPOSAL | PayloadType::TRANSFORM
        );
        if nested || (32..=54).contains(&kind.0) {
            let expected = WireError::Unexpected {
                what: "payload type",
                got: u32::from(kind.0),
            };
            assert_eq!(parsed, Err(expected), "{kind}");
        } else if let Ok(parsed) = parsed {
            assert_eq!(parsed.payloads[0].payload.payload_type(), kind);
            assert_eq!(parsed.payloads[0].payload.to_bytes().unwrap(), [0; 40]);
        }
    }
}

#[test]
fn p5_unknown_payloads_survive_as_octets() {
    let body = generic(PayloadType::NONE, 7, b"abc");
    let parsed = Message::parse(PayloadType(132), &body, Protection::Clear).unwrap();
    let expected = Payload::Unknown {
        payload_type: PayloadType(132),
        body: b"abc".to_vec(),
    };
    assert_eq!(parsed.payloads[0].payload, expected);
    assert_eq!(parsed.payloads[0].raw, b"abc");
}

#[test]
fn p6_reserved_octets_are_ignored_and_versions_are_read_as_they_are() {
    let mut datagram = message(&[Payload::Nonce(vec![7; 16])]);
    datagram[29] = 0xff;
    for (octet, major, minor) in [
        (0x00, 0, 0),
        (0x1f, 1, 15),
        (0x20, 2, 0),
        (0x30, 3, 0),
        (0xff, 15, 15),
    ] {
        datagram[17] = octet;
        let (header, body) = Header::parse(&datagram).unwrap();
        assert_eq!(header.version, Version { major, minor });
        assert!(Message::parse(header.next_payload, body, Protection::Clear).is_ok());
    }
}

#[test]
fn padding_follows_encrypted_messages_only_and_stays_out_of_the_hash() {
    let chain = [
        generic(PayloadType::NONCE, 20, &[1; 16]),
        generic(PayloadType::NONE, 14, &[2; 10]),
    ]
    .concat();
    let (first, second) = (PayloadType::HASH, &chain[20..]);
    for padding in [0, 1, 16, 255] {
        let body = [chain.clone(), vec![9; padding]].concat();
        let parsed = Message::parse(first, &body, Protection::Decrypted).unwrap();
        assert_eq!(parsed.after_first(), second);
        assert_eq!(parsed.leading_hash(), Some(&[1; 16][..]));
    }
    for (padding, protection) in [(1, Protection::Clear), (256, Protection::Decrypted)] {
        let body = [chain.clone(), vec![0; padding]].concat();
        let expected = WireError::BadLength {
            what: "octets after the last payload",
            got: padding,
        };
        assert_eq!(Message::parse(first, &body, protection), Err(expected));
    }
}
