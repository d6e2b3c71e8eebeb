//! An AF_XDP socket: set-up, wake-ups and statistics.

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use libc::{c_int, c_void, xdp_desc, xdp_mmap_offsets, xdp_ring_offset, xdp_statistics, xdp_umem_reg};
use thiserror::Error;

use super::ring::RingParts;
use super::{Consumer, Producer, Rings, Umem};

/// `XDP_MAX_TX_SKB_BUDGET` of `linux/if_xdp.h` (Linux 6.17): packets that one `sendto` sends in copy mode, 32 by default.
const XDP_MAX_TX_SKB_BUDGET: c_int = 9;
/// `AF_XDP` as it stands in an address.
const FAMILY: libc::sa_family_t = 44;
const _: () = assert!(FAMILY as c_int == libc::AF_XDP);
/// Octets of socket buffers that copied packets may occupy until the next device has consumed them.
const SEND_BUFFER: c_int = 4 << 20;

/// Entries of the four rings; powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XskSizes {
    /// Fill and RX ring.
    pub receive: u32,
    /// TX and completion ring.
    pub send: u32,
    /// Packets per `sendto` in copy mode.
    pub send_budget: u32,
}

/// Why a socket cannot be made.
#[derive(Debug, Error)]
pub enum XskError {
    /// The kernel refused a step.
    #[error("{step} of the AF_XDP socket for interface {ifindex}, queue {queue}")]
    Refused {
        /// Which step.
        step: &'static str,
        /// The interface.
        ifindex: u32,
        /// Its queue.
        queue: u32,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
}

impl XskError {
    /// Whether the queue is taken, as it is for a moment after a process that used it died.
    pub fn is_busy(&self) -> bool {
        let Self::Refused { source, .. } = self;
        source.raw_os_error() == Some(libc::EBUSY)
    }
}

/// What a wake-up for sending came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kick {
    /// The kernel took what it could.
    Done,
    /// The kernel stopped early and wants to be called again.
    Again,
    /// The interface is down; its packets stay in the TX ring.
    Down,
    /// The interface does not exist any more: the socket is of no use.
    Gone,
}

/// What the kernel counts for one socket (`XDP_STATISTICS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingStatistics {
    /// Packets dropped for reasons other than the ones below.
    pub rx_dropped: u64,
    /// Packets dropped because the RX ring was full: the worker is too slow.
    pub rx_ring_full: u64,
    /// Times the fill ring had no frame: too few frames.
    pub fill_ring_empty: u64,
    /// Descriptors that the kernel refused. Their frames are lost.
    pub invalid_descriptors: u64,
}

/// One socket, bound to one queue of one interface.
#[derive(Debug)]
pub struct Xsk {
    /// The rings.
    pub rings: Rings,
    fd: Arc<OwnedFd>,
    zero_copy: bool,
    _mappings: [Mapping; 4],
}

impl Xsk {
    /// Makes a socket and binds it. The first one of a worker registers the memory, later ones share it.
    ///
    /// The kernel takes zero-copy mode where the driver has it; a driver that refuses without saying so gets a second try in copy
    /// mode.
    ///
    /// # Errors
    /// The step that the kernel refused; `EBUSY` at the bind when the queue is taken.
    pub fn bind(
        umem: &Umem,
        ifindex: u32,
        queue: u32,
        shared_with: Option<&Self>,
        sizes: XskSizes,
    ) -> Result<Self, XskError> {
        let refused = |step| {
            move |source| XskError::Refused {
                step,
                ifindex,
                queue,
                source,
            }
        };
        let fd = open().map_err(refused("opening"))?;
        if shared_with.is_none() {
            register(&fd, umem).map_err(refused("registering the memory"))?;
        }
        for (option, entries) in [
            (libc::XDP_UMEM_FILL_RING, sizes.receive),
            (libc::XDP_UMEM_COMPLETION_RING, sizes.send),
            (libc::XDP_RX_RING, sizes.receive),
            (libc::XDP_TX_RING, sizes.send),
        ] {
            set_option(&fd, libc::SOL_XDP, option, &entries).map_err(refused("sizing a ring"))?;
        }
        // Both only make sending in copy mode faster, and older kernels have no budget option.
        set_option(&fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &sizes.send_budget).ok();
        set_option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER).ok();

        let offsets = mmap_offsets(&fd).map_err(refused("reading the ring offsets"))?;
        let map = |offset: &xdp_ring_offset, entries, entry_size, page_offset| {
            Mapping::of_ring(&fd, offset, entries, entry_size, page_offset)
        };
        let entry = size_of::<xdp_desc>();
        let rx = map(
            &offsets.rx,
            sizes.receive,
            entry,
            page_offset(libc::XDP_PGOFF_RX_RING),
        );
        let tx = map(
            &offsets.tx,
            sizes.send,
            entry,
            page_offset(libc::XDP_PGOFF_TX_RING),
        );
        let fill = map(
            &offsets.fr,
            sizes.receive,
            size_of::<u64>(),
            libc::XDP_UMEM_PGOFF_FILL_RING,
        );
        let completion = map(
            &offsets.cr,
            sizes.send,
            size_of::<u64>(),
            libc::XDP_UMEM_PGOFF_COMPLETION_RING,
        );
        let mapping = refused("mapping a ring");
        let (rx, tx, fill, completion) = (
            rx.map_err(mapping)?,
            tx.map_err(mapping)?,
            fill.map_err(mapping)?,
            completion.map_err(mapping)?,
        );
        let rings = Rings::new(
            Producer::new(fill.parts(&offsets.fr, sizes.receive)),
            Consumer::new(rx.parts(&offsets.rx, sizes.receive)),
            Producer::new(tx.parts(&offsets.tx, sizes.send)),
            Consumer::new(completion.parts(&offsets.cr, sizes.send)),
        );
        bind(&fd, ifindex, queue, shared_with.map(|first| first.fd.as_raw_fd()))
            .map_err(refused("binding"))?;
        let zero_copy = is_zero_copy(&fd).map_err(refused("reading the mode"))?;
        Ok(Self {
            rings,
            fd: Arc::new(fd),
            zero_copy,
            _mappings: [rx, tx, fill, completion],
        })
    }

    /// The descriptor, for the XSKMAP and for statistics from another thread.
    pub fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
    }

    /// Whether the kernel must be called before it sends what is in the TX ring: always in copy mode, else when it says so.
    pub fn must_kick(&self) -> bool {
        !self.zero_copy || self.rings.tx_needs_wakeup()
    }

    /// Asks the kernel to send what is in the TX ring.
    pub fn kick_send(&self) -> Kick {
        // SAFETY: no buffer and no address are passed.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                std::ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        };
        if sent >= 0 {
            return Kick::Done;
        }
        match io::Error::last_os_error().raw_os_error() {
            // Not bound: the kernel does so when the interface is removed.
            Some(libc::ENXIO | libc::ENODEV | libc::EBADF) => Kick::Gone,
            Some(libc::ENETDOWN) => Kick::Down,
            _ => Kick::Again,
        }
    }

    /// Tells a driver that sleeps for want of frames that the fill ring has some again.
    pub fn kick_receive(&self) {
        // SAFETY: no buffer and no address are passed.
        unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
    }
}

impl AsFd for Xsk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl RingStatistics {
    /// Reads what the kernel counts for the socket of this descriptor.
    ///
    /// # Errors
    /// What `getsockopt` says.
    pub fn read(fd: &OwnedFd) -> io::Result<Self> {
        // SAFETY: a struct of integers, for which zeros are a value.
        let mut raw: xdp_statistics = unsafe { std::mem::zeroed() };
        option(fd, libc::XDP_STATISTICS, &mut raw)?;
        Ok(Self {
            rx_dropped: raw.rx_dropped,
            rx_ring_full: raw.rx_ring_full,
            fill_ring_empty: raw.rx_fill_ring_empty_descs,
            invalid_descriptors: raw.rx_invalid_descs + raw.tx_invalid_descs,
        })
    }
}

/// The shared memory of one ring.
#[derive(Debug)]
struct Mapping {
    memory: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is plain memory without thread affinity.
unsafe impl Send for Mapping {}

impl Mapping {
    fn of_ring(
        fd: &OwnedFd,
        offset: &xdp_ring_offset,
        entries: u32,
        entry_size: usize,
        page_offset: u64,
    ) -> io::Result<Self> {
        let wrong = |_| io::Error::from(io::ErrorKind::InvalidData);
        let length = usize::try_from(offset.desc).map_err(wrong)? + entries as usize * entry_size;
        let position = libc::off_t::try_from(page_offset).map_err(wrong)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                flags,
                fd.as_raw_fd(),
                position,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { memory, length })
    }

    /// Where the parts of the ring are; `offset` and `size` are the ones the mapping was made with.
    fn parts<T>(&self, offset: &xdp_ring_offset, size: u32) -> RingParts<T> {
        RingParts {
            producer: self.at(offset.producer).cast::<AtomicU32>(),
            consumer: self.at(offset.consumer).cast::<AtomicU32>(),
            flags: self.at(offset.flags).cast::<AtomicU32>(),
            entries: self.at(offset.desc).cast::<T>(),
            size,
        }
    }

    fn at(&self, offset: u64) -> *mut u8 {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        assert!(
            offset < self.length,
            "the kernel's ring offset lies outside its own mapping"
        );
        // SAFETY: inside the mapping, as just checked.
        unsafe { self.memory.add(offset) }.as_ptr()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `of_ring`; the rings over it are fields of the same `Xsk` and are not used after it.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.length) };
    }
}

fn page_offset(offset: libc::off_t) -> u64 {
    u64::try_from(offset).unwrap_or_default()
}

fn open() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd: RawFd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn register(fd: &OwnedFd, umem: &Umem) -> io::Result<()> {
    let (addr, len) = umem.region();
    let chunk_size = u32::try_from(umem.frame_size()).unwrap_or(u32::MAX);
    let region = xdp_umem_reg {
        addr,
        len,
        chunk_size,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    // A kernel that does not know the last field refuses a struct that is longer than its own.
    set_option(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &region)
}

fn bind(fd: &OwnedFd, ifindex: u32, queue: u32, shared_with: Option<RawFd>) -> io::Result<()> {
    let bind_with = |flags: u16| {
        let address = libc::sockaddr_xdp {
            sxdp_family: FAMILY,
            sxdp_flags: flags,
            sxdp_ifindex: ifindex,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: shared_with
                .and_then(|fd| u32::try_from(fd).ok())
                .unwrap_or_default(),
        };
        let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or_default();
        // SAFETY: the address is a live `sockaddr_xdp` of that length.
        let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
        if bound < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    if shared_with.is_some() {
        // The mode is inherited from the first socket; any other flag is an error.
        return bind_with(libc::XDP_SHARED_UMEM);
    }
    bind_with(libc::XDP_USE_NEED_WAKEUP).or_else(|error| match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::EINVAL) => bind_with(libc::XDP_USE_NEED_WAKEUP | libc::XDP_COPY),
        _ => Err(error),
    })
}

fn mmap_offsets(fd: &OwnedFd) -> io::Result<xdp_mmap_offsets> {
    // SAFETY: a struct of integers, for which zeros are a value.
    let mut offsets: xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let length = option(fd, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
    // Kernels before 5.4 answer with a shorter struct that has no flags.
    if length != size_of::<xdp_mmap_offsets>() || offset_of!(xdp_ring_offset, flags) != 24 {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    Ok(offsets)
}

fn is_zero_copy(fd: &OwnedFd) -> io::Result<bool> {
    let mut options = libc::xdp_options { flags: 0 };
    option(fd, libc::XDP_OPTIONS, &mut options)?;
    Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// Sets an option to plain data.
fn set_option<T: Copy>(fd: &OwnedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default();
    let value = (&raw const *value).cast::<c_void>();
    // SAFETY: `value` is live and `length` octets long.
    let set = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value, length) };
    if set < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Reads an XDP option into plain data; says how many octets the kernel wrote.
fn option<T: Copy>(fd: &OwnedFd, name: c_int, value: &mut T) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default();
    let value = (&raw mut *value).cast::<c_void>();
    // SAFETY: `value` is live and `length` octets long; the callers pass structs of integers, valid for every bit pattern.
    let read = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, name, value, &raw mut length) };
    if read < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(length as usize)
    }
}
