//! Probes of all tunnels: who is due, and what the answers say.

use std::net::Ipv4Addr;
use std::time::Instant;

use gateway_management::Health;

use super::Core;
use crate::control::fabric::Fabric;
use crate::control::probe::Probe;
use crate::control::tunnel::Tunnel;
use crate::dataplane::Message;

impl<F: Fabric> Core<F> {
    /// Begins, changes or ends the probe of a tunnel as its configuration says.
    pub(super) fn configure_probe(&mut self, now: Instant, number: u32) {
        let Some(tunnel) = self.tunnels.get_mut(&number) else {
            return;
        };
        let wanted = tunnel.config.probe;
        if tunnel.probe.as_ref().map(|probe| *probe.config()) == wanted {
            return;
        }
        // The number tells probes apart: it is the tunnel's own as long as the tunnel lives.
        let [_, _, high, low] = number.to_be_bytes();
        tunnel.probe = wanted.map(|config| Probe::new(now, config, u16::from_be_bytes([high, low])));
        if tunnel.probe.is_some() {
            self.probes.insert((now, number));
        }
        let answers = tunnel.probe.as_ref().map(Probe::answers);
        self.fabric.message(Message::Probe {
            tunnel: number,
            answers,
        });
    }

    /// Ends the probe of a tunnel that goes.
    pub(super) fn end_probe(&mut self, number: u32, tunnel: &Tunnel) {
        if tunnel.probe.is_some() {
            self.fabric.message(Message::Probe {
                tunnel: number,
                answers: None,
            });
        }
    }

    /// When the next probe has something to do.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.probes.first().map(|&(at, _)| at)
    }

    /// Lets all probes that are due do what they have to.
    pub(super) fn send_probes(&mut self, now: Instant) {
        while let Some(&(at, number)) = self.probes.first()
            && at <= now
        {
            self.probes.pop_first();
            let Some(tunnel) = self.tunnels.get_mut(&number) else {
                continue;
            };
            let Some(probe) = &mut tunnel.probe else { continue };
            let before = probe.health();
            let echo = probe.due(now);
            self.probes.insert((probe.deadline(), number));
            let (local, remote) = (probe.config().local, probe.config().remote);
            let health = probe.health();
            note_health(now, tunnel, before, health);
            // The most specific pair carries it, as it would carry any packet. A tunnel that is taken down carries nothing.
            let covering = tunnel.pairs.iter().filter(|pair| {
                pair.selectors.local.contains(&local) && pair.selectors.peer.contains(&remote)
            });
            let pair = covering.max_by_key(|pair| {
                (
                    pair.selectors.local.prefix_len(),
                    pair.selectors.peer.prefix_len(),
                )
            });
            if let Some((echo, pair)) = echo.zip(pair).filter(|_| !tunnel.disabled)
                && !self.fabric.send_inner(pair.policy, echo)
            {
                tracing::debug!(tunnel = %tunnel.config.id, "a probe was not sent: the workers are busy");
            }
        }
    }

    /// An answer came.
    pub(super) fn probe_answered(&mut self, number: u32, at: Instant, from: Ipv4Addr, sequence: u16) {
        let Some(tunnel) = self.tunnels.get_mut(&number) else {
            return;
        };
        let Some(probe) = &mut tunnel.probe else { return };
        let before = probe.health();
        probe.answered(at, from, sequence);
        let health = probe.health();
        note_health(at, tunnel, before, health);
    }
}

fn note_health(now: Instant, tunnel: &mut Tunnel, before: Health, health: Health) {
    if before != health {
        tracing::info!(tunnel = %tunnel.config.id, from = before.name(), to = health.name(), "probe");
        tunnel.timeline.note(
            now,
            format!("the probe says {}, was {}", health.name(), before.name()),
        );
    }
}
