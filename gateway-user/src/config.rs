//! The configuration file: TOML in, [`Config`] or every mistake out.
//!
//! [`load`] either returns a configuration in which nothing is left to check or refuses the file as a whole, with all mistakes
//! and the line of each. The format is described by `deploy/examples/gateway.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use zeroize::Zeroizing;

mod algorithms;
mod defense;
mod management;
mod mistake;
mod model;
mod negotiation;
mod probe;
mod psk;
mod read;
mod rules;
mod section;
mod stored;
#[cfg(test)]
mod tests;
mod values;
mod weakness;

pub use algorithms::{Encapsulation, Role, Start, XdpMode};
pub use defense::{DefenseConfig, MAX_BOUND_PACKAGES, MAX_RANGES};
pub use management::{ApiConfig, ManagementConfig};
pub use mistake::{Mistake, MistakeKind, Refused, Rule};
pub use model::{
    AgentConfig, Config, CustomerGatewayConfig, DataplaneConfig, GatewayConfig, IkeConfig, InterfaceConfig,
    IpsecConfig, ProbeConfig, SpdRule, TunnelConfig, VpcConfig,
};
pub use psk::PresharedKey;
pub(crate) use psk::{KeyFileError, read_key_file};
pub use stored::{Merged, ReadStore, with_stored};
pub use values::{Bandwidth, Id};
pub use weakness::{WeakReason, Weakness};

use mistake::Log;
use read::Directory;
use section::Section;

/// Where the agent listens for commands unless the file says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/ipsec-gateway/control.sock";
/// Where the XDP program is pinned unless the file says otherwise.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/ipsec-gateway";

/// Largest file that is read.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Why a file gives no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has mistakes.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Something that works and that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about: `tunnel vpnx-idc`.
    pub subject: String,
    /// What the operator should know.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.text)
    }
}

/// Reads and checks a file and the key files that it names.
pub fn load(file: &Path) -> Result<Config, LoadError> {
    let text = Zeroizing::new(read_text(file)?);
    Ok(parse(&text, file)?)
}

/// Where an agent with this configuration listens and pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The control socket.
    pub control_socket: PathBuf,
    /// The pin directory.
    pub pin_dir: PathBuf,
}

/// Reads only the paths, whatever else is wrong: the agent of a file with mistakes must still be reachable.
pub fn paths(file: &Path) -> Result<Paths, LoadError> {
    let text = Zeroizing::new(read_text(file)?);
    let (document, _) = DeTable::parse_recoverable(&text);
    let agent = document
        .get_ref()
        .get("agent")
        .and_then(|agent| agent.get_ref().as_table());
    let path = |key: &str, default: &str| {
        let text = agent
            .and_then(|agent| agent.get(key))
            .and_then(|value| value.get_ref().as_str());
        PathBuf::from(text.unwrap_or(default))
    };
    Ok(Paths {
        control_socket: path("control_socket", DEFAULT_SOCKET),
        pin_dir: path("pin_dir", DEFAULT_PIN_DIR),
    })
}

/// Checks the text of a file. `file` appears in messages, and relative paths of key files start at its directory.
pub fn parse(text: &str, file: &Path) -> Result<Config, Refused> {
    let log = Log::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    errors
        .iter()
        .for_each(|error| section::record_syntax_error(&log, error));
    // After a syntax error the rest of the document is a guess: its mistakes would be guesses too.
    let config = if errors.is_empty() {
        read_document(&log, Section::root(&log, &document), file)
    } else {
        None
    };
    match (config, log.finish()) {
        (Some(config), mistakes) if mistakes.is_empty() => Ok(config),
        (_, mistakes) => Err(Refused {
            file: file.to_owned(),
            mistakes,
        }),
    }
}

/// Reads a file of at most [`MAX_FILE`] octets.
pub(crate) fn read_text(file: &Path) -> Result<String, LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        file: file.to_owned(),
        source,
    };
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let len = opened.metadata().map_err(unreadable)?.len().min(MAX_FILE);
    // Exactly as long as needed: a buffer that grows would leave copies of keys behind.
    let mut text = String::with_capacity(usize::try_from(len).unwrap_or_default() + 1);
    let read = opened
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if u64::try_from(read).is_ok_and(|read| read > MAX_FILE) {
        return Err(unreadable(std::io::Error::other(
            "the file is larger than 16 MiB",
        )));
    }
    Ok(text)
}

fn read_document(log: &Log, mut root: Section<'_>, file: &Path) -> Option<Config> {
    let agent = read::agent(root.table("agent"));
    let dataplane = read::dataplane(root.table("dataplane"));
    let quotas = read::quotas(root.table("quotas"));
    let management = management::read(
        log,
        &mut root,
        &quotas,
        file.parent().unwrap_or_else(|| Path::new(".")),
    );

    root.require("interface");
    let interfaces: Vec<_> = root
        .tables("interface")
        .into_iter()
        .filter_map(read::interface)
        .collect();
    rules::check_interfaces(log, &interfaces);

    let mut vpcs = Directory::new("VPC");
    let vpc_drafts: Vec<_> = root.tables("vpc").into_iter().map(read::vpc).collect();
    let vpc_configs: Vec<_> = vpc_drafts.iter().map(read::VpcDraft::build).collect();
    vpc_drafts
        .iter()
        .zip(&vpc_configs)
        .for_each(|(draft, config)| vpcs.insert(log, draft.id.as_ref(), config.clone()));
    rules::check_vpcs(log, &vpc_drafts, &interfaces);

    let mut gateways = Directory::new("gateway");
    let gateway_drafts: Vec<_> = root
        .tables("gateway")
        .into_iter()
        .map(|section| read::gateway(log, section, &vpcs))
        .collect();
    let gateway_configs: Vec<_> = gateway_drafts.iter().map(read::GatewayDraft::build).collect();
    for (draft, config) in gateway_drafts.iter().zip(&gateway_configs) {
        gateways.insert(log, draft.id.as_ref(), config.clone());
    }
    rules::check_gateways(log, &gateway_drafts, &quotas);

    let mut customer_gateways = Directory::new("customer gateway");
    let peer_drafts: Vec<_> = root
        .tables("customer_gateway")
        .into_iter()
        .map(read::customer_gateway)
        .collect();
    peer_drafts
        .iter()
        .for_each(|draft| customer_gateways.insert(log, draft.id.as_ref(), draft.config.clone()));
    rules::check_customer_gateways(log, &peer_drafts, &quotas);

    let directory = file.parent().unwrap_or_else(|| Path::new("."));
    let tunnel_drafts: Vec<_> = root
        .tables("tunnel")
        .into_iter()
        .map(|section| read::tunnel(log, section, &gateways, &customer_gateways, directory))
        .collect();
    rules::check_tunnels(log, &tunnel_drafts, &gateway_drafts, &quotas);
    let defenses = defense::read(log, root.tables("defense"), &gateways);
    root.finish();

    Some(Config {
        leases: BTreeMap::new(),
        defenses,
        agent,
        dataplane,
        management,
        interfaces: interfaces.into_iter().map(|(_, config)| config).collect(),
        vpcs: vpc_configs.into_iter().collect::<Option<_>>()?,
        gateways: gateway_configs.into_iter().collect::<Option<_>>()?,
        customer_gateways: peer_drafts
            .into_iter()
            .map(|draft| draft.config)
            .collect::<Option<_>>()?,
        tunnels: tunnel_drafts
            .into_iter()
            .map(read::TunnelDraft::build)
            .collect::<Option<_>>()?,
    })
}

/// What works and should still be looked at: weak algorithms, lifetimes below the product's limits.
pub fn warnings(config: &Config) -> Vec<Warning> {
    let of_tunnel = |tunnel: &TunnelConfig| {
        let subject = format!("tunnel {}", tunnel.id);
        tunnel.warnings().into_iter().map(move |text| Warning {
            subject: subject.clone(),
            text,
        })
    };
    config
        .tunnels
        .iter()
        .flat_map(|tunnel| of_tunnel(tunnel))
        .collect()
}
