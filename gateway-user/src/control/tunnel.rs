//! What the control loop knows about one tunnel at the moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_common::Spi;
use gateway_common::abi::SaKey;
use gateway_esp::OutboundSa;
use gateway_ike::config::{IkeVersion, SelectorPair};
use gateway_ike::diagnosis::{Code, Diagnosis};
use gateway_ike::event::ChildId;
use gateway_ike::wire::IkeSpi;

use super::probe::Probe;
use super::slots::Slot;
use super::timeline::Timeline;
use crate::config::TunnelConfig;
use crate::dataplane::{SaCounters, SaLimits, TunnelCounters};
use crate::status::{NegotiationCounts, TunnelState};

/// The same failure is logged again after this time.
const LOG_AGAIN: Duration = Duration::from_secs(300);
/// A failure of which something differs is logged after this time: whoever can forge first messages must not fill the log.
const LOG_OTHER: Duration = Duration::from_secs(10);
/// How long an IKE SA without a Child SA counts as a negotiation.
const CHILD_PATIENCE: Duration = Duration::from_secs(60);

/// One selector pair and its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PairPolicy {
    pub(super) selectors: SelectorPair,
    pub(super) policy: Slot,
}

/// One tunnel.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) config: Arc<TunnelConfig>,
    /// Taken down by the operator: the engine does not know the tunnel, and its traffic is dropped.
    pub(super) disabled: bool,
    /// In the order in which the engine knows them; an old pair keeps its place.
    pub(super) pairs: Vec<PairPolicy>,
    pub(super) ike: Vec<IkeSa>,
    pub(super) children: BTreeMap<ChildId, Child>,
    /// What SAs carried that are gone.
    pub(super) past: Traffic,
    /// What the number's former tunnel left in the data plane's counters.
    pub(super) baseline: TunnelCounters,
    /// Octets per second of its busiest SA, as seen lately.
    pub(super) pace: u64,
    pub(super) timeline: Timeline,
    /// The last failure of each code.
    pub(super) failures: BTreeMap<Code, Failure>,
    pub(super) negotiations: NegotiationCounts,
    pub(super) probe: Option<Probe>,
    state: TunnelState,
    pub(super) state_since: Instant,
    /// Time that it was neither up nor taken down, in states that are over.
    down: Duration,
}

/// What is known about failures with one code.
#[derive(Debug)]
pub(super) struct Failure {
    /// The last one.
    pub(super) diagnosis: Diagnosis,
    pub(super) first: Instant,
    pub(super) last: Instant,
    pub(super) count: u64,
    logged: Instant,
}

/// An established IKE SA.
#[derive(Debug)]
pub(super) struct IkeSa {
    pub(super) version: IkeVersion,
    pub(super) spis: (IkeSpi, IkeSpi),
    pub(super) initiator: bool,
    pub(super) algorithms: String,
    pub(super) established: Instant,
    pub(super) rekey_at: Instant,
    pub(super) expires_at: Instant,
    pub(super) nat: bool,
}

/// An installed Child SA.
#[derive(Debug)]
pub(super) struct Child {
    /// Never empty.
    pub(super) serves: Vec<Serving>,
    pub(super) inbound: Slot,
    pub(super) outbound: Slot,
    pub(super) key: SaKey,
    pub(super) spis: (Spi, Spi),
    pub(super) algorithms: String,
    pub(super) udp: bool,
    pub(super) esn: bool,
    pub(super) rekey_at: Instant,
    pub(super) expires_at: Instant,
    pub(super) limits: SaLimits,
    /// The outbound SA until the engine says that the peer is ready for it.
    pub(super) waiting: Option<Box<OutboundSa>>,
    /// When a successor was asked for because of a soft limit.
    pub(super) rekey_asked: Option<Instant>,
    /// Packets opened at the last look.
    pub(super) seen_inbound: u64,
    /// Octets of the busier direction at the last look.
    pub(super) seen_octets: u64,
}

/// A selector pair that a Child SA serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Serving {
    /// Position in [`Tunnel::pairs`].
    pub(super) pair: usize,
    pub(super) selectors: SelectorPair,
    /// Whether the pair's policy uses the Child SA's outbound SA.
    pub(super) current: bool,
}

impl Child {
    /// Whether a policy uses its outbound SA.
    pub(super) fn current(&self) -> bool {
        self.serves.iter().any(|serving| serving.current)
    }

    /// Whether both serve one pair of ranges.
    pub(super) fn shares_pair(&self, other: &Self) -> bool {
        let serves = |pair| other.serves.iter().any(|serving| serving.pair == pair);
        self.serves.iter().any(|serving| serves(serving.pair))
    }

    /// Whether a successor was asked for within the last `patience`.
    pub(super) fn was_asked(&self, now: Instant, patience: Duration) -> bool {
        self.rekey_asked
            .is_some_and(|at| now.saturating_duration_since(at) < patience)
    }

    /// The ranges on our side and on the peer's, for people.
    pub(super) fn ranges(&self) -> String {
        let pairs: Vec<_> = self
            .serves
            .iter()
            .map(|serving| format!("{} - {}", serving.selectors.local, serving.selectors.peer))
            .collect();
        pairs.join(", ")
    }
}

/// Packets and octets in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) packets_in: u64,
    pub(super) bytes_in: u64,
    pub(super) packets_out: u64,
    pub(super) bytes_out: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, inbound: &SaCounters, outbound: &SaCounters) {
        self.packets_in += inbound.packets;
        self.bytes_in += inbound.octets;
        self.packets_out += outbound.packets;
        self.bytes_out += outbound.octets;
    }
}

impl Tunnel {
    pub(super) fn new(now: Instant, config: Arc<TunnelConfig>, pairs: Vec<PairPolicy>) -> Self {
        Self {
            config,
            disabled: false,
            pairs,
            ike: Vec::new(),
            children: BTreeMap::new(),
            past: Traffic::default(),
            baseline: TunnelCounters::default(),
            pace: 0,
            timeline: Timeline::default(),
            failures: BTreeMap::new(),
            negotiations: NegotiationCounts::default(),
            probe: None,
            state: TunnelState::Down,
            state_since: now,
            down: Duration::ZERO,
        }
    }

    /// State as of the last [`Self::refresh`].
    pub(super) const fn state(&self) -> TunnelState {
        self.state
    }

    /// Time that it was neither up nor taken down.
    pub(super) fn down(&self, now: Instant) -> Duration {
        match self.state {
            TunnelState::Up | TunnelState::Disabled => self.down,
            TunnelState::Negotiating | TunnelState::Down => {
                self.down + now.saturating_duration_since(self.state_since)
            }
        }
    }

    /// Works the state out again. `half_open` says whether the engine negotiates an IKE SA. Tells how long it took to come up when it
    /// just did.
    pub(super) fn refresh(&mut self, now: Instant, half_open: bool) -> Option<Duration> {
        let child_pending = self.ike.last().is_some_and(|ike| {
            let failed = self.last_failure();
            let failed = failed.is_some_and(|failure| failure.last >= ike.established);
            !failed && now.saturating_duration_since(ike.established) < CHILD_PATIENCE
        });
        let state = if self.disabled {
            TunnelState::Disabled
        } else if self.children.values().any(Child::current) {
            TunnelState::Up
        } else if half_open || child_pending {
            TunnelState::Negotiating
        } else {
            TunnelState::Down
        };
        if state == self.state {
            return None;
        }
        tracing::info!(tunnel = %self.config.id, from = self.state.name(), to = state.name(), "tunnel");
        self.timeline
            .note(now, format!("{}, was {}", state.name(), self.state.name()));
        let lasted = now.saturating_duration_since(self.state_since);
        self.down = self.down(now);
        let was = std::mem::replace(&mut self.state, state);
        self.state_since = now;
        (was == TunnelState::Negotiating && state == TunnelState::Up).then_some(lasted)
    }

    /// The failure that was last.
    pub(super) fn last_failure(&self) -> Option<&Failure> {
        self.failures.values().max_by_key(|failure| failure.last)
    }

    /// Records a failed negotiation. The log has a line for news, and once in a while for what goes on.
    pub(super) fn fail(&mut self, now: Instant, diagnosis: Diagnosis) {
        self.timeline.note(now, diagnosis.to_string());
        let tunnel = &self.config.id;
        let Some(failure) = self.failures.get_mut(&diagnosis.code) else {
            tracing::warn!(%tunnel, %diagnosis, "negotiation failed");
            let failure = Failure {
                diagnosis,
                first: now,
                last: now,
                count: 1,
                logged: now,
            };
            self.failures.insert(failure.diagnosis.code, failure);
            return;
        };
        failure.count += 1;
        failure.last = now;
        let quiet = if failure.diagnosis == diagnosis {
            LOG_AGAIN
        } else {
            LOG_OTHER
        };
        if now.saturating_duration_since(failure.logged) >= quiet {
            failure.logged = now;
            tracing::warn!(%tunnel, %diagnosis, count = failure.count, "negotiation failed again");
        } else {
            tracing::debug!(%tunnel, %diagnosis, "negotiation failed again");
        }
        failure.diagnosis = diagnosis;
    }
}
