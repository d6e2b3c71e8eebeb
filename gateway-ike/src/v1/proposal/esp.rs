//! Phase 2: algorithms, mode and lifetimes of the IPsec SAs (RFC 2407 section 4.5).

use std::time::Duration;

use gateway_common::Spi;

use super::{offers_more, only_known, smaller_kilobytes, smaller_lifetime};
use crate::config::{ConnectionConfig, EspCipher, EspIntegrity, EspProposal};
use crate::crypto::DhGroup;
use crate::diagnosis::{Code, Diagnosis, describe_all};
use crate::wire::ProtocolId;
use crate::wire::v1::{
    Attribute, AuthAlgorithm, EncapsulationMode, EspTransform, IpsecAttribute, LifeAttributes, Lifetimes,
    NatNumbering, Proposal, SaPayload, Transform,
};

const CIPHERS: [EspCipher; 8] = [
    EspCipher::Des,
    EspCipher::TripleDes,
    EspCipher::Aes128Cbc,
    EspCipher::Aes192Cbc,
    EspCipher::Aes256Cbc,
    EspCipher::Aes128Gcm16,
    EspCipher::Aes192Gcm16,
    EspCipher::Aes256Gcm16,
];
const INTEGRITIES: [EspIntegrity; 5] = [
    EspIntegrity::HmacMd5,
    EspIntegrity::HmacSha1,
    EspIntegrity::HmacSha2_256,
    EspIntegrity::HmacSha2_384,
    EspIntegrity::HmacSha2_512,
];

/// What a Quick Mode may agree on: the tunnel's settings in the situation of this IKE SA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EspTerms<'a> {
    pub(crate) config: &'a ConnectionConfig,
    /// `Some` when ESP travels in UDP, with the dialect that was agreed on.
    pub(crate) udp: Option<NatNumbering>,
}

/// What both ends agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EspChoice {
    pub(crate) proposal: EspProposal,
    /// The peer's inbound SPI.
    pub(crate) spi: Spi,
    pub(crate) lifetime: Duration,
    pub(crate) kilobytes: Option<u64>,
    /// As responder: what is shorter here than the initiator offered, and so has to be said.
    pub(crate) announce: Option<Lifetimes>,
}

/// The lifetime of a transform that names none (RFC 2407 section 4.5).
const DEFAULT_LIFETIME: u64 = 28_800;

/// What one transform stands for.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    proposal: EspProposal,
    group: Option<DhGroup>,
    mode: EncapsulationMode,
    life: Lifetimes,
}

/// Our SA payload: one transform for each acceptable combination. `spi` is our inbound SPI.
pub(crate) fn offer_esp(terms: EspTerms<'_>, spi: Spi) -> SaPayload {
    let life = Lifetimes {
        seconds: Some(terms.config.child_lifetime.time.as_secs()),
        kilobytes: terms.config.child_lifetime.kilobytes.map(u64::from),
    };
    let transforms = (1..=u8::MAX)
        .zip(&terms.config.esp_proposals)
        .filter_map(|(number, proposal)| to_transform(number, proposal, terms.config.pfs, terms.mode(), life))
        .collect();
    SaPayload::new(vec![Proposal {
        number: 1,
        protocol: ProtocolId::ESP,
        spi: spi.to_be_bytes().to_vec(),
        transforms,
    }])
}

/// As responder: our best proposal that the peer offers, and the SA payload that says so with our own `spi`.
pub(crate) fn select_esp(
    terms: EspTerms<'_>,
    offer: &SaPayload,
    spi: Spi,
) -> Result<(EspChoice, SaPayload), Diagnosis> {
    for ours in &terms.config.esp_proposals {
        for proposal in esp_alone(offer) {
            let Some(peer_spi) = read_spi(proposal) else {
                continue;
            };
            for transform in &proposal.transforms {
                let Some(theirs) = from_transform(transform) else {
                    continue;
                };
                if theirs.proposal == *ours && terms.allow(&theirs) {
                    let offered = theirs.life;
                    let mut choice = terms.choice(theirs, peer_spi);
                    choice.announce = terms.shorter(&choice, offered);
                    let answer = Proposal {
                        spi: spi.to_be_bytes().to_vec(),
                        transforms: vec![transform.clone()],
                        ..proposal.clone()
                    };
                    return Ok((choice, SaPayload::new(vec![answer])));
                }
            }
        }
    }
    Err(terms.mismatch("peer offers", offer))
}

/// As initiator: what the peer chose, which must be one of ours.
pub(crate) fn chosen_esp(terms: EspTerms<'_>, answer: &SaPayload) -> Result<EspChoice, Diagnosis> {
    if let [proposal] = answer.proposals.as_slice()
        && let [transform] = proposal.transforms.as_slice()
        && proposal.protocol == ProtocolId::ESP
        && let Some(spi) = read_spi(proposal)
        && let Some(theirs) = from_transform(transform)
        && terms.config.esp_proposals.contains(&theirs.proposal)
        && terms.allow(&theirs)
    {
        return Ok(terms.choice(theirs, spi));
    }
    Err(terms.mismatch("peer answers with", answer))
}

impl EspTerms<'_> {
    const fn mode(&self) -> EncapsulationMode {
        match self.udp {
            None => EncapsulationMode::TUNNEL,
            Some(NatNumbering::Rfc3947) => EncapsulationMode::UDP_ENCAPSULATED_TUNNEL,
            Some(NatNumbering::Draft) => EncapsulationMode::UDP_ENCAPSULATED_TUNNEL_DRAFT,
        }
    }

    /// Everything but the algorithms. Behind a NAT both numbers of the UDP mode are understood.
    fn allow(&self, theirs: &Reading) -> bool {
        let mode = match theirs.mode {
            EncapsulationMode::TUNNEL => self.udp.is_none(),
            EncapsulationMode::UDP_ENCAPSULATED_TUNNEL | EncapsulationMode::UDP_ENCAPSULATED_TUNNEL_DRAFT => {
                self.udp.is_some()
            }
            _ => false,
        };
        mode && theirs.group == self.config.pfs
    }

    fn choice(&self, theirs: Reading, spi: Spi) -> EspChoice {
        let ours = self.config.child_lifetime;
        let life = Lifetimes {
            seconds: theirs.life.seconds.or(Some(DEFAULT_LIFETIME)),
            ..theirs.life
        };
        EspChoice {
            proposal: theirs.proposal,
            spi,
            lifetime: smaller_lifetime(ours.time, life),
            kilobytes: smaller_kilobytes(ours.kilobytes.map(u64::from), life),
            announce: None,
        }
    }

    /// Which limits of `choice` are shorter than those that the initiator offered.
    fn shorter(&self, choice: &EspChoice, offered: Lifetimes) -> Option<Lifetimes> {
        let seconds = offered.seconds.unwrap_or(DEFAULT_LIFETIME);
        let announce = Lifetimes {
            seconds: Some(choice.lifetime.as_secs()).filter(|&ours| seconds == 0 || ours < seconds),
            kilobytes: choice.kilobytes.filter(|&ours| offers_more(offered, ours)),
        };
        (announce != Lifetimes::default()).then_some(announce)
    }

    /// The peer refused all we have, without saying what it wants.
    pub(crate) fn refused_by_peer(&self) -> Diagnosis {
        Diagnosis::new(
            Code::EspProposalMismatch,
            self.describe(),
            "peer refuses every ipsec proposal",
            match self.config.pfs {
                Some(_) => {
                    "make ipsec.encryption and ipsec.authentication the same on both sides; if they are, the peer has pfs off or \
                     another group: set ipsec.pfs to what the peer has, or have the peer set it"
                }
                None => {
                    "make ipsec.encryption and ipsec.authentication the same on both sides; if they are, the peer insists on pfs: \
                     set ipsec.pfs to its group, or have the peer turn pfs off"
                }
            },
        )
    }

    fn describe(&self) -> String {
        let algorithms = describe_all(self.config.esp_proposals.iter().map(ToString::to_string));
        format!(
            "tunnel allows {algorithms}, {}, {}",
            describe_group(self.config.pfs),
            describe_mode(self.mode())
        )
    }

    fn mismatch(&self, verb: &str, theirs: &SaPayload) -> Diagnosis {
        let readings: Vec<_> = esp_alone(theirs)
            .flat_map(|proposal| &proposal.transforms)
            .filter_map(from_transform)
            .collect();
        let usable: Vec<_> = readings
            .iter()
            .filter(|reading| self.config.esp_proposals.contains(&reading.proposal))
            .collect();
        // The algorithms fit: either PFS or the mode is what differs.
        if let Some(reading) = usable.iter().find(|reading| reading.group != self.config.pfs) {
            return Diagnosis::new(
                Code::PfsMismatch,
                format!("tunnel has {}", describe_group(self.config.pfs)),
                format!("{verb} {}", describe_group(reading.group)),
                match reading.group {
                    Some(group) => format!(
                        "set ipsec.pfs = \"group{}\", or have the peer set {}",
                        group.number(),
                        describe_group(self.config.pfs)
                    ),
                    None => format!(
                        "set ipsec.pfs = \"off\", or have the peer set {}",
                        describe_group(self.config.pfs)
                    ),
                },
            );
        }
        let transforms = theirs.proposals.iter().flat_map(|proposal| {
            proposal
                .transforms
                .iter()
                .map(move |transform| describe(proposal.protocol, transform))
        });
        let advice = if usable.is_empty() {
            let ours = describe_all(self.config.esp_proposals.iter().map(ToString::to_string));
            format!(
                "set ipsec.encryption and ipsec.authentication to what the peer has, or have the peer set {ours}"
            )
        } else {
            "use tunnel mode on both sides; set ipsec.encapsulation if only one side sees a NAT".to_owned()
        };
        Diagnosis::new(
            Code::EspProposalMismatch,
            self.describe(),
            format!("{verb} {}", describe_all(transforms)),
            advice,
        )
    }
}

/// Proposals for ESP that do not have to be applied together with another protocol (AH, IPCOMP).
fn esp_alone(offer: &SaPayload) -> impl Iterator<Item = &Proposal> {
    offer.proposals.iter().filter(|proposal| {
        proposal.protocol == ProtocolId::ESP
            && offer
                .proposals
                .iter()
                .filter(|other| other.number == proposal.number)
                .count()
                == 1
    })
}

fn read_spi(proposal: &Proposal) -> Option<Spi> {
    Spi::from_be_bytes(<[u8; 4]>::try_from(proposal.spi.as_slice()).ok()?)
}

/// The transform of a proposal; `None` when IKEv1 has no number for its cipher.
fn to_transform(
    number: u8,
    proposal: &EspProposal,
    pfs: Option<DhGroup>,
    mode: EncapsulationMode,
    life: Lifetimes,
) -> Option<Transform> {
    let (id, key_len) = cipher_numbers(proposal.cipher)?;
    let mut attributes = life.to_attributes(LifeAttributes::IPSEC);
    attributes.extend(pfs.map(|group| Attribute::Tv(IpsecAttribute::GROUP_DESCRIPTION.0, group.number())));
    attributes.push(Attribute::Tv(IpsecAttribute::ENCAPSULATION_MODE.0, mode.0));
    attributes.extend(proposal.integrity.map(|integrity| {
        Attribute::Tv(
            IpsecAttribute::AUTHENTICATION_ALGORITHM.0,
            integrity_number(integrity).0,
        )
    }));
    attributes.extend(key_len.map(|bits| Attribute::Tv(IpsecAttribute::KEY_LENGTH.0, bits)));
    Some(Transform {
        number,
        id: id.0,
        attributes,
    })
}

/// What a transform stands for; `None` when we would not enforce all that it says.
fn from_transform(transform: &Transform) -> Option<Reading> {
    let number = |kind: IpsecAttribute| transform.attribute(kind.0);
    let life = [IpsecAttribute::SA_LIFE_TYPE.0, IpsecAttribute::SA_LIFE_DURATION.0];
    let known = only_known(&transform.attributes, life, |kind| {
        matches!(
            IpsecAttribute(kind),
            IpsecAttribute::GROUP_DESCRIPTION
                | IpsecAttribute::ENCAPSULATION_MODE
                | IpsecAttribute::AUTHENTICATION_ALGORITHM
                | IpsecAttribute::KEY_LENGTH
        )
    });
    if !known {
        return None;
    }
    let key_len = number(IpsecAttribute::KEY_LENGTH);
    let cipher = CIPHERS.into_iter().find(|&cipher| {
        cipher_numbers(cipher)
            .is_some_and(|(id, bits)| id.0 == transform.id && bits.map(u64::from) == key_len)
    })?;
    let integrity = match number(IpsecAttribute::AUTHENTICATION_ALGORITHM) {
        None => None,
        Some(value) => Some(
            INTEGRITIES
                .into_iter()
                .find(|&integrity| u64::from(integrity_number(integrity).0) == value)?,
        ),
    };
    // E3: a cipher without integrity is not a combination, nor is an AEAD with a second one.
    if cipher.is_aead() == integrity.is_some() {
        return None;
    }
    let group = match number(IpsecAttribute::GROUP_DESCRIPTION) {
        None => None,
        Some(value) => Some(DhGroup::from_number(value).filter(|group| group.is_for_ikev1())?),
    };
    let mode = EncapsulationMode(u16::try_from(number(IpsecAttribute::ENCAPSULATION_MODE)?).ok()?);
    let life = Lifetimes::read(&transform.attributes, LifeAttributes::IPSEC).ok()?;
    Some(Reading {
        proposal: EspProposal { cipher, integrity },
        group,
        mode,
        life,
    })
}

const fn cipher_numbers(cipher: EspCipher) -> Option<(EspTransform, Option<u16>)> {
    Some(match cipher {
        EspCipher::Des => (EspTransform::DES, None),
        EspCipher::TripleDes => (EspTransform::TRIPLE_DES, None),
        EspCipher::Aes128Cbc => (EspTransform::AES_CBC, Some(128)),
        EspCipher::Aes192Cbc => (EspTransform::AES_CBC, Some(192)),
        EspCipher::Aes256Cbc => (EspTransform::AES_CBC, Some(256)),
        EspCipher::Aes128Gcm16 => (EspTransform::AES_GCM_16, Some(128)),
        EspCipher::Aes192Gcm16 => (EspTransform::AES_GCM_16, Some(192)),
        EspCipher::Aes256Gcm16 => (EspTransform::AES_GCM_16, Some(256)),
        // RFC 7634 has a number for IKEv2 only.
        EspCipher::ChaCha20Poly1305 => return None,
    })
}

const fn integrity_number(integrity: EspIntegrity) -> AuthAlgorithm {
    match integrity {
        EspIntegrity::HmacMd5 => AuthAlgorithm::HMAC_MD5,
        EspIntegrity::HmacSha1 => AuthAlgorithm::HMAC_SHA,
        EspIntegrity::HmacSha2_256 => AuthAlgorithm::HMAC_SHA2_256,
        EspIntegrity::HmacSha2_384 => AuthAlgorithm::HMAC_SHA2_384,
        EspIntegrity::HmacSha2_512 => AuthAlgorithm::HMAC_SHA2_512,
    }
}

fn describe_group(group: Option<DhGroup>) -> String {
    group.map_or_else(
        || "pfs off".to_owned(),
        |group| format!("pfs group{}", group.number()),
    )
}

fn describe_mode(mode: EncapsulationMode) -> String {
    match mode {
        EncapsulationMode::TUNNEL => "tunnel mode".to_owned(),
        EncapsulationMode::TRANSPORT => "transport mode".to_owned(),
        EncapsulationMode::UDP_ENCAPSULATED_TUNNEL | EncapsulationMode::UDP_ENCAPSULATED_TUNNEL_DRAFT => {
            "tunnel mode in udp".to_owned()
        }
        EncapsulationMode::UDP_ENCAPSULATED_TRANSPORT
        | EncapsulationMode::UDP_ENCAPSULATED_TRANSPORT_DRAFT => "transport mode in udp".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn describe(protocol: ProtocolId, transform: &Transform) -> String {
    let number = |kind: IpsecAttribute| {
        transform
            .attribute(kind.0)
            .and_then(|value| u16::try_from(value).ok())
    };
    if protocol != ProtocolId::ESP {
        return format!("{protocol:?}").to_lowercase();
    }
    let algorithms = from_transform(transform).map_or_else(
        || {
            let mut text = format!("{:?}", EspTransform(transform.id)).to_lowercase();
            if let Some(bits) = number(IpsecAttribute::KEY_LENGTH) {
                text.push_str(&format!("-{bits}"));
            }
            if let Some(integrity) = number(IpsecAttribute::AUTHENTICATION_ALGORITHM) {
                text.push_str(&format!("/{:?}", AuthAlgorithm(integrity)).to_lowercase());
            }
            text
        },
        |reading| reading.proposal.to_string(),
    );
    let group = number(IpsecAttribute::GROUP_DESCRIPTION)
        .map_or_else(|| "pfs off".to_owned(), |group| format!("pfs group{group}"));
    let mode = number(IpsecAttribute::ENCAPSULATION_MODE).map_or_else(
        || "no mode".to_owned(),
        |mode| describe_mode(EncapsulationMode(mode)),
    );
    format!("{algorithms} ({group}, {mode})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combinations() -> impl Iterator<Item = EspProposal> {
        CIPHERS.into_iter().flat_map(|cipher| {
            let integrities = if cipher.is_aead() {
                vec![None]
            } else {
                INTEGRITIES.into_iter().map(Some).collect()
            };
            integrities
                .into_iter()
                .map(move |integrity| EspProposal { cipher, integrity })
        })
    }

    #[test]
    fn every_combination_reads_back_from_its_transform() {
        let life = Lifetimes {
            seconds: Some(3600),
            kilobytes: Some(1_843_200),
        };
        for proposal in combinations() {
            for group in [None, Some(DhGroup::Modp1024)] {
                let transform = to_transform(1, &proposal, group, EncapsulationMode::TUNNEL, life).unwrap();
                assert_eq!(
                    from_transform(&transform),
                    Some(Reading {
                        proposal: proposal.clone(),
                        group,
                        mode: EncapsulationMode::TUNNEL,
                        life
                    })
                );
            }
        }
    }

    #[test]
    fn p7_e3_transforms_that_we_would_not_enforce_as_written_are_unusable() {
        let cbc = EspProposal {
            cipher: EspCipher::Aes128Cbc,
            integrity: Some(EspIntegrity::HmacSha1),
        };
        let gcm = EspProposal {
            cipher: EspCipher::Aes128Gcm16,
            integrity: None,
        };
        let make = |proposal: &EspProposal, change: &dyn Fn(&mut Transform)| {
            let mut transform =
                to_transform(1, proposal, None, EncapsulationMode::TUNNEL, Lifetimes::default()).unwrap();
            change(&mut transform);
            from_transform(&transform)
        };
        let drop = |kind: IpsecAttribute| {
            move |transform: &mut Transform| {
                transform
                    .attributes
                    .retain(|attribute| attribute.kind() != kind.0);
            }
        };
        let add = |kind: IpsecAttribute, value: u16| {
            move |transform: &mut Transform| {
                transform
                    .attributes
                    .retain(|attribute| attribute.kind() != kind.0);
                transform.attributes.push(Attribute::Tv(kind.0, value));
            }
        };
        assert!(make(&cbc, &|_| {}).is_some() && make(&gcm, &|_| {}).is_some());
        assert_eq!(make(&cbc, &drop(IpsecAttribute::AUTHENTICATION_ALGORITHM)), None);
        assert_eq!(make(&cbc, &drop(IpsecAttribute::KEY_LENGTH)), None);
        assert_eq!(make(&cbc, &drop(IpsecAttribute::ENCAPSULATION_MODE)), None);
        assert_eq!(make(&cbc, &add(IpsecAttribute::KEY_LENGTH, 129)), None);
        assert_eq!(
            make(&cbc, &add(IpsecAttribute::AUTHENTICATION_ALGORITHM, 8)),
            None
        );
        assert_eq!(
            make(&cbc, &add(IpsecAttribute::EXTENDED_SEQUENCE_NUMBER, 1)),
            None
        );
        assert_eq!(make(&cbc, &add(IpsecAttribute::KEY_ROUNDS, 9)), None);
        assert_eq!(make(&cbc, &add(IpsecAttribute::GROUP_DESCRIPTION, 1025)), None);
        assert_eq!(
            make(&gcm, &add(IpsecAttribute::AUTHENTICATION_ALGORITHM, 2)),
            None
        );
        for id in (0..=u8::MAX).filter(|id| ![3, 12].contains(id)) {
            assert_eq!(
                make(&cbc, &|transform: &mut Transform| transform.id = id),
                None,
                "transform {id}"
            );
        }
    }
}
