//! Refusals in the words of API 3.0. The one place that decides which code an error has.

use crate::error::{Error, Kind};
use crate::store::StoreError;

/// Why an operation of API 3.0 was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Refusal {
    /// Code of the API, for programs.
    pub code: &'static str,
    /// Field, value and rule, for people.
    pub message: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A field that breaks a rule of the wire format.
    pub(super) fn field(name: &str, rule: &str) -> Self {
        Self::new("InvalidParameterValue", format!("{name} {rule}"))
    }

    /// A body that is not the request of the operation. The classes of such errors are known by serde's own words only.
    pub(super) fn unreadable(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let what = error.inner().to_string();
        let code = match what.split_whitespace().next() {
            Some("missing") => "MissingParameter",
            Some("unknown") => "UnknownParameter",
            _ => "InvalidParameter",
        };
        // serde repeats a value of the wrong type as a whole.
        let mut message: String = format!("{}: {what}", error.path()).chars().take(300).collect();
        if message.starts_with(".: ") {
            message = message.split_off(3);
        }
        Self::new(code, message)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Error::from(error).into()
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Invalid { .. } | Error::InvalidName { .. } => "InvalidParameterValue",
            Error::RangeConflict { .. } => "InvalidParameterValue.VpnConnSpdCidrConflict",
            Error::HealthCheckConflict { .. } => "InvalidParameterValue.VpnConnHealthCheckIpConflict",
            Error::NameInUse { .. } | Error::AddressInUse { .. } => "InvalidParameterValue.Duplicate",
            Error::RouteDuplicate { .. } => "InvalidParameterValue.VpnGatewayRouteDuplicate",
            Error::NotFound {
                kind: Kind::Gateway, ..
            } => "InvalidVpnGatewayId.NotFound",
            Error::NotFound {
                kind: Kind::Tunnel, ..
            } => "InvalidVpnConnectionId.NotFound",
            Error::NotFound {
                kind: Kind::CustomerGateway,
                ..
            } => "InvalidCustomerGatewayId.NotFound",
            Error::NotFound { .. } => "ResourceNotFound",
            Error::Quota {
                kind: Kind::Route, ..
            } => "LimitExceeded.VpnGatewayRoutesLimitExceeded",
            Error::Quota { .. } => "LimitExceeded",
            Error::State {
                kind: Kind::Tunnel, ..
            } => "UnsupportedOperation.VpnConnInvalidState",
            Error::State { .. } => "UnsupportedOperation.InvalidState",
            Error::InUse { .. } => "ResourceInUse",
            Error::NoAddressLeft => "ResourceInsufficient",
            Error::NotAllowed { .. } => "UnauthorizedOperation",
            Error::Store(error) => {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "the store refused an operation"
                );
                return Self::new(
                    "InternalError",
                    "the store cannot be used; see the log of the gateway",
                );
            }
        };
        Self::new(code, error.to_string())
    }
}
