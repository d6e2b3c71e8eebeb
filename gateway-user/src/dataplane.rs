//! The data plane: workers that seal, open and forward packets.
//!
//! [`Dataplane`] is control's handle. One pinned thread per RX queue index owns an AF_XDP socket on every interface for that queue,
//! over memory shared by them. The XDP program has classified each packet before a worker sees it; what it found stands in front of
//! the packet ([`gateway_common::abi::PacketMeta`]) and names a slot of the tables, which [`Message`]s fill.
//!
//! Invariant: fail closed. A packet leaves sealed, opened and checked, or not at all; when a worker dies, its packets are dropped.

mod counters;
mod inbox;
mod limits;
mod message;
mod process;
mod tables;
mod waiting;
mod worker;

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gateway_esp::IvGenerator;
use nix::sys::eventfd::{EfdFlags, EventFd};
use thiserror::Error;
use zeroize::Zeroizing;

pub use counters::{
    Counters, Direction, DropReason, Drops, PathError, SaCounters, TunnelCounters, WorkerCounters,
};
pub use inbox::{Injected, InjectedEsp, InjectedInner};
pub use limits::{SaLimits, SaMark};
pub use message::{DataplaneEvent, EventSink, Message};
pub use tables::Capacity;

use crate::net::RouteTable;
use crate::xsk::{RingStatistics, Umem, Xsk, XskError, XskSizes};
use counters::WorkerBlock;
use process::Port;
use tables::Tables;
use worker::{Signal, Worker};

/// Entries of the rings. Deep enough for 2 ms at a million packets per second, while another process has the processor.
const SIZES: XskSizes = XskSizes {
    receive: 2048,
    send: 2048,
    send_budget: 256,
};
/// How long a queue may be busy: the kernel releases the sockets of a dead process late.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);
const BUSY_RETRY: Duration = Duration::from_millis(20);

/// One interface of the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// Its name, for messages.
    pub name: String,
    /// Its index in the kernel.
    pub ifindex: u32,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its MTU in octets.
    pub mtu: u32,
    /// RX queues that receive packets.
    pub queues: u32,
    /// Number of the interface in the counters of the XDP program.
    pub slot: u32,
    /// First slot in `XSKS`; the queue is added.
    pub xsk_base: u32,
}

/// What the data plane starts with.
pub struct DataplaneConfig {
    /// The interfaces.
    pub interfaces: Vec<InterfaceConfig>,
    /// Frames of each worker.
    pub umem_frames: u32,
    /// Octets of a frame: 2048, or 4096 for interfaces with an MTU above 1500.
    pub frame_size: u32,
    /// Position of the slow path's interface in `interfaces`.
    pub slow_path: Option<usize>,
    /// Uniformly random and used once: IVs derive from it.
    pub seed: [u8; 32],
    /// Sizes of the tables.
    pub capacity: Capacity,
    /// Takes events; called from the workers, so it must not wait.
    pub events: Arc<EventSink>,
}

impl fmt::Debug for DataplaneConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            interfaces,
            umem_frames,
            frame_size,
            slow_path,
            capacity,
            ..
        } = self;
        f.debug_struct("DataplaneConfig")
            .field("interfaces", interfaces)
            .field("umem_frames", umem_frames)
            .field("frame_size", frame_size)
            .field("slow_path", slow_path)
            .field("capacity", capacity)
            .finish_non_exhaustive()
    }
}

/// Why the data plane does not start.
#[derive(Debug, Error)]
pub enum DataplaneError {
    /// No interface has a queue, or the slow path is not one of the interfaces.
    #[error("{0}")]
    Config(&'static str),
    /// An interface's packets do not fit a frame together with what a tunnel adds.
    #[error("MTU {mtu} of {interface} does not fit frames of {frame_size} octets")]
    Mtu {
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// Octets of a frame.
        frame_size: u32,
    },
    /// Packet memory cannot be had.
    #[error("packet memory of {frames} frames")]
    Memory {
        /// Frames asked for.
        frames: u32,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// An AF_XDP socket cannot be had.
    #[error("interface {interface}")]
    Socket {
        /// The interface.
        interface: String,
        /// Which step failed.
        #[source]
        source: XskError,
    },
    /// A thread or its wake-up cannot be made.
    #[error("worker {queue}")]
    Worker {
        /// RX queue index.
        queue: u32,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
}

/// The running data plane. Dropping it stops the workers.
#[derive(Debug)]
pub struct Dataplane {
    tables: Arc<Tables>,
    workers: Vec<WorkerHandle>,
    xsks: Vec<(u32, RawFd)>,
    started: Instant,
}

#[derive(Debug)]
struct WorkerHandle {
    queue: u32,
    signal: Signal,
    counters: Arc<WorkerBlock>,
    /// By position of the interface.
    descriptors: Vec<Option<Arc<OwnedFd>>>,
    thread: Option<JoinHandle<()>>,
}

impl Dataplane {
    /// Binds the sockets and starts one pinned thread per RX queue index.
    ///
    /// Nothing is received before the sockets are in the XSKMAP ([`Self::xsks`]).
    ///
    /// # Errors
    /// What is missing: see [`DataplaneError`].
    pub fn start(config: DataplaneConfig) -> Result<Self, DataplaneError> {
        let mut dataplane = Self {
            tables: Arc::new(Tables::new(config.capacity)),
            workers: Vec::new(),
            xsks: Vec::new(),
            started: Instant::now(),
        };
        dataplane.launch(&config)?;
        Ok(dataplane)
    }

    /// Stops the workers and starts them on other interfaces. Policies, SAs and what they counted stay; the capacity does too,
    /// whatever `config` says. After an error there are no workers, and the next attempt finds everything else as it was.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self, config: &DataplaneConfig) -> Result<(), DataplaneError> {
        self.stop_workers();
        self.xsks.clear();
        self.launch(config)
    }

    fn launch(&mut self, config: &DataplaneConfig) -> Result<(), DataplaneError> {
        let queues = check(config)?;
        let seed = Zeroizing::new(config.seed);
        // All sockets first: a worker that runs while another cannot start would have to be taken back.
        let mut ready = Vec::new();
        for queue in 0..queues {
            let worker = self.prepare(config, queue, &seed)?;
            for (interface, socket) in config.interfaces.iter().zip(&worker.sockets) {
                if let Some(socket) = socket {
                    self.xsks
                        .push((interface.xsk_base + queue, socket.descriptor().as_raw_fd()));
                }
            }
            ready.push(worker);
        }
        for worker in ready {
            let handle = spawn(worker)?;
            self.workers.push(handle);
        }
        Ok(())
    }

    fn stop_workers(&mut self) {
        for worker in &self.workers {
            worker.signal.stop.store(true, Ordering::Release);
            worker.signal.wake();
        }
        for mut worker in self.workers.drain(..) {
            // A worker that panicked has reported it.
            worker.thread.take().map(JoinHandle::join).transpose().ok();
        }
    }

    /// The sockets, with their slots in `XSKS`. Valid as long as the data plane.
    pub fn xsks(&self) -> Vec<(u32, RawFd)> {
        self.xsks.clone()
    }

    /// Applies a message at once: workers see it with their next packet, and packets that waited for it leave.
    pub fn handle(&self, message: Message) {
        let ends_a_wait = matches!(message, Message::Switch { .. } | Message::RemovePolicy { .. });
        if let Err(error) = self.tables.apply(message) {
            tracing::error!(%error, "message to the data plane refused");
            return;
        }
        if ends_a_wait {
            self.workers.iter().for_each(|worker| worker.signal.wake());
        }
    }

    /// Hands a worker a packet that does not come through a ring. `false` when too many wait already, or nobody works.
    pub fn inject(&self, packet: Injected) -> bool {
        let Some(worker) = self.workers.first() else {
            return false;
        };
        let taken = worker.signal.inbox.push(packet);
        worker.signal.wake();
        taken
    }

    /// Replaces the routes.
    pub fn set_routes(&self, routes: Arc<RouteTable>) {
        self.tables.set_routes(routes);
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        self.tables.read_counters(&mut counters);
        counters.workers = self.workers.iter().map(WorkerHandle::read).collect();
        counters
    }

    /// What an inbound and an outbound SA carried; zeros for one that is not there. Takes as long with many SAs as with one.
    pub fn sa_counters(&self, inbound: u32, outbound: u32) -> (SaCounters, SaCounters) {
        self.tables.read_sas(inbound, outbound)
    }

    /// What happened to packets of a tunnel; zeros beyond the capacity. Takes as long with many tunnels as with one.
    pub fn tunnel_counters(&self, number: u32) -> TunnelCounters {
        self.tables.read_tunnel(number)
    }

    /// Time since the start: the clock of [`SaCounters::last_used`].
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Stops the workers and waits for them.
    pub fn stop(self) {
        drop(self);
    }

    /// Memory, sockets and everything else of one worker.
    fn prepare(
        &self,
        config: &DataplaneConfig,
        queue: u32,
        seed: &[u8; 32],
    ) -> Result<Worker, DataplaneError> {
        let frames = config.umem_frames;
        let memory = |source| DataplaneError::Memory { frames, source };
        let (umem, pool) = Umem::new(frames, config.frame_size).map_err(memory)?;
        let mut sockets: Vec<Option<Xsk>> = Vec::new();
        for interface in &config.interfaces {
            let first = sockets.iter().flatten().next();
            let bound = (queue < interface.queues)
                .then(|| bind(&umem, interface, queue, first))
                .transpose()?;
            sockets.push(bound);
        }
        let port = |(interface, socket): (&InterfaceConfig, &Option<Xsk>)| Port {
            ifindex: interface.ifindex,
            mac: interface.mac,
            bound: socket.is_some(),
        };
        let ports = config.interfaces.iter().zip(&sockets).map(port).collect();
        let bound = u32::try_from(sockets.iter().flatten().count()).unwrap_or(u32::MAX);
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC);
        let wake = wake.map_err(|error| DataplaneError::Worker {
            queue,
            source: error.into(),
        })?;
        Ok(Worker {
            queue,
            umem,
            pool,
            sockets,
            ports,
            slow_path: config.slow_path,
            tables: self.tables.clone(),
            counters: Arc::default(),
            events: config.events.clone(),
            ivs: IvGenerator::from_seed(seed_of(queue, seed)),
            signal: Signal {
                wake: Arc::new(wake),
                stop: Arc::new(AtomicBool::new(false)),
                inbox: Arc::default(),
            },
            started: self.started,
            // Received frames are sent from where they are, so that only fragments and answers need frames beside these.
            fill: (frames / 8 * 7 / bound.max(1)).min(SIZES.receive),
        })
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.stop_workers();
    }
}

impl WorkerHandle {
    fn read(&self) -> WorkerCounters {
        let statistics = |fd: &Option<Arc<OwnedFd>>| RingStatistics::read(fd.as_ref()?).ok();
        self.counters
            .read(self.queue, self.descriptors.iter().map(statistics).collect())
    }
}

/// Checks what the types cannot say. Gives the number of workers.
fn check(config: &DataplaneConfig) -> Result<u32, DataplaneError> {
    let queues = config
        .interfaces
        .iter()
        .map(|interface| interface.queues)
        .max()
        .unwrap_or(0);
    if queues == 0 {
        return Err(DataplaneError::Config("no interface with a queue"));
    }
    if config
        .slow_path
        .is_some_and(|position| position >= config.interfaces.len())
    {
        return Err(DataplaneError::Config(
            "the slow path is not one of the interfaces",
        ));
    }
    for InterfaceConfig { name, mtu, .. } in &config.interfaces {
        if *mtu as usize + ROOM_AROUND > config.frame_size as usize {
            let (interface, frame_size) = (name.clone(), config.frame_size);
            return Err(DataplaneError::Mtu {
                interface,
                mtu: *mtu,
                frame_size,
            });
        }
    }
    Ok(queues)
}

/// Octets of a frame around an IP packet as long as the MTU: the kernel's headroom, an Ethernet header with two tags, and what
/// sealing adds behind the packet (block of 16, trailer, ICV of 32).
const ROOM_AROUND: usize = crate::xsk::XDP_HEADROOM + 22 + 50;

/// Binds one socket; waits a moment for a queue that is busy.
fn bind(
    umem: &Umem,
    interface: &InterfaceConfig,
    queue: u32,
    first: Option<&Xsk>,
) -> Result<Xsk, DataplaneError> {
    let deadline = Instant::now() + BUSY_PATIENCE;
    loop {
        match Xsk::bind(umem, interface.ifindex, queue, first, SIZES) {
            Err(error) if error.is_busy() && Instant::now() < deadline => std::thread::sleep(BUSY_RETRY),
            bound => {
                return bound.map_err(|source| DataplaneError::Socket {
                    interface: interface.name.clone(),
                    source,
                });
            }
        }
    }
}

/// A seed for each worker, so that no two draw the same IVs.
fn seed_of(queue: u32, seed: &[u8; 32]) -> [u8; 32] {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, seed);
    let tag = ring::hmac::sign(&key, &queue.to_be_bytes());
    let mut own = [0; 32];
    own.copy_from_slice(tag.as_ref());
    own
}

/// Starts the thread of a worker. However it ends other than by a stop, control is told.
fn spawn(worker: Worker) -> Result<WorkerHandle, DataplaneError> {
    let queue = worker.queue;
    let (signal, counters) = (worker.signal.clone(), worker.counters.clone());
    let (descriptors, events) = (worker::descriptors(&worker.sockets), worker.events.clone());
    let body = move || {
        let error = match catch_unwind(AssertUnwindSafe(|| worker.run())) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => String::from("panicked"),
        };
        tracing::error!(queue, error, "worker failed");
        events(DataplaneEvent::WorkerFailed { queue, error });
    };
    let thread = std::thread::Builder::new()
        .name(format!("worker-{queue}"))
        .spawn(body);
    let thread = thread.map_err(|source| DataplaneError::Worker { queue, source })?;
    Ok(WorkerHandle {
        queue,
        signal,
        counters,
        descriptors,
        thread: Some(thread),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_have_different_seeds() {
        let seed = [7; 32];
        assert_eq!(seed_of(0, &seed), seed_of(0, &seed));
        assert_ne!(seed_of(0, &seed), seed_of(1, &seed));
        assert_ne!(seed_of(0, &seed), seed);
    }

    fn config(interfaces: Vec<InterfaceConfig>) -> DataplaneConfig {
        DataplaneConfig {
            interfaces,
            umem_frames: 64,
            frame_size: 2048,
            slow_path: None,
            seed: [0; 32],
            capacity: Capacity {
                policies: 1,
                sas: 1,
                tunnels: 1,
            },
            events: Arc::new(|_| {}),
        }
    }

    fn interface(mtu: u32, queues: u32) -> InterfaceConfig {
        InterfaceConfig {
            name: "eth9".into(),
            ifindex: 9,
            mac: [2; 6],
            mtu,
            queues,
            slot: 0,
            xsk_base: 0,
        }
    }

    #[test]
    fn a_configuration_that_cannot_work_is_refused() {
        assert!(check(&config(vec![])).is_err());
        assert!(check(&config(vec![interface(1500, 0)])).is_err());
        assert!(matches!(
            check(&config(vec![interface(1900, 1)])),
            Err(DataplaneError::Mtu { mtu: 1900, .. })
        ));
        let mut slow = config(vec![interface(1500, 1)]);
        slow.slow_path = Some(1);
        assert!(check(&slow).is_err());
        assert_eq!(
            check(&config(vec![interface(1500, 2), interface(1500, 4)])).expect("works"),
            4
        );
    }
}
