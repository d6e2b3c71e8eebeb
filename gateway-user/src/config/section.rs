//! Reads one TOML table: every key is either taken or a mistake.

use std::ops::RangeInclusive;

use gateway_management::excerpt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{At, Log, MistakeKind, Place, Rule};

/// A table of the document that is being read.
///
/// Wrong values are recorded and read as absent, so that one pass finds every mistake.
pub(super) struct Section<'d> {
    log: &'d Log,
    place: Place,
    table: &'d DeTable<'d>,
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    pub(super) fn root(log: &'d Log, table: &'d Spanned<DeTable<'d>>) -> Self {
        let place = Place {
            offset: 0,
            field: String::new(),
            shown: String::new(),
        };
        Self {
            log,
            place,
            table: table.get_ref(),
            known: Vec::new(),
        }
    }

    /// Where the table itself begins.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// A string, parsed by `parse`, whose error is the rule that the string breaks.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Rule>,
    ) -> Option<At<T>> {
        let (value, place) = self.take(key)?;
        parse_text(self.log, value, place, parse)
    }

    /// A string that must be there.
    pub(super) fn required_text<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Rule>,
    ) -> Option<At<T>> {
        self.require(key);
        self.text(key, parse)
    }

    /// A secret string: messages do not repeat it.
    pub(super) fn secret<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Rule>,
    ) -> Option<At<T>> {
        let (value, mut place) = self.take(key)?;
        place.shown.clear();
        parse_text(self.log, value, place, parse)
    }

    /// A list of strings that must be there and must not be empty.
    pub(super) fn required_texts<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Rule>,
    ) -> Vec<At<T>> {
        self.require(key);
        self.texts(key, parse)
    }

    /// A list of strings that must not be empty; an absent one reads as empty.
    pub(super) fn texts<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Rule>,
    ) -> Vec<At<T>> {
        let given = self.take(key);
        if let Some((value, place)) = &given
            && value.get_ref().as_array().is_some_and(|items| items.is_empty())
        {
            self.log.mistake(place, "has at least one element");
        }
        self.list(given, parse)
    }

    /// A list of strings, which may be empty; `None` when it is absent.
    pub(super) fn texts_or_none<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Rule>,
    ) -> Option<Vec<At<T>>> {
        let given = self.take(key);
        given.is_some().then(|| self.list(given, parse))
    }

    fn list<T>(
        &self,
        given: Option<(&'d Spanned<DeValue<'d>>, Place)>,
        parse: impl Fn(&str) -> Result<T, Rule>,
    ) -> Vec<At<T>> {
        let Some((value, place)) = given else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.log.mistake(&place, "is a list of strings");
            return Vec::new();
        };
        let element = |(index, item): (usize, &'d Spanned<DeValue<'d>>)| {
            let field = format!("{}[{index}]", place.field);
            parse_text(
                self.log,
                item,
                Place {
                    offset: item.span().start,
                    field,
                    shown: excerpt::value(item.get_ref()),
                },
                &parse,
            )
        };
        items.iter().enumerate().filter_map(element).collect()
    }

    /// A whole number within `range`.
    pub(super) fn number<N: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<At<N>> {
        let (value, place) = self.take(key)?;
        let number = whole_number(value.get_ref()).filter(|number| range.contains(number));
        let Some(number) = number.and_then(|number| N::try_from(number).ok()) else {
            self.log.mistake(
                &place,
                format!("is a whole number from {} to {}", range.start(), range.end()),
            );
            return None;
        };
        Some(At { value: number, place })
    }

    /// A value that is a whole number or a word, parsed by `parse`.
    pub(super) fn number_or_word<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(NumberOrWord<'_>) -> Result<T, Rule>,
    ) -> Option<At<T>> {
        let (value, place) = self.take(key)?;
        let number = || whole_number(value.get_ref()).map_or(NumberOrWord::Neither, NumberOrWord::Number);
        let input = value.get_ref().as_str().map_or_else(number, NumberOrWord::Word);
        parse(input)
            .map_err(|rule| self.log.mistake(&place, rule))
            .ok()
            .map(|value| At { value, place })
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<At<bool>> {
        let (value, place) = self.take(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.log.mistake(&place, "is true or false");
        }
        flag.map(|value| At { value, place })
    }

    /// A table; an absent one reads as empty.
    pub(super) fn table(&mut self, key: &'static str) -> Self {
        static EMPTY: std::sync::LazyLock<DeTable<'static>> = std::sync::LazyLock::new(DeTable::new);
        let absent = Place {
            field: self.path(key),
            shown: String::new(),
            ..self.place
        };
        let (place, table) = match self.take(key) {
            None => (absent, &*EMPTY),
            Some((value, place)) => {
                let table = value.get_ref().as_table();
                if table.is_none() {
                    self.log.mistake(&place, format!("is a table: [{}]", place.field));
                }
                (
                    Place {
                        shown: String::new(),
                        ..place
                    },
                    table.unwrap_or(&EMPTY),
                )
            }
        };
        Self {
            log: self.log,
            place,
            table,
            known: Vec::new(),
        }
    }

    /// A list of tables; an absent one reads as empty.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some((value, place)) = self.take(key) else {
            return Vec::new();
        };
        let not_tables = || {
            self.log
                .mistake(&place, format!("is a list of tables: [[{key}]]"))
        };
        let DeValue::Array(items) = value.get_ref() else {
            not_tables();
            return Vec::new();
        };
        let section = |(index, item): (usize, &'d Spanned<DeValue<'d>>)| {
            let DeValue::Table(table) = item.get_ref() else {
                not_tables();
                return None;
            };
            let field = format!("{}[{index}]", place.field);
            let place = Place {
                offset: item.span().start,
                field,
                shown: String::new(),
            };
            Some(Self {
                log: self.log,
                place,
                table,
                known: Vec::new(),
            })
        };
        items.iter().enumerate().filter_map(section).collect()
    }

    /// Where the value of `key` stands, or the table itself where it is absent.
    pub(super) fn place_of(&self, key: &'static str) -> Place {
        self.table.get(key).map_or_else(
            || self.place.clone(),
            |value| Place {
                offset: value.span().start,
                field: self.path(key),
                shown: excerpt::value(value.get_ref()),
            },
        )
    }

    /// Whether the file has `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Records that `key` is missing unless it is there.
    pub(super) fn require(&self, key: &'static str) {
        if !self.has(key) {
            let place = Place {
                field: self.path(key),
                ..self.place.clone()
            };
            self.log.mistake(&place, "is required");
        }
    }

    /// Records every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, value) in self
            .table
            .iter()
            .filter(|(key, _)| !self.known.contains(&key.get_ref().as_ref()))
        {
            let field = self.path(&excerpt::key(key.get_ref()));
            let place = Place {
                offset: key.span().start,
                field,
                shown: excerpt::value(value.get_ref()),
            };
            let known = self.known.join(", ");
            self.log
                .mistake(&place, format!("unknown key; known here: {known}"));
        }
    }

    fn take(&mut self, key: &'static str) -> Option<(&'d Spanned<DeValue<'d>>, Place)> {
        self.known.push(key);
        let value = self.table.get(key)?;
        Some((
            value,
            Place {
                offset: value.span().start,
                field: self.path(key),
                shown: excerpt::value(value.get_ref()),
            },
        ))
    }

    fn path(&self, key: &str) -> String {
        if self.place.field.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.place.field)
        }
    }
}

/// A value of a field that takes numbers and words.
#[derive(Clone, Copy)]
pub(super) enum NumberOrWord<'a> {
    Number(u64),
    Word(&'a str),
    Neither,
}

/// Records what the TOML parser refused.
pub(super) fn record_syntax_error(log: &Log, error: &toml::de::Error) {
    let offset = error.span().map_or(0, |span| span.start);
    let place = Place {
        offset,
        field: String::new(),
        shown: String::new(),
    };
    log.record(
        &place,
        format!("not TOML: {}", error.message()).into(),
        MistakeKind::Syntax,
    );
}

fn parse_text<T>(
    log: &Log,
    value: &Spanned<DeValue<'_>>,
    place: Place,
    parse: impl FnOnce(&str) -> Result<T, Rule>,
) -> Option<At<T>> {
    let parsed = value
        .get_ref()
        .as_str()
        .ok_or(Rule::Borrowed("is a string"))
        .and_then(parse);
    parsed
        .map_err(|rule| log.mistake(&place, rule))
        .ok()
        .map(|value| At { value, place })
}

fn whole_number(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
