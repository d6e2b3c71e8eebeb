use gateway_common::Spi;

use super::*;
use crate::config::{Esn as EsnConfig, EspCipher, EspIntegrity, EspProposal, IkeProposal};
use crate::crypto::{DhGroup, Encryption, Hash};
use crate::diagnosis::Code;
use crate::wire::v2::{EncryptionId, Esn, IntegrityId, PrfId, SaPayload};
use crate::wire::{Attribute, ProtocolId};

const OURS: Spi = Spi::new(0x1000_0001).unwrap();
const THEIRS: Spi = Spi::new(0x2000_0002).unwrap();

fn ike(encryption: Encryption, hash: Hash, group: DhGroup) -> IkeProposal {
    IkeProposal {
        encryption,
        hash,
        group,
        additional: None,
    }
}

fn every_ike() -> Vec<IkeProposal> {
    let mut all = Vec::new();
    for encryption in Encryption::ALL {
        for hash in Hash::ALL {
            all.extend([DhGroup::Modp1024, DhGroup::Modp2048].map(|group| ike(encryption, hash, group)));
        }
    }
    all
}

fn esp(cipher: EspCipher, integrity: Option<EspIntegrity>) -> EspProposal {
    EspProposal { cipher, integrity }
}

fn every_esp() -> Vec<EspProposal> {
    use EspCipher::*;
    use EspIntegrity::*;
    let mut all = Vec::new();
    for cipher in [Des, TripleDes, Aes128Cbc, Aes192Cbc, Aes256Cbc] {
        all.extend(
            [HmacMd5, HmacSha1, HmacSha2_256, HmacSha2_384, HmacSha2_512].map(|mac| esp(cipher, Some(mac))),
        );
    }
    all.extend([Aes128Gcm16, Aes192Gcm16, Aes256Gcm16, ChaCha20Poly1305].map(|cipher| esp(cipher, None)));
    all
}

fn terms(proposals: &[EspProposal], pfs: Option<DhGroup>, esn: EsnConfig) -> EspTerms<'_> {
    EspTerms { proposals, pfs, esn }
}

fn one(protocol: ProtocolId, transforms: Vec<Transform>) -> SaPayload {
    let spi = if protocol == ProtocolId::ESP {
        THEIRS.to_be_bytes().to_vec()
    } else {
        Vec::new()
    };
    SaPayload {
        proposals: vec![Proposal {
            number: 1,
            protocol,
            spi,
            transforms,
        }],
    }
}

#[test]
fn every_ike_proposal_is_offered_chosen_and_recognised() {
    let all = every_ike();
    let offer = offer_ike(&all, &[]);
    assert_eq!(offer.proposals.len(), all.len() / 2, "groups are alternatives");
    for ours in &all {
        let allowed = std::slice::from_ref(ours);
        let (choice, answer) = select_ike(allowed, &offer, &[]).unwrap();
        assert_eq!(&choice.proposal, ours);
        assert_eq!(chosen_ike(&all, &answer, 0).unwrap().proposal, *ours);
        let others: Vec<_> = all.iter().filter(|other| *other != ours).cloned().collect();
        if others
            .iter()
            .all(|other| (other.encryption, other.hash) != (ours.encryption, ours.hash))
        {
            assert!(chosen_ike(&others, &answer, 0).is_err());
        }
        let refused = select_ike(allowed, &offer_ike(&others, &[]), &[]).unwrap_err();
        assert_eq!(refused.code, Code::IkeProposalMismatch);
    }
}

#[test]
fn our_order_decides_among_what_the_peer_offers() {
    let weak = ike(Encryption::TripleDes, Hash::Md5, DhGroup::Modp1024);
    let strong = ike(Encryption::Aes256Gcm16, Hash::Sha2_512, DhGroup::Modp2048);
    let offer = offer_ike(&[weak.clone(), strong.clone()], &[]);
    let (choice, answer) = select_ike(&[strong.clone(), weak.clone()], &offer, &[]).unwrap();
    assert_eq!(choice.proposal, strong);
    assert_eq!(answer.proposals[0].number, 2, "the peer's number is repeated");
    assert_eq!(
        select_ike(&[weak.clone(), strong], &offer, &[])
            .unwrap()
            .0
            .proposal,
        weak
    );
}

#[test]
fn a_rekey_carries_the_spis_of_the_new_ike_sa() {
    let allowed = [ike(Encryption::Aes128Cbc, Hash::Sha1, DhGroup::Modp2048)];
    let offer = offer_ike(&allowed, &[1; 8]);
    let (choice, answer) = select_ike(&allowed, &offer, &[2; 8]).unwrap();
    assert_eq!(choice.peer_spi, [1; 8]);
    assert_eq!(chosen_ike(&allowed, &answer, 8).unwrap().peer_spi, [2; 8]);
    assert!(
        select_ike(&allowed, &offer, &[]).is_err(),
        "no spi is expected in IKE_SA_INIT"
    );
    assert!(chosen_ike(&allowed, &answer, 0).is_err());
}

#[test]
fn an_answer_must_be_what_was_offered_under_its_number() {
    let allowed = [
        ike(Encryption::Aes128Cbc, Hash::Sha1, DhGroup::Modp2048),
        ike(Encryption::Aes256Cbc, Hash::Sha1, DhGroup::Modp2048),
    ];
    let (_, good) = select_ike(&allowed, &offer_ike(&allowed, &[]), &[]).unwrap();
    assert!(chosen_ike(&allowed, &good, 0).is_ok());
    type Change = fn(&mut SaPayload);
    let changes: [(&str, Change); 6] = [
        ("the other number", |sa| sa.proposals[0].number = 2),
        ("no such number", |sa| sa.proposals[0].number = 3),
        ("two proposals", |sa| sa.proposals.push(sa.proposals[0].clone())),
        ("no proposal", |sa| sa.proposals.clear()),
        ("two transforms of a type", |sa| {
            let twice = sa.proposals[0].transforms[0].clone();
            sa.proposals[0].transforms.push(twice);
        }),
        ("a missing type", |sa| {
            sa.proposals[0].transforms.remove(1);
        }),
    ];
    for (what, change) in changes {
        let mut answer = good.clone();
        change(&mut answer);
        assert!(chosen_ike(&allowed, &answer, 0).is_err(), "{what}");
    }
}

#[test]
fn an_additional_key_exchange_is_neither_dropped_nor_added() {
    let plain = ike(Encryption::Aes256Gcm16, Hash::Sha2_256, DhGroup::Modp2048);
    let mut hybrid = plain.clone();
    hybrid.additional = Some(DhGroup::Modp3072);
    let with_none = |mut offer: SaPayload| {
        offer.proposals[0]
            .transforms
            .push(Transform::new(TransformType::ADDKE1, 0));
        offer
    };
    let both = [hybrid.clone(), plain.clone()];
    let plain_only = std::slice::from_ref(&plain);
    let hybrid_only = std::slice::from_ref(&hybrid);
    assert!(select_ike(plain_only, &offer_ike(hybrid_only, &[]), &[]).is_err());
    assert!(select_ike(hybrid_only, &offer_ike(plain_only, &[]), &[]).is_err());
    assert_eq!(
        select_ike(&both, &offer_ike(plain_only, &[]), &[])
            .unwrap()
            .0
            .proposal,
        plain
    );
    // A peer that can do without says so with "none", which the answer repeats.
    let optional = with_none(offer_ike(hybrid_only, &[]));
    assert_eq!(select_ike(&both, &optional, &[]).unwrap().0.proposal, hybrid);
    let (choice, answer) = select_ike(plain_only, &optional, &[]).unwrap();
    assert_eq!(choice.proposal, plain);
    assert!(
        answer.proposals[0]
            .transforms
            .contains(&Transform::new(TransformType::ADDKE1, 0))
    );
    let mut second = offer_ike(hybrid_only, &[]);
    second.proposals[0]
        .transforms
        .push(Transform::new(TransformType::ADDKE2, 15));
    assert!(select_ike(hybrid_only, &second, &[]).is_err());
}

#[test]
fn every_esp_proposal_is_offered_chosen_and_recognised() {
    let all = every_esp();
    for pfs in [None, Some(DhGroup::Modp2048)] {
        for esn in [EsnConfig::Off, EsnConfig::Allow] {
            let offer = terms(&all, pfs, esn).offer(THEIRS);
            for ours in &all {
                let (choice, answer) = terms(std::slice::from_ref(ours), pfs, esn)
                    .select(&offer, OURS)
                    .unwrap();
                assert_eq!((&choice.proposal, choice.peer_spi), (ours, THEIRS));
                assert_eq!(
                    (choice.group, choice.esn),
                    (pfs, false),
                    "no ESN is offered first"
                );
                let chosen = terms(&all, pfs, esn).chosen(&answer).unwrap();
                assert_eq!(
                    (&chosen.proposal, chosen.peer_spi, chosen.group),
                    (ours, OURS, pfs)
                );
                let others: Vec<_> = all.iter().filter(|other| *other != ours).cloned().collect();
                assert!(terms(&others, pfs, esn).chosen(&answer).is_err());
                let other_offer = terms(&others, pfs, esn).offer(THEIRS);
                let refused = terms(std::slice::from_ref(ours), pfs, esn).select(&other_offer, OURS);
                assert_eq!(refused.unwrap_err().code, Code::EspProposalMismatch);
            }
        }
    }
}

#[test]
fn extended_sequence_numbers_follow_the_peers_order_where_allowed() {
    let ours = [esp(EspCipher::Aes128Gcm16, None)];
    let offer = |esns: &[Esn]| {
        let mut transforms = vec![Transform::encryption(EncryptionId::AES_GCM_16, Some(128))];
        transforms.extend(esns.iter().map(|esn| Transform::new(TransformType::ESN, esn.0)));
        one(ProtocolId::ESP, transforms)
    };
    let selected = |esn, esns: &[Esn]| {
        terms(&ours, None, esn)
            .select(&offer(esns), OURS)
            .ok()
            .map(|(choice, _)| choice.esn)
    };
    let rows: [(&[Esn], Option<bool>, Option<bool>); 6] = [
        (&[Esn::NO_ESN], Some(false), Some(false)),
        (&[Esn::ESN], None, Some(true)),
        (&[Esn::NO_ESN, Esn::ESN], Some(false), Some(false)),
        (&[Esn::ESN, Esn::NO_ESN], Some(false), Some(true)),
        (&[], Some(false), Some(false)),
        (&[Esn(2)], None, None),
    ];
    for (esns, off, allow) in rows {
        assert_eq!(selected(EsnConfig::Off, esns), off, "{esns:?}");
        assert_eq!(selected(EsnConfig::Allow, esns), allow, "{esns:?}");
    }
}

#[test]
fn a_pfs_mismatch_is_told_apart_from_other_algorithms() {
    let (aes, chacha) = (
        [esp(EspCipher::Aes128Gcm16, None)],
        [esp(EspCipher::ChaCha20Poly1305, None)],
    );
    let (none, modp1024, modp2048) = (None, Some(DhGroup::Modp1024), Some(DhGroup::Modp2048));
    let rows = [
        (
            none,
            modp2048,
            "tunnel has no pfs",
            "peer offers aes-128-gcm/group14",
        ),
        (
            modp2048,
            none,
            "tunnel has pfs group14",
            "peer offers aes-128-gcm, without pfs",
        ),
        (
            modp2048,
            modp1024,
            "tunnel has pfs group14",
            "peer offers aes-128-gcm/group2",
        ),
    ];
    for (ours, theirs, local, peer) in rows {
        let offer = terms(&aes, theirs, EsnConfig::Off).offer(THEIRS);
        let refused = terms(&aes, ours, EsnConfig::Off)
            .select(&offer, OURS)
            .unwrap_err();
        assert_eq!(refused.code, Code::PfsMismatch);
        assert_eq!((&*refused.local, &*refused.peer), (local, peer));
        let other = terms(&chacha, ours, EsnConfig::Off)
            .select(&offer, OURS)
            .unwrap_err();
        assert_eq!(other.code, Code::EspProposalMismatch);
    }
}

#[test]
fn reserved_and_missing_spis_make_an_esp_proposal_unusable() {
    let ours = [esp(EspCipher::Aes128Gcm16, None)];
    let terms = terms(&ours, None, EsnConfig::Off);
    for spi in [&[][..], &[0; 4], &[0, 0, 0, 255], &[1; 8]] {
        let mut offer = terms.offer(THEIRS);
        offer.proposals[0].spi = spi.to_vec();
        assert!(terms.select(&offer, OURS).is_err(), "{spi:?}");
        assert!(terms.chosen(&offer).is_err(), "{spi:?}");
    }
}

/// P7: for every transform id and key length, what is accepted is what is configured, and nothing else.
#[test]
fn p7_only_what_is_configured_is_accepted_for_every_number() {
    let allowed = [ike(Encryption::Aes128Cbc, Hash::Sha1, DhGroup::Modp2048)];
    let good = [
        Transform::encryption(EncryptionId::AES_CBC, Some(128)),
        Transform::new(TransformType::PRF, PrfId::HMAC_SHA1.0),
        Transform::new(TransformType::INTEG, IntegrityId::HMAC_SHA1_96.0),
        Transform::new(TransformType::KE, 14),
    ];
    assert!(select_ike(&allowed, &one(ProtocolId::IKE, good.to_vec()), &[]).is_ok());
    let attributes = [
        vec![],
        vec![Attribute::Tv(14, 0)],
        vec![Attribute::Tv(14, 127)],
        vec![Attribute::Tv(14, 128)],
        vec![Attribute::Tv(14, 256)],
        vec![Attribute::Tv(14, 65_535)],
        vec![Attribute::Tv(14, 128), Attribute::Tv(14, 128)],
        vec![Attribute::Tv(14, 128), Attribute::Tv(99, 1)],
        vec![Attribute::Tlv(14, vec![0, 128])],
    ];
    for index in 0..good.len() {
        let mut transforms = good.to_vec();
        for id in 0..=u16::MAX {
            transforms[index].id = id;
            for attributes in &attributes {
                if id > 300 && attributes.len() != 1 {
                    continue;
                }
                transforms[index].attributes.clone_from(attributes);
                let is_good = transforms[index] == good[index];
                let accepted = pick(
                    &one(ProtocolId::IKE, transforms.clone()).proposals[0],
                    &numbers::of_ike(&allowed[0]),
                );
                assert_eq!(accepted.is_some(), is_good, "{:?}", transforms[index]);
            }
        }
    }
}

/// P7: types of transforms that are missing, unknown, or would leave a Child SA without encryption or authentication.
#[test]
fn p7_missing_and_foreign_transform_types_make_a_proposal_unusable() {
    let allowed = [ike(Encryption::Aes128Cbc, Hash::Sha1, DhGroup::Modp2048)];
    let good = offer_ike(&allowed, &[]).proposals.remove(0).transforms;
    for missing in 0..good.len() {
        let mut transforms = good.clone();
        let gone = transforms.remove(missing);
        assert!(
            select_ike(&allowed, &one(ProtocolId::IKE, transforms), &[]).is_err(),
            "without {gone:?}"
        );
    }
    for foreign in [0, 5, 6, 12, 13, 240, 255] {
        let mut transforms = good.clone();
        transforms.push(Transform::new(TransformType(foreign), 1));
        assert!(
            select_ike(&allowed, &one(ProtocolId::IKE, transforms), &[]).is_err(),
            "with type {foreign}"
        );
    }
    for protocol in [0, 2, 3, 4, 255] {
        assert!(select_ike(&allowed, &one(ProtocolId(protocol), good.clone()), &[]).is_err());
    }
    assert!(select_ike(&allowed, &one(ProtocolId::IKE, Vec::new()), &[]).is_err());

    let ours = [esp(EspCipher::Aes128Cbc, Some(EspIntegrity::HmacSha1))];
    let cbc = Transform::encryption(EncryptionId::AES_CBC, Some(128));
    let rows = [
        ("no integrity", vec![cbc.clone()]),
        (
            "integrity none",
            vec![cbc, Transform::new(TransformType::INTEG, 0)],
        ),
        (
            "null encryption",
            vec![
                Transform::encryption(EncryptionId::NULL, None),
                Transform::new(TransformType::INTEG, IntegrityId::HMAC_SHA1_96.0),
            ],
        ),
        (
            "integrity alone",
            vec![Transform::new(TransformType::INTEG, IntegrityId::HMAC_SHA1_96.0)],
        ),
    ];
    for (what, transforms) in rows {
        let refused = terms(&ours, None, EsnConfig::Off).select(&one(ProtocolId::ESP, transforms), OURS);
        assert!(refused.is_err(), "{what}");
    }
}

#[test]
fn foreign_algorithms_are_named() {
    let allowed = [ike(Encryption::Aes256Gcm16, Hash::Sha2_256, DhGroup::Modp3072)];
    let offer = one(
        ProtocolId::IKE,
        vec![
            Transform::encryption(EncryptionId::TRIPLE_DES, None),
            Transform::encryption(EncryptionId::CAMELLIA_CBC, Some(256)),
            Transform::encryption(EncryptionId(77), None),
            Transform::new(TransformType::INTEG, IntegrityId::HMAC_MD5_96.0),
            Transform::new(TransformType::PRF, PrfId::AES128_XCBC.0),
            Transform::new(TransformType::KE, 2),
            Transform::new(TransformType::ADDKE1, 36),
        ],
    );
    let refused = select_ike(&allowed, &offer, &[]).unwrap_err();
    assert_eq!(
        refused.peer,
        "peer offers 3des|camellia_cbc-256|encryption(77)/md5/prf aes128_xcbc/group2+group36"
    );
    assert_eq!(refused.local, "tunnel allows aes-256-gcm/sha2-256/group15");
}
