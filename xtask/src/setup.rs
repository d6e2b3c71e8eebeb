//! `cargo xtask setup`: installs what is missing, and is fast when nothing is.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use gateway_tests::requirements::{find_program, is_installed, missing_packages, stamp as stamp_of};
use gateway_tests::{clients, scapy};
use serde_json::json;

use crate::{Outcome, shell};

/// bpf-linker 0.10 uses the LLVM inside the pinned rustc; later ones want a system LLVM.
const BPF_LINKER: &str = "0.10.3";

/// Services that Debian's packages start; the lab runs daemons of its own.
const SERVICES: [&str; 2] = ["strongswan-starter", "strongswan"];

/// Runs the verb.
pub(crate) fn run() -> Result<Outcome> {
    let installed = install_missing()?;
    match installed.as_slice() {
        [] => println!("nothing is missing"),
        installed => println!("installed: {}", installed.join(", ")),
    }
    Ok(Outcome {
        success: true,
        json: json!({ "installed": installed }),
    })
}

/// Installs what is missing for building and for the lab, and returns its names.
pub(crate) fn install_for_lab() -> Result<Vec<String>> {
    let mut installed = build_tools()?;
    let packages = missing_packages();
    if !packages.is_empty() {
        shell::step(&format!("installing {}", packages.join(" ")), || {
            install_packages(&packages)
        })?;
        installed.extend(packages.iter().map(|&package| package.to_owned()));
    }
    Ok(installed)
}

/// The same with what tests and the quick start use, from PyPI and npm.
pub(crate) fn install_missing() -> Result<Vec<String>> {
    let mut installed = install_for_lab()?;
    if !has_scapy() {
        shell::step(
            "installing scapy, the second opinion on ESP packets, below target/",
            install_scapy,
        )?;
        installed.push("scapy".to_owned());
    }
    if clients::missing() {
        shell::step("installing the API clients of PyPI (once)", install_clients)?;
        installed.push("API clients".to_owned());
    }
    if clients::node_missing() {
        shell::step("installing the API client of npm (once)", install_node_clients)?;
        installed.push("API client of npm".to_owned());
    }
    Ok(installed)
}

/// Whether the pinned scapy is there.
fn has_scapy() -> bool {
    let environment = shell::root().join(scapy::ENVIRONMENT);
    is_installed(&environment, &scapy::PACKAGES) && scapy::python().is_file()
}

/// Debian's scapy is too old to know all algorithms, so it comes from PyPI.
fn install_scapy() -> Result<()> {
    install_environment(&shell::root().join(scapy::ENVIRONMENT), &scapy::PACKAGES)
}

/// Those of the API's clients that are on PyPI.
fn install_clients() -> Result<()> {
    install_environment(&clients::environment(), &clients::PACKAGES)
}

/// Packages of npm in a directory of their own. No script of a package runs.
fn install_node_clients() -> Result<()> {
    let missing = |&(program, package): &(&'static str, &'static str)| {
        find_program(program).is_none().then_some(package)
    };
    let packages: Vec<_> = clients::NODE_PROGRAMS.iter().filter_map(missing).collect();
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    let directory = clients::node_environment();
    std::fs::create_dir_all(&directory)?;
    let mut install = Command::new("npm");
    install.args([
        "install",
        "--no-save",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--loglevel=error",
    ]);
    install.arg("--prefix").arg(&directory);
    shell::run(install.args(clients::NODE_PACKAGES))?;
    stamp(&directory, &clients::NODE_PACKAGES)
}

fn stamp(environment: &Path, packages: &[&str]) -> Result<()> {
    Ok(std::fs::write(stamp_of(environment), packages.join("\n"))?)
}

/// Packages of PyPI in an environment of their own: nothing of the system changes.
fn install_environment(environment: &Path, packages: &[&str]) -> Result<()> {
    let create = || {
        let mut create = Command::new("python3");
        shell::run(create.args(["-m", "venv", "--clear"]).arg(environment))
    };
    // Debian has Python's module for environments in a package of its own.
    if create().is_err() {
        install_packages(&["python3", "python3-venv"])?;
        create()?;
    }
    let mut install = Command::new(environment.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    shell::run(install.args(packages))?;
    stamp(environment, packages)
}

/// Installs what building needs and no root: the sources of the standard library (for BPF) and the BPF linker.
pub(crate) fn build_tools() -> Result<Vec<String>> {
    let mut installed = Vec::new();
    let sysroot = shell::output(
        Command::new("rustc")
            .args(["--print", "sysroot"])
            .current_dir(shell::root()),
    )?;
    if !Path::new(sysroot.trim())
        .join("lib/rustlib/src/rust/library/core/src/lib.rs")
        .exists()
    {
        if find_program("rustup").is_none() {
            bail!(
                "the sources of Rust's library are missing and rustup is not here: install rustup (https://rustup.rs)"
            );
        }
        shell::step("installing rust-src", || {
            shell::run(
                Command::new("rustup")
                    .args(["component", "add", "rust-src"])
                    .current_dir(shell::root()),
            )
        })?;
        installed.push("rust-src".to_owned());
    }
    if find_program("bpf-linker").is_none() {
        shell::step(
            &format!("installing bpf-linker {BPF_LINKER} (takes a minute or two, once)"),
            || {
                shell::run(shell::cargo().args([
                    "install",
                    "bpf-linker",
                    "--version",
                    BPF_LINKER,
                    "--locked",
                ]))
            },
        )?;
        installed.push("bpf-linker".to_owned());
    }
    Ok(installed)
}

fn install_packages(packages: &[&str]) -> Result<()> {
    if find_program("apt-get").is_none() {
        bail!(
            "this is not Debian: install these programs yourself (names of Debian's packages): {}",
            packages.join(" ")
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "packages are missing, and installing them needs root: apt-get install {}",
            packages.join(" ")
        );
    }
    let install = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command.args([
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            "-o",
            "DPkg::Lock::Timeout=300",
        ]);
        shell::run(command.args(packages))
    };
    // A fresh machine has no package lists, an old one stale ones: fetch them only when the first attempt needs it.
    if install().is_err() {
        shell::run(Command::new("apt-get").args(["update", "-qq", "-o", "DPkg::Lock::Timeout=300"]))?;
        install()?;
    }
    stop_services();
    Ok(())
}

/// Stops the daemons that the packages brought along: they would take the ports 500 and 4500 of the machine itself.
fn stop_services() {
    if !Path::new("/run/systemd/system").exists() {
        return;
    }
    for service in SERVICES {
        // Not every release has both.
        Command::new("systemctl")
            .args(["disable", "--now", "--quiet", service])
            .status()
            .ok();
    }
}
