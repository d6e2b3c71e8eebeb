//! No frame is lost or doubled, whatever the packets are.

use gateway_common::abi::{DIRECTION_INBOUND, DIRECTION_OUTBOUND, PACKET_META_MAGIC, PacketMeta};
use proptest::prelude::*;

use super::world::*;
use crate::dataplane::counters::{Direction, PathError};

/// Metadata that is nearly right.
fn any_meta() -> impl Strategy<Value = Vec<u8>> {
    let direction = prop_oneof![Just(DIRECTION_OUTBOUND), Just(DIRECTION_INBOUND), any::<u8>()];
    let magic = prop_oneof![9 => Just(PACKET_META_MAGIC), 1 => any::<u16>()];
    let offset = prop_oneof![3 => Just(14u8), 1 => any::<u8>()];
    let esp = prop_oneof![3 => Just(34u16), 1 => any::<u16>()];
    (magic, direction, offset, 0u32..5, 6u32..8, esp).prop_map(
        |(magic, direction, l3_offset, index, generation, esp_offset)| {
            let meta = PacketMeta {
                magic,
                direction,
                l3_offset,
                index,
                generation,
                esp_offset,
                udp_encapsulated: 0,
            };
            meta.to_bytes().to_vec()
        },
    )
}

/// Octets behind an Ethernet header: noise, or a good packet of any length and TTL, maybe cut short.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    let good = (20usize..1600, any::<u8>(), any::<bool>(), 0usize..1600).prop_map(|(len, ttl, df, cut)| {
        let mut packet = vec![0; 14];
        packet.extend(
            Ip {
                ttl,
                dont_fragment: df,
                ..Ip::of(len)
            }
            .build(),
        );
        packet.truncate(packet.len().max(cut).min(1700));
        if cut < 200 {
            packet.truncate(cut);
        }
        packet
    });
    prop_oneof![1 => noise, 3 => good]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every packet is sent, waits or is counted; every frame is in one place ([`World::process`] checks it).
    #[test]
    fn any_batch_keeps_its_frames(
        established in any::<bool>(),
        packets in prop::collection::vec((any_meta(), any_packet()), 1..48),
    ) {
        let (cipher, integrity) = TRANSFORMS[0];
        let mut world = if established { World::gcm() } else { World::without_outbound(cipher, integrity) };
        let count = packets.len();
        let batch = packets.iter().map(|(meta, packet)| world.raw(meta, packet)).collect();
        world.process(batch);
        let waiting = world.waiting.len();
        let sent: usize = [WAN, LAN, SLOW].map(|port| world.sent(port).len()).iter().sum();
        prop_assert!(sent + waiting + usize::try_from(world.all_drops())? >= count);
        world.now += 10_000_000_000;
        world.release();
        prop_assert_eq!(world.waiting.len(), 0);
        prop_assert_eq!(world.pool.available(), FRAMES as usize);
    }

    /// Octets of a sealed packet that were changed on the way never come out.
    #[test]
    fn a_changed_packet_is_dropped(at in 34usize..140, bit in 0u8..8) {
        let mut world = World::gcm();
        let received = world.sent_by_vpc(&Ip::of(100).build());
        world.process(vec![received]);
        let mut sealed = world.sent(WAN).remove(0);
        if let Some(octet) = sealed.get_mut(at) {
            *octet ^= 1 << bit;
            let received = world.sent_by_peer(&sealed);
            world.process(vec![received]);
            prop_assert_eq!(world.sent(LAN).len(), 0);
            prop_assert_eq!(world.all_drops(), 1);
        }
    }
}

#[test]
fn more_than_a_batch_at_once_is_processed_in_batches() {
    let mut world = World::gcm();
    let batch = (0..90).map(|_| world.sent_by_vpc(&Ip::of(60).build())).collect();
    world.process(batch);
    assert_eq!(world.sent(WAN).len(), 90);
}

#[test]
fn a_packet_without_metadata_is_dropped() {
    let mut world = World::gcm();
    let batch = vec![world.raw(&[0; 16], &Ip::of(60).build()), world.raw(&[], &[])];
    world.process(batch);
    assert_eq!(
        world.dropped_elsewhere(Direction::Inbound, PathError::Metadata),
        2
    );
}
