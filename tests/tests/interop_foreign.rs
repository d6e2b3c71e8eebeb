//! ike-scan as an initiator that has nothing in common with strongSwan: it understands our answers, and gets no more than it sent.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::config::TUNNEL;
use gateway_tests::lab::WIRE;
use gateway_tests::matrix::Exchange;
use gateway_tests::{Agent, Capture, Config, Lab, Side};

/// A responder that sends again by itself does so a second later, and three after that.
const WATCH: Duration = Duration::from_secs(3);
/// IPv4 and UDP.
const HEADERS: usize = 28;

/// One probe.
struct Probe {
    what: &'static str,
    exchange: Exchange,
    /// Cipher, hash and group of the tunnel.
    tunnel: (&'static str, &'static str, u16),
    arguments: &'static [&'static str],
    /// What ike-scan must print.
    answer: &'static [&'static str],
    /// Octets of ours for each octet of ike-scan's, at most.
    amplification: f64,
}

const PROBES: [Probe; 6] = [
    Probe {
        what: "main mode, AES-128",
        exchange: Exchange::Main,
        tunnel: ("aes-128", "sha1", 14),
        arguments: &["--trans=(1=7,14=128,2=2,3=1,4=14)"],
        answer: &[
            "Main Mode Handshake returned",
            "Enc=AES",
            "KeyLength=128",
            "Hash=SHA1",
            "Group=14:modp2048",
            "Auth=PSK",
        ],
        amplification: 1.0,
    },
    Probe {
        what: "main mode, DES",
        exchange: Exchange::Main,
        tunnel: ("des", "md5", 1),
        arguments: &["--trans=1,1,1,1"],
        answer: &[
            "Main Mode Handshake returned",
            "Enc=DES",
            "Hash=MD5",
            "Group=1:modp768",
        ],
        amplification: 1.0,
    },
    Probe {
        what: "main mode, ike-scan's own list of proposals",
        exchange: Exchange::Main,
        tunnel: ("3des", "md5", 2),
        arguments: &[],
        answer: &["Main Mode Handshake returned", "Enc=3DES", "Hash=MD5"],
        amplification: 1.0,
    },
    Probe {
        what: "main mode, nothing in common",
        exchange: Exchange::Main,
        tunnel: ("aes-256", "sha2-256", 14),
        arguments: &["--trans=5,2,1,2"],
        answer: &["NO-PROPOSAL-CHOSEN"],
        amplification: 1.0,
    },
    Probe {
        what: "aggressive mode",
        exchange: Exchange::Aggressive,
        tunnel: ("3des", "sha1", 2),
        // Identity ID_IPV4_ADDR 192.0.2.2.
        arguments: &[
            "--aggressive",
            "--trans=5,2,1,2",
            "--dhgroup=2",
            "--idtype=1",
            "--id=0xc0000202",
        ],
        answer: &[
            "Aggressive Mode Handshake returned",
            "Enc=3DES",
            "Hash(20 bytes)",
            "ID(Type=ID_IPV4_ADDR, Value=192.0.2.1)",
        ],
        amplification: 1.5,
    },
    Probe {
        what: "IKEv2",
        exchange: Exchange::V2,
        tunnel: ("aes-256", "sha1", 2),
        arguments: &["--ikev2", "--dhgroup=2"],
        answer: &["IKEv2 SA_INIT Handshake returned", "Encr=AES_CBC,KeyLength=256"],
        amplification: 1.5,
    },
];

#[expect(
    clippy::unwrap_in_result,
    reason = "a lab that does not come up says nothing about the row"
)]
fn probe(probe: &Probe) -> Result<(), String> {
    let lab = Lab::with_wire().unwrap();
    let config = Config::new(&lab, Side::A)
        .speaking(probe.exchange)
        .start("answer")
        .tunnels(|tunnel| {
            let (cipher, hash, group) = probe.tunnel;
            tunnel.ike.encryption = Some(cipher.to_owned());
            tunnel.ike.authentication = Some(hash.to_owned());
            tunnel.ike.dh_group = Some(group);
        });
    let agent = Agent::start(&lab, Side::A, &config).unwrap();
    let capture = Capture::start(&lab, lab.wire().unwrap(), WIRE).unwrap();
    let target = Side::A.outside().to_string();
    let mut arguments = vec!["--retry=1"];
    arguments.extend(probe.arguments);
    arguments.push(&target);
    let printed = lab.gateway(Side::B).run("ike-scan", &arguments).unwrap();
    // A responder that sends again by itself amplifies later.
    std::thread::sleep(WATCH);
    let packets = capture.stop().unwrap();
    let octets = |from: Side| -> usize {
        let from = |addresses: (_, _)| addresses.0 == from.outside();
        let ike = packets
            .iter()
            .filter(|packet| packet.addresses().is_some_and(from) && packet.protocol() == Some(17));
        ike.map(|packet| packet.ip().len() - HEADERS).sum()
    };
    let (asked, answered) = (octets(Side::B), octets(Side::A));
    let missing: Vec<_> = probe
        .answer
        .iter()
        .filter(|&&word| !printed.contains(word))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a few hundred octets")]
    let factor = answered as f64 / asked as f64;
    let status = agent.status().unwrap();
    let state = status.tunnel(TUNNEL).unwrap().state();
    if missing.is_empty() && factor <= probe.amplification && state != "up" {
        return Ok(());
    }
    Err(format!(
        "{}: {missing:?} missing, {answered} octets for {asked}, tunnel {state}\n{printed}",
        probe.what
    ))
}

#[test]
fn ike_scan_understands_our_answers_and_is_not_sent_more_than_it_sent() {
    let failures: Vec<_> = PROBES.iter().filter_map(|row| probe(row).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
