//! Parts that several requests and answers share.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::refusal::Refusal;
use crate::objects;
use crate::store::{Order, Page};

/// Most objects of one page, and most ids of one request.
const PAGE: u32 = 100;

/// An answer without fields.
#[derive(Serialize, JsonSchema)]
pub(super) struct Done {}

/// A whole number that some clients write as a string.
#[derive(Clone, Copy)]
pub(super) struct Number(pub(super) u32);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Digits;

        impl Visitor<'_> for Digits {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 0 to {}", u32::MAX)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Number, E> {
                let number = u32::try_from(value);
                let number =
                    number.map_err(|_out_of_range| E::invalid_value(Unexpected::Unsigned(value), &self));
                number.map(Number)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Number, E> {
                let number = value.parse();
                let number = number.map_err(|_no_number| E::invalid_value(Unexpected::Str(value), &self));
                number.map(Number)
            }
        }

        reader.deserialize_any(Digits)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        writer.serialize_u32(self.0)
    }
}

impl JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": u32::MAX,
            "pattern": "^[0-9]{1,10}$",
        })
    }
}

/// Refuses a number of an autonomous system; 0 is none.
pub(super) fn without_bgp(number: Option<u32>) -> Result<(), Refusal> {
    match number {
        None | Some(0) => Ok(()),
        Some(_) => Err(Refusal::new(
            "UnsupportedOperation.VpnUnsupportedBgp",
            "BgpAsn: BGP is not offered",
        )),
    }
}

/// Refuses another type of gateway.
pub(super) fn only_ipsec(kind: Option<&str>) -> Result<(), Refusal> {
    match kind {
        None | Some("" | "IPSEC") => Ok(()),
        Some(_) => Err(Refusal::field("Type", "is IPSEC")),
    }
}

/// A condition of a list.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Filter {
    /// What is compared.
    name: String,
    /// With what: one value.
    values: Vec<String>,
}

/// Takes the filters that an operation knows.
pub(super) struct Filters(Vec<Filter>);

impl Filters {
    pub(super) fn new(filters: Option<Vec<Filter>>) -> Self {
        Self(filters.unwrap_or_default())
    }

    /// The value of the filter with this name.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let Some(at) = self.0.iter().position(|filter| filter.name == name) else {
            return Ok(None);
        };
        let mut values = self.0.swap_remove(at).values;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(Refusal::field(&format!("Filters {name:?}"), "takes one value")),
        }
    }

    /// Refuses what nobody took.
    pub(super) fn end(self) -> Result<(), Refusal> {
        match self.0.first() {
            None => Ok(()),
            Some(filter) => {
                let shown: String = filter.name.chars().take(80).collect();
                Err(Refusal::field(
                    &format!("Filters {shown:?}"),
                    "is not known, or there twice",
                ))
            }
        }
    }
}

/// Objects on a page, unless a number is asked for.
const DEFAULT_LIMIT: u32 = 20;

/// `Offset` and `Limit`: 20 unless asked for, at most 100.
pub(super) fn page(offset: Option<u32>, limit: Option<u32>) -> Result<Page, Refusal> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=PAGE).contains(&limit) {
        return Err(Refusal::field("Limit", "is 1 to 100"));
    }
    Ok(Page {
        offset: offset.unwrap_or(0),
        limit,
        order: Order::Created,
        descending: false,
    })
}

/// `PageNumber`, from 1 on, and `PageSize`, as Cloud Monitor pages.
pub(super) fn numbered_page(number: Option<u32>, size: Option<u32>) -> Result<Page, Refusal> {
    let skipped = number.unwrap_or(1).saturating_sub(1);
    page(Some(skipped.saturating_mul(size.unwrap_or(DEFAULT_LIMIT))), size)
}

/// The page of a whole list, and how many the list has.
pub(super) fn cut<T>(items: Vec<T>, page: &Page) -> (usize, Vec<T>) {
    let total = items.len();
    let skip = usize::try_from(page.offset).unwrap_or(usize::MAX);
    let take = usize::try_from(page.limit).unwrap_or(usize::MAX);
    (total, items.into_iter().skip(skip).take(take).collect())
}

/// The one object of a list that was made from one.
pub(super) fn only<T>(mut items: Vec<T>) -> Result<T, Refusal> {
    items
        .pop()
        .ok_or_else(|| Refusal::new("InternalError", "the object is gone"))
}

/// A list of ids; `None` when there is none, or an empty one.
pub(super) fn ids(name: &str, ids: Option<Vec<String>>) -> Result<Option<Vec<String>>, Refusal> {
    match ids {
        Some(ids) if ids.len() > 100 => Err(Refusal::field(name, "has at most 100 ids")),
        ids => Ok(ids.filter(|ids| !ids.is_empty())),
    }
}

/// An empty text counts as absent: clients send both.
pub(super) fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A tag.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Tag {
    /// Unique for its object.
    key: String,
    /// May be absent.
    #[serde(default)]
    value: String,
}

impl From<Tag> for objects::Tag {
    fn from(tag: Tag) -> Self {
        Self {
            key: tag.key,
            value: tag.value,
        }
    }
}

impl From<objects::Tag> for Tag {
    fn from(tag: objects::Tag) -> Self {
        Self {
            key: tag.key,
            value: tag.value,
        }
    }
}

/// `Tags` of a request that makes an object.
pub(super) fn tags(tags: Option<Vec<Tag>>) -> Vec<objects::Tag> {
    tags.unwrap_or_default().into_iter().map(Into::into).collect()
}

/// `TagSet` of an object.
pub(super) fn tag_set(tags: Option<Vec<objects::Tag>>) -> Vec<Tag> {
    tags.unwrap_or_default().into_iter().map(Into::into).collect()
}

/// A price in whole units of its currency.
#[expect(
    clippy::cast_precision_loss,
    reason = "prices are far below 2^52 of the smallest unit"
)]
pub(super) fn decimal(price: u64, parts: f64) -> f64 {
    price as f64 / parts
}
