//! `gateway import`.

use std::path::Path;

use gateway_management::declaration::Declaration;
use gateway_management::psk::PresharedKey;
use gateway_management::service::{Fate, Import};
use gateway_management::{Actor, Timestamp};
use zeroize::Zeroizing;

use super::management::manage;
use super::{Exit, print_json, report, sentence};
use crate::config::{self, KeyFileError};
use crate::control_socket::{self, Request, Response};

pub(super) fn import(file: &Path, config: &Path, dry_run: bool, json: bool) -> Exit {
    let text = match config::read_text(file) {
        Ok(text) => Zeroizing::new(text),
        Err(error) => return report(&error),
    };
    let directory = file.parent().unwrap_or_else(|| Path::new("."));
    let declaration = match Declaration::read(&text, &|name| key_file(&directory.join(name))) {
        Ok(declaration) => declaration,
        Err(mistake) => {
            eprintln!("{}: {mistake}\nnothing was changed", file.display());
            return Exit::Configuration;
        }
    };
    manage(config, |config, management| {
        let done = management.import(Timestamp::now(), &Actor::local(), &declaration, dry_run);
        let import = match done {
            Ok(import) => import,
            Err(error) => {
                eprintln!("{}: {}\nnothing was changed", file.display(), sentence(&error));
                return Exit::Refused;
            }
        };
        let told = if dry_run || import.counts() == (0, 0, import.objects.len()) {
            None
        } else {
            Some(tell(&config.agent.control_socket))
        };
        if json {
            return print_json(&as_json(&import, dry_run));
        }
        print(&import, dry_run);
        if let Some(sentence) = told {
            println!("{sentence}");
        }
        Exit::Success
    })
}

/// Reads a key by the rules of the configuration file.
pub(in crate::cli) fn key_file(path: &Path) -> Result<PresharedKey, config::Rule> {
    let key = config::read_key_file(path).map_err(KeyFileError::into_rule)?;
    let text = std::str::from_utf8(key.expose()).map_err(|_not_utf8| "does not hold UTF-8")?;
    PresharedKey::parse(text).map_err(|error| error.to_string().into())
}

/// The agent reads the store when it starts: one that does not run misses nothing.
fn tell(socket: &Path) -> String {
    match control_socket::ask(socket, &Request::ReadStore {}) {
        Ok(Response::Done(sentence) | Response::Refused(sentence)) => sentence,
        Ok(Response::Status(_) | Response::Mistakes(_) | Response::Api(_)) => {
            "the agent answered something else than was asked".to_owned()
        }
        Err(_nobody_listens) => "no agent runs: it reads the store when it starts".to_owned(),
    }
}

fn print(import: &Import, dry_run: bool) {
    let would = if dry_run { "would be " } else { "" };
    for object in &import.objects {
        let (kind, id) = (object.kind, &object.id);
        match &object.fate {
            Fate::Made => println!("{kind} {id}: {would}made"),
            Fate::Changed { what } => println!("{kind} {id}: {would}changed ({what})"),
            Fate::Left => println!("{kind} {id}: left as it is"),
        }
    }
    let (made, changed, left) = import.counts();
    println!("{would}made {made}, {would}changed {changed}, left {left}");
}

fn as_json(import: &Import, dry_run: bool) -> serde_json::Value {
    let (made, changed, left) = import.counts();
    serde_json::json!({
        "dry_run": dry_run,
        "made": made,
        "changed": changed,
        "left": left,
        "objects": import.objects,
    })
}
