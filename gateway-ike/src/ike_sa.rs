//! One IKE SA of either version, from the first message of its exchange to its end.

use std::time::{Duration, Instant};

use crate::config::{ConnectionId, SelectorPair};
use crate::crypto::RandomSource;
use crate::event::{IkeSaSnapshot, UdpEncapsulation};
use crate::path::{NAT_T_PORT, NatSides, Path};
use crate::policy::RetransmitPolicy;
use crate::tunnel::Want;
use crate::v1::isakmp_sa::{Established, IsakmpSa};
use crate::v2::ike_sa::V2Sa;
use crate::wire::IkeSpi;
use crate::wire::v1::NatNumbering;

/// Names an IKE SA within the endpoint; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SaKey(pub(crate) u64);

/// The SPIs of an IKE SA; IKEv1 calls them cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spis {
    pub(crate) initiator: IkeSpi,
    /// Zero until the responder has chosen it.
    pub(crate) responder: IkeSpi,
}

/// A message that waits for its answer.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) datagram: Vec<u8>,
    /// How often it was sent.
    pub(crate) sent: u32,
}

impl Pending {
    pub(crate) const fn new(datagram: Vec<u8>) -> Self {
        Self { datagram, sent: 1 }
    }

    /// When to look again, after the last sending at `now`.
    pub(crate) fn wait(&self, policy: &RetransmitPolicy) -> Option<Duration> {
        policy.wait(self.sent)
    }
}

/// One IKE SA: what both versions have, and what its version adds.
#[derive(Debug)]
pub(crate) struct IkeSa {
    pub(crate) connection: ConnectionId,
    /// Whether we initiated it.
    pub(crate) initiator: bool,
    pub(crate) path: Path,
    pub(crate) spis: Spis,
    pub(crate) started: Instant,
    /// When the peer last proved to be there.
    pub(crate) heard: Instant,
    /// The IKE SA that this one was initiated to replace.
    pub(crate) replaces: Option<SaKey>,
    /// `None` until both ends are authenticated.
    pub(crate) up: Option<Up>,
    pub(crate) nat: NatSides,
    /// Both ends initiated at once and prefer the other one: its Child SAs yield.
    pub(crate) yields: bool,
    /// A failure that nobody has proven was reported; once is enough.
    pub(crate) reported: bool,
    pub(crate) state: State,
}

/// Times of an established IKE SA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Up {
    pub(crate) since: Instant,
    pub(crate) rekey_at: Instant,
}

/// What an IKE SA is under its version.
#[derive(Debug)]
pub(crate) enum State {
    V1(IsakmpSa),
    V2(Box<V2Sa>),
}

/// Whether an IKE SA takes another negotiation of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    /// Not before one that is under way has ended.
    Busy,
    /// Only a successor does.
    UsedUp,
}

impl IkeSa {
    /// The SPI by which the peer addresses us.
    pub(crate) const fn own_spi(&self) -> IkeSpi {
        if self.initiator {
            self.spis.initiator
        } else {
            self.spis.responder
        }
    }

    pub(crate) const fn v1(&self) -> Option<&IsakmpSa> {
        match &self.state {
            State::V1(sa) => Some(sa),
            State::V2(_) => None,
        }
    }

    pub(crate) const fn v1_mut(&mut self) -> Option<&mut IsakmpSa> {
        match &mut self.state {
            State::V1(sa) => Some(sa),
            State::V2(_) => None,
        }
    }

    pub(crate) fn v2(&self) -> Option<&V2Sa> {
        match &self.state {
            State::V1(_) => None,
            State::V2(sa) => Some(sa),
        }
    }

    pub(crate) fn v2_mut(&mut self) -> Option<&mut V2Sa> {
        match &mut self.state {
            State::V1(_) => None,
            State::V2(sa) => Some(sa),
        }
    }

    /// What the phase 2 exchanges of IKEv1 work with.
    pub(crate) fn phase_2(&self) -> Option<&Established> {
        self.v1()?.established()
    }

    pub(crate) fn phase_2_mut(&mut self) -> Option<&mut Established> {
        self.v1_mut()?.established_mut()
    }

    /// Whether another Child SA can be negotiated.
    pub(crate) fn room(&self) -> Room {
        match &self.state {
            State::V1(sa) => sa.room(),
            State::V2(sa) => sa.room(),
        }
    }

    /// Whether we are negotiating a Child SA for `selectors`.
    pub(crate) fn negotiates(&self, selectors: SelectorPair) -> bool {
        self.wants().any(|want| want.selectors == selectors)
    }

    /// What we are negotiating Child SAs for.
    pub(crate) fn wants(&self) -> impl Iterator<Item = Want> {
        let v1 = self.v1().into_iter().flat_map(IsakmpSa::wants);
        v1.chain(self.v2().and_then(V2Sa::wants))
    }

    /// A peer's attempt that has come no further than our first answer: it is the most likely to be forged.
    pub(crate) fn is_fresh(&self) -> bool {
        match &self.state {
            State::V1(sa) => sa.is_fresh(),
            State::V2(sa) => sa.is_fresh(),
        }
    }

    /// Ports for ESP in UDP: a NAT was found and both ends moved to port 4500.
    pub(crate) fn encapsulation(&self) -> Option<UdpEncapsulation> {
        (self.nat.found() && self.path.local.port() == NAT_T_PORT).then(|| UdpEncapsulation {
            local_port: self.path.local.port(),
            peer_port: self.path.peer.port(),
        })
    }

    /// The dialect of UDP encapsulation of IKEv1, if ESP travels in UDP.
    pub(crate) fn udp_dialect(&self) -> Option<NatNumbering> {
        self.encapsulation()?;
        Some(self.phase_2()?.nat?.numbering)
    }

    pub(crate) fn snapshot(&self, now: Instant) -> IkeSaSnapshot {
        IkeSaSnapshot {
            connection: self.connection,
            spis: (self.spis.initiator, self.spis.responder),
            initiator: self.initiator,
            state: match &self.state {
                State::V1(sa) => sa.state(),
                State::V2(sa) => sa.state(),
            },
            idle: now.saturating_duration_since(self.heard),
            age: now.saturating_duration_since(self.started),
            volume: self
                .phase_2()
                .and_then(|established| established.volume.used_of()),
        }
    }
}

pub(crate) fn random_u32(rng: &mut impl RandomSource) -> u32 {
    let mut octets = [0; 4];
    rng.fill(&mut octets);
    u32::from_be_bytes(octets)
}
