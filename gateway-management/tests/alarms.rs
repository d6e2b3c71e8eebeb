//! Alarms from the rollup to the receiver: a mail server, an HTTP receiver that refuses at first, and a restart in between.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use gateway_management::alarm::{
    Channel, Comparison, Email, Policy, Receiver, Rule, Subject, Targets, Tls, WebhookFormat, Window,
    delivery,
};
use gateway_management::monitor::{Metric, Namespace};
use gateway_management::objects::Role;
use gateway_management::price::PriceBook;
use gateway_management::service::Actor;
use gateway_management::site::Quotas;
use gateway_management::store::{Traffic, Vault};
use gateway_management::{Agent, LiveTunnel, Management, Sample, Site, Store, Timestamp};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// An agent with one tunnel of the file.
struct OneTunnel;

impl Agent for OneTunnel {
    fn changed(&self) {}
    fn reset(&self, _tunnel: &str) {}
    fn live(&self, _tunnel: &str) -> Option<LiveTunnel> {
        None
    }
    fn objects(&self, namespace: Namespace) -> Vec<String> {
        match namespace {
            Namespace::Tunnel => vec!["idc".to_owned()],
            Namespace::Gateway => Vec::new(),
        }
    }
}

fn open(directory: &Path) -> Arc<Management> {
    open_towards(directory, Targets::only(vec!["127.0.0.0/8".parse().unwrap()]))
}

fn open_towards(directory: &Path, targets: Targets) -> Arc<Management> {
    let store = Store::open(&directory.join("store.db"), Vault::new(&[1; 32])).unwrap();
    let site = Site {
        region: "gz".to_owned(),
        vpcs: Vec::new(),
        public_addresses: Vec::new(),
        quotas: Quotas::default(),
        prices: PriceBook::default(),
    };
    let management = Management::new(store, site, Arc::new(OneTunnel));
    Arc::new(management.with_alarm_targets(targets))
}

fn local() -> Actor {
    Actor {
        name: "local".to_owned(),
        role: Role::Admin,
    }
}

fn receiver(management: &Management, name: &str, channel: Channel) -> String {
    let receiver = Receiver {
        name: name.to_owned(),
        channel,
    };
    management
        .put_receiver(Timestamp::now(), &local(), None, &receiver)
        .unwrap()
}

fn webhook(management: &Management, url: &str, format: WebhookFormat, name: &str) -> String {
    let channel = Channel::Webhook {
        url: url.to_owned().into(),
        format,
        headers: BTreeMap::from([("X-Token".to_owned(), "s3cret".to_owned().into())]),
    };
    receiver(management, name, channel)
}

fn loss_policy(management: &Management, receivers: Vec<String>) {
    let policy = Policy {
        namespace: Namespace::Tunnel,
        objects: Vec::new(),
        rules: vec![Rule {
            subject: Subject::Metric(Metric::ProbeLoss),
            comparison: Comparison::Greater,
            value: 50.0,
            period: 10,
            periods: 2,
        }],
        all: false,
        enabled: true,
        receivers,
        repeat_seconds: 0,
        back_off: false,
        window: Window::default(),
    };
    management
        .create_alarm_policy(Timestamp::now(), &local(), "loss", policy)
        .unwrap();
}

/// Probes of the tunnel over some periods of ten seconds, looked at after each. Ends at about now.
struct Probes {
    now: Timestamp,
    counters: Traffic,
}

impl Probes {
    fn new() -> Self {
        let now = Timestamp::now();
        Self {
            now: Timestamp(now.0 - now.0.rem_euclid(10) - 600),
            counters: Traffic::default(),
        }
    }

    fn pass(&mut self, management: &Management, lost: bool) {
        if lost {
            self.counters.probes_lost += 2;
        } else {
            self.counters.probes_answered += 2;
        }
        let sample = Sample {
            namespace: Namespace::Tunnel,
            object: "idc".to_owned(),
            part_of: Some("gw".to_owned()),
            counters: self.counters,
        };
        management.record(self.now, &[sample]).unwrap();
        self.now = self.now.plus_seconds(10);
        management.evaluate_alarms(self.now).unwrap();
    }
}

/// An HTTP receiver that refuses the first `refusals` requests and hands over the others.
async fn http(refusals: usize) -> (String, UnboundedReceiver<(HeaderMap, String)>) {
    let (sender, received) = unbounded_channel();
    let left = Arc::new(AtomicUsize::new(refusals));
    let take = move |headers: HeaderMap, body: String| {
        let refuse = left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok();
        let sender = sender.clone();
        async move {
            if refuse {
                return StatusCode::INTERNAL_SERVER_ERROR;
            }
            sender.send((headers, body)).unwrap();
            StatusCode::OK
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/hook", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/hook"), received)
}

async fn next<T>(received: &mut UnboundedReceiver<T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), received.recv())
        .await
        .expect("a notice within a minute")
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn begin_and_recovery_reach_webhooks_and_messages_once_each() {
    let directory = tempfile::tempdir().unwrap();
    let management = open(directory.path());
    let (url, mut received) = http(1).await;
    let (other, mut alerts) = http(0).await;
    let receivers = vec![
        webhook(&management, &url, WebhookFormat::Callback, "ops"),
        webhook(&management, &other, WebhookFormat::Alertmanager, "alertmanager"),
        receiver(&management, "list", Channel::Message),
    ];
    loss_policy(&management, receivers);
    tokio::spawn(delivery::run(Arc::clone(&management)));

    let mut probes = Probes::new();
    // One bad period is not two.
    for lost in [false, true, false, true, true, true, false, false] {
        probes.pass(&management, lost);
    }
    // The first request was refused, and tried again: the end waits for it.
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let (headers, body) = next(&mut received).await;
        assert_eq!(
            (&headers["x-token"], &headers["content-type"]),
            (&"s3cret".parse().unwrap(), &"application/json".parse().unwrap())
        );
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["alarmObjInfo"]["dimensions"]["objId"], "idc");
        statuses.push(body["alarmStatus"].as_str().unwrap().to_owned());
    }
    assert_eq!(statuses, ["1", "0"]);
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let alert: Value = serde_json::from_str(&next(&mut alerts).await.1).unwrap();
        statuses.push(alert["status"].as_str().unwrap().to_owned());
    }
    assert_eq!(statuses, ["firing", "resolved"]);
    let history = management
        .alarm_history(Timestamp(0), Timestamp::now(), 0, 10)
        .unwrap();
    assert_eq!(history.total, 1);
    let alarm = &history.items[0];
    assert_eq!(
        (alarm.object.as_str(), alarm.content.as_str()),
        ("idc", "PkgDrop 100 % > 50 %")
    );
    assert_eq!(alarm.ended.unwrap().0 - alarm.began.0, 20);
    let titles: Vec<_> = management
        .messages(10)
        .unwrap()
        .into_iter()
        .map(|message| message.title)
        .collect();
    assert_eq!(titles.len(), 2, "{titles:?}");
    assert!(received.try_recv().is_err() && alerts.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_delivered_before_a_restart_is_delivered_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let management = open(directory.path());
    let (url, mut received) = http(0).await;
    let id = webhook(&management, &url, WebhookFormat::Callback, "ops");
    loss_policy(&management, vec![id]);
    let mut probes = Probes::new();
    for lost in [true, true] {
        probes.pass(&management, lost);
    }
    drop(management);

    let management = open(directory.path());
    // Still lost: the alarm goes on and is no new one.
    probes.counters = Traffic::default();
    probes.pass(&management, true);
    tokio::spawn(delivery::run(Arc::clone(&management)));
    let body: Value = serde_json::from_str(&next(&mut received).await.1).unwrap();
    assert_eq!(body["alarmStatus"], "1");
    let history = management
        .alarm_history(Timestamp(0), Timestamp::now(), 0, 10)
        .unwrap();
    assert_eq!((history.total, history.items[0].ended), (1, None));
    // Nothing of a receiver stands in the file in the clear.
    drop(management);
    let wal = directory.path().join("store.db-wal");
    for file in [directory.path().join("store.db"), wal] {
        let octets = std::fs::read(file).unwrap_or_default();
        assert!(!octets.windows(6).any(|part| part == b"s3cret"));
    }
}

/// A mail server that takes one message and hands it over (RFC 5321 4.1.1).
async fn mail_server() -> (u16, tokio::task::JoinHandle<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let session = async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = tokio::io::BufReader::new(stream);
        stream.write_all(b"220 mail.example.net\r\n").await.unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
            if line == "DATA\r\n" {
                break;
            }
            stream.write_all(b"250 ok\r\n").await.unwrap();
        }
        stream.write_all(b"354 go on\r\n").await.unwrap();
        let mut message = String::new();
        while !message.ends_with("\r\n.\r\n") {
            assert!(stream.read_line(&mut message).await.unwrap() > 0, "{message}");
        }
        stream.write_all(b"250 taken\r\n").await.unwrap();
        message
    };
    (port, tokio::spawn(session))
}

#[test]
fn a_restart_that_takes_long_does_not_end_an_alarm() {
    let directory = tempfile::tempdir().unwrap();
    let management = open(directory.path());
    loss_policy(&management, Vec::new());
    let mut probes = Probes::new();
    for lost in [true, true] {
        probes.pass(&management, lost);
    }
    drop(management);

    let management = open(directory.path());
    probes.counters = Traffic::default();
    probes.now = probes.now.plus_seconds(65);
    let lasts = || {
        let history = management.alarm_history(Timestamp(0), Timestamp::now(), 0, 10);
        let history = history.unwrap();
        assert_eq!(history.total, 1);
        history.items[0].ended.is_none()
    };
    management.record(probes.now, &[]).unwrap();
    management.evaluate_alarms(probes.now).unwrap();
    assert!(lasts(), "nobody saw the last step");
    // The first step was seen from its middle.
    probes.pass(&management, false);
    assert!(lasts(), "the last step was seen by half");
    probes.pass(&management, false);
    assert!(!lasts(), "the last step was seen and is good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_is_an_e_mail_and_a_text_message() {
    let (port, mail) = mail_server().await;
    let directory = tempfile::tempdir().unwrap();
    let management = open(directory.path());
    let (url, mut sent) = http(0).await;
    let email = Channel::Email(Email {
        server: "127.0.0.1".to_owned(),
        port,
        tls: Tls::None,
        from: "gateway@example.net".to_owned(),
        to: vec!["ops@example.net".to_owned(), "boss@example.net".to_owned()],
        login: None,
    });
    let sms = Channel::Sms {
        url: url.into(),
        to: vec!["+491".to_owned(), "+492".to_owned()],
        body: "{\"phone\": {{ to | tojson }}, \"text\": {{ text | tojson }}}".to_owned(),
        headers: BTreeMap::new(),
    };
    let receivers = vec![
        receiver(&management, "mail", email),
        receiver(&management, "phones", sms),
    ];
    loss_policy(&management, receivers);
    let mut probes = Probes::new();
    for lost in [true, true] {
        probes.pass(&management, lost);
    }
    tokio::spawn(delivery::run(Arc::clone(&management)));
    let mut phones = Vec::new();
    for _ in 0..2 {
        let body: Value = serde_json::from_str(&next(&mut sent).await.1).unwrap();
        assert!(
            body["text"].as_str().unwrap().contains("PkgDrop 100 % > 50 %"),
            "{body}"
        );
        phones.push(body["phone"].as_str().unwrap().to_owned());
    }
    assert_eq!(phones, ["+491", "+492"]);
    let mail = tokio::time::timeout(Duration::from_secs(60), mail)
        .await
        .expect("an e-mail within a minute")
        .unwrap();
    for part in [
        "Subject: [alarm] loss: idc",
        "From: gateway@example.net",
        "To: ops@example.net, boss@example.net",
        "Condition: PkgDrop 100 % > 50 %",
    ] {
        assert!(mail.contains(part), "{part} is not in\n{mail}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_was_told_is_not_told_again_for_the_sake_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let management = open(directory.path());
    let (url, mut sent) = http(1).await;
    let sms = Channel::Sms {
        url: url.into(),
        to: vec!["+491".to_owned(), "+492".to_owned()],
        body: "{{ to | tojson }}".to_owned(),
        headers: BTreeMap::new(),
    };
    let phones = receiver(&management, "phones", sms);
    loss_policy(&management, vec![phones]);
    let mut probes = Probes::new();
    for lost in [true, true] {
        probes.pass(&management, lost);
    }
    tokio::spawn(delivery::run(Arc::clone(&management)));
    // The first number is refused the first time.
    let mut told = Vec::new();
    for _ in 0..2 {
        told.push(next(&mut sent).await.1);
    }
    assert_eq!(told, ["\"+492\"", "\"+491\""]);
    assert!(sent.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_never_answers_delays_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let management = open(directory.path());
    // Accepts connections in its backlog and says nothing.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute_url = format!("http://{}/", mute.local_addr().unwrap());
    let (url, mut received) = http(0).await;
    let receivers = vec![
        webhook(&management, &mute_url, WebhookFormat::Callback, "mute"),
        webhook(&management, &url, WebhookFormat::Callback, "ops"),
    ];
    loss_policy(&management, receivers);
    tokio::spawn(delivery::run(Arc::clone(&management)));
    let mut probes = Probes::new();
    for lost in [true, true, false, true, true, false] {
        probes.pass(&management, lost);
    }
    let began = std::time::Instant::now();
    for status in ["1", "0", "1", "0"] {
        let body: Value = serde_json::from_str(&next(&mut received).await.1).unwrap();
        assert_eq!(body["alarmStatus"], status);
    }
    // One attempt at the mute one takes five seconds.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(management.alarm_figures().deliveries[1..], [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_to_where_the_operator_does_not_let_alarms_go() {
    let directory = tempfile::tempdir().unwrap();
    let management = open_towards(directory.path(), Targets::default());
    let (url, mut received) = http(0).await;
    let ops = webhook(&management, &url, WebhookFormat::Callback, "ops");
    loss_policy(&management, vec![ops]);
    tokio::spawn(delivery::run(Arc::clone(&management)));
    let mut probes = Probes::new();
    for lost in [true, true] {
        probes.pass(&management, lost);
    }
    let failed = async {
        while management.alarm_figures().deliveries[1] == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), failed)
        .await
        .expect("an attempt within a minute");
    assert!(received.try_recv().is_err());
}
