//! The gateway's configuration file as data, so that a test can say what it changes and nothing else.
//!
//! Field names are those of `deploy/examples/gateway.toml`. What is `None` is left out, so the agent's default counts.

use std::path::PathBuf;

use serde::Serialize;

use crate::lab::{INSIDE, PUBLIC};
use crate::matrix::Exchange;
use crate::{Lab, Side, agent};

/// The pre-shared key of every tunnel that does not set another one.
pub const PSK: &str = "correct horse battery staple";
/// The id of the tunnel that [`Config::new`] makes.
pub const TUNNEL: &str = "net";
/// The id of the VPN gateway that [`Config::new`] makes.
pub const GATEWAY: &str = "vpngw-1";
/// Where `/metrics` and `/healthz` are served, in the namespace of the gateway.
pub const METRICS: ([u8; 4], u16) = ([127, 0, 0, 1], 9273);

/// Where a managed gateway serves its API, in its namespace.
pub const API: &str = "127.0.0.1:8443";
/// The VPC that every configuration has.
pub const VPC: &str = "vpc-main";

/// A whole configuration file.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// `[agent]`
    pub agent: AgentSection,
    /// `[dataplane]`
    pub dataplane: Dataplane,
    /// `[quotas]`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
    /// `[store]`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreSection>,
    /// `[api]`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiSection>,
    /// `[[interface]]`
    pub interface: Vec<Interface>,
    /// `[[vpc]]`
    pub vpc: Vec<Vpc>,
    /// `[[gateway]]`
    pub gateway: Vec<Gateway>,
    /// `[[customer_gateway]]`
    pub customer_gateway: Vec<CustomerGateway>,
    /// `[[tunnel]]`
    pub tunnel: Vec<Tunnel>,
}

/// `[agent]`
#[derive(Clone, Debug, Serialize)]
pub struct AgentSection {
    /// Address of `/metrics`; empty switches it off.
    pub metrics_listen: String,
    /// Unix socket of the operator's commands.
    pub control_socket: PathBuf,
    /// Directory on a bpffs.
    pub pin_dir: PathBuf,
    /// Filter of the log.
    pub log: String,
}

/// `[store]`
#[derive(Clone, Debug, Serialize)]
pub struct StoreSection {
    /// The database.
    pub path: PathBuf,
}

/// `[api]`
#[derive(Clone, Debug, Serialize)]
pub struct ApiSection {
    /// Where the API is served.
    pub listen: String,
    /// Addresses for gateways.
    pub public_addresses: Vec<String>,
}

/// `[dataplane]`
#[derive(Clone, Debug, Default, Serialize)]
pub struct Dataplane {
    /// `auto`, `native` or `generic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xdp_mode: Option<String>,
    /// Frames per worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umem_frames: Option<u32>,
    /// Drop what no rule covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_deny: Option<bool>,
    /// IKE packets per second and source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ike_rate_per_source: Option<u32>,
}

/// `[quotas]`
#[derive(Clone, Debug, Default, Serialize)]
pub struct Quotas {
    /// Customer gateways in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_gateways: Option<u32>,
    /// Tunnels of a VPN gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnels_per_gateway: Option<u32>,
    /// SPD rules of a tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules_per_tunnel: Option<u32>,
}

/// `[[interface]]`
#[derive(Clone, Debug, Serialize)]
pub struct Interface {
    /// Name of the device.
    pub name: String,
    /// `public` or `vpc`.
    pub role: String,
}

/// `[[vpc]]`
#[derive(Clone, Debug, Serialize)]
pub struct Vpc {
    /// Its id.
    pub id: String,
    /// Its range.
    pub cidr: String,
    /// The interface it lies behind.
    pub interface: String,
}

/// `[[gateway]]`
#[derive(Clone, Debug, Serialize)]
pub struct Gateway {
    /// Its id.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Its public address.
    pub address: String,
    /// The bandwidth setting.
    pub bandwidth_mbps: Bandwidth,
}

/// `bandwidth_mbps`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bandwidth {
    /// Mbit/s in each direction.
    Mbps(u32),
    /// No limit.
    Unlimited,
}

impl Serialize for Bandwidth {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Mbps(mbps) => serializer.serialize_u32(*mbps),
            Self::Unlimited => serializer.serialize_str("unlimited"),
        }
    }
}

/// `[[customer_gateway]]`
#[derive(Clone, Debug, Serialize)]
pub struct CustomerGateway {
    /// Its id.
    pub id: String,
    /// Its public address.
    pub address: String,
}

/// `[[tunnel]]`
#[derive(Clone, Debug, Serialize)]
pub struct Tunnel {
    /// Its id.
    pub id: String,
    /// Our end.
    pub gateway: String,
    /// The customer's end.
    pub customer_gateway: String,
    /// `traffic`, `always` or `answer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// The pre-shared key.
    pub psk: String,
    /// Destinations that take the tunnel; all peer ranges otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<String>>,
    /// `[[tunnel.spd]]`
    pub spd: Vec<SpdRule>,
    /// `[tunnel.ike]`
    pub ike: Ike,
    /// `[tunnel.ipsec]`
    pub ipsec: Ipsec,
    /// `[tunnel.probe]`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// `[tunnel.probe]`
#[derive(Clone, Debug, Default, Serialize)]
pub struct Probe {
    /// Where probes come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// Who answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Milliseconds from probe to probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u32>,
    /// Lost in a row until the tunnel is unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
    /// Milliseconds for an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
}

/// `[[tunnel.spd]]`
#[derive(Clone, Debug, Serialize)]
pub struct SpdRule {
    /// One range of the VPC.
    pub local: String,
    /// Ranges of the customer.
    pub peer: Vec<String>,
}

/// `[tunnel.ike]`
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ike {
    /// `ikev1`, `ikev2` or `any`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `main` or `aggressive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Cipher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// Hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<String>,
    /// Diffie-Hellman group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dh_group: Option<u16>,
    /// Lifetime of the IKE SA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<u32>,
    /// IKEv1: octets of IKE messages per IKE SA, in units of 1,024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_kilobytes: Option<u32>,
    /// IKEv2: time between authentications.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reauthentication_seconds: Option<u32>,
    /// Our identity; without it our address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_id: Option<String>,
    /// The peer's identity; without it its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<String>,
    /// Idle time before the peer is probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpd_seconds: Option<u32>,
    /// `clear`, `restart` or `hold`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpd_action: Option<String>,
    /// Whether IKE messages may travel in fragments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragmentation: Option<bool>,
}

/// `[tunnel.ipsec]`
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ipsec {
    /// Cipher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// Hash; absent with GCM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<String>,
    /// `off` or `allow`: extended sequence numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub esn: Option<String>,
    /// Group of perfect forward secrecy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pfs: Option<Pfs>,
    /// Lifetime of the IPsec SAs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<u32>,
    /// Lifetime of the IPsec SAs by volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_kilobytes: Option<u64>,
    /// `auto` or `udp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encapsulation: Option<String>,
}

/// `pfs`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pfs {
    /// No exchange of its own.
    Off,
    /// A Diffie-Hellman group.
    Group(u16),
}

impl Serialize for Pfs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::Group(group) => serializer.serialize_u16(*group),
        }
    }
}

impl Config {
    /// The gateway of `side` with one tunnel to the other side that its first packet brings up, all else at its default.
    pub fn new(lab: &Lab, side: Side) -> Self {
        let interface = |name: &str, role: &str| Interface {
            name: name.to_owned(),
            role: role.to_owned(),
        };
        Self {
            agent: AgentSection {
                metrics_listen: format!("{}:{}", std::net::Ipv4Addr::from(METRICS.0), METRICS.1),
                control_socket: agent::control_socket(lab, side),
                pin_dir: lab.pin_directory(side),
                log: std::env::var("GATEWAY_LOG")
                    .unwrap_or_else(|_| "debug,aya=info,aya_obj=info".to_owned()),
            },
            dataplane: Dataplane::default(),
            quotas: None,
            store: None,
            api: None,
            interface: vec![interface(PUBLIC, "public"), interface(INSIDE, "vpc")],
            vpc: vec![Vpc {
                id: VPC.to_owned(),
                cidr: side.network(),
                interface: INSIDE.to_owned(),
            }],
            gateway: vec![Gateway {
                id: GATEWAY.to_owned(),
                vpc: VPC.to_owned(),
                address: side.outside().to_string(),
                bandwidth_mbps: Bandwidth::Unlimited,
            }],
            customer_gateway: vec![CustomerGateway {
                id: "cgw-1".to_owned(),
                address: side.other().outside().to_string(),
            }],
            tunnel: vec![Tunnel {
                id: TUNNEL.to_owned(),
                gateway: GATEWAY.to_owned(),
                customer_gateway: "cgw-1".to_owned(),
                start: None,
                psk: PSK.to_owned(),
                routes: None,
                spd: vec![SpdRule {
                    local: side.network(),
                    peer: vec![side.other().network()],
                }],
                ike: Ike::default(),
                ipsec: Ipsec::default(),
                probe: None,
            }],
        }
    }

    /// The gateway of `side` with `count` tunnels, `t-0` and so on, to as many peers that nobody answers for.
    pub fn with_tunnels(lab: &Lab, side: Side, count: u16) -> Self {
        let mut config = Self::new(lab, side);
        let (peers, tunnels) = (
            std::mem::take(&mut config.customer_gateway),
            std::mem::take(&mut config.tunnel),
        );
        for number in 0..count {
            let [high, low] = number.to_be_bytes();
            let id = format!("cgw-{number}");
            config
                .customer_gateway
                .extend(peers.iter().map(|_| CustomerGateway {
                    id: id.clone(),
                    address: format!("198.51.{}.{}", 1 + number / 200, 1 + number % 200),
                }));
            config.tunnel.extend(tunnels.iter().cloned().map(|mut tunnel| {
                tunnel.id = format!("t-{number}");
                tunnel.customer_gateway.clone_from(&id);
                tunnel.spd = vec![SpdRule {
                    local: side.network(),
                    peer: vec![format!("172.{}.{low}.0/24", 16 + high)],
                }];
                tunnel
            }));
        }
        config.agent.log = "info".to_owned();
        config.quotas(u32::from(count))
    }

    /// Allows so many customer gateways, and tunnels of a gateway.
    #[must_use]
    pub fn quotas(mut self, count: u32) -> Self {
        self.quotas = Some(Quotas {
            customer_gateways: Some(count),
            tunnels_per_gateway: Some(count),
            ..Quotas::default()
        });
        self
    }

    /// The gateway of `side` without any object: they are made through the API on [`API`], in a store in the lab's directory.
    pub fn managed(lab: &Lab, side: Side) -> Self {
        let mut config = Self::new(lab, side);
        config.store = Some(StoreSection {
            path: lab.directory().join("store.db"),
        });
        config.api = Some(ApiSection {
            listen: API.to_owned(),
            public_addresses: vec![side.outside().to_string()],
        });
        (config.gateway, config.customer_gateway, config.tunnel) = Default::default();
        config
    }

    /// The bandwidth setting of the gateway.
    #[must_use]
    pub fn bandwidth(mut self, bandwidth: Bandwidth) -> Self {
        for gateway in &mut self.gateway {
            gateway.bandwidth_mbps = bandwidth;
        }
        self
    }

    /// Lets every tunnel begin like this.
    #[must_use]
    pub fn speaking(self, exchange: Exchange) -> Self {
        let (version, mode) = match exchange {
            Exchange::Main => (None, None),
            Exchange::Aggressive => (None, Some("aggressive")),
            Exchange::V2 => (Some("ikev2"), None),
        };
        self.tunnels(|tunnel| {
            tunnel.ike.version = version.map(ToOwned::to_owned);
            tunnel.ike.mode = mode.map(ToOwned::to_owned);
        })
    }

    /// Who brings every tunnel up: `traffic`, `always` or `answer`.
    #[must_use]
    pub fn start(self, start: &str) -> Self {
        self.tunnels(|tunnel| tunnel.start = Some(start.to_owned()))
    }

    /// Changes every tunnel.
    #[must_use]
    pub fn tunnels(mut self, change: impl Fn(&mut Tunnel)) -> Self {
        self.tunnel.iter_mut().for_each(change);
        self
    }

    /// The text of the file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("the model has only types that TOML can express")
    }
}
