//! The alarm list and the internal messages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::refusal::Refusal;
use super::wire;
use crate::alarm::{self, HistoryEntry};
use crate::time::Timestamp;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeAlarmHistories {
    /// From 1.
    page_number: Option<u32>,
    /// 20 unless given, at most 100.
    page_size: Option<u32>,
    /// Second since 1970.
    start_time: Option<i64>,
    /// Second since 1970.
    end_time: Option<i64>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AlarmHistories {
    total_count: usize,
    /// The newest first.
    histories: Vec<AlarmHistory>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct AlarmHistory {
    alarm_id: String,
    policy_id: String,
    policy_name: String,
    namespace: String,
    /// Id of the object.
    dimensions: String,
    /// What people call it.
    alarm_object: String,
    /// The rule that held.
    content: String,
    first_occur_time: i64,
    last_occur_time: i64,
    /// Seconds.
    duration: i64,
    /// `ALARM` or `OK`.
    alarm_status: &'static str,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeAlarmMessages {
    /// 20 unless given, at most 100.
    limit: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AlarmMessages {
    /// The newest first.
    messages: Vec<AlarmMessage>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct AlarmMessage {
    time: String,
    title: String,
    text: String,
}
pub(super) fn histories(
    context: &Context<'_>,
    request: DescribeAlarmHistories,
) -> Result<AlarmHistories, Refusal> {
    let page = wire::numbered_page(request.page_number, request.page_size)?;
    let from = Timestamp(request.start_time.unwrap_or(0));
    let to = request.end_time.map_or(context.now, Timestamp);
    let list = context
        .management
        .alarm_history(from, to, page.offset, page.limit)?;
    let line = |entry: HistoryEntry| {
        let last = entry.ended.unwrap_or(context.now);
        AlarmHistory {
            alarm_id: format!("{}-{}", entry.policy, entry.number),
            policy_id: entry.policy,
            policy_name: entry.policy_name,
            namespace: entry.namespace,
            dimensions: entry.object,
            alarm_object: entry.object_name,
            content: entry.content,
            first_occur_time: entry.began.0,
            last_occur_time: last.0,
            duration: last.0.saturating_sub(entry.began.0),
            alarm_status: if entry.ended.is_some() { "OK" } else { "ALARM" },
        }
    };
    Ok(AlarmHistories {
        total_count: list.total,
        histories: list.items.into_iter().map(line).collect(),
    })
}

pub(super) fn messages(
    context: &Context<'_>,
    request: DescribeAlarmMessages,
) -> Result<AlarmMessages, Refusal> {
    let page = wire::page(None, request.limit)?;
    let message = |message: alarm::Message| AlarmMessage {
        time: message.time.civil(),
        title: message.title,
        text: message.text,
    };
    let messages = context.management.messages(page.limit)?;
    Ok(AlarmMessages {
        messages: messages.into_iter().map(message).collect(),
    })
}
