//! The ends of purchase periods: reminded of, renewed, isolated at, removed after. The stages are those of [`crate::lease`].

use super::{Actor, Management, audit, gateway};
use crate::error::{Error, Kind};
use crate::lease::{self, Action, Lease};
use crate::objects::{Role, Status, VpnGateway};
use crate::price::check_period;
use crate::store::{Rows, StoreError};
use crate::time::Timestamp;

/// A stage that a gateway entered, for the log.
struct Told {
    gateway: VpnGateway,
    action: Action,
}

impl Management {
    /// Prolongs the period of a gateway, and says whether it renews itself if `auto_renew` is given. An isolated one starts again
    /// from now.
    ///
    /// # Errors
    /// [`Error`]: no such gateway, period; it has none, or is being removed.
    pub fn renew_gateway(
        &self,
        now: Timestamp,
        actor: &Actor,
        id: &str,
        months: u32,
        auto_renew: Option<bool>,
    ) -> Result<VpnGateway, Error> {
        actor.require(Role::Operate)?;
        check_period(months)?;
        let (gateway, told) = self.store.write(|rows| {
            let mut gateway = gateway(rows, id)?;
            let refused = |state: &'static str, rule: &'static str| {
                Err(Error::State {
                    kind: Kind::Gateway,
                    id: gateway.id.clone(),
                    state: state.into(),
                    rule: rule.into(),
                })
            };
            match gateway.lease(now) {
                Lease::Running | Lease::Expiring | Lease::Isolated => {}
                Lease::Over => return refused("over", "it is being removed; make another one"),
                Lease::Unlimited => return refused("charged by the hour", "it has no period to renew"),
            }
            gateway.expires = gateway.expires.max(now).plus_months(months);
            gateway.auto_renew = auto_renew.unwrap_or(gateway.auto_renew);
            let detail = format!("{months} months, until {}", gateway.expires.utc());
            audit(rows, now, actor, "renew gateway", &gateway.id, detail)?;
            let actions = lease::turn(&mut gateway, now);
            rows.update_gateway(&gateway)?;
            let told = carry_out(rows, now, &gateway, actions)?;
            Ok::<_, Error>((gateway, told))
        })?;
        told.iter().for_each(log);
        self.agent.changed();
        Ok(gateway)
    }

    /// Brings all gateways to the stages of `now`. To be called once a second, and before the first [`Self::desired`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn advance_leases(&self, now: Timestamp) -> Result<(), StoreError> {
        let present = self.store.read(|rows| rows.gateways())?;
        if present.into_iter().all(|gateway| turned(gateway, now).is_none()) {
            return Ok(());
        }
        let told = self.store.write(|rows| {
            let mut told = Vec::new();
            // Read again: an operation may have come in between.
            for (gateway, actions) in rows
                .gateways()?
                .into_iter()
                .filter_map(|gateway| turned(gateway, now))
            {
                rows.update_gateway(&gateway)?;
                told.extend(carry_out(rows, now, &gateway, actions)?);
            }
            Ok::<_, StoreError>(told)
        })?;
        told.iter().for_each(log);
        self.agent.changed();
        Ok(())
    }
}

/// The gateway at the stage of `now` with what that asks for; `None` when it is there already.
fn turned(mut gateway: VpnGateway, now: Timestamp) -> Option<(VpnGateway, Vec<Action>)> {
    let before = gateway.clone();
    let actions = lease::turn(&mut gateway, now);
    (gateway != before || !actions.is_empty()).then_some((gateway, actions))
}

/// Writes what the actions ask for, with their lines of the audit log; returns what is news.
fn carry_out(
    rows: &Rows<'_>,
    now: Timestamp,
    gateway: &VpnGateway,
    actions: Vec<Action>,
) -> Result<Vec<Told>, StoreError> {
    let agent = Actor {
        name: "agent".to_owned(),
        role: Role::Admin,
    };
    let mut told = Vec::new();
    for action in actions {
        let end = gateway.expires.utc();
        let (operation, detail) = match action {
            Action::Renew(until) => ("renew gateway", format!("until {}", until.utc())),
            Action::Remind => ("remind of gateway", format!("its period ends on {end}")),
            Action::Isolate => ("isolate gateway", format!("its period ended on {end}")),
            Action::Restore => ("restore gateway", format!("its period ends on {end}")),
            Action::Remove => {
                if remove(rows, now, &agent, gateway)? {
                    ("delete gateway", "its period is over".to_owned())
                } else {
                    continue;
                }
            }
        };
        audit(rows, now, &agent, operation, &gateway.id, detail)?;
        told.push(Told {
            gateway: gateway.clone(),
            action,
        });
    }
    rows.next_revision()?;
    Ok(told)
}

/// Removes the tunnels first; the gateway goes with a later call, when the agent has taken them down. Tells whether it is gone.
fn remove(rows: &Rows<'_>, now: Timestamp, agent: &Actor, gateway: &VpnGateway) -> Result<bool, StoreError> {
    let tunnels = rows.tunnels()?;
    let mut tunnels = tunnels
        .into_iter()
        .filter(|tunnel| tunnel.gateway == gateway.number)
        .peekable();
    if tunnels.peek().is_none() {
        rows.delete_gateway(gateway.number)?;
        return Ok(true);
    }
    let revision = rows.next_revision()?;
    for mut tunnel in tunnels.filter(|tunnel| tunnel.status != Status::Deleting) {
        tunnel.status = Status::Deleting;
        tunnel.revision = revision;
        rows.update_tunnel(&tunnel, None)?;
        let detail = "the period of its gateway is over".to_owned();
        audit(rows, now, agent, "delete tunnel", &tunnel.id, detail)?;
    }
    Ok(false)
}

fn log(told: &Told) {
    let VpnGateway {
        id,
        name,
        expires,
        auto_renew,
        ..
    } = &told.gateway;
    let (expires, removed) = (expires.utc(), lease::removal(*expires).utc());
    match told.action {
        Action::Renew(_) => tracing::info!(gateway = id, name, expires, "the period renewed itself"),
        Action::Remind => tracing::warn!(gateway = id, name, expires, auto_renew, "the period ends soon"),
        Action::Isolate => tracing::warn!(
            gateway = id,
            name,
            expires,
            removed,
            "the period ended: changes are refused until it is renewed"
        ),
        Action::Restore => tracing::info!(gateway = id, name, expires, "the period runs again"),
        Action::Remove => tracing::warn!(gateway = id, name, expires, "removed: its period is over"),
    }
}

/// An isolated gateway takes no change.
pub(super) fn refuse_isolated(gateway: &VpnGateway, now: Timestamp) -> Result<(), Error> {
    if gateway.lease(now).is_in_force() {
        return Ok(());
    }
    Err(Error::State {
        kind: Kind::Gateway,
        id: gateway.id.clone(),
        state: "isolated".into(),
        rule: format!("its period ended on {}; renew it first", gateway.expires.utc()).into(),
    })
}
