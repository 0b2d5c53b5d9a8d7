//! How clients treat a Service, on the wire.

use std::num::NonZeroU32;

use prost::Message;
use weft_model::{
    AgainstPeers, BackendTimeouts, Ejection, Failover, Limits, LocalityPreference, PanicThreshold,
    Prefer, Ratio, RetryBudget, TimeBound, TrafficPolicy,
};

use super::balance::{HashOnMessage, from_balance, to_balance};
use super::common::{from_port, list, needed, numbered, to_bound, to_percent, to_port};
use super::fault::FaultMessage;
use super::session::SessionMessage;
use super::subset::SubsetMessage;
use crate::error::{At, FieldError};

numbered!(from_prefer, to_prefer, Prefer, { Zone = 1, Region = 2, None = 3 });

#[derive(Clone, PartialEq, Message)]
pub(super) struct TrafficMessage {
    #[prost(int32, tag = "1")]
    balance: i32,
    #[prost(message, optional, tag = "2")]
    locality: Option<LocalityMessage>,
    #[prost(message, optional, tag = "3")]
    limits: Option<LimitsMessage>,
    #[prost(message, optional, tag = "4")]
    ejection: Option<EjectionMessage>,
    #[prost(message, optional, tag = "5")]
    retry_budget: Option<RetryBudgetMessage>,
    #[prost(message, optional, tag = "6")]
    timeouts: Option<TimeoutsMessage>,
    #[prost(message, repeated, tag = "7")]
    hash_on: Vec<HashOnMessage>,
    #[prost(optional, uint64, tag = "8")]
    slow_start_ms: Option<u64>,
    /// Absent where it is the default, as `stream_idle_ms`.
    #[prost(optional, uint32, tag = "9")]
    panic_threshold_percent: Option<u32>,
    #[prost(message, optional, tag = "10")]
    failover: Option<FailoverMessage>,
    #[prost(message, optional, tag = "11")]
    session: Option<SessionMessage>,
    #[prost(message, repeated, tag = "12")]
    faults: Vec<FaultMessage>,
    #[prost(message, optional, tag = "13")]
    subset: Option<SubsetMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct FailoverMessage {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(optional, uint32, tag = "2")]
    port: Option<u32>,
    #[prost(uint32, tag = "3")]
    healthy_percent_min: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct LocalityMessage {
    #[prost(int32, tag = "1")]
    prefer: i32,
    #[prost(uint32, tag = "2")]
    spill_at_load_thousandths: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct LimitsMessage {
    #[prost(uint32, tag = "1")]
    requests: u32,
    #[prost(uint32, tag = "2")]
    pending: u32,
    #[prost(uint32, tag = "3")]
    connections: u32,
    #[prost(optional, uint32, tag = "4")]
    requests_per_endpoint: Option<u32>,
    #[prost(optional, uint32, tag = "5")]
    adaptive_tolerance_thousandths: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct EjectionMessage {
    #[prost(uint32, tag = "1")]
    consecutive_failures: u32,
    #[prost(uint64, tag = "2")]
    base_time_ms: u64,
    #[prost(uint32, tag = "3")]
    ejected_percent_max: u32,
    /// Absent where it is the default, as `stream_idle_ms`.
    #[prost(message, optional, tag = "4")]
    peers: Option<AgainstPeersMessage>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct AgainstPeersMessage {
    #[prost(uint64, tag = "1")]
    interval_ms: u64,
    #[prost(uint32, tag = "2")]
    requests_min: u32,
    #[prost(uint32, tag = "3")]
    failures_percent: u32,
    #[prost(optional, uint32, tag = "4")]
    latency_thousandths: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct RetryBudgetMessage {
    #[prost(uint32, tag = "1")]
    percent: u32,
    #[prost(uint32, tag = "2")]
    per_second_min: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct TimeoutsMessage {
    #[prost(uint64, tag = "1")]
    connect_ms: u64,
    #[prost(uint64, tag = "2")]
    idle_ms: u64,
    /// Absent where it is the default: so the versions of objects stay what they were before it.
    #[prost(optional, uint64, tag = "3")]
    stream_idle_ms: Option<u64>,
}

impl From<&TrafficPolicy> for TrafficMessage {
    fn from(traffic: &TrafficPolicy) -> TrafficMessage {
        let TrafficPolicy {
            balance,
            panic_threshold,
            slow_start,
            locality,
            limits,
            ejection,
            failover,
            subset,
            session,
            retry_budget,
            timeouts,
            faults,
        } = traffic;
        let LocalityPreference { prefer, spill_at_load_ratio } = locality;
        let Limits { requests, pending, connections, requests_per_endpoint, adaptive_tolerance } =
            limits;
        let Ejection { consecutive_failures, base_time, ejected_max, peers } = ejection;
        let RetryBudget { percent, per_second_min } = retry_budget;
        let BackendTimeouts { connect, idle, stream_idle } = timeouts;
        let (balance, hash_on) = from_balance(balance);
        TrafficMessage {
            balance,
            hash_on,
            panic_threshold_percent: (*panic_threshold != PanicThreshold::default())
                .then(|| panic_threshold.0.get().into()),
            slow_start_ms: slow_start.map(TimeBound::millis),
            locality: Some(LocalityMessage {
                prefer: from_prefer(*prefer),
                spill_at_load_thousandths: spill_at_load_ratio.thousandths(),
            }),
            limits: Some(LimitsMessage {
                requests: requests.get(),
                pending: pending.get(),
                connections: connections.get(),
                requests_per_endpoint: requests_per_endpoint.map(NonZeroU32::get),
                adaptive_tolerance_thousandths: adaptive_tolerance.map(Ratio::thousandths),
            }),
            ejection: Some(EjectionMessage {
                consecutive_failures: consecutive_failures.get(),
                base_time_ms: base_time.millis(),
                ejected_percent_max: ejected_max.get().into(),
                peers: (*peers != AgainstPeers::default()).then(|| peers.into()),
            }),
            failover: failover.as_ref().map(FailoverMessage::from),
            subset: subset.as_ref().map(SubsetMessage::from),
            session: session.as_ref().map(SessionMessage::from),
            retry_budget: Some(RetryBudgetMessage {
                percent: percent.get().into(),
                per_second_min: *per_second_min,
            }),
            timeouts: Some(TimeoutsMessage {
                connect_ms: connect.millis(),
                idle_ms: idle.millis(),
                stream_idle_ms: (*stream_idle != BackendTimeouts::default().stream_idle)
                    .then(|| stream_idle.millis()),
            }),
            faults: faults.iter().map(FaultMessage::new).collect(),
        }
    }
}

impl TrafficMessage {
    pub(super) fn check(self) -> Result<TrafficPolicy, FieldError> {
        let TrafficMessage {
            balance,
            hash_on,
            slow_start_ms,
            panic_threshold_percent,
            locality,
            limits,
            ejection,
            failover,
            subset,
            session,
            retry_budget,
            timeouts,
            faults,
        } = self;
        let panic_threshold = panic_threshold_percent.map(to_percent).transpose();
        let panic_threshold = panic_threshold.at("panic_threshold_percent")?;
        Ok(TrafficPolicy {
            balance: to_balance(balance, hash_on)?,
            panic_threshold: panic_threshold.map(PanicThreshold).unwrap_or_default(),
            slow_start: slow_start_ms.map(to_bound).transpose().at("slow_start_ms")?,
            locality: needed("locality", locality)?.check().at("locality")?,
            limits: needed("limits", limits)?.check().at("limits")?,
            ejection: needed("ejection", ejection)?.check().at("ejection")?,
            failover: failover.map(FailoverMessage::check).transpose().at("failover")?,
            subset: subset.map(SubsetMessage::check).transpose().at("subset")?,
            session: session.map(SessionMessage::check).transpose().at("session")?,
            retry_budget: needed("retry_budget", retry_budget)?.check().at("retry_budget")?,
            timeouts: needed("timeouts", timeouts)?.check().at("timeouts")?,
            faults: list("faults", faults, FaultMessage::check)?,
        })
    }
}

impl LocalityMessage {
    fn check(self) -> Result<LocalityPreference, FieldError> {
        let LocalityMessage { prefer, spill_at_load_thousandths } = self;
        let ratio = to_ratio(spill_at_load_thousandths);
        Ok(LocalityPreference {
            prefer: to_prefer(prefer).at("prefer")?,
            spill_at_load_ratio: ratio.at("spill_at_load_thousandths")?,
        })
    }
}

impl LimitsMessage {
    fn check(self) -> Result<Limits, FieldError> {
        let LimitsMessage {
            requests,
            pending,
            connections,
            requests_per_endpoint,
            adaptive_tolerance_thousandths: tolerance,
        } = self;
        let tolerance = tolerance.map(to_ratio).transpose();
        let per_endpoint = requests_per_endpoint.map(to_count).transpose();
        Ok(Limits {
            requests: to_count(requests).at("requests")?,
            pending: to_count(pending).at("pending")?,
            connections: to_count(connections).at("connections")?,
            requests_per_endpoint: per_endpoint.at("requests_per_endpoint")?,
            adaptive_tolerance: tolerance.at("adaptive_tolerance_thousandths")?,
        })
    }
}

impl EjectionMessage {
    fn check(self) -> Result<Ejection, FieldError> {
        let EjectionMessage { consecutive_failures, base_time_ms, ejected_percent_max, peers } =
            self;
        let peers = peers.map(AgainstPeersMessage::check).transpose().at("peers")?;
        Ok(Ejection {
            consecutive_failures: to_count(consecutive_failures).at("consecutive_failures")?,
            base_time: to_bound(base_time_ms).at("base_time_ms")?,
            ejected_max: to_percent(ejected_percent_max).at("ejected_percent_max")?,
            peers: peers.unwrap_or_default(),
        })
    }
}

impl From<&AgainstPeers> for AgainstPeersMessage {
    fn from(peers: &AgainstPeers) -> AgainstPeersMessage {
        let AgainstPeers { interval, requests_min, failures, latency } = peers;
        AgainstPeersMessage {
            interval_ms: interval.millis(),
            requests_min: requests_min.get(),
            failures_percent: failures.get().into(),
            latency_thousandths: latency.map(Ratio::thousandths),
        }
    }
}

impl AgainstPeersMessage {
    fn check(self) -> Result<AgainstPeers, FieldError> {
        let AgainstPeersMessage {
            interval_ms,
            requests_min,
            failures_percent,
            latency_thousandths,
        } = self;
        let latency = latency_thousandths.map(to_ratio).transpose();
        Ok(AgainstPeers {
            interval: to_bound(interval_ms).at("interval_ms")?,
            requests_min: to_count(requests_min).at("requests_min")?,
            failures: to_percent(failures_percent).at("failures_percent")?,
            latency: latency.at("latency_thousandths")?,
        })
    }
}

impl From<&Failover> for FailoverMessage {
    fn from(failover: &Failover) -> FailoverMessage {
        let Failover { service, port, healthy_min } = failover;
        FailoverMessage {
            service: service.to_string(),
            port: port.map(from_port),
            healthy_percent_min: healthy_min.get().into(),
        }
    }
}

impl FailoverMessage {
    fn check(self) -> Result<Failover, FieldError> {
        let FailoverMessage { service, port, healthy_percent_min } = self;
        Ok(Failover {
            service: service.parse().at("service")?,
            port: port.map(to_port).transpose().at("port")?,
            healthy_min: to_percent(healthy_percent_min).at("healthy_percent_min")?,
        })
    }
}

impl RetryBudgetMessage {
    fn check(self) -> Result<RetryBudget, FieldError> {
        let RetryBudgetMessage { percent, per_second_min } = self;
        Ok(RetryBudget { percent: to_percent(percent).at("percent")?, per_second_min })
    }
}

impl TimeoutsMessage {
    fn check(self) -> Result<BackendTimeouts, FieldError> {
        let TimeoutsMessage { connect_ms, idle_ms, stream_idle_ms } = self;
        let stream_idle = stream_idle_ms.map(to_bound).transpose().at("stream_idle_ms")?;
        Ok(BackendTimeouts {
            connect: to_bound(connect_ms).at("connect_ms")?,
            idle: to_bound(idle_ms).at("idle_ms")?,
            stream_idle: stream_idle.unwrap_or(BackendTimeouts::default().stream_idle),
        })
    }
}

fn to_ratio(thousandths: u32) -> Result<Ratio, FieldError> {
    Ratio::from_thousandths(thousandths).ok_or_else(|| FieldError::new("is less than one"))
}

fn to_count(number: u32) -> Result<NonZeroU32, FieldError> {
    NonZeroU32::new(number).ok_or_else(|| FieldError::new("0 is not allowed"))
}
