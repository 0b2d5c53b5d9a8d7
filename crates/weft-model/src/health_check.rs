//! How a workload's own proxy finds out whether its application serves.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::http::HttpPath;
use crate::units::{Port, TimeBound};

/// How a workload's own proxy finds out whether its application serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HealthCheck {
    /// The port of the application that is asked.
    pub port: Port,
    /// What it is asked.
    pub probe: Probe,
    /// How often.
    pub interval: TimeBound,
    /// How long an answer may take.
    pub timeout: TimeBound,
    /// After how many failures in a row it counts as unhealthy.
    pub failures: NonZeroU32,
    /// After how many successes in a row it counts as healthy again.
    pub successes: NonZeroU32,
}

/// What an application is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// A GET, which is to be answered with one of some statuses.
    Http {
        /// For which path.
        path: HttpPath,
        /// The statuses that mean health; where there is none, all of 200 to 299.
        statuses: BTreeSet<u16>,
    },
    /// `grpc.health.v1.Health/Check`, which is to be answered with SERVING.
    Grpc {
        /// Of which service; the empty name is the whole server.
        service: Arc<str>,
    },
    /// A connection, which is to be taken.
    Tcp,
}

impl fmt::Display for Probe {
    /// In words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Probe::Http { path, .. } => write!(f, "GET {}", path.as_str()),
            Probe::Grpc { service } if service.is_empty() => f.write_str("gRPC's health protocol"),
            Probe::Grpc { service } => write!(f, "gRPC's health protocol for `{service}`"),
            Probe::Tcp => f.write_str("a TCP connection"),
        }
    }
}
