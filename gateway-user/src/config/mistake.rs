//! What is wrong with a configuration, with the place an editor can jump to.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// The rule that a value breaks, as a sentence fragment for the operator.
pub type Rule = std::borrow::Cow<'static, str>;

/// What sort of mistake it is; decides the exit code when all mistakes of a file are of one sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MistakeKind {
    /// Not TOML.
    Syntax,
    /// A value, key or combination that a rule forbids.
    Rule,
    /// A file with a pre-shared key that others may read.
    KeyFileMode,
}

/// One mistake: where it stands, what stands there and which rule it breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Line, counted from 1.
    pub line: usize,
    /// Path of the field: `tunnel[0].spd[0].peer[1]`.
    pub field: String,
    /// The value as it stands in the file; empty where there is none or where it is secret.
    pub value: String,
    /// The rule.
    pub rule: Rule,
    /// What sort of mistake it is.
    pub kind: MistakeKind,
}

/// Everything that is wrong with one file. Nothing of the file was put into effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The file.
    pub file: PathBuf,
    /// The mistakes in the order of their lines. Never empty.
    pub mistakes: Vec<Mistake>,
}

impl Refused {
    /// Whether nothing is wrong except that others may read files with pre-shared keys.
    pub fn only_key_file_modes(&self) -> bool {
        self.mistakes
            .iter()
            .all(|mistake| mistake.kind == MistakeKind::KeyFileMode)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Mistake {
            line,
            field,
            value,
            rule,
            ..
        } in &self.mistakes
        {
            write!(f, "{}:{line}: ", self.file.display())?;
            match (field.is_empty(), value.is_empty()) {
                (true, _) => writeln!(f, "{rule}")?,
                (false, true) => writeln!(f, "{field}: {rule}")?,
                (false, false) => writeln!(f, "{field} = {value}: {rule}")?,
            }
        }
        let count = self.mistakes.len();
        write!(
            f,
            "{count} mistake{}; nothing was changed",
            if count == 1 { "" } else { "s" }
        )
    }
}

impl std::error::Error for Refused {}

/// Where a value stands and what stands there.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Octets from the start of the file.
    pub(super) offset: usize,
    /// Path of the field.
    pub(super) field: String,
    /// The value as shown to the operator.
    pub(super) shown: String,
}

/// A value that remembers where it was read, for the rules that compare values.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// Collects mistakes while a file is read.
#[derive(Debug)]
pub(super) struct Log {
    /// Offsets at which lines begin.
    lines: Vec<usize>,
    mistakes: RefCell<Vec<(usize, Mistake)>>,
}

impl Log {
    pub(super) fn new(text: &str) -> Self {
        let starts = text
            .bytes()
            .enumerate()
            .filter(|&(_, octet)| octet == b'\n')
            .map(|(at, _)| at + 1);
        Self {
            lines: std::iter::once(0).chain(starts).collect(),
            mistakes: RefCell::default(),
        }
    }

    /// Records that the value at `place` breaks `rule`.
    pub(super) fn mistake(&self, place: &Place, rule: impl Into<Rule>) {
        self.record(place, rule.into(), MistakeKind::Rule);
    }

    pub(super) fn record(&self, place: &Place, rule: Rule, kind: MistakeKind) {
        let mistake = Mistake {
            line: self.line(place.offset),
            field: place.field.clone(),
            value: place.shown.clone(),
            rule,
            kind,
        };
        self.mistakes.borrow_mut().push((place.offset, mistake));
    }

    /// Line of an offset, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|&start| start <= offset)
    }

    /// The mistakes in the order of the file.
    pub(super) fn finish(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|&(offset, _)| offset);
        mistakes.into_iter().map(|(_, mistake)| mistake).collect()
    }
}
