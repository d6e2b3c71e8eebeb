//! A GET request to the agent's `/metrics` and `/healthz`, from inside its namespace.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{Namespace, config};

/// How long connecting and each read may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub code: u16,
    /// Headers as they came.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Response {
    /// The body of a 200; anything else is an error.
    pub fn ok(self) -> Result<String> {
        if self.code != 200 {
            bail!("HTTP {}: {}", self.code, self.body);
        }
        Ok(self.body)
    }
}

/// Fetches a path.
pub fn get(namespace: &Namespace, path: &str) -> Result<Response> {
    let text = namespace.enter(|| fetch(path))??;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("an answer without an end of its headers")?;
    let code = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("no status line")?;
    Ok(Response {
        code,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

fn fetch(path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(config::METRICS), TIMEOUT)
        .context("connect to the metrics address")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    // HTTP/1.0: the body ends with the connection and never comes in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: gateway\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
