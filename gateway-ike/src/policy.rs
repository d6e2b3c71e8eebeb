//! When things are sent again, renewed and given up.

use std::time::{Duration, Instant};

use crate::crypto::RandomSource;

/// How often a message without an answer is sent again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetransmitPolicy {
    /// Wait after the first sending.
    pub first: Duration,
    /// Each wait is this many times the one before. At least 1.
    pub factor: f64,
    /// How many times it is sent again before the exchange fails.
    pub tries: u32,
}

impl Default for RetransmitPolicy {
    /// 1, 2, 4, 8, 16 seconds, given up after 63.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            factor: 2.0,
            tries: 5,
        }
    }
}

impl RetransmitPolicy {
    /// The wait after the message was sent `sent` times; `None` when it was sent often enough.
    pub(crate) fn wait(&self, sent: u32) -> Option<Duration> {
        let again = sent.checked_sub(1)?;
        (again <= self.tries).then(|| {
            self.first
                .mul_f64(self.factor.max(1.0).powi(again.min(20).cast_signed()))
        })
    }

    /// Time from the first sending to giving up.
    pub(crate) fn total(&self) -> Duration {
        (1..=self.tries + 1).filter_map(|sent| self.wait(sent)).sum()
    }
}

/// How long before its end an SA is replaced.
///
/// The margin is `percent` of the lifetime, plus up to `jitter_percent` at random so that the two ends and many tunnels do not
/// all start at once, plus `extra` (at most a fifth of the lifetime) for retransmissions. The end that did not initiate the SA
/// waits for half of that, so that it steps in only when the other one did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RekeyPolicy {
    /// Fixed part, in percent of the lifetime.
    pub percent: u32,
    /// Random part, in percent of the lifetime.
    pub jitter_percent: u32,
    /// Time for retransmissions.
    pub extra: Duration,
}

impl Default for RekeyPolicy {
    fn default() -> Self {
        Self {
            percent: 10,
            jitter_percent: 10,
            extra: Duration::from_secs(30),
        }
    }
}

impl RekeyPolicy {
    /// When an SA that is made at `now` and lives for `lifetime` is to be replaced.
    pub(crate) fn rekey_at(
        &self,
        now: Instant,
        lifetime: Duration,
        initiator: bool,
        rng: &mut impl RandomSource,
    ) -> Instant {
        let mut octet = [0; 1];
        rng.fill(&mut octet);
        let jitter = lifetime * self.jitter_percent / 100 * u32::from(octet[0]) / 255;
        let margin = lifetime * self.percent / 100 + jitter + self.extra.min(lifetime / 5);
        let margin = if initiator { margin } else { margin / 2 };
        now + lifetime.saturating_sub(margin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SeededRandom;

    #[test]
    fn waits_grow_until_the_tries_are_spent() {
        let policy = RetransmitPolicy {
            first: Duration::from_secs(1),
            factor: 2.0,
            tries: 3,
        };
        let waits: Vec<_> = (0..6)
            .map(|sent| policy.wait(sent).map(|wait| wait.as_secs()))
            .collect();
        assert_eq!(waits, [None, Some(1), Some(2), Some(4), Some(8), None]);
        assert_eq!(policy.total(), Duration::from_secs(15));
    }

    #[test]
    fn rekeys_come_before_the_end_and_later_for_the_responder() {
        let mut rng = SeededRandom::new([7; 32]);
        let now = Instant::now();
        for seconds in [10, 60, 3600, 86_400] {
            let lifetime = Duration::from_secs(seconds);
            for _ in 0..100 {
                let share = |at: Instant| (at - now).as_secs_f64() / lifetime.as_secs_f64();
                let initiator = share(RekeyPolicy::default().rekey_at(now, lifetime, true, &mut rng));
                let responder = share(RekeyPolicy::default().rekey_at(now, lifetime, false, &mut rng));
                assert!((0.59..0.91).contains(&initiator), "{initiator}");
                assert!((0.79..0.96).contains(&responder), "{responder}");
            }
        }
    }
}
