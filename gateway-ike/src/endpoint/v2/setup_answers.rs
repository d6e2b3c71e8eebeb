//! The set-up of an IKE SA as the end that answers.

use std::net::IpAddr;
use std::time::Instant;

use crate::diagnosis::{Code, Diagnosis};
use crate::endpoint::{Endpoint, Timer};
use crate::ike_sa::{IkeSa, SaKey, Spis};
use crate::jobs::Urgency;
use crate::path::Path;
use crate::v2::channel::Received;
use crate::v2::ike_auth::responder;
use crate::v2::ike_intermediate;
use crate::v2::ike_sa::Stage;
use crate::v2::ike_sa_init::responder::judge;
use crate::v2::refusal::Refusal;
use crate::v2::setup::{Keyed, StepCx, refuse_in_the_clear};
use crate::wire::v2::{Message, NotifyPayload, NotifyType, Payload};
use crate::wire::{ExchangeType, Header, WireError};

impl Endpoint {
    /// `HDR, SAi1, KEi, Ni -->` of a peer.
    pub(super) fn on_ike_sa_init(
        &mut self,
        now: Instant,
        path: Path,
        header: &Header,
        body: &[u8],
        datagram: &[u8],
    ) {
        if self.by_spi.contains_key(&header.initiator_spi) {
            return self.drop_datagram("our own message, reflected");
        }
        let first = (*path.peer.ip(), header.initiator_spi);
        let known = self.by_first_message.get(&first).copied();
        if let Some(key) = known
            && !self.is_other_attempt(key, datagram)
        {
            return self.repeat_init(key, path, datagram);
        }
        let Some((connection, config)) = self
            .tunnel_of(path)
            .and_then(|id| Some((id, self.config_of(id)?)))
        else {
            let diagnosis = Diagnosis::new(
                Code::UnknownPeer,
                format!("no tunnel between {} and this peer", path.local.ip()),
                format!("peer {} starts ikev2", path.peer.ip()),
                "add a tunnel, or correct customer_gateway.address if the peer has changed its address",
            );
            self.report(now, None, path, diagnosis);
            return self.drop_datagram("no tunnel for this peer");
        };
        if !config.version.answers_v2() {
            self.refuse_exchange(now, path, "peer starts ikev2");
            return self.drop_datagram("ikev2");
        }
        let message = match Message::parse(header.next_payload, body) {
            Ok(message) => message,
            Err(WireError::CriticalPayload { payload }) => {
                let notify = NotifyPayload::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![payload.0]);
                return self.refuse_init(path, header, notify);
            }
            Err(_malformed) => return self.drop_datagram("malformed message"),
        };
        if let Some(cookie) = self.cookie_to_ask_for(now, path, header, &message) {
            return self.refuse_init(path, header, NotifyPayload::new(NotifyType::COOKIE, cookie));
        }
        let cx = StepCx {
            config: &config,
            path,
            rng: &mut self.rng,
        };
        let request = match judge(header, &message, datagram, &cx) {
            Ok(request) => request,
            Err((refusal, notify)) => {
                match refusal {
                    Refusal::Drop(why) => self.drop_datagram(why),
                    Refusal::Report(diagnosis) | Refusal::End(diagnosis, _) => {
                        self.report(now, Some(connection), path, diagnosis);
                    }
                }
                if let Some(notify) = notify {
                    self.refuse_init(path, header, notify);
                }
                return;
            }
        };
        if let Some(key) = known {
            self.forget_sa(key);
        }
        if !self.make_room(path) {
            return self.drop_datagram("too many half-open exchanges");
        }
        let spi = self.new_ike_spi();
        let mut cx = StepCx {
            config: &config,
            path,
            rng: &mut self.rng,
        };
        let (step, job) = request.respond(spi, &mut cx);
        let key = self.new_sa_key();
        let spis = Spis {
            initiator: header.initiator_spi,
            responder: spi,
        };
        let stage = Stage::InitResponding(Box::new(step));
        self.add_v2_sa(now, key, (connection, false, path, spis, None), stage);
        self.by_first_message.insert(first, key);
        self.half_open.insert(*path.peer.ip(), key);
        self.note_answering(key, datagram);
        self.timers
            .set(Timer::V2Request(key), now + self.config.half_open_timeout);
        self.note(connection, "peer started ike_sa_init");
        self.compute_setup(now, key, Urgency::Unproven, job);
    }

    /// Whether an initiator starts once more with the same SPI: after a cookie or with another group. What has come further than
    /// IKE_SA_INIT stays.
    fn is_other_attempt(&self, key: SaKey, datagram: &[u8]) -> bool {
        self.sas.get(&key).and_then(IkeSa::v2).is_some_and(|sa| {
            sa.is_fresh()
                && sa.last_response.is_none()
                && sa
                    .answered
                    .as_ref()
                    .is_some_and(|answered| !answered.is_for(datagram))
        })
    }

    /// The same message again gets the same answer, once there is one.
    fn repeat_init(&mut self, key: SaKey, path: Path, datagram: &[u8]) {
        let answered = self
            .sas
            .get(&key)
            .and_then(IkeSa::v2)
            .and_then(|sa| sa.answered.as_ref());
        match answered.filter(|answered| answered.is_for(datagram) && !answered.response.is_empty()) {
            Some(answered) => {
                let response = answered.response.clone();
                self.totals.retransmits += 1;
                self.send(path, response);
            }
            None => self.drop_datagram("an old message"),
        }
    }

    fn refuse_init(&mut self, path: Path, header: &Header, notify: NotifyPayload) {
        if let Some(datagram) = refuse_in_the_clear(header, notify) {
            self.send(path, datagram);
        }
    }

    /// The cookie that an initiator has to repeat before it costs anything: while many attempts are half open, unless it comes from
    /// where a tunnel is established already.
    fn cookie_to_ask_for(
        &mut self,
        now: Instant,
        path: Path,
        header: &Header,
        message: &Message<'_>,
    ) -> Option<Vec<u8>> {
        if u32::try_from(self.half_open.len()).unwrap_or(u32::MAX) < self.config.cookie_threshold {
            return None;
        }
        let nonce = message.nonce().map(Vec::as_slice).unwrap_or_default();
        let address = IpAddr::V4(*path.peer.ip());
        let secrets = self.cookies.secrets(now, &mut self.rng);
        let returned = message.notify(NotifyType::COOKIE);
        if returned.is_some_and(|cookie| secrets.verify(&cookie.data, nonce, address, header.initiator_spi)) {
            return None;
        }
        Some(secrets.cookie(nonce, address, header.initiator_spi))
    }

    /// A request under keys that prove nothing yet. S1, S2: IKE_INTERMEDIATE where it was agreed on, then IKE_AUTH, nothing else.
    pub(super) fn on_setup_request(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        received: &Received,
        datagram: &[u8],
    ) {
        let header = &received.header;
        let Some(sa) = self.sas.get_mut(&key).and_then(IkeSa::v2_mut) else {
            return;
        };
        if sa
            .last_response
            .as_ref()
            .is_some_and(|(id, _)| *id == header.message_id)
        {
            return self.repeat_response(key, path, header);
        }
        let stage = &mut sa.stage;
        let due =
            |keyed: &Keyed, exchange| (header.exchange_type, header.message_id) == (exchange, keyed.next_id);
        let outcome = match std::mem::replace(stage, Stage::Ended) {
            Stage::AwaitIntermediate(keyed) if due(&keyed, ExchangeType::IKE_INTERMEDIATE) => {
                match ike_intermediate::Responding::judge(&keyed, received) {
                    Ok(public) => {
                        let (step, job) =
                            ike_intermediate::Responding::start(keyed, received, public, &mut self.rng);
                        *stage = Stage::IntermediateResponding(step);
                        sa.note_intermediate(datagram);
                        if let Some(sa) = self.sas.get_mut(&key) {
                            sa.path = path;
                        }
                        self.compute_setup(now, key, Urgency::Unproven, job);
                        Ok(())
                    }
                    Err(refusal) => {
                        *stage = Stage::AwaitIntermediate(keyed);
                        Err(refusal)
                    }
                }
            }
            Stage::AwaitAuth(keyed) if due(&keyed, ExchangeType::IKE_AUTH) => {
                return self.on_ike_auth(now, key, path, keyed, received);
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
                Err(Refusal::Drop("not the request that is due"))
            }
        };
        match outcome {
            Ok(()) => {}
            Err(Refusal::Drop(why)) => self.drop_datagram(why),
            Err(Refusal::Report(diagnosis) | Refusal::End(diagnosis, _)) => {
                self.report_once(now, key, path, diagnosis);
            }
        }
    }

    /// `HDR, SK {IDi, [IDr,] AUTH, SAi2, TSi, TSr} -->`
    fn on_ike_auth(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        mut keyed: Box<Keyed>,
        received: &Received,
    ) {
        let Some(connection) = self.sas.get(&key).map(|sa| sa.connection) else {
            return;
        };
        let Some(config) = self.config_of(connection) else {
            return;
        };
        let message_id = received.header.message_id;
        let refusal = responder::judge(&keyed, received, &config).err();
        let (diagnosis, notify) = match refusal {
            None => return self.on_authenticated_initiator(now, key, path, keyed, received),
            Some(Refusal::Drop(why)) => {
                if let Some(stage) = self.v2_stage_mut(key) {
                    *stage = Stage::AwaitAuth(keyed);
                }
                return self.drop_datagram(why);
            }
            Some(Refusal::Report(diagnosis)) => (diagnosis, None),
            Some(Refusal::End(diagnosis, notify)) => (diagnosis, notify),
        };
        // S4, S5: told once, and again if it repeats itself. Nothing was installed; the attempt waits for its end.
        let notify =
            notify.unwrap_or_else(|| NotifyPayload::new(NotifyType::AUTHENTICATION_FAILED, Vec::new()));
        let name = (ExchangeType::IKE_AUTH, message_id, true);
        let reply = keyed
            .channel
            .message(name, &[Payload::Notify(notify)], &mut self.rng);
        if let Ok(datagrams) = reply {
            if let Some(sa) = self.sas.get_mut(&key).and_then(IkeSa::v2_mut) {
                sa.last_response = Some((message_id, datagrams.clone()));
            }
            self.send_all(path, &datagrams);
        }
        self.report(now, Some(connection), path, diagnosis);
    }

    /// The initiator is who it should be.
    fn on_authenticated_initiator(
        &mut self,
        now: Instant,
        key: SaKey,
        path: Path,
        keyed: Box<Keyed>,
        received: &Received,
    ) {
        let spi = self.new_esp_spi();
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let connection = sa.connection;
        sa.path = path;
        let Some(config) = self.config_of(connection) else {
            return;
        };
        let message_id = received.header.message_id;
        let Ok(outcome) = responder::answer(keyed, received, &config, spi, &mut self.rng) else {
            self.forget_sa(key);
            return;
        };
        self.on_v2_established(now, key, outcome.authenticated);
        match outcome.child {
            Ok(child) => {
                if let Some(id) = self.install(now, key, child, false) {
                    self.settle_first(now, key, id);
                }
            }
            Err(diagnosis) => self.report(now, Some(connection), path, diagnosis),
        }
        if let Some(sa) = self.sas.get_mut(&key).and_then(IkeSa::v2_mut) {
            sa.last_response = Some((message_id, outcome.answer.clone()));
        }
        self.send_all(path, &outcome.answer);
        self.pump(now, connection);
    }

    /// S9: the last request again gets the same octets again, and changes nothing.
    pub(super) fn repeat_response(&mut self, key: SaKey, path: Path, header: &Header) {
        let response = self
            .sas
            .get(&key)
            .and_then(IkeSa::v2)
            .and_then(|sa| sa.last_response.as_ref())
            .filter(|(id, _)| *id == header.message_id);
        match response.map(|(_, datagrams)| datagrams.clone()) {
            Some(datagrams) => {
                self.totals.retransmits += 1;
                self.send_all(path, &datagrams);
            }
            None => self.drop_datagram("an old message"),
        }
    }
}
