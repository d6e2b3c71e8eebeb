//! The operations: all rules, one function each, the time as an argument.
//!
//! A change of a tunnel is stored with a new revision and the status "being ...". The [`Agent`] hears of it, reads [`Management::desired`],
//! puts it into effect and reports with [`Management::settle`]; only then is the tunnel running.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::alarm::{Counters as AlarmCounters, Targets};
use crate::defense::DefenseState;
use crate::desired::{Desired, Written};
use crate::error::{Error, Kind};
use crate::monitor::Namespace;
use crate::objects::{AuditEntry, CustomerGateway, Role, VpnGateway};
use crate::site::Site;
use crate::store::{DEFAULT_ROLLUP_OCTETS, Rows, Store, StoreError, Traffic, random};
use crate::time::Timestamp;
use crate::values;

mod alarms;
mod customer_gateways;
mod defense;
mod events;
mod gateways;
mod health;
mod import;
pub mod keys;
mod leases;
mod monitor;
mod routes;
mod settle;
mod tags;
#[cfg(test)]
mod tests;
mod tunnels;

pub use customer_gateways::CustomerGatewayFilter;
pub use events::EventChange;
pub use gateways::{GatewayChange, GatewayFilter, NewGateway};
pub use import::{Fate, Import, ImportError, Imported};
pub use monitor::{MonitorQuery, Sample, Series};
pub use routes::{NewRoute, RouteChange};
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
    /// Bandwidth setting in Mbit/s of a gateway that is not in the store; `None` without a limit, or without such a gateway.
    fn bandwidth(&self, _gateway: &str) -> Option<u32> {
        None
    }
    /// Ids of all tunnels or gateways that the agent has, those of the file too.
    fn objects(&self, _namespace: Namespace) -> Vec<String> {
        Vec::new()
    }
    /// What the shield of a gateway does; `None` without a shield.
    fn defense(&self, _gateway: &str) -> Option<DefenseState> {
        None
    }
}

/// The agent of those who change nothing that runs, or have nobody to tell.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Agent for Nobody {
    fn changed(&self) {}

    fn reset(&self, _tunnel: &str) {}

    fn live(&self, _tunnel: &str) -> Option<LiveTunnel> {
        None
    }
}

/// A tunnel in the data plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveTunnel {
    /// Whether at least one pair of SAs carries traffic.
    pub up: bool,
    /// What its probes say; `None` when it is not probed.
    pub health: Option<Health>,
    /// Counters since the agent's start.
    pub traffic: Traffic,
}

/// What the probes of a tunnel say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing yet.
    #[default]
    Unknown,
    /// Answered.
    Healthy,
    /// As many in a row as the threshold says were not answered.
    Unhealthy,
}

impl Health {
    /// Its name in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Everything that can be done to the objects. Shared by the front ends.
pub struct Management {
    store: Store,
    site: RwLock<Arc<Site>>,
    agent: Arc<dyn Agent>,
    counters: std::sync::Mutex<BTreeMap<String, Traffic>>,
    /// What [`Self::desired`] wrote last. Locked before the store.
    written: std::sync::Mutex<Written>,
    rollup_octets: u64,
    /// When this process recorded for the first time: of what was before, nothing says that it was seen.
    recorded_since: OnceLock<Timestamp>,
    targets: Targets,
    alarm_counters: AlarmCounters,
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
            written: std::sync::Mutex::default(),
            rollup_octets: DEFAULT_ROLLUP_OCTETS,
            recorded_since: OnceLock::new(),
            targets: Targets::default(),
            alarm_counters: AlarmCounters::default(),
        }
    }

    /// Lets all rollups together take at most this many octets.
    #[must_use]
    pub const fn with_rollup_octets(mut self, octets: u64) -> Self {
        self.rollup_octets = octets;
        self
    }

    /// Lets alarms be sent to these addresses only.
    #[must_use]
    pub fn with_alarm_targets(mut self, targets: Targets) -> Self {
        self.targets = targets;
        self
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
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.read(|rows| Desired::read(rows, &mut written))
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
