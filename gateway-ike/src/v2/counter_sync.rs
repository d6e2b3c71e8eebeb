//! Sequence numbers of ESP after a failover of a cluster (RFC 6311 section 5.2).
//!
//! The member that has taken over knows the sequence numbers of its peer's packets only up to some moment. It cannot tell a late packet
//! from a copy, so it asks the peer to leave out some numbers, and accepts none that it may have missed.

use crate::wire::v2::{NotifyPayload, NotifyType};

/// By how much the peer shall raise the sequence numbers of what it seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CounterSync {
    /// The numbers to leave out.
    pub(crate) delta: u64,
    /// Whether they are extended sequence numbers: eight octets instead of four. All Child SAs must be of one kind.
    pub(crate) esn: bool,
}

impl CounterSync {
    /// `None` for another notification or another length.
    pub(crate) fn parse(notify: &NotifyPayload) -> Option<Self> {
        if notify.notify_type != NotifyType::IPSEC_REPLAY_COUNTER_SYNC {
            return None;
        }
        let data = notify.data.as_slice();
        if let Ok(short) = <[u8; 4]>::try_from(data) {
            return Some(Self {
                delta: u32::from_be_bytes(short).into(),
                esn: false,
            });
        }
        <[u8; 8]>::try_from(data).ok().map(|long| Self {
            delta: u64::from_be_bytes(long),
            esn: true,
        })
    }

    /// A quarter of all numbers is more than any cluster is behind, and leaves time to renew the SA. Whoever asks for more gets a new
    /// Child SA instead.
    pub(crate) const fn is_bearable(self) -> bool {
        self.delta <= if self.esn { 1 << 46 } else { 1 << 30 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_four_and_eight_octets_are_read() {
        for len in 0..20 {
            let notify = NotifyPayload::new(NotifyType::IPSEC_REPLAY_COUNTER_SYNC, vec![1; len]);
            let read = match len {
                4 => Some((0x0101_0101, false)),
                8 => Some((0x0101_0101_0101_0101, true)),
                _ => None,
            };
            let read = read.map(|(delta, esn)| CounterSync { delta, esn });
            assert_eq!(CounterSync::parse(&notify), read, "{len}");
        }
        let other = NotifyPayload::new(NotifyType::IKEV2_MESSAGE_ID_SYNC, vec![1; 4]);
        assert_eq!(CounterSync::parse(&other), None);
    }

    #[test]
    fn a_quarter_of_the_numbers_is_bearable() {
        for (esn, most) in [(false, 1 << 30), (true, 1 << 46)] {
            assert!(CounterSync { delta: most, esn }.is_bearable());
            let delta = most + 1;
            assert!(!CounterSync { delta, esn }.is_bearable());
        }
    }
}
