//! Rows of high defense packages.

use rusqlite::params;

use super::{Rows, StoreError};
use crate::defense::DefensePackage;
use crate::time::Timestamp;

impl Rows<'_> {
    /// All packages in the order of their creation.
    pub fn defense_packages(&self) -> Result<Vec<DefensePackage>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT number, id, name, gateway, limits, created FROM defense_package ORDER BY number",
        )?;
        let rows = statement.query_map([], |row| {
            let limits: String = row.get(4)?;
            let created = Timestamp(row.get(5)?);
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                limits,
                created,
            ))
        })?;
        rows.map(|row| {
            let (number, id, name, gateway, limits, created) = row?;
            Ok(DefensePackage {
                number,
                id,
                name,
                gateway,
                limits: serde_json::from_str(&limits)
                    .map_err(|_no_limits| StoreError::Damaged("limits of a high defense package"))?,
                created,
            })
        })
        .collect()
    }

    /// Stores a new package, whose number is ignored, and returns its number.
    pub fn insert_defense_package(&self, package: &DefensePackage) -> Result<i64, StoreError> {
        self.connection.execute(
            "INSERT INTO defense_package (id, name, gateway, limits, created) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                package.id,
                package.name,
                package.gateway,
                limits(package)?,
                package.created.0
            ],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Stores what can change of a package.
    pub fn update_defense_package(&self, package: &DefensePackage) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE defense_package SET name = ?2, gateway = ?3, limits = ?4 WHERE number = ?1",
            params![package.number, package.name, package.gateway, limits(package)?],
        )?;
        Ok(())
    }

    /// Removes a package.
    pub fn delete_defense_package(&self, number: i64) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM defense_package WHERE number = ?1", [number])?;
        Ok(())
    }
}

fn limits(package: &DefensePackage) -> Result<String, StoreError> {
    serde_json::to_string(&package.limits)
        .map_err(|_never| StoreError::Damaged("limits cannot be written as JSON"))
}
