//! Time as an argument: seconds since 1970 in UTC, and the two ways the API writes them.

use jiff::Timestamp as Instant;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// The offset of the times that the API shows, GMT+8 as the product's documents print them.
pub const API_OFFSET_HOURS: i8 = 8;

impl Timestamp {
    /// Reads the machine's clock. Only front ends and the agent call it; everything below takes the time as an argument.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)))
    }

    /// The end of a period that does not end: the last whole day that the calendar of this crate knows.
    pub const NEVER: Self = Self(253_402_128_000);

    /// Later by this many seconds.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// 00:00 in GMT+8 of the day that comes this many days after its own.
    #[must_use]
    pub const fn start_of_day_after(self, days: i64) -> Self {
        const DAY: i64 = 24 * 3600;
        let offset = API_OFFSET_HOURS as i64 * 3600;
        let day = self.0.saturating_add(offset).div_euclid(DAY);
        Self(
            day.saturating_add(days)
                .saturating_mul(DAY)
                .saturating_sub(offset),
        )
    }

    /// Later by this many calendar months: the same day of the month, or the month's last one.
    #[must_use]
    pub fn plus_months(self, months: u32) -> Self {
        let zone = zone();
        let later = Instant::from_second(self.0).ok().and_then(|instant| {
            instant
                .to_zoned(zone)
                .checked_add(jiff::Span::new().months(months))
                .ok()
        });
        later.map_or(Self(i64::MAX), |later| Self(later.timestamp().as_second()))
    }

    /// `2016-07-07 12:00:00` in GMT+8, as API v2 writes times.
    pub fn civil(self) -> String {
        Instant::from_second(self.0).map_or_else(
            |_out_of_range| String::new(),
            |instant| instant.to_zoned(zone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        )
    }

    /// `2016-07-07T04:00:00Z`.
    pub fn utc(self) -> String {
        Instant::from_second(self.0).map_or_else(|_out_of_range| String::new(), |instant| instant.to_string())
    }

    /// Reads `2016-07-07T04:00:00Z`; `None` when it is none.
    pub fn parse_utc(text: &str) -> Option<Self> {
        text.parse::<Instant>()
            .ok()
            .map(|instant| Self(instant.as_second()))
    }

    /// Reads `2016-07-07 12:00:00` in GMT+8; `None` when it is none.
    pub fn parse_civil(text: &str) -> Option<Self> {
        let civil = DateTime::strptime("%Y-%m-%d %H:%M:%S", text.trim()).ok()?;
        let zoned = civil.to_zoned(zone()).ok()?;
        Some(Self(zoned.timestamp().as_second()))
    }
}

fn zone() -> TimeZone {
    TimeZone::fixed(Offset::constant(API_OFFSET_HOURS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_times_are_gmt_8_and_read_back() {
        let noon = Timestamp(1_467_864_000);
        assert_eq!(noon.civil(), "2016-07-07 12:00:00");
        assert_eq!(noon.utc(), "2016-07-07T04:00:00Z");
        assert_eq!(Timestamp::parse_utc("2016-07-07T04:00:00Z"), Some(noon));
        assert_eq!(Timestamp::NEVER.utc(), "9999-12-30T00:00:00Z");
        assert_eq!(Timestamp::parse_utc("2016-07-07"), None);
        assert_eq!(Timestamp::parse_civil("2016-07-07 12:00:00"), Some(noon));
        for wrong in ["", "2016-07-07", "2016-13-07 12:00:00", "now"] {
            assert_eq!(Timestamp::parse_civil(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_month_ends_on_its_last_day() {
        let end_of_january = Timestamp::parse_civil("2026-01-31 10:00:00").unwrap();
        assert_eq!(end_of_january.plus_months(1).civil(), "2026-02-28 10:00:00");
        assert_eq!(end_of_january.plus_months(36).civil(), "2029-01-31 10:00:00");
    }
}
