//! Running the program on a packet without an interface, `BPF_PROG_TEST_RUN`.

use std::time::Duration;

use aya::programs::{TestRun as _, TestRunOptions, Xdp};

use super::{PROGRAM, XdpError, XdpProgram};

/// Room for metadata.
const HEADROOM: usize = 256;

/// Outcome of [`XdpProgram::test_run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// What the program returned: 1 for `XDP_DROP`, 2 for `XDP_PASS`, 4 for `XDP_REDIRECT`.
    pub action: u32,
    /// The packet afterwards, with the metadata that the program put in front of it.
    pub data: Vec<u8>,
    /// Mean time of a run.
    pub duration: Duration,
}

impl XdpProgram {
    /// Runs the program `repeat` times on a packet that comes in on queue 0 of the loopback interface (index 1).
    ///
    /// The packet is not restored between the runs; the program changes nothing of it but the metadata in front.
    ///
    /// # Errors
    ///
    /// The kernel refuses packets shorter than an Ethernet header.
    pub fn test_run(&self, packet: &[u8], repeat: u32) -> Result<TestRun, XdpError> {
        let program: &Xdp = self
            .ebpf
            .program(PROGRAM)
            .and_then(|program| program.try_into().ok())
            .ok_or(XdpError::IncompleteObject(PROGRAM))?;
        let mut data = vec![0; packet.len() + HEADROOM];
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.data_out = Some(&mut data);
        options.repeat = repeat;
        let result = program.test_run(options).map_err(XdpError::TestRun)?;
        data.truncate(usize::try_from(result.data_size_out).unwrap_or(usize::MAX));
        Ok(TestRun {
            action: result.return_value,
            data,
            duration: result.duration,
        })
    }
}
