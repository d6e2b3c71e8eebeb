//! Our requests on an established IKE SA: one at a time, sent again until it is answered (RFC 7296 sections 2.1 and 2.3).

use std::time::{Duration, Instant};

use gateway_common::Spi;

use super::synchronise::carried;
use crate::crypto::KeyExchangeDone;
use crate::diagnosis::{Code, Diagnosis};
use crate::endpoint::ends::Farewell;
use crate::endpoint::{Endpoint, Timer};
use crate::event::ChildId;
use crate::ike_sa::{IkeSa, SaKey};
use crate::path::Path;
use crate::v2::channel::Received;
use crate::v2::ike_sa::{Exchange, Sent, Stage, Step, Task};
use crate::wire::ExchangeType;
use crate::wire::v2::{DeletePayload, NotifyPayload, NotifyType, Payload};

/// A peer that was heard so lately is there.
const HEARD: Duration = Duration::from_secs(8);
/// How long a peer that is there is waited for at most before a request is sent again ...
const EAGER: Duration = Duration::from_secs(2);
/// ... and how many times it is sent.
const MAX_SENT: u32 = 60;

impl Endpoint {
    /// Queues a task and starts it if nothing is under way.
    pub(in crate::endpoint) fn request(&mut self, now: Instant, key: SaKey, task: Task) {
        if let Some((established, _)) = self.v2_established(key) {
            established.enqueue(task);
            self.next_request(now, key);
        }
    }

    /// Starts what waits: tasks first, then Child SAs that are wanted.
    pub(super) fn next_request(&mut self, now: Instant, key: SaKey) {
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        if established.exchange.is_some() || established.sync.sent.is_some() {
            return;
        }
        match established.queue.pop_front() {
            Some(Task::RekeyIke) => self.start_ike_rekey(now, key),
            Some(Task::DeleteChild(id, spi)) => {
                let mut children = vec![(id, spi)];
                established.queue.retain(|task| match task {
                    Task::DeleteChild(id, spi) => {
                        children.push((*id, *spi));
                        false
                    }
                    Task::RekeyIke | Task::DeleteIke | Task::Liveness | Task::InvalidSpi(_) => true,
                });
                self.start_delete(now, key, children);
            }
            Some(Task::DeleteIke) => {
                let payload = Payload::Delete(DeletePayload::ike());
                self.send_request(now, key, &[payload], Step::DeleteIke);
            }
            Some(Task::Liveness) => self.send_request(now, key, &[], Step::Liveness),
            Some(Task::InvalidSpi(spi)) => {
                let notify = NotifyPayload::new(NotifyType::INVALID_SPI, spi.to_be_bytes().to_vec());
                // The answer says no more than that the peer is there.
                self.send_request(now, key, &[Payload::Notify(notify)], Step::Liveness);
            }
            None => {
                if let Some(connection) = self.sas.get(&key).map(|sa| sa.connection) {
                    self.pump(now, connection);
                }
            }
        }
    }

    fn start_delete(&mut self, now: Instant, key: SaKey, children: Vec<(ChildId, Spi)>) {
        let spis = children.iter().map(|(_, spi)| spi.to_be_bytes()).collect();
        let payload = Payload::Delete(DeletePayload::esp(spis));
        self.send_request(now, key, &[payload], Step::DeleteChildren(children));
    }

    /// Sends a request under the next Message ID.
    pub(super) fn send_request(&mut self, now: Instant, key: SaKey, payloads: &[Payload], step: Step) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let path = sa.path;
        let Some(established) = sa.v2_mut().and_then(|sa| sa.established_mut()) else {
            return;
        };
        let name = (exchange_of(&step), established.next_request, false);
        let Ok(datagrams) = established.channel.message(name, payloads, &mut self.rng) else {
            return self.end_sa(now, key, Farewell::Silent);
        };
        established.exchange = Some(Exchange {
            step,
            sent: Some(Sent::once(datagrams.clone())),
            started: now,
        });
        if let Some(wait) = self.config.retransmit.wait(1) {
            self.timers.set(Timer::V2Request(key), now + wait);
        }
        self.send_all(path, &datagrams);
    }

    /// An authentic response. S10: one to nothing that we have asked is dropped.
    pub(super) fn on_response(&mut self, now: Instant, key: SaKey, path: Path, received: &Received) {
        if let Some((theirs, _)) = carried(received) {
            return self.on_sync_response(now, key, path, theirs);
        }
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        let header = &received.header;
        let is_due = established.exchange.as_ref().is_some_and(|exchange| {
            exchange.sent.is_some()
                && header.message_id == established.next_request
                && header.exchange_type == exchange_of(&exchange.step)
        });
        if !is_due {
            return self.drop_datagram("a response to nothing");
        }
        let Some(mut exchange) = established.exchange.take() else {
            return;
        };
        established.next_request = established.next_request.wrapping_add(1);
        exchange.sent = None;
        self.timers.clear(Timer::V2Request(key));
        self.note_heard(now, key, path);
        self.note_answered(now, key);
        match exchange.step {
            Step::ChildSent(step, collision) => {
                self.on_child_answer(now, key, *step, collision, received);
            }
            Step::IkeSent(step) => self.on_ike_rekey_answer(now, key, *step, received),
            Step::DeleteChildren(children) => {
                for (id, _) in children {
                    self.on_child_deleted(now, id);
                }
            }
            Step::DeleteIke => return self.on_ike_deleted(now, key),
            Step::Liveness => {}
            Step::ChildGenerating(..)
            | Step::ChildAgreeing(..)
            | Step::IkeGenerating(_)
            | Step::IkeAgreeing(_) => {}
        }
        self.next_request(now, key);
    }

    /// A key exchange of our request is computed.
    pub(in crate::endpoint) fn on_exchange_job(&mut self, now: Instant, key: SaKey, done: KeyExchangeDone) {
        let Some((established, config)) = self.v2_established(key) else {
            return;
        };
        let Some(exchange) = established.exchange.take() else {
            return;
        };
        if established.sync.sent.is_some()
            && matches!(exchange.step, Step::ChildGenerating(..) | Step::IkeGenerating(_))
        {
            // Nobody knows yet under which number it would go.
            return self.ask_again(now, key, exchange);
        }
        match exchange.step {
            Step::ChildGenerating(step, collision) => {
                let asked = step.0;
                match step.on_generated(done, &config, &mut self.rng) {
                    Some((step, payloads)) => {
                        let step = Step::ChildSent(Box::new(step), collision);
                        self.send_request(now, key, &payloads, step);
                    }
                    None => {
                        self.forget_inbound(asked.spi);
                    }
                }
            }
            Step::ChildAgreeing(step, collision) => {
                let asked = step.asked;
                let made = step.on_agreed(done, &config, &established.channel.keys);
                self.on_child_outcome(now, key, asked, collision, made);
                self.next_request(now, key);
            }
            Step::IkeGenerating(step) => {
                if let Some((step, payloads)) = step.on_generated(done, &config, &mut self.rng) {
                    self.send_request(now, key, &payloads, Step::IkeSent(Box::new(step)));
                }
            }
            Step::IkeAgreeing(step) => {
                let made = step.on_agreed(done, &established.channel);
                self.on_ike_rekey_outcome(now, key, made);
                self.next_request(now, key);
            }
            step @ (Step::ChildSent(..)
            | Step::IkeSent(_)
            | Step::DeleteChildren(_)
            | Step::DeleteIke
            | Step::Liveness) => {
                established.exchange = Some(Exchange { step, ..exchange });
            }
        }
    }

    /// The timer of a request fired.
    pub(in crate::endpoint) fn on_v2_request_timer(&mut self, now: Instant, key: SaKey) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (path, connection) = (sa.path, sa.connection);
        let Some(Stage::Established(established)) = sa.v2_mut().map(|sa| &mut sa.stage) else {
            return self.on_setup_timer(now, key);
        };
        let Some(exchange) = &mut established.exchange else {
            return;
        };
        let Some(sent) = &mut exchange.sent else { return };
        // RFC 7296 section 2.4: whose ESP comes in is not dead, however many messages were lost. There is no reason to give it more and
        // more time either: what carries the traffic may end meanwhile.
        let is_alive = self
            .tunnels
            .get(&connection)
            .is_some_and(|tunnel| tunnel.heard + HEARD > now && sent.times < MAX_SENT);
        let wait = self.config.retransmit.wait(sent.times + 1);
        let wait = if is_alive {
            Some(wait.map_or(EAGER, |wait| wait.min(EAGER)))
        } else {
            wait
        };
        if let Some(wait) = wait {
            sent.times += 1;
            let datagrams = sent.datagrams.clone();
            self.totals.retransmits += 1;
            self.timers.set(Timer::V2Request(key), now + wait);
            return self.send_all(path, &datagrams);
        }
        if matches!(exchange.step, Step::DeleteIke) {
            return self.on_ike_deleted(now, key);
        }
        let (times, waited) = (sent.times, (now - exchange.started).as_secs());
        let name = exchange_of(&exchange.step);
        // RFC 7296 section 2.4: the IKE SA is dead, and all its Child SAs with it.
        let others = self
            .tunnels
            .get(&connection)
            .is_some_and(|tunnel| tunnel.established.iter().any(|other| *other != key));
        if others {
            self.end_sa(now, key, Farewell::Silent);
            return self.pump(now, connection);
        }
        let diagnosis = Diagnosis::new(
            Code::PeerDead,
            format!("sent {name} {times} times in {waited} seconds"),
            "peer does not answer",
            "check that the peer is up and reachable; the tunnel comes back with the next traffic",
        );
        self.report(now, Some(connection), path, diagnosis);
        self.on_peer_dead(now, connection);
    }

    /// Whether an IKE SA is established under IKEv2.
    pub(in crate::endpoint) fn is_v2_established(&self, key: SaKey) -> bool {
        self.sas
            .get(&key)
            .and_then(IkeSa::v2)
            .is_some_and(|sa| sa.established().is_some())
    }
}

const fn exchange_of(step: &Step) -> ExchangeType {
    match step {
        Step::ChildGenerating(..)
        | Step::ChildSent(..)
        | Step::ChildAgreeing(..)
        | Step::IkeGenerating(_)
        | Step::IkeSent(_)
        | Step::IkeAgreeing(_) => ExchangeType::CREATE_CHILD_SA,
        Step::DeleteChildren(_) | Step::DeleteIke | Step::Liveness => ExchangeType::INFORMATIONAL,
    }
}
