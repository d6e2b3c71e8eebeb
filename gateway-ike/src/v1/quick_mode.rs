//! Quick Mode: one Child SA under the protection of an ISAKMP SA (RFC 2409 section 5.5).
//!
//! ```text
//!  Initiator                                             Responder
//!  1  HDR*, HASH(1), SA, Ni [, KE ], IDci, IDcr  -->
//!                          <--  2  HDR*, HASH(2), SA, Nr [, KE ], IDci, IDcr
//!  3  HDR*, HASH(3)                              -->
//! ```
//!
//! With PFS each KE is computed as a job, before message 1, 2 and 3.
//!
//! The responder installs its inbound SA before message 2 leaves and seals after message 3. The initiator installs and seals
//! before message 3 leaves: the peer's inbound SA is there by then.

pub(crate) mod initiator;
pub(crate) mod responder;

use gateway_common::Spi;
use ipnet::{IpNet, Ipv4Net};

use crate::child::NewChild;
use crate::config::{ConnectionConfig, PairIndex, SelectorPair};
use crate::crypto::{RandomSource, SharedSecret};
use crate::diagnosis::{Code, Diagnosis};
use crate::event::{EspSa, Served};
use crate::wire::ProtocolId;
use crate::wire::v1::{IdPayload, LifeAttributes, Lifetimes, Message, NotifyType, Payload};

use super::Refusal;
use super::keys::{Phase2Inputs, Skeyid};
use super::proposal::EspChoice;
pub(crate) use crate::tunnel::Want;

/// Octets of our nonces.
const NONCE_LEN: usize = 32;

/// Nonces and the additional key exchange.
#[derive(Clone, Copy)]
struct KeySource<'a> {
    shared: Option<&'a SharedSecret>,
    nonce_i: &'a [u8],
    nonce_r: &'a [u8],
}

/// The Child SA that was agreed on. `spi` is our inbound SPI.
fn new_child(skeyid: &Skeyid, want: Want, choice: EspChoice, spi: Spi, source: KeySource<'_>) -> NewChild {
    let inbound = esp_sa(skeyid, &choice, spi, source);
    let outbound = esp_sa(skeyid, &choice, choice.spi, source);
    NewChild {
        serves: vec![Served {
            pair: want.pair,
            selectors: want.selectors,
        }],
        replaces: want.replaces,
        proposal: choice.proposal,
        esn: false,
        lifetime: choice.lifetime,
        kilobytes: choice.kilobytes,
        inbound,
        outbound,
    }
}

/// Keys of one direction. `spi` is the receiver's.
fn esp_sa(skeyid: &Skeyid, choice: &EspChoice, spi: Spi, source: KeySource<'_>) -> EspSa {
    let (encryption, integrity) = choice.proposal.key_lengths();
    let inputs = Phase2Inputs {
        shared: source.shared,
        protocol: ProtocolId::ESP,
        spi: spi.to_be_bytes(),
        nonce_i: source.nonce_i,
        nonce_r: source.nonce_r,
    };
    let (encryption_key, integrity_key) = skeyid.keymat(&inputs, encryption + integrity).split(encryption);
    EspSa {
        spi,
        encryption_key,
        integrity_key,
    }
}

/// What messages 1 and 2 have in common.
struct Contents<'m> {
    sa: &'m crate::wire::v1::SaPayload,
    nonce: &'m [u8],
    public: Option<&'m [u8]>,
    ids: Option<(&'m IdPayload, &'m IdPayload)>,
    responder_lifetime: Lifetimes,
}

impl<'m> Contents<'m> {
    /// Takes a message apart whose hash was verified. V8: both client identities or none.
    fn read(message: &'m Message<'_>) -> Result<Self, Refusal> {
        let malformed = |what| end_malformed(&format!("a quick mode message with {what}"));
        let (mut sa, mut nonce, mut public) = (None, None, None);
        let mut ids = Vec::new();
        let mut responder_lifetime = Lifetimes::default();
        for parsed in &message.payloads {
            match &parsed.payload {
                Payload::Sa(payload) if sa.replace(payload).is_some() => {
                    return Err(malformed("two sa payloads"));
                }
                Payload::Nonce(octets) if nonce.replace(octets.as_slice()).is_some() => {
                    return Err(malformed("two nonces"));
                }
                Payload::Ke(octets) if public.replace(octets.as_slice()).is_some() => {
                    return Err(malformed("two key exchanges"));
                }
                Payload::Id(id) => ids.push(id),
                Payload::Notify(notify) if notify.notify_type == NotifyType::RESPONDER_LIFETIME => {
                    if let Ok(lifetime) = Lifetimes::from_notify_data(&notify.data, LifeAttributes::IPSEC) {
                        responder_lifetime = lifetime;
                    }
                }
                Payload::Sa(_)
                | Payload::Nonce(_)
                | Payload::Ke(_)
                | Payload::Notify(_)
                | Payload::Hash(_)
                | Payload::Delete(_)
                | Payload::VendorId(_)
                | Payload::NatD { .. }
                | Payload::NatOa(_)
                | Payload::Unknown { .. } => {}
            }
        }
        let ids = match ids.as_slice() {
            [] => None,
            [initiator, responder] => Some((*initiator, *responder)),
            _ => return Err(malformed("another number of client identities than two")),
        };
        let sa = sa.ok_or_else(|| malformed("no sa payload"))?;
        let nonce = nonce.ok_or_else(|| malformed("no nonce"))?;
        Ok(Self {
            sa,
            nonce,
            public,
            ids,
            responder_lifetime,
        })
    }
}

/// The range of a client identity; `None` when it is none that a rule could have (one port, one protocol, a range that is no
/// prefix, IPv6, a name).
fn client_range(id: &IdPayload) -> Option<Ipv4Net> {
    if id.protocol != 0 || id.port != 0 {
        return None;
    }
    match id.subnet() {
        Some(IpNet::V4(net)) => Some(net.trunc()),
        Some(IpNet::V6(_)) | None => None,
    }
}

/// A client identity in words.
fn describe_client(id: &IdPayload) -> String {
    let range = match (id.subnet(), id.range()) {
        (Some(net), _) => net.to_string(),
        (None, Some((first, last))) => format!("{first}-{last}"),
        (None, None) => id
            .name()
            .map_or_else(|| format!("{:?}", id.id_type), str::to_owned),
    };
    match (id.protocol, id.port) {
        (0, 0) => range,
        (protocol, port) => format!("{range} (protocol {protocol}, port {port})"),
    }
}

/// The pair of the tunnel that has these ranges, or has them inside. An exact one is preferred.
fn find_pair(config: &ConnectionConfig, asked: SelectorPair) -> Option<PairIndex> {
    let pairs = || (0..=u16::MAX).zip(&config.selectors);
    let exact = pairs().find(|(_, pair)| **pair == asked);
    let inside =
        || pairs().find(|(_, pair)| pair.local.contains(&asked.local) && pair.peer.contains(&asked.peer));
    exact.or_else(inside).map(|(index, _)| PairIndex(index))
}

fn selector_mismatch(config: &ConnectionConfig, peer: String) -> Diagnosis {
    const SHOWN: usize = 4;
    let pairs: Vec<_> = config
        .selectors
        .iter()
        .take(SHOWN)
        .map(|pair| format!("{} to {}", pair.local, pair.peer))
        .collect();
    let more = config.selectors.len().saturating_sub(SHOWN);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Diagnosis::new(
        Code::SelectorMismatch,
        format!("tunnel has {}{more}", pairs.join(", ")),
        peer,
        "make the rules (tunnel.spd) the mirror image of the peer's",
    )
}

/// What a notification of the peer says about our Quick Mode.
pub(crate) fn refused_by_peer(
    terms: super::proposal::EspTerms<'_>,
    want: Want,
    notify: NotifyType,
) -> Diagnosis {
    let name = super::phase1::notify_name(notify);
    match notify {
        NotifyType::NO_PROPOSAL_CHOSEN => terms.refused_by_peer(),
        NotifyType::INVALID_ID_INFORMATION => selector_mismatch(
            terms.config,
            format!("peer refuses {} to {}", want.selectors.local, want.selectors.peer),
        ),
        _ => Diagnosis::new(
            Code::PeerRefused,
            format!(
                "tunnel asks for {} to {}",
                want.selectors.local, want.selectors.peer
            ),
            format!("peer answers quick mode with {name}"),
            "read the peer's log: it knows why it refuses",
        ),
    }
}

fn nonce(rng: &mut impl RandomSource) -> Vec<u8> {
    let mut nonce = vec![0; NONCE_LEN];
    rng.fill(&mut nonce);
    nonce
}

/// Applies a RESPONDER-LIFETIME: it can only shorten.
fn shorten(choice: &mut EspChoice, announced: Lifetimes) {
    choice.lifetime = super::proposal::smaller_lifetime(choice.lifetime, announced);
    choice.kilobytes = super::proposal::smaller_kilobytes(choice.kilobytes, announced);
}

/// The public value that the terms require, or none.
fn required_public(pfs: bool, public: Option<&[u8]>) -> Result<Option<&[u8]>, Refusal> {
    match (pfs, public) {
        (true, Some(public)) => Ok(Some(public)),
        (false, None) => Ok(None),
        (true, None) => Err(end_malformed(
            "a quick mode message without the key exchange that it chose",
        )),
        (false, Some(_)) => Err(end_malformed("a quick mode key exchange without a group")),
    }
}

/// What the peer offers or chooses does not fit.
const fn end(diagnosis: Diagnosis) -> Refusal {
    Refusal::End(diagnosis, Some(NotifyType::NO_PROPOSAL_CHOSEN))
}

/// What the peer, authenticated, sends contradicts the protocol.
fn end_malformed(what: &str) -> Refusal {
    Refusal::End(super::malformed(what), Some(NotifyType::PAYLOAD_MALFORMED))
}

#[cfg(test)]
mod tests;
