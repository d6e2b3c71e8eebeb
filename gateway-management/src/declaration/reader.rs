//! Reads one TOML table: every key is taken, or refused at the end.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Mistake;
use crate::error::Rule;
use crate::excerpt;

/// Where the lines of a file begin.
pub(super) struct Lines {
    /// Offsets of all but the first.
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self {
            starts: text.match_indices('\n').map(|(end, _)| end + 1).collect(),
        }
    }

    /// Line of an offset, counted from 1.
    pub(super) fn at(&self, offset: usize) -> usize {
        self.starts.partition_point(|&start| start <= offset) + 1
    }
}

/// A table of the document. The first mistake ends the reading.
pub(super) struct Reader<'d> {
    lines: &'d Lines,
    path: String,
    start: usize,
    table: &'d DeTable<'d>,
    known: Vec<&'static str>,
}

impl<'d> Reader<'d> {
    pub(super) fn root(lines: &'d Lines, table: &'d Spanned<DeTable<'d>>) -> Self {
        Self {
            lines,
            path: String::new(),
            start: 0,
            table: table.get_ref(),
            known: Vec::new(),
        }
    }

    /// Line of the table, counted from 1.
    pub(super) fn line(&self) -> usize {
        self.lines.at(self.start)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A string, parsed by `parse`, whose error is the rule.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Rule>,
    ) -> Result<Option<T>, Mistake> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let text = value.get_ref().as_str().ok_or(Rule::Borrowed("is a string"));
        text.and_then(parse)
            .map(Some)
            .map_err(|rule| self.mistake(key, Some(value), rule))
    }

    /// A string whose value no message repeats.
    pub(super) fn secret<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Rule>,
    ) -> Result<Option<T>, Mistake> {
        self.text(key, parse).map_err(|mistake| Mistake {
            value: String::new(),
            ..mistake
        })
    }

    pub(super) fn required<T>(&self, key: &'static str, value: Option<T>) -> Result<T, Mistake> {
        value.ok_or_else(|| self.mistake(key, None, "is required"))
    }

    /// A list of strings that is not empty.
    pub(super) fn texts<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Rule>,
    ) -> Result<Vec<T>, Mistake> {
        let items = self.texts_or_none(key, parse)?;
        if items.is_empty() {
            let value = self.take(key);
            let value = self.required(key, value)?;
            return Err(self.mistake(key, Some(value), "is a list of strings with at least one element"));
        }
        Ok(items)
    }

    /// A list of strings; an absent one is empty.
    pub(super) fn texts_or_none<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Rule>,
    ) -> Result<Vec<T>, Mistake> {
        let Some(value) = self.take(key) else {
            return Ok(Vec::new());
        };
        let Some(items) = value.get_ref().as_array() else {
            return Err(self.mistake(key, Some(value), "is a list of strings"));
        };
        let element = |item: &Spanned<DeValue<'_>>| {
            let text = item.get_ref().as_str().ok_or(Rule::Borrowed("is a string"));
            text.and_then(&parse)
                .map_err(|rule| self.mistake(key, Some(item), rule))
        };
        items.iter().map(element).collect()
    }

    /// A whole number of 32 bits.
    pub(super) fn number(&mut self, key: &'static str) -> Result<Option<u32>, Mistake> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|integer| u32::from_str_radix(integer.as_str(), integer.radix()).ok());
        number.map(Some).ok_or_else(|| {
            let rule = "is a whole number from 0 to 4294967295";
            self.mistake(key, Some(value), rule)
        })
    }

    /// A whole number or a word, as text.
    pub(super) fn number_or_word<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Rule>,
    ) -> Result<Option<T>, Mistake> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let text = match value.get_ref() {
            DeValue::Integer(integer) => Ok(integer.to_string()),
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => Err(Rule::Borrowed("is a whole number or a word")),
        };
        text.and_then(|text| parse(&text))
            .map(Some)
            .map_err(|rule| self.mistake(key, Some(value), rule))
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<bool>, Mistake> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let flag = value.get_ref().as_bool();
        flag.map(Some)
            .ok_or_else(|| self.mistake(key, Some(value), "is true or false"))
    }

    /// A table; `None` when it is absent.
    pub(super) fn table(&mut self, key: &'static str) -> Result<Option<Self>, Mistake> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.mistake(key, Some(value), "is a table"));
        };
        Ok(Some(self.below(self.field(key), value, table)))
    }

    /// A list of tables; an absent one is empty.
    pub(super) fn tables(&mut self, key: &'static str) -> Result<Vec<Self>, Mistake> {
        let Some(value) = self.take(key) else {
            return Ok(Vec::new());
        };
        let refuse = || self.mistake(key, Some(value), format!("is a list of tables: [[{key}]]"));
        let DeValue::Array(items) = value.get_ref() else {
            return Err(refuse());
        };
        let below = |(index, item): (usize, &'d Spanned<DeValue<'d>>)| match item.get_ref() {
            DeValue::Table(table) => Ok(self.below(format!("{}[{index}]", self.field(key)), item, table)),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => Err(refuse()),
        };
        items.iter().enumerate().map(below).collect()
    }

    /// Leaves sections of the machine's own alone: their presence is no mistake.
    pub(super) fn skip(&mut self, keys: &[&'static str]) {
        self.known.extend(keys);
    }

    /// Refuses a key that nobody asked for.
    pub(super) fn finish(self) -> Result<(), Mistake> {
        let unknown = self
            .table
            .iter()
            .find(|(key, _)| !self.known.contains(&key.get_ref().as_ref()));
        let Some((key, value)) = unknown else {
            return Ok(());
        };
        let rule = format!("the store has no such setting; it has {}", self.known.join(", "));
        let name = excerpt::key(key.get_ref());
        Err(Mistake {
            line: self.lines.at(key.span().start),
            ..self.mistake(&name, Some(value), rule)
        })
    }

    pub(super) fn mistake(
        &self,
        key: &str,
        value: Option<&Spanned<DeValue<'_>>>,
        rule: impl Into<Rule>,
    ) -> Mistake {
        Mistake {
            line: self
                .lines
                .at(value.map_or(self.start, |value| value.span().start)),
            field: self.field(key),
            value: value
                .map(|value| excerpt::value(value.get_ref()))
                .unwrap_or_default(),
            rule: rule.into(),
        }
    }

    fn below(&self, path: String, value: &Spanned<DeValue<'_>>, table: &'d DeTable<'d>) -> Self {
        Self {
            lines: self.lines,
            path,
            start: value.span().start,
            table,
            known: Vec::new(),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn field(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}
