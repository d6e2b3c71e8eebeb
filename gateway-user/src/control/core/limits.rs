//! Limits of octets and sequence numbers: a successor is negotiated before an SA reaches one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gateway_ike::config::ConnectionId;

use super::Core;
use crate::control::fabric::Fabric;
use crate::control::tunnel::Child;
use crate::dataplane::{Counters, SaCounters};

/// Sequence numbers after which a successor is negotiated, RFC 4303 section 3.3.3: there are 2^32 of them.
const SOFT_SEQUENCE: u64 = (1 << 32) - (1 << 26);
/// How often the counters are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often while an SA may reach its soft limit before the next look.
const CLOSE_LOOK: Duration = Duration::from_millis(50);
/// A successor that was asked for and did not come is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

impl<F: Fabric> Core<F> {
    /// Looks at the counters: who was heard, and which SA comes near a limit. Tells when to look again.
    pub(in crate::control) fn tick(&mut self, now: Instant, counters: &Counters) -> Duration {
        let inbound: BTreeMap<u32, &SaCounters> =
            counters.inbound.iter().map(|(index, sa)| (*index, sa)).collect();
        let outbound: BTreeMap<u32, &SaCounters> =
            counters.outbound.iter().map(|(index, sa)| (*index, sa)).collect();
        let elapsed = now.saturating_duration_since(self.looked.replace(now).unwrap_or(now));
        let mut next = LOOK;
        for (&number, tunnel) in &mut self.tunnels {
            for (&id, child) in &mut tunnel.children {
                let inbound = inbound.get(&child.inbound.index);
                let outbound = outbound.get(&child.outbound.index);
                let received = inbound.map_or(0, |sa| sa.packets);
                if received > std::mem::replace(&mut child.seen_inbound, received) {
                    self.endpoint.note_inbound_traffic(now, ConnectionId(number));
                }
                let octets = [inbound, outbound]
                    .into_iter()
                    .flatten()
                    .map(|sa| sa.octets)
                    .max()
                    .unwrap_or(0);
                let grown = octets.saturating_sub(std::mem::replace(&mut child.seen_octets, octets));
                let sequence = outbound.map_or(0, |sa| sa.highest_sequence);
                if reaches_soft_limit_soon(child, octets, grown, elapsed) {
                    next = CLOSE_LOOK;
                }
                let used_up = child.octets.is_some_and(|limit| octets >= soft_octets(limit));
                let asked = child
                    .rekey_asked
                    .is_some_and(|at| now.saturating_duration_since(at) < ASK_AGAIN);
                if (used_up || sequence >= SOFT_SEQUENCE) && !asked {
                    child.rekey_asked = Some(now);
                    tunnel
                        .timeline
                        .note(now, format!("an SA of {} is nearly used up", child.ranges()));
                    self.endpoint.rekey_child(now, id);
                }
            }
        }
        self.drain(now);
        self.refresh_states(now, |_| true);
        next
    }
}

/// Whether, at the rate of the last look, the SA reaches its soft limit before the look after the next.
fn reaches_soft_limit_soon(child: &Child, octets: u64, grown: u64, elapsed: Duration) -> bool {
    let Some(left) = child
        .octets
        .map(|limit| soft_octets(limit).saturating_sub(octets))
    else {
        return false;
    };
    let per_look = u128::from(grown) * LOOK.as_millis() / elapsed.as_millis().max(1);
    child.current() && left > 0 && u128::from(left) < 2 * per_look
}

/// Octets after which a successor is negotiated: it takes a while, and the hard limit ends the SA.
pub(super) const fn soft_octets(limit: u64) -> u64 {
    limit - limit / 5
}
