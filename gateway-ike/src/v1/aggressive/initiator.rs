//! Our side of Aggressive Mode as initiator.

use crate::crypto::{DhPrivate, KeyExchangeDone, KeyExchangeJob, RandomSource};
use crate::wire::v1::{Message, NotifyType, Payload};
use crate::wire::{Header, IkeSpi, PayloadType};

use super::super::Refusal;
use super::super::jobs;
use super::super::keys::SealError;
use super::super::nat_traversal::{self, Nat};
use super::super::phase1::diagnosis::{AGGRESSIVE, Named, wrong_hash};
use super::super::phase1::{
    Authenticated, Exchanged, Extensions, Identified, Remarks, Role, StepCx, Unproven, hash_of, key_exchange,
    nonce, only,
};
use super::super::proposal::{IkeChoice, aggressive_group, chosen_ike, offer_ike};
use super::super::sa::SaKeys;
use super::message;
use crate::ike_sa::Spis;

/// Our public value is being computed.
#[derive(Debug)]
pub(crate) struct Generating {
    spi: IkeSpi,
}

/// Message 1 sent: `HDR, SA, KE, Ni, IDii -->`.
#[derive(Debug)]
pub(crate) struct AwaitAnswer {
    spi: IkeSpi,
    sa_i: Vec<u8>,
    private: DhPrivate,
    public_i: Vec<u8>,
    nonce_i: Vec<u8>,
}

/// An acceptable message 2, its proof not judged yet.
#[derive(Debug)]
pub(crate) struct Answer {
    spis: Spis,
    choice: IkeChoice,
    extensions: Extensions,
    nat: Option<Nat>,
    public_r: Vec<u8>,
    nonce_r: Vec<u8>,
    identified: Identified,
    hash_r: Vec<u8>,
}

/// Message 2 read, the shared secret is being computed.
#[derive(Debug)]
pub(crate) struct Agreeing {
    sa_i: Vec<u8>,
    public_i: Vec<u8>,
    nonce_i: Vec<u8>,
    answer: Answer,
}

/// What the shared secret shows about message 2.
pub(crate) enum Outcome {
    /// The peer is who it shall be: message 3 goes out, on the floated path when a NAT was found.
    Up(Box<Authenticated>, Vec<u8>),
    /// It has the key and is refused all the same: this is how it can be told.
    Refused(Refusal, Box<SaKeys>),
}

impl Generating {
    /// Message 1 needs a public value, and so a group before anything was negotiated: the one of our best proposal.
    pub(crate) fn start<R: RandomSource>(
        spi: IkeSpi,
        cx: &mut StepCx<'_, R>,
    ) -> Result<(Self, KeyExchangeJob), Refusal> {
        let group = aggressive_group(cx.config).ok_or(Refusal::Drop("no ike proposal"))?;
        Ok((Self { spi }, KeyExchangeJob::generate(group, cx.rng)))
    }

    /// `HDR, SA, KE, Ni, IDii -->`
    pub(crate) fn on_generated<R: RandomSource>(
        self,
        done: KeyExchangeDone,
        cx: &mut StepCx<'_, R>,
    ) -> Result<(AwaitAnswer, Vec<u8>), Refusal> {
        let (private, public_i) = jobs::generated(done)?;
        let sa = Payload::Sa(offer_ike(cx.config, aggressive_group(cx.config)));
        let sa_i = sa.to_bytes()?;
        let nonce_i = nonce(cx.rng);
        let mut payloads = vec![
            sa,
            Payload::Ke(public_i.clone()),
            Payload::Nonce(nonce_i.clone()),
            Payload::Id(cx.config.local_id.to_payload()),
        ];
        payloads.extend(Extensions::announcements(cx.config));
        let spis = Spis {
            initiator: self.spi,
            responder: IkeSpi::ZERO,
        };
        let datagram = message(spis).payloads(&payloads)?.clear()?;
        let step = AwaitAnswer {
            spi: self.spi,
            sa_i,
            private,
            public_i,
            nonce_i,
        };
        Ok((step, datagram))
    }
}

impl AwaitAnswer {
    /// `<-- HDR, SA, KE, Nr, IDir, HASH_R, NAT-D, NAT-D`
    pub(crate) fn judge<R>(
        &self,
        header: &Header,
        message: &Message<'_>,
        cx: &StepCx<'_, R>,
    ) -> Result<Answer, Refusal> {
        let Payload::Sa(sa) = only(message, PayloadType::SA, "no sa payload")? else {
            return Err(Refusal::Drop("no sa payload"));
        };
        let (public_r, nonce_r) = key_exchange(message)?;
        let identified = Identified::read(message)?;
        let hash_r = hash_of(message)?.to_vec();
        if header.responder_spi.is_zero()
            || header.responder_spi == self.spi
            || public_r == self.public_i
            || nonce_r == self.nonce_i
        {
            return Err(Refusal::Drop("our own message, reflected"));
        }
        let choice = chosen_ike(cx.config, sa).map_err(|diagnosis| Refusal::Report(diagnosis, None))?;
        if Some(choice.proposal.group) != aggressive_group(cx.config) {
            return Err(Refusal::Drop("another group than that of our public value"));
        }
        jobs::check_response(choice.proposal.group, &public_r)?;
        let spis = Spis {
            initiator: self.spi,
            responder: header.responder_spi,
        };
        let extensions = Extensions::accepted(cx.config, message);
        let nat = extensions.nat_traversal.map(|numbering| {
            let fake = cx.config.force_udp_encapsulation;
            nat_traversal::detect(numbering, message, choice.proposal.hash, spis, cx.path, fake)
        });
        Ok(Answer {
            spis,
            choice,
            extensions,
            nat,
            public_r,
            nonce_r,
            identified,
            hash_r,
        })
    }

    pub(crate) fn on_answer(self, answer: Answer) -> (Agreeing, KeyExchangeJob) {
        let job = KeyExchangeJob::agree(self.private, &answer.public_r);
        let agreeing = Agreeing {
            sa_i: self.sa_i,
            public_i: self.public_i,
            nonce_i: self.nonce_i,
            answer,
        };
        (agreeing, job)
    }
}

impl Agreeing {
    pub(crate) const fn spis(&self) -> Spis {
        self.answer.spis
    }

    pub(crate) const fn extensions(&self) -> Extensions {
        self.answer.extensions
    }

    /// Judges message 2 and answers it: `HDR*, HASH_I, NAT-D, NAT-D -->`
    pub(crate) fn on_agreed<R: RandomSource>(
        self,
        done: KeyExchangeDone,
        cx: &mut StepCx<'_, R>,
    ) -> Result<Outcome, Refusal> {
        let shared = jobs::agreed(done)?;
        let Answer {
            spis,
            choice,
            extensions,
            nat,
            public_r,
            nonce_r,
            identified,
            hash_r,
        } = self.answer;
        let exchanged = Exchanged {
            public_i: self.public_i,
            public_r,
            nonce_i: self.nonce_i,
            nonce_r,
            shared,
        };
        let mut unproven =
            Unproven::derive(cx.config, spis, choice, (extensions, nat), self.sa_i, exchanged)?;
        // Our private value is spent, so that a wrong answer ends the attempt; the next one begins afresh.
        let wrong_key = || {
            let notify = NotifyType::AUTHENTICATION_FAILED;
            Refusal::End(wrong_hash(Named(AGGRESSIVE, 2)), Some(notify))
        };
        if let Err(refusal) =
            unproven.judge_proof(Role::Responder, &identified, &hash_r, cx.config, wrong_key)
        {
            return Ok(Outcome::Refused(refusal, Box::new(unproven.keys)));
        }
        let datagram = seal_proof(&mut unproven, cx)?;
        let authenticated = unproven.into_authenticated(&Remarks::default());
        Ok(Outcome::Up(Box::new(authenticated), datagram))
    }
}

fn seal_proof<R: RandomSource>(
    unproven: &mut Unproven,
    cx: &mut StepCx<'_, R>,
) -> Result<Vec<u8>, SealError> {
    let hash_i = unproven.proof(Role::Initiator, &cx.config.local_id.to_payload().to_bytes());
    let mut payloads = vec![Payload::Hash(hash_i)];
    if let Some(nat) = unproven.nat {
        let path = if nat.found() { cx.path.floated() } else { cx.path };
        let fake = cx.config.force_udp_encapsulation;
        let (hash, spis) = (unproven.choice.proposal.hash, unproven.keys.spis);
        payloads.extend(nat_traversal::payloads(
            nat.numbering,
            hash,
            spis,
            path,
            fake,
            cx.rng,
        ));
    }
    let keys = &mut unproven.keys;
    if cx.initial_contact {
        payloads.push(keys.notify(NotifyType::INITIAL_CONTACT, Vec::new()));
    }
    keys.seal_phase_1(message(keys.spis).payloads(&payloads)?)
}
