//! The operations: all rules, one function each, the time as an argument.
//!
//! A change of a tunnel is stored with a new revision and the status "being ...". The [`Agent`] hears of it, reads [`Management::desired`],
//! puts it into effect and reports with [`Management::settle`]; only then is the tunnel running.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::desired::Desired;
use crate::error::{Error, Kind};
use crate::objects::{AuditEntry, CustomerGateway, Role, VpnGateway};
use crate::site::Site;
use crate::store::{Rows, Store, StoreError, Traffic, random};
use crate::time::Timestamp;
use crate::values;

mod customer_gateways;
mod gateways;
pub mod keys;
mod monitor;
mod settle;
#[cfg(test)]
mod tests;
mod tunnels;

pub use gateways::{GatewayChange, GatewayFilter, NewGateway};
pub use tunnels::{Changed, Effect, NewTunnel, TunnelChange, TunnelQuery};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Id of the API key, or `local` for the operator on the machine.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

impl Actor {
    /// The operator on the machine, who may read the store's files anyway.
    pub fn local() -> Self {
        Self {
            name: "local".to_owned(),
            role: Role::Admin,
        }
    }

    fn require(&self, needed: Role) -> Result<(), Error> {
        if self.role < needed {
            return Err(Error::NotAllowed {
                needed,
                has: self.role,
            });
        }
        Ok(())
    }
}

/// What runs the tunnels. Nothing here may block: the calls are made while an operation runs.
pub trait Agent: Send + Sync {
    /// The desired state has a new revision: read it with [`Management::desired`] and report with [`Management::settle`].
    fn changed(&self);
    /// Ends the SAs of a tunnel and negotiates new ones as its start setting says.
    fn reset(&self, tunnel: &str);
    /// What is known of a tunnel; `None` when the agent does not have it.
    fn live(&self, tunnel: &str) -> Option<LiveTunnel>;
}

/// A tunnel in the data plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveTunnel {
    /// Whether at least one pair of SAs carries traffic.
    pub up: bool,
    /// Counters since the agent's start.
    pub traffic: Traffic,
}

/// Everything that can be done to the objects. Shared by the front ends.
pub struct Management {
    store: Store,
    site: RwLock<Arc<Site>>,
    agent: Arc<dyn Agent>,
    counters: std::sync::Mutex<BTreeMap<String, Traffic>>,
}

impl fmt::Debug for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Management")
    }
}

/// A list: how many there are in all, and those of the page.
#[derive(Debug)]
pub struct Listing<T> {
    /// How many pass the filter.
    pub total: usize,
    /// Those of the page.
    pub items: Vec<T>,
}

impl Management {
    /// Management of `site` with the objects of `store`.
    pub fn new(store: Store, site: Site, agent: Arc<dyn Agent>) -> Self {
        Self {
            store,
            site: RwLock::new(Arc::new(site)),
            agent,
            counters: std::sync::Mutex::default(),
        }
    }

    /// What the machine's file says.
    pub fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The machine's file was read again.
    pub fn set_site(&self, site: Site) {
        *self.site.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(site);
    }

    /// What the agent is to run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn desired(&self) -> Result<Desired, StoreError> {
        self.store.read(Desired::read)
    }

    /// The last lines of the audit log, newest first.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] or [`Error::Store`].
    pub fn audit_log(&self, actor: &Actor, limit: u32) -> Result<Vec<AuditEntry>, Error> {
        actor.require(Role::Admin)?;
        Ok(self.store.read(|rows| rows.audit_log(limit))?)
    }
}

/// Writes the audit line of a change, within its transaction.
fn audit(
    rows: &Rows<'_>,
    now: Timestamp,
    actor: &Actor,
    operation: &str,
    object: &str,
    detail: String,
) -> Result<(), StoreError> {
    rows.audit(&AuditEntry {
        time: now,
        actor: actor.name.clone(),
        operation: operation.to_owned(),
        object: object.to_owned(),
        detail,
    })
}

fn new_id(prefix: &str) -> Result<String, StoreError> {
    Ok(values::make_id(prefix, random()?))
}

fn gateway(rows: &Rows<'_>, id: &str) -> Result<VpnGateway, Error> {
    rows.gateway(id)?
        .ok_or_else(|| Error::not_found(Kind::Gateway, id))
}

fn customer_gateway(rows: &Rows<'_>, id: &str) -> Result<CustomerGateway, Error> {
    rows.customer_gateway(id)?
        .ok_or_else(|| Error::not_found(Kind::CustomerGateway, id))
}
