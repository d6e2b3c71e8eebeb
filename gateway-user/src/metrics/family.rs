//! Metrics of one name, made of numbers that exist already.
//!
//! The registry and the live counters of the `prometheus` crate would hash every series of every scrape; what is rendered here are
//! snapshots, so the families are written down directly.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::status::{DURATION_BOUNDS, Durations};

/// The families of a page, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Families(Vec<Family>);

/// All series of one name.
#[derive(Debug)]
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
    metrics: Vec<Metric>,
}

impl Families {
    /// Adds a finished family. One without a series is not shown: its name would say nothing.
    pub(super) fn push(&mut self, family: Family) {
        if !family.metrics.is_empty() {
            self.0.push(family);
        }
    }

    /// In the Prometheus text format.
    pub(super) fn encode(mut self) -> Result<String, prometheus::Error> {
        self.0.sort_by_key(|family| family.name);
        let families: Vec<_> = self.0.into_iter().map(Family::into_proto).collect();
        prometheus::TextEncoder::new().encode_to_string(&families)
    }
}

impl Family {
    pub(super) const fn counter(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self::new(name, help, MetricType::COUNTER, labels)
    }

    pub(super) const fn gauge(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self::new(name, help, MetricType::GAUGE, labels)
    }

    pub(super) const fn histogram(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM, labels)
    }

    const fn new(
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        labels: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            help,
            kind,
            labels,
            metrics: Vec::new(),
        }
    }

    /// Adds a series by the values of its labels.
    pub(super) fn add(&mut self, values: &[&str], number: u64) {
        self.add_float(values, float(number));
    }

    /// Adds a series that need not be a whole number.
    pub(super) fn add_float(&mut self, values: &[&str], number: f64) {
        let mut metric = self.metric(values);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(number);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(number);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    /// Adds a histogram.
    pub(super) fn add_durations(&mut self, values: &[&str], durations: &Durations) {
        let mut metric = self.metric(values);
        let mut histogram = Histogram::default();
        histogram.set_sample_count(durations.count);
        histogram.set_sample_sum(float(durations.sum_milliseconds) / 1000.0);
        let mut cumulative = 0;
        let bucket = |(&bound, &count): (&u64, &u64)| {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(float(bound) / 1000.0);
            bucket.set_cumulative_count(cumulative);
            bucket
        };
        let buckets = DURATION_BOUNDS.iter().zip(&durations.buckets).map(bucket);
        histogram.set_bucket(buckets.collect());
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }

    fn metric(&self, values: &[&str]) -> Metric {
        debug_assert_eq!(values.len(), self.labels.len(), "{}", self.name);
        let mut pairs: Vec<_> = self.labels.iter().zip(values).collect();
        pairs.sort_unstable();
        let pair = |(label, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*label).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        Metric::from_label(pairs.into_iter().map(pair).collect())
    }

    fn into_proto(self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(self.metrics);
        family
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a counter above 2^53 may be off by one; the format has only doubles"
)]
const fn float(number: u64) -> f64 {
    number as f64
}
