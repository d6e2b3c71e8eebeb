//! The life of a gateway's purchase period, as a machine that is told the time.
//!
//! ```text
//!             7 days before          expires             00:00 of day 8
//!   Running ----------------> Expiring ------> Isolated ----------------> Over
//!      ^         Remind          |    Isolate      |         Remove
//!      +-------------------------+-----------------+
//!            renewed, by the owner or by itself a day before `expires`: Restore
//! ```
//!
//! A gateway that is charged by the hour is [`Lease::Unlimited`] and stays so. Days begin at 00:00 in GMT+8, the zone of every time
//! that the API shows. Each stage is a function of the clock, except that a removal which began is finished: when the clock jumps
//! back, an isolated gateway runs again, and is reminded of the same end only once. Stages that passed while nobody looked are made up for.

use crate::objects::VpnGateway;
use crate::time::Timestamp;

/// Seconds of a day.
const DAY: i64 = 24 * 3600;
/// Owners are reminded from this long before the end, in seconds.
pub const REMIND_AHEAD: i64 = 7 * DAY;
/// What renews itself does so this long before the end, in seconds: early enough that an agent which was down for some hours is not
/// late.
pub const RENEW_AHEAD: i64 = DAY;
/// The day, counted from that of the end, at whose first second an isolated gateway is removed.
const REMOVAL_DAY: i64 = 8;

/// Where a gateway stands in its life. The numbers are those of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Lease {
    /// The period lasts.
    #[default]
    Running = 0,
    /// It ends within 7 days.
    Expiring = 1,
    /// It ended: the tunnels are down, the settings are kept, changes are refused.
    Isolated = 2,
    /// It ended long ago: the gateway is being removed.
    Over = 3,
    /// There is no period: charged by the hour, until it is deleted.
    Unlimited = 4,
}

impl Lease {
    /// All stages.
    pub const ALL: [Self; 5] = [
        Self::Unlimited,
        Self::Running,
        Self::Expiring,
        Self::Isolated,
        Self::Over,
    ];

    /// Stage at `now` of a period that ends at `expires`.
    pub const fn of(expires: Timestamp, now: Timestamp) -> Self {
        if expires.0 >= Timestamp::NEVER.0 {
            Self::Unlimited
        } else if now.0 < expires.0.saturating_sub(REMIND_AHEAD) {
            Self::Running
        } else if now.0 < expires.0 {
            Self::Expiring
        } else if now.0 < removal(expires).0 {
            Self::Isolated
        } else {
            Self::Over
        }
    }

    /// Whether changes are taken.
    pub const fn is_in_force(self) -> bool {
        match self {
            Self::Unlimited | Self::Running | Self::Expiring => true,
            Self::Isolated | Self::Over => false,
        }
    }

    /// Its name in the API, status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unlimited => "unlimited",
            Self::Running => "running",
            Self::Expiring => "expiring",
            Self::Isolated => "isolated",
            Self::Over => "over",
        }
    }

    /// The number in the store.
    pub const fn number(self) -> i64 {
        self as i64
    }

    /// From the number in the store.
    pub const fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            0 => Self::Running,
            1 => Self::Expiring,
            2 => Self::Isolated,
            3 => Self::Over,
            4 => Self::Unlimited,
            _ => return None,
        })
    }
}

/// When a gateway whose period ended at `expires` is removed: 00:00 in GMT+8 of the eighth day after.
pub const fn removal(expires: Timestamp) -> Timestamp {
    expires.start_of_day_after(REMOVAL_DAY)
}

/// What a stage that was entered asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It renewed itself, until then.
    Renew(Timestamp),
    /// Tell its owner that the period ends.
    Remind,
    /// Refuse changes; its tunnels go on.
    Isolate,
    /// Take changes again.
    Restore,
    /// Remove its tunnels, and the gateway once they are gone. Asked for until it is gone.
    Remove,
}

/// Brings `gateway` to the stage of `now`; returns what that asks for, in this order.
pub fn turn(gateway: &mut VpnGateway, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    if gateway.stage == Lease::Over {
        return vec![Action::Remove];
    }
    if gateway.auto_renew && gateway.expires < Timestamp::NEVER {
        let renewed = renewed(gateway.expires, now);
        if renewed != gateway.expires {
            gateway.expires = renewed;
            actions.push(Action::Renew(renewed));
        }
    }
    let (from, to) = (gateway.stage, Lease::of(gateway.expires, now));
    gateway.stage = to;
    match (from.is_in_force(), to) {
        (true, Lease::Unlimited | Lease::Running | Lease::Expiring) | (false, Lease::Isolated) => {}
        (false, Lease::Unlimited | Lease::Running | Lease::Expiring) => actions.push(Action::Restore),
        (true, Lease::Isolated) => actions.push(Action::Isolate),
        (true, Lease::Over) => actions.extend([Action::Isolate, Action::Remove]),
        (false, Lease::Over) => actions.push(Action::Remove),
    }
    if to == Lease::Expiring && gateway.reminded != gateway.expires {
        gateway.reminded = gateway.expires;
        actions.push(Action::Remind);
    }
    actions
}

/// The end of a period that renews itself by the month, once it is due.
fn renewed(expires: Timestamp, now: Timestamp) -> Timestamp {
    // Counted from the end: the day of the month stays, however many months are made up for.
    let mut ends = (0..).map(|months| expires.plus_months(months).min(Timestamp::NEVER));
    ends.find(|end| *end == Timestamp::NEVER || now < end.plus_seconds(-RENEW_AHEAD))
        .unwrap_or(expires)
}

#[cfg(test)]
mod tests;
