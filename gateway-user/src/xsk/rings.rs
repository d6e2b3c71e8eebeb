//! The four rings of one socket, as movements of frames.

use libc::xdp_desc;

use super::{Consumer, Frame, FramePool, Producer, Umem};

/// The rings of one socket and the number of frames the kernel holds through them.
#[derive(Debug)]
pub struct Rings {
    pub(super) fill: Producer<u64>,
    pub(super) rx: Consumer<xdp_desc>,
    pub(super) tx: Producer<xdp_desc>,
    pub(super) completion: Consumer<u64>,
    counts: RingCounts,
}

/// Frames of one socket that are with the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounts {
    /// In the fill ring or received and not yet taken.
    pub receiving: u32,
    /// In the TX ring, in flight, or completed and not yet reaped.
    pub sending: u32,
    /// Descriptors of the kernel that lie outside the memory: their frames are lost. Never seen with a correct driver.
    pub invalid: u32,
}

impl Rings {
    /// Puts the rings of a new socket together.
    pub(super) fn new(
        fill: Producer<u64>,
        rx: Consumer<xdp_desc>,
        tx: Producer<xdp_desc>,
        completion: Consumer<u64>,
    ) -> Self {
        Self {
            fill,
            rx,
            tx,
            completion,
            counts: RingCounts::default(),
        }
    }

    /// Takes up to `max` received packets.
    pub fn receive(&mut self, umem: &Umem, max: usize, mut each: impl FnMut(Frame)) -> usize {
        let mut received = 0;
        while received < max {
            let Some(descriptor) = self.rx.pop() else { break };
            self.counts.receiving -= 1;
            match umem.reclaim(descriptor.addr, descriptor.len) {
                Some(frame) => each(frame),
                None => self.counts.invalid += 1,
            }
            received += 1;
        }
        if received > 0 {
            self.rx.release();
        }
        received
    }

    /// Moves packets into the TX ring until it is full; what does not fit stays in `frames`, in order.
    pub fn transmit(&mut self, umem: &Umem, frames: &mut Vec<Frame>) -> usize {
        let wanted = u32::try_from(frames.len()).unwrap_or(u32::MAX);
        let room = self.tx.free(wanted).min(wanted) as usize;
        for frame in frames.drain(..room) {
            let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
            let pushed = self.tx.push(xdp_desc {
                addr: umem.lend(frame),
                len,
                options: 0,
            });
            debug_assert!(pushed, "room was checked");
            self.counts.sending += 1;
        }
        if room > 0 {
            self.tx.submit();
        }
        room
    }

    /// Returns the frames of sent packets to the pool.
    pub fn reap(&mut self, umem: &Umem, pool: &mut FramePool) -> usize {
        let mut reaped = 0;
        while let Some(address) = self.completion.pop() {
            self.counts.sending -= 1;
            match umem.reclaim(address, 0) {
                Some(frame) => pool.give_back(frame),
                None => self.counts.invalid += 1,
            }
            reaped += 1;
        }
        if reaped > 0 {
            self.completion.release();
        }
        reaped
    }

    /// Gives the kernel frames to receive into until it holds `target`, the ring is full or the pool is empty.
    pub fn refill(&mut self, umem: &Umem, pool: &mut FramePool, target: u32) {
        let wanted = target.saturating_sub(self.counts.receiving);
        let wanted = self.fill.free(wanted).min(wanted);
        let mut given = 0;
        while given < wanted {
            let Some(mut frame) = pool.take() else { break };
            frame.place(0, 0);
            let pushed = self.fill.push(umem.lend(frame));
            debug_assert!(pushed, "room was checked");
            given += 1;
        }
        self.counts.receiving += given;
        if given > 0 {
            self.fill.submit();
        }
    }

    /// Frames that are with the kernel.
    pub fn counts(&self) -> RingCounts {
        self.counts
    }

    /// Packets in the TX ring that the kernel has not taken yet.
    pub fn unsent(&mut self) -> u32 {
        self.tx.pending()
    }

    /// Whether a received packet waits.
    pub fn has_received(&mut self) -> bool {
        !self.rx.is_empty()
    }

    /// Whether the kernel must be called before it takes packets from the TX ring.
    pub fn tx_needs_wakeup(&self) -> bool {
        self.tx.needs_wakeup()
    }

    /// Whether the kernel must be called before it takes frames from the fill ring.
    pub fn fill_needs_wakeup(&self) -> bool {
        self.fill.needs_wakeup()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::xsk::XDP_HEADROOM;
    use crate::xsk::ring::tests::FakeRing;

    const FRAMES: u32 = 24;
    const RING: u32 = 8;

    /// The kernel's ends of the rings of one socket.
    struct Kernel {
        fill: Consumer<u64>,
        rx: Producer<xdp_desc>,
        tx: Consumer<xdp_desc>,
        completion: Producer<u64>,
        in_flight: Vec<u64>,
        _memory: ([FakeRing<u64>; 2], [FakeRing<xdp_desc>; 2]),
    }

    fn socket_and_kernel(index: u32) -> (Rings, Kernel) {
        let none = xdp_desc {
            addr: 0,
            len: 0,
            options: 0,
        };
        let mut addresses = [(); 2].map(|()| FakeRing::starting_at(index, RING, 0));
        let mut descriptors = [(); 2].map(|()| FakeRing::starting_at(index, RING, none));
        let [fill, completion] = addresses.each_mut().map(FakeRing::parts);
        let [rx, tx] = descriptors.each_mut().map(FakeRing::parts);
        let rings = Rings::new(
            Producer::new(fill),
            Consumer::new(rx),
            Producer::new(tx),
            Consumer::new(completion),
        );
        let kernel = Kernel {
            fill: Consumer::new(fill),
            rx: Producer::new(rx),
            tx: Consumer::new(tx),
            completion: Producer::new(completion),
            in_flight: Vec::new(),
            _memory: (addresses, descriptors),
        };
        (rings, kernel)
    }

    impl Kernel {
        /// A packet of 60 octets arrives; lost without a frame or without room.
        fn packet_arrives(&mut self) {
            if self.rx.free(1) == 0 {
                return;
            }
            if let Some(address) = self.fill.pop() {
                self.fill.release();
                self.rx.push(xdp_desc {
                    addr: address + XDP_HEADROOM as u64,
                    len: 60,
                    options: 0,
                });
                self.rx.submit();
            }
        }

        fn takes_one_to_send(&mut self) {
            if let Some(descriptor) = self.tx.pop() {
                self.tx.release();
                self.in_flight.push(descriptor.addr);
            }
        }

        fn completes_one(&mut self) {
            if self.completion.free(1) > 0
                && let Some(address) = self.in_flight.pop()
            {
                self.completion.push(address);
                self.completion.submit();
            }
        }
    }

    proptest! {
        /// Frames are conserved whatever the kernel and the worker do in whatever order, across the wrap of the indices.
        #[test]
        fn frames_are_conserved(steps in prop::collection::vec(0u8..7, 1..400)) {
            let (umem, mut pool) = Umem::new(FRAMES, 2048).expect("memory");
            let (mut rings, mut kernel) = socket_and_kernel(u32::MAX - 20);
            let mut queue = Vec::new();
            for step in steps {
                match step {
                    0 => rings.refill(&umem, &mut pool, 6),
                    1 => kernel.packet_arrives(),
                    2 => { rings.receive(&umem, 3, |frame| queue.push(frame)); }
                    3 => { rings.transmit(&umem, &mut queue); }
                    4 => kernel.takes_one_to_send(),
                    5 => kernel.completes_one(),
                    _ => { rings.reap(&umem, &mut pool); }
                }
                let counts = rings.counts();
                let held = (counts.receiving + counts.sending) as usize;
                prop_assert_eq!(pool.available() + queue.len() + held, FRAMES as usize);
                prop_assert_eq!(counts.invalid, 0);
            }
        }
    }

    #[test]
    fn a_packet_comes_in_and_goes_out_from_the_same_chunk() {
        let (umem, mut pool) = Umem::new(FRAMES, 2048).expect("memory");
        let (mut rings, mut kernel) = socket_and_kernel(0);
        rings.refill(&umem, &mut pool, 4);
        kernel.packet_arrives();
        let mut queue = Vec::new();
        assert_eq!(rings.receive(&umem, 64, |frame| queue.push(frame)), 1);
        assert_eq!((queue[0].start(), queue[0].len()), (XDP_HEADROOM, 60));
        queue[0].place(XDP_HEADROOM - 50, 130);
        assert_eq!(rings.transmit(&umem, &mut queue), 1);
        let sent = kernel.tx.pop().expect("a descriptor");
        assert_eq!((sent.addr % 2048, sent.len), (206, 130));
    }
}
