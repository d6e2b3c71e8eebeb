//! The inputs that are kept: what the fuzzer starts from, and every input that ever was a finding.

use std::fs;
use std::path::{Path, PathBuf};

fn folder(kind: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(name)
}

fn inputs(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut inputs: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .map(|path| (path.clone(), fs::read(&path).expect("a readable file")))
        .collect();
    inputs.sort();
    inputs
}

/// Everything that is kept for a target, with its files.
///
/// # Panics
/// There is nothing, or a file cannot be read.
pub fn kept(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut kept = inputs(&folder("corpus", name));
    assert!(!kept.is_empty(), "{name} has no corpus");
    kept.extend(inputs(&folder("regressions", name)));
    kept
}
