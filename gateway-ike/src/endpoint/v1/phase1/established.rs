//! What an authenticated peer of IKEv1 changes: the new IKE SA, its relation to one that was made at the same time, its lifetime.

use std::time::Instant;

use crate::config::IkeVersion;
use crate::endpoint::established::NewIkeSa;
use crate::endpoint::{Endpoint, Timer};
use crate::event::Event;
use crate::ike_sa::{IkeSa, SaKey, random_u32};
use crate::path::NatSides;
use crate::v1::isakmp_sa::{Established, Phase};
use crate::v1::nat_traversal::Nat;
use crate::v1::phase1::Authenticated;
use crate::v1::proposal::smaller_lifetime;
use crate::wire::v1::{LifeAttributes, Lifetimes, NotifyType};

impl Endpoint {
    pub(super) fn on_authenticated(&mut self, now: Instant, key: SaKey, authenticated: Authenticated) {
        let first_probe = random_u32(&mut self.rng);
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let connection = sa.connection;
        let Some(isakmp) = sa.v1_mut() else { return };
        let nat = authenticated.nat;
        let new = NewIkeSa {
            version: IkeVersion::V1,
            algorithms: authenticated.choice.proposal.to_string(),
            lifetime: authenticated.choice.lifetime,
            nat: nat.map_or_else(NatSides::default, Nat::sides),
            initial_contact: authenticated.initial_contact,
        };
        isakmp.phase = Phase::Established(Box::new(Established::new(authenticated, first_probe)));
        isakmp.pending = None;
        self.timers.clear(Timer::Phase1(key));
        if nat.is_none()
            && self
                .config_of(connection)
                .is_some_and(|config| config.force_udp_encapsulation)
        {
            self.note(
                connection,
                "peer does not do nat traversal: esp goes over ip although udp was asked for",
            );
        }
        self.on_established(now, key, new);
        self.rank(now, key);
    }

    /// When both ends have initiated at once, there are two IKE SAs, and which one is the newer differs between the ends. Both know
    /// the SPIs: the one with the greater SPI of its initiator carries everything new and is renewed.
    ///
    /// The other one is left to its end. A Delete for it could get lost, and the peer, which may have seen the two come one after
    /// the other, would go on with an SA that is not there.
    fn rank(&mut self, now: Instant, key: SaKey) {
        let Some(new) = self.sas.get(&key) else { return };
        let Some(tunnel) = self.tunnels.get_mut(&new.connection) else {
            return;
        };
        let rival = tunnel
            .established
            .iter()
            .filter_map(|&other| Some((other, self.sas.get(&other)?)))
            .filter(|(_, other)| are_rivals(new, other))
            .max_by_key(|(_, other)| other.spis.initiator);
        let Some((rival, other)) = rival else { return };
        if other.spis.initiator < new.spis.initiator {
            return;
        }
        tunnel.established.retain(|&listed| listed != rival);
        tunnel.established.push(rival);
        self.timers.clear(Timer::IkeRekey(key));
        if let Some(up) = other.up.filter(|_| tunnel.config.may_initiate) {
            self.timers.set(Timer::IkeRekey(rival), up.rekey_at.max(now));
        }
    }

    /// RFC 2407 section 4.6.3.1: the initiator has offered a longer lifetime than this IKE SA will have.
    pub(super) fn announce_lifetime(&mut self, key: SaKey) {
        self.send_informational(key, |established| {
            let lifetimes = Lifetimes {
                seconds: Some(established.lifetime.as_secs()),
                kilobytes: established.volume.kilobytes(),
            };
            let data = lifetimes.to_notify_data(LifeAttributes::IKE);
            vec![established.keys.notify(NotifyType::RESPONDER_LIFETIME, data)]
        });
    }

    /// The responder of an IKE SA of ours keeps it for a shorter time than we have offered.
    pub(in crate::endpoint) fn on_announced_lifetime(&mut self, now: Instant, key: SaKey, theirs: Lifetimes) {
        let Some(sa) = self.sas.get_mut(&key).filter(|sa| sa.initiator) else {
            return;
        };
        let connection = sa.connection;
        let Some(up) = &mut sa.up else { return };
        let since = up.since;
        let Some(established) = sa.phase_2_mut() else {
            return;
        };
        let ours = established.lifetime;
        if established.volume.shorten(theirs) {
            let kilobytes = established.volume.kilobytes().unwrap_or(0);
            self.outbox.event(Event::Note {
                connection,
                text: format!("peer keeps the ike sa for {kilobytes} kilobytes only"),
            });
        }
        let lifetime = smaller_lifetime(ours, theirs);
        if lifetime >= ours {
            return;
        }
        let rekey_at = self.config.rekey.rekey_at(since, lifetime, true, &mut self.rng);
        if let Some(established) = sa.phase_2_mut() {
            established.lifetime = lifetime;
        }
        if let Some(up) = &mut sa.up {
            up.rekey_at = rekey_at;
        }
        self.timers.set(Timer::IkeEnd(key), (since + lifetime).max(now));
        let renews = self
            .tunnels
            .get(&connection)
            .is_some_and(|tunnel| tunnel.config.may_initiate && tunnel.current_sa() == Some(key));
        if renews {
            self.timers.set(Timer::IkeRekey(key), rekey_at.max(now));
        }
        let seconds = lifetime.as_secs();
        self.note(
            connection,
            format!("peer keeps the ike sa for {seconds} seconds only"),
        );
    }
}

/// Whether two IKE SAs were initiated by different ends, the new one before there was the other.
fn are_rivals(new: &IkeSa, other: &IkeSa) -> bool {
    new.initiator != other.initiator
        && other.phase_2().is_some()
        && other.up.is_some_and(|up| up.since >= new.started)
}
