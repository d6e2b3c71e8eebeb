//! `[[defense]]`: a high defense package, the limits of the shield in front of one VPN gateway.

use std::collections::BTreeSet;
use std::sync::Arc;

use gateway_management::defense::{Limits, MOST_RATE};

use super::mistake::Log;
use super::model::GatewayConfig;
use super::read::{Directory, value_or};
use super::section::Section;
use super::values::{self, Id};

/// A high defense package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefenseConfig {
    /// Its id.
    pub id: Id,
    /// What people call it.
    pub name: String,
    /// The gateway it protects; `None` while it is bound to none.
    pub gateway: Option<Arc<GatewayConfig>>,
    /// What its shield lets through.
    pub limits: Limits,
}

/// Packages that may be bound to gateways at the same time: numbers of shields in the XDP program.
pub const MAX_BOUND_PACKAGES: u32 = 1_000;
/// Ranges of all packages together.
pub const MAX_RANGES: u32 = 32_768;

/// Whether there is room for one more package beside others.
pub(super) fn has_room(others: &[Arc<DefenseConfig>], package: &DefenseConfig) -> bool {
    let all = || others.iter().map(Arc::as_ref).chain([package]);
    let bound = all().filter(|package| package.gateway.is_some()).count();
    let ranges = all().map(|DefenseConfig { limits, .. }| limits.allow.len() + limits.block.len());
    bound <= MAX_BOUND_PACKAGES as usize && ranges.sum::<usize>() <= MAX_RANGES as usize
}

/// Reads all sections of a document. A gateway has at most one package.
pub(super) fn read(
    log: &Log,
    sections: Vec<Section<'_>>,
    gateways: &Directory<GatewayConfig>,
) -> Vec<Arc<DefenseConfig>> {
    let (mut ids, mut protected) = (BTreeSet::new(), BTreeSet::new());
    let mut packages = Vec::new();
    let (mut bound, mut ranges) = (0, 0);
    for mut section in sections {
        let id = section.required_text("id", Id::parse);
        let gateway = section.text("gateway", Id::parse);
        if let Some(id) = &id
            && !ids.insert(id.value.clone())
        {
            log.mistake(&id.place, "another defense has this id");
        }
        if let Some(gateway) = &gateway
            && !protected.insert(gateway.value.clone())
        {
            log.mistake(&gateway.place, "another defense is bound to this gateway");
        }
        bound += u32::from(gateway.is_some());
        if let Some(gateway) = gateway.as_ref().filter(|_| bound == MAX_BOUND_PACKAGES + 1) {
            let rule = format!("at most {MAX_BOUND_PACKAGES} defenses are bound to gateways");
            log.mistake(&gateway.place, rule);
        }
        let gateway = gateway.and_then(|id| gateways.resolve(log, id));
        let name = section.text("name", values::display_name).map(|name| name.value);
        let standard = Limits::default();
        let rates = 0..=u64::from(MOST_RATE);
        let mut rate = |key, default: u32| value_or(section.number(key, rates.clone()), || default);
        let mut limits = Limits {
            ike_rate_per_source: rate("ike_rate_per_source", standard.ike_rate_per_source),
            ike_rate: rate("ike_rate", standard.ike_rate),
            unknown_spi_rate_per_source: rate(
                "unknown_spi_rate_per_source",
                standard.unknown_spi_rate_per_source,
            ),
            rate_per_source: rate("rate_per_source", standard.rate_per_source),
            attack_rate: rate("attack_rate", standard.attack_rate),
            block_rate: rate("block_rate", standard.block_rate),
            ..standard
        };
        let allow = section.texts("allow", values::range);
        let block = section.texts("block", values::range);
        for net in allow.iter().chain(&block) {
            ranges += 1;
            if ranges == MAX_RANGES + 1 {
                log.mistake(&net.place, format!("at most {MAX_RANGES} ranges in all defenses"));
            }
        }
        for net in &block {
            if allow.iter().any(|other| other.value == net.value) {
                log.mistake(&net.place, "is in allow too");
            }
        }
        limits.allow = allow.into_iter().map(|net| net.value).collect();
        limits.block = block.into_iter().map(|net| net.value).collect();
        section.finish();
        let Some(id) = id else { continue };
        packages.push(Arc::new(DefenseConfig {
            name: name.unwrap_or_else(|| id.value.to_string()),
            id: id.value,
            gateway: gateway.map(|gateway| gateway.value),
            limits,
        }));
    }
    packages
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Refused, parse};

    const FILE: &str = "[[interface]]\nname = \"eth0\"\nrole = \"public\"\n[[interface]]\nname = \"eth1\"\nrole = \"vpc\"\n\
        [[vpc]]\nid = \"vpc\"\ncidr = \"10.0.0.0/16\"\ninterface = \"eth1\"\n\
        [[gateway]]\nid = \"gw\"\nvpc = \"vpc\"\naddress = \"203.0.113.1\"\nbandwidth_mbps = 100\n";

    fn with(sections: &str) -> Result<Config, Refused> {
        parse(&format!("{FILE}{sections}"), Path::new("/nowhere/gateway.toml"))
    }

    #[test]
    fn a_package_is_bound_to_a_gateway_or_to_none() {
        let config = with(
            "[[defense]]\nid = \"a\"\ngateway = \"gw\"\nike_rate = 7\nblock = [\"192.0.2.0/24\"]\n\
             [[defense]]\nid = \"b\"\nname = \"spare\"\n",
        )
        .unwrap();
        let [bound, spare] = &config.defenses[..] else {
            panic!("{:?}", config.defenses)
        };
        assert_eq!(bound.gateway.as_ref(), config.gateways.first());
        assert_eq!((bound.limits.ike_rate, bound.limits.ike_rate_per_source), (7, 20));
        assert_eq!(bound.limits.block, ["192.0.2.0/24".parse().unwrap()]);
        assert_eq!((spare.gateway.as_ref(), spare.name.as_str()), (None, "spare"));
    }

    #[test]
    fn there_is_room_for_so_many_ranges_in_all_packages() {
        let package = |ranges: u32| DefenseConfig {
            id: Id::parse("a").unwrap(),
            name: String::new(),
            gateway: None,
            limits: Limits {
                block: (0..ranges).map(|n| std::net::Ipv4Addr::from(n).into()).collect(),
                ..Limits::default()
            },
        };
        let others = [Arc::new(package(MAX_RANGES - 1))];
        assert!(has_room(&others, &package(1)));
        assert!(!has_room(&others, &package(2)));
    }

    #[test]
    fn mistakes_name_field_and_rule() {
        let rows = [
            (
                "id = \"a\"\ngateway = \"other\"",
                "defense[0].gateway",
                "no gateway has this id",
            ),
            (
                "id = \"a\"\nike_rate = -1",
                "defense[0].ike_rate",
                "is a whole number from",
            ),
            (
                "id = \"a\"\nblock = [\"192.0.2.1/24\"]",
                "defense[0].block[0]",
                "has host bits set",
            ),
            (
                "id = \"a\"\nallow = [\"192.0.2.0/24\"]\nblock = [\"192.0.2.0/24\"]",
                "defense[0].block[0]",
                "is in allow too",
            ),
            (
                "id = \"a\"\n[[defense]]\nid = \"a\"",
                "defense[1].id",
                "another defense has this id",
            ),
            (
                "id = \"a\"\ngateway = \"gw\"\n[[defense]]\nid = \"b\"\ngateway = \"gw\"",
                "defense[1].gateway",
                "another defense is bound to this gateway",
            ),
        ];
        for (section, field, rule) in rows {
            let refused = with(&format!("[[defense]]\n{section}\n")).expect_err(section);
            let [mistake] = &refused.mistakes[..] else {
                panic!("{section}: {refused}")
            };
            assert_eq!(mistake.field, field);
            assert!(mistake.rule.starts_with(rule), "{section}: {}", mistake.rule);
        }
    }
}
