//! Child SAs that are wanted and not there yet: what waits for an IKE SA, or for its turn on one.

use std::time::{Duration, Instant};

use super::{Endpoint, Timer};
use crate::child::Use;
use crate::config::{ConnectionId, IkeVersion};
use crate::event::ChildId;
use crate::ike_sa::{Room, SaKey, State};
use crate::tunnel::Want;

impl Endpoint {
    /// Starts an IKE SA of the version that the tunnel initiates, unless one is under way.
    pub(super) fn start_ike_sa(&mut self, now: Instant, connection: ConnectionId, replaces: Option<SaKey>) {
        match self.config_of(connection).map(|config| config.version) {
            Some(IkeVersion::V1) => self.start_phase_1(now, connection, replaces),
            Some(IkeVersion::V2 | IkeVersion::Any) => self.start_ike_sa_init(now, connection, replaces),
            None => {}
        }
    }

    /// Negotiates what is wanted, as far as there is an IKE SA and it has room; starts one when there is none.
    pub(super) fn pump(&mut self, now: Instant, connection: ConnectionId) {
        loop {
            let Some(tunnel) = self.tunnels.get_mut(&connection) else {
                return;
            };
            let Some((&selectors, &want)) = tunnel.wanted.first_key_value() else {
                return;
            };
            let superfluous = match want.replaces {
                // The peer was faster.
                Some(old) => tunnel
                    .children
                    .find(old)
                    .is_none_or(|child| child.usage != Use::Current),
                None => tunnel.children.current_for(selectors).is_some(),
            };
            if superfluous {
                tunnel.wanted.remove(&selectors);
                continue;
            }
            let Some(key) = tunnel.current_sa() else {
                return self.start_ike_sa(now, connection, None);
            };
            let Some(sa) = self.sas.get(&key) else { return };
            match sa.room() {
                Room::Free => {}
                Room::Busy => return,
                Room::UsedUp => return self.start_ike_sa(now, connection, Some(key)),
            }
            tunnel.wanted.remove(&selectors);
            if self.is_under_way(connection, want) {
                continue;
            }
            match self.sas.get(&key).map(|sa| &sa.state) {
                Some(State::V1(_)) => self.start_quick_mode(now, key, want),
                Some(State::V2(_)) => self.start_create_child(now, key, want),
                None => {}
            }
        }
    }

    fn is_under_way(&self, connection: ConnectionId, want: Want) -> bool {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return false;
        };
        // One without this timer may never be used: the peer has to say more.
        let settles = |id| self.timers.is_set(Timer::ChildSettle(id));
        if tunnel.children.unconfirmed_for(want.selectors).any(settles) {
            return true;
        }
        // Under IKEv2 the peer is seen to have its half, or given up, within bounds.
        let answered = tunnel.children.answered_for(want.selectors);
        if answered.is_some_and(|ike| self.is_v2_established(ike)) {
            return true;
        }
        tunnel
            .established
            .iter()
            .filter_map(|key| self.sas.get(key))
            .any(|sa| sa.negotiates(want.selectors))
    }

    /// Asks for a Child SA, once.
    pub(super) fn want(&mut self, now: Instant, connection: ConnectionId, want: Want) {
        if self.is_under_way(connection, want) {
            // What is under way may come to nothing.
            if let Some(old) = want.replaces {
                self.renew_later(now, old);
            }
            return;
        }
        if let Some(tunnel) = self.tunnels.get_mut(&connection) {
            tunnel.wanted.insert(want.selectors, want);
        }
        self.pump(now, connection);
    }

    /// Tries to renew a Child SA again while it lives, if that is for this end to do.
    pub(super) fn renew_later(&mut self, now: Instant, old: ChildId) {
        let Some(tunnel) = self
            .child_owners
            .get(&old)
            .and_then(|owner| self.tunnels.get(owner))
            .filter(|tunnel| tunnel.config.may_initiate)
        else {
            return;
        };
        let Some(child) = tunnel.children.find(old) else {
            return;
        };
        let left = child.expires_at.saturating_duration_since(now);
        let wait = (left / 4).clamp(Duration::from_millis(500), Duration::from_secs(30));
        if child.usage == Use::Current && wait < left {
            self.timers.set(Timer::ChildRekey(old), now + wait);
        }
    }
}
