//! How long `weft check` takes for five hundred manifests.

mod manifests;

use crate::clock;
use crate::install::Places;
use crate::machine::Machine;
use crate::metric::CHECK_MS_MAX;
use crate::peers::Peer;
use crate::report::Spread;
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// How often it is run where nobody says so, after a run that does not count.
const ROUNDS: u32 = 20;

/// Checks the manifests `rounds` times, prints what it took and writes it to `bench/results`.
pub fn run(places: &Places, rounds: Option<u32>) -> Result<()> {
    let program = places.program(Peer::Weft, false).context("weft is not built")?;
    let folder = places.target.join("bench-run/check");
    let count = write(&folder)?;
    one(&program, &folder, count)?; // The files are read from the disk once.
    let rounds = rounds.unwrap_or(ROUNDS);
    let taken: Result<Vec<_>> = (0..rounds).map(|_| one(&program, &folder, count)).collect();
    let taken = Spread::of(taken?).context("there was no round")?;
    // What a process costs that has next to nothing to check.
    let single = places.target.join("bench-run/check-one");
    fs::create_dir_all(&single)?;
    let (name, text) = manifests::manifests().swap_remove(0);
    fs::write(single.join(name), text)?;
    let started: Result<Vec<_>> = (0..rounds).map(|_| one(&program, &single, 1)).collect();
    let started = Spread::of(started?).context("there was no round")?;
    let text = told(places, count, rounds, taken, started)?;
    println!("{text}");
    let results = places.workspace.join("bench/results");
    fs::create_dir_all(&results)?;
    fs::write(results.join("check.md"), text)?;
    println!("Written to bench/results/check.md");
    Ok(())
}

/// Writes the manifests into `folder`, and nothing else there, and says how many they are.
fn write(folder: &Path) -> Result<usize> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let manifests = manifests::manifests();
    for (name, text) in &manifests {
        fs::write(folder.join(name), text)?;
    }
    Ok(manifests.len())
}

/// How many milliseconds one run takes, from its start to its end.
fn one(program: &Path, folder: &Path, count: usize) -> Result<f64> {
    let mut command = Command::new(program);
    command.args(["check", "--strict", "-f"]).arg(folder);
    let begin = clock::now_ns();
    let output = command.output().context("weft check")?;
    let taken = clock::now_ns() - begin;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let objects = if count == 1 { "object" } else { "objects" };
    let expected = format!("{count} {objects}, nothing is wrong\n");
    ensure!(said == expected, "weft check said something else: {said}");
    Ok(taken as f64 / 1e6)
}

fn told(
    places: &Places,
    count: usize,
    rounds: u32,
    taken: Spread,
    started: Spread,
) -> Result<String> {
    let verdict = if taken.median <= CHECK_MS_MAX { "kept" } else { "MISSED" };
    let row = |what: &str, spread: Spread, most: &str, verdict: &str| {
        let Spread { median, least, most: longest } = spread;
        format!("| {what} | {median:.1} | {least:.1} | {longest:.1} | {most} | {verdict} |\n")
    };
    let mut text =
        "# `weft check`\n\n| | ms | least | most | may be | |\n|---|---|---|---|---|---|\n"
            .to_owned();
    let most = format!("{CHECK_MS_MAX}");
    text.push_str(&row(&format!("{count} manifests, a file each"), taken, &most, verdict));
    text.push_str(&row("1 manifest", started, "", ""));
    write!(
        text,
        "\nMedian of {rounds} runs, from the start of the process to its end, the files in the \
         page cache. Profile {}. {}\n",
        places.profile(),
        Machine::here(false).describe()
    )?;
    Ok(text)
}
