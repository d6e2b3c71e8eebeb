//! Ten thousand tunnels come up, and again after all peers have restarted: time and memory.

use std::time::{Duration, Instant};

use gateway_ike::config::{IkeVersion, Phase1Mode};
use gateway_ike::crypto::DhGroup;

use crate::ends::{End, Kind, bring_up, mirrored, tunnel};
use crate::row::{Runs, print};

const TUNNELS: u32 = 10_000;

const KINDS: [Kind; 2] = [
    kind("ikev2 x25519", IkeVersion::V2, DhGroup::X25519),
    kind("ikev1 main mode modp1024", IkeVersion::V1, DhGroup::Modp1024),
];

const fn kind(name: &'static str, version: IkeVersion, group: DhGroup) -> Kind {
    Kind {
        name,
        version,
        mode: Phase1Mode::Main,
        group,
        additional: None,
    }
}

pub(crate) fn run() {
    // The second kind reuses what the first has given back, so that memory is measured of the first alone.
    for (kind, memory) in KINDS.into_iter().zip([true, false]) {
        measure(kind, memory);
    }
}

fn measure(kind: Kind, memory: bool) {
    let mut now = Instant::now();
    let before = resident("VmRSS:");
    let mut gateway = End::new(1);
    for number in 0..TUNNELS {
        gateway.call(now, |endpoint| endpoint.put_connection(now, tunnel(kind, number)));
    }
    let mut peers = all_peers(now, kind, 2);
    let configured = resident("VmRSS:");
    gateway.busy = Duration::ZERO;
    for number in 0..TUNNELS {
        bring_up(now, number, &mut peers, &mut gateway);
    }
    assert_eq!(gateway.installed, TUNNELS as usize, "{}", kind.name);
    let first = gateway.busy.as_secs_f64();
    // What handshakes leave behind for a while is gone.
    for _ in 0..120 {
        now += Duration::from_secs(1);
        gateway.call(now, |endpoint| endpoint.handle_timeout(now));
        peers.call(now, |endpoint| endpoint.handle_timeout(now));
        crate::ends::exchange(now, &mut peers, &mut gateway);
    }
    let established = resident("VmRSS:");

    drop(peers);
    let mut peers = all_peers(now, kind, 3);
    gateway.busy = Duration::ZERO;
    gateway.installed = 0;
    for number in 0..TUNNELS {
        bring_up(now, number, &mut peers, &mut gateway);
    }
    assert_eq!(gateway.installed, TUNNELS as usize, "{}", kind.name);
    let again = gateway.busy.as_secs_f64();
    let name = kind.name;
    let per = |octets: f64| Runs(vec![octets / f64::from(TUNNELS) / 2.0]);
    let row = |what: &str, unit: &str, runs: &Runs| {
        print(&format!("10,000 tunnels, {name}: {what}"), unit, runs, None)
    };
    row("come up", "s", &Runs(vec![first]));
    row("come up after a restart of all peers", "s", &Runs(vec![again]));
    if !memory {
        return;
    }
    row(
        "memory of one configured tunnel",
        "KiB",
        &per(configured - before),
    );
    row(
        "memory that it takes when established",
        "KiB",
        &per(established - configured),
    );
    row(
        "peak memory of both ends",
        "MiB",
        &Runs(vec![resident("VmHWM:") / 1024.0]),
    );
}

fn all_peers(now: Instant, kind: Kind, seed: u8) -> End {
    let mut peers = End::new(seed);
    for number in 0..TUNNELS {
        peers.call(now, |endpoint| {
            endpoint.put_connection(now, mirrored(kind, number))
        });
    }
    peers
}

/// Memory of this process in KiB, as the kernel counts it.
fn resident(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}
