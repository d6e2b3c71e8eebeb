//! Form parameters, with the spellings that clients use.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::refusal::Refusal;
use crate::store::{Order, Page};

/// Parameters that one request may have.
const MOST: usize = 2000;

/// The parameters of a request.
pub(super) struct Parameters {
    /// As they came, decoded: what is signed.
    pairs: Vec<(String, String)>,
    /// By name in lower case, without the index of a group: `ikeSet.0.dhGroupName` is `ikeset.dhgroupname`.
    values: BTreeMap<String, String>,
}

impl Parameters {
    /// Decodes `application/x-www-form-urlencoded`.
    pub(super) fn parse(octets: &[u8]) -> Result<Self, Refusal> {
        let mut pairs = Vec::new();
        for part in octets
            .split(|&octet| octet == b'&')
            .filter(|part| !part.is_empty())
        {
            if pairs.len() == MOST {
                return Err(Refusal::parameter(format!("at most {MOST} parameters")));
            }
            let mut halves = part.splitn(2, |&octet| octet == b'=');
            let (key, value) = (
                halves.next().unwrap_or_default(),
                halves.next().unwrap_or_default(),
            );
            pairs.push((decode(key)?, decode(value)?));
        }
        let mut values = BTreeMap::new();
        for (key, value) in &pairs {
            if values.insert(normal(key), value.clone()).is_some() {
                return Err(Refusal::parameter(format!("{key} is there twice")));
            }
        }
        Ok(Self { pairs, values })
    }

    /// As they came, for the signature.
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// A parameter; an empty one counts as absent.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values
            .get(&name.to_ascii_lowercase())
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    /// A parameter that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name)
            .ok_or_else(|| Refusal::new(4000, "MissingParameter", format!("{name} is required")))
    }

    /// A parameter as an owned string.
    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// A whole number that must be there.
    pub(super) fn number<N: FromStr>(&self, name: &str) -> Result<N, Refusal> {
        parse(name, self.required(name)?)
    }

    /// A whole number.
    pub(super) fn optional_number<N: FromStr>(&self, name: &str) -> Result<Option<N>, Refusal> {
        self.text(name).map(|text| parse(name, text)).transpose()
    }

    /// 0 or 1.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.text(name) {
            None => Ok(None),
            Some("0") => Ok(Some(false)),
            Some("1") => Ok(Some(true)),
            Some(_) => Err(Refusal::parameter(format!("{name} is 0 or 1"))),
        }
    }

    /// The elements `name.0`, `name.1`, ... in the order of their numbers, from whichever they begin.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        let prefix = format!("{}.", name.to_ascii_lowercase());
        let mut found: Vec<(u64, &str)> = self
            .values
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?.parse().ok()?, value.as_str())))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// `offset`, `limit` (20 unless asked for, at most 50), `orderField` and `orderDirection`.
    pub(super) fn page(&self, name_field: &str) -> Result<Page, Refusal> {
        let limit = self.optional_number("limit")?.unwrap_or(20);
        if !(1..=50).contains(&limit) {
            return Err(Refusal::parameter("limit is 1 to 50"));
        }
        let order = match self.text("orderField") {
            None => Order::Created,
            Some(field) if field.eq_ignore_ascii_case("createTime") => Order::Created,
            Some(field) if field.eq_ignore_ascii_case(name_field) => Order::Name,
            Some(_) => {
                return Err(Refusal::parameter(format!(
                    "orderField is createTime or {name_field}"
                )));
            }
        };
        let descending = match self.text("orderDirection") {
            None => false,
            Some(direction) if direction.eq_ignore_ascii_case("asc") => false,
            Some(direction) if direction.eq_ignore_ascii_case("desc") => true,
            Some(_) => return Err(Refusal::parameter("orderDirection is asc or desc")),
        };
        Ok(Page {
            offset: self.optional_number("offset")?.unwrap_or(0),
            limit,
            order,
            descending,
        })
    }
}

fn parse<N: FromStr>(name: &str, text: &str) -> Result<N, Refusal> {
    let not_a_number = |_error| Refusal::parameter(format!("{name} is a whole number in its range"));
    text.trim().parse().map_err(not_a_number)
}

/// Lower case; groups of older pages have an index that means nothing.
fn normal(key: &str) -> String {
    let key = key.to_ascii_lowercase();
    for group in ["ikeset.", "ipsecset."] {
        if let Some((index, rest)) = key.strip_prefix(group).and_then(|rest| rest.split_once('.'))
            && index.bytes().all(|octet| octet.is_ascii_digit())
        {
            return format!("{group}{rest}");
        }
    }
    key
}

fn decode(octets: &[u8]) -> Result<String, Refusal> {
    let mut decoded = Vec::with_capacity(octets.len());
    let mut rest = octets.iter();
    let digit = |octet: Option<&u8>| octet.and_then(|&octet| char::from(octet).to_digit(16));
    while let Some(&octet) = rest.next() {
        match octet {
            b'+' => decoded.push(b' '),
            b'%' => {
                let value = digit(rest.next())
                    .zip(digit(rest.next()))
                    .map(|(high, low)| high * 16 + low);
                let octet = value.and_then(|value| u8::try_from(value).ok());
                decoded.push(
                    octet.ok_or_else(|| Refusal::parameter("a % is followed by two hexadecimal digits"))?,
                );
            }
            _ => decoded.push(octet),
        }
    }
    String::from_utf8(decoded).map_err(|_not_utf8| Refusal::parameter("parameters are UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Parameters {
        Parameters::parse(text.as_bytes()).ok().unwrap()
    }

    #[test]
    fn spellings_of_all_documents_are_the_same_parameter() {
        for text in [
            "IKESet.dhGroupName=group2",
            "ikeSet.0.dhGroupName=group2",
            "IKESET.1.DHGROUPNAME=group2",
        ] {
            assert_eq!(parse(text).text("IKESet.dhGroupName"), Some("group2"), "{text}");
        }
        assert_eq!(
            parse("name=Z%C3%BCrich+1%2B1&b=").text("name"),
            Some("Zürich 1+1")
        );
        assert_eq!(parse("b=").text("b"), None);
    }

    #[test]
    fn lists_begin_with_any_number_and_are_in_its_order() {
        assert_eq!(
            parse("a.10=z&a.1=x&a.2=y&ab.0=no&a.x=no").list("A"),
            ["x", "y", "z"]
        );
    }

    #[test]
    fn what_does_not_decode_is_refused() {
        for wrong in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=1&A=2", &"a&".repeat(3000)] {
            assert!(Parameters::parse(wrong.as_bytes()).is_err(), "{}", &wrong[..3]);
        }
    }

    #[test]
    fn pages_have_their_limits() {
        let page = parse("").page("vpnGwName").ok().unwrap();
        assert_eq!((page.offset, page.limit, page.descending), (0, 20, false));
        let page = parse("limit=50&offset=7&orderField=vpnGwName&orderDirection=desc")
            .page("vpnGwName")
            .ok()
            .unwrap();
        assert_eq!(
            (page.offset, page.limit, page.order, page.descending),
            (7, 50, Order::Name, true)
        );
        for wrong in [
            "limit=51",
            "limit=0",
            "limit=x",
            "offset=-1",
            "orderField=x",
            "orderDirection=up",
        ] {
            assert!(parse(wrong).page("vpnGwName").is_err(), "{wrong}");
        }
    }
}
