//! What the XDP program tells the worker about a packet.

/// First field of [`PacketMeta`]: tells metadata from stale headroom.
pub const PACKET_META_MAGIC: u16 = 0x6957;
/// From the VPC to the peer: the worker seals. `index` is a policy.
pub const DIRECTION_OUTBOUND: u8 = 1;
/// From the peer to the VPC: the worker opens. `index` is an inbound SA.
pub const DIRECTION_INBOUND: u8 = 2;

/// Sixteen octets in front of every packet that the program redirects, written with `bpf_xdp_adjust_meta`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketMeta {
    /// [`PACKET_META_MAGIC`].
    pub magic: u16,
    /// [`DIRECTION_OUTBOUND`] or [`DIRECTION_INBOUND`].
    pub direction: u8,
    /// Octets from the start of the packet to the IPv4 header: 14, 18 or 22.
    pub l3_offset: u8,
    /// Outbound: index of the policy. Inbound: index of the inbound SA.
    pub index: u32,
    /// Generation of that index.
    pub generation: u32,
    /// Inbound: octets from the start of the packet to the ESP header. Outbound: 0.
    pub esp_offset: u16,
    /// Inbound: 1 when the ESP header came inside UDP. Outbound: 0.
    pub udp_encapsulated: u16,
}

const _: () = assert!(size_of::<PacketMeta>() == 16 && align_of::<PacketMeta>() == 4);

impl PacketMeta {
    /// Octets of the metadata.
    pub const LEN: usize = 16;

    /// The sixteen octets, as the program writes them.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut octets = [0; Self::LEN];
        octets[0..2].copy_from_slice(&self.magic.to_ne_bytes());
        octets[2] = self.direction;
        octets[3] = self.l3_offset;
        octets[4..8].copy_from_slice(&self.index.to_ne_bytes());
        octets[8..12].copy_from_slice(&self.generation.to_ne_bytes());
        octets[12..14].copy_from_slice(&self.esp_offset.to_ne_bytes());
        octets[14..].copy_from_slice(&self.udp_encapsulated.to_ne_bytes());
        octets
    }

    /// Reads the sixteen octets in front of a packet; `None` without the magic number.
    pub fn from_bytes(octets: &[u8; Self::LEN]) -> Option<Self> {
        let u16_at = |at: usize| u16::from_ne_bytes([octets[at], octets[at + 1]]);
        let u32_at =
            |at: usize| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        (u16_at(0) == PACKET_META_MAGIC).then(|| Self {
            magic: PACKET_META_MAGIC,
            direction: octets[2],
            l3_offset: octets[3],
            index: u32_at(4),
            generation: u32_at(8),
            esp_offset: u16_at(12),
            udp_encapsulated: u16_at(14),
        })
    }
}
