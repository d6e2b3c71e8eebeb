//! What the agent does to its own process before it holds a secret.

use std::fs;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

use super::start_error::StartError;

/// What the agent needs, with the numbers of linux/capability.h.
const NEEDED: [(u32, &str); 5] = [
    (10, "CAP_NET_BIND_SERVICE"),
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
];
/// Contains CAP_BPF and CAP_PERFMON.
const SYS_ADMIN: u32 = 21;

/// No core dumps and no ptrace by other processes of the same user: keys stay in memory.
pub(super) fn protect() -> Result<(), StartError> {
    let failed = |what| {
        move |error: nix::errno::Errno| StartError::Process {
            what,
            source: error.into(),
        }
    };
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed("switch core dumps off"))?;
    prctl::set_dumpable(false).map_err(failed("make the process undumpable"))
}

/// Refuses to start without the capabilities, with their names.
pub(super) fn require_capabilities() -> Result<(), StartError> {
    let status = fs::read_to_string("/proc/self/status").map_err(|source| StartError::Process {
        what: "read /proc/self/status",
        source,
    })?;
    let missing = missing(effective(&status).unwrap_or(0));
    if missing.is_empty() {
        Ok(())
    } else {
        Err(StartError::Capabilities(missing.join(", ")))
    }
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing(effective: u64) -> Vec<&'static str> {
    let has = |number: u32| effective >> number & 1 == 1;
    let implied = |number| matches!(number, 38 | 39) && has(SYS_ADMIN);
    NEEDED
        .iter()
        .filter(|&&(number, _)| !has(number) && !implied(number))
        .map(|&(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_have_names() {
        assert_eq!(
            effective("Name:\tgateway\nCapEff:\t000001ffffffffff\n"),
            Some(0x1ff_ffff_ffff)
        );
        assert!(missing(0x1ff_ffff_ffff).is_empty());
        assert_eq!(missing(!(1 << 12)), ["CAP_NET_ADMIN"]);
        assert_eq!(
            missing(1 << SYS_ADMIN),
            ["CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN", "CAP_NET_RAW"]
        );
    }
}
