//! The agent's answer to a change.

use std::collections::BTreeMap;

use super::Management;
use crate::error::Error;
use crate::objects::{Status, TaskState};

impl Management {
    /// Notes that everything up to `revision` is in effect, except the tunnels of `refused`, each with the reason.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn settle(&self, revision: i64, refused: &BTreeMap<String, String>) -> Result<(), Error> {
        let pending = self.store.read(|rows| rows.pending_tunnels(revision))?;
        if pending.is_empty() {
            return Ok(());
        }
        let some_refused = self.store.write(|rows| {
            let mut some_refused = false;
            // Read again: an operation may have come in between.
            for mut tunnel in rows.pending_tunnels(revision)? {
                let reason = refused.get(&tunnel.id);
                match (tunnel.status, reason) {
                    (Status::Deleting, _) => {
                        rows.delete_tunnel(tunnel.number)?;
                        rows.finish_tasks(&tunnel.id, TaskState::Done, "")?;
                        continue;
                    }
                    (_, None) => {
                        tunnel.status = Status::Running;
                        tunnel.error.clear();
                        rows.finish_tasks(&tunnel.id, TaskState::Done, "")?;
                    }
                    (status, Some(reason)) => {
                        some_refused = true;
                        tunnel.status = if status == Status::Creating {
                            Status::CreateError
                        } else {
                            Status::ModifyError
                        };
                        tunnel.error.clone_from(reason);
                        rows.finish_tasks(&tunnel.id, TaskState::Failed, reason)?;
                    }
                }
                rows.update_tunnel(&tunnel, None)?;
            }
            Ok::<_, Error>(some_refused)
        })?;
        // What was refused is not part of the desired state: the rest may fit without it.
        if some_refused {
            self.agent.changed();
        }
        Ok(())
    }
}
