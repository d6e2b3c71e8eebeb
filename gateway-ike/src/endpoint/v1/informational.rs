//! What authenticated peers say, and hints of those that are not.

use std::time::{Duration, Instant};

use crate::child::Use;
use crate::config::ConnectionId;
use crate::diagnosis::{Code, Diagnosis};
use crate::endpoint::ends::Farewell;
use crate::endpoint::{Endpoint, Timer};
use crate::event::{ChildId, Event};
use crate::ike_sa::{SaKey, Spis};
use crate::path::Path;
use crate::v1::Refusal;
use crate::v1::informational::{Said, read, read_hint};
use crate::v1::isakmp_sa::{Established, Phase};
use crate::v1::phase1::diagnosis::{AGGRESSIVE, Named};
use crate::v1::phase1::{clear, notify_name, suggested_by_peer};
use crate::v1::proposal::EspTerms;
use crate::v1::quick_mode;
use crate::wire::v1::{NotifyType, Payload};
use crate::wire::{Flags, Header};
use gateway_common::Spi;

/// How long an IKE SA that the peer has deleted is kept to read what else the peer has said.
const CLOSING: Duration = Duration::from_secs(2);

impl Endpoint {
    pub(in crate::endpoint) fn on_informational(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        header: &Header,
        body: &[u8],
    ) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (initiator, spis) = (sa.initiator, sa.spis);
        let Some(isakmp) = sa.v1_mut() else { return };
        let unconfirmed = isakmp.pending.is_some();
        match &mut isakmp.phase {
            Phase::Established(established) => match read(&established.keys, header, body) {
                Ok(_) if !established.note_informational(header.message_id) => {
                    self.drop_datagram("a message id that was used");
                }
                Ok(said) => {
                    self.note_protected(now, key, path, header);
                    let ends = |said: &Said| matches!(said, Said::DeletedIke(ended) if ended.contains(&spis));
                    if let Some(notify) = first_error(&said).filter(|_| unconfirmed && said.iter().any(ends))
                    {
                        // The answer to our last message of aggressive mode.
                        return self.on_refused_by_peer(now, key, path, notify, Named(AGGRESSIVE, 4));
                    }
                    for said in said {
                        self.on_said(now, key, said);
                    }
                }
                Err(Refusal::Drop(why)) => self.drop_datagram(why),
                Err(Refusal::Report(..) | Refusal::End(..)) => self.drop_datagram("malformed informational"),
            },
            Phase::Negotiating(phase1) => {
                let waits_for = phase1.waits_for();
                let said = phase1.keys().map(|keys| read(keys, header, body));
                match said {
                    // The peer has the key, so this is its own word.
                    Some(Ok(said)) => {
                        if let Some(notify) = first_error(&said) {
                            self.on_refused_by_peer(now, key, path, notify, waits_for);
                        }
                    }
                    // Keys that differ are why we cannot read what the peer has to say about our proof.
                    Some(Err(_)) if phase1.has_proven() && header.flags.contains(Flags::ENCRYPTION) => {
                        self.on_hint(now, key, path, NotifyType::PAYLOAD_MALFORMED, waits_for);
                    }
                    Some(Err(_)) | None if initiator || phase1.has_proven() => {
                        self.on_clear_hint(now, key, path, header, body, waits_for);
                    }
                    Some(Err(_)) | None => self.drop_datagram("informational before phase 1 is done"),
                }
            }
        }
    }

    fn on_clear_hint(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        header: &Header,
        body: &[u8],
        waits_for: Named,
    ) {
        match clear(header, body).ok().and_then(|message| read_hint(&message)) {
            Some(notify) => self.on_hint(now, key, path, notify, waits_for),
            None => self.drop_datagram("informational in the clear"),
        }
    }

    /// Told to the operator at once and otherwise ignored: it may be forged, so the exchange goes on.
    fn on_hint(&mut self, now: Instant, key: SaKey, path: Path, notify: NotifyType, waits_for: Named) {
        let Some(config) = self.sas.get(&key).and_then(|sa| self.config_of(sa.connection)) else {
            return;
        };
        self.report_once(now, key, path, suggested_by_peer(&config, notify, waits_for));
    }

    /// The peer has proven to have the key and refuses all the same.
    fn on_refused_by_peer(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        notify: NotifyType,
        waits_for: Named,
    ) {
        let Some(config) = self.sas.get(&key).and_then(|sa| self.config_of(sa.connection)) else {
            return;
        };
        let sent = waits_for.before();
        let peer = format!("peer answers {sent} with {}", notify_name(notify));
        let diagnosis = if notify == NotifyType::INVALID_ID_INFORMATION
            || notify == NotifyType::AUTHENTICATION_FAILED
        {
            Diagnosis::new(
                Code::IdentityMismatch,
                format!("tunnel identifies itself as {}", config.local_id),
                peer,
                "set ike.local_id to what the peer expects, or the peer's expectation to what is sent from here",
            )
        } else {
            Diagnosis::new(
                Code::PeerRefused,
                "tunnel has proven its pre-shared key",
                peer,
                "read the peer's log: it knows why it refuses",
            )
        };
        self.report_once(now, key, path, diagnosis);
        if self.sas.get(&key).is_some_and(|sa| sa.up.is_none()) {
            return self.fail_phase_1(now, key);
        }
        // Another attempt at once would end like this one.
        self.give_up_quick_modes(key);
        self.end_sa(now, key, Farewell::Silent);
        self.retry_later(now, config.id);
    }

    fn on_said(&mut self, now: Instant, key: SaKey, said: Said) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, started) = (sa.connection, sa.started);
        match said {
            Said::DeletedEsp(spis) => spis
                .into_iter()
                .for_each(|spi| self.on_peer_deleted(now, connection, spi)),
            Said::DeletedIke(spis) => spis
                .into_iter()
                .for_each(|spis| self.on_peer_ended(now, connection, spis)),
            Said::InitialContact => self.end_older(now, connection, key, started),
            Said::AreYouThere(number) => {
                if sa
                    .phase_2_mut()
                    .is_some_and(|established| established.dpd.accepts(number))
                {
                    let data = number.to_be_bytes().to_vec();
                    self.send_informational(key, |established| {
                        vec![established.keys.notify(NotifyType::R_U_THERE_ACK, data)]
                    });
                }
            }
            Said::IAmHere(_) => {}
            Said::Lifetime(lifetimes) => self.on_announced_lifetime(now, key, lifetimes),
            Said::Connected(spi) => self.on_connected(now, connection, spi),
            Said::Error(notify, spi) => self.on_error(now, key, notify, spi),
            Said::Other(notify) => self.note(connection, format!("peer says {}", notify_name(notify))),
        }
    }

    /// The peer has deleted the Child SA whose inbound SPI, for it, is `spi`. Only its own tunnel's (S6).
    fn on_peer_deleted(&mut self, now: Instant, connection: ConnectionId, spi: Spi) {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        let Some(id) = tunnel.children.by_outbound(spi) else {
            return;
        };
        let Some(child) = tunnel.children.find(id) else {
            return;
        };
        // It has a successor that the peer initiated, and whose last message we have not seen: the peer is using it.
        let successor: Option<ChildId> = tunnel
            .children
            .iter()
            .find(|(_, other)| other.replaces == Some(id) && other.usage == Use::Unconfirmed)
            .map(|(id, _)| id)
            .filter(|_| child.usage == Use::Current);
        if let Some(successor) = successor {
            self.confirm(now, successor);
        }
        if self.remove_child(id) {
            self.note(connection, "peer deleted the child sa in use");
            self.retry_later(now, connection);
        }
    }

    fn on_peer_ended(&mut self, now: Instant, connection: ConnectionId, spis: Spis) {
        let Some(tunnel) = self.tunnels.get_mut(&connection) else {
            return;
        };
        let is_meant = |key: &SaKey| self.sas.get(key).is_some_and(|sa| sa.spis == spis);
        let Some(ended) = tunnel.established.iter().copied().find(is_meant) else {
            return;
        };
        self.outbox.event(Event::Note {
            connection,
            text: "peer deleted the ike sa".to_owned(),
        });
        if tunnel.established.len() == 1 && !tunnel.children.is_empty() {
            // A peer that ends the tunnel deletes its Child SAs too, and the network may have turned the two around.
            tunnel.closing.append(&mut tunnel.established);
            if let Some(isakmp) = self.sas.get_mut(&ended).and_then(|sa| sa.v1_mut()) {
                isakmp.closing = true;
            }
            self.timers.set(Timer::IkeDelete(ended), now + CLOSING);
        } else {
            self.end_sa(now, ended, Farewell::Silent);
            self.pump(now, connection);
        }
    }

    /// The peer refuses something of ours: the Quick Mode that it names, or the oldest.
    fn on_error(&mut self, now: Instant, key: SaKey, notify: NotifyType, spi: Option<Spi>) {
        let Some(sa) = self.sas.get(&key) else { return };
        let (connection, udp) = (sa.connection, sa.udp_dialect());
        let (Some(established), Some(config)) = (sa.phase_2(), self.config_of(connection)) else {
            return;
        };
        let named = established.initiated().find(|asking| Some(asking.spi) == spi);
        let oldest = || {
            let sent = established
                .quick_modes
                .values()
                .filter(|quick| !quick.is_computing());
            let asked = sent.filter(|quick| quick.step.asking().is_some());
            asked.min_by_key(|quick| quick.started)?.step.asking()
        };
        match named.or_else(oldest) {
            Some(asking) => {
                let terms = EspTerms { config: &config, udp };
                let diagnosis = quick_mode::refused_by_peer(terms, asking.want, notify);
                self.fail_quick_mode(now, key, asking, diagnosis);
            }
            None => self.note(connection, format!("peer says {}", notify_name(notify))),
        }
    }

    /// Sends an Informational on an established IKE SA.
    pub(in crate::endpoint) fn send_informational(
        &mut self,
        key: SaKey,
        payloads: impl FnOnce(&Established) -> Vec<Payload>,
    ) {
        let Some(sa) = self.sas.get(&key) else { return };
        let Some(established) = sa.phase_2() else {
            return;
        };
        let message_id = established.new_message_id(&mut self.rng);
        let path = sa.path;
        if let Ok(datagram) = established.keys.informational(message_id, &payloads(established)) {
            self.send_ike(key, path, datagram);
        }
    }
}

fn first_error(said: &[Said]) -> Option<NotifyType> {
    said.iter().find_map(|said| match said {
        Said::Error(notify, _) => Some(*notify),
        Said::DeletedEsp(_)
        | Said::DeletedIke(_)
        | Said::InitialContact
        | Said::AreYouThere(_)
        | Said::IAmHere(_)
        | Said::Lifetime(_)
        | Said::Connected(_)
        | Said::Other(_) => None,
    })
}
