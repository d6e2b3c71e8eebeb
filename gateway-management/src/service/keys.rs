//! API keys.

use base64::Engine as _;
use zeroize::Zeroizing;

use super::{Actor, Management, audit};
use crate::error::{Error, Kind};
use crate::objects::{ApiKey, Role};
use crate::store::{Store, StoreError, random};
use crate::time::Timestamp;

/// Makes a key. The secret is shown once, by the caller.
///
/// # Errors
/// [`StoreError`].
pub fn create_key(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    role: Role,
    note: &str,
) -> Result<ApiKey, StoreError> {
    let letters = |octets: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(octets);
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .collect::<String>()
    };
    let secret = Zeroizing::new(random::<48>()?);
    let key = ApiKey {
        id: format!("AKID{}", letters(&random::<24>()?)),
        secret: Zeroizing::new(letters(&*secret)),
        role,
        note: note.to_owned(),
        created: now,
    };
    store.write(|rows| {
        rows.insert_key(&key)?;
        audit(
            rows,
            now,
            actor,
            "create API key",
            &key.id,
            format!("{role}, {note:?}"),
        )
    })?;
    Ok(key)
}

/// Removes a key: requests signed with it are refused from then on.
///
/// # Errors
/// [`Error`]: no such key.
pub fn delete_key(store: &Store, now: Timestamp, actor: &Actor, id: &str) -> Result<(), Error> {
    store.write(|rows| {
        if !rows.delete_key(id)? {
            return Err(Error::not_found(Kind::ApiKey, id));
        }
        Ok(audit(rows, now, actor, "delete API key", id, String::new())?)
    })
}

/// Id, role and note of every key.
///
/// # Errors
/// [`StoreError`].
pub fn list_keys(store: &Store) -> Result<Vec<(String, String, String)>, StoreError> {
    store.read(|rows| rows.keys())
}

impl Management {
    /// The key with this id, for checking a signature.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn key(&self, id: &str) -> Result<Option<ApiKey>, StoreError> {
        self.store.read(|rows| rows.key(id))
    }
}
