//! Our gateway against strongSwan in exchanges that go another way than planned: cookies that we ask for, both ends that start or
//! delete, selectors that do not match exactly.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::Duration;

use gateway_tests::config::TUNNEL;
use gateway_tests::inject::{Garbage, Injector, udp};
use gateway_tests::matrix::Exchange;
use gateway_tests::ping::{bring_up, ping};
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig, wait};

/// How long anything here may take.
const SOON: Duration = Duration::from_secs(10);

#[track_caller]
fn assert_traffic(lab: &Lab, agent: &Agent, peer: &StrongSwan, what: &str) {
    for from in [Side::A, Side::B] {
        wait::until("pings to be answered", SOON, || {
            let report = ping(lab.host(from), from.other().host(), 3, 20, &["-W", "1"]).ok()?;
            (report.lost() == 0).then_some(())
        })
        .unwrap_or_else(|error| panic!("{what}, from {from:?}: {error}\n{}\n{}", agent.log(), peer.log()));
    }
}

/// `HDR, SAi1, KEi, Ni -->` with AES-128, SHA-1 and group 14, as often as one likes: nobody goes on with it.
fn ike_sa_init(random: &mut Garbage) -> Vec<u8> {
    let payload = |next: u8, body: &[u8]| {
        let length = u16::try_from(4 + body.len()).unwrap().to_be_bytes();
        [&[next, 0, length[0], length[1]], body].concat()
    };
    // More of them, their type and number; the key length is an attribute.
    let transforms = [
        &[3, 0, 0, 12, 1, 0, 0, 12, 0x80, 14, 0, 128][..],
        &[3, 0, 0, 8, 2, 0, 0, 2],
        &[3, 0, 0, 8, 3, 0, 0, 2],
        &[0, 0, 0, 8, 4, 0, 0, 14],
    ]
    .concat();
    let proposal_len = u8::try_from(8 + transforms.len()).unwrap();
    let proposal = [&[0, 0, 0, proposal_len, 1, 1, 0, 4], &transforms[..]].concat();
    let key_exchange = [&[0, 14, 0, 0], &[0x55; 256][..]].concat();
    let payloads = [
        payload(34, &proposal),
        payload(40, &key_exchange),
        payload(0, &random.bytes(32)),
    ]
    .concat();
    let length = u32::try_from(28 + payloads.len()).unwrap().to_be_bytes();
    let mut message = random.bytes(8);
    message.extend([0; 8]);
    message.extend([33, 0x20, 34, 0x08, 0, 0, 0, 0]);
    message.extend(length);
    message.extend(payloads);
    message
}

/// So many half-open attempts make the engine ask for cookies, and so many a single address may have.
const THRESHOLD: u64 = 100;
const PER_SOURCE: u16 = 8;

#[test]
fn strongswan_gives_the_cookie_back_that_we_ask_for_while_many_attempts_are_half_open() {
    let lab = Lab::new().unwrap();
    let peer = StrongSwan::start(
        &lab,
        Side::B,
        &StrongSwanConfig::new(Side::B).speaking(Exchange::V2),
    )
    .unwrap();
    let mut others = Config::with_tunnels(&lab, Side::A, 14).speaking(Exchange::V2);
    for (other, tunnel) in others.customer_gateway.iter_mut().zip(&mut others.tunnel) {
        other.id = format!("other-{}", other.id);
        tunnel.customer_gateway.clone_from(&other.id);
    }
    let mut config = Config::new(&lab, Side::A)
        .speaking(Exchange::V2)
        .start("answer")
        .quotas(20);
    let sources: Vec<Ipv4Addr> = others
        .customer_gateway
        .iter()
        .map(|peer| peer.address.parse().unwrap())
        .collect();
    config.customer_gateway.extend(others.customer_gateway);
    config.tunnel.extend(others.tunnel);
    let agent = Agent::start(&lab, Side::A, &config.start("answer")).unwrap();

    let injector = Injector::open(lab.gateway(Side::B)).unwrap();
    let mut random = Garbage::new(7);
    let target = SocketAddrV4::new(Side::A.outside(), 500);
    for port in 0..PER_SOURCE {
        for &source in &sources {
            let message = ike_sa_init(&mut random);
            let source = SocketAddrV4::new(source, 5000 + port);
            injector.send(&udp(source, target, &message)).unwrap();
        }
    }
    agent
        .wait_status("many half-open attempts", SOON, |status| {
            (status.json()["ike"]["half_open"].as_u64()? >= THRESHOLD).then_some(())
        })
        .unwrap();
    peer.initiate()
        .unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
    assert!(peer.log().contains("N(COOKIE)"), "{}", peer.log());
    assert_traffic(&lab, &agent, &peer, "with a cookie");
}

#[test]
fn ends_that_start_at_the_same_time_agree_on_what_carries_the_traffic() {
    for exchange in [Exchange::Main, Exchange::V2] {
        let lab = Lab::new().unwrap();
        let theirs = StrongSwanConfig::new(Side::B).speaking(exchange);
        let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
        let config = Config::new(&lab, Side::A).speaking(exchange);
        let agent = Agent::start(&lab, Side::A, &config).unwrap();
        thread::scope(|scope| {
            // What strongSwan finds to be there already is an error to swanctl.
            scope.spawn(|| peer.initiate().ok());
            scope.spawn(|| bring_up(&lab, Side::A).unwrap());
        });
        assert_traffic(&lab, &agent, &peer, &format!("{exchange:?}"));
        let report = ping(lab.host(Side::A), Side::B.host(), 50, 20, &["-W", "1"]).unwrap();
        assert_eq!(report.lost(), 0, "{exchange:?}: {report:?}\n{}", agent.log());
    }
}

/// Who deletes what.
#[derive(Clone, Copy, Debug)]
enum Deletion {
    TheirChild,
    TheirIke,
    Ours,
}

#[test]
fn what_either_end_deletes_is_gone_at_both_and_comes_back_with_traffic() {
    let rows = [
        (Exchange::Main, Deletion::TheirChild),
        (Exchange::V2, Deletion::TheirChild),
        (Exchange::V2, Deletion::TheirIke),
        (Exchange::V2, Deletion::Ours),
    ];
    for row in rows {
        let (exchange, deletion) = row;
        let lab = Lab::new().unwrap();
        let theirs = StrongSwanConfig::new(Side::B).speaking(exchange);
        let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
        let config = Config::new(&lab, Side::A).speaking(exchange);
        let agent = Agent::start(&lab, Side::A, &config).unwrap();
        bring_up(&lab, Side::A).unwrap();
        match deletion {
            Deletion::TheirChild => peer.terminate_child().unwrap(),
            Deletion::TheirIke => peer.terminate().unwrap(),
            Deletion::Ours => {
                assert!(agent.operator(&["down", TUNNEL]).unwrap().status.success());
            }
        }
        agent
            .wait_status("the sas to be gone here", SOON, |status| {
                status.tunnel(TUNNEL)?.spis().is_empty().then_some(())
            })
            .unwrap_or_else(|error| panic!("{row:?}: {error}"));
        wait::until("the sas to be gone there", SOON, || {
            (peer.installed().ok()? == 0).then_some(())
        })
        .unwrap_or_else(|error| panic!("{row:?}: {error}\n{}", peer.log()));
        if matches!(deletion, Deletion::Ours) {
            assert!(agent.operator(&["up", TUNNEL]).unwrap().status.success());
        }
        assert_traffic(&lab, &agent, &peer, &format!("{row:?}"));
    }
}

/// A Child SA of ours has a whole pair of ranges: a peer with more is given the pair, one with less is told apart.
#[test]
fn a_peer_with_wider_selectors_gets_ours_and_one_with_narrower_ones_is_in_the_diagnosis() {
    const WIDER: &str = "10.77.0.0/23";
    const NARROWER: &str = "10.77.1.0/25";
    for row in [
        (WIDER, "traffic"),
        (WIDER, "answer"),
        (NARROWER, "traffic"),
        (NARROWER, "answer"),
    ] {
        let (remote_ts, start) = row;
        let lab = Lab::new().unwrap();
        let theirs = StrongSwanConfig {
            remote_ts: remote_ts.to_owned(),
            ..StrongSwanConfig::new(Side::B)
        };
        let peer = StrongSwan::start(&lab, Side::B, &theirs.speaking(Exchange::V2)).unwrap();
        let config = Config::new(&lab, Side::A).speaking(Exchange::V2).start(start);
        let agent = Agent::start(&lab, Side::A, &config).unwrap();
        let begun = if start == "answer" {
            peer.initiate().is_ok()
        } else {
            bring_up(&lab, Side::A).is_ok()
        };
        assert_eq!(begun, remote_ts == WIDER, "{row:?}\n{}", agent.log());
        if begun {
            assert_traffic(&lab, &agent, &peer, &format!("{row:?}"));
            let sas = peer.sas().unwrap();
            let agreed = format!("remote {}", Side::A.network());
            assert!(sas.lines().any(|line| line.trim() == agreed), "{row:?}: {sas}");
            assert_eq!(peer.installed().unwrap(), 1, "{row:?}: {sas}");
        } else {
            agent
                .wait_status("the diagnosis", SOON, |status| {
                    (status.tunnel(TUNNEL)?.failure() == Some("selector_mismatch")).then_some(())
                })
                .unwrap_or_else(|error| panic!("{row:?}: {error}\n{}", agent.log()));
            wait::until("the narrower child sa to be gone there", SOON, || {
                (peer.installed().ok()? == 0).then_some(())
            })
            .unwrap_or_else(|error| panic!("{row:?}: {error}\n{}", peer.log()));
        }
    }
}
