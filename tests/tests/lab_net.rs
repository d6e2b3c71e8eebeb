//! The mirror of the kernel's network configuration and the slow path's veth pair, in a network namespace.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use gateway_user::net::{NetMirror, NetSnapshot, NextHop, SlowPath};
use nix::sched::{CloneFlags, unshare};
use tokio::sync::watch::Receiver;

/// Runs `story` in a network namespace that vanishes with its thread.
fn in_namespace<F: Future<Output = ()>>(story: impl FnOnce() -> F + Send + 'static) {
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
        ip("link set lo up");
        ip("link add wan type veth peer name far");
        ip("addr add 192.0.2.1/24 dev wan");
        ip("link set wan up");
        ip("link set far up");
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(story());
    })
    .join()
    .unwrap();
}

fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}");
}

async fn wait_until(
    what: &str,
    snapshots: &mut Receiver<Arc<NetSnapshot>>,
    holds: impl FnMut(&Arc<NetSnapshot>) -> bool,
) {
    tokio::time::timeout(Duration::from_secs(5), snapshots.wait_for(holds))
        .await
        .unwrap_or_else(|_| panic!("{what}: not seen within seconds"))
        .unwrap();
}

#[test]
fn the_mirror_follows_neighbours_and_routes() {
    in_namespace(async || {
        let (_mirror, mut snapshots) = NetMirror::start().await.unwrap();
        let router = "192.0.2.2".parse().unwrap();
        let beyond = "203.0.113.7".parse().unwrap();
        let first = snapshots.borrow_and_update().clone();
        let wan = first.link("wan").unwrap().clone();
        assert!(
            wan.up && wan.mtu == 1500 && wan.queues >= 1 && wan.mac != [0; 6],
            "{wan:?}"
        );
        assert!(
            first
                .addresses
                .iter()
                .any(|address| address.addr.to_string() == "192.0.2.1")
        );
        assert_eq!(first.routes.next_hop(router), NextHop::SlowPath, "unresolved");
        assert_eq!(
            first.routes.next_hop("192.0.2.1".parse().unwrap()),
            NextHop::SlowPath,
            "own address"
        );
        assert_eq!(first.routes.next_hop(beyond), NextHop::Unreachable);

        ip("neigh add 192.0.2.2 lladdr 02:00:00:00:00:09 dev wan nud permanent");
        ip("route add 203.0.113.0/24 via 192.0.2.2");
        wait_until("gateway and neighbour", &mut snapshots, |snapshot| {
            matches!(snapshot.routes.next_hop(beyond), NextHop::Direct(hop)
                if hop.ifindex == wan.ifindex && hop.source == wan.mac && hop.destination == [2, 0, 0, 0, 0, 9])
        })
        .await;

        ip("route add blackhole 203.0.113.0/28");
        wait_until("blackhole", &mut snapshots, |snapshot| {
            snapshot.routes.next_hop(beyond) == NextHop::Unreachable
        })
        .await;
        ip("link set wan down");
        wait_until("link down", &mut snapshots, |snapshot| {
            snapshot.routes.next_hop("203.0.113.200".parse().unwrap()) == NextHop::Unreachable
        })
        .await;
    });
}

#[test]
fn the_slow_path_is_made_taken_over_and_cleaned_of_old_routes() {
    in_namespace(async || {
        let (mirror, mut snapshots) = NetMirror::start().await.unwrap();
        let slow_path = SlowPath::create(mirror.handle().clone(), 2).await.unwrap();
        wait_until("helper pair", &mut snapshots, |snapshot| {
            snapshot.routes.slow_path_adjacency().is_some()
                && snapshot
                    .link("gwslow1")
                    .is_some_and(|link| link.up && link.mtu == 1500)
        })
        .await;
        let peer_range = "10.9.0.0/16".parse().unwrap();
        slow_path
            .add_route(peer_range, Some("192.0.2.1".parse().unwrap()))
            .await
            .unwrap();
        let inside = "10.9.1.1".parse().unwrap();
        wait_until("route through the helper pair", &mut snapshots, |snapshot| {
            snapshot.routes.next_hop(inside) == NextHop::SlowPath
        })
        .await;

        // A second start finds the pair of the first and removes the routes it left.
        let again = SlowPath::create(mirror.handle().clone(), 2).await.unwrap();
        wait_until("leftover route gone", &mut snapshots, |snapshot| {
            snapshot.routes.next_hop(inside) == NextHop::Unreachable
        })
        .await;
        again.add_route(peer_range, None).await.unwrap();
        again.remove_route(peer_range).await.unwrap();
        wait_until("route removed", &mut snapshots, |snapshot| {
            snapshot.routes.next_hop(inside) == NextHop::Unreachable
        })
        .await;
    });
}
