//! SPIs that a peer seals with and that we do not have (any more): when it is told.

use std::time::{Duration, Instant};

use gateway_common::Spi;

/// What the peer sealed before it read our Delete is on its way for less than this.
const IN_FLIGHT: Duration = Duration::from_millis(500);
/// Anybody can send packets with the peer's address, so the peer is told no more often than this.
const AGAIN: Duration = Duration::from_secs(10);

/// What was seen of one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UnknownSpi {
    /// The last SPI, and when it was first seen.
    seen: Option<(Spi, Instant)>,
    /// When the peer was told of one.
    told: Option<Instant>,
}

impl UnknownSpi {
    /// One more packet with this SPI came in; whether the peer is to be told now.
    pub(crate) fn is_due(&mut self, now: Instant, spi: Spi) -> bool {
        let Some((_, since)) = self.seen.filter(|(seen, _)| *seen == spi) else {
            self.seen = Some((spi, now));
            return false;
        };
        let due = now >= since + IN_FLIGHT && self.told.is_none_or(|told| now >= told + AGAIN);
        if due {
            self.told = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_told_of_what_goes_on_and_rarely() {
        let start = Instant::now();
        let [one, other] = [0x1000, 0x2000].map(|spi| Spi::new(spi).unwrap());
        let mut unknown = UnknownSpi::default();
        for (milliseconds, spi, due) in [
            (0, one, false),
            (499, one, false),
            (500, one, true),
            (600, one, false),
            (10_499, one, false),
            (10_500, one, true),
            // Another one waits for its own time, and for the end of the pause.
            (10_600, other, false),
            (11_200, other, false),
            (20_500, other, true),
        ] {
            let now = start + Duration::from_millis(milliseconds);
            assert_eq!(unknown.is_due(now, spi), due, "{milliseconds} ms");
        }
    }
}
