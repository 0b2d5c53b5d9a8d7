//! Who may call a port of the own application.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_decide::authorize::{Attempt, Authorizer, Decision};
use weft_model::{GuardScope, Policy, TrustDomain, UnguardedPolicy};
use weft_telemetry::{Event, Recorder};

use crate::error::ProxyError;

/// Who may call a port of the own application.
#[derive(Debug)]
pub enum Guard {
    /// Not all of its policies are there: nobody may.
    Pending {
        /// What is missing, for people.
        missing: String,
    },
    /// As these policies say.
    Ready {
        /// The policies.
        policies: Vec<Arc<Policy>>,
        /// What holds where no policy allows anything.
        unguarded: UnguardedPolicy,
        /// The policies, made ready for judging.
        authorizer: Authorizer,
    },
}

impl Guard {
    /// The guard of a port that `policies` guard.
    pub fn new(
        policies: impl IntoIterator<Item = Arc<Policy>>,
        unguarded: UnguardedPolicy,
        trust_domain: &TrustDomain,
    ) -> Guard {
        let policies: Vec<_> = policies.into_iter().collect();
        let authorizer = Authorizer::new(policies.clone(), unguarded, trust_domain.clone());
        Guard::Ready { policies, unguarded, authorizer }
    }

    /// The guard of a port whose policies are not all there.
    pub fn pending(missing: &BTreeSet<GuardScope>) -> Guard {
        let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
        Guard::Pending { missing: missing.join(", ") }
    }

    /// Whether it is what [`Guard::new`] would make of these.
    pub(crate) fn is_of(&self, wanted: &[Arc<Policy>], wanted_unguarded: UnguardedPolicy) -> bool {
        let Guard::Ready { policies, unguarded, .. } = self else { return false };
        let mut pairs = policies.iter().zip(wanted);
        *unguarded == wanted_unguarded
            && policies.len() == wanted.len()
            && pairs.all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// What is decided about `attempt`.
    ///
    /// # Errors
    /// [`ProxyError::PolicyPending`].
    pub(crate) fn decide(&self, attempt: &Attempt<'_>) -> Result<Decision, ProxyError> {
        match self {
            Guard::Pending { missing } => {
                Err(ProxyError::PolicyPending { missing: missing.clone() })
            }
            Guard::Ready { authorizer, .. } => Ok(authorizer.judge(attempt)),
        }
    }

    /// Whether `attempt` is let through.
    ///
    /// # Errors
    /// [`ProxyError::PolicyPending`], [`ProxyError::Denied`].
    pub(crate) fn judge(&self, attempt: &Attempt<'_>) -> Result<(), ProxyError> {
        enforce(self.decide(attempt)?, attempt)
    }

    /// What in audit would refuse `attempt`, for its record; `recorder` is told of each policy.
    pub(crate) fn audited(&self, attempt: &Attempt<'_>, recorder: &dyn Recorder) -> Option<String> {
        let Guard::Ready { authorizer, .. } = self else { return None };
        let mut policies = BTreeSet::new();
        let named = authorizer.audits(attempt).map(|told| {
            let policy = told.policy();
            let named = format!("{policy} {}", told.field());
            policies.insert(policy);
            named
        });
        let named: Vec<_> = named.collect();
        policies.iter().for_each(|policy| recorder.note(Event::Audited(policy)));
        (!named.is_empty()).then(|| named.join(", "))
    }
}

/// Lets `attempt` through if `decision` says so.
///
/// # Errors
/// [`ProxyError::Denied`].
pub(crate) fn enforce(decision: Decision, attempt: &Attempt<'_>) -> Result<(), ProxyError> {
    match decision {
        Decision::Allowed { .. } => Ok(()),
        Decision::Denied { by, why } => {
            let rule = by.map(|by| format!("{} {}", by.policy_name(), by.field()));
            let peer = attempt.peer.map(ToString::to_string);
            Err(ProxyError::Denied { why, rule, peer })
        }
    }
}
