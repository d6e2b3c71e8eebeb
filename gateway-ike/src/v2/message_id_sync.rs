//! Message IDs after a failover of a cluster (RFC 6311 section 5.1).
//!
//! ```text
//! cluster --> INFORMATIONAL, Message ID 0: N(IKEV2_MESSAGE_ID_SYNC) { nonce, M1, P1 }
//!         <-- INFORMATIONAL, Message ID 0: N(IKEV2_MESSAGE_ID_SYNC) { nonce, P2, M2 }
//! ```

use crate::wire::v2::{NotifyPayload, NotifyType};

/// How far a counter may be moved at once. No cluster is further behind, and what is left of 2^32 is not given away.
const MAX_JUMP: u32 = 1 << 20;

/// Content of IKEV2_MESSAGE_ID_SYNC. Each end speaks of its own counters.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                             Nonce Data                        |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |             EXPECTED_SEND_REQ_MESSAGE_ID                      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |             EXPECTED_RECV_REQ_MESSAGE_ID                      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageIdSync {
    /// Chosen by the cluster, repeated by its peer.
    pub(crate) nonce: [u8; 4],
    /// Message ID of the sender's next request.
    pub(crate) send: u32,
    /// Message ID of the next request that the sender expects.
    pub(crate) receive: u32,
}

impl MessageIdSync {
    /// `None` for another notification or another length.
    pub(crate) fn parse(notify: &NotifyPayload) -> Option<Self> {
        if notify.notify_type != NotifyType::IKEV2_MESSAGE_ID_SYNC {
            return None;
        }
        let (nonce, rest) = notify.data.split_first_chunk()?;
        let (send, rest) = rest.split_first_chunk()?;
        Some(Self {
            nonce: *nonce,
            send: u32::from_be_bytes(*send),
            receive: u32::from_be_bytes(rest.try_into().ok()?),
        })
    }

    pub(crate) fn to_notify(self) -> NotifyPayload {
        let data = [self.nonce, self.send.to_be_bytes(), self.receive.to_be_bytes()].concat();
        NotifyPayload::new(NotifyType::IKEV2_MESSAGE_ID_SYNC, data)
    }

    /// The answer of a peer with these counters of its own, or `None` for a message that is silently dropped: one that does not go
    /// beyond everything that was `seen` of the cluster, or goes beyond all reason.
    pub(crate) fn answer(self, next_request: u32, expected: u32, seen: Option<u32>) -> Option<Self> {
        let is_new = self.send >= expected && seen.is_none_or(|seen| self.send > seen);
        let is_near = self.send - expected.min(self.send) <= MAX_JUMP
            && self.receive.saturating_sub(next_request) <= MAX_JUMP;
        (is_new && is_near).then(|| Self {
            nonce: self.nonce,
            send: self.receive.max(next_request),
            receive: self.send,
        })
    }

    /// Whether this is the peer's answer to what a cluster has `sent`: nothing goes back.
    pub(crate) fn answers(self, sent: Self) -> bool {
        self.nonce == sent.nonce
            && (sent.send..=sent.send.saturating_add(MAX_JUMP)).contains(&self.receive)
            && (sent.receive..=sent.receive.saturating_add(MAX_JUMP)).contains(&self.send)
    }
}

/// What both ends have said in IKE_AUTH that they know of RFC 6311.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Message IDs.
    pub(crate) message_ids: bool,
    /// Sequence numbers of ESP.
    pub(crate) counters: bool,
}

/// What an IKE SA knows of it.
#[derive(Debug, Default)]
pub(crate) struct Synchronisation {
    pub(crate) known: Known,
    /// The greatest M1 that the peer has sent: the same again is a replay.
    pub(crate) seen: Option<u32>,
    /// Ours that waits for its answer, and how often we have asked.
    pub(crate) sent: Option<(MessageIdSync, u32)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sync(send: u32, receive: u32) -> MessageIdSync {
        MessageIdSync {
            nonce: [1, 2, 3, 4],
            send,
            receive,
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let notify = sync(7, 9).to_notify();
        assert_eq!(MessageIdSync::parse(&notify), Some(sync(7, 9)));
        for len in (0..12).chain(13..20) {
            let mut other = notify.clone();
            other.data.resize(len, 0);
            assert_eq!(MessageIdSync::parse(&other), None, "{len}");
        }
        let other = NotifyPayload::new(NotifyType::INVALID_SPI, notify.data);
        assert_eq!(MessageIdSync::parse(&other), None);
    }

    #[test]
    fn s11_counters_only_go_forward() {
        // (M1, P1), (next request, expected, seen), (P2, M2).
        let rows = [
            ((10, 5), (5, 10, None), Some((5, 10))),
            ((12, 5), (7, 10, None), Some((7, 12))),
            ((12, 9), (7, 10, None), Some((9, 12))),
            ((9, 5), (5, 10, None), None),
            ((0, 0), (5, 10, None), None),
            ((12, 5), (5, 10, Some(12)), None),
            ((11, 5), (5, 10, Some(12)), None),
            ((13, 5), (5, 10, Some(12)), Some((5, 13))),
            ((u32::MAX, 5), (5, 10, None), None),
            ((12, u32::MAX), (5, 10, None), None),
        ];
        for ((m1, p1), (next, expected, seen), answer) in rows {
            let answered = sync(m1, p1).answer(next, expected, seen);
            assert_eq!(answered, answer.map(|(p2, m2)| sync(p2, m2)), "{m1} {p1}");
        }
    }

    #[test]
    fn s11_an_answer_repeats_the_nonce_and_takes_nothing_back() {
        let sent = sync(20, 7);
        assert!(sync(7, 20).answers(sent) && sync(9, 25).answers(sent));
        for other in [sync(6, 20), sync(7, 19), sync(u32::MAX, 20), sync(7, u32::MAX)] {
            assert!(!other.answers(sent), "{other:?}");
        }
        let foreign = MessageIdSync {
            nonce: [0; 4],
            ..sync(7, 20)
        };
        assert!(!foreign.answers(sent));
    }
}
