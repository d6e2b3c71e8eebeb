//! `gateway watch`: what changed between two looks at the agent.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::arguments::Watch;
use super::exit::Exit;
use super::table;
use crate::control_socket::{self, Request, Response};
use crate::status::{Status, TunnelStatus};

/// Something that changed. The JSON is a contract: kinds and fields are added, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Change {
    /// A tunnel is in another state.
    State {
        tunnel: String,
        from: &'static str,
        to: &'static str,
    },
    /// The IKE SA of a tunnel is another one.
    IkeSa {
        tunnel: String,
        initiator_spi: String,
        responder_spi: String,
        algorithms: String,
    },
    /// A negotiation failed.
    Failure {
        tunnel: String,
        code: String,
        local: String,
        peer: String,
        advice: String,
    },
    /// A tunnel was made.
    Added { tunnel: String, state: &'static str },
    /// A tunnel was deleted.
    Removed { tunnel: String },
    /// Something keeps the gateway from serving.
    Problem { problem: String },
    /// It does not any more.
    Solved { problem: String },
    /// Another configuration is in effect.
    Configuration { generation: u64 },
    /// The agent does not answer.
    AgentGone { reason: String },
    /// The agent answers again.
    AgentBack {},
}

/// A change with its time.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    change: &'a Change,
}

/// Prints changes until the process is ended, or nobody reads.
pub(super) fn run(wanted: &Watch) -> Exit {
    let socket = match super::socket_of(&wanted.agent) {
        Ok(socket) => socket,
        Err(exit) => return exit,
    };
    let request = Request::Status {
        tunnel: wanted.tunnel.clone(),
    };
    let mut last = match super::ask_status(&wanted.agent, wanted.tunnel.clone()) {
        Ok(status) => status,
        Err(exit) => return exit,
    };
    if !wanted.json {
        let states = last.tunnels.iter().map(|tunnel| tunnel.state.name());
        let mut counts = BTreeMap::<_, usize>::new();
        states.for_each(|state| *counts.entry(state).or_default() += 1);
        let counts: Vec<_> = counts
            .iter()
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        println!("watching {} tunnels: {}", last.tunnels.len(), counts.join(", "));
    }
    let mut gone = false;
    loop {
        std::thread::sleep(Duration::from_secs(wanted.interval.into()));
        let mut changes = Vec::new();
        match control_socket::ask(&socket, &request) {
            Ok(Response::Status(status)) => {
                if std::mem::take(&mut gone) {
                    changes.push(Change::AgentBack {});
                }
                changes.extend(compare(&last, &status));
                last = status;
            }
            Ok(Response::Refused(sentence) | Response::Done(sentence) | Response::Mistakes(sentence)) => {
                // The only tunnel that was watched is gone.
                eprintln!("{sentence}");
                return Exit::Refused;
            }
            Ok(Response::Api(_)) => {}
            Err(error) if !gone => {
                gone = true;
                changes.push(Change::AgentGone {
                    reason: error.to_string(),
                });
            }
            Err(_) => {}
        }
        let now = SystemTime::now();
        for change in &changes {
            if print(change, now, wanted.json).is_err() {
                return Exit::Success;
            }
        }
    }
}

fn print(change: &Change, now: SystemTime, json: bool) -> std::io::Result<()> {
    let time = table::utc(now);
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&Line { time, change })?)?;
    } else {
        writeln!(out, "{time}  {}", text(change))?;
    }
    out.flush()
}

fn text(change: &Change) -> String {
    match change {
        Change::State { tunnel, from, to } => format!("{tunnel}: {from} -> {to}"),
        Change::IkeSa {
            tunnel,
            initiator_spi,
            responder_spi,
            algorithms,
        } => format!("{tunnel}: IKE SA {initiator_spi} - {responder_spi}, {algorithms}"),
        Change::Failure {
            tunnel,
            code,
            local,
            peer,
            advice,
        } => format!("{tunnel}: {code}: here {local}; peer {peer}; {advice}"),
        Change::Added { tunnel, state } => format!("{tunnel}: added, {state}"),
        Change::Removed { tunnel } => format!("{tunnel}: removed"),
        Change::Problem { problem } => format!("problem: {problem}"),
        Change::Solved { problem } => format!("solved: {problem}"),
        Change::Configuration { generation } => format!("configuration {generation} is in effect"),
        Change::AgentGone { reason } => format!("the agent does not answer: {reason}"),
        Change::AgentBack {} => "the agent answers".to_owned(),
    }
}

/// What is different in the second status, in the order of its tunnels.
fn compare(before: &Status, after: &Status) -> Vec<Change> {
    let mut changes = Vec::new();
    for problem in after
        .problems
        .iter()
        .filter(|problem| !before.problems.contains(problem))
    {
        let problem = problem.clone();
        changes.push(Change::Problem { problem });
    }
    for problem in before
        .problems
        .iter()
        .filter(|problem| !after.problems.contains(problem))
    {
        let problem = problem.clone();
        changes.push(Change::Solved { problem });
    }
    if before.config.generation != after.config.generation {
        let generation = after.config.generation;
        changes.push(Change::Configuration { generation });
    }
    let mut old: BTreeMap<&str, &TunnelStatus> = before
        .tunnels
        .iter()
        .map(|tunnel| (tunnel.id.as_str(), tunnel))
        .collect();
    for tunnel in &after.tunnels {
        match old.remove(tunnel.id.as_str()) {
            Some(before) => compare_tunnels(before, tunnel, &mut changes),
            None => changes.push(Change::Added {
                tunnel: tunnel.id.clone(),
                state: tunnel.state.name(),
            }),
        }
    }
    changes.extend(old.into_keys().map(|tunnel| Change::Removed {
        tunnel: tunnel.to_owned(),
    }));
    changes
}

fn compare_tunnels(before: &TunnelStatus, after: &TunnelStatus, changes: &mut Vec<Change>) {
    let tunnel = || after.id.clone();
    if let Some(failure) = &after.last_failure
        && before
            .last_failure
            .as_ref()
            .is_none_or(|old| (&old.code, old.count) != (&failure.code, failure.count))
    {
        changes.push(Change::Failure {
            tunnel: tunnel(),
            code: failure.code.clone(),
            local: failure.local.clone(),
            peer: failure.peer.clone(),
            advice: failure.advice.clone(),
        });
    }
    if let Some(ike) = &after.ike
        && before.ike.as_ref().is_none_or(|old| old.spis != ike.spis)
    {
        changes.push(Change::IkeSa {
            tunnel: tunnel(),
            initiator_spi: ike.spis.0.clone(),
            responder_spi: ike.spis.1.clone(),
            algorithms: ike.algorithms.clone(),
        });
    }
    if before.state != after.state {
        changes.push(Change::State {
            tunnel: tunnel(),
            from: before.state.name(),
            to: after.state.name(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{FailureStatus, IkeSaStatus, TunnelState};

    fn tunnel(id: &str, state: TunnelState) -> TunnelStatus {
        TunnelStatus {
            id: id.into(),
            state,
            ..TunnelStatus::default()
        }
    }

    fn status(tunnels: Vec<TunnelStatus>) -> Status {
        Status {
            tunnels,
            ..Status::default()
        }
    }

    fn told(before: &Status, after: &Status) -> Vec<String> {
        compare(before, after).iter().map(text).collect()
    }

    #[test]
    fn only_what_changed_is_told() {
        let down = || tunnel("a", TunnelState::Down);
        let mut up = tunnel("a", TunnelState::Up);
        up.ike = Some(IkeSaStatus {
            spis: ("1".into(), "2".into()),
            algorithms: "aes-128/sha1/group14".into(),
            ..IkeSaStatus::default()
        });
        up.bytes_in = 5;
        let mut failed = down();
        failed.last_failure = Some(FailureStatus {
            code: "psk_mismatch".into(),
            local: "key 1".into(),
            peer: "unreadable".into(),
            advice: "compare the keys".into(),
            count: 1,
            ..FailureStatus::default()
        });
        let mut again = failed.clone();
        if let Some(failure) = &mut again.last_failure {
            failure.count = 2;
        }
        for (before, after, expected) in [
            (vec![down()], vec![down()], vec![]),
            (
                vec![down()],
                vec![up.clone()],
                vec!["a: IKE SA 1 - 2, aes-128/sha1/group14", "a: down -> up"],
            ),
            (vec![up.clone()], vec![up.clone()], vec![]),
            (vec![up], vec![down()], vec!["a: up -> down"]),
            (
                vec![down()],
                vec![failed.clone()],
                vec!["a: psk_mismatch: here key 1; peer unreadable; compare the keys"],
            ),
            (vec![failed.clone()], vec![failed.clone()], vec![]),
            (
                vec![failed],
                vec![again],
                vec!["a: psk_mismatch: here key 1; peer unreadable; compare the keys"],
            ),
            (vec![], vec![down()], vec!["a: added, down"]),
            (vec![down()], vec![], vec!["a: removed"]),
        ] {
            assert_eq!(told(&status(before), &status(after)), expected);
        }
    }

    #[test]
    fn problems_come_and_go() {
        let healthy = status(Vec::new());
        let mut ill = healthy.clone();
        ill.problems.push("interface wan0 is down".into());
        assert_eq!(told(&healthy, &ill), ["problem: interface wan0 is down"]);
        assert_eq!(told(&ill, &healthy), ["solved: interface wan0 is down"]);
    }

    #[test]
    fn a_line_of_json_names_kind_and_time() {
        let change = Change::State {
            tunnel: "a".into(),
            from: "down",
            to: "up",
        };
        let line = Line {
            time: "1970-01-01T00:00:00Z".into(),
            change: &change,
        };
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"time":"1970-01-01T00:00:00Z","kind":"state","tunnel":"a","from":"down","to":"up"}"#
        );
    }
}
