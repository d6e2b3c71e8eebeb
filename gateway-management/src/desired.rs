//! What the agent is to run, in the words of the configuration file: one reader decides what a tunnel means, whoever wrote it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::algorithms::{EspEncryption, Identity, IkeVersion};
use crate::defense::{DefensePackage, Limits};
use crate::health::HealthCheck;
use crate::lease::Lease;
use crate::objects::{CustomerGateway, Route, Status, Tunnel, VpnGateway};
use crate::psk::PresharedKey;
use crate::store::{Rows, StoreError};
use crate::time::Timestamp;

/// Everything of the store that concerns the data plane.
#[derive(Debug)]
pub struct Desired {
    /// Revision of the store, to be given back to [`crate::Management::settle`].
    pub revision: i64,
    /// What is no tunnel. When nothing of it changed since the last time it is the same object.
    pub ends: Arc<DesiredEnds>,
    /// Tunnels in the order of their creation. One that did not change since the last time is the same object.
    pub tunnels: Vec<Arc<DesiredTunnel>>,
}

/// Everything that tunnels have in common.
#[derive(Debug)]
pub struct DesiredEnds {
    /// `[[gateway]]`, `[[customer_gateway]]` and `[[defense]]` sections.
    pub document: String,
    /// Periods of the gateways by id.
    pub leases: BTreeMap<String, DesiredLease>,
}

/// The period of a gateway. Tunnels of one that is not in force stay configured and carry nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredLease {
    /// The stage that is in force.
    pub stage: Lease,
    /// When it ends; `None`: never.
    pub expires: Option<Timestamp>,
}

/// A tunnel as a document of one `[[tunnel]]` section.
#[derive(Debug)]
pub struct DesiredTunnel {
    /// Its id.
    pub id: String,
    /// The document, with the key in it.
    pub document: Zeroizing<String>,
}

/// What was written before, with the revision that it was written at: what did not change is not read again.
#[derive(Debug, Default)]
pub(crate) struct Written {
    ends: Option<(i64, Arc<DesiredEnds>)>,
    /// By the number of the tunnel.
    tunnels: BTreeMap<i64, (i64, Arc<DesiredTunnel>)>,
}

#[derive(Serialize)]
struct Ends<'a> {
    gateway: Vec<GatewaySection<'a>>,
    customer_gateway: Vec<CustomerGatewaySection<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    defense: Vec<DefenseSection<'a>>,
}

#[derive(Serialize)]
struct DefenseSection<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<&'a str>,
    #[serde(flatten)]
    limits: &'a Limits,
}

#[derive(Serialize)]
struct GatewaySection<'a> {
    id: &'a str,
    name: &'a str,
    vpc: &'a str,
    address: Ipv4Addr,
    bandwidth_mbps: u32,
    /// The period is no concern of the data plane, and of the machine's file; only an export has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_renew: Option<bool>,
}

#[derive(Serialize)]
struct CustomerGatewaySection<'a> {
    id: &'a str,
    name: &'a str,
    address: Ipv4Addr,
}

#[derive(Serialize)]
struct Document<'a> {
    tunnel: [TunnelSection<'a>; 1],
}

#[derive(Serialize)]
struct TunnelSection<'a> {
    id: &'a str,
    name: &'a str,
    gateway: &'a str,
    customer_gateway: &'a str,
    start: &'static str,
    psk: &'a str,
    /// Absent: the tunnel follows its rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    routes: Option<Vec<String>>,
    /// Of no concern to the data plane; only an export has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes_disabled: Vec<String>,
    spd: Vec<RuleSection>,
    ike: IkeSection<'a>,
    ipsec: IpsecSection,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<HealthCheck>,
}

#[derive(Serialize)]
struct RuleSection {
    local: String,
    peer: Vec<String>,
}

#[derive(Serialize)]
struct IkeSection<'a> {
    version: &'static str,
    /// IKEv2 has no modes.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    encryption: &'static str,
    authentication: &'static str,
    dh_group: u16,
    lifetime_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_id: Option<IdentityText<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_id: Option<IdentityText<'a>>,
    dpd_seconds: u32,
    dpd_action: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum IdentityText<'a> {
    Address(Ipv4Addr),
    Fqdn(&'a str),
}

#[derive(Serialize)]
struct IpsecSection {
    encryption: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication: Option<&'static str>,
    pfs: Pfs,
    lifetime_seconds: u32,
    lifetime_kilobytes: u32,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Pfs {
    Off(&'static str),
    Group(u16),
}

impl Desired {
    /// Reads in one transaction what differs from what was written before.
    pub(crate) fn read(rows: &Rows<'_>, written: &mut Written) -> Result<Self, StoreError> {
        let mut present = BTreeMap::new();
        for (number, revision) in rows.tunnels_to_run()? {
            let known = written.tunnels.remove(&number);
            let document = match known.filter(|&(written, _)| written == revision) {
                Some((_, document)) => document,
                None => {
                    let tunnel = rows
                        .tunnel_numbered(number)?
                        .ok_or(StoreError::Damaged("a tunnel is gone within a transaction"))?;
                    Arc::new(write(rows, tunnel, Audience::Agent)?)
                }
            };
            present.insert(number, (revision, document));
        }
        let tunnels = present
            .values()
            .map(|(_, document)| Arc::clone(document))
            .collect();
        written.tunnels = present;
        Ok(Self {
            revision: rows.revision()?,
            ends: written.read_ends(rows)?,
            tunnels,
        })
    }
}

impl Written {
    fn read_ends(&mut self, rows: &Rows<'_>) -> Result<Arc<DesiredEnds>, StoreError> {
        let revision = rows.ends_revision()?;
        if let Some((_, ends)) = self.ends.as_ref().filter(|&&(written, _)| written == revision) {
            return Ok(Arc::clone(ends));
        }
        let gateways = rows.gateways()?;
        let ends = Arc::new(DesiredEnds {
            document: ends(
                gateways.iter().map(gateway_section),
                &rows.customer_gateways()?,
                &rows.defense_packages()?,
            )?,
            leases: gateways.iter().map(lease).collect(),
        });
        self.ends = Some((revision, Arc::clone(&ends)));
        Ok(ends)
    }
}

/// All objects as one document for [`crate::declaration`], keys included. A tunnel that is being deleted is left out.
pub(crate) fn export(rows: &Rows<'_>) -> Result<Zeroizing<String>, StoreError> {
    let (gateways, customer_gateways) = (rows.gateways()?, rows.customer_gateways()?);
    let mut text = Zeroizing::new(ends(
        gateways.iter().map(leased_section),
        &customer_gateways,
        &rows.defense_packages()?,
    )?);
    let tunnels = rows.tunnels()?;
    for tunnel in tunnels
        .into_iter()
        .filter(|tunnel| tunnel.status != Status::Deleting)
    {
        text.push('\n');
        text.push_str(&write(rows, tunnel, Audience::Import)?.document);
    }
    Ok(text)
}

fn lease(gateway: &VpnGateway) -> (String, DesiredLease) {
    let lease = DesiredLease {
        stage: gateway.stage,
        expires: (gateway.expires < Timestamp::NEVER).then_some(gateway.expires),
    };
    (gateway.id.clone(), lease)
}

fn leased_section(gateway: &VpnGateway) -> GatewaySection<'_> {
    GatewaySection {
        expires: (gateway.expires < Timestamp::NEVER).then(|| gateway.expires.utc()),
        auto_renew: gateway.auto_renew.then_some(true),
        ..gateway_section(gateway)
    }
}

/// Who reads the document of a tunnel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// It runs what is in force.
    Agent,
    /// It takes everything into a store.
    Import,
}

/// What a document says about the routes of a tunnel.
struct Routes {
    in_force: Option<Vec<String>>,
    disabled: Vec<String>,
}

impl Routes {
    fn of(routes: &[Route], audience: Audience) -> Self {
        let destinations = |enabled: bool| {
            let some = routes.iter().filter(move |route| route.enabled == enabled);
            some.map(|route| route.destination.to_string()).collect()
        };
        Self {
            // None of them in force is not the same as none at all.
            in_force: (!routes.is_empty()).then(|| destinations(true)),
            disabled: match audience {
                Audience::Agent => Vec::new(),
                Audience::Import => destinations(false),
            },
        }
    }
}

fn write(rows: &Rows<'_>, tunnel: Tunnel, audience: Audience) -> Result<DesiredTunnel, StoreError> {
    let gateway = rows.gateway_numbered(tunnel.gateway)?;
    let customer_gateway = rows.customer_gateway_numbered(tunnel.customer_gateway)?;
    let (Some(gateway), Some(customer_gateway)) = (gateway, customer_gateway) else {
        return Err(StoreError::Damaged("a tunnel has lost an end"));
    };
    let routes = Routes::of(&rows.routes_of_tunnel(tunnel.number)?, audience);
    let document = document(&tunnel, &gateway, &customer_gateway, routes, &rows.psk(&tunnel)?)?;
    Ok(DesiredTunnel {
        id: tunnel.id,
        document,
    })
}

fn gateway_section(gateway: &VpnGateway) -> GatewaySection<'_> {
    GatewaySection {
        id: &gateway.id,
        name: &gateway.name,
        vpc: &gateway.vpc,
        address: gateway.address,
        bandwidth_mbps: gateway.bandwidth,
        expires: None,
        auto_renew: None,
    }
}

fn defense_section(package: &DefensePackage) -> DefenseSection<'_> {
    DefenseSection {
        id: &package.id,
        name: &package.name,
        gateway: package.gateway.as_deref(),
        limits: &package.limits,
    }
}

fn ends<'a>(
    gateways: impl Iterator<Item = GatewaySection<'a>>,
    customer_gateways: &'a [CustomerGateway],
    defenses: &'a [DefensePackage],
) -> Result<String, StoreError> {
    let customer_gateway = customer_gateways.iter().map(|gateway| CustomerGatewaySection {
        id: &gateway.id,
        name: &gateway.name,
        address: gateway.address,
    });
    to_toml(&Ends {
        gateway: gateways.collect(),
        customer_gateway: customer_gateway.collect(),
        defense: defenses.iter().map(defense_section).collect(),
    })
}

fn document(
    tunnel: &Tunnel,
    gateway: &VpnGateway,
    customer_gateway: &CustomerGateway,
    routes: Routes,
    psk: &PresharedKey,
) -> Result<Zeroizing<String>, StoreError> {
    let (ike, ipsec) = (&tunnel.ike, &tunnel.ipsec);
    let rule = |rule: &crate::spd::SpdRule| RuleSection {
        local: rule.local.to_string(),
        peer: rule.peers.iter().map(ToString::to_string).collect(),
    };
    let section = TunnelSection {
        id: &tunnel.id,
        name: &tunnel.name,
        gateway: &gateway.id,
        customer_gateway: &customer_gateway.id,
        start: tunnel.start.name(),
        psk: psk.expose(),
        routes: routes.in_force,
        routes_disabled: routes.disabled,
        spd: tunnel.spd.iter().map(rule).collect(),
        ike: IkeSection {
            version: ike.version.name(),
            mode: (ike.version == IkeVersion::V1).then(|| ike.mode.name()),
            encryption: ike.encryption.name(),
            authentication: ike.hash.name(),
            dh_group: ike.group.number(),
            lifetime_seconds: ike.lifetime_seconds,
            local_id: identity(&ike.local_identity),
            peer_id: identity(&ike.remote_identity),
            dpd_seconds: tunnel.dpd_seconds,
            dpd_action: tunnel.dpd_action.name(),
        },
        ipsec: IpsecSection {
            encryption: ipsec.encryption.name(),
            authentication: (!EspEncryption::is_aead(ipsec.encryption)).then(|| ipsec.integrity.name()),
            pfs: ipsec
                .pfs
                .map_or(Pfs::Off("off"), |group| Pfs::Group(group.number())),
            lifetime_seconds: ipsec.lifetime_seconds,
            lifetime_kilobytes: ipsec.lifetime_kilobytes,
        },
        probe: tunnel.health,
    };
    to_toml(&Document { tunnel: [section] }).map(Zeroizing::new)
}

fn identity(identity: &Identity) -> Option<IdentityText<'_>> {
    match identity {
        Identity::OwnAddress => None,
        Identity::Address(address) => Some(IdentityText::Address(*address)),
        Identity::Fqdn(name) => Some(IdentityText::Fqdn(name)),
    }
}

fn to_toml(document: &impl Serialize) -> Result<String, StoreError> {
    toml::to_string(document).map_err(|_never| StoreError::Damaged("an object cannot be written as TOML"))
}
