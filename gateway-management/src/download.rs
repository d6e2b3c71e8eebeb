//! The configuration file for the customer's device: one template per vendor, filled with the facts of a tunnel.
//!
//! Templates see the tunnel from the device: `device` is the customer's end, `gateway` is ours. They are strict: an algorithm that
//! the vendor's table does not have refuses the file, rather than writing a line that the device refuses.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use crate::error::Error;
use crate::objects::TunnelView;
use crate::time::Timestamp;

mod facts;
mod mtu;
#[cfg(test)]
mod tests;

use facts::Facts;
pub use mtu::{Room, room};

/// A kind of device that files are made for. The words are those of the API.
#[derive(Debug)]
pub struct Vendor {
    /// `vendorname`.
    pub name: &'static str,
    /// `platform`.
    pub platform: &'static str,
    /// `software`: the oldest release that the file is for.
    pub software: &'static str,
    template: &'static str,
    /// The API documents carriage returns for the devices it names itself.
    carriage_returns: bool,
    key: KeyRule,
}

/// Which pre-shared keys a vendor's file can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyRule {
    /// Any: the template encodes it.
    Any,
    /// Printable ASCII without spaces, quotes, backslashes, `?` and `#`.
    Plain,
    /// As plain, and without `@`, `+`, `-` and `=`.
    Juniper,
}

impl KeyRule {
    fn takes(self, key: &str) -> bool {
        let plain = |octet: u8| octet.is_ascii_graphic() && !b"\"'\\?#".contains(&octet);
        match self {
            Self::Any => true,
            Self::Plain => key.bytes().all(plain),
            Self::Juniper => key.bytes().all(|octet| plain(octet) && !b"@+-=".contains(&octet)),
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Any => "any text",
            Self::Plain => "printable ASCII without spaces, quotes, backslashes, ? and #",
            Self::Juniper => "printable ASCII without spaces, quotes, backslashes, ? # @ + - and =",
        }
    }
}

/// Which device a file is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// `vendorname`.
    pub vendor: &'a str,
    /// `platform`.
    pub platform: &'a str,
    /// `software`; any release when absent.
    pub software: Option<&'a str>,
    /// The device's interface to the internet; the vendor's usual name when absent.
    pub interface: Option<&'a str>,
}

/// Everything a file can be made for.
pub const VENDORS: &[Vendor] = &include!("download/vendors.in");

/// Makes the file.
///
/// # Errors
/// [`Error::Invalid`]: no such vendor, an interface name with odd characters, or a setting that the vendor's device does not have.
pub fn render(view: &TunnelView, now: Timestamp, device: &Device<'_>) -> Result<String, Error> {
    let vendor = find(device)?;
    if let Some(interface) = device.interface
        && (interface.len() > 64
            || !interface
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b"/.:_-".contains(&octet)))
    {
        return Err(Error::invalid(
            "interface name",
            interface,
            "has letters, digits and / . : _ -",
        ));
    }
    if let Some(key) = &view.psk
        && !vendor.key.takes(key.expose())
    {
        let rule = format!("for a device of {} a key has {}", vendor.name, vendor.key.text());
        return Err(Error::invalid("pre-shared key", "", rule));
    }
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let refused = |error: minijinja::Error| {
        tracing::debug!(%error, vendor = vendor.name, "no configuration file");
        let rule = "has no line for a setting of the tunnel; choose other algorithms or another device";
        Error::invalid("vendor", vendor.name, rule)
    };
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .map_err(refused)?;
    environment.set_syntax(syntax);
    environment
        .add_template("header", include_str!("../templates/header.j2"))
        .map_err(refused)?;
    environment
        .add_template("file", vendor.template)
        .map_err(refused)?;
    let facts = Value::from(Serde(Facts::new(view, now, vendor, device.interface)));
    let all = context! { f => facts.clone(), ..facts };
    let text = environment
        .get_template("file")
        .and_then(|template| template.render(all))
        .map_err(refused)?;
    let text = format!("{}\n", text.trim_end());
    Ok(if vendor.carriage_returns {
        text.replace('\n', "\r")
    } else {
        text
    })
}

fn find(device: &Device<'_>) -> Result<&'static Vendor, Error> {
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let of_name: Vec<_> = VENDORS
        .iter()
        .filter(|vendor| same(vendor.name, device.vendor))
        .collect();
    if of_name.is_empty() {
        let names: std::collections::BTreeSet<_> = VENDORS.iter().map(|vendor| vendor.name).collect();
        let names: Vec<_> = names.into_iter().collect();
        return Err(Error::invalid(
            "vendor",
            device.vendor,
            format!("is one of {}", names.join(", ")),
        ));
    }
    // An older or newer release than the listed one gets the same file.
    let found = of_name
        .iter()
        .find(|vendor| same(vendor.platform, device.platform));
    found.copied().ok_or_else(|| {
        let platforms: Vec<_> = of_name.iter().map(|vendor| vendor.platform).collect();
        Error::invalid(
            "platform",
            device.platform,
            format!("of {} is one of {}", device.vendor, platforms.join(", ")),
        )
    })
}
