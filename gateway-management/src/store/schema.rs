//! The schema, as the list of migrations that made it. A migration that was released is never changed.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Each is run once, in its own transaction with the new version number.
const MIGRATIONS: &[&str] = &[
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
    // 2: tags, which go with their object.
    "
    CREATE TABLE tag (
        object TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (object, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER tags_of_vpn_gateway AFTER DELETE ON vpn_gateway
        BEGIN DELETE FROM tag WHERE object = OLD.id; END;
    CREATE TRIGGER tags_of_customer_gateway AFTER DELETE ON customer_gateway
        BEGIN DELETE FROM tag WHERE object = OLD.id; END;
    CREATE TRIGGER tags_of_tunnel AFTER DELETE ON tunnel
        BEGIN DELETE FROM tag WHERE object = OLD.id; END;
    ",
    // 3: what makes ten thousand tunnels fast: the pairs of ranges of all tunnels, kept in step by triggers, and the order of
    // lists.
    "
    CREATE TABLE spd_pair (
        tunnel INTEGER NOT NULL REFERENCES tunnel (number) ON DELETE CASCADE,
        local TEXT NOT NULL,
        peer TEXT NOT NULL,
        PRIMARY KEY (tunnel, local, peer)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX spd_pair_ranges ON spd_pair (local, peer);
    INSERT OR IGNORE INTO spd_pair SELECT tunnel.number, rule.value ->> '$.local', peer.value
        FROM tunnel, json_each(tunnel.settings, '$.spd') AS rule, json_each(rule.value, '$.peers') AS peer;
    CREATE TRIGGER pairs_of_new_tunnel AFTER INSERT ON tunnel BEGIN
        INSERT OR IGNORE INTO spd_pair SELECT NEW.number, rule.value ->> '$.local', peer.value
            FROM json_each(NEW.settings, '$.spd') AS rule, json_each(rule.value, '$.peers') AS peer;
    END;
    CREATE TRIGGER pairs_of_changed_tunnel AFTER UPDATE OF settings ON tunnel WHEN NEW.settings <> OLD.settings BEGIN
        DELETE FROM spd_pair WHERE tunnel = NEW.number;
        INSERT OR IGNORE INTO spd_pair SELECT NEW.number, rule.value ->> '$.local', peer.value
            FROM json_each(NEW.settings, '$.spd') AS rule, json_each(rule.value, '$.peers') AS peer;
    END;
    CREATE INDEX tunnel_created ON tunnel (created, number);
    ",
    // 4: rollups by number of the object, with probes, counted so that their size can be bounded.
    "
    CREATE TABLE monitored (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE) STRICT;
    INSERT INTO monitored (id) SELECT DISTINCT 'QCE/VPNX/' || object FROM traffic;
    CREATE TABLE rollup (
        object INTEGER NOT NULL,
        seconds INTEGER NOT NULL,
        start INTEGER NOT NULL,
        bytes_in INTEGER NOT NULL,
        bytes_out INTEGER NOT NULL,
        packets_in INTEGER NOT NULL,
        packets_out INTEGER NOT NULL,
        dropped INTEGER NOT NULL,
        probes_sent INTEGER NOT NULL DEFAULT 0,
        probes_lost INTEGER NOT NULL DEFAULT 0,
        probes_answered INTEGER NOT NULL DEFAULT 0,
        probe_micros INTEGER NOT NULL DEFAULT 0,
        limited INTEGER NOT NULL DEFAULT 0,
        ike_failures INTEGER NOT NULL DEFAULT 0,
        down_seconds INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (object, seconds, start)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO rollup (object, seconds, start, bytes_in, bytes_out, packets_in, packets_out, dropped)
        SELECT number, seconds, start, bytes_in, bytes_out, packets_in, packets_out, dropped
        FROM traffic JOIN monitored ON id = 'QCE/VPNX/' || object;
    DROP TABLE traffic;
    CREATE INDEX rollup_age ON rollup (seconds, start);
    CREATE TABLE rollup_count (number INTEGER NOT NULL) STRICT;
    INSERT INTO rollup_count SELECT count(*) FROM rollup;
    ",
    // 5: alarms.
    "
    CREATE TABLE alarm_policy (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        settings TEXT NOT NULL,
        created INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE alarm_receiver (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        sealed BLOB NOT NULL
    ) STRICT;
    CREATE TABLE alarm_state (
        policy INTEGER NOT NULL REFERENCES alarm_policy (number) ON DELETE CASCADE,
        object TEXT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (policy, object)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE alarm_history (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        policy TEXT NOT NULL,
        policy_name TEXT NOT NULL,
        namespace TEXT NOT NULL,
        object TEXT NOT NULL,
        object_name TEXT NOT NULL,
        content TEXT NOT NULL,
        began INTEGER NOT NULL,
        ended INTEGER
    ) STRICT;
    CREATE TABLE alarm_outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        receiver TEXT NOT NULL,
        session TEXT NOT NULL,
        notice TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        told INTEGER NOT NULL DEFAULT 0,
        due INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX alarm_outbox_order ON alarm_outbox (receiver, session, number);
    CREATE TABLE alarm_message (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        time INTEGER NOT NULL,
        title TEXT NOT NULL,
        text TEXT NOT NULL
    ) STRICT;
    ",
    // 6: the stage of a gateway's life that is in force, and the end that its owner was reminded of.
    "
    ALTER TABLE vpn_gateway ADD COLUMN stage INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE vpn_gateway ADD COLUMN reminded INTEGER NOT NULL DEFAULT 0;
    ",
    // 7: addresses as numbers, so that those within a range are found without looking at all. An address is four octets of a JSON
    // array when its dots are commas.
    "
    ALTER TABLE vpn_gateway ADD COLUMN bits INTEGER GENERATED ALWAYS AS (
        (('[' || replace(address, '.', ',') || ']') ->> 0) * 16777216 + (('[' || replace(address, '.', ',') || ']') ->> 1) * 65536
        + (('[' || replace(address, '.', ',') || ']') ->> 2) * 256 + (('[' || replace(address, '.', ',') || ']') ->> 3)
    ) VIRTUAL;
    ALTER TABLE customer_gateway ADD COLUMN bits INTEGER GENERATED ALWAYS AS (
        (('[' || replace(address, '.', ',') || ']') ->> 0) * 16777216 + (('[' || replace(address, '.', ',') || ']') ->> 1) * 65536
        + (('[' || replace(address, '.', ',') || ']') ->> 2) * 256 + (('[' || replace(address, '.', ',') || ']') ->> 3)
    ) VIRTUAL;
    CREATE INDEX vpn_gateway_bits ON vpn_gateway (bits);
    CREATE INDEX customer_gateway_bits ON customer_gateway (bits);
    ",
    // 8: routes, which go with their tunnel.
    "
    CREATE TABLE route (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        tunnel INTEGER NOT NULL REFERENCES tunnel (number) ON DELETE CASCADE,
        destination TEXT NOT NULL,
        priority INTEGER NOT NULL,
        enabled INTEGER NOT NULL,
        description TEXT NOT NULL,
        created INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        UNIQUE (tunnel, destination)
    ) STRICT;
    ",
    // 9: high defense packages; one whose gateway is removed is kept.
    "
    CREATE TABLE defense_package (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        gateway TEXT UNIQUE REFERENCES vpn_gateway (id) ON DELETE SET NULL,
        limits TEXT NOT NULL,
        created INTEGER NOT NULL
    ) STRICT;
    ",
    // 10: a revision of what is no tunnel. Triggers keep it: no change of these tables can forget it.
    "
    ALTER TABLE revision ADD COLUMN ends INTEGER NOT NULL DEFAULT 1;
    CREATE TRIGGER vpn_gateway_insert AFTER INSERT ON vpn_gateway BEGIN UPDATE revision SET ends = ends + 1; END;
    CREATE TRIGGER vpn_gateway_update AFTER UPDATE ON vpn_gateway BEGIN UPDATE revision SET ends = ends + 1; END;
    CREATE TRIGGER vpn_gateway_delete AFTER DELETE ON vpn_gateway BEGIN UPDATE revision SET ends = ends + 1; END;
    CREATE TRIGGER customer_gateway_insert AFTER INSERT ON customer_gateway BEGIN UPDATE revision SET ends = ends + 1; END;
    CREATE TRIGGER customer_gateway_update AFTER UPDATE ON customer_gateway BEGIN UPDATE revision SET ends = ends + 1; END;
    CREATE TRIGGER customer_gateway_delete AFTER DELETE ON customer_gateway BEGIN UPDATE revision SET ends = ends + 1; END;
    CREATE TRIGGER defense_package_insert AFTER INSERT ON defense_package BEGIN UPDATE revision SET ends = ends + 1; END;
    CREATE TRIGGER defense_package_update AFTER UPDATE ON defense_package BEGIN UPDATE revision SET ends = ends + 1; END;
    CREATE TRIGGER defense_package_delete AFTER DELETE ON defense_package BEGIN UPDATE revision SET ends = ends + 1; END;
    ",
    // 11: timelines of tunnels, of those of the machine's file too; lines of a tunnel of the store go with it.
    "
    CREATE TABLE event (
        number INTEGER PRIMARY KEY,
        tunnel TEXT NOT NULL,
        time INTEGER NOT NULL,
        times INTEGER NOT NULL,
        text TEXT NOT NULL
    ) STRICT;
    CREATE INDEX event_tunnel ON event (tunnel, number);
    CREATE TRIGGER events_of_tunnel AFTER DELETE ON tunnel
        BEGIN DELETE FROM event WHERE tunnel = OLD.id; END;
    ",
    // 12: health checks by their addresses.
    "
    CREATE INDEX tunnel_health ON tunnel (settings ->> '$.health.local', settings ->> '$.health.remote');
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

/// A database as it was when there were `version` migrations.
#[cfg(test)]
pub(super) fn made_at(version: u32) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    for migration in MIGRATIONS.iter().take(version as usize) {
        connection.execute_batch(migration).unwrap();
    }
    connection.pragma_update(None, "user_version", version).unwrap();
    connection
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

    #[test]
    fn an_older_store_gets_timelines_and_keeps_its_tunnels() {
        let mut connection = made_at(10);
        connection
            .execute_batch(
                "INSERT INTO vpn_gateway (id, name, vpc, address, bandwidth, auto_renew, created, expires)
                     VALUES ('gw', 'gw', 'vpc', '203.0.113.1', 5, 0, 0, 0);
                 INSERT INTO customer_gateway (id, name, address, created) VALUES ('c', 'c', '198.51.100.1', 0);
                 INSERT INTO tunnel (id, name, gateway, customer_gateway, status, revision, settings, psk, created)
                     VALUES ('one', 'one', 1, 1, 1, 1, '{}', x'00', 0);",
            )
            .unwrap();
        migrate(&mut connection).unwrap();
        let lines = |connection: &Connection| -> Vec<String> {
            let mut statement = connection
                .prepare("SELECT tunnel FROM event ORDER BY number")
                .unwrap();
            let rows = statement.query_map([], |row| row.get(0)).unwrap();
            rows.collect::<Result<_, _>>().unwrap()
        };
        connection
            .execute_batch("INSERT INTO event VALUES (1, 'one', 0, 1, 'x'), (2, 'of-the-file', 0, 1, 'x')")
            .unwrap();
        assert_eq!(lines(&connection), ["one", "of-the-file"]);
        connection.execute("DELETE FROM tunnel", []).unwrap();
        assert_eq!(lines(&connection), ["of-the-file"], "its lines go with its row");
    }
}
