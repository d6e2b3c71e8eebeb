//! Nanoseconds per packet of the XDP program, by verdict, with ten thousand policies loaded. One JSON object per line.
//!
//! Run as root: `cargo run --release -p gateway-user --example xdp_bench`, or `cargo xtask bench xdp`. The kernel runs the program
//! on one packet again and again (`BPF_PROG_TEST_RUN`), so caches are warm; about 8 ns are the loop itself.
#![allow(clippy::print_stdout, reason = "the lines are the result")]

use std::{net::Ipv4Addr, os::fd::AsFd as _};

use anyhow::{Context as _, ensure};
use gateway_common::abi::{
    IFACE_ROLE_PUBLIC, IFACE_ROLE_VPC, IfaceValue, LimiterConfig, LocalAddrValue, PolicyValue, SaKey,
    SaValue, ShieldValue, Verdict, v4_mapped,
};
use gateway_user::xdp::{LoadOptions, SpdSpace, XdpProgram};
use ipnet::Ipv4Net;
use socket2::{Domain, Socket, Type};

const POLICIES: u32 = 10_000;
const SPACE: u32 = 1;
/// Loopback, whose packets `BPF_PROG_TEST_RUN` imitates.
const IFINDEX: u32 = 1;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Of all the policies, one from the middle.
const MEASURED: u32 = 4_711;
const GATEWAY_LIMITER: u32 = 1;
const TUNNEL_LIMITER: u32 = 2;
/// Never reached, so that the verdict stays.
const WIDE: LimiterConfig = LimiterConfig {
    rate: 1 << 40,
    burst: 1 << 40,
};
/// Always reached.
const NARROW: LimiterConfig = LimiterConfig { rate: 1, burst: 1 };
const SPI: [u8; 4] = [0x10, 0, 0, 1];
const REPEAT: u32 = 300_000;
const ROUNDS: usize = 9;

fn main() -> anyhow::Result<()> {
    let mut bench = Bench::new(true)?;
    let (udp, esp, tcp) = (17, 50, 6);
    let vpc = IfaceValue {
        role: IFACE_ROLE_VPC,
        space: SPACE,
        queues: 1,
        ..IfaceValue::default()
    };
    let public = IfaceValue {
        role: IFACE_ROLE_PUBLIC,
        ..vpc
    };
    let deny = IfaceValue {
        default_deny: 1,
        ..vpc
    };
    let to_peer = ipv4(local_host(MEASURED), peer_host(MEASURED), tcp, &[0; 40]);
    let from_peer = ipv4(peer_host(MEASURED), local_host(MEASURED), tcp, &[0; 40]);
    let elsewhere = ipv4(local_host(MEASURED), Ipv4Addr::new(8, 8, 8, 8), tcp, &[0; 40]);
    let ike = ipv4(PEER, GATEWAY, udp, &datagram(500, &[1; 100]));
    let sealed = ipv4(PEER, GATEWAY, esp, &[&SPI[..], &[0; 60]].concat());
    let in_udp = ipv4(
        PEER,
        GATEWAY,
        udp,
        &datagram(4500, &[&SPI[..], &[0; 60]].concat()),
    );
    let unknown = ipv4(PEER, GATEWAY, esp, &[9; 64]);
    let mut arp = to_peer.clone();
    arp[13] = 0x06;
    let mut short = to_peer.clone();
    short.truncate(30);

    bench.baseline(&arp)?;
    bench.row("not_ip", vpc, &arp, Verdict::NotIp)?;
    bench.row("malformed", vpc, &short, Verdict::Malformed)?;
    bench.row("bypass", vpc, &elsewhere, Verdict::Bypass)?;
    bench.row("no_policy", deny, &elsewhere, Verdict::NoPolicy)?;
    bench.row("ike", public, &ike, Verdict::Ike)?;
    bench.program.set_ike_limit(NARROW)?;
    bench.row("ike_rate", public, &ike, Verdict::IkeRate)?;
    bench.shield(WIDE)?;
    bench.row("ike, shield", public, &ike, Verdict::Ike)?;
    bench.row("unknown_spi, shield", public, &unknown, Verdict::UnknownSpi)?;
    bench.row("inbound, no limiter, shield", public, &sealed, Verdict::Inbound)?;
    bench.shield(NARROW)?;
    bench.row("source_rate, shield", public, &ike, Verdict::SourceRate)?;
    bench.own_address(0)?;
    bench.row("unknown_spi", public, &unknown, Verdict::UnknownSpi)?;
    bench.row("cleartext_inbound", public, &from_peer, Verdict::CleartextInbound)?;
    bench.row(
        "nat_keepalive",
        public,
        &ipv4(PEER, GATEWAY, udp, &datagram(4500, &[0xff])),
        Verdict::NatKeepalive,
    )?;

    bench.row("outbound, no limiter", vpc, &to_peer, Verdict::Outbound)?;
    bench.row("inbound, no limiter", public, &sealed, Verdict::Inbound)?;
    bench.limiters(GATEWAY_LIMITER, 0)?;
    let limited = IfaceValue {
        space: bench.space.id,
        ..vpc
    };
    bench.row("outbound, gateway limiter", limited, &to_peer, Verdict::Outbound)?;
    bench.row("inbound, gateway limiter", public, &sealed, Verdict::Inbound)?;
    bench.limiters(GATEWAY_LIMITER, TUNNEL_LIMITER)?;
    let limited = IfaceValue {
        space: bench.space.id,
        ..vpc
    };
    bench.row("outbound, both limiters", limited, &to_peer, Verdict::Outbound)?;
    bench.row("inbound, both limiters", public, &sealed, Verdict::Inbound)?;
    bench.row("inbound in UDP, both limiters", public, &in_udp, Verdict::Inbound)?;
    bench.program.set_limiter(TUNNEL_LIMITER, NARROW)?;
    bench.row("tunnel_bandwidth", limited, &to_peer, Verdict::TunnelBandwidth)?;

    // What each new pair of addresses costs.
    let mut bench = Bench::new(false)?;
    bench.row("bypass, first packet", vpc, &elsewhere, Verdict::Bypass)?;
    bench.row(
        "outbound, no limiter, first packet",
        vpc,
        &to_peer,
        Verdict::Outbound,
    )?;
    bench.limiters(GATEWAY_LIMITER, 0)?;
    let limited = IfaceValue {
        space: bench.space.id,
        ..vpc
    };
    bench.row(
        "outbound, gateway limiter, first packet",
        limited,
        &to_peer,
        Verdict::Outbound,
    )
}

struct Bench {
    program: XdpProgram,
    space: SpdSpace,
    /// A redirect needs a socket in the slot; it need not be bound.
    _socket: Socket,
}

impl Bench {
    fn new(flow_cache: bool) -> anyhow::Result<Self> {
        let mut program = XdpProgram::load(&LoadOptions {
            flow_cache,
            ..LoadOptions::default()
        })?;
        let socket = Socket::new(Domain::from(libc::AF_XDP), Type::RAW, None).context("an AF_XDP socket")?;
        program.set_xsk(0, socket.as_fd())?;
        program.set_limiter(GATEWAY_LIMITER, WIDE)?;
        program.set_limiter(TUNNEL_LIMITER, WIDE)?;
        let mut bench = Self {
            program,
            space: SpdSpace::default(),
            _socket: socket,
        };
        bench.own_address(0)?;
        bench.limiters(0, 0)?;
        Ok(bench)
    }

    /// Gives the gateway a shield; 0: none.
    fn own_address(&mut self, shield: u32) -> anyhow::Result<()> {
        let value = LocalAddrValue { gateway: 1, shield };
        Ok(self.program.put_local_addr(GATEWAY, value)?)
    }

    /// Puts the gateway behind a shield, each of whose buckets has this limit.
    fn shield(&mut self, limit: LimiterConfig) -> anyhow::Result<()> {
        let limits = ShieldValue {
            source: limit,
            ike_source: limit,
            ike_total: limit,
            unknown_spi_source: limit,
            ..ShieldValue::default()
        };
        self.program.set_shield(1, limits)?;
        self.own_address(1)
    }

    /// Puts all policies into a new space, and the SA, with these limiters.
    fn limiters(&mut self, gateway_limiter: u32, tunnel_limiter: u32) -> anyhow::Result<()> {
        self.program.remove_space(&self.space)?;
        let policy = |number| PolicyValue {
            policy: number,
            gateway_limiter,
            tunnel_limiter,
            ..PolicyValue::default()
        };
        self.space = SpdSpace {
            id: self.space.id + 1,
            local: (0..POLICIES)
                .map(|n| Ok((Ipv4Net::new(local_host(n), 28)?.trunc(), n)))
                .collect::<anyhow::Result<_>>()?,
            peer: (0..POLICIES)
                .map(|n| Ok((Ipv4Net::new(peer_host(n), 28)?.trunc(), n)))
                .collect::<anyhow::Result<_>>()?,
            pairs: (0..POLICIES).map(|n| (n, n, policy(n))).collect(),
        };
        self.program.write_space(&self.space)?;
        let key = SaKey {
            addr: v4_mapped(GATEWAY.octets()),
            spi: SPI,
        };
        let sa = SaValue {
            sa: 1,
            gateway_limiter,
            tunnel_limiter,
            overhead: 60,
            ..SaValue::default()
        };
        Ok(self.program.put_sa(key, sa)?)
    }

    /// The loop itself: an interface without a role.
    fn baseline(&mut self, packet: &[u8]) -> anyhow::Result<()> {
        self.program.set_iface(IFINDEX, IfaceValue::default())?;
        self.measure("nothing", packet)
    }

    /// One line, for a packet that has the expected verdict.
    fn row(&mut self, name: &str, iface: IfaceValue, packet: &[u8], expected: Verdict) -> anyhow::Result<()> {
        self.program.set_iface(IFINDEX, iface)?;
        let before = self.count(expected);
        self.measure(name, packet)?;
        let runs = self.count(expected) - before;
        // A narrow limit lets one packet a second through.
        let all = u64::from(REPEAT) * ROUNDS as u64;
        ensure!(runs + 100 > all, "{name}: {expected:?} in {runs} of {all} runs");
        Ok(())
    }

    fn measure(&self, name: &str, packet: &[u8]) -> anyhow::Result<()> {
        let mut rounds = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            rounds.push(self.program.test_run(packet, REPEAT)?.duration.as_nanos());
        }
        rounds.sort_unstable();
        let line = serde_json::json!({
            "name": format!("xdp {name}"),
            "unit": "ns/packet",
            "value": rounds[ROUNDS / 2],
            "min": rounds[0],
            "max": rounds[ROUNDS - 1],
        });
        println!("{line}");
        Ok(())
    }

    fn count(&self, verdict: Verdict) -> u64 {
        self.program.counters(0)[verdict as usize]
    }
}

/// Neighbours in the list are far apart in the trie.
fn local_host(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0001 | (number.wrapping_mul(0x9e35) & 0xf_ffff) << 4)
}

fn peer_host(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xac10_0001 | (number.wrapping_mul(0x9e35) & 0xffff) << 4)
}

fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total_len = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0];
    packet.extend(total_len.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(payload);
    packet
}

fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let ports = [port.to_be_bytes(), port.to_be_bytes(), len.to_be_bytes(), [0, 0]];
    [&ports.concat()[..], payload].concat()
}
