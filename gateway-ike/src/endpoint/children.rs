//! Child SAs from installation to removal.

use std::time::{Duration, Instant};

use super::{Endpoint, Timer};
use crate::child::{Child, NewChild, Use};
use crate::config::ConnectionId;
use crate::event::{ChildId, ChildSa, Event};
use crate::ike_sa::SaKey;
use crate::path::Path;
use crate::v1::informational::delete_esp;
use gateway_common::Spi;

/// How long the peer has for installing its half of a Child SA after message 3, at least and at most, while packets wait for it.
const SETTLE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));
/// The same while an older Child SA still carries the traffic: nothing waits.
const SETTLE_RENEWED: Duration = Duration::from_secs(1);
/// How long a peer that has set the commit bit has for saying CONNECTED.
const CONNECTED: Duration = Duration::from_secs(5);

impl Endpoint {
    /// Puts a Child SA into the books and tells the driver to install it.
    pub(super) fn install(
        &mut self,
        now: Instant,
        key: SaKey,
        new: NewChild,
        initiator: bool,
    ) -> Option<ChildId> {
        let sa = self.sas.get(&key)?;
        let (connection, path, encapsulation, yields) =
            (sa.connection, sa.path, sa.encapsulation(), sa.yields);
        let rekey_at = self
            .config
            .rekey
            .rekey_at(now, new.lifetime, initiator, &mut self.rng);
        let expires_at = now + new.lifetime;
        let children = &mut self.tunnels.get_mut(&connection)?.children;
        // It may have ended while its successor was negotiated.
        let replaces = new.replaces.filter(|&old| children.find(old).is_some());
        let id = ChildId(self.next_child);
        self.next_child += 1;
        let child = Child {
            serves: new.serves.clone(),
            inbound: new.inbound.spi,
            outbound: new.outbound.spi,
            esn: new.esn,
            ike: key,
            usage: Use::Unconfirmed,
            initiator,
            replaces,
            yields,
            ending: false,
            inbound_used: false,
            installed_at: now,
            rekey_at,
            expires_at,
        };
        children.insert(id, child);
        self.inbound_spis.insert(new.inbound.spi);
        self.child_owners.insert(id, connection);
        self.timers.set(Timer::ChildEnd(id), expires_at);
        let child = Box::new(ChildSa {
            id,
            connection,
            serves: new.serves,
            local: *path.local.ip(),
            peer: *path.peer.ip(),
            encapsulation,
            proposal: new.proposal,
            esn: new.esn,
            inbound: new.inbound,
            outbound: new.outbound,
            rekey_at,
            expires_at,
            octets: new.kilobytes.map(|kilobytes| kilobytes.saturating_mul(1024)),
        });
        self.outbox.event(Event::InstallChild { child, replaces });
        Some(id)
    }

    /// Reserves the SPI of a Child SA that the next request asks for, until it is installed or [`Self::forget_inbound`].
    pub(super) fn expect_inbound(&mut self, connection: ConnectionId, spi: Spi) {
        self.inbound_spis.insert(spi);
        self.outbox.event(Event::ExpectInbound { connection, spi });
    }

    /// Nothing came of a Child SA that would have had this SPI.
    pub(super) fn forget_inbound(&mut self, spi: Spi) {
        if self.inbound_spis.remove(&spi) {
            self.outbox.event(Event::ForgetInbound { spi });
        }
    }

    /// Message 3 is on its way. What is sealed before the peer has worked on it is lost, and no message says when that is, so a
    /// Child SA that we negotiated seals a little later: twice the time in which the peer answered message 1, or after its first
    /// packet.
    pub(super) fn settle(&mut self, now: Instant, id: ChildId, answered_in: Duration) {
        let Some(children) = self
            .child_owners
            .get(&id)
            .and_then(|owner| self.tunnels.get(owner))
            .map(|tunnel| &tunnel.children)
        else {
            return;
        };
        let older = children
            .find(id)
            .and_then(|child| children.current_for(child.serves.first()?.selectors))
            .and_then(|older| children.find(older));
        let wait = match older {
            Some(older) => SETTLE_RENEWED.min(older.expires_at.saturating_duration_since(now) / 2),
            None => (answered_in * 2).clamp(SETTLE.0, SETTLE.1),
        };
        self.timers.set(Timer::ChildSettle(id), now + wait);
    }

    /// The peer has set the commit bit: it says CONNECTED (RFC 2408 section 3.1), and a peer that does not is not waited for.
    pub(super) fn await_connected(&mut self, now: Instant, id: ChildId) {
        self.timers.set(Timer::ChildSettle(id), now + CONNECTED);
    }

    /// The peer says that it has its half of the Child SA with this SPI, of either direction, or of the one that waits for that.
    pub(super) fn on_connected(&mut self, now: Instant, connection: ConnectionId, spi: Option<Spi>) {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        let connected = tunnel
            .children
            .iter()
            .filter(|(_, child)| child.initiator && child.usage == Use::Unconfirmed)
            .find(|(_, child)| spi.is_none_or(|spi| spi == child.inbound || spi == child.outbound))
            .map(|(id, _)| id);
        if let Some(id) = connected {
            self.confirm(now, id);
        }
    }

    /// The peer has its half of a Child SA.
    pub(super) fn confirm(&mut self, now: Instant, id: ChildId) {
        let Some(tunnel) = self
            .child_owners
            .get(&id)
            .and_then(|owner| self.tunnels.get_mut(owner))
        else {
            return;
        };
        self.timers.clear(Timer::ChildSettle(id));
        let confirmed = tunnel.children.confirm(id);
        if confirmed.in_use {
            self.outbox.event(Event::UseOutbound { child: id });
            tunnel.succeeded();
            let may_initiate = tunnel.config.may_initiate;
            if let Some(child) = tunnel.children.find(id) {
                for served in &child.serves {
                    tunnel.restarting.remove(&served.pair);
                }
                if may_initiate {
                    self.timers.set(Timer::ChildRekey(id), child.rekey_at.max(now));
                }
            }
        }
        for old in confirmed.superseded {
            self.timers.clear(Timer::ChildRekey(old));
            self.timers.clear(Timer::PfsProbe(old));
        }
        if confirmed.in_use {
            self.probe_pfs(now, id);
        }
    }

    /// The peer seals with a Child SA.
    pub(super) fn on_child_inbound_used(&mut self, now: Instant, id: ChildId) {
        let Some(tunnel) = self
            .child_owners
            .get(&id)
            .and_then(|owner| self.tunnels.get_mut(owner))
        else {
            return;
        };
        tunnel.heard = tunnel.heard.max(now);
        let Some(child) = tunnel.children.find_mut(id) else {
            return;
        };
        if std::mem::replace(&mut child.inbound_used, true) {
            return;
        }
        let left = tunnel.children.left_for(id);
        self.confirm(now, id);
        for old in left {
            // One that waits for its end already is not kept longer by the next successor.
            self.timers
                .set_no_later(Timer::ChildDelete(old), now + self.config.linger);
        }
    }

    /// Tells the peer that a Child SA ends. IKEv1 removes it at once, IKEv2 when the peer has answered.
    pub(super) fn delete_child(&mut self, now: Instant, id: ChildId) {
        let Some(tunnel) = self
            .child_owners
            .get(&id)
            .and_then(|owner| self.tunnels.get(owner))
        else {
            return;
        };
        let Some(child) = tunnel.children.find(id) else {
            return;
        };
        let (ike, inbound) = (child.ike, child.inbound);
        if self.is_v2_established(ike) {
            return self.ask_to_delete(now, ike, id);
        }
        if let Some(key) = tunnel.current_sa() {
            self.send_informational(key, |_| delete_esp(&[inbound]).collect());
        }
        self.remove_child(id);
    }

    /// Removes a Child SA from the books and tells the driver. Returns whether it was the one that sealed.
    pub(super) fn remove_child(&mut self, id: ChildId) -> bool {
        let Some(connection) = self.child_owners.remove(&id) else {
            return false;
        };
        for timer in [
            Timer::ChildSettle(id),
            Timer::ChildRekey(id),
            Timer::PfsProbe(id),
            Timer::ChildDelete(id),
            Timer::ChildEnd(id),
        ] {
            self.timers.clear(timer);
        }
        let Some(child) = self
            .tunnels
            .get_mut(&connection)
            .and_then(|tunnel| tunnel.children.remove(id))
        else {
            return false;
        };
        self.inbound_spis.remove(&child.inbound);
        self.outbox.event(Event::RemoveChild { child: id });
        child.usage == Use::Current
    }

    /// An authentic, fresh message of the peer came in: it is there, and this is where.
    pub(super) fn note_heard(&mut self, now: Instant, key: SaKey, path: Path) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        sa.heard = now;
        if let Some(isakmp) = sa.v1_mut() {
            // It has our last message of phase 1.
            isakmp.pending = None;
        }
        let connection = sa.connection;
        // A NAT changes the peer's port. Our own is ours to choose.
        let moved = sa.path.local == path.local && sa.path.peer != path.peer;
        if moved {
            sa.path = path;
        }
        let encapsulation = sa.encapsulation();
        let Some(tunnel) = self.tunnels.get_mut(&connection) else {
            return;
        };
        tunnel.heard = tunnel.heard.max(now);
        if let Some(encapsulation) = encapsulation.filter(|_| moved) {
            self.outbox.event(Event::PeerPortChanged {
                connection,
                encapsulation,
            });
        }
    }
}
