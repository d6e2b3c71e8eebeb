//! Rows about SA payloads: chains within chains.

use gateway_ike::wire::v1::{
    Attribute, MAX_ATTRIBUTES, MAX_PROPOSALS, MAX_TRANSFORMS, Payload, Proposal, SaPayload, Transform,
};
use gateway_ike::wire::{PayloadType, ProtocolId, WireError};

use crate::{generic, refused};

fn sa(proposals: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 1, 0, 0, 0, 1], proposals].concat()
}

fn transform(number: u8, attributes: &[u8]) -> Vec<u8> {
    [&[number, 1, 0, 0], attributes].concat()
}

fn a_transform() -> Transform {
    Transform {
        number: 1,
        id: 1,
        attributes: vec![Attribute::Tv(1, 7)],
    }
}

fn a_proposal(transforms: usize) -> Proposal {
    Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms: vec![a_transform(); transforms],
    }
}

#[test]
fn p17_proposals_and_transforms_are_capped() {
    let parse = |proposals: Vec<Proposal>| {
        Payload::parse(
            PayloadType::SA,
            &Payload::Sa(SaPayload::new(proposals)).to_bytes().unwrap(),
        )
    };
    assert!(parse(vec![a_proposal(7); MAX_PROPOSALS]).is_ok());
    assert!(parse(vec![a_proposal(MAX_TRANSFORMS)]).is_ok());
    let proposals = Err(WireError::TooMany {
        what: "proposals",
        limit: MAX_PROPOSALS,
    });
    assert_eq!(parse(vec![a_proposal(1); MAX_PROPOSALS + 1]), proposals);
    assert_eq!(parse(vec![a_proposal(1); 1000]), proposals);
    let transforms = Err(WireError::TooMany {
        what: "transforms",
        limit: MAX_TRANSFORMS,
    });
    assert_eq!(parse(vec![a_proposal(128); 2]), transforms);
}

#[test]
fn p17_transform_counts_that_lie_are_refused() {
    let good = Payload::Sa(SaPayload::new(vec![a_proposal(2)]))
        .to_bytes()
        .unwrap();
    const COUNT_AT: usize = 8 + 4 + 3;
    assert_eq!(good[COUNT_AT], 2);
    for wrong in [0, 1, 3, 255] {
        let mut body = good.clone();
        body[COUNT_AT] = wrong;
        let expected = WireError::BadLength {
            what: "number of transforms",
            got: usize::from(wrong),
        };
        refused(PayloadType::SA, &body, expected);
    }
}

#[test]
fn p17_nested_chains_of_the_wrong_kind_or_length_are_refused() {
    let proposal = |transforms: &[u8]| [&[1, 1, 0, 1], transforms].concat();
    let nested = |next: PayloadType, body: &[u8]| generic(next, 4 + body.len(), body);
    let none = PayloadType::NONE;
    let inner = nested(none, &transform(1, &[]));
    assert!(Payload::parse(PayloadType::SA, &sa(&nested(none, &proposal(&inner)))).is_ok());

    let unexpected = |got: PayloadType| WireError::Unexpected {
        what: "nested payload type",
        got: got.0.into(),
    };
    // A transform after a proposal, a proposal after a transform, and anything else.
    for kind in [PayloadType::TRANSFORM, PayloadType::SA, PayloadType(255)] {
        refused(
            PayloadType::SA,
            &sa(&nested(kind, &proposal(&inner))),
            unexpected(kind),
        );
    }
    let inner_proposal = nested(PayloadType::PROPOSAL, &transform(1, &[]));
    let body = sa(&nested(none, &proposal(&inner_proposal)));
    refused(PayloadType::SA, &body, unexpected(PayloadType::PROPOSAL));

    for length in 0..4 {
        let expected = WireError::BadLength {
            what: "nested payload length",
            got: length,
        };
        refused(
            PayloadType::SA,
            &sa(&generic(none, length, &proposal(&inner))),
            expected,
        );
        let inner = generic(none, length, &transform(1, &[]));
        refused(PayloadType::SA, &sa(&nested(none, &proposal(&inner))), expected);
    }
    let with_tail = [sa(&nested(none, &proposal(&inner))), vec![0]].concat();
    let expected = WireError::BadLength {
        what: "octets after the last proposal",
        got: 1,
    };
    refused(PayloadType::SA, &with_tail, expected);
    refused(
        PayloadType::SA,
        &sa(&[]),
        WireError::Truncated {
            what: "nested next payload",
            needed: 1,
            have: 0,
        },
    );
}

#[test]
fn p17_attributes_cannot_reach_beyond_their_transform() {
    let parse = |attributes: &[u8]| {
        let transform = generic(PayloadType::NONE, 8 + attributes.len(), &transform(1, attributes));
        let proposal = [&[1, 1, 0, 1][..], &transform].concat();
        Payload::parse(
            PayloadType::SA,
            &sa(&generic(PayloadType::NONE, 4 + proposal.len(), &proposal)),
        )
    };
    let truncated = |what, needed, have| Err(WireError::Truncated { what, needed, have });
    assert!(parse(&[0x80, 1, 0, 7]).is_ok());
    assert!(parse(&[0, 12, 0, 4, 0, 1, 0x51, 0x80]).is_ok());
    assert!(parse(&[0, 12, 0, 0]).is_ok());
    assert_eq!(parse(&[0x80]), truncated("attribute type", 2, 1));
    assert_eq!(parse(&[0x80, 1, 0]), truncated("attribute value", 2, 1));
    assert_eq!(
        parse(&[0, 12, 0, 5, 1, 2, 3, 4]),
        truncated("attribute value", 5, 4)
    );
    assert_eq!(
        parse(&[0, 12, 0xff, 0xff]),
        truncated("attribute value", 65_535, 0)
    );
    let many = [0x80, 1, 0, 7].repeat(MAX_ATTRIBUTES + 1);
    assert_eq!(
        parse(&many),
        Err(WireError::TooMany {
            what: "attributes",
            limit: MAX_ATTRIBUTES
        })
    );
}
