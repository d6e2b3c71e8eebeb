//! Rows as `cargo xtask bench` reads them.

use serde_json::json;

/// Several runs of one thing.
pub(crate) struct Runs(pub(crate) Vec<f64>);

impl Runs {
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// Prints a figure; with `against` as the multiple of what was measured beside it, run by run.
#[expect(clippy::print_stdout, reason = "the rows are the output of this program")]
pub(crate) fn print(name: &str, unit: &str, runs: &Runs, against: Option<(&str, &Runs)>) {
    let ratios = against.map(|(_, other)| Runs(runs.0.iter().zip(&other.0).map(|(a, b)| a / b).collect()));
    println!(
        "{}",
        json!({
            "name": name,
            "unit": unit,
            "value": runs.median(),
            "min": runs.0.iter().copied().fold(f64::INFINITY, f64::min),
            "max": runs.0.iter().copied().fold(0.0, f64::max),
            "against": against.map(|(name, _)| name),
            "ratio": ratios.map(|ratios| ratios.median()),
        })
    );
}
