//! What workers look packets up in: one slot per index, each swapped by itself.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use gateway_esp::{InboundSa, OutboundSa};

use super::counters::SharedDrops;
use super::{Counters, Message, SaCounters, SaLimits, SaMark, TunnelCounters};
use crate::net::RouteTable;

/// Nanoseconds since the start of the data plane; never 0.
pub(super) type Nanoseconds = u64;

/// In [`Policy::outbound`]: no SA.
const NO_SA: u32 = u32::MAX;
/// Nanoseconds between two acquire events of one policy.
const ACQUIRE_INTERVAL: Nanoseconds = 1_000_000_000;

/// How many of each there can be; indices and tunnel numbers are below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Policies.
    pub policies: u32,
    /// SAs in each direction.
    pub sas: u32,
    /// Tunnels.
    pub tunnels: u32,
}

/// The tables of all workers. Installing one SA swaps one slot.
#[derive(Debug)]
pub(super) struct Tables {
    policies: Box<[ArcSwapOption<Policy>]>,
    inbound: Box<[ArcSwapOption<Inbound>]>,
    /// By the same index: what an inbound SA is to become.
    expected: Box<[ArcSwapOption<Expected>]>,
    outbound: Box<[ArcSwapOption<Outbound>]>,
    tunnels: Box<[Tunnel]>,
    /// Tunnels from this number on never had a policy, so that they have counted nothing.
    tunnels_known: AtomicU32,
    routes: ArcSwap<RouteTable>,
    /// Raised by every change that can end the wait of a packet.
    changes: AtomicU64,
}

/// A message that the tables cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {number} is beyond the capacity")]
pub(super) struct BeyondCapacity {
    what: &'static str,
    number: u32,
}

/// One policy: a selector pair of a tunnel.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) index: u32,
    pub(super) generation: u32,
    pub(super) tunnel: u32,
    /// Index of the outbound SA, or [`NO_SA`].
    outbound: AtomicU32,
    /// Packets of all workers that wait for an SA.
    pub(super) waiting: AtomicU32,
    /// When the last acquire event was; 0: never.
    acquired: AtomicU64,
}

/// An SA from the peer whose keys are not here yet.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) index: u32,
    pub(super) generation: u32,
    pub(super) tunnel: u32,
    /// Packets of all workers that wait for the keys.
    pub(super) waiting: AtomicU32,
}

/// One SA from the peer.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) generation: u32,
    pub(super) tunnel: u32,
    pub(super) sa: InboundSa,
    pub(super) usage: Usage,
    /// UDP port from which the newest packet came; 0: none did yet, or ESP travels without UDP.
    pub(super) peer_port: AtomicU16,
    used: AtomicBool,
}

/// One SA to the peer.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) index: u32,
    pub(super) tunnel: u32,
    /// Replaced when the peer moves; keys and sequence numbers stay.
    pub(super) sa: ArcSwap<OutboundSa>,
    pub(super) usage: Usage,
    limits: SaLimits,
    /// The furthest [`SaMark`] that was reported; 0: none.
    reported: AtomicU8,
}

/// What an SA carried. Written once per batch.
#[derive(Debug, Default)]
pub(super) struct Usage {
    packets: AtomicU64,
    octets: AtomicU64,
    last: AtomicU64,
}

/// What is kept per tunnel.
#[derive(Debug, Default)]
pub(super) struct Tunnel {
    pub(super) drops: SharedDrops,
    pub(super) mss_clamped: AtomicU64,
    pub(super) icmp_too_big_sent: AtomicU64,
    pub(super) icmp_time_exceeded_sent: AtomicU64,
    pub(super) fragmented: AtomicU64,
    /// MSS that fits the way to the peer, as last seen by a sealing worker; 0: not known yet.
    pub(super) mss: AtomicU32,
    /// The longest inner packet, as last seen by a sealing worker; 0: not known yet.
    pub(super) mtu: AtomicU32,
    probe: ProbeAnswers,
    /// Up to when events that the peer causes were told, at their steady pace.
    told: AtomicU64,
}

/// Destination and identifier of the echo replies that are control's, in one word; 0: none.
#[derive(Debug, Default)]
struct ProbeAnswers(AtomicU64);

impl ProbeAnswers {
    fn set(&self, answers: Option<(Ipv4Addr, u16)>) {
        let word = answers.map_or(0, |(local, identifier)| {
            u64::from(local.to_bits()) << 32 | u64::from(identifier) << 16 | 1
        });
        self.0.store(word, Ordering::Relaxed);
    }

    fn load(&self) -> Option<(Ipv4Addr, u16)> {
        let word = self.0.load(Ordering::Relaxed);
        let [a, b, c, d, high, low, _, set] = word.to_be_bytes();
        (set != 0).then(|| (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
    }
}

impl Tunnel {
    /// Destination and identifier of the echo replies that are control's.
    pub(super) fn probe_answers(&self) -> Option<(Ipv4Addr, u16)> {
        self.probe.load()
    }

    /// Whether control hears of one more answer to a probe, or of another port. Eight at once and eight a second are more than an honest
    /// peer causes, which has one probe a second to answer; what else knows our probes must not keep control from its work.
    pub(super) fn may_tell(&self, now: Nanoseconds) -> bool {
        const GAP: Nanoseconds = 125_000_000;
        const BURST: Nanoseconds = 8 * GAP;
        self.told
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |told| {
                let told = told.max(now);
                (told - now < BURST).then_some(told + GAP)
            })
            .is_ok()
    }
}

impl Tables {
    pub(super) fn new(capacity: Capacity) -> Self {
        fn slots<T>(count: u32) -> Box<[ArcSwapOption<T>]> {
            (0..count).map(|_| ArcSwapOption::empty()).collect()
        }
        Self {
            policies: slots(capacity.policies),
            inbound: slots(capacity.sas),
            expected: slots(capacity.sas),
            outbound: slots(capacity.sas),
            tunnels: (0..capacity.tunnels).map(|_| Tunnel::default()).collect(),
            tunnels_known: AtomicU32::new(0),
            routes: ArcSwap::default(),
            changes: AtomicU64::new(0),
        }
    }

    /// Applies one message. Workers see it with their next packet.
    pub(super) fn apply(&self, message: Message) -> Result<(), BeyondCapacity> {
        match message {
            Message::InstallPolicy {
                index,
                generation,
                tunnel,
            } => {
                self.tunnel(tunnel)?;
                self.tunnels_known.fetch_max(tunnel + 1, Ordering::Relaxed);
                let slot = slot(&self.policies, "policy", index)?;
                let same = |old: &Policy| old.generation == generation && old.tunnel == tunnel;
                if !slot.load().as_deref().is_some_and(same) {
                    slot.store(Some(Arc::new(Policy::new(index, generation, tunnel))));
                }
            }
            Message::RemovePolicy { index } => slot(&self.policies, "policy", index)?.store(None),
            Message::ExpectInbound {
                index,
                generation,
                tunnel,
            } => {
                self.tunnel(tunnel)?;
                let expected = Expected {
                    index,
                    generation,
                    tunnel,
                    waiting: AtomicU32::new(0),
                };
                slot(&self.expected, "inbound SA", index)?.store(Some(Arc::new(expected)));
            }
            Message::InstallInbound {
                index,
                generation,
                tunnel,
                sa,
            } => {
                self.tunnel(tunnel)?;
                let inbound = Inbound {
                    generation,
                    tunnel,
                    sa: *sa,
                    usage: Usage::default(),
                    peer_port: AtomicU16::new(0),
                    used: AtomicBool::new(false),
                };
                // It stays expected, too: a worker that has just missed it lets its packets wait.
                slot(&self.inbound, "inbound SA", index)?.store(Some(Arc::new(inbound)));
            }
            Message::RemoveInbound { index } => {
                slot(&self.inbound, "inbound SA", index)?.store(None);
                slot(&self.expected, "inbound SA", index)?.store(None);
            }
            Message::InstallOutbound {
                index,
                tunnel,
                sa,
                limits,
            } => {
                self.tunnel(tunnel)?;
                let outbound = Outbound {
                    index,
                    tunnel,
                    sa: ArcSwap::from(Arc::from(sa)),
                    usage: Usage::default(),
                    limits,
                    reported: AtomicU8::new(0),
                };
                slot(&self.outbound, "outbound SA", index)?.store(Some(Arc::new(outbound)));
            }
            Message::MoveOutbound { index, peer_port } => {
                if let Some(outbound) = slot(&self.outbound, "outbound SA", index)?.load().as_deref() {
                    outbound.move_to(peer_port);
                }
            }
            Message::RaiseSequence { index, by } => {
                if let Some(outbound) = slot(&self.outbound, "outbound SA", index)?.load().as_deref() {
                    outbound.sa.load().raise_sequence(by);
                }
            }
            Message::RemoveOutbound { index } => slot(&self.outbound, "outbound SA", index)?.store(None),
            Message::Switch { policy, outbound } => {
                if let Some(index) = outbound {
                    slot(&self.outbound, "outbound SA", index)?;
                }
                if let Some(policy) = slot(&self.policies, "policy", policy)?.load().as_deref() {
                    policy
                        .outbound
                        .store(outbound.unwrap_or(NO_SA), Ordering::Release);
                    // What asked for the SA before it came does not keep the first packet after its end from asking.
                    policy.acquired.store(0, Ordering::Relaxed);
                }
            }
            Message::Probe { tunnel, answers } => self.tunnel(tunnel)?.probe.set(answers),
        }
        self.changes.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Replaces the routes.
    pub(super) fn set_routes(&self, routes: Arc<RouteTable>) {
        self.routes.store(routes);
    }

    /// The routes as they are.
    pub(super) fn routes(&self) -> arc_swap::Guard<Arc<RouteTable>> {
        self.routes.load()
    }

    /// The policy of an index, if it has this generation.
    pub(super) fn policy(&self, index: u32, generation: u32) -> Option<Arc<Policy>> {
        let policy = self.policies.get(index as usize)?.load_full()?;
        (policy.generation == generation).then_some(policy)
    }

    /// The inbound SA of an index, if it has this generation.
    pub(super) fn inbound(&self, index: u32, generation: u32) -> Option<Arc<Inbound>> {
        let inbound = self.inbound.get(index as usize)?.load_full()?;
        (inbound.generation == generation).then_some(inbound)
    }

    /// The inbound SA of an index that is to come with this generation.
    pub(super) fn expected(&self, index: u32, generation: u32) -> Option<Arc<Expected>> {
        let expected = self.expected.get(index as usize)?.load_full()?;
        (expected.generation == generation).then_some(expected)
    }

    /// The outbound SA that a policy uses. An SA of another tunnel is none, whatever control said.
    pub(super) fn outbound_of(&self, policy: &Policy) -> Option<Arc<Outbound>> {
        let index = policy.outbound.load(Ordering::Acquire);
        let outbound = self.outbound.get(index as usize)?.load_full()?;
        (outbound.tunnel == policy.tunnel).then_some(outbound)
    }

    /// What is kept for a tunnel that a table entry names.
    pub(super) fn tunnel(&self, number: u32) -> Result<&Tunnel, BeyondCapacity> {
        self.tunnels.get(number as usize).ok_or(BeyondCapacity {
            what: "tunnel",
            number,
        })
    }

    /// A number that differs after every applied message.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Reads the counters of SAs and tunnels.
    pub(super) fn read_counters(&self, counters: &mut Counters) {
        let inbound = present(&self.inbound);
        counters.inbound = inbound
            .map(|(index, it)| (index, it.usage.read(it.sa.highest_sequence())))
            .collect();
        let outbound = present(&self.outbound);
        counters.outbound = outbound
            .map(|(index, it)| (index, it.usage.read(it.sa.load().highest_sequence())))
            .collect();
        let tunnels = (0..self.tunnels_known.load(Ordering::Relaxed)).zip(&self.tunnels);
        counters.tunnels = tunnels
            .map(|(number, tunnel)| (number, tunnel.read()))
            .filter(|(_, tunnel)| *tunnel != TunnelCounters::default())
            .collect();
    }

    /// Reads the counters of an inbound and an outbound SA; zeros for one that is not there.
    pub(super) fn read_sas(&self, inbound: u32, outbound: u32) -> (SaCounters, SaCounters) {
        (
            at(&self.inbound, inbound)
                .map(|it| it.usage.read(it.sa.highest_sequence()))
                .unwrap_or_default(),
            at(&self.outbound, outbound)
                .map(|it| it.usage.read(it.sa.load().highest_sequence()))
                .unwrap_or_default(),
        )
    }

    /// Reads the counters of one tunnel; zeros beyond the capacity.
    pub(super) fn read_tunnel(&self, number: u32) -> TunnelCounters {
        self.tunnel(number).map(Tunnel::read).unwrap_or_default()
    }
}

impl Policy {
    fn new(index: u32, generation: u32, tunnel: u32) -> Self {
        let (outbound, waiting, acquired) = (AtomicU32::new(NO_SA), AtomicU32::new(0), AtomicU64::new(0));
        Self {
            index,
            generation,
            tunnel,
            outbound,
            waiting,
            acquired,
        }
    }

    /// Whether an acquire event is due; if so, the next one is due a second later.
    pub(super) fn may_acquire(&self, now: Nanoseconds) -> bool {
        let last = self.acquired.load(Ordering::Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= ACQUIRE_INTERVAL;
        due && self
            .acquired
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

impl Inbound {
    /// True for the first caller only.
    pub(super) fn is_first_use(&self) -> bool {
        !self.used.load(Ordering::Relaxed) && !self.used.swap(true, Ordering::Relaxed)
    }
}

impl Outbound {
    /// Sends to another port of the peer, when the SA is encapsulated in UDP at all.
    fn move_to(&self, peer_port: u16) {
        let sa = self.sa.load();
        let mut endpoints = sa.endpoints();
        if let Some(udp) = &mut endpoints.udp {
            udp.peer = peer_port;
            self.sa.store(Arc::new(sa.with_endpoints(endpoints)));
        }
    }

    /// Whether the SA carried all the octets it may.
    pub(super) fn is_over(&self) -> bool {
        self.limits.is_over(self.usage.octets.load(Ordering::Relaxed))
    }

    /// The mark that the SA reached, if nobody has reported it yet.
    pub(super) fn fresh_mark(&self) -> Option<SaMark> {
        let octets = self.usage.octets.load(Ordering::Relaxed);
        let mark = self.limits.mark(octets, self.sa.load().highest_sequence())?;
        self.is_fresh(mark).then_some(mark)
    }

    /// True for the first caller with this mark or a further one.
    pub(super) fn is_fresh(&self, mark: SaMark) -> bool {
        let mark = mark as u8;
        self.reported.load(Ordering::Relaxed) < mark
            && self.reported.fetch_max(mark, Ordering::Relaxed) < mark
    }
}

impl Usage {
    /// Adds what one batch carried.
    pub(super) fn add(&self, packets: u64, octets: u64, now: Nanoseconds) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.octets.fetch_add(octets, Ordering::Relaxed);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Whether the SA ever carried a packet.
    pub(super) fn is_used(&self) -> bool {
        self.last.load(Ordering::Relaxed) > 0
    }

    fn read(&self, highest_sequence: u64) -> SaCounters {
        let last = self.last.load(Ordering::Relaxed);
        SaCounters {
            packets: self.packets.load(Ordering::Relaxed),
            octets: self.octets.load(Ordering::Relaxed),
            highest_sequence,
            last_used: (last > 0).then_some(Duration::from_nanos(last)),
        }
    }
}

impl Tunnel {
    fn read(&self) -> TunnelCounters {
        TunnelCounters {
            drops: self.drops.read(),
            mss_clamped: self.mss_clamped.load(Ordering::Relaxed),
            icmp_too_big_sent: self.icmp_too_big_sent.load(Ordering::Relaxed),
            icmp_time_exceeded_sent: self.icmp_time_exceeded_sent.load(Ordering::Relaxed),
            fragmented: self.fragmented.load(Ordering::Relaxed),
            mtu: self.mtu.load(Ordering::Relaxed),
        }
    }
}

fn slot<'a, T>(
    slots: &'a [ArcSwapOption<T>],
    what: &'static str,
    number: u32,
) -> Result<&'a ArcSwapOption<T>, BeyondCapacity> {
    slots.get(number as usize).ok_or(BeyondCapacity { what, number })
}

/// What the slot holds, if it is there and holds something.
fn at<T>(slots: &[ArcSwapOption<T>], index: u32) -> Option<Arc<T>> {
    slots.get(index as usize)?.load_full()
}

/// The slots that hold something, with their indices.
fn present<T>(slots: &[ArcSwapOption<T>]) -> impl Iterator<Item = (u32, Arc<T>)> {
    (0..)
        .zip(slots)
        .filter_map(|(index, slot)| Some((index, slot.load_full()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity {
        policies: 4,
        sas: 4,
        tunnels: 2,
    };

    fn policy(index: u32, generation: u32) -> Message {
        Message::InstallPolicy {
            index,
            generation,
            tunnel: 1,
        }
    }

    #[test]
    fn an_index_is_found_only_with_its_generation() {
        let tables = Tables::new(CAPACITY);
        assert!(tables.policy(1, 7).is_none());
        tables.apply(policy(1, 7)).expect("in range");
        assert!(tables.policy(1, 7).is_some());
        assert!(
            tables.policy(1, 8).is_none() && tables.policy(0, 7).is_none() && tables.policy(99, 7).is_none()
        );
        tables.apply(policy(1, 8)).expect("in range");
        assert!(tables.policy(1, 7).is_none() && tables.policy(1, 8).is_some());
        tables
            .apply(Message::RemovePolicy { index: 1 })
            .expect("in range");
        assert!(tables.policy(1, 8).is_none());
    }

    #[test]
    fn installing_a_policy_again_keeps_its_state() {
        let tables = Tables::new(CAPACITY);
        tables.apply(policy(1, 7)).expect("in range");
        let before = tables.policy(1, 7).expect("installed");
        tables.apply(policy(1, 7)).expect("in range");
        assert!(Arc::ptr_eq(&before, &tables.policy(1, 7).expect("installed")));
    }

    #[test]
    fn numbers_beyond_the_capacity_are_refused() {
        let tables = Tables::new(CAPACITY);
        for message in [
            policy(4, 0),
            Message::InstallPolicy {
                index: 0,
                generation: 0,
                tunnel: 2,
            },
            Message::RemoveInbound { index: 4 },
            Message::RemoveOutbound { index: u32::MAX },
            Message::Switch {
                policy: 4,
                outbound: None,
            },
            Message::Switch {
                policy: 0,
                outbound: Some(4),
            },
        ] {
            let text = format!("{message:?}");
            assert!(tables.apply(message).is_err(), "{text}");
        }
        assert_eq!(tables.changes(), 0);
    }

    #[test]
    fn acquire_is_due_once_per_second() {
        let policy = Policy::new(0, 0, 0);
        let second = ACQUIRE_INTERVAL;
        let due = [5, 6, second, second + 5, second + 6, 9 * second].map(|now| policy.may_acquire(now));
        assert_eq!(due, [true, false, false, true, false, true]);
    }

    #[test]
    fn a_peer_that_answers_more_than_was_asked_is_heard_at_a_steady_pace() {
        let tunnel = Tunnel::default();
        let told = |from: Nanoseconds, step: Nanoseconds| {
            (0..10_000)
                .filter(|answer| tunnel.may_tell(from + answer * step))
                .count()
        };
        assert_eq!(told(1, 0), 8);
        assert!((8..=16).contains(&told(2_000_000_000, 100_000)));
        assert_eq!(told(10_000_000_000, 1_000_000_000), 10_000);
    }

    #[test]
    fn the_first_packet_after_the_end_of_an_sa_asks_at_once() {
        let tables = Tables::new(CAPACITY);
        tables.apply(policy(0, 0)).expect("in range");
        let policy = tables.policy(0, 0).expect("installed");
        assert!(policy.may_acquire(5) && !policy.may_acquire(6));
        let end = Message::Switch {
            policy: 0,
            outbound: None,
        };
        tables.apply(end).expect("in range");
        assert!(policy.may_acquire(7));
    }
}
