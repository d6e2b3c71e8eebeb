//! The command line: arguments in, exit code out. The only place that prints.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this module talks to the operator"
)]

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

mod arguments;
mod exit;
mod live;
mod table;

pub use exit::Exit;

use crate::config::{self, LoadError, Warning};
use crate::control_socket::{self, Request, Response};
use arguments::{AgentSocket, Arguments, Subcommands};

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Subcommands::Check { config, live } => check(&config, live),
        Subcommands::Status { tunnel, json, agent } => status(tunnel.as_deref(), json, &agent),
        Subcommands::Up { tunnel, agent } => command(&agent, &Request::Up { tunnel }),
        Subcommands::Down { tunnel, agent } => command(&agent, &Request::Down { tunnel }),
        Subcommands::Reload { agent } => command(&agent, &Request::Reload {}),
    }
    .into()
}

fn check(file: &Path, live: bool) -> Exit {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) => return report(&error),
    };
    let warnings = config::warnings(&config);
    warnings
        .iter()
        .for_each(|warning: &Warning| println!("warning: {warning}"));
    let missing = if live { live::check(&config) } else { Vec::new() };
    for (_, sentence) in &missing {
        println!("missing: {sentence}");
    }
    println!(
        "{}: {} VPCs, {} gateways, {} customer gateways, {} tunnels, {} warnings, no mistakes",
        file.display(),
        config.vpcs.len(),
        config.gateways.len(),
        config.customer_gateways.len(),
        config.tunnels.len(),
        warnings.len()
    );
    missing.first().map_or(Exit::Success, |&(exit, _)| exit)
}

fn report(error: &LoadError) -> Exit {
    eprintln!("{error}");
    match error {
        LoadError::Refused(refused) if refused.only_key_file_modes() => Exit::KeyFileMode,
        LoadError::Refused(_) | LoadError::Unreadable { .. } => Exit::Configuration,
    }
}

fn status(only: Option<&str>, json: bool, agent: &AgentSocket) -> Exit {
    let mut status = match ask(agent, &Request::Status {}) {
        Ok(Response::Status(status)) => status,
        Ok(other) => return print_response(other),
        Err(exit) => return exit,
    };
    if let Some(id) = only {
        status.tunnels.retain(|tunnel| tunnel.id == id);
        if status.tunnels.is_empty() {
            eprintln!("no tunnel is called {id}");
            return Exit::Refused;
        }
    }
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if json {
        match serde_json::to_string_pretty(&status) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("cannot print the status: {error}");
                return Exit::Failure;
            }
        }
    } else if only.is_some() {
        status
            .tunnels
            .iter()
            .for_each(|tunnel| print!("{}", table::tunnel(tunnel, colour)));
    } else {
        print!("{}", table::overview(&status, colour));
    }
    Exit::Success
}

fn command(agent: &AgentSocket, request: &Request) -> Exit {
    ask(agent, request).map_or_else(|exit| exit, print_response)
}

fn print_response(response: Response) -> Exit {
    match response {
        Response::Done(sentence) => {
            println!("{sentence}");
            Exit::Success
        }
        Response::Refused(sentence) => {
            eprintln!("{sentence}");
            Exit::Refused
        }
        Response::Mistakes(list) => {
            eprintln!("{list}");
            Exit::Configuration
        }
        Response::Status(_) => {
            eprintln!("the agent answered something else than was asked");
            Exit::Failure
        }
    }
}

fn ask(agent: &AgentSocket, request: &Request) -> Result<Response, Exit> {
    let socket = match &agent.config {
        Some(file) => {
            config::paths(file)
                .map_err(|error| report(&error))?
                .control_socket
        }
        None => agent.socket.clone(),
    };
    control_socket::ask(&socket, request).map_err(|error| {
        eprintln!("no agent answers on {}: {error}", socket.display());
        Exit::NoAgent
    })
}
