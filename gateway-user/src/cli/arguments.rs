//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::exit::EXIT_CODES;
use super::objects::{CustomerGateways, DefensePackages, Gateways, Last, Routes, Tunnels};
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
    /// Show the last hundreds of events of a tunnel, oldest first, with those from before the agent started if there is a store
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
    /// Show tunnels and their throughput live, like top(1)
    #[command(after_help = TOP_HELP)]
    Top(Top),
    /// Print changes of tunnels as they come: states, new IKE SAs, failures, problems
    #[command(
        after_help = "Examples:\n  gateway watch\n  gateway watch vpnx-idc\n  gateway watch --json | jq -c 'select(.kind == \"state\")'\n\n\
        The agent is asked at every interval; a tunnel that goes down and up again between two questions shows as a new IKE SA."
    )]
    Watch(Watch),
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
    /// List, show, make, change and delete VPN gateways of the store
    #[command(
        after_help = "Examples:\n  gateway gateways list\n  gateway gateways create --name edge --vpc vpc-prod --bandwidth 100\n  \
        gateway gateways modify vpngw-dystbrkv --bandwidth 200\n  gateway gateways delete vpngw-dystbrkv"
    )]
    Gateways {
        #[command(subcommand)]
        command: Gateways,
    },
    /// List, show, make, change and delete customer gateways of the store
    #[command(after_help = "Examples:\n  gateway customer-gateways list --json\n  \
        gateway customer-gateways create --name idc --address 202.108.22.5\n  gateway customer-gateways delete cgw-e098slul")]
    CustomerGateways {
        #[command(subcommand)]
        command: CustomerGateways,
    },
    /// List, show, make, change, move and delete high defense packages of the store
    #[command(
        after_help = "Examples:\n  gateway defense-packages create --name shield --gateway vpngw-dystbrkv --attack-rate 5000\n  \
        gateway defense-packages modify dfp-ol6bcqp0 --block 192.0.2.0/24\n  \
        gateway defense-packages bind dfp-ol6bcqp0 vpngw-e098slul\n  gateway defense-packages unbind dfp-ol6bcqp0"
    )]
    DefensePackages {
        #[command(subcommand)]
        command: DefensePackages,
    },
    /// List, show, make, change, reset and delete tunnels of the store
    #[command(
        after_help = "Examples:\n  gateway tunnels list --filter vpn-gateway-id=vpngw-dystbrkv\n  \
        gateway tunnels create --name idc --gateway vpngw-dystbrkv --customer-gateway cgw-e098slul \\\n    \
        --psk-file key.txt --spd 10.0.0.0/24=192.168.0.0/24,192.168.1.0/24 --ike-version ikev2\n  \
        gateway tunnels modify vpnx-ol6bcqp0 --pfs dh-group14 --dry-run\n  \
        gateway tunnels show vpnx-ol6bcqp0 --json\n\n\
        Tunnels of the configuration file are not in the store: `gateway status` shows all that run."
    )]
    Tunnels {
        #[command(subcommand)]
        command: Tunnels,
    },
    /// List, make, enable, disable and delete routes of the store: which destinations take a tunnel
    #[command(after_help = "Examples:\n  gateway routes list\n  \
        gateway routes create --gateway vpngw-dystbrkv --tunnel vpnx-ol6bcqp0 --destination 192.168.0.0/24\n  \
        gateway routes disable vpnr-m3x0q7aa --gateway vpngw-dystbrkv\n\n\
        A tunnel without routes follows its rules.")]
    Routes {
        #[command(subcommand)]
        command: Routes,
    },
    /// Show the last changes of the store: who, when, what
    #[command(after_help = "Example:\n  gateway audit --limit 100")]
    Audit(Last),
    /// Show the last alarms: when, which policy, which object, what held
    #[command(after_help = "Example:\n  gateway alarms --limit 100")]
    Alarms(Last),
    /// Take the gateways, customer gateways and tunnels of a file into the store: all of them or none
    #[command(
        after_help = "Examples:\n  gateway import objects.toml --config /etc/ipsec-gateway/gateway.toml --dry-run\n  \
        gateway import objects.toml --config /etc/ipsec-gateway/gateway.toml\n\n\
        An object is the one of the store that has its id; what the file does not name stays. A running agent is told."
    )]
    Import {
        /// File with gateways, customer gateways and tunnels in the words of the configuration
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Configuration file that names the store
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// Check everything and tell what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
        /// Machine-readable
        #[arg(long)]
        json: bool,
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
    /// Print the completion script for a shell
    #[command(
        after_help = "Examples:\n  gateway completion bash > /usr/share/bash-completion/completions/gateway\n  \
        gateway completion zsh > /usr/share/zsh/vendor-completions/_gateway\n  \
        gateway completion fish > /usr/share/fish/vendor_completions.d/gateway.fish"
    )]
    Completion {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Write the man pages, one for each command
    #[command(after_help = "Example:\n  gateway man /usr/local/share/man/man1")]
    Man {
        /// Where to; made if it is not there
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

pub(super) const TOP_HELP: &str = "\
Keys:
  q, Esc, Ctrl-C      quit
  Up/Down, j/k        select a tunnel; PgUp/PgDn and Home/End go further
  /                   filter by id, name, peer or state; Enter keeps the filter, Esc undoes the change
  s, S                sort by the next, the previous column
  r                   reverse the order
  a                   show all tunnels, or only those that are not up
  p, Space            pause
  ?                   help

Examples:
  gateway top
  gateway top --sort out --interval 5
  gateway top --once --filter negotiating";

/// What the live view shows first.
#[derive(Debug, Args)]
pub(super) struct Top {
    /// Seconds between two looks at the agent
    #[arg(long, short, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub(super) interval: u16,
    /// Sort by this column
    #[arg(long, short, value_enum, default_value_t)]
    pub(super) sort: super::top::Sort,
    /// Only tunnels whose id, name, peer or state contains this
    #[arg(long, short, value_name = "TEXT", default_value = "")]
    pub(super) filter: String,
    /// Print the view of one interval as text, all tunnels, and end
    #[arg(long)]
    pub(super) once: bool,
    #[command(flatten)]
    pub(super) agent: AgentSocket,
}

/// What to watch.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Only this tunnel
    pub(super) tunnel: Option<String>,
    /// Seconds between two looks at the agent
    #[arg(long, short, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub(super) interval: u16,
    /// One JSON object per line
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) agent: AgentSocket,
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
