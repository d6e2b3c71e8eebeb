//! Commands on the store. They work whether the agent runs or not: the database may be open in several processes.

use std::path::Path;

use gateway_management::download::{self, Device};
use gateway_management::objects::Role;
use gateway_management::service::{TunnelQuery, keys};
use gateway_management::{Actor, Management, Nobody, Store, Timestamp};

use super::arguments::{ApiKeyCommands, ConfigFor};
use super::{Exit, exit_of, report, sentence};
use crate::config::{self, Config};
use crate::control::management::open_store;

pub(super) fn api_key(command: &ApiKeyCommands) -> Exit {
    let now = Timestamp::now();
    match command {
        ApiKeyCommands::Create {
            config,
            role,
            note,
            json,
        } => with_store(config, |store| {
            let role = Role::parse(role).unwrap_or(Role::Read);
            let key = keys::create_key(store, now, &Actor::local(), role, note)?;
            if *json {
                println!(
                    "{}",
                    serde_json::json!({ "secret_id": key.id, "secret_key": *key.secret })
                );
            } else {
                println!(
                    "SecretId  {}\nSecretKey {}\nThe secret is not shown again.",
                    key.id, *key.secret
                );
            }
            Ok(())
        }),
        ApiKeyCommands::List { config } => with_store(config, |store| {
            for (id, role, note) in keys::list_keys(store)? {
                println!("{id}  {role:7}  {note}");
            }
            Ok(())
        }),
        ApiKeyCommands::Delete { id, config } => {
            with_store(config, |store| keys::delete_key(store, now, &Actor::local(), id))
        }
    }
}

pub(super) fn export(file: &Path) -> Exit {
    with_management(file, |management| {
        print!("{}", *management.export(&Actor::local())?);
        Ok(())
    })
}

pub(super) fn config_for(wanted: &ConfigFor) -> Exit {
    with_management(&wanted.config, |management| {
        let query = TunnelQuery {
            id: Some(wanted.tunnel.clone()),
            with_psk: true,
            ..TunnelQuery::default()
        };
        let view = management.tunnel(&Actor::local(), &query)?;
        let device = Device {
            vendor: &wanted.vendor,
            platform: &wanted.platform,
            software: None,
            interface: wanted.interface.as_deref(),
        };
        // A terminal and a file want lines; the API's carriage returns are for its wire format.
        print!(
            "{}",
            download::render(&view, Timestamp::now(), &device)?.replace('\r', "\n")
        );
        Ok(())
    })
}

fn with_management(
    file: &Path,
    work: impl FnOnce(&Management) -> Result<(), gateway_management::Error>,
) -> Exit {
    manage(file, |_, management| finish(work(management)))
}

/// Opens the store that a configuration names; `work` says how the command ends.
pub(super) fn manage(file: &Path, work: impl FnOnce(&Config, &Management) -> Exit) -> Exit {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) => return report(&error),
    };
    let Some(settings) = &config.management else {
        return no_store(file);
    };
    let site = crate::control::management::site(&config, settings);
    match open_store(settings) {
        Ok(store) => work(
            &config,
            &Management::new(store, site, std::sync::Arc::new(Nobody)),
        ),
        Err(error) => {
            eprintln!("{}", sentence(&error));
            exit_of(&error)
        }
    }
}

fn with_store(file: &Path, work: impl FnOnce(&Store) -> Result<(), gateway_management::Error>) -> Exit {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) => return report(&error),
    };
    let Some(settings) = &config.management else {
        return no_store(file);
    };
    match open_store(settings) {
        Ok(store) => finish(work(&store)),
        Err(error) => {
            eprintln!("{}", sentence(&error));
            exit_of(&error)
        }
    }
}

fn no_store(file: &Path) -> Exit {
    eprintln!("{} has no [store]", file.display());
    Exit::Configuration
}

fn finish(done: Result<(), gateway_management::Error>) -> Exit {
    match done {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!("{}", sentence(&error));
            Exit::Refused
        }
    }
}
