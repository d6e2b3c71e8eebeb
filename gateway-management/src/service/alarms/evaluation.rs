//! Policies against rollups.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Management;
use super::super::monitor::key;
use crate::alarm::{
    AlarmState, Change, Delivery, HistoryEntry, Notice, Observation, Policy, Rule, StoredPolicy, Subject,
};
use crate::monitor::Namespace;
use crate::store::{Rows, StoreError, Traffic};
use crate::time::Timestamp;

impl Management {
    /// Looks at all policies at `now`, to be called every ten seconds after [`Self::record`]. What changed and the notices of it are
    /// stored together.
    ///
    /// # Errors
    /// [`StoreError`]; nothing changed then.
    pub fn evaluate_alarms(&self, now: Timestamp) -> Result<(), StoreError> {
        let policies = self.alarm_policies()?;
        for stored in policies.iter().filter(|stored| stored.policy.enabled) {
            // A transaction for each: other operations come in between.
            self.store.write(|rows| {
                let mut states = rows.alarm_states(stored.number)?;
                // What an object does that is gone is over.
                let mut objects = self.objects_of(rows, &stored.policy)?;
                objects.extend(states.keys().cloned());
                for object in objects {
                    let observed = self.observe(rows, now, &stored.policy, &object)?;
                    let state = states.entry(object.clone()).or_default();
                    if state.since.is_some() && !self.was_there(now, &stored.policy) {
                        continue;
                    }
                    self.step(rows, now, stored, &object, state, &observed)?;
                }
                Ok::<_, StoreError>(())
            })?;
        }
        let (lasting, waiting) = self
            .store
            .read(|rows| Ok::<_, StoreError>((rows.lasting_alarms()?, rows.waiting_notices()?)))?;
        self.alarm_counters
            .note(lasting.cast_unsigned(), waiting.cast_unsigned());
        Ok(())
    }

    /// Whether the last period of every rule was recorded. A step that nobody recorded looks like one in which nothing happened: a restart
    /// must not end an alarm.
    fn was_there(&self, now: Timestamp, policy: &Policy) -> bool {
        let Some(since) = self.recorded_since.get() else {
            return false;
        };
        let mut metrics = policy
            .rules
            .iter()
            .filter(|rule| matches!(rule.subject, Subject::Metric(_)))
            .filter_map(Rule::resolution);
        metrics.all(|resolution| resolution.start_of(now).plus_seconds(-resolution.seconds()) >= *since)
    }

    fn objects_of(&self, rows: &Rows<'_>, policy: &Policy) -> Result<BTreeSet<String>, StoreError> {
        if !policy.objects.is_empty() {
            return Ok(policy.objects.iter().cloned().collect());
        }
        let mut objects: BTreeSet<_> = match policy.namespace {
            Namespace::Gateway => rows.gateways()?.into_iter().map(|gateway| gateway.id).collect(),
            Namespace::Tunnel => rows.tunnels()?.into_iter().map(|tunnel| tunnel.id).collect(),
        };
        objects.extend(self.agent.objects(policy.namespace));
        Ok(objects)
    }

    fn observe(
        &self,
        rows: &Rows<'_>,
        now: Timestamp,
        policy: &Policy,
        object: &str,
    ) -> Result<Observation, StoreError> {
        let gateway = match policy.namespace {
            Namespace::Gateway => rows.gateway(object)?,
            Namespace::Tunnel => None,
        };
        let bandwidth = gateway
            .as_ref()
            .map(|gateway| gateway.bandwidth)
            .or_else(|| self.agent.bandwidth(object));
        let kept = key(policy.namespace, object);
        let mut observed = Observation::default();
        for rule in &policy.rules {
            let last = match rule.subject {
                Subject::Metric(metric) => {
                    observed
                        .rules
                        .push(over_periods(rows, now, rule, &kept, |traffic, seconds| {
                            metric.value(traffic, seconds, bandwidth)
                        })?);
                    continue;
                }
                Subject::LeaseDays => gateway
                    .as_ref()
                    .and_then(|gateway| days_left(gateway.expires, now)),
                Subject::DefenceState => {
                    let state = self.agent.defense(object);
                    state.map(|state| f64::from(state.number()))
                }
            };
            let held = last.is_some_and(|value| rule.comparison.holds(value, rule.value));
            observed.rules.push((last, held));
        }
        Ok(observed)
    }

    /// Moves the state of a policy on an object on and stores what changed.
    fn step(
        &self,
        rows: &Rows<'_>,
        now: Timestamp,
        stored: &StoredPolicy,
        object: &str,
        state: &mut AlarmState,
        observed: &Observation,
    ) -> Result<(), StoreError> {
        let StoredPolicy { id, name, policy, .. } = stored;
        let before = *state;
        let Some(taken) = state.advance(now, policy, observed) else {
            return Ok(());
        };
        let began = before.since.or(state.since).unwrap_or(now);
        let object_name = rows.name_of(object)?.unwrap_or_else(|| object.to_owned());
        // The end of an alarm has no rule that holds: it is told with the first rule and what there is.
        let told = taken.cause.or_else(|| {
            let first = policy.rules.first()?;
            let value = observed.rules.first().and_then(|(value, _)| *value);
            Some((first, value.unwrap_or_default()))
        });
        let notice = Notice {
            change: taken.change,
            time: now,
            session: format!("{id}-{object}-{}", began.0),
            region: self.site().region.clone(),
            namespace: policy.namespace.name().to_owned(),
            dimension: policy.namespace.dimension().to_owned(),
            object: object.to_owned(),
            object_name: object_name.clone(),
            policy: id.clone(),
            policy_name: name.clone(),
            began,
            ..Notice::blank()
        };
        let notice = told.iter().fold(notice, |notice, (rule, value)| {
            notice.with_rule(rule, policy, *value)
        });
        match taken.change {
            Change::Began => {
                let entry = HistoryEntry {
                    number: 0,
                    policy: id.clone(),
                    policy_name: name.clone(),
                    namespace: policy.namespace.name().to_owned(),
                    object: object.to_owned(),
                    object_name,
                    content: notice.content(),
                    began: now,
                    ended: None,
                };
                state.history = Some(rows.insert_alarm(&entry)?);
                tracing::warn!(policy = id, object, "alarm: {}", notice.content());
            }
            Change::Lasts => {}
            Change::Ended => {
                if let Some(number) = before.history {
                    rows.end_alarm(number, now)?;
                }
                tracing::info!(policy = id, object, "the alarm is over");
            }
        }
        rows.put_alarm_state(stored.number, object, state)?;
        if taken.tell {
            for receiver in &policy.receivers {
                if !rows.enqueue_notice(receiver, &notice, now)? {
                    self.alarm_counters.count(Delivery::Refused);
                    tracing::error!(
                        policy = id,
                        object,
                        receiver,
                        "too many notices wait: nobody is told"
                    );
                }
            }
        }
        Ok(())
    }
}

/// The value of the last whole period, and whether the rule held in each of the last ones.
fn over_periods(
    rows: &Rows<'_>,
    now: Timestamp,
    rule: &Rule,
    kept: &str,
    value: impl Fn(&Traffic, i64) -> Option<f64>,
) -> Result<(Option<f64>, bool), StoreError> {
    let Some(resolution) = rule.resolution() else {
        return Ok((None, false));
    };
    let to = resolution.start_of(now);
    let from = to.plus_seconds(-i64::from(rule.periods) * resolution.seconds());
    let points: BTreeMap<_, _> = rows
        .traffic(kept, resolution, from, to)?
        .into_iter()
        .map(|point| (point.start, point.traffic))
        .collect();
    let (mut last, mut held) = (None, true);
    for period in 0..i64::from(rule.periods) {
        let start = from.plus_seconds(period * resolution.seconds());
        let traffic = points.get(&start).copied().unwrap_or_default();
        last = value(&traffic, resolution.seconds());
        held &= last.is_some_and(|value| rule.comparison.holds(value, rule.value));
    }
    Ok((last, held))
}

/// Days until `expires`, below 0 after it; `None` where it never comes.
#[allow(clippy::cast_precision_loss, reason = "a display of days")]
fn days_left(expires: Timestamp, now: Timestamp) -> Option<f64> {
    const DAY: f64 = 86_400.0;
    (expires.0 != i64::MAX).then(|| ((expires.0 - now.0) as f64 / DAY * 1000.0).round() / 1000.0)
}
