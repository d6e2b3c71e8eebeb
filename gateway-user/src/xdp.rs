//! The XDP program: loading it, attaching it, and its maps with their types.
//!
//! ```text
//! XdpProgram::load -> change_space, put_local_addr, set_limiter, set_xsk -> set_iface -> attach
//! ```
//!
//! What is pinned outlives the process: a packet that a policy protects meets the program until someone says
//! [`XdpProgram::detach_pinned`], and a program without a worker drops it. The next process loads its own program and maps, fills
//! them, and [`XdpProgram::attach`] puts the new program in the place of the old one in one step.

mod attach;
mod capability;
mod error;
mod interface;
mod log;
mod maps;
mod object;
mod options;
mod pins;
mod test_run;

use aya::{
    Ebpf, EbpfLoader,
    programs::{Xdp, links::FdLink},
};

pub use attach::{AttachedMode, XdpMode};
pub use error::XdpError;
pub use maps::SpdSpace;
pub use object::embedded_object;
pub use options::LoadOptions;
pub use test_run::TestRun;

use maps::Maps;
use pins::PinDir;

/// Name of the program in the object.
const PROGRAM: &str = "gateway";
/// Its map for its own use.
const FLOWS: &str = "FLOWS";

/// The loaded program and its maps.
pub struct XdpProgram {
    ebpf: Ebpf,
    maps: Maps,
    log: Option<log::LogReader>,
    pins: Option<PinDir>,
    /// Links that no pin keeps: they end with the process.
    links: Vec<FdLink>,
}

impl XdpProgram {
    /// Loads the program that this binary carries.
    ///
    /// # Errors
    ///
    /// [`XdpError`] says which of these it was: no privilege, no kernel support, the verifier, `pin_dir` not on a bpffs.
    pub fn load(options: &LoadOptions) -> Result<Self, XdpError> {
        Self::load_object(embedded_object(), options)
    }

    /// Loads another build of the program.
    ///
    /// # Errors
    ///
    /// As [`XdpProgram::load`], and [`XdpError::AbiMismatch`] for a build against another version of `gateway_common::abi`.
    pub fn load_object(object: &[u8], options: &LoadOptions) -> Result<Self, XdpError> {
        object::require_abi(object)?;
        let pins = options.pin_dir.as_deref().map(PinDir::open).transpose()?;
        let mut loader = EbpfLoader::new();
        for (map, entries) in options.map_sizes() {
            loader.map_max_entries(map, entries);
        }
        if !options.flow_cache {
            // Nearly every slot is then beyond the end, and its packets are looked up.
            loader.map_max_entries(FLOWS, 1);
        }
        let log_level = options.log_level_number();
        loader.override_global(aya_log::LEVEL, &log_level, true);
        let mut ebpf = loader.load(object).map_err(XdpError::from_load)?;
        program(&mut ebpf)?.load().map_err(XdpError::from_program_load)?;
        if let Some(pins) = &pins {
            pins.pin_maps(&ebpf)?;
        }
        let log = log::LogReader::open(&mut ebpf, log_level)?;
        let maps = Maps::take(&mut ebpf)?;
        Ok(Self {
            ebpf,
            maps,
            log,
            pins,
            links: Vec::new(),
        })
    }

    /// Hands the program's log records to `tracing`, target "xdp". Does not wait.
    pub fn drain_logs(&mut self) {
        if let Some(log) = &mut self.log {
            log.drain();
        }
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp, XdpError> {
    let program = ebpf
        .program_mut(PROGRAM)
        .ok_or(XdpError::IncompleteObject(PROGRAM))?;
    program.try_into().ok().ok_or(XdpError::IncompleteObject(PROGRAM))
}
