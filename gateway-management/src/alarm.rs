//! Alarms: when a number is wrong for long enough, somebody is told, and told again when it is right.
//!
//! ```text
//!  rollups --> rules of a policy --> state of (policy, object) --> notices --> outbox --> receivers
//!              evaluate              on disk                       on disk with the state
//! ```
//!
//! [`crate::Management::evaluate_alarms`] is one transaction: a state that changed and the notices of the change are on disk together,
//! so that a restart neither loses a notice nor begins an alarm anew. [`delivery`] empties the outbox beside everything else.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::monitor::{Metric, Namespace};
use crate::store::Resolution;
use crate::time::{API_OFFSET_HOURS, Timestamp};

pub mod delivery;
mod figures;
mod message;
mod receiver;
mod state;
mod targets;

pub(crate) use figures::Counters;
pub use figures::{Delivery, Figures};
pub use message::{Change, Notice};
pub use receiver::{Channel, Email, Receiver, Secret, Tls, WebhookFormat};
pub use state::{AlarmState, Observation};
pub use targets::Targets;

/// Rules of a policy at most.
const MOST_RULES: usize = 10;
/// Periods in a row that a rule may ask for.
const MOST_PERIODS: u32 = 60;
const DAY: u32 = 24 * 3600;

/// When is somebody told, and who.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// What the objects are.
    pub namespace: Namespace,
    /// Ids of the objects; empty: all.
    pub objects: Vec<String>,
    /// The rules. Never empty.
    pub rules: Vec<Rule>,
    /// Whether all rules must hold, or one is enough.
    pub all: bool,
    /// Whether the policy is looked at.
    pub enabled: bool,
    /// Ids of receivers.
    pub receivers: Vec<String>,
    /// Seconds after which an alarm that lasts is told again; 0: once.
    pub repeat_seconds: u32,
    /// Whether that time doubles with every repetition.
    pub back_off: bool,
    /// When somebody is told.
    pub window: Window,
}

/// A condition on one number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Which number.
    pub subject: Subject,
    /// How it compares.
    pub comparison: Comparison,
    /// With what.
    pub value: f64,
    /// Length of a period in seconds: 10, 60 or 300.
    pub period: u32,
    /// As many periods in a row.
    pub periods: u32,
}

/// The number of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// One that monitoring keeps.
    Metric(Metric),
    /// Days until the period of a gateway ends.
    LeaseDays,
    /// 0 normal, 1 under attack, 2 blocked.
    DefenceState,
}

impl Subject {
    /// Reads the name, in any case.
    pub fn parse(namespace: Namespace, text: &str) -> Option<Self> {
        let own = [Self::LeaseDays, Self::DefenceState];
        Metric::parse(namespace, text).map(Self::Metric).or_else(|| {
            own.into_iter()
                .find(|own| own.name().eq_ignore_ascii_case(text) && namespace == Namespace::Gateway)
        })
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metric(metric) => metric.name(),
            Self::LeaseDays => "LeaseDays",
            Self::DefenceState => "DefenceState",
        }
    }

    /// Its unit.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Metric(metric) => metric.unit(),
            Self::LeaseDays => "d",
            Self::DefenceState => "",
        }
    }
}

/// How a number compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// `gt`
    Greater,
    /// `ge`
    AtLeast,
    /// `lt`
    Less,
    /// `le`
    AtMost,
    /// `eq`
    Equal,
    /// `ne`
    Different,
}

impl Comparison {
    const ALL: [Self; 6] = [
        Self::Greater,
        Self::AtLeast,
        Self::Less,
        Self::AtMost,
        Self::Equal,
        Self::Different,
    ];

    /// Reads the word of Cloud Monitor.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|comparison| comparison.word().eq_ignore_ascii_case(text))
    }

    /// The word of Cloud Monitor.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Greater => "gt",
            Self::AtLeast => "ge",
            Self::Less => "lt",
            Self::AtMost => "le",
            Self::Equal => "eq",
            Self::Different => "ne",
        }
    }

    /// The sign in messages.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::AtLeast => ">=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Equal => "=",
            Self::Different => "!=",
        }
    }

    /// Whether `value` compares so with `with`.
    pub fn holds(self, value: f64, with: f64) -> bool {
        // Values have three places.
        let equal = (value - with).abs() < 0.0005;
        match self {
            Self::Greater => value > with && !equal,
            Self::AtLeast => value > with || equal,
            Self::Less => value < with && !equal,
            Self::AtMost => value < with || equal,
            Self::Equal => equal,
            Self::Different => !equal,
        }
    }
}

/// When somebody is told, in the time of the API (GMT+8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Second of the day.
    pub from: u32,
    /// Second of the day; before `from` where the window spans midnight.
    pub to: u32,
    /// Days, Monday first.
    pub weekdays: [bool; 7],
}

impl Default for Window {
    fn default() -> Self {
        Self {
            from: 0,
            to: DAY - 1,
            weekdays: [true; 7],
        }
    }
}

impl Window {
    /// Whether `now` lies in it.
    pub fn contains(&self, now: Timestamp) -> bool {
        let local = now.0 + i64::from(API_OFFSET_HOURS) * 3600;
        let day = local.div_euclid(DAY.into());
        let second = u32::try_from(local.rem_euclid(DAY.into())).unwrap_or(0);
        // 1970-01-01 was a Thursday.
        let weekday = usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0);
        let within = if self.from <= self.to {
            (self.from..=self.to).contains(&second)
        } else {
            second >= self.from || second <= self.to
        };
        within && self.weekdays.get(weekday).copied().unwrap_or(false)
    }
}

impl Policy {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<(), Error> {
        if self.rules.is_empty() || self.rules.len() > MOST_RULES {
            let rule = format!("has 1 to {MOST_RULES} rules");
            return Err(Error::invalid("Rules", self.rules.len(), rule));
        }
        for rule in &self.rules {
            let name = rule.subject.name();
            if Subject::parse(self.namespace, name).is_none() {
                let text = format!("is a metric of {}", self.namespace.name());
                return Err(Error::invalid("MetricName", name, text));
            }
            if rule.resolution().is_none() {
                return Err(Error::invalid("Period", rule.period, "is 10, 60 or 300 seconds"));
            }
            if !(1..=MOST_PERIODS).contains(&rule.periods) {
                let text = format!("is 1 to {MOST_PERIODS}");
                return Err(Error::invalid("ContinuePeriod", rule.periods, text));
            }
            if !rule.value.is_finite() {
                return Err(Error::invalid("Value", rule.value, "is a number"));
            }
        }
        if self.repeat_seconds != 0 && !(300..=DAY).contains(&self.repeat_seconds) {
            let rule = "is 0 (once) or 300 to 86400 seconds";
            return Err(Error::invalid("NoticeFrequency", self.repeat_seconds, rule));
        }
        for (field, second) in [("StartTime", self.window.from), ("EndTime", self.window.to)] {
            if second >= DAY {
                return Err(Error::invalid(
                    field,
                    second,
                    "is a second of the day, 0 to 86399",
                ));
            }
        }
        Ok(())
    }
}

impl Rule {
    /// The rollups that the rule is about.
    pub fn resolution(&self) -> Option<Resolution> {
        Resolution::ALL
            .into_iter()
            .find(|resolution| resolution.seconds() == i64::from(self.period))
    }
}

/// A stored policy.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPolicy {
    /// Number in the store.
    pub number: i64,
    /// `policy-dystbrkv`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it says.
    pub policy: Policy,
    /// When it was made.
    pub created: Timestamp,
}

/// A line of the alarm list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its number.
    pub number: i64,
    /// Id of the policy.
    pub policy: String,
    /// What people called the policy.
    pub policy_name: String,
    /// Name of the namespace.
    pub namespace: String,
    /// Id of the object.
    pub object: String,
    /// What people called the object.
    pub object_name: String,
    /// Which rule held, with its value.
    pub content: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; `None`: it lasts.
    pub ended: Option<Timestamp>,
}

/// An internal message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number.
    pub number: i64,
    /// When.
    pub time: Timestamp,
    /// What about.
    pub title: String,
    /// What happened.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_span_midnight_and_knows_the_days_of_the_api() {
        // Thursday 2026-01-01 00:00:00 in GMT+8.
        let midnight = Timestamp::parse_civil("2026-01-01 00:00:00").unwrap();
        let mut weekdays = [false; 7];
        weekdays[3] = true;
        let window = |from: u32, to: u32| Window {
            from: from * 3600,
            to: to * 3600,
            weekdays,
        };
        for (from, to, hour, expected) in [
            (8, 20, 8, true),
            (8, 20, 20, true),
            (8, 20, 7, false),
            (8, 20, 21, false),
            (22, 6, 23, true),
            (22, 6, 5, true),
            (22, 6, 12, false),
            // Friday.
            (8, 20, 24 + 12, false),
            // Wednesday.
            (8, 20, -12, false),
        ] {
            let now = midnight.plus_seconds(hour * 3600);
            assert_eq!(window(from, to).contains(now), expected, "{from}-{to} at {hour}");
        }
    }

    #[test]
    fn values_compare_as_their_three_places_say() {
        for (comparison, value, with, expected) in [
            (Comparison::Greater, 80.0, 80.0, false),
            (Comparison::Greater, 80.001, 80.0, true),
            (Comparison::AtLeast, 80.0, 80.0, true),
            (Comparison::Less, 79.999, 80.0, true),
            (Comparison::AtMost, 80.0001, 80.0, true),
            (Comparison::Equal, 0.1 + 0.2, 0.3, true),
            (Comparison::Different, 0.1 + 0.2, 0.3, false),
        ] {
            assert_eq!(
                comparison.holds(value, with),
                expected,
                "{comparison:?} {value} {with}"
            );
        }
    }
}
