//! Rows of API keys and of the audit log.

use rusqlite::{OptionalExtension as _, params};
use zeroize::Zeroizing;

use super::{Rows, StoreError};
use crate::objects::{ApiKey, AuditEntry, Role};
use crate::time::Timestamp;

impl Rows<'_> {
    /// Stores a new key. HMAC needs the secret itself, so it is encrypted and not hashed.
    pub fn insert_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        let sealed = self.vault.seal(&owner(&key.id), &key.secret)?;
        self.connection.execute(
            "INSERT INTO api_key (id, secret, role, note, created) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![key.id, sealed, key.role.name(), key.note, key.created.0],
        )?;
        Ok(())
    }

    /// The key with this id.
    pub fn key(&self, id: &str) -> Result<Option<ApiKey>, StoreError> {
        type Columns = (String, Vec<u8>, String, String, i64);
        let found: Option<Columns> = self
            .connection
            .prepare_cached("SELECT id, secret, role, note, created FROM api_key WHERE id = ?1")?
            .query_row([id], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })
            .optional()?;
        let Some((id, sealed, role, note, created)) = found else {
            return Ok(None);
        };
        let secret: Zeroizing<String> = self
            .vault
            .open(&owner(&id), &sealed)
            .ok_or(StoreError::Damaged("the secret of an API key does not decrypt"))?;
        let role = Role::parse(&role).ok_or(StoreError::Damaged("an API key has an unknown role"))?;
        Ok(Some(ApiKey {
            id,
            secret,
            role,
            note,
            created: Timestamp(created),
        }))
    }

    /// Ids, roles and notes of all keys.
    pub fn keys(&self) -> Result<Vec<(String, String, String)>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, role, note FROM api_key ORDER BY created, id")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Removes a key; `false` when there is none.
    pub fn delete_key(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self
            .connection
            .execute("DELETE FROM api_key WHERE id = ?1", [id])?
            > 0)
    }

    /// Writes a line of the audit log, in the transaction of the change itself.
    pub fn audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO audit (time, actor, operation, object, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                entry.time.0,
                entry.actor,
                entry.operation,
                entry.object,
                entry.detail
            ],
        )?;
        Ok(())
    }

    /// The last lines of the audit log, newest first.
    pub fn audit_log(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT time, actor, operation, object, detail FROM audit ORDER BY number DESC LIMIT ?1",
        )?;
        let rows = statement.query_map([limit], |row| {
            Ok(AuditEntry {
                time: Timestamp(row.get(0)?),
                actor: row.get(1)?,
                operation: row.get(2)?,
                object: row.get(3)?,
                detail: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// What a sealed secret is bound to.
fn owner(id: &str) -> String {
    format!("API key {id}")
}
