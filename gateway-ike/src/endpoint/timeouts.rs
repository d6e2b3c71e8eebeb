//! Deadlines that have come.

use std::time::Instant;

use super::ends::Farewell;
use super::{Endpoint, Timer};
use crate::config::ConnectionId;
use crate::event::{ChildId, Transmit, TransmitKind};
use crate::ike_sa::{SaKey, State};
use crate::v2::ike_sa::Task;

/// NAT-keepalive (RFC 3948 section 2.3).
const KEEPALIVE: [u8; 1] = [0xff];

impl Endpoint {
    pub(super) fn on_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Phase1(key) => self.on_phase_1_timer(now, key),
                Timer::QuickMode(key, message_id) => self.on_quick_mode_timer(now, key, message_id),
                Timer::V2Request(key) => self.on_v2_request_timer(now, key),
                Timer::V2Sync(key) => self.send_sync(now, key),
                Timer::Reauth(key) => self.on_reauth_timer(now, key),
                Timer::Want(connection, pair) => self.on_initiate(now, connection, pair),
                Timer::IkeRekey(key) => self.on_ike_rekey(now, key),
                Timer::IkeDelete(key) => self.on_ike_delete(now, key),
                Timer::IkeEnd(key) => self.end_sa(now, key, Farewell::Say),
                Timer::Keepalive(key) => self.on_keepalive(now, key),
                Timer::Dpd(connection) => self.on_dpd_timer(now, connection),
                Timer::Retry(connection) => self.on_retry_timer(now, connection),
                Timer::ChildSettle(child) => self.on_settled(now, child),
                Timer::ChildRekey(child) => self.on_rekey_child(now, child),
                Timer::PfsProbe(child) => self.renew_child(now, child),
                Timer::ChildDelete(child) => self.delete_child(now, child),
                Timer::ChildEnd(child) => self.on_child_end(now, child),
            }
        }
    }

    /// Time for a successor. An IKE SA that protects nothing is left to its end.
    pub(super) fn on_ike_rekey(&mut self, now: Instant, key: SaKey) {
        let Some(sa) = self.sas.get(&key) else { return };
        let connection = sa.connection;
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        let needed = !tunnel.children.is_empty() || tunnel.config.keep_up;
        if tunnel.config.may_initiate && needed && tunnel.current_sa() == Some(key) {
            match sa.state {
                State::V1(_) => self.start_phase_1(now, connection, Some(key)),
                State::V2(_) => self.request(now, key, Task::RekeyIke),
            }
        }
    }

    fn on_ike_delete(&mut self, now: Instant, key: SaKey) {
        match self.sas.get(&key).map(|sa| &sa.state) {
            Some(State::V1(_)) => self.on_isakmp_delete(now, key),
            Some(State::V2(_)) => self.on_v2_ike_delete(now, key),
            None => {}
        }
    }

    fn on_dpd_timer(&mut self, now: Instant, connection: ConnectionId) {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        let (Some(key), Some(dpd)) = (tunnel.current_sa(), tunnel.config.dpd) else {
            return;
        };
        match self.sas.get(&key).map(|sa| &sa.state) {
            Some(State::V1(_)) => self.on_isakmp_dpd(now, connection, key, dpd.delay),
            Some(State::V2(_)) => self.on_v2_dpd(now, connection, key, dpd.delay),
            None => {}
        }
    }

    fn on_keepalive(&mut self, now: Instant, key: SaKey) {
        let Some(sa) = self.sas.get(&key) else { return };
        let path = sa.path;
        self.timers
            .set(Timer::Keepalive(key), now + self.config.nat_keepalive);
        self.outbox.transmit(Transmit {
            local: path.local,
            peer: path.peer,
            payload: KEEPALIVE.to_vec(),
            kind: TransmitKind::NatKeepalive,
        });
    }

    fn on_child_end(&mut self, now: Instant, id: ChildId) {
        let Some(&connection) = self.child_owners.get(&id) else {
            return;
        };
        let tunnel = self.tunnels.get(&connection);
        let Some((ike, asked)) = tunnel
            .and_then(|tunnel| tunnel.children.find(id))
            .map(|child| (child.ike, child.ending))
        else {
            return;
        };
        let was_current = self.is_current(connection, id);
        self.hand_over(now, id);
        if asked {
            // The peer knows.
            self.remove_child(id);
        } else if !self.is_current(connection, id) && self.is_v2_established(ike) {
            // Under IKEv2 the peer hears of the end first, so that nothing is lost that it has sealed till then. If it does not
            // answer, all Child SAs end with their IKE SA.
            return self.ask_to_delete(now, ike, id);
        } else {
            self.delete_child(now, id);
            self.remove_child(id);
        }
        if was_current {
            self.note(
                connection,
                "the child sa in use has reached the end of its lifetime",
            );
            self.retry_later(now, connection);
        }
    }

    pub(super) fn is_current(&self, connection: ConnectionId, child: ChildId) -> bool {
        self.tunnels
            .get(&connection)
            .and_then(|tunnel| tunnel.children.find(child))
            .is_some_and(|child| child.usage == crate::child::Use::Current)
    }
}
