//! State and traffic of tunnels. Every configured tunnel has its series, whether it is up or not.

use gateway_management::Health;

use crate::metrics::family::{Families, Family};
use crate::status::{TunnelState, TunnelStatus};

/// `now` is the unix time of the scrape in seconds.
pub(super) fn state(page: &mut Families, tunnels: &[TunnelStatus], now: u64) {
    let mut info = Family::gauge(
        "ipsecgw_tunnel_info",
        "A configured tunnel; always 1. The version is the one in use, without an IKE SA the configured one.",
        &[
            "tunnel",
            "name",
            "gateway",
            "customer_gateway",
            "peer",
            "ike_version",
        ],
    );
    let mut state = Family::gauge(
        "ipsecgw_tunnel_state",
        "1 for the state that the phase of the tunnel is in, 0 for the others.",
        &["tunnel", "phase", "state"],
    );
    let mut changed = Family::gauge(
        "ipsecgw_tunnel_last_state_change_timestamp_seconds",
        "Unix time of the last change of the tunnel's state.",
        &["tunnel"],
    );
    let mut established = Family::gauge(
        "ipsecgw_tunnel_ike_established_timestamp_seconds",
        "Unix time at which the IKE SA was established; absent without one.",
        &["tunnel"],
    );
    let mut rekey = Family::gauge(
        "ipsecgw_tunnel_ike_rekey_timestamp_seconds",
        "Unix time at which the IKE SA will be rekeyed; absent without one.",
        &["tunnel"],
    );
    let mut expiry = Family::gauge(
        "ipsecgw_tunnel_ike_expiry_timestamp_seconds",
        "Unix time at which the lifetime of the IKE SA ends; absent without one.",
        &["tunnel"],
    );
    let mut heard = Family::gauge(
        "ipsecgw_tunnel_peer_heard_timestamp_seconds",
        "Unix time at which the peer last proved to be there; absent without an IKE SA.",
        &["tunnel"],
    );
    let mut children = Family::gauge(
        "ipsecgw_tunnel_child_sas",
        "Selector pairs that have SAs.",
        &["tunnel"],
    );
    let mut expected = Family::gauge(
        "ipsecgw_tunnel_child_sas_expected",
        "Selector pairs that are configured.",
        &["tunnel"],
    );
    let mut nat = Family::gauge(
        "ipsecgw_tunnel_nat_traversal",
        "1 when ESP travels in UDP.",
        &["tunnel"],
    );
    let mut weak = Family::gauge(
        "ipsecgw_tunnel_weak_choices",
        "Weak choices that the tunnel allows, by reason; no series for a reason that does not apply.",
        &["tunnel", "reason"],
    );
    for tunnel in tunnels {
        let id = tunnel.id.as_str();
        let peer = tunnel.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let version = tunnel.ike.as_ref().map_or(&tunnel.version, |ike| &ike.version);
        let (name, gateway, customer) = (&tunnel.name, &tunnel.gateway, &tunnel.customer_gateway);
        info.add(&[id, name, gateway, customer, &peer, version], 1);
        for (phase, current) in [("ike", ike_state(tunnel)), ("child", tunnel.state)] {
            for candidate in TunnelState::ALL {
                state.add(&[id, phase, candidate.name()], u64::from(candidate == current));
            }
        }
        if let Some(probe) = &tunnel.probe {
            for candidate in [Health::Healthy, Health::Unhealthy, Health::Unknown] {
                let current = u64::from(candidate == probe.health);
                state.add(&[id, "probe", candidate.name()], current);
            }
        }
        changed.add(&[id], now.saturating_sub(tunnel.state_seconds));
        if let Some(ike) = &tunnel.ike {
            established.add(&[id], now.saturating_sub(ike.established_seconds));
            rekey.add(&[id], now + ike.rekey_in_seconds);
            expiry.add(&[id], now + ike.expires_in_seconds);
            heard.add(&[id], now.saturating_sub(ike.idle_seconds));
        }
        children.add(&[id], served(tunnel));
        expected.add(&[id], count(tunnel.pairs));
        nat.add(&[id], u64::from(tunnel.nat));
        for (reason, number) in &tunnel.weak_reasons {
            weak.add(&[id, reason], *number);
        }
    }
    [
        info,
        state,
        changed,
        established,
        rekey,
        expiry,
        heard,
        children,
        expected,
        nat,
        weak,
    ]
    .into_iter()
    .for_each(|family| page.push(family));
}

pub(super) fn traffic(page: &mut Families, tunnels: &[TunnelStatus]) {
    let mut bytes = Family::counter(
        "ipsecgw_tunnel_bytes_total",
        "Octets of inner packets carried, over all SAs the tunnel ever had.",
        &["tunnel", "direction"],
    );
    let mut packets = Family::counter(
        "ipsecgw_tunnel_packets_total",
        "Inner packets carried, over all SAs the tunnel ever had.",
        &["tunnel", "direction"],
    );
    let mut dropped = Family::counter(
        "ipsecgw_tunnel_dropped_packets_total",
        "Packets of the tunnel that were dropped.",
        &["tunnel", "direction", "reason"],
    );
    let mut clamped = Family::counter(
        "ipsecgw_tunnel_mss_clamped_total",
        "TCP connections through the tunnel whose MSS was lowered to what it carries.",
        &["tunnel"],
    );
    let mut too_big = Family::counter(
        "ipsecgw_tunnel_icmp_too_big_sent_total",
        "Senders in the VPC that were told the MTU of the tunnel.",
        &["tunnel"],
    );
    let mut time_exceeded = Family::counter(
        "ipsecgw_tunnel_icmp_time_exceeded_sent_total",
        "Senders in the VPC that were told that a TTL ended here.",
        &["tunnel"],
    );
    let mut mtu = Family::gauge(
        "ipsecgw_tunnel_mtu_bytes",
        "Octets of the longest inner packet that the tunnel carries in one piece; no series before the first packet.",
        &["tunnel"],
    );
    let mut fragmented = Family::counter(
        "ipsecgw_tunnel_fragmented_packets_total",
        "Packets that were fragmented before sealing.",
        &["tunnel"],
    );
    let mut probes = Family::counter(
        "ipsecgw_tunnel_probe_sent_total",
        "Probes sent through the tunnel.",
        &["tunnel"],
    );
    let mut lost = Family::counter(
        "ipsecgw_tunnel_probe_lost_total",
        "Probes that were not answered in time.",
        &["tunnel"],
    );
    let mut rtt = Family::histogram(
        "ipsecgw_tunnel_probe_rtt_seconds",
        "Time from a probe to its answer.",
        &["tunnel"],
    );
    for tunnel in tunnels {
        let id = tunnel.id.as_str();
        if let Some(probe) = &tunnel.probe {
            probes.add(&[id], probe.sent);
            lost.add(&[id], probe.lost);
            rtt.add_durations(&[id], &probe.rtt);
        }
        bytes.add(&[id, "in"], tunnel.bytes_in);
        bytes.add(&[id, "out"], tunnel.bytes_out);
        packets.add(&[id, "in"], tunnel.packets_in);
        packets.add(&[id, "out"], tunnel.packets_out);
        for (reason, all) in &tunnel.dropped {
            let out = tunnel.dropped_out.get(reason).copied().unwrap_or_default();
            dropped.add(&[id, "out", reason], out);
            dropped.add(&[id, "in", reason], all.saturating_sub(out));
        }
        clamped.add(&[id], tunnel.mss_clamped);
        too_big.add(&[id], tunnel.icmp_too_big_sent);
        time_exceeded.add(&[id], tunnel.icmp_time_exceeded_sent);
        fragmented.add(&[id], tunnel.fragmented);
        if let Some(octets) = tunnel.mtu {
            mtu.add(&[id], octets.into());
        }
    }
    [
        bytes,
        packets,
        dropped,
        clamped,
        too_big,
        time_exceeded,
        fragmented,
        mtu,
        probes,
        lost,
        rtt,
    ]
    .into_iter()
    .for_each(|family| page.push(family));
}

/// Phase 1 of a tunnel, derived from what the whole tunnel is and whether it has an IKE SA.
fn ike_state(tunnel: &TunnelStatus) -> TunnelState {
    match tunnel.state {
        TunnelState::Disabled => TunnelState::Disabled,
        TunnelState::Up | TunnelState::Negotiating | TunnelState::Down if tunnel.ike.is_some() => {
            TunnelState::Up
        }
        TunnelState::Up | TunnelState::Down => TunnelState::Down,
        TunnelState::Negotiating => TunnelState::Negotiating,
    }
}

/// Selector pairs that have an SA to seal with.
fn served(tunnel: &TunnelStatus) -> u64 {
    tunnel.children.iter().map(|child| count(child.serves)).sum()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
