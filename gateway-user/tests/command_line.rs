//! The binary as scripts see it: exit codes and what is said on which channel. Nothing here needs root.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// A valid configuration with a key file `psk` next to it and a control socket that nobody listens on.
const CONFIG: &str = r#"
[agent]
control_socket = "/nonexistent/gateway.sock"

[[interface]]
name = "nonexistent0"
role = "public"

[[interface]]
name = "nonexistent1"
role = "vpc"

[[vpc]]
id = "vpc"
cidr = "192.168.0.0/16"
interface = "nonexistent1"

[[gateway]]
id = "gw"
vpc = "vpc"
address = "203.0.113.7"
bandwidth_mbps = 100

[[customer_gateway]]
id = "cgw"
address = "202.108.22.5"

[[tunnel]]
id = "one"
gateway = "gw"
customer_gateway = "cgw"
psk_file = "psk"
ike.dh_group = 2

[[tunnel.spd]]
local = "192.168.1.0/24"
peer = ["10.0.1.0/24"]
"#;

/// Runs `gateway ARGUMENTS gateway.toml` and expects an exit code and parts of what it prints.
#[track_caller]
fn check(config: &str, key_mode: u32, arguments: &[&str], code: i32, parts: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    write("psk", "secret\n", key_mode);
    let file = write("gateway.toml", config, 0o600);
    let output = gateway(arguments, Some(&file));
    assert_eq!(output.0, Some(code), "{arguments:?}: {}", output.1);
    for part in parts {
        assert!(output.1.contains(part), "{part:?} is not in: {}", output.1);
    }
    assert!(!output.1.contains("secret"), "a key was printed: {}", output.1);
}

fn gateway(arguments: &[&str], file: Option<&Path>) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(arguments)
        .args(file)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn check_lists_warnings_and_succeeds() {
    check(
        CONFIG,
        0o600,
        &["check"],
        0,
        &[
            "warning: tunnel one: weak: ike.dh_group 2",
            "1 tunnels, 1 warnings, no mistakes",
        ],
    );
}

#[test]
fn check_lists_every_mistake_with_its_line() {
    let config = CONFIG
        .replace("202.108.22.5", "202.108.22.0")
        .replace("= 100", "= 6")
        .replace("[agent]", "[agent]\ncolour = 1");
    let parts = [
        "gateway.toml:3: agent.colour",
        ":23: gateway[0].bandwidth_mbps = 6",
        "class C network",
        "3 mistakes",
    ];
    check(&config, 0o600, &["check"], 3, &parts);
}

#[test]
fn a_key_file_that_others_may_read_has_its_own_exit_code() {
    check(CONFIG, 0o644, &["check"], 10, &["chmod 600", "mode 644"]);
    check(
        &CONFIG.replace("= 100", "= 6"),
        0o644,
        &["check"],
        3,
        &["chmod 600", "bandwidth_mbps"],
    );
}

#[test]
fn check_live_names_what_the_machine_lacks() {
    check(
        CONFIG,
        0o600,
        &["check", "--live"],
        9,
        &["interface nonexistent0 does not exist", "203.0.113.7"],
    );
}

#[test]
fn operators_commands_without_an_agent_have_their_own_exit_code() {
    for command in [
        &["status", "--json", "--config"][..],
        &["up", "one", "--config"],
        &["reload", "--config"],
    ] {
        check(
            CONFIG,
            0o600,
            command,
            8,
            &["no agent answers on /nonexistent/gateway.sock"],
        );
    }
    // A file with mistakes still says where its agent listens.
    check(
        &CONFIG.replace("= 100", "= 6"),
        0o600,
        &["status", "--config"],
        8,
        &["/nonexistent/gateway.sock"],
    );
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for arguments in [&["fly"][..], &["check"], &["status", "a", "b"], &[]] {
        assert_eq!(gateway(arguments, None).0, Some(2), "{arguments:?}");
    }
}

#[test]
fn a_file_that_is_not_there_is_a_configuration_error() {
    let (code, text) = gateway(&["check", "/nonexistent/gateway.toml"], None);
    assert_eq!(code, Some(3));
    assert!(text.contains("cannot read /nonexistent/gateway.toml"), "{text}");
}
