//! Results of key exchanges, as the steps take them.

use crate::crypto::{DhError, DhGroup, DhPrivate, KeyExchangeDone, Response, SharedSecret};

use super::{Refusal, malformed};

/// Our private and public value.
pub(super) fn generated(done: KeyExchangeDone) -> Result<(DhPrivate, Vec<u8>), Refusal> {
    done.into_generated().ok_or(ANOTHER_JOB)
}

/// Our public value and the shared secret.
pub(super) fn responded(done: KeyExchangeDone) -> Result<(Vec<u8>, SharedSecret), Refusal> {
    let Response { public, shared } = done.into_responded().ok_or(ANOTHER_JOB)?.map_err(invalid)?;
    Ok((public, shared))
}

/// The shared secret.
pub(super) fn agreed(done: KeyExchangeDone) -> Result<SharedSecret, Refusal> {
    done.into_agreed().ok_or(ANOTHER_JOB)?.map_err(invalid)
}

/// Refuses a public value that is not worth a job. P8: most are found out without any arithmetic.
pub(super) fn check_public(group: DhGroup, public: &[u8]) -> Result<(), Refusal> {
    group.check(public).map_err(|error| {
        let diagnosis = malformed(&describe(error));
        Refusal::Report(diagnosis, None)
    })
}

/// The same for what a responder sent.
pub(super) fn check_response(group: DhGroup, public: &[u8]) -> Result<(), Refusal> {
    group.check_response(public).map_err(|error| {
        let diagnosis = malformed(&describe(error));
        Refusal::Report(diagnosis, None)
    })
}

const ANOTHER_JOB: Refusal = Refusal::Drop("the result of another key exchange");

fn invalid(error: DhError) -> Refusal {
    Refusal::End(malformed(&describe(error)), None)
}

fn describe(error: DhError) -> String {
    format!("a key exchange payload that is invalid: {error}")
}
