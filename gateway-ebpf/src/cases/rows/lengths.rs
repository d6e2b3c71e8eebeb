//! Packets in pieces, cut off, or with lengths that do not fit each other.

use std::format;

use gateway_common::abi::Verdict;

use super::{Table, VLAN, outbound};
use crate::cases::{
    GATEWAY, LOCAL_HOST, PEER, PEER_HOST, PUBLIC, SPI, VPC,
    packets::{self, DONT_FRAGMENT, ESP, ETHERNET_LEN, Ipv4, MORE_FRAGMENTS, TCP, UDP, esp, ike, udp},
};

impl Table {
    pub(super) fn fragments(&mut self) {
        let sealed = esp(SPI);
        let sealed_in_udp = udp(4500, &esp(SPI));
        let exchange = udp(500, &ike());
        let other = udp(53, &[0; 40]);
        let kinds: [(&str, u8, &[u8], Verdict); 4] = [
            ("ESP", ESP, &sealed, Verdict::Fragment),
            ("port 4500", UDP, &sealed_in_udp, Verdict::Fragment),
            ("port 500", UDP, &exchange, Verdict::Ike),
            ("another port", UDP, &other, Verdict::Bypass),
        ];
        for (name, protocol, payload, first) in kinds {
            let piece = |fragment| {
                Ipv4 {
                    fragment,
                    ..Ipv4::new(PEER, GATEWAY, protocol, payload)
                }
                .build()
            };
            let (begin, middle, end) = (MORE_FRAGMENTS, MORE_FRAGMENTS | 185, 370);
            self.row(&format!("first fragment, {name}"), PUBLIC, piece(begin), first);
            self.row(
                &format!("middle fragment, {name}"),
                PUBLIC,
                piece(middle),
                Verdict::Fragment,
            );
            self.row(
                &format!("last fragment, {name}"),
                PUBLIC,
                piece(end),
                Verdict::Fragment,
            );
            self.row(
                &format!("DF and MF, {name}"),
                PUBLIC,
                piece(begin | DONT_FRAGMENT),
                first,
            );
        }
        let tcp = Ipv4 {
            fragment: 185,
            ..Ipv4::new(PEER, GATEWAY, TCP, &[0; 40])
        };
        self.row(
            "a fragment of something else",
            PUBLIC,
            tcp.build(),
            Verdict::Bypass,
        );
        let tiny = Ipv4 {
            fragment: MORE_FRAGMENTS,
            ..Ipv4::new(PEER, GATEWAY, ESP, &[])
        };
        self.row(
            "an empty first fragment of ESP",
            PUBLIC,
            tiny.build(),
            Verdict::Fragment,
        );
        let tiny = Ipv4 {
            fragment: MORE_FRAGMENTS,
            ..Ipv4::new(PEER, GATEWAY, UDP, &sealed_in_udp[..7])
        };
        self.row(
            "a first fragment without the UDP header",
            PUBLIC,
            tiny.build(),
            Verdict::Malformed,
        );
        let inside = Ipv4 {
            fragment: 185,
            ..Ipv4::new(LOCAL_HOST, PEER_HOST, UDP, &[0; 40])
        };
        self.row(
            "a fragment from the VPC",
            VPC,
            inside.build(),
            outbound(11, 3, 14),
        );
        let clear = Ipv4 {
            fragment: 185,
            ..Ipv4::new(PEER_HOST, LOCAL_HOST, UDP, &[0; 40])
        };
        self.row(
            "a cleartext fragment",
            PUBLIC,
            clear.build(),
            Verdict::CleartextInbound,
        );
    }

    /// Lengths that do not fit each other.
    pub(super) fn contradictions(&mut self) {
        let plain = Ipv4::new(LOCAL_HOST, PEER_HOST, TCP, &[0; 20]).build();
        let changes: [(&str, usize, u8); 7] = [
            ("IP version 6", 0, 0x65),
            ("IP version 0", 0, 0x05),
            ("header of 16 octets", 0, 0x44),
            ("header of 0 octets", 0, 0x40),
            ("header beyond the packet", 0, 0x4f),
            ("total length below the header", 3, 19),
            ("total length beyond the packet", 3, 41),
        ];
        for (name, offset, octet) in changes {
            let mut packet = plain.clone();
            packet[ETHERNET_LEN + offset] = octet;
            self.row(name, VPC, packet.clone(), Verdict::Malformed);
            self.row(name, PUBLIC, packet, Verdict::Malformed);
        }
        for port in [500, 4500] {
            let payload = if port == 500 { ike() } else { esp(SPI) };
            for (name, len) in [
                ("shorter", 7 + payload.len()),
                ("longer", 9 + payload.len()),
                ("zero", 0),
                ("7", 7),
            ] {
                let datagram = packets::udp_with_len(port, len, &payload);
                let packet = Ipv4::new(PEER, GATEWAY, UDP, &datagram).build();
                self.row(
                    &format!("UDP length {name}, port {port}"),
                    PUBLIC,
                    packet,
                    Verdict::Malformed,
                );
            }
        }
    }

    pub(super) fn truncations(&mut self) {
        let sealed = esp(SPI);
        let sealed_in_udp = udp(4500, &esp(SPI));
        let whole = [
            (
                VPC,
                Ipv4 {
                    vlans: &[VLAN],
                    ..Ipv4::new(LOCAL_HOST, PEER_HOST, TCP, &[0; 20])
                },
            ),
            (
                PUBLIC,
                Ipv4 {
                    options: &[1; 4],
                    ..Ipv4::new(PEER, GATEWAY, ESP, &sealed)
                },
            ),
            (PUBLIC, Ipv4::new(PEER, GATEWAY, UDP, &sealed_in_udp)),
        ];
        for (iface, packet) in &whole {
            let frame = packet.build();
            for len in ETHERNET_LEN..frame.len() {
                self.row(
                    &format!("cut off after {len}"),
                    *iface,
                    frame[..len].to_vec(),
                    Verdict::Malformed,
                );
            }
        }
        for len in 0..8 {
            let short = Ipv4::new(PEER, GATEWAY, ESP, &sealed[..len]).build();
            self.row(&format!("ESP of {len} octets"), PUBLIC, short, Verdict::Malformed);
            let short = Ipv4::new(PEER, GATEWAY, UDP, &sealed_in_udp[..len]).build();
            self.row(&format!("UDP of {len} octets"), PUBLIC, short, Verdict::Malformed);
            let datagram = udp(4500, &sealed[..len]);
            let short = Ipv4::new(PEER, GATEWAY, UDP, &datagram).build();
            self.row(
                &format!("ESP of {len} octets in UDP"),
                PUBLIC,
                short,
                Verdict::Malformed,
            );
        }
    }
}
