//! A run is a function of its seed, and not of anything else.

use std::collections::BTreeSet;

use weft_sim::{LinkOptions, replay_twice, run_once};

use super::*;

/// Some traffic in which whatever can be drawn is drawn.
fn traffic(sim: &Simulation) -> Result<(), SimError> {
    let server = sim.host("server", [[10, 0, 0, 1].into()]);
    let at = SocketAddr::new(server.ip(), 80);
    let mut listener = server.world().network.listen(at, ListenerOptions::default())?;
    drop(server.spawn(async move {
        while let Ok(mut accepted) = listener.accept().await {
            tokio::task::spawn_local(async move {
                let all = read_to_end(&mut *accepted.stream).await?;
                accepted.stream.write_all(&all).await
            });
        }
    }));
    let clients: Vec<Host> =
        (2..6).map(|last| sim.host(&format!("client-{last}"), [[10, 0, 0, last].into()])).collect();
    let tasks: Vec<_> = clients
        .iter()
        .map(|client| {
            let world = client.world();
            client.spawn(async move {
                let wait = Duration::from_nanos(world.entropy.next() % 1_000_000);
                world.clock.sleep(wait).await;
                let mut stream = world.network.connect(at).await?;
                stream.write_all(&content(3_000)).await?;
                stream.close().await?;
                read_to_end(&mut *stream).await
            })
        })
        .collect();
    sim.run(async {
        for task in tasks {
            assert_eq!(task.await??, content(3_000));
        }
        Ok(())
    })?
}

fn options() -> SimulationOptions {
    let mut options = SimulationOptions::default();
    options.network.link = LinkOptions::wan().with_loss(0.05);
    options
}

#[test]
fn a_seed_gives_one_trace_and_each_seed_another() {
    let mut hashes = BTreeSet::new();
    for seed in 0..50 {
        let run = replay_twice(seed, &options(), traffic).unwrap();
        run.outcome.unwrap();
        hashes.insert(run.hash);
    }
    assert_eq!(hashes.len(), 50);
}

#[test]
fn another_thread_gives_the_same_trace() {
    let here = run_once(3, options(), traffic).hash;
    let there = std::thread::spawn(|| run_once(3, options(), traffic).hash).join().unwrap();
    assert_eq!(here, there);
}

#[test]
fn a_host_that_does_nothing_disturbs_nobody() {
    let with_idler = |sim: &Simulation| {
        sim.host("idler", [[10, 0, 0, 99].into()]);
        traffic(sim)
    };
    assert_eq!(run_once(3, options(), traffic).hash, run_once(3, options(), with_idler).hash);
}
