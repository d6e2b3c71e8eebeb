//! The state of one policy on one object, as a machine on a clock that is an argument.

use serde::{Deserialize, Serialize};

use super::message::Change;
use super::{Policy, Rule};
use crate::time::Timestamp;

/// What the rules of a policy say at some moment: for each, the last value and whether it held long enough.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// In the order of the policy's rules.
    pub rules: Vec<(Option<f64>, bool)>,
}

impl Observation {
    /// The first rule that held, with its value; `None`: the policy does not hold.
    fn cause<'p>(&self, policy: &'p Policy) -> Option<(&'p Rule, f64)> {
        let mut held = policy
            .rules
            .iter()
            .zip(&self.rules)
            .filter(|(_, (_, held))| *held);
        let first = held.next()?;
        let enough = !policy.all || 1 + held.count() == policy.rules.len();
        enough.then_some((first.0, first.1.0.unwrap_or_default()))
    }
}

/// Whether a policy holds on an object, and who was told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmState {
    /// When it began to hold; `None`: it does not.
    pub since: Option<Timestamp>,
    /// When somebody was told last; `None`: not yet.
    pub told: Option<Timestamp>,
    /// How often somebody was told.
    pub times: u32,
    /// Number of its line in the alarm list.
    pub history: Option<i64>,
}

impl AlarmState {
    /// Goes on to `now`. Gives what happened and whether somebody is to be told of it.
    ///
    /// Outside of its window a policy is looked at and nobody is told. An alarm that still lasts when the window opens is told then;
    /// the end of one that nobody was told of is told to nobody.
    pub(crate) fn advance<'p>(
        &mut self,
        now: Timestamp,
        policy: &'p Policy,
        observed: &Observation,
    ) -> Option<Step<'p>> {
        let open = policy.window.contains(now);
        match (self.since, observed.cause(policy)) {
            (None, None) => None,
            (None, Some((rule, value))) => {
                *self = Self {
                    since: Some(now),
                    ..Self::default()
                };
                self.tell(now, open);
                Some(Step {
                    change: Change::Began,
                    cause: Some((rule, value)),
                    tell: open,
                })
            }
            (Some(_), Some((rule, value))) => {
                let due = match self.told {
                    None => true,
                    Some(told) => self.pause(policy).is_some_and(|pause| now.0 - told.0 >= pause),
                };
                (due && open).then(|| {
                    self.tell(now, true);
                    Step {
                        change: Change::Lasts,
                        cause: Some((rule, value)),
                        tell: true,
                    }
                })
            }
            (Some(_), None) => {
                let tell = self.told.is_some() && open;
                self.since = None;
                Some(Step {
                    change: Change::Ended,
                    cause: None,
                    tell,
                })
            }
        }
    }

    fn tell(&mut self, now: Timestamp, open: bool) {
        if open {
            self.told = Some(now);
            self.times = self.times.saturating_add(1);
        }
    }

    /// Seconds from the last notice to the next; `None`: there is no next.
    fn pause(&self, policy: &Policy) -> Option<i64> {
        const LONGEST: i64 = 24 * 3600;
        if policy.repeat_seconds == 0 {
            return None;
        }
        let doubled = if policy.back_off {
            self.times.saturating_sub(1).min(16)
        } else {
            0
        };
        Some((i64::from(policy.repeat_seconds) << doubled).min(LONGEST))
    }
}

/// What happened to an alarm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step<'p> {
    pub(crate) change: Change,
    /// The rule that held, with its value.
    pub(crate) cause: Option<(&'p Rule, f64)>,
    /// Whether receivers are told.
    pub(crate) tell: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::{Comparison, Subject, Window};
    use crate::monitor::{Metric, Namespace};

    fn policy(all: bool, repeat_seconds: u32, back_off: bool) -> Policy {
        let rule = |metric| Rule {
            subject: Subject::Metric(metric),
            comparison: Comparison::Greater,
            value: 10.0,
            period: 60,
            periods: 1,
        };
        Policy {
            namespace: Namespace::Tunnel,
            objects: Vec::new(),
            rules: vec![rule(Metric::ProbeLoss), rule(Metric::Delay)],
            all,
            enabled: true,
            receivers: Vec::new(),
            repeat_seconds,
            back_off,
            window: Window::default(),
        }
    }

    fn seen(first: bool, second: bool) -> Observation {
        Observation {
            rules: vec![(Some(20.0), first), (Some(30.0), second)],
        }
    }

    #[test]
    fn any_rule_or_all_of_them() {
        for (all, first, second, expected) in [
            (false, false, false, None),
            (false, true, false, Some(20.0)),
            (false, false, true, Some(30.0)),
            (true, true, false, None),
            (true, true, true, Some(20.0)),
        ] {
            let policy = policy(all, 0, false);
            let mut state = AlarmState::default();
            let step = state.advance(Timestamp(0), &policy, &seen(first, second));
            let value = step.and_then(|step| step.cause).map(|(_, value)| value);
            assert_eq!(value, expected, "all {all}: {first} {second}");
        }
    }

    /// When an alarm that begins at 0 and lasts is told, looked at every ten seconds for `hours`.
    fn told(policy: &Policy, hours: i64) -> Vec<i64> {
        let mut state = AlarmState::default();
        let moments = (0..hours * 360).map(|step| step * 10);
        let told = moments.filter(|second| {
            let step = state.advance(Timestamp(*second), policy, &seen(true, true));
            step.is_some_and(|step| step.tell)
        });
        told.collect()
    }

    #[test]
    fn an_alarm_that_lasts_is_told_once_or_again_or_more_and_more_rarely() {
        assert_eq!(told(&policy(false, 0, false), 1), [0]);
        assert_eq!(told(&policy(false, 1800, false), 2), [0, 1800, 3600, 5400]);
        assert_eq!(told(&policy(false, 600, true), 3), [0, 600, 1800, 4200, 9000]);
    }

    #[test]
    fn recovery_is_told_once_to_those_who_were_told() {
        let policy = policy(false, 0, false);
        let mut state = AlarmState::default();
        let mut step = |second, holds| {
            let step = state.advance(Timestamp(second), &policy, &seen(holds, holds));
            step.map(|step| (step.change, step.tell))
        };
        assert_eq!(step(0, false), None);
        assert_eq!(step(10, true), Some((Change::Began, true)));
        assert_eq!(step(20, true), None);
        assert_eq!(step(30, false), Some((Change::Ended, true)));
        assert_eq!(step(40, false), None);
        assert_eq!(step(50, true), Some((Change::Began, true)));
    }

    #[test]
    fn outside_of_the_window_nobody_is_told_until_it_opens() {
        let mut policy = policy(false, 0, false);
        // From 08:00 in GMT+8, which is midnight in UTC.
        policy.window.from = 8 * 3600;
        let mut state = AlarmState::default();
        let step = state
            .advance(Timestamp(-100), &policy, &seen(true, false))
            .unwrap();
        assert_eq!((step.change, step.tell), (Change::Began, false));
        assert_eq!(state.advance(Timestamp(-50), &policy, &seen(true, false)), None);
        let step = state.advance(Timestamp(0), &policy, &seen(true, false)).unwrap();
        assert_eq!((step.change, step.tell), (Change::Lasts, true));

        let mut unheard = AlarmState::default();
        unheard
            .advance(Timestamp(-100), &policy, &seen(true, false))
            .unwrap();
        let step = unheard
            .advance(Timestamp(-50), &policy, &seen(false, false))
            .unwrap();
        assert_eq!((step.change, step.tell), (Change::Ended, false));
    }
}
