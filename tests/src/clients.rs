//! Real clients of the management API, as their packages come from PyPI and npm.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::Namespace;
use crate::requirements::{find_program, is_installed};

/// Packages of PyPI, with the versions that the tests were written for.
pub const PACKAGES: [&str; 5] = [
    "qcloudapi-sdk-python==2.0.15",
    "schemathesis==4.32.5",
    "tencentcloud-sdk-python-common==3.1.195",
    "tencentcloud-sdk-python-vpc==3.1.193",
    "aiosmtpd==1.4.6",
];
/// Packages of npm.
pub const NODE_PACKAGES: [&str; 1] = ["qcloudapi-sdk@0.2.1"];
/// The programs that npm's packages need, with the Debian package of each.
pub const NODE_PROGRAMS: [(&str, &str); 2] = [("node", "nodejs"), ("npm", "npm")];

/// Where the clients are installed, in the repository.
const ENVIRONMENT: &str = "target/clients";
/// Where those of npm are.
const NODE_ENVIRONMENT: &str = "target/node-clients";

fn in_repository(path: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).join(path)
}

/// The virtual environment of Python's clients.
pub fn environment() -> PathBuf {
    in_repository(ENVIRONMENT)
}

/// The directory with the `node_modules` of npm's clients.
pub fn node_environment() -> PathBuf {
    in_repository(NODE_ENVIRONMENT)
}

/// Whether `cargo xtask setup` has to install packages of PyPI.
pub fn missing() -> bool {
    !is_installed(&environment(), &PACKAGES) || !environment().join("bin/python").is_file()
}

/// Whether `cargo xtask setup` has to install packages of npm, or what runs them.
pub fn node_missing() -> bool {
    let programs = NODE_PROGRAMS
        .iter()
        .all(|(program, _)| find_program(program).is_some());
    !programs || !is_installed(&node_environment(), &NODE_PACKAGES)
}

/// The program that runs a script, by the script's ending.
fn interpreter(script: &str) -> Result<PathBuf> {
    let (program, missing) = if script.ends_with(".js") {
        (PathBuf::from("node"), node_missing())
    } else {
        (environment().join("bin/python"), missing())
    };
    if missing {
        bail!("the API clients are not installed: cargo xtask setup");
    }
    Ok(program)
}

/// Runs a client script of `tests/clients` in a namespace, with `arguments` as JSON on its input; its output is JSON too.
///
/// `authority` is the file of the certificate that the client trusts. Lines of progress on its error channel are passed on as they come.
pub fn run(
    namespace: &Namespace,
    authority: &Path,
    script: &str,
    options: &[&str],
    arguments: &Value,
) -> Result<Value> {
    let program = interpreter(script)?;
    let script = in_repository("tests/clients").join(script);
    let mut child = namespace
        .command(program)
        .arg(script)
        .args(options)
        .env("SSL_CERT_FILE", authority)
        .env("NODE_EXTRA_CA_CERTS", authority)
        .env("NODE_NO_WARNINGS", "1")
        .env("GATEWAY_NODE_CLIENTS", node_environment())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the client")?;
    let mut input = child.stdin.take().context("the client has no input")?;
    input.write_all(arguments.to_string().as_bytes())?;
    drop(input);
    let errors = child.stderr.take().context("the client has no error channel")?;
    let errors = thread::spawn(move || pass_on_progress(errors));
    let output = child.wait_with_output()?;
    let errors = errors.join().unwrap_or_default();
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{options:?}: {text}{errors}");
    }
    serde_json::from_str(&text).with_context(|| format!("the client printed {text}"))
}

/// Writes lines of progress to the error channel of this process, past the capture of test output: the runner kills a program that says
/// nothing for long. The other lines are the result.
fn pass_on_progress(errors: ChildStderr) -> String {
    let mut rest = String::new();
    for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if line.starts_with("progress: ") {
            // Whoever closed the channel does not want to know.
            writeln!(std::io::stderr(), "{line}").ok();
        } else {
            rest.push_str(&line);
            rest.push('\n');
        }
    }
    rest
}
