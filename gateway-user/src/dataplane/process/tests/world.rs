//! A worker without rings, sockets and threads.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use gateway_common::abi::{DIRECTION_INBOUND, DIRECTION_OUTBOUND, PACKET_META_MAGIC, PacketMeta};
use gateway_esp::ip::checksum;
use gateway_esp::{
    Cipher, DEFAULT_REPLAY_WINDOW, InboundSa, Integrity, IvGenerator, Keys, NonceSpace, OutboundSa, Selector,
    Spi, Transform, TunnelEndpoints, UdpPorts,
};

use crate::dataplane::counters::{Counters, Direction, DropReason, PathError, WorkerBlock};
use crate::dataplane::process::{
    Context, IcmpBudget, Outgoing, Port, Received, process_batch, process_waiting,
};
use crate::dataplane::tables::{Capacity, Nanoseconds, Tables};
use crate::dataplane::waiting::Waiting;
use crate::dataplane::{DataplaneEvent, EventSink, Injected, InjectedEsp, Message, SaLimits, inbox};
use crate::net::route_table::{Egress, Neighbour, Route, RouteTarget};
use crate::net::{Adjacency, RouteTable};
use crate::xsk::{FramePool, Umem, XDP_HEADROOM};

pub(super) const FRAMES: u32 = 96;
pub(super) const POLICY: u32 = 1;
pub(super) const SA: u32 = 2;
pub(super) const TUNNEL: u32 = 3;
pub(super) const GENERATION: u32 = 7;

/// Positions of the interfaces.
pub(super) const WAN: usize = 0;
pub(super) const LAN: usize = 1;
pub(super) const SLOW: usize = 2;
const IFINDEX: [u32; 3] = [12, 13, 14];
pub(super) const MAC: [[u8; 6]; 3] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3]];
pub(super) const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0x99];
pub(super) const HOST: [u8; 6] = [2, 0, 0, 0, 0, 0x77];
pub(super) const KERNEL: [u8; 6] = [2, 0, 0, 0, 0, 4];

pub(super) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 2);
pub(super) const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 2);
/// Without an entry in the neighbour table.
pub(super) const SILENT: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 3);
/// The gateway's own address on the LAN.
pub(super) const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
pub(super) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

pub(super) const TRANSFORMS: [(Cipher, Option<Integrity>); 4] = [
    (Cipher::Aes128Cbc, Some(Integrity::HmacSha1_96)),
    (Cipher::Aes256Cbc, Some(Integrity::HmacSha2_256_128)),
    (Cipher::TripleDes, Some(Integrity::HmacMd5_96)),
    (Cipher::Aes128Gcm, None),
];

pub(super) struct World {
    pub(super) tables: Tables,
    pub(super) pool: FramePool,
    pub(super) now: Nanoseconds,
    pub(super) waiting: Waiting,
    pub(super) events: Arc<Mutex<Vec<DataplaneEvent>>>,
    umem: Umem,
    routes: RouteTable,
    ports: [Port; 3],
    slow_path: Option<usize>,
    ivs: IvGenerator,
    icmp: IcmpBudget,
    block: WorkerBlock,
    sink: Arc<EventSink>,
    tx: Outgoing,
}

impl World {
    /// A policy and both SAs of one tunnel.
    pub(super) fn established(cipher: Cipher, integrity: Option<Integrity>) -> Self {
        let world = Self::without_outbound(cipher, integrity);
        world.switch_on(cipher, integrity, None);
        world
    }

    pub(super) fn gcm() -> Self {
        Self::established(Cipher::Aes128Gcm, None)
    }

    /// The policy has no SA yet.
    pub(super) fn without_outbound(cipher: Cipher, integrity: Option<Integrity>) -> Self {
        let (umem, pool) = Umem::new(FRAMES, 2048).expect("memory");
        let events = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&events);
        let world = Self {
            tables: Tables::new(Capacity {
                policies: 4,
                sas: 4,
                tunnels: 4,
            }),
            pool,
            now: 1,
            waiting: Waiting::new(16),
            events,
            umem,
            routes: routes(),
            ports: [0, 1, 2].map(|at| Port {
                ifindex: IFINDEX[at],
                mac: MAC[at],
                bound: true,
            }),
            slow_path: Some(SLOW),
            ivs: IvGenerator::from_seed([1; 32]),
            icmp: IcmpBudget::default(),
            block: WorkerBlock::default(),
            sink: Arc::new(move |event| log.lock().expect("no panic").push(event)),
            tx: (0..3).map(|_| Vec::new()).collect(),
        };
        world.apply(Message::InstallPolicy {
            index: POLICY,
            generation: GENERATION,
            tunnel: TUNNEL,
        });
        world.install_inbound(cipher, integrity);
        world
    }

    pub(super) fn install_inbound(&self, cipher: Cipher, integrity: Option<Integrity>) {
        let (transform, keys) = transform(cipher, integrity);
        let selector = Selector {
            local: (Ipv4Addr::new(10, 77, 0, 0), 16),
            peer: (Ipv4Addr::new(10, 77, 0, 0), 16),
        };
        let sa = InboundSa::new(spi(), transform, &keys, vec![selector], DEFAULT_REPLAY_WINDOW);
        let sa = Box::new(sa.expect("an SA"));
        self.apply(Message::InstallInbound {
            index: SA,
            generation: GENERATION,
            tunnel: TUNNEL,
            sa,
        });
    }

    pub(super) fn switch_on(&self, cipher: Cipher, integrity: Option<Integrity>, octets_limit: Option<u64>) {
        self.switch_on_behind(0, cipher, integrity, octets_limit);
    }

    /// The outbound SA towards this port of the peer.
    pub(super) fn switch_on_in_udp(&self, port: u16) {
        let (cipher, integrity) = (Cipher::Aes128Gcm, None);
        let udp = UdpPorts {
            local: 4500,
            peer: port,
        };
        self.switch_on_towards(Some(udp), 0, cipher, integrity, None);
    }

    /// The outbound SA goes on behind a sequence number.
    pub(super) fn switch_on_behind(
        &self,
        highest: u64,
        cipher: Cipher,
        integrity: Option<Integrity>,
        octets_limit: Option<u64>,
    ) {
        self.switch_on_towards(None, highest, cipher, integrity, octets_limit);
    }

    fn switch_on_towards(
        &self,
        udp: Option<UdpPorts>,
        highest: u64,
        cipher: Cipher,
        integrity: Option<Integrity>,
        octets_limit: Option<u64>,
    ) {
        let (transform, keys) = transform(cipher, integrity);
        let endpoints = TunnelEndpoints {
            local: OUTSIDE,
            peer: PEER,
            udp,
        };
        let sa = OutboundSa::new(spi(), transform, &keys, endpoints, NonceSpace::default());
        let sa = Box::new(sa.expect("an SA"));
        sa.skip_to(highest);
        self.apply(Message::InstallOutbound {
            index: SA,
            tunnel: TUNNEL,
            sa,
            limits: SaLimits::new(octets_limit, transform.last_sequence()),
        });
        self.apply(Message::Switch {
            policy: POLICY,
            outbound: Some(SA),
        });
    }

    pub(super) fn apply(&self, message: Message) {
        self.tables.apply(message).expect("within the capacity");
    }

    pub(super) fn without_slow_path(mut self) -> Self {
        self.slow_path = None;
        self
    }

    /// A packet of the VPC as the XDP program hands it over.
    pub(super) fn sent_by_vpc(&mut self, ip: &[u8]) -> Received {
        self.received(DIRECTION_OUTBOUND, POLICY, GENERATION, ip)
    }

    /// What the gateway sent to its peer, as the peer's XDP program hands it over.
    pub(super) fn sent_by_peer(&mut self, frame: &[u8]) -> Received {
        self.received(DIRECTION_INBOUND, SA, GENERATION, &frame[14..])
    }

    /// The same inside UDP, from this port.
    pub(super) fn sent_by_peer_in_udp(&mut self, frame: &[u8], port: u16) -> Received {
        let (outer, esp) = frame[14..].split_at(20);
        let mut ip = outer.to_vec();
        let total = u16::from_be_bytes([outer[2], outer[3]]) + 8;
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        ip[9] = 17;
        ip[10..12].fill(0);
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip.extend(port.to_be_bytes());
        ip.extend([0x11, 0x94]);
        ip.extend((total - 20).to_be_bytes());
        ip.extend([0, 0]);
        ip.extend(esp);
        self.received_at(DIRECTION_INBOUND, SA, GENERATION, &ip, Some((14 + 20 + 8, 1)))
    }

    /// The same when it came in fragments, which the kernel put together.
    pub(super) fn reassembled(&mut self, frame: &[u8]) -> Result<Received, PathError> {
        self.injected(frame[14 + 20..].to_vec())
    }

    /// Any octets as an ESP packet of the SA.
    pub(super) fn injected(&mut self, esp: Vec<u8>) -> Result<Received, PathError> {
        let packet = Injected::Esp(InjectedEsp {
            index: SA,
            generation: GENERATION,
            peer: PEER,
            local: OUTSIDE,
            tos: 0,
            esp,
        });
        inbox::receive(&packet, &self.umem, &mut self.pool)
    }

    pub(super) fn received(&mut self, direction: u8, index: u32, generation: u32, ip: &[u8]) -> Received {
        let esp = (direction == DIRECTION_INBOUND).then_some((14 + 20, 0));
        self.received_at(direction, index, generation, ip, esp)
    }

    /// With the ESP header at this offset, inside UDP or not.
    fn received_at(
        &mut self,
        direction: u8,
        index: u32,
        generation: u32,
        ip: &[u8],
        esp: Option<(u16, u16)>,
    ) -> Received {
        let (esp_offset, udp_encapsulated) = esp.unwrap_or_default();
        let meta = PacketMeta {
            magic: PACKET_META_MAGIC,
            direction,
            l3_offset: 14,
            index,
            generation,
            esp_offset,
            udp_encapsulated,
        };
        let mut packet = [MAC[LAN], HOST].concat();
        packet.extend([8, 0]);
        packet.extend(ip);
        self.raw(&meta.to_bytes(), &packet)
    }

    /// Any metadata and any packet.
    pub(super) fn raw(&mut self, meta: &[u8], packet: &[u8]) -> Received {
        let mut frame = self.pool.take().expect("a frame");
        let chunk = self.umem.chunk(&mut frame);
        chunk.fill(0xee);
        chunk[XDP_HEADROOM - meta.len()..XDP_HEADROOM].copy_from_slice(meta);
        chunk[XDP_HEADROOM..XDP_HEADROOM + packet.len()].copy_from_slice(packet);
        frame.place(XDP_HEADROOM, packet.len());
        Received { frame, port: LAN }
    }

    /// Processes a batch and checks that no frame is lost.
    pub(super) fn process(&mut self, mut received: Vec<Received>) {
        self.with_context(|tx, cx| process_batch(&mut received, tx, cx));
        assert!(received.is_empty());
        self.assert_conserved();
    }

    /// Ends the wait of packets.
    pub(super) fn release(&mut self) {
        self.with_context(|tx, cx| process_waiting(&mut Vec::new(), tx, cx));
        self.assert_conserved();
    }

    #[track_caller]
    pub(super) fn assert_conserved(&self) {
        let queued: usize = self.tx.iter().map(Vec::len).sum();
        assert_eq!(
            self.pool.available() + queued + self.waiting.len(),
            FRAMES as usize
        );
    }

    /// Takes what is to be sent on an interface.
    pub(super) fn sent(&mut self, port: usize) -> Vec<Vec<u8>> {
        let frames = std::mem::take(&mut self.tx[port]);
        let take = |mut frame| {
            let octets = self.umem.packet(&mut frame).to_vec();
            self.pool.give_back(frame);
            octets
        };
        frames.into_iter().map(take).collect()
    }

    /// Sends packets of the VPC through the tunnel and back out of it: what leaves on the LAN.
    pub(super) fn round_trip(&mut self, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let batch = packets.iter().map(|packet| self.sent_by_vpc(packet)).collect();
        self.process(batch);
        let sealed = self.sent(WAN);
        let batch = sealed.iter().map(|frame| self.sent_by_peer(frame)).collect();
        self.process(batch);
        self.sent(LAN)
    }

    /// Drops of the tunnel.
    pub(super) fn dropped(&self, direction: Direction, reason: impl Into<DropReason>) -> u64 {
        let tunnel = self.tables.tunnel(TUNNEL).expect("within the capacity");
        tunnel.drops.read().get(direction, reason.into())
    }

    /// Drops that belong to no tunnel.
    pub(super) fn dropped_elsewhere(&self, direction: Direction, reason: impl Into<DropReason>) -> u64 {
        self.block.drops.read().get(direction, reason.into())
    }

    pub(super) fn all_drops(&self) -> u64 {
        let tunnel = self.tables.tunnel(TUNNEL).expect("within the capacity");
        tunnel.drops.read().total() + self.block.drops.read().total()
    }

    pub(super) fn slow_path_packets(&self) -> u64 {
        self.block.slow_path_packets.get()
    }

    pub(super) fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        self.tables.read_counters(&mut counters);
        counters
    }

    fn with_context(&mut self, run: impl FnOnce(&mut Outgoing, &mut Context<'_>)) {
        let mut cx = Context {
            now: self.now,
            umem: &self.umem,
            tables: &self.tables,
            routes: &self.routes,
            ports: &self.ports,
            slow_path: self.slow_path,
            pool: &mut self.pool,
            waiting: &mut self.waiting,
            ivs: &mut self.ivs,
            icmp: &mut self.icmp,
            counters: &self.block,
            events: &*self.sink,
        };
        run(&mut self.tx, &mut cx);
    }
}

/// What an IPv4 packet is made of.
#[derive(Clone)]
pub(super) struct Ip {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) ttl: u8,
    pub(super) protocol: u8,
    pub(super) dont_fragment: bool,
    pub(super) payload: Vec<u8>,
}

impl Ip {
    /// UDP without a UDP header: a payload that nobody looks into.
    pub(super) fn of(len: usize) -> Self {
        let payload = (0..=255u8).cycle().take(len - 20).collect();
        Self {
            source: NEAR,
            destination: FAR,
            ttl: 64,
            protocol: 17,
            dont_fragment: false,
            payload,
        }
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let total = u16::try_from(20 + self.payload.len()).expect("short");
        let mut packet = vec![0x45, 0];
        packet.extend(total.to_be_bytes());
        packet.extend([
            0,
            1,
            u8::from(self.dont_fragment) << 6,
            0,
            self.ttl,
            self.protocol,
            0,
            0,
        ]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(&self.payload);
        packet
    }
}

/// A TCP SYN with this MSS.
pub(super) fn syn(mss: u16) -> Ip {
    let mut payload = vec![0; 24];
    payload[12] = 6 << 4;
    payload[13] = 2;
    payload[20..22].copy_from_slice(&[2, 4]);
    payload[22..].copy_from_slice(&mss.to_be_bytes());
    Ip {
        protocol: 6,
        payload,
        ..Ip::of(20)
    }
}

fn spi() -> Spi {
    Spi::new(0x1234).expect("above 255")
}

fn transform(cipher: Cipher, integrity: Option<Integrity>) -> (Transform, Keys) {
    let transform = Transform::new(cipher, integrity).expect("a transform");
    // Three different DES keys.
    let encryption = (1..).take(transform.encryption_key_len()).collect();
    (
        transform,
        Keys::new(encryption, vec![9; transform.integrity_key_len()]),
    )
}

fn routes() -> RouteTable {
    let net = |text: &str| text.parse().expect("a prefix");
    let route = |prefix, port: usize, gateway| Route {
        prefix: net(prefix),
        target: RouteTarget::Interface {
            ifindex: IFINDEX[port],
            gateway,
        },
        metric: 0,
    };
    let router = Ipv4Addr::new(192, 0, 2, 254);
    let forbidden = Route {
        prefix: net("10.77.9.0/24"),
        target: RouteTarget::Forbidden,
        metric: 0,
    };
    let neighbour = |port: usize, addr, mac| Neighbour {
        ifindex: IFINDEX[port],
        addr,
        mac,
    };
    let slow = Adjacency {
        ifindex: IFINDEX[SLOW],
        source: MAC[SLOW],
        destination: KERNEL,
        mtu: 1500,
    };
    RouteTable::new(
        &[net("10.77.1.1/32"), net("192.0.2.1/32")],
        &[
            route("0.0.0.0/0", WAN, Some(router)),
            route("10.77.0.0/16", LAN, None),
            forbidden,
        ],
        &[
            neighbour(WAN, router, ROUTER),
            neighbour(LAN, NEAR, HOST),
            neighbour(LAN, FAR, HOST),
        ],
        [WAN, LAN]
            .map(|port| Egress {
                ifindex: IFINDEX[port],
                mac: MAC[port],
                mtu: 1500,
            })
            .to_vec(),
        Some(slow),
    )
    .with_addresses(vec![(IFINDEX[LAN], INSIDE), (IFINDEX[WAN], OUTSIDE)])
}
