//! What the agent is to run, in the words of the configuration file: one reader decides what a tunnel means, whoever wrote it.

use std::net::Ipv4Addr;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::algorithms::{EspEncryption, Identity, IkeVersion};
use crate::objects::{CustomerGateway, Status, Tunnel, VpnGateway};
use crate::psk::PresharedKey;
use crate::store::{Rows, StoreError};

/// Everything of the store that concerns the data plane.
#[derive(Debug)]
pub struct Desired {
    /// Revision of the store, to be given back to [`crate::Management::settle`].
    pub revision: i64,
    /// `[[gateway]]` and `[[customer_gateway]]` sections.
    pub ends: String,
    /// Tunnels.
    pub tunnels: Vec<DesiredTunnel>,
}

/// A tunnel as a document of one `[[tunnel]]` section.
#[derive(Debug)]
pub struct DesiredTunnel {
    /// Its id.
    pub id: String,
    /// The document, with the key in it.
    pub document: Zeroizing<String>,
}

#[derive(Serialize)]
struct Ends<'a> {
    gateway: Vec<GatewaySection<'a>>,
    customer_gateway: Vec<CustomerGatewaySection<'a>>,
}

#[derive(Serialize)]
struct GatewaySection<'a> {
    id: &'a str,
    name: &'a str,
    vpc: &'a str,
    address: Ipv4Addr,
    bandwidth_mbps: u32,
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
    spd: Vec<RuleSection>,
    ike: IkeSection<'a>,
    ipsec: IpsecSection,
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
    /// Reads everything in one transaction.
    pub(crate) fn read(rows: &Rows<'_>) -> Result<Self, StoreError> {
        let gateways = rows.gateways()?;
        let customer_gateways = rows.customer_gateways()?;
        let gateway = |number| gateways.iter().find(|gateway| gateway.number == number);
        let customer_gateway = |number| customer_gateways.iter().find(|gateway| gateway.number == number);
        let wanted = rows.tunnels()?;
        let wanted = wanted
            .iter()
            .filter(|tunnel| !matches!(tunnel.status, Status::Deleting | Status::CreateError));
        let mut tunnels = Vec::new();
        for tunnel in wanted {
            let (Some(gateway), Some(customer_gateway)) =
                (gateway(tunnel.gateway), customer_gateway(tunnel.customer_gateway))
            else {
                return Err(StoreError::Damaged("a tunnel has lost an end"));
            };
            let document = document(tunnel, gateway, customer_gateway, &rows.psk(tunnel)?)?;
            tunnels.push(DesiredTunnel {
                id: tunnel.id.clone(),
                document,
            });
        }
        Ok(Self {
            revision: rows.revision()?,
            ends: ends(&gateways, &customer_gateways)?,
            tunnels,
        })
    }

    /// The whole as one document, as `gateway export` writes it.
    pub fn to_document(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(self.ends.clone());
        for tunnel in &self.tunnels {
            text.push('\n');
            text.push_str(&tunnel.document);
        }
        text
    }
}

fn ends(gateways: &[VpnGateway], customer_gateways: &[CustomerGateway]) -> Result<String, StoreError> {
    let gateway = gateways.iter().map(|gateway| GatewaySection {
        id: &gateway.id,
        name: &gateway.name,
        vpc: &gateway.vpc,
        address: gateway.address,
        bandwidth_mbps: gateway.bandwidth,
    });
    let customer_gateway = customer_gateways.iter().map(|gateway| CustomerGatewaySection {
        id: &gateway.id,
        name: &gateway.name,
        address: gateway.address,
    });
    to_toml(&Ends {
        gateway: gateway.collect(),
        customer_gateway: customer_gateway.collect(),
    })
}

fn document(
    tunnel: &Tunnel,
    gateway: &VpnGateway,
    customer_gateway: &CustomerGateway,
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
