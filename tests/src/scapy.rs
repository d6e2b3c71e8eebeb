//! Scapy as a second opinion on the octets of ESP packets.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// Where `cargo xtask setup` puts Python with scapy, below the root of the repository.
pub const ENVIRONMENT: &str = "target/scapy";
/// What is installed there. Pinned: a second opinion that changes by itself is none.
pub const PACKAGES: [&str; 2] = ["scapy==2.8.0", "cryptography==50.0.2"];

/// What scapy shall do with a packet.
#[derive(Clone, Debug, Serialize)]
pub struct Job {
    /// `seal` an inner packet or `open` an outer one.
    #[serde(rename = "do")]
    pub what: &'static str,
    /// The cipher's name in `gateway_esp::Cipher`.
    pub cipher: String,
    /// The integrity's name in `gateway_esp::Integrity`.
    pub integrity: Option<String>,
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
    /// The SPI.
    pub spi: u32,
    /// The whole sequence number.
    pub sequence: u64,
    /// Encryption key and salt, in hexadecimal.
    pub encryption: String,
    /// Integrity key, in hexadecimal.
    pub authentication: String,
    /// The packet, from its IP header on, in hexadecimal.
    pub packet: String,
}

/// What scapy made of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The packet, in hexadecimal.
    Packet(String),
    /// Why there is none.
    Error(String),
}

/// Python with scapy.
pub fn python() -> PathBuf {
    repository().join(ENVIRONMENT).join("bin/python3")
}

fn repository() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// Lets one process do all the jobs; the answers come in their order.
pub fn run(jobs: &[Job]) -> Result<Vec<Answer>> {
    let python = python();
    ensure!(
        python.exists(),
        "{} is missing: `cargo xtask setup` makes it",
        python.display()
    );
    let mut child = Command::new(python)
        .arg(repository().join("tests/scapy/peer.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start scapy")?;
    let mut input = child.stdin.take().context("scapy has no standard input")?;
    let output = child.stdout.take().context("scapy has no standard output")?;
    // Both pipes are small, so somebody must read while the jobs are written.
    let answers = std::thread::scope(|scope| {
        scope.spawn(move || {
            for job in jobs {
                serde_json::to_writer(&mut input, job)?;
                input.write_all(b"\n")?;
            }
            input.flush()
        });
        let lines = BufReader::new(output).lines();
        let answer = |line: std::io::Result<String>| {
            let line = line.context("read from scapy")?;
            serde_json::from_str(&line).with_context(|| format!("scapy says {line:?}"))
        };
        lines.map(answer).collect::<Result<Vec<_>>>()
    })?;
    let status = child.wait().context("wait for scapy")?;
    ensure!(status.success(), "scapy ended with {status}");
    ensure!(
        answers.len() == jobs.len(),
        "{} answers to {} jobs",
        answers.len(),
        jobs.len()
    );
    Ok(answers)
}
