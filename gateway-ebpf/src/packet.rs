//! Access to the octets of a packet.

/// A packet, from its Ethernet header to its end, in one piece.
pub trait Packet {
    /// Octets of the packet.
    fn octets(&self) -> usize;

    /// Reads `N` octets at `offset`; `None` when the packet ends before them.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Packet for [u8] {
    fn octets(&self) -> usize {
        self.len()
    }

    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}
