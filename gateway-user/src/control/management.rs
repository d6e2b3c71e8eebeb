//! The store and the API beside the control loop: on a thread of their own, connected by messages.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use gateway_management::alarm::delivery;
use gateway_management::desired::Desired;
use gateway_management::monitor::Namespace;
use gateway_management::store::{Store, StoreError, Vault};
use gateway_management::{LiveTunnel, Management, Sample, Site, Timestamp, api};
use tokio::sync::{Notify, mpsc, oneshot};

use super::events::{self, EventQueue, EventWriter};
use super::start_error::StartError;
use crate::config::{Config, ManagementConfig};
use crate::control_socket::{Call, Request};
use crate::status::DefenseState;

/// The ends of gateways' periods are looked for this often: a boundary is kept to the second.
const LEASES: Duration = Duration::from_secs(1);
/// Traffic is recorded and alarms are evaluated this often in seconds.
const RECORD: i64 = 10;

/// A desired state for the control loop, which answers with the tunnels it refuses.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) desired: Desired,
    pub(super) refused: oneshot::Sender<BTreeMap<String, String>>,
}

/// State of the tunnels, written by the control loop and read by the API.
pub(super) type Live = Arc<RwLock<Snapshot>>;

/// What the control loop tells management every second.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) tunnels: BTreeMap<String, LiveTunnel>,
    /// What belongs to which gateway, and what gateways have beside their tunnels.
    pub(super) samples: Vec<Sample>,
    /// Bandwidth settings of gateways that have one, in Mbit/s.
    pub(super) bandwidths: BTreeMap<String, u32>,
    /// What the shields of gateways do.
    pub(super) defenses: BTreeMap<String, DefenseState>,
}

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
            .tunnels
            .get(tunnel)
            .copied()
    }

    fn bandwidth(&self, gateway: &str) -> Option<u32> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.bandwidths.get(gateway).copied()
    }

    fn defense(&self, gateway: &str) -> Option<DefenseState> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.defenses.get(gateway).copied()
    }

    fn objects(&self, namespace: Namespace) -> Vec<String> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let samples = live.samples.iter().filter(|sample| sample.namespace == namespace);
        samples.map(|sample| sample.object.clone()).collect()
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
    let management = Management::new(store, site(config, settings), Arc::new(agent))
        .with_rollup_octets(settings.monitoring_octets)
        .with_alarm_targets(settings.alarm_targets.clone());
    let management = Arc::new(management);
    // What ended while no agent ran has ended before the first tunnel starts.
    management.advance_leases(Timestamp::now())?;
    let declared: Vec<_> = config.tunnels.iter().map(|tunnel| tunnel.id.as_str()).collect();
    management.forget_events_except(&declared)?;
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

    pub(super) fn changed(&self) -> &Arc<Notify> {
        &self.changed
    }

    /// Serves until the process ends. The control loop gets its work through the returned channel, and hands events over to the queue.
    pub(super) fn serve(self) -> Result<(mpsc::Receiver<Update>, EventQueue), StartError> {
        let (updates, inbox) = mpsc::channel(1);
        let (queue, writer) = events::queue(Instant::now());
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
            .spawn(move || runtime.block_on(self.run(updates, writer)))
            .map_err(failed)?;
        Ok((inbox, queue))
    }

    async fn run(self, updates: mpsc::Sender<Update>, events: EventWriter) {
        if let Some((listener, tls)) = self.listener {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    let limits = api::Limits::default();
                    tokio::spawn(api::serve(listener, tls, Arc::clone(&self.management), limits));
                }
                Err(error) => tracing::error!(%error, "the API is not served"),
            }
        }
        let events = tokio::spawn(events.run(Arc::clone(&self.management)));
        tokio::spawn(follow_leases(Arc::clone(&self.management)));
        tokio::spawn(record(Arc::clone(&self.management), self.live));
        tokio::spawn(delivery::run(Arc::clone(&self.management)));
        // What was stored and not reported before a restart is reported.
        self.changed.notify_one();
        loop {
            self.changed.notified().await;
            match hand_over(&self.management, &updates).await {
                Ok(()) => {}
                Err(RoundError::Ended) => break,
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
        // The agent waits for its last events.
        events.await.ok();
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

/// Brings gateways to the stages of their periods.
async fn follow_leases(management: Arc<Management>) {
    let mut tick = tokio::time::interval(LEASES);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let management = Arc::clone(&management);
        let advanced = tokio::task::spawn_blocking(move || management.advance_leases(Timestamp::now()));
        if let Ok(Err(error)) = advanced.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the periods of gateways were not looked at"
            );
        }
    }
}

/// Keeps the rollups of traffic and the alarms on them up to date.
async fn record(management: Arc<Management>, live: Live) {
    loop {
        let samples = live
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .samples
            .clone();
        let management = Arc::clone(&management);
        let recorded = tokio::task::spawn_blocking(move || {
            let now = Timestamp::now();
            management.record(now, &samples)?;
            management.evaluate_alarms(now)
        });
        if let Ok(Err(error)) = recorded.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "traffic was not recorded"
            );
        }
        tokio::time::sleep(until_middle(Timestamp::now())).await;
    }
}

/// Until the middle of a step of the rollups. On a pace of its own a record would drift over the border of steps, and leave a step without
/// any, in which nothing seems to have happened.
fn until_middle(now: Timestamp) -> Duration {
    let passed = now.0.wrapping_sub(RECORD / 2).rem_euclid(RECORD);
    Duration::from_secs(RECORD.wrapping_sub(passed).cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_the_rollups_has_its_record() {
        for (now, expected) in [
            (0, 5),
            (4, 1),
            (5, 10),
            (6, 9),
            (9, 6),
            (1_600_000_015, 10),
            (-1, 6),
        ] {
            assert_eq!(
                until_middle(Timestamp(now)),
                Duration::from_secs(expected),
                "{now}"
            );
        }
    }
}
