//! What one client may cost: requests per second of a source address, and requests seen before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::time::Timestamp;

/// Limits of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Octets of a body.
    pub body: usize,
    /// Requests per second of one source address; as many may come at once.
    pub requests_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            body: 128 * 1024,
            requests_per_second: 100,
        }
    }
}

/// Requests of each source address in the current second.
#[derive(Debug, Default)]
pub(super) struct Rate {
    second: i64,
    requests: BTreeMap<IpAddr, u32>,
}

impl Rate {
    /// Counts a request; `false` when it is one too many.
    pub(super) fn admit(&mut self, now: Timestamp, source: IpAddr, limit: u32) -> bool {
        if now.0 != self.second {
            self.second = now.0;
            self.requests.clear();
        }
        let count = self.requests.entry(source).or_default();
        *count = count.saturating_add(1);
        *count <= limit
    }
}

/// How far a request's time may be off, in seconds.
const WINDOW: i64 = 300;
/// Requests that are remembered.
const REMEMBERED: usize = 100_000;

/// Requests that were seen, by time, key and nonce.
///
/// They are not kept over a restart: a request signed before the start is refused.
#[derive(Debug)]
pub struct Replay {
    started: Timestamp,
    seen: BTreeSet<(Timestamp, String, u64)>,
}

/// Why a request is taken for a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Its time is too far from ours.
    #[error("Timestamp is more than 5 minutes off; set the clock")]
    Time,
    /// It was signed before this process started.
    #[error("Timestamp is before the start of the gateway; sign again")]
    BeforeStart,
    /// The same key used the nonce at the same time.
    #[error("Nonce was used before")]
    Nonce,
    /// More requests in five minutes than are remembered.
    #[error("too many requests in 5 minutes")]
    Full,
}

impl Replay {
    /// Nothing was seen yet.
    pub fn new(now: Timestamp) -> Self {
        Self {
            started: now,
            seen: BTreeSet::new(),
        }
    }

    /// Remembers a request whose signature is good.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub fn admit(
        &mut self,
        now: Timestamp,
        key: &str,
        time: Timestamp,
        nonce: u64,
    ) -> Result<(), ReplayError> {
        if now.0.abs_diff(time.0) > WINDOW.unsigned_abs() {
            return Err(ReplayError::Time);
        }
        // A clock that is a second behind is no replay.
        if time.0 < self.started.0 - 1 {
            return Err(ReplayError::BeforeStart);
        }
        self.seen = self
            .seen
            .split_off(&(now.plus_seconds(-WINDOW), String::new(), 0));
        if self.seen.len() >= REMEMBERED {
            return Err(ReplayError::Full);
        }
        if !self.seen.insert((time, key.to_owned(), nonce)) {
            return Err(ReplayError::Nonce);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_admitted_once_and_only_near_its_time() {
        let start = Timestamp(1_000_000);
        let mut replay = Replay::new(start);
        let mut admit = |now: i64, key: &str, time: i64, nonce| {
            replay.admit(start.plus_seconds(now), key, start.plus_seconds(time), nonce)
        };
        for (now, key, time, nonce, expected) in [
            (10, "a", 10, 1, Ok(())),
            (11, "a", 10, 1, Err(ReplayError::Nonce)),
            (11, "b", 10, 1, Ok(())),
            (11, "a", 11, 1, Ok(())),
            (310, "a", 10, 1, Err(ReplayError::Nonce)),
            (311, "a", 10, 1, Err(ReplayError::Time)),
            (311, "a", 612, 2, Err(ReplayError::Time)),
            (311, "a", 611, 2, Ok(())),
            (20, "a", -2, 3, Err(ReplayError::BeforeStart)),
            (20, "a", -1, 3, Ok(())),
        ] {
            assert_eq!(
                admit(now, key, time, nonce),
                expected,
                "{now} {key} {time} {nonce}"
            );
        }
    }

    #[test]
    fn a_source_has_so_many_requests_in_a_second() {
        let mut rate = Rate::default();
        let (one, two) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let admitted = |rate: &mut Rate, second, source| {
            (0..5)
                .filter(|_| rate.admit(Timestamp(second), source, 3))
                .count()
        };
        assert_eq!(admitted(&mut rate, 1, one), 3);
        assert_eq!(admitted(&mut rate, 1, two), 3);
        assert_eq!(admitted(&mut rate, 2, one), 3);
    }
}
