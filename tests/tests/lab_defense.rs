//! High defense packages of the store: a flood of first messages against a gateway that carries a tunnel.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gateway_tests::config::{Bandwidth, GATEWAY, TUNNEL};
use gateway_tests::inject::{Garbage, Injector, udp};
use gateway_tests::ping::{bring_up, ping};
use gateway_tests::quick_start::{self, admin_key};
use gateway_tests::status::Status;
use gateway_tests::{Agent, Config, Lab, Side, wait};
use serde_json::{Value, json};

/// IKE packets per second that the package lets through from all strangers together.
const IKE_RATE: u32 = 50;
/// The state is that of the last look, once a second; the rest is a busy machine.
const PROMPT: Duration = Duration::from_secs(10);

/// A first message of main mode from somewhere.
fn first_message(garbage: &mut Garbage) -> Vec<u8> {
    let [a, b, c, d, e, f, ..] = garbage.number().to_be_bytes();
    let port = u16::from_be_bytes([e, f]).max(1);
    let source = SocketAddrV4::new(Ipv4Addr::new(128 + a % 64, b, c, d), port);
    let mut message = garbage.bytes(8);
    message.extend([0; 8]);
    message.extend([1, 0x10, 2, 0, 0, 0, 0, 0]);
    message.extend(228_u32.to_be_bytes());
    message.extend(garbage.bytes(200));
    udp(source, SocketAddrV4::new(Side::A.outside(), 500), &message)
}

/// Some twenty thousand packets a second from everywhere until `over`; how many.
fn flood(lab: &Lab, over: &AtomicBool) -> u64 {
    let injector = Injector::open(lab.gateway(Side::B)).unwrap();
    let mut garbage = Garbage::new(11);
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        for _ in 0..200 {
            injector.send(&first_message(&mut garbage)).unwrap();
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    sent
}

fn defense(status: &Status) -> Value {
    status.json()["gateways"][0]["defense"].clone()
}

#[test]
fn a_package_of_the_store_holds_a_flood_off_and_the_tunnel_goes_on() {
    let lab = Lab::new().unwrap();
    let a = Agent::start(&lab, Side::A, &Config::managed(&lab, Side::A)).unwrap();
    let b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    // The store's bandwidth is a number.
    let objects = Config::new(&lab, Side::A).bandwidth(Bandwidth::Mbps(100));
    a.import(&objects.to_toml()).unwrap();
    a.wait_tunnel(TUNNEL, "down", Duration::from_secs(10)).unwrap();
    bring_up(&lab, Side::A).unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", a.log(), b.log()));
    let key = admin_key(&a).unwrap();
    // The API answers from a picture of each second.
    let wait_blocked = |expected: bool| {
        let body = json!({ "VpnGatewayIds": [GATEWAY] });
        wait::until("IsAddressBlocked to change", PROMPT, || {
            let answers = quick_start::call(&lab, &key, &[("DescribeVpnGateways", body.clone())]).unwrap();
            let blocked = &answers[0]["VpnGatewaySet"][0]["IsAddressBlocked"];
            (*blocked == expected).then_some(())
        })
        .unwrap();
    };
    let spis = a.status().unwrap().tunnel(TUNNEL).unwrap().spis();
    let create = format!(
        "defense-packages create --name shield --gateway {GATEWAY} --ike-rate {IKE_RATE} --attack-rate 500"
    );
    let package = a.operate(&create).unwrap();
    let package = package.trim();
    a.wait_status("the shield", PROMPT, |status| {
        (defense(status)["id"] == *package).then_some(())
    })
    .unwrap();

    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The flood ends with a failed assertion too.
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let end = End(&over);
        let flood = scope.spawn(|| flood(&lab, &over));
        let state = |name: &'static str| {
            a.wait_status(name, PROMPT, |status| {
                (defense(status)["state"] == name).then_some(())
            })
            .unwrap();
        };
        state("under_attack");
        let (then, before) = (Instant::now(), a.status().unwrap().verdicts("ike"));
        let report = ping(lab.host(Side::A), Side::B.host(), 100, 20, &[]).unwrap();
        assert_eq!(report.lost(), 0, "under attack: {report:?}");
        let passed = a.status().unwrap().verdicts("ike") - before;
        let most = f64::from(IKE_RATE) * (then.elapsed().as_secs_f64() + 1.0) + 10.0;
        eprintln!("{passed} IKE packets passed in {:?}", then.elapsed());
        assert!(
            f64::from(u32::try_from(passed).unwrap()) <= most,
            "{passed} of {most}"
        );
        wait_blocked(false);

        a.operate(&format!("defense-packages modify {package} --block-rate 1000"))
            .unwrap();
        state("blocked");
        wait_blocked(true);
        let listed: Value =
            serde_json::from_str(&a.operate("defense-packages list --json").unwrap()).unwrap();
        assert_eq!(listed[0]["State"], "BLOCKED", "{listed}");
        let report = ping(lab.host(Side::A), Side::B.host(), 50, 20, &[]).unwrap();
        assert_eq!(report.lost(), 0, "blocked: {report:?}");
        assert_eq!(a.status().unwrap().tunnel(TUNNEL).unwrap().spis(), spis);
        // The peer of the tunnel is no stranger: it negotiates while strangers are shut out.
        a.operate(&format!("tunnels reset {TUNNEL}")).unwrap();
        bring_up(&lab, Side::A).unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", a.log(), b.log()));
        drop(end);
        eprintln!("{} packets sent", flood.join().unwrap());
    });
    let status = a.status().unwrap();
    assert_ne!(status.tunnel(TUNNEL).unwrap().spis(), spis);
    let metrics = a.metrics().unwrap();
    let blocked = [("gateway", GATEWAY), ("state", "blocked")];
    assert_eq!(metrics.sum("ipsecgw_gateway_defense_state", &blocked), Some(1.0));
    let dropped = metrics.sum("ipsecgw_gateway_defense_dropped_packets_total", &blocked[..1]);
    eprintln!("{dropped:?} packets dropped: {}", defense(&status));
    assert!(dropped.unwrap() > 1_000.0);

    // Unbound it is kept and protects nothing.
    a.operate(&format!("defense-packages unbind {package}")).unwrap();
    a.wait_status("no shield", PROMPT, |status| {
        defense(status).is_null().then_some(())
    })
    .unwrap();
    wait_blocked(false);
    let kept: Value = serde_json::from_str(&a.operate("defense-packages list --json").unwrap()).unwrap();
    assert_eq!(kept[0]["State"], "UNBOUND");
}
