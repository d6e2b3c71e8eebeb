//! Child SAs of IKEv2: ours, the peer's, and both at once.

use std::time::{Duration, Instant};

use crate::child::{Child, Use};
use crate::config::{ConnectionId, PairIndex};
use crate::crypto::KeyExchangeDone;
use crate::diagnosis::Diagnosis;
use crate::endpoint::jobs::JobOwner;
use crate::endpoint::{Endpoint, Timer};
use crate::event::ChildId;
use crate::ike_sa::SaKey;
use crate::jobs::Urgency;
use crate::tunnel::Want;
use crate::v2::channel::Received;
use crate::v2::create_child_sa::{
    Accepted, Asked, AwaitAnswer, Collision, Generating, Made, Request, collide,
};
use crate::v2::ike_sa::{Answering, ChildCollision, Established, Exchange, Step, Task};
use crate::v2::refusal::malformed;
use crate::wire::ExchangeType;
use crate::wire::v2::{Message, NotifyPayload, NotifyType, Payload};
use gateway_common::Spi;

/// How long the peer of a new IKE SA has for using its first Child SA, before it is asked whether it is there.
const ASK: Duration = Duration::from_millis(500);
/// How long the peer has for using any other new Child SA while no other one serves the same. It would have repeated its request in that
/// time, had it missed our answer, and has the time again then; packets of ours, which wait for 5 seconds, are not dropped before.
const SETTLE: Duration = Duration::from_secs(4);
/// How long a deleted Child SA opens what was on its way.
const DRAIN: Duration = Duration::from_secs(2);
/// S17: a Child SA that is younger is not replaced.
const LEAST_AGE: Duration = Duration::from_millis(500);
/// How long to wait after TEMPORARY_FAILURE.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// When the first Child SA of a tunnel is replaced, to see whether both ends mean the same PFS.
const PROBE: Duration = Duration::from_secs(2);
/// The same by the end that has answered: the other one comes first, and a new Child SA makes it needless.
const PROBE_ANSWERED: Duration = Duration::from_secs(10);

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
            self.expect_inbound(connection, spi);
            return self.send_request(now, key, &payloads, Step::ChildSent(Box::new(step), None));
        };
        established.exchange = Some(Exchange {
            step: Step::ChildGenerating(Generating(asked), None),
            sent: None,
            started: now,
        });
        // Reserved until the exchange ends, one way or the other.
        self.expect_inbound(connection, spi);
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
            self.forget_inbound(asked.spi);
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
                    return self.on_temporary_failure(now, key, asked);
                }
                NotifyType::CHILD_SA_NOT_FOUND => {
                    return self.on_child_not_found(now, key, asked);
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
            Err(diagnosis) => {
                if message.sa().is_some() {
                    self.decline(now, key, asked.spi);
                }
                self.on_child_outcome(now, key, asked, collision, Err(diagnosis));
            }
        }
    }

    /// The peer has granted what we cannot use, and has its half: it is asked to delete it. There is none here, so the id is nobody's.
    pub(super) fn decline(&mut self, now: Instant, key: SaKey, spi: Spi) {
        let id = ChildId(self.next_child);
        self.next_child += 1;
        self.request(now, key, Task::DeleteChild(id, spi));
    }

    /// RFC 7296 section 2.25: the peer is busy with the same SA.
    fn on_temporary_failure(&mut self, now: Instant, key: SaKey, asked: Asked) {
        self.forget_inbound(asked.spi);
        self.want_again(now, key, asked.want);
    }

    /// RFC 7296 section 2.25.1: the peer does not know what we want to replace. A new one is negotiated in its place.
    fn on_child_not_found(&mut self, now: Instant, key: SaKey, asked: Asked) {
        self.forget_inbound(asked.spi);
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
                self.forget_inbound(asked.spi);
                self.report(now, Some(connection), path, diagnosis);
                return self.child_failed(now, connection, asked.want);
            }
        };
        let Some(id) = self.install(now, key, child, true) else {
            return;
        };
        if let Some(collision) = collision {
            // RFC 7296 section 2.8.1: the one with the lowest nonce is redundant, and its initiator closes it.
            if nonces.lowest() < collision.lowest_nonce.as_slice() {
                // The peer's replaces the old one when the peer is seen to have it, like any other that we have answered.
                self.note(connection, "both ends have replaced a child sa: the peer's stays");
                self.yield_child(connection, id);
                return self.ask_to_delete(now, key, id);
            }
            self.yield_child(connection, collision.theirs);
        }
        self.confirm(now, id);
        if let Some(old) = asked.want.replaces {
            self.timers.set(Timer::ChildDelete(old), now + self.config.linger);
        }
    }

    /// Both ends know that another Child SA for the same selectors stays.
    fn yield_child(&mut self, connection: ConnectionId, id: ChildId) {
        let tunnel = self.tunnels.get_mut(&connection);
        if let Some(child) = tunnel.and_then(|tunnel| tunnel.children.find_mut(id)) {
            child.yields = true;
        }
    }

    /// A Child SA of ours came to nothing. What it was to replace lives on.
    pub(super) fn child_failed(&mut self, now: Instant, connection: ConnectionId, want: Want) {
        match want.replaces {
            Some(old) => self.renew_later(now, old),
            None => self.retry_later(now, connection),
        }
    }

    /// Replaces the first Child SA of a tunnel with PFS early: IKE_AUTH made it without, and nobody knows yet whether the peer means
    /// the same. Who only answers asks too, once: otherwise the traffic would end with the first lifetime.
    pub(in crate::endpoint) fn probe_pfs(&mut self, now: Instant, id: ChildId) {
        let Some(tunnel) = self
            .child_owners
            .get(&id)
            .and_then(|owner| self.tunnels.get(owner))
        else {
            return;
        };
        let Some(child) = tunnel.children.find(id) else {
            return;
        };
        if tunnel.pfs_probed || tunnel.config.pfs.is_none() || !self.is_v2_established(child.ike) {
            return;
        }
        let wait = if child.initiator { PROBE } else { PROBE_ANSWERED };
        self.timers.set(Timer::PfsProbe(id), now + wait);
        if let Some(tunnel) = self
            .child_owners
            .get(&id)
            .and_then(|owner| self.tunnels.get_mut(owner))
        {
            tunnel.pfs_probed = true;
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
        let is_granted = |established: &Established| established.is_granted(&request);
        if self
            .v2_established(key)
            .is_some_and(|(established, _)| is_granted(established))
        {
            // There is no need for two.
            let notify = NotifyPayload::new(NotifyType::TEMPORARY_FAILURE, Vec::new());
            return self.answer(key, ExchangeType::CREATE_CHILD_SA, &refuse(notify));
        }
        if self.has_enough_children(key, &request) {
            let notify = NotifyPayload::new(NotifyType::NO_ADDITIONAL_SAS, Vec::new());
            return self.answer(key, ExchangeType::CREATE_CHILD_SA, &refuse(notify));
        }
        let Some(job) = request.job(&mut self.rng) else {
            return self.answer_child(now, key, request, None);
        };
        let Some((established, _)) = self.v2_established(key) else {
            return;
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
        if !self.may_answer_child(key, None) {
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
        if is_young || !self.may_answer_child(key, Some(id)) {
            return Err(busy());
        }
        Ok(Some(id))
    }

    /// Whether nothing of our own forbids to make a Child SA for the peer (RFC 7296 sections 2.25.1 and 2.25.2).
    fn may_answer_child(&self, key: SaKey, replaces: Option<ChildId>) -> bool {
        let Some(sa) = self.sas.get(&key) else {
            return false;
        };
        let Some(established) = sa.v2().and_then(|sa| sa.established()) else {
            return false;
        };
        if established.is_rekeying() || established.is_closing() || established.successor.is_some() {
            return false;
        }
        let Some(old) = replaces else { return true };
        !established.is_deleting(old) && self.is_current(sa.connection, old)
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
        let (replaces, serves) = (request.replaces, request.agreed.serves.clone());
        let Some(sa) = self.sas.get(&key) else { return };
        let (connection, path) = (sa.connection, sa.path);
        let granted = self
            .v2_established(key)
            .is_some_and(|(established, _)| established.is_granted(&request));
        if granted || !self.may_answer_child(key, replaces) {
            // While the key exchange was computed.
            let notify = Payload::notify(NotifyType::TEMPORARY_FAILURE);
            return self.answer(key, ExchangeType::CREATE_CHILD_SA, &[notify]);
        }
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
        let (child, nonces) = made;
        let Some(id) = self.install(now, key, child, false) else {
            return;
        };
        self.answer(key, ExchangeType::CREATE_CHILD_SA, &payloads);
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        let collides = |want: Want| collide((replaces, &serves), want);
        if let Some(collision) = established.collision_with(collides) {
            // Ours is not answered yet. The nonces decide when it is.
            *collision = Some(Box::new(Collision {
                theirs: id,
                lowest_nonce: nonces.lowest().to_vec(),
            }));
        }
        self.settle_answered(now, id);
    }

    /// The peer has asked for a Child SA and is being answered. Until it has read the answer it cannot open what we seal: it is seen to
    /// have it when it uses it, or asks for something else. An older Child SA carries the traffic till then, or packets wait for a
    /// while.
    pub(super) fn settle_answered(&mut self, now: Instant, id: ChildId) {
        let Some(children) = self
            .child_owners
            .get(&id)
            .and_then(|owner| self.tunnels.get(owner))
            .map(|tunnel| &tunnel.children)
        else {
            return;
        };
        let is_served = |child: &Child| {
            let mut served = child.serves.iter();
            served.all(|served| children.current_for(served.selectors).is_some())
        };
        if !children.find(id).is_some_and(is_served) {
            self.timers.set(Timer::ChildSettle(id), now + SETTLE);
        }
    }

    /// The first Child SA of an IKE SA that the peer has initiated: whoever answers a request of ours has our answer to IKE_AUTH, and
    /// so its half. It is asked when the first packet waits, see [`Self::prove_for`], or soon in any case.
    pub(super) fn settle_first(&mut self, now: Instant, key: SaKey, id: ChildId) {
        if let Some((established, _)) = self.v2_established(key) {
            established.unproven = Some(id);
            self.timers.set(Timer::ChildSettle(id), now + ASK);
        }
    }

    /// The peer was given its time for using a Child SA.
    pub(in crate::endpoint) fn on_settled(&mut self, now: Instant, id: ChildId) {
        let Some(tunnel) = self
            .child_owners
            .get(&id)
            .and_then(|owner| self.tunnels.get(owner))
        else {
            return;
        };
        let Some(key) = tunnel.children.find(id).map(|child| child.ike) else {
            return;
        };
        let Some((established, _)) = self
            .v2_established(key)
            .filter(|(established, _)| established.unproven == Some(id))
        else {
            return self.confirm(now, id);
        };
        // The answer to any request is the proof.
        if established.exchange.is_none() {
            self.request(now, key, Task::Liveness);
        }
    }

    /// A packet waits for a Child SA that the peer has not been seen to have.
    pub(in crate::endpoint) fn prove_for(&mut self, now: Instant, connection: ConnectionId, pair: PairIndex) {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        let waits: Vec<_> = tunnel
            .children
            .iter()
            .filter(|(_, child)| child.is_for(pair) && child.usage == Use::Unconfirmed)
            .map(|(id, child)| (id, child.ike))
            .collect();
        for (id, key) in waits {
            let unproven = |established: &Established| established.unproven == Some(id);
            if self
                .v2_established(key)
                .is_some_and(|(established, _)| unproven(established))
            {
                self.on_settled(now, id);
            }
        }
    }

    /// The peer has answered a request of ours on an IKE SA that it has initiated: it has the first Child SA.
    pub(super) fn note_answered(&mut self, now: Instant, key: SaKey) {
        if let Some(first) = self
            .v2_established(key)
            .and_then(|(established, _)| established.unproven.take())
        {
            self.confirm(now, first);
        }
    }

    /// The Child SAs that the peer has asked for on an IKE SA, and has not been seen to have.
    pub(super) fn unproven_children(&self, key: SaKey) -> Vec<ChildId> {
        let Some(sa) = self.sas.get(&key) else {
            return Vec::new();
        };
        let Some(tunnel) = self.tunnels.get(&sa.connection) else {
            return Vec::new();
        };
        // Of two that replace the same one the nonces choose, once both are answered.
        let asked = sa.v2().and_then(|sa| sa.established()?.asked());
        let undecided =
            |child: &Child| asked.is_some_and(|asked| collide((child.replaces, &child.serves), asked.want));
        tunnel
            .children
            .iter()
            .filter(|(_, child)| child.ike == key && !child.initiator && child.usage == Use::Unconfirmed)
            .filter(|(_, child)| !undecided(child))
            .map(|(id, _)| id)
            .collect()
    }

    /// The peer has missed our last answer, so it has had no time either.
    pub(super) fn note_repeated_request(&mut self, now: Instant, key: SaKey) {
        for id in self.unproven_children(key) {
            if self
                .v2_established(key)
                .is_some_and(|(established, _)| established.unproven != Some(id))
            {
                self.settle_answered(now, id);
            }
        }
    }

    /// A Child SA ends: what was to replace it does so, even if nobody has been seen to use it.
    pub(in crate::endpoint) fn hand_over(&mut self, now: Instant, old: ChildId) {
        let Some(&owner) = self.child_owners.get(&old) else {
            return;
        };
        let child = self
            .tunnels
            .get(&owner)
            .and_then(|tunnel| tunnel.children.find(old));
        // Under IKEv1 the peer may have ended what was left without our hearing of it.
        let left_too = child.is_some_and(|child| self.is_v2_established(child.ike));
        let tunnel = self.tunnels.get_mut(&owner);
        if let Some(stand_in) = tunnel.and_then(|tunnel| tunnel.children.stand_in_for(old, left_too)) {
            self.confirm(now, stand_in);
        }
    }

    /// Asks the peer to delete a Child SA. It opens until the peer has answered, and a little longer.
    pub(in crate::endpoint) fn ask_to_delete(&mut self, now: Instant, key: SaKey, id: ChildId) {
        let owner = self.child_owners.get(&id);
        let tunnel = owner.and_then(|owner| self.tunnels.get_mut(owner));
        let Some(child) = tunnel.and_then(|tunnel| tunnel.children.find_mut(id)) else {
            return;
        };
        child.ending = true;
        let inbound = child.inbound;
        self.request(now, key, Task::DeleteChild(id, inbound));
    }

    /// The peer has deleted a Child SA that we have asked it to delete. What it has sealed before may still be on its way.
    pub(super) fn on_child_deleted(&mut self, now: Instant, id: ChildId) {
        self.hand_over(now, id);
        let is_left = |child: &Child| child.usage != Use::Current;
        let tunnel = self
            .child_owners
            .get(&id)
            .and_then(|owner| self.tunnels.get(owner));
        if tunnel
            .and_then(|tunnel| tunnel.children.find(id))
            .is_some_and(is_left)
        {
            self.timers.set(Timer::ChildEnd(id), now + DRAIN);
        } else {
            self.remove_child(id);
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
