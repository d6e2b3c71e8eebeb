//! Rollups of traffic: the same numbers in three resolutions, each kept for a time.

use rusqlite::params;

use super::{Rows, StoreError};
use crate::time::Timestamp;

/// Length of a rollup and how long it is kept. A row takes about 60 octets: a tunnel that is never idle takes
/// 8,640 + 10,080 + 8,928 rows, about 1.7 MB, for its 31 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// 10 seconds, kept for a day.
    TenSeconds,
    /// A minute, kept for 7 days.
    Minute,
    /// 5 minutes, kept for 31 days.
    FiveMinutes,
}

impl Resolution {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::TenSeconds, Self::Minute, Self::FiveMinutes];

    /// Length in seconds.
    pub const fn seconds(self) -> i64 {
        match self {
            Self::TenSeconds => 10,
            Self::Minute => 60,
            Self::FiveMinutes => 300,
        }
    }

    const fn kept_seconds(self) -> i64 {
        const DAY: i64 = 24 * 3600;
        match self {
            Self::TenSeconds => DAY,
            Self::Minute => 7 * DAY,
            Self::FiveMinutes => 31 * DAY,
        }
    }
}

/// Traffic of a tunnel or gateway over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Octets from the peer, inner headers included.
    pub bytes_in: u64,
    /// Octets to the peer.
    pub bytes_out: u64,
    /// Packets from the peer.
    pub packets_in: u64,
    /// Packets to the peer.
    pub packets_out: u64,
    /// Dropped packets.
    pub dropped: u64,
}

impl Traffic {
    /// What came since `before`; counters that went back started anew.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        const fn since(now: u64, before: u64) -> u64 {
            if now >= before { now - before } else { now }
        }
        Self {
            bytes_in: since(self.bytes_in, before.bytes_in),
            bytes_out: since(self.bytes_out, before.bytes_out),
            packets_in: since(self.packets_in, before.packets_in),
            packets_out: since(self.packets_out, before.packets_out),
            dropped: since(self.dropped, before.dropped),
        }
    }
}

/// A rollup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When it begins.
    pub start: Timestamp,
    /// What passed.
    pub traffic: Traffic,
}

impl Rows<'_> {
    /// Adds traffic of `object` that was seen at `now`, to all resolutions.
    pub fn add_traffic(&self, object: &str, now: Timestamp, traffic: Traffic) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO traffic (object, seconds, start, bytes_in, bytes_out, packets_in, packets_out, dropped)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (object, seconds, start) DO UPDATE SET bytes_in = bytes_in + ?4, bytes_out = bytes_out + ?5,
                 packets_in = packets_in + ?6, packets_out = packets_out + ?7, dropped = dropped + ?8",
        )?;
        for resolution in Resolution::ALL {
            let start = now.0 - now.0.rem_euclid(resolution.seconds());
            statement.execute(params![
                object,
                resolution.seconds(),
                start,
                signed(traffic.bytes_in),
                signed(traffic.bytes_out),
                signed(traffic.packets_in),
                signed(traffic.packets_out),
                signed(traffic.dropped)
            ])?;
        }
        Ok(())
    }

    /// Rollups of `object` that begin from `from` on and before `to`; those without traffic are absent.
    pub fn traffic(
        &self,
        object: &str,
        resolution: Resolution,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Point>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT start, bytes_in, bytes_out, packets_in, packets_out, dropped FROM traffic
             WHERE object = ?1 AND seconds = ?2 AND start >= ?3 AND start < ?4 ORDER BY start",
        )?;
        let rows = statement.query_map(params![object, resolution.seconds(), from.0, to.0], |row| {
            let number = |column| {
                row.get::<_, i64>(column)
                    .map(|number| u64::try_from(number).unwrap_or(0))
            };
            Ok(Point {
                start: Timestamp(row.get(0)?),
                traffic: Traffic {
                    bytes_in: number(1)?,
                    bytes_out: number(2)?,
                    packets_in: number(3)?,
                    packets_out: number(4)?,
                    dropped: number(5)?,
                },
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Removes what is older than its resolution is kept.
    pub fn expire_traffic(&self, now: Timestamp) -> Result<(), StoreError> {
        for resolution in Resolution::ALL {
            self.connection.execute(
                "DELETE FROM traffic WHERE seconds = ?1 AND start < ?2",
                params![resolution.seconds(), now.0 - resolution.kept_seconds()],
            )?;
        }
        Ok(())
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    const fn bytes(out: u64) -> Traffic {
        Traffic {
            bytes_in: 0,
            bytes_out: out,
            packets_in: 0,
            packets_out: 1,
            dropped: 0,
        }
    }

    #[test]
    fn rollups_add_up_in_every_resolution_and_expire() {
        let store = Store::in_memory().unwrap();
        let day = 24 * 3600;
        let points = |resolution, from: i64, to: i64| {
            store
                .read(|rows| rows.traffic("vpnx-1", resolution, Timestamp(from), Timestamp(to)))
                .unwrap()
        };
        store
            .write(|rows| {
                for (second, octets) in [(600, 1), (605, 10), (615, 100), (659, 1_000), (899, 10_000)] {
                    rows.add_traffic("vpnx-1", Timestamp(second), bytes(octets))?;
                }
                rows.add_traffic("vpnx-2", Timestamp(600), bytes(7))
            })
            .unwrap();
        let of = |resolution| {
            points(resolution, 600, 900)
                .iter()
                .map(|point| (point.start.0, point.traffic.bytes_out))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of(Resolution::TenSeconds),
            [(600, 11), (610, 100), (650, 1_000), (890, 10_000)]
        );
        assert_eq!(of(Resolution::Minute), [(600, 1_111), (840, 10_000)]);
        assert_eq!(of(Resolution::FiveMinutes), [(600, 11_111)]);

        store
            .write(|rows| rows.expire_traffic(Timestamp(900 + 2 * day)))
            .unwrap();
        assert!(points(Resolution::TenSeconds, 0, 10_000).is_empty());
        assert_eq!(points(Resolution::FiveMinutes, 0, 10_000).len(), 1);
        store
            .write(|rows| rows.expire_traffic(Timestamp(900 + 32 * day)))
            .unwrap();
        assert!(points(Resolution::FiveMinutes, 0, 10_000).is_empty());
    }

    #[test]
    fn counters_that_went_back_started_anew() {
        assert_eq!(bytes(30).since(bytes(10)).bytes_out, 20);
        assert_eq!(bytes(5).since(bytes(10)).bytes_out, 5);
    }
}
