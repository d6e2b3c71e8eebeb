//! ESP that no SA of ours opens, though an IKE SA with its sender is up: the sender seals with a Child SA that we do not have (any
//! more), and would go on until its lifetime ends.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use gateway_common::Spi;

use super::Endpoint;
use crate::v1::informational::delete_esp;
use crate::v2::ike_sa::Task;

/// What the peer sealed before it read our Delete is on its way for less than this.
const IN_FLIGHT: Duration = Duration::from_millis(500);
/// Anybody can send packets with the peer's address, so the peer is told no more often than this.
const AGAIN: Duration = Duration::from_secs(10);

/// An SPI that a peer uses and that we do not have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnknownSpi {
    spi: Spi,
    since: Instant,
    /// The peer was told of one.
    told: Option<Instant>,
}

impl Endpoint {
    pub(super) fn on_unknown_spi(&mut self, now: Instant, local: Ipv4Addr, peer: Ipv4Addr, spi: Spi) {
        if self.inbound_spis.contains(&spi) {
            return;
        }
        let Some(connection) = self.by_peer.get(&(local, peer)).copied() else {
            return;
        };
        let Some(tunnel) = self.tunnels.get_mut(&connection) else {
            return;
        };
        let Some(key) = tunnel.current_sa() else { return };
        let before = tunnel.unknown_spi;
        let told = before.and_then(|before| before.told);
        let Some(before) = before.filter(|before| before.spi == spi) else {
            tunnel.unknown_spi = Some(UnknownSpi {
                spi,
                since: now,
                told,
            });
            return;
        };
        if now < before.since + IN_FLIGHT || told.is_some_and(|told| now < told + AGAIN) {
            return;
        }
        tunnel.unknown_spi = Some(UnknownSpi {
            told: Some(now),
            ..before
        });
        self.note(connection, "peer seals with an spi that is unknown here");
        if self.is_v2_established(key) {
            // RFC 7296 section 1.5: inside the IKE SA, so the peer may act on it.
            self.request(now, key, Task::InvalidSpi(spi));
        } else {
            // Not every implementation of IKEv1 acts on INVALID-SPI, but each reads a Delete, and one that was lost is the likely cause.
            self.send_informational(key, |_| delete_esp(&[spi]).collect());
        }
    }
}
