//! The program's maps with their types.

use std::{collections::BTreeMap, net::Ipv4Addr, os::fd::AsRawFd};

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, XskMap, lpm_trie::Key},
};
use gateway_common::abi::{
    IfaceValue, LimiterConfig, LocalAddrValue, PairKey, PathKey, PolicyValue, PrefixKey, SaKey, SaValue,
    ShieldValue, Verdict, map, space_slot, v4_mapped,
};
use ipnet::Ipv4Net;

use super::{XdpError, XdpProgram};

/// Bits of [`PrefixKey::space`], which a prefix length counts too.
const SPACE_BITS: u32 = 32;

/// One immutable compilation of an SPD.
///
/// Written into a slot that no interface uses, then taken into force by [`XdpProgram::set_iface`] under a number that the slot did
/// not have before; the program remembers what it found in a space and would not see it change.
#[derive(Clone, Debug, Default)]
pub struct SpdSpace {
    /// Number of the space, not 0: slot and version ([`IfaceValue::space`]).
    pub id: u32,
    /// Classes of the addresses on the VPC side.
    pub local: Vec<(Ipv4Net, u32)>,
    /// Classes of the addresses on the peers' side.
    pub peer: Vec<(Ipv4Net, u32)>,
    /// Policies by local class and peer class.
    pub pairs: Vec<(u32, u32, PolicyValue)>,
}

impl SpdSpace {
    /// A space with this number that has no rules.
    pub fn empty(id: u32) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    fn pair(&self, local_class: u32, peer_class: u32) -> PairKey {
        PairKey {
            space: space_slot(self.id),
            local_class,
            peer_class,
        }
    }
}

/// The key of a prefix within a space or a shield.
fn numbered_prefix(number: u32, net: &Ipv4Net) -> Key<PrefixKey> {
    let key = PrefixKey {
        space: number.to_be_bytes(),
        addr: net.network().octets(),
    };
    Key::new(SPACE_BITS + u32::from(net.prefix_len()), key)
}

pub(super) struct Maps {
    ifaces: Array<MapData, IfaceValue>,
    local_classes: LpmTrie<MapData, PrefixKey, u32>,
    peer_classes: LpmTrie<MapData, PrefixKey, u32>,
    policies: HashMap<MapData, PairKey, PolicyValue>,
    sas: HashMap<MapData, SaKey, SaValue>,
    unknown_spis: HashMap<MapData, PathKey, [u8; 4]>,
    local_addrs: HashMap<MapData, [u8; 16], LocalAddrValue>,
    limiters: Array<MapData, LimiterConfig>,
    limiter_drops: PerCpuArray<MapData, u64>,
    ike_limit: Array<MapData, LimiterConfig>,
    shields: Array<MapData, ShieldValue>,
    shield_prefixes: LpmTrie<MapData, PrefixKey, u32>,
    shield_drops: PerCpuArray<MapData, u64>,
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
            unknown_spis: take(ebpf, map::UNKNOWN_SPIS)?,
            local_addrs: take(ebpf, map::LOCAL_ADDRS)?,
            limiters: take(ebpf, map::LIMITERS)?,
            limiter_drops: take(ebpf, map::LIMITER_DROPS)?,
            ike_limit: take(ebpf, map::IKE_LIMIT)?,
            shields: take(ebpf, map::SHIELDS)?,
            shield_prefixes: take(ebpf, map::SHIELD_PREFIXES)?,
            shield_drops: take(ebpf, map::SHIELD_DROPS)?,
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

    /// Makes `to` of `from`, in the slot of both, which no interface uses; only what differs is touched. What an error left behind is
    /// removed: nothing is in the slot then.
    ///
    /// # Errors
    ///
    /// [`XdpError::MapFull`] beyond [`super::LoadOptions::max_policies`].
    pub fn change_space(&mut self, from: &SpdSpace, to: &SpdSpace) -> Result<(), XdpError> {
        let changed = self.maps.change_space(from, to);
        if changed.is_err() {
            let nothing = SpdSpace::empty(to.id);
            self.maps.change_space(from, &nothing)?;
            self.maps.change_space(to, &nothing)?;
        }
        changed
    }

    /// Writes a space into a slot that has nothing yet.
    ///
    /// # Errors
    ///
    /// Those of [`Self::change_space`].
    pub fn write_space(&mut self, space: &SpdSpace) -> Result<(), XdpError> {
        self.change_space(&SpdSpace::empty(space.id), space)
    }

    /// Removes a space that no interface uses; one that is not there is no error.
    ///
    /// # Errors
    ///
    /// A map that refuses.
    pub fn remove_space(&mut self, space: &SpdSpace) -> Result<(), XdpError> {
        self.change_space(space, &SpdSpace::empty(space.id))
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
        gone_already(map::SAS, self.maps.sas.remove(key))
    }

    /// Makes `addr` one of our own addresses, or changes its VPN gateway or shield.
    ///
    /// # Errors
    ///
    /// [`XdpError::MapFull`] beyond [`super::LoadOptions::max_local_addrs`].
    pub fn put_local_addr(&mut self, addr: Ipv4Addr, value: LocalAddrValue) -> Result<(), XdpError> {
        let key = v4_mapped(addr.octets());
        self.maps
            .local_addrs
            .insert(key, value, 0)
            .map_err(|e| XdpError::from_map(map::LOCAL_ADDRS, e))
    }

    /// Removes one of our own addresses, if it is there.
    ///
    /// # Errors
    ///
    /// A map that refuses.
    pub fn remove_local_addr(&mut self, addr: Ipv4Addr) -> Result<(), XdpError> {
        gone_already(
            map::LOCAL_ADDRS,
            self.maps.local_addrs.remove(&v4_mapped(addr.octets())),
        )
    }

    /// Takes out what was noted of ESP packets that no SA opens: of each path the SPI of the first since the last time.
    ///
    /// # Errors
    ///
    /// A map that refuses.
    pub fn take_unknown_spis(&mut self) -> Result<Vec<(PathKey, [u8; 4])>, XdpError> {
        let map = &mut self.maps.unknown_spis;
        // What the program adds meanwhile may turn up in the round or not: the next one has the rest.
        let noted: Vec<_> = map
            .iter()
            .collect::<Result<_, _>>()
            .map_err(|e| XdpError::from_map(map::UNKNOWN_SPIS, e))?;
        for (path, _) in &noted {
            gone_already(map::UNKNOWN_SPIS, map.remove(path))?;
        }
        Ok(noted)
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

    /// Sets the limits of a shield, from the next packet on. Number 0 means "no shield" and has no use.
    ///
    /// # Errors
    ///
    /// A number beyond [`super::LoadOptions::max_shields`].
    pub fn set_shield(&mut self, number: u32, limits: ShieldValue) -> Result<(), XdpError> {
        self.maps
            .shields
            .set(number, limits, 0)
            .map_err(|e| XdpError::from_map(map::SHIELDS, e))
    }

    /// Says with one of the `SHIELD_*` constants of the ABI how a shield treats the sources of a prefix.
    ///
    /// # Errors
    ///
    /// [`XdpError::MapFull`] beyond [`super::LoadOptions::max_shield_prefixes`].
    pub fn put_shield_prefix(&mut self, number: u32, net: &Ipv4Net, standing: u32) -> Result<(), XdpError> {
        self.maps
            .shield_prefixes
            .insert(&numbered_prefix(number, net), standing, 0)
            .map_err(|e| XdpError::from_map(map::SHIELD_PREFIXES, e))
    }

    /// Removes a prefix of a shield, if it is there.
    ///
    /// # Errors
    ///
    /// A map that refuses.
    pub fn remove_shield_prefix(&mut self, number: u32, net: &Ipv4Net) -> Result<(), XdpError> {
        gone_already(
            map::SHIELD_PREFIXES,
            self.maps.shield_prefixes.remove(&numbered_prefix(number, net)),
        )
    }

    /// What a shield dropped, by verdict; zeros for a number that does not exist.
    pub fn shield_drops(&self, number: u32) -> [u64; Verdict::COUNT as usize] {
        let first = number.saturating_mul(Verdict::COUNT);
        Verdict::ALL.map(|verdict| sum(&self.maps.shield_drops, first.saturating_add(verdict as u32)))
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
    /// What goes makes room for what comes.
    fn change_space(&mut self, from: &SpdSpace, to: &SpdSpace) -> Result<(), XdpError> {
        let (gone, new) = difference(&from.pairs, &to.pairs, |&(local, peer, _)| (local, peer));
        for &(local_class, peer_class, _) in gone {
            gone_already(
                map::POLICIES,
                self.policies.remove(&to.pair(local_class, peer_class)),
            )?;
        }
        for &(local_class, peer_class, policy) in new {
            let key = to.pair(local_class, peer_class);
            self.policies
                .insert(key, policy, 0)
                .map_err(|e| XdpError::from_map(map::POLICIES, e))?;
        }
        classes(
            map::LOCAL_CLASSES,
            &mut self.local_classes,
            to.id,
            &from.local,
            &to.local,
        )?;
        classes(
            map::PEER_CLASSES,
            &mut self.peer_classes,
            to.id,
            &from.peer,
            &to.peer,
        )
    }
}

fn classes(
    name: &'static str,
    trie: &mut LpmTrie<MapData, PrefixKey, u32>,
    space: u32,
    from: &[(Ipv4Net, u32)],
    to: &[(Ipv4Net, u32)],
) -> Result<(), XdpError> {
    let (gone, new) = difference(from, to, |&(net, _)| net);
    let key = |net| numbered_prefix(space_slot(space), net);
    for (net, _) in gone {
        gone_already(name, trie.remove(&key(net)))?;
    }
    for (net, class) in new {
        trie.insert(&key(net), class, 0)
            .map_err(|e| XdpError::from_map(name, e))?;
    }
    Ok(())
}

/// What of `from` has no successor in `to`, and what of `to` differs from its predecessor or has none.
fn difference<'a, T: PartialEq, K: Ord>(
    from: &'a [T],
    to: &'a [T],
    key: impl Fn(&T) -> K,
) -> (Vec<&'a T>, Vec<&'a T>) {
    let mut gone: BTreeMap<K, &T> = from.iter().map(|old| (key(old), old)).collect();
    let is_new = |new: &&T| gone.remove(&key(new)).is_none_or(|old| old != *new);
    let new = to.iter().filter(is_new).collect();
    (gone.into_values().collect(), new)
}

/// A removal is as good when there was nothing.
fn gone_already(map: &'static str, removed: Result<(), MapError>) -> Result<(), XdpError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_goes_or_comes() {
        let key = |&(key, _): &(u32, char)| key;
        let from = [(1, 'a'), (2, 'b'), (3, 'c')];
        for (to, gone, new) in [
            (&from[..], &[][..], &[][..]),
            (&[(3, 'c'), (1, 'a'), (2, 'b')], &[], &[]),
            (
                &[(1, 'a'), (3, 'd'), (4, 'e')],
                &[&(2, 'b')],
                &[&(3, 'd'), &(4, 'e')],
            ),
            (&[], &[&(1, 'a'), &(2, 'b'), &(3, 'c')], &[]),
        ] {
            assert_eq!(
                difference(&from, to, key),
                (gone.to_vec(), new.to_vec()),
                "{to:?}"
            );
        }
    }
}
