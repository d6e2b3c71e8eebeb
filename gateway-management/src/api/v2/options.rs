//! Settings of a tunnel on the wire of API v2.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::parameters::Parameters;
use super::refusal::Refusal;
use crate::algorithms::{
    DhGroup, EspEncryption, ExchangeMode, Hash, Identity, IkeEncryption, IkeOptions, IkePatch, IkeVersion,
    IpsecOptions, IpsecPatch,
};
use crate::error::Error;
use crate::objects::TunnelView;
use crate::spd::SpdRule;
use crate::values;

/// What the document promises where a parameter is absent. It leaves the group open: 14 is the strongest sound one it names.
pub(super) const fn ike_defaults() -> IkeOptions {
    IkeOptions {
        version: IkeVersion::V1,
        mode: ExchangeMode::Main,
        encryption: IkeEncryption::TripleDes,
        hash: Hash::Md5,
        group: DhGroup::Group14,
        lifetime_seconds: 86_400,
        local_identity: Identity::OwnAddress,
        remote_identity: Identity::OwnAddress,
    }
}

/// What the document promises where a parameter is absent.
pub(super) const fn ipsec_defaults() -> IpsecOptions {
    IpsecOptions {
        encryption: EspEncryption::TripleDes,
        integrity: Hash::Md5,
        pfs: None,
        lifetime_seconds: 3_600,
        lifetime_kilobytes: 1_843_200,
    }
}

pub(super) fn ike_patch(parameters: &Parameters) -> Result<IkePatch, Refusal> {
    let group = "IKESet.dhGroupName";
    Ok(IkePatch {
        version: choice(parameters, "IKESet.ikeVersion", IkeVersion::from_wire)?,
        mode: choice(parameters, "IKESet.exchangeMode", ExchangeMode::from_wire)?,
        encryption: choice(parameters, "IKESet.propoEncryAlgorithm", IkeEncryption::from_wire)?,
        hash: choice(parameters, "IKESet.propoAuthenAlgorithm", Hash::from_wire)?,
        group: choice(parameters, group, DhGroup::from_wire)?,
        lifetime_seconds: parameters.optional_number("IKESet.ikeSaLifetimeSeconds")?,
        local_identity: identity(parameters, "local")?,
        remote_identity: identity(parameters, "remote")?,
    })
}

pub(super) fn ipsec_patch(parameters: &Parameters) -> Result<IpsecPatch, Refusal> {
    // The document lists the cipher of ESP among the settings of IKE.
    let encryption = match choice(parameters, "IPsecSet.encryptAlgorithm", EspEncryption::from_wire)? {
        None => choice(parameters, "IKESet.encryptAlgorithm", EspEncryption::from_wire)?,
        found => found,
    };
    let pfs = match parameters.text("IPsecSet.pfsDhGroup") {
        None => None,
        Some(text) if text.eq_ignore_ascii_case("null") => Some(None),
        Some(text) => Some(Some(DhGroup::from_wire("IPsecSet.pfsDhGroup", text)?)),
    };
    let integrity = match choice(parameters, "IPsecSet.integrityAlgorith", Hash::from_wire)? {
        None => choice(parameters, "IPsecSet.integrityAlgorithm", Hash::from_wire)?,
        found => found,
    };
    Ok(IpsecPatch {
        encryption,
        integrity,
        pfs,
        lifetime_seconds: parameters.optional_number("IPsecSet.ipsecSaLifetimeSeconds")?,
        lifetime_kilobytes: parameters.optional_number("IPsecSet.ipsecSaLifetimeTraffic")?,
    })
}

fn choice<T>(
    parameters: &Parameters,
    name: &'static str,
    read: impl Fn(&'static str, &str) -> Result<T, Error>,
) -> Result<Option<T>, Refusal> {
    Ok(parameters.text(name).map(|text| read(name, text)).transpose()?)
}

/// `localIdentity`, `localAddress`, `localFqdnName`, and the same for `remote`.
fn identity(parameters: &Parameters, end: &str) -> Result<Option<Identity>, Refusal> {
    let field = |what: &str| format!("IKESet.{end}{what}");
    let (kind, address, name) = (field("Identity"), field("Address"), field("FqdnName"));
    let kind = parameters.text(&kind).map(str::to_ascii_lowercase);
    let own = || match parameters.text(&address) {
        None => Ok(Identity::OwnAddress),
        Some(text) => text
            .parse()
            .map(Identity::Address)
            .map_err(|_not_an_address| Refusal::parameter(format!("{address} is an IPv4 address"))),
    };
    match kind.as_deref() {
        Some("fqdn") => Ok(Some(Identity::Fqdn(parameters.required(&name)?.to_owned()))),
        Some("address") => own().map(Some),
        Some(_) => Err(Refusal::parameter(format!(
            "IKESet.{end}Identity is address or fqdn"
        ))),
        None if parameters.text(&address).is_some() => own().map(Some),
        None => Ok(parameters.text(&name).map(|name| Identity::Fqdn(name.to_owned()))),
    }
}

/// `spdAcl`, a JSON object in a string, or `userGwCidrBlock.n`, which are peer ranges of the whole VPC.
pub(super) fn spd(parameters: &Parameters, vpc: ipnet::Ipv4Net) -> Result<Option<Vec<SpdRule>>, Refusal> {
    let range = |name: &str, text: &str| {
        values::range(text).map_err(|rule| Refusal::parameter(format!("{name}: {text:?} {rule}")))
    };
    if let Some(text) = parameters.text("spdAcl") {
        let acl: BTreeMap<String, Vec<String>> = serde_json::from_str(text).map_err(|error| {
            Refusal::parameter(format!(
                "spdAcl is a JSON object such as {{\"10.0.0.0/24\":[\"172.16.0.0/16\"]}}: {error}"
            ))
        })?;
        let rule = |(local, peers): (&String, &Vec<String>)| {
            let peers = peers.iter().map(|peer| range("spdAcl", peer));
            Ok(SpdRule {
                local: range("spdAcl", local)?,
                peers: peers.collect::<Result<_, Refusal>>()?,
            })
        };
        return acl.iter().map(rule).collect::<Result<_, Refusal>>().map(Some);
    }
    let peers = parameters.list("userGwCidrBlock");
    if peers.is_empty() {
        return Ok(None);
    }
    let peers = peers
        .into_iter()
        .map(|peer| range("userGwCidrBlock", peer))
        .collect::<Result<_, _>>()?;
    Ok(Some(vec![SpdRule { local: vpc, peers }]))
}

/// `IKEArr`. Lifetimes are strings.
pub(super) fn ike_json(view: &TunnelView) -> Value {
    let ike = &view.tunnel.ike;
    let kind = |identity: &Identity| match identity {
        Identity::OwnAddress | Identity::Address(_) => "address",
        Identity::Fqdn(_) => "fqdn",
    };
    let address = |identity: &Identity, own: std::net::Ipv4Addr| match identity {
        Identity::OwnAddress => own.to_string(),
        Identity::Address(address) => address.to_string(),
        Identity::Fqdn(_) => String::new(),
    };
    let name = |identity: &Identity| match identity {
        Identity::OwnAddress | Identity::Address(_) => String::new(),
        Identity::Fqdn(name) => name.clone(),
    };
    json!({
        "propoAuthenAlgorithm": ike.hash.wire(),
        "propoEncryAlgorithm": ike.encryption.wire(),
        "exchangeMode": ike.mode.wire(),
        "localIdentity": kind(&ike.local_identity),
        "remoteIdentity": kind(&ike.remote_identity),
        "localAddress": address(&ike.local_identity, view.gateway.address),
        "remoteAddress": address(&ike.remote_identity, view.customer_gateway.address),
        "localFqdnName": name(&ike.local_identity),
        "remoteFqdnName": name(&ike.remote_identity),
        "dhGroupName": ike.group.wire(),
        "ikeSaLifetimeSeconds": ike.lifetime_seconds.to_string(),
        "ikeVersion": ike.version.wire(),
    })
}

/// `IPSECArr`. SHA-1 is `sha` on the way in and `sha1` on the way out.
pub(super) fn ipsec_json(view: &TunnelView) -> Value {
    let ipsec = &view.tunnel.ipsec;
    let integrity = match ipsec.integrity {
        Hash::Sha1 => "sha1",
        Hash::Md5 | Hash::Sha256 | Hash::Sha384 | Hash::Sha512 => ipsec.integrity.wire(),
    };
    json!({
        "encryptAlgorithm": ipsec.encryption.wire(),
        "integrityAlgorith": integrity,
        "encapMode": "tunnel",
        "securityProto": "ESP",
        "pfsDhGroup": ipsec.pfs.map_or_else(|| "null".to_owned(), DhGroup::pfs_wire),
        "ipsecSaLifetimeSeconds": ipsec.lifetime_seconds.to_string(),
        "ipsecSaLifetimeTraffic": ipsec.lifetime_kilobytes.to_string(),
    })
}
