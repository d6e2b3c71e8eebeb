//! Our side of Quick Mode as responder.

use std::net::Ipv4Addr;

use gateway_common::Spi;
use ipnet::Ipv4Net;

use crate::config::SelectorPair;
use crate::crypto::{DhPrivate, RandomSource};
use crate::wire::v1::{NotifyType, Payload};
use crate::wire::{ExchangeType, Header};

use super::super::Refusal;
use super::super::keys::Iv;
use super::super::proposal::{EspChoice, EspTerms, select_esp};
use super::super::sa::{SaKeys, check_hash};
use super::{
    Contents, KeySource, NewChild, Want, client_range, describe_client, end, end_malformed, find_pair,
    new_child, nonce, required_public, selector_mismatch,
};

/// An acceptable message 1.
pub(crate) struct Request {
    pub(crate) want: Want,
    spi: Spi,
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
    /// `<-- HDR*, HASH(2), SA, Nr [, KE ], IDci, IDcr`
    pub(crate) fn answer(
        self,
        keys: &SaKeys,
        message_id: u32,
        terms: EspTerms<'_>,
        rng: &mut impl RandomSource,
    ) -> Result<(AwaitConfirmation, NewChild, Vec<u8>), Refusal> {
        let Self {
            want,
            spi,
            choice,
            mut payloads,
            nonce_i,
            public_i,
            iv,
        } = self;
        let nonce_r = nonce(rng);
        let mut middle = vec![Payload::Nonce(nonce_r.clone())];
        let shared = match (terms.config.pfs, public_i) {
            (Some(group), Some(public_i)) => {
                let (private, public_r) = DhPrivate::generate(group, rng);
                middle.push(Payload::Ke(public_r));
                Some(private.agree(&public_i).map_err(|error| {
                    end_malformed(&format!("a quick mode key exchange that is invalid: {error}"))
                })?)
            }
            (Some(_), None) | (None, _) => None,
        };
        payloads.splice(1..1, middle);
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
        let negotiated = new_child(&keys.skeyid, want, choice, spi, source);
        Ok((
            AwaitConfirmation {
                message_id,
                nonce_i,
                nonce_r,
                iv,
            },
            negotiated,
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
