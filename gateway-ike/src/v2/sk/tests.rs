use super::*;
use crate::crypto::{Encryption, Hash, SeededRandom};
use crate::wire::v2::{Message, NotifyPayload, NotifyType, Payload};
use crate::wire::{ExchangeType, Flags, IkeSpi};

fn keys(encryption: Encryption, hash: Hash) -> SkKeys {
    let algorithms = SkAlgorithms::new(encryption, hash);
    let octets: Vec<u8> = (0..100).collect();
    SkKeys::new(
        algorithms,
        &octets[..algorithms.encryption_key_len()],
        &octets[..algorithms.integrity_key_len()],
    )
    .unwrap()
}

fn suites() -> impl Iterator<Item = (Encryption, Hash)> {
    Encryption::ALL
        .into_iter()
        .flat_map(|encryption| Hash::ALL.map(|hash| (encryption, hash)))
}

fn message(len: usize) -> MessageBuilder {
    let notify = NotifyPayload::new(NotifyType::COOKIE2, (0..=255).cycle().take(len).collect());
    MessageBuilder::new(
        IkeSpi([1; 8]),
        IkeSpi([2; 8]),
        ExchangeType::IKE_AUTH,
        1,
        Flags::INITIATOR,
    )
    .payload(&Payload::Notify(notify))
    .unwrap()
}

/// The header and the encrypted payload of a datagram.
fn outer(datagram: &[u8]) -> (Header, Encrypted<'_>) {
    let (header, body) = Header::parse(datagram).unwrap();
    let message = Message::parse(header.next_payload, body).unwrap();
    (header, message.encrypted.unwrap())
}

/// The encrypted payload of a datagram, opened.
fn open(keys: &SkKeys, datagram: &[u8]) -> Result<(Header, Option<Fragment>, Opened), OpenError> {
    let (header, encrypted) = outer(datagram);
    keys.open(datagram, &encrypted)
        .map(|opened| (header, encrypted.fragment, opened))
}

fn random() -> SeededRandom {
    SeededRandom::new([3; 32])
}

#[test]
fn every_suite_opens_what_it_sealed() {
    for (encryption, hash) in suites() {
        let mut keys = keys(encryption, hash);
        for len in [0, 1, 7, 8, 15, 16, 1000] {
            let plain = message(len).into_parts().1;
            let datagram = keys.seal(message(len), &mut random()).unwrap();
            let (_, fragment, opened) = open(&keys, &datagram).unwrap();
            assert_eq!(fragment, None);
            assert_eq!((opened.first, opened.chain), (PayloadType::V2_NOTIFY, plain));
        }
    }
}

#[test]
fn a_message_without_payloads_is_sealed_and_opened() {
    for (encryption, hash) in suites() {
        let mut keys = keys(encryption, hash);
        let empty = MessageBuilder::new(
            IkeSpi([1; 8]),
            IkeSpi([2; 8]),
            ExchangeType::INFORMATIONAL,
            7,
            Flags::RESPONSE,
        );
        let datagram = keys.seal(empty, &mut random()).unwrap();
        let (_, _, opened) = open(&keys, &datagram).unwrap();
        assert!(opened.chain.is_empty());
        assert!(
            Message::parse_decrypted(opened.first, &opened.chain)
                .unwrap()
                .payloads
                .is_empty()
        );
    }
}

#[test]
fn every_octet_of_a_message_is_authenticated() {
    for (encryption, hash) in suites() {
        let mut keys = keys(encryption, hash);
        let datagram = keys.seal(message(10), &mut random()).unwrap();
        // The octets that decide how the outer chain is read are left out: their change does not reach the keys.
        for at in (0..datagram.len()).filter(|at| ![16, 24, 25, 26, 27, 30, 31].contains(at)) {
            let mut wrong = datagram.clone();
            wrong[at] ^= 1;
            assert_eq!(
                open(&keys, &wrong).err(),
                Some(OpenError::NotAuthentic),
                "{encryption}/{hash} at {at}"
            );
        }
    }
}

#[test]
fn impossible_lengths_are_refused_before_anything_is_computed() {
    for (encryption, hash) in suites() {
        let keys = keys(encryption, hash);
        let algorithms = keys.algorithms();
        let smallest = encryption.iv_len() + encryption.block_len() + algorithms.icv_len();
        for len in 0..smallest {
            let body = vec![0; len];
            let encrypted = Encrypted {
                first: PayloadType::NONE,
                fragment: None,
                body: &body,
            };
            let refused = keys.open(&[&[0; 32], &body[..]].concat(), &encrypted);
            assert_eq!(refused, Err(OpenError::Length), "{encryption}/{hash} with {len}");
        }
        let shorter_than_body = Encrypted {
            first: PayloadType::NONE,
            fragment: None,
            body: &[0; 200],
        };
        assert!(keys.open(&[0; 100], &shorter_than_body).is_err());
    }
}

#[test]
fn a_pad_length_beyond_the_content_is_refused() {
    let mut keys = keys(Encryption::Aes128Gcm16, Hash::Sha2_256);
    let Cipher::Aead { cipher, .. } = &keys.cipher else {
        unreachable!("an AEAD")
    };
    let datagram = keys_datagram(cipher);
    assert_eq!(open(&keys, &datagram).err(), Some(OpenError::Padding));
    assert!(keys.seal(message(1), &mut random()).is_ok());
}

/// A datagram whose content is one pad length of 9 with 8 octets before it.
fn keys_datagram(cipher: &AeadKey) -> Vec<u8> {
    let mut w = Writer::new();
    let (header, _) = message(0).into_parts();
    Header {
        next_payload: PayloadType::V2_ENCRYPTED,
        length: 28 + 4 + 8 + 9 + 16,
        ..header
    }
    .emit(&mut w);
    w.u8(PayloadType::V2_NOTIFY.0);
    w.u8(0);
    w.u16(4 + 8 + 9 + 16);
    let mut datagram = w.into_vec();
    let mut content = [9; 9];
    let tag = cipher.seal(&[0; 8], &datagram, &mut content).unwrap();
    datagram.extend_from_slice(&[0; 8]);
    datagram.extend_from_slice(&content);
    datagram.extend_from_slice(&tag);
    datagram
}

#[test]
fn an_aead_never_repeats_an_iv() {
    let mut keys = keys(Encryption::ChaCha20Poly1305, Hash::Sha2_256);
    let iv = |datagram: &[u8]| datagram[32..40].to_vec();
    let first = keys.seal(message(3), &mut random()).unwrap();
    let second = keys.seal(message(3), &mut random()).unwrap();
    assert_ne!(iv(&first), iv(&second));
}

#[test]
fn fragments_fit_the_limit_and_come_together_in_any_order() {
    for (encryption, hash) in suites() {
        let mut keys = keys(encryption, hash);
        for limit in [300, 576, 1280] {
            let plain = message(3000).into_parts().1;
            let mut datagrams = keys.seal_fragmented(message(3000), limit, &mut random()).unwrap();
            assert!(datagrams.len() > 2 && datagrams.iter().all(|datagram| datagram.len() <= limit));
            assert!(
                datagrams[0].len() + encryption.block_len() > limit,
                "no room is wasted"
            );
            datagrams.reverse();
            datagrams.insert(1, datagrams[0].clone());
            let mut reassembly = Reassembly::new();
            let mut whole = Vec::new();
            for datagram in &datagrams {
                let (header, fragment, opened) = open(&keys, datagram).unwrap();
                whole.extend(reassembly.add(&header, fragment.unwrap(), opened).unwrap());
            }
            assert_eq!(
                whole,
                [Opened {
                    first: PayloadType::V2_NOTIFY,
                    chain: plain
                }]
            );
            assert_eq!(reassembly.octets(), 0);
        }
    }
}

#[test]
fn what_fits_is_not_fragmented_and_what_cannot_be_cut_is_refused() {
    let mut keys = keys(Encryption::Aes256Cbc, Hash::Sha2_512);
    let whole = keys.seal(message(500), &mut random()).unwrap();
    let datagrams = keys
        .seal_fragmented(message(500), whole.len(), &mut random())
        .unwrap();
    assert_eq!(datagrams.len(), 1);
    assert!(open(&keys, &datagrams[0]).unwrap().1.is_none());
    assert_eq!(
        keys.seal_fragmented(message(500), whole.len() - 1, &mut random())
            .unwrap()
            .len(),
        2
    );
    for limit in [0, 84, 99, 100] {
        assert!(
            matches!(
                keys.seal_fragmented(message(5000), limit, &mut random()),
                Err(SkError::Unfragmentable { .. })
            ),
            "{limit}"
        );
    }
}

/// P9: the count of fragments, their numbers and their content lie; memory stays bounded.
#[test]
fn p9_fragments_that_lie_are_dropped_and_memory_is_bounded() {
    let (header, _) = message(0).into_parts();
    let piece = |len: usize, octet: u8| Opened {
        first: PayloadType::V2_NOTIFY,
        chain: vec![octet; len],
    };
    let fragment = |number, total| Fragment { number, total };
    let mut reassembly = Reassembly::new();
    for total in [MAX_FRAGMENTS + 1, 65_535] {
        assert_eq!(
            reassembly.add(&header, fragment(1, total), piece(1, 0)),
            Err(ReassemblyError::TooMany { total })
        );
    }
    assert_eq!(reassembly.octets(), 0);
    // A duplicate with other content changes nothing.
    assert_eq!(reassembly.add(&header, fragment(2, 2), piece(3, 2)), Ok(None));
    assert_eq!(reassembly.add(&header, fragment(2, 2), piece(500, 9)), Ok(None));
    assert_eq!(reassembly.octets(), 3);
    // Another total restarts the message upwards and is refused downwards.
    assert_eq!(reassembly.add(&header, fragment(1, 3), piece(1, 1)), Ok(None));
    assert_eq!(reassembly.octets(), 1);
    assert_eq!(
        reassembly.add(&header, fragment(1, 2), piece(1, 1)),
        Err(ReassemblyError::Outdated { total: 2, newer: 3 })
    );
    assert_eq!(reassembly.add(&header, fragment(3, 3), piece(1, 3)), Ok(None));
    let whole = reassembly
        .add(&header, fragment(2, 3), piece(0, 2))
        .unwrap()
        .unwrap();
    assert_eq!(whole.chain, [1, 3]);
    // The octets of one message are capped, and another message displaces the one that never became whole.
    for number in 1..=16 {
        assert_eq!(
            reassembly.add(&header, fragment(number, 64), piece(1024, 0)),
            Ok(None)
        );
    }
    assert_eq!(
        reassembly.add(&header, fragment(17, 64), piece(1, 0)),
        Err(ReassemblyError::TooLarge)
    );
    assert_eq!(reassembly.octets(), MAX_REASSEMBLED);
    let next = Header {
        message_id: header.message_id + 1,
        ..header
    };
    assert_eq!(reassembly.add(&next, fragment(1, 2), piece(5, 0)), Ok(None));
    assert_eq!(reassembly.octets(), 5);
}

/// P10: a fragment that is not authentic does not reach the store, so it cannot displace one that is (RFC 7383 section 2.6).
#[test]
fn p10_a_forged_fragment_does_not_displace_an_authentic_one() {
    let mut sender = keys(Encryption::Aes128Cbc, Hash::Sha1);
    let datagrams = sender.seal_fragmented(message(1000), 576, &mut random()).unwrap();
    let mut reassembly = Reassembly::new();
    let (header, fragment, opened) = open(&sender, &datagrams[0]).unwrap();
    assert_eq!(reassembly.add(&header, fragment.unwrap(), opened), Ok(None));
    let held = reassembly.octets();
    let mut forged = datagrams[1].clone();
    // Fragment 2 of 9 in place of 2 of 2.
    forged[35] = 9;
    assert_eq!(open(&sender, &forged).err(), Some(OpenError::NotAuthentic));
    assert_eq!(reassembly.octets(), held);
    let (header, fragment, opened) = open(&sender, &datagrams[1]).unwrap();
    assert!(
        reassembly
            .add(&header, fragment.unwrap(), opened)
            .unwrap()
            .is_some()
    );
}
