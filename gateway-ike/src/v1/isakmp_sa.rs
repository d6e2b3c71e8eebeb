//! One ISAKMP SA: phase 1, then the phase 2 exchanges under it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::Refusal;
use super::dpd::Dpd;
use super::main_mode::{Authenticated, StepCx, initiator, responder};
use super::nat_traversal::Nat;
use super::quick_mode::initiator::AwaitAnswer;
use super::quick_mode::responder::AwaitConfirmation;
use super::sa::SaKeys;
use crate::crypto::{Hash, RandomSource};
use crate::event::ChildId;
use crate::ike_sa::{Pending, Room, Spis, random_u32};
use crate::path::Path;
use crate::tunnel::Want;
use crate::wire::v1::{Message, Protection};
use crate::wire::{Flags, Header};

/// Quick Modes that one IKE SA may see. Every Message ID is remembered for the life of the SA, so that none is accepted twice; an SA
/// that has seen so many is due for its own rekey.
pub(crate) const MAX_QUICK_MODES: usize = 16_384;
/// Quick Modes that we run at once on one IKE SA. Some peers refuse a fourth.
const MAX_INITIATED: usize = 3;
/// Informational Message IDs that are remembered.
const MAX_INFORMATIONALS: usize = 128;

/// What an IKE SA is under IKEv1.
#[derive(Debug)]
pub(crate) struct IsakmpSa {
    pub(crate) phase: Phase,
    /// Our last message of Main Mode as initiator.
    pub(crate) pending: Option<Pending>,
    /// Our last message of Main Mode as responder.
    pub(crate) answered: Option<Answered>,
    /// The peer has deleted it. It is kept for a moment to read what the peer said at the same time and what came later.
    pub(crate) closing: bool,
}

/// A message that was answered, so that its repetition gets the same answer and changes nothing.
#[derive(Debug)]
pub(crate) struct Answered {
    digest: Vec<u8>,
    pub(crate) datagram: Vec<u8>,
}

impl Answered {
    pub(crate) fn new(received: &[u8], datagram: Vec<u8>) -> Self {
        Self {
            digest: digest(received),
            datagram,
        }
    }

    pub(crate) fn is_for(&self, received: &[u8]) -> bool {
        self.digest == digest(received)
    }
}

/// Tells repetitions of a datagram from new ones.
fn digest(received: &[u8]) -> Vec<u8> {
    Hash::Sha2_256.digest(&[received])
}

/// How far an IKE SA has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Main Mode initiator, message 1 sent.
    SentSa(initiator::AwaitSa),
    /// Main Mode initiator, message 3 sent.
    SentKe(initiator::AwaitKe),
    /// Main Mode initiator, message 5 sent.
    SentAuth(Box<initiator::AwaitAuth>),
    /// Main Mode responder, message 2 sent.
    AnsweredSa(responder::AwaitKe),
    /// Main Mode responder, message 4 sent.
    AnsweredKe(Box<responder::AwaitAuth>),
    /// Both ends are authenticated.
    Established(Box<Established>),
    /// Nothing more will happen.
    Ended,
}

/// What an established IKE SA holds.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) keys: SaKeys,
    pub(crate) nat: Option<Nat>,
    /// The peer answers R-U-THERE.
    pub(crate) dpd_supported: bool,
    pub(crate) dpd: Dpd,
    /// Quick Modes under way, by Message ID, and finished ones whose last message may have to be repeated.
    pub(crate) quick_modes: BTreeMap<u32, QuickMode>,
    pub(crate) used_message_ids: BTreeSet<u32>,
    informational_ids: VecDeque<u32>,
}

/// One Quick Mode.
#[derive(Debug)]
pub(crate) struct QuickMode {
    pub(crate) step: QuickStep,
    /// Our last message: message 1 or 2 until it is answered, message 3 for a peer that missed it.
    pub(crate) pending: Pending,
    /// The message that our last one answers.
    pub(crate) answered: Option<Vec<u8>>,
    pub(crate) started: Instant,
}

/// How far a Quick Mode has come.
#[derive(Debug)]
pub(crate) enum QuickStep {
    /// Message 1 sent.
    Initiated(Box<AwaitAnswer>),
    /// Message 2 sent, the inbound SA is installed.
    Answered(Box<AwaitConfirmation>, ChildId),
    /// Message 3 sent, or the peer's message 1 refused. Only repeats what it said last.
    Finished,
}

impl QuickMode {
    pub(crate) fn new(step: QuickStep, datagram: Vec<u8>, received: Option<&[u8]>, now: Instant) -> Self {
        Self {
            step,
            pending: Pending::new(datagram),
            answered: received.map(digest),
            started: now,
        }
    }

    /// Whether `received` is what our last message answers already.
    pub(crate) fn is_repetition(&self, received: &[u8]) -> bool {
        self.answered
            .as_ref()
            .is_some_and(|answered| *answered == digest(received))
    }
}

impl Established {
    pub(crate) fn new(authenticated: Authenticated, first_probe: u32) -> Self {
        let Authenticated { keys, nat, dpd, .. } = authenticated;
        Self {
            keys,
            nat,
            dpd_supported: dpd,
            dpd: Dpd::new(first_probe),
            quick_modes: BTreeMap::new(),
            used_message_ids: BTreeSet::new(),
            informational_ids: VecDeque::new(),
        }
    }

    /// Notes the Message ID of an authentic Informational; false if it was seen before.
    pub(crate) fn note_informational(&mut self, message_id: u32) -> bool {
        if self.informational_ids.contains(&message_id) {
            return false;
        }
        if self.informational_ids.len() == MAX_INFORMATIONALS {
            self.informational_ids.pop_front();
        }
        self.informational_ids.push_back(message_id);
        true
    }

    /// A Message ID that was not used. Never zero, which is phase 1.
    pub(crate) fn new_message_id(&self, rng: &mut impl RandomSource) -> u32 {
        loop {
            let id = random_u32(rng);
            if id != 0 && !self.used_message_ids.contains(&id) && !self.informational_ids.contains(&id) {
                return id;
            }
        }
    }

    /// Quick Modes that we initiated and that are not answered.
    pub(crate) fn initiated(&self) -> impl Iterator<Item = (u32, &AwaitAnswer)> {
        self.quick_modes
            .iter()
            .filter_map(|(&id, quick)| match &quick.step {
                QuickStep::Initiated(step) => Some((id, &**step)),
                QuickStep::Answered(..) | QuickStep::Finished => None,
            })
    }
}

/// What a message of Main Mode brought about.
pub(crate) enum Advance {
    /// Send this message and wait for the next.
    Reply(Vec<u8>),
    /// Established. The responder's last message is to be sent.
    Up(Option<Vec<u8>>, Box<Authenticated>),
}

/// Why a message of Main Mode does not advance it.
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    /// What to tell the peer, protected if it has proven itself.
    pub(crate) reply: Option<Vec<u8>>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, reply: None }
    }
}

impl IsakmpSa {
    /// A peer's attempt that has not proven anything.
    pub(crate) const fn is_half_open(&self) -> bool {
        matches!(self.phase, Phase::AnsweredSa(_) | Phase::AnsweredKe(_))
    }

    /// The number of the Main Mode message that we wait for.
    pub(crate) const fn waits_for(&self) -> u8 {
        match self.phase {
            Phase::SentSa(_) => 2,
            Phase::AnsweredSa(_) => 3,
            Phase::SentKe(_) => 4,
            Phase::AnsweredKe(_) => 5,
            Phase::SentAuth(_) => 6,
            Phase::Established(_) | Phase::Ended => 0,
        }
    }

    /// Name of its state, for status.
    pub(crate) fn state(&self) -> String {
        match self.phase {
            Phase::Established(_) => "established".to_owned(),
            Phase::Ended => "ended".to_owned(),
            Phase::SentSa(_)
            | Phase::SentKe(_)
            | Phase::SentAuth(_)
            | Phase::AnsweredSa(_)
            | Phase::AnsweredKe(_) => format!("main mode, waiting for message {}", self.waits_for()),
        }
    }

    pub(crate) fn room(&self) -> Room {
        match self.established() {
            None => Room::Busy,
            Some(established) if established.used_message_ids.len() >= MAX_QUICK_MODES => Room::UsedUp,
            Some(established) if established.initiated().count() >= MAX_INITIATED => Room::Busy,
            Some(_) => Room::Free,
        }
    }

    /// What our Quick Modes are for.
    pub(crate) fn wants(&self) -> impl Iterator<Item = Want> {
        let initiated = self.established().into_iter().flat_map(Established::initiated);
        initiated.map(|(_, step)| step.want)
    }

    pub(crate) fn established(&self) -> Option<&Established> {
        match &self.phase {
            Phase::Established(established) => Some(established),
            Phase::SentSa(_)
            | Phase::SentKe(_)
            | Phase::SentAuth(_)
            | Phase::AnsweredSa(_)
            | Phase::AnsweredKe(_)
            | Phase::Ended => None,
        }
    }

    pub(crate) fn established_mut(&mut self) -> Option<&mut Established> {
        match &mut self.phase {
            Phase::Established(established) => Some(established),
            Phase::SentSa(_)
            | Phase::SentKe(_)
            | Phase::SentAuth(_)
            | Phase::AnsweredSa(_)
            | Phase::AnsweredKe(_)
            | Phase::Ended => None,
        }
    }

    /// Takes a message of Main Mode. After an error the phase is what it was, or [`Phase::Ended`].
    pub(crate) fn on_main_mode<R: RandomSource>(
        &mut self,
        head: (&mut Spis, &mut Path),
        header: &Header,
        body: &[u8],
        initial_contact: bool,
        cx: &mut StepCx<'_, R>,
    ) -> Result<Advance, Refused> {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::SentSa(step) => match clear(header, body).and_then(|m| step.judge(header, &m, cx)) {
                Err(refusal) => self.keep(Phase::SentSa(step), refusal),
                Ok(answer) => {
                    let (step, datagram) = step.on_sa(answer, cx).map_err(Refusal::from)?;
                    *head.0 = step.spis();
                    self.phase = Phase::SentKe(step);
                    Ok(Advance::Reply(datagram))
                }
            },
            Phase::SentKe(step) => match clear(header, body).and_then(|m| step.judge(&m, cx)) {
                Err(refusal) => self.keep(Phase::SentKe(step), refusal),
                Ok(answer) => {
                    let (step, datagram) = step.on_ke(answer, initial_contact, cx)?;
                    if step.floats() {
                        *head.1 = head.1.floated();
                    }
                    self.phase = Phase::SentAuth(Box::new(step));
                    Ok(Advance::Reply(datagram))
                }
            },
            Phase::SentAuth(step) => match step.judge(header, body, cx) {
                Err(Refusal::End(diagnosis, notify)) => {
                    let keys = step.into_keys_after(header, body);
                    // The peer counts the SA as established: it has to hear that it is not.
                    let payloads: Vec<_> = notify
                        .map(|notify| keys.notify(notify, Vec::new()))
                        .into_iter()
                        .chain([keys.delete()])
                        .collect();
                    let reply = keys.informational(nonzero(cx.rng), &payloads).ok();
                    Err(Refused {
                        refusal: Refusal::End(diagnosis, notify),
                        reply,
                    })
                }
                Err(refusal) => self.keep(Phase::SentAuth(step), refusal),
                Ok(answer) => Ok(Advance::Up(None, Box::new(step.on_auth(answer)))),
            },
            Phase::AnsweredSa(step) => match clear(header, body).and_then(|m| step.judge(&m, cx)) {
                Err(refusal) => self.keep(Phase::AnsweredSa(step), refusal),
                Ok(request) => {
                    let (step, datagram) = step.on_ke(request, cx)?;
                    self.phase = Phase::AnsweredKe(Box::new(step));
                    Ok(Advance::Reply(datagram))
                }
            },
            Phase::AnsweredKe(step) => match step.judge(header, body, cx) {
                Err(Refusal::End(diagnosis, notify)) => {
                    let keys = step.into_keys_after(header, body);
                    let payload = notify.map(|notify| keys.notify(notify, Vec::new()));
                    let reply =
                        payload.and_then(|payload| keys.informational(nonzero(cx.rng), &[payload]).ok());
                    Err(Refused {
                        refusal: Refusal::End(diagnosis, notify),
                        reply,
                    })
                }
                Err(refusal) => self.keep(Phase::AnsweredKe(step), refusal),
                Ok(request) => {
                    let (authenticated, datagram) = step
                        .on_auth(request, initial_contact, cx)
                        .map_err(Refusal::from)?;
                    Ok(Advance::Up(Some(datagram), Box::new(authenticated)))
                }
            },
            phase @ (Phase::Established(_) | Phase::Ended) => {
                self.keep(phase, Refusal::Drop("main mode is over"))
            }
        }
    }

    fn keep(&mut self, phase: Phase, refusal: Refusal) -> Result<Advance, Refused> {
        self.phase = phase;
        Err(refusal.into())
    }
}

/// Reads a message of Main Mode that comes in the clear.
pub(crate) fn clear<'b>(header: &Header, body: &'b [u8]) -> Result<Message<'b>, Refusal> {
    if header.flags.contains(Flags::ENCRYPTION) {
        return Err(Refusal::Drop("encrypted before there are keys"));
    }
    Ok(Message::parse(header.next_payload, body, Protection::Clear)?)
}

/// A Message ID for the only phase 2 message of an SA.
fn nonzero(rng: &mut impl RandomSource) -> u32 {
    random_u32(rng).max(1)
}
