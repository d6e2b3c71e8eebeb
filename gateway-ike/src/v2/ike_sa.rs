//! What an IKE SA is under IKEv2: its set-up, then the two windows of one request each.

use std::collections::VecDeque;
use std::time::Instant;

use gateway_common::Spi;

use crate::config::IkeProposal;
use crate::crypto::Hash;
use crate::event::ChildId;
use crate::ike_sa::{Room, SaKey};
use crate::tunnel::Want;
use crate::wire::{ExchangeType, Header};

use super::channel::Channel;
use super::create_child_sa::{self, Collision};
use super::ike_auth::{self, Authenticated};
use super::ike_sa_init;
use super::message_id_sync::{Known, Synchronisation};
use super::setup::Keyed;
use super::{ike_intermediate, rekey_ike_sa};

/// Requests that wait for their turn on one IKE SA, Child SAs that are wanted apart.
const MAX_QUEUED: usize = 64;

/// An IKE SA under IKEv2.
#[derive(Debug)]
pub(crate) struct V2Sa {
    pub(crate) stage: Stage,
    /// Our request of the set-up that waits for its answer.
    pub(crate) pending: Option<Sent>,
    /// IKE_SA_INIT as we answered it, and what.
    pub(crate) answered: Option<AnsweredInit>,
    /// The last request of the peer that came protected, as it was answered: repeated octet by octet (RFC 7296 section 2.1).
    pub(crate) last_response: Option<(u32, Vec<Vec<u8>>)>,
    /// Digest of the datagram that made the peer's IKE_INTERMEDIATE whole. The keys change with the answer, so that a repetition opens
    /// under none of them and is known by its octets alone.
    intermediate: Option<Vec<u8>>,
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) datagrams: Vec<Vec<u8>>,
    /// How often.
    pub(crate) times: u32,
}

impl Sent {
    pub(crate) const fn once(datagrams: Vec<Vec<u8>>) -> Self {
        Self { datagrams, times: 1 }
    }
}

/// An answered IKE_SA_INIT: its repetition gets the same answer.
#[derive(Debug)]
pub(crate) struct AnsweredInit {
    request: Vec<u8>,
    pub(crate) response: Vec<u8>,
}

impl AnsweredInit {
    pub(crate) fn new(request: &[u8], response: Vec<u8>) -> Self {
        Self {
            request: Hash::Sha2_256.digest(&[request]),
            response,
        }
    }

    pub(crate) fn is_for(&self, request: &[u8]) -> bool {
        self.request == Hash::Sha2_256.digest(&[request])
    }
}

/// How far an IKE SA has come. Stages that compute have accepted a message and wait for a key exchange.
#[derive(Debug)]
pub(crate) enum Stage {
    /// As initiator: nothing was sent.
    InitGenerating(Box<ike_sa_init::initiator::Generating>),
    /// As initiator: IKE_SA_INIT sent.
    InitSent(Box<ike_sa_init::initiator::AwaitAnswer>),
    /// As initiator: IKE_SA_INIT answered.
    InitAgreeing(ike_sa_init::initiator::Agreeing),
    /// As initiator: IKE_INTERMEDIATE comes next.
    IntermediateGenerating(ike_intermediate::Generating),
    /// As initiator: IKE_INTERMEDIATE sent.
    IntermediateSent(ike_intermediate::AwaitAnswer),
    /// As initiator: IKE_INTERMEDIATE answered.
    IntermediateAgreeing(ike_intermediate::Agreeing),
    /// As initiator: IKE_AUTH sent.
    AuthSent(ike_auth::initiator::AwaitAnswer),
    /// As responder: IKE_SA_INIT accepted.
    InitResponding(Box<ike_sa_init::responder::Responding>),
    /// As responder: IKE_SA_INIT answered, IKE_INTERMEDIATE comes next.
    AwaitIntermediate(Box<Keyed>),
    /// As responder: IKE_INTERMEDIATE accepted.
    IntermediateResponding(ike_intermediate::Responding),
    /// As responder: IKE_AUTH comes next.
    AwaitAuth(Box<Keyed>),
    /// Both ends are authenticated.
    Established(Box<Established>),
    /// Nothing more will happen.
    Ended,
}

/// An established IKE SA.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) channel: Channel,
    pub(crate) proposal: IkeProposal,
    /// Message ID of our next request.
    pub(crate) next_request: u32,
    /// Message ID of the peer's next request.
    pub(crate) expected: u32,
    /// Our request that is under way: one at a time.
    pub(crate) exchange: Option<Exchange>,
    pub(crate) queue: VecDeque<Task>,
    /// The peer's request whose answer is being computed.
    pub(crate) answering: Option<Answering>,
    /// The IKE SA that has taken over: only Deletes go over this one.
    pub(crate) successor: Option<SaKey>,
    /// The peer's successor that waits for ours to be answered (RFC 7296 section 2.8.2).
    pub(crate) nascent: Option<Box<Collision<SaKey>>>,
    /// The first Child SA, which the peer has asked for with IKE_AUTH and has not proven to have.
    pub(crate) unproven: Option<ChildId>,
    /// When the two ends authenticated each other.
    pub(crate) authenticated_at: Instant,
    pub(crate) sync: Synchronisation,
}

/// A request of ours.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) step: Step,
    /// `None` until the request is sent.
    pub(crate) sent: Option<Sent>,
    pub(crate) started: Instant,
}

/// How far a request of ours has come.
#[derive(Debug)]
pub(crate) enum Step {
    /// A Child SA, its key exchange.
    ChildGenerating(create_child_sa::Generating, ChildCollision),
    /// A Child SA, asked for.
    ChildSent(Box<create_child_sa::AwaitAnswer>, ChildCollision),
    /// A Child SA, granted.
    ChildAgreeing(Box<create_child_sa::Agreeing>, ChildCollision),
    /// A successor of this IKE SA, its key exchange.
    IkeGenerating(rekey_ike_sa::Generating),
    /// A successor of this IKE SA, asked for.
    IkeSent(Box<rekey_ike_sa::AwaitAnswer>),
    /// A successor of this IKE SA, granted.
    IkeAgreeing(Box<rekey_ike_sa::Agreeing>),
    /// INFORMATIONAL that deletes Child SAs: ids and our inbound SPIs.
    DeleteChildren(Vec<(ChildId, Spi)>),
    /// INFORMATIONAL that deletes this IKE SA.
    DeleteIke,
    /// INFORMATIONAL without payloads: is the peer there?
    Liveness,
}

/// What the peer's exchange made of the Child SA that we are replacing ourselves.
pub(crate) type ChildCollision = Option<Box<Collision<ChildId>>>;

/// What waits for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    RekeyIke,
    DeleteChild(ChildId, Spi),
    DeleteIke,
    Liveness,
    /// The peer seals with an SPI that we do not have.
    InvalidSpi(Spi),
}

/// A request of the peer that waits for a key exchange.
#[derive(Debug)]
pub(crate) enum Answering {
    Child(Box<create_child_sa::Request>),
    Ike(Box<rekey_ike_sa::Request>),
}

impl Established {
    /// After IKE_AUTH. Each end counts its own requests; those of the set-up were the original initiator's.
    pub(crate) fn new(authenticated: Authenticated, now: Instant) -> Self {
        let next_id = authenticated.next_id;
        let (next_request, expected) = match authenticated.channel.role {
            super::Role::Initiator => (next_id, 0),
            super::Role::Responder => (0, next_id),
        };
        let sync = authenticated.sync;
        Self {
            next_request,
            expected,
            ..Self::fresh(authenticated.channel, authenticated.proposal, now, sync)
        }
    }

    /// After a rekey: both ends count from zero (RFC 7296 section 2.18).
    pub(crate) const fn fresh(
        channel: Channel,
        proposal: IkeProposal,
        authenticated_at: Instant,
        known: Known,
    ) -> Self {
        Self {
            channel,
            proposal,
            next_request: 0,
            expected: 0,
            exchange: None,
            queue: VecDeque::new(),
            answering: None,
            successor: None,
            nascent: None,
            unproven: None,
            authenticated_at,
            sync: Synchronisation {
                known,
                seen: None,
                sent: None,
            },
        }
    }

    /// Puts a task into the queue, unless it is there already.
    pub(crate) fn enqueue(&mut self, task: Task) {
        if self.queue.len() < MAX_QUEUED && !self.queue.contains(&task) {
            self.queue.push_back(task);
        }
    }

    /// Whether we have asked to replace this IKE SA, or to end it.
    pub(crate) fn is_rekeying(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| {
            matches!(
                exchange.step,
                Step::IkeGenerating(_) | Step::IkeSent(_) | Step::IkeAgreeing(_)
            )
        })
    }

    /// Whether nothing of our own forbids the peer to replace this IKE SA (RFC 7296 section 2.25.2). Our own replacement does once the
    /// peer has granted it: there is no need for two.
    pub(crate) fn may_be_replaced(&self) -> bool {
        let granted = |exchange: &Exchange| matches!(exchange.step, Step::IkeAgreeing(_));
        !self.is_changing_children()
            && !self.is_closing()
            && self.successor.is_none()
            && !self.exchange.as_ref().is_some_and(granted)
    }

    /// Whether the peer has granted what a request of its own asks for too: see [`Self::collision_with`].
    pub(crate) fn is_granted(&self, request: &create_child_sa::Request) -> bool {
        self.exchange.as_ref().is_some_and(
            |exchange| matches!(&exchange.step, Step::ChildAgreeing(step, _) if request.collides_with(step.asked.want)),
        )
    }

    pub(crate) fn is_closing(&self) -> bool {
        let deletes = |exchange: &Exchange| matches!(exchange.step, Step::DeleteIke);
        self.exchange.as_ref().is_some_and(deletes) || self.queue.contains(&Task::DeleteIke)
    }

    /// Whether a request of ours makes, replaces or deletes a Child SA.
    pub(crate) fn is_changing_children(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| {
            matches!(
                exchange.step,
                Step::ChildGenerating(..)
                    | Step::ChildSent(..)
                    | Step::ChildAgreeing(..)
                    | Step::DeleteChildren(_)
            )
        })
    }

    /// Whether we have asked the peer to delete a Child SA.
    pub(crate) fn is_deleting(&self, child: ChildId) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| {
            matches!(&exchange.step, Step::DeleteChildren(children) if children.iter().any(|(id, _)| *id == child))
        })
    }

    /// What we are negotiating a Child SA for, and the SPI that is reserved for it.
    pub(crate) fn asked(&self) -> Option<create_child_sa::Asked> {
        match &self.exchange.as_ref()?.step {
            Step::ChildGenerating(step, _) => Some(step.0),
            Step::ChildSent(step, _) => Some(step.asked),
            Step::ChildAgreeing(step, _) => Some(step.asked),
            Step::IkeGenerating(_)
            | Step::IkeSent(_)
            | Step::IkeAgreeing(_)
            | Step::DeleteChildren(_)
            | Step::DeleteIke
            | Step::Liveness => None,
        }
    }

    /// Where a collision of our request with one of the peer is remembered: both replace the same Child SA, or both make the first one
    /// for the same selectors.
    pub(crate) fn collision_with(
        &mut self,
        wanted: impl FnOnce(Want) -> bool,
    ) -> Option<&mut ChildCollision> {
        if !wanted(self.asked()?.want) {
            return None;
        }
        match &mut self.exchange.as_mut()?.step {
            Step::ChildGenerating(_, collision)
            | Step::ChildSent(_, collision)
            | Step::ChildAgreeing(_, collision) => Some(collision),
            Step::IkeGenerating(_)
            | Step::IkeSent(_)
            | Step::IkeAgreeing(_)
            | Step::DeleteChildren(_)
            | Step::DeleteIke
            | Step::Liveness => None,
        }
    }
}

impl V2Sa {
    pub(crate) const fn new(stage: Stage) -> Self {
        Self {
            stage,
            pending: None,
            answered: None,
            last_response: None,
            intermediate: None,
        }
    }

    /// Notes the datagram that made the peer's IKE_INTERMEDIATE whole.
    pub(crate) fn note_intermediate(&mut self, datagram: &[u8]) {
        self.intermediate = Some(Hash::Sha2_256.digest(&[datagram]));
    }

    /// Whether a datagram is the peer's IKE_INTERMEDIATE once more, while IKE_AUTH is due: the answer may be lost. Of several fragments
    /// it is true for one, so that the answer goes once (RFC 7383 section 2.6.1).
    pub(crate) fn is_repeated_intermediate(&self, header: &Header, datagram: &[u8]) -> bool {
        header.exchange_type == ExchangeType::IKE_INTERMEDIATE
            && matches!(self.stage, Stage::AwaitAuth(_))
            && self
                .intermediate
                .as_ref()
                .is_some_and(|known| *known == Hash::Sha2_256.digest(&[datagram]))
    }

    pub(crate) fn established(&self) -> Option<&Established> {
        match &self.stage {
            Stage::Established(established) => Some(established),
            Stage::InitGenerating(_)
            | Stage::InitSent(_)
            | Stage::InitAgreeing(_)
            | Stage::IntermediateGenerating(_)
            | Stage::IntermediateSent(_)
            | Stage::IntermediateAgreeing(_)
            | Stage::AuthSent(_)
            | Stage::InitResponding(_)
            | Stage::AwaitIntermediate(_)
            | Stage::IntermediateResponding(_)
            | Stage::AwaitAuth(_)
            | Stage::Ended => None,
        }
    }

    pub(crate) fn established_mut(&mut self) -> Option<&mut Established> {
        match &mut self.stage {
            Stage::Established(established) => Some(established),
            Stage::InitGenerating(_)
            | Stage::InitSent(_)
            | Stage::InitAgreeing(_)
            | Stage::IntermediateGenerating(_)
            | Stage::IntermediateSent(_)
            | Stage::IntermediateAgreeing(_)
            | Stage::AuthSent(_)
            | Stage::InitResponding(_)
            | Stage::AwaitIntermediate(_)
            | Stage::IntermediateResponding(_)
            | Stage::AwaitAuth(_)
            | Stage::Ended => None,
        }
    }

    /// The keys, once there are some.
    pub(crate) fn channel_mut(&mut self) -> Option<&mut Channel> {
        match &mut self.stage {
            Stage::Established(established) => Some(&mut established.channel),
            Stage::IntermediateSent(step) => Some(&mut step.keyed.channel),
            Stage::AuthSent(step) => Some(&mut step.keyed.channel),
            Stage::AwaitIntermediate(keyed) | Stage::AwaitAuth(keyed) => Some(&mut keyed.channel),
            Stage::InitGenerating(_)
            | Stage::InitSent(_)
            | Stage::InitAgreeing(_)
            | Stage::IntermediateGenerating(_)
            | Stage::IntermediateAgreeing(_)
            | Stage::InitResponding(_)
            | Stage::IntermediateResponding(_)
            | Stage::Ended => None,
        }
    }

    pub(crate) fn room(&self) -> Room {
        match self.established() {
            Some(established) if established.successor.is_some() || established.is_closing() => Room::Busy,
            Some(established) if established.sync.sent.is_some() => Room::Busy,
            // RFC 7296 section 2.25.2: the peer would refuse.
            Some(established) if matches!(established.answering, Some(Answering::Ike(_))) => Room::Busy,
            Some(established) if established.exchange.is_none() && established.queue.is_empty() => Room::Free,
            Some(_) | None => Room::Busy,
        }
    }

    /// What we are negotiating Child SAs for.
    pub(crate) fn wants(&self) -> Option<Want> {
        self.negotiated_child().map(|(want, _)| want)
    }

    /// The inbound SPI that is reserved for a Child SA under way.
    pub(crate) fn reserved_spi(&self) -> Option<Spi> {
        self.negotiated_child().map(|(_, spi)| spi)
    }

    fn negotiated_child(&self) -> Option<(Want, Spi)> {
        match &self.stage {
            Stage::AuthSent(step) => Some((step.want, step.spi)),
            Stage::Established(established) => established.asked().map(|asked| (asked.want, asked.spi)),
            Stage::InitGenerating(_)
            | Stage::InitSent(_)
            | Stage::InitAgreeing(_)
            | Stage::IntermediateGenerating(_)
            | Stage::IntermediateSent(_)
            | Stage::IntermediateAgreeing(_)
            | Stage::InitResponding(_)
            | Stage::AwaitIntermediate(_)
            | Stage::IntermediateResponding(_)
            | Stage::AwaitAuth(_)
            | Stage::Ended => None,
        }
    }

    /// A peer's attempt that has come no further than IKE_SA_INIT.
    pub(crate) const fn is_fresh(&self) -> bool {
        matches!(
            self.stage,
            Stage::InitResponding(_) | Stage::AwaitIntermediate(_) | Stage::AwaitAuth(_)
        )
    }

    /// The exchange that is under way, for people.
    pub(crate) const fn exchange_name(&self) -> &'static str {
        match self.stage {
            Stage::InitGenerating(_)
            | Stage::InitSent(_)
            | Stage::InitAgreeing(_)
            | Stage::InitResponding(_) => "ike_sa_init",
            Stage::IntermediateGenerating(_)
            | Stage::IntermediateSent(_)
            | Stage::IntermediateAgreeing(_)
            | Stage::AwaitIntermediate(_)
            | Stage::IntermediateResponding(_) => "ike_intermediate",
            Stage::AuthSent(_) | Stage::AwaitAuth(_) => "ike_auth",
            Stage::Established(_) | Stage::Ended => "informational",
        }
    }

    /// Name of its state, for status.
    pub(crate) fn state(&self) -> String {
        match self.stage {
            Stage::Established(_) => "established".to_owned(),
            Stage::Ended => "ended".to_owned(),
            Stage::InitGenerating(_)
            | Stage::InitSent(_)
            | Stage::InitAgreeing(_)
            | Stage::IntermediateGenerating(_)
            | Stage::IntermediateSent(_)
            | Stage::IntermediateAgreeing(_)
            | Stage::AuthSent(_)
            | Stage::InitResponding(_)
            | Stage::AwaitIntermediate(_)
            | Stage::IntermediateResponding(_)
            | Stage::AwaitAuth(_) => format!("{} under way", self.exchange_name()),
        }
    }
}
