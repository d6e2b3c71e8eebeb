//! Whatever the builder writes, the parser reads back the same, and any octets at all are read without a panic.

use std::net::{Ipv4Addr, Ipv6Addr};

use gateway_ike::wire::v2::{
    AuthMethod, AuthPayload, DeletePayload, IdPayload, KePayload, Message, MessageBuilder, NotifyPayload,
    NotifyType, Payload, Proposal, SaPayload, TrafficSelector, Transform, TransformType, TsPayload, TsType,
};
use gateway_ike::wire::{
    Attribute, ExchangeType, Flags, Header, IdType, IkeSpi, PayloadType, ProtocolId, Version,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn octets(range: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), range)
}

fn attribute() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        (0..0x8000_u16, any::<u16>()).prop_map(|(kind, value)| Attribute::Tv(kind, value)),
        (0..0x8000_u16, octets(0..20)).prop_map(|(kind, value)| Attribute::Tlv(kind, value)),
    ]
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), vec(attribute(), 0..4)).prop_map(|(kind, id, attributes)| Transform {
        transform_type: TransformType(kind),
        id,
        attributes,
    })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let spi = prop_oneof![Just(0_usize), Just(4), Just(8)].prop_flat_map(|len| octets(len..len + 1));
    (any::<u8>(), any::<u8>(), spi, vec(transform(), 0..6)).prop_map(|(number, protocol, spi, transforms)| {
        Proposal {
            number,
            protocol: ProtocolId(protocol),
            spi,
            transforms,
        }
    })
}

fn id() -> impl Strategy<Value = IdPayload> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| IdPayload::from_address(Ipv4Addr::from(octets).into())),
        any::<[u8; 16]>().prop_map(|octets| IdPayload::from_address(Ipv6Addr::from(octets).into())),
        octets(1..40).prop_map(|data| IdPayload::new(IdType::FQDN, &data)),
        octets(1..40).prop_map(|data| IdPayload::new(IdType::KEY_ID, &data)),
    ]
}

fn selector() -> impl Strategy<Value = TrafficSelector> {
    prop_oneof![
        any::<(u8, (u16, u16), [[u8; 4]; 2])>().prop_map(|(protocol, ports, [first, last])| {
            TrafficSelector::Ipv4 {
                protocol,
                ports,
                addresses: (first.into(), last.into()),
            }
        }),
        any::<(u8, (u16, u16), [[u8; 16]; 2])>().prop_map(|(protocol, ports, [first, last])| {
            TrafficSelector::Ipv6 {
                protocol,
                ports,
                addresses: (first.into(), last.into()),
            }
        }),
        (any::<u8>(), octets(0..20)).prop_map(|(protocol, body)| TrafficSelector::Other {
            ts_type: TsType::SECLABEL,
            protocol,
            body,
        }),
    ]
}

fn notify() -> impl Strategy<Value = NotifyPayload> {
    (any::<u8>(), octets(0..17), any::<u16>(), octets(0..40)).prop_map(
        |(protocol, spi, notify_type, data)| NotifyPayload {
            protocol: ProtocolId(protocol),
            spi,
            notify_type: NotifyType(notify_type),
            data,
        },
    )
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        vec(proposal(), 1..4).prop_map(|proposals| Payload::Sa(SaPayload { proposals })),
        (any::<u16>(), octets(1..64)).prop_map(|(group, data)| Payload::Ke(KePayload { group, data })),
        id().prop_map(Payload::IdI),
        id().prop_map(Payload::IdR),
        (any::<u8>(), octets(0..64)).prop_map(|(method, data)| Payload::Auth(AuthPayload {
            method: AuthMethod(method),
            data,
        })),
        octets(16..257).prop_map(Payload::Nonce),
        notify().prop_map(Payload::Notify),
        Just(Payload::Delete(DeletePayload::ike())),
        vec(any::<[u8; 4]>(), 0..9).prop_map(|spis| Payload::Delete(DeletePayload::esp(spis))),
        octets(0..40).prop_map(Payload::VendorId),
        vec(selector(), 0..5).prop_map(|selectors| Payload::TsI(TsPayload { selectors })),
        vec(selector(), 0..5).prop_map(|selectors| Payload::TsR(TsPayload { selectors })),
        octets(0..40).prop_map(|body| Payload::Other {
            payload_type: PayloadType::V2_CERT_REQUEST,
            body,
        }),
    ]
}

/// Payloads without the repetitions that the parser refuses.
fn chain() -> impl Strategy<Value = Vec<Payload>> {
    vec(payload(), 0..8).prop_map(|payloads| {
        let mut seen = Vec::new();
        payloads
            .into_iter()
            .filter(|payload| {
                let kind = payload.payload_type();
                let repeatable = matches!(payload, Payload::Notify(_) | Payload::Delete(_));
                let first = !seen.contains(&kind);
                seen.push(kind);
                repeatable || first
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn a_built_message_reads_back(payloads in chain(), spis in any::<[[u8; 8]; 2]>(), id in any::<u32>()) {
        let [spi_i, spi_r] = spis.map(IkeSpi);
        let datagram = MessageBuilder::new(spi_i, spi_r, ExchangeType::IKE_SA_INIT, id, Flags::RESPONSE)
            .payloads(&payloads)
            .and_then(MessageBuilder::clear)
            .unwrap();
        let (header, body) = Header::parse(&datagram).unwrap();
        prop_assert_eq!((header.initiator_spi, header.responder_spi), (spi_i, spi_r));
        prop_assert_eq!((header.version, header.message_id), (Version::V2, id));
        let message = Message::parse(header.next_payload, body).unwrap();
        prop_assert!(message.encrypted.is_none());
        let read: Vec<_> = message.payloads.iter().map(|parsed| parsed.payload.clone()).collect();
        prop_assert_eq!(&read, &payloads);
        for parsed in &message.payloads {
            prop_assert_eq!(parsed.payload.to_bytes().unwrap(), parsed.raw);
        }
    }

    #[test]
    fn any_octets_are_read_or_refused(first in any::<u8>(), body in octets(0..300)) {
        let _parsed = Message::parse(PayloadType(first), &body).is_ok();
        let _parsed = Message::parse_decrypted(PayloadType(first), &body).is_ok();
    }

    #[test]
    fn a_message_with_one_wrong_octet_is_read_or_refused(payloads in chain(), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let builder = MessageBuilder::new(IkeSpi([1; 8]), IkeSpi([2; 8]), ExchangeType::IKE_AUTH, 1, Flags::NONE);
        let (header, mut chain) = builder.payloads(&payloads).unwrap().into_parts();
        if !chain.is_empty() {
            *at.get_mut(&mut chain) = value;
        }
        let _parsed = Message::parse(header.next_payload, &chain).is_ok();
    }
}
