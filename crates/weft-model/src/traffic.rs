//! How clients treat a Service.

use crate::balance::Balance;
use crate::ejection::Ejection;
use crate::limits::Limits;
use crate::locality::LocalityPreference;
use crate::retry::RetryBudget;
use crate::timeouts::BackendTimeouts;

/// How clients treat a Service: what its BackendPolicies say, and the defaults for the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrafficPolicy {
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// Whether near endpoints are preferred.
    pub locality: LocalityPreference,
    /// What one client proxy has under way at most.
    pub limits: Limits,
    /// When an endpoint is left out for a while.
    pub ejection: Ejection,
    /// How much of the traffic may be retries.
    pub retry_budget: RetryBudget,
    /// How long connecting and idling may take.
    pub timeouts: BackendTimeouts,
}
