//! What the data plane counts, and why it drops.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gateway_esp::{OpenError, SealError};

use crate::xsk::RingStatistics;

/// Direction of a packet, seen from this gateway (RFC 4301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Direction {
    /// From a VPC to the peer.
    Outbound = 0,
    /// From the peer to a VPC.
    Inbound = 1,
}

impl Direction {
    /// Both directions, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Outbound, Self::Inbound];

    /// The name in metrics and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

/// Reasons to drop that lie outside of ESP itself. The discriminant is the counter index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum PathError {
    /// No valid metadata in front of the packet.
    Metadata = 0,
    /// The policy or SA was removed or replaced after the packet was classified.
    StaleGeneration = 1,
    /// No SA yet, and too many packets wait for one already.
    WaitOverflow = 2,
    /// No SA came in time.
    WaitTimeout = 3,
    /// A header around the ESP packet, or in front of a packet to protect, that contradicts the length of the packet.
    Header = 4,
    /// The TTL is used up.
    Ttl = 5,
    /// Longer than the tunnel carries, and must not be fragmented; the sender is told.
    Mtu = 6,
    /// Longer than the tunnel carries, and cannot be fragmented.
    Fragmentation = 7,
    /// No free frame for a fragment.
    NoFrame = 8,
    /// The SA carried as many octets as it may.
    Lifetime = 9,
    /// The SA has no sequence number left.
    SequenceExhausted = 10,
    /// The packet came out of the tunnel with an address of this gateway as its source.
    OwnSource = 11,
    /// The routing table has no way to the destination, or one that says drop.
    NoRoute = 12,
    /// Only the kernel could forward it, and there is no slow path.
    NoSlowPath = 13,
    /// The TX ring is full.
    TxFull = 14,
    /// A step lost sight of the packet. Never seen.
    Internal = 15,
    /// Put together from fragments, and longer than a frame.
    Jumbo = 16,
}

impl PathError {
    /// All reasons, in the order of their index.
    pub const ALL: [Self; 17] = [
        Self::Metadata,
        Self::StaleGeneration,
        Self::WaitOverflow,
        Self::WaitTimeout,
        Self::Header,
        Self::Ttl,
        Self::Mtu,
        Self::Fragmentation,
        Self::NoFrame,
        Self::Lifetime,
        Self::SequenceExhausted,
        Self::OwnSource,
        Self::NoRoute,
        Self::NoSlowPath,
        Self::TxFull,
        Self::Internal,
        Self::Jumbo,
    ];

    /// The name in metrics and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::StaleGeneration => "stale_generation",
            Self::WaitOverflow => "wait_overflow",
            Self::WaitTimeout => "wait_timeout",
            Self::Header => "header",
            Self::Ttl => "ttl",
            Self::Mtu => "mtu",
            Self::Fragmentation => "fragmentation",
            Self::NoFrame => "no_frame",
            Self::Lifetime => "lifetime",
            Self::SequenceExhausted => "sequence_exhausted",
            Self::OwnSource => "own_source",
            Self::NoRoute => "no_route",
            Self::NoSlowPath => "no_slow_path",
            Self::TxFull => "tx_full",
            Self::Internal => "internal",
            Self::Jumbo => "jumbo",
        }
    }
}

/// Why a packet ended here. Its index is the index of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Around ESP.
    Path(PathError),
    /// Sealing failed.
    Seal(SealError),
    /// Opening failed.
    Open(OpenError),
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = PathError::ALL.len() + SealError::COUNT + OpenError::COUNT;

    /// All reasons, in the order of their index.
    pub fn all() -> impl Iterator<Item = Self> {
        let path = PathError::ALL.into_iter().map(Self::Path);
        let seal = SealError::ALL.into_iter().map(Self::Seal);
        let open = OpenError::ALL.into_iter().map(Self::Open);
        path.chain(seal).chain(open)
    }

    /// The position of the reason's counter.
    pub const fn index(self) -> usize {
        match self {
            Self::Path(error) => error as usize,
            Self::Seal(error) => PathError::ALL.len() + error.index(),
            Self::Open(error) => PathError::ALL.len() + SealError::COUNT + error.index(),
        }
    }

    /// The name in metrics and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path(error) => error.name(),
            Self::Seal(error) => error.name(),
            Self::Open(error) => error.name(),
        }
    }
}

impl From<PathError> for DropReason {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

impl From<SealError> for DropReason {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

impl From<OpenError> for DropReason {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

/// Everything the data plane counts, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Inbound SAs by index.
    pub inbound: Vec<(u32, SaCounters)>,
    /// Outbound SAs by index.
    pub outbound: Vec<(u32, SaCounters)>,
    /// Tunnels by number, without those that have nothing to tell.
    pub tunnels: Vec<(u32, TunnelCounters)>,
    /// Workers by queue.
    pub workers: Vec<WorkerCounters>,
}

/// Counters of one SA since it was installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaCounters {
    /// Packets sealed or opened.
    pub packets: u64,
    /// Octets of their inner packets.
    pub octets: u64,
    /// Outbound: the highest sequence number taken. Inbound: the highest accepted.
    pub highest_sequence: u64,
    /// When the last packet was, since the start of the data plane; `None` before the first.
    pub last_used: Option<Duration>,
}

/// Counters of one tunnel since the start of the data plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunnelCounters {
    /// Dropped packets.
    pub drops: Drops,
    /// TCP SYNs whose MSS was lowered.
    pub mss_clamped: u64,
    /// ICMP "fragmentation needed" sent to a VPC.
    pub icmp_too_big_sent: u64,
    /// ICMP "time exceeded" sent to a VPC.
    pub icmp_time_exceeded_sent: u64,
    /// Packets fragmented before sealing.
    pub fragmented: u64,
    /// Not a count: octets of the longest packet that the tunnel carries whole, as of the last one sealed; 0 before the first.
    pub mtu: u32,
}

/// Dropped packets by direction and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drops([[u64; DropReason::COUNT]; 2]);

impl Drops {
    /// Packets dropped in this direction for this reason.
    pub fn get(&self, direction: Direction, reason: DropReason) -> u64 {
        self.0[direction as usize][reason.index()]
    }

    /// The counters above zero.
    pub fn iter(&self) -> impl Iterator<Item = (Direction, DropReason, u64)> {
        let row = |direction: Direction| DropReason::all().map(move |reason| (direction, reason));
        let all = Direction::ALL.into_iter().flat_map(row);
        all.map(|(direction, reason)| (direction, reason, self.get(direction, reason)))
            .filter(|drop| drop.2 > 0)
    }

    /// All packets dropped.
    pub fn total(&self) -> u64 {
        self.0.iter().flatten().sum()
    }
}

impl Default for Drops {
    fn default() -> Self {
        Self([[0; DropReason::COUNT]; 2])
    }
}

/// Counters of one worker since the start of the data plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounters {
    /// RX queue index.
    pub queue: u32,
    /// Packets received.
    pub packets: u64,
    /// Packets handed to the kernel for sending.
    pub sent: u64,
    /// Batches processed.
    pub batches: u64,
    /// Calls of `sendto`.
    pub kicks: u64,
    /// Times the worker slept.
    pub polls: u64,
    /// Time the worker was not asleep.
    pub busy_nanoseconds: u64,
    /// Packets given to the kernel to forward.
    pub slow_path_packets: u64,
    /// Packets from the kernel's sockets: ESP that came in fragments.
    pub injected: u64,
    /// Packets that wait for an SA.
    pub waiting: u64,
    /// Frames the worker has.
    pub frames: u64,
    /// Frames outside the pool: with the kernel, queued or waiting.
    pub frames_outstanding: u64,
    /// Drops that belong to no tunnel.
    pub drops: Drops,
    /// What the kernel counts, by position of the interface in the configuration; `None` without a socket.
    pub rings: Vec<Option<RingStatistics>>,
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the one writer calls it, so that no locked instruction is needed.
    pub(super) fn add(&self, amount: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(amount),
            Ordering::Relaxed,
        );
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Drop counters with several writers. Drops are rare, or an attack that these atomics do not make worse.
#[derive(Debug)]
pub(super) struct SharedDrops([[AtomicU64; DropReason::COUNT]; 2]);

impl SharedDrops {
    pub(super) fn count(&self, direction: Direction, reason: DropReason) {
        self.0[direction as usize][reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Drops {
        Drops(
            self.0
                .each_ref()
                .map(|row| row.each_ref().map(|counter| counter.load(Ordering::Relaxed))),
        )
    }
}

impl Default for SharedDrops {
    fn default() -> Self {
        Self(std::array::from_fn(|_| {
            std::array::from_fn(|_| AtomicU64::new(0))
        }))
    }
}

/// The worker's side of [`WorkerCounters`]. Aligned so that two workers never write to the same cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct WorkerBlock {
    pub(super) packets: Counter,
    pub(super) sent: Counter,
    pub(super) batches: Counter,
    pub(super) kicks: Counter,
    pub(super) polls: Counter,
    pub(super) busy_nanoseconds: Counter,
    pub(super) slow_path_packets: Counter,
    pub(super) injected: Counter,
    pub(super) waiting: Counter,
    pub(super) frames: Counter,
    pub(super) frames_outstanding: Counter,
    pub(super) drops: SharedDrops,
}

impl WorkerBlock {
    pub(super) fn read(&self, queue: u32, rings: Vec<Option<RingStatistics>>) -> WorkerCounters {
        WorkerCounters {
            queue,
            packets: self.packets.get(),
            sent: self.sent.get(),
            batches: self.batches.get(),
            kicks: self.kicks.get(),
            polls: self.polls.get(),
            busy_nanoseconds: self.busy_nanoseconds.get(),
            slow_path_packets: self.slow_path_packets.get(),
            injected: self.injected.get(),
            waiting: self.waiting.get(),
            frames: self.frames.get(),
            frames_outstanding: self.frames_outstanding.get(),
            drops: self.drops.read(),
            rings,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_reason_has_its_own_place_and_name() {
        for (place, reason) in DropReason::all().enumerate() {
            assert_eq!(reason.index(), place, "{reason:?}");
        }
        assert_eq!(DropReason::all().count(), DropReason::COUNT);
        let names: BTreeSet<_> = DropReason::all().map(DropReason::name).collect();
        assert_eq!(names.len(), DropReason::COUNT);
    }

    #[test]
    fn a_drop_is_found_under_its_direction_and_reason() {
        let drops = SharedDrops::default();
        drops.count(Direction::Inbound, OpenError::Replay.into());
        drops.count(Direction::Inbound, OpenError::Replay.into());
        drops.count(Direction::Outbound, PathError::Ttl.into());
        let expected = [
            (Direction::Outbound, DropReason::Path(PathError::Ttl), 1),
            (Direction::Inbound, DropReason::Open(OpenError::Replay), 2),
        ];
        assert_eq!(drops.read().iter().collect::<Vec<_>>(), expected);
        assert_eq!(drops.read().total(), 3);
    }
}
