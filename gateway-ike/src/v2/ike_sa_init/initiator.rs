//! IKE_SA_INIT as the end that starts.

use crate::config::{ConnectionConfig, IkeProposal};
use crate::crypto::{DhGroup, DhPrivate, KeyExchangeDone, KeyExchangeJob, RandomSource};
use crate::diagnosis::{Code, Diagnosis};
use crate::ike_sa::Spis;
use crate::wire::v2::{KePayload, Message, MessageBuilder, NotifyPayload, NotifyType, Payload};
use crate::wire::{ExchangeType, Flags, Header, IkeSpi};

use super::super::Role;
use super::super::proposal;
use super::super::refusal::Refusal;
use super::super::setup::{Extensions, Keyed, Said, StepCx, nonce};
use super::{invalid_public, key_exchange, wanted_group};

/// Octets of the longest cookie (RFC 7296 section 2.6).
const MAX_COOKIE: usize = 64;

/// The public value is being computed, nothing was sent.
#[derive(Debug)]
pub(crate) struct Generating {
    spi: IkeSpi,
    nonce: Vec<u8>,
    cookie: Option<Vec<u8>>,
    /// To be repeated with the next sending.
    next_cookie: Option<Vec<u8>>,
    /// Groups that were tried, the current one at the end.
    tried: Vec<DhGroup>,
}

/// `HDR, SAi1, KEi, Ni -->` is on its way.
#[derive(Debug)]
pub(crate) struct AwaitAnswer {
    start: Generating,
    private: DhPrivate,
    public: Vec<u8>,
    /// As it was sent last.
    request: Vec<u8>,
}

/// What a message in the place of the answer says.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The answer.
    Accepted(Answer),
    /// The responder wants to see this again first.
    Cookie(Vec<u8>),
    /// The responder wants another of our groups.
    Group(DhGroup),
}

/// An acceptable answer.
#[derive(Debug)]
pub(crate) struct Answer {
    spis: Spis,
    proposal: IkeProposal,
    extensions: Extensions,
    public_r: Vec<u8>,
    nonce_r: Vec<u8>,
    response: Vec<u8>,
}

/// The shared secret is being computed.
#[derive(Debug)]
pub(crate) struct Agreeing(Box<SaidByBoth>);

#[derive(Debug)]
struct SaidByBoth {
    nonce_i: Vec<u8>,
    request: Vec<u8>,
    answer: Answer,
}

impl Generating {
    pub(crate) fn start<R: RandomSource>(
        spi: IkeSpi,
        cx: &mut StepCx<'_, R>,
    ) -> Option<(Self, KeyExchangeJob)> {
        let group = cx.config.ike_proposals.first()?.group;
        let step = Self {
            spi,
            nonce: nonce(cx.rng),
            cookie: None,
            next_cookie: None,
            tried: vec![group],
        };
        Some((step, KeyExchangeJob::generate(group, cx.rng)))
    }

    /// `HDR, SAi1, KEi, Ni -->`
    pub(crate) fn on_generated<R: RandomSource>(
        self,
        done: KeyExchangeDone,
        cx: &mut StepCx<'_, R>,
    ) -> Result<(AwaitAnswer, Vec<u8>), Refusal> {
        let (private, public) = done
            .into_generated()
            .ok_or(Refusal::Drop("the result of another key exchange"))?;
        let mut step = AwaitAnswer {
            start: self,
            private,
            public,
            request: Vec::new(),
        };
        let datagram = step.request(cx)?;
        Ok((step, datagram))
    }
}

impl AwaitAnswer {
    fn group(&self) -> DhGroup {
        self.private.group()
    }

    /// `HDR, [N(COOKIE),] SAi1, KEi, Ni, N... -->`
    fn request<R: RandomSource>(&mut self, cx: &mut StepCx<'_, R>) -> Result<Vec<u8>, Refusal> {
        let spis = Spis {
            initiator: self.start.spi,
            responder: IkeSpi::ZERO,
        };
        let cookie = self
            .start
            .cookie
            .clone()
            .map(|cookie| Payload::Notify(NotifyPayload::new(NotifyType::COOKIE, cookie)));
        let ke = KePayload {
            group: self.group().number(),
            data: self.public.clone(),
        };
        let fixed = [
            Payload::Sa(proposal::offer_ike(&cx.config.ike_proposals, &[])),
            Payload::Ke(ke),
            Payload::Nonce(self.start.nonce.clone()),
        ];
        let additional = cx
            .config
            .ike_proposals
            .iter()
            .any(|ours| ours.additional.is_some());
        let extensions = Extensions::payloads(spis, None, additional, cx);
        self.request = MessageBuilder::new(
            spis.initiator,
            spis.responder,
            ExchangeType::IKE_SA_INIT,
            0,
            Flags::INITIATOR,
        )
        .payloads(cookie.iter().chain(&fixed).chain(&extensions))?
        .clear()?;
        Ok(self.request.clone())
    }

    /// Judges a message that nobody has authenticated. Errors in it are told to the operator and do not end anything.
    pub(crate) fn judge<R>(
        &self,
        header: &Header,
        message: &Message<'_>,
        datagram: &[u8],
        cx: &StepCx<'_, R>,
    ) -> Result<Verdict, Refusal> {
        if !header.flags.contains(Flags::RESPONSE) || header.flags.contains(Flags::INITIATOR) {
            return Err(Refusal::Drop("not the answer of a responder"));
        }
        if header.message_id != 0 || message.encrypted.is_some() {
            return Err(Refusal::Drop("not an answer to ike_sa_init"));
        }
        if let Some(cookie) = message.notify(NotifyType::COOKIE) {
            return if (1..=MAX_COOKIE).contains(&cookie.data.len()) {
                Ok(Verdict::Cookie(cookie.data.clone()))
            } else {
                Err(Refusal::Drop("a cookie of impossible length"))
            };
        }
        if let Some(error) = message.error() {
            return self.judge_error(error, cx.config);
        }
        if header.responder_spi.is_zero() {
            return Err(Refusal::Drop("an answer without spi"));
        }
        let spis = Spis {
            initiator: self.start.spi,
            responder: header.responder_spi,
        };
        let (ke, nonce_r) = key_exchange(message)?;
        let sa = message.sa().ok_or(Refusal::Drop("no sa payload"))?;
        let proposal = proposal::chosen_ike(&cx.config.ike_proposals, sa, 0)
            .map_err(Refusal::Report)?
            .proposal;
        let group = self.group();
        if proposal.group != group || ke.group != group.number() {
            return Err(Refusal::Drop("another group than the one of our key exchange"));
        }
        group.check_response(&ke.data).map_err(invalid_public)?;
        if nonce_r == self.start.nonce {
            return Err(Refusal::Drop("our own nonce, reflected"));
        }
        let extensions = Extensions::read(message, spis, cx.path, cx.config);
        if proposal.additional.is_some() && !extensions.intermediate {
            return Err(Refusal::Drop(
                "an additional key exchange without ike_intermediate",
            ));
        }
        Ok(Verdict::Accepted(Answer {
            spis,
            proposal,
            extensions,
            public_r: ke.data.clone(),
            nonce_r: nonce_r.to_vec(),
            response: datagram.to_vec(),
        }))
    }

    /// S13: another group is taken only if the tunnel has it, and each only once.
    fn judge_error(&self, error: &NotifyPayload, config: &ConnectionConfig) -> Result<Verdict, Refusal> {
        if error.notify_type == NotifyType::INVALID_KE_PAYLOAD {
            let wanted = wanted_group(error);
            let configured = |group| config.ike_proposals.iter().any(|ours| ours.group == group);
            if let Some(group) = wanted
                && configured(group)
                && !self.start.tried.contains(&group)
            {
                return Ok(Verdict::Group(group));
            }
            let peer = wanted.map_or_else(
                || "peer wants a group that is unknown here".to_owned(),
                |group| format!("peer wants {group}"),
            );
            let ours: Vec<_> = config
                .ike_proposals
                .iter()
                .map(|ours| ours.group.to_string())
                .collect();
            return Err(Refusal::Report(Diagnosis::new(
                Code::IkeProposalMismatch,
                format!("tunnel allows {}", ours.join(", ")),
                peer,
                "make ike.dh_group the same on both sides",
            )));
        }
        Err(Refusal::Report(suggested(config, error.notify_type)))
    }

    pub(crate) fn on_answer(self, answer: Answer) -> (Agreeing, KeyExchangeJob) {
        let job = KeyExchangeJob::agree(self.private, &answer.public_r);
        let step = Agreeing(Box::new(SaidByBoth {
            nonce_i: self.start.nonce,
            request: self.request,
            answer,
        }));
        (step, job)
    }

    /// Takes a cookie for the next sending. It may be forged, and the answer to what was sent may be on its way: it has the first
    /// chance. Returns whether this is the first one since the last sending.
    pub(crate) fn on_cookie(&mut self, cookie: Vec<u8>) -> bool {
        self.start.next_cookie.replace(cookie).is_none()
    }

    /// `HDR, N(COOKIE), SAi1, KEi, Ni -->`, if there is a new cookie.
    pub(crate) fn with_cookie<R: RandomSource>(&mut self, cx: &mut StepCx<'_, R>) -> Option<Vec<u8>> {
        self.start.cookie = Some(self.start.next_cookie.take()?);
        self.request(cx).ok()
    }

    /// Once more with another group.
    pub(crate) fn on_group<R: RandomSource>(
        self,
        group: DhGroup,
        cx: &mut StepCx<'_, R>,
    ) -> (Generating, KeyExchangeJob) {
        let mut start = self.start;
        start.tried.push(group);
        (start, KeyExchangeJob::generate(group, cx.rng))
    }
}

impl Agreeing {
    pub(crate) const fn spis(&self) -> Spis {
        self.0.answer.spis
    }

    pub(crate) fn on_agreed(self, done: KeyExchangeDone) -> Result<Keyed, Refusal> {
        let shared = done
            .into_agreed()
            .ok_or(Refusal::Drop("the result of another key exchange"))?
            .map_err(invalid_public)?;
        let SaidByBoth {
            nonce_i,
            request,
            answer,
        } = *self.0;
        let said = Said {
            spis: answer.spis,
            proposal: answer.proposal,
            extensions: answer.extensions,
            nonce_i,
            nonce_r: answer.nonce_r,
            request,
            response: answer.response,
        };
        Keyed::derive(Role::Initiator, said, &shared)
    }
}

/// What an error that nobody has authenticated suggests.
fn suggested(config: &ConnectionConfig, notify: NotifyType) -> Diagnosis {
    let peer = format!("peer (not authenticated) answers ike_sa_init with {notify}");
    match notify {
        NotifyType::NO_PROPOSAL_CHOSEN => Diagnosis {
            peer,
            ..proposal::ike_refused_by_peer(&config.ike_proposals)
        },
        NotifyType::INVALID_MAJOR_VERSION => Diagnosis::new(
            Code::VersionMismatch,
            "tunnel initiates ikev2",
            peer,
            "set ike.version = \"ikev1\", or have the peer speak ikev2",
        ),
        _ => Diagnosis::new(
            Code::PeerRefused,
            "tunnel initiates ikev2",
            peer,
            "read the peer's log: it knows why it refuses",
        ),
    }
}
