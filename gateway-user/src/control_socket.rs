//! The operator's way in: JSON lines over a Unix socket that only its owner may use.
//!
//! One request and one response per line; the agent answers the requests of a connection in their order.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::status::Status;

mod server;

pub use server::{Call, ControlSocket, SocketError, is_held};

/// Longest request in octets: a tunnel with all the rules and ranges that it may have.
const MAX_REQUEST: u64 = 64 * 1024;
/// Longest response in octets.
const MAX_RESPONSE: u64 = 256 * 1024 * 1024;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the operator asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The whole status, without timelines; or that of one tunnel, with its timeline.
    Status {
        /// Only this tunnel, by its id.
        #[serde(default)]
        tunnel: Option<String>,
    },
    /// Bring a tunnel up.
    Up {
        /// Its id.
        tunnel: String,
    },
    /// End a tunnel and keep it down.
    Down {
        /// Its id.
        tunnel: String,
    },
    /// Read the configuration again.
    Reload {},
    /// Read the store again: another process wrote into it.
    ReadStore {},
    /// An operation of API 3.0 on the objects of the store, as the local operator.
    Api {
        /// Its name.
        action: String,
        /// Its request.
        body: Value,
    },
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The status.
    Status(Box<Status>),
    /// Done; a sentence for the operator.
    Done(String),
    /// Not done; a sentence for the operator.
    Refused(String),
    /// The configuration has mistakes; the list of them.
    Mistakes(String),
    /// What an operation of the API answers.
    Api(Value),
}

/// Asks the agent behind `socket` and waits for its answer.
pub fn ask(socket: &Path, request: &Request) -> std::io::Result<Response> {
    let mut stream = BlockingStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_RESPONSE)).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&answer)?)
}
