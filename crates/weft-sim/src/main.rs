//! `weft-sim`: plays the scenarios under many seeds, each seed twice.

use std::process::ExitCode;

use clap::Parser;
use weft_sim::scenarios::SCENARIOS;
use weft_sim::{Run, Scenario, SimError, replay_twice};

/// Plays scenarios in simulated worlds. Each seed is played twice, and both must go the same way.
#[derive(Parser)]
#[command(name = "weft-sim", version)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, counted up from the first.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Only the scenario of this name.
    #[arg(long)]
    scenario: Option<String>,
    /// Print all that happened.
    #[arg(long)]
    trace: bool,
    /// Print the scenarios and end.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for scenario in SCENARIOS {
            println!("{:<16}  {}", scenario.name, scenario.about);
        }
        return ExitCode::SUCCESS;
    }
    let wanted =
        |scenario: &&Scenario| arguments.scenario.as_ref().is_none_or(|name| name == scenario.name);
    let mut played = 0;
    let mut failures = 0;
    for scenario in SCENARIOS.iter().filter(wanted) {
        played += 1;
        failures += play(scenario, &arguments);
    }
    if played == 0 {
        eprintln!("no such scenario; weft-sim --list prints them");
        return ExitCode::from(2);
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays one scenario under all seeds, and returns how many failed.
fn play(scenario: &Scenario, arguments: &Arguments) -> u64 {
    let (mut failures, mut steps, mut seconds) = (0, 0, 0.0);
    for seed in (0..arguments.seeds).map(|offset| arguments.seed.wrapping_add(offset)) {
        let failure = match replay_twice(seed, &(scenario.options)(), scenario.play) {
            Ok(run) => {
                print_trace(arguments, &run);
                steps += run.steps;
                seconds += run.took.as_secs_f64();
                run.outcome.err()
            }
            Err(error) => Some(error),
        };
        if let Some(error) = failure {
            failures += 1;
            println!("{}: seed {seed} failed: {}", scenario.name, with_sources(&error));
            println!("  again: weft-sim --scenario {} --seed {seed} --trace", scenario.name);
        }
    }
    println!(
        "{:<16}  {} seeds, {failures} failed; {steps} steps, {seconds:.0} s of simulated time",
        scenario.name, arguments.seeds
    );
    failures
}

fn print_trace(arguments: &Arguments, run: &Run) {
    if arguments.trace {
        for event in &run.trace {
            println!("{event}");
        }
        println!("{} events, hash {:016x}", run.trace.len(), run.hash);
    }
}

fn with_sources(error: &SimError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
