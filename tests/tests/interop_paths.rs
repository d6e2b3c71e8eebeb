//! What lies between the ends, and what they may do besides: NATs, fragments, cookies, several ranges, extended sequence numbers.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use gateway_tests::config::{Pfs, SpdRule, TUNNEL};
use gateway_tests::lab::{BEHIND_NAT, HOST};
use gateway_tests::matrix::Exchange;
use gateway_tests::ping::ping;
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig, wait};

/// Whether packets are lost is asked elsewhere.
#[track_caller]
fn assert_traffic(lab: &Lab, agent: &Agent, what: &str) {
    for from in [Side::A, Side::B] {
        wait::until("pings to be answered", Duration::from_secs(10), || {
            let report = ping(lab.host(from), from.other().host(), 3, 20, &["-W", "1"]).ok()?;
            (report.lost() == 0).then_some(())
        })
        .unwrap_or_else(|error| panic!("{what}, from {from:?}: {error}\n{}", agent.log()));
    }
}

#[test]
fn a_peer_behind_a_nat_is_answered_also_from_where_the_nat_moves_it() {
    for exchange in Exchange::ALL {
        let lab = Lab::with_nat().unwrap();
        let theirs = StrongSwanConfig {
            local_address: BEHIND_NAT,
            ..StrongSwanConfig::new(Side::B)
        }
        .speaking(exchange);
        let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
        let config = Config::new(&lab, Side::A).speaking(exchange).start("answer");
        let agent = Agent::start(&lab, Side::A, &config).unwrap();
        peer.initiate().unwrap_or_else(|error| {
            panic!("{exchange:?}: {error}\n{}", agent.log());
        });
        assert_traffic(&lab, &agent, &format!("{exchange:?}"));

        let spis = || agent.status().unwrap().tunnel(TUNNEL).unwrap().spis();
        let before = spis();
        lab.restart_nat().unwrap();
        // The packet that says where the peer is may be answered where it was.
        let report = ping(lab.host(Side::B), Side::A.host(), 20, 50, &["-W", "1"]).unwrap();
        assert!(report.lost() <= 2, "{exchange:?}: {report:?}\n{}", agent.log());
        assert_traffic(&lab, &agent, &format!("{exchange:?}, moved"));
        assert_eq!(spis(), before, "nothing had to be negotiated");
        assert!(agent.log().contains("the peer's NAT changed its port to 210"));
    }
}

#[test]
fn fragments_of_ike_messages_are_put_together_in_both_directions() {
    for exchange in Exchange::ALL {
        for start in ["traffic", "answer"] {
            let lab = Lab::new().unwrap();
            let theirs = StrongSwanConfig::new(Side::B)
                .speaking(exchange)
                .connection(&["fragmentation = yes"])
                .daemon(&["fragment_size = 256"]);
            let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
            let config = Config::new(&lab, Side::A).speaking(exchange).start(start);
            let agent = Agent::start(&lab, Side::A, &config).unwrap();
            if start == "answer" {
                peer.initiate().unwrap();
            }
            assert_traffic(&lab, &agent, &format!("{exchange:?} {start}"));
        }
    }
}

/// The peer has as many half-open IKE SAs as it wants, and asks us to prove our address.
#[test]
fn a_cookie_is_given_back_to_a_peer_that_asks_for_one() {
    let lab = Lab::new().unwrap();
    let theirs = StrongSwanConfig::new(Side::B)
        .speaking(Exchange::V2)
        .daemon(&["dos_protection = yes", "cookie_threshold = 1"]);
    let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
    // Some that never go on.
    let them = Side::B.outside().to_string();
    for port in ["5000", "5001", "5002"] {
        lab.gateway(Side::A)
            .run(
                "ike-scan",
                &["-2", "--dhgroup=14", "--retry=1", "--sport", port, &them],
            )
            .unwrap();
    }
    let config = Config::new(&lab, Side::A).speaking(Exchange::V2);
    let agent = Agent::start(&lab, Side::A, &config).unwrap();
    assert_traffic(&lab, &agent, "with a cookie");
    assert!(peer.log().contains("N(COOKIE)"), "the peer asked for none");
}

/// strongSwan begins with a group that we do not take, and we ask for the one that both have: INVALID_KE_PAYLOAD, in IKE_SA_INIT and
/// in the CREATE_CHILD_SA of its rekey.
#[test]
fn a_peer_that_guesses_the_wrong_group_is_asked_for_the_right_one() {
    let lab = Lab::new().unwrap();
    let theirs = StrongSwanConfig {
        ike: "aes128-sha1-modp1024-modp2048".to_owned(),
        esp: "aes128-sha1-modp1024-modp2048".to_owned(),
        ..StrongSwanConfig::new(Side::B)
    };
    let peer = StrongSwan::start(&lab, Side::B, &theirs.speaking(Exchange::V2)).unwrap();
    let config = Config::new(&lab, Side::A)
        .speaking(Exchange::V2)
        .start("answer")
        .tunnels(|tunnel| tunnel.ipsec.pfs = Some(Pfs::Group(14)));
    let agent = Agent::start(&lab, Side::A, &config).unwrap();
    peer.initiate().unwrap();
    assert_traffic(&lab, &agent, "another group in IKE_SA_INIT");
    let refusals = || peer.log().matches("N(INVAL_KE)").count();
    assert_eq!(refusals(), 1, "{}", peer.log());
    peer.rekey_child().unwrap();
    agent
        .wait_status("the rekey", Duration::from_secs(5), |status| {
            (status.tunnel(TUNNEL)?.json()["negotiations"]["child_rekeys"] == 1).then_some(())
        })
        .unwrap();
    assert_traffic(&lab, &agent, "another group in CREATE_CHILD_SA");
    assert_eq!(refusals(), 2, "{}", peer.log());
}

/// Two ranges behind A, each with a host. Behind B there is one: strongSwan's ESP can route a network into one child only.
fn two_ranges(lab: &Lab, config: Config) -> (Config, [Ipv4Addr; 2]) {
    let second = Ipv4Addr::new(10, 77, 1, 130);
    lab.host(Side::A)
        .ip(&["addr", "add", &format!("{second}/24"), "dev", HOST])
        .unwrap();
    let config = config.tunnels(|tunnel| {
        tunnel.spd = RANGES
            .map(|range| SpdRule {
                local: range.to_owned(),
                peer: vec![Side::B.network()],
            })
            .to_vec();
    });
    (config, [Side::A.host(), second])
}

const RANGES: [&str; 2] = ["10.77.1.0/25", "10.77.1.128/25"];

/// What strongSwan has for two ranges.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Children {
    /// A child for each of them.
    Apart,
    /// One for both: IKEv2 only.
    Together,
}

#[test]
fn each_pair_of_ranges_gets_what_the_version_has_for_it() {
    const ROWS: [(Exchange, &str, Children); 8] = [
        (Exchange::Main, "traffic", Children::Apart),
        (Exchange::Main, "answer", Children::Apart),
        (Exchange::Aggressive, "traffic", Children::Apart),
        (Exchange::Aggressive, "answer", Children::Apart),
        (Exchange::V2, "traffic", Children::Apart),
        (Exchange::V2, "answer", Children::Apart),
        (Exchange::V2, "traffic", Children::Together),
        (Exchange::V2, "answer", Children::Together),
    ];
    let outcomes = thread::scope(|scope| {
        ROWS.map(|row| scope.spawn(move || two_ranges_carry_traffic(row)))
            .map(|thread| thread.join().unwrap())
    });
    let failures: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[expect(
    clippy::unwrap_in_result,
    reason = "a lab that does not come up says nothing about the row"
)]
fn two_ranges_carry_traffic((exchange, start, children): (Exchange, &str, Children)) -> Result<(), String> {
    let lab = Lab::new().unwrap();
    let theirs = StrongSwanConfig::new(Side::B).speaking(exchange);
    let theirs = match children {
        Children::Apart => StrongSwanConfig {
            remote_ts: RANGES[0].to_owned(),
            more_ranges: vec![(Side::B.network(), RANGES[1].to_owned())],
            ..theirs
        },
        Children::Together => StrongSwanConfig {
            remote_ts: RANGES.join(","),
            ..theirs
        },
    };
    let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
    let config = Config::new(&lab, Side::A).speaking(exchange).start(start);
    let (config, hosts) = two_ranges(&lab, config);
    let agent = Agent::start(&lab, Side::A, &config).unwrap();
    if start == "answer" {
        peer.initiate().unwrap();
        if children == Children::Apart {
            peer.initiate_child("net1").unwrap();
        }
    }
    let answered = |host: Ipv4Addr| {
        // A further Child SA that an IKEv2 peer has asked for seals when the peer is seen to have it, or after ten seconds.
        wait::until("pings to be answered", Duration::from_secs(15), || {
            let source = host.to_string();
            let report = ping(
                lab.host(Side::A),
                Side::B.host(),
                3,
                20,
                &["-W", "1", "-I", &source],
            )
            .ok()?;
            (report.lost() == 0).then_some(())
        })
    };
    let unanswered: Vec<_> = hosts
        .into_iter()
        .filter(|&host| answered(host).is_err())
        .collect();
    let status = agent.status().unwrap();
    let installed = status.tunnel(TUNNEL).unwrap().spis().len();
    // Ours asks for one pair at a time, the one that the packet needs, and takes what it is given.
    let expected = match (children, start) {
        (Children::Together, "answer") => 1,
        _ => 2,
    };
    if unanswered.is_empty() && installed == expected {
        return Ok(());
    }
    Err(format!(
        "{exchange:?} {start} {children:?}: {installed} children, nothing for {unanswered:?}\n{status}\n{}\n{}\n{}",
        peer.sas().unwrap(),
        peer.log(),
        agent.log()
    ))
}

/// The ESP of this peer has no extended sequence numbers, and it takes the first offer: ours begins with none.
#[test]
fn a_tunnel_that_allows_extended_sequence_numbers_comes_up_with_a_peer_that_has_none() {
    for start in ["traffic", "answer"] {
        let lab = Lab::new().unwrap();
        let theirs = StrongSwanConfig {
            esp: "aes128-sha1-noesn-esn".to_owned(),
            ..StrongSwanConfig::new(Side::B)
        }
        .speaking(Exchange::V2);
        let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
        let config = Config::new(&lab, Side::A)
            .speaking(Exchange::V2)
            .start(start)
            .tunnels(|tunnel| tunnel.ipsec.esn = Some("allow".to_owned()));
        let agent = Agent::start(&lab, Side::A, &config).unwrap();
        if start == "answer" {
            peer.initiate().unwrap();
        }
        assert_traffic(&lab, &agent, start);
    }
}

#[test]
fn a_tunnel_of_any_version_answers_both_and_starts_ikev2() {
    for (exchange, start) in [
        (Exchange::Main, "answer"),
        (Exchange::V2, "answer"),
        (Exchange::V2, "traffic"),
    ] {
        let lab = Lab::new().unwrap();
        let theirs = StrongSwanConfig::new(Side::B).speaking(exchange);
        let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
        let config = Config::new(&lab, Side::A)
            .start(start)
            .tunnels(|tunnel| tunnel.ike.version = Some("any".to_owned()));
        let agent = Agent::start(&lab, Side::A, &config).unwrap();
        if start == "answer" {
            peer.initiate().unwrap();
        }
        assert_traffic(&lab, &agent, &format!("{exchange:?} {start}"));
    }
}
