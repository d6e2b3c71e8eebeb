//! Alarm policies, with the names of Cloud Monitor.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::monitor::namespace;
use super::refusal::Refusal;
use super::wire::{self, Done};
use crate::alarm::{Comparison, Policy, Rule, StoredPolicy, Subject, Window};
use crate::monitor::Namespace;

/// A policy, as it is made, changed and listed.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct AlarmPolicy {
    /// Names the policy that is changed; a new one has none yet.
    policy_id: Option<String>,
    /// 1 to 60 characters, unique.
    policy_name: String,
    /// `QCE/VPNX` for tunnels, `QCE/VPNGW` for gateways.
    namespace: String,
    /// Ids of the objects; none: all.
    #[serde(default)]
    objects: Vec<String>,
    condition: Condition,
    /// Ids of receivers.
    #[serde(default)]
    notice_ids: Vec<String>,
    /// 1: it is looked at.
    #[serde(default = "one")]
    enable: u32,
    /// When somebody is told; always unless given.
    time_window: Option<TimeWindow>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Condition {
    /// 1: all rules must hold; 0: one is enough.
    #[serde(default)]
    is_union_rule: u32,
    /// 1 to 10.
    rules: Vec<AlarmRule>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct AlarmRule {
    /// A metric of `GetMonitorData`; of gateways also `LeaseDays` and `DefenceState`.
    metric_name: String,
    /// Seconds: 10, 60 or 300.
    period: u32,
    /// `gt`, `ge`, `lt`, `le`, `eq` or `ne`.
    operator: String,
    /// A number.
    value: String,
    /// Periods in a row.
    continue_period: u32,
    /// Seconds after which an alarm that lasts is told again: 300 to 86400; 0: once. The largest of all rules counts.
    #[serde(default)]
    notice_frequency: u32,
    /// 1: that time doubles with every repetition.
    #[serde(default)]
    is_power_notice: u32,
}

/// In GMT+8.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TimeWindow {
    /// Second of the day.
    start_time: u32,
    /// Second of the day; before the start where the window spans midnight.
    end_time: u32,
    /// 1 Monday to 7 Sunday; none: every day.
    #[serde(default)]
    weekday: Vec<u32>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreatedPolicy {
    policy_id: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ModifyAlarmPolicyStatus {
    policy_id: String,
    /// 1: it is looked at.
    enable: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteAlarmPolicy {
    policy_ids: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeAlarmPolicies {
    /// From 1.
    page_number: Option<u32>,
    /// 20 unless given, at most 100.
    page_size: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AlarmPolicies {
    total_count: usize,
    policies: Vec<AlarmPolicy>,
}

const fn one() -> u32 {
    1
}

pub(super) fn create(context: &Context<'_>, request: AlarmPolicy) -> Result<CreatedPolicy, Refusal> {
    if request.policy_id.is_some() {
        return Err(Refusal::field("PolicyId", "is chosen by the gateway"));
    }
    let (name, policy) = request.read()?;
    let made = context
        .management
        .create_alarm_policy(context.now, context.actor, &name, policy)?;
    Ok(CreatedPolicy { policy_id: made.id })
}

pub(super) fn modify(context: &Context<'_>, mut request: AlarmPolicy) -> Result<Done, Refusal> {
    let id = request
        .policy_id
        .take()
        .ok_or_else(|| Refusal::new("MissingParameter", "PolicyId is missing"))?;
    let (name, policy) = request.read()?;
    context
        .management
        .modify_alarm_policy(context.now, context.actor, &id, Some(&name), Some(policy))?;
    Ok(Done {})
}

pub(super) fn set_status(context: &Context<'_>, request: ModifyAlarmPolicyStatus) -> Result<Done, Refusal> {
    let policies = context.management.alarm_policies()?;
    let found = policies.into_iter().find(|stored| stored.id == request.policy_id);
    let policy = found.map(|stored| Policy {
        enabled: request.enable != 0,
        ..stored.policy
    });
    // Without such a policy there is nothing to change, and the operation says so.
    context
        .management
        .modify_alarm_policy(context.now, context.actor, &request.policy_id, None, policy)?;
    Ok(Done {})
}

pub(super) fn delete(context: &Context<'_>, request: DeleteAlarmPolicy) -> Result<Done, Refusal> {
    for id in wire::ids("PolicyIds", Some(request.policy_ids))?.unwrap_or_default() {
        context
            .management
            .delete_alarm_policy(context.now, context.actor, &id)?;
    }
    Ok(Done {})
}

pub(super) fn describe(
    context: &Context<'_>,
    request: DescribeAlarmPolicies,
) -> Result<AlarmPolicies, Refusal> {
    let page = wire::numbered_page(request.page_number, request.page_size)?;
    let policies = context.management.alarm_policies()?;
    let (total_count, policies) = wire::cut(policies, &page);
    Ok(AlarmPolicies {
        total_count,
        policies: policies.into_iter().map(AlarmPolicy::of).collect(),
    })
}

impl AlarmPolicy {
    fn read(self) -> Result<(String, Policy), Refusal> {
        let namespace = namespace(&self.namespace)?;
        let repeat = self
            .condition
            .rules
            .iter()
            .map(|rule| rule.notice_frequency)
            .max();
        let back_off = self.condition.rules.iter().any(|rule| rule.is_power_notice != 0);
        let rules = self.condition.rules.into_iter().map(|rule| rule.read(namespace));
        let policy = Policy {
            namespace,
            objects: self.objects,
            rules: rules.collect::<Result<_, _>>()?,
            all: self.condition.is_union_rule != 0,
            enabled: self.enable != 0,
            receivers: self.notice_ids,
            repeat_seconds: repeat.unwrap_or(0),
            back_off,
            window: self
                .time_window
                .map_or_else(|| Ok(Window::default()), TimeWindow::read)?,
        };
        Ok((self.policy_name, policy))
    }

    fn of(stored: StoredPolicy) -> Self {
        let policy = stored.policy;
        let rule = |rule: Rule| AlarmRule {
            metric_name: rule.subject.name().to_owned(),
            period: rule.period,
            operator: rule.comparison.word().to_owned(),
            value: rule.value.to_string(),
            continue_period: rule.periods,
            notice_frequency: policy.repeat_seconds,
            is_power_notice: policy.back_off.into(),
        };
        let weekday = (1..)
            .zip(policy.window.weekdays)
            .filter_map(|(day, told)| told.then_some(day));
        Self {
            policy_id: Some(stored.id),
            policy_name: stored.name,
            namespace: policy.namespace.name().to_owned(),
            objects: policy.objects,
            condition: Condition {
                is_union_rule: policy.all.into(),
                rules: policy.rules.into_iter().map(rule).collect(),
            },
            notice_ids: policy.receivers,
            enable: policy.enabled.into(),
            time_window: Some(TimeWindow {
                start_time: policy.window.from,
                end_time: policy.window.to,
                weekday: weekday.collect(),
            }),
        }
    }
}

impl AlarmRule {
    fn read(self, namespace: Namespace) -> Result<Rule, Refusal> {
        Ok(Rule {
            subject: Subject::parse(namespace, &self.metric_name)
                .ok_or_else(|| Refusal::field("MetricName", "is a metric of the namespace"))?,
            comparison: Comparison::parse(&self.operator)
                .ok_or_else(|| Refusal::field("Operator", "is gt, ge, lt, le, eq or ne"))?,
            value: self
                .value
                .trim()
                .parse()
                .map_err(|_no_number| Refusal::field("Value", "is a number"))?,
            period: self.period,
            periods: self.continue_period,
        })
    }
}

impl TimeWindow {
    fn read(self) -> Result<Window, Refusal> {
        let mut weekdays = [self.weekday.is_empty(); 7];
        for day in self.weekday {
            let index = usize::try_from(day).unwrap_or(usize::MAX).wrapping_sub(1);
            *weekdays
                .get_mut(index)
                .ok_or_else(|| Refusal::field("Weekday", "is 1 (Monday) to 7 (Sunday)"))? = true;
        }
        Ok(Window {
            from: self.start_time,
            to: self.end_time,
            weekdays,
        })
    }
}
