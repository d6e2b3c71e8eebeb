//! How IKE SAs end, and what becomes of what they were doing.

use std::time::Instant;

use super::{Endpoint, Timer};
use crate::config::{ConnectionId, DpdAction};
use crate::event::{ChildId, Event};
use crate::ike_sa::{IkeSa, SaKey, State};
use crate::v1::informational::delete_esp;
use crate::v2::ike_sa::V2Sa;
use gateway_common::Spi;

/// Whether the peer is told that SAs end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// A Delete payload goes out.
    Say,
    /// The peer knows, or is gone.
    Silent,
}

impl Endpoint {
    /// INITIAL-CONTACT: the peer knows nothing from before the exchange that began at `started`. What was made since is not meant,
    /// so that two ends that start at once do not end each other's SAs.
    pub(super) fn end_older(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        except: SaKey,
        started: Instant,
    ) {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        let is_older = |key: &SaKey| {
            self.sas
                .get(key)
                .and_then(|sa| sa.up)
                .is_some_and(|up| up.since < started)
        };
        let sas: Vec<_> = tunnel
            .established
            .iter()
            .copied()
            .filter(|key| *key != except && is_older(key))
            .collect();
        let children: Vec<ChildId> = tunnel
            .children
            .iter()
            .filter(|(_, child)| child.installed_at < started)
            .map(|(id, _)| id)
            .collect();
        if !sas.is_empty() || !children.is_empty() {
            self.note(connection, "initial contact: peer has forgotten the older SAs");
        }
        for child in children {
            self.remove_child(child);
        }
        for key in sas {
            self.end_sa(now, key, Farewell::Silent);
        }
    }

    /// Ends one IKE SA. What it was negotiating is negotiated again on another.
    pub(super) fn end_sa(&mut self, now: Instant, key: SaKey, farewell: Farewell) {
        if farewell == Farewell::Say {
            self.say_farewell(key, &[]);
        }
        if let Some(sa) = self.sas.get(&key).filter(|sa| sa.v2().is_some()) {
            self.remove_children_of(now, sa.connection, key);
        }
        let Some(sa) = self.forget_sa(key) else { return };
        let Some(tunnel) = self.tunnels.get_mut(&sa.connection) else {
            return;
        };
        if sa.up.is_some() {
            for want in sa.wants() {
                tunnel.wanted.insert(want.selectors, want);
            }
            let last = tunnel.established.is_empty() && tunnel.closing.is_empty();
            self.outbox.event(Event::IkeDown {
                connection: sa.connection,
                spis: (sa.spis.initiator, sa.spis.responder),
                last,
            });
            if let Some(current) = tunnel.current_sa() {
                // It may have been superseded by the one that has ended.
                let up = self.sas.get(&current).and_then(|sa| sa.up);
                if let Some(up) = up.filter(|_| tunnel.config.may_initiate) {
                    self.timers.set(
                        Timer::IkeRekey(current),
                        up.rekey_at.max(now + self.config.linger),
                    );
                }
            } else if !tunnel.children.is_empty() && tunnel.config.may_initiate {
                // Child SAs outlive their ISAKMP SA, but nobody would notice that the peer is gone.
                self.start_ike_sa(now, sa.connection, None);
            }
        }
    }

    /// The peer does not answer: everything ends, and comes back as the tunnel's [`DpdAction`] says.
    pub(super) fn on_peer_dead(&mut self, now: Instant, connection: ConnectionId) {
        let Some(tunnel) = self.tunnels.get_mut(&connection) else {
            return;
        };
        if tunnel
            .config
            .dpd
            .is_some_and(|dpd| dpd.action == DpdAction::Restart)
        {
            let lost = tunnel.children.iter().flat_map(|(_, child)| &child.serves);
            tunnel.restarting.extend(lost.map(|served| served.pair));
        }
        self.end_tunnel(now, connection, Farewell::Silent);
        self.retry_later(now, connection);
    }

    /// Tells the peer that these Child SAs (by our inbound SPIs) and the IKE SA end.
    pub(super) fn say_farewell(&mut self, key: SaKey, children: &[Spi]) {
        match self.sas.get(&key).map(|sa| &sa.state) {
            Some(State::V2(_)) => self.say_v2_farewell(key),
            Some(State::V1(_)) => self.send_informational(key, |established| {
                delete_esp(children).chain([established.keys.delete()]).collect()
            }),
            None => {}
        }
    }

    /// Removes an IKE SA from every index.
    pub(super) fn forget_sa(&mut self, key: SaKey) -> Option<IkeSa> {
        let sa = self.sas.remove(&key)?;
        self.by_spi.remove(&sa.own_spi());
        if !sa.initiator {
            self.by_first_message
                .remove(&(*sa.path.peer.ip(), sa.spis.initiator));
            self.half_open.remove(*sa.path.peer.ip(), key);
        }
        for timer in [
            Timer::Phase1(key),
            Timer::V2Request(key),
            Timer::V2Sync(key),
            Timer::Reauth(key),
            Timer::IkeRekey(key),
            Timer::IkeDelete(key),
            Timer::IkeEnd(key),
            Timer::Keepalive(key),
        ] {
            self.timers.clear(timer);
        }
        if let Some(spi) = sa.v2().and_then(V2Sa::reserved_spi) {
            self.forget_inbound(spi);
        }
        if let Some(established) = sa.phase_2() {
            for &message_id in established.quick_modes.keys() {
                self.timers.clear(Timer::QuickMode(key, message_id));
            }
        }
        if let Some(tunnel) = self.tunnels.get_mut(&sa.connection) {
            tunnel.established.retain(|other| *other != key);
            tunnel.closing.retain(|other| *other != key);
            if tunnel.initiating == Some(key) {
                tunnel.initiating = None;
            }
        }
        Some(sa)
    }
}
