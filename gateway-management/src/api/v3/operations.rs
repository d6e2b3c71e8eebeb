//! The operations of API 3.0: one table for the dispatch and for the OpenAPI document.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::refusal::Refusal;
use super::{
    Context, alarm_history, alarm_policies, alarm_receivers, audit, connections, customer_gateways, defense,
    gateways, health, monitor, prices, routes, tags,
};

/// Which of the provider's services an operation belongs to; each has its own version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Networks.
    Vpc,
    /// Tags of resources of all services.
    Tag,
    /// Cloud Monitor.
    Monitor,
}

impl Service {
    /// `X-TC-Version`.
    pub(super) const fn version(self) -> &'static str {
        match self {
            Self::Vpc => "2017-03-12",
            Self::Tag => "2018-08-13",
            Self::Monitor => "2018-07-24",
        }
    }
}

/// Whether an operation looks or changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It may be sent twice.
    Read,
    /// It is a replay when it comes twice.
    Write,
}

/// One operation.
pub(super) struct Operation {
    /// Its name, `X-TC-Action`.
    pub(super) name: &'static str,
    /// What it does, for the OpenAPI document.
    pub(super) summary: &'static str,
    /// Its service.
    pub(super) service: Service,
    /// Whether it looks or changes.
    pub(super) access: Access,
    /// Carries it out.
    pub(super) run: fn(&Context<'_>, Value) -> Result<Value, Refusal>,
    /// Schemas of its request and of its answer.
    pub(super) describe: fn(&mut SchemaGenerator) -> (Schema, Schema),
}

/// Declares the table: service, access, name, what it does, and the function whose types are those of the wire.
macro_rules! operations {
    ($($service:ident $access:ident $name:ident $summary:literal => $function:path;)+) => {
        /// All operations.
        pub(super) static OPERATIONS: &[Operation] = &[$(Operation {
            name: stringify!($name),
            summary: $summary,
            service: Service::$service,
            access: Access::$access,
            run: |context, body| run(context, body, $function),
            describe: |generator| describe(generator, $function),
        }),+];
    };
}

operations! {
    Vpc Write CreateVpnGateway "Makes a VPN gateway with a public address of the pool." => gateways::create;
    Vpc Write DeleteVpnGateway "Removes a VPN gateway that no tunnel uses." => gateways::delete;
    Vpc Read DescribeVpnGateways "Lists VPN gateways." => gateways::describe;
    Vpc Write ModifyVpnGatewayAttribute "Renames a VPN gateway." => gateways::modify;
    Vpc Write RenewVpnGateway "Prolongs the period of a VPN gateway." => gateways::renew;
    Vpc Write SetVpnGatewaysRenewFlag "Says whether VPN gateways renew themselves." => gateways::set_renew_flag;
    Vpc Write ResetVpnGatewayInternetMaxBandwidth "Changes the bandwidth of a VPN gateway, at once." => gateways::reset_bandwidth;
    Vpc Read InquiryPriceCreateVpnGateway "Says what a VPN gateway costs." => prices::create;
    Vpc Read InquiryPriceRenewVpnGateway "Says what a further period costs." => prices::renew;
    Vpc Read InquiryPriceResetVpnGatewayInternetMaxBandwidth "Says what another bandwidth costs." => prices::reset_bandwidth;
    Vpc Write CreateCustomerGateway "Makes a customer gateway." => customer_gateways::create;
    Vpc Write DeleteCustomerGateway "Removes a customer gateway that no tunnel uses." => customer_gateways::delete;
    Vpc Read DescribeCustomerGateways "Lists customer gateways." => customer_gateways::describe;
    Vpc Write ModifyCustomerGatewayAttribute "Renames a customer gateway." => customer_gateways::modify;
    Vpc Read DescribeCustomerGatewayVendors "Lists the devices that there are configuration files for." => customer_gateways::vendors;
    Vpc Read DownloadCustomerGatewayConfiguration "Writes the configuration file for the customer's device." => connections::download;
    Vpc Write CreateVpnConnection "Makes a tunnel." => connections::create;
    Vpc Write DeleteVpnConnection "Removes a tunnel." => connections::delete;
    Vpc Read DescribeVpnConnections "Lists tunnels." => connections::describe;
    Vpc Write ModifyVpnConnectionAttribute "Changes a tunnel, or says what a change would disturb." => connections::modify;
    Vpc Write ResetVpnConnection "Ends the SAs of a tunnel and negotiates new ones." => connections::reset;
    Vpc Read GenerateVpnConnectionDefaultHealthCheckIp "Says which addresses a health check may use." => health::generate;
    Vpc Write CreateVpnGatewayRoutes "Makes routes to tunnels of a VPN gateway." => routes::create;
    Vpc Write DeleteVpnGatewayRoutes "Removes routes of a VPN gateway." => routes::delete;
    Vpc Read DescribeVpnGatewayRoutes "Lists routes of a VPN gateway." => routes::describe;
    Vpc Write ModifyVpnGatewayRoutes "Puts routes of a VPN gateway in force or out of it." => routes::modify;
    Vpc Write CreateDefensePackage "Makes a high defense package, bound to a gateway or kept for later." => defense::create;
    Vpc Read DescribeDefensePackages "Lists high defense packages and whether their gateways are attacked." => defense::describe;
    Vpc Write ModifyDefensePackage "Renames a high defense package or changes its limits, at once." => defense::modify;
    Vpc Write BindDefensePackage "Moves a high defense package to another gateway, or to none." => defense::bind;
    Vpc Write DeleteDefensePackage "Removes a high defense package that is bound to none." => defense::delete;
    Vpc Read DescribeAuditLog "Lists the last changes and who made them." => audit::describe;
    Monitor Read GetMonitorData "Says how a metric of tunnels or gateways was over time." => monitor::data;
    Monitor Write CreateAlarmPolicy "Makes an alarm policy." => alarm_policies::create;
    Monitor Write ModifyAlarmPolicy "Changes an alarm policy." => alarm_policies::modify;
    Monitor Write ModifyAlarmPolicyStatus "Switches an alarm policy on or off." => alarm_policies::set_status;
    Monitor Write DeleteAlarmPolicy "Removes alarm policies." => alarm_policies::delete;
    Monitor Read DescribeAlarmPolicies "Lists alarm policies." => alarm_policies::describe;
    Monitor Read DescribeAlarmHistories "Lists alarms, those that last and those that are over." => alarm_history::histories;
    Monitor Write CreateAlarmNotice "Makes or changes a receiver of alarms." => alarm_receivers::put;
    Monitor Read DescribeAlarmNotices "Lists receivers of alarms, without their secrets." => alarm_receivers::list;
    Monitor Write DeleteAlarmNotices "Removes receivers of alarms." => alarm_receivers::delete;
    Monitor Read DescribeAlarmMessages "Lists internal messages." => alarm_history::messages;
    Tag Read DescribeResourceTagsByResourceIds "Lists tags of objects." => tags::describe;
    Tag Write ModifyResourceTags "Changes tags of an object." => tags::modify;
}

/// The operation with this name.
pub(super) fn find(name: &str) -> Result<&'static Operation, Refusal> {
    let found = OPERATIONS.iter().find(|operation| operation.name == name);
    found.ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        Refusal::new("InvalidAction", format!("no action is called {shown:?}"))
    })
}

fn run<Q: DeserializeOwned, A: Serialize>(
    context: &Context<'_>,
    body: Value,
    work: impl FnOnce(&Context<'_>, Q) -> Result<A, Refusal>,
) -> Result<Value, Refusal> {
    let request = serde_path_to_error::deserialize(body).map_err(|error| Refusal::unreadable(&error))?;
    let answer = work(context, request)?;
    serde_json::to_value(answer).map_err(|error| {
        tracing::error!(%error, "an answer of the API cannot be written");
        Refusal::new("InternalError", "see the log of the gateway")
    })
}

fn describe<Q: JsonSchema, A: JsonSchema>(
    generator: &mut SchemaGenerator,
    _of: impl FnOnce(&Context<'_>, Q) -> Result<A, Refusal>,
) -> (Schema, Schema) {
    (generator.subschema_for::<Q>(), A::json_schema(generator))
}
