//! Joins the objects of the store with those of the file. A stored tunnel arrives as a section of the file's format, so that one
//! reader decides what it means, and one that has a mistake keeps no other from running.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use gateway_management::desired::{Desired, DesiredEnds, DesiredLease, DesiredTunnel};
use ipnet::Ipv4Net;
use toml::de::DeTable;

use super::defense::{self, DefenseConfig};
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

/// What was read of the store. What is the same is not read again: a change of one tunnel among ten thousand costs one.
#[derive(Debug, Default)]
pub struct ReadStore {
    ends: Option<(Arc<Config>, Arc<DesiredEnds>, Arc<Ends>)>,
    /// By id.
    tunnels: BTreeMap<String, (Arc<DesiredTunnel>, Arc<TunnelConfig>)>,
}

impl ReadStore {
    /// What is no tunnel, of both.
    fn ends(&mut self, file: &Arc<Config>, desired: &Arc<DesiredEnds>) -> Arc<Ends> {
        if let Some((read_file, read, ends)) = &self.ends
            && Arc::ptr_eq(read_file, file)
            && Arc::ptr_eq(read, desired)
        {
            return Arc::clone(ends);
        }
        let ends = Arc::new(ends(file, desired));
        self.ends = Some((Arc::clone(file), Arc::clone(desired), Arc::clone(&ends)));
        ends
    }
}

/// Adds the objects of the store to those of the file. A tunnel that has a mistake stays as it is in `running`, if it is there.
pub fn with_stored(
    file: &Arc<Config>,
    desired: &Desired,
    running: &[Arc<TunnelConfig>],
    known: &mut ReadStore,
) -> Merged {
    let ends = known.ends(file, &desired.ends);
    let mut tunnels = Vec::with_capacity(file.tunnels.len() + desired.tunnels.len());
    let mut refused = BTreeMap::new();
    let mut taken = Taken::default();
    for tunnel in &file.tunnels {
        // The file was checked as a whole when it was read.
        taken.add(tunnel).ok();
        tunnels.push(Arc::clone(tunnel));
    }
    let mut present = BTreeMap::new();
    for wanted in &desired.tunnels {
        let same = known
            .tunnels
            .remove(&wanted.id)
            .filter(|(document, tunnel)| Arc::ptr_eq(document, wanted) && ends.has_those_of(tunnel));
        let read = match same {
            Some((_, tunnel)) => Ok(tunnel),
            None => read_tunnel(&wanted.document, &ends.by_id),
        };
        if let Ok(tunnel) = &read {
            present.insert(wanted.id.clone(), (Arc::clone(wanted), Arc::clone(tunnel)));
        }
        let accepted = read.and_then(|tunnel| taken.add(&tunnel).map(|()| tunnel));
        let tunnel = accepted.or_else(|reason| {
            tracing::error!(tunnel = wanted.id, reason, "a stored tunnel cannot run as it is");
            refused.insert(wanted.id.clone(), reason);
            let kept = running
                .iter()
                .find(|tunnel| tunnel.id.as_str() == wanted.id)
                .map(Arc::clone);
            kept.filter(|tunnel| taken.add(tunnel).is_ok()).ok_or(())
        });
        tunnels.extend(tunnel);
    }
    known.tunnels = present;
    let config = Config {
        agent: file.agent.clone(),
        dataplane: file.dataplane.clone(),
        management: file.management.clone(),
        interfaces: file.interfaces.clone(),
        vpcs: file.vpcs.clone(),
        gateways: ends.gateways.clone(),
        customer_gateways: ends.customer_gateways.clone(),
        defenses: ends.defenses.clone(),
        tunnels,
        leases: ends.leases.clone(),
    };
    Merged { config, refused }
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

/// What is no tunnel, of both.
#[derive(Debug)]
struct Ends {
    gateways: Vec<Arc<GatewayConfig>>,
    customer_gateways: Vec<Arc<CustomerGatewayConfig>>,
    defenses: Vec<Arc<DefenseConfig>>,
    leases: BTreeMap<Id, DesiredLease>,
    by_id: Directories,
}

/// Where tunnels find their ends.
#[derive(Debug)]
struct Directories {
    gateways: Directory<GatewayConfig>,
    customer_gateways: Directory<CustomerGatewayConfig>,
}

impl Ends {
    /// Whether the ends of a tunnel that was read before are as they were.
    fn has_those_of(&self, tunnel: &TunnelConfig) -> bool {
        let (gateway, customer) = (&tunnel.gateway, &tunnel.customer_gateway);
        self.by_id.gateways.get(&gateway.id) == Some(gateway)
            && self.by_id.customer_gateways.get(&customer.id) == Some(customer)
    }
}

/// What the store has under an id or address of the file is left out.
fn ends(file: &Config, desired: &DesiredEnds) -> Ends {
    let text = &desired.document;
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
    let defenses = defenses(file, &log, root.tables("defense"), &gateways);
    for mistake in log.finish() {
        tracing::error!(
            "a stored object cannot be used: {} = {}: {}",
            mistake.field,
            mistake.value,
            mistake.rule
        );
    }
    // A gateway of the file that has the id of a stored one is the one that runs, and has no period.
    let declared = |id: &Id| file.gateways.iter().any(|gateway| gateway.id == *id);
    let leases = by_id(&gateways, |gateway| &gateway.id)
        .filter(|(id, _)| !declared(id))
        .filter_map(|(id, _)| desired.leases.get(id.as_str()).map(|lease| (id, *lease)))
        .collect();
    let by_id = Directories {
        gateways: Directory::known("gateway", by_id(&gateways, |gateway| &gateway.id)),
        customer_gateways: Directory::known("customer gateway", by_id(&customers, |gateway| &gateway.id)),
    };
    Ends {
        gateways,
        customer_gateways: customers,
        defenses,
        leases,
        by_id,
    }
}

/// The high defense packages of both. The file's stand where both protect one gateway.
fn defenses(
    file: &Config,
    log: &Log,
    sections: Vec<Section<'_>>,
    gateways: &[Arc<GatewayConfig>],
) -> Vec<Arc<DefenseConfig>> {
    let gateways = Directory::known("gateway", by_id(gateways, |gateway| &gateway.id));
    let mut defenses = file.defenses.clone();
    for stored in defense::read(log, sections, &gateways) {
        let taken = defenses.iter().any(|other| {
            other.id == stored.id || stored.gateway.is_some() && other.gateway == stored.gateway
        });
        let reason = if taken {
            "another has its id or its gateway"
        } else if !defense::has_room(&defenses, &stored) {
            "there are too many"
        } else {
            defenses.push(stored);
            continue;
        };
        tracing::error!(defense = %stored.id, reason, "a stored high defense package protects nothing");
    }
    defenses
}

fn read_tunnel(text: &str, ends: &Directories) -> Result<Arc<TunnelConfig>, String> {
    let log = Log::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut root = Section::root(&log, &document);
    let sections = root.tables("tunnel");
    let read = sections.into_iter().next().map(|section| {
        let Directories {
            gateways,
            customer_gateways,
        } = ends;
        read::tunnel(&log, section, gateways, customer_gateways, Path::new("/"))
    });
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
    use gateway_management::Lease;

    use super::*;

    const FILE: &str = "[[interface]]\nname = \"eth0\"\nrole = \"public\"\n[[interface]]\nname = \"eth1\"\nrole = \"vpc\"\n\
        [[vpc]]\nid = \"vpc\"\ncidr = \"10.0.0.0/16\"\ninterface = \"eth1\"\n\
        [[gateway]]\nid = \"gw\"\nvpc = \"vpc\"\naddress = \"203.0.113.1\"\nbandwidth_mbps = 100\n\
        [[customer_gateway]]\nid = \"c\"\naddress = \"198.51.100.1\"\n\
        [[tunnel]]\nid = \"declared\"\ngateway = \"gw\"\ncustomer_gateway = \"c\"\npsk = \"x\"\n\
        [[tunnel.spd]]\nlocal = \"10.0.0.0/24\"\npeer = [\"192.168.0.0/24\"]\n";

    fn tunnel(id: &str, peer: &str, more: &str) -> Arc<DesiredTunnel> {
        let document = format!(
            "[[tunnel]]\nid = \"{id}\"\ngateway = \"vpngw-1\"\ncustomer_gateway = \"cgw-1\"\npsk = \"y\"\n{more}\n\
             [[tunnel.spd]]\nlocal = \"10.0.1.0/24\"\npeer = [\"{peer}\"]\n"
        );
        Arc::new(DesiredTunnel {
            id: id.to_owned(),
            document: zeroize::Zeroizing::new(document),
        })
    }

    const ENDS: &str = "[[gateway]]\nid = \"vpngw-1\"\nvpc = \"vpc\"\naddress = \"203.0.113.2\"\nbandwidth_mbps = 5\n\
        [[customer_gateway]]\nid = \"cgw-1\"\naddress = \"198.51.100.2\"\n";

    const ISOLATED: DesiredLease = DesiredLease {
        stage: Lease::Isolated,
        expires: None,
    };

    #[test]
    fn a_gateway_of_the_file_has_no_period() {
        let merged = merge(vec![], &[]);
        let leases: Vec<_> = merged.config.leases.keys().map(Id::as_str).collect();
        assert_eq!(leases, ["vpngw-1"]);
    }

    fn merge(tunnels: Vec<Arc<DesiredTunnel>>, running: &[Arc<TunnelConfig>]) -> Merged {
        merge_again(tunnels, ENDS, running, &mut ReadStore::default())
    }

    fn merge_again(
        tunnels: Vec<Arc<DesiredTunnel>>,
        ends: &str,
        running: &[Arc<TunnelConfig>],
        known: &mut ReadStore,
    ) -> Merged {
        let ends = DesiredEnds {
            document: ends.to_owned(),
            leases: ["vpngw-1", "gw"].map(|id| (id.to_owned(), ISOLATED)).into(),
        };
        let desired = Desired {
            revision: 1,
            ends: Arc::new(ends),
            tunnels,
        };
        let file = Arc::new(super::super::parse(FILE, Path::new("test.toml")).unwrap());
        with_stored(&file, &desired, running, known)
    }

    #[test]
    fn only_what_changed_is_read_again() {
        let mut known = ReadStore::default();
        let one = tunnel("vpnx-1", "192.168.1.0/24", "");
        let first = merge_again(vec![Arc::clone(&one)], ENDS, &[], &mut known);
        let mut next = |document: &Arc<DesiredTunnel>, ends: &str| {
            let merged = merge_again(vec![Arc::clone(document)], ends, &[], &mut known);
            Arc::clone(&merged.config.tunnels[1])
        };
        assert!(Arc::ptr_eq(&next(&one, ENDS), &first.config.tunnels[1]));
        let faster = ENDS.replace("bandwidth_mbps = 5", "bandwidth_mbps = 50");
        let changed = next(&one, &faster);
        assert!(!Arc::ptr_eq(&changed, &first.config.tunnels[1]));
        assert!(Arc::ptr_eq(&changed, &next(&one, &faster)));
        let other = tunnel("vpnx-1", "192.168.9.0/24", "");
        assert_ne!(next(&other, &faster), changed);
    }

    #[test]
    fn packages_of_the_store_protect_gateways_of_both_unless_the_file_has_one() {
        let package =
            |id: &str, gateway: &str| format!("[[defense]]\nid = \"{id}\"\ngateway = \"{gateway}\"\n");
        let file = format!("{FILE}{}", package("own", "gw"));
        let file = Arc::new(super::super::parse(&file, Path::new("test.toml")).unwrap());
        let bound = |document: String| -> Vec<(String, String)> {
            let ends = DesiredEnds {
                document,
                leases: BTreeMap::new(),
            };
            let desired = Desired {
                revision: 1,
                ends: Arc::new(ends),
                tunnels: Vec::new(),
            };
            let merged = with_stored(&file, &desired, &[], &mut ReadStore::default());
            let defenses = merged.config.defenses.iter();
            let gateway =
                |defense: &DefenseConfig| defense.gateway.as_ref().map(|gateway| gateway.id.to_string());
            defenses
                .map(|defense| (defense.id.to_string(), gateway(defense).unwrap_or_default()))
                .collect()
        };
        let own = || ("own".to_owned(), "gw".to_owned());
        let both = format!("{ENDS}{}{}", package("dfp-1", "vpngw-1"), package("dfp-2", "gw"));
        assert_eq!(bound(both), [own(), ("dfp-1".to_owned(), "vpngw-1".to_owned())]);
        assert_eq!(bound(format!("{ENDS}{}", package("own", "vpngw-1"))), [own()]);
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
