//! Our side of Aggressive Mode as responder.

use crate::crypto::{KeyExchangeDone, KeyExchangeJob, RandomSource};
use crate::diagnosis::{Code, Diagnosis};
use crate::wire::v1::{Message, NotifyType, Payload, Protection};
use crate::wire::{Flags, Header, IkeSpi, PayloadType, vendor};

use super::super::Refusal;
use super::super::jobs;
use super::super::keys::Iv;
use super::super::nat_traversal;
use super::super::phase1::diagnosis::{AGGRESSIVE, Named, wrong_hash};
use super::super::phase1::{
    Authenticated, Exchanged, Extensions, Identified, Remarks, Role, StepCx, Unproven, hash_of, key_exchange,
    nonce, only, sa_octets,
};
use super::super::proposal::{IkeChoice, select_ike};
use super::super::sa::SaKeys;
use super::message;
use crate::ike_sa::Spis;

/// V1: how much larger than message 1 our answer may be, in percent. Message 1 may come from anybody in anybody's name.
const MAX_GROWTH_PERCENT: usize = 150;

/// Message 1 accepted, our public value and the shared secret are being computed.
#[derive(Debug)]
pub(crate) struct Responding {
    spis: Spis,
    sa_i: Vec<u8>,
    answer: Payload,
    choice: IkeChoice,
    extensions: Extensions,
    vendor_ids: Vec<Payload>,
    public_i: Vec<u8>,
    nonce_i: Vec<u8>,
    identified: Identified,
    max_len: usize,
}

/// Message 2 sent: `<-- HDR, SA, KE, Nr, IDir, HASH_R`.
#[derive(Debug)]
pub(crate) struct AwaitProof {
    unproven: Unproven,
    /// Who the peer says it is.
    identified: Identified,
}

/// Message 3, found authentic.
#[derive(Debug)]
pub(crate) struct Proof {
    nat: Option<nat_traversal::Nat>,
    next_iv: Option<Iv>,
    remarks: Remarks,
}

/// Judges message 1: `HDR, SA, KE, Ni, IDii -->`. `spi` is ours.
///
/// V3: the identity is judged with message 3. Until then the answer is the same for all of them.
pub(crate) fn answer<R: RandomSource>(
    header: &Header,
    received: &Message<'_>,
    spi: IkeSpi,
    cx: &mut StepCx<'_, R>,
) -> Result<(Responding, KeyExchangeJob), Refusal> {
    let Payload::Sa(sa) = only(received, PayloadType::SA, "no sa payload")? else {
        return Err(Refusal::Drop("no sa payload"));
    };
    let (public_i, nonce_i) = key_exchange(received)?;
    let identified = Identified::read(received)?;
    let (choice, answer) = select_ike(cx.config, sa, Some(public_i.len()))
        .map_err(|diagnosis| Refusal::Report(diagnosis, Some(NotifyType::NO_PROPOSAL_CHOSEN)))?;
    let (extensions, vendor_ids) = Extensions::answer(cx.config, received);
    let job = KeyExchangeJob::respond(choice.proposal.group, &public_i, cx.rng);
    let responding = Responding {
        spis: Spis {
            initiator: header.initiator_spi,
            responder: spi,
        },
        sa_i: sa_octets(received),
        answer: Payload::Sa(answer),
        choice,
        extensions,
        vendor_ids,
        public_i,
        nonce_i,
        identified,
        max_len: usize::try_from(header.length).unwrap_or(usize::MAX) * MAX_GROWTH_PERCENT / 100,
    };
    Ok((responding, job))
}

impl Responding {
    pub(crate) const fn extensions(&self) -> Extensions {
        self.extensions
    }

    /// `<-- HDR, SA, KE, Nr, IDir, HASH_R, NAT-D, NAT-D`
    pub(crate) fn on_responded<R: RandomSource>(
        self,
        done: KeyExchangeDone,
        cx: &mut StepCx<'_, R>,
    ) -> Result<(AwaitProof, Vec<u8>), Refusal> {
        let (public_r, shared) = jobs::responded(done)?;
        let nonce_r = nonce(cx.rng);
        let exchanged = Exchanged {
            public_i: self.public_i,
            public_r: public_r.clone(),
            nonce_i: self.nonce_i,
            nonce_r: nonce_r.clone(),
            shared,
        };
        let hash = self.choice.proposal.hash;
        let extensions = (self.extensions, None);
        let unproven = Unproven::derive(
            cx.config,
            self.spis,
            self.choice,
            extensions,
            self.sa_i,
            exchanged,
        )?;
        let id = cx.config.local_id.to_payload();
        let hash_r = unproven.proof(Role::Responder, &id.to_bytes());
        let mut payloads = vec![
            self.answer,
            Payload::Ke(public_r),
            Payload::Nonce(nonce_r),
            Payload::Id(id),
            Payload::Hash(hash_r),
        ];
        payloads.extend(self.vendor_ids);
        if let Some(numbering) = self.extensions.nat_traversal {
            let fake = cx.config.force_udp_encapsulation;
            payloads.extend(nat_traversal::payloads(
                numbering, hash, self.spis, cx.path, fake, cx.rng,
            ));
        }
        let spis = self.spis;
        let write = |payloads: &[Payload]| message(spis).payloads(payloads)?.clear();
        let mut datagram = write(&payloads)?;
        if datagram.len() > self.max_len {
            // The peer then sends whole messages, as it would to anybody.
            payloads.retain(|payload| !announces_fragmentation(payload));
            datagram = write(&payloads)?;
        }
        if datagram.len() > self.max_len {
            return Err(Refusal::Report(too_large(datagram.len(), self.max_len), None));
        }
        let step = AwaitProof {
            unproven,
            identified: self.identified,
        };
        Ok((step, datagram))
    }
}

fn announces_fragmentation(payload: &Payload) -> bool {
    matches!(payload, Payload::VendorId(id) if id.starts_with(&vendor::FRAGMENTATION))
}

/// Message 1 leaves no room for our answer.
fn too_large(len: usize, max_len: usize) -> Diagnosis {
    Diagnosis::new(
        Code::ExchangeRefused,
        format!("our aggressive mode message 2 would have {len} octets"),
        format!("peer's message 1 allows an answer of {max_len} octets, half as large again as itself"),
        "set both sides to ike.mode = \"main\", or to a shorter ike.local_id or another ike.authentication",
    )
}

impl AwaitProof {
    pub(crate) const fn keys(&self) -> &SaKeys {
        &self.unproven.keys
    }

    /// `HDR*, HASH_I, NAT-D, NAT-D -->`
    ///
    /// RFC 2409 sends it in the clear, RFC 3947 and everybody encrypted. HASH_I proves the same either way; what stands beside it
    /// counts only when it was encrypted.
    pub(crate) fn judge<R>(
        &self,
        header: &Header,
        body: &[u8],
        cx: &StepCx<'_, R>,
    ) -> Result<Proof, Refusal> {
        let keys = &self.unproven.keys;
        let wrong_key = || {
            let notify = NotifyType::AUTHENTICATION_FAILED;
            Refusal::Report(wrong_hash(Named(AGGRESSIVE, 3)), Some(notify))
        };
        if !header.flags.contains(Flags::ENCRYPTION) {
            let message = Message::parse(header.next_payload, body, Protection::Clear)?;
            self.judge_hash(&message, cx, wrong_key)?;
            return Ok(Proof {
                nat: self.detect(&message, cx),
                next_iv: None,
                remarks: Remarks::default(),
            });
        }
        let opened = keys.open(header, body, Some(keys.cipher.phase_1_iv()))?;
        let message = opened.message().map_err(|_malformed| wrong_key())?;
        self.judge_hash(&message, cx, wrong_key)?;
        Ok(Proof {
            nat: self.detect(&message, cx),
            next_iv: Some(opened.next_iv.clone()),
            remarks: Remarks::read(&message),
        })
    }

    fn judge_hash<R>(
        &self,
        message: &Message<'_>,
        cx: &StepCx<'_, R>,
        wrong_key: impl Fn() -> Refusal,
    ) -> Result<(), Refusal> {
        let hash = hash_of(message).map_err(|_missing| wrong_key())?;
        self.unproven
            .judge_proof(Role::Initiator, &self.identified, hash, cx.config, wrong_key)
    }

    fn detect<R>(&self, message: &Message<'_>, cx: &StepCx<'_, R>) -> Option<nat_traversal::Nat> {
        let numbering = self.unproven.extensions.nat_traversal?;
        let fake = cx.config.force_udp_encapsulation;
        let (hash, spis) = (self.unproven.choice.proposal.hash, self.unproven.keys.spis);
        Some(nat_traversal::detect(
            numbering, message, hash, spis, cx.path, fake,
        ))
    }

    pub(crate) fn on_proof(mut self, proof: Proof) -> Authenticated {
        if let Some(next_iv) = proof.next_iv {
            self.unproven.commit(next_iv);
        }
        self.unproven.nat = proof.nat;
        self.unproven.into_authenticated(&proof.remarks)
    }

    /// The keys, to tell a peer whose message 3 was authentic why it is refused all the same.
    pub(crate) fn into_keys_after(self, header: &Header, body: &[u8]) -> SaKeys {
        self.unproven.into_keys_after(header, body)
    }
}
