//! `gateway diagnose`: why tunnels do not come up.

use serde::Serialize;

use super::table::{duration, hue, line, paint};
use crate::status::{FailureStatus, Status, StrangerStatus, TunnelState, TunnelStatus};

/// What is wrong, as far as the agent knows. The JSON is a contract: fields are added, never renamed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Tunnels that were asked for, or all that have something to tell.
    tunnels: Vec<TunnelReport>,
    /// Peers without a tunnel; empty when one tunnel was asked for.
    strangers: Vec<StrangerStatus>,
}

#[derive(Debug, Serialize)]
struct TunnelReport {
    id: String,
    state: TunnelState,
    state_seconds: u64,
    /// Whether it has come up since the last failure.
    mended: bool,
    /// The last failure of each code, the last one first.
    failures: Vec<FailureStatus>,
    weak: Vec<String>,
}

impl TunnelReport {
    fn new(tunnel: TunnelStatus) -> Self {
        let last = tunnel.diagnoses.first().map(|failure| failure.seconds_ago);
        Self {
            mended: tunnel.state == TunnelState::Up && last.is_some_and(|last| last >= tunnel.state_seconds),
            id: tunnel.id,
            state: tunnel.state,
            state_seconds: tunnel.state_seconds,
            failures: tunnel.diagnoses,
            weak: tunnel.weak,
        }
    }
}

impl Report {
    /// The report on one tunnel, or on all that are not up or have failed.
    pub(super) fn new(status: Status, one: bool) -> Self {
        let tells = |report: &TunnelReport| one || (!report.failures.is_empty() && !report.mended);
        Self {
            tunnels: status
                .tunnels
                .into_iter()
                .map(TunnelReport::new)
                .filter(tells)
                .collect(),
            strangers: if one { Vec::new() } else { status.strangers },
        }
    }

    /// For people.
    pub(super) fn text(&self, colour: bool) -> String {
        let mut out = String::new();
        for tunnel in &self.tunnels {
            let state = paint(colour, hue(tunnel.state), tunnel.state.name());
            let lasts = duration(tunnel.state_seconds);
            line(&mut out, format_args!("{} is {state} for {lasts}", tunnel.id));
            match (tunnel.failures.is_empty(), tunnel.mended) {
                (true, _) => line(
                    &mut out,
                    format_args!("  nothing has failed since the agent started"),
                ),
                (false, true) => line(&mut out, format_args!("  it came up after the last failure")),
                (false, false) => {}
            }
            for failure in &tunnel.failures {
                describe(&mut out, failure, colour);
            }
            for weak in &tunnel.weak {
                line(&mut out, format_args!("  weak: {weak}"));
            }
        }
        for stranger in &self.strangers {
            line(&mut out, format_args!("{} has no tunnel", stranger.peer));
            describe(&mut out, &stranger.failure, colour);
        }
        if out.is_empty() {
            line(&mut out, format_args!("nothing fails"));
        }
        out
    }
}

fn describe(out: &mut String, failure: &FailureStatus, colour: bool) {
    let code = paint(colour, "31", &failure.code);
    let last = duration(failure.seconds_ago);
    let first = duration(failure.first_seconds_ago);
    if failure.count > 1 {
        let count = failure.count;
        line(
            out,
            format_args!("  {code}, {count} times, last {last} ago, first {first} ago"),
        );
    } else {
        line(out, format_args!("  {code}, {last} ago"));
    }
    line(out, format_args!("    here    {}", failure.local));
    line(out, format_args!("    peer    {}", failure.peer));
    line(out, format_args!("    advice  {}", failure.advice));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let failure = |code: &str, seconds_ago, count| FailureStatus {
            code: code.into(),
            local: "tunnel allows aes-128/sha1/group14".into(),
            peer: "peer offers 3des/md5/group2".into(),
            advice: "set ike.encryption".into(),
            seconds_ago,
            first_seconds_ago: 90,
            count,
        };
        let tunnel = |id: &str, state, state_seconds, diagnoses| TunnelStatus {
            id: id.into(),
            state,
            state_seconds,
            diagnoses,
            ..TunnelStatus::default()
        };
        Status {
            tunnels: vec![
                tunnel("fine", TunnelState::Up, 60, vec![]),
                tunnel("mended", TunnelState::Up, 5, vec![failure("psk_mismatch", 70, 1)]),
                tunnel(
                    "broken",
                    TunnelState::Down,
                    60,
                    vec![failure("ike_proposal_mismatch", 10, 3)],
                ),
            ],
            strangers: vec![StrangerStatus {
                peer: [198, 51, 100, 9].into(),
                failure: failure("unknown_peer", 4, 1),
            }],
            ..Status::default()
        }
    }

    #[test]
    fn all_that_fails_is_told_with_both_sides_and_advice() {
        assert_eq!(
            Report::new(status(), false).text(false),
            "broken is down for 1m0s\n  \
             ike_proposal_mismatch, 3 times, last 10s ago, first 1m30s ago\n    \
             here    tunnel allows aes-128/sha1/group14\n    \
             peer    peer offers 3des/md5/group2\n    \
             advice  set ike.encryption\n\
             198.51.100.9 has no tunnel\n  \
             unknown_peer, 4s ago\n    \
             here    tunnel allows aes-128/sha1/group14\n    \
             peer    peer offers 3des/md5/group2\n    \
             advice  set ike.encryption\n"
        );
        assert_eq!(
            Report::new(Status::default(), false).text(false),
            "nothing fails\n"
        );
    }

    #[test]
    fn one_tunnel_is_told_of_whatever_its_state() {
        for (id, part) in [
            ("fine", "nothing has failed since the agent started"),
            ("mended", "it came up after the last failure"),
            ("broken", "3 times"),
        ] {
            let mut status = status();
            status.tunnels.retain(|tunnel| tunnel.id == id);
            let text = Report::new(status, true).text(false);
            assert!(text.contains(part) && !text.contains("198.51.100.9"), "{text}");
        }
    }
}
