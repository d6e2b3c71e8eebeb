//! The files for a customer's strongSwan as the product hands them out: imported, downloaded, loaded into a real strongSwan and nothing
//! else, and pinged through. One table for every algorithm of the product, both versions and both formats.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_tests::matrix::Exchange;
use gateway_tests::ping::ping;
use gateway_tests::{Agent, Config, Lab, Side, Starter, StrongSwan, config, wait};

const TUNNEL: &str = "vpnx-files";
/// How long a row may take to carry traffic: groups of 4096 bits take their time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const CBC: [&str; 5] = ["des", "3des", "aes-128", "aes-192", "aes-256"];
const ESP: [&str; 7] = [
    "des",
    "3des",
    "aes-128",
    "aes-192",
    "aes-256",
    "aes-128-gcm",
    "aes-256-gcm",
];
const HASHES: [&str; 5] = ["md5", "sha1", "sha2-256", "sha2-384", "sha2-512"];
const GROUPS: [u16; 10] = [1, 2, 5, 14, 24, 15, 16, 19, 20, 21];
/// As many as it takes for every choice to occur, PFS off included.
const ROWS: usize = GROUPS.len() + 1;

/// One tunnel's choice.
struct Row {
    exchange: Exchange,
    number: usize,
}

impl Row {
    fn ike(&self) -> (&'static str, &'static str, u16) {
        let n = self.number;
        (CBC[n % 5], HASHES[(n + n / 5) % 5], GROUPS[n % GROUPS.len()])
    }

    fn esp(&self) -> (&'static str, Option<&'static str>, Option<u16>) {
        let cipher = ESP[self.number % ESP.len()];
        let hash = (!cipher.ends_with("gcm")).then_some(HASHES[(self.number + 1) % 5]);
        let pfs = self.number.checked_sub(1).map(|index| GROUPS[index]);
        (cipher, hash, pfs)
    }

    fn named(&self) -> bool {
        self.number % 2 == 1
    }

    /// The objects as a file for `gateway import`.
    fn declaration(&self, name: &str) -> String {
        let (version, mode) = match self.exchange {
            Exchange::Main => ("ikev1", "mode = \"main\""),
            Exchange::Aggressive => ("ikev1", "mode = \"aggressive\""),
            Exchange::V2 => ("ikev2", ""),
        };
        let ((cipher, hash, group), (esp_cipher, esp_hash, pfs)) = (self.ike(), self.esp());
        let identities = if self.named() {
            "local_id = \"gw.example.com\"\npeer_id = \"idc.example.com\""
        } else {
            ""
        };
        let esp_hash = esp_hash.map_or(String::new(), |hash| format!("authentication = \"{hash}\""));
        let pfs = pfs.map_or_else(|| "\"off\"".to_owned(), |group| group.to_string());
        format!(
            "[[gateway]]\nid = \"vpngw-files\"\nvpc = \"{vpc}\"\naddress = \"{here}\"\nbandwidth_mbps = 100\n\
             [[customer_gateway]]\nid = \"cgw-files\"\naddress = \"{there}\"\n\
             [[tunnel]]\nid = \"{TUNNEL}\"\nname = \"{name}\"\ngateway = \"vpngw-files\"\ncustomer_gateway = \"cgw-files\"\n\
             psk = \"Schlüssel \\\"1\\\" für das IDC, lang genug\"\n\
             [[tunnel.spd]]\nlocal = \"{local}\"\npeer = [\"{peer}\"]\n\
             [tunnel.ike]\nversion = \"{version}\"\n{mode}\nencryption = \"{cipher}\"\nauthentication = \"{hash}\"\n\
             dh_group = {group}\n{identities}\n\
             [tunnel.ipsec]\nencryption = \"{esp_cipher}\"\n{esp_hash}\npfs = {pfs}\n",
            vpc = config::VPC,
            here = Side::A.outside(),
            there = Side::B.outside(),
            local = Side::A.network(),
            peer = Side::B.network(),
        )
    }
}

struct Bench {
    lab: Lab,
    agent: Agent,
}

impl Bench {
    fn new() -> Self {
        let lab = Lab::new().unwrap();
        let agent = Agent::start(&lab, Side::A, &Config::managed(&lab, Side::A)).unwrap();
        Self { lab, agent }
    }

    /// Brings the tunnel of a row into force. Every row differs from the one before, whose SAs end by that.
    fn import(&self, row: &Row, name: &str) -> Result<()> {
        let told = self.agent.import(&row.declaration(name))?;
        ensure!(told.contains("the agent reads the store again"), "{told}");
        self.agent
            .wait_status("the import to be in force", Duration::from_secs(10), |status| {
                (status.tunnel(TUNNEL)?.json()["name"] == name).then_some(())
            })
    }

    fn download(&self, platform: &str) -> Result<String> {
        self.agent.configured(&[
            "config-for",
            TUNNEL,
            "--vendor",
            "strongswan",
            "--platform",
            platform,
        ])
    }

    fn carries_traffic(&self, row: &Row) -> Result<()> {
        wait::until("pings to be answered", PATIENCE, || {
            let report = ping(self.lab.host(Side::A), Side::B.host(), 2, 10, &["-W", "1"]).ok()?;
            (report.lost() == 0).then_some(())
        })?;
        let status = self.agent.status()?;
        let tunnel = status.tunnel(TUNNEL).context("configured")?.json();
        let ((cipher, hash, group), (esp_cipher, esp_hash, _)) = (row.ike(), row.esp());
        let esp = [Some(esp_cipher), esp_hash].into_iter().flatten();
        for (sas, expected) in [
            ("ike", format!("{cipher}/{hash}/group{group}")),
            ("children", esp.collect::<Vec<_>>().join("/")),
        ] {
            let used = tunnel[sas].to_string();
            ensure!(used.contains(&expected), "{used} is in use, not {expected}");
        }
        Ok(())
    }
}

/// Runs all rows of all exchanges; `attempt` loads the file and says whether the tunnel carries traffic.
#[track_caller]
fn run(platform: &str, mut attempt: impl FnMut(&Bench, &Row, &str) -> Result<()>) {
    let bench = Bench::new();
    let mut wrong = Vec::new();
    for exchange in Exchange::ALL {
        for row in (0..ROWS).map(|number| Row { exchange, number }) {
            let name = format!("{exchange:?} {}", row.number);
            let done = bench
                .import(&row, &name)
                .and_then(|()| attempt(&bench, &row, &bench.download(platform)?));
            if let Err(error) = done {
                wrong.push(format!("{name} {:?} {:?}: {error:#}", row.ike(), row.esp()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} rows:\n{}",
        wrong.len(),
        3 * ROWS,
        wrong.join("\n")
    );
}

#[test]
fn the_downloaded_swanctl_file_brings_every_tunnel_of_the_product_up() {
    let mut peer: Option<StrongSwan> = None;
    run("swanctl", |bench, row, file| {
        match &peer {
            None => peer = Some(StrongSwan::start_with_file(&bench.lab, Side::B, file)?),
            Some(peer) => {
                peer.swanctl(&["--terminate", "--ike", TUNNEL, "--force", "--timeout", "2"])?;
                peer.load_file(file)?;
            }
        }
        bench.carries_traffic(row)
    });
}

#[test]
fn the_downloaded_ipsec_conf_brings_every_tunnel_of_the_product_up() {
    run("ipsec.conf", |bench, row, file| {
        // The file says which line belongs to ipsec.secrets, without the sign at its beginning.
        let secrets: String = file
            .lines()
            .filter(|line| line.contains(" : PSK "))
            .map(|line| format!("{}\n", line.trim_start_matches('#')))
            .collect();
        let _peer = Starter::start(&bench.lab, Side::B, file, &secrets)?;
        bench.carries_traffic(row)
    });
}
