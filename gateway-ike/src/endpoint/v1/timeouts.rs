//! Ends of replaced ISAKMP SAs, and dead peers.

use std::time::{Duration, Instant};

use crate::config::ConnectionId;
use crate::diagnosis::{Code, Diagnosis};
use crate::endpoint::ends::Farewell;
use crate::endpoint::{Endpoint, Timer};
use crate::ike_sa::SaKey;
use crate::v1::dpd;
use crate::v1::isakmp_sa::{IsakmpSa, QuickStep};
use crate::wire::v1::NotifyType;

impl Endpoint {
    /// A replaced IKE SA goes when its exchanges are finished, one that the peer has deleted at once.
    pub(in crate::endpoint) fn on_isakmp_delete(&mut self, now: Instant, key: SaKey) {
        let Some(sa) = self.sas.get(&key) else { return };
        let connection = sa.connection;
        let busy = sa.phase_2().is_some_and(|established| {
            established
                .quick_modes
                .values()
                .any(|quick| !matches!(quick.step, QuickStep::Finished))
        });
        // A successor that the peer may not have yet does not stand in: Deletes and Quick Modes would reach nobody.
        let unproven = self
            .tunnels
            .get(&connection)
            .and_then(|tunnel| self.sas.get(&tunnel.current_sa()?)?.v1())
            .is_some_and(IsakmpSa::is_unproven);
        if sa.v1().is_some_and(|sa| sa.closing) {
            self.end_sa(now, key, Farewell::Silent);
            self.pump(now, connection);
        } else if busy || unproven {
            self.timers.set(Timer::IkeDelete(key), now + self.config.linger);
        } else {
            self.end_sa(now, key, Farewell::Say);
        }
    }

    /// The DPD timer of a tunnel fired.
    pub(in crate::endpoint) fn on_isakmp_dpd(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        key: SaKey,
        delay: Duration,
    ) {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        let (heard, idle) = (tunnel.heard, tunnel.children.is_empty());
        let others = tunnel.established.len() > 1;
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let path = sa.path;
        let Some(established) = sa.phase_2_mut() else {
            return;
        };
        if idle || !established.dpd_supported {
            // Nothing would be lost, or nothing can be found out.
            return self.timers.set(Timer::Dpd(connection), now + delay);
        }
        match established.dpd.on_timer(now, delay, heard) {
            dpd::Step::Wait(at) => self.timers.set(Timer::Dpd(connection), at),
            dpd::Step::Probe(number, next) => {
                self.timers.set(Timer::Dpd(connection), next);
                self.send_probe(key, number);
            }
            dpd::Step::Dead { .. } if others => {
                // The peer may have lost this IKE SA only.
                self.end_sa(now, key, Farewell::Say);
                self.timers.set(Timer::Dpd(connection), now);
            }
            dpd::Step::Dead { probes } => {
                let diagnosis = Diagnosis::new(
                    Code::PeerDead,
                    format!("sent {probes} R-U-THERE in {} seconds", (now - heard).as_secs()),
                    "peer does not answer",
                    "check that the peer is up and reachable; the tunnel comes back with the next traffic",
                );
                self.report(now, Some(connection), path, diagnosis);
                self.on_peer_dead(now, connection);
            }
        }
    }

    /// R-U-THERE with this number (RFC 3706).
    pub(in crate::endpoint) fn send_probe(&mut self, key: SaKey, number: u32) {
        let data = number.to_be_bytes().to_vec();
        self.send_informational(key, |established| {
            vec![established.keys.notify(NotifyType::R_U_THERE, data)]
        });
    }
}
