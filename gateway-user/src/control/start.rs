//! From a configuration file to a running agent, in an order in which a refusal leaves nothing behind that was not there before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_ike::EndpointConfig;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tracing_subscriber::EnvFilter;

use super::agent::{Agent, Failures, Inputs, Reloads};
use super::core::Core;
use super::kernel::{DataplaneSettings, Kernel};
use super::key_exchange::KeyExchanges;
use super::managed::Managed;
use super::management::{self, Opened};
use super::process;
use super::service_manager;
use super::start_error::StartError;
use crate::config::{self, Config};
use crate::control_socket::{Call, ControlSocket, Request, Response};
use crate::dataplane::Capacity;
use crate::ike_io::IkeSockets;
use crate::metrics;
use crate::net::{NetMirror, NetSnapshot, SLOW_PATH_DATAPLANE, SlowPath};
use crate::status::Status;
use crate::xdp::{LoadOptions, XdpMode, XdpProgram};

/// Room in the workers' tables; a slot without an SA takes eight octets.
pub(super) const CAPACITY: Capacity = Capacity {
    policies: 65_536,
    sas: 65_536,
    tunnels: 32_768,
};
/// Room for gateways: each has two limiters.
const GATEWAYS: u32 = 4096;
/// Events of the workers that wait for the control loop.
const EVENTS: usize = 1024;
/// Commands and scrapes that wait for the control loop.
const CALLS: usize = 16;
/// How long a scrape waits for the control loop.
const SCRAPE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the interfaces of the slow path may take to come up.
const SLOW_PATH_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the agent with the configuration in `file` until it is told to stop.
///
/// # Errors
/// Why it does not start. Once it has started, it ends only with a signal.
pub fn run(file: &Path) -> Result<(), StartError> {
    process::protect()?;
    let config = Arc::new(config::load(file)?);
    log_to_stderr(&config.agent.log);
    process::require_capabilities()?;
    // One thread: the control loop owns everything, and the workers have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| StartError::Process {
            what: "start the runtime",
            source,
        })?;
    runtime.block_on(async {
        let control = ControlSocket::bind(&config.agent.control_socket)?;
        let (calls, inbox) = mpsc::channel(CALLS);
        let metrics = bind_metrics(&config).await?;
        let management = management::open(&config, calls.clone()).await?;
        let agent = start(file, config, inbox, management).await?;
        // Only an agent that serves answers: a client that reaches it may rely on it.
        let control = tokio::spawn(control.serve(calls.clone()));
        if let Some(listener) = metrics {
            tokio::spawn(serve_metrics(listener, calls));
        }
        service_manager::tell(NotifyState::Ready);
        agent.run().await;
        control.abort();
        // Dropped by the runtime, the task takes its socket with it.
        control.await.ok();
        Ok(())
    })
}

async fn start(
    file: &Path,
    declared: Arc<Config>,
    calls: mpsc::Receiver<Call>,
    management: Option<Opened>,
) -> Result<Agent, StartError> {
    let mut managed = management
        .map(|opened| Managed::new(opened, &declared))
        .transpose()?;
    let config = match &mut managed {
        Some(managed) => Arc::new(managed.merge(&[]).config),
        None => declared,
    };
    let (mut sockets, datagrams, esp) = IkeSockets::new();
    sockets.listen(config.gateways.iter().map(|gateway| gateway.address))?;
    let (mirror, mut net) = NetMirror::start().await?;
    let queues = |net: &NetSnapshot| {
        let configured = config
            .interfaces
            .iter()
            .filter_map(|interface| net.link(&interface.name));
        configured.map(|link| link.queues).max().unwrap_or(1)
    };
    let queues = queues(&net.borrow());
    let slow_path = SlowPath::create(mirror.handle().clone(), queues).await?;
    wait_for_slow_path(&mut net).await?;

    let options = LoadOptions {
        pin_dir: Some(config.agent.pin_dir.clone()),
        ..LoadOptions::default()
    };
    let mut kernel = Kernel::new(
        XdpProgram::load(&options)?,
        xdp_mode(config.dataplane.xdp_mode),
        random()?,
    );
    kernel.configure(&config)?;
    let (events, dataplane) = mpsc::channel(EVENTS);
    let settings = DataplaneSettings {
        umem_frames: config.dataplane.umem_frames,
        frame_size: config.dataplane.frame_size,
        capacity: CAPACITY,
        // A full queue drops: workers raise acquires again, and the control loop notices the rest by its tick.
        events: Arc::new(move |event| drop(events.try_send(event))),
    };
    let (key_exchanges, computed) = KeyExchanges::start().map_err(|source| StartError::Process {
        what: "start threads for key exchanges",
        source,
    })?;
    let (managed, updates) = match managed {
        Some(managed) => managed.serve()?,
        None => (None, None),
    };
    let mut core = Core::new(EndpointConfig::new(random()?), CAPACITY, GATEWAYS, kernel);
    if let Some(managed) = &managed {
        core.record_events(managed.next_event);
    }
    let now = Instant::now();
    let mut agent = Agent {
        core,
        sockets,
        key_exchanges,
        settings,
        slow_path,
        file: file.to_owned(),
        config: Arc::clone(&config),
        inputs: Inputs::new(net, (datagrams, esp), computed, dataplane, calls, updates)?,
        managed,
        routes: BTreeMap::new(),
        probe_addresses: BTreeSet::new(),
        reloads: Reloads::default(),
        failures: Failures::default(),
        _mirror: mirror,
    };
    let net = Arc::clone(&agent.inputs.net.borrow_and_update());
    // Sockets before rules, rules before the program: the first packet that meets the program finds everything in place.
    agent.core.fabric.prepare(&net, &agent.settings)?;
    agent
        .core
        .apply(now, config)
        .map_err(|error| StartError::Rules(super::agent::sentence(&error)))?;
    agent.use_interfaces(now);
    agent.sync_routes(&net).await;
    Ok(agent)
}

/// The pair was just made: the mirror hears of it in a moment.
async fn wait_for_slow_path(net: &mut watch::Receiver<Arc<NetSnapshot>>) -> Result<(), StartError> {
    let up = net.wait_for(|net| net.link(SLOW_PATH_DATAPLANE).is_some_and(|link| link.up));
    match tokio::time::timeout(SLOW_PATH_PATIENCE, up).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(StartError::SlowPath(SLOW_PATH_DATAPLANE)),
    }
}

async fn bind_metrics(config: &Config) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = config.agent.metrics_listen else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await;
    listener
        .map(Some)
        .map_err(|source| StartError::Metrics { address, source })
}

async fn serve_metrics(listener: TcpListener, calls: mpsc::Sender<Call>) {
    let source = move || {
        let calls = calls.clone();
        async move {
            tokio::time::timeout(SCRAPE_PATIENCE, snapshot(&calls))
                .await
                .ok()
                .flatten()
        }
    };
    if let Err(error) = metrics::serve(listener, source).await {
        tracing::error!(%error, "/metrics is not served");
    }
}

async fn snapshot(calls: &mpsc::Sender<Call>) -> Option<Status> {
    let (answer, answered) = oneshot::channel();
    calls
        .send(Call {
            request: Request::Status { tunnel: None },
            answer,
        })
        .await
        .ok()?;
    match answered.await.ok()? {
        Response::Status(status) => Some(*status),
        Response::Done(_) | Response::Refused(_) | Response::Mistakes(_) | Response::Api(_) => None,
    }
}

fn random() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut seed);
    filled.map_err(|ring::error::Unspecified| StartError::Process {
        what: "get randomness",
        source: std::io::Error::other("the operating system has none"),
    })?;
    Ok(seed)
}

const fn xdp_mode(mode: config::XdpMode) -> XdpMode {
    match mode {
        config::XdpMode::Auto => XdpMode::Auto,
        config::XdpMode::Native => XdpMode::Native,
        config::XdpMode::Generic => XdpMode::Generic,
    }
}

fn log_to_stderr(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_checked_before| EnvFilter::new("info"));
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    if let Err(error) = log.try_init() {
        tracing::warn!(error, "the log goes where it went before");
    }
}
