//! Properties of the wire format: whatever is parsed does not panic, whatever is written parses to the same.

#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by panicking, in its helpers too"
)]

use std::net::IpAddr;

use gateway_ike::wire::v1::{
    Attribute, DeletePayload, Doi, IdPayload, LifeAttributes, Lifetimes, Message, MessageBuilder,
    NatNumbering, NatOa, NotifyPayload, NotifyType, Payload, Proposal, Protection, SaPayload, Transform,
};
use gateway_ike::wire::{ExchangeType, Flags, Header, IdType, IkeSpi, PayloadType, ProtocolId, vendor};
use proptest::collection::vec;
use proptest::prelude::*;

fn octets(len: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), len)
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let kind = 0..0x8000_u16;
    prop_oneof![
        (kind.clone(), any::<u16>()).prop_map(|(kind, value)| Attribute::Tv(kind, value)),
        (kind, octets(0..=12)).prop_map(|(kind, value)| Attribute::Tlv(kind, value)),
    ]
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u8>(), vec(attribute(), 0..8)).prop_map(|(number, id, attributes)| Transform {
        number,
        id,
        attributes,
    })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    (any::<u8>(), any::<u8>(), octets(0..=16), vec(transform(), 1..5)).prop_map(
        |(number, protocol, spi, transforms)| Proposal {
            number,
            protocol: ProtocolId(protocol),
            spi,
            transforms,
        },
    )
}

fn id() -> impl Strategy<Value = IdPayload> {
    let data = prop_oneof![
        octets(4..=4).prop_map(|data| (IdType::IPV4_ADDR, data)),
        octets(8..=8).prop_map(|data| (IdType::IPV4_ADDR_SUBNET, data)),
        octets(32..=32).prop_map(|data| (IdType::IPV6_ADDR_RANGE, data)),
        octets(1..=40).prop_map(|data| (IdType::FQDN, data)),
        octets(1..=40).prop_map(|data| (IdType(200), data)),
    ];
    (data, any::<u8>(), any::<u16>()).prop_map(|((id_type, data), protocol, port)| IdPayload {
        id_type,
        protocol,
        port,
        data,
    })
}

fn notify() -> impl Strategy<Value = NotifyPayload> {
    (
        any::<u32>(),
        any::<u8>(),
        octets(0..=16),
        any::<u16>(),
        octets(0..=40),
    )
        .prop_map(|(doi, protocol, spi, notify_type, data)| NotifyPayload {
            doi: Doi(doi),
            protocol: ProtocolId(protocol),
            spi,
            notify_type: NotifyType(notify_type),
            data,
        })
}

fn delete() -> impl Strategy<Value = DeletePayload> {
    (any::<u8>(), 1..=16_usize).prop_flat_map(|(protocol, spi_len)| {
        vec(octets(spi_len..=spi_len), 1..9).prop_map(move |spis| DeletePayload {
            doi: Doi::IPSEC,
            protocol: ProtocolId(protocol),
            spis,
        })
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    let numbering = prop_oneof![Just(NatNumbering::Rfc3947), Just(NatNumbering::Draft)];
    prop_oneof![
        vec(proposal(), 1..4).prop_map(|proposals| Payload::Sa(SaPayload::new(proposals))),
        octets(1..=512).prop_map(Payload::Ke),
        id().prop_map(Payload::Id),
        octets(16..=64).prop_map(Payload::Hash),
        octets(8..=256).prop_map(Payload::Nonce),
        notify().prop_map(Payload::Notify),
        delete().prop_map(Payload::Delete),
        octets(0..=40).prop_map(Payload::VendorId),
        (numbering.clone(), octets(16..=64)).prop_map(|(numbering, hash)| Payload::NatD { numbering, hash }),
        (numbering, any::<IpAddr>())
            .prop_map(|(numbering, address)| Payload::NatOa(NatOa { numbering, address })),
        octets(0..=40).prop_map(|body| Payload::Unknown {
            payload_type: PayloadType(132),
            body
        }),
    ]
}

/// Everything that the engine would do with octets from the network before it trusts them.
fn parse_all(datagram: &[u8]) {
    let Ok((header, body)) = Header::parse(datagram) else {
        return;
    };
    for protection in [Protection::Clear, Protection::Decrypted] {
        let Ok(message) = Message::parse(header.next_payload, body, protection) else {
            continue;
        };
        assert!(message.after_first().len() <= body.len());
        for parsed in &message.payloads {
            if let Payload::Id(id) = &parsed.payload {
                let _ = (id.address(), id.subnet(), id.range(), id.name());
            }
            if let Payload::Notify(notify) = &parsed.payload {
                let _ = Lifetimes::from_notify_data(&notify.data, LifeAttributes::IPSEC).ok();
            }
            if let Payload::VendorId(id) = &parsed.payload {
                let _ = vendor::name(id);
            }
        }
    }
}

proptest! {
    #[test]
    fn random_octets_never_panic(first in any::<u8>(), body in octets(0..=600)) {
        let mut datagram = vec![0; 28];
        datagram[16] = first;
        datagram[24..28].copy_from_slice(&u32::try_from(28 + body.len()).unwrap().to_be_bytes());
        datagram.extend(&body);
        parse_all(&datagram);
        parse_all(&body);
        for kind in 0..=u8::MAX {
            drop(Payload::parse(PayloadType(kind), &body));
        }
    }

    #[test]
    fn damaged_messages_never_panic(
        payloads in vec(payload(), 1..6),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut datagram = build(&payloads).clear().unwrap();
        let body_len = datagram.len() - Header::LEN;
        for (at, octet) in damage {
            datagram[Header::LEN + at.index(body_len)] = octet;
        }
        parse_all(&datagram);
    }

    #[test]
    fn what_is_written_parses_to_the_same(payloads in vec(payload(), 1..10)) {
        let datagram = build(&payloads).clear().unwrap();
        let (header, body) = Header::parse(&datagram).unwrap();
        prop_assert_eq!((header.initiator_spi, header.responder_spi), (IkeSpi([1; 8]), IkeSpi([2; 8])));
        prop_assert_eq!((header.exchange_type, header.message_id), (ExchangeType::QUICK_MODE, 7));
        prop_assert_eq!(header.flags, Flags::NONE);
        let message = Message::parse(header.next_payload, body, Protection::Clear).unwrap();
        let parsed: Vec<_> = message.payloads.iter().map(|parsed| parsed.payload.clone()).collect();
        prop_assert_eq!(parsed, payloads);
    }

    #[test]
    fn a_prepended_hash_covers_what_the_receiver_sees_behind_it(
        payloads in vec(payload(), 0..6),
        more in payload(),
        block_len in prop_oneof![Just(8_usize), Just(16)],
    ) {
        let mut covered = Vec::new();
        let hashed = build(&payloads).hashed(|after| {
            covered = after.to_vec();
            vec![0xaa; 20]
        });
        let (datagram, plain) = hashed
            .unwrap()
            .encrypted(block_len, |body| Ok::<_, gateway_ike::wire::WireError>(body.to_vec()))
            .unwrap();
        let (header, body) = Header::parse(&datagram).unwrap();
        prop_assert_eq!(header.flags, Flags::ENCRYPTION);
        prop_assert_eq!(body, &plain);
        prop_assert_eq!(body.len() % block_len, 0);
        let message = Message::parse(header.next_payload, body, Protection::Decrypted).unwrap();
        prop_assert_eq!(message.leading_hash(), Some(&[0xaa; 20][..]));
        prop_assert_eq!(message.after_first(), covered);

        // A payload may still follow after the hash was put in front.
        let datagram = build(&payloads).hashed(|_| vec![0; 16]).unwrap().payload(&more).unwrap().clear().unwrap();
        let (header, body) = Header::parse(&datagram).unwrap();
        let message = Message::parse(header.next_payload, body, Protection::Clear).unwrap();
        prop_assert_eq!(&message.payloads.last().unwrap().payload, &more);
    }
}

fn build(payloads: &[Payload]) -> MessageBuilder {
    MessageBuilder::new(IkeSpi([1; 8]), IkeSpi([2; 8]), ExchangeType::QUICK_MODE, 7)
        .payloads(payloads)
        .unwrap()
}
