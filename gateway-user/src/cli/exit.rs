//! Exit codes of the binary. Documented, stable: service managers and scripts rely on them.

use std::process::ExitCode;

/// Why the process ended.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All is well.
    Success = 0,
    /// Something that has no number of its own; the message says what.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration has mistakes.
    Configuration = 3,
    /// The process lacks a capability.
    Capability = 4,
    /// The kernel lacks a feature.
    KernelFeature = 5,
    /// UDP port 500 or 4500, or the metrics port, belongs to another process.
    PortInUse = 6,
    /// Another agent runs with the same control socket.
    AnotherInstance = 7,
    /// No agent answers on the control socket.
    NoAgent = 8,
    /// A configured interface does not exist (`gateway check --live`).
    Interface = 9,
    /// Others may read a file with a pre-shared key.
    KeyFileMode = 10,
    /// A gateway's address is not configured on this machine.
    Address = 11,
    /// The agent refused the command.
    Refused = 12,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The list that `--help` prints.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
   0  success
   1  something without a number of its own; the message says what
   2  wrong command line
   3  the configuration has mistakes
   4  a capability is missing
   5  the kernel lacks a feature
   6  a port belongs to another process
   7  another agent runs
   8  no agent answers on the control socket
   9  a configured interface does not exist
  10  others may read a file with a pre-shared key
  11  a gateway's address is not configured on this machine
  12  the agent refused the command";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_code() {
        let listed: Vec<_> = EXIT_CODES
            .lines()
            .skip(1)
            .filter_map(|line| line.get(..4)?.trim().parse::<u8>().ok())
            .collect();
        let last = Exit::Refused as u8;
        assert_eq!(listed, (0..=last).collect::<Vec<_>>());
    }
}
