//! Main Mode in the context of all others: who may start, what an authenticated peer changes, how an IKE SA ends.

use std::sync::Arc;
use std::time::Instant;

use super::{Endpoint, Timer};
use crate::config::{ConnectionConfig, ConnectionId, IkeVersion, Phase1Mode};
use crate::diagnosis::{Code, Diagnosis};
use crate::event::Event;
use crate::ike_sa::{
    Advance, Answered, Established, IkeSa, Pending, Phase, Refused, SaKey, clear, random_u32,
};
use crate::v1::Refusal;
use crate::v1::main_mode::{Authenticated, StepCx, initiator, responder};
use crate::v1::nat_traversal::{IKE_PORT, Nat, Path};
use crate::v1::sa::Spis;
use crate::wire::v1::{Doi, NotifyPayload, NotifyType, Payload};
use crate::wire::{ExchangeType, Header, IkeSpi, ProtocolId};

impl Endpoint {
    /// The tunnel between two addresses.
    pub(super) fn tunnel_of(&self, path: Path) -> Option<ConnectionId> {
        self.by_peer.get(&(*path.local.ip(), *path.peer.ip())).copied()
    }

    pub(super) fn config_of(&self, connection: ConnectionId) -> Option<Arc<ConnectionConfig>> {
        self.tunnels
            .get(&connection)
            .map(|tunnel| Arc::clone(&tunnel.config))
    }

    /// `HDR, SA -->`, unless one is under way.
    pub(super) fn start_main_mode(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        replaces: Option<SaKey>,
    ) {
        let Some(config) = self.config_of(connection) else {
            return;
        };
        if self
            .tunnels
            .get(&connection)
            .is_none_or(|tunnel| tunnel.initiating.is_some())
        {
            return;
        }
        if config.version != IkeVersion::V1 || config.mode != Phase1Mode::Main {
            return;
        }
        let spi = self.new_ike_spi();
        let address = |ip| std::net::SocketAddrV4::new(ip, IKE_PORT);
        let path = Path {
            local: address(config.local),
            peer: address(config.peer),
        };
        let cx = StepCx {
            config: &config,
            path,
            rng: &mut self.rng,
        };
        let Ok((step, datagram)) = initiator::AwaitSa::start(spi, &cx) else {
            return;
        };
        let key = self.new_sa_key();
        let sa = IkeSa {
            connection,
            initiator: true,
            path,
            spis: Spis {
                initiator: spi,
                responder: IkeSpi::ZERO,
            },
            started: now,
            heard: now,
            replaces,
            phase: Phase::SentSa(step),
            pending: Some(Pending::new(datagram.clone())),
            answered: None,
            reported: false,
            closing: false,
        };
        self.by_spi.insert(spi, key);
        self.sas.insert(key, sa);
        if let Some(tunnel) = self.tunnels.get_mut(&connection) {
            tunnel.initiating = Some(key);
        }
        self.set_main_mode_timer(now, key);
        self.note(connection, "main mode started");
        self.send(path, datagram);
    }

    fn set_main_mode_timer(&mut self, now: Instant, key: SaKey) {
        let wait = self
            .sas
            .get(&key)
            .and_then(|sa| sa.pending.as_ref()?.wait(&self.config.retransmit));
        if let Some(wait) = wait {
            self.timers.set(Timer::MainMode(key), now + wait);
        }
    }

    /// Message 1 of a peer: `HDR, SA -->`
    pub(super) fn on_first_message(
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
        let Some((connection, config)) = self
            .tunnel_of(path)
            .and_then(|id| Some((id, self.config_of(id)?)))
        else {
            let peer = path.peer.ip();
            let diagnosis = Diagnosis::new(
                Code::UnknownPeer,
                format!("no tunnel between {} and this peer", path.local.ip()),
                format!("peer {peer} starts main mode"),
                "add a tunnel, or correct customer_gateway.address if the peer has changed its address",
            );
            self.report(now, None, path, diagnosis);
            self.drop_datagram("no tunnel for this peer");
            return;
        };
        if !config.version.answers_v1() || config.mode != Phase1Mode::Main {
            self.refuse_exchange(now, path, "peer starts ikev1 main mode");
            return self.drop_datagram("main mode");
        }
        let spi = self.new_ike_spi();
        let cx = StepCx {
            config: &config,
            path,
            rng: &mut self.rng,
        };
        let judged = clear(header, body).and_then(|message| responder::answer(header, &message, spi, &cx));
        let (step, reply) = match judged {
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
        let key = self.new_sa_key();
        let sa = IkeSa {
            connection,
            initiator: false,
            path,
            spis: Spis {
                initiator: header.initiator_spi,
                responder: spi,
            },
            started: now,
            heard: now,
            replaces: None,
            phase: Phase::AnsweredSa(step),
            pending: None,
            answered: Some(Answered::new(datagram, reply.clone())),
            reported: false,
            closing: false,
        };
        self.by_spi.insert(spi, key);
        self.by_first_message.insert(first, key);
        self.sas.insert(key, sa);
        self.timers
            .set(Timer::MainMode(key), now + self.config.half_open_timeout);
        self.note(connection, "peer started main mode");
        self.send(path, reply);
    }

    /// Keeps the half-open exchanges within their limits: of one source the oldest that has come no further than message 2 gives
    /// way (it is the most likely to be forged), all together are simply full.
    fn make_room(&mut self, path: Path) -> bool {
        let mut all = 0u32;
        let mut of_source = Vec::new();
        for (&key, sa) in self.sas.iter().filter(|(_, sa)| sa.is_half_open()) {
            all += 1;
            if sa.path.peer.ip() == path.peer.ip() {
                of_source.push((key, matches!(sa.phase, Phase::AnsweredSa(_))));
            }
        }
        let of_source_is_full =
            u32::try_from(of_source.len()).unwrap_or(u32::MAX) >= self.config.max_half_open_per_source;
        if of_source_is_full {
            let Some(&(oldest, _)) = of_source.iter().find(|(_, unproven)| *unproven) else {
                return false;
            };
            self.forget_sa(oldest);
            return true;
        }
        all < self.config.max_half_open
    }

    /// The same message again gets the same answer. V1: one for one, never by a timer.
    fn repeat_answer(&mut self, key: SaKey, path: Path, datagram: &[u8]) {
        let answered = self.sas.get(&key).and_then(|sa| sa.answered.as_ref());
        match answered
            .filter(|answered| answered.is_for(datagram))
            .map(|answered| answered.datagram.clone())
        {
            Some(reply) => {
                self.totals.retransmits += 1;
                self.send(path, reply);
            }
            None => self.drop_datagram("an old message"),
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

    /// Messages 2 to 6.
    pub(super) fn on_main_mode(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        header: &Header,
        body: &[u8],
        datagram: &[u8],
    ) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        if sa
            .answered
            .as_ref()
            .is_some_and(|answered| answered.is_for(datagram))
        {
            return self.repeat_answer(key, path, datagram);
        }
        let Some(tunnel) = self.tunnels.get(&sa.connection) else {
            return;
        };
        let config = Arc::clone(&tunnel.config);
        let connection = sa.connection;
        let initial_contact = sa.initiator && tunnel.established.is_empty() && tunnel.children.is_empty();
        let mut cx = StepCx {
            config: &config,
            path,
            rng: &mut self.rng,
        };
        match sa.on_main_mode(header, body, initial_contact, &mut cx) {
            Ok(Advance::Reply(reply)) if sa.initiator => {
                sa.heard = now;
                sa.pending = Some(Pending::new(reply.clone()));
                let path = sa.path;
                self.set_main_mode_timer(now, key);
                self.send(path, reply);
            }
            Ok(Advance::Reply(reply)) => {
                sa.path = path;
                sa.answered = Some(Answered::new(datagram, reply.clone()));
                self.send(path, reply);
            }
            Ok(Advance::Up(reply, authenticated)) => {
                if !sa.initiator {
                    sa.path = path;
                    sa.answered = reply.clone().map(|reply| Answered::new(datagram, reply));
                }
                self.on_authenticated(now, key, *authenticated);
                if let Some(reply) = reply {
                    self.send(path, reply);
                }
                self.pump(now, connection);
            }
            Err(Refused { refusal, reply }) => self.on_refused(now, key, path, refusal, reply),
        }
    }

    fn on_refused(&mut self, now: Instant, key: SaKey, path: Path, refusal: Refusal, reply: Option<Vec<u8>>) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, spis) = (sa.connection, sa.spis);
        let ended = matches!(sa.phase, Phase::Ended);
        if let Some(reply) = reply {
            self.send(path, reply);
        }
        match refusal {
            Refusal::Drop(why) => self.drop_datagram(why),
            Refusal::Report(diagnosis, notify) => {
                self.drop_datagram("not what main mode expects");
                self.report_once(now, key, path, diagnosis);
                if let Some(notify) = notify {
                    self.notify_in_the_clear(path, spis, notify);
                }
            }
            Refusal::End(diagnosis, _) => self.report(now, Some(connection), path, diagnosis),
        }
        if ended {
            self.fail_main_mode(now, key);
        }
    }

    /// Reports what an unauthenticated message suggests. The exchange goes on: a forged message must not end it.
    pub(super) fn report_once(&mut self, now: Instant, key: SaKey, path: Path, diagnosis: Diagnosis) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        if !std::mem::replace(&mut sa.reported, true) {
            let connection = sa.connection;
            self.report(now, Some(connection), path, diagnosis);
        }
    }

    /// Main Mode ended without an IKE SA: what waited for it is given up.
    pub(super) fn fail_main_mode(&mut self, now: Instant, key: SaKey) {
        let Some(sa) = self.forget_sa(key) else { return };
        let unreachable = matches!(sa.phase, Phase::SentSa(_));
        let Some(tunnel) = self.tunnels.get_mut(&sa.connection) else {
            return;
        };
        if !sa.initiator {
            return;
        }
        if let Some(old) = sa.replaces.filter(|old| tunnel.established.last() == Some(old)) {
            // The old IKE SA is still there. Its end is known to the timer, so this cannot go on for ever.
            let wait = tunnel.back_off();
            self.timers.set(Timer::IkeRekey(old), now + wait);
            return;
        }
        if tunnel.established.is_empty() {
            tunnel.wanted.clear();
            // A peer that says nothing at all is gone, and without an IKE SA nobody else would notice.
            let lost = if unreachable {
                tunnel.children.ids()
            } else {
                Vec::new()
            };
            for child in lost {
                self.remove_child(child);
            }
            self.retry_later(now, sa.connection);
        }
    }

    /// The timer of Main Mode fired.
    pub(super) fn on_main_mode_timer(&mut self, now: Instant, key: SaKey) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, path, waits_for) = (sa.connection, sa.path, sa.waits_for());
        let Some(pending) = &mut sa.pending else {
            // V1: a responder does not send again by itself, it only stops waiting.
            self.forget_sa(key);
            self.note(
                connection,
                format!("peer did not send main mode message {waits_for}"),
            );
            return;
        };
        match self.config.retransmit.wait(pending.sent + 1) {
            Some(wait) => {
                pending.sent += 1;
                let datagram = pending.datagram.clone();
                self.totals.retransmits += 1;
                self.timers.set(Timer::MainMode(key), now + wait);
                self.send(path, datagram);
            }
            None => {
                let sent = pending.sent;
                let diagnosis = match &sa.phase {
                    Phase::SentAuth(_) => initiator::AwaitAuth::silence(sent),
                    Phase::SentSa(_)
                    | Phase::SentKe(_)
                    | Phase::AnsweredSa(_)
                    | Phase::AnsweredKe(_)
                    | Phase::Established(_)
                    | Phase::Ended => Diagnosis::new(
                        Code::NoResponse,
                        format!(
                            "sent main mode message {} {sent} times to {}",
                            waits_for - 1,
                            path.peer
                        ),
                        "peer does not answer",
                        "check that the peer is reachable, that UDP ports 500 and 4500 are open on the way, and that it has a \
                         tunnel for our address",
                    ),
                };
                self.report_once(now, key, path, diagnosis);
                self.fail_main_mode(now, key);
            }
        }
    }

    fn on_authenticated(&mut self, now: Instant, key: SaKey, authenticated: Authenticated) {
        let first_probe = random_u32(&mut self.rng);
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (choice, initial_contact) = (authenticated.choice.clone(), authenticated.initial_contact);
        let expires_at = now + choice.lifetime;
        let rekey_at = self
            .config
            .rekey
            .rekey_at(now, choice.lifetime, sa.initiator, &mut self.rng);
        sa.phase = Phase::Established(Box::new(Established::new(
            authenticated,
            first_probe,
            now,
            rekey_at,
        )));
        sa.heard = now;
        sa.pending = None;
        let (connection, initiator, spis, started, replaces) =
            (sa.connection, sa.initiator, sa.spis, sa.started, sa.replaces);
        let nat = sa.established().and_then(|established| established.nat);
        self.timers.clear(Timer::MainMode(key));

        if initial_contact {
            self.end_older(now, connection, key, started);
        }
        let Some(tunnel) = self.tunnels.get_mut(&connection) else {
            return;
        };
        let older = std::mem::take(&mut tunnel.established);
        tunnel.established = older.iter().copied().chain([key]).collect();
        if tunnel.initiating == Some(key) {
            tunnel.initiating = None;
        }
        tunnel.heard = now;
        tunnel.succeeded();
        let (may_initiate, dpd_delay) = (tunnel.config.may_initiate, tunnel.config.dpd.map(|dpd| dpd.delay));
        let force_udp = tunnel.config.force_udp_encapsulation;

        // The newest IKE SA carries everything new; the others only finish what they have begun.
        for &old in &older {
            self.timers.clear(Timer::IkeRekey(old));
        }
        if let Some(old) = replaces.filter(|old| older.contains(old)) {
            self.timers.set(Timer::IkeDelete(old), now + self.config.linger);
        }
        self.timers.set(Timer::IkeEnd(key), expires_at);
        if may_initiate {
            self.timers.set(Timer::IkeRekey(key), rekey_at);
        }
        if nat.is_some_and(|nat| nat.local) {
            self.timers
                .set(Timer::Keepalive(key), now + self.config.nat_keepalive);
        }
        if force_udp && nat.is_none() {
            self.note(
                connection,
                "peer does not do nat traversal: esp goes over ip although udp was asked for",
            );
        }
        if let Some(delay) = dpd_delay {
            self.timers.set(Timer::Dpd(connection), now + delay);
        }
        self.outbox.event(Event::IkeUp {
            connection,
            version: IkeVersion::V1,
            spis: (spis.initiator, spis.responder),
            initiator,
            algorithms: choice.proposal.to_string(),
            rekey_at,
            expires_at,
            nat: nat.is_some_and(Nat::found),
            rekeyed: !older.is_empty(),
        });
    }
}
