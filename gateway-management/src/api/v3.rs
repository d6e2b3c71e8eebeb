//! API 3.0: an action in a header, JSON in, `{"Response": ...}` out, HTTP status 200 even for refusals.
//!
//! [`call`] is the API without its transport: the control socket of the agent offers the same operations to the local operator.

use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use ring::digest;
use serde_json::{Map, Value, json};

use super::limits::{Replay, ReplayError};
use crate::Management;
use crate::service::Actor;
use crate::store::random;
use crate::time::Timestamp;

mod alarm_history;
mod alarm_policies;
mod alarm_receivers;
mod audit;
mod body;
mod connections;
mod customer_gateways;
mod defense;
mod gateways;
mod health;
mod monitor;
mod openapi;
mod operations;
mod options;
mod prices;
mod refusal;
mod routes;
mod signature;
mod tags;
#[cfg(test)]
mod tests;
mod wire;

pub use openapi::document;
use operations::{Access, Operation};
pub use refusal::Refusal;
pub use signature::{Signed, sign};

/// Where clients send their requests, with the action in a header.
pub const PATH: &str = "/";
/// Where each operation has a path of its own, `/v3/ACTION`, as the OpenAPI document describes them.
pub const PATHS: &str = "/v3/";
/// Where the OpenAPI document is.
pub const DOCUMENT: &str = "/openapi.json";

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `POST`.
    pub method: &'a str,
    /// `/`, or `/v3/ACTION`.
    pub path: &'a str,
    /// What follows the question mark; signed too.
    pub query: &'a str,
    /// The headers, which say what is asked for and by whom.
    pub headers: &'a HeaderMap,
    /// The JSON.
    pub body: &'a [u8],
}

impl<'a> Call<'a> {
    /// A header; empty when it is absent or no text.
    fn header(&self, name: &str) -> &'a str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What is asked for: by the header, or by the path.
    fn action(&self) -> &'a str {
        self.path
            .strip_prefix(PATHS)
            .unwrap_or_else(|| self.header("x-tc-action"))
    }
}

/// One operation on behalf of an authenticated caller.
struct Context<'a> {
    management: &'a Management,
    now: Timestamp,
    actor: &'a Actor,
}

/// Authenticates and answers a request.
pub fn answer(management: &Management, replay: &Mutex<Replay>, now: Timestamp, request: &Call<'_>) -> Value {
    let answered = authenticate(management, replay, now, request).and_then(|actor| {
        let operation = operations::find(request.action())?;
        let version = request.header("x-tc-version");
        if version != operation.service.version() {
            let message = format!("X-TC-Version is {}", operation.service.version());
            return Err(Refusal::new("NoSuchVersion", message));
        }
        run(management, now, &actor, operation, body::parse(request.body)?)
    });
    match answered {
        Ok(Value::Object(fields)) => respond(fields),
        Ok(_) => respond(Map::new()),
        Err(refusal) => failure(refusal.code, &refusal.message),
    }
}

/// Carries out one operation for a caller whose identity is established.
///
/// The answer is what stands in `Response`, without a request id.
///
/// # Errors
/// [`Refusal`]: nothing was changed.
pub fn call(
    management: &Management,
    now: Timestamp,
    actor: &Actor,
    action: &str,
    body: Value,
) -> Result<Value, Refusal> {
    run(management, now, actor, operations::find(action)?, body)
}

fn run(
    management: &Management,
    now: Timestamp,
    actor: &Actor,
    operation: &Operation,
    body: Value,
) -> Result<Value, Refusal> {
    let context = Context {
        management,
        now,
        actor,
    };
    (operation.run)(&context, body)
}

/// A refusal in the wire format.
pub fn failure(code: &str, message: &str) -> Value {
    let error = json!({ "Code": code, "Message": message });
    respond(Map::from_iter([("Error".to_owned(), error)]))
}

fn respond(mut fields: Map<String, Value>) -> Value {
    fields.insert("RequestId".to_owned(), json!(request_id()));
    json!({ "Response": fields })
}

/// A random UUID (RFC 9562 version 4); all zeros when the system has no randomness, which nothing depends on.
fn request_id() -> String {
    let mut octets = random::<16>().unwrap_or_default();
    octets[6] = octets[6] & 0x0f | 0x40;
    octets[8] = octets[8] & 0x3f | 0x80;
    let hex = signature::hex(&octets);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn authenticate(
    management: &Management,
    replay: &Mutex<Replay>,
    now: Timestamp,
    request: &Call<'_>,
) -> Result<Actor, Refusal> {
    let refused = |what: &str| Refusal::new("AuthFailure.SignatureFailure", what);
    let time = request.header("x-tc-timestamp").parse().map(Timestamp);
    let time = time.map_err(|_not_a_number| refused("X-TC-Timestamp is a number"))?;
    let authorization = request.header("authorization");
    let signed = Signed::parse(authorization).ok_or_else(|| {
        refused("Authorization is TC3-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...")
    })?;
    let key = management
        .key(signed.key)?
        .ok_or_else(|| Refusal::new("AuthFailure.SecretIdNotFound", "no API key has this SecretId"))?;
    if !signature::verify(&signed, &key.secret, time, request) {
        return Err(refused(
            "the signature does not fit; it covers the Host header and the body as they were sent",
        ));
    }
    // There is no nonce. A change that comes twice under one signature is a replay; to look twice is not.
    let access = operations::find(request.action()).map_or(Access::Write, |operation| operation.access);
    let nonce = match access {
        Access::Read => u64::from_be_bytes(random()?),
        Access::Write => fingerprint(request.action(), signed.signature),
    };
    let admitted = replay
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .admit(now, &key.id, time, nonce);
    admitted.map_err(|error| match error {
        ReplayError::Full => Refusal::new("RequestLimitExceeded", error.to_string()),
        ReplayError::Time | ReplayError::BeforeStart => {
            Refusal::new("AuthFailure.SignatureExpire", error.to_string())
        }
        ReplayError::Nonce => Refusal::new(
            "AuthFailure.SignatureExpire",
            "this very request was sent before; sign it again, a second later",
        ),
    })?;
    Ok(Actor {
        name: key.id.clone(),
        role: key.role,
    })
}

/// A number that two requests share only by a chance of 2^-64. Most clients do not sign the action, and two actions on one object
/// within a second then have one signature.
fn fingerprint(action: &str, signature: &str) -> u64 {
    let text = format!("{action} {}", signature.to_ascii_lowercase());
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(first)
}
