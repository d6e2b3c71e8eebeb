//! Both ends have initiated at once.
//!
//! Whoever learns of the peer's IKE SA before it has sent IKE_AUTH gives its own up. Where both have sent it, there are two IKE SAs with
//! a Child SA each, which either end has seen come in its own order. Both know that they crossed, because neither was established when
//! the other one was started, and both know the SPIs: the IKE SA with the greater SPI of its initiator stays, and the Child SAs of the
//! other one yield to its own. The end that has initiated the other one closes it when its Child SAs are left.

use std::time::Instant;

use crate::config::ConnectionId;
use crate::endpoint::{Endpoint, Timer};
use crate::ike_sa::{IkeSa, SaKey};
use crate::v2::ike_sa::Stage;

impl Endpoint {
    /// Whether the peer's IKE SA was established while our attempt was under way.
    pub(super) fn is_forestalled(&self, key: SaKey) -> bool {
        let Some(sa) = self.sas.get(&key) else {
            return false;
        };
        let Some(tunnel) = self.tunnels.get(&sa.connection) else {
            return false;
        };
        tunnel
            .established
            .iter()
            .filter_map(|other| self.sas.get(other)?.v2()?.established())
            .any(|other| other.authenticated_at >= sa.started)
    }

    /// Gives our attempt up for what the peer has established. What waits is negotiated there.
    pub(super) fn give_way(&mut self, connection: ConnectionId, key: SaKey) {
        self.note(connection, "peer was faster: its ike sa is used");
        self.forget_sa(key);
    }

    /// Decides between two IKE SAs that crossed. An attempt of ours that has sent no IKE_AUTH ends.
    pub(super) fn rank_crossed(&mut self, now: Instant, key: SaKey) {
        let Some(connection) = self.sas.get(&key).map(|sa| sa.connection) else {
            return;
        };
        let attempt = self.tunnels.get(&connection).and_then(|tunnel| tunnel.initiating);
        let sent_auth = |key: SaKey| {
            let sa = self.sas.get(&key).and_then(IkeSa::v2);
            sa.is_some_and(|sa| matches!(sa.stage, Stage::AuthSent(_)))
        };
        if let Some(attempt) = attempt.filter(|&key| !sent_auth(key) && self.is_forestalled(key)) {
            self.give_way(connection, attempt);
        }
        let Some(new) = self.sas.get(&key) else { return };
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        let rival = tunnel
            .established
            .iter()
            .filter_map(|&other| Some((other, self.sas.get(&other)?)))
            .find(|(_, other)| have_crossed(new, other));
        let Some((rival, other)) = rival else { return };
        let (stays, goes) = if other.spis.initiator > new.spis.initiator {
            (rival, key)
        } else {
            (key, rival)
        };
        self.note(connection, "both ends have initiated at once: one ike sa stays");
        self.prefer(now, connection, stays, goes);
    }

    fn prefer(&mut self, now: Instant, connection: ConnectionId, stays: SaKey, goes: SaKey) {
        let Some(loser) = self.sas.get_mut(&goes) else {
            return;
        };
        loser.yields = true;
        let is_ours = loser.initiator;
        let Some(tunnel) = self.tunnels.get_mut(&connection) else {
            return;
        };
        tunnel.children.yield_all_of(goes);
        tunnel.established.retain(|listed| *listed != stays);
        tunnel.established.push(stays);
        let may_initiate = tunnel.config.may_initiate;
        for timer in [Timer::IkeRekey(goes), Timer::Reauth(goes)] {
            self.timers.clear(timer);
        }
        if let Some(up) = self.sas.get(&stays).and_then(|sa| sa.up).filter(|_| may_initiate) {
            self.timers.set(Timer::IkeRekey(stays), up.rekey_at.max(now));
        }
        if is_ours {
            self.timers.set(Timer::IkeDelete(goes), now + self.config.linger);
        }
    }
}

/// Whether two IKE SAs were initiated by different ends, the new one before there was the other. One that has been rekeyed since is the
/// other one no more.
fn have_crossed(new: &IkeSa, other: &IkeSa) -> bool {
    let Some(established) = other.v2().and_then(|sa| sa.established()) else {
        return false;
    };
    new.initiator != other.initiator
        && established.authenticated_at >= new.started
        && other
            .up
            .is_some_and(|up| up.since == established.authenticated_at)
}
