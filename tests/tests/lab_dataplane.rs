//! Two data planes with fixed keys and no IKE: XDP program, workers, slow path and routes, in the lab.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests are tests too; the throughput is for the reader"
)]

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_common::abi::{
    IFACE_ROLE_PUBLIC, IFACE_ROLE_VPC, IfaceValue, PolicyValue, SaKey, SaValue, Verdict, v4_mapped,
};
use gateway_esp::{
    Cipher, DEFAULT_REPLAY_WINDOW, InboundSa, Integrity, Keys, NonceSpace, OutboundSa, Selector, Spi,
    Transform, TunnelEndpoints, UdpPorts,
};
use gateway_tests::iperf::{Load, iperf};
use gateway_tests::lab::{INSIDE, PUBLIC};
use gateway_tests::ping::ping;
use gateway_tests::process::Process;
use gateway_tests::{Capture, Lab, Side, wait};
use gateway_user::dataplane::{
    Capacity, Counters, Dataplane, DataplaneConfig, DataplaneEvent, Direction, DropReason, InterfaceConfig,
    Message, PathError, SaLimits,
};
use gateway_user::net::{NetMirror, NetSnapshot, SLOW_PATH_DATAPLANE, SlowPath};
use gateway_user::xdp::{LoadOptions, SpdSpace, XdpMode, XdpProgram};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tokio::runtime::Runtime;
use tokio::sync::watch::Receiver;

const POLICY: u32 = 3;
const SA: u32 = 5;
const TUNNEL: u32 = 1;
const FRAMES: u32 = 4096;
const GENERATION: u32 = 9;
/// In the packets of pings, to be found in captures.
const PATTERN: [u8; 4] = [0xca, 0x11, 0xab, 0x1e];

/// What both ends agree on.
#[derive(Clone, Copy)]
struct Tunnel {
    transform: Transform,
    udp: bool,
}

impl Tunnel {
    fn cbc() -> Self {
        Self::of(Cipher::Aes128Cbc, Some(Integrity::HmacSha1_96))
    }

    fn gcm() -> Self {
        Self::of(Cipher::Aes128Gcm, None)
    }

    fn of(cipher: Cipher, integrity: Option<Integrity>) -> Self {
        Self {
            transform: Transform::new(cipher, integrity).unwrap(),
            udp: false,
        }
    }

    fn over_udp(self) -> Self {
        Self { udp: true, ..self }
    }

    /// Keys of the direction away from `from`.
    fn keys(&self, from: Side) -> Keys {
        let octet = from as u8 + 1;
        let of = |len| vec![octet; len];
        Keys::new(
            of(self.transform.encryption_key_len()),
            of(self.transform.integrity_key_len()),
        )
    }

    fn spi(from: Side) -> Spi {
        Spi::new(0x1000 + from as u32).unwrap()
    }

    fn outbound(&self, side: Side) -> Box<OutboundSa> {
        let endpoints = TunnelEndpoints {
            local: side.outside(),
            peer: side.other().outside(),
            udp: self.udp.then_some(UdpPorts {
                local: 4500,
                peer: 4500,
            }),
        };
        let nonces = NonceSpace::default();
        Box::new(
            OutboundSa::new(
                Self::spi(side),
                self.transform,
                &self.keys(side),
                endpoints,
                nonces,
            )
            .unwrap(),
        )
    }

    fn inbound(&self, side: Side) -> Box<InboundSa> {
        let selector = Selector {
            local: network(side),
            peer: network(side.other()),
        };
        let (spi, keys) = (Self::spi(side.other()), self.keys(side.other()));
        Box::new(InboundSa::new(spi, self.transform, &keys, vec![selector], DEFAULT_REPLAY_WINDOW).unwrap())
    }
}

fn network(side: Side) -> (Ipv4Addr, u8) {
    let [a, b, c, _] = side.inside().octets();
    (Ipv4Addr::new(a, b, c, 0), 24)
}

/// A data plane and what it needs from the kernel; no control, no IKE.
struct Gateway {
    dataplane: Arc<Dataplane>,
    tunnel: Tunnel,
    side: Side,
    events: Arc<Mutex<Vec<DataplaneEvent>>>,
    slow_path: SlowPath,
    runtime: Runtime,
    _mirror: NetMirror,
    xdp: XdpProgram,
}

impl Gateway {
    /// Starts with a policy and an inbound SA, and without an outbound one.
    fn start(lab: &Lab, side: Side, tunnel: Tunnel) -> Self {
        let pins = lab.pin_directory(side);
        lab.gateway(side)
            .enter(|| {
                share_processors(side);
                Self::start_here(side, tunnel, Some(pins))
            })
            .unwrap()
    }

    fn start_here(side: Side, tunnel: Tunnel, pins: Option<std::path::PathBuf>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (mirror, slow_path, mut snapshots) = runtime.block_on(async {
            let (mirror, mut snapshots) = NetMirror::start().await.unwrap();
            let slow_path = SlowPath::create(mirror.handle().clone(), 1).await.unwrap();
            let ready = |snapshot: &Arc<NetSnapshot>| snapshot.routes.slow_path_adjacency().is_some();
            tokio::time::timeout(Duration::from_secs(5), snapshots.wait_for(ready))
                .await
                .unwrap()
                .unwrap();
            (mirror, slow_path, snapshots)
        });
        let snapshot = snapshots.borrow_and_update().clone();
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&events);
        let dataplane = Dataplane::start(DataplaneConfig {
            interfaces: interfaces(&snapshot),
            umem_frames: FRAMES,
            frame_size: 2048,
            slow_path: Some(2),
            seed: [side as u8; 32],
            capacity: Capacity {
                policies: 16,
                sas: 16,
                tunnels: 4,
            },
            events: Arc::new(move |event| sink.lock().unwrap().push(event)),
        })
        .unwrap();
        dataplane.set_routes(snapshot.routes.clone());
        let message = Message::InstallPolicy {
            index: POLICY,
            generation: GENERATION,
            tunnel: TUNNEL,
        };
        dataplane.handle(message);
        let sa = tunnel.inbound(side);
        dataplane.handle(Message::InstallInbound {
            index: SA,
            generation: GENERATION,
            tunnel: TUNNEL,
            sa,
        });
        let xdp = classify(side, &snapshot, &dataplane, pins);
        let dataplane = Arc::new(dataplane);
        runtime.spawn(follow(snapshots, Arc::clone(&dataplane)));
        Self {
            dataplane,
            tunnel,
            side,
            events,
            slow_path,
            runtime,
            _mirror: mirror,
            xdp,
        }
    }

    /// Gives the policy its outbound SA.
    fn switch_on(&self) {
        let sa = self.tunnel.outbound(self.side);
        let install = Message::InstallOutbound {
            index: SA,
            tunnel: TUNNEL,
            sa,
            limits: SaLimits::new(None, self.tunnel.transform.last_sequence()),
        };
        self.dataplane.handle(install);
        self.dataplane.handle(Message::Switch {
            policy: POLICY,
            outbound: Some(SA),
        });
    }

    fn counters(&self) -> Counters {
        self.dataplane.counters()
    }

    fn drops(&self, direction: Direction, reason: impl Into<DropReason>) -> u64 {
        let tunnels = self.counters().tunnels;
        let tunnel = tunnels.iter().find(|(number, _)| *number == TUNNEL);
        tunnel.map_or(0, |(_, tunnel)| tunnel.drops.get(direction, reason.into()))
    }

    fn events(&self) -> Vec<DataplaneEvent> {
        self.events.lock().unwrap().clone()
    }

    /// Frames that are neither in the pool nor in a fill ring, once the worker is idle.
    fn assert_no_frame_is_lost(&self) {
        wait::until("the frames to come back", Duration::from_secs(3), || {
            let counters = self.counters();
            let filled = FRAMES / 8 * 7 / 3 * 3;
            counters
                .workers
                .iter()
                .all(|worker| worker.frames_outstanding == u64::from(filled))
                .then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", self.counters().workers));
    }
}

/// Both gateways pin a worker to their first processor: give each one of its own, as it would have on its own machine.
fn share_processors(side: Side) {
    let this = Pid::from_raw(0);
    let all = sched_getaffinity(this).unwrap();
    let allowed: Vec<_> = (0..CpuSet::count())
        .filter(|cpu| all.is_set(*cpu).unwrap())
        .collect();
    let mut own = CpuSet::new();
    own.set(allowed[side as usize % allowed.len()]).unwrap();
    sched_setaffinity(this, &own).unwrap();
}

async fn follow(mut snapshots: Receiver<Arc<NetSnapshot>>, dataplane: Arc<Dataplane>) {
    while snapshots.changed().await.is_ok() {
        let routes = snapshots.borrow_and_update().routes.clone();
        dataplane.set_routes(routes);
    }
}

fn interfaces(snapshot: &NetSnapshot) -> Vec<InterfaceConfig> {
    (0..)
        .zip([PUBLIC, INSIDE, SLOW_PATH_DATAPLANE])
        .map(|(slot, name)| {
            let link = snapshot.link(name).unwrap();
            let (name, ifindex, mac, mtu) = (name.to_owned(), link.ifindex, link.mac, link.mtu);
            InterfaceConfig {
                name,
                ifindex,
                mac,
                mtu,
                queues: 1,
                slot,
                xsk_base: slot * 64,
            }
        })
        .collect()
}

/// Loads and attaches the program: one policy between the two networks, one inbound SA.
fn classify(
    side: Side,
    snapshot: &NetSnapshot,
    dataplane: &Dataplane,
    pin_dir: Option<std::path::PathBuf>,
) -> XdpProgram {
    let mut xdp = XdpProgram::load(&LoadOptions {
        pin_dir,
        ..LoadOptions::default()
    })
    .unwrap();
    let policy = PolicyValue {
        policy: POLICY,
        generation: GENERATION,
        tunnel: TUNNEL,
        gateway_limiter: 0,
        tunnel_limiter: 0,
    };
    let net = |side: Side| side.network().parse().unwrap();
    let (local, peer) = (vec![(net(side), 1)], vec![(net(side.other()), 1)]);
    xdp.write_space(&SpdSpace {
        id: 1,
        local,
        peer,
        pairs: vec![(1, 1, policy)],
    })
    .unwrap();
    xdp.put_local_addr(side.outside(), gateway_common::abi::LocalAddrValue::default())
        .unwrap();
    let key = SaKey {
        addr: v4_mapped(side.outside().octets()),
        spi: Tunnel::spi(side.other()).to_be_bytes(),
    };
    let sa = SaValue {
        sa: SA,
        generation: GENERATION,
        tunnel: TUNNEL,
        ..SaValue::default()
    };
    xdp.put_sa(key, sa).unwrap();
    for (slot, fd) in dataplane.xsks() {
        xdp.set_xsk(slot, fd).unwrap();
    }
    for interface in interfaces(snapshot) {
        let role = if interface.name == PUBLIC {
            IFACE_ROLE_PUBLIC
        } else {
            IFACE_ROLE_VPC
        };
        let default_deny = u32::from(interface.name == SLOW_PATH_DATAPLANE);
        let InterfaceConfig {
            slot,
            xsk_base,
            ifindex,
            queues,
            name,
            ..
        } = interface;
        let value = IfaceValue {
            role,
            space: 1,
            xsk_base,
            slot,
            default_deny,
            queues,
        };
        xdp.set_iface(ifindex, value).unwrap();
        xdp.attach(&name, ifindex, XdpMode::Auto).unwrap();
    }
    xdp
}

/// Both gateways with their SAs.
fn established(lab: &Lab, tunnel: Tunnel) -> [Gateway; 2] {
    let gateways = [Side::A, Side::B].map(|side| Gateway::start(lab, side, tunnel));
    gateways.iter().for_each(Gateway::switch_on);
    gateways
}

#[track_caller]
fn assert_pings(lab: &Lab, from: Side, extra: &[&str]) {
    let report = ping(lab.host(from), from.other().host(), 5, 20, extra).unwrap();
    assert_eq!((report.sent, report.lost()), (5, 0), "{extra:?}");
}

#[test]
fn packets_cross_sealed_and_frames_are_conserved() {
    for tunnel in [Tunnel::cbc(), Tunnel::gcm(), Tunnel::gcm().over_udp()] {
        let lab = Lab::new().unwrap();
        let gateways = established(&lab, tunnel);
        assert_pings(&lab, Side::A, &[]);
        assert_pings(&lab, Side::B, &[]);
        for gateway in &gateways {
            // Frames that AF_XDP sends pass no tap, so that a capture would be empty; the far program saw them all.
            let seen = gateway.xdp.counters(0);
            assert_eq!(seen[Verdict::Inbound as usize], 10);
            assert_eq!(
                seen[Verdict::CleartextInbound as usize] + seen[Verdict::Bypass as usize],
                0
            );
            let counters = gateway.counters();
            let (index, outbound) = counters.outbound[0];
            assert_eq!((index, outbound.packets, outbound.highest_sequence), (SA, 10, 10));
            let (index, inbound) = counters.inbound[0];
            assert_eq!((index, inbound.packets, inbound.highest_sequence), (SA, 10, 10));
            assert_eq!(inbound.octets, 10 * 84);
            let first_use = DataplaneEvent::InboundFirstUse {
                index: SA,
                generation: GENERATION,
            };
            let port = DataplaneEvent::PeerPort {
                index: SA,
                generation: GENERATION,
                port: 4500,
            };
            let expected = if tunnel.udp {
                vec![port, first_use]
            } else {
                vec![first_use]
            };
            assert_eq!(gateway.events(), expected);
            gateway.assert_no_frame_is_lost();
        }
    }
}

#[test]
fn the_first_packet_waits_for_its_sa() {
    let lab = Lab::new().unwrap();
    let [a, b] = [Side::A, Side::B].map(|side| Gateway::start(&lab, side, Tunnel::gcm()));
    b.switch_on();
    std::thread::scope(|scope| {
        let pings = scope.spawn(|| ping(lab.host(Side::A), Side::B.host(), 18, 20, &[]).unwrap());
        let acquire = DataplaneEvent::Acquire {
            policy: POLICY,
            tunnel: TUNNEL,
        };
        wait::until("an acquire", Duration::from_secs(5), || {
            a.events().contains(&acquire).then_some(())
        })
        .unwrap();
        wait::until("the queue to be full", Duration::from_secs(5), || {
            (a.drops(Direction::Outbound, PathError::WaitOverflow) == 2).then_some(())
        })
        .unwrap();
        assert_eq!(a.events(), [acquire]);
        a.switch_on();
        let report = pings.join().unwrap();
        assert_eq!(report.received, 16, "{report:?}");
        assert!(report.first_ms.is_some(), "{report:?}");
    });
    a.assert_no_frame_is_lost();
}

#[test]
fn long_packets_are_fragmented_or_answered() {
    let lab = Lab::new().unwrap();
    let [a, _b] = established(&lab, Tunnel::cbc());
    assert_pings(&lab, Side::A, &["-s", "1472", "-M", "dont"]);
    let told = ping(
        lab.host(Side::A),
        Side::B.host(),
        3,
        20,
        &["-s", "1472", "-M", "do"],
    )
    .unwrap();
    assert_eq!(told.received, 0);
    let counters = a.counters();
    let tunnel = &counters
        .tunnels
        .iter()
        .find(|(number, _)| *number == TUNNEL)
        .unwrap()
        .1;
    assert_eq!(tunnel.fragmented, 5);
    assert!(tunnel.icmp_too_big_sent >= 1, "{tunnel:?}");
    let route = lab
        .host(Side::A)
        .ip(&["route", "get", &Side::B.host().to_string()])
        .unwrap();
    assert!(
        route.contains("mtu 1438"),
        "the host learned the inner MTU: {route}"
    );
    // What fits goes through, and TCP finds its size without help.
    assert_pings(&lab, Side::A, &["-s", "1410", "-M", "do"]);
    a.assert_no_frame_is_lost();
}

#[test]
fn the_kernel_forwards_what_the_workers_cannot() {
    let lab = Lab::new().unwrap();
    let [a, b] = established(&lab, Tunnel::gcm());
    for side in [Side::A, Side::B] {
        for interface in [PUBLIC, INSIDE] {
            lab.gateway(side)
                .ip(&["neigh", "flush", "dev", interface])
                .unwrap();
        }
    }
    assert_pings(&lab, Side::A, &[]);
    assert!(a.counters().workers[0].slow_path_packets > 0);
    // The gateway itself answers to its inside address, and reaches the far network from it.
    let report = ping(lab.host(Side::A), Side::B.inside(), 3, 20, &[]).unwrap();
    assert_eq!(report.lost(), 3, "B has no route for its own traffic yet");
    for (gateway, side) in [(&a, Side::A), (&b, Side::B)] {
        let prefix = side.other().network().parse().unwrap();
        gateway
            .runtime
            .block_on(gateway.slow_path.add_route(prefix, Some(side.inside())))
            .unwrap();
    }
    let report = ping(lab.host(Side::A), Side::B.inside(), 3, 20, &[]).unwrap();
    assert_eq!(report.lost(), 0);
    let report = ping(lab.gateway(Side::A), Side::B.host(), 3, 20, &[]).unwrap();
    assert_eq!(report.lost(), 0);
    a.assert_no_frame_is_lost();
}

#[test]
fn tcp_runs_through_and_measures() {
    for (name, tunnel) in [("AES-CBC/SHA1", Tunnel::cbc()), ("AES-GCM", Tunnel::gcm())] {
        let lab = Lab::new().unwrap();
        let gateways = established(&lab, tunnel);
        assert_pings(&lab, Side::A, &[]);
        let seconds = std::env::var("LAB_SECONDS")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(2);
        let throughput = iperf(&lab, Side::A, seconds, Load::Tcp).unwrap();
        println!("{name}: {:.0} Mbit/s", throughput.mbps);
        for gateway in &gateways {
            println!("  {:?}", gateway.counters().workers);
        }
        assert!(throughput.mbps > 100.0);
        gateways.iter().for_each(Gateway::assert_no_frame_is_lost);
    }
}

/// E20: more than the workers can carry, then normal traffic again.
#[test]
fn a_flood_leaves_no_damage() {
    let lab = Lab::new().unwrap();
    let gateways = established(&lab, Tunnel::cbc());
    assert_pings(&lab, Side::A, &[]);
    let load = Load::Udp {
        mbps: 4000,
        payload: 100,
    };
    iperf(&lab, Side::A, 2, load).unwrap();
    assert_pings(&lab, Side::A, &[]);
    gateways.iter().for_each(Gateway::assert_no_frame_is_lost);
}

#[test]
fn a_removed_interface_does_not_end_the_worker() {
    let lab = Lab::new().unwrap();
    let [a, b] = established(&lab, Tunnel::gcm());
    assert_pings(&lab, Side::A, &[]);
    lab.gateway(Side::B).ip(&["link", "del", INSIDE]).unwrap();
    // B has routes and neighbours of an interface that is gone for a moment, or none: both ways the packets are dropped.
    let report = ping(lab.host(Side::A), Side::B.host(), 5, 20, &["-W", "1"]).unwrap();
    assert_eq!(report.received, 0);
    wait::until("the packets to arrive", Duration::from_secs(5), || {
        (b.counters().inbound[0].1.packets == 10).then_some(())
    })
    .unwrap();
    // The worker of B still opens and answers what is for B itself, by the slow path.
    b.runtime
        .block_on(
            b.slow_path
                .add_route(Side::A.network().parse().unwrap(), Some(Side::B.outside())),
        )
        .unwrap();
    lab.gateway(Side::B)
        .ip(&["addr", "add", "10.77.2.1/32", "dev", "lo"])
        .unwrap();
    wait::until("an answer", Duration::from_secs(5), || {
        let report = ping(lab.host(Side::A), Side::B.inside(), 1, 20, &["-W", "1"]).unwrap();
        (report.received == 1).then_some(())
    })
    .unwrap();
    a.assert_no_frame_is_lost();
}

/// Set in the process that [`killed_gateways_leak_nothing`] starts.
const PINS: &str = "LAB_DATAPLANE_PINS";
/// Longest life of that process, should nobody be left to kill it.
const LIFE: Duration = Duration::from_secs(60);

/// Not a test of its own: the gateway that is to be killed.
#[test]
fn gateway_a_in_a_process() {
    if let Some(pins) = std::env::var_os(PINS) {
        let gateway = Gateway::start_here(Side::A, Tunnel::gcm(), Some(pins.into()));
        gateway.switch_on();
        std::thread::sleep(LIFE);
    }
}

#[test]
fn killed_gateways_leak_nothing() {
    let lab = Lab::new().unwrap();
    // Without the program, the kernel would forward in the clear.
    lab.route_in_the_clear().unwrap();
    let b = Gateway::start(&lab, Side::B, Tunnel::gcm());
    b.switch_on();
    let mut command: Command = lab.gateway(Side::A).command(std::env::current_exe().unwrap());
    command
        .args(["--exact", "gateway_a_in_a_process"])
        .env(PINS, lab.pin_directory(Side::A));
    let mut a = Process::spawn(command, lab.directory().join("a.log")).unwrap();
    wait::until("the tunnel", Duration::from_secs(15), || {
        let report = ping(lab.host(Side::A), Side::B.host(), 1, 20, &["-W", "1"]).unwrap();
        (report.received == 1 && b.counters().inbound[0].1.packets > 0).then_some(())
    })
    .unwrap();

    let capture = Capture::start(&lab, lab.gateway(Side::A), PUBLIC).unwrap();
    a.kill().unwrap();
    let report = ping(
        lab.host(Side::A),
        Side::B.host(),
        20,
        20,
        &["-W", "1", "-p", "ca11ab1e"],
    )
    .unwrap();
    assert_eq!(report.received, 0);
    let packets = capture.stop().unwrap();
    let leaks = packets
        .iter()
        .filter(|packet| packet.is_in_the_clear() || packet.contains(&PATTERN));
    assert_eq!(leaks.count(), 0, "{packets:?}");
}
