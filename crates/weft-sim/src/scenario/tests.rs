//! Playing scenarios once and twice.

use std::cell::Cell;

use super::*;
use crate::scenarios::SCENARIOS;

/// A scenario that notes a number drawn from a host's entropy.
fn draw(sim: &Simulation) -> Result<(), SimError> {
    let host = sim.host("a", []);
    host.note(format!("drew {}", host.world().entropy.next()));
    sim.run(sim.sleep(Duration::from_millis(3)))
}

#[test]
fn every_scenario_holds_and_is_a_function_of_its_seed() {
    for scenario in SCENARIOS {
        for seed in 0..2 {
            replay_twice(seed, &(scenario.options)(), scenario.play)
                .and_then(|run| run.outcome)
                .unwrap_or_else(|error| panic!("{} with seed {seed}: {error}", scenario.name));
        }
    }
}

#[test]
fn scenario_names_are_unlike() {
    let mut names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SCENARIOS.len());
}

#[test]
fn a_run_that_depends_on_more_than_its_seed_is_found_out() {
    let count = Cell::new(0);
    let leaky = |sim: &Simulation| {
        draw(sim)?;
        count.set(count.get() + 1);
        sim.trace().note("a", format!("run {}", count.get()));
        Ok(())
    };
    let error = replay_twice(5, &SimulationOptions::default(), leaky).unwrap_err();
    let SimError::Diverged { seed: 5, divergence } = &error else { panic!("{error}") };
    assert_eq!(divergence.common, 1);
    assert!(error.to_string().contains("run 1") && error.to_string().contains("run 2"), "{error}");
}

#[test]
fn other_steps_under_an_equal_trace_are_found_out() {
    let count = Cell::new(0);
    let leaky = |sim: &Simulation| {
        count.set(count.get() + 1);
        sim.run(sim.sleep(Duration::from_millis(count.get())))
    };
    let error = replay_twice(5, &SimulationOptions::default(), leaky).unwrap_err();
    assert!(matches!(error, SimError::Broken { .. }), "{error}");
}

#[test]
fn a_deadlock_ends_at_the_time_limit() {
    let stuck = |sim: &Simulation| sim.run(std::future::pending());
    let run = run_once(1, SimulationOptions::default(), stuck);
    let limit = SimulationOptions::default().time_limit;
    assert!(matches!(run.outcome, Err(SimError::TimeLimit { limit: at, .. }) if at == limit));
    assert_eq!(run.took, limit);
}

#[test]
fn a_task_that_never_rests_ends_at_the_step_limit() {
    let options = SimulationOptions { steps_max: 1_000, ..SimulationOptions::default() };
    let busy = |sim: &Simulation| {
        let host = sim.host("a", []);
        let task = host.spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        sim.run(task)??;
        Ok(())
    };
    let run = run_once(1, options, busy);
    assert!(matches!(run.outcome, Err(SimError::StepLimit { steps_max: 1_000, .. })));
}

#[test]
fn a_panic_in_a_task_that_nobody_joins_fails_the_run() {
    let play = |sim: &Simulation| {
        let host = sim.host("a", []);
        drop(host.spawn(async {
            drop(tokio::task::spawn_local(async { panic!("deep below") }));
        }));
        sim.run(sim.sleep(Duration::from_secs(1)))
    };
    let run = run_once(1, SimulationOptions::default(), play);
    let message = run.outcome.unwrap_err().to_string();
    assert!(message.contains("deep below") && message.contains("tests.rs"), "{message}");
    let after = run_once(1, SimulationOptions::default(), draw);
    assert!(after.outcome.is_ok(), "the next run starts afresh");
}

#[test]
fn a_panic_of_the_scenario_itself_fails_the_run() {
    let run = run_once(1, SimulationOptions::default(), |_| panic!("at the top"));
    assert!(run.outcome.unwrap_err().to_string().contains("at the top"));
}
