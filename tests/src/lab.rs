//! Four namespaces in a row, and their certain end.
//!
//! A lab is cleaned up by a **reaper**: a small shell process that waits on a pipe. When the process that made the lab ends,
//! by whatever cause, the kernel closes the pipe and the reaper kills what runs in the namespaces, deletes them and removes
//! the lab's directory. Dropping the lab closes the same pipe, so there is one way to clean up and it is always exercised.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::namespace::{Namespace, run};
use crate::requirements;

/// One end of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The VPC's side: our gateway in most labs.
    A,
    /// The customer's side.
    B,
}

impl Side {
    /// The far end.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn octet(self) -> u8 {
        match self {
            Self::A => 1,
            Self::B => 2,
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    /// The host's address.
    pub const fn host(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.octet(), 2)
    }

    /// The gateway's address on its protected network.
    pub const fn inside(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.octet(), 1)
    }

    /// The gateway's public address.
    pub const fn outside(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, self.octet())
    }

    /// The protected network, a /24.
    pub fn network(self) -> String {
        format!("10.77.{}.0/24", self.octet())
    }
}

/// The gateway's interface to the public network.
pub const PUBLIC: &str = "pub0";
/// The gateway's interface to its protected network.
pub const INSIDE: &str = "vpc0";
/// The host's interface.
pub const HOST: &str = "eth0";
/// The interface of the wire's namespace towards gateway A: everything that passes the public network passes it.
pub const WIRE: &str = "to-a";
/// The same towards gateway B.
const TO_B: &str = "to-b";

/// Address of gateway B in a lab with a NAT.
pub const BEHIND_NAT: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);
/// The NAT's outside ports, at first and after [`Lab::restart_nat`].
const NAT_PORTS: [&str; 2] = ["20000-20099", "21000-21099"];

/// Names of labs, in `/run/netns` and below the temporary directory, start with this.
const PREFIX: &str = "gwlab";
/// The namespaces of a lab: hosts, gateways, and the public network where it has one of its own.
const ENDS: [&str; 5] = ["ha", "ga", "gb", "hb", "wire"];
/// A file in the directory of a lab that was left open on purpose.
const KEPT: &str = "kept";

/// What the public network consists of.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Bridge,
    Nat,
}

/// The lab. See the [crate] for the picture.
#[derive(Debug)]
pub struct Lab {
    hosts: [Namespace; 2],
    gateways: [Namespace; 2],
    wire: Option<Namespace>,
    directory: PathBuf,
    reaper: Child,
}

impl Lab {
    /// Builds a lab of its own: several may exist at once, in one process and in several.
    pub fn new() -> Result<Self> {
        Self::build(Between::Nothing)
    }

    /// A lab whose public network is a bridge in a namespace of its own, see [`Self::wire`].
    pub fn with_wire() -> Result<Self> {
        Self::build(Between::Bridge)
    }

    /// A lab whose gateway B stands behind a NAT: it has the address [`BEHIND_NAT`], and the NAT has that of [`Side::outside`].
    pub fn with_nat() -> Result<Self> {
        Self::build(Between::Nat)
    }

    fn build(between: Between) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);

        requirements::check_all()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            remove_leftovers();
        }
        let name = format!("{PREFIX}-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let names = ENDS.map(|end| format!("{name}-{end}"));
        // Before the first namespace, so that a failure half-way is cleaned up too.
        let reaper = start_reaper(&names, &directory)?;
        let [host_a, gateway_a, gateway_b, host_b, wire] = names;
        let lab = Self {
            hosts: [Namespace::create(host_a)?, Namespace::create(host_b)?],
            gateways: [Namespace::create(gateway_a)?, Namespace::create(gateway_b)?],
            wire: match between {
                Between::Nothing => None,
                Between::Bridge | Between::Nat => Some(Namespace::create(wire)?),
            },
            directory,
            reaper,
        };
        lab.connect(between)?;
        Ok(lab)
    }

    /// The gateway of a side.
    pub fn gateway(&self, side: Side) -> &Namespace {
        &self.gateways[side as usize]
    }

    /// The host of a side.
    pub fn host(&self, side: Side) -> &Namespace {
        &self.hosts[side as usize]
    }

    /// The namespace of the public network, where a capture on [`WIRE`] sees what passes. At the gateways it would not: AF_XDP sends
    /// past captures, and XDP takes packets off the interface before them.
    pub fn wire(&self) -> Result<&Namespace> {
        self.wire.as_ref().context("this lab was built without a wire")
    }

    /// Makes the wire a router whose way towards gateway B carries packets of `mtu` octets only: what is longer and may be
    /// fragmented arrives there in fragments. Both gateways go on as if they were neighbours.
    pub fn narrow_towards_b(&self, mtu: u16) -> Result<()> {
        let wire = self.wire()?;
        wire.sysctl("ipv4/ip_forward", "1")?;
        for (side, port) in [(Side::A, WIRE), (Side::B, TO_B)] {
            wire.ip(&["link", "set", port, "nomaster"])?;
            wire.sysctl(&format!("ipv4/conf/{port}/proxy_arp"), "1")?;
            wire.sysctl(&format!("ipv4/conf/{port}/rp_filter"), "0")?;
            wire.ip(&["route", "add", &side.outside().to_string(), "dev", port])?;
        }
        // Of the route and not of the interface: a veth refuses to receive what is longer than its own MTU.
        let (to, mtu) = (Side::B.outside().to_string(), mtu.to_string());
        wire.ip(&["route", "replace", &to, "dev", TO_B, "mtu", "lock", &mtu])?;
        Ok(())
    }

    /// A directory that lives as long as the lab.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A directory on a bpffs for the gateway of a side, so that the pins of two agents do not meet.
    pub fn pin_directory(&self, side: Side) -> PathBuf {
        self.directory.join("bpf").join(side.letter().to_string())
    }

    /// Lets the gateways route between the hosts without a tunnel: a default route through each other, as gateways on the internet
    /// have one.
    pub fn route_in_the_clear(&self) -> Result<()> {
        for side in [Side::A, Side::B] {
            let via = side.other().outside().to_string();
            self.gateway(side)
                .ip(&["route", "replace", "default", "via", &via])?;
        }
        Ok(())
    }

    /// Takes back [`Self::route_in_the_clear`].
    pub fn no_route_in_the_clear(&self) -> Result<()> {
        for side in [Side::A, Side::B] {
            self.gateway(side).ip(&["route", "del", "default"])?;
        }
        Ok(())
    }

    /// Leaves everything running when this process ends. [`remove_kept`] removes it later.
    pub fn keep(mut self) -> Result<()> {
        fs::write(self.directory.join(KEPT), "")?;
        let mut pipe = self.reaper.stdin.take().context("the reaper has no pipe")?;
        pipe.write_all(b"keep\n")
            .context("tell the reaper to keep the lab")?;
        Ok(())
    }

    /// The NAT forgets every mapping and gives ports of another range from here on.
    pub fn restart_nat(&self) -> Result<()> {
        let wire = self.wire()?;
        wire.run("nft", &["flush ruleset"])?;
        self.masquerade(NAT_PORTS[1])?;
        wire.run("conntrack", &["-F"])?;
        Ok(())
    }

    /// Everything that leaves towards gateway A gets the NAT's address and a port of this range.
    fn masquerade(&self, ports: &str) -> Result<()> {
        let rule = format!(
            "table ip nat {{ chain post {{ type nat hook postrouting priority srcnat; \
             oifname \"{WIRE}\" meta l4proto udp masquerade to :{ports}; }}; }}"
        );
        self.wire()?.run("nft", &[&rule])?;
        Ok(())
    }

    fn connect(&self, between: Between) -> Result<()> {
        let bpf = self.directory.join("bpf");
        fs::create_dir(&bpf)?;
        run(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&bpf))?;
        for side in [Side::A, Side::B] {
            fs::create_dir(self.pin_directory(side))?;
            link(
                (self.host(side), HOST, Some(side.host())),
                (self.gateway(side), INSIDE, Some(side.inside())),
            )?;
            self.host(side)
                .ip(&["route", "add", "default", "via", &side.inside().to_string()])?;
            // A veth hands packets over with checksums still to be filled in by hardware; XDP redirects them as they are.
            self.host(side).run("ethtool", &["-K", HOST, "tx", "off"])?;
            let gateway = self.gateway(side);
            gateway.sysctl("ipv4/ip_forward", "1")?;
            for scope in ["all", "default"] {
                gateway.sysctl(&format!("ipv4/conf/{scope}/rp_filter"), "0")?;
                gateway.sysctl(&format!("ipv4/conf/{scope}/send_redirects"), "0")?;
            }
        }
        let public = |side: Side| (self.gateway(side), PUBLIC, Some(side.outside()));
        match (between, &self.wire) {
            (Between::Nothing, _) | (_, None) => link(public(Side::A), public(Side::B)),
            (Between::Bridge, Some(wire)) => {
                wire.ip(&["link", "add", "br0", "type", "bridge"])?;
                wire.ip(&["link", "set", "br0", "up"])?;
                for (side, port) in [(Side::A, WIRE), (Side::B, TO_B)] {
                    link(public(side), (wire, port, None))?;
                    wire.ip(&["link", "set", port, "master", "br0"])?;
                }
                Ok(())
            }
            (Between::Nat, Some(wire)) => {
                let router = Ipv4Addr::new(10, 88, 0, 1);
                let inside = (self.gateway(Side::B), PUBLIC, Some(BEHIND_NAT));
                link(public(Side::A), (wire, WIRE, Some(Side::B.outside())))?;
                link(inside, (wire, TO_B, Some(router)))?;
                self.gateway(Side::B)
                    .ip(&["route", "add", "default", "via", &router.to_string()])?;
                wire.sysctl("ipv4/ip_forward", "1")?;
                self.masquerade(NAT_PORTS[0])
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print_logs(&self.directory);
        }
        drop(self.reaper.stdin.take());
        // Nothing to do about a reaper that was killed: the next lab removes the leftovers.
        self.reaper.wait().ok();
    }
}

/// An end of a link: where, its name, and its address in a /24.
type End<'a> = (&'a Namespace, &'a str, Option<Ipv4Addr>);

/// Joins two namespaces with a veth pair.
fn link(a: End<'_>, b: End<'_>) -> Result<()> {
    a.0.ip(&[
        "link",
        "add",
        a.1,
        "type",
        "veth",
        "peer",
        "name",
        b.1,
        "netns",
        b.0.name(),
    ])?;
    for (namespace, interface, address) in [a, b] {
        if let Some(address) = address {
            namespace.ip(&["addr", "add", &format!("{address}/24"), "dev", interface])?;
        }
        namespace.ip(&["link", "set", interface, "up"])?;
    }
    Ok(())
}

/// Ends what runs in the namespaces `$@` and removes them with the directory `$dir`.
const REMOVE: &str = r#"
for ns in "$@"; do for pid in $(ip netns pids "$ns"); do kill -9 "$pid"; done; done
umount -l "$dir/bpf"
for ns in "$@"; do ip netns del "$ns"; done
rm -rf "$dir"
"#;

fn start_reaper(names: &[String], directory: &Path) -> Result<Child> {
    let script = format!("read verdict; [ \"$verdict\" = keep ] && exit 0\n{REMOVE}");
    Command::new("sh")
        .args(["-c", &script, "reaper"])
        .args(names)
        .env("dir", directory)
        .current_dir("/")
        // A group of its own: Ctrl-C on the terminal must not reach it.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start the reaper")
}

/// Removes labs that were left open on purpose. Returns how many.
pub fn remove_kept() -> usize {
    let kept = |name: &String| std::env::temp_dir().join(name).join(KEPT).exists();
    labs().into_iter().filter(kept).map(|name| remove(&name)).count()
}

/// Removes what labs of dead processes left behind because their reaper died too.
fn remove_leftovers() {
    for name in labs() {
        let directory = std::env::temp_dir().join(&name);
        let pid = name.split('-').nth(1).unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() && !directory.join(KEPT).exists() {
            remove(&name);
        }
    }
}

/// Names of all labs that have a directory or a namespace.
fn labs() -> Vec<String> {
    let mut names: Vec<String> = [std::env::temp_dir(), PathBuf::from("/run/netns")]
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(PREFIX))
        .map(|name| name.split('-').take(3).collect::<Vec<_>>().join("-"))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn remove(name: &str) {
    let names = ENDS.map(|end| format!("{name}-{end}"));
    // Best effort: another process may be removing the same leftovers.
    Command::new("sh")
        .args(["-c", REMOVE, "remove"])
        .args(names)
        .env("dir", std::env::temp_dir().join(name))
        .stderr(Stdio::null())
        .status()
        .ok();
}

/// Prints the ends of all logs of the lab, for the report of a failed test.
fn print_logs(directory: &Path) {
    const LINES: usize = 40;
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let mut logs: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    for path in logs {
        let Ok(bytes) = fs::read(&path) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
        let title = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        std::io::stderr()
            .write_all(format!("---- {title}\n{}\n", tail.join("\n")).as_bytes())
            .ok();
    }
}
