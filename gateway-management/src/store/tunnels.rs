//! Rows of tunnels and of the tasks that change them.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use rusqlite::{OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::ends::{address, number};
use super::{Rows, StoreError};
use crate::algorithms::{DpdAction, IkeOptions, IpsecOptions, Start};
use crate::health::HealthCheck;
use crate::objects::{Status, Task, TaskState, Tunnel};
use crate::psk::PresharedKey;
use crate::spd::SpdRule;
use crate::time::Timestamp;

const TUNNEL: &str = "SELECT number, id, name, gateway, customer_gateway, status, revision, settings, created, error FROM tunnel";

/// The part of a tunnel that is stored as one JSON document.
#[derive(Serialize, Deserialize)]
struct Settings {
    start: Start,
    spd: Vec<SpdRule>,
    ike: IkeOptions,
    ipsec: IpsecOptions,
    dpd_seconds: u32,
    /// Tunnels of before did what is `hold`.
    #[serde(default = "hold")]
    dpd_action: DpdAction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health: Option<HealthCheck>,
}

const fn hold() -> DpdAction {
    DpdAction::Hold
}

/// Which tunnels a list has; what is `None` filters nothing.
#[derive(Clone, Debug, Default)]
pub struct TunnelFilter {
    /// Id of the VPC.
    pub vpc: Option<String>,
    /// Number of the VPN gateway.
    pub gateway: Option<i64>,
    /// Number of the customer gateway.
    pub customer_gateway: Option<i64>,
    /// Part of the name.
    pub name: Option<String>,
    /// Number of the tunnel.
    pub number: Option<i64>,
}

/// One page of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// How many to skip.
    pub offset: u32,
    /// How many to return.
    pub limit: u32,
    /// By what they are ordered.
    pub order: Order,
    /// The last ones first.
    pub descending: bool,
}

/// What a list is ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Time of creation.
    Created,
    /// Name.
    Name,
}

impl Page {
    /// Cuts the page out of a whole list.
    pub fn cut<T, K: Ord>(
        &self,
        mut items: Vec<T>,
        name: impl Fn(&T) -> K,
        created: impl Fn(&T) -> (Timestamp, i64),
    ) -> Vec<T> {
        match self.order {
            Order::Created => items.sort_by_key(&created),
            Order::Name => items.sort_by_key(&name),
        }
        if self.descending {
            items.reverse();
        }
        let skip = usize::try_from(self.offset).unwrap_or(usize::MAX);
        items
            .into_iter()
            .skip(skip)
            .take(usize::try_from(self.limit).unwrap_or(usize::MAX))
            .collect()
    }
}

impl Rows<'_> {
    /// All tunnels in the order of their creation.
    pub fn tunnels(&self) -> Result<Vec<Tunnel>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{TUNNEL} ORDER BY number"))?;
        let rows = statement.query_map([], tunnel)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One page of the tunnels that pass the filter, and how many pass it in all.
    pub fn list_tunnels(
        &self,
        filter: &TunnelFilter,
        page: &Page,
    ) -> Result<(usize, Vec<Tunnel>), StoreError> {
        const WHERE: &str = "WHERE (?1 IS NULL OR gateway IN (SELECT number FROM vpn_gateway WHERE vpc = ?1))
            AND (?2 IS NULL OR gateway = ?2) AND (?3 IS NULL OR customer_gateway = ?3)
            AND (?4 IS NULL OR instr(name, ?4) > 0) AND (?5 IS NULL OR number = ?5)";
        let order = match page.order {
            Order::Created => "created",
            Order::Name => "name",
        };
        let direction = if page.descending { "DESC" } else { "ASC" };
        let TunnelFilter {
            vpc,
            gateway,
            customer_gateway,
            name,
            number,
        } = filter;
        let arguments = params![vpc, gateway, customer_gateway, name, number];
        let total: i64 = self
            .connection
            .prepare_cached(&format!("SELECT count(*) FROM tunnel {WHERE}"))?
            .query_row(arguments, |row| row.get(0))?;
        let query =
            format!("{TUNNEL} {WHERE} ORDER BY {order} {direction}, number {direction} LIMIT ?6 OFFSET ?7");
        let mut statement = self.connection.prepare_cached(&query)?;
        let rows = statement.query_map(
            params![
                vpc,
                gateway,
                customer_gateway,
                name,
                number,
                page.limit,
                page.offset
            ],
            tunnel,
        )?;
        Ok((
            usize::try_from(total).unwrap_or(0),
            rows.collect::<Result<_, _>>()?,
        ))
    }

    /// Another tunnel of the VPC that has this pair of ranges.
    pub fn tunnel_with_pair(
        &self,
        vpc: &str,
        pair: (Ipv4Net, Ipv4Net),
        except: i64,
    ) -> Result<Option<String>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT tunnel.id FROM spd_pair JOIN tunnel ON tunnel.number = spd_pair.tunnel
             WHERE spd_pair.local = ?1 AND spd_pair.peer = ?2 AND tunnel.number <> ?3
             AND tunnel.gateway IN (SELECT number FROM vpn_gateway WHERE vpc = ?4) LIMIT 1",
        )?;
        let arguments = params![pair.0.to_string(), pair.1.to_string(), except, vpc];
        let found = statement.query_row(arguments, |row| row.get(0));
        Ok(found.optional()?)
    }

    /// Another tunnel of the VPC whose health check is between these addresses.
    pub fn tunnel_probing(
        &self,
        vpc: &str,
        addresses: (Ipv4Addr, Ipv4Addr),
        except: i64,
    ) -> Result<Option<String>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id FROM tunnel WHERE settings ->> '$.health.local' = ?1 AND settings ->> '$.health.remote' = ?2
             AND number <> ?3 AND gateway IN (SELECT number FROM vpn_gateway WHERE vpc = ?4) LIMIT 1",
        )?;
        let arguments = params![addresses.0.to_string(), addresses.1.to_string(), except, vpc];
        let found = statement.query_row(arguments, |row| row.get(0));
        Ok(found.optional()?)
    }

    /// Both addresses of every health check in the VPC.
    pub fn probed_addresses(&self, vpc: &str) -> Result<HashSet<Ipv4Addr>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT settings ->> '$.health.local', settings ->> '$.health.remote' FROM tunnel
             WHERE settings ->> '$.health.local' IS NOT NULL
             AND gateway IN (SELECT number FROM vpn_gateway WHERE vpc = ?1)",
        )?;
        let rows = statement.query_map([vpc], |row| Ok([address(row, 0)?, address(row, 1)?]))?;
        let pairs: Vec<_> = rows.collect::<Result<_, _>>()?;
        Ok(pairs.into_iter().flatten().collect())
    }

    /// Number and revision of the tunnels that the agent is to run, in the order of their creation.
    pub fn tunnels_to_run(&self) -> Result<Vec<(i64, i64)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT number, revision FROM tunnel WHERE status NOT IN (?1, ?2) ORDER BY number",
        )?;
        let absent = params![Status::Deleting.number(), Status::CreateError.number()];
        let rows = statement.query_map(absent, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The tunnel with this number.
    pub fn tunnel_numbered(&self, number: i64) -> Result<Option<Tunnel>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{TUNNEL} WHERE number = ?1"))?;
        Ok(statement.query_row([number], tunnel).optional()?)
    }

    /// Whether a tunnel has this name.
    pub fn tunnel_named(&self, name: &str) -> Result<Option<i64>, StoreError> {
        let found = self
            .connection
            .query_row("SELECT number FROM tunnel WHERE name = ?1", [name], |row| {
                row.get(0)
            });
        Ok(found.optional()?)
    }

    /// The tunnel with this id, in the unified form or as a number.
    pub fn tunnel(&self, id: &str) -> Result<Option<Tunnel>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{TUNNEL} WHERE id = ?1 OR number = ?2"))?;
        Ok(statement.query_row(params![id, number(id)], tunnel).optional()?)
    }

    /// The key of a tunnel.
    pub fn psk(&self, tunnel: &Tunnel) -> Result<PresharedKey, StoreError> {
        let sealed: Vec<u8> = self.connection.query_row(
            "SELECT psk FROM tunnel WHERE number = ?1",
            [tunnel.number],
            |row| row.get(0),
        )?;
        let secret = self
            .vault
            .open(&owner(&tunnel.id), &sealed)
            .ok_or(StoreError::Damaged("the key of a tunnel does not decrypt"))?;
        PresharedKey::parse(&secret).map_err(|_rule| StoreError::Damaged("the key of a tunnel breaks a rule"))
    }

    /// Stores a new tunnel, whose number is ignored, and returns its number.
    pub fn insert_tunnel(&self, tunnel: &Tunnel, psk: &PresharedKey) -> Result<i64, StoreError> {
        self.connection.execute(
            "INSERT INTO tunnel (id, name, gateway, customer_gateway, status, revision, settings, psk, created)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                tunnel.id,
                tunnel.name,
                tunnel.gateway,
                tunnel.customer_gateway,
                tunnel.status.number(),
                tunnel.revision,
                settings(tunnel)?,
                self.vault.seal(&owner(&tunnel.id), psk.expose())?,
                tunnel.created.0
            ],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Stores what can change of a tunnel, and its key when there is another one.
    pub fn update_tunnel(&self, tunnel: &Tunnel, psk: Option<&PresharedKey>) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE tunnel SET name = ?2, status = ?3, revision = ?4, settings = ?5, error = ?6 WHERE number = ?1",
            params![
                tunnel.number,
                tunnel.name,
                tunnel.status.number(),
                tunnel.revision,
                settings(tunnel)?,
                tunnel.error
            ],
        )?;
        if let Some(psk) = psk {
            let sealed = self.vault.seal(&owner(&tunnel.id), psk.expose())?;
            self.connection.execute(
                "UPDATE tunnel SET psk = ?2 WHERE number = ?1",
                params![tunnel.number, sealed],
            )?;
        }
        Ok(())
    }

    /// Notes that what the agent runs of a tunnel changed with `revision`, beside its own row.
    pub fn set_tunnel_revision(&self, number: i64, revision: i64) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE tunnel SET revision = ?2 WHERE number = ?1",
            params![number, revision],
        )?;
        Ok(())
    }

    /// Removes a tunnel.
    pub fn delete_tunnel(&self, number: i64) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM tunnel WHERE number = ?1", [number])?;
        Ok(())
    }

    /// Tunnels that wait for the agent, changed at `revision` or before.
    pub fn pending_tunnels(&self, revision: i64) -> Result<Vec<Tunnel>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{TUNNEL} WHERE status IN (0, 2, 4) AND revision <= ?1"))?;
        let rows = statement.query_map([revision], tunnel)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How many tunnels a VPN gateway has.
    pub fn tunnels_of_gateway(&self, gateway: i64) -> Result<usize, StoreError> {
        self.count("SELECT count(*) FROM tunnel WHERE gateway = ?1", gateway)
    }

    /// Whether a tunnel joins the two gateways.
    pub fn are_joined(&self, gateway: i64, customer_gateway: i64) -> Result<bool, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT 1 FROM tunnel WHERE gateway = ?1 AND customer_gateway = ?2")?;
        Ok(statement.exists([gateway, customer_gateway])?)
    }

    /// How many tunnels a customer gateway has.
    pub fn tunnels_of_customer_gateway(&self, gateway: i64) -> Result<usize, StoreError> {
        self.count("SELECT count(*) FROM tunnel WHERE customer_gateway = ?1", gateway)
    }

    pub(super) fn count(&self, query: &str, argument: i64) -> Result<usize, StoreError> {
        let mut statement = self.connection.prepare_cached(query)?;
        let count: i64 = statement.query_row([argument], |row| row.get(0))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Notes a change that the agent has to act on, and returns the task's number.
    pub fn insert_task(&self, tunnel: &str, now: Timestamp) -> Result<i64, StoreError> {
        self.connection.execute(
            "INSERT INTO task (tunnel, state, created) VALUES (?1, ?2, ?3)",
            params![tunnel, TaskState::Running.number(), now.0],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Ends the running tasks of a tunnel.
    pub fn finish_tasks(&self, tunnel: &str, state: TaskState, error: &str) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE task SET state = ?2, error = ?3 WHERE tunnel = ?1 AND state = ?4",
            params![tunnel, state.number(), error, TaskState::Running.number()],
        )?;
        Ok(())
    }

    /// A task.
    pub fn task(&self, number: i64) -> Result<Option<Task>, StoreError> {
        let found = self.connection.query_row(
            "SELECT number, tunnel, state, error FROM task WHERE number = ?1",
            [number],
            |row| {
                Ok(Task {
                    number: row.get(0)?,
                    tunnel: row.get(1)?,
                    state: TaskState::from_number(row.get(2)?).unwrap_or(TaskState::Failed),
                    error: row.get(3)?,
                })
            },
        );
        Ok(found.optional()?)
    }
}

/// What a sealed key is bound to.
fn owner(id: &str) -> String {
    format!("tunnel {id}")
}

fn settings(tunnel: &Tunnel) -> Result<String, StoreError> {
    let settings = Settings {
        start: tunnel.start,
        spd: tunnel.spd.clone(),
        ike: tunnel.ike.clone(),
        ipsec: tunnel.ipsec.clone(),
        dpd_seconds: tunnel.dpd_seconds,
        dpd_action: tunnel.dpd_action,
        health: tunnel.health,
    };
    serde_json::to_string(&settings)
        .map_err(|_never| StoreError::Damaged("the settings of a tunnel cannot be written"))
}

fn tunnel(row: &Row<'_>) -> rusqlite::Result<Tunnel> {
    let text: String = row.get(7)?;
    let Settings {
        start,
        spd,
        ike,
        ipsec,
        dpd_seconds,
        dpd_action,
        health,
    } = serde_json::from_str(&text).map_err(|error| damaged(7, Box::new(error)))?;
    let status: i64 = row.get(5)?;
    Ok(Tunnel {
        number: row.get(0)?,
        id: row.get(1)?,
        name: row.get(2)?,
        gateway: row.get(3)?,
        customer_gateway: row.get(4)?,
        status: Status::from_number(status).ok_or(rusqlite::Error::IntegralValueOutOfRange(5, status))?,
        revision: row.get(6)?,
        start,
        spd,
        ike,
        ipsec,
        dpd_seconds,
        dpd_action,
        health,
        created: Timestamp(row.get(8)?),
        error: row.get(9)?,
    })
}

fn damaged(column: usize, error: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
}
