//! `docs/interop.md` says what the table of the interop tests says.

use std::fs;

use anyhow::{Context, Result};
use gateway_tests::matrix;

use crate::shell;

/// The page, from the repository's root.
const PAGE: &str = "docs/interop.md";

/// What is wrong with the page.
pub(super) fn problems() -> Result<Vec<String>> {
    let path = shell::root().join(PAGE);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(if text == matrix::page() {
        Vec::new()
    } else {
        vec![format!(
            "{PAGE} is not what tests/src/matrix.rs says: `cargo xtask test --tier interop --write` runs the table and writes it"
        )]
    })
}

/// Writes the page.
pub(crate) fn write_page() -> Result<()> {
    let path = shell::root().join(PAGE);
    fs::write(&path, matrix::page()).with_context(|| format!("write {}", path.display()))
}
