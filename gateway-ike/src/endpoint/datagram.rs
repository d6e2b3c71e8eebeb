//! Which IKE SA a datagram belongs to.

use std::time::Instant;

use super::{Endpoint, hints};
use crate::config::{IkeVersion, Phase1Mode};
use crate::diagnosis::{Code, Diagnosis};
use crate::ike_sa::SaKey;
use crate::path::Path;
use crate::v1::fragments::is_fragment;
use crate::wire::{ExchangeType, Header, Version};

impl Endpoint {
    pub(super) fn on_datagram(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        let Ok((header, body)) = Header::parse(datagram) else {
            self.drop_datagram("no ike message");
            return;
        };
        if hints::invalid_spi(&header, body).is_some_and(|spi| self.take_hint(now, path, spi)) {
            return;
        }
        if header.initiator_spi.is_zero() {
            self.drop_datagram("no spi of the initiator");
            return;
        }
        if header.version.major == Version::V2.major {
            return self.on_v2_datagram(now, path, &header, body, datagram);
        }
        if header.version.major != Version::V1.major {
            return self.drop_datagram("another major version");
        }
        if is_fragment(&header) {
            return self.on_fragment(now, path, &header, body);
        }
        match header.exchange_type {
            ExchangeType::IDENTITY_PROTECTION | ExchangeType::AGGRESSIVE
                if header.responder_spi.is_zero() =>
            {
                self.on_first_message(now, path, &header, body, datagram);
            }
            ExchangeType::IDENTITY_PROTECTION | ExchangeType::AGGRESSIVE => match self.find_sa(&header, path)
            {
                Some(key) => self.on_phase_1(now, key, path, &header, body, datagram),
                None => self.drop_datagram("unknown spis"),
            },
            ExchangeType::QUICK_MODE => match self.find_sa(&header, path) {
                Some(key) => self.on_quick_mode(now, key, path, &header, body, datagram),
                None => self.drop_datagram("unknown spis"),
            },
            ExchangeType::INFORMATIONAL_V1 => match self.find_sa(&header, path) {
                Some(key) => self.on_informational(now, key, path, &header, body),
                None => self.drop_datagram("unknown spis"),
            },
            // V13: XAUTH and Mode Config (Transaction), New Group Mode, and whatever else there is.
            _ => self.drop_datagram("an exchange that is not ours"),
        }
    }

    /// The IKE SA with the SPIs of a header. The address must be the peer's; its port may have changed.
    pub(super) fn find_sa(&self, header: &Header, path: Path) -> Option<SaKey> {
        let ours =
            |key: &&SaKey, initiator: bool| self.sas.get(key).is_some_and(|sa| sa.initiator == initiator);
        let key = self
            .by_spi
            .get(&header.initiator_spi)
            .filter(|key| ours(key, true))
            .or_else(|| {
                self.by_spi
                    .get(&header.responder_spi)
                    .filter(|key| ours(key, false))
            })?;
        let sa = self.sas.get(key)?;
        let same_peer = sa.path.peer.ip() == path.peer.ip() && sa.path.local.ip() == path.local.ip();
        let same_spis = sa.spis.initiator == header.initiator_spi
            && (sa.spis.responder.is_zero() || sa.spis.responder == header.responder_spi);
        (same_peer && same_spis).then_some(*key)
    }

    /// A peer starts an exchange that the tunnel does not have.
    pub(super) fn refuse_exchange(&mut self, now: Instant, path: Path, peer: &str) {
        let Some(connection) = self.tunnel_of(path) else {
            return;
        };
        let Some(config) = self.config_of(connection) else {
            return;
        };
        let mode = match config.mode {
            Phase1Mode::Main => "main mode",
            Phase1Mode::Aggressive => "aggressive mode",
        };
        let (allowed, version) = match config.version {
            IkeVersion::V1 => (format!("ikev1 {mode}"), "ikev1"),
            IkeVersion::V2 => ("ikev2".to_owned(), "ikev2"),
            IkeVersion::Any => (format!("ikev2 and ikev1 {mode}"), "any"),
        };
        let diagnosis = Diagnosis::new(
            Code::ExchangeRefused,
            format!("tunnel allows {allowed}"),
            peer,
            format!(
                "have the peer speak what ike.version = \"{version}\" allows, or change ike.version and ike.mode"
            ),
        );
        self.report(now, Some(connection), path, diagnosis);
    }

    pub(super) fn drop_datagram(&mut self, why: &'static str) {
        tracing::trace!(why, "datagram dropped");
        self.totals.dropped_datagrams += 1;
    }
}
