//! Attaching, outliving, replacing and detaching the XDP program on real interfaces. Needs root; everything happens in a network
//! and mount namespace that vanishes with the test.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests are tests"
)]

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use aya::programs::links::{FdLink, PinnedLink};
use gateway_common::abi::{IFACE_ROLE_VPC, IfaceValue, PolicyValue, map};
use gateway_user::xdp::{AttachedMode, LoadOptions, SpdSpace, XdpError, XdpMode, XdpProgram};
use ipnet::Ipv4Net;
use nix::{
    mount::{MsFlags, mount},
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};

/// A lab of one veth pair: `vpc` on this side, `host` in a namespace behind it.
struct Lab {
    /// A mounted BPF file system.
    bpffs: PathBuf,
    /// Process that holds the host's namespace.
    host: Child,
}

impl Lab {
    /// Runs `story` in a lab of its own.
    fn run(story: impl FnOnce(&Self) + Send + 'static) {
        let outcome = thread::spawn(|| {
            let root = tempfile::tempdir().unwrap();
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces need root");
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            mount(none, root.path(), Some("bpf"), MsFlags::empty(), none).expect("a BPF file system");
            let mut host = Command::new("unshare");
            let host = host
                .args(["--net", "cat"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null());
            let host = host.spawn().expect("unshare of util-linux");
            let lab = Self {
                bpffs: root.path().to_owned(),
                host,
            };
            lab.connect();
            story(&lab);
        });
        if let Err(panic) = outcome.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn connect(&self) {
        // The namespace is there once the process that makes it has become `cat`.
        let host = self.host.id();
        let name = format!("/proc/{host}/comm");
        while std::fs::read_to_string(&name).unwrap().trim() != "cat" {
            thread::yield_now();
        }
        sh(&format!("ip link add vpc type veth peer name host netns {host}"));
        sh("ip addr add 10.9.0.1/24 dev vpc && ip link set vpc up");
        self.on_host("ip addr add 10.9.0.2/24 dev host && ip link set host up");
    }

    fn on_host(&self, command: &str) -> bool {
        let pid = self.host.id().to_string();
        let status = Command::new("nsenter")
            .args(["--net", "--target", &pid, "sh", "-c", command])
            .stdout(Stdio::null())
            .status();
        status.expect("nsenter of util-linux").success()
    }

    /// Whether the kernel on this side answers the host.
    fn answers(&self) -> bool {
        self.on_host("ping -c 1 -W 1 10.9.0.1")
    }

    fn pin_dir(&self) -> PathBuf {
        self.bpffs.join("gateway")
    }

    fn options(&self) -> LoadOptions {
        LoadOptions {
            pin_dir: Some(self.pin_dir()),
            ..LoadOptions::default()
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.host
            .kill()
            .and_then(|()| self.host.wait())
            .expect("the lab's own child");
    }
}

fn sh(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status().expect("sh");
    assert!(status.success(), "{command}");
}

fn ifindex(name: &str) -> u32 {
    if_nametoindex(name).unwrap()
}

/// A program that drops all IPv4 on the interfaces it knows: a policy protects everything, and no worker is there.
fn dropping(options: &LoadOptions, interfaces: &[&str]) -> XdpProgram {
    let mut program = XdpProgram::load(options).unwrap();
    let any = vec![(Ipv4Net::default(), 1)];
    let pairs = vec![(1, 1, PolicyValue::default())];
    program
        .write_space(&SpdSpace {
            id: 1,
            local: any.clone(),
            peer: any,
            pairs,
        })
        .unwrap();
    for interface in interfaces {
        let value = IfaceValue {
            role: IFACE_ROLE_VPC,
            space: 1,
            ..IfaceValue::default()
        };
        program.set_iface(ifindex(interface), value).unwrap();
    }
    program
}

/// Numbers of the link and of the program behind a pin.
fn pinned(pin: &Path) -> (u32, u32) {
    let info = FdLink::from(PinnedLink::from_pin(pin).unwrap()).info().unwrap();
    (info.id(), info.program_id())
}

/// The program that the kernel reports for an interface.
fn has_program(interface: &str) -> bool {
    let output = Command::new("ip")
        .args(["-details", "link", "show", interface])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).contains("prog/xdp")
}

#[test]
fn the_link_outlives_a_killed_process_and_fails_closed() {
    if let Some(pin_dir) = std::env::var_os(CHILD) {
        attach_and_wait(pin_dir.into());
    }
    Lab::run(|lab| {
        assert!(lab.answers(), "without a program");
        let mut agent = attach_in_a_child(lab);
        assert!(!lab.answers(), "with the program");
        agent.kill().unwrap();
        agent.wait().unwrap();
        assert!(has_program("vpc"));
        assert!(!lab.answers(), "after the process was killed");
        assert_eq!(XdpProgram::detach_pinned(&lab.pin_dir()).unwrap(), ["vpc"]);
        assert!(!has_program("vpc"));
        assert!(lab.answers(), "after detaching");
        assert!(!lab.pin_dir().exists());
        assert!(XdpProgram::detach_pinned(&lab.pin_dir()).unwrap().is_empty());
    });
}

/// In the environment of the process that is to be killed: its pin directory.
const CHILD: &str = "KERNEL_LINK_CHILD";

/// Runs this test in a process of its own, where it takes the other way, and waits until that has attached.
fn attach_in_a_child(lab: &Lab) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "the_link_outlives_a_killed_process_and_fails_closed",
            "--nocapture",
        ])
        .env(CHILD, lab.pin_dir())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let attached = lines
        .map_while(Result::ok)
        .any(|line| line.ends_with("attached native"));
    assert!(attached, "the child ended early");
    child
}

fn attach_and_wait(pin_dir: PathBuf) -> ! {
    let options = LoadOptions {
        pin_dir: Some(pin_dir),
        ..LoadOptions::default()
    };
    let mut program = dropping(&options, &["vpc"]);
    let mode = program.attach("vpc", ifindex("vpc"), XdpMode::Auto).unwrap();
    println!("attached {mode}");
    loop {
        thread::park();
    }
}

#[test]
fn the_next_process_takes_the_link_over_without_a_gap() {
    Lab::run(|lab| {
        let pin = lab.pin_dir().join("vpc");
        dropping(&lab.options(), &["vpc"])
            .attach("vpc", ifindex("vpc"), XdpMode::Auto)
            .unwrap();
        let first = pinned(&pin);
        // An answer to any of these pings is a packet that met no program.
        let flood = thread::scope(|scope| {
            let flood = scope.spawn(|| lab.on_host("ping -q -i 0.002 -c 1000 -W 1 10.9.0.1"));
            let mut before = first;
            let mut rounds = 0;
            while !flood.is_finished() {
                let mut next = dropping(&lab.options(), &["vpc"]);
                let mode = next.attach("vpc", ifindex("vpc"), XdpMode::Auto).unwrap();
                assert_eq!(mode, AttachedMode::Native);
                let after = pinned(&pin);
                assert_eq!(after.0, before.0, "the link stays");
                assert_ne!(after.1, before.1, "the program is another one");
                before = after;
                rounds += 1;
            }
            assert!(rounds >= 5, "{rounds} replacements in two seconds");
            flood.join().unwrap()
        });
        assert!(!flood, "a ping was answered while programs were replaced");
    });
}

#[test]
fn a_pin_whose_interface_is_gone_is_replaced() {
    Lab::run(|lab| {
        let pin = lab.pin_dir().join("vpc");
        dropping(&lab.options(), &["vpc"])
            .attach("vpc", ifindex("vpc"), XdpMode::Auto)
            .unwrap();
        let stale = pinned(&pin);
        sh("ip link del vpc && ip link add vpc type veth peer name other && ip link set vpc up");
        dropping(&lab.options(), &["vpc"])
            .attach("vpc", ifindex("vpc"), XdpMode::Auto)
            .unwrap();
        assert_ne!(pinned(&pin).0, stale.0);
        assert!(has_program("vpc"));
    });
}

#[test]
fn without_a_pin_directory_the_link_ends_with_the_program() {
    Lab::run(|_| {
        let mut program = dropping(&LoadOptions::default(), &["vpc"]);
        assert_eq!(
            program.attach("vpc", ifindex("vpc"), XdpMode::Native).unwrap(),
            AttachedMode::Native
        );
        assert!(has_program("vpc"));
        drop(program);
        assert!(!has_program("vpc"));
    });
}

#[test]
fn an_interface_without_native_xdp_gets_the_generic_one() {
    Lab::run(|lab| {
        sh("ip link add vpc.100 type bridge && ip link set vpc.100 up");
        let mut program = dropping(&lab.options(), &["vpc", "vpc.100"]);
        let refused = program.attach("vpc.100", ifindex("vpc.100"), XdpMode::Native);
        assert!(
            matches!(
                refused,
                Err(XdpError::Attach {
                    mode: AttachedMode::Native,
                    ..
                })
            ),
            "{refused:?}"
        );
        let mode = program
            .attach("vpc.100", ifindex("vpc.100"), XdpMode::Auto)
            .unwrap();
        assert_eq!(mode, AttachedMode::Generic);
        // The mode of a link that is there stays; whoever insists on the other one is told.
        let mut next = dropping(&lab.options(), &["vpc", "vpc.100"]);
        let other = next.attach("vpc.100", ifindex("vpc.100"), XdpMode::Native);
        assert!(
            matches!(
                other,
                Err(XdpError::OtherMode {
                    attached: AttachedMode::Generic,
                    ..
                })
            ),
            "{other:?}"
        );
        assert_eq!(
            next.attach("vpc.100", ifindex("vpc.100"), XdpMode::Auto).unwrap(),
            AttachedMode::Generic
        );
        assert_eq!(
            next.attach("vpc", ifindex("vpc"), XdpMode::Generic).unwrap(),
            AttachedMode::Generic
        );
        assert!(!lab.answers());
        assert_eq!(
            XdpProgram::detach_pinned(&lab.pin_dir()).unwrap(),
            ["vpc", "vpc.100"]
        );
        assert!(lab.answers());
    });
}

#[test]
fn what_cannot_be_attached_is_refused_with_the_reason() {
    Lab::run(|lab| {
        let index = ifindex("vpc");
        let mut program = dropping(&lab.options(), &[]);
        let early = program.attach("vpc", index, XdpMode::Auto);
        assert!(
            matches!(early, Err(XdpError::InterfaceNotConfigured { .. })),
            "{early:?}"
        );
        let mut program = dropping(&lab.options(), &["vpc"]);
        for (name, index) in [("nosuch", 77), ("vpc", index + 1), ("lo", index)] {
            let missing = program.attach(name, index, XdpMode::Auto);
            assert!(
                matches!(missing, Err(XdpError::MissingInterface { .. })),
                "{missing:?}"
            );
        }
        let mut foreign = dropping(&LoadOptions::default(), &["vpc"]);
        foreign.attach("vpc", index, XdpMode::Native).unwrap();
        for mode in [XdpMode::Auto, XdpMode::Native, XdpMode::Generic] {
            let taken = program.attach("vpc", index, mode);
            assert!(
                matches!(taken, Err(XdpError::ForeignProgram { .. })),
                "{mode:?}: {taken:?}"
            );
        }
        drop(foreign);
        assert_eq!(
            program.attach("vpc", index, XdpMode::Auto).unwrap(),
            AttachedMode::Native
        );
        let options = LoadOptions {
            max_ifindex: 1,
            ..LoadOptions::default()
        };
        let mut small = XdpProgram::load(&options).unwrap();
        let value = IfaceValue {
            role: IFACE_ROLE_VPC,
            ..IfaceValue::default()
        };
        assert!(matches!(
            small.set_iface(index, value),
            Err(XdpError::IfindexTooHigh { max: 1, .. })
        ));
    });
}

#[test]
fn the_maps_of_the_last_program_are_pinned() {
    Lab::run(|lab| {
        let _first = dropping(&lab.options(), &["vpc"]);
        let second = dropping(&lab.options(), &["vpc"]);
        let maps = lab.pin_dir().join("maps");
        for name in [map::IFACES, map::POLICIES, map::COUNTERS, map::XSKS] {
            let pinned = aya::maps::MapInfo::from_pin(maps.join(name)).unwrap();
            assert_eq!(pinned.name_as_str(), Some(name));
        }
        drop(second);
        assert!(maps.join(map::SAS).exists());
    });
}

#[test]
fn without_privileges_the_error_names_the_capabilities() {
    const UNPRIVILEGED: &str = "KERNEL_LINK_UNPRIVILEGED";
    if std::env::var_os(UNPRIVILEGED).is_some() {
        // The other process of this test.
        let refused = XdpProgram::load(&LoadOptions::default())
            .err()
            .expect("loading is refused");
        println!("refused: {refused}");
        return;
    }
    for (dropped, named) in [
        ("-all", "CAP_NET_ADMIN and CAP_PERFMON and CAP_BPF"),
        ("-perfmon,-sys_admin", "CAP_PERFMON"),
    ] {
        let output = Command::new("setpriv")
            .args(["--bounding-set", dropped, "--inh-caps", dropped])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "without_privileges_the_error_names_the_capabilities",
                "--nocapture",
            ])
            .env(UNPRIVILEGED, "1")
            .output()
            .expect("setpriv of util-linux");
        let output = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.contains(&format!(
                "refused: loading the XDP program needs {named}, as root has"
            )),
            "{output}"
        );
    }
}
