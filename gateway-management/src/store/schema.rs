//! The schema, as the list of migrations that made it. A migration that was released is never changed.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Each is run once, in its own transaction with the new version number.
const MIGRATIONS: [&str; 1] = [
    // 1: objects, keys, tasks, audit, traffic.
    "
    CREATE TABLE revision (number INTEGER NOT NULL);
    INSERT INTO revision VALUES (1);
    CREATE TABLE key_check (sealed BLOB NOT NULL);
    CREATE TABLE vpn_gateway (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        vpc TEXT NOT NULL,
        address TEXT NOT NULL UNIQUE,
        bandwidth INTEGER NOT NULL,
        auto_renew INTEGER NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE customer_gateway (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        address TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE tunnel (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        gateway INTEGER NOT NULL REFERENCES vpn_gateway (number),
        customer_gateway INTEGER NOT NULL REFERENCES customer_gateway (number),
        status INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        settings TEXT NOT NULL,
        psk BLOB NOT NULL,
        created INTEGER NOT NULL,
        error TEXT NOT NULL DEFAULT '',
        UNIQUE (gateway, customer_gateway)
    ) STRICT;
    CREATE INDEX tunnel_customer_gateway ON tunnel (customer_gateway);
    CREATE INDEX tunnel_status ON tunnel (status);
    CREATE TABLE task (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        tunnel TEXT NOT NULL,
        state INTEGER NOT NULL,
        error TEXT NOT NULL DEFAULT '',
        created INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX task_tunnel ON task (tunnel, state);
    CREATE TABLE api_key (
        id TEXT PRIMARY KEY,
        secret BLOB NOT NULL,
        role TEXT NOT NULL,
        note TEXT NOT NULL,
        created INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        time INTEGER NOT NULL,
        actor TEXT NOT NULL,
        operation TEXT NOT NULL,
        object TEXT NOT NULL,
        detail TEXT NOT NULL
    ) STRICT;
    CREATE TABLE traffic (
        object TEXT NOT NULL,
        seconds INTEGER NOT NULL,
        start INTEGER NOT NULL,
        bytes_in INTEGER NOT NULL,
        bytes_out INTEGER NOT NULL,
        packets_in INTEGER NOT NULL,
        packets_out INTEGER NOT NULL,
        dropped INTEGER NOT NULL,
        PRIMARY KEY (object, seconds, start)
    ) STRICT, WITHOUT ROWID;
    ",
];

/// Runs the migrations that the database has not seen.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (version, migration) in (1..).zip(MIGRATIONS).filter(|&(version, _)| version > found) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_run_once_and_a_newer_store_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        connection.pragma_update(None, "user_version", 1_000).unwrap();
        assert!(matches!(
            migrate(&mut connection),
            Err(StoreError::Newer { found: 1000, .. })
        ));
    }
}
