//! Child SAs into and out of the data plane, in the order that never lets a packet meet a hole.

use std::time::Instant;

use gateway_common::Spi;
use gateway_common::abi::SaKey;
use gateway_ike::config::ConnectionId;
use gateway_ike::event::{ChildId, ChildSa, UdpEncapsulation};

use super::{Core, Expected};
use crate::control::convert::{self, EspPair};
use crate::control::fabric::Fabric;
use crate::control::slots::Slot;
use crate::control::tunnel::{Child, IkeSa, Serving};
use crate::dataplane::{Message, SaLimits};

impl<F: Fabric> Core<F> {
    pub(super) fn ike_up(&mut self, now: Instant, connection: ConnectionId, ike: IkeSa, rekeyed: bool) {
        let own_spi = if ike.initiator { ike.spis.0 } else { ike.spis.1 };
        if let Some(sa) = self.endpoint.ike_sa(now, own_spi) {
            let durations = if rekeyed {
                &mut self.ike_rekey_durations
            } else {
                &mut self.ike_durations
            };
            durations.observe(sa.age);
        }
        let Some(tunnel) = self.tunnels.get_mut(&connection.0) else {
            return;
        };
        tunnel.negotiations.ike += 1;
        tunnel.negotiations.ike_rekeys += u64::from(rekeyed);
        let role = if ike.initiator { "initiator" } else { "responder" };
        let what = if rekeyed {
            "IKE SA renewed"
        } else {
            "IKE SA established"
        };
        let version = ike.version.name();
        tracing::info!(tunnel = %tunnel.config.id, version, algorithms = ike.algorithms, role, nat = ike.nat, "{what}");
        tunnel
            .timeline
            .note(now, format!("{what} as {role}: {version}, {}", ike.algorithms));
        tunnel.ike.push(ike);
    }

    /// Packets with this SPI go to the workers and wait there. Without room they are dropped, as everything with an unknown SPI is.
    pub(super) fn expect_inbound(&mut self, connection: ConnectionId, spi: Spi) {
        self.forget_inbound(spi);
        let number = connection.0;
        let Some(tunnel) = self.tunnels.get(&number) else {
            return;
        };
        let limiter = self
            .gateways
            .get(&tunnel.config.gateway.id)
            .map_or(0, super::Gateway::limiter_in);
        let key = convert::sa_key(tunnel.config.gateway.address, spi);
        let Some(slot) = self.inbound_slots.take(&mut self.fabric) else {
            return;
        };
        self.fabric.message(Message::ExpectInbound {
            index: slot.index,
            generation: slot.generation,
            tunnel: number,
        });
        // The overhead follows with the algorithms.
        if let Err(error) = self
            .fabric
            .put_sa(key, convert::sa_value(slot, number, limiter, 0))
        {
            tracing::debug!(tunnel = %tunnel.config.id, %error, "an expected SA is not in the map");
        }
        self.expected.insert(spi, Expected { slot, key });
    }

    /// Nothing came of an SA that the engine had asked for.
    pub(super) fn forget_inbound(&mut self, spi: Spi) {
        let Some(Expected { slot, key }) = self.expected.remove(&spi) else {
            return;
        };
        self.release_inbound(&key, slot);
    }

    /// Map first, workers after.
    fn release_inbound(&mut self, key: &SaKey, slot: Slot) {
        if let Err(error) = self.fabric.remove_sa(key) {
            tracing::debug!(%error, "an SA stays in the map");
        }
        self.inbound_slots.release(slot, &mut self.fabric);
    }

    /// Inbound SA into the workers' tables, then into the map. The outbound SA waits until the peer is ready for it.
    pub(super) fn install_child(&mut self, now: Instant, child: &ChildSa, replaces: Option<ChildId>) {
        let number = child.connection.0;
        let Some(tunnel) = self.tunnels.get_mut(&number) else {
            return;
        };
        let serves = child.serves.iter().map(|served| Serving {
            pair: usize::from(served.pair.0),
            selectors: served.selectors,
            current: false,
        });
        let EspPair {
            inbound: sa,
            outbound,
            key,
            overhead,
        } = match convert::esp_pair(child, tunnel.config.ipsec.replay_window) {
            Ok(pair) => pair,
            Err(error) => {
                tracing::error!(tunnel = %tunnel.config.id, %error, "a negotiated Child SA cannot be installed");
                tunnel
                    .timeline
                    .note(now, format!("a Child SA cannot be installed: {error}"));
                return self.forget_inbound(child.inbound.spi);
            }
        };
        let expected = self
            .expected
            .remove(&child.inbound.spi)
            .map(|expected| expected.slot);
        let inbound = expected.or_else(|| self.inbound_slots.take(&mut self.fabric));
        let (inbound, outbound_slot) = match (inbound, self.outbound_slots.take()) {
            (Some(inbound), Some(outbound)) => (inbound, outbound),
            (inbound, outbound) => {
                tracing::error!(tunnel = %tunnel.config.id, "no room for another SA");
                tunnel.timeline.note(now, "no room for another SA");
                inbound
                    .into_iter()
                    .for_each(|slot| self.release_inbound(&key, slot));
                outbound
                    .into_iter()
                    .for_each(|slot| self.outbound_slots.give_back(slot));
                return;
            }
        };
        let limiter = self
            .gateways
            .get(&tunnel.config.gateway.id)
            .map_or(0, super::Gateway::limiter_in);
        let (index, generation) = (inbound.index, inbound.generation);
        self.fabric.message(Message::InstallInbound {
            index,
            generation,
            tunnel: number,
            sa,
        });
        if let Err(error) = self
            .fabric
            .put_sa(key, convert::sa_value(inbound, number, limiter, overhead))
        {
            tracing::error!(tunnel = %tunnel.config.id, %error, "an inbound SA is not in the map: its packets are dropped");
            tunnel
                .timeline
                .note(now, format!("an inbound SA cannot be used: {error}"));
        }
        self.inbound_owners.insert(index, (generation, child.id));
        self.children.insert(child.id, number);
        tunnel.negotiations.child += 1;
        tunnel.negotiations.child_rekeys += u64::from(replaces.is_some());
        let verb = if replaces.is_some() {
            "renewed"
        } else {
            "installed"
        };
        let installed = Child {
            serves: serves.collect(),
            inbound,
            outbound: outbound_slot,
            key,
            spis: (child.inbound.spi, child.outbound.spi),
            algorithms: child.proposal.to_string(),
            udp: child.encapsulation.is_some(),
            esn: child.esn,
            rekey_at: child.rekey_at,
            expires_at: child.expires_at,
            limits: SaLimits::new(child.octets, outbound.transform().last_sequence()),
            waiting: Some(outbound),
            rekey_asked: None,
            seen_inbound: 0,
            seen_octets: 0,
        };
        let text = format!("Child SA {verb}: {}", installed.ranges());
        tracing::info!(tunnel = %tunnel.config.id, spi_in = %child.inbound.spi, spi_out = %child.outbound.spi, "{text}");
        tunnel.timeline.note(now, text);
        tunnel.children.insert(child.id, installed);
    }

    /// Outbound SA into the workers' tables, then the policy switches to it. Tells the tunnel.
    pub(super) fn use_outbound(&mut self, now: Instant, id: ChildId) -> Option<u32> {
        let number = *self.children.get(&id)?;
        let tunnel = self.tunnels.get_mut(&number)?;
        let child = tunnel.children.get_mut(&id)?;
        if let Some(sa) = child.waiting.take() {
            let (index, limits) = (child.outbound.index, child.limits);
            self.fabric.message(Message::InstallOutbound {
                index,
                tunnel: number,
                sa,
                limits,
            });
        }
        let outbound = child.outbound.index;
        let pairs: Vec<_> = child.serves.iter().map(|serving| serving.pair).collect();
        for &pair in &pairs {
            let Some(policy) = tunnel.pairs.get(pair).map(|pair| pair.policy.index) else {
                continue;
            };
            self.fabric.message(Message::Switch {
                policy,
                outbound: Some(outbound),
            });
        }
        for (other, child) in &mut tunnel.children {
            for serving in child
                .serves
                .iter_mut()
                .filter(|serving| pairs.contains(&serving.pair))
            {
                serving.current = *other == id;
            }
        }
        tunnel
            .timeline
            .note(now, "traffic flows through the new Child SA");
        Some(number)
    }

    /// Map first, workers after: at once, or a little later when another Child SA carries on, so that a rekey loses nothing. What the SAs
    /// carried stays with the tunnel. Tells the tunnel.
    pub(super) fn remove_child(&mut self, now: Instant, id: ChildId) -> Option<u32> {
        let number = self.children.remove(&id)?;
        let tunnel = self.tunnels.get_mut(&number)?;
        let child = tunnel.children.remove(&id)?;
        if let Err(error) = self.fabric.remove_sa(&child.key) {
            tracing::error!(tunnel = %tunnel.config.id, %error, "an inbound SA stays in the map");
        }
        for left in child.serves.iter().filter(|serving| serving.current) {
            let heir = tunnel
                .children
                .values_mut()
                .rev()
                .filter(|other| other.waiting.is_none())
                .find_map(|other| {
                    let serving = other
                        .serves
                        .iter_mut()
                        .find(|serving| serving.pair == left.pair)?;
                    serving.current = true;
                    Some(other.outbound.index)
                });
            if let Some(policy) = tunnel.pairs.get(left.pair).map(|pair| pair.policy.index) {
                self.fabric.message(Message::Switch {
                    policy,
                    outbound: heir,
                });
            }
        }
        let succeeded = tunnel.children.values().any(|other| other.shares_pair(&child));
        let (inbound, outbound) = self.fabric.sa_counters(child.inbound.index, child.outbound.index);
        tunnel.past.add(&inbound, &outbound);
        if child.waiting.is_none() {
            self.fabric.message(Message::RemoveOutbound {
                index: child.outbound.index,
            });
        }
        self.inbound_owners.remove(&child.inbound.index);
        if succeeded {
            self.inbound_slots.leave(now, child.inbound);
        } else {
            self.inbound_slots.release(child.inbound, &mut self.fabric);
        }
        self.outbound_slots.give_back(child.outbound);
        tracing::info!(tunnel = %tunnel.config.id, spi_in = %child.spis.0, spi_out = %child.spis.1, "Child SA removed");
        tunnel
            .timeline
            .note(now, format!("Child SA removed: {}", child.ranges()));
        Some(number)
    }

    /// The peer's cluster failed over and asks for a jump of the sequence numbers of what we seal.
    pub(super) fn raise_sequence(&mut self, id: ChildId, by: u64) {
        let number = self.children.get(&id);
        let tunnel = number.and_then(|number| self.tunnels.get(number));
        let Some(child) = tunnel.and_then(|tunnel| tunnel.children.get(&id)) else {
            return;
        };
        match &child.waiting {
            Some(sa) => sa.raise_sequence(by),
            None => self.fabric.message(Message::RaiseSequence {
                index: child.outbound.index,
                by,
            }),
        }
    }

    /// The NAT gave the peer another port: every SA to it goes there from here on.
    pub(super) fn peer_port_changed(&mut self, now: Instant, connection: ConnectionId, to: UdpEncapsulation) {
        let Some(tunnel) = self.tunnels.get_mut(&connection.0) else {
            return;
        };
        let what = format!("the peer's NAT changed its port to {}", to.peer_port);
        tracing::info!(tunnel = %tunnel.config.id, "{what}");
        tunnel.timeline.note(now, what);
        for child in tunnel.children.values_mut().filter(|child| child.udp) {
            match &mut child.waiting {
                Some(sa) => {
                    let mut endpoints = sa.endpoints();
                    if let Some(udp) = &mut endpoints.udp {
                        udp.peer = to.peer_port;
                    }
                    **sa = sa.with_endpoints(endpoints);
                }
                None => self.fabric.message(Message::MoveOutbound {
                    index: child.outbound.index,
                    peer_port: to.peer_port,
                }),
            }
        }
    }
}
