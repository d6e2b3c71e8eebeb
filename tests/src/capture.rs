//! What passed an interface, seen by `tcpdump` and read back from its file.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::process::Process;
use crate::{Lab, Namespace, wait};

/// Octets of an Ethernet header without VLAN tags.
const ETHERNET: usize = 14;

/// How long tcpdump may take to read what the kernel holds for it.
const CATCH_UP: Duration = Duration::from_secs(5);

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Process,
    file: PathBuf,
}

impl Capture {
    /// Captures every IPv4 packet on an interface of `namespace`, in both directions. Returns when tcpdump listens.
    pub fn start(lab: &Lab, namespace: &Namespace, interface: &str) -> Result<Self> {
        let name = format!("{}-{interface}", namespace.name());
        let file = lab.directory().join(format!("{name}.pcap"));
        let mut command = namespace.command("tcpdump");
        command.args([
            "-i",
            interface,
            "-n",
            "-U",
            "--immediate-mode",
            "-s",
            "0",
            "-B",
            "16384",
            "-w",
        ]);
        // Privileges are not dropped (-Z root): the file lies in a directory of root.
        command.arg(&file).args(["-Z", "root", "ip"]);
        let mut tcpdump = Process::spawn(command, lab.directory().join(format!("{name}.tcpdump")))?;
        wait::until("tcpdump to listen", Duration::from_secs(5), || {
            (tcpdump.output().contains("listening on") || tcpdump.exited().is_some()).then_some(())
        })?;
        if tcpdump.exited().is_some() {
            bail!("tcpdump: {}", tcpdump.output());
        }
        Ok(Self { tcpdump, file })
    }

    /// Stops and returns the packets in the order in which they passed.
    pub fn stop(mut self) -> Result<Vec<Packet>> {
        // tcpdump leaves what it has not read yet in the kernel when it is stopped: it says how much that is.
        wait::until("tcpdump to catch up", CATCH_UP, || {
            let before = self.tcpdump.output().lines().count();
            self.tcpdump.signal(Signal::SIGUSR1).ok()?;
            wait::until("tcpdump's counts", CATCH_UP, || {
                caught_up(self.tcpdump.output().lines().skip(before))
            })
            .ok()?
            .then_some(())
        })?;
        self.tcpdump.stop(Signal::SIGINT)?;
        let bytes = fs::read(&self.file).with_context(|| format!("read {}", self.file.display()))?;
        parse(&bytes)
    }
}

/// Reads `7 packets captured, 9 packets received by filter, 0 packets dropped by kernel`, which may stand on several lines: whether the
/// first two are the same.
fn caught_up<'a>(lines: impl Iterator<Item = &'a str>) -> Option<bool> {
    let text = lines.collect::<Vec<_>>().join(", ");
    let number = |what: &str| {
        let before = text.split_once(what)?.0;
        before.rsplit([' ', ',']).next()?.parse::<u64>().ok()
    };
    let (captured, received) = (
        number(" packets captured").or_else(|| number(" packet captured"))?,
        number(" packets received by filter").or_else(|| number(" packet received by filter"))?,
    );
    Some(captured >= received)
}

/// An Ethernet frame with IPv4 in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// When it passed, in microseconds since the epoch.
    pub time_us: u64,
    /// The frame.
    pub frame: Vec<u8>,
}

impl Packet {
    /// The IPv4 packet.
    pub fn ip(&self) -> &[u8] {
        self.frame.get(ETHERNET..).unwrap_or_default()
    }

    /// Source and destination address.
    pub fn addresses(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let address = |at: usize| {
            let octets: [u8; 4] = self.ip().get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets))
        };
        Some((address(12)?, address(16)?))
    }

    /// The protocol number of the IPv4 header.
    pub fn protocol(&self) -> Option<u8> {
        self.ip().get(9).copied()
    }

    /// Source and destination port of UDP or TCP.
    pub fn ports(&self) -> Option<(u16, u16)> {
        let header = usize::from(self.ip().first()? & 0x0f) * 4;
        let port = |at: usize| Some(u16::from_be_bytes(self.ip().get(at..at + 2)?.try_into().ok()?));
        Some((port(header)?, port(header + 2)?))
    }

    /// True when an address of the protected networks 10.77.0.0/16 stands in the outer header: it leaked.
    pub fn is_in_the_clear(&self) -> bool {
        let inner = |address: Ipv4Addr| address.octets().starts_with(&[10, 77]);
        self.addresses()
            .is_some_and(|(source, destination)| inner(source) || inner(destination))
    }

    /// True when `needle` stands anywhere in the frame.
    pub fn contains(&self, needle: &[u8]) -> bool {
        self.frame.windows(needle.len()).any(|window| window == needle)
    }
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} protocol {:?}, {} octets",
            self.addresses(),
            self.protocol(),
            self.frame.len()
        )
    }
}

/// Reads the classic pcap format in host order with microseconds, which is what tcpdump writes.
fn parse(bytes: &[u8]) -> Result<Vec<Packet>> {
    const MAGIC: u32 = 0xa1b2_c3d4;
    const FILE_HEADER: usize = 24;
    const RECORD_HEADER: usize = 16;

    let word =
        |at: usize| -> Option<u32> { Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?)) };
    if word(0) != Some(MAGIC) {
        bail!("not a pcap file");
    }
    let mut packets = Vec::new();
    let mut at = FILE_HEADER;
    // A last record that is cut short was being written when the capture ended.
    while let (Some(seconds), Some(micros), Some(length)) = (word(at), word(at + 4), word(at + 8)) {
        let start = at + RECORD_HEADER;
        let end = start + usize::try_from(length)?;
        let Some(frame) = bytes.get(start..end) else { break };
        packets.push(Packet {
            time_us: u64::from(seconds) * 1_000_000 + u64::from(micros),
            frame: frame.to_vec(),
        });
        at = end;
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(frames: &[&[u8]]) -> Vec<u8> {
        let mut bytes = 0xa1b2_c3d4_u32.to_ne_bytes().to_vec();
        bytes.extend([0; 20]);
        for frame in frames {
            let length = u32::try_from(frame.len()).unwrap();
            for word in [1, 2, length, length] {
                bytes.extend(word.to_ne_bytes());
            }
            bytes.extend(*frame);
        }
        bytes
    }

    #[test]
    fn reads_every_record_and_drops_a_cut_one() {
        let whole = file(&[&[1; 60], &[2; 80]]);
        let packets = parse(&whole).unwrap();
        assert_eq!(
            packets
                .iter()
                .map(|packet| packet.frame.len())
                .collect::<Vec<_>>(),
            [60, 80]
        );
        assert_eq!(packets[0].time_us, 1_000_002);
        assert_eq!(parse(&whole[..whole.len() - 1]).unwrap().len(), 1);
        assert!(parse(b"no").is_err());
    }

    #[test]
    fn tcpdump_has_caught_up_when_its_counts_agree() {
        let check = |line: &str| caught_up([line].into_iter());
        assert_eq!(
            check("tcpdump: 7 packets captured, 9 packets received by filter, 0 packets dropped by kernel"),
            Some(false)
        );
        assert_eq!(
            check("1 packet captured, 1 packet received by filter, 0 packets"),
            Some(true)
        );
        assert_eq!(check("tcpdump: listening on eth0"), None);
    }

    #[test]
    fn an_inner_address_outside_is_a_leak() {
        let mut frame = vec![0; 14];
        frame.extend([
            0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 1, 2, 192, 0, 2, 2, 0x11, 0x94, 0, 80,
        ]);
        let leak = Packet {
            time_us: 0,
            frame: frame.clone(),
        };
        assert!(leak.is_in_the_clear());
        assert_eq!(leak.ports(), Some((4500, 80)));
        frame[26] = 192;
        assert!(!Packet { time_us: 0, frame }.is_in_the_clear());
    }
}
