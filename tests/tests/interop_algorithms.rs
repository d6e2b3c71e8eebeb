//! Every algorithm of the product against strongSwan, half of the rows with each end as the initiator.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::config::{Pfs, TUNNEL};
use gateway_tests::ping::ping;
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig};

/// Our word and strongSwan's.
type Word = (&'static str, &'static str);

const CIPHERS: [Word; 4] = [
    ("3des", "3des"),
    ("aes-128", "aes128"),
    ("aes-192", "aes192"),
    ("aes-256", "aes256"),
];
const HASHES: [Word; 3] = [("md5", "md5"), ("sha1", "sha1"), ("sha2-256", "sha256")];
const GROUPS: [(u16, &str); 3] = [(2, "modp1024"), (5, "modp1536"), (14, "modp2048")];
const AEADS: [Word; 2] = [("aes-128-gcm", "aes128gcm16"), ("aes-256-gcm", "aes256gcm16")];

/// One tunnel's choice.
#[derive(Clone, Copy, Debug)]
struct Row {
    ike: (Word, Word, (u16, &'static str)),
    esp: (Word, Option<Word>),
    pfs: Option<(u16, &'static str)>,
}

/// Every IKE combination and every ESP combination with every kind of PFS at least once; the shorter list repeats.
fn rows() -> Vec<Row> {
    let mut ike = Vec::new();
    let mut esp = Vec::new();
    for cipher in CIPHERS {
        for hash in HASHES {
            ike.extend(GROUPS.map(|group| (cipher, hash, group)));
            esp.push((cipher, Some(hash)));
        }
    }
    esp.extend(AEADS.map(|cipher| (cipher, None)));
    let pfs = [None].into_iter().chain(GROUPS.map(Some));
    let phase2 = pfs.flat_map(|pfs| esp.iter().map(move |&esp| (esp, pfs)));
    phase2
        .zip(ike.iter().cycle())
        .map(|((esp, pfs), &ike)| Row { ike, esp, pfs })
        .collect()
}

impl Row {
    fn ours(self, config: Config, start: &str) -> Config {
        config.tunnels(|tunnel| {
            let (cipher, hash, (group, _)) = self.ike;
            tunnel.start = Some(start.to_owned());
            tunnel.ike.encryption = Some(cipher.0.to_owned());
            tunnel.ike.authentication = Some(hash.0.to_owned());
            tunnel.ike.dh_group = Some(group);
            tunnel.ipsec.encryption = Some(self.esp.0.0.to_owned());
            tunnel.ipsec.authentication = self.esp.1.map(|hash| hash.0.to_owned());
            tunnel.ipsec.pfs = Some(self.pfs.map_or(Pfs::Off, |(group, _)| Pfs::Group(group)));
        })
    }

    fn theirs(self) -> StrongSwanConfig {
        let (cipher, hash, (_, group)) = self.ike;
        let words = [
            Some(self.esp.0.1),
            self.esp.1.map(|hash| hash.1),
            self.pfs.map(|(_, group)| group),
        ];
        StrongSwanConfig {
            ike: [cipher.1, hash.1, group].join("-"),
            esp: words.into_iter().flatten().collect::<Vec<_>>().join("-"),
            ..StrongSwanConfig::new(Side::B)
        }
    }
}

#[test]
fn every_algorithm_of_the_product_works_with_strongswan() {
    let rows = rows();
    assert_eq!(rows.len(), 56);
    let lab = Lab::new().unwrap();
    let peer = StrongSwan::start(&lab, Side::B, &rows[0].theirs()).unwrap();
    let agent = Agent::start(&lab, Side::A, &rows[0].ours(Config::new(&lab, Side::A), "answer")).unwrap();
    let mut failures = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let we_initiate = number % 2 == 0;
        let start = if we_initiate { "traffic" } else { "answer" };
        peer.load(&row.theirs()).unwrap();
        agent
            .reload(&row.ours(Config::new(&lab, Side::A), start))
            .unwrap();
        let attempt = || -> anyhow::Result<()> {
            if !we_initiate {
                peer.initiate()?;
            }
            let report = ping(lab.host(Side::A), Side::B.host(), 3, 10, &["-W", "2"])?;
            anyhow::ensure!(report.lost() == 0, "{report:?}");
            let status = agent.status()?;
            let tunnel = status.tunnel(TUNNEL).expect("configured");
            let algorithms = tunnel.json()["children"][0]["algorithms"].to_string();
            anyhow::ensure!(algorithms.contains(row.esp.0.0), "{algorithms} are in use");
            Ok(())
        };
        if let Err(error) = attempt() {
            let state = agent
                .status()
                .unwrap()
                .tunnel(TUNNEL)
                .map(|tunnel| tunnel.json().to_string());
            failures.push(format!(
                "{row:?}, we initiate: {we_initiate}: {error:#}\n  {state:?}"
            ));
        }
        // From a clean slate to the next row.
        peer.terminate().ok();
        agent.wait_tunnel(TUNNEL, "down", Duration::from_secs(2)).ok();
    }
    assert!(
        failures.is_empty(),
        "{} of {} rows failed:\n{}",
        failures.len(),
        rows.len(),
        failures.join("\n")
    );
}
