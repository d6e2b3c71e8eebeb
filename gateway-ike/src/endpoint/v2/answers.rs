//! The peer's requests on an established IKE SA: one at a time, in order, each answered once (RFC 7296 sections 2.1 and 2.2).

use std::time::Instant;

use super::synchronise::carried;
use crate::crypto::KeyExchangeDone;
use crate::endpoint::Endpoint;
use crate::ike_sa::SaKey;
use crate::path::Path;
use crate::v2::channel::Received;
use crate::v2::ike_sa::Answering;
use crate::v2::refusal::Refusal;
use crate::wire::v2::{Message, NotifyType, Payload};
use crate::wire::{ExchangeType, ProtocolId};

impl Endpoint {
    /// An authentic request. S9, S10: the last one again gets its answer again, every other Message ID but the next is dropped.
    pub(super) fn on_request(&mut self, now: Instant, key: SaKey, path: Path, received: &Received) {
        if let Some(theirs) = carried(received) {
            return self.on_sync_request(now, key, path, theirs);
        }
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        let header = &received.header;
        if header.message_id.wrapping_add(1) == established.expected {
            self.note_repeated_request(now, key);
            return self.repeat_response(key, path, header);
        }
        if header.message_id != established.expected {
            return self.drop_datagram("a message id outside the window");
        }
        if established.answering.is_some() {
            return self.drop_datagram("a key exchange is being computed");
        }
        self.note_heard(now, key, path);
        let mut proven = self.unproven_children(key);
        let message = match received.message() {
            Ok(message) => message,
            Err(refusal) => return self.answer_unreadable(now, key, header.exchange_type, refusal),
        };
        // Whoever asks for something else has the answer to what it asked for before, which it may renew at once.
        if header.exchange_type == ExchangeType::CREATE_CHILD_SA {
            for id in proven.drain(..) {
                self.confirm(now, id);
            }
        }
        match header.exchange_type {
            ExchangeType::CREATE_CHILD_SA if asks_for_ike_sa(&message) => {
                self.on_ike_rekey_request(now, key, &message);
            }
            ExchangeType::CREATE_CHILD_SA => self.on_child_request(now, key, &message),
            ExchangeType::INFORMATIONAL => self.on_informational_request(now, key, &message),
            // S2, S3: the exchanges of the set-up are over.
            other => self.answer(key, other, &[Payload::notify(NotifyType::INVALID_SYNTAX)]),
        }
        // What it asked now may have ended it.
        for id in proven {
            self.confirm(now, id);
        }
        // What was wanted may have found its chance, or its end.
        self.next_request(now, key);
    }

    /// An authentic request that does not parse. Its IKE SA lives on: what does the damage may be one message.
    fn answer_unreadable(&mut self, now: Instant, key: SaKey, exchange: ExchangeType, refusal: Refusal) {
        let Refusal::End(diagnosis, Some(notify)) = refusal else {
            return self.drop_datagram("malformed message");
        };
        self.answer(key, exchange, &[Payload::Notify(notify)]);
        if let Some((connection, path)) = self.sas.get(&key).map(|sa| (sa.connection, sa.path)) {
            self.report(now, Some(connection), path, diagnosis);
        }
    }

    /// Answers the request that is due, and remembers the answer.
    pub(super) fn answer(&mut self, key: SaKey, exchange: ExchangeType, payloads: &[Payload]) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let path = sa.path;
        let Some(sa) = sa.v2_mut() else { return };
        let Some(established) = sa.established_mut() else {
            return;
        };
        let message_id = established.expected;
        let message = established
            .channel
            .message((exchange, message_id, true), payloads, &mut self.rng);
        let Ok(datagrams) = message else { return };
        established.expected = message_id.wrapping_add(1);
        sa.last_response = Some((message_id, datagrams.clone()));
        self.send_all(path, &datagrams);
    }

    /// A key exchange of the peer's request is computed.
    pub(in crate::endpoint) fn on_answer_job(&mut self, now: Instant, key: SaKey, done: KeyExchangeDone) {
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        match established.answering.take() {
            Some(Answering::Child(request)) => self.answer_child(now, key, *request, Some(done)),
            Some(Answering::Ike(request)) => self.answer_ike_rekey(now, key, *request, done),
            None => return,
        }
        self.next_request(now, key);
    }
}

fn asks_for_ike_sa(message: &Message<'_>) -> bool {
    message.sa().is_some_and(|sa| {
        sa.proposals
            .iter()
            .any(|proposal| proposal.protocol == ProtocolId::IKE)
    })
}
