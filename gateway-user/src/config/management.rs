//! `[store]` and `[api]`: objects that are managed at run time, and how.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use gateway_management::api::TlsFiles;
use gateway_management::price::PriceBook;
use gateway_management::site::Quotas as SiteQuotas;

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
    /// Quotas, those of the file.
    pub quotas: SiteQuotas,
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

/// Name of the key among the credentials that systemd hands over (`LoadCredential=store.key:...`).
const CREDENTIAL: &str = "store.key";

/// Reads both sections; `None` without `[store]`.
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
        region,
        public_addresses: addresses.into_iter().map(|address| address.value).collect(),
        prices,
        quotas: SiteQuotas {
            gateways_per_vpc: quotas.gateways_per_vpc,
            customer_gateways: quotas.customer_gateways,
            tunnels_per_customer_gateway: quotas.tunnels_per_customer_gateway,
            tunnels_per_gateway: quotas.tunnels_per_gateway,
            rules_per_tunnel: quotas.rules_per_tunnel,
            peer_ranges_per_rule: quotas.peer_ranges_per_rule,
        },
        api,
    })
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
