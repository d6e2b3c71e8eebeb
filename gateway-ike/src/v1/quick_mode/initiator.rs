//! Our side of Quick Mode as initiator.

use gateway_common::Spi;
use ipnet::IpNet;

use crate::crypto::{DhPrivate, KeyExchangeDone, KeyExchangeJob, RandomSource, SharedSecret};
use crate::wire::v1::{IdPayload, NotifyType, Payload};
use crate::wire::{ExchangeType, Flags, Header};

use super::super::Refusal;
use super::super::jobs;
use super::super::keys::Iv;
use super::super::proposal::{EspChoice, EspTerms, chosen_esp, offer_esp};
use super::super::sa::{SaKeys, check_hash};
use super::{
    Contents, KeySource, NewChild, Want, describe_client, end, new_child, nonce, required_public,
    selector_mismatch, shorten,
};

/// What we are about to ask for, while the public value of the additional key exchange is being computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    pub(crate) want: Want,
    pub(crate) message_id: u32,
    /// Our inbound SPI.
    pub(crate) spi: Spi,
}

/// Message 1 sent: `HDR*, HASH(1), SA, Ni [, KE ], IDci, IDcr -->`.
#[derive(Debug)]
pub(crate) struct AwaitAnswer {
    pub(crate) asking: Asking,
    nonce_i: Vec<u8>,
    private: Option<DhPrivate>,
    iv: Iv,
}

/// An acceptable message 2.
#[derive(Debug)]
pub(crate) struct Answer {
    choice: EspChoice,
    nonce_r: Vec<u8>,
    public_r: Option<Vec<u8>>,
    iv: Iv,
    commit: bool,
}

/// Message 2 accepted, the shared secret of the additional key exchange is being computed.
#[derive(Debug)]
pub(crate) struct Agreeing {
    pub(crate) asking: Asking,
    nonce_i: Vec<u8>,
    answer: Answer,
}

/// The end of a Quick Mode of ours.
#[derive(Debug)]
pub(crate) struct Concluded {
    pub(crate) new_child: NewChild,
    /// Message 3.
    pub(crate) datagram: Vec<u8>,
    /// The peer has set the commit bit: it says CONNECTED when its half is installed (RFC 2408 section 3.1).
    pub(crate) commit: bool,
}

/// Where message 2 leads.
#[derive(Debug)]
pub(crate) enum Next {
    /// The secret is to be computed first.
    Compute(Box<Agreeing>, KeyExchangeJob),
    /// There is no additional key exchange.
    Concluded(Box<Concluded>),
}

impl Asking {
    /// The key exchange that has to be computed first, with PFS.
    pub(crate) fn job(terms: EspTerms<'_>, rng: &mut impl RandomSource) -> Option<KeyExchangeJob> {
        terms.config.pfs.map(|group| KeyExchangeJob::generate(group, rng))
    }

    /// `HDR*, HASH(1), SA, Ni [, KE ], IDci, IDcr -->`
    pub(crate) fn start(
        self,
        keys: &SaKeys,
        terms: EspTerms<'_>,
        done: Option<KeyExchangeDone>,
        rng: &mut impl RandomSource,
    ) -> Result<(AwaitAnswer, Vec<u8>), Refusal> {
        let Self {
            want,
            message_id,
            spi,
        } = self;
        let nonce_i = nonce(rng);
        let (private, public) = done.map(jobs::generated).transpose()?.unzip();
        let mut payloads = vec![
            Payload::Sa(offer_esp(terms, spi)),
            Payload::Nonce(nonce_i.clone()),
        ];
        payloads.extend(public.map(Payload::Ke));
        payloads.push(Payload::Id(IdPayload::from_subnet(IpNet::V4(
            want.selectors.local,
        ))));
        payloads.push(Payload::Id(IdPayload::from_subnet(IpNet::V4(
            want.selectors.peer,
        ))));
        let message = keys
            .spis
            .message(ExchangeType::QUICK_MODE, message_id)
            .payloads(&payloads)?
            .hashed(|after| keys.skeyid.hash_1(message_id, after))?;
        let (datagram, iv) = keys.cipher.seal(&keys.cipher.phase_2_iv(message_id)?, message)?;
        let step = AwaitAnswer {
            asking: self,
            nonce_i,
            private,
            iv,
        };
        Ok((step, datagram))
    }
}

impl AwaitAnswer {
    /// `<-- HDR*, HASH(2), SA, Nr [, KE ], IDci, IDcr`
    pub(crate) fn judge(
        &self,
        keys: &SaKeys,
        terms: EspTerms<'_>,
        header: &Header,
        body: &[u8],
    ) -> Result<Answer, Refusal> {
        let opened = keys.open(header, body, Some(&self.iv))?;
        let message = opened.message()?;
        let expected = keys
            .skeyid
            .hash_2(self.asking.message_id, &self.nonce_i, message.after_first());
        check_hash(&expected, &message)?;
        // From here on the peer has proven itself.
        let contents = Contents::read(&message)?;
        let mut choice = chosen_esp(terms, contents.sa).map_err(end)?;
        shorten(&mut choice, contents.responder_lifetime);
        if let Some((initiator, responder)) = contents.ids
            && (super::client_range(initiator) != Some(self.asking.want.selectors.local)
                || super::client_range(responder) != Some(self.asking.want.selectors.peer))
        {
            let theirs = format!(
                "peer answers with {} to {}",
                describe_client(initiator),
                describe_client(responder)
            );
            let notify = NotifyType::INVALID_ID_INFORMATION;
            return Err(Refusal::End(
                selector_mismatch(terms.config, theirs),
                Some(notify),
            ));
        }
        let public_r = required_public(self.private.is_some(), contents.public)?.map(<[u8]>::to_vec);
        if let (Some(private), Some(public)) = (&self.private, &public_r) {
            jobs::check_response(private.group(), public).map_err(Refusal::proven)?;
        }
        Ok(Answer {
            choice,
            nonce_r: contents.nonce.to_vec(),
            public_r,
            iv: opened.next_iv.clone(),
            commit: header.flags.contains(Flags::COMMIT),
        })
    }

    /// Message 2 was acceptable.
    pub(crate) fn on_answer(self, mut answer: Answer, keys: &SaKeys) -> Result<Next, Refusal> {
        let job = match (self.private, answer.public_r.take()) {
            (Some(private), Some(public)) => Some(KeyExchangeJob::agree(private, &public)),
            (Some(_), None) | (None, _) => None,
        };
        let agreeing = Agreeing {
            asking: self.asking,
            nonce_i: self.nonce_i,
            answer,
        };
        Ok(match job {
            Some(job) => Next::Compute(Box::new(agreeing), job),
            None => Next::Concluded(Box::new(agreeing.conclude(keys, None)?)),
        })
    }
}

impl Agreeing {
    /// The shared secret is there.
    pub(crate) fn on_agreed(self, done: KeyExchangeDone, keys: &SaKeys) -> Result<Concluded, Refusal> {
        let shared = jobs::agreed(done)?;
        self.conclude(keys, Some(shared))
    }

    /// `HDR*, HASH(3) -->`
    fn conclude(self, keys: &SaKeys, shared: Option<SharedSecret>) -> Result<Concluded, Refusal> {
        let Self {
            asking:
                Asking {
                    want,
                    message_id,
                    spi,
                },
            nonce_i,
            answer:
                Answer {
                    choice,
                    nonce_r,
                    iv,
                    commit,
                    ..
                },
        } = self;
        let source = KeySource {
            shared: shared.as_ref(),
            nonce_i: &nonce_i,
            nonce_r: &nonce_r,
        };
        let hash = keys.skeyid.hash_3(message_id, &nonce_i, &nonce_r);
        let message = keys
            .spis
            .message(ExchangeType::QUICK_MODE, message_id)
            .payload(&Payload::Hash(hash))?;
        let (datagram, _) = keys.cipher.seal(&iv, message)?;
        let new_child = new_child(&keys.skeyid, want, choice, spi, source);
        Ok(Concluded {
            new_child,
            datagram,
            commit,
        })
    }
}
