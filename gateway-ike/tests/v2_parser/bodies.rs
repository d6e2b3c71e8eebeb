//! Bodies of single payloads.

use gateway_ike::wire::v2::{
    DeletePayload, IdPayload, MAX_DELETED_SPIS, MAX_PROPOSALS, MAX_TRANSFORMS, NotifyPayload, NotifyType,
    Payload, TrafficSelector, TsType,
};
use gateway_ike::wire::{IdType, PayloadType, ProtocolId, WireError};

use crate::{chain, read, refused};

fn bad_length(what: &'static str, got: usize) -> WireError {
    WireError::BadLength { what, got }
}

#[test]
fn p8_key_exchanges_without_data_are_refused() {
    for len in 0..4 {
        assert!(Payload::parse(PayloadType::V2_KE, false, &vec![0; len]).is_err());
    }
    refused(
        PayloadType::V2_KE,
        &[0, 14, 0, 0],
        bad_length("key exchange data", 0),
    );
}

#[test]
fn nonces_have_16_to_256_octets() {
    for len in [0, 1, 15, 257, 1000] {
        refused(PayloadType::V2_NONCE, &vec![1; len], bad_length("nonce", len));
    }
    for len in [16, 256] {
        assert!(Payload::parse(PayloadType::V2_NONCE, false, &vec![1; len]).is_ok());
    }
}

#[test]
fn p12_identities_have_the_length_of_their_type() {
    for kind in [PayloadType::V2_ID_I, PayloadType::V2_ID_R] {
        for id_type in 0..=u8::MAX {
            for len in [0, 1, 3, 4, 5, 15, 16, 17, 1024, 1025, 65_000] {
                let body = [&[id_type, 0, 0, 0], &vec![b'x'; len][..]].concat();
                let fits = match IdType(id_type) {
                    IdType::IPV4_ADDR => len == 4,
                    IdType::IPV6_ADDR => len == 16,
                    _ => (1..=1024).contains(&len),
                };
                assert_eq!(
                    Payload::parse(kind, false, &body).is_ok(),
                    fits,
                    "{id_type} of {len}"
                );
            }
        }
        for len in 0..4 {
            assert!(Payload::parse(kind, false, &vec![1; len]).is_err());
        }
    }
}

#[test]
fn p12_names_are_printable_or_no_names() {
    for (text, named) in [
        (&b"vpn.example.com"[..], true),
        (b"a\0b", false),
        (b"a\nb", false),
        (b"\x1b[31m", false),
        (b"a b", false),
        (b"\xff\xfe", false),
        (b"%n%s", true),
        (b"';DROP", true),
    ] {
        for id_type in [IdType::FQDN, IdType::USER_FQDN] {
            assert_eq!(IdPayload::new(id_type, text).name().is_some(), named, "{text:?}");
        }
        for id_type in [IdType::KEY_ID, IdType::DER_ASN1_DN, IdType(200)] {
            assert_eq!(IdPayload::new(id_type, text).name(), None);
        }
    }
}

#[test]
fn p13_notifications_hold_their_spi() {
    for spi_len in 0..=u8::MAX {
        for have in [0, 3, 4, 8, 16, 17, 255] {
            let body = [&[3, spi_len, 0x40, 0][..], &vec![7; have]].concat();
            let parsed = Payload::parse(PayloadType::V2_NOTIFY, false, &body);
            let fits = spi_len <= 16 && usize::from(spi_len) <= have;
            assert_eq!(parsed.is_ok(), fits, "{spi_len} in {have}");
            if let Ok(Payload::Notify(notify)) = parsed {
                assert_eq!(notify.spi.len() + notify.data.len(), have);
                assert_eq!(notify.esp_spi().is_some(), spi_len == 4);
            }
        }
    }
    for len in 0..4 {
        assert!(Payload::parse(PayloadType::V2_NOTIFY, false, &vec![0; len]).is_err());
    }
    let unknown = NotifyPayload::new(NotifyType(12_345), vec![1, 2, 3]);
    let body = Payload::Notify(unknown.clone()).to_bytes().unwrap();
    assert_eq!(
        Payload::parse(PayloadType::V2_NOTIFY, false, &body),
        Ok(Payload::Notify(unknown))
    );
}

#[test]
fn p14_selectors_hold_their_addresses_and_their_count() {
    let v4 = [7, 0, 0, 16, 0, 0, 0xff, 0xff, 10, 0, 0, 0, 10, 0, 0, 255];
    let body = |count: u8, selectors: &[u8]| [&[count, 0, 0, 0], selectors].concat();
    for kind in [PayloadType::V2_TS_I, PayloadType::V2_TS_R] {
        let reads = |body: &[u8]| Payload::parse(kind, false, body).is_ok();
        assert!(reads(&body(1, &v4)));
        assert!(
            reads(&body(0, &[])),
            "none is no selector, which the negotiation refuses"
        );
        assert!(reads(&body(255, &v4.repeat(255))));
        for (count, selectors) in [(0, &v4[..]), (2, &v4), (255, &v4), (1, &v4[..15]), (1, &[])] {
            assert!(
                !reads(&body(count, selectors)),
                "{count} in {} octets",
                selectors.len()
            );
        }
        for length in (0..16).chain([17, 40, 255]) {
            let mut wrong = v4;
            wrong[3] = length;
            assert!(!reads(&body(1, &wrong)), "IPv4 of {length}");
            wrong[0] = 8;
            assert!(!reads(&body(1, &wrong)), "IPv6 of {length}");
            let mut unknown = [&v4[..], &[0; 255]].concat();
            (unknown[0], unknown[3]) = (10, length);
            unknown.truncate(usize::from(length.max(4)));
            assert_eq!(reads(&body(1, &unknown)), length >= 4, "unknown of {length}");
        }
        for len in 0..4 {
            assert!(!reads(&vec![0; len]));
        }
    }
    // Reversed ranges are read as they are; that they match nothing is the negotiation's business.
    let reversed = [7, 0, 0, 16, 0xff, 0xff, 0, 0, 10, 0, 0, 9, 10, 0, 0, 1];
    let Ok(Payload::TsI(ts)) = Payload::parse(PayloadType::V2_TS_I, false, &body(1, &reversed)) else {
        panic!("reversed ranges are read");
    };
    assert!(matches!(
        &*ts.selectors,
        [TrafficSelector::Ipv4 {
            ports: (65_535, 0),
            ..
        }]
    ));
    assert_eq!(
        ts.selectors[0].addresses().map(|(first, last)| first > last),
        Some(true)
    );
    assert_eq!(TsType(10), TsType::SECLABEL);
}

#[test]
fn p15_deletions_hold_exactly_the_spis_that_they_announce() {
    let body = |protocol: u8, size: u8, count: u16, octets: usize| {
        let [high, low] = count.to_be_bytes();
        [&[protocol, size, high, low][..], &vec![9; octets]].concat()
    };
    for (protocol, size, count, octets, reads) in [
        (3, 4, 1, 4, true),
        (2, 4, 2, 8, true),
        (3, 4, 0, 0, true),
        (1, 0, 0, 0, true),
        (3, 4, 65_535, 4, false),
        (3, 4, 1, 3, false),
        (3, 4, 1, 5, false),
        (3, 0, 65_535, 0, false),
        (3, 0, 0, 0, false),
        (3, 255, 1, 255, false),
        (3, 8, 1, 8, false),
        (1, 8, 1, 8, false),
        (1, 0, 1, 0, false),
        (0, 4, 1, 4, false),
        (4, 4, 1, 4, false),
        (255, 4, 1, 4, false),
    ] {
        let parsed = Payload::parse(
            PayloadType::V2_DELETE,
            false,
            &body(protocol, size, count, octets),
        );
        assert_eq!(parsed.is_ok(), reads, "{protocol} {size} {count} {octets}");
    }
    let most = u16::try_from(MAX_DELETED_SPIS).unwrap();
    let at_cap = body(3, 4, most, 4 * MAX_DELETED_SPIS);
    assert!(Payload::parse(PayloadType::V2_DELETE, false, &at_cap).is_ok());
    refused(
        PayloadType::V2_DELETE,
        &body(3, 4, most + 1, 4 * (MAX_DELETED_SPIS + 1)),
        WireError::TooMany {
            what: "deleted spis",
            limit: MAX_DELETED_SPIS,
        },
    );
    assert_eq!(DeletePayload::ike().protocol, ProtocolId::IKE);
}

/// A proposal, or a transform, with the length as given.
fn nested(last: u8, length: usize, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(length).unwrap().to_be_bytes();
    [&[last, 0, length[0], length[1]], body].concat()
}

fn proposal(last: u8, announced: u8, transforms: &[u8]) -> Vec<u8> {
    let body = [&[1, 1, 0, announced], transforms].concat();
    nested(last, 4 + body.len(), &body)
}

fn transform(last: u8, attributes: &[u8]) -> Vec<u8> {
    let body = [&[1, 0, 0, 12], attributes].concat();
    nested(last, 4 + body.len(), &body)
}

#[test]
fn p17_transform_counts_that_lie_are_refused() {
    let one = transform(0, &[]);
    let two = [transform(3, &[]), transform(0, &[])].concat();
    for (announced, transforms, reads) in [
        (1, &one[..], true),
        (2, &two, true),
        (0, &[][..], true),
        (0, &one, false),
        (2, &one, false),
        (1, &two, false),
        (255, &one, false),
        (1, &[], false),
    ] {
        let parsed = Payload::parse(PayloadType::V2_SA, false, &proposal(0, announced, transforms));
        assert_eq!(parsed.is_ok(), reads, "{announced}");
    }
}

#[test]
fn p17_substructures_of_the_wrong_kind_or_length_are_refused() {
    let good = proposal(0, 1, &transform(0, &[]));
    assert!(Payload::parse(PayloadType::V2_SA, false, &good).is_ok());
    for last in 1..=u8::MAX {
        let mut wrong = good.clone();
        wrong[0] = last;
        assert!(
            Payload::parse(PayloadType::V2_SA, false, &wrong).is_err(),
            "last substructure {last}"
        );
        let mut wrong = good.clone();
        wrong[8] = last;
        assert!(
            Payload::parse(PayloadType::V2_SA, false, &wrong).is_err(),
            "last transform {last}"
        );
    }
    for length in (0..16).chain([17, 255, 65_535]) {
        let mut wrong = good.clone();
        wrong[2..4].copy_from_slice(&u16::to_be_bytes(length));
        assert!(
            Payload::parse(PayloadType::V2_SA, false, &wrong).is_err(),
            "proposal of {length}"
        );
    }
    for length in (0..8).chain([9, 255, 65_535]) {
        let mut wrong = good.clone();
        wrong[10..12].copy_from_slice(&u16::to_be_bytes(length));
        assert!(
            Payload::parse(PayloadType::V2_SA, false, &wrong).is_err(),
            "transform of {length}"
        );
    }
    for spi_len in 0..=u8::MAX {
        let body = [&[1, 3, spi_len, 0][..], &vec![5; usize::from(spi_len)]].concat();
        let parsed = Payload::parse(PayloadType::V2_SA, false, &nested(0, 4 + body.len(), &body));
        assert_eq!(
            parsed.is_ok(),
            matches!(spi_len, 0 | 2 | 4 | 8),
            "spi of {spi_len}"
        );
    }
    assert!(Payload::parse(PayloadType::V2_SA, false, &[]).is_err());
}

#[test]
fn p17_attributes_cannot_reach_beyond_their_transform() {
    for (attributes, reads) in [
        (&[0x80, 14, 0, 128][..], true),
        (&[0, 14, 0, 2, 0, 128], true),
        (&[0, 14, 0, 0], true),
        (&[0, 14, 0, 3, 0, 128], false),
        (&[0, 14, 0xff, 0xff, 0, 128], false),
        (&[0x80, 14, 0], false),
        (&[0x80], false),
        (&[0, 14, 0], false),
    ] {
        let sa = proposal(0, 1, &transform(0, attributes));
        assert_eq!(
            Payload::parse(PayloadType::V2_SA, false, &sa).is_ok(),
            reads,
            "{attributes:?}"
        );
    }
    let many = proposal(0, 1, &transform(0, &[0x80, 14, 0, 128].repeat(33)));
    assert!(matches!(
        Payload::parse(PayloadType::V2_SA, false, &many),
        Err(WireError::TooMany { .. })
    ));
}

#[test]
fn p17_proposals_and_transforms_are_capped() {
    let proposals = |count: usize| {
        let mut sa = proposal(2, 0, &[]).repeat(count - 1);
        sa.extend(proposal(0, 0, &[]));
        sa
    };
    assert!(Payload::parse(PayloadType::V2_SA, false, &proposals(MAX_PROPOSALS)).is_ok());
    for count in [MAX_PROPOSALS + 1, 1000, 5000] {
        refused(
            PayloadType::V2_SA,
            &proposals(count),
            WireError::TooMany {
                what: "proposals",
                limit: MAX_PROPOSALS,
            },
        );
        assert!(read(PayloadType::V2_SA, &chain(&proposals(count))).is_err());
    }
    // 30 proposals of 255 transforms.
    let full = [transform(3, &[]).repeat(254), transform(0, &[])].concat();
    let mut sa = proposal(2, 255, &full).repeat(29);
    sa.extend(proposal(0, 255, &full));
    refused(
        PayloadType::V2_SA,
        &sa,
        WireError::TooMany {
            what: "transforms",
            limit: MAX_TRANSFORMS,
        },
    );
    assert!(read(PayloadType::V2_SA, &chain(&sa)).is_err());
}
