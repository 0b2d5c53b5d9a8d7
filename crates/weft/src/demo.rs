//! `weft demo`: a control plane and a small shop on this machine, each service and each proxy a
//! process of its own, with steady traffic and a live table.

mod caller;
mod directory;
mod latency;
mod mesh;
mod metrics;
pub mod processes;
mod records;
mod resources;
pub mod shop;
mod summary;
mod table;
mod tries;
mod trust;
mod view;
mod workloads;

use std::time::Duration;

use anyhow::{Context as _, bail};
use weft_world::World;

use self::caller::Tally;
use self::directory::quoted;
use self::latency::Lately;
use self::mesh::{Mesh, Started};
use self::summary::Summary;
use self::table::Screen;
use self::trust::Trust;
use self::view::view;
use crate::output::Output;

/// The arguments of `weft demo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// End by itself after that long, as in 30s, with an exit status that says whether every
    /// request was answered over mutual TLS. Default: run until Ctrl-C.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,

    /// How many times in a second the shop's page is asked for.
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = RATE,
        value_parser = clap::value_parser!(u64).range(1..=1_000)
    )]
    rate: u64,

    /// How the summary is printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = weft_crd::parse_duration(text)?;
    if duration.is_zero() { Err("0 is not allowed".to_owned()) } else { Ok(duration) }
}

/// How many times in a second the shop's page is asked for where nobody says so.
const RATE: u64 = 20;

/// How often the table is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(500);

/// How often a line is printed where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The longest wait for the last lines of the access logs.
const PROOF_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for somebody who has pressed Ctrl-C.
const PROOF_TIMEOUT_EARLY: Duration = Duration::from_secs(2);

/// Runs the demo. With a duration it fails unless every request was answered over mutual TLS.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let world = weft_net::world();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        let (mesh, tally) = (Mesh::new(&world)?, Tally::default());
        let result = tokio::select! {
            biased;
            signal = weft_net::terminated() => {
                signal.map(|_| true).context("cannot wait for signals")
            }
            result = play(&world, arguments, &mesh, &tally) => result.map(|()| false),
        };
        let timeout = match result {
            Ok(true) => PROOF_TIMEOUT_EARLY,
            Ok(false) => PROOF_TIMEOUT,
            Err(_) => Duration::ZERO,
        };
        let mut summary = Summary::of(&mesh, &tally);
        summary.prove(&world, &mesh, timeout).await;
        mesh.end(&world).await;
        drop(mesh);
        let is_early = result?;
        crate::output::print_line(summary.text(arguments.output))?;
        match (arguments.duration, is_early) {
            (Some(_), true) => bail!("ended by a signal, before the time was over"),
            (Some(_), false) => summary.check(),
            // Who has tried the commands has made requests fail.
            (None, _) => Ok(()),
        }
    })
}

/// Starts the mesh, sends requests and shows how it goes, until the time is over.
async fn play(
    world: &World,
    arguments: &Arguments,
    mesh: &Mesh,
    tally: &Tally,
) -> anyhow::Result<()> {
    weft_control::say!(
        "weft demo: starting a control plane, the services of a shop, and their proxies"
    );
    let started = mesh.start(world).await?;
    let showing = show(world, mesh, tally, &started);
    let calling = caller::call(world, started.entry, arguments.rate, arguments.duration, tally);
    tokio::select! {
        biased;
        () = calling => {}
        () = showing => {}
        () = mesh.keep(world) => {}
    }
    Ok(())
}

/// Shows how it goes, for ever: as a table on a terminal, else as lines.
async fn show(world: &World, mesh: &Mesh, tally: &Tally, started: &Started) {
    let page = format!("http://{}/", started.entry);
    match Screen::open() {
        Some(screen) => show_table(world, mesh, tally, started, &page, &screen).await,
        None => show_lines(world, mesh, tally, &page).await,
    }
}

async fn show_table(
    world: &World,
    mesh: &Mesh,
    tally: &Tally,
    started: &Started,
    page: &str,
    screen: &Screen,
) {
    let (clock, trust) = (&world.clock, Trust::default());
    let start = clock.now();
    let drawing = async {
        loop {
            screen.draw(&table::lines(&view(clock.now(), start, mesh, tally, &trust, page)));
            clock.sleep(DRAW_INTERVAL).await;
        }
    };
    tokio::select! {
        biased;
        () = drawing => {}
        () = trust.follow(world, &started.client) => {}
    }
}

async fn show_lines(world: &World, mesh: &Mesh, tally: &Tally, page: &str) {
    let clock = &world.clock;
    let directory = quoted(&mesh.directory.path);
    let mut tries = tries::tries(mesh);
    weft_control::say!("weft demo: {} processes; the shop's page is {page}", mesh.processes());
    for line in tries::lines(&directory, &tries) {
        weft_control::say!("weft demo: {line}");
    }
    loop {
        clock.sleep(LINE_INTERVAL).await;
        let (requests, failures) = tally.counts();
        let Lately { rate, p50, p99, .. } = tally.lately(clock.now());
        let mut line = format!(
            "{requests} requests, {failures} failed; {rate:.1} a second, half within {} ms, 99 of \
             100 within {} ms",
            table::milliseconds(p50),
            table::milliseconds(p99)
        );
        let now = clock.now();
        let last = tally.last_failure().filter(|(at, _)| now.since(*at) <= LINE_INTERVAL);
        if let Some((_, why)) = last {
            line.push_str(&format!("; last failure: {why}"));
        }
        weft_control::say!("weft demo: {line}");
        // A program that was started anew has another id.
        let before = std::mem::replace(&mut tries, tries::tries(mesh));
        for (index, (one, before)) in tries.iter().zip(&before).enumerate() {
            if one.command != before.command {
                weft_control::say!("weft demo: {}", tries::command_line(index, one));
            }
        }
    }
}
