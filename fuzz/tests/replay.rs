//! Replays the corpora: what the fuzzer starts from, and every input that ever was a finding.

use std::fs;
use std::path::{Path, PathBuf};

use gateway_fuzz::{TARGETS, target};

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

fn replay(name: &str) {
    let target = target(name);
    let corpus = inputs(&folder("corpus", name));
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for (path, input) in corpus.into_iter().chain(inputs(&folder("regressions", name))) {
        println!("{}", path.display());
        (target.run)(&input);
        // Its neighbours too: cut at every quarter.
        for cut in 0..4 {
            (target.run)(&input[..input.len() * cut / 4]);
        }
    }
}

macro_rules! replays {
    ($($name:ident,)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

replays! {
    v1_message,
    v2_message,
    v1_encrypted,
    v2_encrypted,
    v1_fragments,
    v2_fragments,
    sequences,
    esp_open,
}
