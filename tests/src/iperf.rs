//! `iperf3`, with its result as numbers.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::Process;
use crate::{Lab, Side, wait};

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// One TCP stream, as fast as it goes.
    Tcp,
    /// UDP at a fixed rate, with datagrams of the given payload.
    Udp {
        /// Offered rate of payload, in Mbit/s.
        mbps: u32,
        /// Payload of a datagram in octets.
        payload: u16,
    },
}

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// Payload received, in Mbit/s.
    pub mbps: f64,
    /// Lost datagrams as a share of the sent ones (UDP only), 0 to 1.
    pub loss: f64,
}

/// Sends from one side's host to the other's for `seconds` and reports what the receiver counted.
pub fn iperf(lab: &Lab, from: Side, seconds: u32, load: Load) -> Result<Throughput> {
    let mut running = Iperf::start(lab, from, seconds, load)?;
    running.finish()
}

/// An iperf3 client that is running.
#[derive(Debug)]
pub struct Iperf {
    client: Process,
    _server: Process,
    limit: Duration,
}

impl Iperf {
    /// Starts a server on the far host and a client on the near one.
    pub fn start(lab: &Lab, from: Side, seconds: u32, load: Load) -> Result<Self> {
        let server_ns = lab.host(from.other());
        let mut command = server_ns.command("iperf3");
        command.args(["-s", "-1", "--forceflush"]);
        let server = Process::spawn(command, log(lab, "iperf-server"))?;
        wait::until("iperf3 to listen", Duration::from_secs(5), || {
            server.output().contains("Server listening").then_some(())
        })?;
        let mut command = lab.host(from).command("iperf3");
        command.args(["-c", &far(from).to_string(), "-J", "-t", &seconds.to_string()]);
        if let Load::Udp { mbps, payload } = load {
            command.args(["-u", "-b", &format!("{mbps}M"), "-l", &payload.to_string()]);
        }
        let client = Process::spawn(command, log(lab, "iperf-client"))?;
        Ok(Self {
            client,
            _server: server,
            limit: Duration::from_secs(u64::from(seconds) + 20),
        })
    }

    /// Waits for the end and reads the report.
    pub fn finish(&mut self) -> Result<Throughput> {
        self.client.wait(self.limit).context("iperf3")?;
        parse(&self.client.output())
    }
}

fn far(from: Side) -> Ipv4Addr {
    from.other().host()
}

fn log(lab: &Lab, name: &str) -> PathBuf {
    lab.directory().join(format!("{name}.log"))
}

fn parse(text: &str) -> Result<Throughput> {
    let report: Value = serde_json::from_str(text).with_context(|| format!("iperf3 printed {text}"))?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let end = &report["end"];
    if let Some(sum) = end["sum"].as_object() {
        // UDP: `sum` counts what was sent; the loss comes from the server's report.
        let number = |key: &str| {
            sum.get(key)
                .and_then(Value::as_f64)
                .with_context(|| format!("no {key}: {text}"))
        };
        let loss = number("lost_percent")? / 100.0;
        return Ok(Throughput {
            mbps: number("bits_per_second")? * (1.0 - loss) / 1e6,
            loss,
        });
    }
    let received = end["sum_received"]["bits_per_second"]
        .as_f64()
        .with_context(|| format!("no sum: {text}"))?;
    Ok(Throughput {
        mbps: received / 1e6,
        loss: 0.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_counts_what_the_receiver_got() {
        let text = r#"{"end":{"sum_sent":{"bits_per_second":2e6},"sum_received":{"bits_per_second":1e6}}}"#;
        assert_eq!(parse(text).unwrap(), Throughput { mbps: 1.0, loss: 0.0 });
    }

    #[test]
    fn udp_subtracts_what_was_lost() {
        let text = r#"{"end":{"sum":{"bits_per_second":8e6,"lost_percent":25.0}}}"#;
        assert_eq!(
            parse(text).unwrap(),
            Throughput {
                mbps: 6.0,
                loss: 0.25
            }
        );
    }

    #[test]
    fn an_error_is_not_a_result() {
        assert!(
            parse(r#"{"end":{},"error":"unable to connect"}"#)
                .unwrap_err()
                .to_string()
                .contains("unable")
        );
    }
}
