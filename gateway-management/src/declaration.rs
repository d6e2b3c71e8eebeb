//! Objects written down in a file: what `gateway import` reads and `gateway export` writes.
//!
//! The format is that of the machine's own file, with the period of a gateway (`expires`, `auto_renew`) besides. Only what the store
//! can hold is taken; the machine's own sections are passed over, so that its file can be imported as it is.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use toml::de::DeTable;

use crate::algorithms::{
    DhGroup, DpdAction, EspEncryption, ExchangeMode, Hash, Identity, IkeEncryption, IkeOptions, IkeVersion,
    IpsecOptions, Start,
};
use crate::error::Rule;
use crate::health::HealthCheck;
use crate::psk::PresharedKey;
use crate::spd::SpdRule;
use crate::time::Timestamp;
use crate::values;

mod defense;
mod health;
mod reader;
#[cfg(test)]
mod tests;

pub use defense::DeclaredDefense;
use reader::{Lines, Reader};

/// Sections of the machine's file that are no objects of the store.
const MACHINE: [&str; 7] = ["agent", "dataplane", "quotas", "store", "api", "interface", "vpc"];

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line, counted from 1.
    pub line: usize,
    /// Path of the field: `tunnel[0].ike.encryption`.
    pub field: String,
    /// What stands there; empty where nothing does, and for secrets.
    pub value: String,
    /// The rule that it breaks.
    pub rule: Rule,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            line,
            field,
            value,
            rule,
        } = self;
        write!(f, "line {line}: ")?;
        match (field.is_empty(), value.is_empty()) {
            (true, _) => write!(f, "{rule}"),
            (false, true) => write!(f, "{field}: {rule}"),
            (false, false) => write!(f, "{field} = {value}: {rule}"),
        }
    }
}

impl std::error::Error for Mistake {}

/// The objects of a file, in its order.
#[derive(Debug, Default)]
pub struct Declaration {
    /// VPN gateways.
    pub gateways: Vec<DeclaredGateway>,
    /// Customer gateways.
    pub customer_gateways: Vec<DeclaredCustomerGateway>,
    /// High defense packages.
    pub defenses: Vec<DeclaredDefense>,
    /// Tunnels.
    pub tunnels: Vec<DeclaredTunnel>,
}

/// A VPN gateway.
#[derive(Debug)]
pub struct DeclaredGateway {
    /// Line of its section.
    pub line: usize,
    /// Id.
    pub id: String,
    /// Name; the id where the file has none.
    pub name: String,
    /// Id of its VPC.
    pub vpc: String,
    /// Public address.
    pub address: Ipv4Addr,
    /// Bandwidth setting in Mbit/s.
    pub bandwidth: u32,
    /// End of its period; `None`: as it is, and never for a new one.
    pub expires: Option<Timestamp>,
    /// Whether the period is prolonged at its end; `None`: as it is.
    pub auto_renew: Option<bool>,
}

/// A customer gateway.
#[derive(Debug)]
pub struct DeclaredCustomerGateway {
    /// Line of its section.
    pub line: usize,
    /// Id.
    pub id: String,
    /// Name; the id where the file has none.
    pub name: String,
    /// Public address.
    pub address: Ipv4Addr,
}

/// A tunnel. What the file leaves out has the default of the machine's file.
#[derive(Debug)]
pub struct DeclaredTunnel {
    /// Line of its section.
    pub line: usize,
    /// Id.
    pub id: String,
    /// Name; the id where the file has none.
    pub name: String,
    /// Id of the VPN gateway.
    pub gateway: String,
    /// Id of the customer gateway.
    pub customer_gateway: String,
    /// Pre-shared key.
    pub psk: PresharedKey,
    /// Its rules.
    pub spd: Vec<SpdRule>,
    /// When it is brought up.
    pub start: Start,
    /// Phase 1.
    pub ike: IkeOptions,
    /// Phase 2.
    pub ipsec: IpsecOptions,
    /// Seconds between probes of an idle peer; 0: never.
    pub dpd_seconds: u32,
    /// What follows a dead peer.
    pub dpd_action: DpdAction,
    /// Its health check; a file without `[tunnel.probe]` has none.
    pub health: Option<HealthCheck>,
    /// All its routes, each with whether it is in force; `None`: as they are.
    pub routes: Option<Vec<(Ipv4Net, bool)>>,
}

/// Reads the key in the file that `psk_file` names; the error is the rule.
pub type KeyFile<'a> = &'a dyn Fn(&str) -> Result<PresharedKey, Rule>;

impl Declaration {
    /// Reads a file.
    ///
    /// # Errors
    /// The first mistake.
    pub fn read(text: &str, key_file: KeyFile<'_>) -> Result<Self, Mistake> {
        let lines = Lines::of(text);
        let document = DeTable::parse(text).map_err(|error| Mistake {
            line: lines.at(error.span().map_or(0, |span| span.start)),
            field: String::new(),
            value: String::new(),
            rule: format!("not TOML: {}", error.message()).into(),
        })?;
        let mut root = Reader::root(&lines, &document);
        let declaration = Self {
            gateways: each(root.tables("gateway")?, gateway)?,
            customer_gateways: each(root.tables("customer_gateway")?, customer_gateway)?,
            defenses: each(root.tables("defense")?, defense::read)?,
            tunnels: each(root.tables("tunnel")?, |section| tunnel(section, key_file))?,
        };
        root.skip(&MACHINE);
        root.finish()?;
        Ok(declaration)
    }
}

fn each<'d, T>(
    sections: Vec<Reader<'d>>,
    read: impl Fn(Reader<'d>) -> Result<T, Mistake>,
) -> Result<Vec<T>, Mistake> {
    sections.into_iter().map(read).collect()
}

fn gateway(mut section: Reader<'_>) -> Result<DeclaredGateway, Mistake> {
    let (line, id) = (section.line(), id(&mut section)?);
    let (vpc, address) = (section.text("vpc", text)?, section.text("address", address)?);
    let bandwidth = section.number("bandwidth_mbps")?;
    let read = DeclaredGateway {
        line,
        name: section.text("name", text)?.unwrap_or_else(|| id.clone()),
        id,
        vpc: section.required("vpc", vpc)?,
        address: section.required("address", address)?,
        bandwidth: section.required("bandwidth_mbps", bandwidth)?,
        expires: section.text("expires", |text| {
            Timestamp::parse_utc(text).ok_or(Rule::Borrowed("is a time such as 2027-01-31T12:00:00Z"))
        })?,
        auto_renew: section.flag("auto_renew")?,
    };
    section.finish()?;
    Ok(read)
}

fn customer_gateway(mut section: Reader<'_>) -> Result<DeclaredCustomerGateway, Mistake> {
    let (line, id) = (section.line(), id(&mut section)?);
    let address = section.text("address", |text| {
        let address = address(text)?;
        Ok(values::customer_host(address)?)
    })?;
    let read = DeclaredCustomerGateway {
        line,
        name: section.text("name", text)?.unwrap_or_else(|| id.clone()),
        id,
        address: section.required("address", address)?,
    };
    section.finish()?;
    Ok(read)
}

fn tunnel(mut section: Reader<'_>, key_file: KeyFile<'_>) -> Result<DeclaredTunnel, Mistake> {
    let (line, id) = (section.line(), id(&mut section)?);
    let (gateway, customer) = (
        section.text("gateway", id_text)?,
        section.text("customer_gateway", id_text)?,
    );
    let spd = each(section.tables("spd")?, rule)?;
    let (ike, dpd_seconds, dpd_action) = ike(section.table("ike")?)?;
    let health = health::read(section.table("probe")?, &id)?;
    let read = DeclaredTunnel {
        line,
        name: section.text("name", text)?.unwrap_or_else(|| id.clone()),
        id,
        gateway: section.required("gateway", gateway)?,
        customer_gateway: section.required("customer_gateway", customer)?,
        psk: psk(&mut section, key_file)?,
        spd,
        start: choice(&mut section, "start", Start::ALL, Start::name)?.unwrap_or(Start::Traffic),
        ike,
        ipsec: ipsec(section.table("ipsec")?)?,
        dpd_seconds,
        dpd_action,
        health,
        routes: routes(&mut section)?,
    };
    if read.spd.is_empty() {
        return Err(section.mistake("spd", None, "is required: one [[tunnel.spd]] at least"));
    }
    section.finish()?;
    Ok(read)
}

/// `routes` are in force, `routes_disabled` are not. One of them empty says no more than the other one.
fn routes(section: &mut Reader<'_>) -> Result<Option<Vec<(Ipv4Net, bool)>>, Mistake> {
    if !section.has("routes") && !section.has("routes_disabled") {
        section.skip(&["routes", "routes_disabled"]);
        return Ok(None);
    }
    let mut routes = Vec::new();
    for (key, enabled) in [("routes", true), ("routes_disabled", false)] {
        let ranges = section.texts_or_none(key, values::range)?;
        routes.extend(ranges.into_iter().map(|range| (range, enabled)));
    }
    if routes.is_empty() {
        let rule =
            "has at least one element, or routes_disabled has; without both the tunnel follows its rules";
        return Err(section.mistake("routes", None, rule));
    }
    Ok(Some(routes))
}

fn psk(section: &mut Reader<'_>, key_file: KeyFile<'_>) -> Result<PresharedKey, Mistake> {
    if section.has("psk") == section.has("psk_file") {
        return Err(section.mistake("psk", None, "either psk or psk_file is required"));
    }
    let parse = |text: &str| PresharedKey::parse(text).map_err(|error| error.to_string().into());
    let inline = section.secret("psk", parse)?;
    let from_file = section.text("psk_file", key_file)?;
    section.required("psk", inline.or(from_file))
}

fn rule(mut section: Reader<'_>) -> Result<SpdRule, Mistake> {
    let local = section.text("local", values::range)?;
    let read = SpdRule {
        local: section.required("local", local)?,
        peers: section.texts("peer", values::range)?,
    };
    section.finish()?;
    Ok(read)
}

fn ike(section: Option<Reader<'_>>) -> Result<(IkeOptions, u32, DpdAction), Mistake> {
    let mut options = IkeOptions {
        version: IkeVersion::V1,
        mode: ExchangeMode::Main,
        encryption: IkeEncryption::Aes128,
        hash: Hash::Sha1,
        group: DhGroup::Group14,
        lifetime_seconds: 86_400,
        local_identity: Identity::OwnAddress,
        remote_identity: Identity::OwnAddress,
    };
    let mut dpd_seconds = 30;
    let mut dpd_action = DpdAction::Hold;
    if let Some(mut section) = section {
        let s = &mut section;
        set(
            &mut options.version,
            choice(s, "version", IkeVersion::ALL, IkeVersion::name)?,
        );
        let mode = choice(s, "mode", ExchangeMode::ALL, ExchangeMode::name)?;
        if mode == Some(ExchangeMode::Aggressive) && options.version == IkeVersion::V2 {
            return Err(s.mistake("mode", None, "is a setting of IKEv1, and the version is ikev2"));
        }
        set(&mut options.mode, mode);
        set(
            &mut options.encryption,
            choice(s, "encryption", IkeEncryption::ALL, IkeEncryption::name)?,
        );
        set(
            &mut options.hash,
            choice(s, "authentication", Hash::ALL, Hash::name)?,
        );
        set(&mut options.group, s.number_or_word("dh_group", group)?);
        set(&mut options.lifetime_seconds, s.number("lifetime_seconds")?);
        set(&mut options.local_identity, s.text("local_id", identity)?);
        set(&mut options.remote_identity, s.text("peer_id", identity)?);
        set(&mut dpd_seconds, within(s, "dpd_seconds", 0..=3600)?);
        set(
            &mut dpd_action,
            choice(s, "dpd_action", DpdAction::ALL, DpdAction::name)?,
        );
        section.finish()?;
    }
    Ok((options, dpd_seconds, dpd_action))
}

fn ipsec(section: Option<Reader<'_>>) -> Result<IpsecOptions, Mistake> {
    let mut options = IpsecOptions {
        encryption: EspEncryption::Aes128,
        integrity: Hash::Sha1,
        pfs: None,
        lifetime_seconds: 3600,
        lifetime_kilobytes: 1_843_200,
    };
    if let Some(mut section) = section {
        let s = &mut section;
        set(
            &mut options.encryption,
            choice(s, "encryption", EspEncryption::ALL, EspEncryption::name)?,
        );
        let integrity = choice(s, "authentication", Hash::ALL, Hash::name)?;
        if integrity.is_some() && options.encryption.is_aead() {
            let rule = format!(
                "is absent with {}, which authenticates by itself",
                options.encryption.name()
            );
            return Err(s.mistake("authentication", None, rule));
        }
        set(&mut options.integrity, integrity);
        set(
            &mut options.pfs,
            s.number_or_word("pfs", |text| match text {
                "off" => Ok(None),
                _ => group(text).map(Some),
            })?,
        );
        set(&mut options.lifetime_seconds, s.number("lifetime_seconds")?);
        set(&mut options.lifetime_kilobytes, s.number("lifetime_kilobytes")?);
        section.finish()?;
    }
    Ok(options)
}

/// A whole number of this range.
fn within(
    section: &mut Reader<'_>,
    key: &'static str,
    range: RangeInclusive<u32>,
) -> Result<Option<u32>, Mistake> {
    section.number_or_word(key, |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            format!("is a whole number from {first} to {last}").into()
        })
    })
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn id(section: &mut Reader<'_>) -> Result<String, Mistake> {
    let id = section.text("id", id_text)?;
    section.required("id", id)
}

/// An id, or a reference to one. A number would be taken for the API's old form of an id, which is another in every store.
fn id_text(text: &str) -> Result<String, Rule> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let numeric = text.bytes().all(|octet| octet.is_ascii_digit());
    if numeric || text.len() > 60 || !text.chars().all(legal) {
        return Err("has 1 to 60 letters, digits, '.', '_' or '-', and is no number".into());
    }
    Ok(text.to_owned())
}

fn text(text: &str) -> Result<String, Rule> {
    Ok(text.to_owned())
}

fn address(text: &str) -> Result<Ipv4Addr, Rule> {
    text.parse()
        .map_err(|_not_an_address| "is an IPv4 address such as 202.108.22.5".into())
}

fn identity(text: &str) -> Result<Identity, Rule> {
    match text.parse() {
        Ok(address) => Ok(Identity::Address(address)),
        Err(_not_an_address) => values::domain_name(text).map(Identity::Fqdn),
    }
}

fn group(text: &str) -> Result<DhGroup, Rule> {
    one_of(text, DhGroup::ALL, DhGroup::name)
}

fn choice<T: Copy>(
    section: &mut Reader<'_>,
    key: &'static str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<Option<T>, Mistake> {
    section.text(key, |text| one_of(text, all, name))
}

fn one_of<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, Rule> {
    let found = all.iter().find(|&&choice| name(choice) == text);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|&choice| name(choice)).collect();
        format!("is one of {}", names.join(", ")).into()
    })
}
