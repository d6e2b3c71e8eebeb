//! Two endpoints on virtual time, and the network between them.
//!
//! The network loses, repeats, delays and reorders what a seed says, and may have a NAT in front of one end. The driver's part is
//! played by [`Node`].

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use gateway_common::Spi;
use gateway_ike::config::{ConnectionId, PairIndex};
use gateway_ike::crypto::{KeyExchangeDone, RandomSource, SeededRandom};
use gateway_ike::event::{ChildId, Served};
use gateway_ike::{Endpoint, EndpointConfig, JobId, TransmitKind};

use crate::node::Node;
use crate::setup::{Setup, Side};

/// The tunnel of every test.
pub(crate) const TUNNEL: ConnectionId = ConnectionId(7);
/// Its first selector pair.
pub(crate) const FIRST: PairIndex = PairIndex(0);

pub(crate) const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// Address of A behind a NAT that has A's address outside.
pub(crate) const A_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

/// Inside port of packets that the NAT has no mapping for. They never arrive; ESP without UDP has port 0 and does.
const UNMAPPED: u16 = 9;

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    A,
    B,
}

impl End {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What travels.
#[derive(Clone, Debug)]
enum Cargo {
    Ike(Vec<u8>),
    Keepalive,
    Esp(Spi),
}

#[derive(Clone, Debug)]
struct Packet {
    to: End,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    cargo: Cargo,
    /// How long it has waited at its end for the keys of an SA that is being negotiated.
    waited: Duration,
}

/// How long packets wait for the keys of an inbound SA, and how often it is looked for.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(50));

/// How the network treats packets, in percent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss: u32,
    pub(crate) duplicates: u32,
    pub(crate) delay: Duration,
    /// Up to so much more, at random: packets overtake each other.
    pub(crate) jitter: Duration,
    /// How long an end works on an IKE message that came in. ESP does not wait for it.
    pub(crate) work: Duration,
    /// Up to so long a key exchange takes, at random. Messages that come meanwhile are not kept waiting.
    pub(crate) exchange: Duration,
}

impl Weather {
    pub(crate) const FAIR: Self = Self {
        loss: 0,
        duplicates: 0,
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        work: Duration::ZERO,
        exchange: Duration::ZERO,
    };
}

/// A decision about one IKE datagram: who sends it, the how manieth of that end, and its octets.
pub(crate) type Filter = Box<dyn FnMut(End, usize, &[u8]) -> Fate>;

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Deliver,
    Lose,
    Duplicate,
}

pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) a: Node,
    pub(crate) b: Node,
    pub(crate) weather: Weather,
    pub(crate) filter: Option<Filter>,
    /// Datagrams of A and B so far, with their times.
    pub(crate) sent: Vec<(Duration, End, Vec<u8>)>,
    /// Source and destination of each, as its receiver sees them.
    paths: Vec<(SocketAddrV4, SocketAddrV4)>,
    pub(crate) keepalives: usize,
    counts: [usize; 2],
    rng: SeededRandom,
    air: BTreeMap<(Instant, u64), Packet>,
    next_packet: u64,
    /// Key exchanges under way, by their end.
    jobs: BTreeMap<(Instant, u64), (End, JobId, KeyExchangeDone)>,
    restarts: u8,
    seed: u64,
    nat: bool,
    /// Outside port of the NAT for each inside port, plus one for each rebinding.
    pub(crate) nat_shift: u16,
    /// ESP packets that arrived for an SPI that was not installed.
    pub(crate) lost_esp: Vec<(Duration, End, Spi)>,
    pub(crate) delivered_esp: usize,
    /// ESP packets and copies of them that were handed to the network.
    pub(crate) sent_esp: usize,
    /// ESP packets that the network lost, a NAT without a mapping included.
    pub(crate) weathered_esp: usize,
    /// Times at which an end sealed with an SA that the other end had neither installed inbound nor let packets wait for.
    pub(crate) void: Vec<(Duration, End, ChildId)>,
}

impl Pair {
    pub(crate) fn new(setup: Setup) -> Self {
        let now = Instant::now();
        let seed = |end: u8| {
            let mut octets = [end; 32];
            octets[..8].copy_from_slice(&setup.seed.to_be_bytes());
            octets
        };
        let node = |side: &Side, end: u8| {
            let mut endpoint = Endpoint::new(EndpointConfig {
                cookie_threshold: setup.cookie_threshold,
                ..EndpointConfig::new(seed(end))
            });
            endpoint.put_connection(now, side.config());
            Node::new(endpoint)
        };
        let mut pair = Self {
            now,
            start: now,
            a: node(&setup.a, 1),
            b: node(&setup.b, 2),
            weather: Weather::FAIR,
            filter: None,
            sent: Vec::new(),
            paths: Vec::new(),
            keepalives: 0,
            counts: [0; 2],
            rng: SeededRandom::new(seed(3)),
            air: BTreeMap::new(),
            next_packet: 0,
            jobs: BTreeMap::new(),
            restarts: 0,
            seed: setup.seed,
            nat: setup.nat,
            nat_shift: 0,
            lost_esp: Vec::new(),
            delivered_esp: 0,
            sent_esp: 0,
            weathered_esp: 0,
            void: Vec::new(),
        };
        pair.settle();
        pair
    }

    /// Established by A, one Child SA for the first pair.
    pub(crate) fn established(setup: Setup) -> Self {
        let mut pair = setup.start();
        pair.initiate(End::A);
        pair.run_for(Duration::from_secs(1));
        pair.assert_up(1);
        pair
    }

    pub(crate) fn node(&self, end: End) -> &Node {
        match end {
            End::A => &self.a,
            End::B => &self.b,
        }
    }

    pub(crate) fn node_mut(&mut self, end: End) -> &mut Node {
        match end {
            End::A => &mut self.a,
            End::B => &mut self.b,
        }
    }

    /// Lets a command or a datagram act on one end, then plays the driver.
    pub(crate) fn with<T>(&mut self, end: End, act: impl FnOnce(&mut Endpoint, Instant) -> T) -> T {
        let now = self.now;
        let result = act(&mut self.node_mut(end).endpoint, now);
        self.settle();
        result
    }

    pub(crate) fn initiate(&mut self, end: End) {
        self.with(end, |endpoint, now| endpoint.initiate(now, TUNNEL, FIRST));
    }

    /// Replaces one end by a new one that knows nothing.
    pub(crate) fn restart(&mut self, end: End, side: &Side) {
        self.restarts += 1;
        let mut seed = [77; 32];
        seed[0] = self.restarts;
        seed[1..9].copy_from_slice(&self.seed.to_be_bytes());
        let mut endpoint = Endpoint::new(EndpointConfig::new(seed));
        endpoint.put_connection(self.now, side.config());
        self.jobs.retain(|_, (of, ..)| *of != end);
        *self.node_mut(end) = Node::new(endpoint);
        self.settle();
    }

    /// Drains both ends as the driver does.
    fn settle(&mut self) {
        for end in [End::A, End::B] {
            self.drain(end);
            while let Some((id, job)) = self.node_mut(end).endpoint.poll_job() {
                let now = self.now;
                let done = job.run();
                if self.weather.exchange.is_zero() {
                    self.node_mut(end).endpoint.handle_job(now, id, done);
                } else {
                    let at = now + self.random_part(self.weather.exchange);
                    self.jobs.insert((at, self.next_packet), (end, id, done));
                    self.next_packet += 1;
                }
                self.drain(end);
            }
        }
        self.note_void();
    }

    fn drain(&mut self, end: End) {
        let now = self.now - self.start;
        let node = self.node_mut(end);
        while let Some(event) = node.endpoint.poll_event() {
            node.on_event(now, event);
        }
        while let Some(transmit) = self.node_mut(end).endpoint.poll_transmit() {
            let cargo = match transmit.kind {
                TransmitKind::NatKeepalive => {
                    self.keepalives += 1;
                    Cargo::Keepalive
                }
                TransmitKind::Ike => Cargo::Ike(transmit.payload),
            };
            self.transmit(end, transmit.local, transmit.peer, cargo);
        }
    }

    /// Notes the SAs that one end seals with and the other does not have.
    fn note_void(&mut self) {
        for end in [End::A, End::B] {
            let (node, other) = (self.node(end), self.node(end.other()));
            let void = node.sealing.values().copied().find(|id| {
                let spi = node.installed[id].sa.outbound.spi;
                let mut installed = other.installed.values();
                !other.expected.contains(&spi) && !installed.any(|installed| installed.sa.inbound.spi == spi)
            });
            if let Some(id) = void {
                self.void.push((self.now - self.start, end, id));
            }
        }
    }

    fn transmit(&mut self, from: End, local: SocketAddrV4, peer: SocketAddrV4, cargo: Cargo) {
        let mut fate = Fate::Deliver;
        if let Cargo::Ike(octets) = &cargo {
            let index = from as usize;
            let count = self.counts[index];
            self.counts[index] += 1;
            self.sent.push((self.now - self.start, from, octets.clone()));
            if let Some(filter) = &mut self.filter {
                fate = filter(from, count, octets);
            }
        }
        let copies = match fate {
            Fate::Lose => 0,
            Fate::Deliver => 1 + u32::from(self.percent() < self.weather.duplicates),
            Fate::Duplicate => 2,
        };
        let (source, destination) = self.translate(from, local, peer);
        if matches!(cargo, Cargo::Ike(_)) {
            self.paths.push((source, destination));
        }
        for _ in 0..copies {
            let esp = usize::from(matches!(cargo, Cargo::Esp(_)));
            self.sent_esp += esp;
            if self.percent() < self.weather.loss || destination.port() == UNMAPPED {
                self.weathered_esp += esp;
                continue;
            }
            let work = match cargo {
                Cargo::Ike(_) => self.weather.work,
                Cargo::Keepalive | Cargo::Esp(_) => Duration::ZERO,
            };
            let at = self.now + self.weather.delay + self.random_part(self.weather.jitter) + work;
            let packet = Packet {
                to: from.other(),
                source,
                destination,
                cargo: cargo.clone(),
                waited: Duration::ZERO,
            };
            self.air.insert((at, self.next_packet), packet);
            self.next_packet += 1;
        }
    }

    /// The NAT: A's inside ports 500 and 4500 are others outside.
    fn translate(&self, from: End, local: SocketAddrV4, peer: SocketAddrV4) -> (SocketAddrV4, SocketAddrV4) {
        if !self.nat {
            return (local, peer);
        }
        match from {
            End::A => (SocketAddrV4::new(A, local.port() + 30_000 + self.nat_shift), peer),
            End::B => {
                let inside = peer.port().wrapping_sub(30_000 + self.nat_shift);
                let port = if [500, 4500].contains(&inside) {
                    inside
                } else {
                    UNMAPPED
                };
                (local, SocketAddrV4::new(A_INSIDE, port))
            }
        }
    }

    /// A copy of a datagram arrives where the datagram did.
    pub(crate) fn replay(&mut self, number: usize) {
        let (_, from, octets) = self.sent[number].clone();
        let (source, destination) = self.paths[number];
        self.with(from.other(), |endpoint, now| {
            endpoint.handle_datagram(now, destination, source, &octets)
        });
    }

    /// One ESP packet from `from` for the pair, if there is an SA to seal with.
    pub(crate) fn send_esp(&mut self, from: End, pair: PairIndex) -> bool {
        let node = self.node(from);
        let Some(installed) = node.sealing.get(&pair).and_then(|id| node.installed.get(id)) else {
            return false;
        };
        let sa = &installed.sa;
        let port = |udp: Option<u16>| udp.unwrap_or(0);
        let local = SocketAddrV4::new(sa.local, port(sa.encapsulation.map(|udp| udp.local_port)));
        let peer = SocketAddrV4::new(sa.peer, port(sa.encapsulation.map(|udp| udp.peer_port)));
        let spi = sa.outbound.spi;
        self.transmit(from, local, peer, Cargo::Esp(spi));
        true
    }

    /// Moves on to the next thing that happens, or to `until`. False when nothing happens before.
    fn step(&mut self, until: Instant) -> bool {
        let packet = self.air.first_key_value().map(|((at, _), _)| *at);
        let job = self.jobs.first_key_value().map(|((at, _), _)| *at);
        let timers = [&self.a, &self.b]
            .into_iter()
            .filter_map(|node| node.endpoint.poll_timeout())
            .min();
        let Some(next) = packet
            .into_iter()
            .chain(job)
            .chain(timers)
            .min()
            .filter(|next| *next <= until)
        else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        let now = self.now;
        if packet == Some(next) {
            if let Some((_, packet)) = self.air.pop_first() {
                self.deliver(packet);
            }
        } else if job == Some(next) {
            if let Some((_, (end, id, done))) = self.jobs.pop_first() {
                self.node_mut(end).endpoint.handle_job(now, id, done);
            }
        } else {
            for end in [End::A, End::B] {
                let endpoint = &mut self.node_mut(end).endpoint;
                if endpoint.poll_timeout().is_some_and(|at| at <= now) {
                    endpoint.handle_timeout(now);
                }
            }
        }
        self.settle();
        true
    }

    fn deliver(&mut self, packet: Packet) {
        let now = self.now;
        let since = now - self.start;
        match packet.cargo {
            Cargo::Keepalive => {}
            Cargo::Ike(octets) => {
                let node = self.node_mut(packet.to);
                node.endpoint
                    .handle_datagram(now, packet.destination, packet.source, &octets);
            }
            Cargo::Esp(spi) => {
                let node = self.node_mut(packet.to);
                let found = node
                    .installed
                    .iter_mut()
                    .find(|(_, installed)| installed.sa.inbound.spi == spi);
                if let Some((&id, installed)) = found {
                    let first = !std::mem::replace(&mut installed.inbound_used, true);
                    let port = packet.source.port();
                    if installed
                        .sa
                        .encapsulation
                        .is_some_and(|udp| udp.peer_port != port)
                    {
                        node.endpoint.child_peer_port(now, id, port);
                    }
                    node.endpoint.note_inbound_traffic(now, TUNNEL);
                    if first {
                        node.endpoint.child_inbound_used(now, id);
                    }
                    self.delivered_esp += 1;
                } else if node.expected.contains(&spi) && packet.waited < PATIENCE.0 {
                    let waited = packet.waited + PATIENCE.1;
                    self.air
                        .insert((now + PATIENCE.1, self.next_packet), Packet { waited, ..packet });
                    self.next_packet += 1;
                } else {
                    let (local, peer) = (*packet.destination.ip(), *packet.source.ip());
                    node.endpoint.note_unknown_spi(now, local, peer, spi);
                    self.lost_esp.push((since, packet.to, spi));
                }
            }
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Runs with an ESP packet each way every `interval`; traffic that finds no SA asks for one.
    pub(crate) fn run_with_traffic(&mut self, time: Duration, interval: Duration) {
        let until = self.now + time;
        while self.now < until {
            for end in [End::A, End::B] {
                if !self.send_esp(end, FIRST) {
                    self.initiate(end);
                }
            }
            self.run_for(interval.min(until - self.now));
        }
    }

    fn percent(&mut self) -> u32 {
        self.random() % 100
    }

    /// Between nothing and `most`.
    fn random_part(&mut self, most: Duration) -> Duration {
        most * (self.random() % 1000) / 1000
    }

    fn random(&mut self) -> u32 {
        let mut octets = [0; 4];
        self.rng.fill(&mut octets);
        u32::from_be_bytes(octets)
    }

    /// Both ends hold the same `count` Child SAs with mirrored keys, and what one seals with the other opens with.
    #[track_caller]
    pub(crate) fn assert_up(&self, count: usize) {
        self.assert_mirrored();
        for end in [End::A, End::B] {
            let node = self.node(end);
            assert_eq!(
                node.installed.len(),
                count,
                "child sas of {end:?}: {:#?}",
                node.log
            );
            assert!(!node.sealing.is_empty(), "{end:?} does not seal: {:#?}", node.log);
        }
    }

    /// Every SA that one end seals with is installed inbound on the other, with the same keys.
    #[track_caller]
    pub(crate) fn assert_mirrored(&self) {
        for end in [End::A, End::B] {
            let (node, other) = (self.node(end), self.node(end.other()));
            let left = node.expected.len();
            assert!(
                left <= 1,
                "{end:?} expects {left} inbound SAs and asks for one at most"
            );
            for id in node.sealing.values() {
                let ours = &node.installed[id].sa;
                let theirs = other
                    .installed
                    .values()
                    .map(|installed| &installed.sa)
                    .find(|sa| sa.inbound.spi == ours.outbound.spi)
                    .unwrap_or_else(|| panic!("{end:?} seals with an SA that the other end does not have"));
                assert_eq!(
                    theirs.inbound.encryption_key.expose(),
                    ours.outbound.encryption_key.expose()
                );
                assert_eq!(
                    theirs.inbound.integrity_key.expose(),
                    ours.outbound.integrity_key.expose()
                );
                assert_eq!(theirs.outbound.spi, ours.inbound.spi);
                assert_eq!(
                    theirs.outbound.encryption_key.expose(),
                    ours.inbound.encryption_key.expose()
                );
                assert_eq!(
                    theirs.outbound.integrity_key.expose(),
                    ours.inbound.integrity_key.expose()
                );
                assert_eq!(theirs.proposal, ours.proposal);
                assert_eq!(theirs.esn, ours.esn);
                for served in &ours.serves {
                    let mirrored = |other: &Served| {
                        other.selectors.local == served.selectors.peer
                            && other.selectors.peer == served.selectors.local
                    };
                    assert!(
                        theirs.serves.iter().any(mirrored),
                        "{:?} / {:?}",
                        ours.serves,
                        theirs.serves
                    );
                }
                assert_eq!(theirs.octets, ours.octets);
            }
        }
    }

    /// Nothing is left on either end.
    #[track_caller]
    pub(crate) fn assert_empty(&self) {
        for end in [End::A, End::B] {
            let node = self.node(end);
            assert!(node.installed.is_empty(), "{end:?}: {:#?}", node.log);
            assert!(node.ike_sas.is_empty(), "{end:?}: {:#?}", node.log);
            assert!(
                node.endpoint.snapshots(self.now).is_empty(),
                "{end:?}: {:#?}",
                node.log
            );
        }
    }
}
