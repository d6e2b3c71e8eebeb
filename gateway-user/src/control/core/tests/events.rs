//! What the store hears of timelines.

use gateway_management::Timestamp;
use gateway_management::service::EventChange;

use super::*;

const CLOCK: Timestamp = Timestamp(1_700_000_000);

fn changes(rig: &mut Rig) -> Vec<String> {
    let change = |change: EventChange| match change {
        EventChange::Line {
            tunnel,
            number,
            time,
            times,
            text,
        } => format!("{tunnel} {number}: {text} x{times} {}s ago", CLOCK.0 - time.0),
        EventChange::Removed { tunnel, before } => format!("{tunnel} removed, before {before}"),
    };
    let changes = rig.core.changed_events(rig.now, CLOCK);
    changes.into_iter().map(change).collect()
}

#[test]
fn the_store_hears_of_every_line_once_and_of_removed_tunnels() {
    let mut rig = Rig::new();
    rig.core.record_events(5);
    rig.core.apply(rig.now, testing::config(&[ONE])).unwrap();
    assert_eq!(rig.core.recorded_from("one"), i64::MAX);
    assert_eq!(rig.core.waiting_events(), 1);
    rig.now += Duration::from_secs(9);
    assert_eq!(changes(&mut rig), ["one 5: the agent started x1 9s ago"]);
    assert_eq!((changes(&mut rig).len(), rig.core.waiting_events()), (0, 0));
    assert_eq!(rig.core.recorded_from("one"), 5);

    rig.core.down(rig.now, "one");
    rig.core.apply(rig.now, testing::config(&[])).unwrap();
    rig.core.apply(rig.now, testing::config(&[ONE])).unwrap();
    rig.core.down(rig.now, "one");
    let down = ["the operator takes it down", "disabled, was down"];
    let expected = [
        format!("one 6: {} x1 0s ago", down[0]),
        format!("one 7: {} x1 0s ago", down[1]),
        "one removed, before 8".to_owned(),
        format!("one 8: {} x1 0s ago", down[0]),
        format!("one 9: {} x1 0s ago", down[1]),
    ];
    assert_eq!(changes(&mut rig), expected);
    assert_eq!(rig.core.recorded_from("one"), 8);
}

#[test]
fn without_a_store_nothing_is_kept_for_it() {
    let mut rig = Rig::with(&[ONE]);
    rig.core.apply(rig.now, testing::config(&[])).unwrap();
    assert!(changes(&mut rig).is_empty());
}
