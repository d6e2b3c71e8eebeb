//! IKEv2 in the context of all tunnels.
//!
//! `setup` goes from the first message to an established IKE SA. From there on each end has one request under way at most:
//! `requests` sends ours and takes their responses, `answers` takes the peer's and answers them. What the exchanges do is in
//! `children`, `rekey` and `informational`.

mod answers;
mod children;
mod crossing;
mod informational;
mod rekey;
mod requests;
mod setup;
mod setup_answers;
mod synchronise;

use std::sync::Arc;
use std::time::Instant;

use crate::config::ConnectionConfig;
use crate::endpoint::Endpoint;
use crate::ike_sa::{IkeSa, SaKey};
use crate::path::Path;
use crate::v2::channel::Arrival;
use crate::v2::ike_sa::{Established, Stage};
use crate::v2::refusal::Refusal;
use crate::wire::{ExchangeType, Flags, Header};

impl Endpoint {
    /// A datagram of IKEv2.
    pub(super) fn on_v2_datagram(
        &mut self,
        now: Instant,
        path: Path,
        header: &Header,
        body: &[u8],
        datagram: &[u8],
    ) {
        if header.responder_spi.is_zero() {
            if header.exchange_type == ExchangeType::IKE_SA_INIT && !header.flags.contains(Flags::RESPONSE) {
                return self.on_ike_sa_init(now, path, header, body, datagram);
            }
            if !header.flags.contains(Flags::RESPONSE) {
                if self
                    .config_between(path)
                    .is_some_and(|config| !config.version.answers_v2())
                {
                    self.refuse_exchange(now, path, "peer starts ikev2");
                }
                return self.drop_datagram("a first message of another exchange");
            }
        }
        let Some(key) = self.find_sa(header, path) else {
            return self.drop_datagram("unknown spis");
        };
        let Some(sa) = self.sas.get_mut(&key).and_then(IkeSa::v2_mut) else {
            return self.drop_datagram("another major version");
        };
        if matches!(sa.stage, Stage::InitSent(_)) {
            return self.on_init_answer(now, key, path, header, body, datagram);
        }
        if header.exchange_type == ExchangeType::IKE_SA_INIT {
            return self.drop_datagram("ike_sa_init is over");
        }
        if matches!(sa.stage, Stage::Ended) || sa.is_repeated_intermediate(header, datagram) {
            return self.repeat_response(key, path, header);
        }
        let Some(channel) = sa.channel_mut() else {
            return self.drop_datagram("a key exchange is being computed");
        };
        let received = match channel.open(datagram, header, body) {
            Ok(Arrival::Whole(received)) => received,
            Ok(Arrival::Piece) => return,
            Err(refusal) => return self.on_unreadable(key, &refusal),
        };
        let is_response = header.flags.contains(Flags::RESPONSE);
        match (&sa.stage, is_response) {
            (Stage::Established(_), true) => self.on_response(now, key, path, &received),
            (Stage::Established(_), false) => self.on_request(now, key, path, &received),
            (_, true) => self.on_setup_response(now, key, path, &received),
            (_, false) => self.on_setup_request(now, key, path, &received, datagram),
        }
    }

    fn config_between(&self, path: Path) -> Option<Arc<ConnectionConfig>> {
        self.tunnel_of(path).and_then(|id| self.config_of(id))
    }

    fn on_unreadable(&mut self, _key: SaKey, refusal: &Refusal) {
        self.drop_datagram(match refusal {
            Refusal::Drop(why) => why,
            Refusal::Report(_) | Refusal::End(..) => "unreadable",
        });
    }

    /// An established IKE SA with its tunnel's configuration.
    fn v2_established(&mut self, key: SaKey) -> Option<(&mut Established, Arc<ConnectionConfig>)> {
        let sa = self.sas.get_mut(&key)?;
        let config = Arc::clone(&self.tunnels.get(&sa.connection)?.config);
        Some((sa.v2_mut()?.established_mut()?, config))
    }

    fn v2_stage_mut(&mut self, key: SaKey) -> Option<&mut Stage> {
        Some(&mut self.sas.get_mut(&key)?.v2_mut()?.stage)
    }

    fn send_all(&mut self, path: Path, datagrams: &[Vec<u8>]) {
        for datagram in datagrams {
            self.send(path, datagram.clone());
        }
    }
}
