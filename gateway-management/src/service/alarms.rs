//! Alarm policies, their receivers, and what became of them.

use std::collections::BTreeMap;

use super::{Actor, Listing, Management, audit, new_id};
use crate::alarm::{HistoryEntry, Message, Policy, Receiver, StoredPolicy};
use crate::error::{Error, Kind};
use crate::objects::Role;
use crate::store::{Rows, StoreError};
use crate::time::Timestamp;
use crate::values;

mod evaluation;
mod outbox;

/// Policies at most, and receivers.
const MOST: usize = 200;

impl Management {
    /// Makes a policy.
    ///
    /// # Errors
    /// [`Error`]: name, rules, no such object or receiver, quota.
    pub fn create_alarm_policy(
        &self,
        now: Timestamp,
        actor: &Actor,
        name: &str,
        policy: Policy,
    ) -> Result<StoredPolicy, Error> {
        actor.require(Role::Operate)?;
        policy.check()?;
        let name = values::name(Kind::AlarmPolicy, name)?;
        self.store.write(|rows| {
            let present = rows.alarm_policies()?;
            refuse_taken_name(&present, &name, None)?;
            if present.len() >= MOST {
                return Err(Error::Quota {
                    what: "alarm policies",
                    limit: MOST,
                    kind: Kind::AlarmPolicy,
                });
            }
            check_references(rows, &policy)?;
            let id = new_id("policy")?;
            let number = rows.insert_alarm_policy(&id, &name, &policy, now)?;
            audit(rows, now, actor, "create alarm policy", &id, name.clone())?;
            Ok(StoredPolicy {
                number,
                id,
                name,
                policy,
                created: now,
            })
        })
    }

    /// Changes the name of a policy or all that it says; `None` stays. Its alarms are looked at anew.
    ///
    /// # Errors
    /// [`Error`]: as for a new one.
    pub fn modify_alarm_policy(
        &self,
        now: Timestamp,
        actor: &Actor,
        id: &str,
        name: Option<&str>,
        policy: Option<Policy>,
    ) -> Result<StoredPolicy, Error> {
        actor.require(Role::Operate)?;
        self.store.write(|rows| {
            let present = rows.alarm_policies()?;
            let mut changed = find(&present, id)?.clone();
            if let Some(name) = name {
                changed.name = values::name(Kind::AlarmPolicy, name)?;
                refuse_taken_name(&present, &changed.name, Some(changed.number))?;
            }
            if let Some(policy) = policy {
                policy.check()?;
                check_references(rows, &policy)?;
                changed.policy = policy;
            }
            rows.update_alarm_policy(&changed)?;
            audit(rows, now, actor, "modify alarm policy", id, changed.name.clone())?;
            Ok(changed)
        })
    }

    /// Removes a policy. Its alarms are over and nobody is told.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete_alarm_policy(&self, now: Timestamp, actor: &Actor, id: &str) -> Result<(), Error> {
        actor.require(Role::Operate)?;
        self.store.write(|rows| {
            let present = rows.alarm_policies()?;
            rows.delete_alarm_policy(find(&present, id)?.number)?;
            rows.end_alarms_of(id, now)?;
            Ok(audit(rows, now, actor, "delete alarm policy", id, String::new())?)
        })
    }

    /// All policies.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn alarm_policies(&self) -> Result<Vec<StoredPolicy>, StoreError> {
        self.store.read(|rows| rows.alarm_policies())
    }

    /// Makes a receiver, or changes the one with this id.
    ///
    /// # Errors
    /// [`Error`]: name, addresses, no such receiver, quota.
    pub fn put_receiver(
        &self,
        now: Timestamp,
        actor: &Actor,
        id: Option<&str>,
        receiver: &Receiver,
    ) -> Result<String, Error> {
        // Who may write a URL may let the gateway talk to hosts that he cannot reach himself.
        actor.require(Role::Admin)?;
        let receiver = Receiver {
            name: values::name(Kind::AlarmReceiver, &receiver.name)?,
            channel: receiver.channel.clone(),
        };
        receiver.channel.check()?;
        self.store.write(|rows| {
            let present = rows.receivers()?;
            let id = match id {
                Some(id) if present.contains_key(id) => id.to_owned(),
                Some(id) => return Err(Error::not_found(Kind::AlarmReceiver, id)),
                None => new_id("notice")?,
            };
            if !present.contains_key(&id) && present.len() >= MOST {
                return Err(Error::Quota {
                    what: "alarm receivers",
                    limit: MOST,
                    kind: Kind::AlarmReceiver,
                });
            }
            if present
                .iter()
                .any(|(other, known)| *other != id && known.name == receiver.name)
            {
                return Err(Error::NameInUse {
                    kind: Kind::AlarmReceiver,
                    name: receiver.name.clone(),
                });
            }
            rows.put_receiver(&id, &receiver)?;
            let detail = format!("{} {}", receiver.channel.kind(), receiver.channel.summary());
            audit(rows, now, actor, "put alarm receiver", &id, detail)?;
            Ok(id)
        })
    }

    /// Removes a receiver that no policy names.
    ///
    /// # Errors
    /// [`Error`]: no such receiver, a policy names it.
    pub fn delete_receiver(&self, now: Timestamp, actor: &Actor, id: &str) -> Result<(), Error> {
        actor.require(Role::Admin)?;
        self.store.write(|rows| {
            let users: Vec<_> = rows
                .alarm_policies()?
                .into_iter()
                .filter(|stored| stored.policy.receivers.iter().any(|receiver| receiver == id))
                .map(|stored| stored.name)
                .collect();
            if !users.is_empty() {
                return Err(Error::InUse {
                    kind: Kind::AlarmReceiver,
                    id: id.to_owned(),
                    users: format!("the policies {}", users.join(", ")),
                });
            }
            if !rows.delete_receiver(id)? {
                return Err(Error::not_found(Kind::AlarmReceiver, id));
            }
            Ok(audit(
                rows,
                now,
                actor,
                "delete alarm receiver",
                id,
                String::new(),
            )?)
        })
    }

    /// All receivers by id. Their secrets are in them: front ends show [`crate::alarm::Channel::summary`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn receivers(&self) -> Result<BTreeMap<String, Receiver>, StoreError> {
        self.store.read(|rows| rows.receivers())
    }

    /// Alarms that began between two moments, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn alarm_history(
        &self,
        from: Timestamp,
        to: Timestamp,
        offset: u32,
        limit: u32,
    ) -> Result<Listing<HistoryEntry>, StoreError> {
        let (total, items) = self
            .store
            .read(|rows| rows.alarm_history(from, to, offset, limit))?;
        Ok(Listing { total, items })
    }

    /// The last internal messages, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn messages(&self, limit: u32) -> Result<Vec<Message>, StoreError> {
        self.store.read(|rows| rows.messages(limit))
    }
}

fn find<'p>(policies: &'p [StoredPolicy], id: &str) -> Result<&'p StoredPolicy, Error> {
    let found = policies.iter().find(|policy| policy.id == id);
    found.ok_or_else(|| Error::not_found(Kind::AlarmPolicy, id))
}

fn refuse_taken_name(present: &[StoredPolicy], name: &str, except: Option<i64>) -> Result<(), Error> {
    let taken = |policy: &StoredPolicy| policy.name == name && Some(policy.number) != except;
    if present.iter().any(taken) {
        return Err(Error::NameInUse {
            kind: Kind::AlarmPolicy,
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// Receivers must exist. Objects may be those of the file, which nobody here knows.
fn check_references(rows: &Rows<'_>, policy: &Policy) -> Result<(), Error> {
    let receivers = rows.receivers()?;
    for receiver in &policy.receivers {
        if !receivers.contains_key(receiver) {
            return Err(Error::not_found(Kind::AlarmReceiver, receiver));
        }
    }
    if policy.objects.len() > 1000 || policy.receivers.len() > MOST {
        return Err(Error::invalid(
            "Objects",
            policy.objects.len(),
            "has at most 1000 objects; none means all",
        ));
    }
    Ok(())
}
