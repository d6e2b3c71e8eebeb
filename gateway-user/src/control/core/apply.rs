//! Puts a configuration into effect: only what changed is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use gateway_common::abi::{LimiterConfig, PolicyValue};
use gateway_ike::config::{ConnectionId, SelectorPair};

use super::spaces::{Wanted, Whose, Written};
use super::{Core, Gateway, burst};
use crate::config::{Bandwidth, Config, Id, TunnelConfig};
use crate::control::convert;
use crate::control::fabric::Fabric;
use crate::control::plan::{self, TunnelChange};
use crate::control::slots::Slot;
use crate::control::spd::{self, SpdRule};
use crate::control::tunnel::{PairPolicy, Tunnel};
use crate::dataplane::Message;
use crate::xdp::XdpError;

/// Why a configuration was not put into effect. The one before is still in force.
#[derive(Debug, thiserror::Error)]
pub(in crate::control) enum ApplyError {
    #[error("{wanted} {what} are more than the {left} that this agent has room for; restart it")]
    Capacity {
        what: &'static str,
        wanted: usize,
        left: usize,
    },
    #[error("the compiled rules do not fit the maps")]
    Rules(#[source] XdpError),
}

/// A configuration whose policies are numbered and whose spaces are written, ready to be taken into force.
struct Prepared {
    changes: Vec<TunnelChange>,
    /// Pairs of every tunnel that is new or changed.
    pairs: BTreeMap<Id, Vec<PairPolicy>>,
    new_numbers: BTreeMap<Id, Slot>,
    new_gateways: BTreeMap<Id, Slot>,
    new_policies: BTreeSet<u32>,
    /// `None`: the rules are those in force.
    spaces: Option<Vec<Written>>,
}

impl<F: Fabric> Core<F> {
    /// Puts `config` into effect, or leaves everything as it is and says why.
    pub(in crate::control) fn apply(&mut self, now: Instant, config: Arc<Config>) -> Result<(), ApplyError> {
        let prepared = self.prepare(&config)?;
        self.commit(now, &config, prepared);
        self.config = Some(config);
        self.generation += 1;
        self.drain(now);
        Ok(())
    }

    /// Takes numbers and writes spaces. Nothing is in force; what an error leaves behind is taken back.
    fn prepare(&mut self, config: &Config) -> Result<Prepared, ApplyError> {
        let changes = plan::tunnel_changes(self.tunnels.values().map(|tunnel| &tunnel.config), config);
        self.check_capacity(config, &changes)?;
        let mut prepared = Prepared {
            changes,
            pairs: BTreeMap::new(),
            new_numbers: BTreeMap::new(),
            new_gateways: BTreeMap::new(),
            new_policies: BTreeSet::new(),
            spaces: None,
        };
        for gateway in config
            .gateways
            .iter()
            .filter(|gateway| !self.gateways.contains_key(&gateway.id))
        {
            let slot = self.gateway_slots.take();
            prepared
                .new_gateways
                .extend(slot.map(|slot| (gateway.id.clone(), slot)));
        }
        for change in &prepared.changes {
            let (TunnelChange::Add(tunnel) | TunnelChange::Change(tunnel)) = change else {
                continue;
            };
            if matches!(change, TunnelChange::Add(_)) {
                let slot = self.tunnel_slots.take();
                prepared
                    .new_numbers
                    .extend(slot.map(|slot| (tunnel.id.clone(), slot)));
            }
            let pairs = self.number_pairs(tunnel, &mut prepared.new_policies);
            prepared.pairs.insert(tunnel.id.clone(), pairs);
        }
        match self.write_spaces(config, &prepared) {
            Ok(spaces) => {
                prepared.spaces = spaces;
                Ok(prepared)
            }
            Err(error) => {
                self.take_back(prepared);
                Err(error)
            }
        }
    }

    fn check_capacity(&self, config: &Config, changes: &[TunnelChange]) -> Result<(), ApplyError> {
        let added = changes
            .iter()
            .filter(|change| matches!(change, TunnelChange::Add(_)))
            .count();
        let new_pairs = |tunnel: &TunnelConfig| {
            let old = self.selectors(&tunnel.id).into_iter().collect::<BTreeSet<_>>();
            let is_new = |(local, peer): &_| {
                !old.contains(&SelectorPair {
                    local: *local,
                    peer: *peer,
                })
            };
            tunnel.pairs().filter(is_new).count()
        };
        let policies = changes
            .iter()
            .map(|change| match change {
                TunnelChange::Add(tunnel) | TunnelChange::Change(tunnel) => new_pairs(tunnel),
                TunnelChange::Remove(_) => 0,
            })
            .sum();
        let gateways = config
            .gateways
            .iter()
            .filter(|gateway| !self.gateways.contains_key(&gateway.id))
            .count();
        for (what, wanted, left) in [
            ("new tunnels", added, self.tunnel_slots.left()),
            ("new pairs of ranges", policies, self.policy_slots.left()),
            ("new gateways", gateways, self.gateway_slots.left()),
        ] {
            if wanted > left {
                return Err(ApplyError::Capacity { what, wanted, left });
            }
        }
        Ok(())
    }

    fn selectors(&self, id: &Id) -> Vec<SelectorPair> {
        let tunnel = self
            .numbers
            .get(id)
            .and_then(|slot| self.tunnels.get(&slot.index));
        tunnel
            .map(|tunnel| tunnel.pairs.iter().map(|pair| pair.selectors).collect())
            .unwrap_or_default()
    }

    fn number_pairs(&mut self, tunnel: &TunnelConfig, new: &mut BTreeSet<u32>) -> Vec<PairPolicy> {
        let there = self
            .numbers
            .get(&tunnel.id)
            .and_then(|slot| self.tunnels.get(&slot.index));
        let old: BTreeMap<_, _> = there
            .iter()
            .flat_map(|there| &there.pairs)
            .map(|pair| (pair.selectors, pair.policy))
            .collect();
        let order = plan::pair_order(&self.selectors(&tunnel.id), tunnel);
        let slots = &mut self.policy_slots;
        let number = |selectors: SelectorPair| {
            let policy = match old.get(&selectors) {
                Some(&policy) => policy,
                None => slots.take().inspect(|slot| {
                    new.insert(slot.index);
                })?,
            };
            Some(PairPolicy { selectors, policy })
        };
        order.into_iter().filter_map(number).collect()
    }

    /// Compiles the rules and writes what changed; `None` when they are those in force.
    fn write_spaces(
        &mut self,
        config: &Config,
        prepared: &Prepared,
    ) -> Result<Option<Vec<Written>>, ApplyError> {
        let mut by_vpc: BTreeMap<&Id, Vec<SpdRule<PolicyValue>>> = BTreeMap::new();
        // From the public side nothing of a rule is accepted in the clear, routed or not.
        let mut all = Vec::new();
        for tunnel in &config.tunnels {
            let new_gateway = prepared.new_gateways.get(&tunnel.gateway.id).copied();
            let number = new_gateway.or_else(|| Some(self.gateways.get(&tunnel.gateway.id)?.number));
            let limiter = number.map_or(0, |number| number.index * 2 + 1);
            let tunnel_number = prepared
                .new_numbers
                .get(&tunnel.id)
                .or_else(|| self.numbers.get(&tunnel.id));
            let Some(tunnel_number) = tunnel_number.map(|slot| slot.index) else {
                continue;
            };
            let there = || Some(&self.tunnels.get(&tunnel_number)?.pairs);
            let rules: Vec<_> = prepared
                .pairs
                .get(&tunnel.id)
                .or_else(there)
                .into_iter()
                .flatten()
                .map(|pair| SpdRule {
                    local: pair.selectors.local,
                    peer: pair.selectors.peer,
                    policy: PolicyValue {
                        policy: pair.policy.index,
                        generation: pair.policy.generation,
                        tunnel: tunnel_number,
                        gateway_limiter: limiter,
                        tunnel_limiter: 0,
                    },
                })
                .collect();
            let routed = rules.iter().flat_map(|rule| {
                tunnel
                    .routed(rule.peer)
                    .map(move |peer| SpdRule { peer, ..*rule })
            });
            by_vpc.entry(&tunnel.gateway.vpc.id).or_default().extend(routed);
            all.extend(rules);
        }
        let mut wanted: Wanted = by_vpc
            .into_iter()
            .map(|(vpc, rules)| (Whose::Vpc(vpc.clone()), spd::ordered(rules)))
            .collect();
        if !all.is_empty() {
            wanted.insert(Whose::Everyone, spd::ordered(all));
        }
        let written = self.spds.write(&mut self.fabric, wanted)?;
        Ok((self.config.is_none() || !written.is_empty()).then_some(written))
    }

    fn take_back(&mut self, prepared: Prepared) {
        let Prepared {
            pairs,
            new_numbers,
            new_gateways,
            new_policies,
            changes: _,
            spaces: _,
        } = prepared;
        new_numbers
            .into_values()
            .for_each(|slot| self.tunnel_slots.give_back(slot));
        new_gateways
            .into_values()
            .for_each(|slot| self.gateway_slots.give_back(slot));
        let policies = pairs.into_values().flatten().map(|pair| pair.policy);
        policies
            .filter(|policy| new_policies.contains(&policy.index))
            .for_each(|policy| self.policy_slots.give_back(policy));
    }

    fn commit(&mut self, now: Instant, config: &Config, mut prepared: Prepared) {
        let former = self.former_addresses(config);
        self.commit_gateways(config, &mut prepared);
        let mut unused = Vec::new();
        let mut engine = Vec::new();
        let mut probed = Vec::new();
        for change in std::mem::take(&mut prepared.changes) {
            match change {
                TunnelChange::Remove(id) => unused.extend(self.remove_tunnel(now, &id)),
                TunnelChange::Add(tunnel) => {
                    let pairs = prepared.pairs.remove(&tunnel.id).unwrap_or_default();
                    let Some(slot) = prepared.new_numbers.remove(&tunnel.id) else {
                        continue;
                    };
                    self.numbers.insert(tunnel.id.clone(), slot);
                    warn(&tunnel, None);
                    let mut tunnel = Tunnel::new(now, tunnel, pairs);
                    if self.config.is_none() {
                        tunnel.timeline.note(now, "the agent started");
                    }
                    tunnel.baseline = self.fabric.tunnel_counters(slot.index);
                    self.tunnels.insert(slot.index, tunnel);
                    probed.push(slot.index);
                    engine.push(slot.index);
                }
                TunnelChange::Change(tunnel) => {
                    let pairs = prepared.pairs.remove(&tunnel.id).unwrap_or_default();
                    let Some(number) = self.numbers.get(&tunnel.id).map(|slot| slot.index) else {
                        continue;
                    };
                    let Some(there) = self.tunnels.get_mut(&number) else {
                        continue;
                    };
                    let kept: BTreeSet<_> = pairs.iter().map(|pair| pair.policy).collect();
                    let gone = there.pairs.iter().filter(|pair| !kept.contains(&pair.policy));
                    unused.extend(gone.map(|pair| pair.policy));
                    let concerns_engine = plan::concerns_engine(&there.config, &tunnel);
                    there.timeline.note(now, "configuration changed");
                    warn(&tunnel, Some(&there.config));
                    there.config = tunnel;
                    probed.push(number);
                    if concerns_engine {
                        self.renumber_pairs(now, number, pairs);
                        engine.push(number);
                    }
                }
            }
        }
        self.install_policies(&prepared.new_policies);
        if let Some(written) = prepared.spaces {
            self.spds.take_into_force(&mut self.fabric, written);
        }
        for policy in unused {
            self.fabric.message(Message::RemovePolicy { index: policy.index });
            self.policy_slots.give_back(policy);
        }
        for number in engine {
            self.tell_engine(now, number);
        }
        for number in probed {
            self.configure_probe(now, number);
        }
        for address in former {
            report(
                "a former address stays in the map",
                self.fabric.remove_local_addr(address),
            );
        }
    }

    fn former_addresses(&self, config: &Config) -> Vec<std::net::Ipv4Addr> {
        let wanted: BTreeSet<_> = config.gateways.iter().map(|gateway| gateway.address).collect();
        let present = self.gateways.values().map(|gateway| gateway.config.address);
        present.filter(|address| !wanted.contains(address)).collect()
    }

    fn commit_gateways(&mut self, config: &Config, prepared: &mut Prepared) {
        for wanted in &config.gateways {
            let old = self.gateways.remove(&wanted.id);
            let number = old
                .as_ref()
                .map(|old| old.number)
                .or_else(|| prepared.new_gateways.remove(&wanted.id));
            let Some(number) = number else { continue };
            let old = old.map(|old| old.config);
            let gateway = Gateway {
                config: Arc::clone(wanted),
                number,
            };
            if old.as_ref().is_none_or(|old| old.bandwidth != wanted.bandwidth) {
                for limiter in [gateway.limiter_out(), gateway.limiter_in()] {
                    report(
                        "a bandwidth is not set",
                        self.fabric.set_limiter(limiter, limit(wanted.bandwidth)),
                    );
                }
            }
            if old.is_none_or(|old| old.address != wanted.address) {
                report(
                    "an address is not in the map",
                    self.fabric.put_local_addr(wanted.address, number.index),
                );
            }
            self.gateways.insert(wanted.id.clone(), gateway);
        }
        let kept: BTreeSet<_> = config.gateways.iter().map(|gateway| &gateway.id).collect();
        let gone: Vec<_> = self.gateways.extract_if(.., |id, _| !kept.contains(id)).collect();
        gone.into_iter()
            .for_each(|(_, gateway)| self.gateway_slots.give_back(gateway.number));
    }

    /// Ends a tunnel; returns the policies that the rules in force may still name.
    fn remove_tunnel(&mut self, now: Instant, id: &Id) -> Vec<Slot> {
        let Some(slot) = self.numbers.get(id).copied() else {
            return Vec::new();
        };
        self.endpoint.remove_connection(now, ConnectionId(slot.index));
        self.drain(now);
        self.numbers.remove(id);
        self.tunnel_slots.give_back(slot);
        let Some(tunnel) = self.tunnels.remove(&slot.index) else {
            return Vec::new();
        };
        self.end_probe(slot.index, &tunnel);
        self.retire_timeline(id, tunnel.timeline);
        tunnel.pairs.iter().map(|pair| pair.policy).collect()
    }

    /// Gives a tunnel its new pairs. Child SAs of pairs that moved or went are removed: the engine ends them too.
    fn renumber_pairs(&mut self, now: Instant, number: u32, pairs: Vec<PairPolicy>) {
        let Some(tunnel) = self.tunnels.get_mut(&number) else {
            return;
        };
        let moved = !pairs.starts_with(&tunnel.pairs);
        if moved {
            // Before the pairs change: removal switches the policies that the Child SAs were made for.
            self.endpoint.terminate(now, ConnectionId(number));
            self.drain(now);
        }
        if let Some(tunnel) = self.tunnels.get_mut(&number) {
            tunnel.pairs = pairs;
        }
    }

    fn install_policies(&mut self, new: &BTreeSet<u32>) {
        for (&number, tunnel) in &self.tunnels {
            for policy in tunnel
                .pairs
                .iter()
                .map(|pair| pair.policy)
                .filter(|policy| new.contains(&policy.index))
            {
                let Slot { index, generation } = policy;
                self.fabric.message(Message::InstallPolicy {
                    index,
                    generation,
                    tunnel: number,
                });
            }
        }
    }

    /// What the engine answers is carried out once, for all tunnels of the configuration.
    fn tell_engine(&mut self, now: Instant, number: u32) {
        if let Some(tunnel) = self.tunnels.get(&number).filter(|tunnel| !tunnel.disabled) {
            let selectors = tunnel.pairs.iter().map(|pair| pair.selectors).collect();
            let connection = convert::connection(number, &tunnel.config, selectors);
            self.endpoint.put_connection(now, connection);
        }
    }
}

/// Logs what is weak about a tunnel, once for each change of it.
fn warn(tunnel: &TunnelConfig, old: Option<&TunnelConfig>) {
    let warnings = tunnel.warnings();
    if old.is_none_or(|old| old.warnings() != warnings) {
        for warning in warnings {
            tracing::warn!(tunnel = %tunnel.id, "{warning}");
        }
    }
}

fn limit(bandwidth: Bandwidth) -> LimiterConfig {
    let rate = bandwidth.octets_per_second().unwrap_or(0);
    LimiterConfig {
        rate,
        burst: burst(rate),
    }
}

/// A map that refuses something small does not undo the rest of a configuration; it is said loudly.
pub(super) fn report(what: &str, result: Result<(), XdpError>) {
    if let Err(error) = result {
        tracing::error!(error = &error as &dyn std::error::Error, "{what}");
    }
}
