//! The XDP program and the workers.

use gateway_common::abi::{Action, Verdict};

use super::single;
use crate::metrics::family::{Families, Family};
use crate::status::{InterfaceStatus, Status};

pub(super) fn interfaces(page: &mut Families, interfaces: &[InterfaceStatus]) {
    let mut verdicts = Family::counter(
        "ipsecgw_xdp_packets_total",
        "Packets by verdict of the XDP program and what became of them.",
        &["iface", "verdict", "action"],
    );
    let count = |interface: &InterfaceStatus, verdict: Verdict| {
        let number = interface.verdicts.get(verdict.name());
        number.copied().unwrap_or_default()
    };
    for interface in interfaces {
        for verdict in Verdict::ALL {
            verdicts.add(
                &[&interface.name, verdict.name(), action_name(verdict.action())],
                count(interface, verdict),
            );
        }
    }
    page.push(verdicts);
    let over_all = |verdict| interfaces.iter().map(|interface| count(interface, verdict)).sum();
    for (name, help, number) in [
        (
            "ipsecgw_unknown_spi_packets_total",
            "ESP packets with an SPI that no SA has.",
            over_all(Verdict::UnknownSpi),
        ),
        (
            "ipsecgw_cleartext_blocked_packets_total",
            "Packets of protected ranges that arrived in the clear on the public side.",
            over_all(Verdict::CleartextInbound),
        ),
    ] {
        single(page, Family::counter(name, help, &[]), number);
    }
}

pub(super) fn workers(page: &mut Families, status: &Status) {
    let memory = Family::gauge("ipsecgw_umem_bytes", "Packet memory of all workers.", &[]);
    single(page, memory, status.umem_bytes);
    let mut alive = Family::gauge(
        "ipsecgw_worker_up",
        "1 while the worker's thread runs.",
        &["worker"],
    );
    let mut events = Family::counter(
        "ipsecgw_worker_events_total",
        "What happened in a worker, by name of the event.",
        &["worker", "event"],
    );
    for worker in &status.workers {
        let queue = worker.queue.to_string();
        alive.add(&[&queue], u64::from(worker.alive));
        for (event, number) in &worker.counters {
            events.add(&[&queue, event], *number);
        }
    }
    [alive, events].into_iter().for_each(|family| page.push(family));
}

const fn action_name(action: Action) -> &'static str {
    match action {
        Action::Pass => "pass",
        Action::Drop => "drop",
        Action::Redirect => "redirect",
    }
}
