//! Rules about single lines and files.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::shell;

/// A Rust file longer than this is to be split.
const MAX_LINES: usize = 800;

/// Where `unsafe` is allowed: BPF entry and context, map ABI, AF_XDP rings, BPF loader, one module per SIMD kernel, the
/// modular powers of aws-lc, the allocator of one test, and the one ioctl that no crate wraps.
const UNSAFE: [&str; 15] = [
    "gateway-common/src/abi.rs",
    "gateway-common/src/abi/",
    "gateway-ebpf/src/kernel.rs",
    "gateway-ebpf/src/kernel/",
    "gateway-ebpf/src/main.rs",
    "gateway-ebpf/src/program.rs",
    "gateway-esp/src/crypto/aes_vaes.rs",
    "gateway-esp/src/crypto/sha1_avx2.rs",
    "gateway-ike/src/crypto/dh/modp/power.rs",
    "gateway-ike/tests/heap.rs",
    "gateway-user/src/net/ethtool.rs",
    "gateway-user/src/xdp.rs",
    "gateway-user/src/xdp/",
    "gateway-user/src/xsk.rs",
    "gateway-user/src/xsk/",
];

/// A word that must not stand in code below some paths.
struct Ban {
    word: &'static str,
    below: &'static [&'static str],
    reason: &'static str,
}

const TEST_ONLY: &str = "#[cfg(test)]";

const EVERYWHERE: &[&str] = &[""];
const PURE: &[&str] = &[
    "gateway-ike/src/",
    "gateway-esp/src/",
    "gateway-common/src/",
    "gateway-ebpf/src/",
];
const DATA_PATH: &[&str] = &["gateway-user/src/dataplane", "gateway-user/src/xsk"];

/// Where lifetimes are counted.
const LIFETIMES: &[&str] = &[
    "gateway-user/src/dataplane",
    "gateway-user/src/xsk",
    "gateway-user/src/control/core",
];

// Words are put together from halves, so that this file does not find itself.
const BANS: [Ban; 16] = [
    Ban {
        word: concat!("todo", "!("),
        below: EVERYWHERE,
        reason: "unfinished code is not landed",
    },
    Ban {
        word: concat!("unimplemented", "!("),
        below: EVERYWHERE,
        reason: "unfinished code is not landed",
    },
    Ban {
        word: concat!("#[", "ignore"),
        below: EVERYWHERE,
        reason: "`cargo xtask test` picks by tier",
    },
    Ban {
        word: concat!("Instant", "::now"),
        below: PURE,
        reason: "time is an argument",
    },
    Ban {
        word: concat!("SystemTime", "::now"),
        below: PURE,
        reason: "time is an argument",
    },
    Ban {
        word: concat!("System", "Time"),
        below: LIFETIMES,
        reason: "a step of the time of day ends no lifetime",
    },
    Ban {
        word: concat!("Timestamp", "::now"),
        below: LIFETIMES,
        reason: "a step of the time of day ends no lifetime",
    },
    Ban {
        word: "std::net::UdpSocket",
        below: PURE,
        reason: "no I/O in a pure crate",
    },
    Ban {
        word: "std::fs",
        below: PURE,
        reason: "no I/O in a pure crate",
    },
    Ban {
        word: "std::env",
        below: PURE,
        reason: "no environment in a pure crate",
    },
    Ban {
        word: "tokio",
        below: DATA_PATH,
        reason: "the data path has threads of its own",
    },
    Ban {
        word: "crate::control",
        below: DATA_PATH,
        reason: "the data path does not know who commands it",
    },
    Ban {
        word: "crate::api",
        below: DATA_PATH,
        reason: "the data path does not know who commands it",
    },
    Ban {
        word: "crate::ha",
        below: DATA_PATH,
        reason: "the data path does not know who commands it",
    },
    Ban {
        word: concat!("/ho", "me/"),
        below: EVERYWHERE,
        reason: "a path of one machine",
    },
    Ban {
        word: concat!("/wo", "rk/"),
        below: EVERYWHERE,
        reason: "a path of one machine",
    },
];

/// Finds every violation in the files that git knows or would add.
pub(super) fn problems() -> Result<Vec<String>> {
    let files = shell::output(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(shell::root()),
    )?;
    // Binary files and files that were deleted but not yet committed have no lines to judge.
    let read = |path: &str| {
        Some((
            path.to_owned(),
            fs::read_to_string(shell::root().join(path)).ok()?,
        ))
    };
    let files: Vec<(String, String)> = files.lines().filter_map(read).collect();
    let for_tests: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| modules_for_tests(path, text))
        .collect();
    let judge = |(path, text): &(String, String)| problems_of(path, text, for_tests.contains(path));
    Ok(files.iter().flat_map(judge).collect())
}

/// Files that a file declares for its unit tests only: `#[cfg(test)]` and then `mod name;`.
fn modules_for_tests(path: &str, text: &str) -> Vec<String> {
    let Some((directory, file)) = path.rsplit_once('/') else {
        return Vec::new();
    };
    let below = match file.strip_suffix(".rs") {
        Some("lib" | "main") => directory.to_owned(),
        Some(module) => format!("{directory}/{module}"),
        None => return Vec::new(),
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declared = lines
        .windows(2)
        .filter(|pair| pair[0] == TEST_ONLY)
        .filter_map(|pair| {
            let name = pair[1]
                .trim_start_matches("pub(crate) ")
                .strip_prefix("mod ")?
                .strip_suffix(';')?;
            Some(format!("{below}/{name}.rs"))
        });
    declared.collect()
}

/// Judges one file. `for_tests`: nothing in it is part of the product.
fn problems_of(path: &str, text: &str, for_tests: bool) -> Vec<String> {
    let rust = path.ends_with(".rs");
    let mut found = Vec::new();
    let lines = text.lines().count();
    if rust && lines > MAX_LINES {
        found.push(format!("{path}: {lines} lines; split it before {MAX_LINES}"));
    }
    // Vectors and lock files are data of others.
    if !rust && (path.ends_with(".lock") || path.contains("vectors/")) {
        return found;
    }
    // Unit tests at the end of a file may do what the code before them may not.
    let all: Vec<&str> = text.lines().collect();
    let tests = all
        .windows(2)
        .position(|pair| pair[0] == TEST_ONLY && pair[1].ends_with('{'));
    let tests_start = if for_tests { 0 } else { tests.unwrap_or(usize::MAX) };
    let unsafe_allowed = UNSAFE.iter().any(|allowed| path.starts_with(allowed));
    for (number, line) in text.lines().enumerate() {
        let code = if rust { without_comment(line) } else { line };
        let mut report = |what: &str| found.push(format!("{path}:{}: {what}", number + 1));
        for ban in &BANS {
            let applies = ban.below.iter().any(|below| path.starts_with(below));
            let in_scope = ban.below == EVERYWHERE || (rust && number < tests_start);
            if applies && in_scope && code.contains(ban.word) {
                report(&format!("`{}`: {}", ban.word, ban.reason));
            }
        }
        if rust && !unsafe_allowed && uses_unsafe(code) {
            report("`unsafe` outside the places that ARCHITECTURE.md names");
        }
    }
    found
}

fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// An unsafe block, function, implementation or attribute; not a lint's name or a word in a string.
fn uses_unsafe(code: &str) -> bool {
    let mut rest = code;
    while let Some(at) = rest.find("unsafe") {
        let before = rest[..at].chars().next_back();
        let after = rest[at + "unsafe".len()..].trim_start();
        let word = before.is_none_or(|character| !character.is_alphanumeric() && !"_`\"".contains(character));
        if word
            && ["{", "fn ", "impl ", "extern ", "trait ", "("]
                .iter()
                .any(|next| after.starts_with(next))
        {
            return true;
        }
        rest = &rest[at + "unsafe".len()..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: usize) {
        let found = problems_of(path, text, false);
        assert_eq!(found.len(), expected, "{found:?}");
    }

    #[test]
    fn unsafe_is_for_a_few_files() {
        let block = concat!("let x = un", "safe { *p };");
        check("gateway-user/src/xsk/ring.rs", block, 0);
        check("gateway-user/src/control.rs", block, 1);
        check(
            "gateway-user/src/control.rs",
            "#![deny(unsafe_code)]\n// unsafe { }\nlet s = \"`unsafe`\";",
            0,
        );
    }

    #[test]
    fn time_is_an_argument_but_not_in_tests() {
        let now = concat!("let now = Instant", "::now();");
        check("gateway-ike/src/sa.rs", now, 1);
        check("gateway-user/src/control.rs", now, 0);
        check(
            "gateway-ike/src/sa.rs",
            &format!("#[cfg(test)]\nmod tests {{\n{now}\n}}"),
            0,
        );
    }

    #[test]
    fn a6_what_counts_lifetimes_does_not_see_the_time_of_day() {
        for now in [concat!("System", "Time::now()"), concat!("Timestamp", "::now()")] {
            check("gateway-user/src/control/core/limits.rs", now, 1);
            check("gateway-user/src/dataplane/worker.rs", now, 1);
            check("gateway-user/src/control/managed.rs", now, 0);
        }
        check(
            "gateway-ike/src/timer.rs",
            concat!("let now = System", "Time::now();"),
            1,
        );
    }

    #[test]
    fn a_module_for_tests_may_read_files() {
        let library = "mod sa;\n#[cfg(test)]\nmod captures;\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(
            modules_for_tests("gateway-esp/src/lib.rs", library),
            ["gateway-esp/src/captures.rs"]
        );
        assert_eq!(
            modules_for_tests("gateway-esp/src/sa.rs", library),
            ["gateway-esp/src/sa/captures.rs"]
        );
        let code = "use std::fs;";
        assert_eq!(problems_of("gateway-esp/src/captures.rs", code, true).len(), 0);
        check("gateway-esp/src/captures.rs", code, 1);
        check(
            "gateway-esp/src/lib.rs",
            &format!("#[cfg(test)]\nmod captures;\n{code}"),
            1,
        );
    }

    #[test]
    fn the_data_path_knows_no_runtime() {
        check(
            "gateway-user/src/dataplane/worker.rs",
            "use tokio::sync::mpsc;",
            1,
        );
        check(
            "gateway-user/src/dataplane/worker.rs",
            "// tokio would not fit here",
            0,
        );
        check("gateway-user/src/ike_io.rs", "use tokio::net::UdpSocket;", 0);
    }

    #[test]
    fn files_have_a_size() {
        check("xtask/src/x.rs", &"\n".repeat(MAX_LINES), 0);
        check("xtask/src/x.rs", &"\n".repeat(MAX_LINES + 1), 1);
    }

    #[test]
    fn paths_of_one_machine_are_found_in_any_file() {
        check("README.md", concat!("see /ho", "me/someone/x"), 1);
        check("README.md", "see /etc/ipsec-gateway", 0);
    }
}
