//! What the exchanges that set up an IKE SA have in common: IKE_SA_INIT, IKE_INTERMEDIATE, IKE_AUTH.

use crate::config::{ConnectionConfig, IkeProposal};
use crate::crypto::{RandomSource, SharedSecret};
use crate::ike_sa::Spis;
use crate::path::{NatSides, Path};
use crate::wire::v2::{Message, NotifyPayload, NotifyType, Payload};
use crate::wire::{ExchangeType, Flags, Header};

use super::Role;
use super::auth::{IntAuth, SignedOctets};
use super::channel::Channel;
use super::keys::{Contributions, IkeKeys};
use super::nat_detection;
use super::refusal::Refusal;
use super::sk::{Opened, SkAlgorithms, SkError};

/// Octets of our nonces: at least half of the largest PRF key (RFC 7296 section 2.10).
const NONCE_LEN: usize = 32;

/// What a step needs beside its own state.
pub(crate) struct StepCx<'a, R> {
    pub(crate) config: &'a ConnectionConfig,
    /// Where the message came from and went to; where messages go while there is none.
    pub(crate) path: Path,
    pub(crate) rng: &'a mut R,
}

/// What both ends announced in IKE_SA_INIT.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extensions {
    /// `None`: the peer does not traverse NATs.
    pub(crate) nat: Option<NatSides>,
    /// RFC 7383.
    pub(crate) fragmentation: bool,
    /// RFC 9242.
    pub(crate) intermediate: bool,
}

impl Extensions {
    /// Our announcements. As responder (`theirs` is the request) only what the peer announced too.
    pub(crate) fn payloads<R: RandomSource>(
        spis: Spis,
        theirs: Option<Self>,
        additional: bool,
        cx: &mut StepCx<'_, R>,
    ) -> Vec<Payload> {
        let mut payloads = Vec::new();
        if theirs.is_none_or(|theirs| theirs.nat.is_some()) {
            let (spi_i, spi_r) = (spis.initiator, spis.responder);
            let mut local = cx.path.local;
            if cx.config.force_udp_encapsulation {
                // An address that is not ours makes the peer see a NAT.
                let mut octets = [0; 4];
                cx.rng.fill(&mut octets);
                local.set_ip(octets.into());
            }
            payloads.extend(nat_detection::payloads(
                spi_i,
                spi_r,
                local.into(),
                cx.path.peer.into(),
            ));
        }
        if cx.config.fragmentation && theirs.is_none_or(|theirs| theirs.fragmentation) {
            payloads.push(Payload::notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED));
        }
        if additional && theirs.is_none_or(|theirs| theirs.intermediate) {
            payloads.push(Payload::notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED));
        }
        payloads
    }

    /// The peer's announcements.
    pub(crate) fn read(message: &Message<'_>, spis: Spis, path: Path, config: &ConnectionConfig) -> Self {
        let (spi_i, spi_r) = (spis.initiator, spis.responder);
        let nat = nat_detection::detect(message, spi_i, spi_r, path.local.into(), path.peer.into());
        Self {
            nat: nat.map(|nat| NatSides {
                local: nat.local || config.force_udp_encapsulation,
                peer: nat.peer,
            }),
            fragmentation: config.fragmentation
                && message
                    .notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED)
                    .is_some(),
            intermediate: message
                .notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED)
                .is_some(),
        }
    }
}

/// IKE_SA_INIT is over: both ends have keys that prove nothing yet.
#[derive(Debug)]
pub(crate) struct Keyed {
    pub(crate) channel: Channel,
    pub(crate) proposal: IkeProposal,
    pub(crate) extensions: Extensions,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    /// The two messages of IKE_SA_INIT, which AUTH covers.
    messages: [Vec<u8>; 2],
    int_auth: IntAuth,
    /// Message ID of the next request.
    pub(crate) next_id: u32,
}

/// What both ends said in IKE_SA_INIT.
pub(crate) struct Said {
    pub(crate) spis: Spis,
    pub(crate) proposal: IkeProposal,
    pub(crate) extensions: Extensions,
    pub(crate) nonce_i: Vec<u8>,
    pub(crate) nonce_r: Vec<u8>,
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
}

impl Keyed {
    pub(crate) fn derive(role: Role, said: Said, shared: &SharedSecret) -> Result<Self, Refusal> {
        let algorithms = SkAlgorithms::new(said.proposal.encryption, said.proposal.hash);
        let contributions = contributions(&said.nonce_i, &said.nonce_r, said.spis);
        let keys = IkeKeys::initial(algorithms, &contributions, shared);
        Ok(Self {
            channel: Channel::new(said.spis, role, keys, said.extensions.fragmentation)?,
            proposal: said.proposal,
            extensions: said.extensions,
            nonce_i: said.nonce_i,
            nonce_r: said.nonce_r,
            messages: [said.request, said.response],
            int_auth: IntAuth::default(),
            next_id: 1,
        })
    }

    /// Keys after an additional key exchange (RFC 9370 section 2.2.2).
    pub(crate) fn with_additional(self, shared: &SharedSecret) -> Result<Self, SkError> {
        let contributions = contributions(&self.nonce_i, &self.nonce_r, self.channel.spis);
        let keys = self.channel.keys.with_additional(&contributions, shared);
        Ok(Self {
            channel: self.channel.with_keys(keys)?,
            ..self
        })
    }

    /// Notes a message of IKE_INTERMEDIATE, so that AUTH covers it.
    pub(crate) fn note_intermediate(&mut self, sender: Role, header: &Header, content: &Opened) {
        let keys = &self.channel.keys;
        self.int_auth
            .add(self.proposal.hash, keys.sk_p(sender), sender, header, content);
    }

    /// Puts a message of IKE_INTERMEDIATE together, noted for AUTH.
    pub(crate) fn intermediate(
        &mut self,
        message_id: u32,
        payloads: &[Payload],
        rng: &mut impl RandomSource,
    ) -> Result<Vec<Vec<u8>>, Refusal> {
        let role = self.channel.role;
        let start = || {
            let response = role == Role::Responder;
            self.channel
                .start(ExchangeType::IKE_INTERMEDIATE, message_id, response)
                .payloads(payloads)
        };
        let (header, chain) = start()?.into_parts();
        let content = Opened {
            first: header.next_payload,
            chain,
        };
        let message = start()?;
        self.note_intermediate(role, &header, &content);
        self.channel.seal(message, rng)
    }

    /// What the AUTH payload of `prover` covers. `id` is the body of its identification payload.
    pub(crate) fn signed<'a>(
        &'a self,
        prover: Role,
        config: &'a ConnectionConfig,
        id: &'a [u8],
        int_auth: &'a [u8],
    ) -> SignedOctets<'a> {
        let [request, response] = &self.messages;
        let (message, nonce) = match prover {
            Role::Initiator => (request, &self.nonce_r),
            Role::Responder => (response, &self.nonce_i),
        };
        SignedOctets {
            prf: self.proposal.hash,
            pre_shared_key: config.psk.expose(),
            sk_p: self.channel.keys.sk_p(prover),
            message,
            nonce,
            id,
            int_auth,
        }
    }

    /// What IKE_INTERMEDIATE adds to what AUTH covers.
    pub(crate) fn int_auth(&self, ike_auth_id: u32) -> Vec<u8> {
        self.int_auth.octets(ike_auth_id)
    }

    /// The nonces, from which the keys of the first Child SA are made.
    pub(crate) fn nonces(&self) -> (&[u8], &[u8]) {
        (&self.nonce_i, &self.nonce_r)
    }

    /// Whether IKE_AUTH and all that follows takes port 4500.
    pub(crate) fn floats(&self) -> bool {
        self.extensions.nat.is_some_and(NatSides::found)
    }
}

pub(crate) const fn contributions<'a>(nonce_i: &'a [u8], nonce_r: &'a [u8], spis: Spis) -> Contributions<'a> {
    Contributions {
        nonce_i,
        nonce_r,
        spi_i: spis.initiator,
        spi_r: spis.responder,
    }
}

/// A nonce of ours.
pub(crate) fn nonce(rng: &mut impl RandomSource) -> Vec<u8> {
    let mut nonce = vec![0; NONCE_LEN];
    rng.fill(&mut nonce);
    nonce
}

/// The message of one notification in the clear: the answer to an IKE_SA_INIT that is refused.
pub(crate) fn refuse_in_the_clear(request: &Header, notify: NotifyPayload) -> Option<Vec<u8>> {
    crate::wire::v2::MessageBuilder::new(
        request.initiator_spi,
        request.responder_spi,
        request.exchange_type,
        request.message_id,
        Flags::RESPONSE,
    )
    .payload(&Payload::Notify(notify))
    .and_then(crate::wire::v2::MessageBuilder::clear)
    .ok()
}
