//! Waiting for something to become true, with a deadline and a name for the failure.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Polls `condition` until it yields a value. `what` completes the sentence "waited 5 s for ...".
pub fn until<T>(what: &str, timeout: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if start.elapsed() > timeout {
            bail!("waited {:.1} s for {what}", timeout.as_secs_f64());
        }
        thread::sleep(INTERVAL);
    }
}
