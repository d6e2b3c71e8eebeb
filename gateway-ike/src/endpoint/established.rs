//! How IKE SAs of either version begin: who may try, what changes when one is established or fails to be.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::{Endpoint, Timer};
use crate::config::{ConnectionId, IkeVersion};
use crate::diagnosis::Diagnosis;
use crate::event::{ChildId, Event, UdpEncapsulation};
use crate::ike_sa::{IkeSa, SaKey, Up};
use crate::path::{NatSides, Path};

/// What an IKE SA that both ends have authenticated brings with it.
#[derive(Debug)]
pub(super) struct NewIkeSa {
    pub(super) version: IkeVersion,
    /// For people.
    pub(super) algorithms: String,
    pub(super) lifetime: Duration,
    pub(super) nat: NatSides,
    /// The peer says that it knows of no older SA with us.
    pub(super) initial_contact: bool,
}

impl Endpoint {
    /// Makes room for one more half-open exchange, in a time that does not depend on how many there are.
    ///
    /// Of one source the oldest that has come no further than our first answer gives way: it is the most likely to be forged. When all
    /// together are too many, every source still has one: strangers never come here, so there are no more sources than tunnels,
    /// and no flood in the name of some peers keeps the others out.
    pub(super) fn make_room(&mut self, path: Path) -> bool {
        let of_source = self.half_open.of(*path.peer.ip());
        let full = |count: usize, limit: u32| u32::try_from(count).is_ok_and(|count| count >= limit);
        if full(of_source.len(), self.config.max_half_open_per_source) {
            let fresh = |key: &&SaKey| self.sas.get(key).is_some_and(IkeSa::is_fresh);
            let Some(oldest) = of_source.iter().find(fresh).copied() else {
                return false;
            };
            self.forget_sa(oldest);
            return true;
        }
        of_source.is_empty() || !full(self.half_open.len(), self.config.max_half_open)
    }

    /// Reports what an unauthenticated message suggests. The exchange goes on: a forged message must not end it.
    pub(super) fn report_once(&mut self, now: Instant, key: SaKey, path: Path, diagnosis: Diagnosis) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        if !std::mem::replace(&mut sa.reported, true) {
            let connection = sa.connection;
            self.report(now, Some(connection), path, diagnosis);
        }
    }

    /// Our attempt came to nothing: what waited for it is given up. With `unreachable` the peer has never said anything.
    pub(super) fn on_initiation_failed(&mut self, now: Instant, sa: &IkeSa, unreachable: bool) {
        let Some(tunnel) = self.tunnels.get_mut(&sa.connection) else {
            return;
        };
        if let Some(old) = sa.replaces.filter(|old| tunnel.established.last() == Some(old)) {
            // The old IKE SA is still there. Its end is known to the timer, so this cannot go on for ever.
            let wait = tunnel.back_off();
            self.timers.set(Timer::IkeRekey(old), now + wait);
            return;
        }
        if tunnel.established.is_empty() {
            tunnel.wanted.clear();
            // A peer that says nothing at all is gone, and without an IKE SA nobody else would notice. One whose ESP comes in only
            // cannot be asked: there is a NAT in front of it.
            let lost = if unreachable && tunnel.heard <= sa.started {
                tunnel.children.ids()
            } else {
                Vec::new()
            };
            for child in lost {
                self.remove_child(child);
            }
            self.retry_later(now, sa.connection);
        }
    }

    /// Both ends are authenticated: the IKE SA carries everything new from here on.
    pub(super) fn on_established(&mut self, now: Instant, key: SaKey, new: NewIkeSa) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let expires_at = now + new.lifetime;
        let rekey_at = self
            .config
            .rekey
            .rekey_at(now, new.lifetime, sa.initiator, &mut self.rng);
        sa.up = Some(Up { since: now, rekey_at });
        self.half_open.remove(*sa.path.peer.ip(), key);
        sa.nat = new.nat;
        sa.heard = now;
        let (connection, initiator, spis, started, replaces) =
            (sa.connection, sa.initiator, sa.spis, sa.started, sa.replaces);
        if new.initial_contact {
            self.end_older(now, connection, key, started);
        }
        let Some(tunnel) = self.tunnels.get_mut(&connection) else {
            return;
        };
        let older = std::mem::take(&mut tunnel.established);
        tunnel.established = older.iter().copied().chain([key]).collect();
        if tunnel.initiating == Some(key) {
            tunnel.initiating = None;
        }
        tunnel.heard = now;
        tunnel.succeeded();
        let (may_initiate, dpd) = (tunnel.config.may_initiate, tunnel.config.dpd);

        // The newest IKE SA carries everything new; the others only finish what they have begun.
        for &old in &older {
            self.timers.clear(Timer::IkeRekey(old));
        }
        if let Some(old) = replaces.filter(|old| older.contains(old)) {
            self.timers.set(Timer::IkeDelete(old), now + self.config.linger);
        }
        self.timers.set(Timer::IkeEnd(key), expires_at);
        if may_initiate {
            self.timers.set(Timer::IkeRekey(key), rekey_at);
        }
        if new.nat.local {
            self.timers
                .set(Timer::Keepalive(key), now + self.config.nat_keepalive);
        }
        if let Some(dpd) = dpd {
            self.timers.set(Timer::Dpd(connection), now + dpd.delay);
        }
        self.outbox.event(Event::IkeUp {
            connection,
            version: new.version,
            spis: (spis.initiator, spis.responder),
            initiator,
            algorithms: new.algorithms,
            rekey_at,
            expires_at,
            nat: new.nat.found(),
            rekeyed: !older.is_empty(),
        });
        self.follow_peer(key, &older);
    }

    /// The NAT in front of the peer gave the new IKE SA another port: what goes to the old one is lost.
    fn follow_peer(&mut self, key: SaKey, older: &[SaKey]) {
        let Some(sa) = self.sas.get(&key) else { return };
        let (connection, path) = (sa.connection, sa.path);
        let Some(encapsulation) = sa.encapsulation() else {
            return;
        };
        self.move_to(connection, older, path.peer, encapsulation);
    }

    /// ESP says that the NAT in front of the peer gave it another port.
    pub(super) fn on_child_peer_port(&mut self, now: Instant, child: ChildId, port: u16) {
        let Some(&connection) = self.child_owners.get(&child) else {
            return;
        };
        let Some(tunnel) = self.tunnels.get_mut(&connection) else {
            return;
        };
        tunnel.heard = tunnel.heard.max(now);
        let keys = tunnel.established.clone();
        let newest = keys.last().and_then(|key| self.sas.get(key));
        let Some((mut peer, mut encapsulation)) =
            newest.and_then(|sa| Some((sa.path.peer, sa.encapsulation()?)))
        else {
            return;
        };
        peer.set_port(port);
        encapsulation.peer_port = port;
        self.move_to(connection, &keys, peer, encapsulation);
    }

    /// Lets these IKE SAs send to where the peer is, and says so if one of them did not.
    fn move_to(
        &mut self,
        connection: ConnectionId,
        keys: &[SaKey],
        peer: SocketAddrV4,
        encapsulation: UdpEncapsulation,
    ) {
        let mut moved = false;
        for key in keys {
            if let Some(sa) = self.sas.get_mut(key)
                && sa.encapsulation().is_some()
                && sa.path.peer != peer
            {
                sa.path.peer = peer;
                moved = true;
            }
        }
        if moved {
            self.outbox.event(Event::PeerPortChanged {
                connection,
                encapsulation,
            });
        }
    }
}
