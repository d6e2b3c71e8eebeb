//! What Main Mode and Aggressive Mode have in common (RFC 2409 section 5): keys, identities, proofs, extensions.

pub(crate) mod diagnosis;
mod machine;

pub(crate) use diagnosis::{notify_name, suggested_by_peer};
pub(crate) use machine::{Advance, Phase1, Refused, clear};

use crate::config::ConnectionConfig;
use crate::crypto::{RandomSource, SharedSecret, ct_eq};
use crate::wire::v1::{IdPayload, Lifetimes, Message, NatNumbering, NotifyType, Payload};
use crate::wire::{Header, PayloadType, vendor};

use super::Refusal;
use super::informational::{announced_lifetimes, says_initial_contact};
use super::keys::{Iv, Phase1Inputs, Phase1Transcript, Skeyid};
use super::nat_traversal::{self, Nat};
use super::proposal::{IkeChoice, smaller_kilobytes, smaller_lifetime};
use super::sa::SaKeys;
use crate::ike_sa::Spis;
use crate::path::Path;

/// Octets of our nonces. RFC 2409 section 5 allows 8 to 256.
const NONCE_LEN: usize = 32;

/// What a step needs beside its own state.
pub(crate) struct StepCx<'a, R> {
    pub(crate) config: &'a ConnectionConfig,
    /// Where the message came from and went to; where messages go while there is none.
    pub(crate) path: Path,
    /// We know of no older SA with the peer and say so.
    pub(crate) initial_contact: bool,
    pub(crate) rng: &'a mut R,
}

/// The result of phase 1.
#[derive(Debug)]
pub(crate) struct Authenticated {
    pub(crate) keys: SaKeys,
    pub(crate) choice: IkeChoice,
    /// `None`: the peer does not do NAT traversal.
    pub(crate) nat: Option<Nat>,
    /// The peer answers R-U-THERE.
    pub(crate) dpd: bool,
    /// The peer says that it knows of no older SA with us.
    pub(crate) initial_contact: bool,
}

/// What both ends announced in their first messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extensions {
    pub(crate) nat_traversal: Option<NatNumbering>,
    pub(crate) dpd: bool,
    /// Both ends put IKE fragments together.
    pub(crate) fragmentation: bool,
}

impl Extensions {
    /// The vendor ids that announce ours.
    pub(super) fn announcements(config: &ConnectionConfig) -> impl Iterator<Item = Payload> {
        let fragmentation = config
            .fragmentation
            .then(|| vendor::FRAGMENTATION_PHASE_1.to_vec());
        nat_traversal::announcements()
            .chain([Payload::VendorId(vendor::DPD.to_vec())])
            .chain(fragmentation.map(Payload::VendorId))
    }

    /// As initiator: what the responder's vendor ids agree to.
    pub(super) fn accepted(config: &ConnectionConfig, answer: &Message<'_>) -> Self {
        Self {
            nat_traversal: nat_traversal::agree(answer).map(|(numbering, _)| numbering),
            dpd: announced(answer, &vendor::DPD[..14]).is_some(),
            fragmentation: config.fragmentation && announced(answer, &vendor::FRAGMENTATION).is_some(),
        }
    }

    /// As responder: what the initiator announces and we have too, with the vendor ids that say so.
    ///
    /// V1: none that the peer did not send itself, so that the answer does not grow.
    pub(super) fn answer(config: &ConnectionConfig, offer: &Message<'_>) -> (Self, Vec<Payload>) {
        let nat_traversal = nat_traversal::agree(offer);
        let dpd = announced(offer, &vendor::DPD[..14]).map(|_| vendor::DPD.to_vec());
        let fragmentation = announced(offer, &vendor::FRAGMENTATION)
            .filter(|_| config.fragmentation)
            .map(|theirs| {
                let ours = &vendor::FRAGMENTATION_PHASE_1;
                ours.get(..theirs.len()).unwrap_or(ours).to_vec()
            });
        let extensions = Self {
            nat_traversal: nat_traversal.map(|(numbering, _)| numbering),
            dpd: dpd.is_some(),
            fragmentation: fragmentation.is_some(),
        };
        let ids = nat_traversal.map(|(_, id)| id.to_vec());
        let payloads = ids.into_iter().chain(dpd).chain(fragmentation);
        (extensions, payloads.map(Payload::VendorId).collect())
    }
}

/// The vendor id that starts with `prefix`. What follows is a version.
fn announced<'m>(message: &'m Message<'_>, prefix: &[u8]) -> Option<&'m [u8]> {
    message
        .of_type(PayloadType::VENDOR_ID)
        .map(|parsed| parsed.raw)
        .find(|id| id.starts_with(prefix))
}

/// Who sends an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Initiator,
    Responder,
}

/// Key exchange and nonces of both ends.
pub(super) struct Exchanged {
    pub(super) public_i: Vec<u8>,
    pub(super) public_r: Vec<u8>,
    pub(super) nonce_i: Vec<u8>,
    pub(super) nonce_r: Vec<u8>,
    pub(super) shared: SharedSecret,
}

/// An identity as it came: what it says, and the octets that the hash covers.
#[derive(Clone, Debug)]
pub(super) struct Identified {
    pub(super) id: IdPayload,
    pub(super) octets: Vec<u8>,
}

impl Identified {
    pub(super) fn read(message: &Message<'_>) -> Result<Self, Refusal> {
        let Payload::Id(id) = only(message, PayloadType::ID, "no identity")? else {
            return Err(Refusal::Drop("no identity"));
        };
        let raw = message.of_type(PayloadType::ID).next();
        Ok(Self {
            id: id.clone(),
            octets: raw.map_or(&[][..], |parsed| parsed.raw).to_vec(),
        })
    }
}

/// What an authentic last message says besides.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    initial_contact: bool,
    lifetimes: Lifetimes,
}

impl Remarks {
    pub(super) fn read(message: &Message<'_>) -> Self {
        Self {
            initial_contact: says_initial_contact(message),
            lifetimes: announced_lifetimes(message),
        }
    }
}

/// What both ends have after their key exchange: keys that prove nothing yet.
#[derive(Debug)]
pub(super) struct Unproven {
    pub(super) keys: SaKeys,
    pub(super) choice: IkeChoice,
    pub(super) extensions: Extensions,
    pub(super) nat: Option<Nat>,
    sa_i: Vec<u8>,
    public_i: Vec<u8>,
    public_r: Vec<u8>,
}

impl Unproven {
    pub(super) fn derive(
        config: &ConnectionConfig,
        spis: Spis,
        choice: IkeChoice,
        (extensions, nat): (Extensions, Option<Nat>),
        sa_i: Vec<u8>,
        exchanged: Exchanged,
    ) -> Result<Self, Refusal> {
        let skeyid = Skeyid::from_pre_shared_key(&Phase1Inputs {
            hash: choice.proposal.hash,
            pre_shared_key: config.psk.expose(),
            initiator_spi: spis.initiator,
            responder_spi: spis.responder,
            nonce_i: &exchanged.nonce_i,
            nonce_r: &exchanged.nonce_r,
            shared: &exchanged.shared,
        });
        let transcript = Phase1Transcript {
            public_i: &exchanged.public_i,
            public_r: &exchanged.public_r,
            initiator_spi: spis.initiator,
            responder_spi: spis.responder,
            sa_i: &sa_i,
        };
        let cipher = skeyid
            .cipher(choice.proposal.encryption, &transcript)
            .map_err(|_misuse| Refusal::Drop("local misuse of a cipher"))?;
        let Exchanged {
            public_i, public_r, ..
        } = exchanged;
        Ok(Self {
            keys: SaKeys { spis, skeyid, cipher },
            choice,
            extensions,
            nat,
            sa_i,
            public_i,
            public_r,
        })
    }

    /// HASH_I or HASH_R over an identity.
    pub(super) fn proof(&self, prover: Role, id_octets: &[u8]) -> Vec<u8> {
        let transcript = Phase1Transcript {
            public_i: &self.public_i,
            public_r: &self.public_r,
            initiator_spi: self.keys.spis.initiator,
            responder_spi: self.keys.spis.responder,
            sa_i: &self.sa_i,
        };
        match prover {
            Role::Initiator => self.keys.skeyid.hash_i(&transcript, id_octets),
            Role::Responder => self.keys.skeyid.hash_r(&transcript, id_octets),
        }
    }

    /// Judges the peer's proof: the hash must be what only the holder of the key can compute, and then the identity the one that the
    /// tunnel expects. `wrong_key` says what a wrong hash means.
    pub(super) fn judge_proof(
        &self,
        prover: Role,
        theirs: &Identified,
        hash: &[u8],
        config: &ConnectionConfig,
        wrong_key: impl FnOnce() -> Refusal,
    ) -> Result<(), Refusal> {
        if !ct_eq(&self.proof(prover, &theirs.octets), hash) {
            return Err(wrong_key());
        }
        if !config.peer_id.matches(&theirs.id) {
            let notify = NotifyType::INVALID_ID_INFORMATION;
            return Err(Refusal::End(
                diagnosis::identity_mismatch(config, &theirs.id),
                Some(notify),
            ));
        }
        Ok(())
    }

    /// The chain of IVs has moved on past a message that was authentic though refused: what we say next continues there.
    pub(super) fn into_keys_after(mut self, header: &Header, body: &[u8]) -> SaKeys {
        if let Ok(opened) = self.keys.open(header, body, Some(self.keys.cipher.phase_1_iv())) {
            self.keys.cipher.commit(opened.next_iv);
        }
        self.keys
    }

    pub(super) fn commit(&mut self, next_iv: Iv) {
        self.keys.cipher.commit(next_iv);
    }

    pub(super) fn into_authenticated(self, remarks: &Remarks) -> Authenticated {
        let Self {
            keys,
            mut choice,
            extensions,
            nat,
            ..
        } = self;
        choice.lifetime = smaller_lifetime(choice.lifetime, remarks.lifetimes);
        choice.kilobytes = smaller_kilobytes(choice.kilobytes, remarks.lifetimes);
        Authenticated {
            keys,
            choice,
            nat,
            dpd: extensions.dpd,
            initial_contact: remarks.initial_contact,
        }
    }
}

/// The one payload of `kind` that a message must have.
pub(super) fn only<'m>(
    message: &'m Message<'_>,
    kind: PayloadType,
    missing: &'static str,
) -> Result<&'m Payload, Refusal> {
    let mut found = message.of_type(kind);
    match (found.next(), found.next()) {
        (Some(parsed), None) => Ok(&parsed.payload),
        (Some(_), Some(_)) | (None, _) => Err(Refusal::Drop(missing)),
    }
}

/// The octets of the SA payload, which both hashes cover.
pub(super) fn sa_octets(message: &Message<'_>) -> Vec<u8> {
    let raw = message.of_type(PayloadType::SA).next();
    raw.map_or(&[][..], |parsed| parsed.raw).to_vec()
}

/// KE and nonce.
pub(super) fn key_exchange(message: &Message<'_>) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
    let Payload::Ke(public) = only(message, PayloadType::KE, "no key exchange payload")? else {
        return Err(Refusal::Drop("no key exchange payload"));
    };
    let Payload::Nonce(nonce) = only(message, PayloadType::NONCE, "no nonce payload")? else {
        return Err(Refusal::Drop("no nonce payload"));
    };
    Ok((public.clone(), nonce.clone()))
}

/// The hash of a message that has one.
pub(super) fn hash_of<'m>(message: &'m Message<'_>) -> Result<&'m [u8], Refusal> {
    let Payload::Hash(hash) = only(message, PayloadType::HASH, "no hash")? else {
        return Err(Refusal::Drop("no hash"));
    };
    Ok(hash)
}

/// A nonce of ours.
pub(super) fn nonce(rng: &mut impl RandomSource) -> Vec<u8> {
    let mut nonce = vec![0; NONCE_LEN];
    rng.fill(&mut nonce);
    nonce
}
