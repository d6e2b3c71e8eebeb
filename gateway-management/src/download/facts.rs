//! What a template sees.

use std::net::Ipv4Addr;

use serde::Serialize;

use super::Vendor;
use super::mtu::{Room, room};
use crate::algorithms::{ExchangeMode, Identity, IkeVersion};
use crate::objects::TunnelView;
use crate::spd;
use crate::time::Timestamp;

/// What stands where the key belongs when the caller may not see it.
const NO_KEY: &str = "WRITE-THE-PRE-SHARED-KEY-HERE";

#[derive(Serialize)]
pub(super) struct Facts<'a> {
    id: &'a str,
    name: &'a str,
    vendor: &'a str,
    platform: &'a str,
    software: &'a str,
    date: String,
    fingerprint: String,
    has_key: bool,
    interface: Option<&'a str>,
    gateway: End<'a>,
    device: End<'a>,
    pairs: Vec<Pair>,
    psk: Key<'a>,
    ike: Ike,
    esp: Esp,
    dpd_seconds: u32,
    /// Weak choices, in the words of the configuration file.
    weak: Vec<String>,
    mtu: u16,
    mss: u16,
}

#[derive(Serialize)]
struct End<'a> {
    id: &'a str,
    name: &'a str,
    address: Ipv4Addr,
    /// The identity as text.
    identity: String,
    /// Whether the identity is a domain name.
    fqdn: bool,
}

/// A pair of ranges.
#[derive(Serialize)]
struct Pair {
    number: usize,
    gateway: Range,
    device: Range,
}

#[derive(Serialize)]
struct Range {
    cidr: String,
    network: Ipv4Addr,
    mask: Ipv4Addr,
    wildcard: Ipv4Addr,
}

#[derive(Serialize)]
struct Key<'a> {
    text: &'a str,
    /// The octets in hexadecimal.
    hex: String,
}

#[derive(Serialize)]
struct Ike {
    version: u8,
    aggressive: bool,
    encryption: &'static str,
    hash: &'static str,
    group: u16,
    lifetime: u32,
}

#[derive(Serialize)]
struct Esp {
    encryption: &'static str,
    /// Empty for ciphers that authenticate by themselves.
    integrity: &'static str,
    /// 0: off.
    pfs: u16,
    lifetime: u32,
    kilobytes: u32,
}

impl<'a> Facts<'a> {
    pub(super) fn new(
        view: &'a TunnelView,
        now: Timestamp,
        vendor: &'a Vendor,
        interface: Option<&'a str>,
    ) -> Self {
        let TunnelView {
            tunnel,
            gateway,
            customer_gateway,
            psk,
        } = view;
        let (ike, ipsec) = (&tunnel.ike, &tunnel.ipsec);
        let end = |id, name, address, identity: &Identity| End {
            id,
            name,
            address,
            identity: match identity {
                Identity::OwnAddress => address.to_string(),
                Identity::Address(other) => other.to_string(),
                Identity::Fqdn(name) => name.clone(),
            },
            fqdn: matches!(identity, Identity::Fqdn(_)),
        };
        let key = psk.as_ref().map_or(NO_KEY, |key| key.expose());
        let Room { mtu, mss } = room(1500, ipsec.encryption, ipsec.integrity, true);
        let pairs = (1..)
            .zip(spd::pairs(&tunnel.spd))
            .map(|(number, (local, peer))| Pair {
                number,
                gateway: range(local),
                device: range(peer),
            });
        Self {
            id: &tunnel.id,
            name: &tunnel.name,
            vendor: vendor.name,
            platform: vendor.platform,
            software: vendor.software,
            date: now.utc(),
            fingerprint: fingerprint(view),
            has_key: psk.is_some(),
            interface,
            gateway: end(&gateway.id, &gateway.name, gateway.address, &ike.local_identity),
            device: end(
                &customer_gateway.id,
                &customer_gateway.name,
                customer_gateway.address,
                &ike.remote_identity,
            ),
            pairs: pairs.collect(),
            psk: Key {
                text: key,
                hex: key.bytes().map(|octet| format!("{octet:02x}")).collect(),
            },
            ike: Ike {
                version: match ike.version {
                    IkeVersion::V1 => 1,
                    IkeVersion::V2 => 2,
                },
                aggressive: ike.version == IkeVersion::V1 && ike.mode == ExchangeMode::Aggressive,
                encryption: ike.encryption.name(),
                hash: ike.hash.name(),
                group: ike.group.number(),
                lifetime: ike.lifetime_seconds,
            },
            esp: Esp {
                encryption: ipsec.encryption.name(),
                integrity: if ipsec.encryption.is_aead() {
                    ""
                } else {
                    ipsec.integrity.name()
                },
                pfs: ipsec.pfs.map_or(0, crate::algorithms::DhGroup::number),
                lifetime: ipsec.lifetime_seconds,
                kilobytes: ipsec.lifetime_kilobytes,
            },
            dpd_seconds: tunnel.dpd_seconds,
            weak: [ike.weaknesses(), ipsec.weaknesses()].concat(),
            mtu,
            mss,
        }
    }
}

fn range(net: ipnet::Ipv4Net) -> Range {
    Range {
        cidr: net.to_string(),
        network: net.network(),
        mask: net.netmask(),
        wildcard: net.hostmask(),
    }
}

/// Says whether a file is that of the settings in force: 16 hexadecimal digits over all of them but the key.
fn fingerprint(view: &TunnelView) -> String {
    let TunnelView {
        tunnel,
        gateway,
        customer_gateway,
        ..
    } = view;
    let text = format!(
        "{} {} {:?} {:?} {:?} {}",
        gateway.address, customer_gateway.address, tunnel.spd, tunnel.ike, tunnel.ipsec, tunnel.dpd_seconds
    );
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest
        .as_ref()
        .iter()
        .take(8)
        .map(|octet| format!("{octet:02x}"))
        .collect()
}
