//! The scenarios that `weft-sim` plays.

mod echo;

use crate::scenario::Scenario;

/// All scenarios, by subject.
pub const SCENARIOS: &[Scenario] = &[echo::LOSS, echo::FAULTS];
