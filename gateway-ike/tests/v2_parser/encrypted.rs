//! The same behind the encryption: an authentic message may be as hostile as one in the clear.

use gateway_ike::crypto::{Encryption, Hash, SeededRandom};
use gateway_ike::v2::sk::{OpenError, SkAlgorithms, SkKeys};
use gateway_ike::wire::v2::{MAX_PAYLOADS, Message, MessageBuilder};
use gateway_ike::wire::{ExchangeType, Flags, Header, IkeSpi, PayloadType, WireError};

use crate::{generic, read};

fn keys() -> SkKeys {
    SkKeys::new(
        SkAlgorithms::new(Encryption::Aes256Gcm16, Hash::Sha2_256),
        &[7; 36],
        &[],
    )
    .unwrap()
}

/// Seals octets as the content of a message, and opens them.
fn through(first: PayloadType, content: &[u8]) -> (PayloadType, Vec<u8>) {
    let builder = MessageBuilder::new(
        IkeSpi([1; 8]),
        IkeSpi([2; 8]),
        ExchangeType::INFORMATIONAL,
        3,
        Flags::INITIATOR,
    );
    let header = Header {
        next_payload: first,
        ..builder.into_parts().0
    };
    let datagram = keys()
        .seal_chain(&header, content, &mut SeededRandom::new([0; 32]))
        .unwrap();
    let (header, body) = Header::parse(&datagram).unwrap();
    let outer = Message::parse(header.next_payload, body).unwrap();
    let opened = keys().open(&datagram, &outer.encrypted.unwrap()).unwrap();
    (opened.first, opened.chain)
}

#[test]
fn p4_chains_inside_the_encrypted_payload_are_capped_too() {
    for count in [MAX_PAYLOADS + 1, 255, 10_000] {
        let (first, chain) = through(
            PayloadType(200),
            &generic(PayloadType(200), 0, 4, &[]).repeat(count),
        );
        assert_eq!(
            Message::parse_decrypted(first, &chain),
            Err(WireError::TooMany {
                what: "payloads",
                limit: MAX_PAYLOADS
            })
        );
        assert!(read(first, &chain).is_err());
    }
}

#[test]
fn p6_an_unknown_critical_payload_inside_is_reported_with_its_number() {
    let (first, chain) = through(PayloadType(201), &generic(PayloadType::NONE, 0x80, 4, &[]));
    assert_eq!(
        Message::parse_decrypted(first, &chain),
        Err(WireError::CriticalPayload {
            payload: PayloadType(201)
        })
    );
}

#[test]
fn p9_numbers_of_fragments_that_cannot_be_are_refused() {
    for (number, total, reads) in [
        (1_u16, 1_u16, true),
        (1, 2, true),
        (2, 2, true),
        (65_535, 65_535, true),
        (0, 1, false),
        (0, 0, false),
        (1, 0, false),
        (3, 2, false),
        (65_535, 1, false),
    ] {
        let [a, b] = number.to_be_bytes();
        let [c, d] = total.to_be_bytes();
        let body = generic(PayloadType::NONE, 0, 40, &[&[a, b, c, d][..], &[0; 32]].concat());
        let parsed = Message::parse(PayloadType::V2_ENCRYPTED_FRAGMENT, &body);
        assert_eq!(parsed.is_ok(), reads, "{number} of {total}");
    }
    for len in 0..4 {
        let body = generic(PayloadType::NONE, 0, 4 + len, &vec![0; len]);
        assert!(Message::parse(PayloadType::V2_ENCRYPTED_FRAGMENT, &body).is_err());
    }
}

#[test]
fn p11_an_error_carries_names_and_numbers_and_nothing_of_the_message() {
    let secret = b"PATTERN-OF-THE-PEER";
    let body = generic(PayloadType::NONE, 0, 4 + secret.len() + 9, secret);
    let error = Message::parse(PayloadType::V2_VENDOR_ID, &body).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("PATTERN"));
    let short = keys().open(
        secret,
        &gateway_ike::wire::v2::Encrypted {
            first: PayloadType::NONE,
            fragment: None,
            body: secret,
        },
    );
    assert_eq!(short, Err(OpenError::Length));
}
