//! Dependencies between crates that must not exist.

use anyhow::Result;

use crate::shell;

/// Our own crates that a crate of ours may depend on.
const OWN: [(&str, &[&str]); 5] = [
    ("gateway-common", &[]),
    ("gateway-ebpf", &["gateway-common"]),
    ("gateway-esp", &["gateway-common"]),
    ("gateway-ike", &["gateway-common"]),
    ("gateway-management", &["gateway-common"]),
];

/// Crates whose whole closure must be free of I/O, clocks and randomness of the system.
const PURE: [&str; 2] = ["gateway-esp", "gateway-ike"];

/// What a pure crate must not reach, directly or not.
const IMPURE: [&str; 9] = [
    "async-std",
    "getrandom",
    "mio",
    "nix",
    "rand",
    "rustix",
    "smol",
    "socket2",
    "tokio",
];

/// What a pure crate must not name itself.
const IMPURE_DIRECT: [&str; 1] = ["libc"];

/// Arrows to impure crates that are accepted. ring draws no randomness by itself: its `getrandom` is reached only through
/// `SystemRandom`, which the pure crates do not use.
const ACCEPTED: [(&str, &str); 1] = [("ring", "getrandom")];

/// Finds every forbidden arrow.
pub(super) fn problems() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (name, allowed) in OWN {
        // The tree of one package has the features that this package asks for, without those of tests: `cargo metadata`
        // has the features of the whole workspace.
        let tree = shell::output(shell::cargo().args([
            "tree",
            "--package",
            name,
            "--edges",
            "normal",
            "--prefix",
            "depth",
            "--format",
            "{p}",
        ]))?;
        found.extend(problems_of(&tree, allowed, PURE.contains(&name)));
    }
    Ok(found)
}

/// Judges the output of `cargo tree --prefix depth`: lines of a depth and a name, such as `2cipher v0.5.2`.
fn problems_of(tree: &str, allowed: &[&str], pure: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut path: Vec<&str> = Vec::new();
    for line in tree.lines() {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let (depth, rest) = line.split_at(digits);
        let Ok(depth) = depth.parse::<usize>() else {
            continue;
        };
        let name = rest.split(' ').next().unwrap_or_default();
        path.truncate(depth);
        let parent = path.last().copied().unwrap_or_default();
        path.push(name);
        let own = depth > 0 && name.starts_with("gateway-") && !allowed.contains(&name);
        let direct = depth == 1 && IMPURE_DIRECT.contains(&name);
        let reached = IMPURE.contains(&name) && !ACCEPTED.contains(&(parent, name));
        if own || (pure && (direct || reached)) {
            found.push(format!("forbidden dependency: {}", path.join(" -> ")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [&str; 0] = [];

    #[test]
    fn allowed_arrows_are_no_problem() {
        let tree = "0gateway-esp v0.1.0\n1aes v0.9.0\n2cipher v0.5.0\n1gateway-common v0.1.0\n\
                    1ring v0.17.14\n2getrandom v0.2.17\n3libc v0.2.0\n";
        assert_eq!(problems_of(tree, &["gateway-common"], true), NONE);
    }

    #[test]
    fn forbidden_arrows_are_found_with_their_path() {
        let tree = "0gateway-ike v0.1.0\n1gateway-esp v0.1.0\n1libc v0.2.0\n1helper v1.0.0\n2tokio v1.54.0\n1aes v0.9.0\n2getrandom v0.4\n";
        assert_eq!(
            problems_of(tree, &["gateway-common"], true),
            [
                "forbidden dependency: gateway-ike -> gateway-esp",
                "forbidden dependency: gateway-ike -> libc",
                "forbidden dependency: gateway-ike -> helper -> tokio",
                "forbidden dependency: gateway-ike -> aes -> getrandom",
            ]
        );
        assert_eq!(
            problems_of("0gateway-common v0.1.0\n1aya v0.14.0\n2libc v0.2.0\n", &[], false),
            NONE
        );
    }
}
