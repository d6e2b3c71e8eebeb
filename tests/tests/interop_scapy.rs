//! the same octets as another implementation, for every algorithm, in both directions, with and without extended sequence numbers.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::net::Ipv4Addr;

use gateway_esp::ip::{Ipv4Header, checksum};
use gateway_esp::{
    Cipher, InboundSa, Integrity, IvGenerator, Keys, NonceSpace, OutboundSa, Packet, Selector, Spi,
    Transform, TunnelEndpoints,
};
use gateway_tests::scapy::{self, Answer, Job};

/// Packets of each transform in each direction.
const PACKETS: u64 = 60;
/// Room before and after a packet.
const ROOM: usize = 128;

/// SplitMix64: the same cases in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn octets(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// One packet under keys of its own.
struct Case {
    transform: Transform,
    spi: Spi,
    sequence: u64,
    encryption: Vec<u8>,
    authentication: Vec<u8>,
    inner: Vec<u8>,
}

impl Case {
    fn random(transform: Transform, number: u64, random: &mut Random) -> Self {
        let edge = u64::from(u32::MAX);
        // The edges of the lower half, then anything.
        let sequence = match (transform.esn(), number) {
            (_, 0) => 1,
            (_, 1) => edge,
            (true, 2) => edge + 1,
            (true, 3) => 7 * (edge + 1) + edge,
            (true, _) => 1 + random.below(transform.last_sequence()),
            (false, _) => 1 + random.below(edge),
        };
        let spi = u32::try_from(256 + random.below(0xffff_fe00)).unwrap();
        // Every length of some blocks, then anything.
        let len = if number < 40 { number } else { random.below(1400) };
        Self {
            transform,
            spi: Spi::new(spi).unwrap(),
            sequence,
            encryption: random.octets(transform.encryption_key_len()),
            authentication: random.octets(transform.integrity_key_len()),
            inner: inner(len, random),
        }
    }

    fn job(&self, what: &'static str, packet: &[u8]) -> Job {
        let transform = self.transform;
        Job {
            what,
            cipher: format!("{:?}", transform.cipher()),
            integrity: transform.integrity().map(|integrity| format!("{integrity:?}")),
            esn: transform.esn(),
            spi: self.spi.get(),
            sequence: self.sequence,
            encryption: hex(&self.encryption),
            authentication: hex(&self.authentication),
            packet: hex(packet),
        }
    }

    fn keys(&self) -> Keys {
        Keys::new(self.encryption.clone(), self.authentication.clone())
    }

    fn sealed(&self, ivs: &mut IvGenerator) -> Vec<u8> {
        let endpoints = TunnelEndpoints {
            local: Ipv4Addr::new(192, 0, 2, 1),
            peer: Ipv4Addr::new(198, 51, 100, 2),
            udp: None,
        };
        let nonces = NonceSpace::default();
        let sa = OutboundSa::new(self.spi, self.transform, &self.keys(), endpoints, nonces).unwrap();
        sa.skip_to(self.sequence - 1);
        let number = sa.reserve(1).unwrap().next().unwrap();
        let mut frame = [&[0; ROOM], &self.inner[..], &[0; ROOM]].concat();
        let mut packet = Packet::new(&mut frame, ROOM, self.inner.len());
        sa.seal(&mut packet, number, ivs).unwrap();
        packet.bytes().to_vec()
    }

    fn opened(&self, outer: &[u8]) -> Vec<u8> {
        let any = (Ipv4Addr::UNSPECIFIED, 0);
        let any = Selector {
            local: any,
            peer: any,
        };
        let sa = InboundSa::new(self.spi, self.transform, &self.keys(), vec![any], 64).unwrap();
        sa.skip_to(self.sequence - 1);
        let ip = Ipv4Header::parse(outer).unwrap();
        let mut frame = outer.to_vec();
        let mut packet = Packet::new(&mut frame, ip.header_len, ip.total_len - ip.header_len);
        sa.open(&mut packet, ip.tos)
            .unwrap_or_else(|error| panic!("{error}: {self}"));
        packet.bytes().to_vec()
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            transform,
            sequence,
            inner,
            ..
        } = self;
        write!(f, "{transform:?}, number {sequence:#x}, {} octets", inner.len())
    }
}

/// An IPv4 packet with a payload that nobody takes for a known protocol.
fn inner(len: u64, random: &mut Random) -> Vec<u8> {
    let payload = random.octets(len.try_into().unwrap());
    let total = u16::try_from(20 + payload.len()).unwrap();
    let mut packet = vec![
        0x45, 0, 0, 0, 0, 0, 0x40, 0, 63, 253, 0, 0, 192, 168, 1, 2, 10, 0, 0, 9,
    ];
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[4..6].copy_from_slice(&random.octets(2));
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn transforms() -> Vec<Transform> {
    use Cipher::{
        Aes128Cbc, Aes128Gcm, Aes192Cbc, Aes192Gcm, Aes256Cbc, Aes256Gcm, ChaCha20Poly1305, Des, TripleDes,
    };
    use Integrity::{HmacMd5_96, HmacSha1_96, HmacSha2_256_128, HmacSha2_384_192, HmacSha2_512_256};
    let macs = [
        HmacMd5_96,
        HmacSha1_96,
        HmacSha2_256_128,
        HmacSha2_384_192,
        HmacSha2_512_256,
    ];
    let cbc = [Des, TripleDes, Aes128Cbc, Aes192Cbc, Aes256Cbc]
        .into_iter()
        .flat_map(|cipher| macs.map(|mac| (cipher, Some(mac))));
    let aead = [Aes128Gcm, Aes192Gcm, Aes256Gcm, ChaCha20Poly1305].map(|cipher| (cipher, None));
    cbc.chain(aead)
        .flat_map(|(cipher, integrity)| {
            let transform = Transform::new(cipher, integrity).unwrap();
            [false, true].map(|esn| transform.with_esn(esn))
        })
        .collect()
}

fn cases(seed: u64) -> Vec<Case> {
    let mut random = Random(seed);
    let mut all = Vec::new();
    for transform in transforms() {
        all.extend((0..PACKETS).map(|number| Case::random(transform, number, &mut random)));
    }
    all
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

#[test]
fn scapy_opens_what_we_seal() {
    let cases = cases(1);
    let mut ivs = IvGenerator::from_seed([7; 32]);
    let jobs: Vec<_> = cases
        .iter()
        .map(|case| case.job("open", &case.sealed(&mut ivs)))
        .collect();
    for (case, answer) in cases.iter().zip(scapy::run(&jobs).unwrap()) {
        assert_eq!(answer, Answer::Packet(hex(&case.inner)), "{case}");
    }
}

#[test]
fn we_open_what_scapy_seals() {
    let cases = cases(2);
    let jobs: Vec<_> = cases.iter().map(|case| case.job("seal", &case.inner)).collect();
    for (case, answer) in cases.iter().zip(scapy::run(&jobs).unwrap()) {
        match answer {
            Answer::Packet(outer) => assert_eq!(case.opened(&octets(&outer)), case.inner, "{case}"),
            Answer::Error(error) => panic!("{case}: {error}"),
        }
    }
}
