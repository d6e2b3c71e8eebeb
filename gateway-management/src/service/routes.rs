//! Routes: which destinations of a VPC have a tunnel as their next hop.
//!
//! A tunnel without routes follows its rules. One that has routes carries what those in force name, and nothing else, so that a change
//! of them disturbs no SA.

use ipnet::Ipv4Net;

use super::leases::refuse_isolated;
use super::{Actor, Listing, Management, audit, gateway, new_id};
use crate::error::{Error, Kind};
use crate::objects::{Role, Route, Status, Tunnel};
use crate::spd;
use crate::store::{Page, RouteFilter, Rows, StoreError};
use crate::time::Timestamp;
use crate::values::overlap;

/// Longest description in characters.
const DESCRIPTION_LEN: usize = 100;
/// Field of a destination in refusals.
const DESTINATION: &str = "destination";

/// A route to make.
#[derive(Clone, Debug)]
pub struct NewRoute {
    /// Where its packets go.
    pub destination: Ipv4Net,
    /// Id of the tunnel that they take.
    pub tunnel: String,
    /// 0 or 100. Kept and told: a pair of ranges has one tunnel, so that two routes never compete.
    pub priority: u32,
    /// Whether it is in force.
    pub enabled: bool,
    /// At most 100 characters.
    pub description: String,
}

/// What changes of a route; `None` stays.
#[derive(Clone, Debug)]
pub struct RouteChange {
    /// Id of the route.
    pub id: String,
    /// Whether it is in force.
    pub enabled: Option<bool>,
    /// At most 100 characters.
    pub description: Option<String>,
}

impl Management {
    /// Makes routes to tunnels of a VPN gateway: all of them or none.
    ///
    /// # Errors
    /// [`Error`]: no such gateway or tunnel, an isolated gateway, the quota, a destination that no rule of the tunnel meets or that
    /// another route of it has.
    pub fn create_routes(
        &self,
        now: Timestamp,
        actor: &Actor,
        gateway_id: &str,
        wanted: Vec<NewRoute>,
    ) -> Result<Vec<Route>, Error> {
        actor.require(Role::Operate)?;
        let made = self.store.write(|rows| {
            let gateway = gateway(rows, gateway_id)?;
            refuse_isolated(&gateway, now)?;
            let mut made = Vec::new();
            for wanted in wanted {
                let tunnel = rows.tunnel(&wanted.tunnel)?;
                let tunnel = tunnel
                    .filter(|tunnel| tunnel.gateway == gateway.number)
                    .ok_or_else(|| Error::not_found(Kind::Tunnel, &wanted.tunnel))?;
                refuse_deleting(&tunnel)?;
                self.check_quota(rows, gateway.number, 1)?;
                if !matches!(wanted.priority, 0 | 100) {
                    return Err(Error::invalid("priority", wanted.priority, "is 0 or 100"));
                }
                let route = Route {
                    id: new_id("vpnr")?,
                    tunnel: tunnel.id.clone(),
                    destination: wanted.destination,
                    priority: wanted.priority,
                    enabled: wanted.enabled,
                    description: description(wanted.description)?,
                    created: now,
                    updated: now,
                };
                check_destination(&tunnel, route.destination)?;
                refuse_overlap(&rows.routes_of_tunnel(tunnel.number)?, route.destination)?;
                rows.insert_route(tunnel.number, &route)?;
                touch(rows, tunnel.number)?;
                let detail = format!(
                    "{} to {}, {}",
                    route.destination,
                    route.tunnel,
                    state(route.enabled)
                );
                audit(rows, now, actor, "create route", &route.id, detail)?;
                made.push(route);
            }
            Ok::<_, Error>(made)
        })?;
        self.agent.changed();
        Ok(made)
    }

    /// Puts routes of a VPN gateway in force or out of it, and describes them: all of them or none.
    ///
    /// # Errors
    /// [`Error`]: no such gateway or route, an isolated gateway, a description that breaks its rule.
    pub fn modify_routes(
        &self,
        now: Timestamp,
        actor: &Actor,
        gateway_id: &str,
        changes: Vec<RouteChange>,
    ) -> Result<Vec<Route>, Error> {
        actor.require(Role::Operate)?;
        let changed = self.store.write(|rows| {
            let gateway = gateway(rows, gateway_id)?;
            refuse_isolated(&gateway, now)?;
            let mut changed = Vec::new();
            for change in changes {
                let (tunnel, mut route) = find(rows, gateway.number, &change.id)?;
                let before = route.clone();
                route.enabled = change.enabled.unwrap_or(route.enabled);
                if let Some(text) = change.description {
                    route.description = description(text)?;
                }
                if route != before {
                    route.updated = now;
                    rows.update_route(&route)?;
                    let mut detail = format!("{}, {}", route.destination, state(route.enabled));
                    if route.description != before.description {
                        detail.push_str(", description");
                    }
                    audit(rows, now, actor, "modify route", &route.id, detail)?;
                }
                if route.enabled != before.enabled {
                    touch(rows, tunnel)?;
                }
                changed.push(route);
            }
            Ok::<_, Error>(changed)
        })?;
        self.agent.changed();
        Ok(changed)
    }

    /// Removes routes of a VPN gateway: all of them or none. A tunnel whose last route is gone follows its rules.
    ///
    /// # Errors
    /// [`Error`]: no such gateway or route.
    pub fn delete_routes(
        &self,
        now: Timestamp,
        actor: &Actor,
        gateway_id: &str,
        ids: &[String],
    ) -> Result<(), Error> {
        actor.require(Role::Operate)?;
        self.store.write(|rows| {
            let gateway = gateway(rows, gateway_id)?;
            for id in ids {
                let (tunnel, route) = find(rows, gateway.number, id)?;
                rows.delete_route(&route.id)?;
                touch(rows, tunnel)?;
                let detail = format!("{} to {}", route.destination, route.tunnel);
                audit(rows, now, actor, "delete route", &route.id, detail)?;
            }
            Ok::<_, Error>(())
        })?;
        self.agent.changed();
        Ok(())
    }

    /// A page of the routes of a VPN gateway, oldest first.
    ///
    /// # Errors
    /// [`Error`]: no such gateway.
    pub fn list_routes(
        &self,
        gateway_id: &str,
        filter: &RouteFilter,
        page: &Page,
    ) -> Result<Listing<Route>, Error> {
        self.store.read(|rows| {
            let gateway = gateway(rows, gateway_id)?;
            let (total, items) = rows.list_routes(gateway.number, filter, page)?;
            Ok(Listing { total, items })
        })
    }

    /// What makes the routes of a tunnel those of a file; `None`: they stay, if the tunnel's rules let them.
    pub(super) fn plan_routes(
        &self,
        rows: &Rows<'_>,
        tunnel: &Tunnel,
        wanted: Option<&[(Ipv4Net, bool)]>,
    ) -> Result<Plan, Error> {
        let Some(wanted) = wanted else {
            check_kept(rows, tunnel)?;
            return Ok(Plan::default());
        };
        for (at, &(destination, _)) in wanted.iter().enumerate() {
            check_destination(tunnel, destination)?;
            let others = wanted.iter().take(at);
            if let Some((other, _)) = others.copied().find(|&(other, _)| overlap(other, destination)) {
                let rule = format!("must not overlap {other}, another route of the tunnel");
                return Err(Error::invalid(DESTINATION, destination, rule));
            }
        }
        let mut plan = Plan::default();
        let present = rows.routes_of_tunnel(tunnel.number)?;
        for &(destination, enabled) in wanted {
            match present.iter().find(|route| route.destination == destination) {
                None => plan.made.push((destination, enabled)),
                Some(route) if route.enabled != enabled => plan.changed.push(Route {
                    enabled,
                    ..route.clone()
                }),
                Some(_) => {}
            }
        }
        let gone = present.into_iter().filter(|route| {
            !wanted
                .iter()
                .any(|&(destination, _)| destination == route.destination)
        });
        plan.gone = gone.map(|route| route.id).collect();
        let more = plan.made.len().saturating_sub(plan.gone.len());
        if more > 0 {
            self.check_quota(rows, tunnel.gateway, more)?;
        }
        Ok(plan)
    }

    fn check_quota(&self, rows: &Rows<'_>, gateway: i64, more: usize) -> Result<(), Error> {
        let limit = self.site().quotas.routes_per_gateway;
        if rows.routes_of_gateway(gateway)?.saturating_add(more) > limit {
            return Err(Error::Quota {
                what: "routes per VPN gateway",
                limit,
                kind: Kind::Route,
            });
        }
        Ok(())
    }
}

/// What an import does to the routes of a tunnel, with every rule checked.
#[derive(Debug, Default)]
pub(super) struct Plan {
    made: Vec<(Ipv4Net, bool)>,
    changed: Vec<Route>,
    gone: Vec<String>,
}

impl Plan {
    pub(super) const fn is_empty(&self) -> bool {
        self.made.is_empty() && self.changed.is_empty() && self.gone.is_empty()
    }

    /// Does it; the tunnel's row has its new revision from the caller.
    pub(super) fn apply(self, rows: &Rows<'_>, now: Timestamp, tunnel: &Tunnel) -> Result<(), StoreError> {
        for id in self.gone {
            rows.delete_route(&id)?;
        }
        for route in self.changed {
            rows.update_route(&Route {
                updated: now,
                ..route
            })?;
        }
        for (destination, enabled) in self.made {
            let route = Route {
                id: new_id("vpnr")?,
                tunnel: tunnel.id.clone(),
                destination,
                priority: 0,
                enabled,
                description: String::new(),
                created: now,
                updated: now,
            };
            rows.insert_route(tunnel.number, &route)?;
        }
        Ok(())
    }
}

/// Refuses rules that one of the tunnel's routes would not meet: it would lead nowhere.
pub(super) fn check_kept(rows: &Rows<'_>, tunnel: &Tunnel) -> Result<(), Error> {
    for route in rows.routes_of_tunnel(tunnel.number)? {
        if meets(tunnel, route.destination) {
            continue;
        }
        let rule = format!("is the destination of the route {}: delete it first", route.id);
        return Err(Error::invalid(DESTINATION, route.destination, rule));
    }
    Ok(())
}

/// What of a tunnel concerns the agent changed, and nothing that it negotiates.
fn touch(rows: &Rows<'_>, tunnel: i64) -> Result<(), StoreError> {
    let revision = rows.next_revision()?;
    rows.set_tunnel_revision(tunnel, revision)
}

fn find(rows: &Rows<'_>, gateway: i64, id: &str) -> Result<(i64, Route), Error> {
    rows.route(gateway, id)?
        .ok_or_else(|| Error::not_found(Kind::Route, id))
}

fn meets(tunnel: &Tunnel, destination: Ipv4Net) -> bool {
    spd::pairs(&tunnel.spd).any(|(_, peer)| overlap(peer, destination))
}

fn check_destination(tunnel: &Tunnel, destination: Ipv4Net) -> Result<(), Error> {
    if meets(tunnel, destination) {
        return Ok(());
    }
    let rule = format!("meets a peer range of the rules of the tunnel {}", tunnel.id);
    Err(Error::invalid(DESTINATION, destination, rule))
}

/// Two routes of one tunnel that overlap would leave open whether disabling one of them has an effect.
fn refuse_overlap(present: &[Route], destination: Ipv4Net) -> Result<(), Error> {
    match present
        .iter()
        .find(|route| overlap(route.destination, destination))
    {
        None => Ok(()),
        Some(route) => Err(Error::RouteDuplicate {
            destination: destination.to_string(),
            owner: route.id.clone(),
            range: route.destination.to_string(),
        }),
    }
}

fn refuse_deleting(tunnel: &Tunnel) -> Result<(), Error> {
    if tunnel.status != Status::Deleting {
        return Ok(());
    }
    Err(Error::State {
        kind: Kind::Tunnel,
        id: tunnel.id.clone(),
        state: tunnel.status.to_string().into(),
        rule: "a tunnel that goes takes no routes".into(),
    })
}

fn description(text: String) -> Result<String, Error> {
    if text.chars().count() > DESCRIPTION_LEN {
        return Err(Error::invalid("description", text, "has at most 100 characters"));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid("description", text, "has no control characters"));
    }
    Ok(text)
}

const fn state(enabled: bool) -> &'static str {
    if enabled { "in force" } else { "out of force" }
}
