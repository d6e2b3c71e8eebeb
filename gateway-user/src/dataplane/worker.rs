//! The thread of one RX queue index: it owns rings and time, [`super::process`] owns packets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gateway_esp::IvGenerator;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::eventfd::EventFd;
use nix::unistd::Pid;

use super::counters::{Direction, PathError, WorkerBlock};
use super::inbox::{self, Inbox};
use super::process::{BATCH, Context, IcmpBudget, Outgoing, Port, Received, process_batch, process_waiting};
use super::tables::{Nanoseconds, Tables};
use super::waiting::Waiting;
use super::{DataplaneEvent, EventSink};
use crate::xsk::{FramePool, Kick, Umem, Xsk};

/// Calls of `sendto` per socket and round, while the kernel asks for more.
const KICKS: usize = 4;
/// The longest sleep.
const IDLE: Duration = Duration::from_secs(1);
/// The longest sleep while the kernel did not take all packets to send.
const RETRY: Duration = Duration::from_millis(1);
/// The share of its frames that a worker lets wait for SAs.
const WAITING_SHARE: usize = 8;

/// How the rest of the process reaches a worker.
#[derive(Clone, Debug)]
pub(super) struct Signal {
    pub(super) wake: Arc<EventFd>,
    pub(super) stop: Arc<AtomicBool>,
    /// Packets that do not come through a ring.
    pub(super) inbox: Arc<Inbox>,
}

impl Signal {
    /// Ends the worker's sleep. A wake-up that is pending already is as good, so errors do not matter.
    pub(super) fn wake(&self) {
        self.wake.write(1).ok();
    }
}

/// Everything one worker owns.
pub(super) struct Worker {
    pub(super) queue: u32,
    pub(super) umem: Umem,
    pub(super) pool: FramePool,
    /// By position of the interface; `None` where this queue does not exist.
    pub(super) sockets: Vec<Option<Xsk>>,
    pub(super) ports: Vec<Port>,
    pub(super) slow_path: Option<usize>,
    pub(super) tables: Arc<Tables>,
    pub(super) counters: Arc<WorkerBlock>,
    pub(super) events: Arc<EventSink>,
    pub(super) ivs: IvGenerator,
    pub(super) signal: Signal,
    pub(super) started: Instant,
    /// Frames that each socket should have to receive into.
    pub(super) fill: u32,
}

/// The queues between rings and processing; reused from round to round.
struct Queues {
    received: Vec<Received>,
    outgoing: Outgoing,
    waiting: Waiting,
    icmp: IcmpBudget,
}

impl Worker {
    /// Works until it is told to stop.
    ///
    /// # Errors
    /// The kernel refuses to wait for the sockets.
    pub(super) fn run(mut self) -> io::Result<()> {
        pin(self.queue);
        let mut queues = Queues {
            received: Vec::with_capacity(BATCH),
            outgoing: self
                .sockets
                .iter()
                .map(|_| Vec::with_capacity(4 * BATCH))
                .collect(),
            waiting: Waiting::new(self.umem.frames() as usize / WAITING_SHARE),
            icmp: IcmpBudget::default(),
        };
        self.counters.frames.set(self.umem.frames().into());
        let mut awake_since = self.now();
        while !self.signal.stop.load(Ordering::Acquire) {
            let now = self.now();
            let received = self.round(now, &mut queues);
            let unsent = self.flush(&mut queues.outgoing);
            self.counters.waiting.set(queues.waiting.len() as u64);
            self.counters
                .frames_outstanding
                .set(self.pool.outstanding() as u64);
            let asleep = self.now();
            self.counters.busy_nanoseconds.add(asleep - awake_since);
            awake_since = asleep;
            if received == 0 {
                self.sleep(unsent, queues.waiting.next_deadline())?;
                awake_since = self.now();
            }
        }
        Ok(())
    }

    /// Nanoseconds since the start of the data plane.
    fn now(&self) -> Nanoseconds {
        u64::try_from(self.started.elapsed().as_nanos())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    /// Takes one batch from each socket. Says how many packets came.
    fn round(&mut self, now: Nanoseconds, queues: &mut Queues) -> usize {
        for socket in self.sockets.iter_mut().flatten() {
            socket.rings.reap(&self.umem, &mut self.pool);
            socket.rings.refill(&self.umem, &mut self.pool, self.fill);
            if socket.rings.fill_needs_wakeup() {
                socket.kick_receive();
            }
        }
        let routes = self.tables.routes();
        let mut cx = Context {
            now,
            umem: &self.umem,
            tables: &self.tables,
            routes: &routes,
            ports: &self.ports,
            slow_path: self.slow_path,
            pool: &mut self.pool,
            waiting: &mut queues.waiting,
            ivs: &mut self.ivs,
            icmp: &mut queues.icmp,
            counters: &self.counters,
            events: &*self.events,
        };
        if cx.waiting.len() > 0 {
            process_waiting(&mut queues.received, &mut queues.outgoing, &mut cx);
        }
        let mut total = take_injected(&self.signal.inbox, &mut queues.received, &mut cx);
        if total > 0 {
            process_batch(&mut queues.received, &mut queues.outgoing, &mut cx);
        }
        for (port, socket) in self.sockets.iter_mut().enumerate() {
            let Some(socket) = socket else { continue };
            let take = |frame| queues.received.push(Received { frame, port });
            let received = socket.rings.receive(&self.umem, BATCH, take);
            if received > 0 {
                process_batch(&mut queues.received, &mut queues.outgoing, &mut cx);
                total += received;
            }
        }
        self.counters.packets.add(total as u64);
        total
    }

    /// Hands packets to the kernel. Says whether it left some in the TX rings.
    fn flush(&mut self, outgoing: &mut Outgoing) -> bool {
        let mut unsent = false;
        for (port, queue) in outgoing.iter_mut().enumerate() {
            let Some(Some(socket)) = self.sockets.get_mut(port) else {
                // A packet is only ever routed to a bound port.
                queue.drain(..).for_each(|frame| self.pool.give_back(frame));
                continue;
            };
            let mut gone = false;
            for _ in 0..KICKS {
                let sent = socket.rings.transmit(&self.umem, queue);
                self.counters.sent.add(sent as u64);
                if socket.rings.unsent() == 0 || !socket.must_kick() {
                    break;
                }
                self.counters.kicks.add(1);
                let kick = socket.kick_send();
                socket.rings.reap(&self.umem, &mut self.pool);
                match kick {
                    Kick::Again => {}
                    Kick::Done if !queue.is_empty() => {}
                    Kick::Done | Kick::Down => break,
                    Kick::Gone => {
                        gone = true;
                        break;
                    }
                }
            }
            for frame in queue.drain(..) {
                self.counters
                    .drops
                    .count(Direction::Outbound, PathError::TxFull.into());
                self.pool.give_back(frame);
            }
            unsent |= !gone && socket.rings.unsent() > 0;
            if gone {
                self.lose(port);
            }
        }
        unsent
    }

    /// Waits for packets, a wake-up or the next deadline.
    fn sleep(&mut self, unsent: bool, deadline: Option<Nanoseconds>) -> io::Result<()> {
        let longest = if unsent { RETRY } else { IDLE };
        let left = deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(self.now())));
        // Rounded up: a sleep that ends before its deadline would be followed by sleeps of zero.
        let sleep = left.map_or(longest, |left| (left + Duration::from_millis(1)).min(longest));
        let timeout = PollTimeout::try_from(sleep).unwrap_or(PollTimeout::ZERO);
        self.counters.polls.add(1);

        let sockets = self.sockets.iter().flatten();
        let sockets = sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        let wake = PollFd::new(self.signal.wake.as_fd(), PollFlags::POLLIN);
        let mut fds: Vec<_> = std::iter::once(wake).chain(sockets).collect();
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if fds.first().and_then(PollFd::any).unwrap_or(false) {
            // Fails when another round has taken the wake-up already.
            self.signal.wake.read().ok();
        }
        Ok(())
    }

    /// Gives up the socket of an interface that vanished. The frames that the kernel held through it are lost.
    fn lose(&mut self, port: usize) {
        self.sockets[port] = None;
        self.ports[port].bound = false;
        let error = format!("interface {} is gone", self.ports[port].ifindex);
        (self.events)(DataplaneEvent::WorkerFailed {
            queue: self.queue,
            error,
        });
    }
}

/// Takes what came to the kernel's sockets. Says how many packets became frames.
fn take_injected(inbox: &Inbox, received: &mut Vec<Received>, cx: &mut Context<'_>) -> usize {
    inbox.take(BATCH, |packet| match inbox::receive(&packet, cx.umem, cx.pool) {
        Ok(frame) => received.push(frame),
        Err(error) => cx.counters.drops.count(Direction::Inbound, error.into()),
    });
    cx.counters.injected.add(received.len() as u64);
    received.len()
}

/// Descriptors of a worker's sockets, by position of the interface.
pub(super) fn descriptors(sockets: &[Option<Xsk>]) -> Vec<Option<Arc<OwnedFd>>> {
    sockets
        .iter()
        .map(|socket| socket.as_ref().map(Xsk::descriptor))
        .collect()
}

/// Binds the thread to a processor of its own, as far as there are enough. Without it everything works, only slower.
fn pin(queue: u32) {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else {
        return;
    };
    let processors: Vec<_> = (0..CpuSet::count())
        .filter(|cpu| allowed.is_set(*cpu).unwrap_or(false))
        .collect();
    let Some(own) = processors.get(queue as usize % processors.len().max(1)) else {
        return;
    };
    let mut set = CpuSet::new();
    if set
        .set(*own)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .is_err()
    {
        tracing::warn!(queue, "cannot pin the worker to a processor");
    }
}
