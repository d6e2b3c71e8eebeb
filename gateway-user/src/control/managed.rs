//! What the control loop keeps of management: the last objects of the store, and the file beside them.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use gateway_management::alarm::Delivery;
use gateway_management::desired::Desired;
use gateway_management::service::EventChange;
use gateway_management::{Actor, Management, Timestamp, api};
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot};

use super::events::{self, EventQueue};
use super::management::{Live, Opened, Snapshot, Update, site};
use super::start_error::StartError;
use crate::config::{self, Config, Merged, ReadStore, TunnelConfig};
use crate::control_socket::Response;
use crate::status::{AlarmStatus, Status};

/// File and store, for as long as there is a store.
pub(super) struct Managed {
    /// The file.
    declared: Arc<Config>,
    /// The store, as it was read last.
    pub(super) desired: Desired,
    known: ReadStore,
    management: Arc<Management>,
    live: Live,
    changed: Arc<Notify>,
    opened: Option<Opened>,
    /// `None` until it serves.
    events: Option<EventQueue>,
    /// Number of the first line of this agent's timelines.
    pub(super) next_event: i64,
}

impl Managed {
    pub(super) fn new(opened: Opened, declared: &Arc<Config>) -> Result<Self, StartError> {
        Ok(Self {
            declared: Arc::clone(declared),
            desired: opened.desired()?,
            known: ReadStore::default(),
            management: Arc::clone(opened.management()),
            live: Arc::clone(opened.live()),
            changed: Arc::clone(opened.changed()),
            events: None,
            next_event: opened.management().next_event()?,
            opened: Some(opened),
        })
    }

    /// File and store together; tunnels that cannot run as they are stay as they run.
    pub(super) fn merge(&mut self, running: &[Arc<TunnelConfig>]) -> Merged {
        config::with_stored(&self.declared, &self.desired, running, &mut self.known)
    }

    /// Takes another file and joins it with the store.
    pub(super) fn declare(&mut self, declared: Config, running: &[Arc<TunnelConfig>]) -> Config {
        if let Some(settings) = &declared.management {
            self.management.set_site(site(&declared, settings));
        }
        self.declared = Arc::new(declared);
        self.merge(running).config
    }

    /// Serves the API; changes of the store come through the channel.
    pub(super) fn serve(mut self) -> Result<(Option<Self>, Option<mpsc::Receiver<Update>>), StartError> {
        let (updates, events) = self.opened.take().map(Opened::serve).transpose()?.unzip();
        self.events = events;
        Ok((Some(self), updates))
    }

    /// Whether `waiting` changed lines of timelines are to be handed over.
    pub(super) fn wants_events(&self, now: Instant, waiting: usize) -> bool {
        self.events
            .as_ref()
            .is_some_and(|events| events.is_due(now, waiting))
    }

    /// Hands changes of timelines over to the store. Never waits.
    pub(super) fn hand_over_events(&mut self, now: Instant, changes: Vec<EventChange>) {
        if let Some(events) = &mut self.events {
            events.hand_over(now, changes);
        }
    }

    /// How many changes of timelines did not reach the store.
    pub(super) fn lost_events(&self) -> u64 {
        self.events.as_ref().map_or(0, EventQueue::lost)
    }

    /// Waits until the last changes of timelines are in the store.
    pub(super) async fn finish(self) {
        if let Some(events) = self.events {
            events.finish().await;
        }
    }

    /// Answers with the status of one tunnel and what the store has of it, lines with lower numbers than `before`, beside the control
    /// loop: the store waits for its disk.
    pub(super) fn answer_with_events(
        &self,
        mut status: Box<Status>,
        before: i64,
        answer: oneshot::Sender<Response>,
    ) {
        let management = Arc::clone(&self.management);
        tokio::task::spawn_blocking(move || {
            for tunnel in &mut status.tunnels {
                match management.events(&tunnel.id, before) {
                    Ok(earlier) => {
                        let timeline = std::mem::take(&mut tunnel.events);
                        tunnel.events = events::with_earlier(earlier, Timestamp::now(), timeline);
                    }
                    Err(error) => tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "earlier events were not read"
                    ),
                }
            }
            if answer.send(Response::Status(status)).is_err() {
                tracing::debug!("nobody waits for an answer");
            }
        });
    }

    /// Another process wrote into the store: its objects come through the channel of [`Self::serve`].
    pub(super) fn read_again(&self) {
        self.changed.notify_one();
    }

    /// Carries out an operation for the operator on this machine, beside the control loop: the store waits for its disk.
    pub(super) fn call(&self, action: String, body: Value, answer: oneshot::Sender<Response>) {
        let management = Arc::clone(&self.management);
        tokio::task::spawn_blocking(move || {
            let done = api::v3::call(&management, Timestamp::now(), &Actor::local(), &action, body);
            let response = match done {
                Ok(value) => Response::Api(value),
                Err(refusal) => Response::Refused(refusal.to_string()),
            };
            if answer.send(response).is_err() {
                tracing::debug!(action, "nobody waits for an answer");
            }
        });
    }

    /// What alarms do. Never waits.
    pub(super) fn alarms(&self) -> AlarmStatus {
        let figures = self.management.alarm_figures();
        let results = Delivery::ALL.map(|result| result.name().to_owned());
        AlarmStatus {
            lasting: figures.lasting,
            waiting_notices: figures.waiting,
            notices: results.into_iter().zip(figures.deliveries).collect(),
        }
    }

    /// Tells the API how the tunnels are.
    pub(super) fn publish(&self, snapshot: Snapshot) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}
