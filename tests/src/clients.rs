//! Real clients of the management API, as their packages come from PyPI.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::Namespace;

/// Packages of the clients, with the versions that the tests were written for.
pub const PACKAGES: [&str; 1] = ["qcloudapi-sdk-python==2.0.15"];

/// Where the clients are installed, in the repository.
const ENVIRONMENT: &str = "target/clients";

/// The virtual environment of the clients.
pub fn environment() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).join(ENVIRONMENT)
}

/// Whether `cargo xtask setup` has to install them.
pub fn missing() -> bool {
    let mut import = Command::new(environment().join("bin/python"));
    import.args(["-c", "import QcloudApi"]);
    !import.output().is_ok_and(|output| output.status.success())
}

/// Runs a client script of `tests/clients` in a namespace, with `arguments` as JSON on its input; its output is JSON too.
///
/// `authority` is the file of the certificate that the client trusts.
pub fn run(
    namespace: &Namespace,
    authority: &Path,
    script: &str,
    options: &[&str],
    arguments: &Value,
) -> Result<Value> {
    let python = environment().join("bin/python");
    if !python.is_file() {
        bail!("the API clients are not installed: cargo xtask setup");
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(script);
    let mut child = namespace
        .command(python)
        .arg(script)
        .args(options)
        .env("SSL_CERT_FILE", authority)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the client")?;
    let mut input = child.stdin.take().context("the client has no input")?;
    input.write_all(arguments.to_string().as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{options:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_str(&text).with_context(|| format!("the client printed {text}"))
}
