//! Failures on their way to the operator, each told once in a while.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::Endpoint;
use crate::config::ConnectionId;
use crate::diagnosis::{Code, Diagnosis};
use crate::event::Event;
use crate::path::Path;

/// For this long the same failure of the same peer is not told again: a peer that retries fails the same way many times.
const QUIET: Duration = Duration::from_secs(10);
/// Failures that are remembered. Beyond, those of strangers are not told at all.
const MAX_REMEMBERED: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Reports {
    told: BTreeMap<(Option<ConnectionId>, Ipv4Addr, Code), (Instant, String)>,
}

impl Reports {
    /// Whether a failure is new, and remembers it.
    fn is_new(&mut self, now: Instant, key: (Option<ConnectionId>, Ipv4Addr, Code), text: &str) -> bool {
        if let Some((at, last)) = self.told.get(&key)
            && now < *at + QUIET
            && last == text
        {
            return false;
        }
        if self.told.len() >= MAX_REMEMBERED {
            self.told.retain(|_, (at, _)| now < *at + QUIET);
            if self.told.len() >= MAX_REMEMBERED && key.0.is_none() {
                return false;
            }
        }
        self.told.insert(key, (now, text.to_owned()));
        true
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.told.retain(|(told, _, _), _| *told != Some(connection));
    }
}

impl Endpoint {
    pub(super) fn report(
        &mut self,
        now: Instant,
        connection: Option<ConnectionId>,
        path: Path,
        diagnosis: Diagnosis,
    ) {
        if self.reports.is_new(
            now,
            (connection, *path.peer.ip(), diagnosis.code),
            &diagnosis.peer,
        ) {
            tracing::debug!(peer = %path.peer, "{diagnosis}");
            self.outbox.event(Event::Failed {
                connection,
                peer: path.peer,
                diagnosis,
            });
        }
    }

    /// The tunnel changed: what is wrong from here on is news.
    pub(super) fn forget_reports(&mut self, connection: ConnectionId) {
        self.reports.forget(connection);
    }
}
