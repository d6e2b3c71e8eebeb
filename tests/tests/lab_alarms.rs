//! Alarms of a real agent: a tunnel goes down, and a mail server and an HTTP receiver hear of it, and of its recovery, although the agent
//! is killed in between.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway_tests::config::{ApiSection, StoreSection, TUNNEL};
use gateway_tests::process::Process;
use gateway_tests::quick_start::{self, admin_key};
use gateway_tests::{
    Agent, Config, Lab, Namespace, Side, StrongSwan, StrongSwanConfig, clients, config, wait,
};
use serde_json::{Value, json};

/// Cloud Monitor, which alarms are operations of.
const MONITOR: (&str, &str) = ("monitor", "2018-07-24");
const MAIL_PORT: u16 = 2525;
const HTTP_PORT: u16 = 8080;
/// A step of ten seconds, its record and its evaluation, and a pause after attempts that failed.
const PATIENCE: Duration = Duration::from_secs(90);

/// A tunnel of the file beside a store that knows policies.
fn watched(lab: &Lab) -> Config {
    let mut config = Config::new(lab, Side::A).start("always");
    config.store = Some(StoreSection {
        path: lab.directory().join("store.db"),
    });
    config.api = Some(ApiSection {
        listen: config::API.to_owned(),
        public_addresses: vec![Side::A.outside().to_string()],
    });
    config
}

/// The mail server of PyPI `aiosmtpd`, which prints what it takes.
fn mail_server(lab: &Lab) -> Process {
    let mut command = lab
        .host(Side::A)
        .command(clients::environment().join("bin/python"));
    command.args([
        "-u",
        "-m",
        "aiosmtpd",
        "-n",
        "-c",
        "aiosmtpd.handlers.Debugging",
        "stdout",
    ]);
    command.args(["-l", &format!("{}:{MAIL_PORT}", Side::A.host())]);
    Process::spawn(command, lab.directory().join("mail.log")).unwrap()
}

/// An HTTP receiver that takes everything and hands over the bodies.
fn http_receiver(namespace: &Namespace) -> Receiver<Value> {
    let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, HTTP_PORT));
    let listener = namespace.enter(listen).unwrap().unwrap();
    let (sender, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let body = take(stream.unwrap());
            if sender.send(body).is_err() {
                return;
            }
        }
    });
    received
}

fn take(stream: TcpStream) -> Value {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    stream.get_mut().write_all(answer).unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// Two receivers on the host behind the gateway, and a policy that tells both when the tunnel is down.
fn watch(lab: &Lab, key: &Value) {
    let host = Side::A.host().to_string();
    let mail = json!({ "Name": "mail", "Email": { "Server": host, "Port": MAIL_PORT, "Tls": "none",
        "From": "gateway@example.net", "To": ["ops@example.net"] } });
    let hook = json!({ "Name": "hook", "Webhook": { "Url": format!("http://{host}:{HTTP_PORT}/alarms") } });
    let receivers = quick_start::call_service(
        lab,
        key,
        MONITOR,
        &[("CreateAlarmNotice", mail), ("CreateAlarmNotice", hook)],
    )
    .unwrap();
    let ids: Vec<_> = receivers
        .iter()
        .map(|made| made["NoticeId"].as_str().unwrap_or_else(|| panic!("{made}")))
        .collect();
    let rule = json!({ "MetricName": "Connectivity", "Period": 10, "Operator": "lt", "Value": "100", "ContinuePeriod": 1 });
    let policy = json!({ "PolicyName": "tunnel down", "Namespace": "QCE/VPNX", "Condition": { "Rules": [rule] }, "NoticeIds": ids });
    let made = quick_start::call_service(lab, key, MONITOR, &[("CreateAlarmPolicy", policy)]).unwrap();
    assert!(made[0]["PolicyId"].is_string(), "{made:?}");
}

/// Waits until steps of ten seconds that began before now play no part any more: the one that goes on, one that was recorded late, and
/// the one that is looked at.
fn let_steps_pass() {
    let step = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 10;
    let first = step();
    wait::until("three steps", Duration::from_secs(40), || {
        (step() >= first + 3).then_some(())
    })
    .unwrap();
}

#[track_caller]
fn wait_for_mail(server: &Process, agent: &Agent, subject: &str) {
    wait::until(&format!("an e-mail {subject:?}"), PATIENCE, || {
        server.output().contains(subject).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", server.output(), agent.log()));
}

#[test]
fn a_tunnel_that_goes_down_and_comes_back_is_told_to_both_receivers_over_a_kill() {
    let lab = Lab::new().unwrap();
    let mail = mail_server(&lab);
    let mut peer = StrongSwan::start(&lab, Side::B, &StrongSwanConfig::new(Side::B)).unwrap();
    let config = watched(&lab);
    let mut agent = Agent::start(&lab, Side::A, &config).unwrap();
    agent.wait_tunnel(TUNNEL, "up", Duration::from_secs(20)).unwrap();
    let_steps_pass();
    watch(&lab, &admin_key(&agent).unwrap());

    peer.stop().unwrap();
    drop(peer);
    wait_for_mail(&mail, &agent, &format!("Subject: [alarm] tunnel down: {TUNNEL}"));
    // Nobody listens to HTTP yet, and what is told it must outlive the agent.
    wait::until("an attempt that failed", PATIENCE, || {
        agent.log().contains("an alarm was not delivered").then_some(())
    })
    .unwrap();
    agent.kill_9().unwrap();
    drop(agent);
    let hook = http_receiver(lab.host(Side::A));
    let agent = Agent::start(&lab, Side::A, &config).unwrap();
    let told = || match hook.recv_timeout(PATIENCE) {
        Ok(body) => body,
        Err(error) => panic!("the receiver heard nothing: {error}\n{}", agent.log()),
    };
    let began = told();
    assert_eq!(
        (
            &began["alarmStatus"],
            &began["alarmObjInfo"]["dimensions"]["objId"]
        ),
        (&json!("1"), &json!(TUNNEL)),
        "{began}"
    );
    assert_eq!(
        began["alarmPolicyInfo"]["conditions"]["metricName"],
        "Connectivity"
    );

    let _peer = StrongSwan::start(&lab, Side::B, &StrongSwanConfig::new(Side::B)).unwrap();
    agent.wait_tunnel(TUNNEL, "up", PATIENCE).unwrap();
    let ended = told();
    assert_eq!(
        (&ended["alarmStatus"], &ended["sessionId"]),
        (&json!("0"), &began["sessionId"]),
        "{ended}"
    );
    wait_for_mail(
        &mail,
        &agent,
        &format!("Subject: [recovered] tunnel down: {TUNNEL}"),
    );
    assert_eq!(mail.output().matches("Subject: ").count(), 2, "{}", mail.output());

    let listed = agent.operator(&["alarms", "--json"]).unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(
        (&listed[0]["AlarmStatus"], &listed[0]["Dimensions"]),
        (&json!("OK"), &json!(TUNNEL))
    );
    let counted = wait::until("the metrics to follow", Duration::from_secs(30), || {
        let page = agent.metrics().ok()?;
        let value = |name: &str, labels: &[(&str, &str)]| page.sum(name, labels);
        let waiting = value("ipsecgw_alarm_notices_waiting", &[])?;
        let lasting = value("ipsecgw_alarms", &[])?;
        let delivered = value("ipsecgw_alarm_notices_total", &[("result", "delivered")])?;
        (waiting < 0.5 && lasting < 0.5).then_some(delivered)
    })
    .unwrap();
    // Of this process: begin and end by HTTP, the end by e-mail.
    assert!((counted - 3.0).abs() < 0.1, "{counted}");
}
