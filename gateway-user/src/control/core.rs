//! The heart of the control loop: desired and actual state, without sockets, clocks or channels.
//!
//! The driver feeds it configurations, datagrams, deadlines and the data plane's events, each with the time; what it wants done it
//! does to its [`Fabric`], and datagrams to send wait in [`Core::poll_transmit`].

mod apply;
mod events;
mod inbound;
mod install;
mod limits;
mod probes;
mod snapshot;
mod spaces;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

use gateway_common::Spi;
use gateway_common::abi::SaKey;
use gateway_ike::config::{ConnectionId, PairIndex};
use gateway_ike::crypto::{KeyExchangeDone, KeyExchangeJob};
use gateway_ike::diagnosis::Code;
use gateway_ike::event::{ChildId, Event, Transmit};
use gateway_ike::{Endpoint, EndpointConfig, JobId};

use self::events::Recording;
use self::inbound::InboundSlots;
use self::spaces::Spds;
use super::convert;
use super::fabric::Fabric;
use super::slots::{Slot, Slots};
use super::strangers::Strangers;
use super::tunnel::{IkeSa, Tunnel};
use crate::config::{Config, GatewayConfig, Id};
use crate::dataplane::{Capacity, DataplaneEvent};
use crate::status::Durations;

/// A VPN gateway and its limiters.
#[derive(Debug)]
struct Gateway {
    config: Arc<GatewayConfig>,
    number: Slot,
}

impl Gateway {
    /// Limiter of traffic to the peers. Number 0 means "no limiter", so the first one is 1.
    const fn limiter_out(&self) -> u32 {
        self.number.index * 2 + 1
    }

    /// Limiter of traffic from the peers.
    const fn limiter_in(&self) -> u32 {
        self.number.index * 2 + 2
    }
}

/// An inbound SA that the engine asks its peer for.
#[derive(Debug)]
struct Expected {
    slot: Slot,
    key: SaKey,
}

/// Everything that the control loop owns.
#[derive(Debug)]
pub(super) struct Core<F> {
    endpoint: Endpoint,
    pub(super) fabric: F,
    config: Option<Arc<Config>>,
    gateways: BTreeMap<Id, Gateway>,
    /// By number, which is also the engine's [`ConnectionId`].
    tunnels: BTreeMap<u32, Tunnel>,
    numbers: BTreeMap<Id, Slot>,
    /// Tunnel of each Child SA.
    children: BTreeMap<ChildId, u32>,
    /// Child SA of each inbound SA.
    inbound_owners: BTreeMap<u32, (u32, ChildId)>,
    /// Inbound SAs that are asked for, by their SPI.
    expected: BTreeMap<Spi, Expected>,
    tunnel_slots: Slots,
    gateway_slots: Slots,
    policy_slots: Slots,
    inbound_slots: InboundSlots,
    outbound_slots: Slots,
    spds: Spds,
    transmits: VecDeque<Transmit>,
    unknown_peers: u64,
    strangers: Strangers,
    /// Failures of all tunnels and strangers.
    failures: BTreeMap<Code, u64>,
    ike_durations: Durations,
    ike_rekey_durations: Durations,
    setup_durations: Durations,
    /// Tunnels whose peers were negotiating at the last tick.
    answering: BTreeSet<u32>,
    /// When which tunnel's probe has something to do. An entry of a probe that ended or changed does nothing at its time.
    probes: BTreeSet<(Instant, u32)>,
    generation: u64,
    /// `None`: no store keeps the timelines.
    recording: Option<Recording>,
    /// When the counters were looked at.
    looked: Option<Instant>,
}

/// What became of a command about one tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandOutcome {
    Done,
    /// The tunnel is not taken down any more, and only its peer brings it up.
    OnlyAnswers,
    NoSuchTunnel,
}

impl<F: Fabric> Core<F> {
    pub(super) fn new(engine: EndpointConfig, capacity: Capacity, gateways: u32, fabric: F) -> Self {
        Self {
            endpoint: Endpoint::new(engine),
            fabric,
            config: None,
            gateways: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            numbers: BTreeMap::new(),
            children: BTreeMap::new(),
            inbound_owners: BTreeMap::new(),
            expected: BTreeMap::new(),
            tunnel_slots: Slots::new(capacity.tunnels),
            gateway_slots: Slots::new(gateways),
            policy_slots: Slots::new(capacity.policies),
            inbound_slots: InboundSlots::new(capacity.sas),
            outbound_slots: Slots::new(capacity.sas),
            spds: Spds::default(),
            transmits: VecDeque::new(),
            unknown_peers: 0,
            strangers: Strangers::default(),
            failures: BTreeMap::new(),
            ike_durations: Durations::default(),
            ike_rekey_durations: Durations::default(),
            setup_durations: Durations::default(),
            answering: BTreeSet::new(),
            probes: BTreeSet::new(),
            generation: 0,
            recording: None,
            looked: None,
        }
    }

    /// A datagram of a peer, without the non-ESP marker.
    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        local: SocketAddrV4,
        peer: SocketAddrV4,
        payload: &[u8],
    ) {
        self.endpoint.handle_datagram(now, local, peer, payload);
        self.drain(now);
    }

    /// A job of [`Self::poll_job`] is done.
    pub(super) fn handle_job(&mut self, now: Instant, id: JobId, done: KeyExchangeDone) {
        self.endpoint.handle_job(now, id, done);
        self.drain(now);
    }

    /// The next key exchange to compute.
    pub(super) fn poll_job(&mut self) -> Option<(JobId, KeyExchangeJob)> {
        self.endpoint.poll_job()
    }

    /// The deadline of [`Self::poll_timeout`] has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.drain(now);
        self.send_probes(now);
        self.inbound_slots.handle_timeout(now, &mut self.fabric);
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = [
            self.endpoint.poll_timeout(),
            self.next_probe(),
            self.inbound_slots.poll_timeout(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The next datagram to send.
    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Something happened in the data plane.
    pub(super) fn handle_dataplane(&mut self, now: Instant, event: &DataplaneEvent) {
        match event {
            DataplaneEvent::Acquire { policy, tunnel } => self.acquire(now, *policy, *tunnel),
            DataplaneEvent::InboundFirstUse { index, generation } => {
                if let Some(child) = self.inbound_owner(*index, *generation) {
                    self.endpoint.child_inbound_used(now, child);
                }
            }
            DataplaneEvent::PeerPort {
                index,
                generation,
                port,
            } => {
                if let Some(child) = self.inbound_owner(*index, *generation) {
                    self.endpoint.child_peer_port(now, child, *port);
                }
            }
            DataplaneEvent::SaLimit { index, tunnel, mark } => {
                self.near_limit(now, *tunnel, *index, *mark);
            }
            DataplaneEvent::ProbeAnswered {
                tunnel,
                from,
                sequence,
                at,
            } => self.probe_answered(*tunnel, *at, *from, *sequence),
            DataplaneEvent::WorkerFailed { .. } => {}
        }
        self.drain(now);
    }

    /// ESP came in that no SA opens: on paths, local address first, with SPIs.
    pub(super) fn handle_unknown_spis(&mut self, now: Instant, noted: &[(Ipv4Addr, Ipv4Addr, Spi)]) {
        for &(local, peer, spi) in noted {
            self.endpoint.note_unknown_spi(now, local, peer, spi);
        }
        self.drain(now);
    }

    /// The Child SA whose inbound half has this index, unless the index has been given anew.
    fn inbound_owner(&self, index: u32, generation: u32) -> Option<ChildId> {
        let &(current, child) = self.inbound_owners.get(&index)?;
        (current == generation).then_some(child)
    }

    fn acquire(&mut self, now: Instant, policy: u32, number: u32) {
        let Some(tunnel) = self.tunnels.get(&number).filter(|tunnel| !tunnel.disabled) else {
            return;
        };
        let Some(pair) = tunnel.pairs.iter().position(|pair| pair.policy.index == policy) else {
            return;
        };
        if tunnel.config.start != crate::config::Start::Answer {
            self.endpoint
                .initiate(now, ConnectionId(number), pair_index(pair));
        }
    }

    /// Brings a tunnel up, also one that was taken down.
    pub(super) fn up(&mut self, now: Instant, id: &str) -> CommandOutcome {
        let Some(number) = self.number(id) else {
            return CommandOutcome::NoSuchTunnel;
        };
        let Some(tunnel) = self.tunnels.get_mut(&number) else {
            return CommandOutcome::NoSuchTunnel;
        };
        if std::mem::take(&mut tunnel.disabled) {
            tunnel.timeline.note(now, "the operator brings it up");
            let selectors = tunnel.pairs.iter().map(|pair| pair.selectors).collect();
            self.endpoint
                .put_connection(now, convert::connection(number, &tunnel.config, selectors));
        }
        let only_answers = tunnel.config.start == crate::config::Start::Answer;
        for pair in 0..tunnel.pairs.len() {
            self.endpoint
                .initiate(now, ConnectionId(number), pair_index(pair));
        }
        self.drain(now);
        if only_answers {
            CommandOutcome::OnlyAnswers
        } else {
            CommandOutcome::Done
        }
    }

    /// Ends a tunnel and keeps it down: the engine forgets it, so that neither end brings it up, and its policies stay without an
    /// SA, so that its traffic is dropped.
    pub(super) fn down(&mut self, now: Instant, id: &str) -> CommandOutcome {
        let Some(number) = self.number(id) else {
            return CommandOutcome::NoSuchTunnel;
        };
        if let Some(tunnel) = self.tunnels.get_mut(&number)
            && !std::mem::replace(&mut tunnel.disabled, true)
        {
            tunnel.timeline.note(now, "the operator takes it down");
            self.endpoint.remove_connection(now, ConnectionId(number));
        }
        self.drain(now);
        self.refresh_states(now, &BTreeSet::from([number]));
        CommandOutcome::Done
    }

    /// Tells all peers that their SAs are gone. The maps stay as they are: protected traffic is dropped from here on.
    pub(super) fn farewell(&mut self, now: Instant) {
        for &number in self.tunnels.keys() {
            self.endpoint.terminate(now, ConnectionId(number));
        }
        self.drain(now);
    }

    /// Carries out what the engine wants, in its order, and keeps what it wants sent.
    fn drain(&mut self, now: Instant) {
        let mut touched = BTreeSet::new();
        while let Some(event) = self.endpoint.poll_event() {
            touched.extend(self.on_event(now, event));
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            self.transmits.push_back(transmit);
        }
        if !touched.is_empty() {
            self.refresh_states(now, &touched);
        }
    }

    fn refresh_states(&mut self, now: Instant, which: &BTreeSet<u32>) {
        for number in which {
            let initiating = self.endpoint.is_initiating(ConnectionId(*number));
            let half_open = initiating || self.answering.contains(number);
            if let Some(tunnel) = self.tunnels.get_mut(number)
                && let Some(took) = tunnel.refresh(now, half_open)
            {
                self.setup_durations.observe(took);
            }
        }
    }

    /// The same for all tunnels: patience ends without an event, and peers begin without one.
    fn refresh_all(&mut self, now: Instant) {
        let answering = self.endpoint.answering();
        self.answering = answering.map(|connection| connection.0).collect();
        let all = self.tunnels.keys().copied().collect();
        self.refresh_states(now, &all);
    }

    fn number(&self, id: &str) -> Option<u32> {
        self.numbers.get(id).map(|slot| slot.index)
    }

    /// Carries out one event. Tells which tunnel it was about.
    fn on_event(&mut self, now: Instant, event: Event) -> Option<u32> {
        match event {
            Event::ExpectInbound { connection, spi } => {
                self.expect_inbound(connection, spi);
                None
            }
            Event::ForgetInbound { spi } => {
                self.forget_inbound(spi);
                None
            }
            Event::InstallChild { child, replaces } => {
                self.install_child(now, &child, replaces);
                Some(child.connection.0)
            }
            Event::UseOutbound { child } => self.use_outbound(now, child),
            Event::RemoveChild { child } => self.remove_child(now, child),
            Event::IkeUp {
                connection,
                version,
                spis,
                initiator,
                algorithms,
                rekey_at,
                expires_at,
                nat,
                rekeyed,
            } => {
                let ike = IkeSa {
                    version,
                    spis,
                    initiator,
                    algorithms,
                    established: now,
                    rekey_at,
                    expires_at,
                    nat,
                };
                self.ike_up(now, connection, ike, rekeyed);
                Some(connection.0)
            }
            Event::IkeDown {
                connection,
                spis,
                last,
            } => {
                let tunnel = self.tunnels.get_mut(&connection.0)?;
                tunnel.ike.retain(|ike| ike.spis != spis);
                tunnel.timeline.note(
                    now,
                    if last {
                        "the last IKE SA ended"
                    } else {
                        "an IKE SA ended"
                    },
                );
                Some(connection.0)
            }
            Event::RaiseSequence { child, by } => {
                self.raise_sequence(child, by);
                None
            }
            Event::PeerPortChanged {
                connection,
                encapsulation,
            } => {
                self.peer_port_changed(now, connection, encapsulation);
                Some(connection.0)
            }
            Event::Failed {
                connection,
                peer,
                diagnosis,
            } => {
                *self.failures.entry(diagnosis.code).or_default() += 1;
                let Some(tunnel) = connection.and_then(|connection| self.tunnels.get_mut(&connection.0))
                else {
                    self.unknown_peers += 1;
                    self.strangers.fail(now, *peer.ip(), diagnosis);
                    return None;
                };
                tunnel.fail(now, diagnosis);
                connection.map(|connection| connection.0)
            }
            Event::Note { connection, text } => {
                let tunnel = self.tunnels.get_mut(&connection.0)?;
                tracing::debug!(tunnel = %tunnel.config.id, text, "ike");
                tunnel.timeline.note(now, text);
                Some(connection.0)
            }
        }
    }
}

/// The engine counts pairs with 16 bits; the configuration's quotas stay far below.
fn pair_index(pair: usize) -> PairIndex {
    PairIndex(u16::try_from(pair).unwrap_or(u16::MAX))
}

/// Burst of a limiter: 200 ms, and no less than one segmentation-offloaded packet needs.
///
/// A policer has no queue. After a loss a TCP sender may be silent for its least retransmission timeout of 200 ms; with less burst it
/// could never make up for that and would stay well below the setting.
pub(super) fn burst(octets_per_second: u64) -> u64 {
    const LEAST: u64 = 64 * 1024;
    (octets_per_second / 5).max(LEAST)
}
