//! Messages of IKEv1 as datagrams: whole, or in fragments when the peer puts them together.

use std::time::Instant;

use crate::endpoint::{Endpoint, Timer};
use crate::ike_sa::{IkeSa, SaKey};
use crate::path::Path;
use crate::v1::fragments::is_fragment;
use crate::v1::volume::Due;
use crate::wire::Header;

impl Endpoint {
    /// Sends a message of an ISAKMP SA.
    pub(in crate::endpoint) fn send_ike(&mut self, key: SaKey, path: Path, datagram: Vec<u8>) {
        let datagrams = match self.sas.get_mut(&key).and_then(IkeSa::v1_mut) {
            Some(isakmp) => {
                if let Some(established) = isakmp.established_mut() {
                    established.volume.add(datagram.len());
                }
                isakmp.packed(datagram)
            }
            None => vec![datagram],
        };
        for datagram in datagrams {
            self.send(path, datagram);
        }
    }

    /// An authentic, fresh message of phase 2 came in.
    pub(super) fn note_protected(&mut self, now: Instant, key: SaKey, path: Path, header: &Header) {
        self.note_heard(now, key, path);
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let initiator = sa.initiator;
        let Some(established) = sa.phase_2_mut() else {
            return;
        };
        established
            .volume
            .add(usize::try_from(header.length).unwrap_or(usize::MAX));
        match established.volume.due(initiator) {
            Some(Due::Renewal) => self.timers.set(Timer::IkeRekey(key), now),
            Some(Due::End) => self.timers.set(Timer::IkeEnd(key), now),
            None => {}
        }
    }

    /// A fragment came in: with the last one missing the message is there.
    pub(in crate::endpoint) fn on_fragment(
        &mut self,
        now: Instant,
        path: Path,
        header: &Header,
        body: &[u8],
    ) {
        let Some(key) = self.find_sa(header, path) else {
            return self.drop_datagram("a fragment of an unknown ike sa");
        };
        let Some(sa) = self.sas.get_mut(&key) else { return };
        let allowed = self
            .tunnels
            .get(&sa.connection)
            .is_some_and(|tunnel| tunnel.config.fragmentation);
        let Some(isakmp) = sa.v1_mut().filter(|_| allowed) else {
            return self.drop_datagram("a fragment where none is allowed");
        };
        match isakmp.fragments.add(body) {
            Ok(None) => {}
            // P9: no fragments in fragments.
            Ok(Some(whole)) if Header::parse(&whole).is_ok_and(|(header, _)| !is_fragment(&header)) => {
                self.on_datagram(now, path, &whole);
            }
            Ok(Some(_)) => self.drop_datagram("fragments of something that is no message"),
            Err(error) => {
                tracing::trace!(%error, "fragment refused");
                self.drop_datagram("a fragment that does not fit");
            }
        }
    }
}
