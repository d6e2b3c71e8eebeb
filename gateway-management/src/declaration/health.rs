//! `[tunnel.probe]` of a file.

use super::reader::Reader;
use super::{Mistake, address, within};
use crate::health::{self, HealthCheck};

/// Reads the health check of the tunnel with this id; without the table it has none.
pub(super) fn read(section: Option<Reader<'_>>, tunnel: &str) -> Result<Option<HealthCheck>, Mistake> {
    let Some(mut section) = section else {
        return Ok(None);
    };
    let mut check = HealthCheck::of(tunnel);
    let host = |text: &str| address(text).and_then(health::host);
    match (section.text("local", host)?, section.text("remote", host)?) {
        (Some(local), Some(remote)) if local == remote => {
            return Err(section.mistake("remote", None, "is another address than local"));
        }
        (Some(local), Some(remote)) => (check.local, check.remote) = (local, remote),
        (None, None) => {}
        (Some(_), None) => return Err(section.mistake("remote", None, "comes with local")),
        (None, Some(_)) => return Err(section.mistake("local", None, "comes with remote")),
    }
    for (field, key, range) in [
        (&mut check.interval_ms, "interval_ms", health::INTERVAL_MS),
        (&mut check.threshold, "threshold", health::THRESHOLD),
        (&mut check.timeout_ms, "timeout_ms", health::TIMEOUT_MS),
    ] {
        super::set(field, within(&mut section, key, range)?);
    }
    section.finish()?;
    Ok(Some(check))
}
