//! Health checks of tunnels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::refusal::Refusal;
use super::wire::{self, Number};
use crate::health::{HealthCheck, HealthPatch};
use crate::service::Health;

/// The fields of a request that set a health check.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) enable: Option<bool>,
    pub(super) local: Option<String>,
    pub(super) remote: Option<String>,
    pub(super) config: Option<HealthCheckConfig>,
}

/// How a tunnel is probed.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct HealthCheckConfig {
    /// `NQA`, ICMP echoes.
    probe_type: Option<String>,
    /// Milliseconds from echo to echo, 1000 to 5000.
    probe_interval: Option<Number>,
    /// As many lost in a row make the tunnel unhealthy, 3 to 8.
    probe_threshold: Option<Number>,
    /// Milliseconds after which an answer counts as lost, 10 to 5000.
    probe_timeout: Option<Number>,
}

/// The health check of a tunnel as an answer has it; empty without one.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shown {
    enable_health_check: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check_local_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check_remote_ip: Option<String>,
    /// `AVAILABLE`, or `UNAVAILABLE` until echoes are answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check_config: Option<ShownConfig>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct ShownConfig {
    probe_type: &'static str,
    probe_interval: u32,
    probe_threshold: u32,
    probe_timeout: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct GenerateVpnConnectionDefaultHealthCheckIp {
    vpn_gateway_id: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Addresses {
    health_check_local_ip: String,
    health_check_remote_ip: String,
}

pub(super) fn generate(
    context: &Context<'_>,
    request: GenerateVpnConnectionDefaultHealthCheckIp,
) -> Result<Addresses, Refusal> {
    let (local, remote) = context
        .management
        .free_health_addresses(&request.vpn_gateway_id)?;
    Ok(Addresses {
        health_check_local_ip: local.to_string(),
        health_check_remote_ip: remote.to_string(),
    })
}

impl Fields {
    pub(super) fn patch(self) -> Result<HealthPatch, Refusal> {
        let config = self.config.unwrap_or_default();
        if !matches!(config.probe_type.as_deref(), None | Some("" | "NQA")) {
            return Err(Refusal::field("HealthCheckConfig.ProbeType", "is NQA"));
        }
        let address = |name: &str, text: Option<String>| {
            let text = wire::given(text);
            let read = text.map(|text| {
                text.parse()
                    .map_err(|_none| Refusal::field(name, "is an IPv4 address"))
            });
            read.transpose()
        };
        let addresses = match (
            address("HealthCheckLocalIp", self.local)?,
            address("HealthCheckRemoteIp", self.remote)?,
        ) {
            (Some(local), Some(remote)) => Some((local, remote)),
            (None, None) => None,
            _ => {
                return Err(Refusal::field(
                    "HealthCheckLocalIp",
                    "and HealthCheckRemoteIp come together",
                ));
            }
        };
        let number = |number: Option<Number>| number.map(|number| number.0);
        Ok(HealthPatch {
            enabled: self.enable,
            addresses,
            interval_ms: number(config.probe_interval),
            threshold: number(config.probe_threshold),
            timeout_ms: number(config.probe_timeout),
        })
    }
}

impl Shown {
    pub(super) fn of(check: Option<&HealthCheck>, health: Option<Health>) -> Self {
        let Some(check) = check else {
            return Self::default();
        };
        Self {
            enable_health_check: true,
            health_check_local_ip: Some(check.local.to_string()),
            health_check_remote_ip: Some(check.remote.to_string()),
            health_check_status: Some(match health {
                Some(Health::Healthy) => "AVAILABLE",
                Some(Health::Unhealthy | Health::Unknown) | None => "UNAVAILABLE",
            }),
            health_check_config: Some(ShownConfig {
                probe_type: "NQA",
                probe_interval: check.interval_ms,
                probe_threshold: check.threshold,
                probe_timeout: check.timeout_ms,
            }),
        }
    }
}
