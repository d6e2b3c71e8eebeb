//! Whatever is read is written to the same meaning, and reading is bounded.

use gateway_ike::wire::{Header, PayloadType, v1, v2};

/// The input is a datagram, and its octets behind the header's length also a chain that starts with the type of its first octet.
fn chains(data: &[u8]) -> Vec<(PayloadType, &[u8])> {
    let mut chains = Vec::new();
    if let Ok((header, body)) = Header::parse(data) {
        chains.push((header.next_payload, body));
    }
    if let [first, rest @ ..] = data {
        chains.push((PayloadType(*first), rest));
    }
    chains
}

/// IKEv1 messages, in the clear and decrypted.
pub(crate) fn v1(data: &[u8]) {
    for (first, body) in chains(data) {
        for protection in [v1::Protection::Clear, v1::Protection::Decrypted] {
            let Ok(message) = v1::Message::parse(first, body, protection) else {
                continue;
            };
            assert!(message.payloads.len() <= v1::MAX_PAYLOADS);
            for parsed in &message.payloads {
                let written = parsed.payload.to_bytes().expect("what was read can be written");
                let again = v1::Payload::parse(parsed.payload.payload_type(), &written);
                assert_eq!(again.as_ref(), Ok(&parsed.payload));
            }
        }
    }
}

/// IKEv2 messages, in the clear and decrypted.
pub(crate) fn v2(data: &[u8]) {
    for (first, body) in chains(data) {
        for parse in [v2::Message::parse, v2::Message::parse_decrypted] {
            let Ok(message) = parse(first, body) else {
                continue;
            };
            assert!(message.payloads.len() <= v2::MAX_PAYLOADS);
            for parsed in &message.payloads {
                let written = parsed.payload.to_bytes().expect("what was read can be written");
                let again = v2::Payload::parse(parsed.payload.payload_type(), false, &written);
                assert_eq!(again.as_ref(), Ok(&parsed.payload));
            }
        }
    }
}
