//! Main Mode, the Identity Protection exchange (RFC 2409 section 5.4), authenticated with a pre-shared key.
//!
//! ```text
//!  Initiator                                   Responder
//!  1  HDR, SA, VID...               -->
//!                                   <--  2  HDR, SA, VID...
//!  3  HDR, KE, Ni, NAT-D, NAT-D     -->
//!                                   <--  4  HDR, KE, Nr, NAT-D, NAT-D
//!  5  HDR*, IDii, HASH_I            -->
//!                                   <--  6  HDR*, IDir, HASH_R
//! ```
//!
//! Messages 5 and 6 are encrypted. When a NAT was found the initiator sends message 5 from and to port 4500.

pub(crate) mod initiator;
pub(crate) mod responder;

use crate::crypto::RandomSource;
use crate::wire::v1::{IdPayload, Message, MessageBuilder, NotifyType, Payload};
use crate::wire::{ExchangeType, Header};

use super::Refusal;
use super::jobs;
use super::keys::{Iv, SealError};
use super::nat_traversal::{self, Nat};
use super::phase1::diagnosis::{MAIN, Named, unreadable};
use super::phase1::{Extensions, Identified, Remarks, Role, StepCx, Unproven, hash_of, key_exchange};
use super::proposal::IkeChoice;
use super::sa::SaKeys;
use crate::ike_sa::Spis;

/// Starts a message.
fn message(spis: Spis) -> MessageBuilder {
    spis.message(ExchangeType::IDENTITY_PROTECTION, 0)
}

/// What messages 1 and 2 settle.
#[derive(Debug)]
struct Agreed {
    spis: Spis,
    sa_i: Vec<u8>,
    choice: IkeChoice,
    extensions: Extensions,
}

/// The peer's half of messages 3 and 4.
#[derive(Debug)]
pub(crate) struct Half {
    public: Vec<u8>,
    nonce: Vec<u8>,
    nat: Option<Nat>,
}

impl Agreed {
    /// Reads message 3 or 4.
    fn read_half<R>(&self, message: &Message<'_>, cx: &StepCx<'_, R>) -> Result<Half, Refusal> {
        let (public, nonce) = key_exchange(message)?;
        jobs::check_public(self.choice.proposal.group, &public)?;
        let nat = self.extensions.nat_traversal.map(|numbering| {
            let fake = cx.config.force_udp_encapsulation;
            let hash = self.choice.proposal.hash;
            nat_traversal::detect(numbering, message, hash, self.spis, cx.path, fake)
        });
        Ok(Half { public, nonce, nat })
    }

    /// Message 3 or 4: `HDR, KE, Ni, NAT-D, NAT-D -->`
    fn write_half<R: RandomSource>(
        &self,
        public: Vec<u8>,
        nonce: Vec<u8>,
        cx: &mut StepCx<'_, R>,
    ) -> Result<Vec<u8>, SealError> {
        let mut payloads = vec![Payload::Ke(public), Payload::Nonce(nonce)];
        if let Some(numbering) = self.extensions.nat_traversal {
            let fake = cx.config.force_udp_encapsulation;
            let hash = self.choice.proposal.hash;
            payloads.extend(nat_traversal::payloads(
                numbering, hash, self.spis, cx.path, fake, cx.rng,
            ));
        }
        Ok(message(self.spis).payloads(&payloads)?.clear()?)
    }
}

/// Keys that message 5 or 6 has to prove.
#[derive(Debug)]
pub(crate) struct AwaitAuth {
    unproven: Unproven,
    /// Whose proof is awaited.
    prover: Role,
}

/// Message 5 or 6, found authentic.
#[derive(Debug)]
pub(crate) struct Auth {
    next_iv: Iv,
    remarks: Remarks,
}

impl AwaitAuth {
    pub(crate) const fn keys(&self) -> &SaKeys {
        &self.unproven.keys
    }

    /// Whether a NAT was found, so that message 5 and all that follows takes port 4500.
    pub(crate) fn floats(&self) -> bool {
        self.unproven.nat.is_some_and(Nat::found)
    }

    /// `HDR*, IDii, HASH_I -->` or `<-- HDR*, IDir, HASH_R`
    pub(crate) fn judge<R>(&self, header: &Header, body: &[u8], cx: &StepCx<'_, R>) -> Result<Auth, Refusal> {
        let keys = &self.unproven.keys;
        let (number, notify) = match self.prover {
            Role::Initiator => (5, Some(NotifyType::PAYLOAD_MALFORMED)),
            Role::Responder => (6, None),
        };
        let wrong_key = || Refusal::Report(unreadable(Named(MAIN, number)), notify);
        let opened = keys.open(header, body, Some(keys.cipher.phase_1_iv()))?;
        let message = opened.message().map_err(|_malformed| wrong_key())?;
        let identified = Identified::read(&message).map_err(|_missing| wrong_key())?;
        let hash = hash_of(&message).map_err(|_missing| wrong_key())?;
        self.unproven
            .judge_proof(self.prover, &identified, hash, cx.config, wrong_key)?;
        Ok(Auth {
            remarks: Remarks::read(&message),
            next_iv: opened.next_iv.clone(),
        })
    }

    /// The keys, to tell a peer whose message was authentic why it is refused all the same.
    pub(crate) fn into_keys_after(self, header: &Header, body: &[u8]) -> SaKeys {
        self.unproven.into_keys_after(header, body)
    }
}

/// Message 5 or 6: our identity and the proof.
fn seal_identity(
    unproven: &mut Unproven,
    prover: Role,
    id: IdPayload,
    initial_contact: bool,
) -> Result<Vec<u8>, SealError> {
    let hash = unproven.proof(prover, &id.to_bytes());
    let keys = &mut unproven.keys;
    let mut payloads = vec![Payload::Id(id), Payload::Hash(hash)];
    if initial_contact {
        payloads.push(keys.notify(NotifyType::INITIAL_CONTACT, Vec::new()));
    }
    keys.seal_phase_1(message(keys.spis).payloads(&payloads)?)
}
