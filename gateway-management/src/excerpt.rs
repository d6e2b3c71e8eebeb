//! What a message repeats of a value: escaped where it comes from a file, and short.

use toml::de::DeValue;

/// Longest part of a file's value that a message repeats, in characters.
const SHOWN: usize = 60;

/// The text, cut after this many characters: a refusal repeats a value, but not a megabyte of it.
pub fn clip(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// A value of a file: escaped, so that a file cannot paint on the operator's terminal. Arrays and tables are empty.
pub fn value(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => clip(format!("{text:?}"), SHOWN),
        DeValue::Integer(integer) => clip(integer.to_string(), SHOWN),
        DeValue::Float(float) => clip(float.to_string(), SHOWN),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(when) => when.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => String::new(),
    }
}

/// A key of a file, escaped too.
pub fn key(key: &str) -> String {
    clip(key.escape_debug().to_string(), SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters_and_terminals_are_not_painted() {
        assert_eq!(clip("äöü".to_owned(), 3), "äöü");
        assert_eq!(clip("äöü".to_owned(), 2), "äö...");
        assert_eq!(key("\u{1b}[31m"), "\\u{1b}[31m");
        assert_eq!(value(&DeValue::String("\u{1b}".into())), "\"\\u{1b}\"");
        assert_eq!(
            value(&DeValue::String("x".repeat(1000).into())).chars().count(),
            SHOWN + 3
        );
    }
}
