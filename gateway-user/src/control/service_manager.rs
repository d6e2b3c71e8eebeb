//! What the service manager is told (sd_notify): ready, still alive, reloading, stopping. Without one nothing happens.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Tells the service manager.
pub(super) fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager does not hear");
    }
}

/// The watchdog of the service manager: it restarts an agent whose control loop does not turn any more.
#[derive(Debug)]
pub(super) struct Watchdog {
    interval: Option<Duration>,
    fed: Option<Instant>,
}

impl Watchdog {
    /// The watchdog that the environment names, if any.
    pub(super) fn new() -> Self {
        // Half of what is allowed: one late turn of the loop is not the end.
        Self {
            interval: sd_notify::watchdog_enabled().map(|allowed| allowed / 2),
            fed: None,
        }
    }

    /// Called with every turn of the control loop.
    pub(super) fn feed(&mut self, now: Instant) {
        if self.is_due(now) {
            self.fed = Some(now);
            tell(NotifyState::Watchdog);
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.interval.is_some_and(|interval| {
            self.fed
                .is_none_or(|fed| now.saturating_duration_since(fed) >= interval)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_in_half_of_its_time_and_only_where_there_is_one() {
        let now = Instant::now();
        let mut watchdog = Watchdog {
            interval: Some(Duration::from_secs(5)),
            fed: None,
        };
        for (second, due) in [
            (0, true),
            (1, false),
            (4, false),
            (5, true),
            (9, false),
            (12, true),
        ] {
            let now = now + Duration::from_secs(second);
            assert_eq!(watchdog.is_due(now), due, "{second}");
            watchdog.feed(now);
        }
        let none = Watchdog {
            interval: None,
            fed: None,
        };
        assert!(!none.is_due(now));
    }
}
