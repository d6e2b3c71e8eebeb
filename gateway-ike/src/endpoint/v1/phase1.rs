//! Main Mode and Aggressive Mode in the context of all others: who may start, what waits for what, how an attempt ends.

mod established;

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{ConnectionId, Phase1Mode};
use crate::crypto::KeyExchangeDone;
use crate::diagnosis::{Code, Diagnosis};
use crate::endpoint::jobs::JobOwner;
use crate::endpoint::{Endpoint, Timer};
use crate::ike_sa::{IkeSa, Pending, SaKey, Spis, State, random_u32};
use crate::jobs::Urgency;
use crate::path::{IKE_PORT, NatSides, Path};
use crate::v1::Refusal;
use crate::v1::isakmp_sa::{Answered, IsakmpSa, Phase};
use crate::v1::nat_traversal::Nat;
use crate::v1::phase1::{Advance, Phase1, Refused, StepCx};
use crate::wire::v1::{Doi, NotifyPayload, NotifyType, Payload};
use crate::wire::{ExchangeType, Header, IkeSpi, ProtocolId};

/// How often the last message of Aggressive Mode is sent in all, while nothing shows that the peer has it. The last one comes 31
/// seconds after the first: peers give up a half-open exchange after about 30.
const LAST_MESSAGE_SENT: u32 = 6;
/// How soon a message of a renewal is sent again, at the least, however little time the old IKE SA has left.
const SHORTEST_WAIT: Duration = Duration::from_secs(2);
/// The same when the old IKE SA has ended meanwhile.
const LATE_WAIT: Duration = Duration::from_secs(8);

impl Endpoint {
    /// Starts Main Mode or Aggressive Mode, unless one is under way.
    pub(in crate::endpoint) fn start_phase_1(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        replaces: Option<SaKey>,
    ) {
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        if tunnel.initiating.is_some() {
            return;
        }
        let config = Arc::clone(&tunnel.config);
        let initial_contact = tunnel.is_empty();
        let spi = self.new_ike_spi();
        let path = Path {
            local: SocketAddrV4::new(config.local, IKE_PORT),
            peer: SocketAddrV4::new(config.peer, IKE_PORT),
        };
        let mut cx = StepCx {
            config: &config,
            path,
            initial_contact,
            rng: &mut self.rng,
        };
        let (mode, started) = match config.mode {
            Phase1Mode::Main => ("main mode", Phase1::start_main(spi, &cx)),
            Phase1Mode::Aggressive => ("aggressive mode", Phase1::start_aggressive(spi, &mut cx)),
        };
        let Ok((phase1, advance)) = started else { return };
        let spis = Spis {
            initiator: spi,
            responder: IkeSpi::ZERO,
        };
        let mut sa = new_sa(now, connection, path, spis, phase1);
        sa.initiator = true;
        sa.replaces = replaces;
        let key = self.new_sa_key();
        self.by_spi.insert(spi, key);
        self.sas.insert(key, sa);
        if let Some(tunnel) = self.tunnels.get_mut(&connection) {
            tunnel.initiating = Some(key);
        }
        self.note(connection, format!("{mode} started"));
        self.on_advance(now, key, advance);
    }

    /// Message 1 of a peer: `HDR, SA -->` or `HDR, SA, KE, Ni, IDii -->`
    pub(in crate::endpoint) fn on_first_message(
        &mut self,
        now: Instant,
        path: Path,
        header: &Header,
        body: &[u8],
        datagram: &[u8],
    ) {
        if self.by_spi.contains_key(&header.initiator_spi) {
            self.drop_datagram("our own message, reflected");
            return;
        }
        let first = (*path.peer.ip(), header.initiator_spi);
        if let Some(key) = self.by_first_message.get(&first).copied() {
            self.repeat_answer(key, path, datagram);
            return;
        }
        let (mode, allowed) = match header.exchange_type {
            ExchangeType::AGGRESSIVE => ("aggressive mode", Phase1Mode::Aggressive),
            _ => ("main mode", Phase1Mode::Main),
        };
        let Some((connection, config)) = self
            .tunnel_of(path)
            .and_then(|id| Some((id, self.config_of(id)?)))
        else {
            let peer = path.peer.ip();
            let diagnosis = Diagnosis::new(
                Code::UnknownPeer,
                format!("no tunnel between {} and this peer", path.local.ip()),
                format!("peer {peer} starts {mode}"),
                "add a tunnel, or correct customer_gateway.address if the peer has changed its address",
            );
            self.report(now, None, path, diagnosis);
            self.drop_datagram("no tunnel for this peer");
            return;
        };
        // V2: an answer of aggressive mode gives away what a weak key can be guessed with.
        if !config.version.answers_v1() || config.mode != allowed {
            self.refuse_exchange(now, path, &format!("peer starts ikev1 {mode}"));
            return self.drop_datagram("an exchange that the tunnel does not allow");
        }
        if !self.jobs.has_room(Urgency::Unproven) {
            return self.drop_datagram("too many key exchanges wait");
        }
        let spi = self.new_ike_spi();
        let mut cx = StepCx {
            config: &config,
            path,
            initial_contact: false,
            rng: &mut self.rng,
        };
        let (phase1, advance) = match Phase1::answer(header, body, spi, &mut cx) {
            Ok(accepted) => accepted,
            Err(Refusal::Drop(why)) => return self.drop_datagram(why),
            Err(Refusal::Report(diagnosis, notify) | Refusal::End(diagnosis, notify)) => {
                self.report(now, Some(connection), path, diagnosis);
                if let Some(notify) = notify {
                    let spis = Spis {
                        initiator: header.initiator_spi,
                        responder: IkeSpi::ZERO,
                    };
                    self.notify_in_the_clear(path, spis, notify);
                }
                return;
            }
        };
        if !self.make_room(path) {
            return self.drop_datagram("too many half-open exchanges");
        }
        let spis = Spis {
            initiator: header.initiator_spi,
            responder: spi,
        };
        let mut sa = new_sa(now, connection, path, spis, phase1);
        if let Some(isakmp) = sa.v1_mut() {
            isakmp.answered = Some(Answered::new(datagram));
        }
        let key = self.new_sa_key();
        self.by_spi.insert(spi, key);
        self.by_first_message.insert(first, key);
        self.half_open.insert(*path.peer.ip(), key);
        self.sas.insert(key, sa);
        self.timers
            .set(Timer::Phase1(key), now + self.config.half_open_timeout);
        self.note(connection, format!("peer started {mode}"));
        self.on_advance(now, key, advance);
    }

    /// The same message again gets the same answer, once there is one. V1: one for one, never by a timer.
    fn repeat_answer(&mut self, key: SaKey, path: Path, datagram: &[u8]) {
        let isakmp = self.sas.get(&key).and_then(IkeSa::v1);
        let answered = isakmp.and_then(|isakmp| isakmp.answered.as_ref());
        match answered
            .filter(|answered| answered.is_for(datagram))
            .and_then(|answered| answered.datagram.clone())
        {
            Some(reply) => {
                self.totals.retransmits += 1;
                self.send_ike(key, path, reply);
            }
            None => self.drop_datagram("an old message, or one that is being worked on"),
        }
    }

    /// An error notification before there are keys: short, one for one, proves nothing.
    fn notify_in_the_clear(&mut self, path: Path, spis: Spis, notify_type: NotifyType) {
        let payload = Payload::Notify(NotifyPayload {
            doi: Doi::IPSEC,
            protocol: ProtocolId::IKE,
            spi: Vec::new(),
            notify_type,
            data: Vec::new(),
        });
        let message_id = random_u32(&mut self.rng).max(1);
        let message = spis
            .message(ExchangeType::INFORMATIONAL_V1, message_id)
            .payload(&payload);
        if let Ok(datagram) = message.and_then(|message| message.clear()) {
            self.send(path, datagram);
        }
    }

    /// All messages but the first.
    pub(in crate::endpoint) fn on_phase_1(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        header: &Header,
        body: &[u8],
        datagram: &[u8],
    ) {
        let repeats = |answered: &&Answered| answered.is_for(datagram);
        let isakmp = self.sas.get(&key).and_then(IkeSa::v1);
        if isakmp
            .and_then(|isakmp| isakmp.answered.as_ref())
            .filter(repeats)
            .is_some()
        {
            return self.repeat_answer(key, path, datagram);
        }
        let Some(sa) = self.sas.get_mut(&key) else { return };
        if !sa.initiator && !self.jobs.has_room(Urgency::Unproven) {
            return self.drop_datagram("too many key exchanges wait");
        }
        let Some(tunnel) = self.tunnels.get(&sa.connection) else {
            return;
        };
        let config = Arc::clone(&tunnel.config);
        let initiator = sa.initiator;
        let mut cx = StepCx {
            config: &config,
            path,
            initial_contact: initiator && tunnel.is_empty(),
            rng: &mut self.rng,
        };
        let Some(isakmp) = sa.v1_mut() else { return };
        let Phase::Negotiating(phase1) = &mut isakmp.phase else {
            return self.drop_datagram("phase 1 is over");
        };
        match phase1.on_message(header, body, &mut cx) {
            Ok(advance) => {
                if initiator {
                    sa.heard = now;
                } else {
                    isakmp.answered = Some(Answered::new(datagram));
                    sa.path = path;
                }
                self.on_advance(now, key, advance);
            }
            Err(refused) => self.on_refused(now, key, path, refused),
        }
    }

    /// The key exchange that phase 1 waited for is done.
    pub(in crate::endpoint) fn on_phase_1_job(&mut self, now: Instant, key: SaKey, done: KeyExchangeDone) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let Some(tunnel) = self.tunnels.get(&sa.connection) else {
            return;
        };
        let config = Arc::clone(&tunnel.config);
        let path = sa.path;
        let mut cx = StepCx {
            config: &config,
            path,
            initial_contact: sa.initiator && tunnel.is_empty(),
            rng: &mut self.rng,
        };
        let Some(Phase::Negotiating(phase1)) = sa.v1_mut().map(|isakmp| &mut isakmp.phase) else {
            return;
        };
        match phase1.on_key_exchange(done, &mut cx) {
            Ok(advance) => self.on_advance(now, key, advance),
            Err(refused) => self.on_refused(now, key, path, refused),
        }
    }

    fn on_advance(&mut self, now: Instant, key: SaKey, advance: Advance) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let State::V1(isakmp) = &mut sa.state else {
            return;
        };
        if let Phase::Negotiating(phase1) = &isakmp.phase {
            sa.spis = phase1.learned_spis().unwrap_or(sa.spis);
            if let Some(extensions) = phase1.learned_extensions() {
                isakmp.peer_reassembles = extensions.fragmentation;
            }
            if phase1.floats() {
                sa.path = sa.path.floated();
            }
        }
        match advance {
            Advance::Compute(job) => {
                let urgency = if sa.initiator {
                    // Its last message was answered. A driver that never comes back must not hold up the tunnel for ever.
                    isakmp.pending = None;
                    self.timers
                        .set(Timer::Phase1(key), now + self.config.half_open_timeout);
                    Urgency::Trusted
                } else {
                    Urgency::Unproven
                };
                if self.enqueue(urgency, JobOwner::Phase1(key), job).is_err() {
                    self.fail_phase_1(now, key);
                }
            }
            Advance::Reply(reply) => {
                if sa.initiator {
                    let pending = Pending::new(reply.clone());
                    let wait = pending.wait(&self.config.retransmit).unwrap_or_default();
                    isakmp.pending = Some(pending);
                    self.timers.set(Timer::Phase1(key), now + wait);
                } else if let Some(answered) = &mut isakmp.answered {
                    answered.datagram = Some(reply.clone());
                }
                let path = sa.path;
                self.send_ike(key, path, reply);
            }
            Advance::Up(reply, authenticated) => {
                let connection = sa.connection;
                let announce = authenticated.choice.announce;
                if sa.initiator {
                    if authenticated.nat.is_some_and(Nat::found) {
                        sa.path = sa.path.floated();
                    }
                } else if let Some(answered) = &mut isakmp.answered {
                    answered.datagram.clone_from(&reply);
                }
                let path = sa.path;
                self.on_authenticated(now, key, *authenticated);
                if let Some(reply) = reply {
                    self.keep_last_message(now, key, &reply);
                    self.send_ike(key, path, reply);
                }
                if announce {
                    self.announce_lifetime(key);
                }
                self.pump(now, connection);
            }
        }
    }

    /// The last message of an initiator is answered by nothing that must come: it is sent again a few times by the timer.
    fn keep_last_message(&mut self, now: Instant, key: SaKey, datagram: &[u8]) {
        let Some(sa) = self.sas.get_mut(&key).filter(|sa| sa.initiator) else {
            return;
        };
        let pending = Pending::new(datagram.to_vec());
        if let Some(wait) = pending.wait(&self.config.retransmit) {
            self.timers.set(Timer::Phase1(key), now + wait);
        }
        if let Some(isakmp) = sa.v1_mut() {
            isakmp.pending = Some(pending);
        }
    }

    fn on_refused(&mut self, now: Instant, key: SaKey, path: Path, Refused { refusal, reply }: Refused) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, spis) = (sa.connection, sa.spis);
        let phase1 = sa.v1().and_then(IsakmpSa::negotiating);
        let ended = phase1.is_some_and(|phase1| matches!(phase1, Phase1::Ended));
        if let Some(reply) = reply {
            self.send_ike(key, path, reply);
        }
        match refusal {
            Refusal::Drop(why) => self.drop_datagram(why),
            Refusal::Report(diagnosis, notify) => {
                self.drop_datagram("not what phase 1 expects");
                self.report_once(now, key, path, diagnosis);
                if let Some(notify) = notify {
                    self.notify_in_the_clear(path, spis, notify);
                }
            }
            Refusal::End(diagnosis, _) => self.report(now, Some(connection), path, diagnosis),
        }
        if ended {
            self.fail_phase_1(now, key);
        }
    }

    /// Phase 1 ended without an IKE SA.
    pub(super) fn fail_phase_1(&mut self, now: Instant, key: SaKey) {
        let Some(sa) = self.forget_sa(key) else { return };
        if sa.initiator {
            let phase1 = sa.v1().and_then(IsakmpSa::negotiating);
            let unreachable = phase1.is_some_and(Phase1::heard_nothing);
            self.on_initiation_failed(now, &sa, unreachable);
        }
    }

    /// The timer of phase 1 fired.
    pub(in crate::endpoint) fn on_phase_1_timer(&mut self, now: Instant, key: SaKey) {
        let most = self.longest_wait(now, key);
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, path) = (sa.connection, sa.path);
        let ends = sa.started + self.config.retransmit.total();
        let Some(isakmp) = sa.v1_mut() else { return };
        let Phase::Negotiating(phase1) = &isakmp.phase else {
            return self.repeat_last_message(now, key);
        };
        let Some(pending) = &mut isakmp.pending else {
            // V1: a responder does not send again by itself, it only stops waiting.
            let waits_for = phase1.waits_for();
            self.note(connection, format!("peer did not send {waits_for}"));
            self.fail_phase_1(now, key);
            return;
        };
        let wait = self.config.retransmit.wait(pending.sent + 1);
        let wait = match most {
            Some(most) if now < ends => Some(wait.map_or(most, |wait| wait.min(most))),
            Some(_) => None,
            None => wait,
        };
        match wait {
            Some(wait) => {
                pending.sent += 1;
                let datagram = pending.datagram.clone();
                self.totals.retransmits += 1;
                self.timers.set(Timer::Phase1(key), now + wait);
                self.send_ike(key, path, datagram);
            }
            None => {
                let diagnosis = phase1.silence(pending.sent, path.peer);
                self.report_once(now, key, path, diagnosis);
                self.fail_phase_1(now, key);
            }
        }
    }

    /// How long a renewal waits at most before it sends again: what is to be replaced must not end between two attempts.
    fn longest_wait(&self, now: Instant, key: SaKey) -> Option<Duration> {
        let old = self.sas.get(&self.sas.get(&key)?.replaces?);
        let ends = old.and_then(|old| Some(old.up?.since + old.phase_2()?.lifetime));
        let left = ends.map(|ends| ends.saturating_duration_since(now) / 8);
        Some(left.map_or(LATE_WAIT, |left| left.max(SHORTEST_WAIT)))
    }

    /// Established, and the peer has not shown yet that it has our last message.
    fn repeat_last_message(&mut self, now: Instant, key: SaKey) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let path = sa.path;
        let Some(isakmp) = sa.v1_mut() else { return };
        let Some(pending) = &mut isakmp.pending else {
            return;
        };
        if pending.sent >= LAST_MESSAGE_SENT {
            // It goes again with every Quick Mode message that stays without an answer.
            return;
        }
        pending.sent += 1;
        let datagram = pending.datagram.clone();
        if let Some(wait) = pending.wait(&self.config.retransmit) {
            self.timers.set(Timer::Phase1(key), now + wait);
        }
        self.totals.retransmits += 1;
        self.send_ike(key, path, datagram);
    }

    /// A peer that is silent about a Quick Mode may miss our last message of phase 1, without which it can read nothing else.
    pub(super) fn repeat_unproven_last_message(&mut self, key: SaKey) {
        let Some(sa) = self.sas.get(&key) else { return };
        let Some(isakmp) = sa.v1() else { return };
        let silent = sa.up.is_some_and(|up| sa.heard <= up.since);
        let last = match (&isakmp.pending, &isakmp.answered) {
            (Some(pending), _) if isakmp.is_unproven() => Some(&pending.datagram),
            // Message 6 of main mode: a peer that misses it asks again, but what it asks may be lost just as well.
            (None, Some(answered)) if silent => answered.datagram.as_ref(),
            (Some(_), _) | (None, _) => None,
        };
        let path = sa.path;
        if let Some(datagram) = last.cloned() {
            self.totals.retransmits += 1;
            self.send_ike(key, path, datagram);
        }
    }
}

/// A responder's IKE SA at its beginning.
fn new_sa(now: Instant, connection: ConnectionId, path: Path, spis: Spis, phase1: Phase1) -> IkeSa {
    IkeSa {
        connection,
        initiator: false,
        path,
        spis,
        started: now,
        heard: now,
        replaces: None,
        up: None,
        nat: NatSides::default(),
        yields: false,
        reported: false,
        state: State::V1(IsakmpSa::new(phase1)),
    }
}
