use super::*;

fn pair(local: &str, peer: &str) -> SelectorPair {
    SelectorPair {
        local: local.parse().unwrap(),
        peer: peer.parse().unwrap(),
    }
}

/// "10.0.0.0-10.0.0.255" for every protocol and port; "10.0.0.1-10.0.0.1/6" for one protocol.
fn ts(ranges: &[&str]) -> TsPayload {
    let selectors = ranges
        .iter()
        .map(|range| {
            let (range, protocol) = range.split_once('/').unwrap_or((range, "0"));
            let (first, last) = range.split_once('-').unwrap();
            TrafficSelector::Ipv4 {
                protocol: protocol.parse().unwrap(),
                ports: (0, u16::MAX),
                addresses: (first.parse().unwrap(), last.parse().unwrap()),
            }
        })
        .collect();
    TsPayload { selectors }
}

const ALL: &str = "0.0.0.0-255.255.255.255";

/// Which of the pairs 10.1.n.0/24 (ours) to 10.2.n.0/24 (theirs) are served.
#[track_caller]
fn check(pairs: &[SelectorPair], ts_i: &[&str], ts_r: &[&str], serves: &[u16], more: bool) {
    let narrowed = narrow(pairs, &ts(ts_i), &ts(ts_r));
    match narrowed {
        Ok(narrowed) => {
            let served: Vec<_> = narrowed.serves.iter().map(|served| served.pair.0).collect();
            assert_eq!((&*served, narrowed.more), (serves, more));
            for served in &narrowed.serves {
                assert_eq!(served.selectors, pairs[usize::from(served.pair.0)]);
            }
        }
        Err(diagnosis) => {
            assert!(serves.is_empty(), "{diagnosis}");
            assert_eq!(diagnosis.code, Code::SelectorMismatch);
        }
    }
}

#[test]
fn a_pair_is_served_when_it_is_covered_whole() {
    let pairs = [pair("10.1.0.0/24", "10.2.0.0/24")];
    let (theirs, ours) = ("10.2.0.0-10.2.0.255", "10.1.0.0-10.1.0.255");
    check(&pairs, &[theirs], &[ours], &[0], false);
    check(&pairs, &[ALL], &[ALL], &[0], false);
    check(
        &pairs,
        &["10.2.0.0-10.2.0.127", "10.2.0.128-10.2.0.255"],
        &[ours],
        &[0],
        false,
    );
    check(
        &pairs,
        &["10.2.0.7-10.2.0.7/6", theirs],
        &["10.1.0.9-10.1.0.9/6", ours],
        &[0],
        false,
    );
    check(&pairs, &["10.2.0.0-10.2.0.254"], &[ours], &[], false);
    check(
        &pairs,
        &["10.2.0.0-10.2.0.100", "10.2.0.102-10.2.0.255"],
        &[ours],
        &[],
        false,
    );
    check(&pairs, &["10.2.0.0-10.2.0.255/17"], &[ours], &[], false);
    check(&pairs, &[ours], &[theirs], &[], false);
}

/// P14: empty, reversed and foreign selectors match nothing.
#[test]
fn p14_malformed_selectors_match_nothing() {
    let pairs = [pair("0.0.0.0/0", "0.0.0.0/0"), pair("10.1.0.0/24", "10.2.0.0/24")];
    check(&pairs, &[], &[], &[], false);
    check(&pairs, &[ALL], &[], &[], false);
    check(&pairs, &["255.255.255.255-0.0.0.0"], &[ALL], &[], false);
    let ipv6 = TsPayload {
        selectors: vec![TrafficSelector::Ipv6 {
            protocol: 0,
            ports: (0, u16::MAX),
            addresses: ([0; 16].into(), [255; 16].into()),
        }],
    };
    assert!(narrow(&pairs, &ipv6, &ipv6).is_err());
    for ports in [(1, u16::MAX), (0, 65_534), (u16::MAX, 0)] {
        let some_ports = TsPayload {
            selectors: vec![TrafficSelector::Ipv4 {
                protocol: 0,
                ports,
                addresses: (0.into(), u32::MAX.into()),
            }],
        };
        assert!(narrow(&pairs, &some_ports, &some_ports).is_err(), "{ports:?}");
    }
}

#[test]
fn several_pairs_share_a_child_sa_only_with_all_their_combinations() {
    let (a, b) = ("10.1.0.0/24", "10.1.1.0/24");
    let (x, y) = ("10.2.0.0/24", "10.2.1.0/24");
    let square = [pair(a, x), pair(b, x), pair(a, y), pair(b, y)];
    check(&square, &[ALL], &[ALL], &[0, 1, 2, 3], false);
    let diagonal = [pair(a, x), pair(b, y)];
    check(&diagonal, &[ALL], &[ALL], &[0], true);
    let star = [pair(a, x), pair(a, y)];
    check(&star, &[ALL], &[ALL], &[0, 1], false);
    let corner = [pair(a, x), pair(b, x), pair(a, y)];
    check(&corner, &[ALL], &[ALL], &[0, 1], true);
    let narrowed = narrow(&square, &ts(&[ALL]), &ts(&[ALL])).unwrap();
    assert_eq!(narrowed.ts_i, ts(&["10.2.0.0-10.2.0.255", "10.2.1.0-10.2.1.255"]));
    assert_eq!(narrowed.ts_r, ts(&["10.1.0.0-10.1.0.255", "10.1.1.0-10.1.1.255"]));
}

#[test]
fn the_pair_of_the_packet_in_front_is_served_first() {
    let diagonal = [
        pair("10.1.0.0/24", "10.2.0.0/24"),
        pair("10.1.1.0/24", "10.2.1.0/24"),
    ];
    check(
        &diagonal,
        &["10.2.1.5-10.2.1.5/1", ALL],
        &["10.1.1.6-10.1.1.6/1", ALL],
        &[1],
        true,
    );
    check(
        &diagonal,
        &["10.2.0.5-10.2.0.5/1", ALL],
        &["10.1.0.6-10.1.0.6/1", ALL],
        &[0],
        true,
    );
    check(
        &diagonal,
        &["10.9.0.5-10.9.0.5/1", ALL],
        &["10.1.0.6-10.1.0.6/1", ALL],
        &[0],
        true,
    );
}

#[test]
fn what_we_ask_for_is_granted_whole_or_not_at_all() {
    let ours = pair("10.1.0.0/24", "10.2.0.0/24");
    let (ts_i, ts_r) = to_payloads(ours, Role::Initiator);
    assert_eq!(
        (&ts_i, &ts_r),
        (&ts(&["10.1.0.0-10.1.0.255"]), &ts(&["10.2.0.0-10.2.0.255"]))
    );
    assert_eq!(granted(ours, &ts_i, &ts_r), Ok(()));
    assert_eq!(to_payloads(ours, Role::Responder), (ts_r, ts_i));
    let refused = |i: &[&str], r: &[&str]| assert!(granted(ours, &ts(i), &ts(r)).is_err(), "{i:?} {r:?}");
    refused(&["10.1.0.0-10.1.0.128"], &["10.2.0.0-10.2.0.255"]);
    refused(&["10.1.0.0-10.1.0.255"], &[ALL]);
    refused(
        &["10.1.0.0-10.1.0.255", "10.9.0.0-10.9.0.0"],
        &["10.2.0.0-10.2.0.255"],
    );
    refused(&["10.2.0.0-10.2.0.255"], &["10.1.0.0-10.1.0.255"]);
    refused(&[], &[]);
}

#[test]
fn a_mismatch_names_both_sides() {
    let pairs = [pair("10.1.0.0/24", "10.2.0.0/24")];
    let diagnosis = narrow(
        &pairs,
        &ts(&["10.7.0.0-10.7.0.255"]),
        &ts(&["10.1.0.1-10.1.0.1/6"]),
    )
    .unwrap_err();
    assert_eq!(diagnosis.local, "tunnel has 10.1.0.0/24 to 10.2.0.0/24");
    assert_eq!(
        diagnosis.peer,
        "peer asks for 10.7.0.0-10.7.0.255 to 10.1.0.1-10.1.0.1/protocol 6"
    );
}
