//! The shields of the gateways: high defense packages put into the maps.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use gateway_common::abi::{
    LimiterConfig, LocalAddrValue, NO_SHIELD, SHIELD_ALLOW, SHIELD_BLOCK, SHIELD_PEER, ShieldValue, Verdict,
    map,
};
use ipnet::Ipv4Net;

use super::super::defense::{Thresholds, Watch};
use super::super::slots::{Slot, Slots};
use crate::config::{Config, DefenseConfig, Id, MAX_BOUND_PACKAGES};
use crate::status::{DefenseState, DefenseStatus};
use crate::xdp::{XdpError, XdpProgram};

/// The shields in force by the id of their gateway, and the addresses that are in the map.
#[derive(Debug)]
pub(super) struct Shields {
    shields: BTreeMap<Id, Shield>,
    /// Those that protect nothing any more. Their numbers stay taken until their prefixes are out of the map.
    retired: Vec<Shield>,
    slots: Slots,
    /// Own addresses with the numbers of their gateways.
    addresses: BTreeMap<Ipv4Addr, u32>,
}

#[derive(Debug)]
struct Shield {
    /// Its number is one more than the index, because 0 is "no shield".
    slot: Slot,
    config: Arc<DefenseConfig>,
    /// Those that are in the map.
    prefixes: BTreeMap<Ipv4Net, u32>,
    watch: Watch,
    /// Counters of the map when this gateway got the number.
    base: [u64; Verdict::COUNT as usize],
}

impl Default for Shields {
    fn default() -> Self {
        Self {
            shields: BTreeMap::new(),
            retired: Vec::new(),
            slots: Slots::new(MAX_BOUND_PACKAGES),
            addresses: BTreeMap::new(),
        }
    }
}

impl Shields {
    pub(super) fn put_address(
        &mut self,
        xdp: &mut XdpProgram,
        address: Ipv4Addr,
        gateway: u32,
    ) -> Result<(), XdpError> {
        self.addresses.insert(address, gateway);
        self.write_address(xdp, address)
    }

    pub(super) fn remove_address(&mut self, xdp: &mut XdpProgram, address: Ipv4Addr) -> Result<(), XdpError> {
        self.addresses.remove(&address);
        xdp.remove_local_addr(address)
    }

    /// Takes the packages of a configuration. Tunnels notice nothing.
    pub(super) fn configure(&mut self, xdp: &mut XdpProgram, config: &Config) -> Result<(), XdpError> {
        let wanted: BTreeMap<&Id, &Arc<DefenseConfig>> = config
            .defenses
            .iter()
            .filter_map(|defense| Some((&defense.gateway.as_ref()?.id, defense)))
            .collect();
        let gone = self
            .shields
            .extract_if(.., |gateway, _| !wanted.contains_key(gateway));
        self.retired.extend(gone.map(|(_, shield)| shield));
        let peers = peers(config);
        for (gateway, defense) in wanted {
            let peers = peers.get(gateway).map_or(&[][..], Vec::as_slice);
            self.shield(xdp, gateway, defense, prefixes(defense, peers))?;
        }
        // The addresses lose a shield before its prefixes go: a blocked source stays out until the end.
        for address in self.addresses.keys().copied().collect::<Vec<_>>() {
            self.write_address(xdp, address)?;
        }
        while let Some(shield) = self.retired.last_mut() {
            shield.write_prefixes(xdp, &BTreeMap::new())?;
            self.slots.give_back(shield.slot);
            self.retired.pop();
        }
        Ok(())
    }

    fn shield(
        &mut self,
        xdp: &mut XdpProgram,
        gateway: &Id,
        defense: &Arc<DefenseConfig>,
        prefixes: BTreeMap<Ipv4Net, u32>,
    ) -> Result<(), XdpError> {
        let shield = match self.shields.entry(gateway.clone()) {
            Entry::Occupied(present) => present.into_mut(),
            Entry::Vacant(place) => {
                let slot = self.slots.take().ok_or(XdpError::MapFull { map: map::SHIELDS })?;
                place.insert(Shield {
                    slot,
                    config: Arc::clone(defense),
                    prefixes: BTreeMap::new(),
                    watch: Watch::default(),
                    base: xdp.shield_drops(number(slot)),
                })
            }
        };
        shield.config = Arc::clone(defense);
        xdp.set_shield(shield.number(), shield.limits())?;
        shield.write_prefixes(xdp, &prefixes)
    }

    fn write_address(&self, xdp: &mut XdpProgram, address: Ipv4Addr) -> Result<(), XdpError> {
        let Some(gateway) = self.addresses.get(&address).copied() else {
            return Ok(());
        };
        let shield = self.shields.values().find(|shield| shield.protects(address));
        let shield = shield.map_or(NO_SHIELD, Shield::number);
        xdp.put_local_addr(address, LocalAddrValue { gateway, shield })
    }

    /// Looks at what the shields dropped, and shuts strangers out or lets them in again.
    pub(super) fn watch(&mut self, xdp: &mut XdpProgram, now: Instant) {
        for (gateway, shield) in &mut self.shields {
            let dropped = || shield.dropped(xdp).iter().sum();
            let at = Thresholds {
                attack: shield.config.limits.attack_rate,
                block: shield.config.limits.block_rate,
            };
            let mut watch = shield.watch;
            let changed = watch.observe(now, dropped, at);
            shield.watch = watch;
            let Some(state) = changed else { continue };
            tracing::warn!(%gateway, defense = %shield.config.id, state = state.name(), "defense");
            if let Err(error) = xdp.set_shield(shield.number(), shield.limits()) {
                tracing::error!(error = &error as &dyn std::error::Error, %gateway, "the shield stays as it was");
            }
        }
    }

    pub(super) fn status(&self, xdp: &XdpProgram, gateway: &str) -> Option<DefenseStatus> {
        let shield = self.shields.get(gateway)?;
        let dropped = Verdict::ALL.iter().zip(shield.dropped(xdp));
        Some(DefenseStatus {
            id: shield.config.id.to_string(),
            state: shield.watch.state(),
            dropped_packets: dropped
                .filter(|(_, count)| *count > 0)
                .map(|(verdict, count)| (verdict.name().to_owned(), count))
                .collect(),
        })
    }
}

impl Shield {
    fn number(&self) -> u32 {
        number(self.slot)
    }

    /// Makes the prefixes in the map these. What was done when it fails is known.
    fn write_prefixes(
        &mut self,
        xdp: &mut XdpProgram,
        wanted: &BTreeMap<Ipv4Net, u32>,
    ) -> Result<(), XdpError> {
        let number = self.number();
        for (net, standing) in wanted {
            if self.prefixes.get(net) != Some(standing) {
                xdp.put_shield_prefix(number, net, *standing)?;
                self.prefixes.insert(*net, *standing);
            }
        }
        let superfluous = self.prefixes.keys().filter(|net| !wanted.contains_key(*net));
        for net in superfluous.copied().collect::<Vec<_>>() {
            xdp.remove_shield_prefix(number, &net)?;
            self.prefixes.remove(&net);
        }
        Ok(())
    }

    fn protects(&self, address: Ipv4Addr) -> bool {
        self.config
            .gateway
            .as_ref()
            .is_some_and(|gateway| gateway.address == address)
    }

    fn dropped(&self, xdp: &XdpProgram) -> [u64; Verdict::COUNT as usize] {
        let mut dropped = xdp.shield_drops(self.number());
        for (now, base) in dropped.iter_mut().zip(self.base) {
            *now = now.saturating_sub(base);
        }
        dropped
    }

    fn limits(&self) -> ShieldValue {
        ShieldValue {
            source: second(self.config.limits.rate_per_source),
            ike_source: second(self.config.limits.ike_rate_per_source),
            ike_total: second(self.config.limits.ike_rate),
            unknown_spi_source: second(self.config.limits.unknown_spi_rate_per_source),
            closed: u32::from(self.watch.state() == DefenseState::Blocked),
            pad: 0,
        }
    }
}

/// A rate with the burst of one second.
const fn second(rate: u32) -> LimiterConfig {
    LimiterConfig {
        rate: rate as u64,
        burst: rate as u64,
    }
}

const fn number(slot: Slot) -> u32 {
    slot.index + 1
}

/// The peers of each gateway's tunnels.
fn peers(config: &Config) -> BTreeMap<&Id, Vec<Ipv4Addr>> {
    let mut peers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for tunnel in &config.tunnels {
        let of_gateway = peers.entry(&tunnel.gateway.id).or_default();
        of_gateway.push(tunnel.customer_gateway.address);
    }
    peers
}

/// How the sources of a gateway are treated. The peers of its tunnels stand apart from strangers, unless the operator lists them.
fn prefixes(defense: &DefenseConfig, peers: &[Ipv4Addr]) -> BTreeMap<Ipv4Net, u32> {
    let allow = defense.limits.allow.iter().map(|net| (*net, SHIELD_ALLOW));
    let block = defense.limits.block.iter().map(|net| (*net, SHIELD_BLOCK));
    let mut prefixes: BTreeMap<_, _> = allow.chain(block).collect();
    let listed: Vec<_> = prefixes.keys().copied().collect();
    for &peer in peers {
        if !listed.iter().any(|net| net.contains(&peer)) {
            prefixes.insert(peer.into(), SHIELD_PEER);
        }
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MAX_RANGES;
    use crate::xdp::LoadOptions;

    #[test]
    fn the_maps_have_room_for_what_a_configuration_may_have() {
        let options = LoadOptions::default();
        assert!(options.max_shields > MAX_BOUND_PACKAGES);
        // A package that moves has its ranges under both numbers for a moment.
        let tunnels = crate::control::start::CAPACITY.tunnels;
        assert!(options.max_shield_prefixes >= 2 * (MAX_RANGES + tunnels));
    }
}
