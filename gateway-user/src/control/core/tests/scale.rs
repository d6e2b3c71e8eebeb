//! Ten thousand tunnels: load, reload, status and the tick stay fast. A quadratic step takes minutes here.

use std::fmt::Write as _;

use gateway_management::Timestamp;

use super::*;
use crate::control::events;

const TUNNELS: usize = 10_000;
/// For each step. A step takes well below a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(15);

fn text() -> String {
    let mut text = format!(
        "[quotas]\ncustomer_gateways = {TUNNELS}\ntunnels_per_gateway = {TUNNELS}\n{}",
        testing::text(&[])
    );
    for number in 0..TUNNELS {
        let (high, low) = (number / 200, number % 200 + 1);
        write!(
            text,
            "[[customer_gateway]]\nid = \"c-{number}\"\naddress = \"100.64.{high}.{low}\"\n\
             [[tunnel]]\nid = \"t-{number}\"\ngateway = \"gw\"\ncustomer_gateway = \"c-{number}\"\npsk = \"x\"\n\
             [[tunnel.spd]]\nlocal = \"10.0.0.0/24\"\npeer = [\"11.{high}.{low}.0/24\"]\n"
        )
        .unwrap();
    }
    text
}

#[test]
fn ten_thousand_tunnels_are_loaded_changed_shown_and_watched_quickly() {
    let capacity = Capacity {
        policies: 65_536,
        sas: 65_536,
        tunnels: 32_768,
    };
    let mut core = Core::new(EndpointConfig::new([7; 32]), capacity, 4, Recorder::default());
    let now = Instant::now();
    let mut steps = Vec::new();
    let mut started = Instant::now();
    let mut step = |name: &'static str| {
        steps.push((name, started.elapsed()));
        started = Instant::now();
    };
    let text = text();
    step("write");
    let config = testing::parse(&text);
    step("load");
    core.record_events(1);
    core.apply(now, config).unwrap();
    step("apply");
    let changed = testing::parse(&text.replacen("psk = \"x\"", "psk = \"y\"", 1));
    step("load again");
    core.apply(now, changed).unwrap();
    step("apply one change");
    assert_eq!(core.tunnel_statuses(now, &Counters::default()).len(), TUNNELS);
    step("status of all");
    assert!(
        core.one_tunnel_status(now, "t-9999", &Counters::default())
            .is_some()
    );
    step("status of one");
    core.tick(now, &Counters::default());
    step("tick");
    for policy in 0..1000 {
        let acquire = DataplaneEvent::Acquire {
            policy,
            tunnel: policy,
        };
        core.handle_dataplane(now, &acquire);
    }
    step("start a thousand");
    for tunnel in core.tunnels.values_mut() {
        (0..20).for_each(|line| tunnel.timeline.note(now, line.to_string()));
    }
    step("note twenty lines for each");
    let (mut queue, _writer) = events::queue(now);
    let waiting = core.waiting_events();
    queue.hand_over(now, core.changed_events(now, Timestamp(0)));
    step("hand events over");
    let lost = usize::try_from(queue.lost()).unwrap();
    assert!(
        waiting > 20 * TUNNELS && lost == waiting - events::QUEUE,
        "{waiting}, {lost}"
    );
    core.farewell(now);
    step("farewell");
    for (name, took) in &steps {
        assert!(*took < PATIENCE, "{name} took {took:?}: {steps:?}");
    }
}
