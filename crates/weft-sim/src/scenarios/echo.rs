//! Plain streams: what is sent comes back, whatever the network does, or an error says that it will
//! not.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use weft_world::{ListenerOptions, Stream, StreamExt, World};

use crate::entropy::Random;
use crate::error::{SimError, require};
use crate::host::{Crash, Host};
use crate::link::LinkOptions;
use crate::scenario::Scenario;
use crate::simulation::{Simulation, SimulationOptions};

/// Echo under latency and loss, by IPv4 and IPv6.
pub const LOSS: Scenario = Scenario {
    name: "echo-loss",
    about: "messages come back whole and in order on a lossy network",
    options,
    play: play_loss,
};

/// Echo while the server crashes, restarts and is cut off.
pub const FAULTS: Scenario = Scenario {
    name: "echo-faults",
    about: "under crashes and partitions each exchange ends, and after them all succeed",
    options,
    play: play_faults,
};

const CLIENTS: usize = 4;
const EXCHANGES: usize = 8;
const MESSAGE_BYTES_MAX: usize = 20_000;

fn options() -> SimulationOptions {
    let mut options = SimulationOptions::default();
    options.network.link = LinkOptions::wan().with_loss(0.03);
    options.network.send_buffer_bytes = 4_096;
    options.network.receive_buffer_bytes = 4_096;
    options
}

/// Sends back what comes, on each connection until its end.
async fn serve(world: World, at: SocketAddr) -> io::Result<()> {
    let mut listener = world.network.listen(at, ListenerOptions::default())?;
    loop {
        let mut accepted = listener.accept().await?;
        tokio::task::spawn_local(async move {
            // A connection that breaks is the client's to notice.
            let _broken = echo(&mut *accepted.stream).await;
        });
    }
}

async fn echo(stream: &mut dyn Stream) -> io::Result<()> {
    let mut buffer = [0; 1_000];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.close().await,
            bytes => stream.write_all(&buffer[..bytes]).await?,
        }
    }
}

/// Sends a message, ends the own direction, and returns what came back until the other's end.
///
/// The message fits into the buffers on the way, or the server could not go on reading.
async fn exchange(world: &World, to: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = world.network.connect(to).await?;
    let mut answer = Vec::new();
    let mut buffer = [0; 700];
    for part in message.chunks(3_000) {
        stream.write_all(part).await?;
        let wanted = answer.len() + part.len();
        while answer.len() < wanted {
            match stream.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => answer.extend_from_slice(&buffer[..bytes]),
            }
        }
    }
    stream.close().await?;
    match stream.read(&mut buffer).await? {
        0 => Ok(answer),
        _ => Err(io::Error::other("more came back than was sent")),
    }
}

fn message(random: &mut Random) -> Vec<u8> {
    let bytes = random.size(0, MESSAGE_BYTES_MAX);
    (0..bytes).map(|_| random.next().to_le_bytes()[0]).collect()
}

fn hosts(sim: &Simulation) -> (Host, Vec<Host>) {
    let address = |text: String| text.parse().expect("it is written as an address");
    let host = |name: &str, last: usize| {
        sim.host(name, [address(format!("10.0.0.{last}")), address(format!("fd00::{last}"))])
    };
    let clients = (0..CLIENTS).map(|number| host(&format!("client-{number}"), number + 2));
    (host("server", 1), clients.collect())
}

fn start_server(server: &Host) {
    for ip in server.addresses() {
        let (world, at) = (server.world(), SocketAddr::new(*ip, 7));
        // It ends only when the host does.
        drop(server.spawn(async move { serve(world, at).await }));
    }
}

fn play_loss(sim: &Simulation) -> Result<(), SimError> {
    let (server, clients) = hosts(sim);
    start_server(&server);
    let seed = sim.seed();
    let mut tasks = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        let to = SocketAddr::new(server.addresses()[number % 2], 7);
        let world = client.world();
        tasks.push(client.spawn(async move {
            let mut random = Random::derive(seed, &format!("messages {number}"));
            for _ in 0..EXCHANGES {
                let sent = message(&mut random);
                let came = exchange(&world, to, &sent).await?;
                require(came == sent, || format!("{} bytes came back altered", sent.len()))?;
            }
            Ok::<(), SimError>(())
        }));
    }
    sim.run(async {
        for task in tasks {
            task.await??;
        }
        Ok(())
    })?
}

fn play_faults(sim: &Simulation) -> Result<(), SimError> {
    let (server, clients) = hosts(sim);
    start_server(&server);
    let seed = sim.seed();
    let calm = Rc::new(Cell::new(false));
    let mut tasks = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        let to = SocketAddr::new(server.addresses()[number % 2], 7);
        let (host, calm) = (client.clone(), Rc::clone(&calm));
        tasks.push(client.spawn(async move {
            let world = host.world();
            let mut random = Random::derive(seed, &format!("messages {number}"));
            let mut calm_exchanges = 0;
            while calm_exchanges < EXCHANGES {
                let was_calm = calm.get();
                let sent = message(&mut random);
                let came = with_limit(&world, exchange(&world, to, &sent)).await;
                match came {
                    Some(Ok(came)) => require(came == sent, || "bytes were altered".to_owned())?,
                    Some(Err(error)) if was_calm => return Err(error.into()),
                    None if was_calm => {
                        return require(false, || "an exchange hung in a calm world".to_owned());
                    }
                    Some(Err(error)) => host.note(format!("exchange failed: {error}")),
                    None => host.note("exchange given up"),
                }
                calm_exchanges += usize::from(was_calm);
                world.clock.sleep(Duration::from_millis(50)).await;
            }
            Ok::<(), SimError>(())
        }));
    }
    sim.run(async {
        let mut random = Random::derive(seed, "faults");
        for _ in 0..6 {
            sim.sleep(random.duration(Duration::ZERO, Duration::from_secs(5))).await;
            let client = random.pick(&clients);
            match random.below(4) {
                0 => sim.partition(&server, client),
                1 => sim.reset_connections(&server, client),
                2 => server.crash(Crash::Reset),
                _ => server.crash(Crash::Silent),
            }
            sim.sleep(random.duration(Duration::ZERO, Duration::from_secs(20))).await;
            sim.heal(&server, client);
            if !server.is_up() {
                server.restart();
                start_server(&server);
            }
        }
        calm.set(true);
        for task in tasks {
            task.await??;
        }
        Ok(())
    })?
}

/// Waits for `future` for at most two minutes.
async fn with_limit<T>(world: &World, future: impl Future<Output = T>) -> Option<T> {
    let mut limit = world.clock.sleep(Duration::from_secs(120));
    tokio::select! {
        biased;
        done = future => Some(done),
        () = &mut limit => None,
    }
}
