//! Attaching the program to interfaces, and detaching it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use aya::programs::{
    ProgramError,
    links::{FdLink, LinkError, PinnedLink},
    xdp::{XdpLink, XdpMode as KernelMode},
};
use gateway_common::abi::IFACE_ROLE_NONE;
use nix::net::if_::if_nametoindex;

use super::{
    XdpError, XdpProgram,
    interface::{Attachment, attachment},
    pins::{PinDir, pin_error},
    program,
};

/// How the program shall be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver if it can, else in the network stack.
    #[default]
    Auto,
    /// In the driver only.
    Native,
    /// In the network stack, which works with any driver and costs a socket buffer per packet.
    Generic,
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
}

impl fmt::Display for AttachedMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

impl XdpMode {
    /// The mode that the caller insists on.
    const fn wanted(self) -> Option<AttachedMode> {
        match self {
            Self::Auto => None,
            Self::Native => Some(AttachedMode::Native),
            Self::Generic => Some(AttachedMode::Generic),
        }
    }
}

/// How long the kernel may take to free the links whose pins were removed.
const DETACH_PATIENCE: Duration = Duration::from_secs(1);

/// Where the program of a pinned link sits.
struct PinnedAt {
    ifindex: u32,
    program_id: u32,
}

impl PinnedAt {
    /// `None` when the link or its interface cannot be asked: there is nothing to wait for.
    fn read((interface, pin): &(String, PathBuf)) -> Option<Self> {
        let link = FdLink::from(PinnedLink::from_pin(pin).ok()?);
        Some(Self {
            ifindex: if_nametoindex(interface.as_str()).ok()?,
            program_id: link.info().ok()?.program_id(),
        })
    }

    fn is_attached(&self) -> bool {
        let there = attachment(self.ifindex).ok().flatten();
        there.is_some_and(|there| there.program_id == self.program_id)
    }
}

impl XdpProgram {
    /// Attaches the program to an interface whose maps are filled.
    ///
    /// With a pin directory the link is pinned and stays when the process ends. The link of a former process is taken over: the
    /// kernel swaps its program for this one, so there is no packet without a program, and it keeps its mode. A pin whose
    /// interface is gone is removed.
    ///
    /// # Errors
    ///
    /// [`XdpError`] says which of these it was: no such interface, no role set for it, a foreign program, a mode that the driver
    /// or the link that is there does not have, no privilege.
    pub fn attach(&mut self, ifname: &str, ifindex: u32, mode: XdpMode) -> Result<AttachedMode, XdpError> {
        if if_nametoindex(ifname) != Ok(ifindex) {
            return Err(XdpError::MissingInterface {
                name: ifname.to_owned(),
                ifindex,
            });
        }
        match self.maps.iface(ifindex) {
            None => {
                return Err(XdpError::IfindexTooHigh {
                    ifindex,
                    max: self.maps.max_ifindex(),
                });
            }
            Some(value) if value.role == IFACE_ROLE_NONE => {
                return Err(XdpError::InterfaceNotConfigured {
                    name: ifname.to_owned(),
                });
            }
            Some(_) => {}
        }
        if let Some(taken_over) = self.take_over(ifname, ifindex, mode)? {
            return Ok(taken_over);
        }
        match mode {
            XdpMode::Native => self.attach_new(ifname, ifindex, AttachedMode::Native),
            XdpMode::Generic => self.attach_new(ifname, ifindex, AttachedMode::Generic),
            XdpMode::Auto => match self.attach_new(ifname, ifindex, AttachedMode::Native) {
                Err(XdpError::Attach { source, .. }) => {
                    tracing::warn!(
                        target: "xdp",
                        interface = ifname,
                        reason = %source,
                        "the driver has no native XDP for this interface: generic mode, slower"
                    );
                    self.attach_new(ifname, ifindex, AttachedMode::Generic)
                }
                other => other,
            },
        }
    }

    /// Removes every pin under `pin_dir`: the program is detached and the kernel routes the traffic. Tells the interfaces.
    ///
    /// The kernel frees a link some time after its pin is removed; this waits until it has, a second at most in all.
    ///
    /// # Errors
    ///
    /// A directory that is not on a bpffs, or a file that cannot be removed. No directory means nothing to remove.
    pub fn detach_pinned(pin_dir: &Path) -> Result<Vec<String>, XdpError> {
        if !pin_dir.exists() {
            return Ok(Vec::new());
        }
        let pins = PinDir::open(pin_dir)?;
        let links = pins.links()?;
        let attached = links.iter().filter_map(PinnedAt::read).collect::<Vec<_>>();
        pins.clear()?;
        let deadline = Instant::now() + DETACH_PATIENCE;
        while attached.iter().any(PinnedAt::is_attached) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(links.into_iter().map(|(interface, _)| interface).collect())
    }

    /// Puts this program into the pinned link of a former process, if there is one that still holds the interface.
    fn take_over(
        &mut self,
        ifname: &str,
        ifindex: u32,
        mode: XdpMode,
    ) -> Result<Option<AttachedMode>, XdpError> {
        let Some(pin) = self
            .pins
            .as_ref()
            .map(|pins| pins.link(ifname))
            .filter(|pin| pin.exists())
        else {
            return Ok(None);
        };
        let pinned = PinnedLink::from_pin(&pin).map_err(|e| pin_error(&pin, link_error(e)))?;
        let link = FdLink::from(pinned);
        let pinned_program = link
            .info()
            .map_err(|e| pin_error(&pin, link_error(e)))?
            .program_id();
        let there = query(ifname, ifindex)?.filter(|there| there.program_id == pinned_program);
        let Some(there) = there else {
            tracing::warn!(target: "xdp", interface = ifname, "removed the pin of an interface that is gone");
            std::fs::remove_file(&pin).map_err(|e| pin_error(&pin, e))?;
            return Ok(None);
        };
        if let Some(wanted) = mode.wanted().filter(|wanted| *wanted != there.mode) {
            return Err(XdpError::OtherMode {
                name: ifname.to_owned(),
                attached: there.mode,
                wanted,
            });
        }
        let link = XdpLink::try_from(link).map_err(|e| pin_error(&pin, link_error(e)))?;
        let program = program(&mut self.ebpf)?;
        let replaced = program.attach_to_link(link).and_then(|id| program.take_link(id));
        // The pin holds the link; this descriptor is not needed.
        replaced
            .map(drop)
            .map_err(|e| attach_error(ifname, ifindex, there.mode, e))?;
        Ok(Some(there.mode))
    }

    fn attach_new(
        &mut self,
        ifname: &str,
        ifindex: u32,
        mode: AttachedMode,
    ) -> Result<AttachedMode, XdpError> {
        let kernel_mode = match mode {
            AttachedMode::Native => KernelMode::Driver,
            AttachedMode::Generic => KernelMode::Skb,
        };
        let program = program(&mut self.ebpf)?;
        let link = program
            .attach_to_if_index(ifindex, kernel_mode)
            .and_then(|id| program.take_link(id))
            .map_err(|e| attach_error(ifname, ifindex, mode, e))?;
        // Without XDP links in the kernel, aya attaches by netlink; that cannot be pinned.
        let link = FdLink::try_from(link).map_err(|e| XdpError::UnsupportedKernel {
            feature: "links of XDP programs".to_owned(),
            source: link_error(e),
        })?;
        match &self.pins {
            Some(pins) => {
                let pin = pins.link(ifname);
                link.pin(&pin).map_err(|e| pin_error(&pin, io::Error::other(e)))?;
            }
            None => self.links.push(link),
        }
        Ok(mode)
    }
}

fn query(ifname: &str, ifindex: u32) -> Result<Option<Attachment>, XdpError> {
    attachment(ifindex).map_err(|source| XdpError::Query {
        name: ifname.to_owned(),
        source,
    })
}

fn attach_error(ifname: &str, ifindex: u32, mode: AttachedMode, error: ProgramError) -> XdpError {
    let name = ifname.to_owned();
    let source = program_error(error);
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => XdpError::missing_capability("attaching the XDP program"),
        Some(libc::EBUSY | libc::EEXIST) => XdpError::ForeignProgram { name },
        Some(libc::ENODEV) => XdpError::MissingInterface { name, ifindex },
        Some(_) | None => XdpError::Attach { name, mode, source },
    }
}

/// The kernel's answer behind aya's error.
fn program_error(error: ProgramError) -> io::Error {
    if let ProgramError::SyscallError(syscall) = error {
        return syscall.io_error;
    }
    if let ProgramError::XdpError(aya::programs::XdpError::NetlinkError(netlink)) = &error
        && let Some(number) = netlink.raw_os_error()
    {
        return io::Error::from_raw_os_error(number);
    }
    io::Error::other(error)
}

fn link_error(error: LinkError) -> io::Error {
    if let LinkError::SyscallError(syscall) = error {
        syscall.io_error
    } else {
        io::Error::other(error)
    }
}
