//! RFC 6311 in both roles: a cluster that has failed over tells where its Message IDs go on, its peer answers.

use std::time::Instant;

use crate::config::ConnectionId;
use crate::endpoint::{Endpoint, Timer};
use crate::event::Event;
use crate::ike_sa::SaKey;
use crate::path::Path;
use crate::tunnel::Tunnel;
use crate::v2::channel::Received;
use crate::v2::counter_sync::CounterSync;
use crate::v2::ike_sa::{Established, Exchange, Step, Task};
use crate::v2::message_id_sync::MessageIdSync;
use crate::wire::ExchangeType;
use crate::wire::v2::{NotifyType, Payload};

/// How far ahead of what we know a synchronisation starts: the member that failed may have sent some requests that nobody else saw.
const SKIP: u32 = 8;

/// The synchronisation that a message brings: of Message IDs, and perhaps of sequence numbers.
pub(super) fn carried(received: &Received) -> Option<(MessageIdSync, Option<CounterSync>)> {
    let header = &received.header;
    if header.message_id != 0 || header.exchange_type != ExchangeType::INFORMATIONAL {
        return None;
    }
    let message = received.message().ok()?;
    let counters = message.notify(NotifyType::IPSEC_REPLAY_COUNTER_SYNC);
    Some((
        MessageIdSync::parse(message.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC)?)?,
        counters.and_then(CounterSync::parse),
    ))
}

impl Endpoint {
    /// The peer's cluster has failed over. S11: what was not agreed on, goes back or was seen is silently dropped.
    pub(super) fn on_sync_request(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        (theirs, counters): (MessageIdSync, Option<CounterSync>),
    ) {
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        let sync = &established.sync;
        // A request of ours that is under way has used its number.
        let sent = established
            .exchange
            .as_ref()
            .is_some_and(|exchange| exchange.sent.is_some());
        let next = established.next_request.saturating_add(u32::from(sent));
        let answer = theirs.answer(next, established.expected, sync.seen);
        let Some(answer) = answer.filter(|_| sync.known.message_ids && established.answering.is_none())
        else {
            return self.drop_datagram("a synchronisation of message ids that is not due");
        };
        let counters = counters.filter(|_| sync.known.counters);
        established.sync.seen = Some(theirs.send);
        established.expected = answer.receive;
        let lost = established.exchange.take_if(|_| sent);
        established.next_request = answer.send;
        self.note_heard(now, key, path);
        let payload = Payload::Notify(answer.to_notify());
        let name = (ExchangeType::INFORMATIONAL, 0, true);
        let sealed = self
            .sas
            .get_mut(&key)
            .and_then(|sa| sa.v2_mut()?.established_mut())
            .map(|established| established.channel.message(name, &[payload], &mut self.rng));
        if let Some(Ok(datagrams)) = sealed {
            self.send_all(path, &datagrams);
        }
        if let Some(lost) = lost {
            self.timers.clear(Timer::V2Request(key));
            self.ask_again(now, key, lost);
        }
        if let Some(counters) = counters {
            self.raise_sequence_numbers(now, key, counters);
        }
        self.give_up_unproven(now, key);
        self.next_request(now, key);
    }

    /// RFC 6311 section 5.2: what we seal from here on leaves out some sequence numbers. Ours to accept stay as they are: what the peer says
    /// of its own packets is no reason to take an old one.
    fn raise_sequence_numbers(&mut self, now: Instant, key: SaKey, sync: CounterSync) {
        let Some(connection) = self.sas.get(&key).map(|sa| sa.connection) else {
            return;
        };
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        let children = || tunnel.children.iter().filter(|(_, child)| child.ike == key);
        let ids: Vec<_> = children().map(|(id, _)| id).collect();
        if children().any(|(_, child)| child.esn != sync.esn) {
            return self.note(
                connection,
                "peer asks for a jump of sequence numbers of another size than its child sas have",
            );
        }
        self.note(
            connection,
            format!("peer failed over: sequence numbers jump by {}", sync.delta),
        );
        for child in ids {
            if sync.is_bearable() {
                self.outbox.event(Event::RaiseSequence {
                    child,
                    by: sync.delta,
                });
            } else {
                self.renew_child(now, child);
            }
        }
    }

    /// The answers that brought these Child SAs about may have gone to the member of the cluster that is gone, and what the peer asks
    /// next proves nothing any more.
    fn give_up_unproven(&mut self, now: Instant, key: SaKey) {
        for id in self.unproven_children(key) {
            self.ask_to_delete(now, key, id);
        }
    }

    /// Our request went to the member of the cluster that is gone, or has not been sent yet.
    pub(super) fn ask_again(&mut self, now: Instant, key: SaKey, lost: Exchange) {
        let Some(connection) = self.sas.get(&key).map(|sa| sa.connection) else {
            return;
        };
        let mut enqueue = |tasks: Vec<Task>| {
            if let Some((established, _)) = self.v2_established(key) {
                tasks.into_iter().for_each(|task| established.enqueue(task));
            }
        };
        match lost.step {
            Step::ChildSent(step, _) => {
                self.forget_inbound(step.asked.spi);
                self.want(now, connection, step.asked.want);
            }
            Step::ChildGenerating(step, _) => {
                self.forget_inbound(step.0.spi);
                self.want(now, connection, step.0.want);
            }
            Step::IkeGenerating(_) | Step::IkeSent(_) => enqueue(vec![Task::RekeyIke]),
            Step::DeleteChildren(children) => {
                enqueue(
                    children
                        .into_iter()
                        .map(|(id, spi)| Task::DeleteChild(id, spi))
                        .collect(),
                );
            }
            Step::DeleteIke => enqueue(vec![Task::DeleteIke]),
            Step::Liveness | Step::ChildAgreeing(..) | Step::IkeAgreeing(_) => {}
        }
    }

    /// Asks the peer of a tunnel where its Message IDs go on. Returns whether it knows of such questions.
    pub(in crate::endpoint) fn start_sync(&mut self, now: Instant, connection: ConnectionId) -> bool {
        let Some(key) = self.tunnels.get(&connection).and_then(Tunnel::current_sa) else {
            return false;
        };
        let Some((established, _)) = self.v2_established(key) else {
            return false;
        };
        if !established.sync.known.message_ids {
            return false;
        }
        // Its answer would come under a number that is given up.
        let lost = established.exchange.take_if(|exchange| exchange.sent.is_some());
        established.next_request = established.next_request.saturating_add(u32::from(lost.is_some()));
        self.send_sync(now, key);
        if let Some(lost) = lost {
            self.timers.clear(Timer::V2Request(key));
            self.ask_again(now, key, lost);
        }
        true
    }

    /// One question, or one more: each goes beyond the one before, since the peer drops what it has seen.
    pub(in crate::endpoint) fn send_sync(&mut self, now: Instant, key: SaKey) {
        let nonce = crate::ike_sa::random_u32(&mut self.rng).to_be_bytes();
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let path = sa.path;
        let Some(established) = sa.v2_mut().and_then(|sa| sa.established_mut()) else {
            return;
        };
        let times = established.sync.sent.map_or(0, |(_, times)| times) + 1;
        let Some(wait) = self.config.retransmit.wait(times) else {
            // Whoever does not answer this does not answer the next question either, and that one ends the IKE SA.
            established.sync.sent = None;
            established.enqueue(Task::Liveness);
            return self.next_request(now, key);
        };
        let question = MessageIdSync {
            nonce,
            send: established.next_request.saturating_add(SKIP),
            receive: established.expected,
        };
        established.next_request = question.send;
        established.sync.sent = Some((question, times));
        let payload = Payload::Notify(question.to_notify());
        let name = (ExchangeType::INFORMATIONAL, 0, false);
        if let Ok(datagrams) = established.channel.message(name, &[payload], &mut self.rng) {
            self.timers.set(Timer::V2Sync(key), now + wait);
            self.send_all(path, &datagrams);
        }
    }

    /// The peer says where its Message IDs go on.
    pub(super) fn on_sync_response(&mut self, now: Instant, key: SaKey, path: Path, theirs: MessageIdSync) {
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        let is_due = |established: &Established| {
            established
                .sync
                .sent
                .is_some_and(|(sent, _)| theirs.answers(sent))
        };
        if !is_due(established) {
            return self.drop_datagram("a synchronisation of message ids that nobody asked for");
        }
        established.sync.sent = None;
        established.next_request = theirs.receive;
        established.expected = theirs.send;
        self.timers.clear(Timer::V2Sync(key));
        self.note_heard(now, key, path);
        self.give_up_unproven(now, key);
        self.next_request(now, key);
    }
}
