//! A tunnel that does not come up says why, whichever end started.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::thread;
use std::time::Duration;

use gateway_tests::config::{Pfs, TUNNEL, Tunnel};
use gateway_tests::matrix::Exchange;
use gateway_tests::ping::ping;
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig};

/// What is wrong, and the codes of which our status must show one when we start and when strongSwan does.
struct Row {
    what: &'static str,
    ours: fn(&mut Tunnel),
    theirs: fn(StrongSwanConfig) -> StrongSwanConfig,
    we_start: &'static [&'static str],
    they_start: &'static [&'static str],
}

const ROWS: [Row; 6] = [
    Row {
        what: "another pre-shared key",
        ours: |_| {},
        theirs: |config| StrongSwanConfig {
            psk: "another".to_owned(),
            ..config
        },
        // The initiator of main mode sees only that its fifth message is not answered, or refused.
        we_start: &["psk_mismatch", "no_response", "peer_refused"],
        they_start: &["psk_mismatch"],
    },
    IDENTITY,
    Row {
        what: "another IKE cipher",
        ours: |_| {},
        theirs: |config| StrongSwanConfig {
            ike: "aes256-sha1-modp2048".to_owned(),
            ..config
        },
        we_start: &["ike_proposal_mismatch"],
        they_start: &["ike_proposal_mismatch"],
    },
    Row {
        what: "another ESP cipher",
        ours: |_| {},
        theirs: |config| StrongSwanConfig {
            esp: "aes256-sha1".to_owned(),
            ..config
        },
        we_start: &["esp_proposal_mismatch"],
        they_start: &["esp_proposal_mismatch"],
    },
    Row {
        what: "ranges that no rule has",
        ours: |_| {},
        theirs: |config| StrongSwanConfig {
            local_ts: "10.99.0.0/16".to_owned(),
            remote_ts: "10.98.0.0/16".to_owned(),
            ..config
        },
        we_start: &["selector_mismatch", "peer_refused"],
        they_start: &["selector_mismatch"],
    },
    PFS,
];

const IDENTITY: Row = Row {
    what: "another identity",
    ours: |tunnel| tunnel.ike.peer_id = Some("idc.example.com".to_owned()),
    theirs: |config| StrongSwanConfig {
        local_id: "elsewhere.example.com".to_owned(),
        ..config
    },
    we_start: &["identity_mismatch"],
    they_start: &["identity_mismatch"],
};

/// With IKEv1 the tunnel does not come up. With IKEv2 it does, and its first rekey would fail: the gateway finds out at once.
const PFS: Row = Row {
    what: "PFS here and not there",
    ours: |tunnel| tunnel.ipsec.pfs = Some(Pfs::Group(14)),
    theirs: |config| config,
    we_start: &["esp_proposal_mismatch", "pfs_mismatch"],
    they_start: &["pfs_mismatch", "esp_proposal_mismatch"],
};

/// Runs a row once and returns what is wrong with the outcome.
#[expect(
    clippy::unwrap_in_result,
    reason = "a lab that does not come up says nothing about the row"
)]
fn run(row: &Row, exchange: Exchange, we_start: bool) -> Result<(), String> {
    let is_found_by_rekey = exchange == Exchange::V2 && row.what == PFS.what;
    let lab = Lab::new().unwrap();
    let theirs = (row.theirs)(StrongSwanConfig::new(Side::B)).speaking(exchange);
    let peer = StrongSwan::start(&lab, Side::B, &theirs).unwrap();
    let config = Config::new(&lab, Side::A)
        .speaking(exchange)
        .start(if we_start { "traffic" } else { "answer" })
        .tunnels(row.ours);
    let agent = Agent::start(&lab, Side::A, &config).unwrap();
    if we_start {
        ping(lab.host(Side::A), Side::B.host(), 2, 100, &["-W", "1"]).unwrap();
    } else {
        peer.swanctl(&["--initiate", "--child", "net", "--timeout", "3"])
            .unwrap();
        if is_found_by_rekey {
            // A tunnel that only answers does not try by itself.
            peer.rekey_child().unwrap();
        }
    }
    let expected = if we_start { row.we_start } else { row.they_start };
    let code = agent.wait_status("a diagnosis", Duration::from_secs(40), |status| {
        status.tunnel(TUNNEL)?.failure().map(ToOwned::to_owned)
    });
    // The responder of IKEv2 has no words for what it does not like about an IKE_AUTH.
    let is_unsaid = exchange == Exchange::V2 && we_start && row.what == IDENTITY.what;
    let good = code
        .as_ref()
        .is_ok_and(|code| expected.contains(&code.as_str()) || (is_unsaid && code == "psk_mismatch"));
    let status = agent.status().unwrap();
    let tunnel = status.tunnel(TUNNEL).unwrap();
    let failure = tunnel.json()["last_failure"].clone();
    let explained = ["local", "peer", "advice"]
        .iter()
        .all(|field| failure[field].as_str().is_some_and(|text| !text.is_empty()));
    // Only PFS of IKEv2 is found out after the tunnel came up.
    let down = tunnel.state() != "up" || is_found_by_rekey;
    if good && explained && down {
        return Ok(());
    }
    Err(format!(
        "{} ({exchange:?}, we start: {we_start}): {code:?}, {failure}, {}",
        row.what,
        tunnel.state()
    ))
}

#[track_caller]
fn run_all(exchange: Exchange) {
    let mut failures = Vec::new();
    for row in &ROWS {
        // Both at once: each mostly waits.
        let outcomes = thread::scope(|scope| {
            [true, false]
                .map(|we_start| scope.spawn(move || run(row, exchange, we_start)))
                .map(|thread| thread.join().unwrap())
        });
        failures.extend(outcomes.into_iter().filter_map(Result::err));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn status_says_why_a_main_mode_tunnel_does_not_come_up() {
    run_all(Exchange::Main);
}

#[test]
fn status_says_why_an_aggressive_mode_tunnel_does_not_come_up() {
    run_all(Exchange::Aggressive);
}

#[test]
fn status_says_why_an_ikev2_tunnel_does_not_come_up() {
    run_all(Exchange::V2);
}
