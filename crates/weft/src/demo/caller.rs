//! The caller of the demo: steady requests over one connection, each of them checked.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use weft_http::{BodySize, ResponseHead, response};
use weft_world::{Stream, StreamExt, World};

/// What became of the requests.
#[derive(Default)]
pub struct Tally {
    /// How many were sent.
    pub requests: u64,
    /// How many were not answered as they should be.
    pub failures: u64,
    /// How long the answered ones took.
    latencies: Vec<Duration>,
}

impl Tally {
    /// The time within which `share` of the requests were answered, 0.0 to 1.0.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is at most `last`"
        )]
        let index = (last as f64 * share).round() as usize;
        sorted.get(index).copied().unwrap_or_default()
    }
}

/// Sends `rate` requests a second to `address` for `duration`.
pub async fn call(world: &World, address: SocketAddr, rate: u64, duration: Duration) -> Tally {
    let clock = &world.clock;
    let (start, mut tally) = (clock.now(), Tally::default());
    let mut connection = None;
    loop {
        let due = Duration::from_nanos(tally.requests.saturating_mul(1_000_000_000 / rate));
        if due >= duration {
            return tally;
        }
        clock.timer(start + due).await;
        tally.requests += 1;
        let began = clock.now();
        match ask(world, address, &mut connection, tally.requests).await {
            Ok(()) => tally.latencies.push(clock.now().since(began)),
            Err(error) => {
                connection = None;
                tally.failures += 1;
                eprintln!("weft demo: request {}: {error}", tally.requests);
            }
        }
    }
}

/// Sends one request, and checks that the answer is the one to it.
async fn ask(
    world: &World,
    address: SocketAddr,
    connection: &mut Option<Box<dyn Stream>>,
    number: u64,
) -> io::Result<()> {
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => world.network.connect(address).await?,
    };
    let path = format!("/items/{number}");
    let request = format!("GET {path} HTTP/1.1\r\nHost: cart\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let (mut head, mut input, mut buffer) = (ResponseHead::default(), Vec::new(), [0; 4096]);
    loop {
        let parsed = response::parse(&input, false, &mut head).map_err(io::Error::other)?;
        if let Some(parsed) = parsed {
            let BodySize::Length(length) = parsed.size else {
                return Err(io::Error::other("the answer has no length"));
            };
            let body = &input[parsed.bytes..];
            if body.len() as u64 == length {
                let text = String::from_utf8_lossy(body).into_owned();
                if head.status != 200 || !text.contains(&format!("{path}\n")) {
                    return Err(io::Error::other(format!("status {}: {text}", head.status)));
                }
                *connection = parsed.keep_alive.then_some(stream);
                return Ok(());
            }
        }
        match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => input.extend_from_slice(&buffer[..count]),
        }
    }
}
