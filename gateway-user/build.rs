//! Builds the XDP program, so that the agent carries it inside.
//!
//! `aya-build` would do nearly the same, but it fixes the compiler flags, and the program needs a BPF CPU with compare-and-swap.

use std::{
    env,
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const TARGET: &str = "bpfel-unknown-none";
const PROGRAM: &str = "gateway-xdp";
const HINT: &str = "run `cargo xtask setup`";

fn main() -> Result<(), Box<dyn Error>> {
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")?)
        .join("..")
        .canonicalize()?;
    for part in [
        "gateway-ebpf/src",
        "gateway-ebpf/Cargo.toml",
        "gateway-common/src",
        "gateway-common/Cargo.toml",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(part).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    require_tools()?;

    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    // A target directory of its own: the cargo that runs this script holds the lock of the other one.
    let target_dir = out_dir.join("xdp-target");
    let output = cargo_build(&workspace, &target_dir)?.output()?;
    if !output.status.success() {
        return Err(format!(
            "building the XDP program failed; if a tool is missing, {HINT}\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    fs::copy(
        target_dir.join(TARGET).join("release").join(PROGRAM),
        out_dir.join(PROGRAM),
    )?;
    Ok(())
}

fn cargo_build(workspace: &Path, target_dir: &Path) -> Result<Command, Box<dyn Error>> {
    let host_arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let flags = [
        format!("--cfg=bpf_target_arch=\"{host_arch}\""),
        // BTF, for the verifier's messages and `bpftool map dump`.
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        // Atomic compare-and-exchange.
        "-Ctarget-cpu=v3".into(),
    ];
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .args([
            "build",
            "--release",
            "--quiet",
            "--package",
            "gateway-ebpf",
            "--bin",
            PROGRAM,
        ])
        .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
        .arg(target_dir)
        .current_dir(workspace)
        // `-Z build-std` and `core_intrinsics` on the stable compiler.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // The host's profile fits neither the verifier nor a target without unwinding.
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_INCREMENTAL", "false")
        .env_remove("RUSTC")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .stdin(Stdio::null());
    Ok(cargo)
}

fn require_tools() -> Result<(), Box<dyn Error>> {
    let linker = Command::new("bpf-linker")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !linker.is_ok_and(|status| status.success()) {
        return Err(format!("bpf-linker is not installed: {HINT}").into());
    }
    let sysroot = Command::new(variable("RUSTC")?)
        .args(["--print", "sysroot"])
        .output()?
        .stdout;
    let sysroot = PathBuf::from(String::from_utf8(sysroot)?.trim_end());
    if !sysroot
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .exists()
    {
        return Err(format!("the component rust-src is not installed: {HINT}").into());
    }
    Ok(())
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"))
}
