//! Ends, restarts, dead peers.

use std::time::Duration;

use gateway_ike::Code;

use crate::net::{End, Fate, Pair, TUNNEL};
use crate::setup::Setup;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_tunnel_that_is_terminated_ends_on_both_ends() {
    for end in [End::A, End::B] {
        let mut pair = Pair::established(Setup::v2());
        pair.with(end, |endpoint, now| endpoint.terminate(now, TUNNEL));
        pair.run_for(SECOND);
        pair.assert_empty();
    }
}

#[test]
fn a_dead_peer_is_noticed_and_everything_ends() {
    let mut pair = Pair::established(Setup::v2().both(|side| side.dpd_delay = Some(10 * SECOND)));
    pair.filter = Some(Box::new(|_, _, _| Fate::Lose));
    pair.run_for(Duration::from_secs(100));
    for node in [&pair.a, &pair.b] {
        assert!(
            node.installed.is_empty() && node.ike_sas.is_empty(),
            "{:#?}",
            node.log
        );
        assert!(node.failures.iter().any(|failure| failure.code == Code::PeerDead));
    }
}

#[test]
fn a_restarted_peer_comes_back_and_nothing_old_is_left() {
    let setup = || Setup::v2().both(|side| side.dpd_delay = Some(10 * SECOND));
    let mut pair = Pair::established(setup());
    pair.restart(End::B, &setup().b);
    pair.initiate(End::B);
    pair.run_for(5 * SECOND);
    // b --> IKE_AUTH { ..., N(INITIAL_CONTACT) }
    pair.assert_up(1);
    pair.assert_mirrored();
    assert_eq!(
        (pair.a.ike_sas.len(), pair.b.ike_sas.len()),
        (1, 1),
        "{:#?}",
        pair.a.log
    );
}

#[test]
fn a_delete_that_crosses_a_rekey_leaves_one_tunnel_or_none_and_both_agree() {
    for seed in 0..20 {
        let mut setup = Setup::v2();
        setup.seed = seed;
        let mut pair = Pair::established(setup);
        pair.run_for(SECOND);
        let child = *pair.a.sealing.values().next().unwrap();
        pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, child));
        pair.with(End::B, |endpoint, now| endpoint.terminate(now, TUNNEL));
        pair.run_for(Duration::from_secs(90));
        pair.assert_mirrored();
        assert_eq!(pair.a.installed.len(), pair.b.installed.len());
    }
}
