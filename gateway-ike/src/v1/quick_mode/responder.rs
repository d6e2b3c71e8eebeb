//! Our side of Quick Mode as responder.

use std::net::Ipv4Addr;

use gateway_common::Spi;
use ipnet::Ipv4Net;

use crate::config::SelectorPair;
use crate::crypto::{KeyExchangeDone, KeyExchangeJob, RandomSource};
use crate::wire::v1::{Doi, LifeAttributes, NotifyPayload, NotifyType, Payload};
use crate::wire::{ExchangeType, Header, ProtocolId};

use super::super::Refusal;
use super::super::jobs;
use super::super::keys::Iv;
use super::super::proposal::{EspChoice, EspTerms, select_esp};
use super::super::sa::{SaKeys, check_hash};
use super::{
    Contents, KeySource, NewChild, Want, client_range, describe_client, end, find_pair, new_child, nonce,
    required_public, selector_mismatch,
};

/// An acceptable message 1, also while the additional key exchange is being computed.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) want: Want,
    /// Our inbound SPI.
    pub(crate) spi: Spi,
    choice: EspChoice,
    payloads: Vec<Payload>,
    nonce_i: Vec<u8>,
    public_i: Option<Vec<u8>>,
    iv: Iv,
}

/// Message 2 sent: `<-- HDR*, HASH(2), SA, Nr [, KE ], IDci, IDcr`.
#[derive(Debug)]
pub(crate) struct AwaitConfirmation {
    message_id: u32,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    iv: Iv,
}

/// `HDR*, HASH(1), SA, Ni [, KE ], IDci, IDcr -->`
///
/// `spi` will be our inbound SPI. A refusal with [`Refusal::End`] concerns this exchange only, the peer has proven itself.
pub(crate) fn judge(
    keys: &SaKeys,
    terms: EspTerms<'_>,
    header: &Header,
    body: &[u8],
    spi: Spi,
) -> Result<Request, Refusal> {
    let opened = keys.open(header, body, None)?;
    let message = opened.message()?;
    keys.check_hash_1(header.message_id, &message)?;
    let contents = Contents::read(&message)?;

    let refuse_selectors = |diagnosis| Refusal::End(diagnosis, Some(NotifyType::INVALID_ID_INFORMATION));
    let (asked, shown) = match contents.ids {
        Some((initiator, responder)) => (
            client_range(responder)
                .zip(client_range(initiator))
                .map(|(local, peer)| SelectorPair { local, peer }),
            format!(
                "peer asks for {} to {}",
                describe_client(responder),
                describe_client(initiator)
            ),
        ),
        // RFC 2409 section 5.5: without identities the SA is for the two ends themselves.
        None => {
            let host = |address: Ipv4Addr| Ipv4Net::from(address);
            let (local, peer) = (host(terms.config.local), host(terms.config.peer));
            (
                Some(SelectorPair { local, peer }),
                format!("peer asks for {local} to {peer}"),
            )
        }
    };
    let found = asked.and_then(|selectors| find_pair(terms.config, selectors).map(|pair| (pair, selectors)));
    let Some((pair, selectors)) = found else {
        return Err(refuse_selectors(selector_mismatch(terms.config, shown)));
    };
    let want = Want {
        pair,
        selectors,
        replaces: None,
    };

    let (choice, answer) = select_esp(terms, contents.sa, spi).map_err(end)?;
    let public_i = required_public(terms.config.pfs.is_some(), contents.public)?.map(<[u8]>::to_vec);
    if let (Some(group), Some(public)) = (terms.config.pfs, &public_i) {
        jobs::check_public(group, public).map_err(Refusal::proven)?;
    }
    let mut payloads = vec![Payload::Sa(answer)];
    payloads.extend(
        contents.ids.into_iter().flat_map(|(initiator, responder)| {
            [Payload::Id(initiator.clone()), Payload::Id(responder.clone())]
        }),
    );
    Ok(Request {
        want,
        spi,
        choice,
        payloads,
        nonce_i: contents.nonce.to_vec(),
        public_i,
        iv: opened.next_iv.clone(),
    })
}

impl Request {
    /// The peer's inbound SPI.
    pub(crate) const fn peer_spi(&self) -> Spi {
        self.choice.spi
    }

    /// The key exchange that has to be computed first, with PFS.
    pub(crate) fn job(&mut self, terms: EspTerms<'_>, rng: &mut impl RandomSource) -> Option<KeyExchangeJob> {
        let public_i = self.public_i.take()?;
        let group = terms.config.pfs?;
        Some(KeyExchangeJob::respond(group, &public_i, rng))
    }

    /// `<-- HDR*, HASH(2), SA, Nr [, KE ], IDci, IDcr`
    pub(crate) fn answer(
        self,
        keys: &SaKeys,
        message_id: u32,
        done: Option<KeyExchangeDone>,
        rng: &mut impl RandomSource,
    ) -> Result<(AwaitConfirmation, NewChild, Vec<u8>), Refusal> {
        let Self {
            want,
            spi,
            choice,
            mut payloads,
            nonce_i,
            public_i: _,
            iv,
        } = self;
        let nonce_r = nonce(rng);
        let (public_r, shared) = done.map(jobs::responded).transpose()?.unzip();
        let middle = [Payload::Nonce(nonce_r.clone())].into_iter();
        payloads.splice(1..1, middle.chain(public_r.map(Payload::Ke)));
        // RFC 2407 section 4.6.3.1: what the initiator offered is longer than what will be.
        payloads.extend(choice.announce.map(|lifetimes| {
            Payload::Notify(NotifyPayload {
                doi: Doi::IPSEC,
                protocol: ProtocolId::ESP,
                spi: spi.to_be_bytes().to_vec(),
                notify_type: NotifyType::RESPONDER_LIFETIME,
                data: lifetimes.to_notify_data(LifeAttributes::IPSEC),
            })
        }));
        let message = keys
            .spis
            .message(ExchangeType::QUICK_MODE, message_id)
            .payloads(&payloads)?
            .hashed(|after| keys.skeyid.hash_2(message_id, &nonce_i, after))?;
        let (datagram, iv) = keys.cipher.seal(&iv, message)?;
        let source = KeySource {
            shared: shared.as_ref(),
            nonce_i: &nonce_i,
            nonce_r: &nonce_r,
        };
        let new_child = new_child(&keys.skeyid, want, choice, spi, source);
        Ok((
            AwaitConfirmation {
                message_id,
                nonce_i,
                nonce_r,
                iv,
            },
            new_child,
            datagram,
        ))
    }
}

impl AwaitConfirmation {
    /// `HDR*, HASH(3) -->`
    pub(crate) fn judge(&self, keys: &SaKeys, header: &Header, body: &[u8]) -> Result<(), Refusal> {
        let opened = keys.open(header, body, Some(&self.iv))?;
        let message = opened.message()?;
        let expected = keys.skeyid.hash_3(self.message_id, &self.nonce_i, &self.nonce_r);
        check_hash(&expected, &message)
    }
}
