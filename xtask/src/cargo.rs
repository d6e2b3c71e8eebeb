//! What cargo knows and builds: targets, test programs, the gateway itself.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

/// Something cargo can build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Name of its package.
    pub(crate) package: String,
    /// `lib`, `bin`, `test`, ...
    pub(crate) kind: String,
    /// Its own name.
    pub(crate) name: String,
}

impl Target {
    /// A file in a `tests` directory, as opposed to tests inside a library or program.
    pub(crate) fn is_integration_test(&self) -> bool {
        self.kind == "test"
    }
}

/// A test program that was built.
#[derive(Clone, Debug)]
pub(crate) struct TestProgram {
    /// What it was built from.
    pub(crate) target: Target,
    /// The file.
    pub(crate) executable: PathBuf,
    /// The directory of its package.
    pub(crate) directory: PathBuf,
}

/// `cargo metadata` of the workspace's own packages.
pub(crate) fn metadata() -> Result<Value> {
    let text = shell::output(shell::cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    serde_json::from_str(&text).context("cargo metadata")
}

/// All targets of the workspace.
pub(crate) fn targets(metadata: &Value) -> Vec<Target> {
    let mut found = Vec::new();
    for package in array(&metadata["packages"]) {
        for target in array(&package["targets"]) {
            found.push(target_of(text(&package["name"]), target));
        }
    }
    found
}

/// Builds test programs. `verb` is `["test", "--no-run"]`, or `["build"]` where programs such as the gateway are wanted as they
/// are; `selection` picks the targets.
///
/// The whole workspace is always selected, so that every call resolves the same features and nothing is built twice.
pub(crate) fn build_tests(metadata: &Value, verb: &[&str], selection: &[String]) -> Result<Vec<TestProgram>> {
    let mut command = shell::cargo();
    command.args(verb).args([
        "--release",
        "--workspace",
        "--message-format=json-render-diagnostics",
    ]);
    let mut child = command
        .args(selection)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = child.stdout.take().context("no pipe from cargo")?;
    let mut programs = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let message: Value = serde_json::from_str(&line?).unwrap_or_default();
        let Some(executable) = message["executable"].as_str() else {
            continue;
        };
        if message["profile"]["test"] != true {
            continue;
        }
        let manifest = Path::new(text(&message["manifest_path"]));
        let package = array(&metadata["packages"])
            .iter()
            .find(|package| package["id"] == message["package_id"]);
        programs.push(TestProgram {
            target: target_of(
                package.map_or("", |package| text(&package["name"])),
                &message["target"],
            ),
            executable: PathBuf::from(executable),
            directory: manifest.parent().unwrap_or(manifest).to_owned(),
        });
    }
    if !child.wait()?.success() {
        bail!("the tests do not build");
    }
    programs.sort_by(|a, b| (&a.target.package, &a.target.name).cmp(&(&b.target.package, &b.target.name)));
    Ok(programs)
}

/// Builds the gateway and returns its path.
pub(crate) fn build_gateway(metadata: &Value) -> Result<PathBuf> {
    shell::run(shell::cargo().args(["build", "--release", "--workspace", "--bin", "gateway"]))?;
    gateway(metadata)
}

/// Where cargo builds.
pub(crate) fn target_directory(metadata: &Value) -> PathBuf {
    PathBuf::from(text(&metadata["target_directory"]))
}

/// Where the gateway was built.
pub(crate) fn gateway(metadata: &Value) -> Result<PathBuf> {
    let path = target_directory(metadata).join("release/gateway");
    if !path.is_file() {
        bail!("cargo built the gateway, but not at {}", path.display());
    }
    Ok(path)
}

/// A JSON array, or nothing.
pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A JSON string, or an empty one.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn target_of(package: &str, target: &Value) -> Target {
    let kind = array(&target["kind"]).first().map_or("", text);
    Target {
        package: package.to_owned(),
        kind: kind.to_owned(),
        name: text(&target["name"]).to_owned(),
    }
}
