//! Access to the octets of a packet.

/// A packet, from its Ethernet header to its end, in one piece.
pub trait Packet {
    /// Whether the packet has `len` octets or more.
    fn has(&self, len: usize) -> bool;

    /// Reads `N` octets at `offset`; `None` when the packet ends before them.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

/// Four octets of a packet in the packet's order: an address or an SPI.
///
/// One number and not an array: the compiler keeps arrays of octets as octets, and the hash functions of the kernel, which read
/// words, stall on what was stored in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(u32);

impl Word {
    /// Takes the octets as they stand in the packet.
    pub const fn new(octets: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(octets))
    }

    /// The octets as they stand in the packet.
    pub const fn octets(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }

    /// The octets in memory order as one number: only its equality means something.
    pub const fn raw(self) -> u32 {
        self.0
    }
}

impl Packet for [u8] {
    fn has(&self, len: usize) -> bool {
        self.len() >= len
    }

    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}
