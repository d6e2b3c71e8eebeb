//! What the driver asks for.

use std::sync::Arc;
use std::time::Instant;

use super::ends::Farewell;
use super::{Endpoint, Timer};
use crate::config::{ConnectionConfig, ConnectionId, PairIndex};
use crate::event::ChildId;
use crate::tunnel::{Tunnel, Want, keeps_sas};

impl Endpoint {
    pub(super) fn on_put(&mut self, now: Instant, config: ConnectionConfig) {
        let id = config.id;
        self.forget_reports(id);
        let config = Arc::new(config);
        if let Some(old) = self.tunnels.get(&id).map(|tunnel| Arc::clone(&tunnel.config)) {
            if !keeps_sas(&old, &config) {
                self.end_tunnel(now, id, Farewell::Say);
                if let Some(tunnel) = self.tunnels.get_mut(&id) {
                    tunnel.pfs_probed = false;
                }
            }
            self.by_peer.remove(&(old.local, old.peer));
        }
        self.by_peer.insert((config.local, config.peer), id);
        let tunnel = self
            .tunnels
            .entry(id)
            .or_insert_with(|| Tunnel::new(Arc::clone(&config), now));
        tunnel.config = Arc::clone(&config);
        if let Some(dpd) = config.dpd.filter(|_| tunnel.current_sa().is_some()) {
            self.timers.set(Timer::Dpd(id), now + dpd.delay);
        }
        if config.keep_up {
            self.timers.set(Timer::Retry(id), now);
        }
    }

    pub(super) fn on_remove(&mut self, now: Instant, id: ConnectionId) {
        self.end_tunnel(now, id, Farewell::Say);
        self.forget_reports(id);
        if let Some(tunnel) = self.tunnels.remove(&id) {
            self.by_peer.remove(&(tunnel.config.local, tunnel.config.peer));
        }
    }

    pub(super) fn on_initiate(&mut self, now: Instant, id: ConnectionId, pair: PairIndex) {
        let Some(tunnel) = self.tunnels.get(&id) else {
            return;
        };
        let Some(&selectors) = tunnel.config.selectors.get(usize::from(pair.0)) else {
            return;
        };
        if tunnel.children.current(pair).is_some() {
            return;
        }
        if tunnel.config.may_initiate {
            self.want(
                now,
                id,
                Want {
                    pair,
                    selectors,
                    replaces: None,
                },
            );
        }
        self.prove_for(now, id, pair);
    }

    pub(super) fn on_rekey_child(&mut self, now: Instant, child: ChildId) {
        let Some(&connection) = self.child_owners.get(&child) else {
            return;
        };
        if self
            .tunnels
            .get(&connection)
            .is_some_and(|tunnel| tunnel.config.may_initiate)
        {
            self.renew_child(now, child);
        }
    }

    /// Negotiates a successor of a Child SA, whoever may initiate.
    pub(super) fn renew_child(&mut self, now: Instant, child: ChildId) {
        let Some(&connection) = self.child_owners.get(&child) else {
            return;
        };
        let Some(found) = self
            .tunnels
            .get(&connection)
            .and_then(|tunnel| tunnel.children.find(child))
        else {
            return;
        };
        if found.usage == crate::child::Use::Current {
            let wants: Vec<_> = found
                .serves
                .iter()
                .map(|served| Want {
                    pair: served.pair,
                    selectors: served.selectors,
                    replaces: Some(child),
                })
                .collect();
            for want in wants {
                self.want(now, connection, want);
            }
        }
    }

    /// Ends everything that a tunnel has.
    ///
    /// The first message says it all, so that what overtakes it cannot make it unreadable. Some peers (strongSwan) read only the
    /// first Delete of a message, so the end of each IKE SA is said once more by itself.
    pub(super) fn end_tunnel(&mut self, now: Instant, id: ConnectionId, farewell: Farewell) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.wanted.clear();
        let children = tunnel.children.ids();
        let spis: Vec<_> = tunnel.children.iter().map(|(_, child)| child.inbound).collect();
        let current = tunnel.current_sa();
        self.timers.clear(Timer::Dpd(id));
        self.timers.clear(Timer::Retry(id));
        if let Some(current) = current.filter(|_| farewell == Farewell::Say) {
            self.say_farewell(current, &spis);
        }
        for child in children {
            self.remove_child(child);
        }
        let keys: Vec<_> = self
            .sas
            .iter()
            .filter(|(_, sa)| sa.connection == id)
            .map(|(&key, _)| key)
            .collect();
        for key in keys {
            self.end_sa(now, key, farewell);
        }
        if let Some(tunnel) = self.tunnels.get_mut(&id) {
            tunnel.wanted.clear();
        }
    }

    /// Brings a tunnel up that shall always be, as far as it is not.
    pub(super) fn on_retry_timer(&mut self, now: Instant, id: ConnectionId) {
        let Some(tunnel) = self.tunnels.get(&id) else {
            return;
        };
        let pairs: Vec<_> = tunnel.pairs().filter(|&pair| tunnel.shall_be_up(pair)).collect();
        for pair in pairs {
            self.on_initiate(now, id, pair);
        }
    }

    /// Something of a tunnel was lost or did not come up.
    pub(super) fn retry_later(&mut self, now: Instant, id: ConnectionId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        if tunnel.pairs().any(|pair| tunnel.shall_be_up(pair)) {
            let wait = tunnel.back_off();
            self.timers.set(Timer::Retry(id), now + wait);
        }
    }
}
