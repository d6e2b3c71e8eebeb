//! Why an operation was refused: the field, the value and the rule, or the object and its state.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

use crate::excerpt::clip;
use crate::objects::Role;
use crate::store::StoreError;

/// A rule as a sentence fragment that follows the field and the value.
pub type Rule = Cow<'static, str>;

/// Kind of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// VPC, from the machine's file.
    Vpc,
    /// VPN gateway.
    Gateway,
    /// Customer gateway.
    CustomerGateway,
    /// VPN tunnel.
    Tunnel,
    /// Route to a VPN tunnel.
    Route,
    /// Asynchronous task.
    Task,
    /// API key.
    ApiKey,
    /// Alarm policy.
    AlarmPolicy,
    /// Who is told of alarms.
    AlarmReceiver,
    /// High defense package.
    DefensePackage,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vpc => "VPC",
            Self::Gateway => "VPN gateway",
            Self::CustomerGateway => "customer gateway",
            Self::Tunnel => "VPN tunnel",
            Self::Route => "route",
            Self::Task => "task",
            Self::ApiKey => "API key",
            Self::AlarmPolicy => "alarm policy",
            Self::AlarmReceiver => "alarm receiver",
            Self::DefensePackage => "high defense package",
        })
    }
}

/// Why an operation was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value breaks a rule.
    #[error("{field} = {value:?}: {rule}")]
    Invalid {
        /// Field in the words of the service layer.
        field: &'static str,
        /// The value; empty for secrets.
        value: String,
        /// The rule.
        rule: Rule,
    },
    /// Ranges of SPD rules that must not meet.
    #[error("{field} = {value:?}: {rule}")]
    RangeConflict {
        /// Field in the words of the service layer.
        field: &'static str,
        /// The range.
        value: String,
        /// The rule, with the other range.
        rule: Rule,
    },
    /// Addresses of a health check that another tunnel has.
    #[error("health check between {local} and {remote}: tunnel {owner} has these addresses")]
    HealthCheckConflict {
        /// Where echoes would come from.
        local: Ipv4Addr,
        /// Who would answer.
        remote: Ipv4Addr,
        /// Id of the other tunnel.
        owner: String,
    },
    /// A name breaks the rule of names.
    #[error("name of the {kind} = {name:?}: {rule}")]
    InvalidName {
        /// What would have the name.
        kind: Kind,
        /// The name.
        name: String,
        /// The rule.
        rule: Rule,
    },
    /// Names are unique within their kind.
    #[error("another {kind} is called {name:?}")]
    NameInUse {
        /// What would have the name.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// Public addresses of customer gateways are unique.
    #[error("customer gateway {owner} has the address {address}")]
    AddressInUse {
        /// The address.
        address: String,
        /// Who has it.
        owner: String,
    },
    /// Routes of one tunnel do not overlap.
    #[error(
        "destination = {destination:?}: must not overlap other routes of the tunnel, and {owner} leads to {range}"
    )]
    RouteDuplicate {
        /// The destination.
        destination: String,
        /// Id of the other route.
        owner: String,
        /// Its destination.
        range: String,
    },
    /// There is no such object.
    #[error("no {kind} has the id {id:?}")]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// Its id as asked for.
        id: String,
    },
    /// A quota is used up.
    #[error("at most {limit} {what}")]
    Quota {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// Of what kind the object would be.
        kind: Kind,
    },
    /// The state of the object does not allow it.
    #[error("{kind} {id} is {state}: {rule}")]
    State {
        /// Kind of the object.
        kind: Kind,
        /// Its id.
        id: String,
        /// Its state.
        state: Rule,
        /// What has to happen first.
        rule: Rule,
    },
    /// Other objects need it.
    #[error("{kind} {id} is used by {users}")]
    InUse {
        /// Kind of the object.
        kind: Kind,
        /// Its id.
        id: String,
        /// Who needs it.
        users: String,
    },
    /// Every public address of the pool belongs to a gateway.
    #[error("no public address is left: add one to [api] public_addresses")]
    NoAddressLeft,
    /// The key's role is too low.
    #[error("needs the role {needed}, and the key has {has}")]
    NotAllowed {
        /// Lowest role that may.
        needed: Role,
        /// Role of the key.
        has: Role,
    },
    /// The store failed. Nothing was acknowledged.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// A value that breaks a rule.
    pub(crate) fn invalid(field: &'static str, value: impl fmt::Display, rule: impl Into<Rule>) -> Self {
        Self::Invalid {
            field,
            value: clip(value.to_string(), SHOWN),
            rule: rule.into(),
        }
    }

    /// No object of this kind has this id.
    pub(crate) fn not_found(kind: Kind, id: impl fmt::Display) -> Self {
        Self::NotFound {
            kind,
            id: clip(id.to_string(), SHOWN),
        }
    }
}

/// Longest part of a value that a message repeats, in characters.
const SHOWN: usize = 80;
