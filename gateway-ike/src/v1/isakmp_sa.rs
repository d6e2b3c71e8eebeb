//! One ISAKMP SA: phase 1, then the phase 2 exchanges under it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::dpd::Dpd;
use super::fragments::{self, Fragments};
use super::nat_traversal::Nat;
use super::phase1::diagnosis::Named;
use super::phase1::{Authenticated, Phase1};
use super::quick_mode::initiator::{Agreeing, Asking, AwaitAnswer};
use super::quick_mode::responder::{AwaitConfirmation, Request};
use super::sa::SaKeys;
use super::volume::Volume;
use crate::crypto::{Hash, RandomSource};
use crate::event::ChildId;
use crate::ike_sa::{Pending, Room, random_u32};
use crate::tunnel::Want;

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
    /// Our last message of phase 1 as initiator, until it is answered.
    pub(crate) pending: Option<Pending>,
    /// The last message of phase 1 that we accepted as responder, with our answer once it is there.
    pub(crate) answered: Option<Answered>,
    /// The peer puts fragments together.
    pub(crate) peer_reassembles: bool,
    next_fragment_id: u16,
    /// A message that comes in, in fragments.
    pub(crate) fragments: Fragments,
    /// The peer has deleted it. It is kept for a moment to read what the peer said at the same time and what came later.
    pub(crate) closing: bool,
}

/// A message that was answered, so that its repetition gets the same answer and changes nothing.
#[derive(Debug)]
pub(crate) struct Answered {
    digest: Vec<u8>,
    /// `None` while the answer waits for a key exchange, and when there is none.
    pub(crate) datagram: Option<Vec<u8>>,
}

impl Answered {
    pub(crate) fn new(received: &[u8]) -> Self {
        Self {
            digest: digest(received),
            datagram: None,
        }
    }

    pub(crate) fn is_for(&self, received: &[u8]) -> bool {
        self.digest == digest(received)
    }
}

/// Tells repetitions of a datagram from new ones.
pub(crate) fn digest(received: &[u8]) -> Vec<u8> {
    Hash::Sha2_256.digest(&[received])
}

/// How far an IKE SA has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Main Mode or Aggressive Mode is under way.
    Negotiating(Phase1),
    /// Both ends are authenticated.
    Established(Box<Established>),
}

/// What an established IKE SA holds.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) keys: SaKeys,
    pub(crate) nat: Option<Nat>,
    /// From the beginning to the end, as both ends know it.
    pub(crate) lifetime: Duration,
    pub(crate) volume: Volume,
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
    /// Digest of the message that our last one answers, or will answer.
    pub(crate) answered: Option<Vec<u8>>,
    pub(crate) started: Instant,
    /// As initiator: how long message 2 took.
    pub(crate) answered_in: Duration,
    /// The peer asks for the same, and its Quick Mode comes first: ours is finished only if the peer does so.
    pub(crate) has_yielded: bool,
}

/// How far a Quick Mode has come.
#[derive(Debug)]
pub(crate) enum QuickStep {
    /// Message 1 waits for our public value.
    Asking(Asking),
    /// Message 1 sent.
    Initiated(Box<AwaitAnswer>),
    /// Message 2 accepted, message 3 waits for the shared secret.
    Agreeing(Box<Agreeing>),
    /// Message 1 accepted, message 2 waits for our public value and the shared secret.
    Responding(Box<Request>),
    /// Message 2 sent, the inbound SA is installed.
    Answered(Box<AwaitConfirmation>, ChildId),
    /// Message 3 sent, or the peer's message 1 refused. Only repeats what it said last.
    Finished,
}

impl QuickStep {
    /// What we ask for, while it is not settled.
    pub(crate) fn asking(&self) -> Option<Asking> {
        match self {
            Self::Asking(asking) => Some(*asking),
            Self::Initiated(step) => Some(step.asking),
            Self::Agreeing(step) => Some(step.asking),
            Self::Responding(_) | Self::Answered(..) | Self::Finished => None,
        }
    }
}

impl QuickMode {
    pub(crate) fn new(step: QuickStep, datagram: Vec<u8>, received: Option<&[u8]>, now: Instant) -> Self {
        Self {
            step,
            pending: Pending::new(datagram),
            answered: received.map(digest),
            started: now,
            answered_in: Duration::ZERO,
            has_yielded: false,
        }
    }

    /// A Quick Mode whose next message waits for a key exchange. There is nothing to repeat meanwhile.
    pub(crate) fn computing(step: QuickStep, received: Option<&[u8]>, now: Instant) -> Self {
        Self::new(step, Vec::new(), received, now)
    }

    pub(crate) const fn is_computing(&self) -> bool {
        matches!(
            self.step,
            QuickStep::Asking(_) | QuickStep::Agreeing(_) | QuickStep::Responding(_)
        )
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
        let Authenticated {
            keys,
            choice,
            nat,
            dpd,
            ..
        } = authenticated;
        Self {
            keys,
            nat,
            lifetime: choice.lifetime,
            volume: Volume::new(choice.kilobytes),
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

    /// Quick Modes that we initiated and that are neither finished nor left to the peer.
    pub(crate) fn initiated(&self) -> impl Iterator<Item = Asking> {
        self.quick_modes
            .values()
            .filter(|quick| !quick.has_yielded)
            .filter_map(|quick| quick.step.asking())
    }
}

impl IsakmpSa {
    /// At its beginning.
    pub(crate) fn new(phase1: Phase1) -> Self {
        Self {
            phase: Phase::Negotiating(phase1),
            pending: None,
            answered: None,
            peer_reassembles: false,
            next_fragment_id: 1,
            fragments: Fragments::default(),
            closing: false,
        }
    }

    /// Phase 1, while it is under way.
    pub(crate) const fn negotiating(&self) -> Option<&Phase1> {
        match &self.phase {
            Phase::Negotiating(phase1) => Some(phase1),
            Phase::Established(_) => None,
        }
    }

    /// Whether a peer's attempt has come no further than our first answer.
    pub(crate) const fn is_fresh(&self) -> bool {
        matches!(&self.phase, Phase::Negotiating(phase1) if phase1.is_fresh())
    }

    /// Name of its state, for status.
    pub(crate) fn state(&self) -> String {
        match &self.phase {
            Phase::Established(_) => "established".to_owned(),
            Phase::Negotiating(phase1) => {
                let Named(mode, number) = phase1.waits_for();
                format!("{mode}, waiting for message {number}")
            }
        }
    }

    /// The datagrams that carry a message to the peer: several if it is large and the peer puts fragments together.
    pub(crate) fn packed(&mut self, datagram: Vec<u8>) -> Vec<Vec<u8>> {
        if !self.peer_reassembles {
            return vec![datagram];
        }
        let id = self.next_fragment_id;
        self.next_fragment_id = id.wrapping_add(1);
        fragments::split(datagram, id)
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
        initiated.map(|asking| asking.want)
    }

    /// Established by our last message of phase 1, of which the peer has not shown that it came: for the peer there may be no such SA.
    pub(crate) const fn is_unproven(&self) -> bool {
        matches!(self.phase, Phase::Established(_)) && self.pending.is_some()
    }

    pub(crate) fn established(&self) -> Option<&Established> {
        match &self.phase {
            Phase::Established(established) => Some(established),
            Phase::Negotiating(_) => None,
        }
    }

    pub(crate) fn established_mut(&mut self) -> Option<&mut Established> {
        match &mut self.phase {
            Phase::Established(established) => Some(established),
            Phase::Negotiating(_) => None,
        }
    }
}
