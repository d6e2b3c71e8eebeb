//! What a machine must have before a lab can be built on it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Capabilities by their bit in `CapEff` (capability.h) that the lab and the agent use.
const CAPABILITIES: [(u32, &str); 4] = [
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (21, "CAP_SYS_ADMIN"),
    (39, "CAP_BPF"),
];

/// The programs the lab starts, with the Debian package of each.
pub const PROGRAMS: [(&str, &str); 10] = [
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("ethtool", "ethtool"),
    ("tcpdump", "tcpdump"),
    ("iperf3", "iperf3"),
    ("swanctl", "strongswan-swanctl"),
    ("mount", "mount"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("ike-scan", "ike-scan"),
];

/// Files that are not programs in `PATH`, with the Debian package of each.
pub const FILES: [(&str, &str); 5] = [
    ("/usr/lib/ipsec/charon", "strongswan-charon"),
    ("/usr/lib/ipsec/starter", "strongswan-starter"),
    (
        "/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so",
        "libcharon-extra-plugins",
    ),
    (
        "/usr/lib/ipsec/plugins/libstrongswan-openssl.so",
        "libstrongswan-standard-plugins",
    ),
    (
        "/usr/lib/ipsec/plugins/libstrongswan-gcrypt.so",
        "libstrongswan-extra-plugins",
    ),
];

/// What the machine itself lacks, one sentence each. Nothing can be installed against these.
pub fn missing_from_machine() -> Vec<String> {
    let mut missing = Vec::new();
    if !cfg!(target_os = "linux") {
        return vec!["this is not Linux: the lab needs network namespaces, XDP and AF_XDP".to_owned()];
    }
    if !nix::unistd::geteuid().is_root() {
        missing.push(
            "not root: run it with sudo (it makes network namespaces and loads BPF programs)".to_owned(),
        );
    }
    let held = fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))?
            .trim()
            .to_owned();
        u64::from_str_radix(&line, 16).ok()
    });
    if nix::unistd::geteuid().is_root()
        && let Some(held) = held
    {
        for (bit, name) in CAPABILITIES {
            if held & (1 << bit) == 0 {
                missing.push(format!("root lacks {name}: run the container with --privileged"));
            }
        }
    }
    if !contains("/proc/filesystems", "bpf") {
        missing.push("the kernel has no BPF: it needs CONFIG_BPF_SYSCALL".to_owned());
    }
    if !contains("/proc/net/protocols", "XDP") {
        missing.push("the kernel has no AF_XDP sockets: it needs CONFIG_XDP_SOCKETS".to_owned());
    }
    missing
}

/// Debian packages that are missing for the lab.
pub fn missing_packages() -> Vec<&'static str> {
    let programs = PROGRAMS
        .iter()
        .filter(|(program, _)| find_program(program).is_none());
    let files = FILES.iter().filter(|(file, _)| !Path::new(file).exists());
    programs.chain(files).map(|(_, package)| *package).collect()
}

/// Finds a program in `PATH`, or where Debian puts the system's programs when `PATH` leaves them out.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// Fails with everything that keeps a lab from being built here.
pub fn check_all() -> Result<()> {
    let mut missing = missing_from_machine();
    let packages = missing_packages();
    if !packages.is_empty() {
        missing.push(format!(
            "packages are missing: {} (`cargo xtask setup` installs them)",
            packages.join(" ")
        ));
    }
    if !missing.is_empty() {
        bail!("the lab cannot run here:\n  - {}", missing.join("\n  - "));
    }
    Ok(())
}

fn contains(file: &str, word: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|found| found == word))
}
/// The file of an environment that says which packages it has. It is written last: what was not finished, or has other versions, is
/// made anew.
pub fn stamp(environment: &Path) -> PathBuf {
    environment.join("packages")
}

/// Whether these packages were installed there.
pub fn is_installed(environment: &Path, packages: &[&str]) -> bool {
    fs::read_to_string(stamp(environment)).is_ok_and(|text| text == packages.join("\n"))
}
