//! Tables of docs/performance.md, one between a pair of markers for each subject.

use std::fs;

use anyhow::{Context, Result};

use super::{Row, Subject};
use crate::shell;

const PAGE: &str = "docs/performance.md";

/// Columns of the tables.
pub(super) const HEADER: [&str; 6] = ["what", "unit", "median", "min", "max", "against"];

/// A row as text.
pub(super) fn cells(row: &Row) -> Vec<String> {
    let number = |value: f64| match value {
        value if value.abs() < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    };
    let against = match (&row.against, row.ratio) {
        (Some(against), Some(ratio)) => format!("{ratio:.2} x {against}"),
        _ => String::new(),
    };
    vec![
        row.name.clone(),
        row.unit.clone(),
        number(row.value),
        number(row.min),
        number(row.max),
        against,
    ]
}

/// Replaces a subject's table in the page.
pub(super) fn write(subject: Subject, rows: &[Row]) -> Result<()> {
    let path = shell::root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("read {PAGE}"))?;
    let table: Vec<String> = [
        HEADER.map(str::to_owned).to_vec(),
        ["---"; 6].map(str::to_owned).to_vec(),
    ]
    .into_iter()
    .chain(rows.iter().map(cells))
    .map(|cells| format!("| {} |\n", cells.join(" | ")))
    .collect();
    let name = subject.name();
    let page =
        replace(&page, name, &table.concat()).with_context(|| format!("{PAGE} has no place for {name}"))?;
    Ok(fs::write(&path, page)?)
}

fn replace(page: &str, name: &str, table: &str) -> Option<String> {
    let (start, end) = (format!("<!-- bench {name} -->\n"), format!("<!-- end {name} -->"));
    let (before, rest) = page.split_once(&start)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{start}{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_subjects_own_table_is_replaced() {
        let page = "a\n<!-- bench xdp -->\nold\n<!-- end xdp -->\nb\n<!-- bench esp -->\n<!-- end esp -->\n";
        let expected =
            "a\n<!-- bench xdp -->\nnew\n<!-- end xdp -->\nb\n<!-- bench esp -->\n<!-- end esp -->\n";
        assert_eq!(replace(page, "xdp", "new\n").as_deref(), Some(expected));
        assert_eq!(replace(page, "lab", "new\n"), None);
    }
}
