//! Joins the objects of the store with those of the file. A stored tunnel arrives as a section of the file's format, so that one
//! reader decides what it means, and one that has a mistake keeps no other from running.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use gateway_management::desired::Desired;
use ipnet::Ipv4Net;
use toml::de::DeTable;

use super::mistake::Log;
use super::model::{Config, CustomerGatewayConfig, GatewayConfig, TunnelConfig};
use super::read::{self, Directory};
use super::section::Section;
use super::values::Id;

/// File and store together.
#[derive(Debug)]
pub struct Merged {
    /// What to run.
    pub config: Config,
    /// Tunnels of the store that cannot run as they are, by id, with the reason.
    pub refused: BTreeMap<String, String>,
}

/// Adds the objects of the store to those of the file. A tunnel that has a mistake stays as it is in `running`, if it is there.
pub fn with_stored(file: &Config, desired: &Desired, running: &[Arc<TunnelConfig>]) -> Merged {
    let (gateways, customer_gateways) = ends(file, &desired.ends);
    let mut merged = Merged {
        config: Config {
            agent: file.agent.clone(),
            dataplane: file.dataplane.clone(),
            management: file.management.clone(),
            interfaces: file.interfaces.clone(),
            vpcs: file.vpcs.clone(),
            gateways,
            customer_gateways,
            tunnels: Vec::new(),
        },
        refused: BTreeMap::new(),
    };
    let gateways = Directory::known("gateway", by_id(&merged.config.gateways, |gateway| &gateway.id));
    let customer_gateways = Directory::known(
        "customer gateway",
        by_id(&merged.config.customer_gateways, |gateway| &gateway.id),
    );
    let mut taken = Taken::default();
    for tunnel in &file.tunnels {
        // The file was checked as a whole when it was read.
        taken.add(tunnel).ok();
        merged.config.tunnels.push(Arc::clone(tunnel));
    }
    for wanted in &desired.tunnels {
        let read = read_tunnel(&wanted.document, &gateways, &customer_gateways);
        let accepted = read.and_then(|tunnel| taken.add(&tunnel).map(|()| tunnel));
        let tunnel = accepted.or_else(|reason| {
            tracing::error!(tunnel = wanted.id, reason, "a stored tunnel cannot run as it is");
            merged.refused.insert(wanted.id.clone(), reason);
            let kept = running
                .iter()
                .find(|tunnel| tunnel.id.as_str() == wanted.id)
                .map(Arc::clone);
            kept.filter(|tunnel| taken.add(tunnel).is_ok()).ok_or(())
        });
        merged.config.tunnels.extend(tunnel);
    }
    merged
}

/// What only one tunnel can have.
#[derive(Default)]
struct Taken {
    ids: BTreeSet<Id>,
    relations: BTreeSet<(Ipv4Addr, Ipv4Addr)>,
    pairs: BTreeSet<(Id, Ipv4Net, Ipv4Net)>,
}

impl Taken {
    fn add(&mut self, tunnel: &TunnelConfig) -> Result<(), String> {
        let relation = (tunnel.gateway.address, tunnel.customer_gateway.address);
        let pair = |(local, peer)| (tunnel.gateway.vpc.id.clone(), local, peer);
        if self.ids.contains(&tunnel.id) {
            return Err("another tunnel has this id".to_owned());
        }
        if self.relations.contains(&relation) {
            return Err(format!("another tunnel joins {} and {}", relation.0, relation.1));
        }
        if let Some((_, local, peer)) = tunnel.pairs().map(pair).find(|pair| self.pairs.contains(pair)) {
            return Err(format!("the pair {local} and {peer} belongs to another tunnel"));
        }
        self.ids.insert(tunnel.id.clone());
        self.relations.insert(relation);
        self.pairs.extend(tunnel.pairs().map(pair));
        Ok(())
    }
}

/// The gateways and customer gateways of both. What the store has under an id or address of the file is left out.
fn ends(file: &Config, text: &str) -> (Vec<Arc<GatewayConfig>>, Vec<Arc<CustomerGatewayConfig>>) {
    let (mut gateways, mut customers) = (file.gateways.clone(), file.customer_gateways.clone());
    let log = Log::new(text);
    let (document, _) = DeTable::parse_recoverable(text);
    let mut root = Section::root(&log, &document);
    let vpcs = Directory::known("VPC", by_id(&file.vpcs, |vpc| &vpc.id));
    for section in root.tables("gateway") {
        let stored = read::gateway(&log, section, &vpcs).build();
        gateways.extend(stored.filter(|stored| {
            file.gateways
                .iter()
                .all(|other| other.id != stored.id && other.address != stored.address)
        }));
    }
    for section in root.tables("customer_gateway") {
        let stored = read::customer_gateway(section).config;
        customers
            .extend(stored.filter(|stored| file.customer_gateways.iter().all(|other| other.id != stored.id)));
    }
    for mistake in log.finish() {
        tracing::error!(
            "a stored object cannot be used: {} = {}: {}",
            mistake.field,
            mistake.value,
            mistake.rule
        );
    }
    (gateways, customers)
}

fn read_tunnel(
    text: &str,
    gateways: &Directory<GatewayConfig>,
    customer_gateways: &Directory<CustomerGatewayConfig>,
) -> Result<Arc<TunnelConfig>, String> {
    let log = Log::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut root = Section::root(&log, &document);
    let sections = root.tables("tunnel");
    let read = sections
        .into_iter()
        .next()
        .map(|section| read::tunnel(&log, section, gateways, customer_gateways, Path::new("/")));
    let tunnel = read.and_then(read::TunnelDraft::build);
    let mistakes: Vec<_> = log
        .finish()
        .into_iter()
        .map(|mistake| {
            format!(
                "{}: {}",
                mistake.field.trim_start_matches("tunnel[0]."),
                mistake.rule
            )
        })
        .collect();
    match tunnel {
        Some(tunnel) if mistakes.is_empty() && errors.is_empty() => Ok(tunnel),
        Some(_) | None if mistakes.is_empty() => {
            Err("it is not a section of the configuration file".to_owned())
        }
        Some(_) | None => Err(mistakes.join("; ")),
    }
}

fn by_id<'a, T>(
    objects: &'a [Arc<T>],
    id: impl Fn(&T) -> &Id + 'a,
) -> impl Iterator<Item = (Id, Arc<T>)> + 'a {
    objects
        .iter()
        .map(move |object| (id(object).clone(), Arc::clone(object)))
}

#[cfg(test)]
mod tests {
    use gateway_management::desired::DesiredTunnel;

    use super::*;

    const FILE: &str = "[[interface]]\nname = \"eth0\"\nrole = \"public\"\n[[interface]]\nname = \"eth1\"\nrole = \"vpc\"\n\
        [[vpc]]\nid = \"vpc\"\ncidr = \"10.0.0.0/16\"\ninterface = \"eth1\"\n\
        [[gateway]]\nid = \"gw\"\nvpc = \"vpc\"\naddress = \"203.0.113.1\"\nbandwidth_mbps = 100\n\
        [[customer_gateway]]\nid = \"c\"\naddress = \"198.51.100.1\"\n\
        [[tunnel]]\nid = \"declared\"\ngateway = \"gw\"\ncustomer_gateway = \"c\"\npsk = \"x\"\n\
        [[tunnel.spd]]\nlocal = \"10.0.0.0/24\"\npeer = [\"192.168.0.0/24\"]\n";

    fn tunnel(id: &str, peer: &str, more: &str) -> DesiredTunnel {
        let document = format!(
            "[[tunnel]]\nid = \"{id}\"\ngateway = \"vpngw-1\"\ncustomer_gateway = \"cgw-1\"\npsk = \"y\"\n{more}\n\
             [[tunnel.spd]]\nlocal = \"10.0.1.0/24\"\npeer = [\"{peer}\"]\n"
        );
        DesiredTunnel {
            id: id.to_owned(),
            document: zeroize::Zeroizing::new(document),
        }
    }

    fn merge(tunnels: Vec<DesiredTunnel>, running: &[Arc<TunnelConfig>]) -> Merged {
        let ends = "[[gateway]]\nid = \"vpngw-1\"\nvpc = \"vpc\"\naddress = \"203.0.113.2\"\nbandwidth_mbps = 5\n\
            [[customer_gateway]]\nid = \"cgw-1\"\naddress = \"198.51.100.2\"\n";
        let desired = Desired {
            revision: 1,
            ends: ends.to_owned(),
            tunnels,
        };
        let file = super::super::parse(FILE, Path::new("test.toml")).unwrap();
        with_stored(&file, &desired, running)
    }

    fn ids(merged: &Merged) -> Vec<&str> {
        merged
            .config
            .tunnels
            .iter()
            .map(|tunnel| tunnel.id.as_str())
            .collect()
    }

    #[test]
    fn tunnels_of_the_file_and_of_the_store_run_together() {
        let merged = merge(vec![tunnel("vpnx-1", "192.168.1.0/24", "")], &[]);
        assert_eq!(
            (ids(&merged), merged.refused.len()),
            (vec!["declared", "vpnx-1"], 0)
        );
        assert_eq!(merged.config.gateways.len(), 2);
    }

    #[test]
    fn a_stored_tunnel_with_a_mistake_keeps_its_last_settings_and_no_other_from_running() {
        let good = merge(vec![tunnel("vpnx-1", "192.168.1.0/24", "")], &[]);
        let bad = || vec![tunnel("vpnx-1", "192.168.1.0/24", "ike.encryption = \"rot13\"")];
        let merged = merge(bad(), &[]);
        assert_eq!(ids(&merged), ["declared"]);
        assert!(
            merged.refused["vpnx-1"].contains("ike.encryption"),
            "{:?}",
            merged.refused
        );
        let merged = merge(bad(), &good.config.tunnels);
        assert_eq!(
            (ids(&merged), merged.refused.len()),
            (vec!["declared", "vpnx-1"], 1)
        );
    }

    #[test]
    fn what_another_tunnel_has_is_refused() {
        let merged = merge(
            vec![
                tunnel("vpnx-1", "192.168.1.0/24", ""),
                tunnel("vpnx-2", "192.168.2.0/24", ""),
            ],
            &[],
        );
        assert_eq!(ids(&merged), ["declared", "vpnx-1"]);
        assert!(
            merged.refused["vpnx-2"].contains("another tunnel joins 203.0.113.2"),
            "{:?}",
            merged.refused
        );
    }
}
