//! Limits of octets and sequence numbers: a successor is negotiated before an SA reaches one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gateway_ike::config::ConnectionId;
use gateway_ike::diagnosis::{Code, Diagnosis};
use gateway_ike::event::ChildId;

use super::Core;
use crate::control::fabric::Fabric;
use crate::control::timeline;
use crate::control::tunnel::Tunnel;
use crate::dataplane::{Counters, SaCounters, SaLimits, SaMark};

/// How often the counters are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often while an SA will be due for a successor before the next look.
const CLOSE_LOOK: Duration = Duration::from_millis(20);
/// A successor that was asked for and did not come is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// Seconds that a successor may take: an exchange with one message lost, and the time the peer is given to install its half.
const LEAD_SECONDS: u64 = 3;

impl<F: Fabric> Core<F> {
    /// Does what has time, and looks at the counters: who was heard, and which SA comes near a limit. Tells when to look again.
    pub(in crate::control) fn tick(&mut self, now: Instant, counters: &Counters) -> Duration {
        self.spds.catch_up(&mut self.fabric);
        let inbound = by_index(&counters.inbound);
        let outbound = by_index(&counters.outbound);
        let elapsed = now.saturating_duration_since(self.looked.replace(now).unwrap_or(now));
        let mut next = LOOK;
        let mut due = Vec::new();
        for (&number, tunnel) in &mut self.tunnels {
            let mut busiest = 0;
            for (&id, child) in &mut tunnel.children {
                let sas = [
                    inbound.get(&child.inbound.index),
                    outbound.get(&child.outbound.index),
                ];
                let received = sas[0].map_or(0, |sa| sa.packets);
                if received > std::mem::replace(&mut child.seen_inbound, received) {
                    self.endpoint.note_inbound_traffic(now, ConnectionId(number));
                }
                let most = |count: fn(&SaCounters) -> u64| {
                    let counts = sas.iter().flatten().map(|sa| count(sa));
                    counts.max().unwrap_or(0)
                };
                let (octets, sequence) = (most(|sa| sa.octets), most(|sa| sa.highest_sequence));
                let grown = octets.saturating_sub(std::mem::replace(&mut child.seen_octets, octets));
                busiest = busiest.max(per_second(grown, elapsed));
                if !child.current() || child.was_asked(now, ASK_AGAIN) {
                    continue;
                }
                match time_to_ask(child.limits, octets, busiest.max(tunnel.pace)) {
                    Some(left) if sequence < child.limits.soft_sequence() => next = next.min(left),
                    Some(_) | None => due.push((number, id)),
                }
            }
            // A pause between two bursts does not make the next burst slower.
            tunnel.pace = busiest.max(tunnel.pace / 2);
        }
        for (number, id) in due {
            self.ask_for_successor(now, number, id);
        }
        self.drain(now);
        self.refresh_all(now);
        let lines: usize = self.tunnels.values().map(|tunnel| tunnel.timeline.len()).sum();
        if lines > timeline::BUDGET {
            timeline::trim(self.tunnels.values_mut().map(|tunnel| &mut tunnel.timeline));
        }
        next.max(CLOSE_LOOK)
    }

    /// A worker saw an SA come near its end. It sees that earlier than [`Self::tick`].
    pub(super) fn near_limit(&mut self, now: Instant, number: u32, outbound: u32, mark: SaMark) {
        let Some(tunnel) = self.tunnels.get_mut(&number) else {
            return;
        };
        let mut children = tunnel.children.iter();
        let Some((&id, child)) = children.find(|(_, child)| child.outbound.index == outbound) else {
            return;
        };
        let asked = child.was_asked(now, ASK_AGAIN);
        if mark == SaMark::End {
            exhausted(now, tunnel, id);
            *self.failures.entry(Code::SaExhausted).or_default() += 1;
        }
        // The peer was given time to install its half of the successor. There is none left.
        let successor = tunnel.children.iter().rev().find(|(_, other)| {
            let serves = |pair| other.serves.iter().any(|serving| serving.pair == pair);
            other.waiting.is_some() && child_serves(tunnel, id).all(serves)
        });
        match successor.map(|(&successor, _)| successor) {
            Some(successor) if mark >= SaMark::Last => {
                self.use_outbound(now, successor);
            }
            Some(_) => {}
            None if asked => {}
            None => self.ask_for_successor(now, number, id),
        }
    }

    fn ask_for_successor(&mut self, now: Instant, number: u32, id: ChildId) {
        let tunnel = self.tunnels.get_mut(&number);
        let Some((tunnel, child)) = tunnel.and_then(|tunnel| {
            let child = tunnel.children.get_mut(&id)?;
            Some((&mut tunnel.timeline, child))
        }) else {
            return;
        };
        child.rekey_asked = Some(now);
        tunnel.note(now, format!("an SA of {} is nearly used up", child.ranges()));
        self.endpoint.rekey_child(now, id);
    }
}

fn by_index(counters: &[(u32, SaCounters)]) -> BTreeMap<u32, &SaCounters> {
    counters.iter().map(|(index, sa)| (*index, sa)).collect()
}

/// Positions of the pairs that a Child SA serves.
fn child_serves(tunnel: &Tunnel, id: ChildId) -> impl Iterator<Item = usize> {
    let child = tunnel.children.get(&id);
    child
        .into_iter()
        .flat_map(|child| child.serves.iter().map(|serving| serving.pair))
}

/// RFC 4303 section 3.3.3 wants this in the audit log.
fn exhausted(now: Instant, tunnel: &mut Tunnel, id: ChildId) {
    let Some(child) = tunnel.children.get(&id) else {
        return;
    };
    let local = match child.limits.octets() {
        Some(octets) => format!("the SA of {} may carry {octets} octets", child.ranges()),
        None => format!("the SA of {} has no sequence number left", child.ranges()),
    };
    tunnel.fail(
        now,
        Diagnosis::new(
            Code::SaExhausted,
            local,
            "no successor was agreed upon in time",
            "raise lifetime_kilobytes, or find out in the tunnel's events why the peer does not renew; traffic is dropped until then",
        ),
    );
}

fn per_second(grown: u64, elapsed: Duration) -> u64 {
    let per_second = u128::from(grown) * 1000 / elapsed.as_millis().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

/// How long, at `pace` octets per second, until a successor must be asked for; `None`: at once.
///
/// A fixed share of a limit is minutes for one tunnel and a moment for another, so what counts is the time that is left. But a
/// quarter of the SA is always used, or a tunnel with too small a limit would do nothing but negotiate.
fn time_to_ask(limits: SaLimits, octets: u64, pace: u64) -> Option<Duration> {
    let Some(limit) = limits.octets() else {
        return Some(Duration::MAX);
    };
    let in_time = limit
        .saturating_sub(pace.saturating_mul(LEAD_SECONDS))
        .max(limit / 4);
    let left = limits
        .soft_octets()
        .min(in_time)
        .checked_sub(octets)
        .filter(|left| *left > 0)?;
    let milliseconds = u128::from(left) * 1000 / u128::from(pace.max(1));
    Some(Duration::from_millis(
        u64::try_from(milliseconds).unwrap_or(u64::MAX),
    ))
}
