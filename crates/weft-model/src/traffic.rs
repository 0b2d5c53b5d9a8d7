//! How clients treat a Service.

use crate::balance::{Balance, PanicThreshold};
use crate::ejection::Ejection;
use crate::failover::Failover;
use crate::fault::Fault;
use crate::limits::Limits;
use crate::locality::LocalityPreference;
use crate::retry::RetryBudget;
use crate::session::SessionPersistence;
use crate::subset::Subset;
use crate::timeouts::BackendTimeouts;
use crate::units::TimeBound;

/// How clients treat a Service: what its BackendPolicies and FaultPolicies say, and the defaults
/// for the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrafficPolicy {
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// When unhealthy endpoints are called too.
    pub panic_threshold: PanicThreshold,
    /// Over which time the part of an endpoint grows that is new, or back. Default: it does not,
    /// since the default algorithm gives one that has not answered yet little at a time anyway, and
    /// servers that are added because of load are to take it over soon.
    pub slow_start: Option<TimeBound>,
    /// Whether near endpoints are preferred.
    pub locality: LocalityPreference,
    /// What one client proxy has under way at most.
    pub limits: Limits,
    /// When an endpoint is left out for a while.
    pub ejection: Ejection,
    /// Which Service takes over where too few endpoints are healthy. Default: none, since only the
    /// user knows which one does the same.
    pub failover: Option<Failover>,
    /// Which of the endpoints a request is for. Default: all.
    pub subset: Option<Subset>,
    /// How clients stay with the endpoint that first answered them. Default: they do not.
    pub session: Option<SessionPersistence>,
    /// How much of the traffic may be retries.
    pub retry_budget: RetryBudget,
    /// How long connecting and idling may take.
    pub timeouts: BackendTimeouts,
    /// The faults that are put into requests for it, of which the first that is for a request
    /// decides.
    pub faults: Vec<Fault>,
}
