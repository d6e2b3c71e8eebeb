//! What was acknowledged is there after the process was killed in the middle of its writes, and nothing is there by half.
//!
//! `GATEWAY_KILL_ROUNDS` says how often (8 unless set); `GATEWAY_KILL_WRITES` how many writes a round has (1,000).

#![allow(
    clippy::unwrap_used,
    reason = "helpers of a test: what fails here fails the test"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use gateway_management::price::PriceBook;
use gateway_management::site::Quotas;
use gateway_management::store::{Order, Page, Vault};
use gateway_management::{Actor, Management, Nobody, Site, Store, Timestamp};

/// Where the child finds its store; its presence makes this program the child.
const STORE: &str = "GATEWAY_KILL_STORE";
const NOW: Timestamp = Timestamp(1_600_000_000);

fn management(file: &Path) -> Management {
    let site = Site {
        region: "gz".to_owned(),
        vpcs: Vec::new(),
        public_addresses: Vec::new(),
        quotas: Quotas {
            customer_gateways: usize::MAX,
            ..Quotas::default()
        },
        prices: PriceBook::default(),
    };
    Management::new(
        Store::open(file, Vault::new(&[9; 32])).unwrap(),
        site,
        Arc::new(Nobody),
    )
}

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// The child: writes until it is killed, and says after each write that it is done.
fn write_until_killed(file: &Path) {
    let management = management(file);
    let mut out = std::io::stdout().lock();
    let writes = number("GATEWAY_KILL_WRITES", 1000);
    let first = management
        .list_customer_gateways(None, None, &page(1))
        .unwrap()
        .total;
    let first = u32::try_from(first).unwrap();
    for index in first..first + writes {
        let address = Ipv4Addr::from(0x1400_0000 + index * 2 + 1);
        // An address that no customer may have is skipped: the name tells which were acknowledged.
        if let Ok(made) = management.create_customer_gateway(
            NOW,
            &Actor::local(),
            &format!("cgw {index}"),
            &address.to_string(),
        ) {
            writeln!(out, "acknowledged {}", made.id).unwrap();
            out.flush().unwrap();
        }
    }
}

fn page(limit: u32) -> Page {
    Page {
        offset: 0,
        limit,
        order: Order::Created,
        descending: false,
    }
}

#[test]
fn an_acknowledged_change_survives_kill_9_and_none_is_there_by_half() {
    if let Some(file) = std::env::var_os(STORE) {
        return write_until_killed(Path::new(&file));
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.db");
    let mut acknowledged = Vec::new();
    for round in 0..number("GATEWAY_KILL_ROUNDS", 8) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("an_acknowledged_change_survives_kill_9_and_none_is_there_by_half")
            .env(STORE, &file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let before = acknowledged.len();
        // Each round is killed after another number of writes, the first ones soon.
        let enough = before + usize::try_from(1 + round * 37 % 300).unwrap();
        let id = |line: &str| line.strip_prefix("acknowledged ").map(str::to_owned);
        while acknowledged.len() < enough
            && let Some(line) = lines.next()
        {
            acknowledged.extend(id(&line.unwrap()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said between the count and its death counts as well.
        acknowledged.extend(lines.map_while(Result::ok).filter_map(|line| id(&line)));
        assert!(acknowledged.len() > before, "round {round} wrote nothing");

        let management = management(&file);
        let list = management
            .list_customer_gateways(None, None, &page(u32::MAX))
            .unwrap();
        let present: std::collections::BTreeSet<_> =
            list.items.iter().map(|(gateway, _)| gateway.id.clone()).collect();
        let lost: Vec<_> = acknowledged.iter().filter(|id| !present.contains(*id)).collect();
        assert!(lost.is_empty(), "round {round}: acknowledged and lost: {lost:?}");
        let audited = management.audit_log(&Actor::local(), u32::MAX).unwrap();
        assert_eq!(
            audited.len(),
            present.len(),
            "round {round}: an object without its audit line, or the other way round"
        );
    }
}
