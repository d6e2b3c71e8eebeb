//! strongSwan as a peer: charon with its ESP in user space (kernel-libipsec), configured and driven through VICI.
//!
//! Facts about Debian 12's 5.9.8 that a test must know: it speaks ESP in UDP 4500 only, and says so by pretending to be
//! behind a NAT; it does not initiate on traffic; several charons run on one machine when each has its own `/run`.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::matrix::Exchange;
use crate::process::Process;
use crate::{Lab, Side, config, wait};

/// How long charon may take until its VICI socket exists.
const START: Duration = Duration::from_secs(10);

/// One connection with one child, `gw` and `net`.
#[derive(Clone, Debug)]
pub struct StrongSwanConfig {
    /// Address of this end; behind a NAT not the one that the other end sees.
    pub local_address: Ipv4Addr,
    /// 1 or 2.
    pub version: u8,
    /// IKE proposal in strongSwan's words, such as `aes128-sha1-modp2048`.
    pub ike: String,
    /// ESP proposal, with a group for PFS.
    pub esp: String,
    /// The pre-shared key.
    pub psk: String,
    /// Identity of this end.
    pub local_id: String,
    /// Identity of the other end.
    pub remote_id: String,
    /// Range behind this end.
    pub local_ts: String,
    /// Range behind the other end.
    pub remote_ts: String,
    /// Further lines of the connection.
    pub connection: Vec<String>,
    /// Further lines of the child.
    pub child: Vec<String>,
    /// Further children, by their local and remote range; they are named `net1` and so on.
    pub more_ranges: Vec<(String, String)>,
    /// Further lines of the daemon, read when it starts.
    pub daemon: Vec<String>,
}

impl StrongSwanConfig {
    /// What matches [`crate::Config::new`] of the other side.
    pub fn new(side: Side) -> Self {
        Self {
            local_address: side.outside(),
            version: 1,
            ike: "aes128-sha1-modp2048".to_owned(),
            esp: "aes128-sha1".to_owned(),
            psk: config::PSK.to_owned(),
            local_id: side.outside().to_string(),
            remote_id: side.other().outside().to_string(),
            local_ts: side.network(),
            remote_ts: side.other().network(),
            connection: Vec::new(),
            child: Vec::new(),
            more_ranges: Vec::new(),
            daemon: Vec::new(),
        }
    }

    /// Lets the IKE SA begin like this.
    #[must_use]
    pub fn speaking(mut self, exchange: Exchange) -> Self {
        match exchange {
            Exchange::Main => {}
            Exchange::Aggressive => self.connection.push("aggressive = yes".to_owned()),
            Exchange::V2 => self.version = 2,
        }
        self
    }

    /// Adds lines of the connection.
    #[must_use]
    pub fn connection(mut self, lines: &[&str]) -> Self {
        self.connection.extend(lines.iter().map(|&line| line.to_owned()));
        self
    }

    /// Adds lines of the child.
    #[must_use]
    pub fn child(mut self, lines: &[&str]) -> Self {
        self.child.extend(lines.iter().map(|&line| line.to_owned()));
        self
    }

    /// Adds lines of the daemon.
    #[must_use]
    pub fn daemon(mut self, lines: &[&str]) -> Self {
        self.daemon.extend(lines.iter().map(|&line| line.to_owned()));
        self
    }

    fn to_conf(&self, side: Side) -> String {
        let (local, remote) = (self.local_address, side.other().outside());
        let Self {
            version,
            ike,
            esp,
            psk,
            local_id,
            remote_id,
            local_ts,
            remote_ts,
            ..
        } = self;
        let (connection, child) = (self.connection.join("\n    "), self.child.join("\n        "));
        let first = (local_ts.clone(), remote_ts.clone());
        let mut children = String::new();
        for (number, (local_ts, remote_ts)) in [&first].into_iter().chain(&self.more_ranges).enumerate() {
            let suffix = if number == 0 {
                String::new()
            } else {
                number.to_string()
            };
            children.push_str(&format!(
                "
      net{suffix} {{
        local_ts = {local_ts}
        remote_ts = {remote_ts}
        esp_proposals = {esp}
        {child}
      }}"
            ));
        }
        format!(
            "connections {{
  gw {{
    version = {version}
    local_addrs = {local}
    remote_addrs = {remote}
    proposals = {ike}
    {connection}
    local {{
      auth = psk
      id = {local_id}
    }}
    remote {{
      auth = psk
      id = {remote_id}
    }}
    children {{{children}
    }}
  }}
}}
secrets {{
  ike-1 {{
    id-a = {local_id}
    id-b = {remote_id}
    secret = \"{psk}\"
  }}
}}
"
        )
    }
}

/// A running charon. Dropping it kills it.
#[derive(Debug)]
pub struct StrongSwan {
    process: Process,
    directory: PathBuf,
    side: Side,
}

impl StrongSwan {
    /// Starts charon in the gateway of a side, loads the configuration and waits until it answers.
    pub fn start(lab: &Lab, side: Side, config: &StrongSwanConfig) -> Result<Self> {
        Self::launch(lab, side, &config.to_conf(side), &config.daemon)
    }

    /// The same with any text as swanctl.conf, of one connection.
    pub fn start_with_file(lab: &Lab, side: Side, text: &str) -> Result<Self> {
        Self::launch(lab, side, text, &[])
    }

    fn launch(lab: &Lab, side: Side, text: &str, daemon: &[String]) -> Result<Self> {
        let directory = lab.directory().join(match side {
            Side::A => "swan-a",
            Side::B => "swan-b",
        });
        fs::create_dir_all(directory.join("run"))?;
        for store in CREDENTIAL_DIRECTORIES {
            fs::create_dir_all(directory.join("swanctl").join(store))?;
        }
        fs::write(
            directory.join("strongswan.conf"),
            strongswan_conf(&directory, daemon),
        )?;
        // A charon that was killed leaves its socket behind.
        fs::remove_file(directory.join("vici")).ok();
        // `ip netns exec` gives the shell a mount namespace of its own: the bind mount hides the system's /run from charon only.
        let script = "mount --bind \"$0/run\" /run && STRONGSWAN_CONF=\"$0/strongswan.conf\" exec /usr/lib/ipsec/charon";
        let mut command = lab.gateway(side).command("sh");
        command.args(["-c", script]).arg(&directory);
        let log = directory.with_extension("log");
        let mut process = Process::spawn(command, log)?;
        wait::until("charon to listen", START, || {
            // The socket's file is there before anybody listens.
            let listens = UnixStream::connect(directory.join("vici")).is_ok();
            (listens || process.exited().is_some()).then_some(())
        })?;
        if let Some(status) = process.exited() {
            bail!("charon ended with {status}: {}", process.output());
        }
        let peer = Self {
            process,
            directory,
            side,
        };
        peer.load_file(text)?;
        Ok(peer)
    }

    /// Processor time used so far by all its threads.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.process.cpu_time()
    }

    /// Replaces the configuration. SAs that are up stay up.
    pub fn load(&self, config: &StrongSwanConfig) -> Result<()> {
        self.load_file(&config.to_conf(self.side))
    }

    /// Replaces the configuration by any text, of one connection. SAs that are up stay up.
    pub fn load_file(&self, text: &str) -> Result<()> {
        fs::write(self.directory.join("swanctl/swanctl.conf"), text)?;
        let output = self.swanctl(&["--load-all", "--clear"])?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || !text.contains("successfully loaded 1 connections") {
            bail!(
                "swanctl --load-all: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// Brings the child `net` up from this side. The error holds charon's log of the attempt.
    pub fn initiate(&self) -> Result<String> {
        self.initiate_child("net")
    }

    /// Brings one of several children up: `net`, or `net1` and so on for [`StrongSwanConfig::more_ranges`].
    pub fn initiate_child(&self, name: &str) -> Result<String> {
        let output = self.swanctl(&["--initiate", "--child", name, "--timeout", "10"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "swanctl --initiate: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(text)
    }

    /// Takes the IKE SA and its children down; the peer is told.
    pub fn terminate(&self) -> Result<()> {
        let output = self.swanctl(&["--terminate", "--ike", "gw", "--timeout", "5"])?;
        if !output.status.success() {
            bail!("swanctl --terminate: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Takes the child down and leaves the IKE SA; the peer is told.
    pub fn terminate_child(&self) -> Result<()> {
        self.expect_success(&["--terminate", "--child", "net", "--timeout", "5"])
    }

    /// Rekeys the child: a quick mode from this side.
    pub fn rekey_child(&self) -> Result<()> {
        self.expect_success(&["--rekey", "--child", "net"])
    }

    /// Rekeys the IKE SA: with IKEv1 a new main mode from this side.
    pub fn rekey_ike(&self) -> Result<()> {
        self.expect_success(&["--rekey", "--ike", "gw"])
    }

    /// `swanctl --list-sas`.
    pub fn sas(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.swanctl(&["--list-sas"])?.stdout).into_owned())
    }

    /// How many children are installed.
    pub fn installed(&self) -> Result<usize> {
        Ok(self.sas()?.matches("INSTALLED").count())
    }

    /// Runs swanctl against this charon.
    pub fn swanctl(&self, arguments: &[&str]) -> Result<Output> {
        Command::new("swanctl")
            .args(arguments)
            .args(["--uri", &format!("unix://{}/vici", self.directory.display())])
            .env("STRONGSWAN_CONF", self.directory.join("strongswan.conf"))
            .env("SWANCTL_DIR", self.directory.join("swanctl"))
            .stdin(Stdio::null())
            .output()
            .context("cannot start swanctl")
    }

    /// What charon logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Kills charon; the peer is not told.
    pub fn kill_9(&mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Ends charon; it deletes its SAs and tells the peer.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop(Signal::SIGTERM).map(drop)
    }

    fn expect_success(&self, arguments: &[&str]) -> Result<()> {
        let output = self.swanctl(arguments)?;
        if !output.status.success() {
            bail!(
                "swanctl {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }
}

/// swanctl reports an error for each of these that is missing.
const CREDENTIAL_DIRECTORIES: [&str; 12] = [
    "x509", "x509ca", "x509ocsp", "x509aa", "x509ac", "x509crl", "pubkey", "private", "rsa", "ecdsa",
    "pkcs8", "pkcs12",
];

/// Settings of the daemon. kernel-libipsec comes before kernel-netlink, which would take over ESP otherwise. The log goes to standard
/// error: charon buffers standard output whatever it is told.
pub(crate) fn strongswan_conf(directory: &Path, lines: &[String]) -> String {
    let lines = lines.join("\n  ");
    format!(
        "charon {{
  load_modular = no
  load = random nonce openssl gcrypt gmp aes sha1 sha2 md5 des hmac kdf gcm ctr chapoly curve25519 drbg pem pkcs1 pkcs8 \
x509 pubkey kernel-libipsec kernel-netlink socket-default vici updown counters
  dos_protection = no
  i_dont_care_about_security_and_use_aggressive_mode_psk = yes
  {lines}
  plugins {{
    vici {{
      socket = unix://{}/vici
    }}
  }}
  filelog {{
    stderr {{
      default = 1
      ike = 2
      cfg = 2
    }}
  }}
}}
swanctl {{
  load = random openssl pem pkcs1 pkcs8 x509 pubkey sha1 sha2
}}
",
        directory.display()
    )
}
