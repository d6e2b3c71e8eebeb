//! The command line: arguments in, exit code out. The only place that prints.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this module talks to the operator"
)]

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;

mod arguments;
mod diagnosis;
mod exit;
mod import;
mod live;
mod management;
mod objects;
mod shell;
mod table;
mod top;
mod watch;

pub use exit::Exit;

use gateway_management::api::ServeError;
use gateway_management::store::KeyError;

use crate::config::{self, LoadError, Warning};
use crate::control::{self, StartError, sentence};
use crate::control_socket::{self, Request, Response, SocketError};
use crate::ike_io::BindError;
use crate::status::Status;
use crate::xdp::XdpError;
use arguments::{AgentSocket, Arguments, Subcommands};

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Subcommands::Run { config } => run(&config),
        Subcommands::Check { config, live } => check(&config, live),
        Subcommands::Status { tunnel, json, agent } => status(tunnel, json, &agent),
        Subcommands::Diagnose { tunnel, json, agent } => diagnose(tunnel, json, &agent),
        Subcommands::Events { tunnel, json, agent } => events(tunnel, json, &agent),
        Subcommands::Top(wanted) => top::run(&wanted),
        Subcommands::Watch(wanted) => watch::run(&wanted),
        Subcommands::Up { tunnel, agent } => command(&agent, &Request::Up { tunnel }),
        Subcommands::Down { tunnel, agent } => command(&agent, &Request::Down { tunnel }),
        Subcommands::Reload { agent } => command(&agent, &Request::Reload {}),
        Subcommands::Detach { config, pin_dir } => detach(config.as_deref(), &pin_dir),
        Subcommands::ApiKey { command } => management::api_key(&command),
        Subcommands::Import {
            file,
            config,
            dry_run,
            json,
        } => import::import(&file, &config, dry_run, json),
        Subcommands::Gateways { command } => objects::gateways(&command),
        Subcommands::CustomerGateways { command } => objects::customer_gateways(&command),
        Subcommands::DefensePackages { command } => objects::defense_packages(&command),
        Subcommands::Tunnels { command } => objects::tunnels(&command),
        Subcommands::Routes { command } => objects::routes(&command),
        Subcommands::Audit(wanted) => objects::audit(&wanted),
        Subcommands::Alarms(wanted) => objects::alarms(&wanted),
        Subcommands::Export { config } => management::export(&config),
        Subcommands::ConfigFor(wanted) => management::config_for(&wanted),
        Subcommands::Completion { shell } => shell::completion(shell),
        Subcommands::Man { directory } => shell::man(&directory),
    }
    .into()
}

fn run(file: &Path) -> Exit {
    match control::run(file) {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!("{}", sentence(&error));
            exit_of(&error)
        }
    }
}

fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Config(error) => exit_of_load(error),
        StartError::StoreKey {
            source: KeyError::Mode(_),
            ..
        } => Exit::KeyFileMode,
        StartError::Control(SocketError::AnotherInstance { .. }) => Exit::AnotherInstance,
        StartError::Capabilities(_)
        | StartError::Ike(BindError::Capability { .. })
        | StartError::Xdp(XdpError::MissingCapability { .. }) => Exit::Capability,
        StartError::Ike(BindError::InUse { .. }) => Exit::PortInUse,
        StartError::Api(ServeError::Bind { source, .. }) | StartError::Metrics { source, .. }
            if source.kind() == std::io::ErrorKind::AddrInUse =>
        {
            Exit::PortInUse
        }
        StartError::Xdp(
            XdpError::UnsupportedKernel { .. } | XdpError::Verifier { .. } | XdpError::NotBpffs { .. },
        ) => Exit::KernelFeature,
        StartError::Control(SocketError::Io { .. })
        | StartError::Ike(BindError::Io { .. })
        | StartError::Metrics { .. }
        | StartError::Net(_)
        | StartError::Xdp(_)
        | StartError::Dataplane(_)
        | StartError::Rules(_)
        | StartError::Store(_)
        | StartError::StoreKey { .. }
        | StartError::Tls(_)
        | StartError::Api(_)
        | StartError::SlowPath(_)
        | StartError::Process { .. } => Exit::Failure,
    }
}

fn detach(config: Option<&Path>, pin_dir: &Path) -> Exit {
    let paths = match config.map(config::paths).transpose() {
        Ok(paths) => paths,
        Err(error) => return report(&error),
    };
    if let Some(paths) = &paths
        && control_socket::is_held(&paths.control_socket)
    {
        eprintln!("an agent runs; stop it first");
        return Exit::AnotherInstance;
    }
    let pin_dir = paths.as_ref().map_or(pin_dir, |paths| &paths.pin_dir);
    match control::detach(pin_dir) {
        Ok(interfaces) if interfaces.is_empty() => println!("nothing is attached from {}", pin_dir.display()),
        Ok(interfaces) => println!(
            "detached from {}; traffic is not protected",
            interfaces.join(", ")
        ),
        Err(error) => {
            eprintln!("{}", sentence(&error));
            return Exit::Failure;
        }
    }
    Exit::Success
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
    exit_of_load(error)
}

fn exit_of_load(error: &LoadError) -> Exit {
    match error {
        LoadError::Refused(refused) if refused.only_key_file_modes() => Exit::KeyFileMode,
        LoadError::Refused(_) | LoadError::Unreadable { .. } => Exit::Configuration,
    }
}

fn status(only: Option<String>, json: bool, agent: &AgentSocket) -> Exit {
    let one = only.is_some();
    let status = match ask_status(agent, only) {
        Ok(status) => status,
        Err(exit) => return exit,
    };
    if json {
        return print_json(&status);
    }
    if one {
        status
            .tunnels
            .iter()
            .for_each(|tunnel| print!("{}", table::tunnel(tunnel, colour())));
    } else {
        print!("{}", table::overview(&status, colour()));
    }
    Exit::Success
}

fn diagnose(only: Option<String>, json: bool, agent: &AgentSocket) -> Exit {
    let one = only.is_some();
    let status = match ask_status(agent, only) {
        Ok(status) => status,
        Err(exit) => return exit,
    };
    let report = diagnosis::Report::new(*status, one);
    if json {
        return print_json(&report);
    }
    print!("{}", report.text(colour()));
    Exit::Success
}

fn events(tunnel: String, json: bool, agent: &AgentSocket) -> Exit {
    let status = match ask_status(agent, Some(tunnel)) {
        Ok(status) => status,
        Err(exit) => return exit,
    };
    let events: Vec<_> = status
        .tunnels
        .into_iter()
        .flat_map(|tunnel| tunnel.events)
        .collect();
    if json {
        return print_json(&events);
    }
    print!("{}", table::events(&events, std::time::SystemTime::now()));
    Exit::Success
}

fn ask_status(agent: &AgentSocket, tunnel: Option<String>) -> Result<Box<Status>, Exit> {
    match ask(agent, &Request::Status { tunnel })? {
        Response::Status(status) => Ok(status),
        other @ (Response::Done(_) | Response::Refused(_) | Response::Mistakes(_) | Response::Api(_)) => {
            Err(print_response(other))
        }
    }
}

fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn print_json(value: &impl serde::Serialize) -> Exit {
    match serde_json::to_string_pretty(value) {
        Ok(text) => {
            println!("{text}");
            Exit::Success
        }
        Err(error) => {
            eprintln!("cannot print JSON: {error}");
            Exit::Failure
        }
    }
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
        Response::Status(_) | Response::Api(_) => {
            eprintln!("the agent answered something else than was asked");
            Exit::Failure
        }
    }
}

fn socket_of(agent: &AgentSocket) -> Result<PathBuf, Exit> {
    match &agent.config {
        Some(file) => Ok(config::paths(file)
            .map_err(|error| report(&error))?
            .control_socket),
        None => Ok(agent.socket.clone()),
    }
}

fn ask(agent: &AgentSocket, request: &Request) -> Result<Response, Exit> {
    let socket = socket_of(agent)?;
    control_socket::ask(&socket, request).map_err(|error| {
        eprintln!("no agent answers on {}: {error}", socket.display());
        Exit::NoAgent
    })
}
