//! Nanoseconds per packet of sealing and opening, one JSON line per figure, beside the crates alone.
//!
//! Batches of 32 packets on one core; an argument selects the figures whose name contains it. Every figure is the median of several runs with the fastest and the slowest beside it.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Instant;

use aes::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit};
use gateway_esp::{
    Cipher, InboundSa, Integrity, IvGenerator, Keys, NonceSpace, OutboundSa, Packet, Selector, Spi,
    Transform, TunnelEndpoints, ip,
};
use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Packets per batch.
const BATCH: usize = 32;
/// A UMEM frame, and where the packet starts in it: unaligned, as behind an Ethernet header.
const FRAME: usize = 2048;
const START: usize = 306;
/// Octets before an ESP packet's own bytes: the outer header.
const OUTER: usize = 20;
const RUNS: usize = 9;
const BATCHES_PER_RUN: usize = 200;

fn main() {
    for len in [64, 256, 1400] {
        for transform in transforms() {
            let name = name(transform);
            report(&format!("seal {name} {len}"), || seal(transform, len));
            report(&format!("open {name} {len}"), || open(transform, len));
        }
        report(&format!("against ring aes128gcm seal {len}"), || {
            ring_seal(&AES_128_GCM, 16, len)
        });
        report(&format!("against ring aes256gcm seal {len}"), || {
            ring_seal(&AES_256_GCM, 32, len)
        });
        report(
            &format!("against cbc+hmac crates aes128cbc-sha1 seal {len}"),
            || crates_seal::<sha1::Sha1>(len),
        );
        report(
            &format!("against cbc+hmac crates aes128cbc-sha1 open {len}"),
            || crates_open::<sha1::Sha1>(len),
        );
        report(
            &format!("against cbc+hmac crates aes128cbc-sha256 seal {len}"),
            || crates_seal::<sha2::Sha256>(len),
        );
        report(
            &format!("against cbc+hmac crates aes128cbc-sha256 open {len}"),
            || crates_open::<sha2::Sha256>(len),
        );
    }
}

fn transforms() -> impl Iterator<Item = Transform> {
    [
        (Cipher::Aes128Gcm, None),
        (Cipher::Aes256Gcm, None),
        (Cipher::Aes192Gcm, None),
        (Cipher::ChaCha20Poly1305, None),
        (Cipher::Aes128Cbc, Some(Integrity::HmacSha1_96)),
        (Cipher::Aes128Cbc, Some(Integrity::HmacSha2_256_128)),
        (Cipher::Aes192Cbc, Some(Integrity::HmacSha1_96)),
        (Cipher::Aes256Cbc, Some(Integrity::HmacSha1_96)),
        (Cipher::Aes256Cbc, Some(Integrity::HmacSha2_256_128)),
        (Cipher::Aes256Cbc, Some(Integrity::HmacSha2_384_192)),
        (Cipher::Aes256Cbc, Some(Integrity::HmacSha2_512_256)),
        (Cipher::Aes128Cbc, Some(Integrity::HmacMd5_96)),
        (Cipher::TripleDes, Some(Integrity::HmacSha1_96)),
    ]
    .into_iter()
    .map(|(cipher, integrity)| Transform::new(cipher, integrity).expect("the pairs above are allowed"))
    .flat_map(|transform| match (transform.cipher(), transform.integrity()) {
        // What extended sequence numbers cost, once for each way of authenticating.
        (Cipher::Aes128Gcm, None) | (Cipher::Aes128Cbc, Some(Integrity::HmacSha1_96)) => {
            vec![transform, transform.with_esn(true)]
        }
        (_, _) => vec![transform],
    })
}

fn name(transform: Transform) -> String {
    let integrity = transform
        .integrity()
        .map(|integrity| format!("-{integrity:?}"))
        .unwrap_or_default();
    let esn = if transform.esn() { "-esn" } else { "" };
    format!("{:?}{integrity}{esn}", transform.cipher()).to_lowercase()
}

#[expect(clippy::print_stdout, reason = "the figures are the output")]
fn report<B: FnMut() -> u128>(name: &str, prepare: impl FnOnce() -> B) {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    if !name.contains(&wanted) {
        return;
    }
    let mut nanoseconds = measure(prepare());
    nanoseconds.sort_by(f64::total_cmp);
    let (min, median, max) = (
        nanoseconds[0],
        nanoseconds[nanoseconds.len() / 2],
        nanoseconds[nanoseconds.len() - 1],
    );
    println!(
        r#"{{"name":"esp {name}","unit":"ns/packet","value":{median:.1},"min":{min:.1},"max":{max:.1}}}"#
    );
}

/// Runs the work, which handles one batch and says how long that took, and gives nanoseconds per packet of each run.
fn measure(mut batch: impl FnMut() -> u128) -> Vec<f64> {
    batch();
    // The median batch of a run: a batch that lost the processor to somebody else says nothing about the code.
    let run = |_| {
        let mut batches: Vec<u128> = (0..BATCHES_PER_RUN).map(|_| batch()).collect();
        batches.sort_unstable();
        batches[BATCHES_PER_RUN / 2] as f64 / BATCH as f64
    };
    (0..RUNS).map(run).collect()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed(work: impl FnOnce()) -> u128 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos()
}

fn frames(packet: &[u8]) -> Vec<Vec<u8>> {
    let mut frame = vec![0; FRAME];
    frame[START..START + packet.len()].copy_from_slice(packet);
    vec![frame; BATCH]
}

/// An inner packet of `len` octets.
fn inner(len: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; len];
    packet[..20].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 1, 1]);
    let total = u16::try_from(len).expect("lengths of the table");
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    let sum = ip::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn sas(transform: Transform) -> (OutboundSa, InboundSa) {
    let keys = Keys::new(
        vec![7; transform.encryption_key_len()],
        vec![9; transform.integrity_key_len()],
    );
    let spi = Spi::new(0x1000).expect("not reserved");
    let endpoints = TunnelEndpoints {
        local: Ipv4Addr::new(192, 0, 2, 1),
        peer: Ipv4Addr::new(192, 0, 2, 2),
        udp: None,
    };
    let any = (Ipv4Addr::UNSPECIFIED, 0);
    let selectors = vec![Selector {
        local: any,
        peer: any,
    }];
    (
        OutboundSa::new(spi, transform, &keys, endpoints, NonceSpace::default()).expect("keys fit"),
        InboundSa::new(spi, transform, &keys, selectors, 4096).expect("keys fit"),
    )
}

fn seal_all(sa: &OutboundSa, frames: &mut [Vec<u8>], len: usize, ivs: &mut IvGenerator) -> (u128, usize) {
    let mut packets: Vec<_> = frames
        .iter_mut()
        .map(|frame| Packet::new(frame, START, len))
        .collect();
    let mut results = vec![Ok(()); packets.len()];
    let elapsed = timed(|| {
        let block = sa.reserve(32).expect("numbers suffice");
        sa.seal_batch(&mut packets, block, ivs, &mut results);
    });
    assert!(results.iter().all(Result::is_ok));
    (elapsed, packets[0].start)
}

fn seal(transform: Transform, len: usize) -> impl FnMut() -> u128 {
    let (outbound, _) = sas(transform);
    let mut frames = frames(&inner(len));
    let mut ivs = IvGenerator::from_seed([3; 32]);
    let header = inner(len)[..20].to_vec();
    move || {
        for frame in &mut frames {
            frame[START..START + 20].copy_from_slice(&header);
        }
        seal_all(&outbound, &mut frames, len, &mut ivs).0
    }
}

fn open(transform: Transform, len: usize) -> impl FnMut() -> u128 {
    let (outbound, inbound) = sas(transform);
    let mut ivs = IvGenerator::from_seed([3; 32]);
    let mut frames = frames(&inner(len));
    let plain = inner(len);
    move || {
        for frame in &mut frames {
            frame[START..START + len].copy_from_slice(&plain);
        }
        let (_, start) = seal_all(&outbound, &mut frames, len, &mut ivs);
        let total = |frame: &[u8]| usize::from(u16::from_be_bytes([frame[start + 2], frame[start + 3]]));
        let mut packets: Vec<_> = frames
            .iter_mut()
            .map(|frame| {
                let esp_len = total(frame) - OUTER;
                Packet::new(frame, start + OUTER, esp_len)
            })
            .collect();
        let mut results = vec![Ok(()); packets.len()];
        let elapsed = timed(|| inbound.open_batch(&mut packets, &[0; BATCH], &mut results));
        assert!(results.iter().all(Result::is_ok));
        elapsed
    }
}

fn ring_seal(algorithm: &'static ring::aead::Algorithm, key_len: usize, len: usize) -> impl FnMut() -> u128 {
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &vec![7; key_len]).expect("key fits"));
    let mut frames = frames(&inner(len));
    let mut counter = 0u64;
    move || {
        timed(|| {
            for frame in &mut frames {
                counter += 1;
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&counter.to_be_bytes());
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag =
                    key.seal_in_place_separate_tag(nonce, Aad::from([0; 8]), &mut frame[START..START + len]);
                assert!(black_box(tag).is_ok());
            }
        })
    }
}

/// Octets that are hashed before the ciphertext: ESP header and IV.
const HEAD: usize = 24;

fn keyed_hmac<D: hmac::EagerHash>() -> Hmac<D> {
    Hmac::new_from_slice(&[9; 20]).expect("any length fits")
}

fn crates_seal<D: hmac::EagerHash>(len: usize) -> impl FnMut() -> u128 {
    let cipher = aes::Aes128Enc::new(&[7; 16].into());
    let key = keyed_hmac::<D>();
    let mut frames = frames(&inner(len));
    let blocks_len = (len + 2).next_multiple_of(16);
    move || {
        timed(|| {
            for frame in &mut frames {
                let (blocks, _) = Array::slice_as_chunks_mut(&mut frame[START..START + blocks_len]);
                cbc::Encryptor::inner_iv_init(&cipher, &[1; 16].into()).encrypt_blocks(blocks);
                let mut mac = key.clone();
                mac.update(&frame[START - HEAD..START + blocks_len]);
                drop(black_box(mac.finalize()));
            }
        })
    }
}

fn crates_open<D: hmac::EagerHash>(len: usize) -> impl FnMut() -> u128 {
    let cipher = aes::Aes128Dec::new(&[7; 16].into());
    let key = keyed_hmac::<D>();
    let mut frames = frames(&inner(len));
    let blocks_len = (len + 2).next_multiple_of(16);
    move || {
        timed(|| {
            for frame in &mut frames {
                let mut mac = key.clone();
                mac.update(&frame[START - HEAD..START + blocks_len]);
                drop(black_box(mac.finalize()));
                let (blocks, _) = Array::slice_as_chunks_mut(&mut frame[START..START + blocks_len]);
                cbc::Decryptor::inner_iv_init(&cipher, &[1; 16].into()).decrypt_blocks(blocks);
            }
        })
    }
}
