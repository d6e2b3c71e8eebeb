//! An IKE SA that replaces another and takes over its Child SAs (RFC 7296 sections 1.3.2, 2.8.2, 2.18 and 2.25.2), and
//! authentication anew.

use std::time::{Duration, Instant};

use crate::child::{Child, Use};
use crate::config::{ConnectionId, IkeVersion};
use crate::crypto::{KeyExchangeDone, RandomSource};
use crate::diagnosis::Diagnosis;
use crate::endpoint::ends::Farewell;
use crate::endpoint::established::NewIkeSa;
use crate::endpoint::jobs::JobOwner;
use crate::endpoint::{Endpoint, Timer};
use crate::ike_sa::{IkeSa, SaKey};
use crate::jobs::Urgency;
use crate::v2::Role;
use crate::v2::channel::Received;
use crate::v2::create_child_sa::Collision;
use crate::v2::ike_sa::{Answering, Established, Exchange, Stage, Step, Task};
use crate::v2::refusal::malformed;
use crate::v2::rekey_ike_sa::{AwaitAnswer, Generating, Request, Successor};
use crate::wire::ExchangeType;
use crate::wire::v2::{Message, NotifyPayload, NotifyType, Payload};

/// S17: an IKE SA that is younger is not replaced.
const LEAST_AGE: Duration = Duration::from_millis(500);
/// How long to wait after a refusal before the rekey is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

impl Endpoint {
    /// `HDR, SK {SA, Ni, KEi} -->`, once the public value is computed.
    pub(super) fn start_ike_rekey(&mut self, now: Instant, key: SaKey) {
        let spi = self.new_ike_spi();
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        if established.successor.is_some() {
            return;
        }
        let group = established.proposal.group;
        let (step, job) = Generating::start(spi, group, &mut self.rng);
        self.compute_ike_rekey(now, key, step, job);
    }

    fn compute_ike_rekey(
        &mut self,
        now: Instant,
        key: SaKey,
        step: Generating,
        job: crate::crypto::KeyExchangeJob,
    ) {
        if let Some((established, _)) = self.v2_established(key) {
            established.exchange = Some(Exchange {
                step: Step::IkeGenerating(step),
                sent: None,
                started: now,
            });
            self.compute_exchange(now, key, job);
        }
    }

    /// `<-- HDR, SK {SA, Nr, KEr}`
    pub(super) fn on_ike_rekey_answer(
        &mut self,
        now: Instant,
        key: SaKey,
        step: AwaitAnswer,
        received: &Received,
    ) {
        let Some((established, config)) = self.v2_established(key) else {
            return;
        };
        let Ok(message) = received.message() else {
            return self.on_ike_rekey_outcome(now, key, Err(malformed("an answer that cannot be read")));
        };
        if message.notify(NotifyType::TEMPORARY_FAILURE).is_some() {
            return self.on_ike_rekey_deferred(now, key);
        }
        if let Some(group) = step.other_group(&config, &message) {
            let (step, job) = step.on_group(group, &mut self.rng);
            return self.compute_ike_rekey(now, key, step, job);
        }
        match step.on_answer(&config, &message) {
            Ok((step, job)) => {
                established.exchange = Some(Exchange {
                    step: Step::IkeAgreeing(Box::new(step)),
                    sent: None,
                    started: now,
                });
                self.compute_exchange(now, key, job);
            }
            Err(diagnosis) => self.on_ike_rekey_outcome(now, key, Err(diagnosis)),
        }
    }

    /// The peer is busy, or has replaced the IKE SA itself.
    fn on_ike_rekey_deferred(&mut self, now: Instant, key: SaKey) {
        if !self.settle_ike_collision(now, key) {
            self.timers.set(Timer::IkeRekey(key), now + TRY_AGAIN);
        }
    }

    /// Our exchange failed, so what the peer made is the successor. False if there is none.
    fn settle_ike_collision(&mut self, now: Instant, key: SaKey) -> bool {
        let Some((established, _)) = self.v2_established(key) else {
            return false;
        };
        let theirs = established.nascent.take().map(|collision| collision.theirs);
        if let Some(theirs) = theirs {
            self.adopt(now, key, theirs);
        }
        theirs.is_some()
    }

    /// Our exchange has made a successor, or none.
    pub(super) fn on_ike_rekey_outcome(
        &mut self,
        now: Instant,
        key: SaKey,
        outcome: Result<Successor, Diagnosis>,
    ) {
        let Some(sa) = self.sas.get(&key) else { return };
        let (connection, path) = (sa.connection, sa.path);
        let successor = match outcome {
            Ok(successor) => successor,
            Err(diagnosis) => {
                self.report(now, Some(connection), path, diagnosis);
                return self.on_ike_rekey_deferred(now, key);
            }
        };
        let lowest_nonce = successor.nonces.lowest().to_vec();
        let Some(ours) = self.add_successor(now, key, successor) else {
            return;
        };
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        if let Some(collision) = established.nascent.take()
            && lowest_nonce < collision.lowest_nonce
        {
            // RFC 7296 section 2.8.2: the one with the lowest nonce is redundant, and its initiator closes it.
            self.note(connection, "both ends have replaced the ike sa: the peer's stays");
            self.adopt(now, key, collision.theirs);
            return self.request(now, ours, Task::DeleteIke);
        }
        self.adopt(now, key, ours);
        self.request(now, key, Task::DeleteIke);
    }

    /// `HDR, SK {SA, Ni, KEi} -->` of the peer.
    pub(super) fn on_ike_rekey_request(&mut self, now: Instant, key: SaKey, message: &Message<'_>) {
        let spi = self.new_ike_spi();
        let young = self
            .sas
            .get(&key)
            .and_then(|sa| sa.up)
            .is_some_and(|up| now < up.since + LEAST_AGE);
        let Some((established, config)) = self.v2_established(key) else {
            return;
        };
        let busy = young || !established.may_be_replaced();
        let refused = if busy {
            NotifyPayload::new(NotifyType::TEMPORARY_FAILURE, Vec::new())
        } else {
            match Request::judge(&config, message, spi, &mut self.rng) {
                Ok(request) => return self.compute_ike_rekey_answer(key, request),
                Err(refused) => {
                    if let Some((connection, path)) = self.sas.get(&key).map(|sa| (sa.connection, sa.path)) {
                        self.report(now, Some(connection), path, refused.diagnosis);
                    }
                    refused.notify
                }
            }
        };
        self.answer(key, ExchangeType::CREATE_CHILD_SA, &[Payload::Notify(refused)]);
    }

    fn compute_ike_rekey_answer(&mut self, key: SaKey, request: Request) {
        let job = request.job(&mut self.rng);
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        established.answering = Some(Answering::Ike(Box::new(request)));
        if self
            .enqueue(Urgency::Trusted, JobOwner::V2Answer(key), job)
            .is_err()
            && let Some((established, _)) = self.v2_established(key)
        {
            established.answering = None;
        }
    }

    /// `<-- HDR, SK {SA, Nr, KEr}`
    pub(super) fn answer_ike_rekey(
        &mut self,
        now: Instant,
        key: SaKey,
        request: Request,
        done: KeyExchangeDone,
    ) {
        let Some(sa) = self.sas.get(&key) else { return };
        let (connection, path) = (sa.connection, sa.path);
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        if !established.may_be_replaced() {
            // While the key exchange was computed.
            let notify = Payload::notify(NotifyType::TEMPORARY_FAILURE);
            return self.answer(key, ExchangeType::CREATE_CHILD_SA, &[notify]);
        }
        let (successor, payloads) = match request.answer(done, &established.channel) {
            Ok(answered) => answered,
            Err(diagnosis) => {
                self.report(now, Some(connection), path, diagnosis);
                let notify = Payload::notify(NotifyType::INVALID_SYNTAX);
                return self.answer(key, ExchangeType::CREATE_CHILD_SA, &[notify]);
            }
        };
        self.answer(key, ExchangeType::CREATE_CHILD_SA, &payloads);
        let lowest_nonce = successor.nonces.lowest().to_vec();
        let Some(theirs) = self.add_successor(now, key, successor) else {
            return;
        };
        let Some((established, _)) = self.v2_established(key) else {
            return;
        };
        if established.is_rekeying() {
            // Ours is not answered yet. The nonces decide when it is.
            established.nascent = Some(Box::new(Collision { theirs, lowest_nonce }));
        } else {
            self.adopt(now, key, theirs);
        }
    }

    /// The IKE SA that was negotiated to take over, beside the old one. It carries nothing yet.
    fn add_successor(&mut self, now: Instant, old: SaKey, successor: Successor) -> Option<SaKey> {
        let sa = self.sas.get(&old)?;
        let (connection, path, nat) = (sa.connection, sa.path, sa.nat);
        let established = sa.v2()?.established()?;
        let authenticated_at = established.authenticated_at;
        let known = established.sync.known;
        let initiator = successor.channel.role == Role::Initiator;
        let spis = successor.channel.spis;
        let own = if initiator { spis.initiator } else { spis.responder };
        if self.by_spi.contains_key(&own) {
            return None;
        }
        let key = self.new_sa_key();
        let established = Established::fresh(successor.channel, successor.proposal, authenticated_at, known);
        let stage = Stage::Established(Box::new(established));
        self.add_v2_sa(now, key, (connection, initiator, path, spis, None), stage);
        if let Some(sa) = self.sas.get_mut(&key) {
            sa.nat = nat;
        }
        Some(key)
    }

    /// The successor takes over all Child SAs and everything that waits. The old IKE SA is only good for its own end.
    fn adopt(&mut self, now: Instant, old: SaKey, new: SaKey) {
        let Some((established, config)) = self.v2_established(old) else {
            return;
        };
        established.successor = Some(new);
        let waiting: Vec<_> = established
            .queue
            .drain(..)
            .filter(|task| !matches!(task, Task::RekeyIke | Task::DeleteIke))
            .collect();
        let Some((successor, _)) = self.v2_established(new) else {
            return;
        };
        successor.queue.extend(waiting);
        let algorithms = successor.proposal.to_string();
        let Some(sa) = self.sas.get(&new) else { return };
        let (connection, nat) = (sa.connection, sa.nat);
        if let Some(tunnel) = self.tunnels.get_mut(&connection) {
            tunnel.children.move_to(old, new);
        }
        self.timers.clear(Timer::Keepalive(old));
        self.timers.clear(Timer::Reauth(old));
        let new_sa = NewIkeSa {
            version: IkeVersion::V2,
            algorithms,
            lifetime: config.ike_lifetime,
            nat,
            initial_contact: false,
        };
        self.on_established(now, new, new_sa);
        self.set_reauthentication(now, new);
        self.next_request(now, new);
    }

    /// Our Delete of an IKE SA was answered, or nobody answers any more.
    pub(super) fn on_ike_deleted(&mut self, now: Instant, key: SaKey) {
        let Some(connection) = self.sas.get(&key).map(|sa| sa.connection) else {
            return;
        };
        self.end_sa(now, key, Farewell::Silent);
        self.pump(now, connection);
    }

    /// Time to authenticate anew: another IKE SA beside this one, then its Child SAs, then this one goes.
    pub(in crate::endpoint) fn on_reauth_timer(&mut self, now: Instant, key: SaKey) {
        let Some(connection) = self.sas.get(&key).map(|sa| sa.connection) else {
            return;
        };
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        if tunnel.current_sa() == Some(key) && !tunnel.children.is_empty() {
            self.start_ike_sa_init(now, connection, Some(key));
        }
    }

    pub(super) fn set_reauthentication(&mut self, now: Instant, key: SaKey) {
        let Some((established, config)) = self.v2_established(key) else {
            return;
        };
        let authenticated_at = established.authenticated_at;
        let Some(every) = config.reauthentication.filter(|_| config.may_initiate) else {
            return;
        };
        // Up to a tenth earlier, so that the two ends and many tunnels do not all start at once.
        let mut octet = [0; 1];
        self.rng.fill(&mut octet);
        let early = every / 10 * u32::from(octet[0]) / 255;
        self.timers
            .set(Timer::Reauth(key), (authenticated_at + every - early).max(now));
    }

    /// A replaced IKE SA goes when nothing depends on it.
    pub(in crate::endpoint) fn on_v2_ike_delete(&mut self, now: Instant, key: SaKey) {
        let Some(connection) = self.sas.get(&key).map(|sa| sa.connection) else {
            return;
        };
        let left = self.current_children_of(connection, key);
        if left.is_empty() && !self.has_undecided_child(connection, key) {
            return self.request(now, key, Task::DeleteIke);
        }
        self.timers.set(Timer::IkeDelete(key), now + self.config.linger);
        for want in left {
            self.want(now, connection, want);
        }
    }

    /// Whether the peer may be using a Child SA of an IKE SA that it has not been seen to have yet.
    fn has_undecided_child(&self, connection: ConnectionId, key: SaKey) -> bool {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return false;
        };
        let is_alone = |child: &Child| {
            let mut served = child.serves.iter();
            served.any(|served| tunnel.children.current_for(served.selectors).is_none())
        };
        tunnel
            .children
            .iter()
            .filter(|(_, child)| child.ike == key && child.usage == Use::Unconfirmed && !child.ending)
            .any(|(_, child)| is_alone(child))
    }

    /// Ends the Child SAs that an IKE SA takes with it. Returns whether one of them was in use without an heir.
    pub(in crate::endpoint) fn remove_children_of(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        key: SaKey,
    ) -> bool {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return false;
        };
        let children: Vec<_> = tunnel
            .children
            .iter()
            .filter(|(_, child)| child.ike == key)
            .map(|(id, _)| id)
            .collect();
        let mut lost = false;
        for id in children {
            self.hand_over(now, id);
            lost |= self.remove_child(id);
        }
        lost
    }

    /// The peer's successor, when the old IKE SA ends before ours was decided on.
    pub(super) fn adopt_nascent(&mut self, now: Instant, key: SaKey) {
        let undecided = self
            .sas
            .get(&key)
            .and_then(IkeSa::v2)
            .and_then(|sa| sa.established())
            .is_some_and(|established| established.successor.is_none());
        if undecided {
            self.settle_ike_collision(now, key);
        }
    }
}
