//! The gateway: see `gateway --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway_user::cli::main()
}
