//! The scrape page, rendered from a snapshot.

mod dataplane;
mod ike;
#[cfg(test)]
mod tests;
mod tunnels;

use std::time::{SystemTime, UNIX_EPOCH};

use gateway_management::Lease;

use super::family::{Families, Family};
use crate::status::{AlarmStatus, DefenseState, GatewayStatus, Status};

/// The page of a snapshot in the Prometheus text format.
///
/// # Errors
/// When the encoder refuses a family.
pub fn render(status: &Status) -> Result<String, prometheus::Error> {
    let mut page = Families::default();
    agent(&mut page, status);
    gateways(&mut page, &status.gateways);
    tunnels::state(&mut page, &status.tunnels, unix_time());
    tunnels::traffic(&mut page, &status.tunnels);
    ike::negotiations(&mut page, &status.tunnels);
    ike::engine(&mut page, &status.ike);
    dataplane::interfaces(&mut page, &status.xdp.interfaces);
    dataplane::workers(&mut page, status);
    if let Some(status) = &status.alarms {
        alarms(&mut page, status);
    }
    if let Some(lost) = status.lost_events {
        let family = Family::counter(
            "ipsecgw_store_events_lost_total",
            "Changes of tunnels' timelines that the store does not have, because its queue was full or it failed.",
            &[],
        );
        single(&mut page, family, lost);
    }
    page.encode()
}

/// Seconds since 1970.
fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Adds a family with one series and no labels.
fn single(page: &mut Families, mut family: Family, number: u64) {
    family.add(&[], number);
    page.push(family);
}

fn agent(page: &mut Families, status: &Status) {
    let mut info = Family::gauge(
        "ipsecgw_build_info",
        "Version of the agent and mode of the XDP program; always 1.",
        &["version", "xdp_mode"],
    );
    info.add(&[&status.version, &status.xdp.mode], 1);
    page.push(info);
    let generation = Family::gauge(
        "ipsecgw_config_generation",
        "Counts the configurations put into effect.",
        &[],
    );
    single(page, generation, status.config.generation);
    let mut applied = Family::counter("ipsecgw_config_apply_total", "Reloads by result.", &["result"]);
    applied.add(&["applied"], status.config.reloads);
    applied.add(&["refused"], status.config.refused_reloads);
    page.push(applied);
}

fn alarms(page: &mut Families, status: &AlarmStatus) {
    let lasting = Family::gauge(
        "ipsecgw_alarms",
        "Alarms that last: a policy on an object that holds.",
        &[],
    );
    single(page, lasting, status.lasting);
    let waiting = Family::gauge(
        "ipsecgw_alarm_notices_waiting",
        "Notices of alarms that no receiver took yet.",
        &[],
    );
    single(page, waiting, status.waiting_notices);
    let mut notices = Family::counter(
        "ipsecgw_alarm_notices_total",
        "Attempts to tell receivers of alarms, by result.",
        &["result"],
    );
    for (result, number) in &status.notices {
        notices.add(&[result], *number);
    }
    page.push(notices);
}

fn gateways(page: &mut Families, gateways: &[GatewayStatus]) {
    let mut info = Family::gauge(
        "ipsecgw_gateway_info",
        "A VPN gateway; always 1.",
        &["gateway", "name", "vpc", "public_ip"],
    );
    let mut limit = Family::gauge(
        "ipsecgw_gateway_bandwidth_limit_bytes_per_second",
        "Bandwidth setting; absent without a limit.",
        &["gateway", "direction"],
    );
    let mut limited = Family::counter(
        "ipsecgw_gateway_limited_packets_total",
        "Packets dropped because they exceeded the bandwidth setting.",
        &["gateway", "direction"],
    );
    let mut defense = Family::gauge(
        "ipsecgw_gateway_defense_state",
        "1 for the state that the gateway's high defense package is in; absent without a package.",
        &["gateway", "state"],
    );
    let mut shielded = Family::counter(
        "ipsecgw_gateway_defense_dropped_packets_total",
        "Packets that the gateway's shield dropped.",
        &["gateway", "reason"],
    );
    let mut expiry = Family::gauge(
        "ipsecgw_gateway_lease_expiry_timestamp_seconds",
        "When the gateway's period ends; absent without an end.",
        &["gateway"],
    );
    let mut lease = Family::gauge(
        "ipsecgw_gateway_lease_state",
        "1 for the stage that the gateway's period is in; absent for a gateway of the file.",
        &["gateway", "state"],
    );
    for gateway in gateways {
        let id = gateway.id.as_str();
        if let Some(period) = &gateway.lease {
            for stage in Lease::ALL {
                lease.add(&[id, stage.name()], u64::from(stage.name() == period.state));
            }
            if let Some(expires) = period.expires {
                expiry.add(&[id], expires);
            }
        }
        if let Some(package) = &gateway.defense {
            for state in DefenseState::ALL {
                defense.add(&[id, state.name()], u64::from(state == package.state));
            }
            for (reason, count) in &package.dropped_packets {
                shielded.add(&[id, reason], *count);
            }
        }
        let address = gateway
            .address
            .map(|address| address.to_string())
            .unwrap_or_default();
        info.add(&[id, &gateway.name, &gateway.vpc, &address], 1);
        for direction in ["in", "out"] {
            if let Some(rate) = gateway.bandwidth_bytes_per_second {
                limit.add(&[id, direction], rate);
            }
            let dropped = gateway.limited_packets.get(direction);
            limited.add(&[id, direction], dropped.copied().unwrap_or_default());
        }
    }
    [info, limit, limited, defense, shielded, expiry, lease]
        .into_iter()
        .for_each(|family| page.push(family));
}
