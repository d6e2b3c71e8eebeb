//! Phase 1: algorithms of the ISAKMP SA (RFC 2409 appendix A).

use std::time::Duration;

use super::{offers_more, only_known, smaller_kilobytes, smaller_lifetime};
use crate::config::{ConnectionConfig, IkeProposal};
use crate::crypto::{DhGroup, Encryption, Hash};
use crate::diagnosis::{Code, Diagnosis, describe_all};
use crate::wire::ProtocolId;
use crate::wire::v1::{
    Attribute, AuthMethod, IkeAttribute, IkeEncryption, IkeHash, IkeTransform, LifeAttributes, Lifetimes,
    Proposal, SaPayload, Transform,
};

/// Values of GROUP_TYPE: 1 is MODP, and saying so adds nothing to the group description.
const GROUP_TYPE_MODP: u64 = 1;

/// What both ends agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IkeChoice {
    pub(crate) proposal: IkeProposal,
    pub(crate) lifetime: Duration,
    /// Kilobytes of IKE messages; `None` for no limit.
    pub(crate) kilobytes: Option<u64>,
    /// As responder: ours is shorter than the initiator offered, and so has to be said.
    pub(crate) announce: bool,
}

/// The group whose public value message 1 of Aggressive Mode carries: that of our best proposal. The others cannot be offered.
pub(crate) fn aggressive_group(config: &ConnectionConfig) -> Option<DhGroup> {
    config.ike_proposals.first().map(|best| best.group)
}

/// Our SA payload: one transform for each acceptable combination, or each with the group `only`.
pub(crate) fn offer_ike(config: &ConnectionConfig, only: Option<DhGroup>) -> SaPayload {
    let life = Lifetimes {
        seconds: Some(config.ike_lifetime.as_secs()),
        kilobytes: config.ike_kilobytes.map(u64::from),
    };
    let offered = config
        .ike_proposals
        .iter()
        .filter(|proposal| only.is_none_or(|group| proposal.group == group));
    let transforms = (1..=u8::MAX)
        .zip(offered)
        .filter_map(|(number, proposal)| to_transform(number, proposal, life))
        .collect();
    SaPayload::new(vec![Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms,
    }])
}

/// As responder: our best proposal that the peer offers, and the SA payload that says so. In Aggressive Mode the peer has sent a
/// public value of `public_len` octets already, which its group must have.
pub(crate) fn select_ike(
    config: &ConnectionConfig,
    offer: &SaPayload,
    public_len: Option<usize>,
) -> Result<(IkeChoice, SaPayload), Diagnosis> {
    let fits = |proposal: &&IkeProposal| public_len.is_none_or(|len| proposal.group.public_len() == len);
    for ours in config.ike_proposals.iter().filter(fits) {
        for proposal in offer
            .proposals
            .iter()
            .filter(|proposal| proposal.protocol == ProtocolId::IKE)
        {
            for transform in &proposal.transforms {
                let Some((theirs, life)) = from_transform(transform) else {
                    continue;
                };
                if theirs == *ours {
                    let mut choice = choice(config, theirs, life);
                    let seconds = choice.lifetime.as_secs();
                    choice.announce = life.seconds.is_none_or(|theirs| theirs == 0 || seconds < theirs)
                        || choice.kilobytes.is_some_and(|ours| offers_more(life, ours));
                    let answer = Proposal {
                        transforms: vec![transform.clone()],
                        ..proposal.clone()
                    };
                    return Ok((choice, SaPayload::new(vec![answer])));
                }
            }
        }
    }
    Err(mismatch(config, format!("peer offers {}", describe_offer(offer))))
}

/// As initiator: what the peer chose, which must be one of ours.
pub(crate) fn chosen_ike(config: &ConnectionConfig, answer: &SaPayload) -> Result<IkeChoice, Diagnosis> {
    if let [proposal] = answer.proposals.as_slice()
        && let [transform] = proposal.transforms.as_slice()
        && proposal.protocol == ProtocolId::IKE
        && let Some((theirs, life)) = from_transform(transform)
        && config.ike_proposals.contains(&theirs)
    {
        return Ok(choice(config, theirs, life));
    }
    Err(mismatch(
        config,
        format!(
            "peer answers with {}, which was not offered",
            describe_offer(answer)
        ),
    ))
}

fn choice(config: &ConnectionConfig, proposal: IkeProposal, theirs: Lifetimes) -> IkeChoice {
    IkeChoice {
        proposal,
        lifetime: smaller_lifetime(config.ike_lifetime, theirs),
        kilobytes: smaller_kilobytes(config.ike_kilobytes.map(u64::from), theirs),
        announce: false,
    }
}

/// The peer refused all we have, without saying what it wants.
pub(crate) fn refused_by_peer(config: &ConnectionConfig) -> Diagnosis {
    mismatch(config, "peer refuses every ike proposal".to_owned())
}

fn mismatch(config: &ConnectionConfig, peer: String) -> Diagnosis {
    let ours = describe_all(config.ike_proposals.iter().map(ToString::to_string));
    Diagnosis::new(
        Code::IkeProposalMismatch,
        format!("tunnel allows {ours}"),
        peer,
        format!(
            "set ike.encryption, ike.authentication and ike.dh_group to what the peer has, or have the peer set {ours}"
        ),
    )
}

/// `None` for an AEAD, which IKEv1 does not have.
fn to_transform(number: u8, proposal: &IkeProposal, life: Lifetimes) -> Option<Transform> {
    let (cipher, key_len) = encryption_numbers(proposal.encryption)?;
    let mut attributes = vec![Attribute::Tv(IkeAttribute::ENCRYPTION_ALGORITHM.0, cipher.0)];
    attributes.extend(key_len.map(|bits| Attribute::Tv(IkeAttribute::KEY_LENGTH.0, bits)));
    attributes.extend([
        Attribute::Tv(IkeAttribute::HASH_ALGORITHM.0, hash_number(proposal.hash).0),
        Attribute::Tv(IkeAttribute::GROUP_DESCRIPTION.0, proposal.group.number()),
        Attribute::Tv(
            IkeAttribute::AUTHENTICATION_METHOD.0,
            AuthMethod::PRE_SHARED_KEY.0,
        ),
    ]);
    attributes.extend(life.to_attributes(LifeAttributes::IKE));
    Some(Transform {
        number,
        id: IkeTransform::KEY_IKE.0,
        attributes,
    })
}

/// The combination that a transform stands for; `None` when we would not enforce all that it says.
fn from_transform(transform: &Transform) -> Option<(IkeProposal, Lifetimes)> {
    let number = |kind: IkeAttribute| transform.attribute(kind.0);
    let life = [IkeAttribute::LIFE_TYPE.0, IkeAttribute::LIFE_DURATION.0];
    let known = only_known(&transform.attributes, life, |kind| {
        matches!(
            IkeAttribute(kind),
            IkeAttribute::ENCRYPTION_ALGORITHM
                | IkeAttribute::HASH_ALGORITHM
                | IkeAttribute::AUTHENTICATION_METHOD
                | IkeAttribute::GROUP_DESCRIPTION
                | IkeAttribute::GROUP_TYPE
                | IkeAttribute::KEY_LENGTH
        )
    });
    let modp = number(IkeAttribute::GROUP_TYPE).is_none_or(|kind| kind == GROUP_TYPE_MODP);
    let psk = number(IkeAttribute::AUTHENTICATION_METHOD) == Some(u64::from(AuthMethod::PRE_SHARED_KEY.0));
    if transform.id != IkeTransform::KEY_IKE.0 || !known || !modp || !psk {
        return None;
    }
    let cipher = number(IkeAttribute::ENCRYPTION_ALGORITHM)?;
    let key_len = number(IkeAttribute::KEY_LENGTH);
    let encryption = Encryption::CBC.into_iter().find(|&encryption| {
        encryption_numbers(encryption)
            .is_some_and(|(ours, bits)| u64::from(ours.0) == cipher && bits.map(u64::from) == key_len)
    })?;
    let hash_value = number(IkeAttribute::HASH_ALGORITHM)?;
    let hash = Hash::ALL
        .into_iter()
        .find(|&hash| u64::from(hash_number(hash).0) == hash_value)?;
    let group = DhGroup::from_number(number(IkeAttribute::GROUP_DESCRIPTION)?)
        .filter(|group| group.is_for_ikev1())?;
    let life = Lifetimes::read(&transform.attributes, LifeAttributes::IKE).ok()?;
    Some((
        IkeProposal {
            encryption,
            hash,
            group,
            additional: None,
        },
        life,
    ))
}

const fn encryption_numbers(encryption: Encryption) -> Option<(IkeEncryption, Option<u16>)> {
    match encryption {
        Encryption::Des => Some((IkeEncryption::DES_CBC, None)),
        Encryption::TripleDes => Some((IkeEncryption::TRIPLE_DES_CBC, None)),
        Encryption::Aes128Cbc => Some((IkeEncryption::AES_CBC, Some(128))),
        Encryption::Aes192Cbc => Some((IkeEncryption::AES_CBC, Some(192))),
        Encryption::Aes256Cbc => Some((IkeEncryption::AES_CBC, Some(256))),
        Encryption::Aes128Gcm16
        | Encryption::Aes192Gcm16
        | Encryption::Aes256Gcm16
        | Encryption::ChaCha20Poly1305 => None,
    }
}

const fn hash_number(hash: Hash) -> IkeHash {
    match hash {
        Hash::Md5 => IkeHash::MD5,
        Hash::Sha1 => IkeHash::SHA,
        Hash::Sha2_256 => IkeHash::SHA2_256,
        Hash::Sha2_384 => IkeHash::SHA2_384,
        Hash::Sha2_512 => IkeHash::SHA2_512,
    }
}

fn describe_offer(offer: &SaPayload) -> String {
    describe_all(
        offer
            .proposals
            .iter()
            .flat_map(|proposal| &proposal.transforms)
            .map(describe),
    )
}

/// "3des/md5/group2" from the numbers alone, so that it names what we do not know too.
fn describe(transform: &Transform) -> String {
    if let Some((proposal, _)) = from_transform(transform) {
        return proposal.to_string();
    }
    let number = |kind: IkeAttribute| {
        transform
            .attribute(kind.0)
            .and_then(|value| u16::try_from(value).ok())
    };
    let cipher = number(IkeAttribute::ENCRYPTION_ALGORITHM);
    let key_len = number(IkeAttribute::KEY_LENGTH);
    let known = Encryption::CBC.into_iter().find(|&encryption| {
        encryption_numbers(encryption).is_some_and(|(ours, bits)| Some(ours.0) == cipher && bits == key_len)
    });
    let cipher = match (known, cipher) {
        (Some(encryption), _) => encryption.to_string(),
        (None, Some(cipher)) => format!("{:?}", IkeEncryption(cipher)).to_lowercase(),
        (None, None) => "no cipher".to_owned(),
    };
    let hash = number(IkeAttribute::HASH_ALGORITHM).map_or_else(
        || "no hash".to_owned(),
        |value| match Hash::ALL.into_iter().find(|&hash| hash_number(hash).0 == value) {
            Some(hash) => hash.to_string(),
            None => format!("{:?}", IkeHash(value)).to_lowercase(),
        },
    );
    let group = number(IkeAttribute::GROUP_DESCRIPTION)
        .map_or_else(|| "no group".to_owned(), |value| format!("group{value}"));
    let method = number(IkeAttribute::AUTHENTICATION_METHOD).map(AuthMethod);
    let method = match method {
        Some(AuthMethod::PRE_SHARED_KEY) | None => String::new(),
        Some(other) => format!(" with {}", format!("{other:?}").to_lowercase()),
    };
    format!("{cipher}/{hash}/{group}{method}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(encryption: Encryption, hash: Hash, group: DhGroup) -> IkeProposal {
        IkeProposal {
            encryption,
            hash,
            group,
            additional: None,
        }
    }

    #[test]
    fn every_combination_reads_back_from_its_transform() {
        for encryption in Encryption::CBC {
            for hash in Hash::ALL {
                for group in DhGroup::ALL.into_iter().filter(|group| group.is_for_ikev1()) {
                    let proposal = proposal(encryption, hash, group);
                    let life = Lifetimes {
                        seconds: Some(3600),
                        kilobytes: Some(500),
                    };
                    let transform = to_transform(1, &proposal, life).unwrap();
                    assert_eq!(from_transform(&transform), Some((proposal, life)));
                }
            }
        }
    }

    #[test]
    fn p7_transforms_that_we_would_not_enforce_as_written_are_unusable() {
        let good = to_transform(
            1,
            &proposal(Encryption::Aes128Cbc, Hash::Sha1, DhGroup::Modp1024),
            Lifetimes {
                seconds: Some(3600),
                kilobytes: None,
            },
        )
        .unwrap();
        let with = |kind: IkeAttribute, value: u16| {
            let mut transform = good.clone();
            transform
                .attributes
                .retain(|attribute| attribute.kind() != kind.0);
            transform.attributes.push(Attribute::Tv(kind.0, value));
            transform
        };
        let without = |kind: IkeAttribute| {
            let mut transform = good.clone();
            transform
                .attributes
                .retain(|attribute| attribute.kind() != kind.0);
            transform
        };
        let mut twice = good.clone();
        twice
            .attributes
            .push(Attribute::Tv(IkeAttribute::HASH_ALGORITHM.0, 1));
        let rows = [
            ("another method", with(IkeAttribute::AUTHENTICATION_METHOD, 3)),
            ("xauth", with(IkeAttribute::AUTHENTICATION_METHOD, 65001)),
            ("no method", without(IkeAttribute::AUTHENTICATION_METHOD)),
            ("no group", without(IkeAttribute::GROUP_DESCRIPTION)),
            ("internal group", with(IkeAttribute::GROUP_DESCRIPTION, 1025)),
            ("no hash", without(IkeAttribute::HASH_ALGORITHM)),
            ("a prf of its own", with(IkeAttribute::PRF, 1)),
            ("aes without key length", without(IkeAttribute::KEY_LENGTH)),
            ("aes with an odd key length", with(IkeAttribute::KEY_LENGTH, 127)),
            (
                "3des with a key length",
                with(IkeAttribute::ENCRYPTION_ALGORITHM, 5),
            ),
            ("an own prime", with(IkeAttribute::GROUP_PRIME, 7)),
            ("an elliptic group type", with(IkeAttribute::GROUP_TYPE, 2)),
            ("the same attribute twice", twice),
        ];
        assert!(from_transform(&good).is_some());
        assert!(from_transform(&with(IkeAttribute::GROUP_TYPE, 1)).is_some());
        for (what, transform) in rows {
            assert_eq!(from_transform(&transform), None, "{what}");
        }
    }

    #[test]
    fn foreign_algorithms_are_named() {
        let mut transform = to_transform(
            1,
            &proposal(Encryption::TripleDes, Hash::Md5, DhGroup::Modp1024),
            Lifetimes::default(),
        )
        .unwrap();
        assert_eq!(describe(&transform), "3des/md5/group2");
        transform.attributes[0] = Attribute::Tv(IkeAttribute::ENCRYPTION_ALGORITHM.0, 3);
        assert_eq!(describe(&transform), "blowfish_cbc/md5/group2");
        transform.attributes[0] = Attribute::Tv(IkeAttribute::ENCRYPTION_ALGORITHM.0, 99);
        assert_eq!(describe(&transform), "encryption(99)/md5/group2");
        transform.attributes.clear();
        assert_eq!(describe(&transform), "no cipher/no hash/no group");
    }
}
