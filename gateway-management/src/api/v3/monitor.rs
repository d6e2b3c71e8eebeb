//! The call of Cloud Monitor for data over time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::refusal::Refusal;
use crate::monitor::{Metric, Namespace};
use crate::service::MonitorQuery;
use crate::time::Timestamp;

/// Objects of one request.
const MOST_INSTANCES: usize = 10;
/// Time of a request that names no start.
const HOUR: i64 = 3600;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct GetMonitorData {
    /// `QCE/VPNX` for tunnels, `QCE/VPNGW` for gateways.
    namespace: String,
    /// Of both: `OutBandwidth`, `InBandwidth`, `OutPkg`, `InPkg`, `PkgDrop`, `Delay`, `DroppedPkg`, `IkeFailures`. Of tunnels:
    /// `Connectivity`. Of gateways: `VpnBandwidthUsageRate`, `LimitedPkg`.
    metric_name: String,
    /// 1 to 10 objects.
    instances: Vec<Instance>,
    /// Seconds of a point: 10, 60 or 300.
    period: Option<u32>,
    /// ISO 8601 with an offset; an hour before the end unless given.
    start_time: Option<String>,
    /// ISO 8601 with an offset; now unless given.
    end_time: Option<String>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Instance {
    /// `vpnConnId` or `vpnGwId`.
    dimensions: Vec<Dimension>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Dimension {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MonitorData {
    period: u32,
    metric_name: &'static str,
    start_time: String,
    end_time: String,
    data_points: Vec<DataPoint>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct DataPoint {
    dimensions: Vec<Dimension>,
    /// Begin of each point.
    timestamps: Vec<i64>,
    /// Its value.
    values: Vec<f64>,
}

pub(super) fn data(context: &Context<'_>, request: GetMonitorData) -> Result<MonitorData, Refusal> {
    let namespace = namespace(&request.namespace)?;
    let metric = Metric::parse(namespace, &request.metric_name)
        .ok_or_else(|| Refusal::field("MetricName", "is a metric of the namespace"))?;
    if request.instances.is_empty() || request.instances.len() > MOST_INSTANCES {
        return Err(Refusal::field("Instances", "has 1 to 10 objects"));
    }
    let object = |instance: Instance| object(namespace, instance.dimensions);
    let objects: Vec<_> = request
        .instances
        .into_iter()
        .map(object)
        .collect::<Result<_, _>>()?;
    let time = |name, text: Option<String>| text.map(|text| moment(name, &text)).transpose();
    let to = time("EndTime", request.end_time)?.unwrap_or(context.now);
    let from = time("StartTime", request.start_time)?.unwrap_or_else(|| to.plus_seconds(-HOUR));
    let series = context.management.monitor_data(&MonitorQuery {
        namespace,
        metric,
        objects: &objects,
        period: request.period,
        from,
        to,
    })?;
    let point = |series: crate::service::Series| {
        let (times, values) = series.points.into_iter().unzip::<_, _, Vec<_>, _>();
        DataPoint {
            dimensions: vec![Dimension {
                name: namespace.dimension().to_owned(),
                value: series.object,
            }],
            timestamps: times.into_iter().map(|time| time.0).collect(),
            values,
        }
    };
    Ok(MonitorData {
        period: request.period.unwrap_or(60),
        metric_name: metric.name(),
        start_time: from.utc(),
        end_time: to.utc(),
        data_points: series.into_iter().map(point).collect(),
    })
}

pub(super) fn namespace(text: &str) -> Result<Namespace, Refusal> {
    Namespace::parse(text).ok_or_else(|| Refusal::field("Namespace", "is QCE/VPNX or QCE/VPNGW"))
}

/// The id in the dimensions of one object; some clients send more dimensions than name it.
fn object(namespace: Namespace, dimensions: Vec<Dimension>) -> Result<String, Refusal> {
    let named = |dimension: &Dimension| dimension.name.eq_ignore_ascii_case(namespace.dimension());
    let found = dimensions.into_iter().find(named);
    found.map(|dimension| dimension.value).ok_or_else(|| {
        let rule = format!("has the dimension {}", namespace.dimension());
        Refusal::field("Dimensions", &rule)
    })
}

fn moment(name: &str, text: &str) -> Result<Timestamp, Refusal> {
    Timestamp::parse_utc(text)
        .ok_or_else(|| Refusal::field(name, "is a time such as 2026-01-02T03:04:05+08:00"))
}
