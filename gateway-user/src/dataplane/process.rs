//! From a batch of received frames to frames to send. Touches no ring, no socket and no clock.
//!
//! Every packet becomes a [`Job`] whose [`Fate`] the steps decide; one `match` at the end moves each frame to its place, so that
//! frames are conserved whatever a step does.

mod forward;
mod open;
mod seal;
#[cfg(test)]
mod tests;

use arrayvec::ArrayVec;
use gateway_common::abi::{DIRECTION_INBOUND, DIRECTION_OUTBOUND, PacketMeta};
use gateway_esp::{IvGenerator, Packet};

use super::counters::{Direction, DropReason, PathError, WorkerBlock};
use super::tables::{Nanoseconds, Policy, Tables, Tunnel};
use super::waiting::{Awaited, Released, Waiting};
use super::{DataplaneEvent, EventSink};
use crate::net::RouteTable;
use crate::xsk::{Frame, FramePool, Umem};

pub(super) use forward::{IcmpBudget, Port};

/// Packets that are received, grouped and processed at once.
pub(super) const BATCH: usize = 64;

/// A received packet and where it came in.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) frame: Frame,
    /// Position of the interface in the configuration.
    pub(super) port: usize,
}

/// Frames to send, by position of the interface.
pub(super) type Outgoing = Vec<Vec<Frame>>;

/// What a worker has beside its rings.
pub(super) struct Context<'a> {
    pub(super) now: Nanoseconds,
    pub(super) umem: &'a Umem,
    pub(super) tables: &'a Tables,
    pub(super) routes: &'a RouteTable,
    pub(super) ports: &'a [Port],
    /// Position of the slow path's interface.
    pub(super) slow_path: Option<usize>,
    pub(super) pool: &'a mut FramePool,
    pub(super) waiting: &'a mut Waiting,
    pub(super) ivs: &'a mut IvGenerator,
    pub(super) icmp: &'a mut IcmpBudget,
    pub(super) counters: &'a WorkerBlock,
    pub(super) events: &'a EventSink,
}

/// Where a packet goes.
#[derive(Debug)]
enum Fate {
    /// Not decided yet.
    Pending,
    /// Out of an interface.
    Send(usize),
    /// Into the waiting queue, where its place is taken already.
    Wait(Awaited),
    /// Replaced by its fragments.
    Replaced,
    /// Read by us: an answer to a probe.
    Consumed,
    /// Nowhere.
    Drop(DropReason),
}

/// One packet on its way through the steps.
#[derive(Debug)]
struct Job {
    received: Received,
    meta: PacketMeta,
    fate: Fate,
}

/// Turns received packets into packets to send. `rx` is empty afterwards.
///
/// After it, every frame of `rx` is in `tx`, in the waiting queue, or back in the pool; frames taken from the pool for fragments and
/// ICMP answers likewise.
pub(super) fn process_batch(rx: &mut Vec<Received>, tx: &mut Outgoing, cx: &mut Context<'_>) {
    while !rx.is_empty() {
        let mut jobs = ArrayVec::<Job, BATCH>::new();
        for received in rx.drain(..rx.len().min(BATCH)) {
            match read_meta(received, cx.umem) {
                Ok(job) => jobs.push(job),
                Err(received) => {
                    // Without metadata there is no telling which direction it was.
                    cx.counters
                        .drops
                        .count(Direction::Inbound, PathError::Metadata.into());
                    cx.pool.give_back(received.frame);
                }
            }
        }
        // Stable: packets of one SA keep their order.
        jobs.sort_by_key(Job::group);
        let mut extra = Vec::new();
        for group in jobs.chunk_by_mut(|one, other| one.group() == other.group()) {
            let tunnel = match group.first().map(Job::direction) {
                Some(Direction::Outbound) => seal::seal_group(group, &mut extra, cx),
                Some(Direction::Inbound) => open::open_group(group, cx),
                None => None,
            };
            let tunnel = tunnel.and_then(|number| cx.tables.tunnel(number).ok());
            for job in group.iter().chain(&extra) {
                if let Fate::Drop(reason) = job.fate {
                    count_drop(tunnel, cx, job.direction(), reason);
                }
            }
            // Fragments and answers are few; the vector allocates only when there are any.
            extra.drain(..).for_each(|job| job.settle(tx, cx));
        }
        jobs.into_iter().for_each(|job| job.settle(tx, cx));
        cx.counters.batches.add(1);
    }
}

/// Ends the wait of packets whose SA came, or never came.
pub(super) fn process_waiting(rx: &mut Vec<Received>, tx: &mut Outgoing, cx: &mut Context<'_>) {
    let Context {
        waiting,
        pool,
        tables,
        counters,
        ..
    } = cx;
    waiting.release(cx.now, tables, BATCH, |released| match released {
        Released::Ready(received) => rx.push(received),
        Released::TimedOut(received, awaited) => {
            let drops = tables
                .tunnel(awaited.tunnel())
                .map_or(&counters.drops, |tunnel| &tunnel.drops);
            drops.count(awaited.direction(), PathError::WaitTimeout.into());
            pool.give_back(received.frame);
        }
    });
    process_batch(rx, tx, cx);
}

fn count_drop(tunnel: Option<&Tunnel>, cx: &Context<'_>, direction: Direction, reason: DropReason) {
    tunnel
        .map_or(&cx.counters.drops, |tunnel| &tunnel.drops)
        .count(direction, reason);
}

/// Reads what the XDP program wrote in front of the packet.
fn read_meta(mut received: Received, umem: &Umem) -> Result<Job, Received> {
    let start = received.frame.start();
    let meta = start.checked_sub(PacketMeta::LEN).and_then(|at| {
        let octets = umem.chunk(&mut received.frame).get(at..start)?.first_chunk()?;
        PacketMeta::from_bytes(octets)
    });
    match meta {
        Some(meta) if matches!(meta.direction, DIRECTION_OUTBOUND | DIRECTION_INBOUND) => Ok(Job {
            received,
            meta,
            fate: Fate::Pending,
        }),
        _ => Err(received),
    }
}

impl Job {
    fn direction(&self) -> Direction {
        if self.meta.direction == DIRECTION_OUTBOUND {
            Direction::Outbound
        } else {
            Direction::Inbound
        }
    }

    /// Packets of one group have the same policy or SA.
    fn group(&self) -> (u8, u32, u32) {
        (self.meta.direction, self.meta.index, self.meta.generation)
    }

    fn is_pending(&self) -> bool {
        matches!(self.fate, Fate::Pending)
    }

    fn drop_for(&mut self, reason: impl Into<DropReason>) {
        self.fate = Fate::Drop(reason.into());
    }

    /// The octets of the packet.
    fn octets<'a>(&'a mut self, umem: &'a Umem) -> &'a mut [u8] {
        umem.packet(&mut self.received.frame)
    }

    /// The packet as the ESP functions take it. What they make of it is written back with [`Frame::place`].
    fn packet<'a>(&'a mut self, umem: &'a Umem) -> Packet<'a> {
        let (start, len) = (self.received.frame.start(), self.received.frame.len());
        Packet::new(umem.chunk(&mut self.received.frame), start, len)
    }

    /// Moves the frame to where its fate says. Drops are counted before, where the tunnel is known.
    fn settle(self, tx: &mut Outgoing, cx: &mut Context<'_>) {
        let Self { received, fate, .. } = self;
        match fate {
            Fate::Send(port) => match tx.get_mut(port) {
                Some(queue) => queue.push(received.frame),
                None => cx.pool.give_back(received.frame),
            },
            Fate::Wait(awaited) => cx.waiting.push(received, awaited, cx.now),
            Fate::Replaced | Fate::Consumed | Fate::Drop(_) => cx.pool.give_back(received.frame),
            Fate::Pending => {
                cx.counters
                    .drops
                    .count(Direction::Outbound, PathError::Internal.into());
                cx.pool.give_back(received.frame);
            }
        }
    }
}

/// Keeps as many packets as may wait for an SA.
fn wait(group: &mut [Job], awaited: &Awaited, cx: &Context<'_>) {
    for job in group {
        if cx.waiting.admit(awaited) {
            job.fate = Fate::Wait(awaited.clone());
        } else {
            job.drop_for(PathError::WaitOverflow);
        }
    }
}

/// Tells control that a policy needs an SA.
fn acquire(policy: &Policy, cx: &Context<'_>) {
    if policy.may_acquire(cx.now) {
        (cx.events)(DataplaneEvent::Acquire {
            policy: policy.index,
            tunnel: policy.tunnel,
        });
    }
}
