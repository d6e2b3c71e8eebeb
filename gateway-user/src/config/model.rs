//! A valid configuration. References are resolved and defaults filled in: nothing is left to check.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway_ike::config::{DpdConfig, Esn, EspProposal, Identity, IkeProposal, IkeVersion, Phase1Mode};
use gateway_ike::crypto::DhGroup;
use gateway_management::desired::DesiredLease;
use ipnet::Ipv4Net;

use super::algorithms::{Encapsulation, Role, Start, XdpMode};
use super::defense::DefenseConfig;
use super::management::ManagementConfig;
use super::psk::PresharedKey;
use super::values::{self, Bandwidth, Id};

/// The whole file.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// The agent itself.
    pub agent: AgentConfig,
    /// The data plane.
    pub dataplane: DataplaneConfig,
    /// The store and the API; `None`: the tunnels are those of the file.
    pub management: Option<ManagementConfig>,
    /// Interfaces that the XDP program is attached to.
    pub interfaces: Vec<InterfaceConfig>,
    /// VPCs.
    pub vpcs: Vec<Arc<VpcConfig>>,
    /// VPN gateways.
    pub gateways: Vec<Arc<GatewayConfig>>,
    /// Customer gateways.
    pub customer_gateways: Vec<Arc<CustomerGatewayConfig>>,
    /// High defense packages.
    pub defenses: Vec<Arc<DefenseConfig>>,
    /// Tunnels.
    pub tunnels: Vec<Arc<TunnelConfig>>,
    /// Periods of the gateways of the store. A gateway of the file has none: it is always in force.
    pub leases: BTreeMap<Id, DesiredLease>,
}

/// Paths, listeners and logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// Where /metrics and /healthz are served; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Unix socket for the operator's commands.
    pub control_socket: PathBuf,
    /// Directory on a bpffs for the pinned XDP links and maps.
    pub pin_dir: PathBuf,
    /// Filter of the log.
    pub log: String,
}

/// The data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataplaneConfig {
    /// How the XDP program is attached.
    pub xdp_mode: XdpMode,
    /// Frames of each worker's UMEM.
    pub umem_frames: u32,
    /// Octets of a frame.
    pub frame_size: u32,
    /// Whether traffic of a VPC that no rule covers is dropped.
    pub default_deny: bool,
    /// IKE packets per second that one source address may send.
    pub ike_rate_per_source: u32,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// Its name in the kernel.
    pub name: String,
    /// What it faces.
    pub role: Role,
}

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcConfig {
    /// Its id.
    pub id: Id,
    /// Its range.
    pub cidr: Ipv4Net,
    /// The interface that faces it.
    pub interface: String,
}

/// A VPN gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Its id.
    pub id: Id,
    /// What people call it.
    pub name: String,
    /// The VPC it belongs to.
    pub vpc: Arc<VpcConfig>,
    /// Its public address.
    pub address: Ipv4Addr,
    /// Bandwidth setting, per direction.
    pub bandwidth: Bandwidth,
}

/// A customer gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerGatewayConfig {
    /// Its id.
    pub id: Id,
    /// What people call it.
    pub name: String,
    /// Its public address.
    pub address: Ipv4Addr,
}

/// A tunnel.
#[derive(Debug, PartialEq, Eq)]
pub struct TunnelConfig {
    /// Its id.
    pub id: Id,
    /// What people call it.
    pub name: String,
    /// Our end.
    pub gateway: Arc<GatewayConfig>,
    /// The peer's end.
    pub customer_gateway: Arc<CustomerGatewayConfig>,
    /// When it is brought up.
    pub start: Start,
    /// Pre-shared key.
    pub psk: PresharedKey,
    /// SPD rules.
    pub spd: Vec<SpdRule>,
    /// Destinations that take the tunnel; `None`: every peer range of the rules does.
    pub routes: Option<Vec<Ipv4Net>>,
    /// Phase 1.
    pub ike: IkeConfig,
    /// Phase 2.
    pub ipsec: IpsecConfig,
    /// The probe through the tunnel; `None`: it is not probed.
    pub probe: Option<ProbeConfig>,
}

/// A probe through a tunnel: an ICMP echo every interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Where probes come from: an address of this machine, made on the slow path's interface where no other has it.
    pub local: Ipv4Addr,
    /// Who answers.
    pub remote: Ipv4Addr,
    /// Time from probe to probe.
    pub interval: Duration,
    /// As many lost in a row make the tunnel unhealthy, as many answered in a row healthy again.
    pub threshold: u32,
    /// An answer later than this counts as lost.
    pub timeout: Duration,
}

/// One rule of a tunnel's SPD: traffic between the local range and each of the peer ranges is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpdRule {
    /// Range of the VPC.
    pub local: Ipv4Net,
    /// Ranges behind the customer gateway.
    pub peers: Vec<Ipv4Net>,
}

/// Settings of the IKE SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeConfig {
    /// Version.
    pub version: IkeVersion,
    /// Phase 1 exchange of IKEv1.
    pub mode: Phase1Mode,
    /// Acceptable algorithms, best first. Never empty.
    pub proposals: Vec<IkeProposal>,
    /// Lifetime of the IKE SA.
    pub lifetime: Duration,
    /// IKEv1: kilobytes (1,024 octets) of IKE messages per IKE SA; `None`: no limit.
    pub lifetime_kilobytes: Option<u32>,
    /// IKEv2: how often both ends authenticate anew; `None`: never.
    pub reauthentication: Option<Duration>,
    /// Identity we send.
    pub local_id: Identity,
    /// Identity the peer must prove.
    pub peer_id: Identity,
    /// When the peer is probed (RFC 3706, RFC 7296 section 2.4) and what happens when it is dead; `None`: never.
    pub dpd: Option<DpdConfig>,
    /// Whether IKE messages may travel in fragments.
    pub fragmentation: bool,
}

/// Settings of the IPsec SAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpsecConfig {
    /// Acceptable algorithms, best first. Never empty.
    pub proposals: Vec<EspProposal>,
    /// Group of the additional key exchange; `None`: off.
    pub pfs: Option<DhGroup>,
    /// Extended sequence numbers.
    pub esn: Esn,
    /// Lifetime of the SAs.
    pub lifetime: Duration,
    /// Kilobytes (1,024 octets) per SA; `None`: no limit.
    pub lifetime_kilobytes: Option<u32>,
    /// Size of the anti-replay window in packets.
    pub replay_window: u32,
    /// When ESP travels in UDP.
    pub encapsulation: Encapsulation,
}

impl TunnelConfig {
    /// Each pair of a local and a peer range, in the order of the file: one pair of SAs each. Probe addresses that no rule covers
    /// have a pair of their own.
    pub fn pairs(&self) -> impl Iterator<Item = (Ipv4Net, Ipv4Net)> + '_ {
        self.rule_pairs().chain(self.probe_pair())
    }

    /// The pairs of the rules.
    fn rule_pairs(&self) -> impl Iterator<Item = (Ipv4Net, Ipv4Net)> + '_ {
        self.spd
            .iter()
            .flat_map(|rule| rule.peers.iter().map(|&peer| (rule.local, peer)))
    }

    /// The parts of a peer range that packets of the VPC reach through the tunnel: all of it, or what the routes name. The remote
    /// end of a probe with a pair of its own needs no route.
    pub fn routed(&self, peer: Ipv4Net) -> impl Iterator<Item = Ipv4Net> + '_ {
        let of_probe = self.probe_pair().is_some_and(|(_, remote)| remote == peer);
        let whole = (of_probe || self.routes.is_none()).then_some(peer);
        let named = self
            .routes
            .iter()
            .flatten()
            .filter(move |_| whole.is_none())
            .filter_map(move |&route| values::intersection(peer, route));
        whole.into_iter().chain(named)
    }

    /// The pairs of ranges whose packets take the tunnel.
    pub fn routed_pairs(&self) -> impl Iterator<Item = (Ipv4Net, Ipv4Net)> + '_ {
        self.pairs()
            .flat_map(|(local, peer)| self.routed(peer).map(move |part| (local, part)))
    }

    /// The pair of probe addresses that no rule covers.
    pub fn probe_pair(&self) -> Option<(Ipv4Net, Ipv4Net)> {
        let probe = self.probe.as_ref()?;
        let covers =
            |(local, peer): (Ipv4Net, Ipv4Net)| local.contains(&probe.local) && peer.contains(&probe.remote);
        (!self.rule_pairs().any(covers)).then(|| (Ipv4Net::from(probe.local), Ipv4Net::from(probe.remote)))
    }

    /// What works and should still be looked at: weak choices, and lifetimes below the product's limits.
    pub fn warnings(&self) -> Vec<String> {
        let mut texts: Vec<_> = self
            .weaknesses()
            .into_iter()
            .map(|weakness| format!("weak: {weakness}"))
            .collect();
        for (field, lifetime, least) in [
            ("ike", self.ike.lifetime, 60),
            ("ipsec", self.ipsec.lifetime, 180),
        ] {
            if lifetime.as_secs() < least {
                texts.push(format!(
                    "{field}.lifetime_seconds is below {least}, which is for tests only"
                ));
            }
        }
        if self
            .ipsec
            .lifetime_kilobytes
            .is_some_and(|kilobytes| kilobytes < 2560)
        {
            texts.push("ipsec.lifetime_kilobytes is below 2560, which is for tests only".to_owned());
        }
        texts
    }
}

impl Config {
    /// The interfaces that face a VPC with the VPC, and those that face the public network with `None`.
    pub fn interface_vpcs(&self) -> impl Iterator<Item = (&InterfaceConfig, Option<&Arc<VpcConfig>>)> {
        self.interfaces.iter().map(|interface| {
            let vpc = self.vpcs.iter().find(|vpc| vpc.interface == interface.name);
            (interface, vpc)
        })
    }
}
