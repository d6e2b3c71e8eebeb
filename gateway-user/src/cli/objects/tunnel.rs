//! From the arguments of a tunnel to the body of a request.

use std::io::Read as _;
use std::path::Path;

use gateway_management::psk::PresharedKey;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::arguments::{Rule, TunnelSettings};
use crate::cli::exit::Exit;
use crate::cli::import::key_file;
use crate::config;

/// Longest key on standard input, in octets.
const MAX_KEY: u64 = 4096;

/// The fields that the arguments set.
pub(super) fn body(settings: &TunnelSettings) -> Result<Map<String, Value>, Exit> {
    let mut body = Map::new();
    if let Some(file) = &settings.psk_file {
        let psk = read_key(file).map_err(|error| {
            eprintln!("--psk-file {}: {error}", file.display());
            Exit::Usage
        })?;
        body.insert("PreShareKey".into(), psk.expose().into());
    }
    if !settings.spd.is_empty() {
        let rules: Vec<_> = settings.spd.iter().map(rule).collect();
        body.insert("SecurityPolicyDatabases".into(), rules.into());
    }
    if let Some(start) = settings.start {
        body.insert("NegotiationType".into(), start.wire().into());
    }
    settings.health.write(&mut body);
    let ike = given([
        ("IKEVersion", text(&settings.ike_version)),
        ("ExchangeMode", text(&settings.ike_mode)),
        ("PropoEncryAlgorithm", text(&settings.ike_encryption)),
        ("PropoAuthenAlgorithm", text(&settings.ike_authentication)),
        ("DhGroupName", text(&settings.dh_group)),
        ("IKESaLifetimeSeconds", settings.ike_lifetime.map(Value::from)),
        (
            "LocalIdentity",
            settings.local_fqdn.as_ref().map(|_| "FQDN".into()),
        ),
        ("LocalFqdnName", text(&settings.local_fqdn)),
        (
            "RemoteIdentity",
            settings.peer_fqdn.as_ref().map(|_| "FQDN".into()),
        ),
        ("RemoteFqdnName", text(&settings.peer_fqdn)),
    ]);
    let ipsec = given([
        ("EncryptAlgorithm", text(&settings.esp_encryption)),
        ("IntegrityAlgorith", text(&settings.esp_authentication)),
        ("PfsDhGroup", settings.pfs.as_deref().map(pfs)),
        ("IPSECSaLifetimeSeconds", settings.esp_lifetime.map(Value::from)),
        (
            "IPSECSaLifetimeTraffic",
            settings.esp_lifetime_kilobytes.map(Value::from),
        ),
    ]);
    for (name, fields) in [
        ("IKEOptionsSpecification", ike),
        ("IPSECOptionsSpecification", ipsec),
    ] {
        if !fields.is_empty() {
            body.insert(name.into(), fields.into());
        }
    }
    Ok(body)
}

fn given<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    let fields = fields.into_iter();
    fields
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

fn text(text: &Option<String>) -> Option<Value> {
    text.as_deref().map(Value::from)
}

/// The file says `off`, the API `NULL`.
fn pfs(group: &str) -> Value {
    if group.eq_ignore_ascii_case("off") {
        "NULL"
    } else {
        group
    }
    .into()
}

fn rule(rule: &Rule) -> Value {
    let peers: Vec<_> = rule.peers.iter().map(ToString::to_string).collect();
    json!({ "LocalCidrBlock": rule.local.to_string(), "RemoteCidrBlock": peers })
}

/// Reads a key from a file, or from standard input for `-`. One line break at the end does not belong to it.
fn read_key(file: &Path) -> Result<PresharedKey, config::Rule> {
    if file.as_os_str() != "-" {
        return key_file(file);
    }
    let mut key = Zeroizing::new(String::new());
    std::io::stdin()
        .lock()
        .take(MAX_KEY)
        .read_to_string(&mut key)
        .map_err(|error| format!("cannot be read: {error}"))?;
    let text = key.strip_suffix('\n').unwrap_or(&key);
    let text = text.strip_suffix('\r').unwrap_or(text);
    PresharedKey::parse(text).map_err(|error| error.to_string().into())
}
