//! API v2: form parameters in, one JSON object out, HTTP status 200 even for refusals.
//!
//! The names of fields, misspelt ones too, are part of the wire format.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::limits::{Replay, ReplayError};
use crate::Management;
use crate::service::Actor;
use crate::time::Timestamp;

mod customer_gateways;
mod gateways;
mod options;
mod parameters;
mod refusal;
mod signature;
#[cfg(test)]
mod tests;
mod tunnels;

use parameters::Parameters;
use refusal::Refusal;
pub use signature::{SignatureMethod, sign};

/// Where the API is.
pub const PATH: &str = "/v2/index.php";

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// The received Host header, with its port: clients sign it.
    pub host: &'a str,
    /// Query or body, still encoded.
    pub parameters: &'a [u8],
}

/// One operation on behalf of an authenticated caller.
struct Context<'a> {
    management: &'a Management,
    now: Timestamp,
    actor: &'a Actor,
    parameters: &'a Parameters,
}

/// Authenticates and answers a request.
pub fn answer(management: &Management, replay: &Mutex<Replay>, now: Timestamp, call: &Call<'_>) -> Value {
    let answered = Parameters::parse(call.parameters).and_then(|parameters| {
        let actor = authenticate(management, replay, now, call, &parameters)?;
        let context = Context {
            management,
            now,
            actor: &actor,
            parameters: &parameters,
        };
        dispatch(&context)
    });
    match answered {
        Ok(mut answer) => {
            if let Value::Object(fields) = &mut answer {
                fields.insert("code".to_owned(), json!(0));
                fields.insert("message".to_owned(), json!(""));
                fields.insert("codeDesc".to_owned(), json!("Success"));
            }
            answer
        }
        Err(refusal) => failure(refusal.code, &refusal.name, &refusal.message),
    }
}

/// A refusal in the wire format.
pub fn failure(code: u32, name: &str, message: &str) -> Value {
    json!({ "code": code, "codeDesc": name, "message": message })
}

fn authenticate(
    management: &Management,
    replay: &Mutex<Replay>,
    now: Timestamp,
    call: &Call<'_>,
    parameters: &Parameters,
) -> Result<Actor, Refusal> {
    let id = parameters.required("SecretId")?;
    let time = Timestamp(i64::from(parameters.number::<u32>("Timestamp")?));
    let nonce = parameters.number::<u64>("Nonce")?;
    let signature = parameters.required("Signature")?;
    let Some(key) = management.key(id)? else {
        return Err(Refusal::new(
            4104,
            "SecretIdNotFound",
            "no API key has this SecretId",
        ));
    };
    let method = SignatureMethod::from_parameter(parameters.text("SignatureMethod"));
    if !signature::verify(
        method,
        &key.secret,
        call.method,
        call.host,
        PATH,
        parameters.pairs(),
        signature,
    ) {
        let message = format!(
            "the signature does not fit; it covers {} {}{PATH}",
            call.method, call.host
        );
        return Err(Refusal::new(4100, "AuthFailure.SignatureFailure", message));
    }
    // Only what is signed is remembered: a stranger cannot use up nonces.
    let admitted = replay
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .admit(now, &key.id, time, nonce);
    admitted.map_err(|error| match error {
        ReplayError::Full => Refusal::new(4400, "RequestLimitExceeded", error.to_string()),
        ReplayError::Time | ReplayError::BeforeStart | ReplayError::Nonce => {
            Refusal::new(4500, "ReplayAttack", error.to_string())
        }
    })?;
    Ok(Actor {
        name: key.id.clone(),
        role: key.role,
    })
}

/// The actions. The SDKs write the first letter in upper case, the documents in either.
fn dispatch(context: &Context<'_>) -> Result<Value, Refusal> {
    let action = context.parameters.required("Action")?;
    match action.to_ascii_lowercase().as_str() {
        "inquiryvpnprice" => gateways::price(context),
        "inquirypricerunvpngw" => gateways::price(context),
        "createvpn" => gateways::create(context),
        "runvpngw" => gateways::run(context),
        "modifyvpngw" => gateways::modify(context),
        "describevpngw" => gateways::describe(context),
        "renewvpn" => gateways::renew(context),
        "deletevpngw" => gateways::delete(context),
        "addusergw" => customer_gateways::add(context),
        "deleteusergw" => customer_gateways::delete(context),
        "modifyusergw" => customer_gateways::modify(context),
        "describeusergw" => customer_gateways::describe(context),
        "describeusergwvendor" => customer_gateways::vendors(context),
        "addvpnconn" | "addvpnconnex" => tunnels::add(context),
        "deletevpnconn" => tunnels::delete(context),
        "modifyvpnconn" | "modifyvpnconnex" => tunnels::modify(context),
        "describevpnconn" => tunnels::describe(context),
        "getvpnconnconfig" => tunnels::config(context),
        "describevpnconnmonitor" => tunnels::monitor(context),
        "resetvpnconnsa" => tunnels::reset(context),
        "describevpctaskresult" => tunnels::task(context),
        _ => Err(Refusal::new(
            4000,
            "InvalidAction",
            format!("no action is called {action:?}"),
        )),
    }
}
