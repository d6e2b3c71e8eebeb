//! Fragments of both versions: the reassembly of IKEv2 with known keys, and datagrams with IKEv1 fragments to a live engine.

use std::net::SocketAddrV4;

use gateway_ike::config::{IkeVersion, Phase1Mode};
use gateway_ike::crypto::{Encryption, Hash, SeededRandom};
use gateway_ike::v2::sk::{MAX_REASSEMBLED, Opened, Reassembly, SkAlgorithms, SkKeys};
use gateway_ike::wire::v2::{Fragment, Message, MessageBuilder, Payload};
use gateway_ike::wire::{ExchangeType, Flags, Header, IkeSpi, PayloadType, Version, Writer};

use crate::engine::{A, B, Engine, Packet, connection, start};
use crate::input::Input;

/// Fragments of one input.
const MAX_FRAGMENTS: usize = 80;

/// Fragments with numbers, totals and message ids of the input's choice, and whole messages that are sealed, cut and shuffled.
pub(crate) fn v2(data: &[u8]) {
    let mut input = Input::new(data);
    let algorithms = SkAlgorithms::new(Encryption::Aes128Gcm16, Hash::Sha2_256);
    let mut keys = SkKeys::new(algorithms, &[7; 20], &[]).expect("keys of the right length");
    let mut reassembly = Reassembly::new();
    let builder = |message_id| {
        MessageBuilder::new(
            IkeSpi([1; 8]),
            IkeSpi([2; 8]),
            ExchangeType::IKE_AUTH,
            message_id,
            Flags::INITIATOR,
        )
    };
    // Pieces of the input's own may end up in a message of ours: the peer has mixed them, and gets what it sent.
    let mut mixed = false;
    for _ in 0..MAX_FRAGMENTS {
        if input.is_empty() {
            break;
        }
        let kind = input.u8();
        let message_id = u32::from(kind >> 6);
        if kind & 1 == 0 {
            mixed = true;
            let fragment = Fragment {
                number: input.u16(),
                total: input.u16(),
            };
            let len = usize::from(input.u16() % 2048);
            let opened = Opened {
                first: PayloadType(input.u8()),
                chain: vec![kind; len],
            };
            let header = builder(message_id).into_parts().0;
            // The parser refuses such numbers; the store must not rely on it.
            if let Ok(Some(whole)) = reassembly.add(&header, fragment, opened) {
                assert!(whole.chain.len() <= MAX_REASSEMBLED);
            }
        } else {
            let len = usize::from(input.u16() % 4096);
            let message = builder(message_id)
                .payload(&Payload::VendorId(vec![kind; len]))
                .expect("fits");
            let limit = 60 + usize::from(input.u16() % 1500);
            let order = input.u8();
            let Ok(mut datagrams) = keys.seal_fragmented(message, limit, &mut SeededRandom::new([0; 32]))
            else {
                continue;
            };
            assert!(datagrams.iter().all(|datagram| datagram.len() <= limit));
            if order & 1 == 1 {
                datagrams.reverse();
            }
            let mut whole = Vec::new();
            for datagram in &datagrams {
                let (header, body) = Header::parse(datagram).expect("our own header");
                let outer = Message::parse(header.next_payload, body).expect("our own message");
                let encrypted = outer.encrypted.expect("it is encrypted");
                let opened = keys.open(datagram, &encrypted).expect("our own keys");
                match encrypted.fragment {
                    Some(fragment) => whole.extend(reassembly.add(&header, fragment, opened).ok().flatten()),
                    None => whole.push(opened),
                }
            }
            for opened in whole {
                let read = Message::parse_decrypted(opened.first, &opened.chain);
                assert!(read.is_ok() || mixed, "our own message does not come through");
            }
        }
        assert!(reassembly.octets() <= MAX_REASSEMBLED);
    }
}

/// Datagrams of payload type 132 (fragment) with ids, numbers and flags of the input's choice.
pub(crate) fn v1(data: &[u8]) {
    const FRAGMENT: u8 = 132;
    let mut input = Input::new(data);
    let mut engine = Engine::new(connection(B, IkeVersion::V1, Phase1Mode::Main));
    for _ in 0..MAX_FRAGMENTS {
        if input.is_empty() {
            break;
        }
        let kind = input.u8();
        let (id, number, last) = (input.u16(), input.u8(), input.u8());
        let len = usize::from(input.u16() % 1024);
        let content = input.take(len);
        let mut w = Writer::new();
        let length = Header::LEN + 8 + content.len();
        Header {
            initiator_spi: IkeSpi([1 + (kind & 3); 8]),
            responder_spi: if kind & 4 == 0 {
                IkeSpi::ZERO
            } else {
                IkeSpi([kind; 8])
            },
            next_payload: PayloadType(FRAGMENT),
            version: Version::V1,
            exchange_type: if kind & 8 == 0 {
                ExchangeType::IDENTITY_PROTECTION
            } else {
                ExchangeType(kind)
            },
            flags: Flags(kind >> 7),
            message_id: 0,
            length: u32::try_from(length).unwrap_or(0),
        }
        .emit(&mut w);
        w.u8(0);
        w.u8(0);
        w.u16(u16::try_from(8 + content.len()).unwrap_or(0));
        w.u16(id);
        w.u8(number);
        w.u8(last);
        w.bytes(content);
        let packet = Packet {
            source: SocketAddrV4::new(A, 500),
            destination: SocketAddrV4::new(B, 500),
            payload: w.into_vec(),
        };
        engine.deliver(start(), &packet);
    }
}
