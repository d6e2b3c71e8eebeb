//! Sessions recorded from strongSwan: what it sealed opens, and sealing it again gives the same octets.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::ip::{Ipv4Header, protocol};
use crate::testing::{all_transforms, any_selector, endpoints, hex};
use crate::{InboundSa, Keys, NonceSpace, OutboundSa, Packet, Spi, Transform};

/// The payloads of the IPv4 packets in an Ethernet capture (pcap, little endian).
fn ipv4_packets(pcap: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut rest = &pcap[24..];
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let frame = &rest[16..16 + len];
        if frame[12..14] == [0x08, 0x00] {
            packets.push(frame[14..].to_vec());
        }
        rest = &rest[16 + len..];
    }
    packets
}

/// The ESP part of an outer packet, if it has one.
fn esp(packet: &[u8]) -> Option<&[u8]> {
    let ip = Ipv4Header::parse(packet)?;
    let payload = &packet[ip.header_len..ip.total_len];
    match ip.protocol {
        protocol::ESP => Some(payload),
        protocol::UDP if payload[2..4] == 4500u16.to_be_bytes() && payload[8..12] != [0; 4] => {
            Some(&payload[8..])
        }
        _ => None,
    }
}

/// One recorded session.
struct Session {
    transform: Transform,
    /// Encryption and integrity key by SPI.
    keys: BTreeMap<u32, (Vec<u8>, Vec<u8>)>,
    wire: Vec<Vec<u8>>,
    inner: Vec<Vec<u8>>,
}

impl Session {
    fn read(dir: &Path) -> Self {
        let text = fs::read_to_string(dir.join("esp.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let named = |transform: &Transform| {
            let integrity = transform.integrity().map(|integrity| format!("{integrity:?}"));
            json["cipher"] == format!("{:?}", transform.cipher())
                && json["integrity"].as_str() == integrity.as_deref()
        };
        let sas = json["sas"].as_array().unwrap().iter().map(|sa| {
            let octets = |name: &str| hex(sa[name].as_str().unwrap());
            let spi = u32::from_str_radix(sa["spi"].as_str().unwrap(), 16).unwrap();
            (spi, (octets("encryption"), octets("integrity")))
        });
        Self {
            transform: all_transforms().into_iter().find(named).unwrap(),
            keys: sas.collect(),
            wire: ipv4_packets(&fs::read(dir.join("wire.pcap")).unwrap()),
            inner: ipv4_packets(&fs::read(dir.join("inner-hostA.pcap")).unwrap()),
        }
    }

    fn sas(&self, spi: u32) -> (OutboundSa, InboundSa) {
        let (encryption, integrity) = self.keys[&spi].clone();
        let keys = Keys::new(encryption, integrity);
        let spi = Spi::new(spi).unwrap();
        let outbound =
            OutboundSa::new(spi, self.transform, &keys, endpoints(), NonceSpace::default()).unwrap();
        (
            outbound,
            InboundSa::new(spi, self.transform, &keys, any_selector(), 64).unwrap(),
        )
    }
}

fn sessions() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// A packet without what a router on the way changes: TTL and checksum.
fn unrouted(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet[..Ipv4Header::parse(packet).unwrap().total_len].to_vec();
    packet[8] = 0;
    packet[10..12].fill(0);
    packet
}

#[test]
fn every_recorded_packet_opens_and_seals_again_to_the_same_octets() {
    let mut opened_in_all = 0;
    for dir in sessions() {
        let session = Session::read(&dir);
        let mut opened = Vec::new();
        let mut sas = BTreeMap::new();
        for sealed in session.wire.iter().filter_map(|packet| esp(packet)) {
            let spi = u32::from_be_bytes(sealed[..4].try_into().unwrap());
            let (outbound, inbound) = sas.entry(spi).or_insert_with(|| session.sas(spi));

            let mut frame = [&[0; 128], sealed, &[0; 128]].concat();
            let mut packet = Packet::new(&mut frame, 128, sealed.len());
            assert_eq!(inbound.open(&mut packet, 0), Ok(()), "{}", dir.display());
            opened.push(unrouted(packet.bytes()));

            let sequence = u32::from_be_bytes(sealed[4..8].try_into().unwrap());
            assert_eq!(inbound.highest_sequence(), u64::from(sequence));
            outbound.skip_to(u64::from(sequence) - 1);
            let number = outbound.reserve(1).unwrap().next().unwrap();
            let mut iv = [0; 16];
            let iv_len = session.transform.iv_len();
            iv[..iv_len].copy_from_slice(&sealed[8..8 + iv_len]);
            outbound.seal_with(&mut packet, &number, &iv).unwrap();
            assert_eq!(esp(packet.bytes()), Some(sealed), "{}", dir.display());
        }
        let sent: Vec<_> = session.inner.iter().map(|packet| unrouted(packet)).collect();
        assert_eq!(
            opened,
            sent,
            "{}: the plaintext behind the initiator",
            dir.display()
        );
        opened_in_all += opened.len();
    }
    assert!(
        opened_in_all >= 8 * 8,
        "the fixtures are there: {opened_in_all} packets"
    );
}
