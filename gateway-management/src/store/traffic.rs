//! Rollups of traffic and probes: the same numbers in three resolutions, each kept for a time and all together within a size.

use rusqlite::{OptionalExtension as _, params};

use super::{Rows, StoreError};
use crate::time::Timestamp;

/// Octets that a rollup takes at most, with its index, in a store that has been trimmed for long.
pub const ROLLUP_OCTETS: u64 = 100;
/// Octets that all rollups together take unless the operator sets another size.
pub const DEFAULT_ROLLUP_OCTETS: u64 = 1 << 30;

/// Length of a rollup and how long it is kept: a tunnel that is never idle has 8,640 + 10,080 + 8,928 of them, at most 2.8 MB, for
/// its 31 days.
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

    /// Start of the rollup that a moment belongs to.
    pub const fn start_of(self, moment: Timestamp) -> Timestamp {
        Timestamp(moment.0 - moment.0.rem_euclid(self.seconds()))
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
    /// Probes sent through the tunnel.
    pub probes_sent: u64,
    /// Probes whose time for an answer is over.
    pub probes_lost: u64,
    /// Probes that were answered in time.
    pub probes_answered: u64,
    /// What these answers took together, in microseconds.
    pub probe_micros: u64,
    /// Packets above the bandwidth setting.
    pub limited: u64,
    /// Negotiations that failed.
    pub ike_failures: u64,
    /// Seconds that the tunnel was not up, though nobody had taken it down.
    pub down_seconds: u64,
}

impl Traffic {
    /// What came since `before`; counters that went back started anew.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        self.with(
            before,
            |now, before| if now >= before { now - before } else { now },
        )
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            bytes_in: join(self.bytes_in, other.bytes_in),
            bytes_out: join(self.bytes_out, other.bytes_out),
            packets_in: join(self.packets_in, other.packets_in),
            packets_out: join(self.packets_out, other.packets_out),
            dropped: join(self.dropped, other.dropped),
            probes_sent: join(self.probes_sent, other.probes_sent),
            probes_lost: join(self.probes_lost, other.probes_lost),
            probes_answered: join(self.probes_answered, other.probes_answered),
            probe_micros: join(self.probe_micros, other.probe_micros),
            limited: join(self.limited, other.limited),
            ike_failures: join(self.ike_failures, other.ike_failures),
            down_seconds: join(self.down_seconds, other.down_seconds),
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
        let object = self.monitored(object)?;
        let mut update = self.connection.prepare_cached(
            "UPDATE rollup SET bytes_in = bytes_in + ?4, bytes_out = bytes_out + ?5, packets_in = packets_in + ?6,
                 packets_out = packets_out + ?7, dropped = dropped + ?8, probes_sent = probes_sent + ?9,
                 probes_lost = probes_lost + ?10, probes_answered = probes_answered + ?11, probe_micros = probe_micros + ?12,
                 limited = limited + ?13, ike_failures = ike_failures + ?14, down_seconds = down_seconds + ?15
             WHERE object = ?1 AND seconds = ?2 AND start = ?3",
        )?;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO rollup (object, seconds, start, bytes_in, bytes_out, packets_in, packets_out, dropped,
                 probes_sent, probes_lost, probes_answered, probe_micros, limited, ike_failures, down_seconds)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?;
        let mut added = 0;
        for resolution in Resolution::ALL {
            let row = params![
                object,
                resolution.seconds(),
                resolution.start_of(now).0,
                signed(traffic.bytes_in),
                signed(traffic.bytes_out),
                signed(traffic.packets_in),
                signed(traffic.packets_out),
                signed(traffic.dropped),
                signed(traffic.probes_sent),
                signed(traffic.probes_lost),
                signed(traffic.probes_answered),
                signed(traffic.probe_micros),
                signed(traffic.limited),
                signed(traffic.ike_failures),
                signed(traffic.down_seconds),
            ];
            if update.execute(row)? == 0 {
                added += insert.execute(row)?;
            }
        }
        self.count_rollups(i64::try_from(added).unwrap_or(0))
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
            "SELECT start, bytes_in, bytes_out, packets_in, packets_out, dropped, probes_sent, probes_lost,
                 probes_answered, probe_micros, limited, ike_failures, down_seconds
             FROM rollup JOIN monitored ON number = object
             WHERE id = ?1 AND seconds = ?2 AND start >= ?3 AND start < ?4 ORDER BY start",
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
                    probes_sent: number(6)?,
                    probes_lost: number(7)?,
                    probes_answered: number(8)?,
                    probe_micros: number(9)?,
                    limited: number(10)?,
                    ike_failures: number(11)?,
                    down_seconds: number(12)?,
                },
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether `object` has, or had lately, rollups.
    pub fn is_monitored(&self, object: &str) -> Result<bool, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT 1 FROM monitored WHERE id = ?1")?;
        Ok(statement.exists([object])?)
    }

    /// Removes what is older than its resolution is kept.
    pub fn expire_traffic(&self, now: Timestamp) -> Result<(), StoreError> {
        for resolution in Resolution::ALL {
            let removed = self.connection.execute(
                "DELETE FROM rollup WHERE seconds = ?1 AND start < ?2",
                params![resolution.seconds(), now.0 - resolution.kept_seconds()],
            )?;
            self.count_rollups(-i64::try_from(removed).unwrap_or(0))?;
        }
        self.connection.execute(
            "DELETE FROM monitored WHERE NOT EXISTS (SELECT 1 FROM rollup WHERE object = monitored.number)",
            [],
        )?;
        Ok(())
    }

    /// Keeps at most `most` rollups: of those that are too many the shortest go first, and of these the oldest.
    pub fn trim_traffic(&self, most: u64) -> Result<(), StoreError> {
        let most = signed(most);
        let count: i64 = self
            .connection
            .prepare_cached("SELECT number FROM rollup_count")?
            .query_row([], |row| row.get(0))?;
        if count <= most {
            return Ok(());
        }
        // Some more than needed, so that not every record has to trim.
        let mut surplus = count - most + most / 16;
        for resolution in Resolution::ALL {
            let removed = self.connection.execute(
                "DELETE FROM rollup WHERE (object, seconds, start) IN
                     (SELECT object, seconds, start FROM rollup WHERE seconds = ?1 ORDER BY start LIMIT ?2)",
                params![resolution.seconds(), surplus],
            )?;
            let removed = i64::try_from(removed).unwrap_or(0);
            self.count_rollups(-removed)?;
            surplus -= removed;
            if surplus <= 0 {
                break;
            }
        }
        Ok(())
    }

    /// Number of a monitored object, made when it is new.
    fn monitored(&self, id: &str) -> Result<i64, StoreError> {
        let known = self
            .connection
            .prepare_cached("SELECT number FROM monitored WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        if let Some(number) = known {
            return Ok(number);
        }
        self.connection
            .prepare_cached("INSERT INTO monitored (id) VALUES (?1)")?
            .execute([id])?;
        Ok(self.connection.last_insert_rowid())
    }

    fn count_rollups(&self, change: i64) -> Result<(), StoreError> {
        if change != 0 {
            self.connection
                .prepare_cached("UPDATE rollup_count SET number = number + ?1")?
                .execute([change])?;
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

    fn bytes(out: u64) -> Traffic {
        Traffic {
            bytes_out: out,
            packets_out: 1,
            ..Traffic::default()
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

    #[test]
    fn all_rollups_together_stay_within_their_size_and_the_shortest_go_first() {
        const MOST: u64 = 20_000;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("store.db");
        let store = Store::open(&file, crate::store::Vault::new(&[1; 32])).unwrap();
        let busy = Traffic {
            bytes_in: 40_000_000,
            bytes_out: 40_000_000,
            packets_in: 50_000,
            packets_out: 50_000,
            dropped: 1_000,
            probes_sent: 10,
            probes_lost: 1,
            probes_answered: 9,
            probe_micros: 90_000,
            limited: 100,
            ike_failures: 1,
            down_seconds: 10,
        };
        // Twenty busy tunnels for a time that makes twice as many rollups as may stay.
        let steps = 2 * i64::try_from(MOST).unwrap() / 20;
        for step in 0..steps {
            let now = Timestamp(1_600_000_000 + 10 * step);
            store
                .write(|rows| {
                    for tunnel in 0..20 {
                        rows.add_traffic(&format!("vpnx-{tunnel}"), now, busy)?;
                    }
                    rows.trim_traffic(MOST)
                })
                .unwrap();
        }
        let of = |resolution| {
            store
                .read(|rows| rows.traffic("vpnx-7", resolution, Timestamp(0), Timestamp(i64::MAX)))
                .unwrap()
        };
        let all: usize = Resolution::ALL
            .iter()
            .map(|resolution| of(*resolution).len())
            .sum();
        assert!(20 * all as u64 <= MOST && 20 * all as u64 > MOST * 7 / 8, "{all}");
        let covered = |resolution: Resolution| steps * 10 / resolution.seconds();
        assert!((of(Resolution::FiveMinutes).len() as i64 - covered(Resolution::FiveMinutes)).abs() <= 1);
        assert!((of(Resolution::Minute).len() as i64 - covered(Resolution::Minute)).abs() <= 1);
        assert!((of(Resolution::TenSeconds).len() as i64) < covered(Resolution::TenSeconds));
        drop(store);
        let octets = std::fs::metadata(&file).unwrap().len();
        assert!(octets < MOST * ROLLUP_OCTETS + 200_000, "{octets} octets");
    }
}
