//! Receivers of alarms: e-mail, webhooks, SMS and internal messages. Their secrets go in and never come out.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::refusal::Refusal;
use super::wire::{self, Done};
use crate::alarm::{self, Channel, Receiver, Secret, Tls, WebhookFormat};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreateAlarmNotice {
    /// Changes this receiver in place of making one.
    notice_id: Option<String>,
    /// 1 to 60 characters, unique.
    name: String,
    /// One of the four.
    email: Option<Email>,
    webhook: Option<Webhook>,
    sms: Option<Sms>,
    /// true: the list of internal messages.
    #[serde(default)]
    message: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Email {
    server: String,
    port: u16,
    /// `starttls`, the default, `tls` or `none`.
    tls: Option<String>,
    from: String,
    to: Vec<String>,
    user: Option<String>,
    password: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Webhook {
    url: String,
    /// `callback`, the default, or `alertmanager`.
    format: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Sms {
    url: String,
    to: Vec<String>,
    /// A template with `to` and `text`, such as `{"phone": {{ to | tojson }}, "text": {{ text | tojson }}}`.
    body: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreatedNotice {
    notice_id: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteAlarmNotices {
    notice_ids: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AlarmNotices {
    total_count: usize,
    notices: Vec<AlarmNotice>,
}

/// A receiver, without its secrets.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct AlarmNotice {
    notice_id: String,
    name: String,
    /// `email`, `webhook`, `sms` or `message`.
    kind: &'static str,
    /// Whom it tells.
    summary: String,
}

pub(super) fn put(context: &Context<'_>, request: CreateAlarmNotice) -> Result<CreatedNotice, Refusal> {
    let one_of = "is one of Email, Webhook, Sms and Message";
    let channel = match (request.email, request.webhook, request.sms, request.message) {
        (Some(email), None, None, false) => email.read()?,
        (None, Some(webhook), None, false) => webhook.read()?,
        (None, None, Some(sms), false) => sms.read(),
        (None, None, None, true) => Channel::Message,
        _ => return Err(Refusal::field("the receiver", one_of)),
    };
    let receiver = Receiver {
        name: request.name,
        channel,
    };
    let id = request.notice_id.as_deref();
    let notice_id = context
        .management
        .put_receiver(context.now, context.actor, id, &receiver)?;
    Ok(CreatedNotice { notice_id })
}

pub(super) fn list(context: &Context<'_>, _request: Nothing) -> Result<AlarmNotices, Refusal> {
    let receivers = context.management.receivers()?;
    let shown = |(notice_id, receiver): (String, Receiver)| AlarmNotice {
        notice_id,
        kind: receiver.channel.kind(),
        summary: receiver.channel.summary(),
        name: receiver.name,
    };
    Ok(AlarmNotices {
        total_count: receivers.len(),
        notices: receivers.into_iter().map(shown).collect(),
    })
}

pub(super) fn delete(context: &Context<'_>, request: DeleteAlarmNotices) -> Result<Done, Refusal> {
    for id in wire::ids("NoticeIds", Some(request.notice_ids))?.unwrap_or_default() {
        context
            .management
            .delete_receiver(context.now, context.actor, &id)?;
    }
    Ok(Done {})
}

impl Email {
    fn read(self) -> Result<Channel, Refusal> {
        let tls = match self.tls.as_deref() {
            None | Some("starttls") => Tls::Starttls,
            Some("tls") => Tls::Tls,
            Some("none") => Tls::None,
            Some(_) => return Err(Refusal::field("Tls", "is starttls, tls or none")),
        };
        if self.user.is_some() != self.password.is_some() {
            return Err(Refusal::field("Password", "comes with User, and User with it"));
        }
        Ok(Channel::Email(alarm::Email {
            server: self.server,
            port: self.port,
            tls,
            from: self.from,
            to: self.to,
            login: self.user.zip(self.password.map(Secret::from)),
        }))
    }
}

impl Webhook {
    fn read(self) -> Result<Channel, Refusal> {
        let format = match self.format.as_deref() {
            None | Some("callback") => WebhookFormat::Callback,
            Some("alertmanager") => WebhookFormat::Alertmanager,
            Some(_) => return Err(Refusal::field("Format", "is callback or alertmanager")),
        };
        Ok(Channel::Webhook {
            url: self.url.into(),
            format,
            headers: secret(self.headers),
        })
    }
}

impl Sms {
    fn read(self) -> Channel {
        Channel::Sms {
            url: self.url.into(),
            to: self.to,
            body: self.body,
            headers: secret(self.headers),
        }
    }
}

fn secret(headers: BTreeMap<String, String>) -> BTreeMap<String, Secret> {
    headers
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect()
}
