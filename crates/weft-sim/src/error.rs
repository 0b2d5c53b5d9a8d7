//! Why a simulated run failed.

use std::io;
use std::time::Duration;

use crate::trace::Divergence;

/// Why a simulated run failed.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The run did not end in time; a deadlock ends here too, since time then leaps to the limit.
    #[error("still running after {limit:?} of simulated time; the last event was at {last:?}")]
    TimeLimit {
        /// The limit, from the start of the simulation.
        limit: Duration,
        /// When something last was put on the trace.
        last: Duration,
    },
    /// The run took more steps than it may: most likely something wakes itself without end.
    #[error("more than {steps_max} steps, at {at:?} of simulated time")]
    StepLimit {
        /// The limit.
        steps_max: u64,
        /// How far simulated time had come.
        at: Duration,
    },
    /// Something panicked while the simulation ran, be it in a task that nobody joins.
    #[error("panicked {message}")]
    Panicked {
        /// Where, and with what message.
        message: String,
    },
    /// Two runs of one seed differed.
    #[error("seed {seed} gave two different runs: {divergence}")]
    Diverged {
        /// The seed.
        seed: u64,
        /// Where they parted.
        divergence: Box<Divergence>,
    },
    /// Something that must hold did not.
    #[error("{promise}")]
    Broken {
        /// What had to hold, and what was found instead.
        promise: String,
    },
    /// A call that the scenario relied on failed.
    #[error("unexpected failure in the scenario")]
    Io(#[from] io::Error),
    /// A task that the scenario waited for was dropped in a crash, or panicked.
    #[error("a task did not end by itself")]
    Join(#[from] tokio::task::JoinError),
}

/// Fails with what `promise` says unless `holds`.
///
/// # Errors
/// [`SimError::Broken`].
pub fn require(holds: bool, promise: impl FnOnce() -> String) -> Result<(), SimError> {
    if holds { Ok(()) } else { Err(SimError::Broken { promise: promise() }) }
}
