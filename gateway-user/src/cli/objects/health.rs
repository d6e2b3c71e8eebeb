//! What follows a dead peer, and the health check of a tunnel: arguments and the fields that they set.

use std::net::Ipv4Addr;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

/// Settings of liveness.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct HealthSettings {
    /// Seconds between probes of an idle peer, 0: none
    #[arg(long, value_name = "SECONDS")]
    dpd: Option<u32>,
    /// When the peer is dead, clear: nothing more; restart: bring the tunnel up again; hold: the next packet does
    #[arg(long, value_enum)]
    dpd_action: Option<DpdAction>,
    /// Send ICMP echoes through the tunnel and tell of its health
    #[arg(long, value_enum)]
    health_check: Option<Switch>,
    /// Where echoes come from, and who answers: 169.254.200.2,169.254.200.3
    #[arg(long, value_name = "LOCAL,REMOTE", value_parser = addresses)]
    health_check_addresses: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Milliseconds from echo to echo, 1000 to 5000
    #[arg(long, value_name = "MILLISECONDS")]
    health_check_interval: Option<u32>,
    /// As many lost in a row make the tunnel unhealthy, 3 to 8
    #[arg(long, value_name = "NUMBER")]
    health_check_threshold: Option<u32>,
    /// Milliseconds after which an answer counts as lost, 10 to 5000
    #[arg(long, value_name = "MILLISECONDS")]
    health_check_timeout: Option<u32>,
}

/// What follows a dead peer, in the words of the configuration file.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum DpdAction {
    Clear,
    Restart,
    Hold,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl HealthSettings {
    /// Writes the fields that the arguments set into the body of a request.
    pub(super) fn write(&self, body: &mut Map<String, Value>) {
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        if let Some(seconds) = self.dpd {
            put("DpdEnable", u8::from(seconds > 0).into());
            if seconds > 0 {
                put("DpdTimeout", seconds.to_string().into());
            }
        }
        if let Some(action) = self.dpd_action {
            let action = match action {
                DpdAction::Clear => "clear",
                DpdAction::Restart => "restart",
                DpdAction::Hold => "hold",
            };
            put("DpdAction", action.into());
        }
        if let Some(switch) = self.health_check {
            put("EnableHealthCheck", matches!(switch, Switch::On).into());
        }
        if let Some((local, remote)) = self.health_check_addresses {
            put("HealthCheckLocalIp", local.to_string().into());
            put("HealthCheckRemoteIp", remote.to_string().into());
        }
        let config: Map<_, _> = [
            ("ProbeInterval", self.health_check_interval),
            ("ProbeThreshold", self.health_check_threshold),
            ("ProbeTimeout", self.health_check_timeout),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
        if !config.is_empty() {
            put("HealthCheckConfig", config.into());
        }
    }
}

fn addresses(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let parse = |text: &str| text.parse().ok();
    text.split_once(',')
        .and_then(|(local, remote)| parse(local).zip(parse(remote)))
        .ok_or_else(|| "two addresses are LOCAL,REMOTE: 169.254.200.2,169.254.200.3".to_owned())
}
