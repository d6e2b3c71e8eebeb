//! Our gateway as a process in the lab.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::process::Process;
use crate::status::Status;
use crate::{Config, Lab, Namespace, Side, http, metrics, wait};

/// How long the agent may take until it answers `gateway status`.
const START: Duration = Duration::from_secs(15);

/// A running `gateway run`. Dropping it kills it.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    namespace: Namespace,
    config_file: PathBuf,
    /// The file may be wrong on purpose: the operator's commands are given the socket.
    socket: PathBuf,
}

impl Agent {
    /// Starts the gateway of a side and waits until it is ready.
    pub fn start(lab: &Lab, side: Side, config: &Config) -> Result<Self> {
        let mut agent = Self::spawn(lab, side, &config.to_toml())?;
        agent.wait_ready()?;
        Ok(agent)
    }

    /// Starts the gateway of a side with any text as its configuration, and does not wait.
    pub fn spawn(lab: &Lab, side: Side, config: &str) -> Result<Self> {
        let name = match side {
            Side::A => "a",
            Side::B => "b",
        };
        let config_file = lab.directory().join(format!("gateway-{name}.toml"));
        write_config(&config_file, config.as_bytes())?;
        let namespace = lab.gateway(side).clone();
        // A worker takes the first processor that it may use: two gateways on one machine must not take the same.
        let processor = match side {
            Side::A => 0,
            Side::B => std::thread::available_parallelism().map_or(0, |count| count.get() - 1),
        };
        let mut command = namespace.command("taskset");
        command.arg("--cpu-list").arg(processor.to_string());
        command
            .arg(binary()?)
            .arg("run")
            .arg("--config")
            .arg(&config_file);
        let process = Process::spawn(command, lab.directory().join(format!("gateway-{name}.log")))?;
        Ok(Self {
            process,
            namespace,
            config_file,
            socket: control_socket(lab, side),
        })
    }

    /// Waits until `gateway status` answers.
    pub fn wait_ready(&mut self) -> Result<()> {
        let ready = wait::until("the gateway to answer `status`", START, || {
            if let Some(status) = self.process.exited() {
                return Some(Err(status));
            }
            self.status().ok().map(Ok)
        });
        match ready {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => bail!("the gateway ended with {status}:\n{}", self.process.output()),
            Err(error) => Err(error.context(self.process.output())),
        }
    }

    /// The process itself.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The configuration file it was started with.
    pub fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Runs one of the operator's commands against this agent, such as `["up", "net"]`.
    pub fn operator<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Output> {
        self.namespace
            .command(binary()?)
            .args(arguments)
            .arg("--socket")
            .arg(&self.socket)
            .stdin(Stdio::null())
            .output()
            .context("cannot start gateway")
    }

    /// Runs one of the operator's commands against this agent, such as `up net`, that must work; what it printed.
    pub fn operate(&self, line: &str) -> Result<String> {
        let words: Vec<_> = line.split_whitespace().collect();
        printed(line, self.operator(&words)?).with_context(|| self.log())
    }

    /// Takes objects in the format of the configuration file into the store, whether the agent runs or not; what it printed.
    pub fn import(&self, objects: &str) -> Result<String> {
        let file = self.config_file.with_extension("objects.toml");
        fs::write(&file, objects)?;
        self.configured(&["import", file.to_str().context("a path in UTF-8")?])
    }

    /// Runs a command that reads this agent's configuration, whether it runs or not; what it printed.
    pub fn configured(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.namespace.command(binary()?);
        let output = command
            .args(arguments)
            .arg("--config")
            .arg(&self.config_file)
            .output()?;
        printed(&arguments.join(" "), output)
    }

    /// `gateway detach`: takes the XDP program off.
    pub fn detach(&self) -> Result<()> {
        self.configured(&["detach"]).map(drop)
    }

    /// `gateway status --json`.
    pub fn status(&self) -> Result<Status> {
        let output = self.operator(&["status", "--json"])?;
        if !output.status.success() {
            bail!(
                "gateway status: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Status::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Polls the status until `condition` yields something.
    pub fn wait_status<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut condition: impl FnMut(&Status) -> Option<T>,
    ) -> Result<T> {
        wait::until(what, timeout, || condition(&self.status().ok()?)).with_context(|| match self.status() {
            Ok(status) => format!("status: {status}"),
            Err(error) => format!("no status: {error}"),
        })
    }

    /// Waits until a tunnel is in a state: `up`, `negotiating`, `down` or `disabled`.
    pub fn wait_tunnel(&self, id: &str, state: &str, timeout: Duration) -> Result<()> {
        self.wait_status(&format!("tunnel {id} to be {state}"), timeout, |status| {
            (status.tunnel(id)?.state() == state).then_some(())
        })
    }

    /// Replaces the configuration file, tells the agent with SIGHUP and waits until it is in force.
    pub fn reload(&self, config: &Config) -> Result<()> {
        if !self.reload_text(&config.to_toml())? {
            bail!(
                "the reload was refused: {}",
                self.status()?.json()["config"]["last_refusal"]
            );
        }
        Ok(())
    }

    /// As [`Self::reload`], with any text. Returns whether the agent took it.
    pub fn reload_text(&self, config: &str) -> Result<bool> {
        let count = |status: &Status, name: &str| status.json()["config"][name].as_u64().unwrap_or_default();
        let before = self.status()?;
        write_config(&self.config_file, config.as_bytes())?;
        self.process.signal(Signal::SIGHUP)?;
        self.wait_status("the agent to read its configuration again", START, |status| {
            let rose = |name: &str| count(status, name) > count(&before, name);
            match (rose("reloads"), rose("refused_reloads")) {
                (false, false) => None,
                (_, refused) => Some(!refused),
            }
        })
    }

    /// The page `/metrics`, parsed.
    pub fn metrics(&self) -> Result<metrics::Page> {
        metrics::Page::parse(&http::get(&self.namespace, "/metrics")?.ok()?)
    }

    /// Kills the process as the kernel would: no chance to tidy up.
    pub fn kill_9(&mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Asks the process to end and waits for it.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.stop(Signal::SIGTERM)
    }
}

/// Where the agent of a side listens for the operator's commands.
pub(crate) fn control_socket(lab: &Lab, side: Side) -> PathBuf {
    lab.directory().join(match side {
        Side::A => "control-a.sock",
        Side::B => "control-b.sock",
    })
}

/// The output of a command that must have worked.
fn printed(command: &str, output: Output) -> Result<String> {
    if !output.status.success() {
        bail!(
            "gateway {command}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Writes the file readable by its owner only, because it holds a key.
pub fn write_config(path: &Path, text: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("write {}", path.display()))?;
    Ok(file.write_all(text)?)
}

/// Runs `gateway check` on a file made in `directory`. Returns its exit status and what it printed on both channels.
pub fn check(directory: &Path, config: &[u8]) -> Result<(ExitStatus, String)> {
    let file = directory.join("check.toml");
    write_config(&file, config)?;
    let output = Command::new(binary()?)
        .arg("check")
        .arg(&file)
        .output()
        .context("cannot start gateway")?;
    let text = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    fs::remove_file(file)?;
    Ok((output.status, text))
}

/// The program under test: `GATEWAY_BIN`, or `gateway` of the build that this program belongs to.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("GATEWAY_BIN") {
        return Ok(PathBuf::from(path));
    }
    let own = std::env::current_exe().context("own path")?;
    // target/release/xtask and target/release/deps/lab_x-0123 both have target/release above them.
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("gateway"))
        .find(|file| file.is_file());
    found.context("no `gateway` next to this program: `cargo build --release -p gateway-user` makes it")
}
