//! A tunnel that does not come up says why, whichever end started.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::config::{Pfs, TUNNEL};
use gateway_tests::ping::ping;
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig};

/// What is wrong, and the code that our status must show when we start and when strongSwan does.
struct Row {
    what: &'static str,
    ours: fn(Config) -> Config,
    theirs: fn(StrongSwanConfig) -> StrongSwanConfig,
    we_start: &'static [&'static str],
    they_start: &'static [&'static str],
}

const ROWS: [Row; 5] = [
    Row {
        what: "another pre-shared key",
        ours: |config| config,
        theirs: |config| StrongSwanConfig {
            psk: "another".to_owned(),
            ..config
        },
        // The initiator of main mode sees only that its fifth message is not answered, or refused.
        we_start: &["psk_mismatch", "no_response", "peer_refused"],
        they_start: &["psk_mismatch"],
    },
    Row {
        what: "another IKE cipher",
        ours: |config| config,
        theirs: |config| StrongSwanConfig {
            ike: "aes256-sha1-modp2048".to_owned(),
            ..config
        },
        we_start: &["ike_proposal_mismatch"],
        they_start: &["ike_proposal_mismatch"],
    },
    Row {
        what: "another ESP cipher",
        ours: |config| config,
        theirs: |config| StrongSwanConfig {
            esp: "aes256-sha1".to_owned(),
            ..config
        },
        we_start: &["esp_proposal_mismatch"],
        they_start: &["esp_proposal_mismatch"],
    },
    Row {
        what: "PFS here and not there",
        ours: |config| config.tunnels(|tunnel| tunnel.ipsec.pfs = Some(Pfs::Group(14))),
        theirs: |config| config,
        we_start: &["esp_proposal_mismatch", "pfs_mismatch"],
        they_start: &["pfs_mismatch", "esp_proposal_mismatch"],
    },
    Row {
        what: "ranges that no rule has",
        ours: |config| config,
        theirs: |config| StrongSwanConfig {
            local_ts: "10.99.0.0/16".to_owned(),
            remote_ts: "10.98.0.0/16".to_owned(),
            ..config
        },
        we_start: &["selector_mismatch", "peer_refused"],
        they_start: &["selector_mismatch"],
    },
];

#[test]
fn status_says_why_a_tunnel_does_not_come_up() {
    let lab = Lab::new().unwrap();
    let mut failures = Vec::new();
    for row in &ROWS {
        for (we_start, expected) in [(true, row.we_start), (false, row.they_start)] {
            let peer =
                StrongSwan::start(&lab, Side::B, &(row.theirs)(StrongSwanConfig::new(Side::B))).unwrap();
            let start = if we_start { "traffic" } else { "answer" };
            let config = (row.ours)(Config::new(&lab, Side::A))
                .tunnels(|tunnel| tunnel.start = Some(start.to_owned()));
            let agent = Agent::start(&lab, Side::A, &config).unwrap();
            if we_start {
                ping(lab.host(Side::A), Side::B.host(), 2, 100, &["-W", "1"]).unwrap();
            } else {
                peer.swanctl(&["--initiate", "--child", "net", "--timeout", "3"])
                    .unwrap();
            }
            let code = agent.wait_status("a diagnosis", Duration::from_secs(40), |status| {
                status.tunnel(TUNNEL)?.failure().map(ToOwned::to_owned)
            });
            let good = code.as_ref().is_ok_and(|code| expected.contains(&code.as_str()));
            let status = agent.status().unwrap();
            let failure = status.tunnel(TUNNEL).unwrap().json()["last_failure"].clone();
            let explained = ["local", "peer", "advice"]
                .iter()
                .all(|field| failure[field].as_str().is_some_and(|text| !text.is_empty()));
            if !good || !explained {
                failures.push(format!(
                    "{} (we start: {we_start}): {code:?}, {failure}",
                    row.what
                ));
            }
            assert_ne!(status.tunnel(TUNNEL).unwrap().state(), "up");
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
