//! `gateway status` for people.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::status::{ChildStatus, EventStatus, IkeSaStatus, Status, TunnelState, TunnelStatus};

/// How many lines of a tunnel's timeline are shown.
const TIMELINE: usize = 20;

/// Writes the table of all tunnels.
pub(super) fn overview(status: &Status, colour: bool) -> String {
    let mut out = String::new();
    for problem in &status.problems {
        line(
            &mut out,
            format_args!("{}", paint(colour, "31", &format!("problem: {problem}"))),
        );
    }
    let header = [
        "TUNNEL",
        "STATE",
        "FOR",
        "PEER",
        "IKE",
        "SAS",
        "IN",
        "OUT",
        "DROPPED",
        "LAST FAILURE",
    ]
    .map(str::to_owned);
    let rows = status.tunnels.iter().map(|tunnel| {
        let ike = tunnel
            .ike
            .as_ref()
            .map_or_else(|| "-".to_owned(), |ike| ike.algorithms.clone());
        let failure = tunnel.last_failure.as_ref();
        [
            tunnel.id.clone(),
            tunnel.state.name().to_owned(),
            duration(tunnel.state_seconds),
            tunnel.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            ike,
            format!(
                "{}/{}",
                tunnel.children.iter().map(|child| child.serves).sum::<usize>(),
                tunnel.pairs
            ),
            octets(tunnel.bytes_in),
            octets(tunnel.bytes_out),
            tunnel.dropped.values().sum::<u64>().to_string(),
            failure.map_or_else(
                || "-".to_owned(),
                |f| format!("{} {} ago", f.code, duration(f.seconds_ago)),
            ),
        ]
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let mut widths = [0; 10];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for (number, row) in rows.iter().enumerate() {
        let state = number
            .checked_sub(1)
            .and_then(|tunnel| status.tunnels.get(tunnel))
            .map(|tunnel| tunnel.state);
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            let padded = format!("{cell:width$}");
            if column == 1 {
                state.map_or_else(|| padded.clone(), |state| paint(colour, hue(state), &padded))
            } else {
                padded
            }
        });
        line(
            &mut out,
            format_args!("{}", cells.collect::<Vec<_>>().join("  ").trim_end()),
        );
    }
    if status.tunnels.is_empty() {
        line(&mut out, format_args!("no tunnels are configured"));
    }
    out
}

/// Writes everything about one tunnel.
pub(super) fn tunnel(tunnel: &TunnelStatus, colour: bool) -> String {
    let mut out = String::new();
    let state = paint(colour, hue(tunnel.state), tunnel.state.name());
    line(
        &mut out,
        format_args!("tunnel    {} ({})", tunnel.id, tunnel.name),
    );
    line(
        &mut out,
        format_args!(
            "state     {state} for {}, start = {}",
            duration(tunnel.state_seconds),
            tunnel.start
        ),
    );
    let address = |address: Option<std::net::Ipv4Addr>| address.map(|a| a.to_string()).unwrap_or_default();
    let (local, peer) = (address(tunnel.local), address(tunnel.peer));
    line(
        &mut out,
        format_args!(
            "ends      {} {local} - {} {peer}",
            tunnel.gateway, tunnel.customer_gateway
        ),
    );
    match &tunnel.ike {
        None => line(
            &mut out,
            format_args!("ike       none, configured {}", tunnel.version),
        ),
        Some(ike) => line(
            &mut out,
            format_args!(
                "ike       {}{}, {} as {}{}, {} - {}, established {} ago, rekeyed in {}, ends in {}{}",
                ike.version,
                if ike.version == "ikev1" {
                    format!(" {} mode", tunnel.mode)
                } else {
                    String::new()
                },
                ike.algorithms,
                if ike.initiator { "initiator" } else { "responder" },
                if ike.nat { ", behind NAT" } else { "" },
                ike.spis.0,
                ike.spis.1,
                duration(ike.established_seconds),
                duration(ike.rekey_in_seconds),
                duration(ike.expires_in_seconds),
                volume(ike)
            ),
        ),
    }
    if let Some(dpd) = &tunnel.dpd {
        let heard = tunnel.ike.as_ref().map(|ike| duration(ike.idle_seconds));
        let heard = heard.map_or_else(String::new, |heard| format!(", peer heard {heard} ago"));
        line(
            &mut out,
            format_args!(
                "dpd       after {}, then {}{heard}",
                duration(dpd.interval_seconds),
                dpd.action
            ),
        );
    }
    tunnel
        .children
        .iter()
        .for_each(|child| line(&mut out, format_args!("{}", child_line(child))));
    line(
        &mut out,
        format_args!(
            "traffic   in {} packets, {}; out {} packets, {}",
            tunnel.packets_in,
            octets(tunnel.bytes_in),
            tunnel.packets_out,
            octets(tunnel.bytes_out)
        ),
    );
    for (reason, count) in tunnel.dropped.iter().filter(|&(_, &count)| count > 0) {
        line(&mut out, format_args!("dropped   {count} {reason}"));
    }
    for weak in &tunnel.weak {
        line(&mut out, format_args!("weak      {}", paint(colour, "33", weak)));
    }
    if let Some(failure) = &tunnel.last_failure {
        line(
            &mut out,
            format_args!(
                "failure   {} {} ago, {} times",
                paint(colour, "31", &failure.code),
                duration(failure.seconds_ago),
                failure.count
            ),
        );
        line(&mut out, format_args!("  here    {}", failure.local));
        line(&mut out, format_args!("  peer    {}", failure.peer));
        line(&mut out, format_args!("  advice  {}", failure.advice));
    }
    let skipped = tunnel.events.len().saturating_sub(TIMELINE);
    for event in tunnel.events.iter().skip(skipped) {
        let ago = duration(event.seconds_ago);
        line(
            &mut out,
            format_args!("{ago:>8} ago  {}{}", event.text, times(event)),
        );
    }
    out
}

/// Writes the timeline of a tunnel, with the times of the log.
pub(super) fn events(events: &[EventStatus], now: SystemTime) -> String {
    let mut out = String::new();
    for event in events {
        let at = now
            .checked_sub(Duration::from_secs(event.seconds_ago))
            .unwrap_or(UNIX_EPOCH);
        line(
            &mut out,
            format_args!("{}  {}{}", utc(at), event.text, times(event)),
        );
    }
    if events.is_empty() {
        line(&mut out, format_args!("nothing has happened to it"));
    }
    out
}

fn times(event: &EventStatus) -> String {
    if event.times > 1 {
        format!(" ({} times)", event.times)
    } else {
        String::new()
    }
}

/// `2026-11-23T00:58:39Z`.
pub(super) fn utc(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Years begin with March, so that leap days come last (H. Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn child_line(child: &ChildStatus) -> String {
    format!(
        "sa        {} - {}, {}{} over {}, in {} out {}{}, rekeyed in {}, ends in {}",
        child.local,
        child.peer,
        child.algorithms,
        if child.esn { " with esn" } else { "" },
        child.encapsulation,
        child.spi_in,
        child.spi_out,
        if child.current { "" } else { " (receives only)" },
        duration(child.rekey_in_seconds),
        duration(child.expires_in_seconds)
    )
}

pub(super) fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    if writeln!(out, "{text}").is_err() {
        unreachable!("a String takes any text");
    }
}

pub(super) fn paint(colour: bool, code: &str, text: &str) -> String {
    if colour {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

pub(super) const fn hue(state: TunnelState) -> &'static str {
    match state {
        TunnelState::Up => "32",
        TunnelState::Negotiating => "33",
        TunnelState::Down => "31",
        TunnelState::Disabled => "2",
    }
}

/// How much of its octets an IKE SA has used, if they are limited.
fn volume(ike: &IkeSaStatus) -> String {
    let volume = ike.octets.zip(ike.octet_limit);
    volume.map_or_else(String::new, |(octets, limit)| {
        format!(", {octets} of {limit} octets")
    })
}

/// Seconds in the two largest units: `3d4h`, `59m10s`.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Octets with a decimal prefix and three digits.
fn octets(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut unit = 0;
    let mut tenths = count / 100;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::FailureStatus;

    #[test]
    fn numbers_are_readable() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_550_000, "1.5 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(octets(count), text);
        }
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m1s"),
            (3700, "1h1m"),
            (90_000, "1d1h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        let event = EventStatus {
            seconds_ago: 60,
            text: "retransmitted".into(),
            times: 3,
        };
        let printed = events(&[event], UNIX_EPOCH + Duration::from_secs(60));
        assert_eq!(printed, "1970-01-01T00:00:00Z  retransmitted (3 times)\n");
    }

    #[test]
    fn columns_line_up_and_colour_is_optional() {
        let tunnel = |id: &str, state| TunnelStatus {
            id: id.into(),
            state,
            ..TunnelStatus::default()
        };
        let mut status = Status::default();
        status.tunnels.push(tunnel("a", TunnelState::Up));
        status
            .tunnels
            .push(tunnel("a-long-name", TunnelState::Negotiating));
        let plain = overview(&status, false);
        let columns: Vec<_> = plain
            .lines()
            .map(|line| ["STATE", "up", "nego"].iter().find_map(|state| line.find(state)))
            .collect();
        assert!(columns.iter().all(|&column| column == columns[0]), "{plain}");
        assert!(!plain.contains('\x1b') && overview(&status, true).contains("\x1b[32mup"));
    }

    #[test]
    fn a_failure_is_told_with_its_advice() {
        let failure = FailureStatus {
            code: "psk_mismatch".into(),
            advice: "compare the keys".into(),
            ..Default::default()
        };
        let shown = tunnel(
            &TunnelStatus {
                last_failure: Some(failure),
                ..Default::default()
            },
            false,
        );
        assert!(
            shown.contains("psk_mismatch") && shown.contains("compare the keys"),
            "{shown}"
        );
    }
}
