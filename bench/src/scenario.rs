//! The scenarios: what is measured, for how long, and the shape of what comes out.

use crate::metric::Metric;
use crate::peers::{Hops, Peer, Protocol, Rules};
use clap::ValueEnum;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The rate of the open loop, requests per second.
pub const FIXED_PER_S: u32 = 1_000;

/// A way of using the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// HTTP/1.1 through one proxy, plain text.
    #[value(name = "http1-one-hop")]
    Http1OneHop,
    /// HTTP/1.1 through two proxies with mTLS between them.
    #[value(name = "http1-two-hops-mtls")]
    Http1TwoHopsMtls,
    /// The same, with routes, filters and authorization as in a mesh.
    #[value(name = "http1-rules-mtls")]
    Http1RulesMtls,
    /// One TCP stream through one proxy, plain text.
    #[value(name = "tcp-one-hop")]
    TcpOneHop,
    /// One TCP stream through two proxies with mTLS between them.
    #[value(name = "tcp-two-hops-mtls")]
    TcpTwoHopsMtls,
}

impl Scenario {
    /// All of them, in the order they run.
    pub const ALL: [Self; 5] = [
        Self::Http1OneHop,
        Self::Http1TwoHopsMtls,
        Self::Http1RulesMtls,
        Self::TcpOneHop,
        Self::TcpTwoHopsMtls,
    ];

    /// The name on the command line and of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1OneHop => "http1-one-hop",
            Self::Http1TwoHopsMtls => "http1-two-hops-mtls",
            Self::Http1RulesMtls => "http1-rules-mtls",
            Self::TcpOneHop => "tcp-one-hop",
            Self::TcpTwoHopsMtls => "tcp-two-hops-mtls",
        }
    }

    /// What it is, for a reader.
    pub fn title(self) -> &'static str {
        match self {
            Self::Http1OneHop => "HTTP/1.1, one proxy, plain text",
            Self::Http1TwoHopsMtls => "HTTP/1.1, two proxies, mTLS between them",
            Self::Http1RulesMtls => {
                "HTTP/1.1, two proxies, mTLS, routes, filters and authorization"
            }
            Self::TcpOneHop => "TCP, one connection, one proxy, plain text",
            Self::TcpTwoHopsMtls => "TCP, one connection, two proxies, mTLS between them",
        }
    }

    /// What the proxies are told the bytes are.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Http1OneHop | Self::Http1TwoHopsMtls | Self::Http1RulesMtls => Protocol::Http,
            Self::TcpOneHop | Self::TcpTwoHopsMtls => Protocol::Tcp,
        }
    }

    /// How many proxies there are.
    pub fn hops(self) -> Hops {
        match self {
            Self::Http1OneHop | Self::TcpOneHop => Hops::One,
            Self::Http1TwoHopsMtls | Self::Http1RulesMtls | Self::TcpTwoHopsMtls => {
                Hops::TwoWithMtls
            }
        }
    }

    /// What is decided about each request.
    pub fn rules(self) -> Rules {
        if self == Self::Http1RulesMtls { Rules::Mesh } else { Rules::None }
    }
}

/// How long and how often.
///
/// In a round, fresh proxies of all subjects are up together and take turns in short slices, one
/// under load and the others idle, so that a machine whose speed drifts drifts for all of them.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// How often everything is started and measured afresh.
    pub rounds: u32,
    /// Slices of each subject in a round, for each pace.
    pub slices: u32,
    /// Before the first window of a subject in a round.
    pub warm_up: Duration,
    /// Before each further window.
    pub warm_up_again: Duration,
    /// A window of the closed loop.
    pub saturation: Duration,
    /// A window of the open loop, unless it is left out.
    pub fixed: Option<Duration>,
    /// One way of a TCP transfer, bytes.
    pub bulk_bytes: u64,
}

impl Settings {
    /// For results to publish.
    pub fn full() -> Self {
        Self {
            rounds: 3,
            slices: 6,
            warm_up: Duration::from_secs(2),
            warm_up_again: Duration::from_millis(300),
            saturation: Duration::from_secs(1),
            fixed: Some(Duration::from_secs(2)),
            bulk_bytes: 1 << 30,
        }
    }

    /// For the inner loop of whoever changes the proxy.
    pub fn quick() -> Self {
        Self {
            rounds: 1,
            slices: 5,
            warm_up: Duration::from_secs(1),
            warm_up_again: Duration::from_millis(200),
            saturation: Duration::from_millis(800),
            fixed: None,
            bulk_bytes: 256 << 20,
        }
    }
}

/// What is measured: a peer, or for comparison nothing between client and backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Client and backend joined directly.
    Direct,
    /// Through proxies.
    Peer(Peer),
}

impl Subject {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Peer(peer) => peer.name(),
        }
    }
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What one run gave.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Of what.
    pub subject: Subject,
    /// In which round, from 1.
    pub round: u32,
    /// The figures.
    pub values: BTreeMap<Metric, f64>,
    /// Why the figures must not be used.
    pub invalid: Option<String>,
    /// CPU used by others during the windows at full load, percent of one core.
    pub foreign_cpu_percent: f64,
    /// CPU the host withheld during the windows at full load, percent of one core.
    pub steal_percent: f64,
    /// Configuration of each proxy, by role.
    pub configurations: BTreeMap<&'static str, String>,
}
