//! Dead peer detection (RFC 3706): R-U-THERE when the peer was silent, and what silence after it means.

use std::time::{Duration, Instant};

/// Probes without an answer until the peer counts as dead.
const TRIES: u32 = 5;
/// Longest wait for an answer to one probe.
const MAX_INTERVAL: Duration = Duration::from_secs(5);
/// How far behind the newest number an R-U-THERE of the peer may be (RFC 3706 section 6.2).
const WINDOW: u32 = 16;

/// What is to be done when the timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The peer was heard: look again at this time.
    Wait(Instant),
    /// Send an R-U-THERE with this number, look again at this time.
    Probe(u32, Instant),
    /// Nothing came back.
    Dead {
        /// How many probes were sent.
        probes: u32,
    },
}

/// The probing of one peer through one ISAKMP SA.
#[derive(Debug)]
pub(crate) struct Dpd {
    /// Our next number. Starts at random, grows by one (section 6.2).
    next: u32,
    /// Probes since the peer was heard.
    probes: u32,
    last_probe: Option<Instant>,
    /// The newest number of the peer.
    seen: Option<u32>,
}

impl Dpd {
    pub(crate) const fn new(first: u32) -> Self {
        // The top bit stays clear, so that the number cannot wrap in the life of an SA.
        Self {
            next: first & 0x7fff_ffff,
            probes: 0,
            last_probe: None,
            seen: None,
        }
    }

    /// The timer fired: `heard` is when the peer last proved to be there.
    pub(crate) fn on_timer(&mut self, now: Instant, delay: Duration, heard: Instant) -> Step {
        self.note_heard(heard);
        if self.last_probe.is_none() && now < heard + delay {
            return Step::Wait(heard + delay);
        }
        if self.probes == TRIES {
            return Step::Dead { probes: self.probes };
        }
        let (number, next) = self.probe(now, delay);
        Step::Probe(number, next)
    }

    /// Something suggests that the peer has lost its state: a probe ahead of time, with its number and the time to look again, unless one
    /// is under way.
    pub(crate) fn on_hint(
        &mut self,
        now: Instant,
        delay: Duration,
        heard: Instant,
    ) -> Option<(u32, Instant)> {
        self.note_heard(heard);
        self.last_probe.is_none().then(|| self.probe(now, delay))
    }

    fn note_heard(&mut self, heard: Instant) {
        if self.last_probe.is_some_and(|probe| heard >= probe) {
            self.probes = 0;
            self.last_probe = None;
        }
    }

    fn probe(&mut self, now: Instant, delay: Duration) -> (u32, Instant) {
        self.probes += 1;
        self.last_probe = Some(now);
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        (number, now + delay.min(MAX_INTERVAL))
    }

    /// Whether an R-U-THERE of the peer deserves an answer. V5: old numbers do not.
    pub(crate) fn accepts(&mut self, number: u32) -> bool {
        let fresh = self.seen.is_none_or(|seen| number >= seen.saturating_sub(WINDOW));
        if fresh {
            self.seen = Some(self.seen.map_or(number, |seen| seen.max(number)));
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(10);

    #[test]
    fn silence_is_probed_and_ends_in_death() {
        let start = Instant::now();
        let mut dpd = Dpd::new(7);
        let mut now = start + DELAY;
        for probe in 0..TRIES {
            let next = now + MAX_INTERVAL;
            assert_eq!(dpd.on_timer(now, DELAY, start), Step::Probe(7 + probe, next));
            now = next;
        }
        assert_eq!(dpd.on_timer(now, DELAY, start), Step::Dead { probes: TRIES });
    }

    #[test]
    fn whatever_the_peer_authenticates_ends_the_probing() {
        let start = Instant::now();
        let mut dpd = Dpd::new(7);
        assert_eq!(dpd.on_timer(start, DELAY, start), Step::Wait(start + DELAY));
        let probed = start + DELAY;
        assert!(matches!(dpd.on_timer(probed, DELAY, start), Step::Probe(7, _)));
        let heard = probed + Duration::from_secs(1);
        assert_eq!(
            dpd.on_timer(heard + Duration::from_secs(1), DELAY, heard),
            Step::Wait(heard + DELAY)
        );
        assert!(matches!(
            dpd.on_timer(heard + DELAY, DELAY, heard),
            Step::Probe(8, _)
        ));
    }

    #[test]
    fn a_hint_probes_at_once_but_not_beside_a_probe() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut dpd = Dpd::new(7);
        let hinted = start + second;
        let next = hinted + MAX_INTERVAL;
        assert_eq!(dpd.on_hint(hinted, DELAY, start), Some((7, next)));
        assert_eq!(dpd.on_hint(hinted + second, DELAY, start), None);
        // Silence goes on as if the timer had begun it ...
        assert_eq!(
            dpd.on_timer(next, DELAY, start),
            Step::Probe(8, next + MAX_INTERVAL)
        );
        // ... and an answer ends it.
        let heard = next + second;
        assert_eq!(dpd.on_timer(heard, DELAY, heard), Step::Wait(heard + DELAY));
        assert!(dpd.on_hint(heard + second, DELAY, heard).is_some());
    }

    #[test]
    fn old_numbers_of_the_peer_are_refused() {
        let mut dpd = Dpd::new(0);
        for (number, accepted) in [
            (1000, true),
            (1000, true),
            (1001, true),
            (985, true),
            (984, false),
            (0, false),
        ] {
            assert_eq!(dpd.accepts(number), accepted, "{number}");
        }
    }
}
