//! Rows about the bodies of single payloads.

use gateway_ike::wire::v1::{DeletePayload, Doi, IdPayload, NotifyPayload, NotifyType, Payload};
use gateway_ike::wire::{IdType, PayloadType, ProtocolId, WireError};

use crate::refused;

#[test]
fn p5_other_domains_and_labelled_situations_are_refused() {
    let with = |doi: u32, situation: u32| [doi.to_be_bytes(), situation.to_be_bytes()].concat();
    for doi in [0, 2, 3, u32::MAX] {
        refused(
            PayloadType::SA,
            &with(doi, 1),
            WireError::Unsupported {
                what: "doi",
                got: doi,
            },
        );
    }
    for situation in [0, 2, 3, 4, 5, u32::MAX] {
        let expected = WireError::Unsupported {
            what: "situation",
            got: situation,
        };
        refused(PayloadType::SA, &with(1, situation), expected);
    }
}

#[test]
fn p12_identities_have_the_length_of_their_type() {
    for id_type in (0..=12).chain([255]).map(IdType) {
        for len in (0..=40).chain([1024, 1025, 65_527]) {
            let fits = match id_type.0 {
                1 => len == 4,
                5 => len == 16,
                4 | 7 => len == 8,
                6 | 8 => len == 32,
                _ => (1..=1024).contains(&len),
            };
            let body = [vec![id_type.0, 0, 0, 0], vec![b'a'; len]].concat();
            let parsed = Payload::parse(PayloadType::ID, &body);
            if fits {
                assert_eq!(parsed.unwrap().to_bytes().unwrap(), body);
            } else {
                assert_eq!(
                    parsed,
                    Err(WireError::BadLength {
                        what: "identity",
                        got: len
                    }),
                    "{id_type}"
                );
            }
        }
    }
    for len in 0..4 {
        assert!(Payload::parse(PayloadType::ID, &vec![1; len]).is_err());
    }
}

#[test]
fn p12_names_are_printable_or_no_names() {
    let id = |data: &[u8]| IdPayload {
        data: data.to_vec(),
        ..IdPayload::from_fqdn("")
    };
    assert_eq!(id(b"gw.example").name(), Some("gw.example"));
    for data in [
        &b"a\0b"[..],
        b"a\nb",
        b"\x1b[31m",
        b"a b",
        b"caf\xc3\xa9",
        b"\xff",
    ] {
        assert_eq!(id(data).name(), None, "{data:?}");
    }
}

#[test]
fn p14_masks_with_holes_and_reversed_ranges_are_no_selectors() {
    let id = |id_type: IdType, data: &[u8]| IdPayload {
        id_type,
        protocol: 0,
        port: 0,
        data: data.to_vec(),
    };
    let subnet = |data| {
        id(IdType::IPV4_ADDR_SUBNET, data)
            .subnet()
            .map(|net| net.to_string())
    };
    assert_eq!(
        subnet(&[10, 0, 0, 0, 255, 255, 255, 0]).as_deref(),
        Some("10.0.0.0/24")
    );
    assert_eq!(
        subnet(&[10, 0, 0, 9, 255, 255, 255, 0]).as_deref(),
        Some("10.0.0.0/24")
    );
    assert_eq!(subnet(&[10, 0, 0, 0, 0, 0, 0, 0]).as_deref(), Some("0.0.0.0/0"));
    assert_eq!(subnet(&[10, 0, 0, 0, 255, 0, 255, 0]), None);
    let range = |data| id(IdType::IPV4_ADDR_RANGE, data).range();
    assert!(range(&[10, 0, 0, 1, 10, 0, 0, 9]).is_some());
    assert_eq!(range(&[10, 0, 0, 9, 10, 0, 0, 1]), None);
    assert_eq!(id(IdType::FQDN, b"10.0.0.0").subnet(), None);
}

#[test]
fn p13_notifications_hold_their_spi() {
    for spi_len in 0..=u8::MAX {
        for rest in [0, 4, 16, 17, 300] {
            let body = [vec![0, 0, 0, 1, 3, spi_len, 0x8d, 0x28], vec![5; rest]].concat();
            let parsed = Payload::parse(PayloadType::NOTIFY, &body);
            let spi_len = usize::from(spi_len);
            if spi_len > 16 {
                let expected = WireError::BadLength {
                    what: "notify spi size",
                    got: spi_len,
                };
                assert_eq!(parsed, Err(expected));
            } else if spi_len > rest {
                let expected = WireError::Truncated {
                    what: "notify spi",
                    needed: spi_len,
                    have: rest,
                };
                assert_eq!(parsed, Err(expected));
            } else {
                let expected = NotifyPayload {
                    doi: Doi::IPSEC,
                    protocol: ProtocolId::ESP,
                    spi: vec![5; spi_len],
                    notify_type: NotifyType::R_U_THERE,
                    data: vec![5; rest - spi_len],
                };
                assert_eq!(parsed, Ok(Payload::Notify(expected)));
            }
        }
    }
}

#[test]
fn p15_deletions_hold_exactly_the_spis_that_they_announce() {
    let body = |spi_len: u8, count: u16, rest: usize| {
        let [high, low] = count.to_be_bytes();
        [vec![0, 0, 0, 1, 3, spi_len, high, low], vec![9; rest]].concat()
    };
    let count = |got| WireError::BadLength {
        what: "number of spis",
        got,
    };
    for (spi_len, announced, rest, expected) in [
        (4, 65_535, 4, count(65_535)),
        (4, 2, 4, count(2)),
        (4, 1, 8, count(1)),
        (4, 0, 4, count(0)),
        (4, 0, 0, count(0)),
        (
            0,
            65_535,
            0,
            WireError::BadLength {
                what: "delete spi size",
                got: 0,
            },
        ),
        (
            17,
            1,
            17,
            WireError::BadLength {
                what: "delete spi size",
                got: 17,
            },
        ),
        (
            4,
            129,
            516,
            WireError::TooMany {
                what: "deleted spis",
                limit: 128,
            },
        ),
    ] {
        refused(PayloadType::DELETE, &body(spi_len, announced, rest), expected);
    }
    let expected = DeletePayload {
        doi: Doi::IPSEC,
        protocol: ProtocolId::ESP,
        spis: vec![vec![9; 4]; 2],
    };
    assert_eq!(
        Payload::parse(PayloadType::DELETE, &body(4, 2, 8)),
        Ok(Payload::Delete(expected))
    );
}

#[test]
fn nonces_and_digests_of_impossible_length_are_refused() {
    for (kind, what, range) in [
        (PayloadType::NONCE, "nonce", 8..=256),
        (PayloadType::HASH, "hash", 16..=64),
        (PayloadType::NAT_D, "nat-d", 16..=64),
        (PayloadType::NAT_D_DRAFT, "nat-d", 16..=64),
    ] {
        for len in 0..300 {
            let body = vec![1; len];
            if range.contains(&len) {
                assert_eq!(Payload::parse(kind, &body).unwrap().to_bytes().unwrap(), body);
            } else {
                refused(kind, &body, WireError::BadLength { what, got: len });
            }
        }
    }
}

#[test]
fn nat_oa_reads_both_families_and_nothing_else() {
    for kind in [PayloadType::NAT_OA, PayloadType::NAT_OA_DRAFT] {
        for body in [
            &[1, 0, 0, 0, 10, 0, 0, 1][..],
            &[[5, 0, 0, 0].as_slice(), &[1; 16]].concat(),
        ] {
            assert_eq!(Payload::parse(kind, body).unwrap().to_bytes().unwrap(), body);
            assert!(Payload::parse(kind, &body[..body.len() - 1]).is_err());
            assert!(Payload::parse(kind, &[body, &[0]].concat()).is_err());
        }
        refused(
            kind,
            &[2, 0, 0, 0, b'a'],
            WireError::Unexpected {
                what: "nat-oa id type",
                got: 2,
            },
        );
    }
}
