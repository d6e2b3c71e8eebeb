//! The interop matrix against strongSwan: every row of [`gateway_tests::matrix`], started by each end in turn.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use gateway_tests::config::{Pfs, TUNNEL};
use gateway_tests::matrix::{Exchange, Expected, Initiator, Row, rows};
use gateway_tests::ping::ping;
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig, wait};

fn ours(row: &Row, config: Config, initiator: Initiator) -> Config {
    let start = match initiator {
        Initiator::We => "traffic",
        Initiator::They => "answer",
    };
    config.speaking(row.exchange).start(start).tunnels(|tunnel| {
        tunnel.ike.local_id = row.identities.map(|(local, _)| local.ours.to_owned());
        tunnel.ike.peer_id = row.identities.map(|(_, peer)| peer.ours.to_owned());
        tunnel.ike.encryption = Some(row.ike_cipher.ours.to_owned());
        tunnel.ike.authentication = Some(row.ike_hash.ours.to_owned());
        tunnel.ike.dh_group = Some(row.ike_group.number);
        tunnel.ipsec.encryption = Some(row.esp_cipher.ours.to_owned());
        tunnel.ipsec.authentication = row.esp_integrity.map(|hash| hash.ours.to_owned());
        tunnel.ipsec.pfs = Some(row.pfs.map_or(Pfs::Off, |group| Pfs::Group(group.number)));
    })
}

fn theirs(row: &Row) -> StrongSwanConfig {
    let config = StrongSwanConfig {
        ike: row.their_ike(),
        esp: row.their_esp(),
        ..StrongSwanConfig::new(Side::B)
    };
    let config = match row.identities {
        None => config,
        Some((ours, theirs)) => StrongSwanConfig {
            local_id: theirs.theirs.to_owned(),
            remote_id: ours.theirs.to_owned(),
            ..config
        },
    };
    config.speaking(row.exchange)
}

/// How long a row may take to carry traffic.
const PATIENCE: Duration = Duration::from_secs(15);

/// Both ends of a lab, whose configuration changes from row to row.
struct Bench {
    agent: Agent,
    peer: StrongSwan,
    lab: Lab,
}

impl Bench {
    fn new(first: &Row) -> Self {
        let lab = Lab::new().unwrap();
        let peer = StrongSwan::start(&lab, Side::B, &theirs(first)).unwrap();
        let config = ours(first, Config::new(&lab, Side::A), Initiator::They);
        let agent = Agent::start(&lab, Side::A, &config).unwrap();
        Self { agent, peer, lab }
    }

    fn run(&self, row: &Row, initiator: Initiator) -> Result<()> {
        self.peer.load(&theirs(row))?;
        self.agent
            .reload(&ours(row, Config::new(&self.lab, Side::A), initiator))?;
        let outcome = self.attempt(row, initiator);
        let state = self.agent.status()?;
        // From a clean slate to the next row.
        self.peer.terminate().ok();
        let down = self.agent.wait_tunnel(TUNNEL, "down", Duration::from_secs(5));
        let tunnel = state
            .tunnel(TUNNEL)
            .map(|tunnel| tunnel.json()["last_failure"].to_string());
        outcome.map_err(|error| anyhow!("{error:#}; last failure: {}", tunnel.unwrap_or_default()))?;
        down.context("after the end")
    }

    fn attempt(&self, row: &Row, initiator: Initiator) -> Result<()> {
        if initiator == Initiator::They {
            self.peer.initiate()?;
        }
        self.ping(Side::A)?;
        self.ping(Side::B)?;
        self.check_algorithms(row)?;
        // The keys of the first Child SA of IKEv2 come from IKE_AUTH, which has no exchange of its own for PFS.
        if row.exchange == Exchange::V2 && row.pfs.is_some() {
            let before = self.spis()?;
            self.peer.rekey_child()?;
            wait::until("the rekeyed Child SA", Duration::from_secs(5), || {
                (self.spis().ok()? != before).then_some(())
            })?;
            self.ping(Side::A)?;
            self.ping(Side::B)?;
        }
        Ok(())
    }

    /// Whether packets are lost is asked elsewhere: here the peer may need seconds for a large group.
    fn ping(&self, from: Side) -> Result<()> {
        let (host, to) = (self.lab.host(from), from.other().host());
        wait::until(&format!("pings from {from:?} to be answered"), PATIENCE, || {
            let report = ping(host, to, 2, 10, &["-W", "1"]).ok()?;
            (report.lost() == 0).then_some(())
        })
    }

    fn spis(&self) -> Result<Vec<(String, String)>> {
        let status = self.agent.status()?;
        Ok(status.tunnel(TUNNEL).context("configured")?.spis())
    }

    fn check_algorithms(&self, row: &Row) -> Result<()> {
        let status = self.agent.status()?;
        let tunnel = status.tunnel(TUNNEL).context("configured")?.json();
        let esp = [Some(row.esp_cipher.ours), row.esp_integrity.map(|hash| hash.ours)];
        let esp = esp.into_iter().flatten().collect::<Vec<_>>().join("/");
        let ike = format!(
            "{}/{}/group{}",
            row.ike_cipher.ours, row.ike_hash.ours, row.ike_group.number
        );
        for (sas, expected) in [("children", esp), ("ike", ike)] {
            let used = tunnel[sas].to_string();
            ensure!(used.contains(&expected), "{used} is in use, not {expected}");
        }
        Ok(())
    }
}

/// Benches that share the rows of an exchange: an attempt mostly waits.
const BENCHES: usize = 2;

#[track_caller]
fn run(exchange: Exchange) {
    let rows = rows(exchange);
    let wrong: Vec<String> = thread::scope(|scope| {
        let parts = rows.chunks(rows.len().div_ceil(BENCHES));
        let benches: Vec<_> = parts.map(|part| scope.spawn(|| wrong_attempts(part))).collect();
        benches
            .into_iter()
            .flat_map(|bench| bench.join().unwrap())
            .collect()
    });
    assert!(
        wrong.is_empty(),
        "{} of {} attempts:\n{}",
        wrong.len(),
        rows.len() * Initiator::ALL.len(),
        wrong.join("\n")
    );
}

/// Attempts that did not do what the table says.
fn wrong_attempts(rows: &[Row]) -> Vec<String> {
    let bench = Bench::new(&rows[0]);
    let mut wrong = Vec::new();
    for row in rows {
        for initiator in Initiator::ALL {
            let outcome = match (bench.run(row, initiator), row.expected(initiator)) {
                (Ok(()), Expected::Works) | (Err(_), Expected::Fails(_)) => Ok(()),
                (Ok(()), Expected::Fails(reason)) => Err(anyhow!("passes although the table says: {reason}")),
                (Err(error), Expected::Works) => Err(error),
            };
            if let Err(error) = outcome {
                wrong.push(format!(
                    "{} {} {:?} {:?}, {initiator:?} start: {error:#}",
                    row.their_ike(),
                    row.their_esp(),
                    row.identities.map(|(ours, _)| ours.ours),
                    row.exchange
                ));
            }
        }
    }
    wrong
}

#[test]
fn every_row_of_ikev1_main_mode_is_as_the_table_says() {
    run(Exchange::Main);
}

#[test]
fn every_row_of_ikev1_aggressive_mode_is_as_the_table_says() {
    run(Exchange::Aggressive);
}

#[test]
fn every_row_of_ikev2_is_as_the_table_says() {
    run(Exchange::V2);
}
