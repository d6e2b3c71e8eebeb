//! Two ethtool requests that netlink crates do not cover: channels and checksum offload.

use std::io;
use std::os::fd::AsRawFd;

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_STXCSUM: u32 = 0x17;

/// `struct ethtool_channels` of linux/ethtool.h.
#[repr(C)]
#[derive(Default)]
struct Channels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct Value {
    cmd: u32,
    data: u32,
}

/// Number of RX queues that the interface uses at the moment.
pub(super) fn rx_queues(interface: &str) -> io::Result<u32> {
    let mut channels = Channels {
        cmd: ETHTOOL_GCHANNELS,
        ..Channels::default()
    };
    request(interface, (&raw mut channels).cast())?;
    Ok(channels.rx.saturating_add(channels.combined).max(1))
}

/// Switches transmit checksum offload off, so that packets leave the kernel with complete checksums.
pub(super) fn disable_tx_checksum(interface: &str) -> io::Result<()> {
    let mut value = Value {
        cmd: ETHTOOL_STXCSUM,
        data: 0,
    };
    request(interface, (&raw mut value).cast())
}

#[expect(
    unsafe_code,
    reason = "ethtool's only interface is an ioctl with a pointer inside"
)]
fn request(interface: &str, data: *mut libc::c_char) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let mut name: [libc::c_char; libc::IFNAMSIZ] = [0; libc::IFNAMSIZ];
    if interface.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (slot, octet) in name.iter_mut().zip(interface.bytes()) {
        *slot = octet.cast_signed();
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: data },
    };
    // SAFETY: `request` is a complete ifreq whose data points to the structure that the command in its first field names;
    // both callers keep it alive and exclusively borrowed for the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
