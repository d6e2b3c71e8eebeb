//! What receivers are told, in the words of each channel.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Policy, Rule};
use crate::time::Timestamp;

/// What happened to an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It began.
    Began,
    /// It lasts, and it is told again.
    Lasts,
    /// It is over.
    Ended,
}

/// One change of one alarm, as it waits in the outbox: everything that any channel says of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// What happened.
    pub change: Change,
    /// When.
    pub time: Timestamp,
    /// Same for all notices of one alarm.
    pub session: String,
    /// Region of the site.
    pub region: String,
    /// Name of the namespace.
    pub namespace: String,
    /// Name of the dimension that names the object.
    pub dimension: String,
    /// Id of the object.
    pub object: String,
    /// What people call it.
    pub object_name: String,
    /// Id of the policy.
    pub policy: String,
    /// What people call it.
    pub policy_name: String,
    /// The rule that holds, or held when the alarm began.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Sign of its comparison.
    pub sign: String,
    /// What it compares with.
    pub value: f64,
    /// What there was.
    pub current: f64,
    /// Seconds of a period.
    pub period: u32,
    /// Periods in a row.
    pub periods: u32,
    /// Seconds until it is told again; 0: once.
    pub repeat_seconds: u32,
    /// Whether that time doubles.
    pub back_off: bool,
    /// When the alarm began.
    pub began: Timestamp,
}

/// Policy type of the callback, by namespace.
fn policy_type(namespace: &str) -> (&'static str, &'static str) {
    if namespace == crate::monitor::Namespace::Tunnel.name() {
        ("vpn_tunnel", "VPN tunnel")
    } else {
        ("VPN_GW", "VPN gateway")
    }
}

impl Notice {
    /// The rule in words: `PkgDrop 12 % > 10 %`.
    pub fn content(&self) -> String {
        let Self {
            metric,
            unit,
            sign,
            value,
            current,
            ..
        } = self;
        let space = if unit.is_empty() { "" } else { " " };
        format!("{metric} {current}{space}{unit} {sign} {value}{space}{unit}")
    }

    /// One line about it.
    pub fn title(&self) -> String {
        let what = match self.change {
            Change::Began => "alarm",
            Change::Lasts => "alarm lasts",
            Change::Ended => "recovered",
        };
        format!("[{what}] {}: {}", self.policy_name, self.object_name)
    }

    /// Everything about it for people.
    pub fn text(&self) -> String {
        let mut lines = vec![
            format!("Object: {} ({})", self.object_name, self.object),
            format!("Policy: {} ({})", self.policy_name, self.policy),
            format!("Condition: {}", self.content()),
            format!("Period: {} s, {} in a row", self.period, self.periods),
            format!("Began: {} GMT+8", self.began.civil()),
        ];
        if self.change == Change::Ended {
            lines.push(format!("Ended: {} GMT+8", self.time.civil()));
        }
        lines.join("\n")
    }

    /// The body of Cloud Monitor's callback, its fields in the documented order.
    pub fn callback(&self) -> String {
        // serde_json sorts the fields of a `Value`: the document is written by hand.
        let text = |text: &str| Value::from(text).to_string();
        let (kind, kind_name) = policy_type(&self.namespace);
        let notify = match (self.repeat_seconds, self.back_off) {
            (0, _) => "singleAlarm",
            (_, true) => "exponentialAlarm",
            (_, false) => "continuousAlarm",
        };
        let ended = self.change == Change::Ended;
        let recovered = if ended { self.time.civil() } else { "0".to_owned() };
        let region = text(&self.region);
        let (object, object_name) = (text(&self.object), text(&self.object_name));
        format!(
            "{{\"sessionId\":{session},\"alarmStatus\":\"{status}\",\"alarmType\":\"metric\",\
             \"alarmObjInfo\":{{\"region\":{region},\"namespace\":{namespace},\"dimensions\":{{\
             {dimension}:{object},\"objId\":{object},\"objName\":{object_name}}}}},\
             \"alarmPolicyInfo\":{{\"policyId\":{policy},\"policyType\":\"{kind}\",\"policyName\":{policy_name},\
             \"policyTypeCName\":\"{kind_name}\",\"conditions\":{{\"metricName\":{metric},\"metricShowName\":{metric},\
             \"calcType\":\"{sign}\",\"calcValue\":\"{value}\",\"currentValue\":\"{current}\",\"unit\":{unit},\
             \"period\":\"{period}\",\"periodNum\":\"{periods}\",\"alarmNotifyType\":\"{notify}\",\
             \"alarmNotifyPeriod\":{repeat}}}}},\
             \"firstOccurTime\":\"{began}\",\"durationTime\":{duration},\"recoverTime\":\"{recovered}\"}}",
            session = text(&self.session),
            status = u8::from(!ended),
            namespace = text(&self.namespace),
            dimension = text(&self.dimension),
            policy = text(&self.policy),
            policy_name = text(&self.policy_name),
            metric = text(&self.metric),
            sign = self.sign,
            value = self.value,
            current = self.current,
            unit = text(&self.unit),
            period = self.period,
            periods = self.periods,
            repeat = self.repeat_seconds,
            began = self.began.civil(),
            duration = (self.time.0 - self.began.0).max(0),
        )
    }

    /// The document of Alertmanager's webhooks, version 4.
    pub fn alertmanager(&self) -> Value {
        let status = if self.change == Change::Ended {
            "resolved"
        } else {
            "firing"
        };
        let labels = json!({
            "alertname": self.policy_name,
            "policy": self.policy,
            "object": self.object,
            "namespace": self.namespace,
            "metric": self.metric,
        });
        let annotations = json!({ "summary": self.title(), "description": self.text() });
        let ends = if self.change == Change::Ended {
            self.time.utc()
        } else {
            "0001-01-01T00:00:00Z".to_owned()
        };
        json!({
            "version": "4",
            "groupKey": format!("{{}}:{{policy=\"{}\", object=\"{}\"}}", self.policy, self.object),
            "truncatedAlerts": 0,
            "status": status,
            "receiver": "ipsec-gateway",
            "groupLabels": { "policy": self.policy, "object": self.object },
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "",
            "alerts": [{
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": self.began.utc(),
                "endsAt": ends,
                "generatorURL": "",
                "fingerprint": self.session,
            }],
        })
    }

    /// Fills in what a rule says.
    pub(crate) fn with_rule(mut self, rule: &Rule, policy: &Policy, current: f64) -> Self {
        rule.subject.name().clone_into(&mut self.metric);
        rule.subject.unit().clone_into(&mut self.unit);
        rule.comparison.sign().clone_into(&mut self.sign);
        (self.value, self.current) = (rule.value, current);
        (self.period, self.periods) = (rule.period, rule.periods);
        (self.repeat_seconds, self.back_off) = (policy.repeat_seconds, policy.back_off);
        self
    }

    /// A notice to be filled in.
    pub(crate) fn blank() -> Self {
        Self {
            change: Change::Began,
            time: Timestamp(0),
            session: String::new(),
            region: String::new(),
            namespace: String::new(),
            dimension: String::new(),
            object: String::new(),
            object_name: String::new(),
            policy: String::new(),
            policy_name: String::new(),
            metric: String::new(),
            unit: String::new(),
            sign: String::new(),
            value: 0.0,
            current: 0.0,
            period: 0,
            periods: 0,
            repeat_seconds: 0,
            back_off: false,
            began: Timestamp(0),
        }
    }

    /// A notice for trying templates.
    pub(super) fn sample() -> Self {
        Self {
            change: Change::Began,
            time: Timestamp(1_600_000_060),
            session: "policy-1-1".to_owned(),
            region: "gz".to_owned(),
            namespace: "QCE/VPNX".to_owned(),
            dimension: "vpnConnId".to_owned(),
            object: "vpnx-1".to_owned(),
            object_name: "to the \"IDC\"".to_owned(),
            policy: "policy-1".to_owned(),
            policy_name: "loss".to_owned(),
            metric: "PkgDrop".to_owned(),
            unit: "%".to_owned(),
            sign: ">".to_owned(),
            value: 10.0,
            current: 12.5,
            period: 60,
            periods: 2,
            repeat_seconds: 300,
            back_off: false,
            began: Timestamp(1_600_000_000),
        }
    }
}

/// The body of an SMS request from the operator's template.
pub(super) fn sms(template: &str, to: &str, notice: &Notice) -> Result<String, minijinja::Error> {
    /// Steps of a template at most: the operator's own mistake must not stop the alarms.
    const FUEL: u64 = 50_000;
    let mut environment = minijinja::Environment::new();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    let text = format!("{} {}", notice.title(), notice.content());
    environment.render_str(
        template,
        minijinja::context! { to => to, text => text, notice => minijinja::Value::from(minijinja::value::Serde(notice.clone())) },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callback_has_the_documented_fields_in_their_order() {
        let text = Notice::sample().callback();
        let parsed: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["alarmStatus"], "1");
        assert_eq!(parsed["alarmObjInfo"]["dimensions"]["objName"], "to the \"IDC\"");
        assert_eq!(parsed["alarmObjInfo"]["dimensions"]["vpnConnId"], "vpnx-1");
        let conditions = &parsed["alarmPolicyInfo"]["conditions"];
        assert_eq!(conditions["currentValue"], "12.5");
        assert_eq!(conditions["alarmNotifyType"], "continuousAlarm");
        assert_eq!(parsed["durationTime"], 60);
        let fields = [
            "sessionId",
            "alarmStatus",
            "alarmType",
            "alarmObjInfo",
            "region",
            "namespace",
            "dimensions",
            "objId",
            "objName",
            "alarmPolicyInfo",
            "policyId",
            "policyType",
            "policyName",
            "policyTypeCName",
            "conditions",
            "metricName",
            "metricShowName",
            "calcType",
            "calcValue",
            "currentValue",
            "unit",
            "period",
            "periodNum",
            "alarmNotifyType",
            "alarmNotifyPeriod",
            "firstOccurTime",
            "durationTime",
            "recoverTime",
        ];
        let places: Vec<_> = fields
            .iter()
            .map(|field| text.find(&format!("\"{field}\":")).unwrap())
            .collect();
        assert!(places.is_sorted(), "{text}");
        let ended = Notice {
            change: Change::Ended,
            ..Notice::sample()
        };
        let parsed: Value = serde_json::from_str(&ended.callback()).unwrap();
        assert_eq!(
            (&parsed["alarmStatus"], &parsed["recoverTime"]),
            (&json!("0"), &json!("2020-09-13 20:27:40"))
        );
    }

    #[test]
    fn alertmanagers_document_fires_and_resolves_under_one_fingerprint() {
        let began = Notice::sample().alertmanager();
        let ended = Notice {
            change: Change::Ended,
            ..Notice::sample()
        }
        .alertmanager();
        assert_eq!(
            (&began["status"], &ended["status"]),
            (&json!("firing"), &json!("resolved"))
        );
        assert_eq!(
            began["alerts"][0]["fingerprint"],
            ended["alerts"][0]["fingerprint"]
        );
        assert_eq!(ended["alerts"][0]["endsAt"], "2020-09-13T12:27:40Z");
        assert_eq!(began["version"], "4");
    }

    #[test]
    fn a_template_escapes_for_json_where_it_says_so_and_ends_in_time() {
        let sample = Notice::sample();
        let body = sms(
            "{\"n\": {{ to | tojson }}, \"t\": {{ text | tojson }}}",
            "+49",
            &sample,
        )
        .unwrap();
        let parsed: Value = serde_json::from_str(&body).unwrap();
        assert!(parsed["t"].as_str().unwrap().contains("to the \"IDC\""), "{body}");
        assert!(sms("{{ unknown }}", "+49", &sample).is_err());
        assert!(
            sms(
                "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
                "+49",
                &sample
            )
            .is_err()
        );
    }
}
