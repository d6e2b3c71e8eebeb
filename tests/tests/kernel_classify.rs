//! The table of packets and the stories of gateway-ebpf, judged by the program in the kernel; and kernel and host compared on
//! packets that nobody thought of. Needs root.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    cell::RefCell,
    io,
    net::Ipv4Addr,
    os::fd::AsFd as _,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use gateway_common::abi::{
    Action, IfaceValue, LimiterConfig, LocalAddrValue, PacketMeta, PathKey, PolicyValue, SPACE_SLOT_BITS,
    SaKey, SaValue, ShieldValue, Verdict,
};
use gateway_ebpf::cases::{
    self, Addr, GATEWAY, HostTarget, LOCAL_HOST, Outcome, PEER, PEER_HOST, PUBLIC, Row, Space, Target, VPC,
    check, furnish,
    packets::{ESP, Ipv4, TCP},
    policy, rows,
};
use gateway_user::xdp::{LoadOptions, SpdSpace, XdpError, XdpProgram};
use ipnet::Ipv4Net;
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};
use socket2::{Domain, Socket, Type};
use tracing::level_filters::LevelFilter;

/// Loopback, whose packets `BPF_PROG_TEST_RUN` imitates.
const IFINDEX: u32 = 1;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

/// The loaded program.
struct KernelTarget {
    program: XdpProgram,
    /// A redirect needs a socket in slot 0; it need not be bound.
    _socket: Socket,
}

impl KernelTarget {
    fn load(options: &LoadOptions) -> Self {
        let mut program = XdpProgram::load(options).expect("the program loads; this test needs root");
        let socket = Socket::new(Domain::from(libc::AF_XDP), Type::RAW, None).expect("an AF_XDP socket");
        program.set_xsk(0, socket.as_fd()).unwrap();
        Self {
            program,
            _socket: socket,
        }
    }

    fn furnished() -> Self {
        let mut target = Self::load(&LoadOptions::default());
        furnish(&mut target);
        target
    }

    fn count(&self, verdict: Verdict) -> u64 {
        self.program.counters(0)[verdict as usize]
    }
}

impl Target for KernelTarget {
    fn set_iface(&mut self, value: IfaceValue) {
        self.program.set_iface(IFINDEX, value).unwrap();
    }

    fn write_space(&mut self, space: &Space<'_>) {
        self.program.write_space(&spd_space(space)).unwrap();
    }

    fn put_sa(&mut self, key: SaKey, value: SaValue) {
        self.program.put_sa(key, value).unwrap();
    }

    fn remove_sa(&mut self, key: &SaKey) {
        self.program.remove_sa(key).unwrap();
    }

    fn put_local_addr(&mut self, addr: Addr, shield: u32) {
        let value = LocalAddrValue { gateway: 1, shield };
        self.program.put_local_addr(addr.into(), value).unwrap();
    }

    fn set_shield(&mut self, number: u32, limits: ShieldValue, prefixes: &[(Addr, u8, u32)]) {
        self.program.set_shield(number, limits).unwrap();
        for (addr, len, standing) in prefixes {
            let net = Ipv4Net::new((*addr).into(), *len).unwrap();
            self.program.put_shield_prefix(number, &net, *standing).unwrap();
        }
    }

    fn shield_drops(&self, number: u32, verdict: Verdict) -> u64 {
        self.program.shield_drops(number)[verdict as usize]
    }

    fn take_unknown_spis(&mut self) -> Vec<(PathKey, [u8; 4])> {
        self.program.take_unknown_spis().unwrap()
    }

    fn set_limiter(&mut self, number: u32, config: LimiterConfig) {
        self.program.set_limiter(number, config).unwrap();
    }

    fn limiter_drops(&self, number: u32) -> u64 {
        self.program.limiter_drops(number)
    }

    fn set_ike_limit(&mut self, config: LimiterConfig) {
        self.program.set_ike_limit(config).unwrap();
    }

    fn judge(&mut self, packet: &[u8]) -> Outcome {
        let before = self.program.counters(0);
        let run = self.program.test_run(packet, 1).unwrap();
        let after = self.program.counters(0);
        let counted: Vec<Verdict> = Verdict::ALL
            .into_iter()
            .filter(|v| after[*v as usize] != before[*v as usize])
            .collect();
        let [verdict] = counted[..] else {
            panic!("one verdict per packet, not {counted:?}")
        };
        let (front, rest) = run.data.split_at(run.data.len() - packet.len());
        assert_eq!(rest, packet, "the program changes no packet");
        let meta = match verdict.action() {
            Action::Redirect => {
                assert_eq!(run.action, XDP_REDIRECT, "{verdict:?}");
                Some(
                    front
                        .try_into()
                        .ok()
                        .and_then(PacketMeta::from_bytes)
                        .expect("sixteen octets of metadata"),
                )
            }
            Action::Pass => {
                assert_eq!((run.action, front.len()), (XDP_PASS, 0), "{verdict:?}");
                None
            }
            Action::Drop => {
                assert_eq!(run.action, XDP_DROP, "{verdict:?}");
                None
            }
        };
        Outcome { verdict, meta }
    }
}

fn spd_space(space: &Space<'_>) -> SpdSpace {
    let nets = |prefixes: &[(Addr, u8, u32)]| {
        prefixes
            .iter()
            .map(|(addr, len, class)| (Ipv4Net::new((*addr).into(), *len).unwrap(), *class))
            .collect()
    };
    SpdSpace {
        id: space.id,
        local: nets(space.local),
        peer: nets(space.peer),
        pairs: space.pairs.to_vec(),
    }
}

#[test]
fn every_row_has_its_outcome() {
    for flow_cache in [true, false] {
        let mut target = KernelTarget::load(&LoadOptions {
            flow_cache,
            ..LoadOptions::default()
        });
        furnish(&mut target);
        for row in rows() {
            check(&mut target, &row);
        }
    }
}

#[test]
fn every_story_ends_well() {
    let mut target = KernelTarget::furnished();
    for (name, story) in cases::STORIES.into_iter().chain(cases::SHIELD_STORIES) {
        println!("{name}");
        story(&mut target);
    }
}

#[test]
fn host_and_kernel_agree_on_changed_packets() {
    let both = Both::furnished();
    let rows = rows();
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..6);
    let tail = prop::collection::vec(any::<u8>(), 0..40);
    let mut runner = TestRunner::new(Config {
        cases: 4_000,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(
            &(any::<Index>(), changes, any::<Index>(), tail, any::<bool>()),
            |(row, changes, len, tail, cut)| {
                let Row {
                    iface, mut packet, ..
                } = row.get(&rows).clone();
                for (place, octet) in changes {
                    // Mostly in the headers.
                    let place = place.index(packet.len().min(50));
                    packet[place] = octet;
                }
                if cut {
                    // The kernel has no frames without an Ethernet header.
                    packet.truncate(14 + len.index(packet.len() - 13));
                }
                packet.extend(tail);
                both.agree(iface, &packet)
            },
        )
        .unwrap();
}

#[test]
fn host_and_kernel_agree_on_random_packets() {
    let both = Both::furnished();
    let mut runner = TestRunner::new(Config {
        cases: 1_000,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(
            &(
                prop::collection::vec(any::<u8>(), 14..200),
                any::<bool>(),
                any::<bool>(),
            ),
            |(mut packet, public, ip)| {
                if ip {
                    packet[12..14].copy_from_slice(&[0x08, 0x00]);
                }
                both.agree(if public { PUBLIC } else { VPC }, &packet)
            },
        )
        .unwrap();
}

/// The two targets, for a closure that proptest may call again.
struct Both(RefCell<(HostTarget, KernelTarget)>);

impl Both {
    fn furnished() -> Self {
        let mut host = HostTarget::default();
        furnish(&mut host);
        Self(RefCell::new((host, KernelTarget::furnished())))
    }

    fn agree(&self, iface: IfaceValue, packet: &[u8]) -> Result<(), TestCaseError> {
        let (host, kernel) = &mut *self.0.borrow_mut();
        host.set_iface(iface);
        kernel.set_iface(iface);
        let (expected, outcome) = (host.judge(packet), kernel.judge(packet));
        prop_assert_eq!(outcome, expected, "{:?} {:02x?}", iface, packet);
        Ok(())
    }
}

/// A target whose policy has limiter 1 with this setting, and a packet of 1400 octets for it.
fn limited(config: LimiterConfig) -> (KernelTarget, Vec<u8>) {
    let mut target = KernelTarget::furnished();
    target.set_limiter(1, config);
    let limited = PolicyValue {
        gateway_limiter: 1,
        ..policy(1, 1)
    };
    let (local, peer): (&[_], &[_]) = (&[(LOCAL_HOST, 32, 1)], &[(PEER_HOST, 32, 1)]);
    target.write_space(&Space {
        id: 9,
        local,
        peer,
        pairs: &[(1, 1, limited)],
    });
    target.set_iface(IfaceValue { space: 9, ..VPC });
    (target, Ipv4::new(LOCAL_HOST, PEER_HOST, TCP, &[0; 1_380]).build())
}

#[test]
fn a_limiter_is_exact_on_one_cpu_and_on_all() {
    // A burst as long as this thread may have to wait for its turn on a busy machine.
    let config = LimiterConfig {
        rate: 10_000_000,
        burst: 3_000_000,
    };
    for threads in [1, 2, 4] {
        let (target, packet) = limited(config);
        // More than the burst. Such a run ends with a wait until every CPU has left the program: time without an offer.
        let offer = || target.program.test_run(&packet, 10_000).unwrap();
        let start = Instant::now();
        offer();
        let drained = Instant::now();
        let last = thread::scope(|scope| {
            let offers = || {
                let mut last = drained;
                while start.elapsed() < Duration::from_secs(1) {
                    last = Instant::now();
                    offer();
                }
                last
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(offers)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).max()
        });
        let within = |time: Duration| config.rate as f64 * time.as_secs_f64() + config.burst as f64;
        let most = within(start.elapsed());
        let least = within(last.unwrap() - drained);
        let (passed, dropped) = (
            target.count(Verdict::Outbound),
            target.count(Verdict::GatewayBandwidth),
        );
        let granted = passed as f64 * 1_400.0;
        assert!(
            (least * 0.995..most * 1.005).contains(&granted),
            "{threads} threads: {granted} of {least} to {most} octets"
        );
        assert!(dropped > passed, "offered more than granted");
        assert_eq!(target.limiter_drops(1), dropped);
    }
}

#[test]
fn a_new_rate_takes_effect_with_one_write() {
    let (mut target, packet) = limited(LimiterConfig {
        rate: 1,
        burst: 1_400,
    });
    assert_eq!(target.judge(&packet).verdict, Verdict::Outbound);
    assert_eq!(target.judge(&packet).verdict, Verdict::GatewayBandwidth);
    target.set_limiter(1, LimiterConfig::default());
    assert_eq!(target.judge(&packet).verdict, Verdict::Outbound);
}

#[test]
fn counters_are_per_interface() {
    let mut target = KernelTarget::furnished();
    let packet = Ipv4::new(LOCAL_HOST, PEER_HOST, TCP, &[0; 20]).build();
    for (slot, times) in [(0, 3), (5, 4)] {
        target.set_iface(IfaceValue { slot, ..VPC });
        target.program.test_run(&packet, times).unwrap();
    }
    let outbound = |slot: u32| target.program.counters(slot)[Verdict::Outbound as usize];
    assert_eq!(
        (outbound(0), outbound(5), outbound(1), outbound(1 << 30)),
        (3, 4, 0, 0)
    );
}

#[test]
fn an_interface_without_a_role_passes_everything_uncounted() {
    let mut target = KernelTarget::furnished();
    target.set_iface(IfaceValue {
        role: gateway_common::abi::IFACE_ROLE_NONE,
        ..VPC
    });
    let run = target
        .program
        .test_run(&Ipv4::new(LOCAL_HOST, PEER_HOST, TCP, &[]).build(), 1)
        .unwrap();
    assert_eq!(
        (run.action, target.program.counters(0)),
        (XDP_PASS, [0; Verdict::COUNT as usize])
    );
}

#[test]
fn only_an_af_xdp_socket_fits_a_slot() {
    let mut target = KernelTarget::furnished();
    let other = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    assert!(matches!(
        target.program.set_xsk(1, other.as_fd()),
        Err(XdpError::Map { map: "XSKS", .. })
    ));
}

#[test]
fn a_space_that_does_not_fit_leaves_nothing_behind() {
    let options = LoadOptions {
        max_policies: 2,
        ..LoadOptions::default()
    };
    let mut target = KernelTarget::load(&options);
    let host = |n: u32| Ipv4Net::from(Ipv4Addr::from_bits(0x0a00_0000 + n));
    let space = |id, size| SpdSpace {
        id,
        local: (0..size).map(|n| (host(n), n)).collect(),
        peer: (0..size).map(|n| (host(n), n)).collect(),
        pairs: (0..size).map(|n| (n, n, policy(n, 1))).collect(),
    };
    // Room for two policies in four spaces.
    for _ in 0..3 {
        assert!(matches!(
            target.program.write_space(&space(1, 9)),
            Err(XdpError::MapFull { .. })
        ));
    }
    for id in 2..6 {
        target.program.write_space(&space(id, 2)).unwrap();
    }
    assert!(matches!(
        target.program.write_space(&space(6, 1)),
        Err(XdpError::MapFull { map: "POLICIES" })
    ));
    target.program.remove_space(&space(2, 2)).unwrap();
    target.program.remove_space(&space(2, 2)).unwrap();
    target.program.write_space(&space(7, 2)).unwrap();
}

#[test]
fn a_changed_space_decides_by_what_it_was_changed_to() {
    let mut target = KernelTarget::furnished();
    let host = |n: u32| Ipv4Addr::from_bits(0x0a00_0000 + n);
    // Policies by host: one that stays, one that goes, one that changes, one that comes.
    let space = |version: u32, policies: &[(u32, u32)]| {
        let prefixes: Vec<_> = policies
            .iter()
            .map(|&(n, _)| (Ipv4Net::from(host(n)), n))
            .collect();
        SpdSpace {
            id: 50 | version << SPACE_SLOT_BITS,
            local: prefixes.clone(),
            peer: prefixes,
            pairs: policies
                .iter()
                .map(|&(n, index)| (n, n, policy(index, 1)))
                .collect(),
        }
    };
    let steps = [
        space(1, &[(1, 10), (2, 20), (3, 30)]),
        space(2, &[(1, 10), (3, 31), (4, 40)]),
        space(3, &[]),
        space(4, &[(2, 22)]),
    ];
    let expected: [[Option<u32>; 4]; 4] = [
        [Some(10), Some(20), Some(30), None],
        [Some(10), None, Some(31), Some(40)],
        [None; 4],
        [None, Some(22), None, None],
    ];
    let mut from = SpdSpace::empty(50);
    for (to, expected) in steps.into_iter().zip(expected) {
        target.program.change_space(&from, &to).unwrap();
        target.set_iface(IfaceValue { space: to.id, ..VPC });
        let found = [1, 2, 3, 4].map(|n| {
            let packet = Ipv4::new(host(n).octets(), host(n).octets(), TCP, &[]).build();
            target.judge(&packet).meta.map(|meta| meta.index)
        });
        assert_eq!(found, expected, "space {}", to.id);
        from = to;
    }
}

#[test]
fn ten_thousand_policies_are_all_found() {
    let mut target = KernelTarget::furnished();
    let local = |n: u32| Ipv4Addr::from_bits(0x0a00_0001 + (n << 8));
    let peer = |n: u32| Ipv4Addr::from_bits(0xac10_0001 + (n << 6));
    let space = SpdSpace {
        id: 50,
        local: (0..10_000)
            .map(|n| (Ipv4Net::new(local(n), 24).unwrap(), n))
            .collect(),
        peer: (0..10_000)
            .map(|n| (Ipv4Net::new(peer(n), 26).unwrap(), n))
            .collect(),
        pairs: (0..10_000).map(|n| (n, n, policy(n, 1))).collect(),
    };
    target.program.write_space(&space).unwrap();
    target.set_iface(IfaceValue { space: 50, ..VPC });
    for n in (0..10_000).step_by(37) {
        let to = |m: u32| Ipv4::new(local(n).octets(), peer(m).octets(), TCP, &[]).build();
        assert_eq!(target.judge(&to(n)).meta.map(|meta| meta.index), Some(n));
        assert_eq!(target.judge(&to((n + 1) % 10_000)).verdict, Verdict::Bypass);
    }
}

#[test]
fn a_dropped_packet_is_logged_when_asked_for() {
    let sealed = Ipv4::new(PEER, GATEWAY, ESP, &[9; 20]).build();
    for (log_level, logged) in [(LevelFilter::DEBUG, true), (LevelFilter::OFF, false)] {
        let mut target = KernelTarget::load(&LoadOptions {
            log_level,
            ..LoadOptions::default()
        });
        furnish(&mut target);
        target.set_iface(PUBLIC);
        assert_eq!(target.judge(&sealed).verdict, Verdict::UnknownSpi);
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_writer(lines.writer());
        tracing::subscriber::with_default(subscriber.finish(), || target.program.drain_logs());
        let text = lines.text();
        assert_eq!(text.contains("verdict 7"), logged, "{text:?}");
        assert_eq!(text.contains("xdp"), logged, "{text:?}");
    }
}

/// What a subscriber wrote.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn writer(&self) -> impl Fn() -> Self + Send + Sync + 'static {
        let lines = self.clone();
        move || lines.clone()
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .map_err(|e| io::Error::other(e.to_string()))?
            .extend(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
