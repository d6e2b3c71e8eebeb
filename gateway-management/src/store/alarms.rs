//! Rows of alarms: policies, receivers, states, the alarm list, the outbox and internal messages.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Rows, StoreError};
use crate::alarm::{AlarmState, HistoryEntry, Message, Notice, Policy, Receiver, StoredPolicy};
use crate::time::Timestamp;

/// Lines of the alarm list, and internal messages, that are kept.
const KEPT: i64 = 10_000;
/// Notices that wait at most.
const MOST_WAITING: i64 = 10_000;

/// A notice that is due, with its receiver.
#[derive(Debug)]
pub struct Waiting {
    /// Number in the outbox.
    pub number: i64,
    /// Id of the receiver.
    pub receiver: String,
    /// What to tell.
    pub notice: Notice,
    /// How often it was tried.
    pub attempts: u32,
    /// Which addresses of the receiver took it, a bit for each in their order.
    pub told: Told,
}

/// A set of up to 64 addresses of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told(u64);

impl Told {
    /// Whether this address is in it.
    pub const fn contains(self, address: usize) -> bool {
        address < 64 && self.0 >> address & 1 == 1
    }

    /// Adds an address.
    pub const fn insert(&mut self, address: usize) {
        if address < 64 {
            self.0 |= 1 << address;
        }
    }
}

impl Rows<'_> {
    /// All policies in the order of their creation.
    pub fn alarm_policies(&self) -> Result<Vec<StoredPolicy>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT number, id, name, settings, created FROM alarm_policy ORDER BY number")?;
        let rows = statement.query_map([], |row| {
            let settings: String = row.get(3)?;
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, settings, row.get(4)?))
        })?;
        rows.map(|row| {
            let (number, id, name, settings, created) = row?;
            Ok(StoredPolicy {
                number,
                id,
                name,
                policy: from_json(&settings)?,
                created: Timestamp(created),
            })
        })
        .collect()
    }

    /// Stores a new policy and returns its number.
    pub fn insert_alarm_policy(
        &self,
        id: &str,
        name: &str,
        policy: &Policy,
        created: Timestamp,
    ) -> Result<i64, StoreError> {
        self.connection.execute(
            "INSERT INTO alarm_policy (id, name, settings, created) VALUES (?1, ?2, ?3, ?4)",
            params![id, name, to_json(policy)?, created.0],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Stores what can change of a policy.
    pub fn update_alarm_policy(&self, policy: &StoredPolicy) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE alarm_policy SET name = ?2, settings = ?3 WHERE number = ?1",
            params![policy.number, policy.name, to_json(&policy.policy)?],
        )?;
        Ok(())
    }

    /// Removes a policy with its states.
    pub fn delete_alarm_policy(&self, number: i64) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM alarm_policy WHERE number = ?1", [number])?;
        Ok(())
    }

    /// All receivers by id.
    pub fn receivers(&self) -> Result<BTreeMap<String, Receiver>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, sealed FROM alarm_receiver ORDER BY number")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
        })?;
        rows.map(|row| {
            let (id, sealed) = row?;
            let text = self
                .vault
                .open(&owner(&id), &sealed)
                .ok_or(StoreError::Damaged("a receiver does not decrypt"))?;
            Ok((id, from_json(&text)?))
        })
        .collect()
    }

    /// Stores a receiver, encrypted as a whole.
    pub fn put_receiver(&self, id: &str, receiver: &Receiver) -> Result<(), StoreError> {
        let text = zeroize::Zeroizing::new(to_json(receiver)?);
        let sealed = self.vault.seal(&owner(id), &text)?;
        self.connection.execute(
            "INSERT INTO alarm_receiver (id, name, sealed) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET name = ?2, sealed = ?3",
            params![id, receiver.name, sealed],
        )?;
        Ok(())
    }

    /// Removes a receiver and what waits for it; `false` when there is none.
    pub fn delete_receiver(&self, id: &str) -> Result<bool, StoreError> {
        self.connection
            .execute("DELETE FROM alarm_outbox WHERE receiver = ?1", [id])?;
        let removed = self
            .connection
            .execute("DELETE FROM alarm_receiver WHERE id = ?1", [id])?;
        Ok(removed > 0)
    }

    /// States of a policy by object.
    pub fn alarm_states(&self, policy: i64) -> Result<BTreeMap<String, AlarmState>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT object, state FROM alarm_state WHERE policy = ?1")?;
        let rows = statement.query_map([policy], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        rows.map(|row| {
            let (object, state) = row?;
            Ok((object, from_json(&state)?))
        })
        .collect()
    }

    /// Stores the state of a policy on an object; one in which nothing holds is removed.
    pub fn put_alarm_state(&self, policy: i64, object: &str, state: &AlarmState) -> Result<(), StoreError> {
        if state.since.is_none() {
            self.connection
                .prepare_cached("DELETE FROM alarm_state WHERE policy = ?1 AND object = ?2")?
                .execute(params![policy, object])?;
            return Ok(());
        }
        self.connection
            .prepare_cached(
                "INSERT INTO alarm_state (policy, object, state) VALUES (?1, ?2, ?3)
                 ON CONFLICT (policy, object) DO UPDATE SET state = ?3",
            )?
            .execute(params![policy, object, to_json(state)?])?;
        Ok(())
    }

    /// Adds a line to the alarm list, whose number is ignored, and returns its number.
    pub fn insert_alarm(&self, entry: &HistoryEntry) -> Result<i64, StoreError> {
        self.connection.execute(
            "INSERT INTO alarm_history (policy, policy_name, namespace, object, object_name, content, began)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                entry.policy,
                entry.policy_name,
                entry.namespace,
                entry.object,
                entry.object_name,
                entry.content,
                entry.began.0
            ],
        )?;
        let number = self.connection.last_insert_rowid();
        self.connection
            .execute("DELETE FROM alarm_history WHERE number <= ?1", [number - KEPT])?;
        Ok(number)
    }

    /// Notes the end of an alarm.
    pub fn end_alarm(&self, number: i64, now: Timestamp) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE alarm_history SET ended = ?2 WHERE number = ?1",
            params![number, now.0],
        )?;
        Ok(())
    }

    /// Notes the end of all alarms of a policy that goes.
    pub fn end_alarms_of(&self, policy: &str, now: Timestamp) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE alarm_history SET ended = ?2 WHERE policy = ?1 AND ended IS NULL",
            params![policy, now.0],
        )?;
        Ok(())
    }

    /// How many lines the alarm list has between two moments, and some of them, newest first.
    pub fn alarm_history(
        &self,
        from: Timestamp,
        to: Timestamp,
        offset: u32,
        limit: u32,
    ) -> Result<(usize, Vec<HistoryEntry>), StoreError> {
        let total: i64 = self.connection.query_row(
            "SELECT count(*) FROM alarm_history WHERE began >= ?1 AND began <= ?2",
            params![from.0, to.0],
            |row| row.get(0),
        )?;
        let mut statement = self.connection.prepare_cached(
            "SELECT number, policy, policy_name, namespace, object, object_name, content, began, ended
             FROM alarm_history WHERE began >= ?1 AND began <= ?2 ORDER BY number DESC LIMIT ?3 OFFSET ?4",
        )?;
        let rows = statement.query_map(params![from.0, to.0, limit, offset], history)?;
        Ok((
            usize::try_from(total).unwrap_or(0),
            rows.collect::<Result<_, _>>()?,
        ))
    }

    /// Puts a notice into the outbox. `false` when too many wait already.
    pub fn enqueue_notice(
        &self,
        receiver: &str,
        notice: &Notice,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.waiting_notices()? >= MOST_WAITING {
            return Ok(false);
        }
        self.connection.execute(
            "INSERT INTO alarm_outbox (receiver, session, notice, due) VALUES (?1, ?2, ?3, ?4)",
            params![receiver, notice.session, to_json(notice)?, now.0],
        )?;
        Ok(true)
    }

    /// Notices in the outbox.
    pub fn waiting_notices(&self) -> Result<i64, StoreError> {
        Ok(self
            .connection
            .query_row("SELECT count(*) FROM alarm_outbox", [], |row| row.get(0))?)
    }

    /// The oldest notice that is due of every receiver: a receiver that does not answer delays nobody else, and the end of an alarm is
    /// not told before its begin.
    pub fn due_notices(&self, now: Timestamp) -> Result<Vec<Waiting>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT min(number), receiver, notice, attempts, told FROM alarm_outbox AS later
             WHERE due <= ?1 AND NOT EXISTS (
                 SELECT 1 FROM alarm_outbox AS earlier WHERE earlier.receiver = later.receiver
                 AND earlier.session = later.session AND earlier.number < later.number)
             GROUP BY receiver",
        )?;
        let rows = statement.query_map([now.0], |row| {
            let told: i64 = row.get(4)?;
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get::<_, String>(2)?,
                row.get(3)?,
                told,
            ))
        })?;
        rows.map(|row| {
            let (number, receiver, notice, attempts, told) = row?;
            Ok(Waiting {
                number,
                receiver,
                notice: from_json(&notice)?,
                attempts,
                told: Told(told.cast_unsigned()),
            })
        })
        .collect()
    }

    /// Lets a notice, with its attempts and who was told, wait until `due`.
    pub fn postpone_notice(&self, waiting: &Waiting, due: Timestamp) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE alarm_outbox SET attempts = ?2, told = ?3, due = ?4 WHERE number = ?1",
            params![
                waiting.number,
                waiting.attempts,
                waiting.told.0.cast_signed(),
                due.0
            ],
        )?;
        Ok(())
    }

    /// Takes a notice out of the outbox.
    pub fn remove_notice(&self, number: i64) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM alarm_outbox WHERE number = ?1", [number])?;
        Ok(())
    }

    /// Adds an internal message.
    pub fn insert_message(&self, time: Timestamp, title: &str, text: &str) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO alarm_message (time, title, text) VALUES (?1, ?2, ?3)",
            params![time.0, title, text],
        )?;
        let number = self.connection.last_insert_rowid();
        self.connection
            .execute("DELETE FROM alarm_message WHERE number <= ?1", [number - KEPT])?;
        Ok(())
    }

    /// The last internal messages, newest first.
    pub fn messages(&self, limit: u32) -> Result<Vec<Message>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT number, time, title, text FROM alarm_message ORDER BY number DESC LIMIT ?1",
        )?;
        let rows = statement.query_map([limit], |row| {
            Ok(Message {
                number: row.get(0)?,
                time: Timestamp(row.get(1)?),
                title: row.get(2)?,
                text: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Alarms that last.
    pub fn lasting_alarms(&self) -> Result<i64, StoreError> {
        Ok(self
            .connection
            .query_row("SELECT count(*) FROM alarm_state", [], |row| row.get(0))?)
    }

    /// What people call a tunnel or gateway of the store.
    pub(crate) fn name_of(&self, object: &str) -> Result<Option<String>, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "SELECT name FROM tunnel WHERE id = ?1 UNION ALL SELECT name FROM vpn_gateway WHERE id = ?1",
            )?
            .query_row([object], |row| row.get(0))
            .optional()?)
    }
}

fn history(row: &Row<'_>) -> rusqlite::Result<HistoryEntry> {
    Ok(HistoryEntry {
        number: row.get(0)?,
        policy: row.get(1)?,
        policy_name: row.get(2)?,
        namespace: row.get(3)?,
        object: row.get(4)?,
        object_name: row.get(5)?,
        content: row.get(6)?,
        began: Timestamp(row.get(7)?),
        ended: row.get::<_, Option<i64>>(8)?.map(Timestamp),
    })
}

/// What a sealed receiver is bound to.
fn owner(id: &str) -> String {
    format!("alarm receiver {id}")
}

fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_never| StoreError::Damaged("an alarm cannot be written"))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_other| StoreError::Damaged("an alarm has unknown settings"))
}
