//! `[store]`, `[api]` and `[alarms]`: objects that are managed at run time, and how.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use gateway_management::alarm::Targets;
use gateway_management::api::TlsFiles;
use gateway_management::price::PriceBook;
use gateway_management::site::Quotas as SiteQuotas;
use gateway_management::store::DEFAULT_ROLLUP_OCTETS;
use ipnet::IpNet;

use super::mistake::{At, Log, Rule};
use super::read::value_or;
use super::rules::Quotas;
use super::section::Section;
use super::values;

/// The store, and what its objects are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagementConfig {
    /// The database.
    pub store: PathBuf,
    /// The key that its secrets are encrypted under; made when it is missing.
    pub key_file: PathBuf,
    /// Region in the words of the API.
    pub region: String,
    /// Addresses for the VPN gateways that the API makes.
    pub public_addresses: Vec<Ipv4Addr>,
    /// Prices.
    pub prices: PriceBook,
    /// Octets that the rollups of monitoring take at most.
    pub monitoring_octets: u64,
    /// Quotas, those of the file.
    pub quotas: SiteQuotas,
    /// Where alarms may be sent to.
    pub alarm_targets: Targets,
    /// The API; `None`: nobody is served.
    pub api: Option<ApiConfig>,
}

/// How the API is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Where.
    pub listen: SocketAddr,
    /// The certificate; `None`: plain HTTP, on loopback only.
    pub tls: Option<TlsFiles>,
}

/// How large the rollups of monitoring may be.
const MONITORING_MEGABYTES: std::ops::RangeInclusive<u64> = 16..=1_000_000;
/// Name of the key among the credentials that systemd hands over (`LoadCredential=store.key:...`).
const CREDENTIAL: &str = "store.key";

/// Reads the sections; `None` without `[store]`.
pub(super) fn read(
    log: &Log,
    root: &mut Section<'_>,
    quotas: &Quotas,
    directory: &Path,
) -> Option<ManagementConfig> {
    let (has_store, has_api) = (root.has("store"), root.has("api"));
    let (mut store, mut api) = (root.table("store"), root.table("api"));
    if has_api && !has_store {
        log.mistake(api.place(), "needs a [store] for what it manages");
    }
    if has_store {
        store.require("path");
    }
    let path = store.text("path", values::absolute_path).map(|path| path.value);
    let key_file = store
        .text("key_file", values::absolute_path)
        .map(|file| file.value);
    let monitoring = store.number::<u64>("monitoring_megabytes", MONITORING_MEGABYTES);
    store.finish();

    let region = value_or(api.text("region", values::display_name), || "gz".to_owned());
    let addresses = api.texts("public_addresses", values::own_address);
    let prices = value_or(
        api.text("price_book", |text| price_book(&directory.join(text))),
        PriceBook::default,
    );
    if has_api {
        api.require("listen");
    }
    let listen = api.text("listen", |text| {
        text.parse::<SocketAddr>()
            .map_err(|_not_a_socket| Rule::Borrowed("is an address and port such as 192.0.2.1:8443"))
    });
    let tls = api.flag("tls");
    let certificate = api
        .text("certificate", values::absolute_path)
        .map(|file| file.value);
    let key = api.text("key", values::absolute_path).map(|file| file.value);
    if certificate.is_some() != key.is_some() {
        log.mistake(api.place(), "has both certificate and key, or neither");
    }
    let names = api.texts("names", values::display_name);
    api.finish();

    let alarm_targets = read_alarms(log, root, has_store);
    let path = path?;
    let api = listen.map(|At { value: listen, place }| {
        let with_tls = tls.is_none_or(|tls| tls.value);
        if !with_tls && !listen.ip().is_loopback() {
            log.mistake(&place, "without TLS the API listens on a loopback address only");
        }
        let tls = with_tls.then(|| match certificate.zip(key) {
            Some((certificate, key)) => TlsFiles::Given { certificate, key },
            None => TlsFiles::Generated {
                directory: path.parent().unwrap_or_else(|| Path::new("/")).to_owned(),
                names: gateway_management::api::names_for(listen)
                    .into_iter()
                    .chain(names.into_iter().map(|name| name.value))
                    .collect(),
            },
        });
        ApiConfig { listen, tls }
    });
    Some(ManagementConfig {
        key_file: key_file
            .or_else(credential)
            .unwrap_or_else(|| path.with_extension("key")),
        store: path,
        monitoring_octets: monitoring.map_or(DEFAULT_ROLLUP_OCTETS, |megabytes| {
            megabytes.value.saturating_mul(1 << 20)
        }),
        region,
        alarm_targets,
        public_addresses: addresses.into_iter().map(|address| address.value).collect(),
        prices,
        quotas: SiteQuotas {
            gateways_per_vpc: quotas.gateways_per_vpc,
            customer_gateways: quotas.customer_gateways,
            tunnels_per_customer_gateway: quotas.tunnels_per_customer_gateway,
            tunnels_per_gateway: quotas.tunnels_per_gateway,
            rules_per_tunnel: quotas.rules_per_tunnel,
            peer_ranges_per_rule: quotas.peer_ranges_per_rule,
            routes_per_gateway: quotas.routes_per_gateway,
        },
        api,
    })
}

fn read_alarms(log: &Log, root: &mut Section<'_>, has_store: bool) -> Targets {
    let given = root.has("alarms");
    let mut alarms = root.table("alarms");
    if given && !has_store {
        log.mistake(alarms.place(), "needs a [store] for its policies");
    }
    let narrowed = alarms.has("targets");
    let networks = alarms.texts("targets", |text| {
        text.parse::<IpNet>()
            .ok()
            .filter(|network| *network == network.trunc())
            .ok_or(Rule::Borrowed(
                "is a network such as 192.0.2.0/24 or 2001:db8::/32",
            ))
    });
    alarms.finish();
    if narrowed {
        Targets::only(networks.into_iter().map(|network| network.value).collect())
    } else {
        Targets::default()
    }
}

fn price_book(file: &Path) -> Result<PriceBook, Rule> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Rule::Owned(format!(
            "is a file, and {} cannot be read: {error}",
            file.display()
        ))
    })?;
    PriceBook::parse(&text)
        .map_err(|error| Rule::Owned(format!("is a price book, and in {}: {error}", file.display())))
}

fn credential() -> Option<PathBuf> {
    let file = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    file.exists().then_some(file)
}
