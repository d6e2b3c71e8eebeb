//! From the wish for an IKE SA to the answer to IKE_AUTH, as the end that starts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{ConnectionId, IkeVersion, PairIndex};
use crate::crypto::{KeyExchangeDone, KeyExchangeJob};
use crate::diagnosis::{Code, Diagnosis};
use crate::endpoint::established::NewIkeSa;
use crate::endpoint::jobs::JobOwner;
use crate::endpoint::{Endpoint, Timer};
use crate::ike_sa::{IkeSa, SaKey, Spis, State};
use crate::jobs::Urgency;
use crate::path::{IKE_PORT, NatSides, Path};
use crate::tunnel::Want;
use crate::v2::channel::Received;
use crate::v2::ike_auth::{self, Authenticated};
use crate::v2::ike_intermediate;
use crate::v2::ike_sa::{AnsweredInit, Established, Sent, Stage, V2Sa};
use crate::v2::ike_sa_init::initiator::{Generating, Verdict};
use crate::v2::refusal::Refusal;
use crate::v2::setup::{Keyed, StepCx};
use crate::wire::v2::{Message, NotifyPayload, NotifyType, Payload};
use crate::wire::{ExchangeType, Flags, Header, IkeSpi};

/// How long the answer to IKE_SA_INIT has its chance before a cookie is repeated, which nobody has authenticated.
const COOKIE_WAIT: Duration = Duration::from_millis(200);

/// What comes after a key exchange of the set-up.
enum Next {
    Ask(Stage, Vec<Vec<u8>>),
    Keyed(Box<Keyed>),
    Authenticate(Box<Keyed>),
    AnswerInit(Box<Keyed>, Vec<u8>),
    AnswerIntermediate(Box<Keyed>, u32, Vec<Vec<u8>>),
}

impl Endpoint {
    /// Starts with a key exchange of our own; `HDR, SAi1, KEi, Ni -->` follows when it is computed.
    pub(in crate::endpoint) fn start_ike_sa_init(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        replaces: Option<SaKey>,
    ) {
        let Some(config) = self.config_of(connection) else {
            return;
        };
        let idle = |tunnel: &crate::tunnel::Tunnel| tunnel.initiating.is_none();
        if !self.tunnels.get(&connection).is_some_and(idle) {
            return;
        }
        let spi = self.new_ike_spi();
        let address = |ip| std::net::SocketAddrV4::new(ip, IKE_PORT);
        let path = Path {
            local: address(config.local),
            peer: address(config.peer),
        };
        let mut cx = StepCx {
            config: &config,
            path,
            rng: &mut self.rng,
        };
        let Some((step, job)) = Generating::start(spi, &mut cx) else {
            return;
        };
        let key = self.new_sa_key();
        let spis = Spis {
            initiator: spi,
            responder: IkeSpi::ZERO,
        };
        let stage = Stage::InitGenerating(Box::new(step));
        self.add_v2_sa(now, key, (connection, true, path, spis, replaces), stage);
        if let Some(tunnel) = self.tunnels.get_mut(&connection) {
            tunnel.initiating = Some(key);
        }
        self.note(connection, "ike_sa_init started");
        self.compute_setup(now, key, Urgency::Trusted, job);
    }

    pub(super) fn add_v2_sa(
        &mut self,
        now: Instant,
        key: SaKey,
        (connection, initiator, path, spis, replaces): (ConnectionId, bool, Path, Spis, Option<SaKey>),
        stage: Stage,
    ) {
        let sa = IkeSa {
            connection,
            initiator,
            path,
            spis,
            started: now,
            heard: now,
            replaces,
            up: None,
            nat: NatSides::default(),
            yields: false,
            reported: false,
            state: State::V2(Box::new(V2Sa::new(stage))),
        };
        self.by_spi.insert(sa.own_spi(), key);
        self.sas.insert(key, sa);
    }

    /// Queues a key exchange of the set-up. Without room the attempt ends.
    pub(super) fn compute_setup(&mut self, now: Instant, key: SaKey, urgency: Urgency, job: KeyExchangeJob) {
        if self.enqueue(urgency, JobOwner::V2Setup(key), job).is_err() {
            self.drop_datagram("too many key exchanges wait");
            self.fail_setup(now, key, false);
        }
    }

    /// A key exchange of the set-up is computed.
    pub(in crate::endpoint) fn on_setup_job(&mut self, now: Instant, key: SaKey, done: KeyExchangeDone) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let path = sa.path;
        let Some(config) = self
            .tunnels
            .get(&sa.connection)
            .map(|tunnel| Arc::clone(&tunnel.config))
        else {
            return;
        };
        let Some(sa) = sa.v2_mut() else { return };
        let mut cx = StepCx {
            config: &config,
            path,
            rng: &mut self.rng,
        };
        let next = match std::mem::replace(&mut sa.stage, Stage::Ended) {
            Stage::InitGenerating(step) => step
                .on_generated(done, &mut cx)
                .map(|(step, datagram)| Next::Ask(Stage::InitSent(Box::new(step)), vec![datagram])),
            Stage::InitAgreeing(step) => step.on_agreed(done).map(|keyed| Next::Keyed(Box::new(keyed))),
            Stage::IntermediateGenerating(step) => step
                .on_generated(done, cx.rng)
                .map(|(step, datagrams)| Next::Ask(Stage::IntermediateSent(step), datagrams)),
            Stage::IntermediateAgreeing(step) => step.on_agreed(done).map(Next::Authenticate),
            Stage::InitResponding(step) => step
                .on_responded(done, &mut cx)
                .map(|(keyed, datagram)| Next::AnswerInit(Box::new(keyed), datagram)),
            Stage::IntermediateResponding(step) => {
                let message_id = step.message_id();
                step.on_responded(done, cx.rng)
                    .map(|(keyed, datagrams)| Next::AnswerIntermediate(keyed, message_id, datagrams))
            }
            stage @ (Stage::InitSent(_)
            | Stage::IntermediateSent(_)
            | Stage::AuthSent(_)
            | Stage::AwaitIntermediate(_)
            | Stage::AwaitAuth(_)
            | Stage::Established(_)
            | Stage::Ended) => {
                sa.stage = stage;
                return;
            }
        };
        match next {
            Ok(Next::Ask(stage, datagrams)) => {
                sa.stage = stage;
                self.send_setup(now, key, datagrams);
            }
            Ok(Next::Keyed(keyed)) => self.after_init(now, key, keyed),
            Ok(Next::Authenticate(keyed)) => self.send_ike_auth(now, key, keyed),
            Ok(Next::AnswerInit(keyed, datagram)) => {
                sa.stage = if keyed.proposal.additional.is_some() {
                    Stage::AwaitIntermediate(keyed)
                } else {
                    Stage::AwaitAuth(keyed)
                };
                if let Some(answered) = &mut sa.answered {
                    answered.response.clone_from(&datagram);
                }
                self.send(path, datagram);
            }
            Ok(Next::AnswerIntermediate(keyed, message_id, datagrams)) => {
                sa.stage = Stage::AwaitAuth(keyed);
                sa.last_response = Some((message_id, datagrams.clone()));
                self.send_all(path, &datagrams);
            }
            Err(refusal) => {
                self.on_setup_refused(now, key, path, refusal);
                self.fail_setup(now, key, false);
            }
        }
    }

    /// A request of the set-up: sent, and again until it is answered.
    fn send_setup(&mut self, now: Instant, key: SaKey, datagrams: Vec<Vec<u8>>) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let path = sa.path;
        if let Some(sa) = sa.v2_mut() {
            sa.pending = Some(Sent::once(datagrams.clone()));
        }
        if let Some(wait) = self.config.retransmit.wait(1) {
            self.timers.set(Timer::V2Request(key), now + wait);
        }
        self.send_all(path, &datagrams);
    }

    /// `<-- HDR, SAr1, KEr, Nr`, or something that claims to be.
    pub(super) fn on_init_answer(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        header: &Header,
        body: &[u8],
        datagram: &[u8],
    ) {
        if header.exchange_type != ExchangeType::IKE_SA_INIT || !header.flags.contains(Flags::RESPONSE) {
            return self.drop_datagram("not an answer to ike_sa_init");
        }
        let Ok(message) = Message::parse(header.next_payload, body) else {
            return self.drop_datagram("malformed message");
        };
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let Some(config) = self
            .tunnels
            .get(&sa.connection)
            .map(|tunnel| Arc::clone(&tunnel.config))
        else {
            return;
        };
        let connection = sa.connection;
        let Some(sa) = sa.v2_mut() else { return };
        let Stage::InitSent(step) = &mut sa.stage else {
            return;
        };
        let mut cx = StepCx {
            config: &config,
            path,
            rng: &mut self.rng,
        };
        match step.judge(header, &message, datagram, &cx) {
            Err(refusal) => self.on_setup_refused(now, key, path, refusal),
            Ok(Verdict::Cookie(cookie)) => {
                if step.on_cookie(cookie) {
                    self.timers.set(Timer::V2Request(key), now + COOKIE_WAIT);
                    self.note(connection, "peer asks for a cookie");
                }
            }
            Ok(Verdict::Group(group)) => {
                let Stage::InitSent(step) = std::mem::replace(&mut sa.stage, Stage::Ended) else {
                    return;
                };
                let (step, job) = step.on_group(group, &mut cx);
                sa.stage = Stage::InitGenerating(Box::new(step));
                sa.pending = None;
                self.timers.clear(Timer::V2Request(key));
                self.note(connection, format!("peer asks for {group}"));
                self.compute_setup(now, key, Urgency::Trusted, job);
            }
            Ok(Verdict::Accepted(answer)) => {
                let Stage::InitSent(step) = std::mem::replace(&mut sa.stage, Stage::Ended) else {
                    return;
                };
                let (step, job) = step.on_answer(answer);
                let spis = step.spis();
                sa.stage = Stage::InitAgreeing(step);
                sa.pending = None;
                self.timers.clear(Timer::V2Request(key));
                if let Some(sa) = self.sas.get_mut(&key) {
                    sa.spis = spis;
                }
                self.compute_setup(now, key, Urgency::Trusted, job);
            }
        }
    }

    /// Keys are there: IKE_INTERMEDIATE if both ends want it, else IKE_AUTH. Behind a NAT from port 4500.
    fn after_init(&mut self, now: Instant, key: SaKey, keyed: Box<Keyed>) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        if keyed.floats() {
            sa.path = sa.path.floated();
        }
        let Some(group) = keyed.proposal.additional else {
            return self.send_ike_auth(now, key, keyed);
        };
        let (step, job) = ike_intermediate::Generating::start(keyed, group, &mut self.rng);
        if let Some(stage) = self.v2_stage_mut(key) {
            *stage = Stage::IntermediateGenerating(step);
        }
        self.compute_setup(now, key, Urgency::Trusted, job);
    }

    /// `HDR, SK {IDi, IDr, AUTH, SAi2, TSi, TSr} -->`
    fn send_ike_auth(&mut self, now: Instant, key: SaKey, keyed: Box<Keyed>) {
        let Some(sa) = self.sas.get(&key) else { return };
        let (connection, replaces) = (sa.connection, sa.replaces);
        if self.is_forestalled(key) {
            self.give_way(connection, key);
            return self.pump(now, connection);
        }
        let Some(want) = self.first_want(connection, replaces) else {
            return self.fail_setup(now, key, false);
        };
        let spi = self.new_esp_spi();
        let Some(tunnel) = self.tunnels.get_mut(&connection) else {
            return;
        };
        let config = Arc::clone(&tunnel.config);
        tunnel.wanted.remove(&want.selectors);
        let alone = tunnel.established.is_empty() && tunnel.children.is_empty();
        let started =
            ike_auth::initiator::AwaitAnswer::start(keyed, &config, want, spi, alone, &mut self.rng);
        match started {
            Ok((step, datagrams)) => {
                // Reserved until the exchange ends, one way or the other.
                self.expect_inbound(connection, spi);
                if let Some(stage) = self.v2_stage_mut(key) {
                    *stage = Stage::AuthSent(step);
                }
                self.send_setup(now, key, datagrams);
            }
            Err(_misuse) => self.fail_setup(now, key, false),
        }
    }

    /// What the first Child SA is for: what waits, what an IKE SA that is replaced has, or the first pair.
    fn first_want(&self, connection: ConnectionId, replaces: Option<SaKey>) -> Option<Want> {
        let tunnel = self.tunnels.get(&connection)?;
        let waiting = tunnel.wanted.first_key_value().map(|(_, want)| *want);
        let of_old = || {
            let (old, child) = tunnel
                .children
                .iter()
                .find(|(_, child)| Some(child.ike) == replaces)?;
            let served = child.serves.first()?;
            Some(Want {
                pair: served.pair,
                selectors: served.selectors,
                replaces: Some(old),
            })
        };
        let first = || {
            Some(Want {
                pair: PairIndex(0),
                selectors: *tunnel.config.selectors.first()?,
                replaces: None,
            })
        };
        waiting.or_else(of_old).or_else(first)
    }

    /// The answer to IKE_INTERMEDIATE or IKE_AUTH.
    pub(super) fn on_setup_response(&mut self, now: Instant, key: SaKey, path: Path, received: &Received) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let Some(config) = self
            .tunnels
            .get(&sa.connection)
            .map(|tunnel| Arc::clone(&tunnel.config))
        else {
            return;
        };
        let Some(sa) = sa.v2_mut() else { return };
        let (header, stage) = (&received.header, &mut sa.stage);
        let outcome = match std::mem::replace(stage, Stage::Ended) {
            Stage::IntermediateSent(step)
                if (header.exchange_type, header.message_id)
                    == (ExchangeType::IKE_INTERMEDIATE, step.keyed.next_id) =>
            {
                match step.judge(received) {
                    Ok(public) => {
                        let (step, job) = step.on_answer(received, &public);
                        *stage = Stage::IntermediateAgreeing(step);
                        sa.pending = None;
                        self.timers.clear(Timer::V2Request(key));
                        self.compute_setup(now, key, Urgency::Trusted, job);
                        Ok(())
                    }
                    Err(refusal) => {
                        *stage = Stage::IntermediateSent(step);
                        Err(refusal)
                    }
                }
            }
            Stage::AuthSent(step)
                if (header.exchange_type, header.message_id)
                    == (ExchangeType::IKE_AUTH, step.keyed.next_id) =>
            {
                match step.judge(received, &config) {
                    Ok(()) => {
                        self.on_authenticated_responder(now, key, step, received);
                        Ok(())
                    }
                    Err(refusal) => {
                        *stage = Stage::AuthSent(step);
                        Err(refusal)
                    }
                }
            }
            other @ (Stage::InitGenerating(_)
            | Stage::InitSent(_)
            | Stage::InitAgreeing(_)
            | Stage::IntermediateGenerating(_)
            | Stage::IntermediateSent(_)
            | Stage::IntermediateAgreeing(_)
            | Stage::AuthSent(_)
            | Stage::InitResponding(_)
            | Stage::AwaitIntermediate(_)
            | Stage::IntermediateResponding(_)
            | Stage::AwaitAuth(_)
            | Stage::Established(_)
            | Stage::Ended) => {
                *stage = other;
                Err(Refusal::Drop("an answer to nothing"))
            }
        };
        if let Err(refusal) = outcome {
            self.on_setup_refused(now, key, path, refusal);
        }
    }

    /// The responder is who it should be.
    fn on_authenticated_responder(
        &mut self,
        now: Instant,
        key: SaKey,
        step: ike_auth::initiator::AwaitAnswer,
        received: &Received,
    ) {
        let Some(sa) = self.sas.get(&key) else { return };
        let (connection, path) = (sa.connection, sa.path);
        let Some(config) = self.config_of(connection) else {
            return;
        };
        let Ok(message) = received.message() else {
            return self.fail_setup(now, key, false);
        };
        let (want, spi) = (step.want, step.spi);
        let outcome = step.on_answer(&message, &config);
        self.on_v2_established(now, key, outcome.authenticated);
        match outcome.child {
            Ok(child) => {
                if let Some(id) = self.install(now, key, child, true) {
                    self.confirm(now, id);
                }
            }
            Err(diagnosis) => {
                self.forget_inbound(spi);
                self.report(now, Some(connection), path, diagnosis);
                if message.sa().is_some() {
                    self.decline(now, key, spi);
                }
                self.child_failed(now, connection, want);
            }
        }
        self.pump(now, connection);
    }

    /// Both ends are authenticated.
    pub(super) fn on_v2_established(&mut self, now: Instant, key: SaKey, authenticated: Authenticated) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, replaces) = (sa.connection, sa.replaces);
        let Some(config) = self
            .tunnels
            .get(&connection)
            .map(|tunnel| Arc::clone(&tunnel.config))
        else {
            return;
        };
        let new = NewIkeSa {
            version: IkeVersion::V2,
            algorithms: authenticated.proposal.to_string(),
            lifetime: config.ike_lifetime,
            nat: authenticated.nat,
            initial_contact: authenticated.initial_contact,
        };
        if let Some(sa) = sa.v2_mut() {
            sa.pending = None;
            sa.stage = Stage::Established(Box::new(Established::new(authenticated, now)));
        }
        self.timers.clear(Timer::V2Request(key));
        self.on_established(now, key, new);
        self.set_reauthentication(now, key);
        self.rank_crossed(now, key);
        if let Some(old) = replaces {
            self.want_children_of(now, old);
        }
    }

    /// Why the set-up does not advance, or ends.
    pub(super) fn on_setup_refused(&mut self, now: Instant, key: SaKey, path: Path, refusal: Refusal) {
        let Some(connection) = self.sas.get(&key).map(|sa| sa.connection) else {
            return;
        };
        match refusal {
            Refusal::Drop(why) => self.drop_datagram(why),
            Refusal::Report(diagnosis) => {
                self.drop_datagram("not what the set-up expects");
                self.report_once(now, key, path, diagnosis);
            }
            Refusal::End(diagnosis, notify) => {
                self.report(now, Some(connection), path, diagnosis);
                if let Some(notify) = notify {
                    self.say_refused(key, notify);
                }
                self.fail_setup(now, key, false);
            }
        }
    }

    /// The responder counts the IKE SA as established: it has to hear that it is not (RFC 7296 section 2.21.2).
    fn say_refused(&mut self, key: SaKey, notify: NotifyPayload) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let path = sa.path;
        let Some(Stage::AuthSent(step)) = sa.v2_mut().map(|sa| &mut sa.stage) else {
            return;
        };
        let notify = if notify.notify_type == NotifyType::AUTHENTICATION_FAILED {
            notify
        } else {
            NotifyPayload::new(NotifyType::AUTHENTICATION_FAILED, Vec::new())
        };
        let name = (
            ExchangeType::INFORMATIONAL,
            step.keyed.next_id.wrapping_add(1),
            false,
        );
        let message = step
            .keyed
            .channel
            .message(name, &[Payload::Notify(notify)], &mut self.rng);
        if let Ok(datagrams) = message {
            self.send_all(path, &datagrams);
        }
    }

    /// The set-up ended without an IKE SA. With `unreachable` the peer has never said anything.
    pub(super) fn fail_setup(&mut self, now: Instant, key: SaKey, unreachable: bool) {
        let Some(sa) = self.forget_sa(key) else { return };
        if sa.initiator {
            self.on_initiation_failed(now, &sa, unreachable);
        }
    }

    /// The timer of the set-up fired: send again as initiator, give up as responder.
    pub(super) fn on_setup_timer(&mut self, now: Instant, key: SaKey) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, path, initiator) = (sa.connection, sa.path, sa.initiator);
        let Some(config) = self
            .tunnels
            .get(&connection)
            .map(|tunnel| Arc::clone(&tunnel.config))
        else {
            return;
        };
        let Some(sa) = sa.v2_mut() else { return };
        let exchange = sa.exchange_name();
        if let (Stage::InitSent(step), Some(pending)) = (&mut sa.stage, &mut sa.pending) {
            let mut cx = StepCx {
                config: &config,
                path,
                rng: &mut self.rng,
            };
            if let Some(request) = step.with_cookie(&mut cx) {
                pending.datagrams = vec![request];
            }
        }
        let Some(pending) = sa.pending.as_mut().filter(|_| initiator) else {
            if !initiator {
                self.forget_sa(key);
                self.note(connection, format!("peer did not go on after {exchange}"));
            }
            return;
        };
        if let Some(wait) = self.config.retransmit.wait(pending.times + 1) {
            pending.times += 1;
            let datagrams = pending.datagrams.clone();
            self.totals.retransmits += 1;
            self.timers.set(Timer::V2Request(key), now + wait);
            return self.send_all(path, &datagrams);
        }
        let times = pending.times;
        let unreachable = matches!(sa.stage, Stage::InitSent(_));
        let advice = if unreachable {
            "check that the peer is reachable, that UDP ports 500 and 4500 are open on the way, that it speaks ikev2, and that it \
             has a tunnel for our address"
        } else {
            "the peer has answered ike_sa_init: check that UDP port 4500 is open on the way, and read the peer's log"
        };
        let diagnosis = Diagnosis::new(
            Code::NoResponse,
            format!("sent {exchange} {times} times to {}", path.peer),
            "peer does not answer",
            advice,
        );
        self.report_once(now, key, path, diagnosis);
        self.fail_setup(now, key, unreachable);
    }

    /// Notes the request that is being answered, so that its repetition is not answered twice.
    pub(super) fn note_answering(&mut self, key: SaKey, datagram: &[u8]) {
        if let Some(sa) = self.sas.get_mut(&key).and_then(IkeSa::v2_mut) {
            sa.answered = Some(AnsweredInit::new(datagram, Vec::new()));
        }
    }
}
