//! Peers that no tunnel is configured for: often a customer whose address changed, sometimes somebody who tries.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use gateway_ike::diagnosis::Diagnosis;

use crate::status::{FailureStatus, StrangerStatus};

/// How many are remembered; the one that was heard longest ago makes room.
const MAX: usize = 64;
/// At most one line of the log in this time.
const QUIET: Duration = Duration::from_secs(10);

/// The last failures of strangers.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    by_address: BTreeMap<Ipv4Addr, Stranger>,
    logged: Option<Instant>,
}

#[derive(Debug)]
struct Stranger {
    diagnosis: Diagnosis,
    first: Instant,
    last: Instant,
    count: u64,
}

impl Strangers {
    pub(super) fn fail(&mut self, now: Instant, peer: Ipv4Addr, diagnosis: Diagnosis) {
        let quiet = self
            .logged
            .is_some_and(|at| now.saturating_duration_since(at) < QUIET);
        if quiet {
            tracing::debug!(%peer, %diagnosis, "a peer without a tunnel was refused");
        } else {
            tracing::info!(%peer, %diagnosis, "a peer without a tunnel was refused");
            self.logged = Some(now);
        }
        if let Some(stranger) = self.by_address.get_mut(&peer) {
            stranger.count += 1;
            stranger.last = now;
            stranger.diagnosis = diagnosis;
            return;
        }
        if self.by_address.len() == MAX {
            let oldest = self.by_address.iter().min_by_key(|(_, stranger)| stranger.last);
            if let Some((&oldest, _)) = oldest {
                self.by_address.remove(&oldest);
            }
        }
        let stranger = Stranger {
            diagnosis,
            first: now,
            last: now,
            count: 1,
        };
        self.by_address.insert(peer, stranger);
    }

    /// The last one first.
    pub(super) fn status(&self, now: Instant) -> Vec<StrangerStatus> {
        let mut all: Vec<_> = self.by_address.iter().collect();
        all.sort_by_key(|(_, stranger)| std::cmp::Reverse(stranger.last));
        let status = |(&peer, stranger): (&Ipv4Addr, &Stranger)| StrangerStatus {
            peer,
            failure: failure_status(
                now,
                &stranger.diagnosis,
                stranger.first,
                stranger.last,
                stranger.count,
            ),
        };
        all.into_iter().map(status).collect()
    }
}

/// A failure as status shows it.
pub(super) fn failure_status(
    now: Instant,
    diagnosis: &Diagnosis,
    first: Instant,
    last: Instant,
    count: u64,
) -> FailureStatus {
    FailureStatus {
        code: diagnosis.code.name().to_owned(),
        local: diagnosis.local.clone(),
        peer: diagnosis.peer.clone(),
        advice: diagnosis.advice.clone(),
        seconds_ago: now.saturating_duration_since(last).as_secs(),
        first_seconds_ago: now.saturating_duration_since(first).as_secs(),
        count,
    }
}

#[cfg(test)]
mod tests {
    use gateway_ike::diagnosis::Code;

    use super::*;

    #[test]
    fn the_list_is_bounded_and_tells_the_last_one_first() {
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        for number in 0..200_u32 {
            let peer = Ipv4Addr::from(0x0a00_0000 + number % 100);
            let diagnosis = Diagnosis::new(Code::UnknownPeer, "no tunnel", "main mode", "add one");
            strangers.fail(now + Duration::from_secs(u64::from(number)), peer, diagnosis);
        }
        let listed = strangers.status(now + Duration::from_secs(200));
        assert_eq!(listed.len(), MAX);
        assert_eq!(listed[0].peer, Ipv4Addr::new(10, 0, 0, 99));
        assert_eq!(listed[0].failure.seconds_ago, 1);
    }
}
