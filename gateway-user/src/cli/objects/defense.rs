//! Commands on high defense packages.

use clap::{ArgGroup, Args, Subcommand};
use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};

use super::arguments::{Listing, One};
use super::{Caller, Kind, delete, list, show};
use crate::cli::arguments::AgentSocket;
use crate::cli::exit::Exit;

const PACKAGE: Kind = Kind {
    name: "high defense package",
    describe: "DescribeDefensePackages",
    set: "DefensePackageSet",
    ids: "DefensePackageIds",
    id: "DefensePackageId",
    delete: "DeleteDefensePackage",
    columns: &[
        ("ID", "/DefensePackageId"),
        ("NAME", "/DefensePackageName"),
        ("GATEWAY", "/VpnGatewayId"),
        ("STATE", "/State"),
        ("ATTACK/S", "/Limits/AttackRate"),
        ("BLOCK/S", "/Limits/BlockRate"),
    ],
};

/// What to do with high defense packages.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DefensePackages {
    /// List them
    List(Listing),
    /// Show one with all its limits
    Show(One),
    /// Make one
    Create {
        /// 1 to 60 characters, unique
        #[arg(long)]
        name: String,
        /// Id of the VPN gateway to protect; without it the package is kept for later
        #[arg(long)]
        gateway: Option<String>,
        #[command(flatten)]
        limits: Limits,
        /// Machine-readable
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Change one, at once and without disturbing a tunnel; what is not given stays
    #[command(group = ArgGroup::new("change").required(true).multiple(true).args([
        "name", "ike_rate_per_source", "ike_rate", "unknown_spi_rate_per_source", "rate_per_source", "attack_rate",
        "block_rate", "allow", "block",
    ]))]
    Modify {
        /// Id of the package
        id: String,
        /// 1 to 60 characters, unique
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        limits: Limits,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Let one protect a gateway, wherever it was before
    Bind {
        /// Id of the package
        id: String,
        /// Id of the VPN gateway
        gateway: String,
        #[command(flatten)]
        agent: AgentSocket,
    },
    /// Keep one for later: it protects nothing
    Unbind(One),
    /// Delete one that is bound to no gateway
    Delete(One),
}

/// What the shield lets through. Rates are packets per second, 0: no limit.
#[derive(Debug, Args)]
pub(in crate::cli) struct Limits {
    /// IKE of one source
    #[arg(long, value_name = "RATE")]
    ike_rate_per_source: Option<u32>,
    /// IKE of all strangers together
    #[arg(long, value_name = "RATE")]
    ike_rate: Option<u32>,
    /// ESP of one source whose SPI no SA has
    #[arg(long, value_name = "RATE")]
    unknown_spi_rate_per_source: Option<u32>,
    /// Everything of one stranger that belongs to no SA
    #[arg(long, value_name = "RATE")]
    rate_per_source: Option<u32>,
    /// Dropped packets per second from which the gateway is under attack, 0: never
    #[arg(long, value_name = "RATE")]
    attack_rate: Option<u32>,
    /// Dropped packets per second from which strangers are shut out, 0: never
    #[arg(long, value_name = "RATE")]
    block_rate: Option<u32>,
    /// Ranges of sources that are never counted, all of them, or "none"
    #[arg(long, value_name = "RANGE,...", value_parser = ranges)]
    allow: Option<Ranges>,
    /// Ranges of sources that are shut out, all of them, or "none"
    #[arg(long, value_name = "RANGE,...", value_parser = ranges)]
    block: Option<Ranges>,
}

/// A list of ranges, all of them in one argument.
#[derive(Clone, Debug)]
struct Ranges(Vec<Ipv4Net>);

fn ranges(text: &str) -> Result<Ranges, String> {
    if text == "none" {
        return Ok(Ranges(Vec::new()));
    }
    let range = |text: &str| {
        let text = text.trim();
        let range = text.parse();
        range.map_err(|_not_a_range| format!("{text:?} is no range like 192.0.2.0/24"))
    };
    text.split(',').map(range).collect::<Result<_, _>>().map(Ranges)
}

impl Limits {
    /// The fields that are given.
    fn wire(&self) -> Value {
        let rates = [
            ("IkeRatePerSource", self.ike_rate_per_source),
            ("IkeRate", self.ike_rate),
            ("UnknownSpiRatePerSource", self.unknown_spi_rate_per_source),
            ("RatePerSource", self.rate_per_source),
            ("AttackRate", self.attack_rate),
            ("BlockRate", self.block_rate),
        ];
        let lists = [("Allow", &self.allow), ("Block", &self.block)];
        let rates = rates
            .into_iter()
            .filter_map(|(name, rate)| Some((name.to_owned(), rate?.into())));
        let lists = lists.into_iter().filter_map(|(name, ranges)| {
            let ranges = &ranges.as_ref()?.0;
            let texts: Vec<_> = ranges.iter().map(ToString::to_string).collect();
            Some((name.to_owned(), texts.into()))
        });
        rates.chain(lists).collect::<Map<_, _>>().into()
    }
}

impl DefensePackages {
    pub(super) const fn agent(&self) -> &AgentSocket {
        match self {
            Self::List(Listing { agent, .. })
            | Self::Show(One { agent, .. })
            | Self::Unbind(One { agent, .. })
            | Self::Delete(One { agent, .. })
            | Self::Create { agent, .. }
            | Self::Modify { agent, .. }
            | Self::Bind { agent, .. } => agent,
        }
    }
}

pub(super) fn run(call: Caller<'_>, command: &DefensePackages) -> Result<(), Exit> {
    match command {
        DefensePackages::List(wanted) => list(call, &PACKAGE, wanted),
        DefensePackages::Show(wanted) => show(call, &PACKAGE, wanted, json!({})),
        DefensePackages::Delete(wanted) => delete(call, &PACKAGE, wanted),
        DefensePackages::Create {
            name,
            gateway,
            limits,
            json,
            ..
        } => {
            let body = json!({
                "DefensePackageName": name,
                "VpnGatewayId": gateway,
                "Limits": limits.wire(),
            });
            let answer = call("CreateDefensePackage", body)?;
            show::created(answer.get("DefensePackage"), &PACKAGE, *json)
        }
        DefensePackages::Modify { id, name, limits, .. } => {
            let body = json!({
                "DefensePackageId": id,
                "DefensePackageName": name,
                "Limits": limits.wire(),
            });
            call("ModifyDefensePackage", body)?;
            println!("{id}: changed");
            Ok(())
        }
        DefensePackages::Bind { id, gateway, .. } => {
            let body = json!({ "DefensePackageId": id, "VpnGatewayId": gateway });
            call("BindDefensePackage", body)?;
            println!("{id}: protects {gateway}");
            Ok(())
        }
        DefensePackages::Unbind(One { id, .. }) => {
            call("BindDefensePackage", json!({ "DefensePackageId": id }))?;
            println!("{id}: protects nothing");
            Ok(())
        }
    }
}
