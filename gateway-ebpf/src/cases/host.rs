//! The maps in plain memory, and a clock that stands still.

use core::cell::{Cell, RefCell};
use std::{collections::HashMap, vec, vec::Vec};

use gateway_common::abi::{
    IfaceValue, LimiterConfig, LocalAddrValue, PairKey, PathKey, PolicyValue, SaKey, SaValue, ShieldValue,
    Verdict, v4_mapped,
};

use super::{Addr, Outcome, Space, Target};
use crate::{Decision, FLOW_SLOTS, FlowEntry, SharedCell, Tables, Word, judge};

const LIMITERS: usize = 1_024;
const SHIELDS: usize = 16;
const BUCKETS: usize = 3;
/// Nanoseconds between two ticks of a kernel with HZ=100, the coarsest.
const TICK: u64 = 10_000_000;
/// Sockets in `XSKS`.
const SOCKETS: u32 = 1;

/// The decisions of the library over tables in memory.
pub struct HostTarget {
    iface: IfaceValue,
    tables: HostTables,
}

struct HostTables {
    now: Cell<u64>,
    locals: HashMap<[u8; 4], LocalAddrValue>,
    shields: Vec<ShieldValue>,
    shield_state: Vec<HostCell>,
    shield_prefixes: Classes,
    /// A slot for each shield, bucket and last octet of a source.
    shield_sources: Vec<HostCell>,
    shield_drops: Vec<Cell<u64>>,
    local_classes: Classes,
    peer_classes: Classes,
    policies: HashMap<(u32, u32, u32), PolicyValue>,
    sas: HashMap<SaKey, SaValue>,
    unknown_spis: RefCell<HashMap<PathKey, [u8; 4]>>,
    limiters: Vec<LimiterConfig>,
    limiter_state: Vec<HostCell>,
    limiter_drops: Vec<Cell<u64>>,
    ike_limit: LimiterConfig,
    /// A slot for each last octet of a source.
    ike_sources: Vec<HostCell>,
    flows: Vec<Cell<FlowEntry>>,
}

#[derive(Clone, Default)]
struct HostCell(Cell<u64>);

impl Default for HostTarget {
    fn default() -> Self {
        let tables = HostTables {
            now: Cell::new(1_000_000_000),
            locals: HashMap::new(),
            shields: vec![ShieldValue::default(); SHIELDS],
            shield_state: vec![HostCell::default(); SHIELDS],
            shield_prefixes: Classes::default(),
            shield_sources: vec![HostCell::default(); SHIELDS * BUCKETS * 256],
            shield_drops: vec![Cell::default(); SHIELDS * Verdict::COUNT as usize],
            local_classes: Classes::default(),
            peer_classes: Classes::default(),
            policies: HashMap::new(),
            sas: HashMap::new(),
            unknown_spis: RefCell::default(),
            limiters: vec![LimiterConfig::default(); LIMITERS],
            limiter_state: vec![HostCell::default(); LIMITERS],
            limiter_drops: vec![Cell::default(); LIMITERS],
            ike_limit: LimiterConfig::default(),
            ike_sources: vec![HostCell::default(); 256],
            flows: vec![Cell::default(); FLOW_SLOTS as usize],
        };
        Self {
            iface: IfaceValue::default(),
            tables,
        }
    }
}

impl HostTarget {
    /// Moves the clock.
    pub fn advance(&mut self, nanoseconds: u64) {
        self.tables.now.set(self.tables.now.get() + nanoseconds);
    }

    /// The decision about a packet of a queue, with the worker's slot.
    pub fn decide(&self, packet: &[u8], queue: u32) -> Decision {
        judge(packet, &self.iface, queue, &self.tables)
    }
}

impl Target for HostTarget {
    fn set_iface(&mut self, value: IfaceValue) {
        self.iface = value;
    }

    fn write_space(&mut self, space: &Space<'_>) {
        self.tables.local_classes.add(space.id, space.local);
        self.tables.peer_classes.add(space.id, space.peer);
        for (local_class, peer_class, policy) in space.pairs {
            self.tables
                .policies
                .insert((space.id, *local_class, *peer_class), *policy);
        }
    }

    fn put_sa(&mut self, key: SaKey, value: SaValue) {
        self.tables.sas.insert(key, value);
    }

    fn remove_sa(&mut self, key: &SaKey) {
        self.tables.sas.remove(key);
    }

    fn put_local_addr(&mut self, addr: Addr, shield: u32) {
        let value = LocalAddrValue { gateway: 1, shield };
        self.tables.locals.insert(addr, value);
    }

    fn set_shield(&mut self, number: u32, limits: ShieldValue, prefixes: &[(Addr, u8, u32)]) {
        self.tables.shields[number as usize] = limits;
        self.tables
            .shield_prefixes
            .0
            .retain(|(shield, ..)| *shield != number);
        self.tables.shield_prefixes.add(number, prefixes);
    }

    fn shield_drops(&self, number: u32, verdict: Verdict) -> u64 {
        self.tables.shield_drops[(number * Verdict::COUNT + verdict as u32) as usize].get()
    }

    fn take_unknown_spis(&mut self) -> Vec<(PathKey, [u8; 4])> {
        self.tables.unknown_spis.get_mut().drain().collect()
    }

    fn set_limiter(&mut self, number: u32, config: LimiterConfig) {
        self.tables.limiters[number as usize] = config;
    }

    fn limiter_drops(&self, number: u32) -> u64 {
        self.tables.limiter_drops[number as usize].get()
    }

    fn set_ike_limit(&mut self, config: LimiterConfig) {
        self.tables.ike_limit = config;
    }

    fn judge(&mut self, packet: &[u8]) -> Outcome {
        match self.decide(packet, 0) {
            Decision::Final(verdict) => verdict.into(),
            Decision::Redirect(redirect) if redirect.slot >= SOCKETS => Verdict::NoWorker.into(),
            Decision::Redirect(redirect) => Outcome {
                verdict: redirect.verdict,
                meta: Some(redirect.meta),
            },
        }
    }
}

impl SharedCell for HostCell {
    fn load(&self) -> u64 {
        self.0.get()
    }

    fn compare_exchange(&self, current: u64, new: u64) -> Result<(), u64> {
        let seen = self.0.get();
        if seen != current {
            return Err(seen);
        }
        self.0.set(new);
        Ok(())
    }
}

impl Tables for HostTables {
    type Shared = HostCell;

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn now_coarse(&self) -> u64 {
        self.now.get() / TICK * TICK
    }

    fn local_addr(&self, addr: Word) -> Option<LocalAddrValue> {
        self.locals.get(&addr.octets()).copied()
    }

    fn local_class(&self, space: u32, addr: Word) -> Option<u32> {
        self.local_classes.longest(space, addr)
    }

    fn peer_class(&self, space: u32, addr: Word) -> Option<u32> {
        self.peer_classes.longest(space, addr)
    }

    fn policy(&self, key: &PairKey) -> Option<PolicyValue> {
        self.policies
            .get(&(key.space, key.local_class, key.peer_class))
            .copied()
    }

    fn sa(&self, addr: Word, spi: Word) -> Option<SaValue> {
        self.sas
            .get(&SaKey {
                addr: v4_mapped(addr.octets()),
                spi: spi.octets(),
            })
            .copied()
    }

    fn note_unknown_spi(&self, peer: Word, local: Word, spi: Word) {
        let path = PathKey {
            peer: peer.octets(),
            local: local.octets(),
        };
        let mut noted = self.unknown_spis.borrow_mut();
        noted.entry(path).or_insert_with(|| spi.octets());
    }

    fn limiter(&self, number: u32) -> Option<LimiterConfig> {
        self.limiters.get(number as usize).copied()
    }

    fn limiter_state(&self, number: u32) -> Option<&HostCell> {
        self.limiter_state.get(number as usize)
    }

    fn count_limiter_drop(&self, number: u32) {
        let drops = &self.limiter_drops[number as usize];
        drops.set(drops.get() + 1);
    }

    fn ike_limit(&self) -> Option<LimiterConfig> {
        Some(self.ike_limit)
    }

    fn ike_source(&self, addr: Word) -> Option<&HostCell> {
        self.ike_sources.get(usize::from(addr.octets()[3]))
    }

    fn shield(&self, number: u32) -> Option<&ShieldValue> {
        self.shields.get(number as usize)
    }

    fn shield_state(&self, number: u32) -> Option<&HostCell> {
        self.shield_state.get(number as usize)
    }

    fn shield_prefix(&self, number: u32, source: Word) -> Option<u32> {
        self.shield_prefixes.longest(number, source)
    }

    fn shield_source(&self, number: u32, source: Word, bucket: u32) -> Option<&HostCell> {
        let bucket = number as usize * BUCKETS + bucket as usize;
        self.shield_sources
            .get(bucket * 256 + usize::from(source.octets()[3]))
    }

    fn count_shield_drop(&self, number: u32, verdict: Verdict) {
        let drops = &self.shield_drops[(number * Verdict::COUNT + verdict as u32) as usize];
        drops.set(drops.get() + 1);
    }

    fn flow(&self, slot: u32) -> Option<&Cell<FlowEntry>> {
        self.flows.get(slot as usize)
    }
}

/// Space, address, prefix length and class.
#[derive(Default)]
struct Classes(Vec<(u32, Addr, u8, u32)>);

impl Classes {
    fn add(&mut self, space: u32, prefixes: &[(Addr, u8, u32)]) {
        self.0.extend(
            prefixes
                .iter()
                .map(|(addr, len, class)| (space, *addr, *len, *class)),
        );
    }

    fn longest(&self, space: u32, addr: Word) -> Option<u32> {
        let addr = u32::from_be_bytes(addr.octets());
        let matches = |net: Addr, len: u8| {
            let differing = addr ^ u32::from_be_bytes(net);
            differing.leading_zeros() >= u32::from(len)
        };
        let of_space = self
            .0
            .iter()
            .filter(|(id, net, len, _)| *id == space && matches(*net, *len));
        of_space
            .max_by_key(|(_, _, len, _)| *len)
            .map(|(_, _, _, class)| *class)
    }
}
