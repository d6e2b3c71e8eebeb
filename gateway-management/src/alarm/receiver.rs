//! Who is told of an alarm, and how.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use super::message::Notice;
use crate::error::Error;

/// Addresses of one receiver at most.
const MOST_ADDRESSES: usize = 50;
/// Octets of a template at most.
const MOST_TEMPLATE: usize = 16 * 1024;

/// A receiver as it is stored, sealed as a whole: passwords and URLs with tokens are secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// What people call it.
    pub name: String,
    /// How it is told.
    pub channel: Channel,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({:?}, {})", self.name, self.channel.kind())
    }
}

/// A password, or a URL or header that may hold a token.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        writer.serialize_str(&self.0)
    }
}

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// How a receiver is told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Channel {
    /// An e-mail.
    Email(Email),
    /// A POST of a JSON document.
    Webhook {
        /// Where to.
        url: Secret,
        /// Which document.
        format: WebhookFormat,
        /// Further headers, such as `Authorization`.
        #[serde(default)]
        headers: BTreeMap<String, Secret>,
    },
    /// A text message by way of somebody's HTTP interface: one POST for each number.
    Sms {
        /// Where to.
        url: Secret,
        /// Numbers.
        to: Vec<String>,
        /// The body as a template with `to` and `text`, and with the fields of the callback document under `notice`.
        body: String,
        /// Further headers.
        #[serde(default)]
        headers: BTreeMap<String, Secret>,
    },
    /// The list of internal messages.
    Message,
}

/// How an e-mail is sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    /// Host of the SMTP server.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// Sender.
    pub from: String,
    /// Receivers.
    pub to: Vec<String>,
    /// User and password; `None`: without a login.
    #[serde(default)]
    pub login: Option<(String, Secret)>,
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Email({} by {})", self.to.join(", "), self.server)
    }
}

/// How a connection to an SMTP server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Not at all.
    None,
    /// STARTTLS, required.
    Starttls,
    /// From the first octet.
    Tls,
}

/// The document of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// The callback of Cloud Monitor.
    Callback,
    /// What Alertmanager sends to its webhooks (version 4).
    Alertmanager,
}

impl Channel {
    /// Its name.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::Webhook { .. } => "webhook",
            Self::Sms { .. } => "sms",
            Self::Message => "message",
        }
    }

    /// What may be shown of it: whom it tells, without URLs, passwords and headers.
    pub fn summary(&self) -> String {
        match self {
            Self::Email(email) => format!("{} by {}", email.to.join(", "), email.server),
            Self::Webhook { url, .. } => host_of(url),
            Self::Sms { url, to, .. } => format!("{} numbers by {}", to.len(), host_of(url)),
            Self::Message => "internal messages".to_owned(),
        }
    }

    /// Checks what can be checked without talking to anybody.
    ///
    /// # Errors
    /// [`Error::Invalid`]; secrets are not repeated.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Email(email) => email.check(),
            Self::Webhook { url, headers, .. } => {
                check_url(url)?;
                check_headers(headers)
            }
            Self::Sms {
                url,
                to,
                body,
                headers,
            } => {
                check_url(url)?;
                check_headers(headers)?;
                check_count("to", to)?;
                if body.len() > MOST_TEMPLATE {
                    let rule = format!("has at most {MOST_TEMPLATE} octets");
                    return Err(Error::invalid("body", "", rule));
                }
                let sample = Notice::sample();
                let written = super::message::sms(body, "+10000000000", &sample);
                written.map(drop).map_err(|error| {
                    Error::invalid(
                        "body",
                        "",
                        format!("is a template, and it cannot be used: {error:#}"),
                    )
                })
            }
            Self::Message => Ok(()),
        }
    }
}

impl Email {
    fn check(&self) -> Result<(), Error> {
        if self.server.is_empty() || self.server.contains(char::is_whitespace) {
            return Err(Error::invalid(
                "server",
                &self.server,
                "is the host of an SMTP server",
            ));
        }
        check_count("to", &self.to)?;
        let fields = self.to.iter().map(|address| ("to", address));
        for (field, address) in fields.chain([("from", &self.from)]) {
            if address.parse::<lettre::Address>().is_err() {
                return Err(Error::invalid(field, address, "is an e-mail address"));
            }
        }
        if self.tls == Tls::None && self.login.is_some() {
            let rule = "needs TLS: a password is not sent in the clear";
            return Err(Error::invalid("login", "", rule));
        }
        Ok(())
    }
}

fn check_count(field: &'static str, addresses: &[String]) -> Result<(), Error> {
    if addresses.is_empty() || addresses.len() > MOST_ADDRESSES {
        let rule = format!("has 1 to {MOST_ADDRESSES} addresses");
        return Err(Error::invalid(field, addresses.len(), rule));
    }
    Ok(())
}

fn check_url(url: &str) -> Result<(), Error> {
    let uri: Option<hyper::Uri> = url.parse().ok();
    let usable = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if usable {
        Ok(())
    } else {
        // It may hold a token.
        Err(Error::invalid("url", "", "is an http or https URL"))
    }
}

fn check_headers(headers: &BTreeMap<String, Secret>) -> Result<(), Error> {
    for (name, value) in headers {
        let name_fits = name.parse::<hyper::header::HeaderName>().is_ok();
        if !name_fits || hyper::header::HeaderValue::from_str(value).is_err() {
            return Err(Error::invalid("headers", name, "is an HTTP header"));
        }
    }
    Ok(())
}

fn host_of(url: &str) -> String {
    let uri: Option<hyper::Uri> = url.parse().ok();
    uri.and_then(|uri| uri.host().map(ToOwned::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        text.to_owned().into()
    }

    #[test]
    fn mistakes_are_refused_without_repeating_secrets() {
        let email = |tls, to: &str| {
            Channel::Email(Email {
                server: "mail.example.net".to_owned(),
                port: 587,
                tls,
                from: "gateway@example.net".to_owned(),
                to: vec![to.to_owned()],
                login: Some(("gateway".to_owned(), secret("hunter2"))),
            })
        };
        let sms = |body: &str| Channel::Sms {
            url: secret("https://sms.example.net/send?token=hunter2"),
            to: vec!["+491234".to_owned()],
            body: body.to_owned(),
            headers: BTreeMap::new(),
        };
        email(Tls::Starttls, "ops@example.net").check().unwrap();
        sms("{\"to\": {{ to | tojson }}, \"text\": {{ text | tojson }}}")
            .check()
            .unwrap();
        for (channel, field) in [
            (email(Tls::None, "ops@example.net"), "login"),
            (email(Tls::Tls, "nobody"), "to"),
            (sms("{{ to"), "body"),
            (
                Channel::Webhook {
                    url: secret("ftp://hunter2@example.net"),
                    format: WebhookFormat::Callback,
                    headers: BTreeMap::new(),
                },
                "url",
            ),
            (
                Channel::Webhook {
                    url: secret("https://example.net"),
                    format: WebhookFormat::Callback,
                    headers: BTreeMap::from([("X-Token".to_owned(), secret("hunter2\n"))]),
                },
                "headers",
            ),
        ] {
            let refused = channel.check().unwrap_err().to_string();
            assert!(
                refused.starts_with(field) && !refused.contains("hunter2"),
                "{refused}"
            );
            let shown = format!(
                "{:?} {}",
                Receiver {
                    name: "ops".to_owned(),
                    channel: channel.clone()
                },
                channel.summary()
            );
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
