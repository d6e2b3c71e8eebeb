//! Quick Mode in the context of all others: who waits for whom, which Child SA seals, which end.

use std::iter;
use std::sync::Arc;
use std::time::Instant;

use crate::child::NewChild;
use crate::diagnosis::{Code, Diagnosis};
use crate::endpoint::ends::Farewell;
use crate::endpoint::{Endpoint, Timer};
use crate::ike_sa::SaKey;
use crate::path::Path;
use crate::tunnel::Want;
use crate::v1::Refusal;
use crate::v1::informational::{delete_esp, notify_esp};
use crate::v1::isakmp_sa::{MAX_QUICK_MODES, QuickMode, QuickStep};
use crate::v1::proposal::EspTerms;
use crate::v1::quick_mode::initiator::AwaitAnswer;
use crate::v1::quick_mode::responder;
use crate::wire::Header;
use crate::wire::v1::NotifyType;

/// Quick Modes of the peer that wait for message 3 on one IKE SA.
const MAX_ANSWERED: usize = 16;
/// Times that one message is sent, repetitions of the peer's included.
const MAX_SENT: u32 = 16;

impl Endpoint {
    /// `HDR*, HASH(1), SA, Ni [, KE ], IDci, IDcr -->`
    pub(in crate::endpoint) fn start_quick_mode(&mut self, now: Instant, key: SaKey, want: Want) {
        let spi = self.new_esp_spi();
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (path, udp) = (sa.path, sa.udp_dialect());
        let Some(config) = self
            .tunnels
            .get(&sa.connection)
            .map(|tunnel| Arc::clone(&tunnel.config))
        else {
            return;
        };
        let Some(established) = sa.phase_2_mut() else {
            return;
        };
        let message_id = established.new_message_id(&mut self.rng);
        let terms = EspTerms { config: &config, udp };
        let started = AwaitAnswer::start(&established.keys, terms, want, message_id, spi, &mut self.rng);
        let Ok((step, datagram)) = started else { return };
        established.used_message_ids.insert(message_id);
        let quick = QuickMode::new(QuickStep::Initiated(Box::new(step)), datagram.clone(), None, now);
        let wait = quick.pending.wait(&self.config.retransmit).unwrap_or_default();
        established.quick_modes.insert(message_id, quick);
        // Reserved until the exchange ends, one way or the other.
        self.inbound_spis.insert(spi);
        self.timers.set(Timer::QuickMode(key, message_id), now + wait);
        self.send(path, datagram);
    }

    pub(in crate::endpoint) fn on_quick_mode(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        header: &Header,
        body: &[u8],
        datagram: &[u8],
    ) {
        let open = self
            .sas
            .get_mut(&key)
            .and_then(|sa| sa.v1_mut())
            .filter(|sa| !sa.closing);
        let Some(established) = open.and_then(|sa| sa.established_mut()) else {
            return self.drop_datagram("quick mode outside an established ike sa");
        };
        let message_id = header.message_id;
        match established.quick_modes.get_mut(&message_id) {
            Some(quick) if quick.is_repetition(datagram) => {
                if quick.pending.sent >= MAX_SENT {
                    return self.drop_datagram("too many repetitions");
                }
                quick.pending.sent += 1;
                let reply = quick.pending.datagram.clone();
                self.totals.retransmits += 1;
                self.send(path, reply);
            }
            Some(quick) => match quick.step {
                QuickStep::Initiated(_) => self.on_quick_answer(now, key, path, header, body, datagram),
                QuickStep::Answered(..) => self.on_quick_confirmation(now, key, path, header, body),
                QuickStep::Finished => self.drop_datagram("quick mode is over"),
            },
            // V10: a Message ID is good for one exchange.
            None if message_id == 0 || established.used_message_ids.contains(&message_id) => {
                self.drop_datagram("a message id that was used");
            }
            None => self.on_quick_request(now, key, path, header, body, datagram),
        }
    }

    /// `HDR*, HASH(1), SA, Ni [, KE ], IDci, IDcr -->`
    fn on_quick_request(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        header: &Header,
        body: &[u8],
        datagram: &[u8],
    ) {
        let spi = self.new_esp_spi();
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, udp) = (sa.connection, sa.udp_dialect());
        let Some(config) = self
            .tunnels
            .get(&connection)
            .map(|tunnel| Arc::clone(&tunnel.config))
        else {
            return;
        };
        let Some(established) = sa.phase_2_mut() else {
            return;
        };
        let waiting = established
            .quick_modes
            .values()
            .filter(|quick| matches!(quick.step, QuickStep::Answered(..)))
            .count();
        if waiting >= MAX_ANSWERED || established.used_message_ids.len() >= MAX_QUICK_MODES {
            return self.drop_datagram("too many quick modes");
        }
        let terms = EspTerms { config: &config, udp };
        let message_id = header.message_id;
        let judged = responder::judge(&established.keys, terms, header, body, spi);
        let request = match judged {
            Ok(request) => request,
            Err(Refusal::Drop(why)) => return self.drop_datagram(why),
            Err(Refusal::Report(diagnosis, notify) | Refusal::End(diagnosis, notify)) => {
                // The hash was right: the peer itself has asked. It is told once, and again if it repeats itself.
                established.used_message_ids.insert(message_id);
                let payload = notify_esp(notify.unwrap_or(NotifyType::NO_PROPOSAL_CHOSEN), None);
                let answer_id = established.new_message_id(&mut self.rng);
                if let Ok(reply) = established.keys.informational(answer_id, &[payload]) {
                    let quick = QuickMode::new(QuickStep::Finished, reply.clone(), Some(datagram), now);
                    established.quick_modes.insert(message_id, quick);
                    self.timers.set(
                        Timer::QuickMode(key, message_id),
                        now + self.config.retransmit.total(),
                    );
                    self.send(path, reply);
                }
                self.note_heard(now, key, path);
                self.report(now, Some(connection), path, diagnosis);
                return;
            }
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
        let Some(established) = self.sas.get_mut(&key).and_then(|sa| sa.phase_2_mut()) else {
            return;
        };
        let answered = request.answer(&established.keys, message_id, terms, &mut self.rng);
        let (step, negotiated, reply) = match answered {
            Ok(answered) => answered,
            Err(Refusal::Drop(why)) => return self.drop_datagram(why),
            Err(Refusal::Report(diagnosis, _) | Refusal::End(diagnosis, _)) => {
                return self.report(now, Some(connection), path, diagnosis);
            }
        };
        self.note_heard(now, key, path);
        let replaces = self
            .tunnels
            .get(&connection)
            .and_then(|tunnel| tunnel.children.current_for(want.selectors));
        let Some(child) = self.install(
            now,
            key,
            NewChild {
                replaces,
                ..negotiated
            },
            false,
        ) else {
            return;
        };
        let Some(established) = self.sas.get_mut(&key).and_then(|sa| sa.phase_2_mut()) else {
            return;
        };
        let step = QuickStep::Answered(Box::new(step), child);
        let quick = QuickMode::new(step, reply.clone(), Some(datagram), now);
        let wait = quick.pending.wait(&self.config.retransmit).unwrap_or_default();
        established.quick_modes.insert(message_id, quick);
        self.timers.set(Timer::QuickMode(key, message_id), now + wait);
        self.send(path, reply);
    }

    /// `<-- HDR*, HASH(2), SA, Nr [, KE ], IDci, IDcr`
    fn on_quick_answer(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        header: &Header,
        body: &[u8],
        datagram: &[u8],
    ) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, udp) = (sa.connection, sa.udp_dialect());
        let Some(config) = self
            .tunnels
            .get(&connection)
            .map(|tunnel| Arc::clone(&tunnel.config))
        else {
            return;
        };
        let Some(established) = sa.phase_2_mut() else {
            return;
        };
        let message_id = header.message_id;
        let Some(quick) = established.quick_modes.get(&message_id) else {
            return;
        };
        let QuickStep::Initiated(step) = &quick.step else {
            return;
        };
        let terms = EspTerms { config: &config, udp };
        let (want, spi) = (step.want, step.spi);
        let answered_in = now.saturating_duration_since(quick.started);
        let advanced = step
            .judge(&established.keys, terms, header, body)
            .and_then(|answer| {
                let Some(quick) = established.quick_modes.remove(&message_id) else {
                    return Err(Refusal::Drop("no such quick mode"));
                };
                let QuickStep::Initiated(step) = quick.step else {
                    return Err(Refusal::Drop("no such quick mode"));
                };
                step.on_answer(answer, &established.keys)
            });
        match advanced {
            Ok((negotiated, reply)) => {
                let quick = QuickMode::new(QuickStep::Finished, reply.clone(), Some(datagram), now);
                established.quick_modes.insert(message_id, quick);
                self.timers.set(
                    Timer::QuickMode(key, message_id),
                    now + self.config.retransmit.total(),
                );
                self.note_heard(now, key, path);
                if let Some(child) = self.install(now, key, negotiated, true) {
                    self.settle(now, child, answered_in);
                }
                let path = self.sas.get(&key).map_or(path, |sa| sa.path);
                self.send(path, reply);
                self.pump(now, connection);
            }
            Err(Refusal::Drop(why)) => self.drop_datagram(why),
            Err(Refusal::Report(diagnosis, notify) | Refusal::End(diagnosis, notify)) => {
                self.note_heard(now, key, path);
                // The peer has installed its half: it hears why it will not be used, and that it can go.
                let notify = notify.unwrap_or(NotifyType::NO_PROPOSAL_CHOSEN);
                self.send_informational(key, |_| {
                    iter::once(notify_esp(notify, Some(spi)))
                        .chain(delete_esp(&[spi]))
                        .collect()
                });
                self.fail_quick_mode(now, key, message_id, want, diagnosis);
            }
        }
    }

    /// `HDR*, HASH(3) -->`
    fn on_quick_confirmation(&mut self, now: Instant, key: SaKey, path: Path, header: &Header, body: &[u8]) {
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
                established.quick_modes.remove(&header.message_id);
                self.timers.clear(Timer::QuickMode(key, header.message_id));
                self.note_heard(now, key, path);
                self.confirm(now, child);
            }
            Err(Refusal::Drop(why)) => self.drop_datagram(why),
            Err(Refusal::Report(..) | Refusal::End(..)) => self.drop_datagram("a wrong third message"),
        }
    }

    /// A Quick Mode of ours came to nothing. `want` is given up, unless it renews what is there.
    pub(in crate::endpoint) fn fail_quick_mode(
        &mut self,
        now: Instant,
        key: SaKey,
        message_id: u32,
        want: Want,
        diagnosis: Diagnosis,
    ) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, path) = (sa.connection, sa.path);
        if let Some(quick) = sa
            .phase_2_mut()
            .and_then(|established| established.quick_modes.remove(&message_id))
            && let QuickStep::Initiated(step) = quick.step
        {
            self.inbound_spis.remove(&step.spi);
        }
        self.timers.clear(Timer::QuickMode(key, message_id));
        self.report(now, Some(connection), path, diagnosis);
        match want.replaces {
            Some(old) => self.renew_later(now, old),
            None => self.retry_later(now, connection),
        }
        self.pump(now, connection);
    }

    /// The timer of a Quick Mode fired.
    pub(in crate::endpoint) fn on_quick_mode_timer(&mut self, now: Instant, key: SaKey, message_id: u32) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, path, heard) = (sa.connection, sa.path, sa.heard);
        let Some(established) = sa.phase_2_mut() else {
            return;
        };
        let Some(quick) = established.quick_modes.get_mut(&message_id) else {
            return;
        };
        if matches!(quick.step, QuickStep::Finished) {
            established.quick_modes.remove(&message_id);
            return;
        }
        if let Some(wait) = self.config.retransmit.wait(quick.pending.sent + 1) {
            quick.pending.sent += 1;
            let datagram = quick.pending.datagram.clone();
            self.totals.retransmits += 1;
            self.timers.set(Timer::QuickMode(key, message_id), now + wait);
            return self.send(path, datagram);
        }
        let (sent, started) = (quick.pending.sent, quick.started);
        match &quick.step {
            QuickStep::Initiated(step) => {
                let want = step.want;
                let diagnosis = Diagnosis::new(
                    Code::NoResponse,
                    format!("sent quick mode message 1 {sent} times to {}", path.peer),
                    "peer does not answer",
                    "check that the peer is reachable; if it is, its log says why it does not answer",
                );
                self.fail_quick_mode(now, key, message_id, want, diagnosis);
                if heard < started {
                    // The peer may have lost the IKE SA. Another one will tell.
                    self.end_sa(now, key, Farewell::Say);
                    self.pump(now, connection);
                }
            }
            QuickStep::Answered(..) => {
                // The peer may have installed its half all the same: ours keeps opening until it ends.
                established.quick_modes.remove(&message_id);
                self.note(connection, "peer did not send quick mode message 3");
            }
            QuickStep::Finished => {}
        }
    }
}
