//! Which of the capabilities for BPF this thread lacks, for error messages.

use std::fs;

/// Number and name, capabilities(7).
const NEEDED: [(u32, &str); 3] = [(12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];
/// Stands for the newer two.
const SYS_ADMIN: u32 = 21;

/// The names, as a sentence has them; all of them when the kernel does not tell.
pub(super) fn missing() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let names = missing_from(effective(&status).unwrap_or(0));
    if names.is_empty() {
        "more privileges (a seccomp filter or a security module?)".to_owned()
    } else {
        names.join(" and ")
    }
}

/// Whether anything is missing at all.
pub(super) fn any_missing() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    effective(&status).is_some_and(|held| !missing_from(held).is_empty())
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing_from(held: u64) -> Vec<&'static str> {
    let has = |number: u32| held & 1 << number != 0;
    let lacks = |number: u32| !has(number) && (number < 32 || !has(SYS_ADMIN));
    NEEDED
        .into_iter()
        .filter(|(number, _)| lacks(*number))
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        let rows: [(u64, &[&str]); 5] = [
            (0, &["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF"]),
            (1 << 12, &["CAP_PERFMON", "CAP_BPF"]),
            (1 << 12 | 1 << 39, &["CAP_PERFMON"]),
            (1 << 12 | 1 << 21, &[]),
            (u64::MAX, &[]),
        ];
        for (held, names) in rows {
            assert_eq!(missing_from(held), names, "{held:#x}");
        }
    }

    #[test]
    fn reads_the_effective_set() {
        assert_eq!(
            effective("Name:\tx\nCapEff:\t000000c000001000\n"),
            Some(0xc0_0000_1000)
        );
        assert_eq!(effective(""), None);
    }
}
