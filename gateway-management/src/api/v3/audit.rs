//! The audit log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::refusal::Refusal;
use super::wire;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeAuditLog {
    /// How many lines, 20 unless asked for.
    limit: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AuditLog {
    /// The newest first.
    audit_log_set: Vec<AuditLine>,
}

/// A change.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct AuditLine {
    /// When.
    time: String,
    /// Id of the API key, or `local`.
    actor: String,
    /// What was done.
    operation: String,
    /// Id of the object.
    object: String,
    /// What changed, without secrets.
    detail: String,
}

pub(super) fn describe(context: &Context<'_>, request: DescribeAuditLog) -> Result<AuditLog, Refusal> {
    let page = wire::page(None, request.limit)?;
    let lines = context.management.audit_log(context.actor, page.limit)?;
    let line = |line: crate::objects::AuditEntry| AuditLine {
        time: line.time.civil(),
        actor: line.actor,
        operation: line.operation,
        object: line.object,
        detail: line.detail,
    };
    Ok(AuditLog {
        audit_log_set: lines.into_iter().map(line).collect(),
    })
}
