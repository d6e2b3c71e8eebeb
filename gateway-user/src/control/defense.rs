//! Whether a gateway is attacked: a small machine over what its shield drops.

use std::time::{Duration, Instant};

use crate::status::DefenseState;

/// Rates are measured over at least this long.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the drops stay low before the state goes one step down.
const QUIET: Duration = Duration::from_secs(60);

/// The state of one gateway.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    state: DefenseState,
    /// When the counter was looked at last, and what it was.
    last: Option<(Instant, u64)>,
    quiet_since: Option<Instant>,
}

/// Dropped packets per second; 0: never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    pub(super) attack: u32,
    pub(super) block: u32,
}

impl Watch {
    pub(super) const fn state(&self) -> DefenseState {
        self.state
    }

    /// Takes the number of packets that the shield dropped until `now`, if it is time to look; tells the state if it changed.
    ///
    /// The state rises at once. It goes down one step after the drops were below half of its threshold for a minute, so that an
    /// attack in waves is one attack.
    pub(super) fn observe(
        &mut self,
        now: Instant,
        dropped: impl FnOnce() -> u64,
        at: Thresholds,
    ) -> Option<DefenseState> {
        let Some((then, before)) = self.last else {
            self.last = Some((now, dropped()));
            return None;
        };
        let elapsed = now.saturating_duration_since(then);
        if elapsed < INTERVAL {
            return None;
        }
        let dropped = dropped();
        self.last = Some((now, dropped));
        let new = u128::from(dropped.saturating_sub(before));
        let rate = new * 1_000 / elapsed.as_millis().max(1);
        let above = |threshold: u32| threshold > 0 && rate >= u128::from(threshold);
        let before = self.state;
        let threshold = match before {
            DefenseState::Normal => 0,
            DefenseState::UnderAttack => at.attack,
            DefenseState::Blocked => at.block,
        };
        let over = self.is_over(now, above(threshold.div_ceil(2)));
        self.state = match before {
            DefenseState::Normal | DefenseState::UnderAttack if above(at.block) => DefenseState::Blocked,
            DefenseState::Normal if above(at.attack) => DefenseState::UnderAttack,
            DefenseState::Blocked if over => DefenseState::UnderAttack,
            DefenseState::UnderAttack if over => DefenseState::Normal,
            unchanged @ (DefenseState::Normal | DefenseState::UnderAttack | DefenseState::Blocked) => {
                unchanged
            }
        };
        if self.state == before {
            return None;
        }
        self.quiet_since = None;
        Some(self.state)
    }

    fn is_over(&mut self, now: Instant, loud: bool) -> bool {
        if loud {
            self.quiet_since = None;
            return false;
        }
        let since = *self.quiet_since.get_or_insert(now);
        now.saturating_duration_since(since) >= QUIET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Thresholds = Thresholds {
        attack: 1_000,
        block: 10_000,
    };

    /// Seconds, packets dropped in each, and the state after them.
    #[track_caller]
    fn check(script: &[(u64, u64, DefenseState)], at: Thresholds) {
        let (mut watch, mut now, mut dropped) = (Watch::default(), Instant::now(), 0);
        watch.observe(now, || dropped, at);
        for &(seconds, per_second, expected) in script {
            for _ in 0..seconds {
                now += Duration::from_secs(1);
                dropped += per_second;
                watch.observe(now, || dropped, at);
            }
            assert_eq!(watch.state(), expected, "{seconds} s of {per_second}");
        }
    }

    #[test]
    fn rises_at_once_and_falls_step_by_step_after_a_quiet_minute() {
        use DefenseState::{Blocked, Normal, UnderAttack};
        check(
            &[
                (10, 999, Normal),
                (1, 1_000, UnderAttack),
                (60, 400, UnderAttack),
                (1, 400, Normal),
                (1, 10_000, Blocked),
                (60, 0, Blocked),
                (1, 0, UnderAttack),
                (60, 0, UnderAttack),
                (1, 0, Normal),
            ],
            AT,
        );
    }

    #[test]
    fn waves_are_one_attack() {
        use DefenseState::UnderAttack;
        check(
            &[
                (1, 5_000, UnderAttack),
                (50, 0, UnderAttack),
                (1, 5_000, UnderAttack),
                (50, 0, UnderAttack),
                (1, 600, UnderAttack),
                (50, 0, UnderAttack),
            ],
            AT,
        );
    }

    #[test]
    fn a_threshold_of_zero_is_none() {
        let at = Thresholds { attack: 0, block: 0 };
        check(&[(100, 1_000_000, DefenseState::Normal)], at);
    }
}
