//! The tag service, as far as Terraform's provider calls it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::refusal::Refusal;
use super::wire::{self, Done};
use crate::objects;

/// Asks for the tags of objects.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeResourceTagsByResourceIds {
    /// `vpc`.
    service_type: String,
    /// `vpngw`, `cgw` or `vpnx`. Ids say it again.
    #[expect(dead_code, reason = "ids say it again")]
    resource_prefix: Option<String>,
    /// The objects.
    resource_ids: Vec<String>,
    /// There is one region.
    #[expect(dead_code, reason = "there is one region")]
    resource_region: Option<String>,
    offset: Option<u32>,
    limit: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ResourceTags {
    total_count: usize,
    offset: u32,
    limit: u32,
    tags: Vec<ResourceTag>,
}

/// A tag with its object.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct ResourceTag {
    tag_key: String,
    tag_value: String,
    resource_id: String,
    service_type: &'static str,
}

/// Changes the tags of an object.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ModifyResourceTags {
    /// `qcs::vpc:REGION:ACCOUNT:vpngw/ID`.
    resource: String,
    /// Tags that are added, or get another value.
    replace_tags: Option<Vec<TagPair>>,
    /// Tags that are removed.
    delete_tags: Option<Vec<TagKey>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TagPair {
    tag_key: String,
    #[serde(default)]
    tag_value: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TagKey {
    tag_key: String,
}

/// The only service whose objects are here.
const SERVICE: &str = "vpc";

pub(super) fn describe(
    context: &Context<'_>,
    request: DescribeResourceTagsByResourceIds,
) -> Result<ResourceTags, Refusal> {
    if request.service_type != SERVICE {
        return Err(Refusal::field("ServiceType", "is vpc"));
    }
    let page = wire::page(request.offset, request.limit)?;
    let ids = wire::ids("ResourceIds", Some(request.resource_ids))?.unwrap_or_default();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let tags = context.management.tags(&ids)?;
    let tags: Vec<_> = tags
        .into_iter()
        .flat_map(|(id, tags)| tags.into_iter().map(move |tag| (id.clone(), tag)))
        .map(|(resource_id, tag)| ResourceTag {
            tag_key: tag.key,
            tag_value: tag.value,
            resource_id,
            service_type: SERVICE,
        })
        .collect();
    let (total_count, tags) = wire::cut(tags, &page);
    Ok(ResourceTags {
        total_count,
        offset: page.offset,
        limit: page.limit,
        tags,
    })
}

pub(super) fn modify(context: &Context<'_>, request: ModifyResourceTags) -> Result<Done, Refusal> {
    let id = request
        .resource
        .strip_prefix("qcs::vpc:")
        .and_then(|rest| rest.rsplit_once('/'))
        .map(|(_, id)| id)
        .ok_or_else(|| {
            Refusal::field(
                "Resource",
                "is qcs::vpc:REGION:ACCOUNT:vpngw/ID, or cgw/ID, or vpnx/ID",
            )
        })?;
    let put: Vec<_> = request
        .replace_tags
        .unwrap_or_default()
        .into_iter()
        .map(|tag| objects::Tag {
            key: tag.tag_key,
            value: tag.tag_value,
        })
        .collect();
    let delete = request.delete_tags.unwrap_or_default();
    let delete: Vec<_> = delete.into_iter().map(|tag| tag.tag_key).collect();
    context
        .management
        .change_tags(context.now, context.actor, id, &put, &delete)?;
    Ok(Done {})
}
