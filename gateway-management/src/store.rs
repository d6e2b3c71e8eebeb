//! The store: one SQLite database, secrets encrypted, every acknowledged change on disk.
//!
//! WAL with `synchronous=FULL`: a transaction that returned has been written through to the disk, and one that did not is not
//! there at all, whatever ends the process. There is one connection; operations are short, and the database is small.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

mod access;
mod alarms;
mod defense;
mod ends;
mod events;
mod routes;
mod schema;
mod tags;
mod traffic;
mod tunnels;
mod vault;

pub use alarms::{Told, Waiting};
pub use events::{EVENTS, EVENTS_PER_TUNNEL, EventLine};
pub use routes::RouteFilter;
pub use traffic::{DEFAULT_ROLLUP_OCTETS, Point, ROLLUP_OCTETS, Resolution, Traffic};
pub use tunnels::{Order, Page, TunnelFilter};
pub use vault::{KeyError, Vault};

/// Why the store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("the store cannot be used")]
    Database(#[from] rusqlite::Error),
    /// The file cannot be made or protected.
    #[error("cannot prepare {}: {source}", file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A newer gateway wrote it.
    #[error(
        "the store has schema {found}, and this gateway knows up to {known}: install the newer gateway again"
    )]
    Newer {
        /// In the file.
        found: i64,
        /// Here.
        known: i64,
    },
    /// It was encrypted under another key.
    #[error("the store was encrypted under another key file")]
    WrongKey,
    /// A secret does not decrypt, or a row has values that nothing here writes.
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
    /// The operating system gives no randomness.
    #[error("the operating system has no randomness")]
    NoRandomness,
}

/// The database. All access is through [`Self::read`] and [`Self::write`].
pub struct Store {
    connection: Mutex<Connection>,
    vault: Vault,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// The rows, within one transaction.
pub struct Rows<'a> {
    connection: &'a Connection,
    vault: &'a Vault,
}

impl Store {
    /// Opens or makes the database in `file`, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(file: &Path, vault: Vault) -> Result<Self, StoreError> {
        protect(file).map_err(|source| StoreError::File {
            file: file.to_owned(),
            source,
        })?;
        Self::prepare(Connection::open(file)?, vault)
    }

    /// A store that lives as long as the process: for tests of what is above it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(Connection::open_in_memory()?, Vault::new(&[7; 32]))
    }

    fn prepare(mut connection: Connection, vault: Vault) -> Result<Self, StoreError> {
        // Another process may hold the database for a moment: the command line writes keys into it.
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "secure_delete", true)?;
        schema::migrate(&mut connection)?;
        let store = Self {
            connection: Mutex::new(connection),
            vault,
        };
        store.write(|rows| rows.check_key())?;
        Ok(store)
    }

    /// Reads in one transaction: what is read belongs together.
    ///
    /// # Errors
    /// Those of `work` and of the database.
    pub fn read<T, E: From<StoreError>>(&self, work: impl FnOnce(&Rows<'_>) -> Result<T, E>) -> Result<T, E> {
        let mut connection = self.lock();
        let transaction = begin(&mut connection, TransactionBehavior::Deferred)?;
        work(&Rows {
            connection: &transaction,
            vault: &self.vault,
        })
    }

    /// Writes in one transaction. When this returns `Ok`, the change is on disk; else nothing changed.
    ///
    /// # Errors
    /// Those of `work` and of the database.
    pub fn write<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Rows<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.lock();
        let transaction = begin(&mut connection, TransactionBehavior::Immediate)?;
        let done = work(&Rows {
            connection: &transaction,
            vault: &self.vault,
        })?;
        transaction.commit().map_err(StoreError::from)?;
        Ok(done)
    }

    /// A panic of another thread rolled its transaction back: the connection is good.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn begin(connection: &mut Connection, behavior: TransactionBehavior) -> Result<Transaction<'_>, StoreError> {
    Ok(connection.transaction_with_behavior(behavior)?)
}

/// Makes the file readable by its owner only, before SQLite makes it for everybody. SQLite gives its journals the same mode.
fn protect(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

    let opened = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(file)?;
    if opened.metadata()?.permissions().mode() & 0o077 != 0 {
        opened.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Octets of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut octets = [0; N];
    SystemRandom::new()
        .fill(&mut octets)
        .map_err(|ring::error::Unspecified| StoreError::NoRandomness)?;
    Ok(octets)
}

impl Rows<'_> {
    /// The revision of the last change that concerns the data plane.
    pub(crate) fn revision(&self) -> Result<i64, StoreError> {
        Ok(self
            .connection
            .query_row("SELECT number FROM revision", [], |row| row.get(0))?)
    }

    /// The next revision: a change of this transaction concerns the data plane.
    pub(crate) fn next_revision(&self) -> Result<i64, StoreError> {
        Ok(self.connection.query_row(
            "UPDATE revision SET number = number + 1 RETURNING number",
            [],
            |row| row.get(0),
        )?)
    }

    /// Compares the key with the one that the store was made with.
    fn check_key(&self) -> Result<(), StoreError> {
        const CHECK: &str = "key check";
        let sealed: Option<Vec<u8>> = self
            .connection
            .query_row("SELECT sealed FROM key_check", [], |row| row.get(0))
            .optional()?;
        match sealed {
            Some(sealed) => match self.vault.open(CHECK, &sealed) {
                Some(_) => Ok(()),
                None => Err(StoreError::WrongKey),
            },
            None => {
                let sealed = self.vault.seal(CHECK, CHECK)?;
                self.connection
                    .execute("INSERT INTO key_check (sealed) VALUES (?1)", [sealed])?;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_its_owners_and_another_key_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("store.db");
        drop(Store::open(&file, Vault::new(&[1; 32])).unwrap());
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        drop(Store::open(&file, Vault::new(&[1; 32])).unwrap());
        assert!(matches!(
            Store::open(&file, Vault::new(&[2; 32])),
            Err(StoreError::WrongKey)
        ));
    }

    #[test]
    fn a_store_of_before_health_checks_is_upgraded_with_its_tunnels() {
        let connection = schema::made_at(9);
        connection
            .execute_batch(
                r#"INSERT INTO vpn_gateway (id, name, vpc, address, bandwidth, auto_renew, created, expires)
                       VALUES ('vpngw-1', 'gw', 'vpc', '203.0.113.1', 5, 0, 1600000000, 1700000000);
                   INSERT INTO customer_gateway (id, name, address, created)
                       VALUES ('cgw-1', 'idc', '198.51.100.1', 1600000000);
                   INSERT INTO tunnel (id, name, gateway, customer_gateway, status, revision, settings, psk, created)
                       VALUES ('vpnx-1', 't', 1, 1, 2, 1, '{"start":"always","spd":[{"local":"10.0.0.0/24","peers":["192.168.0.0/24"]}],
                       "ike":{"version":"ikev1","mode":"main","encryption":"3des","hash":"md5","group":"14","lifetime_seconds":86400,
                       "local_identity":"own_address","remote_identity":{"fqdn":"idc.example"}},
                       "ipsec":{"encryption":"aes-128","integrity":"sha1","pfs":null,"lifetime_seconds":3600,"lifetime_kilobytes":1843200},
                       "dpd_seconds":30}', x'00', 1600000000);"#,
            )
            .unwrap();
        let store = Store::prepare(connection, Vault::new(&[7; 32])).unwrap();
        let (tunnels, revision) = store
            .read(|rows| Ok::<_, StoreError>((rows.tunnels()?, rows.ends_revision()?)))
            .unwrap();
        let [tunnel] = &*tunnels else {
            panic!("{tunnels:?}")
        };
        assert_eq!(
            (tunnel.dpd_action, tunnel.health),
            (crate::algorithms::DpdAction::Hold, None)
        );
        assert_eq!(revision, 1);
    }

    #[test]
    fn a_refused_change_leaves_nothing() {
        let store = Store::in_memory().unwrap();
        let before = store.read(|rows| rows.revision()).unwrap();
        let refused: Result<(), StoreError> = store.write(|rows| {
            rows.next_revision()?;
            Err(StoreError::Damaged("on purpose"))
        });
        assert!(refused.is_err());
        assert_eq!(store.read(|rows| rows.revision()).unwrap(), before);
    }
}
