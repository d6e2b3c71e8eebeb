//! S14: what both ends do at once, or one while the other does something else (RFC 7296 section 2.25).

use std::time::Duration;

use crate::net::{End, FIRST, Pair, TUNNEL};
use crate::setup::Setup;

const SECOND: Duration = Duration::from_secs(1);

/// What an operator, a timer or traffic asks of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    RekeyChild,
    RekeyIke,
    Terminate,
    Initiate,
}

const ALL: [Act; 4] = [Act::RekeyChild, Act::RekeyIke, Act::Terminate, Act::Initiate];

fn act(pair: &mut Pair, end: End, act: Act) {
    let child = pair.node(end).sealing.get(&FIRST).copied();
    pair.with(end, |endpoint, now| match (act, child) {
        (Act::RekeyChild, Some(child)) => endpoint.rekey_child(now, child),
        (Act::RekeyIke, _) => endpoint.rekey_ike(now, TUNNEL),
        (Act::Terminate, _) => endpoint.terminate(now, TUNNEL),
        (Act::RekeyChild, None) | (Act::Initiate, _) => endpoint.initiate(now, TUNNEL, FIRST),
    });
}

#[track_caller]
fn check(setup: fn() -> Setup, most: usize) {
    for first in ALL {
        for second in ALL {
            for skew in [0, 5, 10, 15, 20, 25, 30, 45] {
                let what = format!("{first:?}, then {second:?} {skew} ms later");
                let mut pair = Pair::established(setup());
                pair.run_for(2 * SECOND);
                act(&mut pair, End::A, first);
                pair.run_for(Duration::from_millis(skew));
                act(&mut pair, End::B, second);
                let ends = [first, second].contains(&Act::Terminate);
                pair.run_with_traffic(30 * SECOND, Duration::from_millis(100));
                if !ends {
                    assert_eq!(pair.lost_esp, [], "{what}");
                }
                // After an end both ends may start anew, each with an SA of its own.
                let most = if ends { 2 } else { most };
                // No black hole: traffic flows both ways, with what is left.
                let before = pair.delivered_esp;
                pair.run_with_traffic(SECOND, Duration::from_millis(100));
                assert!(pair.delivered_esp >= before + 18, "{what}: {:#?}", pair.a.log);
                pair.assert_mirrored();
                for end in [End::A, End::B] {
                    let node = pair.node(end);
                    assert!(
                        node.installed.len() <= most && node.ike_sas.len() <= most,
                        "{what}: {end:?} has {:?} {:?} {:#?}",
                        node.installed.keys(),
                        node.ike_sas,
                        node.log
                    );
                }
            }
        }
    }
}

#[test]
fn s14_whatever_crosses_in_ikev2_one_child_sa_survives() {
    check(Setup::v2, 1);
}

/// IKEv1 has no rule for two SAs of both ends: both may live until their ends.
#[test]
fn s14_whatever_crosses_in_ikev1_traffic_survives() {
    check(Setup::new, 2);
}
