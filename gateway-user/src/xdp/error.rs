//! What can go wrong with the XDP program.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

use super::capability;

/// Why the XDP program could not be loaded, attached or given data.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// The operator's matter: start as root, or with the capabilities.
    #[error("{operation} needs {missing}, as root has")]
    MissingCapability {
        /// What was refused.
        operation: &'static str,
        /// The capabilities that this process lacks.
        missing: String,
    },
    /// The kernel is too old, or built without the feature.
    #[error("the kernel does not support {feature}; Linux 6.1 with BPF and AF_XDP is needed")]
    UnsupportedKernel {
        /// What is missing.
        feature: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The object in this binary does not pass the verifier of this kernel.
    #[error("the kernel's verifier refused the XDP program: {reason}")]
    Verifier {
        /// The last thing the verifier said.
        reason: String,
        /// All of it.
        log: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The object was built against another version of the map layout.
    #[error("the XDP program has ABI version {found}, this agent needs {expected}")]
    AbiMismatch {
        /// Version of this agent.
        expected: u32,
        /// Version in the object.
        found: u32,
    },
    /// Not an ELF file.
    #[error("the XDP program is not an ELF object")]
    NotAnObject(#[source] object::Error),
    /// The object lacks a program, a map or a global.
    #[error("the XDP program has no {0}")]
    IncompleteObject(&'static str),
    /// Anything else that happened while loading.
    #[error("the XDP program could not be loaded")]
    Load(#[source] Box<EbpfError>),
    /// No such interface, or another one than the caller means.
    #[error("there is no network interface {name} with index {ifindex}")]
    MissingInterface {
        /// Name of the interface.
        name: String,
        /// Its index.
        ifindex: u32,
    },
    /// The index is beyond the size that the map was loaded with.
    #[error("interface index {ifindex} is beyond the {max} that the program was loaded for")]
    IfindexTooHigh {
        /// Index of the interface.
        ifindex: u32,
        /// Entries of the map.
        max: u32,
    },
    /// Attaching first would let protected traffic through in the clear.
    #[error("interface {name} has no role yet: set_iface comes before attach")]
    InterfaceNotConfigured {
        /// Name of the interface.
        name: String,
    },
    /// Someone else's program is there.
    #[error(
        "another XDP program is attached to interface {name}: detach it with `ip link set dev {name} xdp off`"
    )]
    ForeignProgram {
        /// Name of the interface.
        name: String,
    },
    /// Changing the mode would need a moment without a program.
    #[error(
        "interface {name} is attached in {attached} mode, not in {wanted} mode: run `gateway detach` first"
    )]
    OtherMode {
        /// Name of the interface.
        name: String,
        /// Mode of the link that is there.
        attached: super::AttachedMode,
        /// Mode that was asked for.
        wanted: super::AttachedMode,
    },
    /// The driver refused.
    #[error("the XDP program could not be attached to interface {name} in {mode} mode")]
    Attach {
        /// Name of the interface.
        name: String,
        /// Mode that was tried.
        mode: super::AttachedMode,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Pins are files of a special file system.
    #[error("{} is not on a BPF file system: mount one with `mount -t bpf bpf /sys/fs/bpf`", path.display())]
    NotBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// A pin could not be made, opened or removed.
    #[error("the pin {} could not be used", path.display())]
    Pin {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The map has as many entries as it was loaded for.
    #[error("the map {map} is full")]
    MapFull {
        /// Name of the map.
        map: &'static str,
    },
    /// A map refused an entry or a look.
    #[error("the map {map} refused an operation")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// The reason.
        #[source]
        source: MapError,
    },
    /// The log ring of the program could not be read.
    #[error("the log of the XDP program could not be opened")]
    Log(#[source] Box<aya_log::Error>),
    /// The state of an interface could not be read.
    #[error("the kernel did not tell what is attached to interface {name}")]
    Query {
        /// Name of the interface.
        name: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A test run of the program failed.
    #[error("the kernel could not run the XDP program on a test packet")]
    TestRun(#[source] ProgramError),
}

impl XdpError {
    pub(super) fn from_load(error: EbpfError) -> Self {
        let (feature, source) = if let EbpfError::MapError(MapError::CreateError { name, io_error }) = &error
        {
            (format!("the map {name}"), io_error)
        } else if let EbpfError::MapError(MapError::SyscallError(syscall)) = &error {
            (syscall.call.to_owned(), &syscall.io_error)
        } else {
            return Self::Load(Box::new(error));
        };
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::missing_capability(LOADING),
            Some(number @ (libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP)) => Self::UnsupportedKernel {
                feature,
                source: io::Error::from_raw_os_error(number),
            },
            Some(_) | None => Self::Load(Box::new(error)),
        }
    }

    pub(super) fn from_program_load(error: ProgramError) -> Self {
        let ProgramError::LoadError {
            io_error,
            verifier_log,
        } = error
        else {
            return Self::Load(Box::new(error.into()));
        };
        // Without CAP_PERFMON the verifier forbids arithmetic that it otherwise allows, and says so in its own words.
        let refused = matches!(io_error.raw_os_error(), Some(libc::EPERM | libc::EACCES));
        if refused && capability::any_missing() {
            return Self::missing_capability(LOADING);
        }
        let log = verifier_log.to_string();
        Self::Verifier {
            reason: last_words(&log),
            log,
            source: io_error,
        }
    }

    pub(super) fn missing_capability(operation: &'static str) -> Self {
        Self::MissingCapability {
            operation,
            missing: capability::missing(),
        }
    }

    /// The kernel's words for a full hash are E2BIG, for a full trie ENOSPC.
    pub(super) fn from_map(map: &'static str, source: MapError) -> Self {
        if let MapError::SyscallError(syscall) = &source
            && matches!(syscall.io_error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC))
        {
            return Self::MapFull { map };
        }
        Self::Map { map, source }
    }
}

const LOADING: &str = "loading the XDP program";

/// The verifier ends with statistics; the reason is in the line before.
fn last_words(log: &str) -> String {
    let mut lines = log.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    lines
        .find(|line| !line.starts_with("processed "))
        .unwrap_or("it gave no reason")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_the_verifier_said_last() {
        let log = "0: (bf) r7 = r1\nmisaligned stack access off 0+0+-28 size 8\nprocessed 1141 insns (limit 1000000)\n\n";
        assert_eq!(last_words(log), "misaligned stack access off 0+0+-28 size 8");
        assert_eq!(last_words(""), "it gave no reason");
    }
}
