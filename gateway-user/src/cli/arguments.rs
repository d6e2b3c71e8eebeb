//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::exit::EXIT_CODES;
use crate::config::{DEFAULT_PIN_DIR, DEFAULT_SOCKET};

/// IPsec VPN gateway with an XDP data plane.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, after_help = EXIT_CODES, arg_required_else_help = true, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Subcommands,
}

#[derive(Debug, Subcommand)]
pub(super) enum Subcommands {
    /// Run the agent in the foreground
    #[command(
        after_help = "Example:\n  gateway run --config /etc/ipsec-gateway/gateway.toml\n\n\
        SIGHUP reads the configuration again and touches only what changed. SIGTERM tells the peers and ends the agent;\n\
        the XDP program stays and drops protected traffic until the next start or `gateway detach`."
    )]
    Run {
        /// Configuration file
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration and print everything that is wrong with it
    #[command(
        after_help = "Examples:\n  gateway check deploy/examples/gateway.toml\n  gateway check --live /etc/ipsec-gateway/gateway.toml"
    )]
    Check {
        /// Configuration file
        #[arg(value_name = "FILE")]
        config: PathBuf,
        /// Also check that the interfaces and addresses exist on this machine
        #[arg(long)]
        live: bool,
    },
    /// Show tunnels, SAs, lifetimes, counters and the last failure
    #[command(
        after_help = "Examples:\n  gateway status\n  gateway status vpnx-idc\n  gateway status --json | jq '.tunnels[].state'"
    )]
    Status {
        /// Only this tunnel, with its timeline
        tunnel: Option<String>,
        /// Machine-readable
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Tell why a tunnel does not come up: what we have, what the peer sent, what to change
    #[command(
        after_help = "Examples:\n  gateway diagnose vpnx-idc\n  gateway diagnose        (all tunnels with failures, and peers without a tunnel)\n  \
        gateway diagnose vpnx-idc --json"
    )]
    Diagnose {
        /// Only this tunnel
        tunnel: Option<String>,
        /// Machine-readable
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Show the last hundreds of events of a tunnel, oldest first
    #[command(after_help = "Examples:\n  gateway events vpnx-idc\n  gateway events vpnx-idc --json")]
    Events {
        /// Id of the tunnel
        tunnel: String,
        /// Machine-readable
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Bring a tunnel up, also one that was taken down
    #[command(after_help = "Example:\n  gateway up vpnx-idc")]
    Up {
        /// Id of the tunnel
        tunnel: String,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// End a tunnel and keep it down: its traffic is dropped until `gateway up`
    #[command(after_help = "Example:\n  gateway down vpnx-idc")]
    Down {
        /// Id of the tunnel
        tunnel: String,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Read the configuration again; only what changed is touched
    #[command(after_help = "Example:\n  gateway reload")]
    Reload {
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Remove the XDP program that a stopped agent left in place: protected traffic is then routed in the clear
    #[command(
        after_help = "Examples:\n  gateway detach --config /etc/ipsec-gateway/gateway.toml\n  gateway detach --pin-dir /sys/fs/bpf/ipsec-gateway"
    )]
    Detach {
        /// Configuration file that names the pin directory
        #[arg(long, short, value_name = "FILE", conflicts_with = "pin_dir")]
        config: Option<PathBuf>,
        /// The pin directory
        #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIR)]
        pin_dir: PathBuf,
    },
    /// Make, list and delete keys of the management API
    #[command(
        after_help = "Examples:\n  gateway api-key create --config /etc/ipsec-gateway/gateway.toml --role admin --note terraform\n  gateway api-key list --config /etc/ipsec-gateway/gateway.toml"
    )]
    ApiKey {
        #[command(subcommand)]
        command: ApiKeyCommands,
    },
    /// Print the objects of the store in the format of the configuration file, pre-shared keys included
    #[command(
        after_help = "Example:\n  gateway export --config /etc/ipsec-gateway/gateway.toml > objects.toml"
    )]
    Export {
        /// Configuration file that names the store
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print the configuration file for a customer's device
    #[command(
        after_help = "Example:\n  gateway config-for vpnx-ol6bcqp0 --config /etc/ipsec-gateway/gateway.toml --vendor strongswan --platform swanctl"
    )]
    ConfigFor(ConfigFor),
}

/// What to do with keys of the API.
#[derive(Debug, Subcommand)]
pub(super) enum ApiKeyCommands {
    /// Make a key; its secret is printed once
    Create {
        /// Configuration file that names the store
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// read: look; operate: change objects; admin: also see pre-shared keys
        #[arg(long, value_parser = ["read", "operate", "admin"])]
        role: String,
        /// What the key is for
        #[arg(long, default_value = "")]
        note: String,
        /// Machine-readable
        #[arg(long)]
        json: bool,
    },
    /// List ids, roles and notes
    List {
        /// Configuration file that names the store
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
    /// Delete a key: requests signed with it are refused from then on
    Delete {
        /// Id of the key
        id: String,
        /// Configuration file that names the store
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
}

/// Which file for which device.
#[derive(Debug, Args)]
pub(super) struct ConfigFor {
    /// Id of the tunnel
    pub(super) tunnel: String,
    /// Configuration file that names the store
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Vendor of the device
    #[arg(long)]
    pub(super) vendor: String,
    /// Platform of the device
    #[arg(long)]
    pub(super) platform: String,
    /// The device's interface to the internet
    #[arg(long)]
    pub(super) interface: Option<String>,
}

/// Which agent to talk to.
#[derive(Debug, Args)]
pub(super) struct AgentSocket {
    /// Configuration file that names the control socket
    #[arg(long, short, value_name = "FILE", conflicts_with = "socket")]
    pub(super) config: Option<PathBuf>,
    /// The agent's control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(super) socket: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Arguments::command().get_subcommands() {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.contains("Example"), "{}", command.get_name());
        }
    }
}
