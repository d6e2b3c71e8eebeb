//! Main Mode in the context of all others: who may start, what an authenticated peer changes, how an IKE SA ends.

use std::sync::Arc;
use std::time::Instant;

use crate::config::{ConnectionId, IkeVersion, Phase1Mode};
use crate::diagnosis::{Code, Diagnosis};
use crate::endpoint::established::NewIkeSa;
use crate::endpoint::{Endpoint, Timer};
use crate::ike_sa::{IkeSa, Pending, SaKey, Spis, State, random_u32};
use crate::path::{IKE_PORT, NatSides, Path};
use crate::v1::Refusal;
use crate::v1::isakmp_sa::{Advance, Answered, Established, IsakmpSa, Phase, Refused, clear};
use crate::v1::main_mode::{Authenticated, StepCx, initiator, responder};
use crate::v1::nat_traversal::Nat;
use crate::wire::v1::{Doi, NotifyPayload, NotifyType, Payload};
use crate::wire::{ExchangeType, Header, IkeSpi, ProtocolId};

impl Endpoint {
    /// `HDR, SA -->`, unless one is under way.
    pub(in crate::endpoint) fn start_main_mode(
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
            up: None,
            nat: NatSides::default(),
            reported: false,
            state: State::V1(IsakmpSa {
                phase: Phase::SentSa(step),
                pending: Some(Pending::new(datagram.clone())),
                answered: None,
                closing: false,
            }),
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
            .and_then(|sa| sa.v1()?.pending.as_ref()?.wait(&self.config.retransmit));
        if let Some(wait) = wait {
            self.timers.set(Timer::MainMode(key), now + wait);
        }
    }

    /// Message 1 of a peer: `HDR, SA -->`
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
            up: None,
            nat: NatSides::default(),
            reported: false,
            state: State::V1(IsakmpSa {
                phase: Phase::AnsweredSa(step),
                pending: None,
                answered: Some(Answered::new(datagram, reply.clone())),
                closing: false,
            }),
        };
        self.by_spi.insert(spi, key);
        self.by_first_message.insert(first, key);
        self.sas.insert(key, sa);
        self.timers
            .set(Timer::MainMode(key), now + self.config.half_open_timeout);
        self.note(connection, "peer started main mode");
        self.send(path, reply);
    }

    /// The same message again gets the same answer. V1: one for one, never by a timer.
    fn repeat_answer(&mut self, key: SaKey, path: Path, datagram: &[u8]) {
        let answered = self.sas.get(&key).and_then(|sa| sa.v1()?.answered.as_ref());
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
    pub(in crate::endpoint) fn on_main_mode(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        header: &Header,
        body: &[u8],
        datagram: &[u8],
    ) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, initiator) = (sa.connection, sa.initiator);
        let State::V1(isakmp) = &mut sa.state;
        if isakmp
            .answered
            .as_ref()
            .is_some_and(|answered| answered.is_for(datagram))
        {
            return self.repeat_answer(key, path, datagram);
        }
        let Some(tunnel) = self.tunnels.get(&connection) else {
            return;
        };
        let config = Arc::clone(&tunnel.config);
        let initial_contact = initiator && tunnel.established.is_empty() && tunnel.children.is_empty();
        let mut cx = StepCx {
            config: &config,
            path,
            rng: &mut self.rng,
        };
        let head = (&mut sa.spis, &mut sa.path);
        match isakmp.on_main_mode(head, header, body, initial_contact, &mut cx) {
            Ok(Advance::Reply(reply)) if initiator => {
                isakmp.pending = Some(Pending::new(reply.clone()));
                sa.heard = now;
                let path = sa.path;
                self.set_main_mode_timer(now, key);
                self.send(path, reply);
            }
            Ok(Advance::Reply(reply)) => {
                isakmp.answered = Some(Answered::new(datagram, reply.clone()));
                sa.path = path;
                self.send(path, reply);
            }
            Ok(Advance::Up(reply, authenticated)) => {
                if !initiator {
                    isakmp.answered = reply.clone().map(|reply| Answered::new(datagram, reply));
                    sa.path = path;
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
        let ended = sa.v1().is_some_and(|sa| matches!(sa.phase, Phase::Ended));
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

    /// Main Mode ended without an IKE SA: what waited for it is given up.
    pub(in crate::endpoint) fn fail_main_mode(&mut self, now: Instant, key: SaKey) {
        let Some(sa) = self.forget_sa(key) else { return };
        let unreachable = sa.v1().is_some_and(|sa| matches!(sa.phase, Phase::SentSa(_)));
        if sa.initiator {
            self.on_initiation_failed(now, &sa, unreachable);
        }
    }

    /// The timer of Main Mode fired.
    pub(in crate::endpoint) fn on_main_mode_timer(&mut self, now: Instant, key: SaKey) {
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let (connection, path) = (sa.connection, sa.path);
        let State::V1(isakmp) = &mut sa.state;
        let waits_for = isakmp.waits_for();
        let Some(pending) = &mut isakmp.pending else {
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
                let diagnosis = match &isakmp.phase {
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
        let connection = sa.connection;
        let State::V1(isakmp) = &mut sa.state;
        let (choice, nat) = (authenticated.choice.clone(), authenticated.nat);
        let established = NewIkeSa {
            version: IkeVersion::V1,
            algorithms: choice.proposal.to_string(),
            lifetime: choice.lifetime,
            nat: nat.map(Nat::sides).unwrap_or_default(),
            initial_contact: authenticated.initial_contact,
        };
        isakmp.phase = Phase::Established(Box::new(Established::new(authenticated, first_probe)));
        isakmp.pending = None;
        self.timers.clear(Timer::MainMode(key));
        self.on_established(now, key, established);
        let force_udp = self
            .config_of(connection)
            .is_some_and(|config| config.force_udp_encapsulation);
        if force_udp && nat.is_none() {
            self.note(
                connection,
                "peer does not do nat traversal: esp goes over ip although udp was asked for",
            );
        }
    }
}
