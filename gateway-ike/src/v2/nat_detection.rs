//! NAT detection (RFC 7296 section 2.23).

use std::net::SocketAddr;

use crate::crypto::{Hash, ct_eq};
use crate::wire::IkeSpi;
use crate::wire::v2::{Message, NotifyPayload, NotifyType, Payload};

/// What the NAT detection payloads have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat {
    /// A NAT stands in front of us.
    pub local: bool,
    /// A NAT stands in front of the peer, or it behaves as if.
    pub peer: bool,
}

impl Nat {
    /// Whether ESP must travel in UDP.
    pub const fn found(self) -> bool {
        self.local || self.peer
    }
}

/// `SHA1(SPIi | SPIr | IP address | port)`, with the SPIs of the message that carries it.
pub fn hash(spi_i: IkeSpi, spi_r: IkeSpi, address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(v4) => Hash::Sha1.digest(&[&spi_i.0, &spi_r.0, &v4.ip().octets(), &port]),
        SocketAddr::V6(v6) => Hash::Sha1.digest(&[&spi_i.0, &spi_r.0, &v6.ip().octets(), &port]),
    }
}

/// Our two notifications. To behave as if behind a NAT, give a `local` address that is not ours.
pub fn payloads(spi_i: IkeSpi, spi_r: IkeSpi, local: SocketAddr, peer: SocketAddr) -> [Payload; 2] {
    [
        (NotifyType::NAT_DETECTION_SOURCE_IP, local),
        (NotifyType::NAT_DETECTION_DESTINATION_IP, peer),
    ]
    .map(|(kind, address)| Payload::Notify(NotifyPayload::new(kind, hash(spi_i, spi_r, address))))
}

/// Compares the peer's notifications with the addresses that its message really had. `None` if the peer sends none: it does not
/// traverse NATs. A peer with several addresses may send several source notifications; one match is enough.
pub fn detect(
    message: &Message<'_>,
    spi_i: IkeSpi,
    spi_r: IkeSpi,
    local: SocketAddr,
    peer: SocketAddr,
) -> Option<Nat> {
    let matches = |kind, address| {
        let ours = hash(spi_i, spi_r, address);
        let mut any = None;
        for notify in message.notifies().filter(|notify| notify.notify_type == kind) {
            any = Some(any.unwrap_or(false) | ct_eq(&ours, &notify.data));
        }
        any
    };
    let source = matches(NotifyType::NAT_DETECTION_SOURCE_IP, peer)?;
    let destination = matches(NotifyType::NAT_DETECTION_DESTINATION_IP, local)?;
    Some(Nat {
        local: !destination,
        peer: !source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v2::MessageBuilder;
    use crate::wire::{ExchangeType, Flags, Header};

    #[track_caller]
    fn check(payloads: &[Payload], expected: Option<Nat>) {
        let (spi_i, spi_r) = (IkeSpi([1; 8]), IkeSpi::ZERO);
        let datagram = MessageBuilder::new(spi_i, spi_r, ExchangeType::IKE_SA_INIT, 0, Flags::INITIATOR)
            .payloads(payloads)
            .and_then(MessageBuilder::clear)
            .unwrap();
        let (header, body) = Header::parse(&datagram).unwrap();
        let message = Message::parse(header.next_payload, body).unwrap();
        let (local, peer) = ("192.0.2.2:500".parse().unwrap(), "192.0.2.1:500".parse().unwrap());
        assert_eq!(detect(&message, spi_i, spi_r, local, peer), expected);
    }

    #[test]
    fn a_nat_on_either_side_changes_one_hash() {
        let sent = |source: &str, destination: &str| {
            payloads(
                IkeSpi([1; 8]),
                IkeSpi::ZERO,
                source.parse().unwrap(),
                destination.parse().unwrap(),
            )
        };
        let nat = |local, peer| Some(Nat { local, peer });
        check(&sent("192.0.2.1:500", "192.0.2.2:500"), nat(false, false));
        check(&sent("10.0.0.1:500", "192.0.2.2:500"), nat(false, true));
        check(&sent("192.0.2.1:501", "192.0.2.2:500"), nat(false, true));
        check(&sent("192.0.2.1:500", "10.0.0.2:500"), nat(true, false));
        let [source, destination] = sent("192.0.2.1:500", "192.0.2.2:500");
        let [other, _] = sent("192.0.2.9:500", "192.0.2.2:500");
        check(
            &[other.clone(), source.clone(), destination.clone()],
            nat(false, false),
        );
        check(&[source.clone(), other, destination.clone()], nat(false, false));
        check(&[source], None);
        check(&[destination], None);
        check(&[], None);
    }
}
