//! The table of packets.

mod lengths;

use std::{format, string::String, vec, vec::Vec};

use gateway_common::abi::{
    DIRECTION_INBOUND, DIRECTION_OUTBOUND, IfaceValue, PACKET_META_MAGIC, PacketMeta, Verdict,
};

use super::{
    GATEWAY, GATEWAY_2, LOCAL_HOST, LOCAL_HOST_2, Outcome, PEER, PEER_HOST, PUBLIC, Row, SPI, STRANGER, VPC,
    packets::{ESP, ICMP, Ipv4, TCP, UDP, esp, ike, udp},
};

const DENY: IfaceValue = IfaceValue {
    default_deny: 1,
    ..VPC
};
const VLAN: [u16; 2] = [0x8100, 0x0064];
const SERVICE_VLAN: [u16; 2] = [0x88a8, 0x0065];

/// Every row, over maps that [`super::furnish`] filled.
pub fn rows() -> Vec<Row> {
    let mut table = Table::default();
    table.link_layer();
    table.vpc_side();
    table.public_side();
    table.port_4500();
    table.fragments();
    table.contradictions();
    table.truncations();
    table.0
}

/// Outcome of a packet for the worker to seal.
pub(super) fn outbound(policy: u32, generation: u32, l3_offset: u8) -> Outcome {
    let meta = PacketMeta {
        magic: PACKET_META_MAGIC,
        direction: DIRECTION_OUTBOUND,
        l3_offset,
        index: policy,
        generation,
        esp_offset: 0,
        udp_encapsulated: 0,
    };
    Outcome {
        verdict: Verdict::Outbound,
        meta: Some(meta),
    }
}

/// Outcome of a packet of [`super::SA`] for the worker to open.
pub(super) fn inbound(l3_offset: u8, esp_offset: u16, udp_encapsulated: u16) -> Outcome {
    let meta = PacketMeta {
        magic: PACKET_META_MAGIC,
        direction: DIRECTION_INBOUND,
        l3_offset,
        index: super::SA.sa,
        generation: super::SA.generation,
        esp_offset,
        udp_encapsulated,
    };
    Outcome {
        verdict: Verdict::Inbound,
        meta: Some(meta),
    }
}

#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn row(&mut self, name: &str, iface: IfaceValue, packet: Vec<u8>, expected: impl Into<Outcome>) {
        self.0.push(Row {
            name: String::from(name),
            iface,
            packet,
            expected: expected.into(),
        });
    }

    fn link_layer(&mut self) {
        let protected = Ipv4::new(LOCAL_HOST, PEER_HOST, TCP, &[0; 20]);
        let tagged = |vlans| {
            Ipv4 {
                vlans,
                ..protected.clone()
            }
            .build()
        };
        self.row("no tag", VPC, protected.build(), outbound(11, 3, 14));
        self.row("one tag", VPC, tagged(&[VLAN]), outbound(11, 3, 18));
        self.row(
            "one service tag",
            VPC,
            tagged(&[SERVICE_VLAN]),
            outbound(11, 3, 18),
        );
        self.row(
            "two tags",
            VPC,
            tagged(&[SERVICE_VLAN, VLAN]),
            outbound(11, 3, 22),
        );
        self.row(
            "three tags",
            VPC,
            tagged(&[SERVICE_VLAN, VLAN, VLAN]),
            Verdict::NotIp,
        );
        let mut behind_tag = tagged(&[VLAN]);
        behind_tag[17] = 0x06;
        self.row("a tag before ARP", VPC, behind_tag, Verdict::NotIp);
        for (name, ethertype) in [("ARP", 0x0806_u16), ("IPv6", 0x86dd), ("802.3 length", 46)] {
            let mut frame = protected.build();
            frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
            self.row(name, VPC, frame.clone(), Verdict::NotIp);
            self.row(name, PUBLIC, frame, Verdict::NotIp);
        }
        // E16: this data plane is of IPv4 and follows no chain of headers, however short or long.
        for headers in [0, 1, 10, 60] {
            let frame = behind_extension_headers(headers, &esp(SPI));
            let name = format!("E16: ESP behind {headers} extension headers");
            self.row(&name, VPC, frame.clone(), Verdict::NotIp);
            self.row(&name, PUBLIC, frame, Verdict::NotIp);
        }
        let mut padded = Ipv4::new(LOCAL_HOST, PEER_HOST, UDP, &[]).build();
        padded.resize(60, 0);
        self.row("padding of a short frame", VPC, padded, outbound(11, 3, 14));
        let sealed = esp(SPI);
        let sealed = Ipv4 {
            vlans: &[SERVICE_VLAN, VLAN],
            ..Ipv4::new(PEER, GATEWAY, ESP, &sealed)
        };
        self.row("two tags before ESP", PUBLIC, sealed.build(), inbound(22, 42, 0));
    }

    fn vpc_side(&mut self) {
        let tcp = |src, dst| Ipv4::new(src, dst, TCP, &[0; 20]).build();
        self.row(
            "the longest local prefix wins",
            VPC,
            tcp(LOCAL_HOST_2, PEER_HOST),
            outbound(12, 4, 14),
        );
        self.row(
            "second peer prefix",
            VPC,
            tcp(LOCAL_HOST_2, [192, 168, 7, 8]),
            outbound(13, 5, 14),
        );
        self.row(
            "the longest peer prefix wins",
            VPC,
            tcp(LOCAL_HOST_2, [192, 168, 7, 1]),
            outbound(14, 6, 14),
        );
        self.row(
            "classes without a policy",
            VPC,
            tcp(LOCAL_HOST, [192, 168, 7, 8]),
            Verdict::Bypass,
        );
        self.row("unknown peer", VPC, tcp(LOCAL_HOST, STRANGER), Verdict::Bypass);
        self.row(
            "unknown local host",
            VPC,
            tcp(STRANGER, PEER_HOST),
            Verdict::Bypass,
        );
        self.row(
            "unknown peer, default deny",
            DENY,
            tcp(LOCAL_HOST, STRANGER),
            Verdict::NoPolicy,
        );
        self.row(
            "classes without a policy, default deny",
            DENY,
            tcp(LOCAL_HOST, [192, 168, 7, 8]),
            Verdict::NoPolicy,
        );
        self.row(
            "policy, default deny",
            DENY,
            tcp(LOCAL_HOST, PEER_HOST),
            outbound(11, 3, 14),
        );
        self.row(
            "own address, default deny",
            DENY,
            tcp(LOCAL_HOST, GATEWAY),
            Verdict::Bypass,
        );
        self.row(
            "both ends exchanged",
            VPC,
            tcp(PEER_HOST, LOCAL_HOST),
            Verdict::Bypass,
        );
        let any = [ICMP, TCP, UDP, ESP, 255];
        for protocol in any {
            let packet = Ipv4::new(LOCAL_HOST, PEER_HOST, protocol, &[0; 8]).build();
            self.row(&format!("protocol {protocol}"), VPC, packet, outbound(11, 3, 14));
        }
        let options = Ipv4 {
            options: &[1; 40],
            ..Ipv4::new(LOCAL_HOST, PEER_HOST, TCP, &[0; 20])
        };
        self.row("IP options", VPC, options.build(), outbound(11, 3, 14));
        let no_space = IfaceValue { space: 0, ..DENY };
        self.row(
            "an interface without a space",
            no_space,
            tcp(LOCAL_HOST, PEER_HOST),
            Verdict::Bypass,
        );
        let other_space = IfaceValue { space: 77, ..VPC };
        self.row(
            "a space without prefixes",
            other_space,
            tcp(LOCAL_HOST, PEER_HOST),
            Verdict::Bypass,
        );
        let no_queue = IfaceValue { queues: 0, ..VPC };
        self.row(
            "no worker for the queue",
            no_queue,
            tcp(LOCAL_HOST, PEER_HOST),
            Verdict::NoWorker,
        );
        self.row(
            "no worker, no policy",
            no_queue,
            tcp(LOCAL_HOST, STRANGER),
            Verdict::Bypass,
        );
        let no_socket = IfaceValue { xsk_base: 9, ..VPC };
        self.row(
            "no socket in the slot",
            no_socket,
            tcp(LOCAL_HOST, PEER_HOST),
            Verdict::NoWorker,
        );
        let unknown_role = IfaceValue { role: 3, ..VPC };
        self.row(
            "unknown role",
            unknown_role,
            tcp(LOCAL_HOST, PEER_HOST),
            Verdict::Internal,
        );
    }

    fn public_side(&mut self) {
        let to = |dst, protocol, payload: &[u8]| Ipv4::new(PEER, dst, protocol, payload).build();
        self.row("ESP", PUBLIC, to(GATEWAY, ESP, &esp(SPI)), inbound(14, 34, 0));
        let options = esp(SPI);
        let options = Ipv4 {
            options: &[1; 40],
            ..Ipv4::new(PEER, GATEWAY, ESP, &options)
        };
        self.row(
            "ESP behind IP options",
            PUBLIC,
            options.build(),
            inbound(14, 74, 0),
        );
        self.row(
            "ESP of eight octets",
            PUBLIC,
            to(GATEWAY, ESP, &esp(SPI)[..8]),
            inbound(14, 34, 0),
        );
        self.row(
            "SPI of another address",
            PUBLIC,
            to(GATEWAY_2, ESP, &esp(SPI)),
            Verdict::UnknownSpi,
        );
        self.row(
            "unknown SPI",
            PUBLIC,
            to(GATEWAY, ESP, &esp([1, 2, 3, 4])),
            Verdict::UnknownSpi,
        );
        for spi in [0_u8, 1, 255] {
            let packet = to(GATEWAY, ESP, &esp([0, 0, 0, spi]));
            self.row(
                &format!("reserved SPI {spi}"),
                PUBLIC,
                packet,
                Verdict::UnknownSpi,
            );
        }
        let no_queue = IfaceValue { queues: 0, ..PUBLIC };
        self.row(
            "no worker for the queue",
            no_queue,
            to(GATEWAY, ESP, &esp(SPI)),
            Verdict::NoWorker,
        );
        self.row(
            "no worker, unknown SPI",
            no_queue,
            to(GATEWAY, ESP, &esp([1; 4])),
            Verdict::UnknownSpi,
        );
        self.row(
            "ESP for someone else",
            PUBLIC,
            to(STRANGER, ESP, &esp(SPI)),
            Verdict::Bypass,
        );
        self.row("IKE", PUBLIC, to(GATEWAY, UDP, &udp(500, &ike())), Verdict::Ike);
        self.row(
            "an empty datagram for port 500",
            PUBLIC,
            to(GATEWAY, UDP, &udp(500, &[])),
            Verdict::Ike,
        );
        self.row(
            "IKE for someone else",
            PUBLIC,
            to(STRANGER, UDP, &udp(500, &ike())),
            Verdict::Bypass,
        );
        self.row(
            "IKE on the VPC side",
            VPC,
            to(GATEWAY, UDP, &udp(500, &ike())),
            Verdict::Bypass,
        );
        self.row(
            "another port",
            PUBLIC,
            to(GATEWAY, UDP, &udp(53, &[0; 20])),
            Verdict::Bypass,
        );
        self.row(
            "ping",
            PUBLIC,
            to(GATEWAY, ICMP, &[8, 0, 0, 0, 0, 0, 0, 0]),
            Verdict::Bypass,
        );

        let clear = |src, dst| Ipv4::new(src, dst, TCP, &[0; 20]).build();
        self.row(
            "cleartext",
            PUBLIC,
            clear(PEER_HOST, LOCAL_HOST),
            Verdict::CleartextInbound,
        );
        self.row(
            "cleartext of another policy",
            PUBLIC,
            clear([192, 168, 7, 1], LOCAL_HOST_2),
            Verdict::CleartextInbound,
        );
        self.row(
            "from a stranger",
            PUBLIC,
            clear(STRANGER, LOCAL_HOST),
            Verdict::Bypass,
        );
        self.row(
            "to a stranger",
            PUBLIC,
            clear(PEER_HOST, STRANGER),
            Verdict::Bypass,
        );
        self.row("outgoing", PUBLIC, clear(LOCAL_HOST, PEER_HOST), Verdict::Bypass);
        self.row(
            "classes without a policy",
            PUBLIC,
            clear([192, 168, 7, 8], LOCAL_HOST),
            Verdict::Bypass,
        );
        let sealed = Ipv4::new(PEER_HOST, LOCAL_HOST, ESP, &esp(SPI)).build();
        self.row(
            "ESP inside the protected networks",
            PUBLIC,
            sealed,
            Verdict::CleartextInbound,
        );
        let no_space = IfaceValue { space: 0, ..PUBLIC };
        self.row(
            "no space, no check",
            no_space,
            clear(PEER_HOST, LOCAL_HOST),
            Verdict::Bypass,
        );
        self.row(
            "no space, ESP",
            no_space,
            to(GATEWAY, ESP, &esp(SPI)),
            inbound(14, 34, 0),
        );
    }

    /// RFC 3948: IKE behind four zero octets, ESP, and keepalives of one octet.
    fn port_4500(&mut self) {
        let marked = [&[0; 4][..], &ike()].concat();
        let rows: [(&str, Vec<u8>, Outcome); 12] = [
            ("IKE behind the marker", marked, Verdict::Ike.into()),
            ("the marker alone", vec![0; 4], Verdict::Ike.into()),
            ("marker and one octet", vec![0; 5], Verdict::Ike.into()),
            ("ESP", esp(SPI), inbound(14, 42, 1)),
            ("ESP of eight octets", esp(SPI)[..8].to_vec(), inbound(14, 42, 1)),
            ("unknown SPI", esp([9, 9, 9, 9]), Verdict::UnknownSpi.into()),
            (
                "marker with one bit set",
                [&[0, 0, 0, 1][..], &ike()].concat(),
                Verdict::UnknownSpi.into(),
            ),
            ("keepalive", vec![0xff], Verdict::NatKeepalive.into()),
            (
                "one octet, not a keepalive",
                vec![0xfe],
                Verdict::Malformed.into(),
            ),
            ("nothing", vec![], Verdict::Malformed.into()),
            ("three zero octets", vec![0; 3], Verdict::Malformed.into()),
            ("two keepalives in one", vec![0xff; 2], Verdict::Malformed.into()),
        ];
        for (name, payload, expected) in rows {
            let datagram = udp(4500, &payload);
            let packet = Ipv4::new(PEER, GATEWAY, UDP, &datagram);
            self.row(&format!("port 4500: {name}"), PUBLIC, packet.build(), expected);
        }
        let datagram = udp(4500, &esp(SPI));
        let packet = Ipv4 {
            options: &[1; 8],
            vlans: &[VLAN],
            ..Ipv4::new(PEER, GATEWAY, UDP, &datagram)
        };
        self.row(
            "port 4500: ESP behind tag and options",
            PUBLIC,
            packet.build(),
            inbound(18, 54, 1),
        );
        let mut padded = Ipv4::new(PEER, GATEWAY, UDP, &udp(4500, &[0xff])).build();
        padded.resize(60, 0);
        self.row(
            "port 4500: keepalive in a padded frame",
            PUBLIC,
            padded,
            Verdict::NatKeepalive,
        );
    }
}

/// An IPv6 packet with so many destination options headers in front of ESP.
fn behind_extension_headers(headers: usize, esp: &[u8]) -> Vec<u8> {
    const DESTINATION_OPTIONS: u8 = 60;
    let next = |left: usize| if left == 0 { ESP } else { DESTINATION_OPTIONS };
    let mut frame = Ipv4::new(PEER, GATEWAY, ESP, &[]).build();
    frame.truncate(14);
    frame[12..14].copy_from_slice(&0x86dd_u16.to_be_bytes());
    let payload = u16::try_from(headers * 8 + esp.len()).unwrap_or(0).to_be_bytes();
    frame.extend([0x60, 0, 0, 0, payload[0], payload[1], next(headers), 64]);
    frame.extend([0xfd; 32]);
    for left in (0..headers).rev() {
        frame.extend([next(left), 0, 1, 4, 0, 0, 0, 0]);
    }
    frame.extend(esp);
    frame
}
