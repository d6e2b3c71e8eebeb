//! Keys and values of the BPF maps.

/// The interface carries nothing of ours: every packet is passed.
pub const IFACE_ROLE_NONE: u32 = 0;
/// The interface faces the public network: ESP and IKE arrive here.
pub const IFACE_ROLE_PUBLIC: u32 = 1;
/// The interface faces a VPC: traffic to protect arrives here.
pub const IFACE_ROLE_VPC: u32 = 2;

/// Bits of [`IfaceValue::space`] that number the slot.
pub const SPACE_SLOT_BITS: u32 = 12;

/// The slot of a space: the space of its keys in the maps.
#[must_use]
pub const fn space_slot(space: u32) -> u32 {
    space & ((1 << SPACE_SLOT_BITS) - 1)
}

/// Value of `IFACES`: what the program knows about the interface a packet came in on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IfaceValue {
    /// One of the `IFACE_ROLE_*` constants.
    pub role: u32,
    /// SPD space to look prefixes up in: [`space_slot`] of it numbers the entries in the maps, the bits above this version of them.
    ///
    /// One version is one immutable compilation of an SPD: a change writes the entries of a slot that no interface uses and then
    /// this number, so that the packet path sees the old policy or the new one, never a mixture, and nothing that it remembers of an
    /// earlier version. VPC interfaces have the space of their VPC; public interfaces and the slow path's interface have the union
    /// of all VPCs. 0: no policy at all.
    pub space: u32,
    /// First slot of this interface in `XSKS`; the RX queue is added.
    pub xsk_base: u32,
    /// Number of the interface in `COUNTERS`.
    pub slot: u32,
    /// 1: traffic from the VPC that no rule covers is dropped; 0: it is passed to the kernel.
    pub default_deny: u32,
    /// Number of RX queues that have a socket; a packet of a higher queue is dropped.
    pub queues: u32,
}

/// Data part of the key of `LOCAL_CLASSES` and `PEER_CLASSES`. The prefix length is 32 plus the IPv4 prefix length.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixKey {
    /// Slot of the SPD space in network order.
    pub space: [u8; 4],
    /// IPv4 address.
    pub addr: [u8; 4],
}

/// Key of `POLICIES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairKey {
    /// Slot of the SPD space.
    pub space: u32,
    /// Class of the local (VPC side) address.
    pub local_class: u32,
    /// Class of the peer (customer side) address.
    pub peer_class: u32,
}

/// Value of `POLICIES`: one selector pair of a tunnel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyValue {
    /// Index of the policy in the workers' tables. The worker knows which SA it uses at the moment.
    pub policy: u32,
    /// Generation of that index: a worker drops a packet whose generation is not the table's.
    pub generation: u32,
    /// Number of the tunnel.
    pub tunnel: u32,
    /// Limiter of the VPN gateway for traffic to the peer; 0 for none.
    pub gateway_limiter: u32,
    /// Limiter of the tunnel for traffic to the peer; 0 for none.
    pub tunnel_limiter: u32,
}

/// Key of `SAS`: an inbound SA.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SaKey {
    /// Destination address of the ESP packet, IPv4 mapped into IPv6.
    pub addr: [u8; 16],
    /// SPI in network order.
    pub spi: [u8; 4],
}

/// Value of `SAS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaValue {
    /// Index of the inbound SA in the workers' tables.
    pub sa: u32,
    /// Generation of that index.
    pub generation: u32,
    /// Number of the tunnel.
    pub tunnel: u32,
    /// Limiter of the VPN gateway for traffic from the peer; 0 for none.
    pub gateway_limiter: u32,
    /// Limiter of the tunnel for traffic from the peer; 0 for none.
    pub tunnel_limiter: u32,
    /// Octets that ESP and the outer headers add on average: taken off before the limiter, so that a bandwidth setting means
    /// the customer's own packets in both directions.
    pub overhead: u32,
}

/// Key of `UNKNOWN_SPIS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathKey {
    /// Source address of the packet.
    pub peer: [u8; 4],
    /// Destination address: one of our own.
    pub local: [u8; 4],
}

/// Value of `LOCAL_ADDRS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalAddrValue {
    /// Number of the VPN gateway.
    pub gateway: u32,
    /// Number of its shield in `SHIELDS`; 0: none.
    pub shield: u32,
}

/// Value of `LIMITERS`: a GCRA.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimiterConfig {
    /// Octets (or packets) per second; 0: unlimited.
    pub rate: u64,
    /// Octets (or packets) that may come at once.
    pub burst: u64,
}

/// An IPv4 address as 16 octets, `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
pub const fn v4_mapped(addr: [u8; 4]) -> [u8; 16] {
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, addr[0], addr[1], addr[2], addr[3],
    ]
}

const _: () = {
    assert!(size_of::<IfaceValue>() == 24 && align_of::<IfaceValue>() == 4);
    assert!(size_of::<PrefixKey>() == 8 && align_of::<PrefixKey>() == 1);
    assert!(size_of::<PairKey>() == 12 && align_of::<PairKey>() == 4);
    assert!(size_of::<PolicyValue>() == 20 && align_of::<PolicyValue>() == 4);
    assert!(size_of::<SaKey>() == 20 && align_of::<SaKey>() == 1);
    assert!(size_of::<PathKey>() == 8 && align_of::<PathKey>() == 1);
    assert!(size_of::<SaValue>() == 24 && align_of::<SaValue>() == 4);
    assert!(size_of::<LocalAddrValue>() == 8 && align_of::<LocalAddrValue>() == 4);
    assert!(size_of::<LimiterConfig>() == 16 && align_of::<LimiterConfig>() == 8);
};

#[cfg(feature = "user")]
mod pod {
    #![allow(unsafe_code, reason = "aya's Pod is an unsafe marker for plain data")]
    use super::{
        IfaceValue, LimiterConfig, LocalAddrValue, PairKey, PathKey, PolicyValue, PrefixKey, SaKey, SaValue,
    };

    macro_rules! pod {
        ($($name:ty),+) => {$(
            // SAFETY: `repr(C)` of integers and byte arrays whose sizes, asserted above, leave no implicit padding.
            unsafe impl aya::Pod for $name {}
        )+};
    }
    pod!(
        IfaceValue,
        PrefixKey,
        PairKey,
        PolicyValue,
        SaKey,
        SaValue,
        PathKey,
        LimiterConfig,
        LocalAddrValue
    );
}
