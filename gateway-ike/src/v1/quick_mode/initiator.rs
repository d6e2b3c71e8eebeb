//! Our side of Quick Mode as initiator.

use gateway_common::Spi;
use ipnet::IpNet;

use crate::crypto::{DhPrivate, RandomSource};
use crate::wire::v1::{IdPayload, NotifyType, Payload};
use crate::wire::{ExchangeType, Header};

use super::super::Refusal;
use super::super::keys::{Iv, SealError};
use super::super::proposal::{EspChoice, EspTerms, chosen_esp, offer_esp};
use super::super::sa::{SaKeys, check_hash};
use super::{
    Contents, KeySource, NewChild, Want, describe_client, end, end_malformed, new_child, nonce,
    required_public, selector_mismatch, shorten,
};

/// Message 1 sent: `HDR*, HASH(1), SA, Ni [, KE ], IDci, IDcr -->`.
#[derive(Debug)]
pub(crate) struct AwaitAnswer {
    pub(crate) want: Want,
    message_id: u32,
    /// Our inbound SPI.
    pub(crate) spi: Spi,
    nonce_i: Vec<u8>,
    private: Option<DhPrivate>,
    iv: Iv,
}

/// An acceptable message 2.
pub(crate) struct Answer {
    choice: EspChoice,
    nonce_r: Vec<u8>,
    public_r: Option<Vec<u8>>,
    iv: Iv,
}

impl AwaitAnswer {
    /// `HDR*, HASH(1), SA, Ni [, KE ], IDci, IDcr -->`
    pub(crate) fn start(
        keys: &SaKeys,
        terms: EspTerms<'_>,
        want: Want,
        message_id: u32,
        spi: Spi,
        rng: &mut impl RandomSource,
    ) -> Result<(Self, Vec<u8>), SealError> {
        let nonce_i = nonce(rng);
        let (private, public) = terms
            .config
            .pfs
            .map(|group| DhPrivate::generate(group, rng))
            .unzip();
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
        Ok((
            Self {
                want,
                message_id,
                spi,
                nonce_i,
                private,
                iv,
            },
            datagram,
        ))
    }

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
            .hash_2(self.message_id, &self.nonce_i, message.after_first());
        check_hash(&expected, &message)?;
        // From here on the peer has proven itself.
        let contents = Contents::read(&message)?;
        let mut choice = chosen_esp(terms, contents.sa).map_err(end)?;
        shorten(&mut choice, contents.responder_lifetime);
        if let Some((initiator, responder)) = contents.ids
            && (super::client_range(initiator) != Some(self.want.selectors.local)
                || super::client_range(responder) != Some(self.want.selectors.peer))
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
        Ok(Answer {
            choice,
            nonce_r: contents.nonce.to_vec(),
            public_r,
            iv: opened.next_iv.clone(),
        })
    }

    /// `HDR*, HASH(3) -->`
    pub(crate) fn on_answer(self, answer: Answer, keys: &SaKeys) -> Result<(NewChild, Vec<u8>), Refusal> {
        let Self {
            want,
            message_id,
            spi,
            nonce_i,
            private,
            ..
        } = self;
        let Answer {
            choice,
            nonce_r,
            public_r,
            iv,
        } = answer;
        let shared = match (private, public_r) {
            (Some(private), Some(public)) => Some(private.agree(&public).map_err(|error| {
                end_malformed(&format!("a quick mode key exchange that is invalid: {error}"))
            })?),
            (Some(_), None) | (None, _) => None,
        };
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
        let negotiated = new_child(&keys.skeyid, want, choice, spi, source);
        Ok((negotiated, datagram))
    }
}
