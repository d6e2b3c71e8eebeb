//! Refusals in the words of API v2. The one place that decides which code an error has.

use crate::error::{Error, Kind};
use crate::store::StoreError;

/// A refusal.
#[derive(Debug)]
pub(super) struct Refusal {
    /// `code`.
    pub(super) code: u32,
    /// `codeDesc`.
    pub(super) name: String,
    /// `message`.
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: u32, name: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            name: name.to_owned(),
            message: message.into(),
        }
    }

    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::new(4000, "InvalidParameter", message)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Error::from(error).into()
    }
}

/// The noun of an object in codes.
const fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Vpc => "Vpc",
        Kind::Gateway => "VpnGw",
        Kind::CustomerGateway => "UserGw",
        Kind::Tunnel => "VpnConn",
        Kind::Route => "VpnGwRoute",
        Kind::Task => "Task",
        Kind::ApiKey => "ApiKey",
        Kind::AlarmPolicy => "AlarmPolicy",
        Kind::AlarmReceiver => "AlarmNotice",
        Kind::DefensePackage => "DefensePackage",
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (code, name) = match &error {
            Error::Invalid { .. } => (4000, "InvalidParameter".to_owned()),
            Error::HealthCheckConflict { .. } => (4000, "InvalidParameter".to_owned()),
            Error::RangeConflict { .. } => (4000, "InvalidSpdAcl.Conflict".to_owned()),
            Error::InvalidName { kind, .. } => (4000, format!("Invalid{}Name", noun(*kind))),
            // The document knows no other code for a customer gateway's name that is taken.
            Error::NameInUse {
                kind: Kind::CustomerGateway,
                ..
            } => (4000, "InvalidUserGwName".to_owned()),
            Error::NameInUse { kind, .. } => (4000, format!("Invalid{}Name.InUse", noun(*kind))),
            Error::AddressInUse { .. } => (4000, "InvalidUserGw.InUse".to_owned()),
            Error::RouteDuplicate { .. } => (4000, "InvalidVpnGwRoute.Duplicate".to_owned()),
            Error::NotFound { kind, .. } => (5000, format!("Invalid{}.NotFound", noun(*kind))),
            Error::Quota { kind, .. } => (4400, format!("{}LimitExceeded", noun(*kind))),
            Error::State { kind, .. } => (5100, format!("Invalid{}State", noun(*kind))),
            Error::InUse { kind, .. } => (5100, format!("Invalid{}.InUse", noun(*kind))),
            Error::NoAddressLeft => (5100, "VpnGwAddressExhausted".to_owned()),
            Error::NotAllowed { .. } => (4101, "UnauthorizedOperation".to_owned()),
            Error::Store(error) => {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "the store refused an operation"
                );
                return Self::new(
                    6000,
                    "ServiceUnavailable",
                    "the store cannot be used; see the log of the gateway",
                );
            }
        };
        Self {
            code,
            name,
            message: error.to_string(),
        }
    }
}
