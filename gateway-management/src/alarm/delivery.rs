//! Empties the outbox: to mail servers, webhooks, and the list of internal messages.
//!
//! Deliveries wait for nobody and nobody waits for them: many at once, one for each receiver, each bounded in time, each tried again
//! later when it fails. A notice leaves the outbox when its receiver took it; after a crash in between the receiver hears it twice, and never not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};

use super::message::sms;
use super::{Channel, Receiver, Targets, WebhookFormat};
use crate::store::{StoreError, Waiting};
use crate::{Management, Timestamp};

mod http;
mod mail;

/// Between two looks into the outbox.
const LOOK: Duration = Duration::from_secs(1);
/// Deliveries at once.
const AT_ONCE: usize = 32;
/// Before a receiver is told again where the disk does not take what came of the last time.
const DISK_PAUSE: Duration = Duration::from_secs(60);
/// What one request of a webhook may take, as Cloud Monitor documents it.
const HTTP_PATIENCE: Duration = Duration::from_secs(5);
/// What an e-mail may take.
const SMTP_PATIENCE: Duration = Duration::from_secs(30);

/// Why a receiver was not told.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    #[error("the receiver took too long")]
    Patience,
    #[error("no connection: {0}")]
    Connect(#[source] std::io::Error),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be written: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("the receiver answers {0}")]
    Status(hyper::StatusCode),
    #[error("SMTP: {0}")]
    Smtp(#[from] lettre::transport::smtp::Error),
    #[error("the e-mail cannot be written: {0}")]
    Mail(String),
    #[error("the template cannot be used: {0}")]
    Template(#[from] minijinja::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the URL has no host")]
    Url,
    #[error("its address {0} is none that alarms are sent to ([alarms] targets)")]
    Forbidden(std::net::IpAddr),
}

/// Delivers until the process ends.
pub async fn run(management: Arc<Management>) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut courier = Courier::default();
    loop {
        tokio::select! {
            _ = look.tick() => {}
            Some(done) = courier.deliveries.join_next_with_id() => courier.ended(done),
        }
        if let Err(error) = courier.look(&management).await {
            unusable(&error);
            // The tick sets the pace, not deliveries that cannot be noted.
            look.reset();
            look.tick().await;
        }
    }
}

/// What is under way: one delivery for a receiver at a time, so that a slow one delays only its own.
#[derive(Default)]
struct Courier {
    deliveries: JoinSet<Result<(), StoreError>>,
    busy: BTreeMap<Id, String>,
}

impl Courier {
    /// Starts what is due.
    async fn look(&mut self, management: &Arc<Management>) -> Result<(), StoreError> {
        let due = blocking(management, |management| management.due_notices(Timestamp::now())).await?;
        for (waiting, receiver) in due {
            if self.busy.len() >= AT_ONCE {
                break;
            }
            let name = waiting.receiver.clone();
            if self.busy.values().any(|busy| *busy == name) {
                continue;
            }
            let management = Arc::clone(management);
            let task = self
                .deliveries
                .spawn(async move { deliver_or_pause(&management, waiting, receiver).await });
            self.busy.insert(task.id(), name);
        }
        Ok(())
    }

    /// A delivery that panicked is tried again, as its notice is still in the outbox.
    fn ended(&mut self, done: Result<(Id, Result<(), StoreError>), JoinError>) {
        let id = match &done {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        self.busy.remove(&id);
        if let Ok((_, Err(error))) = done {
            unusable(&error);
        }
    }
}

fn unusable(error: &StoreError) {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "the outbox of alarms cannot be used"
    );
}

/// Delivers. What cannot be noted would be told again at once and for ever: its receiver stays busy for a while.
async fn deliver_or_pause(
    management: &Arc<Management>,
    waiting: Waiting,
    receiver: Option<Receiver>,
) -> Result<(), StoreError> {
    let noted = deliver(management, waiting, receiver).await;
    if noted.is_err() {
        tokio::time::sleep(DISK_PAUSE).await;
    }
    noted
}

async fn deliver(
    management: &Arc<Management>,
    mut waiting: Waiting,
    receiver: Option<Receiver>,
) -> Result<(), StoreError> {
    let Some(receiver) = receiver else {
        return blocking(management, move |management| management.dropped(&waiting)).await;
    };
    let message = matches!(receiver.channel, Channel::Message);
    let told = tell(management.alarm_targets(), &receiver.channel, &mut waiting).await;
    match told {
        Ok(()) => {
            blocking(management, move |management| {
                management.delivered(&waiting, message)
            })
            .await
        }
        Err(error) => {
            let reason = sentence(&error);
            tracing::warn!(
                receiver = receiver.name,
                attempt = waiting.attempts + 1,
                reason,
                "an alarm was not delivered"
            );
            blocking(management, move |management| {
                management.not_delivered(Timestamp::now(), waiting, &receiver.name, &reason)
            })
            .await
        }
    }
}

/// The store may wait for the disk: that is not for the thread of the API.
async fn blocking<T: Send + 'static>(
    management: &Arc<Management>,
    work: impl FnOnce(&Management) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let management = Arc::clone(management);
    let done = tokio::task::spawn_blocking(move || work(&management)).await;
    done.unwrap_or(Err(StoreError::Damaged("a task of the outbox panicked")))
}

/// Tells all addresses of a receiver that were not told before.
async fn tell(targets: &Targets, channel: &Channel, waiting: &mut Waiting) -> Result<(), DeliveryError> {
    let notice = &waiting.notice;
    match channel {
        Channel::Message => Ok(()),
        Channel::Email(email) => patience(SMTP_PATIENCE, mail::send(targets, email, notice)).await,
        Channel::Webhook { url, format, headers } => {
            let body = match format {
                WebhookFormat::Callback => notice.callback(),
                WebhookFormat::Alertmanager => notice.alertmanager().to_string(),
            };
            patience(HTTP_PATIENCE, http::post(targets, url, headers, body)).await
        }
        Channel::Sms {
            url,
            to,
            body,
            headers,
        } => {
            let mut told = Ok(());
            for (address, number) in to.iter().enumerate() {
                if waiting.told.contains(address) {
                    continue;
                }
                let body = sms(body, number, notice)?;
                match patience(HTTP_PATIENCE, http::post(targets, url, headers, body)).await {
                    Ok(()) => waiting.told.insert(address),
                    // A number that is refused keeps no other one from being told.
                    Err(error) => told = Err(error),
                }
            }
            told
        }
    }
}

async fn patience(
    patience: Duration,
    work: impl Future<Output = Result<(), DeliveryError>>,
) -> Result<(), DeliveryError> {
    tokio::time::timeout(patience, work)
        .await
        .unwrap_or(Err(DeliveryError::Patience))
}

/// An error with its causes in one sentence. URLs are in none of them.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
