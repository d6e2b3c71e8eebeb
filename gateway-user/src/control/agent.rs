//! The running agent: everything that reaches the control loop is one [`Input`], and every input is handled to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gateway_common::abi::Verdict;
use gateway_ike::JobId;
use gateway_ike::crypto::KeyExchangeDone;
use gateway_management::Timestamp;
use gateway_management::monitor::Namespace;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::core::{CommandOutcome, Core};
use super::kernel::{DataplaneSettings, Kernel, NotInjected};
use super::key_exchange::{Finished, KeyExchanges};
use super::managed::Managed;
use super::management::Update;
use super::routes::{self, HostRoutes};
use super::service_manager::{self, Watchdog};
use super::start_error::StartError;
use crate::config::{self, Config, LoadError};
use crate::control_socket::{Call, Request, Response};
use crate::dataplane::{Counters, DataplaneEvent};
use crate::ike_io::{Datagram, EspPacket, IkeSockets};
use crate::net::{NetMirror, NetSnapshot, SlowPath};
use crate::status::{ConfigStatus, InterfaceStatus, Status, TunnelStatus, WorkerStatus, XdpStatus};
use crate::xdp::AttachedMode;

/// When counters are first looked at; [`Core::tick`] says when next.
const TICK: Duration = Duration::from_secs(1);
/// How long to wait before interfaces or workers that failed are tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Everything that the control loop can hear.
#[derive(Debug)]
enum Input {
    /// The engine's deadline.
    Deadline,
    /// Look at the counters.
    Tick,
    /// End.
    Stop,
    /// SIGHUP.
    Reload,
    /// The operator or a scrape.
    Call(Call),
    /// The kernel's network configuration changed.
    Net,
    /// The data plane.
    Dataplane(DataplaneEvent),
    /// A key exchange is computed.
    KeyExchange(JobId, KeyExchangeDone),
    /// A peer.
    Datagram(Datagram),
    /// ESP that the kernel put together from fragments.
    Esp(EspPacket),
    /// The objects of the store changed.
    Stored(Update),
}

/// The agent. [`super::start`] makes it, [`Self::run`] is its life.
pub(super) struct Agent {
    pub(super) core: Core<Kernel>,
    pub(super) sockets: IkeSockets,
    pub(super) key_exchanges: KeyExchanges<JobId>,
    pub(super) settings: DataplaneSettings,
    pub(super) slow_path: SlowPath,
    pub(super) file: PathBuf,
    pub(super) config: Arc<Config>,
    pub(super) inputs: Inputs,
    pub(super) managed: Option<Managed>,
    pub(super) routes: HostRoutes,
    pub(super) probe_addresses: BTreeSet<Ipv4Addr>,
    pub(super) reloads: Reloads,
    pub(super) failures: Failures,
    pub(super) _mirror: NetMirror,
}

/// Where inputs come from.
pub(super) struct Inputs {
    pub(super) net: watch::Receiver<Arc<NetSnapshot>>,
    pub(super) datagrams: mpsc::Receiver<Datagram>,
    pub(super) esp: mpsc::Receiver<EspPacket>,
    pub(super) key_exchanges: Finished<JobId>,
    pub(super) dataplane: mpsc::Receiver<DataplaneEvent>,
    pub(super) calls: mpsc::Receiver<Call>,
    /// `None` without a store.
    updates: Option<mpsc::Receiver<Update>>,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    tick: Interval,
}

/// What became of reloads.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    applied: u64,
    refused: u64,
    last_refusal: String,
}

/// What is broken in the data plane and waits to be tried again.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Why the interfaces are not all in the data plane.
    attach: Option<String>,
    /// Workers that ended, with their reasons.
    workers: BTreeMap<u32, String>,
    retried: Option<Instant>,
}

impl Inputs {
    pub(super) fn new(
        net: watch::Receiver<Arc<NetSnapshot>>,
        (datagrams, esp): (mpsc::Receiver<Datagram>, mpsc::Receiver<EspPacket>),
        key_exchanges: Finished<JobId>,
        dataplane: mpsc::Receiver<DataplaneEvent>,
        calls: mpsc::Receiver<Call>,
        updates: Option<mpsc::Receiver<Update>>,
    ) -> Result<Self, StartError> {
        let listen = |kind| {
            signal(kind).map_err(|source| StartError::Process {
                what: "listen for signals",
                source,
            })
        };
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            net,
            datagrams,
            esp,
            key_exchanges,
            dataplane,
            calls,
            updates,
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            tick,
        })
    }

    /// The next input. Deadlines and the operator come before peers: a flood of datagrams must not starve them.
    async fn next(&mut self, deadline: Option<Instant>) -> Input {
        let deadline = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        let update = async {
            match &mut self.updates {
                Some(updates) => updates.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Input::Stop,
            _ = self.interrupt.recv() => Input::Stop,
            () = deadline => Input::Deadline,
            _ = self.tick.tick() => Input::Tick,
            _ = self.hangup.recv() => Input::Reload,
            Some(call) = self.calls.recv() => Input::Call(call),
            Ok(()) = self.net.changed() => Input::Net,
            Some(update) = update => Input::Stored(update),
            Some(event) = self.dataplane.recv() => Input::Dataplane(event),
            Some((id, done)) = self.key_exchanges.recv() => Input::KeyExchange(id, done),
            Some(datagram) = self.datagrams.recv() => Input::Datagram(datagram),
            Some(packet) = self.esp.recv() => Input::Esp(packet),
        }
    }
}

impl Agent {
    /// Serves until it is told to stop.
    pub(super) async fn run(mut self) {
        let mut watchdog = Watchdog::new();
        loop {
            let input = self.inputs.next(self.core.poll_timeout()).await;
            let now = Instant::now();
            watchdog.feed(now);
            match input {
                Input::Deadline => self.core.handle_timeout(now),
                Input::Tick => self.tick(now).await,
                Input::Reload => drop(self.reload(now).await),
                Input::Call(call) => self.answer(now, call).await,
                Input::Net => self.follow_network(now).await,
                Input::Dataplane(event) => self.on_dataplane(now, &event),
                Input::KeyExchange(id, done) => {
                    self.key_exchanges.finished();
                    self.core.handle_job(now, id, done);
                }
                Input::Datagram(Datagram { local, peer, payload }) => {
                    self.core.handle_datagram(now, local, peer, &payload);
                }
                Input::Esp(packet) => self.inject(packet),
                Input::Stored(update) => self.follow_store(now, update).await,
                Input::Stop => break,
            }
            self.send();
            self.compute();
        }
        service_manager::tell(NotifyState::Stopping);
        let now = Instant::now();
        self.core.farewell(now);
        self.send();
        if let Some(mut managed) = self.managed {
            managed.hand_over_events(now, self.core.changed_events(now, Timestamp::now()));
            managed.finish().await;
        }
        tracing::info!(
            pin_dir = %self.config.agent.pin_dir.display(),
            "stopped; the XDP program stays and drops protected traffic: `gateway detach` removes it"
        );
    }

    fn inject(&self, packet: EspPacket) {
        let counters = self.sockets.counters();
        let missed = match self.core.fabric.inject(packet) {
            Ok(()) => return,
            Err(NotInjected::UnknownSpi) => &counters.esp_unknown_spi,
            Err(NotInjected::Overflow) => &counters.esp_overflows,
        };
        missed.fetch_add(1, Ordering::Relaxed);
    }

    fn send(&mut self) {
        while let Some(transmit) = self.core.poll_transmit() {
            self.sockets.send(&transmit);
        }
    }

    /// Keeps the threads for key exchanges busy.
    fn compute(&mut self) {
        while self.key_exchanges.has_room()
            && let Some((id, job)) = self.core.poll_job()
        {
            self.key_exchanges.run(id, job);
        }
    }

    async fn tick(&mut self, now: Instant) {
        self.core.fabric.drain_logs();
        self.core.fabric.watch_shields(now);
        let unknown_spis = self.core.fabric.take_unknown_spis();
        self.core.handle_unknown_spis(now, &unknown_spis);
        let counters = self.core.fabric.counters();
        if let Some(managed) = &mut self.managed
            && managed.wants_events(now, self.core.waiting_events())
        {
            managed.hand_over_events(now, self.core.changed_events(now, Timestamp::now()));
        }
        let next = self.core.tick(now, &counters);
        if let Some(managed) = &self.managed {
            let limited = |limiter| self.core.fabric.limiter_drops(limiter);
            let mut snapshot = self.core.management_snapshot(now, &counters, limited);
            let state = |gateway: &str| Some(self.core.fabric.defense(gateway)?.state);
            let gateways = snapshot
                .samples
                .iter()
                .filter(|sample| sample.namespace == Namespace::Gateway)
                .filter_map(|sample| Some((sample.object.clone(), state(&sample.object)?)));
            snapshot.defenses = gateways.collect();
            managed.publish(snapshot);
        }
        self.inputs.tick.reset_after(next);
        let failed = self.failures.attach.is_some() || !self.failures.workers.is_empty();
        let patient = self
            .failures
            .retried
            .is_none_or(|at| now.saturating_duration_since(at) >= RETRY);
        if failed && patient {
            self.use_interfaces(now);
        }
    }

    fn on_dataplane(&mut self, now: Instant, event: &DataplaneEvent) {
        if let DataplaneEvent::WorkerFailed { queue, error } = event {
            self.failures.workers.insert(*queue, error.clone());
            self.core.fabric.worker_failed();
        }
        self.core.handle_dataplane(now, event);
    }

    /// Interfaces come and go, and so do routes, neighbours and addresses.
    async fn follow_network(&mut self, now: Instant) {
        let net = Arc::clone(&self.inputs.net.borrow_and_update());
        self.core.fabric.set_routes(&net.routes);
        if self.core.fabric.is_outdated(&net) {
            self.use_interfaces(now);
        }
        self.sync_routes(&net).await;
    }

    pub(super) async fn sync_routes(&mut self, net: &NetSnapshot) {
        let wanted = routes::probe_addresses(&self.config, net, self.slow_path.kernel_ifindex());
        routes::own(&self.slow_path, &mut self.probe_addresses, wanted).await;
        let wanted = routes::wanted(&self.config, net);
        routes::install(&self.slow_path, &mut self.routes, wanted).await;
    }

    /// Brings the interfaces that are there into the data plane.
    pub(super) fn use_interfaces(&mut self, now: Instant) {
        let net = Arc::clone(&self.inputs.net.borrow());
        self.failures.retried = Some(now);
        self.failures.workers.clear();
        self.failures.attach = match self.core.fabric.follow(&net, &self.settings) {
            Ok(()) => None,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "not all interfaces are served"
                );
                Some(sentence(&error))
            }
        };
        for interface in self.core.fabric.interfaces() {
            match interface.attached {
                Some(mode) => {
                    tracing::info!(interface = interface.name, role = interface.role, %mode, "serving")
                }
                None => tracing::warn!(interface = interface.name, role = interface.role, "not served"),
            }
        }
    }

    async fn answer(&mut self, now: Instant, Call { request, answer }: Call) {
        let outcome = |outcome, done: String, id: &str| match outcome {
            CommandOutcome::Done => Response::Done(done),
            CommandOutcome::OnlyAnswers => {
                Response::Done(format!("{id}: the peer may bring it up (start = \"answer\")"))
            }
            CommandOutcome::NoSuchTunnel => Response::Refused(format!("no tunnel is called {id}")),
        };
        let response = match request {
            Request::Status { tunnel: None } => Response::Status(Box::new(self.status(now))),
            Request::Status { tunnel: Some(id) } => {
                let counters = self.core.fabric.counters();
                match self.core.one_tunnel_status(now, &id, &counters) {
                    Some(tunnel) => {
                        let status = Box::new(self.status_of(now, &counters, vec![tunnel]));
                        if let Some(managed) = &self.managed {
                            return managed.answer_with_events(status, self.core.recorded_from(&id), answer);
                        }
                        Response::Status(status)
                    }
                    None => Response::Refused(format!("no tunnel is called {id}")),
                }
            }
            Request::Up { tunnel } => outcome(
                self.core.up(now, &tunnel),
                format!("{tunnel}: coming up"),
                &tunnel,
            ),
            Request::Down { tunnel } => {
                outcome(self.core.down(now, &tunnel), format!("{tunnel}: down"), &tunnel)
            }
            Request::Reload {} => self.reload(now).await,
            Request::ReadStore {} => match &self.managed {
                Some(managed) => {
                    managed.read_again();
                    Response::Done("the agent reads the store again".to_owned())
                }
                None => Response::Refused("the agent runs without a store".to_owned()),
            },
            Request::Api { action, body } => match &self.managed {
                Some(managed) => return managed.call(action, body, answer),
                None => Response::Refused(format!(
                    "{} has no [store]: there are no objects besides its own",
                    self.file.display()
                )),
            },
        };
        if answer.send(response).is_err() {
            tracing::debug!("nobody waits for an answer");
        }
    }

    /// Reads the configuration again. With a mistake in it, or when it cannot be put into effect, everything stays as it is.
    async fn reload(&mut self, now: Instant) -> Response {
        let loaded = config::load(&self.file).map_err(|error| match error {
            LoadError::Refused(_) => Response::Mistakes(error.to_string()),
            LoadError::Unreadable { .. } => Response::Refused(error.to_string()),
        });
        let applied = match loaded {
            Ok(declared) => {
                let config = match &mut self.managed {
                    Some(managed) => managed.declare(declared, &self.config.tunnels),
                    None => declared,
                };
                self.put_into_effect(now, Arc::new(config))
                    .await
                    .map_err(Response::Refused)
            }
            Err(refusal) => Err(refusal),
        };
        match applied {
            Ok(()) => {
                self.reloads.applied += 1;
                self.reloads.last_refusal.clear();
                let generation = self.core.generation();
                tracing::info!(generation, "configuration reloaded");
                Response::Done(format!("configuration {generation} is in effect"))
            }
            Err(refusal) => {
                self.reloads.refused += 1;
                if let Response::Mistakes(text) | Response::Refused(text) = &refusal {
                    text.lines()
                        .for_each(|line| tracing::error!("reload refused: {line}"));
                    self.reloads.last_refusal.clone_from(text);
                }
                refusal
            }
        }
    }

    /// Puts the objects of the store into effect and tells which tunnels it cannot run.
    async fn follow_store(&mut self, now: Instant, Update { desired, refused }: Update) {
        let Some(managed) = &mut self.managed else { return };
        let ids: Vec<_> = desired.tunnels.iter().map(|tunnel| tunnel.id.clone()).collect();
        managed.desired = desired;
        let merged = managed.merge(&self.config.tunnels);
        let answer = match self.put_into_effect(now, Arc::new(merged.config)).await {
            Ok(()) => merged.refused,
            Err(reason) => {
                tracing::error!(reason, "the stored objects were not put into effect");
                ids.into_iter().map(|id| (id, reason.clone())).collect()
            }
        };
        if refused.send(answer).is_err() {
            tracing::debug!("management waits for no answer");
        }
    }

    async fn put_into_effect(&mut self, now: Instant, config: Arc<Config>) -> Result<(), String> {
        let addresses = |config: &Config| {
            config
                .gateways
                .iter()
                .map(|gateway| gateway.address)
                .collect::<Vec<_>>()
        };
        let (old, new) = (addresses(&self.config), addresses(&config));
        // Old sockets stay until the farewells to their peers are sent.
        self.sockets
            .listen(old.iter().chain(&new).copied())
            .map_err(|error| sentence(&error))?;
        if let Err(error) = self.core.apply(now, Arc::clone(&config)) {
            if let Err(error) = self.sockets.listen(old) {
                tracing::error!(%error, "sockets");
            }
            return Err(sentence(&error));
        }
        self.send();
        if let Err(error) = self.sockets.listen(new) {
            tracing::error!(%error, "sockets");
        }
        if config.agent != self.config.agent || needs_restart(&self.config, &config) {
            tracing::warn!(
                "changes of [agent], xdp_mode, umem_frames and frame_size take effect at the next start"
            );
        }
        self.config = config;
        if let Err(error) = self.core.fabric.configure(&self.config) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the XDP program has not taken all of the configuration: an interface keeps its role, or a shield its limits"
            );
        }
        let net = Arc::clone(&self.inputs.net.borrow());
        if self.core.fabric.is_outdated(&net) {
            self.use_interfaces(now);
        }
        self.sync_routes(&net).await;
        Ok(())
    }

    fn status(&self, now: Instant) -> Status {
        let counters = self.core.fabric.counters();
        let tunnels = self.core.tunnel_statuses(now, &counters);
        self.status_of(now, &counters, tunnels)
    }

    /// The status of the agent with these tunnels.
    fn status_of(&self, now: Instant, counters: &Counters, tunnels: Vec<TunnelStatus>) -> Status {
        let interfaces = self.core.fabric.interfaces();
        let attached: Vec<_> = interfaces
            .iter()
            .filter_map(|interface| interface.attached)
            .collect();
        let mode = match attached.iter().all(|mode| *mode == AttachedMode::Native) {
            _ if attached.is_empty() => "none",
            true => "native",
            false => "generic",
        };
        let workers = counters
            .workers
            .iter()
            .map(|worker| worker_status(worker, &self.failures));
        let workers: Vec<_> = workers.collect();
        let memory = u64::from(self.settings.umem_frames) * u64::from(self.settings.frame_size);
        let mut ike = self.core.ike_status();
        let io = self.sockets.counters();
        ike.send_errors = io.send_errors.load(Ordering::Relaxed);
        let dropped = [&io.overflows, &io.not_ike, &io.esp_overflows, &io.esp_unknown_spi];
        let dropped = dropped.iter().map(|counter| counter.load(Ordering::Relaxed));
        ike.dropped_datagrams += dropped.sum::<u64>();
        let mut gateways = self
            .core
            .gateway_statuses(|limiter| self.core.fabric.limiter_drops(limiter));
        for gateway in &mut gateways {
            gateway.defense = self.core.fabric.defense(&gateway.id);
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            xdp: XdpStatus {
                mode: mode.to_owned(),
                interfaces: interfaces.iter().map(interface_status).collect(),
            },
            gateways,
            tunnels,
            umem_bytes: memory * u64::try_from(workers.len()).unwrap_or(0),
            workers,
            ike,
            config: ConfigStatus {
                generation: self.core.generation(),
                reloads: self.reloads.applied,
                refused_reloads: self.reloads.refused,
                last_refusal: self.reloads.last_refusal.clone(),
            },
            problems: self.problems(),
            strangers: self.core.stranger_statuses(now),
            alarms: self.managed.as_ref().map(Managed::alarms),
            lost_events: self.managed.as_ref().map(Managed::lost_events),
        }
    }

    fn problems(&self) -> Vec<String> {
        let net = self.inputs.net.borrow();
        let missing = self
            .config
            .interfaces
            .iter()
            .filter_map(|interface| match net.link(&interface.name) {
                None => Some(format!("interface {} does not exist", interface.name)),
                Some(link) if !link.up => Some(format!("interface {} is down", interface.name)),
                Some(_) => None,
            });
        let has = |address| net.addresses.iter().any(|entry| entry.addr == address);
        let addresses = self
            .config
            .gateways
            .iter()
            .filter(|gateway| !has(gateway.address));
        let addresses = addresses.map(|gateway| {
            format!(
                "address {} of gateway {} is on no interface",
                gateway.address, gateway.id
            )
        });
        missing
            .chain(addresses)
            .chain(self.failures.attach.clone())
            .collect()
    }
}

/// An error with its causes in one sentence.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

fn needs_restart(old: &Config, new: &Config) -> bool {
    let (old, new) = (&old.dataplane, &new.dataplane);
    (old.xdp_mode, old.umem_frames, old.frame_size) != (new.xdp_mode, new.umem_frames, new.frame_size)
}

fn interface_status(interface: &super::kernel::InterfaceReport) -> InterfaceStatus {
    let verdicts = Verdict::ALL
        .iter()
        .zip(interface.verdicts)
        .map(|(verdict, count)| (verdict.name().to_owned(), count));
    InterfaceStatus {
        name: interface.name.clone(),
        role: interface.role.to_owned(),
        mode: interface
            .attached
            .map(|mode| mode.to_string())
            .unwrap_or_default(),
        present: interface.present,
        verdicts: verdicts.collect(),
    }
}

fn worker_status(worker: &crate::dataplane::WorkerCounters, failures: &Failures) -> WorkerStatus {
    let numbers = [
        ("packets", worker.packets),
        ("sent", worker.sent),
        ("batches", worker.batches),
        ("kicks", worker.kicks),
        ("polls", worker.polls),
        ("busy_nanoseconds", worker.busy_nanoseconds),
        ("slow_path_packets", worker.slow_path_packets),
        ("injected", worker.injected),
        ("waiting", worker.waiting),
        ("frames", worker.frames),
        ("frames_outstanding", worker.frames_outstanding),
    ];
    let drops = worker
        .drops
        .iter()
        .map(|(direction, reason, count)| (format!("dropped_{}_{}", direction.name(), reason.name()), count));
    WorkerStatus {
        queue: worker.queue,
        alive: !failures.workers.contains_key(&worker.queue),
        counters: numbers
            .map(|(name, count)| (name.to_owned(), count))
            .into_iter()
            .chain(drops)
            .collect(),
    }
}
