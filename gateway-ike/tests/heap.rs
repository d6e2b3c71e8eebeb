//! What a datagram may make of the heap: rows P2 and P11 of the attack catalogue.
//!
//! The allocator of this program fills what it hands out with a pattern and remembers the largest request of a thread.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use gateway_ike::config::{
    ChildLifetime, ConnectionConfig, ConnectionId, Esn, EspCipher, EspIntegrity, EspProposal, Identity,
    IkeProposal, IkeVersion, PairIndex, Phase1Mode, Psk, SelectorPair,
};
use gateway_ike::crypto::{DhGroup, Encryption, Hash};
use gateway_ike::{Endpoint, EndpointConfig};

/// What fresh memory holds. A reply that shows a run of it shows memory that nobody wrote.
const PATTERN: u8 = 0xa7;
/// Octets of the pattern in a row that chance does not make.
const RUN: usize = 6;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

struct Patterned;

fn note(size: usize) {
    // A thread that ends has no more use for it.
    let _gone = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Patterned {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        let memory = unsafe { System.alloc(layout) };
        if !memory.is_null() {
            // SAFETY: the system has just handed out `size` octets.
            unsafe { memory.write_bytes(PATTERN, layout.size()) };
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) };
    }
}

#[global_allocator]
static HEAP: Patterned = Patterned;

fn address(last: u8) -> SocketAddrV4 {
    SocketAddrV4::new([192, 0, 2, last].into(), 500)
}

fn endpoint(now: Instant, local: u8, version: IkeVersion) -> Endpoint {
    let peer = 3 - local;
    let range = |side: u8| format!("10.{side}.0.0/16").parse().unwrap();
    let mut endpoint = Endpoint::new(EndpointConfig::new([local; 32]));
    endpoint.put_connection(
        now,
        ConnectionConfig {
            id: ConnectionId(1),
            local: *address(local).ip(),
            peer: *address(peer).ip(),
            local_id: Identity::Ipv4(*address(local).ip()),
            peer_id: Identity::Ipv4(*address(peer).ip()),
            psk: Psk::new(b"a key that both ends know".to_vec()),
            version,
            mode: Phase1Mode::Main,
            ike_proposals: vec![IkeProposal {
                encryption: Encryption::Aes128Cbc,
                hash: Hash::Sha1,
                group: DhGroup::Modp768,
                additional: None,
            }],
            ike_lifetime: Duration::from_secs(3600),
            ike_kilobytes: None,
            esp_proposals: vec![EspProposal {
                cipher: EspCipher::Aes128Cbc,
                integrity: Some(EspIntegrity::HmacSha1),
            }],
            pfs: None,
            child_lifetime: ChildLifetime {
                time: Duration::from_secs(600),
                kilobytes: None,
            },
            selectors: vec![SelectorPair {
                local: range(local),
                peer: range(peer),
            }],
            may_initiate: true,
            keep_up: false,
            force_udp_encapsulation: false,
            dpd: None,
            esn: Esn::Off,
            reauthentication: None,
            fragmentation: true,
        },
    );
    endpoint
}

/// Lets the endpoint work, and returns what it sends.
fn settle(endpoint: &mut Endpoint, now: Instant) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    loop {
        while endpoint.poll_event().is_some() {}
        while let Some(transmit) = endpoint.poll_transmit() {
            sent.push(transmit.payload);
        }
        let Some((id, job)) = endpoint.poll_job() else {
            return sent;
        };
        endpoint.handle_job(now, id, job.run());
    }
}

fn first_message(now: Instant, version: IkeVersion) -> Vec<u8> {
    let mut peer = endpoint(now, 2, version);
    peer.initiate(now, ConnectionId(1), PairIndex(0));
    settle(&mut peer, now).remove(0)
}

const VERSIONS: [IkeVersion; 2] = [IkeVersion::V1, IkeVersion::V2];

#[test]
fn p2_no_length_on_the_wire_makes_an_allocation_larger_than_the_datagram_explains() {
    /// Parsed values, counters and tables, whatever the datagram says.
    const OWN: usize = 4096;
    /// Octets of a parsed value for each octet of the wire, at most.
    const SPREAD: usize = 32;
    let now = Instant::now();
    for version in VERSIONS {
        let first = first_message(now, version);
        // Every field of 16 or 32 bits is a length somewhere.
        for at in 0..first.len() - 4 {
            for forged in [
                &[0xff, 0xff, 0xff, 0xff][..],
                &[0x7f, 0xff],
                &[0, 0],
                &[0x80, 0, 0, 0],
            ] {
                let mut datagram = first.clone();
                datagram[at..at + forged.len()].copy_from_slice(forged);
                let mut victim = endpoint(now, 1, version);
                settle(&mut victim, now);
                LARGEST.set(0);
                victim.handle_datagram(now, address(1), address(2), &datagram);
                let largest = LARGEST.get();
                assert!(
                    largest <= OWN + SPREAD * datagram.len(),
                    "{} octets at once for {} at {at}",
                    largest,
                    datagram.len()
                );
            }
        }
    }
}

#[test]
fn p11_replies_to_malformed_messages_show_no_memory_that_nobody_wrote() {
    let now = Instant::now();
    let mut replies = 0;
    for version in VERSIONS {
        let first = first_message(now, version);
        for at in 28..first.len() {
            for change in [0x01, 0x7f, 0x80, 0xff] {
                let mut datagram = first.clone();
                datagram[at] ^= change;
                let mut victim = endpoint(now, 1, version);
                victim.handle_datagram(now, address(1), address(2), &datagram);
                for reply in settle(&mut victim, now) {
                    replies += 1;
                    let shows = reply.windows(RUN).any(|run| run == [PATTERN; RUN]);
                    assert!(!shows, "octet {at} ^ {change:#x}: {reply:02x?}");
                }
            }
        }
    }
    assert!(replies > 500, "{replies} replies");
}

/// The check above can fail.
#[test]
fn p11_fresh_memory_shows_the_pattern() {
    let layout = Layout::array::<u8>(64).unwrap();
    // SAFETY: the layout is not of size zero.
    let memory = unsafe { HEAP.alloc(layout) };
    assert!(!memory.is_null());
    // SAFETY: the allocator has written all 64 octets.
    let octets = unsafe { std::slice::from_raw_parts(memory, 64) };
    assert_eq!(octets, [PATTERN; 64]);
    // SAFETY: allocated above with the same layout.
    unsafe { HEAP.dealloc(memory, layout) };
}
