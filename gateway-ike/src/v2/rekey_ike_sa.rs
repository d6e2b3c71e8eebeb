//! CREATE_CHILD_SA that replaces the IKE SA itself (RFC 7296 section 1.3.2).
//!
//! ```text
//! HDR, SK {SA, Ni, KEi}  -->
//!                        <--  HDR, SK {SA, Nr, KEr}
//! ```

use crate::config::{ConnectionConfig, IkeProposal};
use crate::crypto::{DhGroup, DhPrivate, KeyExchangeDone, KeyExchangeJob, RandomSource};
use crate::diagnosis::{Code, Diagnosis};
use crate::ike_sa::Spis;
use crate::wire::IkeSpi;
use crate::wire::v2::{Message, NotifyPayload, NotifyType, Payload, SaPayload};

use super::Role;
use super::channel::Channel;
use super::child_sa::NoChild;
use super::create_child_sa::{Nonces, agreed, ke};
use super::ike_sa_init::{invalid_ke, wanted_group};
use super::proposal;
use super::refusal::malformed;
use super::setup::{contributions, nonce};
use super::sk::SkAlgorithms;

/// Octets of an IKE SPI in a proposal.
const SPI_LEN: usize = 8;

/// As initiator: the public value is being computed.
#[derive(Debug)]
pub(crate) struct Generating {
    /// Ours of the new IKE SA.
    pub(crate) spi: IkeSpi,
    /// Groups that were tried, the current one at the end.
    tried: Vec<DhGroup>,
}

/// As initiator: the request is on its way.
#[derive(Debug)]
pub(crate) struct AwaitAnswer {
    pub(crate) spi: IkeSpi,
    tried: Vec<DhGroup>,
    nonce_i: Vec<u8>,
    private: DhPrivate,
}

/// As initiator: the shared secret is being computed.
#[derive(Debug)]
pub(crate) struct Agreeing {
    spis: Spis,
    proposal: IkeProposal,
    nonces: Nonces,
}

/// The IKE SA that takes over.
#[derive(Debug)]
pub(crate) struct Successor {
    pub(crate) channel: Channel,
    pub(crate) proposal: IkeProposal,
    pub(crate) nonces: Nonces,
}

impl Generating {
    /// Offers `group` first: the one of the IKE SA that is replaced.
    pub(crate) fn start(spi: IkeSpi, group: DhGroup, rng: &mut impl RandomSource) -> (Self, KeyExchangeJob) {
        let tried = vec![group];
        (Self { spi, tried }, KeyExchangeJob::generate(group, rng))
    }

    /// `SA, Ni, KEi`
    pub(crate) fn on_generated(
        self,
        done: KeyExchangeDone,
        config: &ConnectionConfig,
        rng: &mut impl RandomSource,
    ) -> Option<(AwaitAnswer, Vec<Payload>)> {
        let (private, public) = done.into_generated()?;
        let nonce_i = nonce(rng);
        let payloads = vec![
            Payload::Sa(proposal::offer_ike(&allowed(config), &self.spi.0)),
            Payload::Nonce(nonce_i.clone()),
            ke(private.group(), public),
        ];
        let step = AwaitAnswer {
            spi: self.spi,
            tried: self.tried,
            nonce_i,
            private,
        };
        Some((step, payloads))
    }
}

impl AwaitAnswer {
    /// The group that an authentic INVALID_KE_PAYLOAD asks for, if the tunnel has it and it was not tried. S13.
    pub(crate) fn other_group(&self, config: &ConnectionConfig, message: &Message<'_>) -> Option<DhGroup> {
        let group = wanted_group(message.notify(NotifyType::INVALID_KE_PAYLOAD)?)?;
        let configured = config.ike_proposals.iter().any(|ours| ours.group == group);
        (configured && !self.tried.contains(&group)).then_some(group)
    }

    /// Once more with another group.
    pub(crate) fn on_group(
        self,
        group: DhGroup,
        rng: &mut impl RandomSource,
    ) -> (Generating, KeyExchangeJob) {
        let mut tried = self.tried;
        tried.push(group);
        let step = Generating { spi: self.spi, tried };
        (step, KeyExchangeJob::generate(group, rng))
    }

    /// Judges an authentic answer.
    pub(crate) fn on_answer(
        self,
        config: &ConnectionConfig,
        message: &Message<'_>,
    ) -> Result<(Agreeing, KeyExchangeJob), Diagnosis> {
        if let Some(error) = message.error() {
            return Err(Diagnosis::new(
                Code::PeerRefused,
                "the ike sa is due for a rekey",
                format!("peer refuses to rekey it with {}", error.notify_type),
                "read the peer's log: it knows why it refuses",
            ));
        }
        let missing = |what: &str| malformed(&format!("an answer without {what}"));
        let sa = message.sa().ok_or_else(|| missing("sa payload"))?;
        let nonce_r = message.nonce().ok_or_else(|| missing("nonce"))?;
        let choice = proposal::chosen_ike(&allowed(config), sa, SPI_LEN)?;
        let group = self.private.group();
        let ke = message
            .ke()
            .filter(|ke| ke.group == group.number() && group.check_response(&ke.data).is_ok())
            .filter(|_| choice.proposal.group == group)
            .ok_or_else(|| missing("the key exchange that was agreed on"))?;
        if *nonce_r == self.nonce_i {
            return Err(malformed("our own nonce"));
        }
        let responder = peer_spi(&choice.peer_spi).ok_or_else(|| missing("spi"))?;
        let job = KeyExchangeJob::agree(self.private, &ke.data);
        let step = Agreeing {
            spis: Spis {
                initiator: self.spi,
                responder,
            },
            proposal: choice.proposal,
            nonces: Nonces {
                i: self.nonce_i,
                r: nonce_r.to_vec(),
            },
        };
        Ok((step, job))
    }
}

impl Agreeing {
    pub(crate) fn on_agreed(self, done: KeyExchangeDone, old: &Channel) -> Result<Successor, Diagnosis> {
        let shared = agreed(done)?;
        successor(
            old,
            Role::Initiator,
            self.spis,
            self.proposal,
            self.nonces,
            &shared,
        )
    }
}

/// As responder: an acceptable request.
#[derive(Debug)]
pub(crate) struct Request {
    spis: Spis,
    proposal: IkeProposal,
    answer: SaPayload,
    nonces: Nonces,
    public_i: Vec<u8>,
}

impl Request {
    /// Judges an authentic request. `spi` will be ours.
    pub(crate) fn judge(
        config: &ConnectionConfig,
        message: &Message<'_>,
        spi: IkeSpi,
        rng: &mut impl RandomSource,
    ) -> Result<Self, NoChild> {
        let refuse = |diagnosis, notify| NoChild {
            diagnosis,
            notify: NotifyPayload::new(notify, Vec::new()),
        };
        let missing = |what: &str| {
            let diagnosis = malformed(&format!("a request without {what}"));
            refuse(diagnosis, NotifyType::INVALID_SYNTAX)
        };
        let sa = message.sa().ok_or_else(|| missing("sa payload"))?;
        let nonce_i = message.nonce().ok_or_else(|| missing("nonce"))?;
        let (choice, answer) = proposal::select_ike(&allowed(config), sa, &spi.0)
            .map_err(|diagnosis| refuse(diagnosis, NotifyType::NO_PROPOSAL_CHOSEN))?;
        let group = choice.proposal.group;
        let ke = message.ke().ok_or_else(|| missing("key exchange"))?;
        if ke.group != group.number() {
            return Err(NoChild {
                diagnosis: malformed("a key exchange of another group than the one to use"),
                notify: invalid_ke(group),
            });
        }
        group
            .check(&ke.data)
            .map_err(|_invalid| missing("valid key exchange"))?;
        let initiator = peer_spi(&choice.peer_spi).ok_or_else(|| missing("spi"))?;
        Ok(Self {
            spis: Spis {
                initiator,
                responder: spi,
            },
            proposal: choice.proposal,
            answer,
            nonces: Nonces {
                i: nonce_i.to_vec(),
                r: nonce(rng),
            },
            public_i: ke.data.clone(),
        })
    }

    pub(crate) fn job(&self, rng: &mut impl RandomSource) -> KeyExchangeJob {
        KeyExchangeJob::respond(self.proposal.group, &self.public_i, rng)
    }

    /// `SA, Nr, KEr`
    pub(crate) fn answer(
        self,
        done: KeyExchangeDone,
        old: &Channel,
    ) -> Result<(Successor, Vec<Payload>), Diagnosis> {
        let response = done
            .into_responded()
            .ok_or_else(|| malformed("nothing"))?
            .map_err(|error| malformed(&format!("a key exchange payload that is invalid: {error}")))?;
        let payloads = vec![
            Payload::Sa(self.answer),
            Payload::Nonce(self.nonces.r.clone()),
            ke(self.proposal.group, response.public),
        ];
        let successor = successor(
            old,
            Role::Responder,
            self.spis,
            self.proposal,
            self.nonces,
            &response.shared,
        )?;
        Ok((successor, payloads))
    }
}

/// The end that starts the exchange is the original initiator of the new IKE SA (RFC 7296 section 2.18).
fn successor(
    old: &Channel,
    role: Role,
    spis: Spis,
    proposal: IkeProposal,
    nonces: Nonces,
    shared: &crate::crypto::SharedSecret,
) -> Result<Successor, Diagnosis> {
    let algorithms = SkAlgorithms::new(proposal.encryption, proposal.hash);
    let contributions = contributions(&nonces.i, &nonces.r, spis);
    let keys = old.keys.rekeyed(algorithms, &contributions, shared, &[]);
    let channel = Channel::new(spis, role, keys, old.fragmentation())
        .map_err(|_misuse| malformed("a proposal that cannot be used"))?;
    Ok(Successor {
        channel,
        proposal,
        nonces,
    })
}

/// What is allowed for a rekey: the tunnel's proposals without additional key exchanges. The new keys depend on SK_d of the IKE SA
/// that is replaced, and so on the additional key exchange that made it.
fn allowed(config: &ConnectionConfig) -> Vec<IkeProposal> {
    let mut allowed: Vec<IkeProposal> = Vec::new();
    for ours in &config.ike_proposals {
        let plain = IkeProposal {
            additional: None,
            ..ours.clone()
        };
        if !allowed.contains(&plain) {
            allowed.push(plain);
        }
    }
    allowed
}

fn peer_spi(octets: &[u8]) -> Option<IkeSpi> {
    let spi = IkeSpi(octets.try_into().ok()?);
    (!spi.is_zero()).then_some(spi)
}
