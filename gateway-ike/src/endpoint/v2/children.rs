//! Child SAs of IKEv2: ours, the peer's, and both at once.

use std::time::{Duration, Instant};

use crate::child::Use;
use crate::config::ConnectionId;
use crate::crypto::KeyExchangeDone;
use crate::diagnosis::Diagnosis;
use crate::endpoint::jobs::JobOwner;
use crate::endpoint::{Endpoint, Timer};
use crate::event::ChildId;
use crate::ike_sa::SaKey;
use crate::jobs::Urgency;
use crate::tunnel::Want;
use crate::v2::channel::Received;
use crate::v2::create_child_sa::{Accepted, Asked, AwaitAnswer, Collision, Generating, Made, Request};
use crate::v2::ike_sa::{Answering, ChildCollision, Exchange, Step, Task};
use crate::v2::refusal::malformed;
use crate::wire::ExchangeType;
use crate::wire::v2::{Message, NotifyPayload, NotifyType, Payload};
use gateway_common::Spi;

/// How long the peer has for installing its half of a new Child SA after our answer, while packets wait for it.
const SETTLE: Duration = Duration::from_millis(200);
/// S17: a Child SA that is younger is not replaced.
const LEAST_AGE: Duration = Duration::from_millis(500);
/// How long to wait after TEMPORARY_FAILURE.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// When the first Child SA of a tunnel is replaced, to see whether both ends mean the same PFS.
const PROBE: Duration = Duration::from_secs(2);

impl Endpoint {
    /// `HDR, SK {[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr} -->`
    pub(in crate::endpoint) fn start_create_child(&mut self, now: Instant, key: SaKey, want: Want) {
        let spi = self.new_esp_spi();
        let Some(connection) = self.sas.get(&key).map(|sa| sa.connection) else {
            return;
        };
        let rekeys = self
            .tunnels
            .get(&connection)
            .and_then(|tunnel| tunnel.children.find(want.replaces?))
            .filter(|child| child.ike == key)
            .map(|child| child.inbound);
        let asked = Asked { want, spi, rekeys };
        let Some((established, config)) = self.v2_established(key) else {
            return;
        };
        let Some(group) = config.pfs else {
            let (step, payloads) = asked.without_exchange(&config, &mut self.rng);
            self.inbound_spis.insert(spi);
            return self.send_request(now, key, &payloads, Step::ChildSent(Box::new(step), None));
        };
        established.exchange = Some(Exchange {
            step: Step::ChildGenerating(Generating(asked), None),
            sent: None,
            started: now,
        });
        // Reserved until the exchange ends, one way or the other.
        self.inbound_spis.insert(spi);
        let job = crate::crypto::KeyExchangeJob::generate(group, &mut self.rng);
        self.compute_exchange(now, key, job);
    }

    /// Queues a key exchange of our request. Without room the request is given up.
    pub(super) fn compute_exchange(&mut self, now: Instant, key: SaKey, job: crate::crypto::KeyExchangeJob) {
        if self
            .enqueue(Urgency::Trusted, JobOwner::V2Exchange(key), job)
            .is_ok()
        {
            return;
        }
        let asked = self.v2_established(key).and_then(|(established, _)| {
            let asked = established.asked();
            established.exchange = None;
            asked
        });
        if let Some(asked) = asked {
            self.inbound_spis.remove(&asked.spi);
            self.want_again(now, key, asked.want);
        }
    }

    /// `<-- HDR, SK {SA, Nr, [KEr,] TSi, TSr}`
    pub(super) fn on_child_answer(
        &mut self,
        now: Instant,
        key: SaKey,
        step: AwaitAnswer,
        collision: ChildCollision,
        received: &Received,
    ) {
        let asked = step.asked;
        let Some((established, config)) = self.v2_established(key) else {
            return;
        };
        let Ok(message) = received.message() else {
            let refused = Err(malformed("an answer that cannot be read"));
            return self.on_child_outcome(now, key, asked, collision, refused);
        };
        if let Some(error) = message.error() {
            match error.notify_type {
                NotifyType::TEMPORARY_FAILURE => {
                    return self.on_temporary_failure(now, key, asked, collision);
                }
                NotifyType::CHILD_SA_NOT_FOUND => {
                    return self.on_child_not_found(now, key, asked, collision);
                }
                _ => {}
            }
        }
        match step.on_answer(&config, &established.channel.keys, &message) {
            Ok(Accepted::Made(made)) => self.on_child_outcome(now, key, asked, collision, Ok(*made)),
            Ok(Accepted::Compute(step, job)) => {
                established.exchange = Some(Exchange {
                    step: Step::ChildAgreeing(Box::new(step), collision),
                    sent: None,
                    started: now,
                });
                self.compute_exchange(now, key, job);
            }
            Err(diagnosis) => self.on_child_outcome(now, key, asked, collision, Err(diagnosis)),
        }
    }

    /// RFC 7296 section 2.25: the peer is busy with the same SA.
    fn on_temporary_failure(&mut self, now: Instant, key: SaKey, asked: Asked, collision: ChildCollision) {
        self.inbound_spis.remove(&asked.spi);
        self.settle_collision(now, collision);
        self.want_again(now, key, asked.want);
    }

    /// RFC 7296 section 2.25.1: the peer does not know what we want to replace. A new one is negotiated in its place.
    fn on_child_not_found(&mut self, now: Instant, key: SaKey, asked: Asked, collision: ChildCollision) {
        self.inbound_spis.remove(&asked.spi);
        self.settle_collision(now, collision);
        let Some(connection) = self.sas.get(&key).map(|sa| sa.connection) else {
            return;
        };
        let Some(old) = asked.want.replaces else { return };
        self.hand_over(now, old);
        if self.remove_child(old) {
            self.note(connection, "peer has lost the child sa in use");
            let want = Want {
                replaces: None,
                ..asked.want
            };
            self.want(now, connection, want);
        }
    }

    /// Our exchange failed, so what the peer made of the same Child SA is what remains.
    fn settle_collision(&mut self, now: Instant, collision: ChildCollision) {
        if let Some(theirs) = collision.and_then(|collision| collision.theirs) {
            self.confirm(now, theirs);
        }
    }

    /// What was wanted is wanted again a little later.
    fn want_again(&mut self, now: Instant, key: SaKey, want: Want) {
        let Some(connection) = self.sas.get(&key).map(|sa| sa.connection) else {
            return;
        };
        match want.replaces {
            Some(old) if self.is_current(connection, old) => {
                self.timers.set(Timer::ChildRekey(old), now + TRY_AGAIN);
            }
            Some(_) => {}
            None => self
                .timers
                .set(Timer::Want(connection, want.pair), now + TRY_AGAIN),
        }
    }

    /// Our exchange has made a Child SA, or none.
    pub(super) fn on_child_outcome(
        &mut self,
        now: Instant,
        key: SaKey,
        asked: Asked,
        collision: ChildCollision,
        outcome: Result<Made, Diagnosis>,
    ) {
        let Some(sa) = self.sas.get(&key) else { return };
        let (connection, path) = (sa.connection, sa.path);
        let (child, nonces) = match outcome {
            Ok(made) => made,
            Err(diagnosis) => {
                self.inbound_spis.remove(&asked.spi);
                self.report(now, Some(connection), path, diagnosis);
                self.settle_collision(now, collision);
                return self.child_failed(now, connection, asked.want);
            }
        };
        let Some(id) = self.install(now, key, child, true) else {
            return;
        };
        if let Some(collision) = collision
            && nonces.lowest() < collision.lowest_nonce.as_slice()
        {
            // RFC 7296 section 2.8.1: the one with the lowest nonce is redundant, and its initiator closes it.
            self.note(connection, "both ends have replaced a child sa: the peer's stays");
            if let Some(theirs) = collision.theirs {
                self.confirm(now, theirs);
            }
            return self.request(now, key, Task::DeleteChild(id, asked.spi));
        }
        self.confirm(now, id);
        if let Some(old) = asked.want.replaces {
            self.timers.set(Timer::ChildDelete(old), now + self.config.linger);
        }
    }

    /// A Child SA of ours came to nothing. What it was to replace lives on.
    pub(super) fn child_failed(&mut self, now: Instant, connection: ConnectionId, want: Want) {
        match want.replaces {
            Some(old) => self.renew_later(now, old),
            None => self.retry_later(now, connection),
        }
    }

    /// Replaces the first Child SA of a tunnel with PFS early: it was made without, and nobody knows yet whether the peer means the
    /// same.
    pub(super) fn probe_pfs(&mut self, now: Instant, connection: ConnectionId, child: ChildId) {
        let Some(tunnel) = self.tunnels.get_mut(&connection) else {
            return;
        };
        if tunnel.config.pfs.is_some()
            && tunnel.config.may_initiate
            && !std::mem::replace(&mut tunnel.pfs_probed, true)
        {
            self.timers.set(Timer::ChildRekey(child), now + PROBE);
        }
    }

    /// `HDR, SK {[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr} -->` of the peer.
    pub(super) fn on_child_request(&mut self, now: Instant, key: SaKey, message: &Message<'_>) {
        let refuse = |notify| [Payload::Notify(notify)];
        let replaces = match self.judge_rekey_of(now, key, message) {
            Ok(replaces) => replaces,
            Err(notify) => {
                return self.answer(key, ExchangeType::CREATE_CHILD_SA, &refuse(notify));
            }
        };
        let spi = self.new_esp_spi();
        let Some((_, config)) = self.v2_established(key) else {
            return;
        };
        let request = match Request::judge(&config, message, spi, replaces, &mut self.rng) {
            Ok(request) => request,
            Err(refused) => {
                if let Some((connection, path)) = self.sas.get(&key).map(|sa| (sa.connection, sa.path)) {
                    self.report(now, Some(connection), path, refused.diagnosis);
                }
                return self.answer(key, ExchangeType::CREATE_CHILD_SA, &refuse(refused.notify));
            }
        };
        if self.has_enough_children(key, &request) {
            let notify = NotifyPayload::new(NotifyType::NO_ADDITIONAL_SAS, Vec::new());
            return self.answer(key, ExchangeType::CREATE_CHILD_SA, &refuse(notify));
        }
        let lowest_nonce = request.lowest_nonce().to_vec();
        let job = request.job(&mut self.rng);
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        if let Some(collision) = replaces.and_then(|old| established.collision_over(old)) {
            *collision = Some(Box::new(Collision {
                theirs: None,
                lowest_nonce,
            }));
        }
        let Some(job) = job else {
            return self.answer_child(now, key, request, None);
        };
        established.answering = Some(Answering::Child(Box::new(request)));
        if self
            .enqueue(Urgency::Trusted, JobOwner::V2Answer(key), job)
            .is_err()
            && let Some((established, _)) = self.v2_established(key)
        {
            established.answering = None;
        }
    }

    /// Which Child SA a request replaces, and whether it may (RFC 7296 section 2.25). S6: only those of the same tunnel.
    fn judge_rekey_of(
        &mut self,
        now: Instant,
        key: SaKey,
        message: &Message<'_>,
    ) -> Result<Option<ChildId>, NotifyPayload> {
        let busy = || NotifyPayload::new(NotifyType::TEMPORARY_FAILURE, Vec::new());
        let Some(sa) = self.sas.get(&key) else {
            return Err(busy());
        };
        let connection = sa.connection;
        let Some(established) = sa.v2().and_then(|sa| sa.established()) else {
            return Err(busy());
        };
        if established.is_rekeying() || established.is_closing() || established.successor.is_some() {
            return Err(busy());
        }
        let Some(rekey) = message.notify(NotifyType::REKEY_SA) else {
            return Ok(None);
        };
        let not_found = || {
            let spi = rekey.esp_spi().unwrap_or_default();
            NotifyPayload::about_esp(NotifyType::CHILD_SA_NOT_FOUND, spi)
        };
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return Err(busy());
        };
        let spi = rekey.esp_spi().and_then(Spi::from_be_bytes);
        let found = spi.and_then(|spi| tunnel.children.by_outbound(spi));
        let Some((id, child)) = found.and_then(|id| Some((id, tunnel.children.find(id)?))) else {
            return Err(not_found());
        };
        let is_young = now < child.installed_at + LEAST_AGE && child.replaces.is_some();
        if established.is_deleting(id) || child.usage == Use::Superseded || is_young {
            return Err(busy());
        }
        Ok(Some(id))
    }

    /// S16: a peer that negotiates for its own sake. What it has keeps working.
    fn has_enough_children(&self, key: SaKey, request: &Request) -> bool {
        let limit = self.config.max_children_per_pair;
        let Some(tunnel) = self.sas.get(&key).and_then(|sa| self.tunnels.get(&sa.connection)) else {
            return true;
        };
        request.agreed.serves.iter().any(|served| {
            let of_pair = tunnel
                .children
                .iter()
                .filter(|(_, child)| child.is_for(served.pair))
                .count();
            u32::try_from(of_pair).unwrap_or(u32::MAX) >= limit
        })
    }

    /// `<-- HDR, SK {SA, Nr, [KEr,] TSi, TSr}`
    pub(super) fn answer_child(
        &mut self,
        now: Instant,
        key: SaKey,
        request: Request,
        done: Option<KeyExchangeDone>,
    ) {
        let replaces = request.replaces;
        let Some(sa) = self.sas.get(&key) else { return };
        let (connection, path) = (sa.connection, sa.path);
        let Some((established, config)) = self.v2_established(key) else {
            return;
        };
        let (made, payloads) = match request.answer(done, &config, &established.channel.keys) {
            Ok(answered) => answered,
            Err(diagnosis) => {
                self.report(now, Some(connection), path, diagnosis);
                let notify = Payload::notify(NotifyType::INVALID_SYNTAX);
                return self.answer(key, ExchangeType::CREATE_CHILD_SA, &[notify]);
            }
        };
        let Some(id) = self.install(now, key, made.0, false) else {
            return;
        };
        self.answer(key, ExchangeType::CREATE_CHILD_SA, &payloads);
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        match replaces {
            Some(old) => {
                // The old one seals until the peer is seen to use the new one, or deletes the old one: no packet overtakes the
                // answer. In a collision the nonces decide.
                if let Some(Some(collision)) = established.collision_over(old) {
                    collision.theirs = Some(id);
                }
            }
            None => self.settle_answered(now, id),
        }
    }

    /// Packets wait for a Child SA that the peer has asked for: it seals when the peer has had time to read our answer, or is seen
    /// to use it.
    pub(super) fn settle_answered(&mut self, now: Instant, id: ChildId) {
        self.timers.set(Timer::ChildSettle(id), now + SETTLE);
    }

    /// The peer has missed our last answer, so it has had no time either.
    pub(super) fn note_repeated_request(&mut self, now: Instant, key: SaKey) {
        let Some(tunnel) = self.sas.get(&key).and_then(|sa| self.tunnels.get(&sa.connection)) else {
            return;
        };
        let unsettled: Vec<_> = tunnel
            .children
            .iter()
            .filter(|(_, child)| child.ike == key && !child.initiator && child.usage == Use::Unconfirmed)
            .filter(|(_, child)| child.replaces.is_none())
            .map(|(id, _)| id)
            .collect();
        for id in unsettled {
            self.settle_answered(now, id);
        }
    }

    /// A Child SA ends: what was to replace it does so, even if nobody has been seen to use it.
    pub(in crate::endpoint) fn hand_over(&mut self, now: Instant, old: ChildId) {
        let Some(tunnel) = self
            .child_owners
            .get(&old)
            .and_then(|owner| self.tunnels.get(owner))
        else {
            return;
        };
        let Some(child) = tunnel
            .children
            .find(old)
            .filter(|child| child.usage == Use::Current)
        else {
            return;
        };
        let heir = tunnel
            .children
            .iter()
            .filter(|(id, other)| *id > old && other.usage == Use::Unconfirmed && other.overlaps(child))
            .min_by_key(|(_, other)| other.initiator)
            .map(|(id, _)| id);
        if let Some(heir) = heir {
            self.confirm(now, heir);
        }
    }

    /// What an IKE SA carries is negotiated on its successor: two ends that authenticate anew keep their traffic.
    pub(super) fn want_children_of(&mut self, now: Instant, old: SaKey) {
        let Some(connection) = self.sas.get(&old).map(|sa| sa.connection) else {
            return;
        };
        for want in self.current_children_of(connection, old) {
            self.want(now, connection, want);
        }
    }

    /// The Child SAs of an IKE SA that seal, as what is to be negotiated in their place.
    pub(super) fn current_children_of(&self, connection: ConnectionId, key: SaKey) -> Vec<Want> {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return Vec::new();
        };
        tunnel
            .children
            .iter()
            .filter(|(_, child)| child.ike == key && child.usage == Use::Current)
            .flat_map(|(id, child)| child.serves.iter().map(move |served| (id, served)))
            .map(|(id, served)| Want {
                pair: served.pair,
                selectors: served.selectors,
                replaces: Some(id),
            })
            .collect()
    }
}
