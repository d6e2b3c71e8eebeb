//! Timelines in the store.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::store::{EVENTS, EVENTS_PER_TUNNEL, Vault};

fn line(tunnel: &str, number: i64) -> EventChange {
    EventChange::Line {
        tunnel: tunnel.into(),
        number,
        time: NOW.plus_seconds(number),
        times: 1,
        text: "an event".into(),
    }
}

fn numbers(management: &Management, tunnel: &str) -> Vec<i64> {
    let lines = management.events(tunnel, i64::MAX).unwrap();
    lines.iter().map(|line| line.number).collect()
}

#[test]
fn a_timeline_outlives_a_rename_and_goes_with_its_tunnel() {
    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    let customer = world.customer("idc", "202.108.22.5").unwrap();
    let made = world
        .tunnel("t", &gateway.id, &customer.id, "10.0.1.0/24")
        .unwrap();
    let id = made.view.tunnel.id;
    let management = &world.management;
    assert_eq!(management.next_event().unwrap(), 1);
    management
        .record_events(&[line(&id, 1), line("of-the-file", 2), line(&id, 3)])
        .unwrap();
    assert_eq!(management.next_event().unwrap(), 4);
    world.settle(&[]);

    let rename = TunnelChange {
        name: Some("other".to_owned()),
        ..TunnelChange::default()
    };
    management
        .modify_tunnel(NOW, &world.actor, &query(&id), rename)
        .unwrap();
    let removed = |tunnel: &str| EventChange::Removed {
        tunnel: tunnel.into(),
        before: 4,
    };
    // The agent runs neither of them any more, and one of them is still an object of the store.
    management
        .record_events(&[removed(&id), removed("of-the-file")])
        .unwrap();
    management.forget_events_except(&[]).unwrap();
    assert_eq!(numbers(management, &id), [1, 3]);
    assert!(numbers(management, "of-the-file").is_empty());

    world.settle(&[]);
    management.delete_tunnel(NOW, &world.actor, &query(&id)).unwrap();
    world.settle(&[]);
    assert!(numbers(management, &id).is_empty());
    // What was under way when the row went.
    management
        .record_events(&[line(&id, 4), removed(&id), line(&id, 5)])
        .unwrap();
    assert_eq!(numbers(management, &id), [4, 5], "its number is not below 4");
    management.forget_events_except(&["another"]).unwrap();
    assert!(numbers(management, &id).is_empty());
}

fn on_disk(file: &Path) -> Management {
    let store = Store::open(file, Vault::new(&[1; 32])).unwrap();
    Management::new(
        store,
        World::new().management.site().as_ref().clone(),
        Arc::new(Nobody),
    )
}

/// Ten thousand tunnels that fail and fail again, and one that only had a word to say at the begin.
#[test]
fn a_burst_of_ten_thousand_tunnels_is_bounded_in_time_and_size() {
    const TUNNELS: i64 = 10_000;
    const BATCH: usize = 4096;
    /// A batch takes well below a tenth of it on an idle machine.
    const PATIENCE: Duration = Duration::from_secs(5);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.db");
    let management = on_disk(&file);
    let text: Arc<str> = "x".repeat(80).into();
    let ids: Vec<Arc<str>> = (0..TUNNELS)
        .map(|tunnel| format!("vpnx-{tunnel:08}").into())
        .collect();
    let burst = |number: i64| EventChange::Line {
        tunnel: Arc::clone(&ids[usize::try_from(number % TUNNELS).unwrap()]),
        number,
        time: NOW,
        times: 1,
        text: Arc::clone(&text),
    };
    management.record_events(&[line("quiet", 1)]).unwrap();
    let numbers_of_lines: Vec<_> = (2..EVENTS + 40_000).collect();
    let mut slowest = Duration::ZERO;
    for batch in numbers_of_lines.chunks(BATCH) {
        let changes: Vec<_> = batch.iter().map(|&number| burst(number)).collect();
        let started = Instant::now();
        management.record_events(&changes).unwrap();
        slowest = slowest.max(started.elapsed());
    }
    assert!(slowest < PATIENCE, "{slowest:?}");
    let kept: usize = ids.iter().map(|id| numbers(&management, id).len()).sum();
    let most = usize::try_from(EVENTS).unwrap();
    assert!(kept < most && kept > most * 15 / 16, "{kept}");
    assert_eq!(numbers(&management, "quiet"), [1]);
    drop(management);
    let octets = std::fs::metadata(&file).unwrap().len();
    println!("{kept} lines, {octets} octets, {slowest:?} at most for {BATCH}");
    assert!(octets < 60_000_000, "{octets} octets");

    // One tunnel alone does not take the room of the others.
    let management = on_disk(&file);
    let next = management.next_event().unwrap();
    let noisy: Vec<_> = (next..next + 20_000)
        .map(|number| line("noisy", number))
        .collect();
    for batch in noisy.chunks(BATCH) {
        management.record_events(batch).unwrap();
    }
    assert_eq!(numbers(&management, "noisy").len(), EVENTS_PER_TUNNEL);
}
