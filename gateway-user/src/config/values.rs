//! Values with rules, each checked where it is read.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use gateway_ike::config::Identity;
use gateway_management::values::customer_host;
use ipnet::Ipv4Net;

use super::mistake::Rule;
use super::section::NumberOrWord;

/// Longest id and name, as in the product's API.
const NAME_LEN: usize = 60;

/// Name of an object within its kind: letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Arc<str>);

impl Id {
    /// Reads an id; the error is the rule.
    pub fn parse(text: &str) -> Result<Self, Rule> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || text.len() > NAME_LEN || !text.chars().all(legal) {
            return Err("has 1 to 60 letters, digits, '.', '_' or '-'".into());
        }
        Ok(Self(text.into()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id, for those who keep it.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

/// So that a map by id can be asked with a string.
impl std::borrow::Borrow<str> for Id {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What people call an object: up to 60 characters of any script, none of them a control character.
pub(super) fn display_name(text: &str) -> Result<String, Rule> {
    if text.is_empty() || text.chars().count() > NAME_LEN || text.chars().any(char::is_control) {
        return Err("has 1 to 60 characters and no control characters".into());
    }
    Ok(text.to_owned())
}

/// Name of a network interface: at most 15 octets (IFNAMSIZ), no slash, no space.
pub(super) fn interface_name(text: &str) -> Result<String, Rule> {
    let illegal = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.chars().any(illegal) {
        return Err("is an interface name: 1 to 15 octets without '/', ':' and spaces".into());
    }
    Ok(text.to_owned())
}

/// What two ranges have in common: the smaller one, or nothing.
pub(super) fn intersection(a: Ipv4Net, b: Ipv4Net) -> Option<Ipv4Net> {
    match (a.contains(&b), b.contains(&a)) {
        (true, _) => Some(b),
        (false, true) => Some(a),
        (false, false) => None,
    }
}

/// A range of addresses in CIDR form, without host bits.
pub(super) fn range(text: &str) -> Result<Ipv4Net, Rule> {
    let net: Ipv4Net = text
        .parse()
        .map_err(|_not_cidr| Rule::Borrowed("is an IPv4 range such as 10.0.1.0/24"))?;
    if net.trunc() != net {
        return Err(format!("has host bits set; the range is {}", net.trunc()).into());
    }
    Ok(net)
}

/// An address of ours on the public side.
pub(super) fn own_address(text: &str) -> Result<Ipv4Addr, Rule> {
    let address = ipv4(text)?;
    match address.octets() {
        [0, ..] => Err("starts with 0: such an address means \"this network\" (RFC 6890)".into()),
        [127, ..] => Err("is a loopback address; nobody outside reaches it".into()),
        [169, 254, ..] => Err("is a link-local address; it is not routed".into()),
        [224..=255, ..] => Err("is a multicast or reserved address".into()),
        _ => Ok(address),
    }
}

/// Address of a customer gateway: the same rule for the file and for the API.
pub(super) fn customer_address(text: &str) -> Result<Ipv4Addr, Rule> {
    customer_host(ipv4(text)?).map_err(Rule::Borrowed)
}

/// Longest identity in octets, as long as a domain name may be.
const IDENTITY_LEN: usize = 253;

/// Reads the identity of an IKE endpoint: an IPv4 address, a domain name, `user@domain`, `key-id:TEXT` or `key-id:0xHEX`.
pub(super) fn identity(text: &str) -> Result<Identity, Rule> {
    if let Some(key) = text.strip_prefix("key-id:") {
        return key_id(key);
    }
    if let Ok(address) = text.parse() {
        return Ok(Identity::Ipv4(address));
    }
    let legal_user = |user: &str| {
        !user.is_empty()
            && user
                .bytes()
                .all(|octet| octet.is_ascii_graphic() && octet != b'@')
    };
    match text.split_once('@') {
        _ if text.len() > IDENTITY_LEN => None,
        None => is_domain(text).then(|| Identity::Fqdn(text.to_owned())),
        Some((user, domain)) => {
            (legal_user(user) && is_domain(domain)).then(|| Identity::UserFqdn(text.to_owned()))
        }
    }
    .ok_or(Rule::Borrowed(
        "is an IPv4 address, a domain name, user@domain, key-id:TEXT or key-id:0xHEX",
    ))
}

fn key_id(text: &str) -> Result<Identity, Rule> {
    let octets = match text.strip_prefix("0x") {
        None => text.as_bytes().to_vec(),
        Some(digits) => hexadecimal(digits).ok_or(Rule::Borrowed(
            "has an even number of hexadecimal digits after key-id:0x",
        ))?,
    };
    if octets.is_empty() || octets.len() > IDENTITY_LEN {
        return Err(format!("has 1 to {IDENTITY_LEN} octets after key-id:").into());
    }
    Ok(Identity::KeyId(octets))
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let nibbles: Vec<_> = digits
        .chars()
        .map(|digit| digit.to_digit(16))
        .collect::<Option<_>>()?;
    let (pairs, []) = nibbles.as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|&[high, low]| u8::try_from(high << 4 | low).ok())
        .collect()
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    let numeric = text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    !numeric && text.split('.').all(label)
}

/// Bandwidth setting of a VPN gateway, per direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bandwidth {
    /// Megabits (10^6 bits) per second.
    Mbps(u32),
    /// No limit.
    Unlimited,
}

impl Bandwidth {
    /// Settings below the point from which every whole number is one.
    const STEPS: [u32; 4] = [5, 10, 20, 50];
    const FREE_FROM: u32 = 100;
    const MAX: u32 = 400_000;

    pub(super) fn parse(input: NumberOrWord<'_>) -> Result<Self, Rule> {
        let legal = |mbps: u32| Self::STEPS.contains(&mbps) || (Self::FREE_FROM..=Self::MAX).contains(&mbps);
        match input {
            NumberOrWord::Word("unlimited") => Some(Self::Unlimited),
            NumberOrWord::Number(number) => u32::try_from(number)
                .ok()
                .filter(|&mbps| legal(mbps))
                .map(Self::Mbps),
            NumberOrWord::Word(_) | NumberOrWord::Neither => None,
        }
        .ok_or(Rule::Borrowed(
            "is 5, 10, 20, 50, 100, a whole number up to 400000, or \"unlimited\"",
        ))
    }

    /// Octets per second; `None` for no limit.
    pub fn octets_per_second(self) -> Option<u64> {
        match self {
            Self::Mbps(mbps) => Some(u64::from(mbps) * 125_000),
            Self::Unlimited => None,
        }
    }
}

fn ipv4(text: &str) -> Result<Ipv4Addr, Rule> {
    text.parse()
        .map_err(|_not_an_address| Rule::Borrowed("is an IPv4 address such as 203.0.113.7"))
}

/// An absolute path.
pub(super) fn absolute_path(text: &str) -> Result<std::path::PathBuf, Rule> {
    if !text.starts_with('/') || text.contains('\0') {
        return Err("is an absolute path".into());
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_gateway_has_the_address_of_a_host() {
        assert_eq!(
            customer_address("202.108.22.5").unwrap(),
            Ipv4Addr::new(202, 108, 22, 5)
        );
        for (text, part) in [("192.168.7.0", "class C network"), ("202.108.22", "IPv4 address")] {
            let rule = customer_address(text).unwrap_err();
            assert!(rule.contains(part), "{text}: {rule}");
        }
    }

    #[test]
    fn each_kind_of_identity_reads_back_as_it_was_written() {
        for (text, expected) in [
            ("192.0.2.1", Identity::Ipv4(Ipv4Addr::new(192, 0, 2, 1))),
            ("idc.example.com", Identity::Fqdn("idc.example.com".into())),
            (
                "a.b+c@example.com",
                Identity::UserFqdn("a.b+c@example.com".into()),
            ),
            ("key-id:branch-7", Identity::KeyId(b"branch-7".into())),
            ("key-id:0x00ff", Identity::KeyId(vec![0, 255])),
            ("key-id:0x307861", Identity::KeyId(b"0xa".into())),
        ] {
            assert_eq!(identity(text), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string(), text);
        }
        assert_eq!(identity("key-id:zürich"), Ok(Identity::KeyId("zürich".into())));
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        for wrong in [
            "",
            "192.0.2.256",
            "192.0.2",
            "a..b",
            "-a.b",
            "a b",
            "ü.example",
            "@example.com",
            "a b@example.com",
            "a@b@example.com",
            "user@",
            "user@192.0.2.1",
            "key-id:",
            "key-id:0x",
            "key-id:0x0",
            "key-id:0xzz",
            "key-id:0x+1",
            &format!("key-id:{}", "a".repeat(254)),
            &"a.".repeat(200),
        ] {
            assert!(identity(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_range_names_its_host_bits() {
        assert_eq!(
            range("10.0.1.0/24").map(|net| net.to_string()),
            Ok("10.0.1.0/24".into())
        );
        assert_eq!(
            range("10.0.1.7/24"),
            Err("has host bits set; the range is 10.0.1.0/24".into())
        );
        assert!(range("10.0.1.0").is_err() && range("10.0.1.0/33").is_err() && range("fd00::/8").is_err());
    }
}
