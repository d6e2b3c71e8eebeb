//! The library's traits over the kernel's objects.

mod keys;

use core::{
    arch::asm,
    cell::{Cell, UnsafeCell},
    intrinsics::{AtomicOrdering, atomic_cxchg},
};

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns},
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, XskMap},
    programs::XdpContext,
};
use gateway_common::abi::{
    IfaceValue, LimiterConfig, LocalAddrValue, PairKey, PathKey, PolicyValue, PrefixKey, SaKey, SaValue,
    ShieldValue, SourceKey, Verdict,
};
use gateway_ebpf::{FLOW_SLOTS, FlowEntry, Packet, SharedCell, Tables, Word};

use keys::{AlignedPrefixKey, AlignedSaKey, MappedAddr, mapped};

// Every size is a placeholder: the loader sets the real one, except of FLOWS.
#[map]
pub(crate) static IFACES: Array<IfaceValue> = Array::with_max_entries(1, 0);
#[map]
static LOCAL_CLASSES: LpmTrie<PrefixKey, u32> = LpmTrie::with_max_entries(1, 0);
#[map]
static PEER_CLASSES: LpmTrie<PrefixKey, u32> = LpmTrie::with_max_entries(1, 0);
#[map]
static POLICIES: HashMap<PairKey, PolicyValue> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static SAS: HashMap<SaKey, SaValue> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static UNKNOWN_SPIS: HashMap<PathKey, [u8; 4]> = HashMap::with_max_entries(1, 0);
#[map]
static LOCAL_ADDRS: HashMap<MappedAddr, LocalAddrValue> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static LIMITERS: Array<LimiterConfig> = Array::with_max_entries(1, 0);
#[map]
static LIMITER_STATE: Array<MapCell> = Array::with_max_entries(1, 0);
#[map]
static LIMITER_DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static IKE_SOURCES: LruHashMap<MappedAddr, MapCell> = LruHashMap::with_max_entries(1, 0);
#[map]
static IKE_LIMIT: Array<LimiterConfig> = Array::with_max_entries(1, 0);
#[map]
static SHIELDS: Array<ShieldValue> = Array::with_max_entries(1, 0);
#[map]
static SHIELD_STATE: Array<MapCell> = Array::with_max_entries(1, 0);
#[map]
static SHIELD_PREFIXES: LpmTrie<PrefixKey, u32> = LpmTrie::with_max_entries(1, 0);
#[map]
static SHIELD_SOURCES: LruHashMap<SourceKey, MapCell> = LruHashMap::with_max_entries(1, 0);
#[map]
static SHIELD_DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static XSKS: XskMap = XskMap::with_max_entries(1, 0);
#[map]
static FLOWS: PerCpuArray<FlowCell> = PerCpuArray::with_max_entries(FLOW_SLOTS, 0);

/// A `u64` in a map that all CPUs share.
#[repr(transparent)]
pub(crate) struct MapCell(UnsafeCell<u64>);

// SAFETY: every access is atomic, and so is the kernel's own store of eight aligned octets from user space.
unsafe impl Sync for MapCell {}

impl SharedCell for MapCell {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: the cell is a map value, which lives as long as the program runs; an aligned load of eight octets is atomic.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    fn compare_exchange(&self, current: u64, new: u64) -> Result<(), u64> {
        const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;
        // SAFETY: the cell is a map value, which lives as long as the program runs, and aligned.
        let (seen, done) = unsafe { atomic_cxchg::<u64, ORDER, ORDER>(self.0.get(), current, new) };
        if done { Ok(()) } else { Err(seen) }
    }
}

/// A slot of the flow cache.
#[repr(transparent)]
struct FlowCell(Cell<FlowEntry>);

// SAFETY: the map is per CPU, and the program is neither preempted by itself nor moved to another CPU.
unsafe impl Sync for FlowCell {}

/// The packet between `data` and `data_end`.
pub(crate) struct KernelPacket<'a>(pub(crate) &'a XdpContext);

impl Packet for KernelPacket<'_> {
    #[inline(always)]
    fn has(&self, len: usize) -> bool {
        self.0.data() + len <= self.0.data_end()
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut start = self.0.data() + offset;
        // The verifier wants the checked pointer and the one that is read to be one; the compiler would read below the end.
        // SAFETY: no instruction, only a value that the compiler does not see through.
        unsafe { asm!("/* {0} */", inout(reg) start, options(pure, nomem, nostack, preserves_flags)) };
        if start + N > self.0.data_end() {
            return None;
        }
        // SAFETY: the line above keeps `N` octets from `start` inside the packet; octets need no alignment.
        Some(unsafe { *(start as *const [u8; N]) })
    }
}

/// The maps of this file.
pub(crate) struct KernelTables;

impl Tables for KernelTables {
    type Shared = MapCell;

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: the helper has no conditions.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn now_coarse(&self) -> u64 {
        // SAFETY: the helper has no conditions.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn local_addr(&self, addr: Word) -> Option<LocalAddrValue> {
        // SAFETY: without preallocation a removed element keeps its contents until this run of the program ends.
        unsafe { LOCAL_ADDRS.get(mapped(addr)) }.copied()
    }

    #[inline(always)]
    fn local_class(&self, space: u32, addr: Word) -> Option<u32> {
        LOCAL_CLASSES
            .get(AlignedPrefixKey::new(space, addr).as_key())
            .copied()
    }

    #[inline(always)]
    fn peer_class(&self, space: u32, addr: Word) -> Option<u32> {
        PEER_CLASSES
            .get(AlignedPrefixKey::new(space, addr).as_key())
            .copied()
    }

    #[inline(always)]
    fn policy(&self, key: &PairKey) -> Option<PolicyValue> {
        // SAFETY: without preallocation a removed element keeps its contents until this run of the program ends.
        unsafe { POLICIES.get(key) }.copied()
    }

    #[inline(always)]
    fn sa(&self, addr: Word, spi: Word) -> Option<SaValue> {
        // SAFETY: without preallocation a removed element keeps its contents until this run of the program ends.
        unsafe { SAS.get(AlignedSaKey::new(addr, spi).as_key()) }.copied()
    }

    #[inline(always)]
    fn note_unknown_spi(&self, peer: Word, local: Word, spi: Word) {
        let key = PathKey {
            peer: peer.octets(),
            local: local.octets(),
        };
        // A look takes no lock, as the attempt to insert does.
        // SAFETY: only whether there is one is asked.
        if unsafe { UNKNOWN_SPIS.get(key) }.is_some() {
            return;
        }
        // Preallocated: full, as in a flood, it refuses at once.
        UNKNOWN_SPIS
            .insert(key, spi.octets(), u64::from(BPF_NOEXIST))
            .ok();
    }

    #[inline(always)]
    fn limiter(&self, number: u32) -> Option<LimiterConfig> {
        LIMITERS.get(number).copied()
    }

    #[inline(always)]
    fn limiter_state(&self, number: u32) -> Option<&MapCell> {
        LIMITER_STATE.get(number)
    }

    #[inline(always)]
    fn count_limiter_drop(&self, number: u32) {
        increment(&LIMITER_DROPS, number);
    }

    #[inline(always)]
    fn ike_limit(&self) -> Option<LimiterConfig> {
        IKE_LIMIT.get(0).copied()
    }

    #[inline(always)]
    fn ike_source(&self, addr: Word) -> Option<&MapCell> {
        let key = mapped(addr);
        // SAFETY: an element that the LRU list reuses stays an aligned `u64`; a source then finds the rate of another.
        if let Some(state) = unsafe { IKE_SOURCES.get(key) } {
            return Some(state);
        }
        // An error is another CPU that was faster, or no room: the second look tells which.
        IKE_SOURCES
            .insert(key, MapCell(UnsafeCell::new(0)), u64::from(BPF_NOEXIST))
            .ok();
        // SAFETY: as above.
        unsafe { IKE_SOURCES.get(key) }
    }

    #[inline(always)]
    fn shield(&self, number: u32) -> Option<&ShieldValue> {
        SHIELDS.get(number)
    }

    #[inline(always)]
    fn shield_state(&self, number: u32) -> Option<&MapCell> {
        SHIELD_STATE.get(number)
    }

    #[inline(always)]
    fn shield_prefix(&self, number: u32, source: Word) -> Option<u32> {
        SHIELD_PREFIXES
            .get(AlignedPrefixKey::new(number, source).as_key())
            .copied()
    }

    #[inline(always)]
    fn shield_source(&self, number: u32, source: Word, bucket: u32) -> Option<&MapCell> {
        let key = SourceKey {
            addr: source.octets(),
            shield: number,
            bucket,
        };
        // SAFETY: an element that the LRU list reuses stays an aligned `u64`; a source then finds the rate of another.
        if let Some(state) = unsafe { SHIELD_SOURCES.get(key) } {
            return Some(state);
        }
        // An error is another CPU that was faster, or no room: the second look tells which.
        SHIELD_SOURCES
            .insert(key, MapCell(UnsafeCell::new(0)), u64::from(BPF_NOEXIST))
            .ok();
        // SAFETY: as above.
        unsafe { SHIELD_SOURCES.get(key) }
    }

    #[inline(always)]
    fn count_shield_drop(&self, number: u32, verdict: Verdict) {
        let first = number.wrapping_mul(Verdict::COUNT);
        increment(&SHIELD_DROPS, first.wrapping_add(verdict as u32));
    }

    #[inline(always)]
    fn flow(&self, slot: u32) -> Option<&Cell<FlowEntry>> {
        FLOWS.get(slot).map(|cell| &cell.0)
    }
}

/// Adds one to this CPU's counter.
#[inline(always)]
pub(crate) fn increment(counters: &PerCpuArray<u64>, number: u32) {
    if let Some(counter) = counters.get_ptr_mut(number) {
        // SAFETY: a per-CPU value that only this CPU changes, and the program is not preempted by itself.
        unsafe { *counter += 1 };
    }
}
