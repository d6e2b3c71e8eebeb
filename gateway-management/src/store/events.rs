//! Rows of the tunnels' timelines: what happened to a tunnel, across restarts of the agent.

use rusqlite::{OptionalExtension as _, params};

use super::{Rows, StoreError};
use crate::time::Timestamp;

/// How many lines a tunnel keeps.
pub const EVENTS_PER_TUNNEL: usize = 256;
/// How many lines all tunnels keep together.
pub const EVENTS: i64 = 262_144;
/// How many lines a tunnel keeps however old they are.
const KEPT: i64 = 8;
/// Octets of a line's text that are kept.
const TEXT_OCTETS: usize = 512;

/// A line of a tunnel's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLine {
    /// Its place: later lines have higher numbers.
    pub number: i64,
    /// When it happened last.
    pub time: Timestamp,
    /// How often in a row.
    pub times: u32,
    /// What.
    pub text: String,
}

impl Rows<'_> {
    /// Adds a line to the timeline of a tunnel. A line whose number is there happened again: it takes the new time and count.
    pub fn put_event(
        &self,
        tunnel: &str,
        (number, time): (i64, Timestamp),
        times: u32,
        text: &str,
    ) -> Result<(), StoreError> {
        let end = text.floor_char_boundary(TEXT_OCTETS);
        self.connection
            .prepare_cached(
                "INSERT INTO event (number, tunnel, time, times, text) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (number) DO UPDATE SET time = excluded.time, times = excluded.times",
            )?
            .execute(params![number, tunnel, time.0, times, &text[..end]])?;
        Ok(())
    }

    /// The lines of a tunnel with lower numbers than `before`, oldest first.
    pub fn events(&self, tunnel: &str, before: i64) -> Result<Vec<EventLine>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT number, time, times, text FROM event WHERE tunnel = ?1 AND number < ?2 ORDER BY number",
        )?;
        let rows = statement.query_map(params![tunnel, before], |row| {
            Ok(EventLine {
                number: row.get(0)?,
                time: Timestamp(row.get(1)?),
                times: row.get(2)?,
                text: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The highest number of a line.
    pub fn last_event(&self) -> Result<i64, StoreError> {
        let last: Option<i64> = self
            .connection
            .query_row("SELECT max(number) FROM event", [], |row| row.get(0))
            .optional()?
            .flatten();
        Ok(last.unwrap_or(0))
    }

    /// Keeps the last [`EVENTS_PER_TUNNEL`] lines of a tunnel.
    pub fn trim_events_of(&self, tunnel: &str) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "DELETE FROM event WHERE tunnel = ?1 AND number <=
                     (SELECT number FROM event WHERE tunnel = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![
                tunnel,
                i64::try_from(EVENTS_PER_TUNNEL).unwrap_or(i64::MAX)
            ])?;
        Ok(())
    }

    /// Keeps at most `most` lines of all tunnels, and the last eight of each: of those that are too many the oldest go.
    pub fn trim_events(&self, most: i64) -> Result<(), StoreError> {
        let count: i64 = self
            .connection
            .prepare_cached("SELECT count(*) FROM event")?
            .query_row([], |row| row.get(0))?;
        if count <= most {
            return Ok(());
        }
        // Some more than needed, so that not every batch has to trim.
        let surplus = count - most + most / 64;
        self.connection
            .prepare_cached(
                "DELETE FROM event WHERE number IN (
                     SELECT number FROM event AS old
                     WHERE number < (SELECT number FROM event WHERE tunnel = old.tunnel ORDER BY number DESC LIMIT 1 OFFSET ?2)
                     ORDER BY number LIMIT ?1)",
            )?
            .execute(params![surplus, KEPT - 1])?;
        Ok(())
    }

    /// Removes the lines of a tunnel with lower numbers than `before`, unless it is a tunnel of the store: those lines go with its row.
    pub fn forget_events(&self, tunnel: &str, before: i64) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "DELETE FROM event WHERE tunnel = ?1 AND number < ?2
                     AND NOT EXISTS (SELECT 1 FROM tunnel WHERE id = ?1)",
            )?
            .execute(params![tunnel, before])?;
        Ok(())
    }

    /// Removes the lines of tunnels that are neither in the store nor among `others`.
    pub fn forget_events_except(&self, others: &[&str]) -> Result<(), StoreError> {
        self.connection.execute(
            "DELETE FROM event WHERE tunnel NOT IN (SELECT id FROM tunnel)
                 AND tunnel NOT IN (SELECT value FROM json_each(?1))",
            [serde_json::Value::from(others).to_string()],
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    fn put(store: &Store, lines: impl IntoIterator<Item = (i64, String)>) {
        store
            .write(|rows| {
                for (number, tunnel) in lines {
                    rows.put_event(&tunnel, (number, Timestamp(number)), 1, "an event")?;
                }
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }

    fn numbers(store: &Store, tunnel: &str, before: i64) -> Vec<i64> {
        let lines = store.read(|rows| rows.events(tunnel, before)).unwrap();
        lines.iter().map(|line| line.number).collect()
    }

    #[test]
    fn lines_come_in_order_and_what_repeats_is_one_line() {
        let store = Store::in_memory().unwrap();
        assert_eq!(store.read(|rows| rows.last_event()).unwrap(), 0);
        put(&store, [(3, "a".into()), (1, "a".into()), (2, "b".into())]);
        store
            .write(|rows| rows.put_event("a", (3, Timestamp(90)), 7, "ignored"))
            .unwrap();
        assert_eq!(numbers(&store, "a", i64::MAX), [1, 3]);
        assert_eq!(numbers(&store, "a", 3), [1]);
        let last = store.read(|rows| rows.events("a", i64::MAX)).unwrap().pop();
        let expected = EventLine {
            number: 3,
            time: Timestamp(90),
            times: 7,
            text: "an event".to_owned(),
        };
        assert_eq!(last, Some(expected));
        assert_eq!(store.read(|rows| rows.last_event()).unwrap(), 3);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let store = Store::in_memory().unwrap();
        let text = format!("x{}", "\u{e4}".repeat(TEXT_OCTETS));
        store
            .write(|rows| rows.put_event("a", (1, Timestamp(1)), 1, &text))
            .unwrap();
        let kept = store.read(|rows| rows.events("a", 2)).unwrap().remove(0).text;
        assert!(kept.len() == TEXT_OCTETS - 1 && text.starts_with(&kept), "{kept}");
    }

    #[test]
    fn a_tunnel_keeps_its_last_lines_and_others_keep_theirs() {
        let store = Store::in_memory().unwrap();
        let most = i64::try_from(EVENTS_PER_TUNNEL).unwrap();
        put(&store, [(1, "quiet".into())]);
        put(&store, (2..=most + 11).map(|number| (number, "busy".into())));
        store.write(|rows| rows.trim_events_of("busy")).unwrap();
        let kept = numbers(&store, "busy", i64::MAX);
        assert_eq!((kept.len(), kept[0]), (EVENTS_PER_TUNNEL, 12));
        assert_eq!(numbers(&store, "quiet", i64::MAX), [1]);
    }

    #[test]
    fn the_oldest_lines_of_all_give_way_and_every_tunnel_keeps_eight() {
        let store = Store::in_memory().unwrap();
        put(&store, (1..=20).map(|number| (number, "quiet".into())));
        put(
            &store,
            (21..=1000).map(|number| (number, format!("t-{}", number % 10))),
        );
        store.write(|rows| rows.trim_events(640)).unwrap();
        let left: usize = (0..10)
            .map(|tunnel| numbers(&store, &format!("t-{tunnel}"), i64::MAX).len())
            .sum();
        assert_eq!(numbers(&store, "quiet", i64::MAX), (13..=20).collect::<Vec<_>>());
        assert_eq!(left + 8, 630, "a sixty-fourth more than needed goes");
        assert!(numbers(&store, "t-0", i64::MAX)[0] > 370);
    }

    #[test]
    fn lines_go_with_their_tunnel() {
        let store = Store::in_memory().unwrap();
        put(
            &store,
            (1..=4).map(|number| (number, format!("t-{}", number % 2))),
        );
        put(&store, [(5, "file".into()), (6, "gone".into())]);
        store.write(|rows| rows.forget_events("t-0", 4)).unwrap();
        assert_eq!(numbers(&store, "t-0", i64::MAX), [4]);
        store
            .write(|rows| rows.forget_events_except(&["file", "t-0", "t-1"]))
            .unwrap();
        assert_eq!(numbers(&store, "t-1", i64::MAX), [1, 3]);
        assert_eq!(numbers(&store, "file", i64::MAX), [5]);
        assert!(numbers(&store, "gone", i64::MAX).is_empty());
    }
}
