//! Rows of tags.

use rusqlite::params;

use super::{Rows, StoreError};
use crate::objects::Tag;

impl Rows<'_> {
    /// The tags of an object in the order of their keys.
    pub fn tags(&self, object: &str) -> Result<Vec<Tag>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT key, value FROM tag WHERE object = ?1 ORDER BY key")?;
        let rows = statement.query_map([object], |row| {
            Ok(Tag {
                key: row.get(0)?,
                value: row.get(1)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Adds tags to an object; a key that is there gets the new value.
    pub fn put_tags(&self, object: &str, tags: &[Tag]) -> Result<(), StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("INSERT OR REPLACE INTO tag (object, key, value) VALUES (?1, ?2, ?3)")?;
        for tag in tags {
            statement.execute(params![object, tag.key, tag.value])?;
        }
        Ok(())
    }

    /// Removes the tags with these keys.
    pub fn delete_tags(&self, object: &str, keys: &[String]) -> Result<(), StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("DELETE FROM tag WHERE object = ?1 AND key = ?2")?;
        for key in keys {
            statement.execute(params![object, key])?;
        }
        Ok(())
    }
}
