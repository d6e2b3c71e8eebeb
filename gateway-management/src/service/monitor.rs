//! Traffic and probes of tunnels and gateways over time.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::Management;
use crate::error::{Error, Kind};
use crate::monitor::{Metric, Namespace};
use crate::store::{Point, ROLLUP_OCTETS, Resolution, Rows, StoreError, Traffic};
use crate::time::Timestamp;

/// Points that one question may ask for.
const MOST_POINTS: i64 = 7200;

/// Counters of one object at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What the object is: the file may give a gateway and a tunnel the same id.
    pub namespace: Namespace,
    /// Id of the tunnel or gateway.
    pub object: String,
    /// Id of the gateway that a tunnel's traffic also counts for.
    pub part_of: Option<String>,
    /// Counters since the agent's start.
    pub counters: Traffic,
}

/// A question about a metric of some objects.
#[derive(Clone, Copy, Debug)]
pub struct MonitorQuery<'a> {
    /// What the objects are.
    pub namespace: Namespace,
    /// Which number.
    pub metric: Metric,
    /// Ids.
    pub objects: &'a [String],
    /// Length of a point in seconds; `None`: a minute.
    pub period: Option<u32>,
    /// Begin.
    pub from: Timestamp,
    /// End; the point that it falls into is not part of the answer.
    pub to: Timestamp,
}

/// A metric of one object over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Id of the object.
    pub object: String,
    /// Begin and value of each point that has one.
    pub points: Vec<(Timestamp, f64)>,
}

impl Management {
    /// Adds the counters that the agent has at `now` to the rollups. To be called every ten seconds.
    ///
    /// # Errors
    /// [`StoreError`]; the traffic is then counted at the next call.
    pub fn record(&self, now: Timestamp, samples: &[Sample]) -> Result<(), StoreError> {
        let mut before = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let mut added: BTreeMap<String, Traffic> = BTreeMap::new();
        for sample in samples {
            let own = key(sample.namespace, &sample.object);
            let since = sample
                .counters
                .since(before.get(&own).copied().unwrap_or_default());
            let whole = sample
                .part_of
                .as_ref()
                .map(|gateway| key(Namespace::Gateway, gateway));
            for object in [Some(own), whole].into_iter().flatten() {
                let sum = added.entry(object).or_default();
                *sum = sum.plus(since);
            }
        }
        self.store.write(|rows| {
            for (object, traffic) in &added {
                if *traffic != Traffic::default() {
                    rows.add_traffic(object, now, *traffic)?;
                }
            }
            if now.0 % 300 < 10 {
                rows.expire_traffic(now)?;
            }
            rows.trim_traffic(self.rollup_octets / ROLLUP_OCTETS)
        })?;
        *before = samples
            .iter()
            .map(|sample| (key(sample.namespace, &sample.object), sample.counters))
            .collect();
        self.recorded_since.get_or_init(|| now);
        Ok(())
    }

    /// Rollups of a tunnel.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Store`].
    pub fn tunnel_traffic(
        &self,
        id: &str,
        resolution: Resolution,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Point>, Error> {
        self.store.read(|rows| {
            let tunnel = rows
                .tunnel(id)?
                .ok_or_else(|| Error::not_found(Kind::Tunnel, id))?;
            Ok(rows.traffic(&key(Namespace::Tunnel, &tunnel.id), resolution, from, to)?)
        })
    }

    /// A metric of some objects over time.
    ///
    /// # Errors
    /// [`Error`]: no such object, a period that is not kept, too many points.
    pub fn monitor_data(&self, query: &MonitorQuery<'_>) -> Result<Vec<Series>, Error> {
        let resolution = match query.period {
            None => Resolution::Minute,
            Some(seconds) => Resolution::ALL
                .into_iter()
                .find(|resolution| resolution.seconds() == i64::from(seconds))
                .ok_or_else(|| Error::invalid("Period", seconds, "is 10, 60 or 300 seconds"))?,
        };
        let (from, to) = (resolution.start_of(query.from), resolution.start_of(query.to));
        if from > to {
            return Err(Error::invalid("StartTime", query.from.utc(), "is before EndTime"));
        }
        let count = to.0.saturating_sub(from.0) / resolution.seconds();
        let objects = i64::try_from(query.objects.len()).unwrap_or(i64::MAX);
        if count.saturating_mul(objects) > MOST_POINTS {
            let rule = format!(
                "at most {MOST_POINTS} points at once: ask for less time, fewer objects or a longer period"
            );
            return Err(Error::invalid("StartTime", query.from.utc(), rule));
        }
        self.store.read(|rows| {
            let series = |asked: &String| {
                let (id, bandwidth) = monitored(rows, query.namespace, asked)?;
                let bandwidth = bandwidth.or_else(|| self.agent.bandwidth(&id));
                let points: BTreeMap<_, _> = rows
                    .traffic(&key(query.namespace, &id), resolution, from, to)?
                    .into_iter()
                    .map(|point| (point.start, point.traffic))
                    .collect();
                let value = |index: i64| {
                    let start = from.plus_seconds(index * resolution.seconds());
                    let traffic = points.get(&start).copied().unwrap_or_default();
                    let value = query.metric.value(&traffic, resolution.seconds(), bandwidth)?;
                    Some((start, value))
                };
                Ok(Series {
                    object: id,
                    points: (0..count).filter_map(value).collect(),
                })
            };
            query.objects.iter().map(series).collect()
        })
    }
}

/// Name of the rollups of an object.
pub(super) fn key(namespace: Namespace, id: &str) -> String {
    format!("{}/{id}", namespace.name())
}

/// Id of an object and its bandwidth setting. Those of the file are not in the store and have rollups all the same.
fn monitored(rows: &Rows<'_>, namespace: Namespace, id: &str) -> Result<(String, Option<u32>), Error> {
    let (kind, stored) = match namespace {
        Namespace::Gateway => {
            let gateway = rows.gateway(id)?;
            (
                Kind::Gateway,
                gateway.map(|found| (found.id, Some(found.bandwidth))),
            )
        }
        Namespace::Tunnel => (Kind::Tunnel, rows.tunnel(id)?.map(|found| (found.id, None))),
    };
    match stored {
        Some(found) => Ok(found),
        None if rows.is_monitored(&key(namespace, id))? => Ok((id.to_owned(), None)),
        None => Err(Error::not_found(kind, id)),
    }
}
