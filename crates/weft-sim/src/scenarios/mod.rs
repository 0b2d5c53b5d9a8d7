//! The scenarios that `weft-sim` plays.

mod calls;
mod echo;
mod mesh;
mod requests;
mod rules;
mod storm;

use crate::scenario::Scenario;

/// All scenarios, by subject.
pub const SCENARIOS: &[Scenario] = &[
    echo::LOSS,
    echo::FAULTS,
    requests::CALM,
    requests::FAULTS,
    mesh::ROLLOUTS,
    mesh::FAULTS,
    calls::ROLLOUTS,
    calls::FAULTS,
    storm::CHAIN,
];
