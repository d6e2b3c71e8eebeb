//! `cargo xtask demo`: a tunnel from nothing to measured traffic, in network namespaces, in a minute.

use std::fmt;
use std::mem::ManuallyDrop;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use gateway_tests::config::{Bandwidth, TUNNEL};
use gateway_tests::iperf::{Load, iperf};
use gateway_tests::ping::{PingReport, ping};
use gateway_tests::requirements::missing_from_machine;
use gateway_tests::stream::Stream;
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig, lab};
use serde_json::{Value, json};

use crate::{Outcome, cargo, setup, shell, table};

mod quick_start;

/// Bandwidth settings that the demo goes through while traffic runs, in Mbit/s.
const SETTINGS: [u32; 2] = [100, 20];
/// Datagrams per second of the UDP load and their payload: 148 Mbit/s of IP packets, above every setting.
const UDP_LOAD: (u32, usize) = (13_600, 1332);
/// How long each rate is measured.
const MEASURE: Duration = Duration::from_secs(2);

/// Options of the verb.
#[derive(Args)]
pub(crate) struct Options {
    /// What stands on the customer's side.
    #[arg(long, value_enum, default_value_t = Peer::Strongswan)]
    peer: Peer,
    /// Leave the lab open and print how to enter it.
    #[arg(long)]
    keep: bool,
    /// Show the product's quick start, driven by each of the API's real clients.
    #[arg(long, conflicts_with_all = ["peer", "keep"])]
    quick_start: bool,
    /// Remove labs that were left open, and do nothing else.
    #[arg(long)]
    clean: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// Debian's strongSwan.
    Strongswan,
    /// Our own gateway.
    #[value(name = "self")]
    Own,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strongswan => "strongswan",
            Self::Own => "self",
        })
    }
}

/// A running peer; dropping it ends it.
#[derive(Debug)]
enum RunningPeer {
    Strongswan { _charon: StrongSwan },
    Own { _agent: Agent },
}

/// What the demo saw.
#[derive(Debug)]
struct Report {
    xdp_mode: String,
    pings: PingReport,
    tcp_mbps: f64,
    bandwidth: Vec<Rates>,
    metrics: Vec<(String, f64)>,
    algorithms: String,
}

/// Rates measured under one setting, in Mbit/s.
#[derive(Clone, Copy, Debug)]
struct Rates {
    set: u32,
    udp: f64,
    tcp: f64,
}

/// Runs the verb.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    if options.clean {
        let removed = lab::remove_kept();
        println!("{removed} labs removed");
        return Ok(Outcome {
            success: true,
            json: json!({ "removed": removed }),
        });
    }
    let missing = missing_from_machine();
    if !missing.is_empty() {
        bail!("the demo cannot run here:\n  - {}", missing.join("\n  - "));
    }
    if options.quick_start {
        setup::install_missing()?;
    } else {
        setup::install_for_lab()?;
    }
    shell::step("building the gateway", || {
        cargo::build_gateway(&cargo::metadata()?)
    })?;
    if options.quick_start {
        return quick_start::run();
    }

    let lab = shell::step(
        "building the lab: host A - gateway - customer's gateway - host B",
        Lab::new,
    )?;
    let (agent, peer) = shell::step(
        &format!("starting the gateway and its peer ({})", options.peer),
        || {
            Ok((
                Agent::start(&lab, Side::A, &Config::new(&lab, Side::A))?,
                start_peer(&lab, options.peer)?,
            ))
        },
    )?;
    let report = observe(&lab, &agent)?;
    print_report(options.peer, &report);
    if options.keep {
        print_how_to_enter(&lab);
        // The handles must not kill their processes, and the reaper is told to leave.
        let _running = ManuallyDrop::new((agent, peer));
        lab.keep()?;
    } else {
        shell::step("cleaning up", || {
            drop((agent, peer, lab));
            Ok(())
        })?;
    }
    let success = report.pings.lost() == 0;
    Ok(Outcome {
        success,
        json: to_json(options.peer, &report),
    })
}

fn start_peer(lab: &Lab, peer: Peer) -> Result<RunningPeer> {
    Ok(match peer {
        Peer::Strongswan => RunningPeer::Strongswan {
            _charon: StrongSwan::start(lab, Side::B, &StrongSwanConfig::new(Side::B))?,
        },
        Peer::Own => RunningPeer::Own {
            _agent: Agent::start(lab, Side::B, &Config::new(lab, Side::B))?,
        },
    })
}

fn observe(lab: &Lab, agent: &Agent) -> Result<Report> {
    let pings = shell::step(
        "pinging host B from host A; the first packet brings the tunnel up",
        || ping(lab.host(Side::A), Side::B.host(), 10, 200, &[]),
    )?;
    ensure!(
        pings.received > 0,
        "no ping was answered. The gateway's log:\n{}",
        agent.log()
    );
    let tcp = shell::step("TCP through the tunnel without a bandwidth setting", || {
        Ok(iperf(lab, Side::A, 3, Load::Tcp)?.mbps)
    })?;

    let mut bandwidth = Vec::new();
    for set in SETTINGS {
        let rates = shell::step(
            &format!("changing the setting to {set} Mbit/s while UDP runs, then TCP"),
            || {
                let udp = Stream::start(lab, Side::A, UDP_LOAD.0, UDP_LOAD.1)?;
                let before = udp.measure_mbps(Duration::from_millis(500));
                agent.reload(&Config::new(lab, Side::A).bandwidth(Bandwidth::Mbps(set)))?;
                // What the burst allowance lets through at once is not part of the rate.
                std::thread::sleep(Duration::from_millis(500));
                let after = udp.measure_mbps(MEASURE);
                udp.finish();
                eprintln!("    UDP: {before:.1} Mbit/s before the change, {after:.1} after it");
                Ok(Rates {
                    set,
                    udp: after,
                    tcp: iperf(lab, Side::A, 4, Load::Tcp)?.mbps,
                })
            },
        )?;
        bandwidth.push(rates);
    }

    let page = shell::step("reading /metrics", || agent.metrics())?;
    let sum = |name: &str, labels: &[(&str, &str)]| page.sum(name, labels).unwrap_or_default();
    let bytes = "ipsecgw_tunnel_bytes_total";
    let metrics = vec![
        (
            "series on the page".to_owned(),
            f64::from(u32::try_from(page.samples().len())?),
        ),
        (
            "MB sent through the tunnel".to_owned(),
            sum(bytes, &[("tunnel", TUNNEL), ("direction", "out")]) / 1e6,
        ),
        (
            "MB received through the tunnel".to_owned(),
            sum(bytes, &[("tunnel", TUNNEL), ("direction", "in")]) / 1e6,
        ),
        (
            "packets above the bandwidth setting".to_owned(),
            sum("ipsecgw_gateway_limited_packets_total", &[]),
        ),
    ];
    let status = agent.status()?;
    let child = status
        .tunnel(TUNNEL)
        .map(|tunnel| tunnel.json()["children"][0].clone())
        .unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    Ok(Report {
        xdp_mode: status.xdp_mode().to_owned(),
        pings,
        tcp_mbps: tcp,
        bandwidth,
        metrics,
        algorithms: format!(
            "{} in {}",
            word(&child["algorithms"]),
            word(&child["encapsulation"])
        ),
    })
}

fn print_report(peer: Peer, report: &Report) {
    let Report { pings, .. } = report;
    let mut rows = vec![
        ("peer".to_owned(), peer.to_string()),
        ("XDP program".to_owned(), report.xdp_mode.clone()),
        ("ESP".to_owned(), report.algorithms.clone()),
        (
            "pings sent, lost".to_owned(),
            format!("{}, {}", pings.sent, pings.lost()),
        ),
    ];
    let first = pings
        .first_ms
        .map_or_else(|| "not answered".to_owned(), |ms| format!("{ms:.1} ms"));
    rows.push(("first ping, negotiation included".to_owned(), first));
    if let Some(last) = pings.round_trips_ms.last() {
        rows.push(("last ping".to_owned(), format!("{last:.2} ms")));
    }
    rows.push((
        "TCP, no bandwidth setting".to_owned(),
        format!("{:.0} Mbit/s", report.tcp_mbps),
    ));
    for rates in &report.bandwidth {
        let measured = format!("UDP {:.1}, TCP {:.1} Mbit/s", rates.udp, rates.tcp);
        rows.push((format!("setting {} Mbit/s", rates.set), measured));
    }
    rows.extend(
        report
            .metrics
            .iter()
            .map(|(name, value)| (name.clone(), format!("{value:.0}"))),
    );
    println!();
    table::print(
        &["what", "seen"],
        &rows
            .into_iter()
            .map(|(what, seen)| vec![what, seen])
            .collect::<Vec<_>>(),
    );
    println!("\nUDP rates count IP packets, as the setting does; TCP rates count payload only.");
}

fn print_how_to_enter(lab: &Lab) {
    println!("\nThe lab stays open:");
    for (what, namespace) in [("host A", lab.host(Side::A)), ("host B", lab.host(Side::B))] {
        println!("  {what}: ip netns exec {} bash", namespace.name());
    }
    println!("  gateway: ip netns exec {} bash", lab.gateway(Side::A).name());
    println!("  logs and configurations: {}", lab.directory().display());
    println!(
        "  status: target/release/gateway status --config {}/gateway-a.toml",
        lab.directory().display()
    );
    println!("Remove it with: cargo xtask demo --clean");
}

fn to_json(peer: Peer, report: &Report) -> Value {
    let round = |value: f64| (value * 100.0).round() / 100.0;
    let bandwidth: Vec<Value> = report
        .bandwidth
        .iter()
        .map(|rates| json!({ "set_mbps": rates.set, "udp_mbps": round(rates.udp), "tcp_mbps": round(rates.tcp) }))
        .collect();
    json!({
        "peer": peer.to_string(),
        "ping_sent": report.pings.sent,
        "ping_lost": report.pings.lost(),
        "first_ping_ms": report.pings.first_ms,
        "tcp_mbps": round(report.tcp_mbps),
        "bandwidth": bandwidth,
        "xdp_mode": report.xdp_mode,
    })
}
