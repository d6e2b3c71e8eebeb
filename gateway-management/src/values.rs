//! Values with rules, each checked once where it enters.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::error::{Error, Kind, Rule};

/// Longest name in characters.
pub const NAME_LEN: usize = 60;

/// Checks a name: 1 to 60 characters of any script, no control characters.
///
/// # Errors
/// [`Error::InvalidName`].
pub fn name(kind: Kind, text: &str) -> Result<String, Error> {
    let invalid = |rule: &'static str| Error::InvalidName {
        kind,
        name: text.chars().take(NAME_LEN + 1).collect(),
        rule: rule.into(),
    };
    let text = text.trim();
    if text.is_empty() {
        return Err(invalid("is not empty"));
    }
    if text.chars().count() > NAME_LEN {
        return Err(invalid("has at most 60 characters"));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid("has no control characters"));
    }
    Ok(text.to_owned())
}

/// Checks the public address of a customer gateway. Each class of address that cannot be one has a message of its own.
///
/// # Errors
/// [`Error::Invalid`].
pub fn customer_address(text: &str) -> Result<Ipv4Addr, Error> {
    const FIELD: &str = "address";
    let address: Ipv4Addr = text
        .trim()
        .parse()
        .map_err(|_not_an_address| Error::invalid(FIELD, text, "is an IPv4 address such as 202.108.22.5"))?;
    customer_host(address).map_err(|rule| Error::invalid(FIELD, address, rule))
}

/// Whether an address can be a customer gateway's, by the classes that cannot.
///
/// # Errors
/// The rule.
pub fn customer_host(address: Ipv4Addr) -> Result<Ipv4Addr, &'static str> {
    Err(match address.octets() {
        [0, ..] => "starts with 0: such an address means \"this network\"",
        [224..=255, ..] => {
            "starts with 224 or more: multicast and reserved addresses cannot be a customer gateway"
        }
        [127, ..] => "lies in 127.0.0.0/8: loopback addresses cannot be a customer gateway",
        [169, 254, ..] => "lies in 169.254.0.0/16: link-local addresses cannot be a customer gateway",
        [1..=126, 0, 0, 0] => "is a class A network address (x.0.0.0), not a host",
        [1..=126, 255, 255, 255] => "is a class A broadcast address (x.255.255.255), not a host",
        [128..=191, _, 0, 0] => "is a class B network address (x.y.0.0), not a host",
        [128..=191, _, 255, 255] => "is a class B broadcast address (x.y.255.255), not a host",
        [192..=223, _, _, 0] => "is a class C network address (x.y.z.0), not a host",
        [192..=223, _, _, 255] => "is a class C broadcast address (x.y.z.255), not a host",
        _ => return Ok(address),
    })
}

/// Reads a range. Host bits are cleared, as the API's own examples have them set.
///
/// # Errors
/// The rule.
pub fn range(text: &str) -> Result<Ipv4Net, Rule> {
    let text = text.trim();
    let net: Ipv4Net = text
        .parse()
        .map_err(|_not_cidr| Rule::Borrowed("is an IPv4 range such as 10.0.1.0/24"))?;
    Ok(net.trunc())
}

/// Checks a domain name as an IKE identity.
///
/// # Errors
/// The rule.
pub fn domain_name(text: &str) -> Result<String, Rule> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    let numeric = text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    if text.len() > 253 || numeric || !text.split('.').all(label) {
        return Err("is a domain name such as idc.example.com".into());
    }
    Ok(text.to_owned())
}

/// Whether two ranges have an address in common.
pub fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// An id such as `vpngw-dystbrkv` from eight random octets: base 32 without look-alikes.
pub fn make_id(prefix: &str, random: [u8; 8]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let letters = random.map(|octet| char::from(LETTERS[usize::from(octet) % LETTERS.len()]));
    format!("{prefix}-{}", letters.iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_each_class_of_address_that_cannot_be_a_customer_gateway() {
        for (text, expected) in [
            ("0.1.2.3", Err("starts with 0")),
            ("224.0.0.1", Err("starts with 224")),
            ("255.255.255.255", Err("starts with 224")),
            ("127.0.0.1", Err("127.0.0.0/8")),
            ("169.254.7.7", Err("169.254.0.0/16")),
            ("1.0.0.0", Err("class A network")),
            ("126.255.255.255", Err("class A broadcast")),
            ("128.7.0.0", Err("class B network")),
            ("191.7.255.255", Err("class B broadcast")),
            ("192.168.7.0", Err("class C network")),
            ("223.168.7.255", Err("class C broadcast")),
            ("202.108.22", Err("IPv4 address")),
            ("2001:db8::1", Err("IPv4 address")),
            ("202.108.22.5", Ok(())),
            ("1.0.0.1", Ok(())),
            ("10.1.0.0", Ok(())),
            ("126.254.255.255", Ok(())),
            ("128.7.0.255", Ok(())),
            ("191.7.255.0", Ok(())),
            ("192.0.0.1", Ok(())),
            ("169.253.0.1", Ok(())),
        ] {
            match (customer_address(text), expected) {
                (Ok(_), Ok(())) => {}
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
                (got, expected) => panic!("{text}: {got:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn names_have_1_to_60_characters_of_any_script() {
        let long = "ü".repeat(60);
        for good in ["a", "Zürich 北京", &long] {
            assert_eq!(name(Kind::Tunnel, good).unwrap(), *good);
        }
        for wrong in ["", "  ", "a\nb", &"ü".repeat(61)] {
            assert!(
                matches!(name(Kind::Tunnel, wrong), Err(Error::InvalidName { .. })),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn host_bits_of_a_range_are_cleared() {
        assert_eq!(range("10.0.0.5/24").unwrap().to_string(), "10.0.0.0/24");
        for wrong in ["10.0.0.0", "10.0.0.0/33", "fd00::/8", ""] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
