//! `gateway check --live`: does the machine have what the configuration names?

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::Exit;
use crate::config::Config;

/// What is missing, each with its exit code.
pub(super) fn check(config: &Config) -> Vec<(Exit, String)> {
    let mut addresses = BTreeSet::<Ipv4Addr>::new();
    let mut names = BTreeSet::<String>::new();
    match nix::ifaddrs::getifaddrs() {
        Ok(entries) => {
            for entry in entries {
                addresses.extend(
                    entry
                        .address
                        .and_then(|address| Some(address.as_sockaddr_in()?.ip())),
                );
                names.insert(entry.interface_name);
            }
        }
        Err(error) => return vec![(Exit::Failure, format!("cannot list the interfaces: {error}"))],
    }
    let interfaces = config
        .interfaces
        .iter()
        .filter(|interface| !names.contains(&interface.name));
    let interfaces = interfaces.map(|interface| {
        (
            Exit::Interface,
            format!("interface {} does not exist", interface.name),
        )
    });
    let gateways = config
        .gateways
        .iter()
        .filter(|gateway| !addresses.contains(&gateway.address));
    let gateways = gateways.map(|gateway| {
        let sentence = format!(
            "address {} of gateway {} is on no interface",
            gateway.address, gateway.id
        );
        (Exit::Address, sentence)
    });
    interfaces.chain(gateways).collect()
}
