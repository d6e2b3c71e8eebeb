//! The endpoint: all tunnels, all IKE SAs, one place where datagrams, time and commands come in.

mod children;
mod commands;
mod cookies;
mod datagram;
mod ends;
mod established;
mod hints;
mod jobs;
mod reports;
mod timeouts;
mod unknown_spi;
mod v1;
mod v2;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_common::Spi;

use crate::config::{ConnectionConfig, ConnectionId, PairIndex};
use crate::crypto::{KeyExchangeDone, KeyExchangeJob, RandomSource, SeededRandom};
use crate::event::{ChildId, Event, IkeSaSnapshot, Totals, Transmit, TransmitKind};
use crate::half_open::HalfOpen;
use crate::ike_sa::{IkeSa, SaKey, random_u32};
use crate::jobs::{JobId, Jobs};
use crate::outbox::Outbox;
use crate::path::Path;
use crate::policy::{RekeyPolicy, RetransmitPolicy};
use crate::timer::Timers;
use crate::tunnel::Tunnel;
use crate::wire::IkeSpi;
use cookies::Cookies;
use reports::Reports;

/// Settings of the engine that concern all tunnels.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Seed of all randomness, from the operating system. Two endpoints with the same seed choose the same keys.
    pub seed: [u8; 32],
    /// How often messages are sent again.
    pub retransmit: RetransmitPolicy,
    /// When IKE SAs and Child SAs are renewed.
    pub rekey: RekeyPolicy,
    /// How long a replaced SA is kept for packets in flight before the peer is told that it is deleted.
    pub linger: Duration,
    /// How often a NAT-keepalive is sent when a NAT stands in front of us (RFC 3948 section 4).
    pub nat_keepalive: Duration,
    /// How long a peer may take for Main Mode.
    pub half_open_timeout: Duration,
    /// Attempts of peers that have not proven anything yet, in all.
    pub max_half_open: u32,
    /// The same for each source address.
    pub max_half_open_per_source: u32,
    /// Half-open attempts in all, from which on IKEv2 initiators have to repeat a cookie first (RFC 7296 section 2.6).
    pub cookie_threshold: u32,
    /// Child SAs per tunnel and selector pair, beyond which the peer gets no more.
    pub max_children_per_pair: u32,
}

impl EndpointConfig {
    /// The defaults.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            seed,
            retransmit: RetransmitPolicy::default(),
            rekey: RekeyPolicy::default(),
            linger: Duration::from_secs(5),
            nat_keepalive: Duration::from_secs(20),
            half_open_timeout: Duration::from_secs(30),
            max_half_open: 1000,
            max_half_open_per_source: 8,
            cookie_threshold: 100,
            max_children_per_pair: 16,
        }
    }
}

/// What has a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Phase 1 of IKEv1: send again as initiator, give up as responder.
    Phase1(SaKey),
    /// Quick Mode: send again, or forget a finished one.
    QuickMode(SaKey, u32),
    /// IKEv2: send our request again; as responder of a set-up give up.
    V2Request(SaKey),
    /// RFC 6311: ask the peer once more where its Message IDs go on.
    V2Sync(SaKey),
    /// Authenticate anew.
    Reauth(SaKey),
    /// Negotiate a successor.
    IkeRekey(SaKey),
    /// A successor is in use: tell the peer that this one is gone. Or the peer has said so, and what it says besides may still come.
    IkeDelete(SaKey),
    /// End of the lifetime.
    IkeEnd(SaKey),
    /// Keep the NAT's mapping.
    Keepalive(SaKey),
    /// See whether the peer is there.
    Dpd(ConnectionId),
    /// Bring up what shall always be up.
    Retry(ConnectionId),
    /// Ask for a Child SA once more.
    Want(ConnectionId, PairIndex),
    /// The peer has had time to install its half.
    ChildSettle(ChildId),
    /// Negotiate a successor.
    ChildRekey(ChildId),
    /// Negotiate a successor early, to see whether both ends mean the same PFS.
    PfsProbe(ChildId),
    /// A successor is in use by both ends: tell the peer that this one is gone.
    ChildDelete(ChildId),
    /// End of the lifetime.
    ChildEnd(ChildId),
}

/// The engine.
///
/// After every `handle_*` call and every command the driver drains [`Endpoint::poll_event`], then [`Endpoint::poll_transmit`],
/// then asks for [`Endpoint::poll_timeout`]. The order is part of the contract: an inbound SA must be installed (an event) before
/// the reply that lets the peer use it leaves (a transmit). As far as it has threads for them it takes jobs from
/// [`Endpoint::poll_job`], whenever it likes, and hands each result to [`Endpoint::handle_job`].
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    rng: SeededRandom,
    tunnels: BTreeMap<ConnectionId, Tunnel>,
    /// Tunnels by our address and the peer's.
    by_peer: BTreeMap<(Ipv4Addr, Ipv4Addr), ConnectionId>,
    sas: BTreeMap<SaKey, IkeSa>,
    /// IKE SAs by the SPI that we chose.
    by_spi: BTreeMap<IkeSpi, SaKey>,
    /// IKE SAs that peers initiated, by their address and SPI: repetitions of message 1 have nothing else.
    by_first_message: BTreeMap<(Ipv4Addr, IkeSpi), SaKey>,
    child_owners: BTreeMap<ChildId, ConnectionId>,
    inbound_spis: BTreeSet<Spi>,
    half_open: HalfOpen,
    timers: Timers<Timer>,
    cookies: Cookies,
    jobs: Jobs<jobs::JobOwner>,
    outbox: Outbox,
    reports: Reports,
    totals: Totals,
    next_sa: u64,
    next_child: u64,
}

impl Endpoint {
    /// An endpoint without tunnels.
    pub fn new(config: EndpointConfig) -> Self {
        Self {
            rng: SeededRandom::new(config.seed),
            config,
            tunnels: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            sas: BTreeMap::new(),
            by_spi: BTreeMap::new(),
            by_first_message: BTreeMap::new(),
            child_owners: BTreeMap::new(),
            inbound_spis: BTreeSet::new(),
            half_open: HalfOpen::default(),
            timers: Timers::new(),
            cookies: Cookies::default(),
            jobs: Jobs::new(),
            outbox: Outbox::default(),
            reports: Reports::default(),
            totals: Totals::default(),
            next_sa: 1,
            next_child: 1,
        }
    }

    /// Adds a tunnel or changes one.
    ///
    /// A change of what its SAs were negotiated with ends them, and the peer is told. Other changes (who may initiate, DPD, further
    /// selector pairs) leave them.
    pub fn put_connection(&mut self, now: Instant, config: ConnectionConfig) {
        self.on_put(now, config);
    }

    /// Removes a tunnel with all its SAs; the peer is told.
    pub fn remove_connection(&mut self, now: Instant, id: ConnectionId) {
        self.on_remove(now, id);
    }

    /// Traffic wants the Child SA of a selector pair. Nothing happens when it is up or under way. Phase 1 comes first when there is
    /// none.
    pub fn initiate(&mut self, now: Instant, id: ConnectionId, pair: PairIndex) {
        self.on_initiate(now, id, pair);
    }

    /// Ends all SAs of a tunnel; the peer is told.
    pub fn terminate(&mut self, now: Instant, id: ConnectionId) {
        self.end_tunnel(now, id, ends::Farewell::Say);
    }

    /// A Child SA comes near its limit of octets or sequence numbers: negotiate its successor.
    pub fn rekey_child(&mut self, now: Instant, child: ChildId) {
        self.on_rekey_child(now, child);
    }

    /// Negotiates the successor of a tunnel's IKE SA ahead of time.
    pub fn rekey_ike(&mut self, now: Instant, id: ConnectionId) {
        if let Some(key) = self.tunnels.get(&id).and_then(Tunnel::current_sa) {
            self.on_ike_rekey(now, key);
        }
    }

    /// This end has taken over from another member of its cluster, and its Message IDs may be old: asks the peer where they go on
    /// (RFC 6311). Nothing else is asked until the peer has answered. False when the peer does not know of this, or no IKE SA under
    /// IKEv2 is up.
    pub fn synchronise(&mut self, now: Instant, id: ConnectionId) -> bool {
        self.start_sync(now, id)
    }

    /// Authenticated ESP of the peer came in: there is no need to ask whether it is there.
    pub fn note_inbound_traffic(&mut self, now: Instant, id: ConnectionId) {
        if let Some(tunnel) = self.tunnels.get_mut(&id) {
            tunnel.heard = tunnel.heard.max(now);
        }
    }

    /// The first authenticated ESP packet came in on a Child SA: the peer has its half and uses it.
    pub fn child_inbound_used(&mut self, now: Instant, child: ChildId) {
        self.on_child_inbound_used(now, child);
    }

    /// An authentic ESP packet of this Child SA, the newest so far, came from another UDP port (RFC 7296 section 2.23; RFC 3948): a NAT
    /// moved the peer, and IKE, which shares the port with ESP, goes there too.
    pub fn child_peer_port(&mut self, now: Instant, child: ChildId, port: u16) {
        self.on_child_peer_port(now, child, port);
    }

    /// ESP came in from `peer` to `local` with an SPI that no installed SA has. When it goes on, a peer with which an IKE SA is up is told.
    /// The packet may be anybody's.
    pub fn note_unknown_spi(&mut self, now: Instant, local: Ipv4Addr, peer: Ipv4Addr, spi: Spi) {
        self.on_unknown_spi(now, local, peer, spi);
    }

    /// A datagram came in, without the non-ESP marker. `local.port()` is 500 or 4500.
    pub fn handle_datagram(&mut self, now: Instant, local: SocketAddrV4, peer: SocketAddrV4, payload: &[u8]) {
        self.on_datagram(now, Path { local, peer }, payload);
    }

    /// The time of [`Endpoint::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.on_timeout(now);
    }

    /// A job of [`Endpoint::poll_job`] is done. The result of a job whose SA is gone is dropped.
    pub fn handle_job(&mut self, now: Instant, id: JobId, done: KeyExchangeDone) {
        self.on_job(now, id, done);
    }

    /// The next key exchange to compute, those of established peers first.
    #[must_use]
    pub fn poll_job(&mut self) -> Option<(JobId, KeyExchangeJob)> {
        self.next_job()
    }

    /// The next thing to install, remove or record, in order.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.outbox.poll_event()
    }

    /// The next datagram to send, once there is no event left.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.poll_transmit()
    }

    /// When [`Endpoint::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// All IKE SAs, for status.
    #[must_use]
    pub fn snapshots(&self, now: Instant) -> Vec<IkeSaSnapshot> {
        self.sas.values().map(|sa| sa.snapshot(now)).collect()
    }

    /// The IKE SA with this SPI of ours.
    #[must_use]
    pub fn ike_sa(&self, now: Instant, own_spi: IkeSpi) -> Option<IkeSaSnapshot> {
        let key = self.by_spi.get(&own_spi)?;
        Some(self.sas.get(key)?.snapshot(now))
    }

    /// Whether we are initiating an IKE SA of the tunnel.
    #[must_use]
    pub fn is_initiating(&self, id: ConnectionId) -> bool {
        let tunnel = self.tunnels.get(&id);
        tunnel.is_some_and(|tunnel| tunnel.initiating.is_some())
    }

    /// Tunnels whose peers are initiating IKE SAs that are not established yet.
    pub fn answering(&self) -> impl Iterator<Item = ConnectionId> {
        let half_open = self.sas.values().filter(|sa| sa.up.is_none() && !sa.initiator);
        half_open.map(|sa| sa.connection)
    }

    /// Totals since the start, for metrics.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let half_open = self.sas.values().filter(|sa| sa.up.is_none()).count();
        Totals {
            half_open: half_open.try_into().unwrap_or(u64::MAX),
            queued_jobs: self.jobs.waiting().try_into().unwrap_or(u64::MAX),
            ..self.totals
        }
    }

    /// The tunnel between two addresses.
    fn tunnel_of(&self, path: Path) -> Option<ConnectionId> {
        self.by_peer.get(&(*path.local.ip(), *path.peer.ip())).copied()
    }

    fn config_of(&self, connection: ConnectionId) -> Option<Arc<ConnectionConfig>> {
        self.tunnels
            .get(&connection)
            .map(|tunnel| Arc::clone(&tunnel.config))
    }

    fn send(&mut self, path: Path, payload: Vec<u8>) {
        self.outbox.transmit(Transmit {
            local: path.local,
            peer: path.peer,
            payload,
            kind: TransmitKind::Ike,
        });
    }

    fn note(&mut self, connection: ConnectionId, text: impl Into<String>) {
        self.outbox.event(Event::Note {
            connection,
            text: text.into(),
        });
    }

    fn new_sa_key(&mut self) -> SaKey {
        let key = SaKey(self.next_sa);
        self.next_sa += 1;
        key
    }

    /// An IKE SPI that no SA of ours has.
    fn new_ike_spi(&mut self) -> IkeSpi {
        loop {
            let mut octets = [0; 8];
            self.rng.fill(&mut octets);
            let spi = IkeSpi(octets);
            if !spi.is_zero() && !self.by_spi.contains_key(&spi) {
                return spi;
            }
        }
    }

    /// An inbound SPI that no Child SA of ours has. It is taken by putting it into `inbound_spis`.
    fn new_esp_spi(&mut self) -> Spi {
        loop {
            if let Some(spi) = Spi::new(random_u32(&mut self.rng))
                && !self.inbound_spis.contains(&spi)
            {
                return spi;
            }
        }
    }
}
