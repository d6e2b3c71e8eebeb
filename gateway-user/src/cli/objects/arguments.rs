//! Arguments of the commands on objects.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::Ipv4Net;

use super::health::HealthSettings;
use crate::cli::arguments::AgentSocket;

/// What to do with VPN gateways.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Gateways {
    /// List them
    List(Listing),
    /// Show one with all its fields
    Show(One),
    /// Make one; it gets a public address of the pool
    Create {
        /// 1 to 60 characters, unique
        #[arg(long)]
        name: String,
        /// Id of a VPC of the configuration file
        #[arg(long)]
        vpc: String,
        /// Mbit/s in each direction: 5, 10, 20, 50, 100, 200, 500, 1000 or 3000
        #[arg(long, value_name = "MBPS")]
        bandwidth: u32,
        /// Bought for this many months; otherwise it lasts until it is deleted
        #[arg(long)]
        months: Option<u32>,
        /// Machine-readable
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Change one, at once and without renegotiation
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Modify {
        /// Id of the gateway
        id: String,
        /// 1 to 60 characters, unique
        #[arg(long, group = "change")]
        name: Option<String>,
        /// Mbit/s in each direction
        #[arg(long, value_name = "MBPS", group = "change")]
        bandwidth: Option<u32>,
        /// Whether its period is prolonged at its end
        #[arg(long, value_enum, group = "change")]
        renewal: Option<Renewal>,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Prolong the period of one
    Renew {
        /// Id of the gateway
        id: String,
        /// By how many months
        #[arg(long)]
        months: u32,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Delete one that no tunnel uses
    Delete(One),
}

/// What happens at the end of the period.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Renewal {
    /// It is prolonged
    Auto,
    /// It ends
    Manual,
}

impl Renewal {
    /// `AutoRenewFlag` of the API.
    pub(super) const fn flag(self) -> u8 {
        match self {
            Self::Auto => 1,
            Self::Manual => 0,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Manual => "manual",
        }
    }
}

/// What to do with customer gateways.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CustomerGateways {
    /// List them
    List(Listing),
    /// Show one with all its fields
    Show(One),
    /// Make one
    Create {
        /// 1 to 60 characters, unique
        #[arg(long)]
        name: String,
        /// Public address of the customer's device
        #[arg(long)]
        address: String,
        /// Machine-readable
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Rename one
    Modify {
        /// Id of the customer gateway
        id: String,
        /// 1 to 60 characters, unique
        #[arg(long)]
        name: String,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Delete one that no tunnel uses
    Delete(One),
    /// List the devices that `gateway config-for` writes files for
    Vendors {
        /// Machine-readable
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        agent: AgentSocket,
    },
}

/// What to do with tunnels of the store.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Tunnels {
    /// List them
    List(Listing),
    /// Show one with all its fields
    Show {
        #[command(flatten)]
        one: One,
        /// Show the pre-shared key too
        #[arg(long)]
        show_psk: bool,
    },
    /// Make one
    Create {
        /// 1 to 60 characters, unique
        #[arg(long)]
        name: String,
        /// Id of the VPN gateway
        #[arg(long)]
        gateway: String,
        /// Id of the customer gateway
        #[arg(long)]
        customer_gateway: String,
        #[command(flatten)]
        settings: Box<TunnelSettings>,
        /// Machine-readable
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Change one; what is not given stays
    Modify {
        /// Id of the tunnel
        id: String,
        /// 1 to 60 characters, unique
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        settings: Box<TunnelSettings>,
        /// Change nothing, tell what the change would disturb
        #[arg(long)]
        dry_run: bool,
        /// Machine-readable
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// End its SAs and negotiate new ones
    Reset(One),
    /// Delete one; the peer is told
    Delete(One),
}

/// Settings of a tunnel.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct TunnelSettings {
    /// File with the pre-shared key, `-` for standard input. The key is no argument: others see arguments
    #[arg(long, value_name = "FILE")]
    pub(super) psk_file: Option<PathBuf>,
    /// A rule: a range of the VPC and the peer's ranges, 10.0.0.0/24=192.168.0.0/24,192.168.1.0/24. May be repeated; all rules
    /// of the tunnel are given
    #[arg(long, value_name = "LOCAL=PEER,...", value_parser = rule)]
    pub(super) spd: Vec<Rule>,
    /// always: bring it up and keep it up; traffic: when the first packet comes; answer: when the peer asks
    #[arg(long, value_enum)]
    pub(super) start: Option<Start>,
    #[command(flatten)]
    pub(super) health: HealthSettings,
    /// ikev1 or ikev2
    #[arg(long, value_name = "VERSION")]
    pub(super) ike_version: Option<String>,
    /// Exchange of IKEv1: main or aggressive
    #[arg(long, value_name = "MODE")]
    pub(super) ike_mode: Option<String>,
    /// Cipher of the IKE SA: aes-128, 3des, ...
    #[arg(long, value_name = "CIPHER")]
    pub(super) ike_encryption: Option<String>,
    /// Hash of the IKE SA: sha1, sha2-256, ...
    #[arg(long, value_name = "HASH")]
    pub(super) ike_authentication: Option<String>,
    /// group14, group19, ...
    #[arg(long, value_name = "GROUP")]
    pub(super) dh_group: Option<String>,
    /// Seconds
    #[arg(long, value_name = "SECONDS")]
    pub(super) ike_lifetime: Option<u32>,
    /// The gateway's identity: a name; its public address otherwise
    #[arg(long, value_name = "FQDN")]
    pub(super) local_fqdn: Option<String>,
    /// The peer's identity: a name; its public address otherwise
    #[arg(long, value_name = "FQDN")]
    pub(super) peer_fqdn: Option<String>,
    /// Cipher of ESP: aes-128, aes-256-gcm, ...
    #[arg(long, value_name = "CIPHER")]
    pub(super) esp_encryption: Option<String>,
    /// Hash of ESP: sha1, sha2-256, ...
    #[arg(long, value_name = "HASH")]
    pub(super) esp_authentication: Option<String>,
    /// off, dh-group14, ...
    #[arg(long, value_name = "GROUP")]
    pub(super) pfs: Option<String>,
    /// Seconds
    #[arg(long, value_name = "SECONDS")]
    pub(super) esp_lifetime: Option<u32>,
    /// Kilobytes
    #[arg(long, value_name = "KILOBYTES")]
    pub(super) esp_lifetime_kilobytes: Option<u64>,
}

/// One rule of an SPD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Rule {
    pub(super) local: Ipv4Net,
    pub(super) peers: Vec<Ipv4Net>,
}

fn rule(text: &str) -> Result<Rule, String> {
    let (local, peers) = text
        .split_once('=')
        .ok_or_else(|| "a rule is LOCAL=PEER,...: 10.0.0.0/24=192.168.0.0/24".to_owned())?;
    let range = |text: &str| {
        text.trim()
            .parse::<Ipv4Net>()
            .map_err(|_not_a_range| format!("{text:?} is no range like 192.168.0.0/24"))
    };
    Ok(Rule {
        local: range(local)?,
        peers: peers.split(',').map(range).collect::<Result<_, _>>()?,
    })
}

/// When a tunnel is brought up, in the words of the configuration file.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Start {
    /// At once, and kept up
    Always,
    /// By the first packet
    Traffic,
    /// By the peer
    Answer,
}

impl Start {
    /// `NegotiationType` of the API.
    pub(super) const fn wire(self) -> &'static str {
        match self {
            Self::Always => "active",
            Self::Traffic => "flowTrigger",
            Self::Answer => "passive",
        }
    }
}

/// Which objects to list.
#[derive(Debug, Args)]
pub(in crate::cli) struct Listing {
    /// Only those with this value: vpc-id, vpn-gateway-id, customer-gateway-id, vpn-connection-name, ...
    #[arg(long = "filter", value_name = "NAME=VALUE", value_parser = filter)]
    pub(super) filters: Vec<(String, String)>,
    /// Machine-readable
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) agent: AgentSocket,
}

fn filter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| "a filter is NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Which object.
#[derive(Debug, Args)]
pub(in crate::cli) struct One {
    /// Its id
    pub(super) id: String,
    /// Machine-readable
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) agent: AgentSocket,
}

/// How much of a list that the agent keeps.
#[derive(Debug, Args)]
pub(in crate::cli) struct Last {
    /// How many lines, the newest first
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) limit: u32,
    /// Machine-readable
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) agent: AgentSocket,
}

impl Gateways {
    pub(super) const fn agent(&self) -> &AgentSocket {
        match self {
            Self::List(Listing { agent, .. })
            | Self::Show(One { agent, .. })
            | Self::Delete(One { agent, .. })
            | Self::Create { agent, .. }
            | Self::Modify { agent, .. }
            | Self::Renew { agent, .. } => agent,
        }
    }
}

impl CustomerGateways {
    pub(super) const fn agent(&self) -> &AgentSocket {
        match self {
            Self::List(Listing { agent, .. })
            | Self::Show(One { agent, .. })
            | Self::Delete(One { agent, .. })
            | Self::Create { agent, .. }
            | Self::Modify { agent, .. }
            | Self::Vendors { agent, .. } => agent,
        }
    }
}

impl Tunnels {
    pub(super) const fn agent(&self) -> &AgentSocket {
        match self {
            Self::List(Listing { agent, .. })
            | Self::Show {
                one: One { agent, .. },
                ..
            }
            | Self::Delete(One { agent, .. })
            | Self::Reset(One { agent, .. })
            | Self::Create { agent, .. }
            | Self::Modify { agent, .. } => agent,
        }
    }
}
