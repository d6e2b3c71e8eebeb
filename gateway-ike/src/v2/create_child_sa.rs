//! CREATE_CHILD_SA for a Child SA, new or in the place of another (RFC 7296 sections 1.3.1 and 1.3.3).
//!
//! ```text
//! HDR, SK {[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr}  -->
//!                                                   <--  HDR, SK {SA, Nr, [KEr,] TSi, TSr}
//! ```

use gateway_common::Spi;

use crate::child::NewChild;
use crate::config::ConnectionConfig;
use crate::crypto::{DhGroup, DhPrivate, KeyExchangeDone, KeyExchangeJob, RandomSource, SharedSecret};
use crate::diagnosis::Diagnosis;
use crate::event::{ChildId, Served};
use crate::tunnel::Want;
use crate::wire::v2::{KePayload, Message, NotifyPayload, NotifyType, Payload};

use super::child_sa::{self, Agreed, KeySource, NoChild};
use super::ike_sa_init::invalid_ke;
use super::keys::IkeKeys;
use super::proposal::EspTerms;
use super::refusal::malformed;
use super::setup::nonce;

/// The peer has replaced the same SA at the same time (RFC 7296 section 2.8.1).
#[derive(Debug)]
pub(crate) struct Collision<T> {
    /// What the peer's exchange made.
    pub(crate) theirs: T,
    /// The lower of its two nonces.
    pub(crate) lowest_nonce: Vec<u8>,
}

/// What we ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) want: Want,
    /// Our inbound SPI of the new Child SA.
    pub(crate) spi: Spi,
    /// Our inbound SPI of the Child SA of this IKE SA that it replaces.
    pub(crate) rekeys: Option<Spi>,
}

/// As initiator: the public value is being computed.
#[derive(Debug)]
pub(crate) struct Generating(pub(crate) Asked);

/// As initiator: the request is on its way.
#[derive(Debug)]
pub(crate) struct AwaitAnswer {
    pub(crate) asked: Asked,
    nonce_i: Vec<u8>,
    private: Option<DhPrivate>,
}

/// As initiator: the answer is accepted, the shared secret is being computed.
#[derive(Debug)]
pub(crate) struct Agreeing {
    pub(crate) asked: Asked,
    agreed: Agreed,
    nonces: Nonces,
}

/// Both nonces of an exchange.
#[derive(Debug)]
pub(crate) struct Nonces {
    pub(crate) i: Vec<u8>,
    pub(crate) r: Vec<u8>,
}

impl Nonces {
    /// The lower one, by which collisions are decided.
    pub(crate) fn lowest(&self) -> &[u8] {
        self.i.as_slice().min(self.r.as_slice())
    }
}

/// A Child SA with the nonces that made it.
pub(crate) type Made = (NewChild, Nonces);

/// What an acceptable answer needs.
pub(crate) enum Accepted {
    /// A key exchange.
    Compute(Agreeing, KeyExchangeJob),
    /// Nothing.
    Made(Box<Made>),
}

impl Asked {
    /// Starts without the key exchange.
    pub(crate) fn without_exchange(
        self,
        config: &ConnectionConfig,
        rng: &mut impl RandomSource,
    ) -> (AwaitAnswer, Vec<Payload>) {
        AwaitAnswer::start(self, config, None, rng)
    }
}

impl Generating {
    pub(crate) fn on_generated(
        self,
        done: KeyExchangeDone,
        config: &ConnectionConfig,
        rng: &mut impl RandomSource,
    ) -> Option<(AwaitAnswer, Vec<Payload>)> {
        let generated = done.into_generated()?;
        Some(AwaitAnswer::start(self.0, config, Some(generated), rng))
    }
}

impl AwaitAnswer {
    /// `[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr`
    fn start(
        asked: Asked,
        config: &ConnectionConfig,
        exchange: Option<(DhPrivate, Vec<u8>)>,
        rng: &mut impl RandomSource,
    ) -> (Self, Vec<Payload>) {
        let nonce_i = nonce(rng);
        let terms = EspTerms::in_create_child_sa(config);
        let [sa, ts_i, ts_r] = child_sa::offer(terms, asked.want, asked.spi);
        let (private, public) = exchange.unzip();
        let group = private.as_ref().map(DhPrivate::group);
        let payloads = asked
            .rekeys
            .map(|old| Payload::Notify(NotifyPayload::about_esp(NotifyType::REKEY_SA, old.to_be_bytes())))
            .into_iter()
            .chain([sa, Payload::Nonce(nonce_i.clone())])
            .chain(group.zip(public).map(|(group, public)| ke(group, public)))
            .chain([ts_i, ts_r])
            .collect();
        let step = Self {
            asked,
            nonce_i,
            private,
        };
        (step, payloads)
    }

    /// Judges an authentic answer without error notification.
    pub(crate) fn on_answer(
        self,
        config: &ConnectionConfig,
        keys: &IkeKeys,
        message: &Message<'_>,
    ) -> Result<Accepted, Diagnosis> {
        let terms = EspTerms::in_create_child_sa(config);
        let agreed = child_sa::judge_answer(config, terms, self.asked.want, self.asked.spi, message)?;
        let nonce_r = message
            .nonce()
            .ok_or_else(|| malformed("an answer without nonce"))?;
        if *nonce_r == self.nonce_i {
            return Err(malformed("our own nonce"));
        }
        let nonces = Nonces {
            i: self.nonce_i,
            r: nonce_r.to_vec(),
        };
        let Some(private) = self.private else {
            let replaces = self.asked.want.replaces;
            let child = agreed.into_child(config, keys, true, nonces.source(None), replaces);
            return Ok(Accepted::Made(Box::new((child, nonces))));
        };
        let group = private.group();
        let ke = message
            .ke()
            .filter(|ke| ke.group == group.number() && group.check_response(&ke.data).is_ok())
            .ok_or_else(|| malformed("an answer without the key exchange that was agreed on"))?;
        let job = KeyExchangeJob::agree(private, &ke.data);
        let step = Agreeing {
            asked: self.asked,
            agreed,
            nonces,
        };
        Ok(Accepted::Compute(step, job))
    }
}

impl Agreeing {
    pub(crate) fn on_agreed(
        self,
        done: KeyExchangeDone,
        config: &ConnectionConfig,
        keys: &IkeKeys,
    ) -> Result<Made, Diagnosis> {
        let shared = agreed(done)?;
        let source = self.nonces.source(Some(&shared));
        let child = self
            .agreed
            .into_child(config, keys, true, source, self.asked.want.replaces);
        Ok((child, self.nonces))
    }
}

/// As responder: an acceptable request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) agreed: Agreed,
    payloads: [Payload; 3],
    nonces: Nonces,
    public_i: Option<(DhGroup, Vec<u8>)>,
    /// What it replaces.
    pub(crate) replaces: Option<ChildId>,
}

/// What an acceptable request makes: the Child SA, and the payloads of the answer.
pub(crate) type Answered = (Made, Vec<Payload>);

/// Whether a request of the peer for a Child SA (what it replaces, what it serves) asks for what ours does.
pub(crate) fn collide(theirs: (Option<ChildId>, &[Served]), want: Want) -> bool {
    match (theirs.0, want.replaces) {
        (Some(old), Some(ours)) => old == ours,
        (None, None) => theirs.1.iter().any(|served| served.selectors == want.selectors),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl Request {
    /// Judges an authentic request. `spi` will be our inbound SPI.
    pub(crate) fn judge(
        config: &ConnectionConfig,
        message: &Message<'_>,
        spi: Spi,
        replaces: Option<ChildId>,
        rng: &mut impl RandomSource,
    ) -> Result<Self, NoChild> {
        let terms = EspTerms::in_create_child_sa(config);
        let (agreed, payloads) = child_sa::judge_request(config, terms, spi, message)?;
        let invalid = |what: &str| NoChild {
            diagnosis: malformed(what),
            notify: NotifyPayload::new(NotifyType::INVALID_SYNTAX, Vec::new()),
        };
        let nonce_i = message
            .nonce()
            .ok_or_else(|| invalid("a request without nonce"))?;
        let public_i = match (agreed.choice.group, message.ke()) {
            (None, _) => None,
            (Some(group), Some(ke)) if ke.group == group.number() => {
                group
                    .check(&ke.data)
                    .map_err(|error| invalid(&format!("a key exchange payload that is invalid: {error}")))?;
                Some((group, ke.data.clone()))
            }
            (Some(group), _) => {
                return Err(NoChild {
                    diagnosis: child_sa::pfs_differs(config, message.ke().map(|ke| ke.group)),
                    notify: invalid_ke(group),
                });
            }
        };
        Ok(Self {
            agreed,
            payloads,
            nonces: Nonces {
                i: nonce_i.to_vec(),
                r: nonce(rng),
            },
            public_i,
            replaces,
        })
    }

    /// Whether it asks for what we are asking for.
    pub(crate) fn collides_with(&self, want: Want) -> bool {
        collide((self.replaces, &self.agreed.serves), want)
    }

    /// The key exchange that the answer needs.
    pub(crate) fn job(&self, rng: &mut impl RandomSource) -> Option<KeyExchangeJob> {
        let (group, public) = self.public_i.as_ref()?;
        Some(KeyExchangeJob::respond(*group, public, rng))
    }

    /// `SA, Nr, [KEr,] TSi, TSr`
    pub(crate) fn answer(
        self,
        done: Option<KeyExchangeDone>,
        config: &ConnectionConfig,
        keys: &IkeKeys,
    ) -> Result<Answered, Diagnosis> {
        let response = match done {
            None => None,
            Some(done) => Some(
                done.into_responded()
                    .ok_or_else(|| malformed("nothing"))?
                    .map_err(|error| {
                        malformed(&format!("a key exchange payload that is invalid: {error}"))
                    })?,
            ),
        };
        let (public, shared) = response
            .map(|response| (response.public, response.shared))
            .unzip();
        let [sa, ts_i, ts_r] = self.payloads;
        let group = self.public_i.map(|(group, _)| group);
        let payloads = [sa, Payload::Nonce(self.nonces.r.clone())]
            .into_iter()
            .chain(group.zip(public).map(|(group, public)| ke(group, public)))
            .chain([ts_i, ts_r])
            .collect();
        let source = self.nonces.source(shared.as_ref());
        let child = self.agreed.into_child(config, keys, false, source, self.replaces);
        Ok(((child, self.nonces), payloads))
    }
}

impl Nonces {
    fn source<'a>(&'a self, shared: Option<&'a SharedSecret>) -> KeySource<'a> {
        KeySource {
            nonce_i: &self.i,
            nonce_r: &self.r,
            shared,
        }
    }
}

pub(super) fn agreed(done: KeyExchangeDone) -> Result<SharedSecret, Diagnosis> {
    done.into_agreed()
        .ok_or_else(|| malformed("nothing"))?
        .map_err(|error| malformed(&format!("a key exchange payload that is invalid: {error}")))
}

pub(super) fn ke(group: DhGroup, data: Vec<u8>) -> Payload {
    Payload::Ke(KePayload {
        group: group.number(),
        data,
    })
}
