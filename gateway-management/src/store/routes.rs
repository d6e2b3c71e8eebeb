//! Rows of routes.

use ipnet::Ipv4Net;
use rusqlite::{OptionalExtension as _, Row, params};

use super::{Page, Rows, StoreError};
use crate::objects::Route;
use crate::time::Timestamp;

const ROUTE: &str =
    "SELECT route.id, tunnel.id, destination, priority, enabled, description, route.created, updated
     FROM route JOIN tunnel ON tunnel.number = route.tunnel";

/// Which routes a list has; what is `None` filters nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteFilter {
    /// Exactly this destination.
    pub destination: Option<Ipv4Net>,
    /// Id of the tunnel.
    pub tunnel: Option<String>,
}

impl Rows<'_> {
    /// The routes of a tunnel in the order of their creation.
    pub fn routes_of_tunnel(&self, tunnel: i64) -> Result<Vec<Route>, StoreError> {
        let query = format!("{ROUTE} WHERE route.tunnel = ?1 ORDER BY route.number");
        let mut statement = self.connection.prepare_cached(&query)?;
        let rows = statement.query_map([tunnel], route)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One page of the routes of a VPN gateway that pass the filter, oldest first, and how many pass it in all.
    pub fn list_routes(
        &self,
        gateway: i64,
        filter: &RouteFilter,
        page: &Page,
    ) -> Result<(usize, Vec<Route>), StoreError> {
        const WHERE: &str = "WHERE tunnel.gateway = ?1 AND (?2 IS NULL OR destination = ?2) AND (?3 IS NULL OR tunnel.id = ?3)";
        let destination = filter.destination.map(|range| range.to_string());
        let total: i64 = self
            .connection
            .prepare_cached(&format!(
                "SELECT count(*) FROM route JOIN tunnel ON tunnel.number = route.tunnel {WHERE}"
            ))?
            .query_row(params![gateway, destination, filter.tunnel], |row| row.get(0))?;
        let query = format!("{ROUTE} {WHERE} ORDER BY route.number LIMIT ?4 OFFSET ?5");
        let mut statement = self.connection.prepare_cached(&query)?;
        let rows = statement.query_map(
            params![gateway, destination, filter.tunnel, page.limit, page.offset],
            route,
        )?;
        Ok((
            usize::try_from(total).unwrap_or(0),
            rows.collect::<Result<_, _>>()?,
        ))
    }

    /// The route with this id, and the number of its tunnel, if it is one of the VPN gateway.
    pub fn route(&self, gateway: i64, id: &str) -> Result<Option<(i64, Route)>, StoreError> {
        let query = format!("{ROUTE} WHERE route.id = ?1 AND tunnel.gateway = ?2");
        let query = query.replacen("SELECT", "SELECT route.tunnel,", 1);
        let mut statement = self.connection.prepare_cached(&query)?;
        let found = statement.query_row(params![id, gateway], |row| Ok((row.get(0)?, route_at(row, 1)?)));
        Ok(found.optional()?)
    }

    /// How many routes a VPN gateway has.
    pub fn routes_of_gateway(&self, gateway: i64) -> Result<usize, StoreError> {
        self.count(
            "SELECT count(*) FROM route JOIN tunnel ON tunnel.number = route.tunnel WHERE tunnel.gateway = ?1",
            gateway,
        )
    }

    /// Stores a new route of the tunnel with this number.
    pub fn insert_route(&self, tunnel: i64, route: &Route) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT INTO route (id, tunnel, destination, priority, enabled, description, created, updated)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                route.id,
                tunnel,
                route.destination.to_string(),
                route.priority,
                route.enabled,
                route.description,
                route.created.0,
                route.updated.0
            ],
        )?;
        Ok(())
    }

    /// Stores what can change of a route.
    pub fn update_route(&self, route: &Route) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE route SET enabled = ?2, description = ?3, updated = ?4 WHERE id = ?1",
            params![route.id, route.enabled, route.description, route.updated.0],
        )?;
        Ok(())
    }

    /// Removes a route.
    pub fn delete_route(&self, id: &str) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM route WHERE id = ?1", [id])?;
        Ok(())
    }
}

fn route(row: &Row<'_>) -> rusqlite::Result<Route> {
    route_at(row, 0)
}

fn route_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Route> {
    let destination: String = row.get(first + 2)?;
    let destination = destination.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(first + 2, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(Route {
        id: row.get(first)?,
        tunnel: row.get(first + 1)?,
        destination,
        priority: row.get(first + 3)?,
        enabled: row.get(first + 4)?,
        description: row.get(first + 5)?,
        created: Timestamp(row.get(first + 6)?),
        updated: Timestamp(row.get(first + 7)?),
    })
}
