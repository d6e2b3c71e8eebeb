//! Map keys in aligned words.
//!
//! The kernel hashes and compares keys in words of four and eight octets. A load that spans several smaller stores waits for all
//! of them, some nanoseconds each time, so the keys are stored in the largest words that fit. The verifier wants such a store
//! aligned, which the types of the ABI, made of octets, do not promise.

use core::{mem::offset_of, ptr};

use aya_ebpf::maps::lpm_trie::Key;
use gateway_common::abi::{PrefixKey, SaKey};
use gateway_ebpf::Word;

/// The sixteen octets of `gateway_common::abi::v4_mapped`.
pub(crate) type MappedAddr = [u64; 2];

/// The twenty octets of `gateway_common::abi::SaKey`.
#[repr(C, align(8))]
pub(crate) struct AlignedSaKey {
    addr: MappedAddr,
    spi: u32,
}

/// The twelve octets of a trie's key, behind four that are not part of it.
#[repr(C, align(8))]
pub(crate) struct AlignedPrefixKey {
    unused: u32,
    prefix_len: u32,
    space: u32,
    addr: u32,
}

const _: () = {
    assert!(size_of::<MappedAddr>() == size_of::<[u8; 16]>());
    assert!(offset_of!(AlignedSaKey, spi) + 4 == size_of::<SaKey>());
    assert!(
        size_of::<AlignedPrefixKey>() - offset_of!(AlignedPrefixKey, prefix_len)
            == size_of::<Key<PrefixKey>>()
    );
};

#[inline(always)]
pub(crate) fn mapped(addr: Word) -> MappedAddr {
    // `::ffff:` and the address, in memory order.
    [
        0,
        u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]) | u64::from(addr.raw()) << 32,
    ]
}

impl AlignedSaKey {
    #[inline(always)]
    pub(crate) fn new(addr: Word, spi: Word) -> Self {
        Self {
            addr: mapped(addr),
            spi: spi.raw(),
        }
    }

    #[inline(always)]
    pub(crate) fn as_key(&self) -> &SaKey {
        // SAFETY: the first twenty octets are those of an `SaKey`, which needs no alignment.
        unsafe { &*ptr::from_ref(self).cast() }
    }
}

impl AlignedPrefixKey {
    /// A whole space and a whole address.
    #[inline(always)]
    pub(crate) fn new(space: u32, addr: Word) -> Self {
        Self {
            unused: 0,
            prefix_len: 64,
            space: space.to_be(),
            addr: addr.raw(),
        }
    }

    #[inline(always)]
    pub(crate) fn as_key(&self) -> &Key<PrefixKey> {
        let start = ptr::from_ref(self).wrapping_byte_add(offset_of!(Self, prefix_len));
        // SAFETY: the octets from `prefix_len` on are those of a `Key<PrefixKey>`, which needs no alignment.
        unsafe { &*start.cast() }
    }
}
