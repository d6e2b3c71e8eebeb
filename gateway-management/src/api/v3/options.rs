//! Settings of a tunnel on the wire of API 3.0. The same shape in requests, where every field may be absent, and in answers.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use super::wire::{Number, given};
use crate::algorithms::{
    self, DhGroup, EspEncryption, ExchangeMode, Hash, Identity, IkeEncryption, IkePatch, IkeVersion,
    IpsecPatch,
};
use crate::error::Error;
use crate::objects::TunnelView;
use crate::{spd as rules, values};

/// What the document promises where a field is absent.
pub(super) const IKE_DEFAULTS: algorithms::IkeOptions = algorithms::IkeOptions {
    version: IkeVersion::V1,
    mode: ExchangeMode::Main,
    encryption: IkeEncryption::TripleDes,
    hash: Hash::Sha1,
    group: DhGroup::Group1,
    lifetime_seconds: 86_400,
    local_identity: Identity::OwnAddress,
    remote_identity: Identity::OwnAddress,
};

/// What the document promises where a field is absent.
pub(super) const IPSEC_DEFAULTS: algorithms::IpsecOptions = algorithms::IpsecOptions {
    encryption: EspEncryption::Aes128,
    integrity: Hash::Sha1,
    pfs: None,
    lifetime_seconds: 14_400,
    lifetime_kilobytes: 4_096_000_000,
};

/// Settings of the IKE SA. Words are read in any case.
#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
#[schemars(rename = "IKEOptionsSpecification")]
pub(super) struct IkeOptions {
    /// `3DES-CBC`, `AES-CBC-128`, `AES-CBC-192`, `AES-CBC-256` or `DES-CBC`.
    propo_encry_algorithm: Option<String>,
    /// `MD5`, `SHA`, `SHA-256`, `SHA-384` or `SHA-512`.
    propo_authen_algorithm: Option<String>,
    /// `MAIN` or `AGGRESSIVE`.
    exchange_mode: Option<String>,
    /// `ADDRESS` or `FQDN`.
    local_identity: Option<String>,
    /// `ADDRESS` or `FQDN`.
    remote_identity: Option<String>,
    /// With `ADDRESS`: the gateway's public address unless given.
    local_address: Option<String>,
    /// With `ADDRESS`: the customer gateway's public address unless given.
    remote_address: Option<String>,
    /// With `FQDN`.
    local_fqdn_name: Option<String>,
    /// With `FQDN`.
    remote_fqdn_name: Option<String>,
    /// `GROUP1`, 2, 5, 14, 15, 16, 19, 20, 21 or 24.
    dh_group_name: Option<String>,
    /// 60 to 604800.
    #[serde(rename = "IKESaLifetimeSeconds")]
    lifetime_seconds: Option<Number>,
    /// `IKEV1` or `IKEV2`.
    #[serde(rename = "IKEVersion")]
    version: Option<String>,
}

/// Settings of the IPsec SAs. Words are read in any case.
#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
#[schemars(rename = "IPSECOptionsSpecification")]
pub(super) struct IpsecOptions {
    /// `3DES-CBC`, `AES-CBC-128`, 192, 256, `DES-CBC`, `AES128GCM128` or `AES256GCM128`.
    encrypt_algorithm: Option<String>,
    /// `MD5`, `SHA1`, `SHA-256`, `SHA-384` or `SHA-512`.
    integrity_algorith: Option<String>,
    /// 180 to 604800.
    #[serde(rename = "IPSECSaLifetimeSeconds")]
    lifetime_seconds: Option<Number>,
    /// `NULL`, or `DH-GROUP1`, 2, 5, 14, 15, 16, 19, 20, 21 or 24.
    pfs_dh_group: Option<String>,
    /// Kilobytes, at least 2560.
    #[serde(rename = "IPSECSaLifetimeTraffic")]
    lifetime_kilobytes: Option<Number>,
    /// `TUNNEL`, the only one.
    encap_mode: Option<String>,
    /// `ESP`, the only one.
    security_proto: Option<String>,
}

/// Traffic between the local range and each of the remote ranges is protected.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(rename = "SecurityPolicyDatabase")]
pub(super) struct SpdRule {
    /// Range of the VPC.
    local_cidr_block: String,
    /// Ranges behind the customer gateway.
    remote_cidr_block: Vec<String>,
}

impl IkeOptions {
    /// What a request changes.
    pub(super) fn patch(self) -> Result<IkePatch, Refusal> {
        Ok(IkePatch {
            version: choice(self.version, "IKEVersion", IkeVersion::from_wire)?,
            mode: choice(self.exchange_mode, "ExchangeMode", ExchangeMode::from_wire)?,
            encryption: choice(
                self.propo_encry_algorithm,
                "PropoEncryAlgorithm",
                IkeEncryption::from_wire,
            )?,
            hash: choice(
                self.propo_authen_algorithm,
                "PropoAuthenAlgorithm",
                Hash::from_wire,
            )?,
            group: choice(self.dh_group_name, "DhGroupName", DhGroup::from_wire)?,
            lifetime_seconds: self.lifetime_seconds.map(|number| number.0),
            local_identity: identity(
                "Local",
                self.local_identity,
                self.local_address,
                self.local_fqdn_name,
            )?,
            remote_identity: identity(
                "Remote",
                self.remote_identity,
                self.remote_address,
                self.remote_fqdn_name,
            )?,
        })
    }

    /// The settings of a tunnel.
    pub(super) fn of(view: &TunnelView) -> Self {
        let ike = &view.tunnel.ike;
        let kind = |identity: &Identity| match identity {
            Identity::OwnAddress | Identity::Address(_) => "ADDRESS".to_owned(),
            Identity::Fqdn(_) => "FQDN".to_owned(),
        };
        let address = |identity: &Identity, own: Ipv4Addr| match identity {
            Identity::OwnAddress => own.to_string(),
            Identity::Address(address) => address.to_string(),
            Identity::Fqdn(_) => String::new(),
        };
        let name = |identity: &Identity| match identity {
            Identity::OwnAddress | Identity::Address(_) => String::new(),
            Identity::Fqdn(name) => name.clone(),
        };
        Self {
            propo_encry_algorithm: Some(ike.encryption.wire().to_uppercase()),
            propo_authen_algorithm: Some(ike.hash.wire().to_uppercase()),
            exchange_mode: Some(ike.mode.wire().to_uppercase()),
            local_identity: Some(kind(&ike.local_identity)),
            remote_identity: Some(kind(&ike.remote_identity)),
            local_address: Some(address(&ike.local_identity, view.gateway.address)),
            remote_address: Some(address(&ike.remote_identity, view.customer_gateway.address)),
            local_fqdn_name: Some(name(&ike.local_identity)),
            remote_fqdn_name: Some(name(&ike.remote_identity)),
            dh_group_name: Some(ike.group.wire().to_uppercase()),
            lifetime_seconds: Some(Number(ike.lifetime_seconds)),
            version: Some(ike.version.wire().to_uppercase()),
        }
    }
}

impl IpsecOptions {
    /// What a request changes.
    pub(super) fn patch(self) -> Result<IpsecPatch, Refusal> {
        for (name, value, only) in [
            ("EncapMode", given(self.encap_mode), "tunnel"),
            ("SecurityProto", given(self.security_proto), "esp"),
        ] {
            if value.is_some_and(|value| !value.eq_ignore_ascii_case(only)) {
                return Err(Refusal::field(name, &format!("is {}", only.to_uppercase())));
            }
        }
        let pfs = match given(self.pfs_dh_group) {
            None => None,
            Some(text) if text.eq_ignore_ascii_case("null") => Some(None),
            Some(text) => Some(Some(DhGroup::from_wire("PfsDhGroup", &text)?)),
        };
        Ok(IpsecPatch {
            encryption: choice(
                self.encrypt_algorithm,
                "EncryptAlgorithm",
                EspEncryption::from_wire,
            )?,
            integrity: choice(self.integrity_algorith, "IntegrityAlgorith", Hash::from_wire)?,
            pfs,
            lifetime_seconds: self.lifetime_seconds.map(|number| number.0),
            lifetime_kilobytes: self.lifetime_kilobytes.map(|number| number.0),
        })
    }

    /// The settings of a tunnel. SHA-1 is `SHA1` here and `SHA` among the settings of IKE.
    pub(super) fn of(view: &TunnelView) -> Self {
        let ipsec = &view.tunnel.ipsec;
        let integrity = match ipsec.integrity {
            Hash::Sha1 => "SHA1".to_owned(),
            Hash::Md5 | Hash::Sha256 | Hash::Sha384 | Hash::Sha512 => ipsec.integrity.wire().to_uppercase(),
        };
        let pfs = ipsec
            .pfs
            .map_or_else(|| "NULL".to_owned(), |group| group.pfs_wire().to_uppercase());
        Self {
            encrypt_algorithm: Some(ipsec.encryption.wire().to_uppercase()),
            integrity_algorith: Some(integrity),
            lifetime_seconds: Some(Number(ipsec.lifetime_seconds)),
            pfs_dh_group: Some(pfs),
            lifetime_kilobytes: Some(Number(ipsec.lifetime_kilobytes)),
            encap_mode: Some("TUNNEL".to_owned()),
            security_proto: Some("ESP".to_owned()),
        }
    }
}

impl SpdRule {
    /// A rule of a tunnel.
    pub(super) fn of(rule: &rules::SpdRule) -> Self {
        Self {
            local_cidr_block: rule.local.to_string(),
            remote_cidr_block: rule.peers.iter().map(ToString::to_string).collect(),
        }
    }
}

/// A range of a list.
pub(super) fn range(field: &str, text: &str) -> Result<Ipv4Net, Refusal> {
    values::range(text).map_err(|rule| {
        let shown: String = text.chars().take(80).collect();
        Refusal::field(field, &format!("{shown:?} {rule}"))
    })
}

/// `SecurityPolicyDatabases`.
pub(super) fn spd(wanted: &[SpdRule]) -> Result<Vec<rules::SpdRule>, Refusal> {
    let range = |text: &String| range("SecurityPolicyDatabases", text);
    let rule = |rule: &SpdRule| {
        Ok(rules::SpdRule {
            local: range(&rule.local_cidr_block)?,
            peers: rule
                .remote_cidr_block
                .iter()
                .map(range)
                .collect::<Result<_, Refusal>>()?,
        })
    };
    wanted.iter().map(rule).collect()
}

fn choice<T>(
    text: Option<String>,
    name: &'static str,
    read: impl Fn(&'static str, &str) -> Result<T, Error>,
) -> Result<Option<T>, Refusal> {
    Ok(given(text).map(|text| read(name, &text)).transpose()?)
}

/// `LocalIdentity`, `LocalAddress`, `LocalFqdnName`, and the same for `Remote`.
fn identity(
    end: &str,
    kind: Option<String>,
    address: Option<String>,
    name: Option<String>,
) -> Result<Option<Identity>, Refusal> {
    let (kind, address, name) = (given(kind), given(address), given(name));
    let kind = match kind.map(|kind| kind.to_ascii_uppercase()).as_deref() {
        Some("ADDRESS") => Some(false),
        Some("FQDN") => Some(true),
        Some(_) => return Err(Refusal::field(&format!("{end}Identity"), "is ADDRESS or FQDN")),
        None => None,
    };
    if kind == Some(true) {
        return match name {
            Some(name) => Ok(Some(Identity::Fqdn(name))),
            None => Err(Refusal::new(
                "MissingParameter",
                format!("{end}FqdnName is required with the identity FQDN"),
            )),
        };
    }
    match address {
        Some(text) => {
            let address = text.parse();
            let address = address
                .map_err(|_not_an_address| Refusal::field(&format!("{end}Address"), "is an IPv4 address"))?;
            Ok(Some(Identity::Address(address)))
        }
        None => Ok(kind.map(|_address| Identity::OwnAddress)),
    }
}
