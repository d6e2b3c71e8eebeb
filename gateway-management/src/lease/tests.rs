//! The clock as a table: what is in force at each time, and what its turn asks for.

use std::net::Ipv4Addr;

use super::*;

/// 20:26:40 in GMT+8: neither midnight there nor in UTC.
const END: &str = "2020-10-13 20:26:40";

fn at(civil: &str) -> Timestamp {
    Timestamp::parse_civil(civil).unwrap()
}

fn gateway(expires: Timestamp, auto_renew: bool) -> VpnGateway {
    VpnGateway {
        number: 1,
        id: "vpngw-1".to_owned(),
        name: "gw".to_owned(),
        vpc: "vpc".to_owned(),
        address: Ipv4Addr::new(203, 0, 113, 1),
        bandwidth: 5,
        auto_renew,
        created: Timestamp(0),
        expires,
        stage: Lease::of(expires, Timestamp(0)),
        reminded: Timestamp::default(),
    }
}

/// Turns one gateway through the times, in this order: at each its stage, and what is asked for.
#[track_caller]
fn check(mut gateway: VpnGateway, rows: &[(&str, Lease, &[Action])]) {
    for (time, stage, actions) in rows {
        let asked = turn(&mut gateway, at(time));
        assert_eq!((gateway.stage, &asked[..]), (*stage, *actions), "{time}");
        assert_eq!(gateway.lease(at(time)), *stage, "the API at {time}");
    }
}

use Action::{Isolate, Remind, Remove, Renew, Restore};
use Lease::{Expiring, Isolated, Over, Running, Unlimited};

#[test]
fn every_boundary_is_kept_to_the_second_and_told_once() {
    check(
        gateway(at(END), false),
        &[
            ("2020-09-13 20:26:40", Running, &[]),
            ("2020-10-06 20:26:39", Running, &[]),
            ("2020-10-06 20:26:40", Expiring, &[Remind]),
            ("2020-10-06 20:26:41", Expiring, &[]),
            ("2020-10-13 20:26:39", Expiring, &[]),
            ("2020-10-13 20:26:40", Isolated, &[Isolate]),
            ("2020-10-13 20:26:41", Isolated, &[]),
            ("2020-10-20 23:59:59", Isolated, &[]),
            ("2020-10-21 00:00:00", Over, &[Remove]),
            ("2020-10-21 00:00:01", Over, &[Remove]),
        ],
    );
}

#[test]
fn day_8_is_counted_from_the_day_of_the_end_in_gmt_8() {
    for (end, removed) in [
        ("2020-10-13 00:00:00", "2020-10-21 00:00:00"),
        ("2020-10-13 00:00:01", "2020-10-21 00:00:00"),
        // 07:59:59 and 08:00:00 are two days in UTC and one in GMT+8.
        ("2020-10-13 07:59:59", "2020-10-21 00:00:00"),
        ("2020-10-13 08:00:00", "2020-10-21 00:00:00"),
        ("2020-10-13 23:59:59", "2020-10-21 00:00:00"),
        ("2020-02-22 12:00:00", "2020-03-01 00:00:00"),
        ("2020-12-25 12:00:00", "2021-01-02 00:00:00"),
        ("1969-12-25 12:00:00", "1970-01-02 00:00:00"),
    ] {
        assert_eq!(removal(at(end)), at(removed), "{end}");
    }
    assert_eq!(at("2020-10-21 00:00:00").utc(), "2020-10-20T16:00:00Z");
}

#[test]
fn boundaries_that_passed_while_the_agent_was_down_are_made_up_for() {
    for (first_look, stage, actions) in [
        ("2020-10-06 20:26:40", Expiring, &[Remind][..]),
        ("2020-10-13 20:26:39", Expiring, &[Remind]),
        ("2020-10-13 20:26:40", Isolated, &[Isolate]),
        ("2020-10-20 23:59:59", Isolated, &[Isolate]),
        ("2020-10-21 00:00:00", Over, &[Isolate, Remove]),
        ("2035-01-01 00:00:00", Over, &[Isolate, Remove]),
    ] {
        check(gateway(at(END), false), &[(first_look, stage, actions)]);
    }
}

#[test]
fn a_clock_that_jumps_back_takes_isolation_back_and_reminds_of_no_end_twice() {
    check(
        gateway(at(END), false),
        &[
            ("2020-10-06 20:26:40", Expiring, &[Remind]),
            ("2020-10-06 20:26:39", Running, &[]),
            ("2020-10-06 20:26:40", Expiring, &[]),
            ("2020-10-13 20:26:40", Isolated, &[Isolate]),
            ("2020-10-13 20:26:39", Expiring, &[Restore]),
            ("2020-10-13 20:26:40", Isolated, &[Isolate]),
            ("2020-09-13 00:00:00", Running, &[Restore]),
            ("2020-10-21 00:00:00", Over, &[Isolate, Remove]),
            // What is being removed is not there to be brought back.
            ("2020-10-20 23:59:59", Over, &[Remove]),
            ("2020-09-13 00:00:00", Over, &[Remove]),
        ],
    );
}

#[test]
fn what_renews_itself_does_so_a_day_ahead_and_is_never_isolated() {
    let next = at("2020-11-13 20:26:40");
    check(
        gateway(at(END), true),
        &[
            ("2020-10-06 20:26:40", Expiring, &[Remind]),
            ("2020-10-12 20:26:39", Expiring, &[]),
            ("2020-10-12 20:26:40", Running, &[Renew(next)]),
            ("2020-10-13 20:26:40", Running, &[]),
            // A clock that jumps back does not take back what was bought.
            ("2020-10-01 00:00:00", Running, &[]),
            ("2020-11-06 20:26:40", Expiring, &[Remind]),
            (
                "2020-11-12 20:26:40",
                Running,
                &[Renew(at("2020-12-13 20:26:40"))],
            ),
        ],
    );
}

#[test]
fn months_that_passed_unseen_are_renewed_at_once_on_the_same_day() {
    for (first_look, until) in [
        ("2020-01-30 10:00:00", "2020-02-29 10:00:00"),
        ("2020-02-28 09:59:59", "2020-02-29 10:00:00"),
        ("2020-02-28 10:00:00", "2020-03-31 10:00:00"),
        ("2020-06-15 00:00:00", "2020-06-30 10:00:00"),
        ("2023-12-30 10:00:00", "2024-01-31 10:00:00"),
    ] {
        let renewed = Renew(at(until));
        let mut gateway = gateway(at("2020-01-31 10:00:00"), true);
        assert_eq!(turn(&mut gateway, at(first_look))[0], renewed, "{first_look}");
        assert!(gateway.stage.is_in_force(), "{first_look}");
    }
}

#[test]
fn auto_renewal_that_is_set_in_isolation_restores() {
    let mut isolated = gateway(at(END), false);
    assert_eq!(turn(&mut isolated, at(END)), [Isolate]);
    isolated.auto_renew = true;
    let next = at("2020-11-13 20:26:40");
    check(
        isolated,
        &[("2020-10-15 00:00:00", Running, &[Renew(next), Restore])],
    );
}

#[test]
fn a_further_period_is_reminded_of_anew_and_a_short_one_at_once() {
    let mut gateway = gateway(at(END), false);
    assert_eq!(turn(&mut gateway, at("2020-10-10 00:00:00")), [Remind]);
    gateway.expires = at("2020-11-13 20:26:40");
    check(
        gateway.clone(),
        &[
            ("2020-10-10 00:00:01", Running, &[]),
            ("2020-11-06 20:26:40", Expiring, &[Remind]),
        ],
    );
    gateway.expires = at("2020-10-14 00:00:00");
    check(gateway, &[("2020-10-13 20:26:40", Expiring, &[Remind])]);
}

#[test]
fn what_is_charged_by_the_hour_never_ends() {
    for auto_renew in [false, true] {
        check(
            gateway(Timestamp::NEVER, auto_renew),
            &[
                ("2020-10-13 20:26:40", Unlimited, &[]),
                ("9999-12-30 08:00:00", Unlimited, &[]),
                ("1970-01-01 00:00:00", Unlimited, &[]),
            ],
        );
    }
}

#[test]
fn numbers_and_names_of_the_stages_are_unique_and_read_back() {
    let mut names = std::collections::BTreeSet::new();
    for stage in Lease::ALL {
        assert_eq!(Lease::from_number(stage.number()), Some(stage));
        assert!(names.insert(stage.name()));
    }
    assert_eq!((Lease::from_number(5), Lease::from_number(-1)), (None, None));
}

#[test]
fn no_clock_and_no_end_panics_or_turns_for_long() {
    for expires in [i64::MIN, -1, 0, Timestamp::NEVER.0 - 1, i64::MAX] {
        for now in [i64::MIN, -1, 0, 4_000_000_000, Timestamp::NEVER.0, i64::MAX] {
            for auto_renew in [false, true] {
                turn(&mut gateway(Timestamp(expires), auto_renew), Timestamp(now));
            }
        }
    }
}
