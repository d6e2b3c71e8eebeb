//! Log records of the program, for `tracing`.

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Level, Log, Metadata, Record};

use super::XdpError;

pub(super) struct LogReader(EbpfLogger<Forward>);

impl LogReader {
    /// `None` when the level leaves nothing to read.
    pub(super) fn open(ebpf: &mut Ebpf, level: u8) -> Result<Option<Self>, XdpError> {
        if level == 0 {
            return Ok(None);
        }
        let logger = EbpfLogger::init_with_logger(ebpf, Forward).map_err(|e| XdpError::Log(Box::new(e)))?;
        Ok(Some(Self(logger)))
    }

    pub(super) fn drain(&mut self) {
        self.0.flush();
    }
}

struct Forward;

impl Log for Forward {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args();
        match record.level() {
            Level::Error => tracing::error!(target: "xdp", "{text}"),
            Level::Warn => tracing::warn!(target: "xdp", "{text}"),
            Level::Info => tracing::info!(target: "xdp", "{text}"),
            Level::Debug => tracing::debug!(target: "xdp", "{text}"),
            Level::Trace => tracing::trace!(target: "xdp", "{text}"),
        }
    }

    fn flush(&self) {}
}
