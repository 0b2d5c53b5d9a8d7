//! Who may call a port of the own application.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_model::{GuardScope, Policy, TrustDomain, UnguardedPolicy};

/// Who may call a port of the own application.
#[derive(Debug)]
pub enum Guard {
    /// Not all of its policies are there: nobody may.
    Pending {
        /// What is missing, for people.
        missing: String,
    },
    /// As these say.
    Ready(Vec<Arc<Policy>>, UnguardedPolicy),
}

impl Guard {
    /// The guard of a port that `policies` guard.
    pub fn new(
        policies: impl IntoIterator<Item = Arc<Policy>>,
        unguarded: UnguardedPolicy,
        _trust_domain: &TrustDomain,
    ) -> Guard {
        Guard::Ready(policies.into_iter().collect(), unguarded)
    }

    /// The guard of a port whose policies are not all there.
    pub fn pending(missing: &BTreeSet<GuardScope>) -> Guard {
        let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
        Guard::Pending { missing: missing.join(", ") }
    }
}
