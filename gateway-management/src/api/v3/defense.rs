//! Operations on high defense packages, an extension: the provider's packages are objects of another product.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use super::wire::{self, Done, Filter, Filters};
use super::{Context, options};
use crate::defense::{self, DefensePackage, DefenseState, LimitsPatch};

/// What the shield lets through. In a request, what is absent stays, or has its default in a new package.
#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Limits {
    /// IKE packets per second of one source; 0 in this and all other rates: no limit.
    ike_rate_per_source: Option<u32>,
    /// IKE packets per second of all strangers together.
    ike_rate: Option<u32>,
    /// ESP packets per second of one source whose SPI no SA has.
    unknown_spi_rate_per_source: Option<u32>,
    /// Packets per second of one stranger that belong to no SA.
    rate_per_source: Option<u32>,
    /// Dropped packets per second from which the gateway is under attack; 0: never.
    attack_rate: Option<u32>,
    /// Dropped packets per second from which strangers are shut out; 0: never.
    block_rate: Option<u32>,
    /// Ranges of sources that are never counted.
    allow: Option<Vec<String>>,
    /// Ranges of sources that are shut out.
    block: Option<Vec<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreateDefensePackage {
    /// 1 to 60 characters, unique.
    defense_package_name: String,
    /// The gateway to protect; without it the package is kept for later.
    vpn_gateway_id: Option<String>,
    limits: Option<Limits>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Created {
    defense_package: Package,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ModifyDefensePackage {
    defense_package_id: String,
    /// 1 to 60 characters, unique.
    defense_package_name: Option<String>,
    limits: Option<Limits>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct BindDefensePackage {
    defense_package_id: String,
    /// The gateway to protect; absent or empty: none.
    vpn_gateway_id: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteDefensePackage {
    defense_package_id: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeDefensePackages {
    /// At most 100. One that is not there is left out.
    defense_package_ids: Option<Vec<String>>,
    /// `vpn-gateway-id`, `defense-package-name` (a part of it).
    filters: Option<Vec<Filter>>,
    offset: Option<u32>,
    limit: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Packages {
    total_count: usize,
    defense_package_set: Vec<Package>,
}

/// A package.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct Package {
    defense_package_id: String,
    defense_package_name: String,
    /// The gateway that it protects; empty while it is kept for later.
    vpn_gateway_id: String,
    /// `NORMAL`, `UNDER_ATTACK` or `BLOCKED`; `UNBOUND` while it protects nothing.
    state: &'static str,
    limits: Limits,
    created_time: String,
}

pub(super) fn create(context: &Context<'_>, request: CreateDefensePackage) -> Result<Created, Refusal> {
    let made = context.management.create_defense_package(
        context.now,
        context.actor,
        &request.defense_package_name,
        wire::given(request.vpn_gateway_id).as_deref(),
        &patch(request.limits)?,
    )?;
    Ok(Created {
        defense_package: package(context, made),
    })
}

pub(super) fn modify(context: &Context<'_>, request: ModifyDefensePackage) -> Result<Done, Refusal> {
    context.management.modify_defense_package(
        context.now,
        context.actor,
        &request.defense_package_id,
        wire::given(request.defense_package_name).as_deref(),
        &patch(request.limits)?,
    )?;
    Ok(Done {})
}

pub(super) fn bind(context: &Context<'_>, request: BindDefensePackage) -> Result<Done, Refusal> {
    context.management.bind_defense_package(
        context.now,
        context.actor,
        &request.defense_package_id,
        wire::given(request.vpn_gateway_id).as_deref(),
    )?;
    Ok(Done {})
}

pub(super) fn delete(context: &Context<'_>, request: DeleteDefensePackage) -> Result<Done, Refusal> {
    let id = &request.defense_package_id;
    context
        .management
        .delete_defense_package(context.now, context.actor, id)?;
    Ok(Done {})
}

pub(super) fn describe(context: &Context<'_>, request: DescribeDefensePackages) -> Result<Packages, Refusal> {
    let page = wire::page(request.offset, request.limit)?;
    let ids = wire::ids("DefensePackageIds", request.defense_package_ids)?;
    let mut filters = Filters::new(request.filters);
    let gateway = filters.take("vpn-gateway-id")?;
    let name = filters.take("defense-package-name")?;
    filters.end()?;
    let mut found = context.management.defense_packages()?;
    found.retain(|package| {
        ids.as_ref().is_none_or(|ids| ids.contains(&package.id))
            && gateway
                .as_ref()
                .is_none_or(|gateway| package.gateway.as_ref() == Some(gateway))
            && name
                .as_ref()
                .is_none_or(|part| package.name.contains(part.as_str()))
    });
    let (total_count, found) = wire::cut(found, &page);
    Ok(Packages {
        total_count,
        defense_package_set: found.into_iter().map(|found| package(context, found)).collect(),
    })
}

fn package(context: &Context<'_>, package: DefensePackage) -> Package {
    let state = package.gateway.as_ref().map(|gateway| {
        // A package that the agent has not taken yet dropped nothing.
        context.management.defense_state(gateway).unwrap_or_default()
    });
    Package {
        state: match state {
            None => "UNBOUND",
            Some(DefenseState::Normal) => "NORMAL",
            Some(DefenseState::UnderAttack) => "UNDER_ATTACK",
            Some(DefenseState::Blocked) => "BLOCKED",
        },
        defense_package_id: package.id,
        defense_package_name: package.name,
        vpn_gateway_id: package.gateway.unwrap_or_default(),
        limits: package.limits.into(),
        created_time: package.created.civil(),
    }
}

fn patch(limits: Option<Limits>) -> Result<LimitsPatch, Refusal> {
    let limits = limits.unwrap_or_default();
    let ranges = |field: &str, texts: Option<Vec<String>>| {
        let read = |texts: Vec<String>| texts.iter().map(|text| options::range(field, text)).collect();
        texts.map(read).transpose()
    };
    Ok(LimitsPatch {
        ike_rate_per_source: limits.ike_rate_per_source,
        ike_rate: limits.ike_rate,
        unknown_spi_rate_per_source: limits.unknown_spi_rate_per_source,
        rate_per_source: limits.rate_per_source,
        attack_rate: limits.attack_rate,
        block_rate: limits.block_rate,
        allow: ranges("Limits.Allow", limits.allow)?,
        block: ranges("Limits.Block", limits.block)?,
    })
}

impl From<defense::Limits> for Limits {
    fn from(limits: defense::Limits) -> Self {
        let texts = |ranges: Vec<ipnet::Ipv4Net>| ranges.iter().map(ToString::to_string).collect();
        Self {
            ike_rate_per_source: Some(limits.ike_rate_per_source),
            ike_rate: Some(limits.ike_rate),
            unknown_spi_rate_per_source: Some(limits.unknown_spi_rate_per_source),
            rate_per_source: Some(limits.rate_per_source),
            attack_rate: Some(limits.attack_rate),
            block_rate: Some(limits.block_rate),
            allow: Some(texts(limits.allow)),
            block: Some(texts(limits.block)),
        }
    }
}
