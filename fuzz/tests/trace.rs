//! The corpora once more with everything logged: rows P16 and V6 of the attack catalogue.
//!
//! In a process of its own: what is logged is decided once for each place in a process, also by tests that log nothing.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use gateway_fuzz::TARGETS;
use gateway_fuzz::corpus::kept;
use tracing_subscriber::fmt::MakeWriter;

/// Octets of log for one input, however it lies. A story of sixty steps has the most to tell.
const MOST: usize = 256 * 1024;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Runs a target on everything that is kept for it, and returns how much was logged.
fn replay(log: &Log, name: &str, run: fn(&[u8])) -> usize {
    let mut logged = 0;
    for (path, input) in kept(name) {
        run(&input);
        let text = log.take();
        logged += text.len();
        let path = path.display();
        assert!(text.len() <= MOST, "{path}: {} octets of log", text.len());
        let control = text
            .iter()
            .find(|octet| octet.is_ascii_control() && **octet != b'\n');
        assert_eq!(control, None, "{path}: a control character in the log");
    }
    logged
}

#[test]
fn p16_v6_at_log_level_trace_the_whole_corpus_is_as_harmless_and_the_log_stays_bounded_and_printable() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let logged: usize = TARGETS
            .iter()
            .map(|target| replay(&log, target.name, target.run))
            .sum();
        assert!(logged > 1000, "{logged} octets: nothing is logged at all");
    });
}
