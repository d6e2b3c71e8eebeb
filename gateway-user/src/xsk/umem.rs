//! Packet memory shared with the kernel, and the ownership of its chunks.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Octets the kernel leaves free in front of a received packet (`XDP_PACKET_HEADROOM`).
pub const XDP_HEADROOM: usize = 256;

/// Numbers the memories of this process, so that a frame is never looked up in another memory than its own.
static NEXT_OWNER: AtomicU32 = AtomicU32::new(0);

/// Packet memory: one anonymous mapping cut into chunks of equal size.
#[derive(Debug)]
pub struct Umem {
    memory: NonNull<u8>,
    frames: u32,
    frame_size: u32,
    owner: u32,
}

// SAFETY: the mapping is plain memory without thread affinity.
unsafe impl Send for Umem {}
// SAFETY: the only access is `chunk`, whose caller holds the unique `Frame` of the chunk.
unsafe impl Sync for Umem {}

impl Umem {
    /// Maps memory for `frames` chunks of `frame_size` octets and hands out all of them.
    ///
    /// The pages are left out of core dumps: they hold customers' plaintext.
    ///
    /// # Errors
    /// `InvalidInput` unless `frame_size` is 2048 or 4096 and there is at least one frame; else what `mmap` says.
    pub fn new(frames: u32, frame_size: u32) -> io::Result<(Self, FramePool)> {
        if !matches!(frame_size, 2048 | 4096) || frames == 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let length = frames as usize * frame_size as usize;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let owner = NEXT_OWNER.fetch_add(1, Ordering::Relaxed);
        let umem = Self {
            memory,
            frames,
            frame_size,
            owner,
        };
        // SAFETY: the range is exactly the mapping made above.
        if unsafe { libc::madvise(memory.as_ptr().cast(), length, libc::MADV_DONTDUMP) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let free = (0..frames)
            .rev()
            .map(|number| Frame {
                owner,
                number,
                start: 0,
                len: 0,
            })
            .collect();
        Ok((
            umem,
            FramePool {
                free,
                total: frames as usize,
            },
        ))
    }

    /// The whole chunk of a frame.
    ///
    /// # Panics
    /// When the frame belongs to another memory, which is a programming error.
    pub fn chunk<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        let start = self.offset_of(frame);
        // SAFETY: `offset_of` checked that the frame is one of this memory, so the chunk lies inside the mapping.
        let chunk = unsafe { self.memory.add(start) };
        // SAFETY: a `Frame` is unique for its chunk, the kernel does not own it while the process does, and both borrows last
        // as long as the slice.
        unsafe { std::slice::from_raw_parts_mut(chunk.as_ptr(), self.frame_size as usize) }
    }

    /// The packet in a frame.
    pub fn packet<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        let range = frame.start()..frame.start() + frame.len();
        &mut self.chunk(frame)[range]
    }

    /// Octets of one chunk.
    pub fn frame_size(&self) -> usize {
        self.frame_size as usize
    }

    /// Number of chunks.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Start and length of the mapping, for its registration.
    pub(super) fn region(&self) -> (u64, u64) {
        (
            self.memory.as_ptr() as u64,
            u64::from(self.frames) * u64::from(self.frame_size),
        )
    }

    /// Gives a frame to the kernel: the address of its packet. The kernel owns the chunk until a ring returns the address.
    pub(super) fn lend(&self, frame: Frame) -> u64 {
        self.offset_of(&frame) as u64 + u64::from(frame.start)
    }

    /// Takes a frame back whose address a ring of the kernel returned; `None` when the address or length lies outside.
    pub(super) fn reclaim(&self, address: u64, len: u32) -> Option<Frame> {
        let number = u32::try_from(address / u64::from(self.frame_size))
            .ok()
            .filter(|number| *number < self.frames)?;
        let start = u16::try_from(address % u64::from(self.frame_size)).ok()?;
        let len = u16::try_from(len).ok()?;
        let fits = u32::from(start) + u32::from(len) <= self.frame_size;
        fits.then_some(Frame {
            owner: self.owner,
            number,
            start,
            len,
        })
    }

    fn offset_of(&self, frame: &Frame) -> usize {
        assert!(
            frame.owner == self.owner && frame.number < self.frames,
            "a frame of another memory"
        );
        frame.number as usize * self.frame_size as usize
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        let (_, length) = self.region();
        // SAFETY: the mapping made in `new`; no slice of it outlives `self`. Sockets hold their own reference to the pages.
        unsafe {
            libc::munmap(
                self.memory.as_ptr().cast(),
                usize::try_from(length).unwrap_or(usize::MAX),
            )
        };
    }
}

/// Ownership of one chunk, and where in it the packet is.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    owner: u32,
    number: u32,
    start: u16,
    len: u16,
}

impl Frame {
    /// Octets from the start of the chunk to the packet.
    pub fn start(&self) -> usize {
        usize::from(self.start)
    }

    /// Octets of the packet.
    #[allow(
        clippy::len_without_is_empty,
        reason = "the length of a packet, not of a collection"
    )]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Says where the packet is after it moved, grew or shrank.
    ///
    /// Both come from slices of the chunk, so they fit; a value that does not is cut off and `Umem::packet` panics on it.
    pub fn place(&mut self, start: usize, len: usize) {
        self.start = u16::try_from(start).unwrap_or(u16::MAX);
        self.len = u16::try_from(len).unwrap_or(u16::MAX);
    }
}

/// The frames that nothing uses.
#[derive(Debug)]
pub struct FramePool {
    free: Vec<Frame>,
    total: usize,
}

impl FramePool {
    /// Takes a frame out; `None` when all are in use.
    pub fn take(&mut self) -> Option<Frame> {
        self.free.pop()
    }

    /// Puts a frame back.
    pub fn give_back(&mut self, frame: Frame) {
        debug_assert!(self.free.len() < self.total, "more frames than there are");
        self.free.push(frame);
    }

    /// Frames in the pool.
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Frames outside the pool: queued, waiting or with the kernel.
    pub fn outstanding(&self) -> usize {
        self.total - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_handed_out_once_and_owns_its_chunk() {
        let (umem, mut pool) = Umem::new(4, 2048).expect("memory");
        let mut frames: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(frames.len(), 4);
        assert_eq!((pool.available(), pool.outstanding()), (0, 4));
        for (tag, frame) in (1u8..).zip(&mut frames) {
            umem.chunk(frame).fill(tag);
        }
        for (tag, frame) in (1u8..).zip(&mut frames) {
            assert!(umem.chunk(frame).iter().all(|octet| *octet == tag));
        }
        frames.into_iter().for_each(|frame| pool.give_back(frame));
        assert_eq!((pool.available(), pool.outstanding()), (4, 0));
    }

    #[test]
    fn an_address_of_the_kernel_becomes_a_frame_only_inside_the_memory() {
        let (umem, _pool) = Umem::new(2, 2048).expect("memory");
        let rows = [
            (256, 60, Some((256, 60))),
            (2048 + 256, 1792, Some((256, 1792))),
            (2048 + 256, 1793, None),
            (2 * 2048, 0, None),
            (u64::MAX, 0, None),
            (0, u32::MAX, None),
        ];
        for (address, len, expected) in rows {
            let frame = umem.reclaim(address, len);
            assert_eq!(
                frame.as_ref().map(|f| (f.start(), f.len())),
                expected,
                "{address} {len}"
            );
            if let Some(frame) = frame {
                assert_eq!(umem.lend(frame), address);
            }
        }
    }

    #[test]
    #[should_panic(expected = "a frame of another memory")]
    fn a_frame_is_refused_by_another_memory() {
        let (_one, mut pool) = Umem::new(1, 2048).expect("memory");
        let (two, _pool) = Umem::new(1, 2048).expect("memory");
        two.chunk(&mut pool.take().expect("a frame"));
    }

    #[test]
    fn odd_sizes_are_refused() {
        for (frames, size) in [(0, 2048), (4, 0), (4, 1500), (4, 8192)] {
            assert!(Umem::new(frames, size).is_err(), "{frames} {size}");
        }
    }
}
