//! INVALID_SPI outside of an IKE SA: whoever sends it says that the peer has lost a Child SA that we seal with, as after a restart.
//!
//! Anybody can say so (RFC 7296 section 1.5, RFC 2408 section 3.14), so it ends nothing. A peer that is said to have lost its state is
//! asked whether it is there sooner than dead peer detection would, and what silence means is decided there.

use std::time::{Duration, Instant};

use gateway_common::Spi;

use super::{Endpoint, Timer};
use crate::child::Use;
use crate::config::ConnectionId;
use crate::ike_sa::{IkeSa, SaKey, State};
use crate::path::Path;
use crate::tunnel::Tunnel;
use crate::v1::informational::read_invalid_spi;
use crate::wire::{ExchangeType, Flags, Header, PayloadType, Version, v1, v2};

/// Whoever forges hints makes us send no more than one question in this time.
const AGAIN: Duration = Duration::from_secs(10);

/// The SPI that a message in the clear says its sender does not know. RFC 7296 section 1.5 leaves the SPIs of the header open, and zero
/// is allowed.
pub(super) fn invalid_spi(header: &Header, body: &[u8]) -> Option<Spi> {
    let first = header.next_payload;
    if header.version.major == Version::V2.major {
        let is_clear = first == PayloadType::V2_NOTIFY && !header.flags.contains(Flags::RESPONSE);
        if header.exchange_type != ExchangeType::INFORMATIONAL || !is_clear {
            return None;
        }
        let message = v2::Message::parse(first, body).ok()?;
        let named = &message.notify(v2::NotifyType::INVALID_SPI)?.data;
        Spi::from_be_bytes(<[u8; 4]>::try_from(named.as_slice()).ok()?)
    } else if header.version.major == Version::V1.major {
        let is_clear = first == PayloadType::NOTIFY && !header.flags.contains(Flags::ENCRYPTION);
        if header.exchange_type != ExchangeType::INFORMATIONAL_V1 || !is_clear {
            return None;
        }
        read_invalid_spi(&v1::Message::parse(first, body, v1::Protection::Clear).ok()?)
    } else {
        None
    }
}

impl Endpoint {
    /// Takes the hint if it names what we seal with towards its sender; others are no hints.
    pub(super) fn take_hint(&mut self, now: Instant, path: Path, spi: Spi) -> bool {
        let Some(connection) = self.tunnel_of(path) else {
            return false;
        };
        let Some(tunnel) = self.tunnels.get_mut(&connection) else {
            return false;
        };
        if !seals_with(tunnel, spi) {
            return false;
        }
        self.totals.invalid_spi_hints += 1;
        let (Some(key), Some(dpd)) = (tunnel.current_sa(), tunnel.config.dpd) else {
            // There is nobody to ask, or nobody is to be asked.
            return true;
        };
        if tunnel.hinted.is_some_and(|hinted| now < hinted + AGAIN) {
            return true;
        }
        tunnel.hinted = Some(now);
        let asked = match self.sas.get(&key).map(|sa| &sa.state) {
            Some(State::V1(_)) => self.probe_early(now, connection, key, dpd.delay),
            Some(State::V2(_)) => self.ask_whether_there(now, key),
            None => false,
        };
        if asked {
            self.note(
                connection,
                "somebody says for the peer that it lost the child sa in use: it is asked whether it is there",
            );
        }
        true
    }

    /// IKEv1: an R-U-THERE now, and what follows it at its usual times. False if one is under way, or the peer does not know of them.
    fn probe_early(&mut self, now: Instant, connection: ConnectionId, key: SaKey, delay: Duration) -> bool {
        let Some(heard) = self.tunnels.get(&connection).map(|tunnel| tunnel.heard) else {
            return false;
        };
        let established = self.sas.get_mut(&key).and_then(IkeSa::phase_2_mut);
        let Some((number, next)) = established
            .filter(|established| established.dpd_supported)
            .and_then(|established| established.dpd.on_hint(now, delay, heard))
        else {
            return false;
        };
        self.timers.set(Timer::Dpd(connection), next);
        self.send_probe(key, number);
        true
    }
}

fn seals_with(tunnel: &Tunnel, spi: Spi) -> bool {
    let named = tunnel.children.by_outbound(spi);
    let child = named.and_then(|id| tunnel.children.find(id));
    child.is_some_and(|child| child.usage == Use::Current)
}
