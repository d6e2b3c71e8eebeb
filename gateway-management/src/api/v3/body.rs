//! The body of a request: one JSON object, no deeper than needed, no key twice.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, de};
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Deepest nesting; the deepest request of the API has four levels.
const DEPTH: u8 = 16;

/// Reads a body. An empty one is an empty object.
pub(super) fn parse(octets: &[u8]) -> Result<Value, Refusal> {
    let refused =
        |error: serde_json::Error| Refusal::new("InvalidRequest", format!("the body is JSON: {error}"));
    if octets.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let mut reader = serde_json::Deserializer::from_slice(octets);
    let value = Level(DEPTH).deserialize(&mut reader).map_err(refused)?;
    reader.end().map_err(refused)?;
    if !value.is_object() {
        return Err(Refusal::new("InvalidRequest", "the body is a JSON object"));
    }
    Ok(value)
}

/// Reads a value that may be nested so deep.
#[derive(Clone, Copy)]
struct Level(u8);

impl Level {
    fn below<E: de::Error>(self) -> Result<Self, E> {
        let below = self.0.checked_sub(1);
        below
            .map(Self)
            .ok_or_else(|| E::custom(format!("nested deeper than {DEPTH} levels")))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let (below, mut values) = (self.below()?, Vec::new());
        while let Some(value) = list.next_element_seed(below)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let (below, mut fields) = (self.below()?, Map::new());
        while let Some(name) = object.next_key::<String>()? {
            let value = object.next_value_seed(below)?;
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format!("the field {name:?} is there twice")));
            }
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_object_of_bounded_depth_without_doubles() {
        assert_eq!(parse(b"").unwrap(), serde_json::json!({}));
        assert_eq!(parse(br#"{"a":[1,-2,0.5,null,true,"x"]}"#).unwrap()["a"][5], "x");
        let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(deep(15).as_bytes()).is_ok());
        for (body, part) in [
            (deep(16), "nested deeper"),
            (deep(10_000), "nested deeper"),
            (r#"{"a":1,"a":1}"#.to_owned(), "twice"),
            (r#"{"x":{"a":1,"a":2}}"#.to_owned(), "twice"),
            ("[]".to_owned(), "JSON object"),
            ("null".to_owned(), "JSON object"),
            ("{} {}".to_owned(), "trailing"),
            ("{".to_owned(), "EOF"),
            (r#"{"a":NaN}"#.to_owned(), "expected"),
            (r#"{"a":1e999}"#.to_owned(), "out of range"),
        ] {
            let refusal = parse(body.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, "InvalidRequest");
            assert!(refusal.message.contains(part), "{}", refusal.message);
        }
        assert!(parse(b"{\"a\":\"\xff\"}").is_err());
    }
}
