//! Tags of gateways, customer gateways and tunnels.

use std::collections::BTreeMap;

use super::{Actor, Management, audit};
use crate::error::{Error, Kind};
use crate::objects::{Role, Tag};
use crate::store::{Rows, StoreError};
use crate::time::Timestamp;

/// Most tags of one object.
const TAGS: usize = 50;
/// Longest key of a tag, in characters.
const KEY_LEN: usize = 127;
/// Longest value of a tag, in characters.
const VALUE_LEN: usize = 255;

impl Management {
    /// Tags of the objects with these ids. An object without tags, or one that is not there, has an empty list.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tags(&self, objects: &[&str]) -> Result<BTreeMap<String, Vec<Tag>>, StoreError> {
        let tags = |rows: &Rows<'_>, id: &str| Ok((id.to_owned(), rows.tags(id)?));
        self.store
            .read(|rows| objects.iter().map(|id| tags(rows, id)).collect())
    }

    /// Adds or replaces tags of an object, and removes those with the keys of `delete`.
    ///
    /// # Errors
    /// [`Error`]: no such object, a tag breaks a rule, too many.
    pub fn change_tags(
        &self,
        now: Timestamp,
        actor: &Actor,
        object: &str,
        put: &[Tag],
        delete: &[String],
    ) -> Result<(), Error> {
        actor.require(Role::Operate)?;
        check(put)?;
        self.store.write(|rows| {
            let object = &tagged(rows, object)?;
            rows.delete_tags(object, delete)?;
            rows.put_tags(object, put)?;
            if rows.tags(object)?.len() > TAGS {
                return Err(too_many());
            }
            let keys: Vec<_> = put.iter().map(|tag| tag.key.as_str()).collect();
            let detail = format!("put {keys:?}, deleted {delete:?}");
            Ok(audit(rows, now, actor, "change tags", object, detail)?)
        })
    }
}

/// The id of an object that can have tags; an id says by its first letters what it belongs to.
fn tagged(rows: &Rows<'_>, id: &str) -> Result<String, Error> {
    let (kind, found) = match id.split_once('-') {
        Some(("vpngw", _)) => (Kind::Gateway, rows.gateway(id)?.map(|found| found.id)),
        Some(("cgw", _)) => (
            Kind::CustomerGateway,
            rows.customer_gateway(id)?.map(|found| found.id),
        ),
        _ => (Kind::Tunnel, rows.tunnel(id)?.map(|found| found.id)),
    };
    found.ok_or_else(|| Error::not_found(kind, id))
}

fn too_many() -> Error {
    Error::Quota {
        what: "tags per object",
        limit: TAGS,
        kind: Kind::Tunnel,
    }
}

/// Checks tags that are about to be stored.
pub(super) fn check(tags: &[Tag]) -> Result<(), Error> {
    if tags.len() > TAGS {
        return Err(too_many());
    }
    for Tag { key, value } in tags {
        if key.is_empty() || key.chars().count() > KEY_LEN || key.chars().any(char::is_control) {
            let rule = "has 1 to 127 characters, none of them a control character";
            return Err(Error::invalid("tag key", key, rule));
        }
        if value.chars().count() > VALUE_LEN || value.chars().any(char::is_control) {
            let rule = "has at most 255 characters, none of them a control character";
            return Err(Error::invalid("tag value", value, rule));
        }
    }
    Ok(())
}
