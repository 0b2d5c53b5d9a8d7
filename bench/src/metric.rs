//! What is measured, in which unit, and how little of it Weft may use.

use crate::peers::Peer;
use crate::scenario::Scenario;
use serde::Serialize;

/// One figure of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// CPU of all proxies for each request, closed loop, µs.
    SaturationCpuUs,
    /// Requests per second with the proxies on one core.
    SaturationPerS,
    /// How much of their core the proxies used at saturation, percent.
    SaturationCorePercent,
    /// CPU of all proxies for each request at the fixed rate, µs.
    FixedCpuUs,
    /// Median latency at the fixed rate, µs.
    FixedP50Us,
    /// 99th percentile of the latency at the fixed rate, µs.
    FixedP99Us,
    /// Median latency above that of the direct connection in the same round, µs.
    AddedP50Us,
    /// 99th percentile above that of the direct connection in the same round, µs.
    AddedP99Us,
    /// CPU of all proxies for each GiB, mean of both directions, s.
    BulkCpuSPerGib,
    /// The same, backend to client, s.
    DownloadCpuSPerGib,
    /// The same, client to backend, s.
    UploadCpuSPerGib,
    /// Throughput, backend to client, MiB/s.
    DownloadMibPerS,
    /// Throughput, client to backend, MiB/s.
    UploadMibPerS,
    /// From starting the process to the first answer through it, ms.
    StartMs,
    /// Resident memory of an idle proxy, children included, MiB; mean of a pair.
    IdleRssMib,
    /// The part of it that was written to and is shared with nobody, MiB.
    IdlePrivateMib,
    /// The part of it that is heap and stacks, MiB.
    IdleAnonymousMib,
}

impl Metric {
    /// The heading of its column.
    pub fn title(self) -> &'static str {
        match self {
            Self::SaturationCpuUs => "CPU µs/request, saturated",
            Self::SaturationPerS => "requests/s",
            Self::SaturationCorePercent => "core used %",
            Self::FixedCpuUs => "CPU µs/request, 1,000/s",
            Self::FixedP50Us => "p50 µs, 1,000/s",
            Self::FixedP99Us => "p99 µs, 1,000/s",
            Self::AddedP50Us => "added p50 µs, 1,000/s",
            Self::AddedP99Us => "added p99 µs, 1,000/s",
            Self::BulkCpuSPerGib => "CPU s/GiB",
            Self::DownloadCpuSPerGib => "CPU s/GiB down",
            Self::UploadCpuSPerGib => "CPU s/GiB up",
            Self::DownloadMibPerS => "MiB/s down",
            Self::UploadMibPerS => "MiB/s up",
            Self::StartMs => "start ms",
            Self::IdleRssMib => "idle RSS MiB",
            Self::IdlePrivateMib => "idle private MiB",
            Self::IdleAnonymousMib => "idle anonymous MiB",
        }
    }

    /// Digits after the point that mean something.
    pub fn decimals(self) -> usize {
        match self {
            Self::BulkCpuSPerGib | Self::DownloadCpuSPerGib | Self::UploadCpuSPerGib => 3,
            Self::SaturationCpuUs | Self::FixedCpuUs => 1,
            Self::IdleRssMib | Self::IdlePrivateMib | Self::IdleAnonymousMib => 1,
            _ => 0,
        }
    }

    /// Whether Weft is compared with each peer in it. All of these are better when less.
    pub fn is_compared(self) -> bool {
        matches!(
            self,
            Self::SaturationCpuUs
                | Self::FixedCpuUs
                | Self::AddedP50Us
                | Self::AddedP99Us
                | Self::BulkCpuSPerGib
                | Self::StartMs
                | Self::IdleRssMib
                | Self::IdlePrivateMib
        )
    }
}

/// The most milliseconds that `weft check` may take for 500 manifests.
pub const CHECK_MS_MAX: f64 = 1_000.0;

/// What Weft promises.
pub struct Target {
    /// Where.
    pub scenario: Scenario,
    /// In what.
    pub metric: Metric,
    /// Against whom; nobody when it is an amount.
    pub against: Option<Peer>,
    /// The most allowed: a ratio, or an amount in the metric's unit.
    pub most: f64,
}

/// All promises that these scenarios can check.
pub fn targets() -> Vec<Target> {
    use {Metric as M, Peer::*, Scenario::*};
    let ratio =
        |scenario, metric, peer, most| Target { scenario, metric, against: Some(peer), most };
    let amount = |scenario, metric, most| Target { scenario, metric, against: None, most };
    let mut targets = vec![
        ratio(Http1OneHop, M::SaturationCpuUs, Nginx, 1.0),
        ratio(Http1TwoHopsMtls, M::SaturationCpuUs, Envoy, 0.20),
        ratio(Http1TwoHopsMtls, M::SaturationCpuUs, Haproxy, 0.60),
        ratio(Http1TwoHopsMtls, M::AddedP50Us, Envoy, 0.40),
        ratio(Http1TwoHopsMtls, M::AddedP99Us, Envoy, 0.40),
        ratio(Http1RulesMtls, M::SaturationCpuUs, Envoy, 0.20),
        ratio(Http1RulesMtls, M::SaturationCpuUs, Haproxy, 0.60),
        ratio(TcpTwoHopsMtls, M::BulkCpuSPerGib, Envoy, 0.90),
        ratio(TcpOneHop, M::BulkCpuSPerGib, Envoy, 0.60),
        amount(Http1OneHop, M::StartMs, 20.0),
    ];
    for scenario in Scenario::ALL {
        targets.push(amount(scenario, M::IdleRssMib, 8.0));
        targets.push(amount(scenario, M::IdlePrivateMib, 4.0));
    }
    targets
}
