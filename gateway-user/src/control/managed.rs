//! What the control loop keeps of management: the last objects of the store, and the file beside them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use gateway_management::desired::Desired;
use gateway_management::{LiveTunnel, Management};
use tokio::sync::mpsc;

use super::management::{Live, Opened, Update, site};
use super::start_error::StartError;
use crate::config::{self, Config, Merged, TunnelConfig};

/// File and store, for as long as there is a store.
pub(super) struct Managed {
    /// The file.
    declared: Arc<Config>,
    /// The store, as it was read last.
    pub(super) desired: Desired,
    management: Arc<Management>,
    live: Live,
    opened: Option<Opened>,
}

impl Managed {
    pub(super) fn new(opened: Opened, declared: &Arc<Config>) -> Result<Self, StartError> {
        Ok(Self {
            declared: Arc::clone(declared),
            desired: opened.desired()?,
            management: Arc::clone(opened.management()),
            live: Arc::clone(opened.live()),
            opened: Some(opened),
        })
    }

    /// File and store together; tunnels that cannot run as they are stay as they run.
    pub(super) fn merge(&self, running: &[Arc<TunnelConfig>]) -> Merged {
        config::with_stored(&self.declared, &self.desired, running)
    }

    /// Takes another file and joins it with the store.
    pub(super) fn declare(&mut self, declared: Config, running: &[Arc<TunnelConfig>]) -> Config {
        if let Some(settings) = &declared.management {
            self.management.set_site(site(&declared, settings));
        }
        self.declared = Arc::new(declared);
        self.merge(running).config
    }

    /// Serves the API; changes of the store come through the channel.
    pub(super) fn serve(mut self) -> Result<(Option<Self>, Option<mpsc::Receiver<Update>>), StartError> {
        let updates = self.opened.take().map(Opened::serve).transpose()?;
        Ok((Some(self), updates))
    }

    /// Tells the API how the tunnels are.
    pub(super) fn publish(&self, tunnels: BTreeMap<String, LiveTunnel>) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = tunnels;
    }
}
