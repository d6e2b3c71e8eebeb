//! Quick Mode in the context of all others: which message belongs where, what is repeated, what ends.

mod initiator;
mod responder;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::ConnectionConfig;
use crate::crypto::KeyExchangeDone;
use crate::diagnosis::{Code, Diagnosis};
use crate::endpoint::ends::Farewell;
use crate::endpoint::{Endpoint, Timer};
use crate::ike_sa::SaKey;
use crate::path::Path;
use crate::v1::isakmp_sa::{QuickMode, QuickStep};
use crate::v1::proposal::EspTerms;
use crate::wire::Header;
use crate::wire::v1::NatNumbering;

/// Times that one message is sent, repetitions of the peer's included.
const MAX_SENT: u32 = 16;
/// How soon a renewal is asked for again, at the least, however little time the old Child SA has left.
const SHORTEST_WAIT: Duration = Duration::from_secs(2);

/// What the Quick Modes of one IKE SA have in common.
struct Setting {
    config: Arc<ConnectionConfig>,
    udp: Option<NatNumbering>,
}

impl Setting {
    fn terms(&self) -> EspTerms<'_> {
        EspTerms {
            config: &self.config,
            udp: self.udp,
        }
    }
}

impl Endpoint {
    fn setting(&self, key: SaKey) -> Option<Setting> {
        let sa = self.sas.get(&key)?;
        Some(Setting {
            config: self.config_of(sa.connection)?,
            udp: sa.udp_dialect(),
        })
    }

    /// A message of Quick Mode.
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
                if quick.is_computing() || quick.pending.sent >= MAX_SENT {
                    return self.drop_datagram("a repetition that is being worked on, or one too many");
                }
                quick.pending.sent += 1;
                let reply = quick.pending.datagram.clone();
                self.totals.retransmits += 1;
                self.send_ike(key, path, reply);
            }
            Some(quick) => match quick.step {
                QuickStep::Initiated(_) => self.on_quick_answer(now, key, path, header, body, datagram),
                QuickStep::Answered(..) => self.on_quick_confirmation(now, key, path, header, body),
                QuickStep::Asking(_) | QuickStep::Agreeing(_) | QuickStep::Responding(_) => {
                    self.drop_datagram("a key exchange is being computed");
                }
                QuickStep::Finished => self.drop_datagram("quick mode is over"),
            },
            // V10: a Message ID is good for one exchange.
            None if message_id == 0 || established.used_message_ids.contains(&message_id) => {
                self.drop_datagram("a message id that was used");
            }
            None => self.on_quick_request(now, key, path, header, body, datagram),
        }
    }

    /// The additional key exchange that a Quick Mode waited for is done.
    pub(in crate::endpoint) fn on_quick_mode_job(
        &mut self,
        now: Instant,
        key: SaKey,
        message_id: u32,
        done: KeyExchangeDone,
    ) {
        let Some(established) = self.sas.get_mut(&key).and_then(|sa| sa.phase_2_mut()) else {
            return;
        };
        // A Quick Mode that was given up meanwhile is not there.
        let waits = |quick: &&QuickMode| quick.is_computing();
        if established.quick_modes.get(&message_id).filter(waits).is_none() {
            return;
        }
        let Some(quick) = established.quick_modes.remove(&message_id) else {
            return;
        };
        match quick.step {
            QuickStep::Asking(asking) => self.ask(now, key, asking, Some(done)),
            QuickStep::Agreeing(step) => {
                let asking = step.asking;
                let concluded = step.on_agreed(done, &established.keys);
                let answer = (quick.answered, quick.answered_in);
                self.conclude(now, key, asking, answer, concluded);
            }
            QuickStep::Responding(request) => {
                self.answer_quick_request(now, key, message_id, (*request, quick.answered), Some(done));
            }
            QuickStep::Initiated(_) | QuickStep::Answered(..) | QuickStep::Finished => {}
        }
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
        if quick.has_yielded || quick.is_computing() || matches!(quick.step, QuickStep::Finished) {
            let replaces = quick.step.asking().and_then(|asking| asking.want.replaces);
            self.forget_quick_mode(key, message_id);
            if let Some(old) = replaces {
                self.renew_later(now, old);
            }
            return;
        }
        // What is to be replaced must not end between two attempts.
        let left = quick
            .step
            .asking()
            .and_then(|asking| {
                self.tunnels
                    .get(&connection)?
                    .children
                    .find(asking.want.replaces?)
            })
            .map(|old| old.expires_at.saturating_duration_since(now));
        let most = left.map_or(Duration::MAX, |left| (left / 4).max(SHORTEST_WAIT));
        if let Some(wait) = self.config.retransmit.wait(quick.pending.sent + 1) {
            let wait = wait.min(most);
            quick.pending.sent += 1;
            let datagram = quick.pending.datagram.clone();
            self.totals.retransmits += 1;
            self.timers.set(Timer::QuickMode(key, message_id), now + wait);
            self.repeat_unproven_last_message(key);
            return self.send_ike(key, path, datagram);
        }
        let (sent, started) = (quick.pending.sent, quick.started);
        if let Some(asking) = quick.step.asking() {
            let diagnosis = Diagnosis::new(
                Code::NoResponse,
                format!("sent quick mode message 1 {sent} times to {}", path.peer),
                "peer does not answer",
                "check that the peer is reachable; if it is, its log says why it does not answer",
            );
            self.fail_quick_mode(now, key, asking, diagnosis);
            if heard < started {
                // The peer may have lost the IKE SA. Another one will tell.
                self.end_sa(now, key, Farewell::Say);
                self.pump(now, connection);
            }
        } else {
            // The peer may have installed its half all the same: ours keeps opening until it ends.
            established.quick_modes.remove(&message_id);
            self.note(connection, "peer did not send quick mode message 3");
        }
    }

    /// Removes a Quick Mode without a word, and what was reserved for it.
    fn forget_quick_mode(&mut self, key: SaKey, message_id: u32) {
        self.timers.clear(Timer::QuickMode(key, message_id));
        let forgotten = self
            .sas
            .get_mut(&key)
            .and_then(|sa| sa.phase_2_mut())
            .and_then(|established| established.quick_modes.remove(&message_id));
        let spi = match forgotten.map(|quick| quick.step) {
            Some(QuickStep::Responding(request)) => Some(request.spi),
            Some(step) => step.asking().map(|asking| asking.spi),
            None => None,
        };
        if let Some(spi) = spi {
            self.inbound_spis.remove(&spi);
        }
    }

    /// Removes all Quick Modes of ours on an IKE SA.
    pub(in crate::endpoint) fn give_up_quick_modes(&mut self, key: SaKey) {
        let established = self.sas.get(&key).and_then(|sa| sa.phase_2());
        let ours: Vec<_> = established
            .into_iter()
            .flat_map(|established| established.quick_modes.values())
            .filter_map(|quick| quick.step.asking())
            .collect();
        for asking in ours {
            self.forget_quick_mode(key, asking.message_id);
        }
    }

    /// Keeps a Quick Mode, and looks after it when its answer is due.
    fn keep_quick_mode(&mut self, now: Instant, key: SaKey, message_id: u32, quick: QuickMode) {
        let Some(established) = self.sas.get_mut(&key).and_then(|sa| sa.phase_2_mut()) else {
            return;
        };
        let waits = quick.has_yielded || quick.is_computing() || matches!(quick.step, QuickStep::Finished);
        let wait = if waits {
            self.config.retransmit.total()
        } else {
            quick.pending.wait(&self.config.retransmit).unwrap_or_default()
        };
        established.quick_modes.insert(message_id, quick);
        self.timers.set(Timer::QuickMode(key, message_id), now + wait);
    }
}
