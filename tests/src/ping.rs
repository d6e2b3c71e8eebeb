//! `ping`, with its result as numbers.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};

use crate::{Lab, Namespace, Side};

/// What a run of `ping` saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PingReport {
    /// Echo requests sent.
    pub sent: u32,
    /// Replies received.
    pub received: u32,
    /// Round trip of the reply to the first request, in milliseconds, when there was one.
    pub first_ms: Option<f64>,
    /// Round trips of all replies, in milliseconds, in the order of arrival.
    pub round_trips_ms: Vec<f64>,
}

impl PingReport {
    /// Requests without a reply.
    pub fn lost(&self) -> u32 {
        self.sent - self.received
    }
}

/// Sends `count` echo requests, one each `interval_ms`, and waits up to 5 s for the last reply.
///
/// `extra` are further options of ping(8), such as `-s 1400` or `-p` for a pattern that is easy to find in a capture.
pub fn ping(
    from: &Namespace,
    to: Ipv4Addr,
    count: u32,
    interval_ms: u32,
    extra: &[&str],
) -> Result<PingReport> {
    let (count, interval) = (
        count.to_string(),
        format!("{:.3}", f64::from(interval_ms) / 1000.0),
    );
    let output = from
        .command("ping")
        .args(["-n", "-c", &count, "-i", &interval, "-W", "5"])
        .args(extra)
        .arg(to.to_string())
        .output()
        .context("cannot start ping")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match parse(&text) {
        Some(report) => Ok(report),
        None => bail!("ping: {}{}", text, String::from_utf8_lossy(&output.stderr)),
    }
}

/// Brings a tunnel up with a single echo request from the host of a side, which must be answered.
pub fn bring_up(lab: &Lab, from: Side) -> Result<()> {
    let report = ping(lab.host(from), from.other().host(), 1, 1000, &[])?;
    if report.received != 1 {
        bail!("the first ping was not answered");
    }
    Ok(())
}

fn parse(text: &str) -> Option<PingReport> {
    let summary = text.lines().find(|line| line.contains("packets transmitted"))?;
    let mut numbers = summary
        .split(", ")
        .map(|part| part.split(' ').next().unwrap_or_default().parse());
    let (sent, received) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    let replies: Vec<(u32, f64)> = text.lines().filter_map(parse_reply).collect();
    let first_ms = replies
        .iter()
        .find(|(sequence, _)| *sequence == 1)
        .map(|(_, time)| *time);
    Some(PingReport {
        sent,
        received,
        first_ms,
        round_trips_ms: replies.iter().map(|(_, time)| *time).collect(),
    })
}

/// Sequence number and round trip of `64 bytes from 10.77.2.2: icmp_seq=1 ttl=62 time=0.079 ms`.
fn parse_reply(line: &str) -> Option<(u32, f64)> {
    let field = |name: &str| line.split(name).nth(1)?.split(' ').next();
    Some((field("icmp_seq=")?.parse().ok()?, field("time=")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reply_is_found_by_its_number() {
        let text = "PING 10.77.2.2 (10.77.2.2) 56(84) bytes of data.\n\
                    64 bytes from 10.77.2.2: icmp_seq=2 ttl=62 time=0.5 ms\n\
                    64 bytes from 10.77.2.2: icmp_seq=1 ttl=62 time=7.25 ms\n\n\
                    --- 10.77.2.2 ping statistics ---\n\
                    3 packets transmitted, 2 received, 33.3333% packet loss, time 2003ms\n";
        let report = parse(text).unwrap();
        assert_eq!((report.sent, report.received, report.lost()), (3, 2, 1));
        assert_eq!(report.first_ms, Some(7.25));
        assert_eq!(report.round_trips_ms, [0.5, 7.25]);
    }

    #[test]
    fn a_run_without_a_summary_is_no_report() {
        assert_eq!(parse("ping: connect: Network is unreachable\n"), None);
    }
}
