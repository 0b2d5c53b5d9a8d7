//! Scenarios, and running them so that a failure can be run again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::error::SimError;
use crate::panics::Watch;
use crate::simulation::{Simulation, SimulationOptions};
use crate::trace::{Divergence, TraceEvent};

/// Something that can happen to a network, and what must hold then.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// The world in which it plays.
    pub options: fn() -> SimulationOptions,
    /// Builds the hosts, runs them, and checks what must hold.
    pub play: fn(&Simulation) -> Result<(), SimError>,
}

/// What a scenario did under one seed.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub outcome: Result<(), SimError>,
    /// What happened.
    pub trace: Vec<TraceEvent>,
    /// The trace's hash.
    pub hash: u64,
    /// How far simulated time came.
    pub took: Duration,
    /// How many steps there were.
    pub steps: u64,
}

/// Plays a scenario once. A panic is a failure of the run.
pub fn run_once(
    seed: u64,
    options: SimulationOptions,
    play: impl Fn(&Simulation) -> Result<(), SimError>,
) -> Run {
    let sim = Simulation::new(seed, options);
    let watch = Watch::new();
    // Nothing of the simulation is used after a panic but its trace, which is whole.
    let outcome = catch_unwind(AssertUnwindSafe(|| play(&sim))).unwrap_or_else(|_| {
        let message = crate::panics::take().unwrap_or_else(|| "while it ran".to_owned());
        Err(SimError::Panicked { message })
    });
    drop(watch);
    Run {
        outcome,
        trace: sim.trace().events(),
        hash: sim.trace().hash(),
        took: sim.now(),
        steps: sim.steps(),
    }
}

/// Plays a scenario twice from one seed and compares the traces.
///
/// The run that is returned is the first; its outcome may still be a failure.
///
/// # Errors
/// [`SimError::Diverged`] if the two differ in anything.
pub fn replay_twice(
    seed: u64,
    options: &SimulationOptions,
    play: impl Fn(&Simulation) -> Result<(), SimError>,
) -> Result<Run, SimError> {
    let first = run_once(seed, options.clone(), &play);
    let second = run_once(seed, options.clone(), &play);
    if let Some(divergence) = Divergence::between(&first.trace, &second.trace) {
        return Err(SimError::Diverged { seed, divergence: Box::new(divergence) });
    }
    // The traces may be equal and yet something not on them may differ.
    if (first.steps, first.took) != (second.steps, second.took) {
        let promise = format!(
            "seed {seed} gave equal traces, but {} and {} steps, {:?} and {:?} of simulated time",
            first.steps, second.steps, first.took, second.took
        );
        return Err(SimError::Broken { promise });
    }
    Ok(first)
}

#[cfg(test)]
mod tests;
