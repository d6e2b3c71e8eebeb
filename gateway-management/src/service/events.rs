//! The timelines of tunnels: written by the agent in batches, read after a restart.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Management;
use crate::store::{EVENTS, EventLine, StoreError};
use crate::time::Timestamp;

/// A change of a tunnel's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventChange {
    /// A line is new, or happened again.
    Line {
        /// Id of the tunnel.
        tunnel: Arc<str>,
        /// Place of the line: from [`Management::next_event`] on, rising.
        number: i64,
        /// When it happened last.
        time: Timestamp,
        /// How often in a row.
        times: u32,
        /// What.
        text: Arc<str>,
    },
    /// The agent does not run the tunnel any more.
    Removed {
        /// Id of the tunnel.
        tunnel: Arc<str>,
        /// The lines that were its own have lower numbers.
        before: i64,
    },
}

impl Management {
    /// The number of the next line.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next_event(&self) -> Result<i64, StoreError> {
        Ok(self.store.read(|rows| rows.last_event())?.saturating_add(1))
    }

    /// Keeps changes of timelines, in one transaction. A tunnel of the store keeps its lines for as long as its row: one that cannot run
    /// beside those of the machine's file comes back.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was kept.
    pub fn record_events(&self, changes: &[EventChange]) -> Result<(), StoreError> {
        self.store.write(|rows| {
            let mut touched = BTreeSet::new();
            for change in changes {
                match change {
                    EventChange::Line {
                        tunnel,
                        number,
                        time,
                        times,
                        text,
                    } => {
                        rows.put_event(tunnel, (*number, *time), *times, text)?;
                        touched.insert(tunnel);
                    }
                    EventChange::Removed { tunnel, before } => rows.forget_events(tunnel, *before)?,
                }
            }
            for tunnel in touched {
                rows.trim_events_of(tunnel)?;
            }
            rows.trim_events(EVENTS)
        })
    }

    /// The lines of a tunnel with lower numbers than `before`, oldest first. Tunnels of the machine's file have lines too.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn events(&self, tunnel: &str, before: i64) -> Result<Vec<EventLine>, StoreError> {
        self.store.read(|rows| rows.events(tunnel, before))
    }

    /// Forgets the lines of tunnels that are neither in the store nor in the machine's file, whose ids are `declared`: they were removed
    /// while no agent ran.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_events_except(&self, declared: &[&str]) -> Result<(), StoreError> {
        self.store.write(|rows| rows.forget_events_except(declared))
    }
}
