//! INFORMATIONAL: deletes, notifications, and nothing at all, which asks whether we are there (RFC 7296 sections 1.4 and 2.4).

use std::time::{Duration, Instant};

use gateway_common::Spi;

use crate::child::Use;
use crate::config::ConnectionId;
use crate::endpoint::ends::Farewell;
use crate::endpoint::{Endpoint, Timer};
use crate::event::ChildId;
use crate::ike_sa::SaKey;
use crate::tunnel::Want;
use crate::v2::ike_sa::Task;
use crate::wire::v2::{DeletePayload, Message, NotifyPayload, NotifyType, Payload};
use crate::wire::{ExchangeType, ProtocolId};

/// A Child SA that is younger may not be installed by the peer yet when it complains about its SPI.
const SETTLED: Duration = Duration::from_secs(10);

impl Endpoint {
    /// A request, authentic and fresh. It is answered in any case.
    pub(super) fn on_informational_request(&mut self, now: Instant, key: SaKey, message: &Message<'_>) {
        let Some(connection) = self.sas.get(&key).map(|sa| sa.connection) else {
            return;
        };
        let ends = message.deletes().any(|delete| delete.protocol == ProtocolId::IKE)
            || message.notify(NotifyType::AUTHENTICATION_FAILED).is_some();
        if ends {
            self.answer(key, ExchangeType::INFORMATIONAL, &[]);
            return self.on_peer_ended_ike(now, connection, key);
        }
        let named: Vec<_> = message
            .deletes()
            .filter(|delete| delete.protocol == ProtocolId::ESP)
            .flat_map(|delete| &delete.spis)
            .filter_map(|spi| Spi::from_be_bytes(*spi))
            .collect();
        let (ours, gone) = self.halves_of(key, connection, &named);
        let mut payloads = Vec::new();
        if !ours.is_empty() {
            payloads.push(Payload::Delete(DeletePayload::esp(ours)));
        }
        self.answer(key, ExchangeType::INFORMATIONAL, &payloads);
        for id in gone {
            self.on_peer_deleted_child(now, connection, id);
        }
        let notifies: Vec<_> = message.notifies().cloned().collect();
        for notify in &notifies {
            self.on_notify(now, connection, key, notify);
        }
    }

    /// Our halves of the Child SAs that the peer deletes, and which these are. S6: only those of its own tunnel. Those that we are
    /// deleting ourselves go unmentioned (RFC 7296 section 1.4.1).
    fn halves_of(
        &mut self,
        key: SaKey,
        connection: ConnectionId,
        named: &[Spi],
    ) -> (Vec<[u8; 4]>, Vec<ChildId>) {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return (Vec::new(), Vec::new());
        };
        let established = self.sas.get(&key).and_then(|sa| sa.v2()?.established());
        let mut ours = Vec::new();
        let mut gone = Vec::new();
        for spi in named {
            let Some(id) = tunnel.children.by_outbound(*spi) else {
                continue;
            };
            if gone.contains(&id) {
                continue;
            }
            gone.push(id);
            let deleting = established.is_some_and(|established| established.is_deleting(id));
            if let Some(child) = tunnel.children.find(id).filter(|_| !deleting) {
                ours.push(child.inbound.to_be_bytes());
            }
        }
        (ours, gone)
    }

    fn on_peer_deleted_child(&mut self, now: Instant, connection: ConnectionId, id: ChildId) {
        self.hand_over(now, id);
        if self.remove_child(id) {
            self.note(connection, "peer deleted the child sa in use");
            self.retry_later(now, connection);
        }
    }

    fn on_peer_ended_ike(&mut self, now: Instant, connection: ConnectionId, key: SaKey) {
        self.adopt_nascent(now, key);
        self.note(connection, "peer deleted the ike sa");
        let lost = self.remove_children_of(now, connection, key);
        self.end_sa(now, key, Farewell::Silent);
        if lost {
            self.retry_later(now, connection);
        }
        self.pump(now, connection);
    }

    fn on_notify(&mut self, now: Instant, connection: ConnectionId, key: SaKey, notify: &NotifyPayload) {
        match notify.notify_type {
            NotifyType::INVALID_SPI => self.on_invalid_spi(now, connection, notify),
            NotifyType::INITIAL_CONTACT => {
                if let Some(started) = self.sas.get(&key).map(|sa| sa.started) {
                    self.end_older(now, connection, key, started);
                }
            }
            other => self.note(connection, format!("peer says {other}")),
        }
    }

    /// The peer does not know the Child SA that we seal with (RFC 7296 section 1.5). This came protected, so it is its own word.
    fn on_invalid_spi(&mut self, now: Instant, connection: ConnectionId, notify: &NotifyPayload) {
        let spi = <[u8; 4]>::try_from(notify.data.as_slice())
            .ok()
            .and_then(Spi::from_be_bytes);
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        let named = spi.and_then(|spi| tunnel.children.by_outbound(spi));
        let Some((id, child)) = named.and_then(|id| Some((id, tunnel.children.find(id)?))) else {
            return;
        };
        if child.usage != Use::Current || now < child.installed_at + SETTLED {
            return;
        }
        let wants: Vec<_> = child
            .serves
            .iter()
            .map(|served| Want {
                pair: served.pair,
                selectors: served.selectors,
                replaces: None,
            })
            .collect();
        let may_initiate = tunnel.config.may_initiate;
        self.note(connection, "peer does not know the child sa in use");
        self.delete_child(now, id);
        self.remove_child(id);
        for want in wants.into_iter().filter(|_| may_initiate) {
            self.want(now, connection, want);
        }
    }

    /// The DPD timer of a tunnel fired. Any request shows whether the peer is there, an empty one if there is no other.
    pub(in crate::endpoint) fn on_v2_dpd(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        key: SaKey,
        delay: Duration,
    ) {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        if tunnel.children.is_empty() {
            // Nothing would be lost.
            return self.timers.set(Timer::Dpd(connection), now + delay);
        }
        let due = tunnel.heard + delay;
        if now < due {
            return self.timers.set(Timer::Dpd(connection), due);
        }
        self.timers.set(Timer::Dpd(connection), now + delay);
        self.ask_whether_there(now, key);
    }

    /// Asks the peer whether it is there, unless something that it has to answer is under way. Returns whether it was asked.
    pub(in crate::endpoint) fn ask_whether_there(&mut self, now: Instant, key: SaKey) -> bool {
        let idle = self
            .v2_established(key)
            .is_some_and(|(established, _)| established.exchange.is_none());
        if idle {
            self.request(now, key, Task::Liveness);
        }
        idle
    }

    /// Tells the peer that an IKE SA ends, once: nobody waits for the answer.
    pub(in crate::endpoint) fn say_v2_farewell(&mut self, key: SaKey) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let path = sa.path;
        let Some(established) = sa.v2_mut().and_then(|sa| sa.established_mut()) else {
            return;
        };
        // The peer has most likely worked on a request that is under way.
        let under_way = established
            .exchange
            .as_ref()
            .is_some_and(|exchange| exchange.sent.is_some());
        let message_id = established.next_request.wrapping_add(u32::from(under_way));
        let name = (ExchangeType::INFORMATIONAL, message_id, false);
        let delete = Payload::Delete(DeletePayload::ike());
        if let Ok(datagrams) = established.channel.message(name, &[delete], &mut self.rng) {
            self.send_all(path, &datagrams);
        }
    }
}
