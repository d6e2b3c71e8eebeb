//! What is fuzzed: one function for each target, from octets to nothing. A finding is a panic.
//!
//! libFuzzer calls them from `fuzz/libfuzzer`; the corpora and everything that was ever found are replayed by an ordinary test.

pub mod corpus;
mod engine;
mod esp;
mod fragments;
mod input;
mod messages;
mod peer;
mod sequences;

/// A target: its name, which is also its folder in `fuzz/corpus`, and what it does.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// Runs it on one input.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 8] = [
    Target {
        name: "v1_message",
        run: messages::v1,
    },
    Target {
        name: "v2_message",
        run: messages::v2,
    },
    Target {
        name: "v1_encrypted",
        run: peer::v1::run,
    },
    Target {
        name: "v2_encrypted",
        run: peer::v2::run,
    },
    Target {
        name: "v1_fragments",
        run: fragments::v1,
    },
    Target {
        name: "v2_fragments",
        run: fragments::v2,
    },
    Target {
        name: "sequences",
        run: sequences::run,
    },
    Target {
        name: "esp_open",
        run: esp::run,
    },
];

/// The target of that name.
///
/// # Panics
/// There is none.
pub fn target(name: &str) -> Target {
    match TARGETS.into_iter().find(|target| target.name == name) {
        Some(target) => target,
        None => panic!("no fuzz target {name}"),
    }
}
