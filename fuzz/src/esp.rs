//! ESP packets: as they are, and with the input inside of an authentic one.

use std::net::Ipv4Addr;

use gateway_common::Spi;
use gateway_esp::{Cipher, InboundSa, Keys, Packet, Selector, Transform};
use gateway_ike::crypto::{AeadKey, Encryption};

use crate::input::Input;

const SPI: Spi = Spi::new(0x1234_5678).expect("not reserved");
const KEY: [u8; 20] = [5; 20];

pub(crate) fn run(data: &[u8]) {
    let transform = Transform::new(Cipher::Aes128Gcm, None).expect("an AEAD");
    let selector = Selector {
        local: (Ipv4Addr::new(10, 1, 0, 0), 16),
        peer: (Ipv4Addr::new(10, 2, 0, 0), 16),
    };
    let keys = Keys::new(KEY.to_vec(), Vec::new());
    let sa = InboundSa::new(SPI, transform, &keys, vec![selector], 64).expect("keys of the right length");
    let mut input = Input::new(data);
    let (tos, wrap) = (input.u8(), input.u8() & 1 == 1);
    let sequence = input.u16();
    let mut frame = if wrap {
        authentic(sequence, input.rest())
    } else {
        input.rest().to_vec()
    };
    let len = frame.len();
    let mut packet = Packet::new(&mut frame, 0, len);
    if sa.open(&mut packet, tos).is_ok() {
        let inner = packet.bytes();
        assert!(inner.len() >= 20 && inner.len() < len);
        let source = Ipv4Addr::new(inner[12], inner[13], inner[14], inner[15]);
        assert!(
            source.octets().starts_with(&[10, 2]),
            "{source} is not the peer's"
        );
    }
}

fn authentic(sequence: u16, content: &[u8]) -> Vec<u8> {
    let key = AeadKey::new(Encryption::Aes128Gcm16, &KEY).expect("key and salt");
    let mut packet = SPI.to_be_bytes().to_vec();
    packet.extend_from_slice(&u32::from(sequence).to_be_bytes());
    let mut content = content.to_vec();
    let tag = key
        .seal(&[9; 8], &packet, &mut content)
        .expect("an iv of 8 octets");
    packet.extend_from_slice(&[9; 8]);
    packet.extend_from_slice(&content);
    packet.extend_from_slice(&tag);
    packet
}
