//! ESP that no SA of ours opens, though an IKE SA with its sender is up: the sender seals with a Child SA that we do not have (any
//! more), and would go on until its lifetime ends.

use std::net::Ipv4Addr;
use std::time::Instant;

use gateway_common::Spi;

use super::Endpoint;
use crate::v1::informational::delete_esp;
use crate::v2::ike_sa::Task;

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
        let Some(key) = tunnel
            .current_sa()
            .filter(|_| tunnel.unknown_spi.is_due(now, spi))
        else {
            return;
        };
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
