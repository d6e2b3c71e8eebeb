//! Rows of VPN gateways and customer gateways.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use rusqlite::{OptionalExtension as _, Row, params};

use super::{Rows, StoreError};
use crate::lease::Lease;
use crate::objects::{CustomerGateway, VpnGateway};
use crate::time::Timestamp;

const GATEWAY: &str =
    "SELECT number, id, name, vpc, address, bandwidth, auto_renew, created, expires, stage, reminded
     FROM vpn_gateway";
const CUSTOMER: &str = "SELECT number, id, name, address, created FROM customer_gateway";

impl Rows<'_> {
    /// Another number after every change of a VPN gateway, a customer gateway or a high defense package.
    pub fn ends_revision(&self) -> Result<i64, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT ends FROM revision")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// All VPN gateways in the order of their creation.
    pub fn gateways(&self) -> Result<Vec<VpnGateway>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{GATEWAY} ORDER BY number"))?;
        let rows = statement.query_map([], gateway)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The VPN gateway with this id, in the unified form or as a number.
    pub fn gateway(&self, id: &str) -> Result<Option<VpnGateway>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{GATEWAY} WHERE id = ?1 OR number = ?2"))?;
        Ok(statement.query_row(params![id, number(id)], gateway).optional()?)
    }

    /// The VPN gateway with this number.
    pub fn gateway_numbered(&self, number: i64) -> Result<Option<VpnGateway>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{GATEWAY} WHERE number = ?1"))?;
        Ok(statement.query_row([number], gateway).optional()?)
    }

    /// Stores a new gateway, whose number is ignored, and returns its number.
    pub fn insert_gateway(&self, gateway: &VpnGateway) -> Result<i64, StoreError> {
        self.connection.execute(
            "INSERT INTO vpn_gateway (id, name, vpc, address, bandwidth, auto_renew, created, expires, stage, reminded)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                gateway.id,
                gateway.name,
                gateway.vpc,
                gateway.address.to_string(),
                gateway.bandwidth,
                gateway.auto_renew,
                gateway.created.0,
                gateway.expires.0,
                gateway.stage.number(),
                gateway.reminded.0
            ],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Stores what can change of a gateway.
    pub fn update_gateway(&self, gateway: &VpnGateway) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE vpn_gateway SET name = ?2, bandwidth = ?3, auto_renew = ?4, expires = ?5, stage = ?6, reminded = ?7
             WHERE number = ?1",
            params![
                gateway.number,
                gateway.name,
                gateway.bandwidth,
                gateway.auto_renew,
                gateway.expires.0,
                gateway.stage.number(),
                gateway.reminded.0
            ],
        )?;
        Ok(())
    }

    /// Removes a gateway that no tunnel uses.
    pub fn delete_gateway(&self, number: i64) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM vpn_gateway WHERE number = ?1", [number])?;
        Ok(())
    }

    /// All customer gateways in the order of their creation.
    pub fn customer_gateways(&self) -> Result<Vec<CustomerGateway>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{CUSTOMER} ORDER BY number"))?;
        let rows = statement.query_map([], customer)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The customer gateway with this id, in the unified form or as a number.
    pub fn customer_gateway(&self, id: &str) -> Result<Option<CustomerGateway>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{CUSTOMER} WHERE id = ?1 OR number = ?2"))?;
        Ok(statement
            .query_row(params![id, number(id)], customer)
            .optional()?)
    }

    /// The customer gateway with this number.
    pub fn customer_gateway_numbered(&self, number: i64) -> Result<Option<CustomerGateway>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{CUSTOMER} WHERE number = ?1"))?;
        Ok(statement.query_row([number], customer).optional()?)
    }

    /// The customer gateway with this name.
    pub fn customer_gateway_named(&self, name: &str) -> Result<Option<CustomerGateway>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{CUSTOMER} WHERE name = ?1"))?;
        Ok(statement.query_row([name], customer).optional()?)
    }

    /// The customer gateway with this address.
    pub fn customer_gateway_at(&self, address: Ipv4Addr) -> Result<Option<CustomerGateway>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("{CUSTOMER} WHERE address = ?1"))?;
        Ok(statement.query_row([address.to_string()], customer).optional()?)
    }

    /// How many customer gateways there are.
    pub fn count_customer_gateways(&self) -> Result<usize, StoreError> {
        let count: i64 = self
            .connection
            .prepare_cached("SELECT count(*) FROM customer_gateway")?
            .query_row([], |row| row.get(0))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// An address of a VPN gateway or customer gateway that lies in `range`.
    pub fn end_within(&self, range: Ipv4Net) -> Result<Option<Ipv4Addr>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT bits FROM vpn_gateway WHERE bits BETWEEN ?1 AND ?2
             UNION ALL SELECT bits FROM customer_gateway WHERE bits BETWEEN ?1 AND ?2 LIMIT 1",
        )?;
        let ends = params![range.network().to_bits(), range.broadcast().to_bits()];
        let found: Option<u32> = statement.query_row(ends, |row| row.get(0)).optional()?;
        Ok(found.map(Ipv4Addr::from_bits))
    }

    /// Stores a new customer gateway, whose number is ignored, and returns its number.
    pub fn insert_customer_gateway(&self, gateway: &CustomerGateway) -> Result<i64, StoreError> {
        self.connection.execute(
            "INSERT INTO customer_gateway (id, name, address, created) VALUES (?1, ?2, ?3, ?4)",
            params![
                gateway.id,
                gateway.name,
                gateway.address.to_string(),
                gateway.created.0
            ],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Renames a customer gateway.
    pub fn rename_customer_gateway(&self, number: i64, name: &str) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE customer_gateway SET name = ?2 WHERE number = ?1",
            params![number, name],
        )?;
        Ok(())
    }

    /// Removes a customer gateway that no tunnel uses.
    pub fn delete_customer_gateway(&self, number: i64) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM customer_gateway WHERE number = ?1", [number])?;
        Ok(())
    }
}

/// The API's old form of an id. Numbers begin at 1: what is no number matches none.
pub(super) fn number(id: &str) -> i64 {
    id.parse().unwrap_or(0)
}

fn gateway(row: &Row<'_>) -> rusqlite::Result<VpnGateway> {
    Ok(VpnGateway {
        number: row.get(0)?,
        id: row.get(1)?,
        name: row.get(2)?,
        vpc: row.get(3)?,
        address: address(row, 4)?,
        bandwidth: row.get(5)?,
        auto_renew: row.get(6)?,
        created: Timestamp(row.get(7)?),
        expires: Timestamp(row.get(8)?),
        stage: stage(row, 9)?,
        reminded: Timestamp(row.get(10)?),
    })
}

fn customer(row: &Row<'_>) -> rusqlite::Result<CustomerGateway> {
    Ok(CustomerGateway {
        number: row.get(0)?,
        id: row.get(1)?,
        name: row.get(2)?,
        address: address(row, 3)?,
        created: Timestamp(row.get(4)?),
    })
}

fn stage(row: &Row<'_>, column: usize) -> rusqlite::Result<Lease> {
    let number = row.get(column)?;
    Lease::from_number(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}

pub(super) fn address(row: &Row<'_>, column: usize) -> rusqlite::Result<Ipv4Addr> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}
