//! The store and the API beside the control loop: on a thread of their own, connected by messages.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use gateway_management::desired::Desired;
use gateway_management::store::{Store, StoreError, Traffic, Vault};
use gateway_management::{LiveTunnel, Management, Site, Timestamp, api};
use tokio::sync::{Notify, mpsc, oneshot};

use super::start_error::StartError;
use crate::config::{Config, ManagementConfig};
use crate::control_socket::{Call, Request};

/// Traffic is recorded, and expired gateways are looked for, this often.
const RECORD: Duration = Duration::from_secs(10);

/// A desired state for the control loop, which answers with the tunnels it refuses.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) desired: Desired,
    pub(super) refused: oneshot::Sender<BTreeMap<String, String>>,
}

/// State of the tunnels, written by the control loop and read by the API.
pub(super) type Live = Arc<RwLock<BTreeMap<String, LiveTunnel>>>;

/// The control loop as management sees it.
struct Agent {
    changed: Arc<Notify>,
    calls: mpsc::Sender<Call>,
    live: Live,
}

impl gateway_management::Agent for Agent {
    fn changed(&self) {
        self.changed.notify_one();
    }

    fn reset(&self, tunnel: &str) {
        for request in [
            Request::Down {
                tunnel: tunnel.to_owned(),
            },
            Request::Up {
                tunnel: tunnel.to_owned(),
            },
        ] {
            let (answer, _nobody_waits) = oneshot::channel();
            if self.calls.try_send(Call { request, answer }).is_err() {
                tracing::warn!(tunnel, "the control loop is busy: the tunnel was not reset");
            }
        }
    }

    fn live(&self, tunnel: &str) -> Option<LiveTunnel> {
        self.live
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(tunnel)
            .copied()
    }
}

/// Management that is open and not yet served.
pub(super) struct Opened {
    management: Arc<Management>,
    changed: Arc<Notify>,
    live: Live,
    listener: Option<(TcpListener, Option<api::TlsAcceptor>)>,
}

/// Opens the store, checks the certificate and listens: what can fail fails before the agent touches anything.
pub(super) async fn open(config: &Config, calls: mpsc::Sender<Call>) -> Result<Option<Opened>, StartError> {
    let Some(settings) = &config.management else {
        return Ok(None);
    };
    let store = open_store(settings)?;
    let (changed, live) = (Arc::new(Notify::new()), Live::default());
    let agent = Agent {
        changed: Arc::clone(&changed),
        calls,
        live: Arc::clone(&live),
    };
    let management = Arc::new(Management::new(store, site(config, settings), Arc::new(agent)));
    let listener = match &settings.api {
        None => None,
        Some(served) => {
            let tls = served.tls.as_ref().map(api::acceptor).transpose()?;
            let listener = api::bind(served.listen, tls.is_some()).await?;
            let listener = listener.into_std().map_err(|source| StartError::Process {
                what: "listen for the API",
                source,
            })?;
            tracing::info!(listen = %served.listen, tls = tls.is_some(), "the API is served");
            Some((listener, tls))
        }
    };
    Ok(Some(Opened {
        management,
        changed,
        live,
        listener,
    }))
}

/// Opens the store of a configuration.
pub(crate) fn open_store(settings: &ManagementConfig) -> Result<Store, StartError> {
    let vault = Vault::from_file(&settings.key_file).map_err(|source| StartError::StoreKey {
        file: settings.key_file.clone(),
        source,
    })?;
    Ok(Store::open(&settings.store, vault)?)
}

/// What the file says about the place that is managed.
pub(crate) fn site(config: &Config, settings: &ManagementConfig) -> Site {
    let vpc = |vpc: &Arc<crate::config::VpcConfig>| gateway_management::site::Vpc {
        id: vpc.id.to_string(),
        name: vpc.id.to_string(),
        cidr: vpc.cidr,
    };
    let declared: Vec<_> = config.gateways.iter().map(|gateway| gateway.address).collect();
    Site {
        region: settings.region.clone(),
        vpcs: config.vpcs.iter().map(vpc).collect(),
        public_addresses: settings
            .public_addresses
            .iter()
            .copied()
            .filter(|address| !declared.contains(address))
            .collect(),
        quotas: settings.quotas,
        prices: settings.prices.clone(),
    }
}

impl Opened {
    /// What to run.
    pub(super) fn desired(&self) -> Result<Desired, StoreError> {
        self.management.desired()
    }

    pub(super) fn management(&self) -> &Arc<Management> {
        &self.management
    }

    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// Serves until the process ends. The control loop gets its work through the returned channel.
    pub(super) fn serve(self) -> Result<mpsc::Receiver<Update>, StartError> {
        let (updates, inbox) = mpsc::channel(1);
        // A thread of its own: neither a flood of requests nor a slow disk delays the control loop.
        let failed = |source| StartError::Process {
            what: "start the thread of the API",
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let thread = std::thread::Builder::new().name("api".to_owned());
        thread
            .spawn(move || runtime.block_on(self.run(updates)))
            .map_err(failed)?;
        Ok(inbox)
    }

    async fn run(self, updates: mpsc::Sender<Update>) {
        if let Some((listener, tls)) = self.listener {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    let limits = api::Limits::default();
                    tokio::spawn(api::serve(listener, tls, Arc::clone(&self.management), limits));
                }
                Err(error) => tracing::error!(%error, "the API is not served"),
            }
        }
        tokio::spawn(record(Arc::clone(&self.management), self.live));
        // What was stored and not reported before a restart is reported.
        self.changed.notify_one();
        loop {
            self.changed.notified().await;
            match hand_over(&self.management, &updates).await {
                Ok(()) => {}
                Err(RoundError::Ended) => return,
                Err(RoundError::Store(error)) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the store cannot be used"
                    );
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    self.changed.notify_one();
                }
            }
        }
    }
}

/// Why a round did not end well.
enum RoundError {
    /// The agent ends.
    Ended,
    /// The store cannot be used.
    Store(gateway_management::Error),
}

/// One round: desired state to the control loop, its answer to the store.
async fn hand_over(management: &Arc<Management>, updates: &mpsc::Sender<Update>) -> Result<(), RoundError> {
    let reader = Arc::clone(management);
    let read = tokio::task::spawn_blocking(move || reader.desired()).await;
    let desired = read
        .map_err(|_panicked| RoundError::Ended)?
        .map_err(|error| RoundError::Store(error.into()))?;
    let revision = desired.revision;
    let (answer, answered) = oneshot::channel();
    let sent = updates
        .send(Update {
            desired,
            refused: answer,
        })
        .await;
    sent.map_err(|_closed| RoundError::Ended)?;
    let refused = answered.await.map_err(|_closed| RoundError::Ended)?;
    let writer = Arc::clone(management);
    let settled = tokio::task::spawn_blocking(move || writer.settle(revision, &refused)).await;
    settled
        .map_err(|_panicked| RoundError::Ended)?
        .map_err(RoundError::Store)
}

/// Keeps the rollups of traffic and the ends of leases up to date.
async fn record(management: Arc<Management>, live: Live) {
    let mut tick = tokio::time::interval(RECORD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let counters: Vec<(String, Traffic)> = {
            let live = live.read().unwrap_or_else(PoisonError::into_inner);
            live.iter()
                .map(|(id, tunnel)| (id.clone(), tunnel.traffic))
                .collect()
        };
        let management = Arc::clone(&management);
        let recorded = tokio::task::spawn_blocking(move || {
            let now = Timestamp::now();
            management.record(now, &counters)?;
            management.expire_gateways(now)
        });
        if let Ok(Err(error)) = recorded.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "traffic was not recorded"
            );
        }
    }
}
