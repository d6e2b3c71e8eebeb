//! strongSwan as it is run from `ipsec.conf`: starter reads the file and runs charon.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::process::Process;
use crate::strongswan::strongswan_conf;
use crate::{Lab, Side, wait};

/// How long starter may take until charon has the connections.
const START: Duration = Duration::from_secs(20);

/// A running starter with its charon. Dropping it kills both.
#[derive(Debug)]
pub struct Starter {
    process: Process,
}

impl Starter {
    /// Starts both in the gateway of a side and waits until the connections of `conf` are loaded. `secrets` is `ipsec.secrets`.
    pub fn start(lab: &Lab, side: Side, conf: &str, secrets: &str) -> Result<Self> {
        let directory = lab.directory().join(match side {
            Side::A => "starter-a",
            Side::B => "starter-b",
        });
        fs::remove_dir_all(&directory).ok();
        fs::create_dir_all(directory.join("run"))?;
        fs::write(directory.join("ipsec.conf"), conf)?;
        fs::write(directory.join("ipsec.secrets"), secrets)?;
        let settings = strongswan_conf(&directory, &[]).replace("vici updown", "vici stroke updown");
        let plugins = format!(
            "plugins {{\n    stroke {{\n      secrets_file = {}/ipsec.secrets\n    }}",
            directory.display()
        );
        fs::write(
            directory.join("strongswan.conf"),
            settings.replacen("plugins {", &plugins, 1),
        )?;
        // A process namespace of its own: charon is starter's child, and ends with it however it ends.
        let script = "mount --bind \"$0/run\" /run && STRONGSWAN_CONF=\"$0/strongswan.conf\" \
                      exec /usr/lib/ipsec/starter --nofork --conf \"$0/ipsec.conf\"";
        let mut command = lab.gateway(side).command("unshare");
        command.args(["--pid", "--fork", "--kill-child", "sh", "-c", script]);
        command.arg(&directory);
        let process = Process::spawn(command, PathBuf::from(&directory).with_extension("log"))?;
        let mut starter = Self { process };
        let connections = conf.lines().filter(|line| line.starts_with("conn ")).count() - 1;
        wait::until("starter to load the connections", START, || {
            let loaded = starter.log().matches("received stroke: route").count();
            let ended = starter.process.exited().is_some();
            (ended || loaded >= connections).then_some(())
        })
        .map_err(|error| error.context(starter.log()))?;
        if let Some(status) = starter.process.exited() {
            bail!("starter ended with {status}: {}", starter.log());
        }
        Ok(starter)
    }

    /// What both logged.
    pub fn log(&self) -> String {
        self.process.output()
    }
}
