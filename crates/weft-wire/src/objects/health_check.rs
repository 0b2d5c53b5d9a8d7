//! How a workload's proxy checks its application, on the wire.

use std::num::NonZeroU32;

use prost::{Message, Oneof};
use weft_model::{HealthCheck, HttpPath, Probe};

use super::common::{from_port, needed, to_bound, to_port};
use crate::error::{At, FieldError};

#[derive(Clone, PartialEq, Message)]
pub(super) struct HealthCheckMessage {
    #[prost(uint32, tag = "1")]
    port: u32,
    #[prost(oneof = "ProbeMessage", tags = "2, 3, 4")]
    probe: Option<ProbeMessage>,
    #[prost(uint64, tag = "5")]
    interval_ms: u64,
    #[prost(uint64, tag = "6")]
    timeout_ms: u64,
    #[prost(uint32, tag = "7")]
    failures: u32,
    #[prost(uint32, tag = "8")]
    successes: u32,
}

#[derive(Clone, PartialEq, Oneof)]
enum ProbeMessage {
    #[prost(message, tag = "2")]
    Http(HttpMessage),
    /// The name of the service.
    #[prost(string, tag = "3")]
    Grpc(String),
    #[prost(message, tag = "4")]
    Tcp(TcpMessage),
}

#[derive(Clone, PartialEq, Message)]
struct HttpMessage {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(uint32, repeated, tag = "2")]
    statuses: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct TcpMessage {}

impl From<&HealthCheck> for HealthCheckMessage {
    fn from(check: &HealthCheck) -> HealthCheckMessage {
        let HealthCheck { port, probe, interval, timeout, failures, successes } = check;
        let probe = match probe {
            Probe::Http { path, statuses } => {
                let statuses = statuses.iter().copied().map(u32::from).collect();
                ProbeMessage::Http(HttpMessage { path: path.as_str().to_owned(), statuses })
            }
            Probe::Grpc { service } => ProbeMessage::Grpc(service.to_string()),
            Probe::Tcp => ProbeMessage::Tcp(TcpMessage {}),
        };
        HealthCheckMessage {
            port: from_port(*port),
            probe: Some(probe),
            interval_ms: interval.millis(),
            timeout_ms: timeout.millis(),
            failures: failures.get(),
            successes: successes.get(),
        }
    }
}

impl HealthCheckMessage {
    pub(super) fn check(self) -> Result<HealthCheck, FieldError> {
        let HealthCheckMessage { port, probe, interval_ms, timeout_ms, failures, successes } = self;
        let count =
            |number| NonZeroU32::new(number).ok_or_else(|| FieldError::new("0 is not allowed"));
        Ok(HealthCheck {
            port: to_port(port).at("port")?,
            probe: needed("probe", probe)?.check().at("probe")?,
            interval: to_bound(interval_ms).at("interval_ms")?,
            timeout: to_bound(timeout_ms).at("timeout_ms")?,
            failures: count(failures).at("failures")?,
            successes: count(successes).at("successes")?,
        })
    }
}

impl ProbeMessage {
    fn check(self) -> Result<Probe, FieldError> {
        Ok(match self {
            ProbeMessage::Http(HttpMessage { path, statuses }) => {
                let status = |number: u32| {
                    let status = u16::try_from(number).ok().filter(|it| (200..600).contains(it));
                    status.ok_or_else(|| FieldError::new("is no status of an answer"))
                };
                let path = HttpPath::new(&path).at("path")?;
                let statuses = statuses.into_iter().map(status).collect::<Result<_, _>>();
                Probe::Http { path, statuses: statuses.at("statuses")? }
            }
            ProbeMessage::Grpc(service) => Probe::Grpc { service: service.into() },
            ProbeMessage::Tcp(TcpMessage {}) => Probe::Tcp,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::port;

    fn check(probe: Probe) -> HealthCheck {
        HealthCheck {
            port: port(8080),
            probe,
            interval: to_bound(5_000).unwrap(),
            timeout: to_bound(1_000).unwrap(),
            failures: NonZeroU32::new(3).unwrap(),
            successes: NonZeroU32::new(2).unwrap(),
        }
    }

    #[test]
    fn each_probe_arrives_as_it_was_sent() {
        let path = HttpPath::new("/healthz").unwrap();
        for probe in [
            Probe::Http { path: path.clone(), statuses: BTreeSet::new() },
            Probe::Http { path, statuses: [200, 429].into() },
            Probe::Grpc { service: "".into() },
            Probe::Grpc { service: "shop.Cart".into() },
            Probe::Tcp,
        ] {
            let sent = check(probe);
            let bytes = HealthCheckMessage::from(&sent).encode_to_vec();
            let message = HealthCheckMessage::decode(&*bytes).unwrap();
            assert_eq!(message.check().unwrap(), sent);
        }
    }

    #[test]
    fn what_is_no_check_is_refused_with_its_field() {
        let wrong = |change: fn(&mut HealthCheckMessage)| {
            let mut message = HealthCheckMessage::from(&check(Probe::Tcp));
            change(&mut message);
            message.check().unwrap_err().to_string()
        };
        assert!(wrong(|it| it.port = 0).starts_with("port"));
        assert!(wrong(|it| it.probe = None).starts_with("probe"));
        assert!(wrong(|it| it.interval_ms = 0).starts_with("interval_ms"));
        assert!(wrong(|it| it.failures = 0).starts_with("failures"));
        let http = |path: &str, statuses: &[u32]| {
            let (path, statuses) = (path.to_owned(), statuses.to_vec());
            ProbeMessage::Http(HttpMessage { path, statuses }).check().unwrap_err().to_string()
        };
        assert!(http("healthz", &[]).starts_with("path"));
        assert!(http("/", &[99]).starts_with("statuses"));
    }
}
