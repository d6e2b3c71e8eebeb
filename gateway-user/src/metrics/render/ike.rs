//! Negotiations: what succeeded, what failed and why, how long it took.

use super::single;
use crate::metrics::family::{Families, Family};
use crate::status::{IkeStatus, TunnelStatus};

pub(super) fn negotiations(page: &mut Families, tunnels: &[TunnelStatus]) {
    let mut negotiations = Family::counter(
        "ipsecgw_ike_negotiations_total",
        "Negotiations by exchange and result.",
        &["tunnel", "exchange", "result"],
    );
    let mut rekeys = Family::counter(
        "ipsecgw_ike_rekeys_total",
        "Finished rekeys by what was rekeyed.",
        &["tunnel", "type"],
    );
    let mut failures = Family::counter(
        "ipsecgw_ike_failures_total",
        "Failed negotiations of the tunnel by the code of the diagnosis; no series for a code that was never seen.",
        &["tunnel", "code"],
    );
    for tunnel in tunnels {
        let id = tunnel.id.as_str();
        let counts = tunnel.negotiations;
        negotiations.add(&[id, "ike", "success"], counts.ike);
        negotiations.add(&[id, "child", "success"], counts.child);
        negotiations.add(&[id, "any", "failure"], tunnel.failures.values().sum());
        rekeys.add(&[id, "ike"], counts.ike_rekeys);
        rekeys.add(&[id, "child"], counts.child_rekeys);
        for (code, number) in &tunnel.failures {
            failures.add(&[id, code], *number);
        }
    }
    [negotiations, rekeys, failures]
        .into_iter()
        .for_each(|family| page.push(family));
}

pub(super) fn engine(page: &mut Families, ike: &IkeStatus) {
    let mut failures = Family::counter(
        "ipsecgw_ike_failures_by_code_total",
        "Failed negotiations of all tunnels and of peers without a tunnel, by the code of the diagnosis. Every code has its series.",
        &["code"],
    );
    for (code, number) in &ike.failures {
        failures.add(&[code], *number);
    }
    let mut durations = Family::histogram(
        "ipsecgw_ike_exchange_duration_seconds",
        "From the first message of an IKE SA until it was established; type initial or rekey.",
        &["type"],
    );
    durations.add_durations(&["initial"], &ike.ike_durations);
    durations.add_durations(&["rekey"], &ike.ike_rekey_durations);
    let mut setup = Family::histogram(
        "ipsecgw_tunnel_setup_duration_seconds",
        "From the first sign of a negotiation until the tunnel carried traffic.",
        &[],
    );
    setup.add_durations(&[], &ike.setup_durations);
    [failures, durations, setup]
        .into_iter()
        .for_each(|family| page.push(family));
    for (name, help, number) in [
        (
            "ipsecgw_ike_half_open",
            "Negotiations of IKE SAs that are not finished.",
            ike.half_open,
        ),
        (
            "ipsecgw_ike_queued_jobs",
            "Key exchanges that wait for a thread.",
            ike.queued_jobs,
        ),
    ] {
        single(page, Family::gauge(name, help, &[]), number);
    }
    for (name, help, number) in [
        (
            "ipsecgw_ike_handshakes_total",
            "IKE SAs established, rekeys included; its rate is the handshake rate.",
            ike.ike_durations.count + ike.ike_rekey_durations.count,
        ),
        (
            "ipsecgw_ike_retransmits_total",
            "IKE messages sent again.",
            ike.retransmits,
        ),
        (
            "ipsecgw_ike_dropped_datagrams_total",
            "Datagrams on the IKE ports that did not parse or belonged to nothing.",
            ike.dropped_datagrams,
        ),
        (
            "ipsecgw_ike_invalid_spi_hints_total",
            "Unprotected INVALID_SPI that names an SA in use: the peer restarted, or it is forged.",
            ike.invalid_spi_hints,
        ),
        (
            "ipsecgw_ike_unknown_peers_total",
            "Refused peers without a configured tunnel.",
            ike.unknown_peers,
        ),
        (
            "ipsecgw_ike_send_errors_total",
            "IKE datagrams that the kernel did not take.",
            ike.send_errors,
        ),
    ] {
        single(page, Family::counter(name, help, &[]), number);
    }
}
