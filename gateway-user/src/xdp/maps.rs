//! The program's maps with their types.

use std::{net::Ipv4Addr, os::fd::AsRawFd};

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, XskMap, lpm_trie::Key},
};
use gateway_common::abi::{
    IfaceValue, LimiterConfig, PairKey, PolicyValue, PrefixKey, SaKey, SaValue, Verdict, map, v4_mapped,
};
use ipnet::Ipv4Net;

use super::{XdpError, XdpProgram};

/// Bits of [`PrefixKey::space`], which a prefix length counts too.
const SPACE_BITS: u32 = 32;

/// One immutable compilation of an SPD.
///
/// Written under a number that was never used before, then taken into force by [`XdpProgram::set_iface`]; the program remembers
/// what it found in a space and would not see it change.
#[derive(Clone, Debug, Default)]
pub struct SpdSpace {
    /// Number of the space, not 0.
    pub id: u32,
    /// Classes of the addresses on the VPC side.
    pub local: Vec<(Ipv4Net, u32)>,
    /// Classes of the addresses on the peers' side.
    pub peer: Vec<(Ipv4Net, u32)>,
    /// Policies by local class and peer class.
    pub pairs: Vec<(u32, u32, PolicyValue)>,
}

impl SpdSpace {
    fn prefix(&self, net: &Ipv4Net) -> Key<PrefixKey> {
        let key = PrefixKey {
            space: self.id.to_be_bytes(),
            addr: net.network().octets(),
        };
        Key::new(SPACE_BITS + u32::from(net.prefix_len()), key)
    }

    fn pair(&self, local_class: u32, peer_class: u32) -> PairKey {
        PairKey {
            space: self.id,
            local_class,
            peer_class,
        }
    }
}

pub(super) struct Maps {
    ifaces: Array<MapData, IfaceValue>,
    local_classes: LpmTrie<MapData, PrefixKey, u32>,
    peer_classes: LpmTrie<MapData, PrefixKey, u32>,
    policies: HashMap<MapData, PairKey, PolicyValue>,
    sas: HashMap<MapData, SaKey, SaValue>,
    local_addrs: HashMap<MapData, [u8; 16], u32>,
    limiters: Array<MapData, LimiterConfig>,
    limiter_drops: PerCpuArray<MapData, u64>,
    ike_limit: Array<MapData, LimiterConfig>,
    counters: PerCpuArray<MapData, u64>,
    xsks: XskMap<MapData>,
}

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, XdpError> {
        Ok(Self {
            ifaces: take(ebpf, map::IFACES)?,
            local_classes: take(ebpf, map::LOCAL_CLASSES)?,
            peer_classes: take(ebpf, map::PEER_CLASSES)?,
            policies: take(ebpf, map::POLICIES)?,
            sas: take(ebpf, map::SAS)?,
            local_addrs: take(ebpf, map::LOCAL_ADDRS)?,
            limiters: take(ebpf, map::LIMITERS)?,
            limiter_drops: take(ebpf, map::LIMITER_DROPS)?,
            ike_limit: take(ebpf, map::IKE_LIMIT)?,
            counters: take(ebpf, map::COUNTERS)?,
            xsks: take(ebpf, map::XSKS)?,
        })
    }

    /// What was set for an interface; `None` beyond the size of the map.
    pub(super) fn iface(&self, ifindex: u32) -> Option<IfaceValue> {
        self.ifaces.get(&ifindex, 0).ok()
    }

    pub(super) fn max_ifindex(&self) -> u32 {
        self.ifaces.len()
    }
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, XdpError> {
    let map = ebpf.take_map(name).ok_or(XdpError::IncompleteObject(name))?;
    T::try_from(map).map_err(|source| XdpError::from_map(name, source))
}

impl XdpProgram {
    /// Says what an interface is, from the next packet on. A change of one field, such as `space`, is seen whole; of several, a
    /// packet on another CPU may see some of them first.
    ///
    /// # Errors
    ///
    /// [`XdpError::IfindexTooHigh`] beyond [`super::LoadOptions::max_ifindex`].
    pub fn set_iface(&mut self, ifindex: u32, value: IfaceValue) -> Result<(), XdpError> {
        let max = self.maps.max_ifindex();
        if ifindex >= max {
            return Err(XdpError::IfindexTooHigh { ifindex, max });
        }
        self.maps
            .ifaces
            .set(ifindex, value, 0)
            .map_err(|e| XdpError::from_map(map::IFACES, e))
    }

    /// Writes a space that no interface uses yet. What an error left behind is removed.
    ///
    /// # Errors
    ///
    /// [`XdpError::MapFull`] beyond [`super::LoadOptions::max_policies`].
    pub fn write_space(&mut self, space: &SpdSpace) -> Result<(), XdpError> {
        let written = self.maps.write_space(space);
        if written.is_err() {
            self.remove_space(space)?;
        }
        written
    }

    /// Removes a space that no interface uses any more.
    ///
    /// # Errors
    ///
    /// A map that refuses; entries that are not there are no error.
    pub fn remove_space(&mut self, space: &SpdSpace) -> Result<(), XdpError> {
        for (net, _) in &space.local {
            gone(
                map::LOCAL_CLASSES,
                self.maps.local_classes.remove(&space.prefix(net)),
            )?;
        }
        for (net, _) in &space.peer {
            gone(
                map::PEER_CLASSES,
                self.maps.peer_classes.remove(&space.prefix(net)),
            )?;
        }
        for (local_class, peer_class, _) in &space.pairs {
            gone(
                map::POLICIES,
                self.maps.policies.remove(&space.pair(*local_class, *peer_class)),
            )?;
        }
        Ok(())
    }

    /// Adds or changes an inbound SA.
    ///
    /// # Errors
    ///
    /// [`XdpError::MapFull`] beyond [`super::LoadOptions::max_sas`].
    pub fn put_sa(&mut self, key: SaKey, value: SaValue) -> Result<(), XdpError> {
        self.maps
            .sas
            .insert(key, value, 0)
            .map_err(|e| XdpError::from_map(map::SAS, e))
    }

    /// Removes an inbound SA, if it is there.
    ///
    /// # Errors
    ///
    /// A map that refuses.
    pub fn remove_sa(&mut self, key: &SaKey) -> Result<(), XdpError> {
        gone(map::SAS, self.maps.sas.remove(key))
    }

    /// Makes `addr` one of our own addresses, of the VPN gateway with the number `gateway`.
    ///
    /// # Errors
    ///
    /// [`XdpError::MapFull`] beyond [`super::LoadOptions::max_local_addrs`].
    pub fn put_local_addr(&mut self, addr: Ipv4Addr, gateway: u32) -> Result<(), XdpError> {
        let key = v4_mapped(addr.octets());
        self.maps
            .local_addrs
            .insert(key, gateway, 0)
            .map_err(|e| XdpError::from_map(map::LOCAL_ADDRS, e))
    }

    /// Removes one of our own addresses, if it is there.
    ///
    /// # Errors
    ///
    /// A map that refuses.
    pub fn remove_local_addr(&mut self, addr: Ipv4Addr) -> Result<(), XdpError> {
        gone(
            map::LOCAL_ADDRS,
            self.maps.local_addrs.remove(&v4_mapped(addr.octets())),
        )
    }

    /// Sets the rate (octets per second, 0 for none) and burst (octets) of a limiter. Number 0 means "no limiter" and has no use.
    ///
    /// # Errors
    ///
    /// A number beyond [`super::LoadOptions::max_limiters`].
    pub fn set_limiter(&mut self, number: u32, config: LimiterConfig) -> Result<(), XdpError> {
        self.maps
            .limiters
            .set(number, config, 0)
            .map_err(|e| XdpError::from_map(map::LIMITERS, e))
    }

    /// Packets that a limiter dropped; 0 for a number that does not exist.
    pub fn limiter_drops(&self, number: u32) -> u64 {
        sum(&self.maps.limiter_drops, number)
    }

    /// Sets how many IKE packets per second (0: any number) and at once a source address may send.
    ///
    /// # Errors
    ///
    /// A map that refuses.
    pub fn set_ike_limit(&mut self, config: LimiterConfig) -> Result<(), XdpError> {
        self.maps
            .ike_limit
            .set(0, config, 0)
            .map_err(|e| XdpError::from_map(map::IKE_LIMIT, e))
    }

    /// Puts an AF_XDP socket into a slot: `IfaceValue::xsk_base` plus its RX queue. The kernel empties the slot when the socket
    /// is closed.
    ///
    /// # Errors
    ///
    /// A slot beyond [`super::LoadOptions::max_xsks`], or a descriptor of something else.
    pub fn set_xsk(&mut self, slot: u32, socket: impl AsRawFd) -> Result<(), XdpError> {
        self.maps
            .xsks
            .set(slot, socket.as_raw_fd(), 0)
            .map_err(|e| XdpError::from_map(map::XSKS, e))
    }

    /// Packets by verdict of the interface with the number `iface_slot`; zeros for a number that does not exist.
    pub fn counters(&self, iface_slot: u32) -> [u64; Verdict::COUNT as usize] {
        let first = iface_slot.saturating_mul(Verdict::COUNT);
        Verdict::ALL.map(|verdict| sum(&self.maps.counters, first.saturating_add(verdict as u32)))
    }
}

impl Maps {
    fn write_space(&mut self, space: &SpdSpace) -> Result<(), XdpError> {
        for (local_class, peer_class, policy) in &space.pairs {
            let key = space.pair(*local_class, *peer_class);
            self.policies
                .insert(key, policy, 0)
                .map_err(|e| XdpError::from_map(map::POLICIES, e))?;
        }
        classes(map::LOCAL_CLASSES, &mut self.local_classes, space, &space.local)?;
        classes(map::PEER_CLASSES, &mut self.peer_classes, space, &space.peer)
    }
}

fn classes(
    name: &'static str,
    trie: &mut LpmTrie<MapData, PrefixKey, u32>,
    space: &SpdSpace,
    prefixes: &[(Ipv4Net, u32)],
) -> Result<(), XdpError> {
    for (net, class) in prefixes {
        trie.insert(&space.prefix(net), class, 0)
            .map_err(|e| XdpError::from_map(name, e))?;
    }
    Ok(())
}

/// A removal is as good when there was nothing.
fn gone(map: &'static str, removed: Result<(), MapError>) -> Result<(), XdpError> {
    match removed {
        Ok(()) | Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(source) => Err(XdpError::from_map(map, source)),
    }
}

/// A per-CPU counter over all CPUs.
fn sum<T: Pod + Into<u64>>(counters: &PerCpuArray<MapData, T>, number: u32) -> u64 {
    counters
        .get(&number, 0)
        .map_or(0, |values| values.iter().copied().map(Into::into).sum())
}
