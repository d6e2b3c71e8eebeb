//! Quick Modes that the peer initiates.

use std::time::Instant;

use crate::child::NewChild;
use crate::config::ConnectionId;
use crate::crypto::KeyExchangeDone;
use crate::endpoint::Endpoint;
use crate::endpoint::jobs::JobOwner;
use crate::ike_sa::SaKey;
use crate::jobs::Urgency;
use crate::path::Path;
use crate::v1::Refusal;
use crate::v1::informational::notify_esp;
use crate::v1::isakmp_sa::{MAX_QUICK_MODES, QuickMode, QuickStep};
use crate::v1::quick_mode::responder::{self, Request};
use crate::wire::Header;
use crate::wire::v1::NotifyType;

/// Quick Modes of the peer that wait for message 3 on one IKE SA.
const MAX_ANSWERED: usize = 16;
/// Times that message 1 of ours goes out before a peer that asks on another IKE SA is believed not to have seen it.
const UNHEARD: u32 = 2;

impl Endpoint {
    /// `HDR*, HASH(1), SA, Ni [, KE ], IDci, IDcr -->`
    pub(super) fn on_quick_request(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        header: &Header,
        body: &[u8],
        datagram: &[u8],
    ) {
        let spi = self.new_esp_spi();
        let Some(setting) = self.setting(key) else { return };
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let connection = sa.connection;
        let Some(established) = sa.phase_2_mut() else {
            return;
        };
        let waiting = established
            .quick_modes
            .values()
            .filter(|quick| matches!(quick.step, QuickStep::Answered(..) | QuickStep::Responding(_)))
            .count();
        if waiting >= MAX_ANSWERED || established.used_message_ids.len() >= MAX_QUICK_MODES {
            return self.drop_datagram("too many quick modes");
        }
        let message_id = header.message_id;
        let judged = responder::judge(&established.keys, setting.terms(), header, body, spi);
        let mut request = match judged {
            Ok(request) => request,
            Err(Refusal::Drop(why)) => return self.drop_datagram(why),
            Err(Refusal::Report(diagnosis, notify) | Refusal::End(diagnosis, notify)) => {
                // The hash was right: the peer itself has asked. It is told once, and again if it repeats itself.
                established.used_message_ids.insert(message_id);
                let payload = notify_esp(notify.unwrap_or(NotifyType::NO_PROPOSAL_CHOSEN), None);
                let answer_id = established.new_message_id(&mut self.rng);
                if let Ok(reply) = established.keys.informational(answer_id, &[payload]) {
                    let quick = QuickMode::new(QuickStep::Finished, reply.clone(), Some(datagram), now);
                    self.keep_quick_mode(now, key, message_id, quick);
                    self.send_ike(key, path, reply);
                }
                self.note_protected(now, key, path, header);
                self.report(now, Some(connection), path, diagnosis);
                return;
            }
        };
        if !self.makes_way(now, connection, key, &request) {
            return self.drop_datagram("the peer asks for what we are asking for");
        }
        let Some(established) = self.sas.get_mut(&key).and_then(|sa| sa.phase_2_mut()) else {
            return;
        };
        established.used_message_ids.insert(message_id);
        let (want, limit) = (request.want, self.config.max_children_per_pair);
        let full = self.tunnels.get(&connection).is_some_and(|tunnel| {
            let of_pair = tunnel
                .children
                .iter()
                .filter(|(_, child)| child.is_for(want.pair))
                .count();
            u32::try_from(of_pair).unwrap_or(u32::MAX) >= limit
        });
        if full {
            // S16, S17: a peer that negotiates for its own sake. What it has keeps working.
            return self.drop_datagram("too many child sas");
        }
        self.note_protected(now, key, path, header);
        self.inbound_spis.insert(spi);
        let job = request.job(setting.terms(), &mut self.rng);
        let quick = QuickMode::computing(QuickStep::Responding(Box::new(request)), Some(datagram), now);
        match job {
            Some(job) => {
                self.keep_quick_mode(now, key, message_id, quick);
                let owner = JobOwner::QuickMode(key, message_id);
                if self.enqueue(Urgency::Trusted, owner, job).is_err() {
                    self.forget_quick_mode(key, message_id);
                }
            }
            None => {
                if let QuickStep::Responding(request) = quick.step {
                    let request = (*request, quick.answered);
                    self.answer_quick_request(now, key, message_id, request, None);
                }
            }
        }
    }

    /// Both ends ask for a Child SA with the same selectors: one is enough. Both know the two SPIs that were proposed, and the
    /// greater one goes first. Returns whether the peer's does.
    ///
    /// A peer that does not know the rule answers ours all the same, or repeats its own until ours is through. One that asks on another
    /// IKE SA while ours stays without an answer may not have the IKE SA of ours: it goes first.
    fn makes_way(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        asked_on: SaKey,
        request: &Request,
    ) -> bool {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return true;
        };
        let mut ours = Vec::new();
        for &key in &tunnel.established {
            let Some(established) = self.sas.get(&key).and_then(|sa| sa.phase_2()) else {
                continue;
            };
            for quick in established
                .quick_modes
                .values()
                .filter(|quick| !quick.has_yielded)
            {
                let Some(asking) = quick.step.asking() else {
                    continue;
                };
                if asking.want.selectors == request.want.selectors {
                    let unsent = matches!(quick.step, QuickStep::Asking(_));
                    let settled = matches!(quick.step, QuickStep::Agreeing(_));
                    let unheard = key != asked_on && quick.pending.sent > UNHEARD;
                    let first = settled || (!unsent && !unheard && asking.spi > request.peer_spi());
                    ours.push((key, asking, unsent, first));
                }
            }
        }
        if ours.iter().any(|&(.., first)| first) {
            return false;
        }
        for (key, asking, unsent, _) in ours {
            if unsent {
                self.forget_quick_mode(key, asking.message_id);
                continue;
            }
            let quick = self
                .sas
                .get_mut(&key)
                .and_then(|sa| sa.phase_2_mut())
                .and_then(|established| established.quick_modes.remove(&asking.message_id));
            if let Some(mut quick) = quick {
                quick.has_yielded = true;
                self.keep_quick_mode(now, key, asking.message_id, quick);
            }
        }
        true
    }

    /// `<-- HDR*, HASH(2), SA, Nr [, KE ], IDci, IDcr`. The request comes with the digest of message 1.
    pub(super) fn answer_quick_request(
        &mut self,
        now: Instant,
        key: SaKey,
        message_id: u32,
        (request, received): (Request, Option<Vec<u8>>),
        done: Option<KeyExchangeDone>,
    ) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, path) = (sa.connection, sa.path);
        let Some(established) = sa.phase_2_mut() else {
            return;
        };
        let (want, spi) = (request.want, request.spi);
        let answered = request.answer(&established.keys, message_id, done, &mut self.rng);
        let (step, new_child, reply) = match answered {
            Ok(answered) => answered,
            Err(refusal) => {
                self.inbound_spis.remove(&spi);
                return match refusal {
                    Refusal::Drop(why) => self.drop_datagram(why),
                    Refusal::Report(diagnosis, _) | Refusal::End(diagnosis, _) => {
                        self.report(now, Some(connection), path, diagnosis);
                    }
                };
            }
        };
        let replaces = self
            .tunnels
            .get(&connection)
            .and_then(|tunnel| tunnel.children.current_for(want.selectors));
        let new_child = NewChild {
            replaces,
            ..new_child
        };
        let Some(child) = self.install(now, key, new_child, false) else {
            return;
        };
        let mut quick = QuickMode::new(
            QuickStep::Answered(Box::new(step), child),
            reply.clone(),
            None,
            now,
        );
        quick.answered = received;
        self.keep_quick_mode(now, key, message_id, quick);
        self.send_ike(key, path, reply);
    }

    /// `HDR*, HASH(3) -->`
    pub(super) fn on_quick_confirmation(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        header: &Header,
        body: &[u8],
    ) {
        let Some(established) = self.sas.get_mut(&key).and_then(|sa| sa.phase_2_mut()) else {
            return;
        };
        let Some(quick) = established.quick_modes.get(&header.message_id) else {
            return;
        };
        let QuickStep::Answered(step, child) = &quick.step else {
            return;
        };
        let child = *child;
        match step.judge(&established.keys, header, body) {
            Ok(()) => {
                self.forget_quick_mode(key, header.message_id);
                self.note_protected(now, key, path, header);
                self.confirm(now, child);
            }
            Err(Refusal::Drop(why)) => self.drop_datagram(why),
            Err(Refusal::Report(..) | Refusal::End(..)) => self.drop_datagram("a wrong third message"),
        }
    }
}
