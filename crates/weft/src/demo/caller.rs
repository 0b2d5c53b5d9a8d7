//! The visitors of the shop: steady requests that do not wait for each other, each of them checked.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::sync::Notify;
use weft_http::{BodySize, ResponseHead, response};
use weft_world::{Moment, Stream, StreamExt, World};

use super::latency::{Histogram, Lately, Window};

/// The most requests under way. One that is due beyond that counts as failed.
const UNDER_WAY_MAX: u64 = 256;

/// How many idle connections are kept.
const IDLE_MAX: usize = 16;

/// The longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The longest answer.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// What became of the requests so far. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tally(Rc<Inner>);

#[derive(Default)]
struct Inner {
    requests: Cell<u64>,
    failures: Cell<u64>,
    under_way: Cell<u64>,
    latencies: RefCell<Histogram>,
    window: RefCell<Window>,
    versions: RefCell<BTreeMap<String, u64>>,
    last_failure: RefCell<Option<(Moment, String)>>,
    done: Notify,
    idle: RefCell<Vec<Box<dyn Stream>>>,
}

impl Tally {
    /// How many have been sent and have come to their end, and how many of these failed.
    pub fn counts(&self) -> (u64, u64) {
        (self.0.requests.get() - self.0.under_way.get(), self.0.failures.get())
    }

    /// The time within which `share`, 0.0 to 1.0, were answered, from when each was due.
    pub fn quantile(&self, share: f64) -> Duration {
        self.0.latencies.borrow().quantile(share)
    }

    /// How the last seconds went.
    pub fn lately(&self, now: Moment) -> Lately {
        self.0.window.borrow_mut().lately(now)
    }

    /// How many answers had which version of the cart.
    pub fn versions(&self) -> BTreeMap<String, u64> {
        self.0.versions.borrow().clone()
    }

    /// When and why a request failed last.
    pub fn last_failure(&self) -> Option<(Moment, String)> {
        self.0.last_failure.borrow().clone()
    }

    fn failed(&self, now: Moment, why: String) {
        self.0.failures.set(self.0.failures.get() + 1);
        *self.0.last_failure.borrow_mut() = Some((now, why));
    }
}

/// Sends `rate` requests a second to `address`, for `duration` or for ever, and waits for the
/// answers.
pub async fn call(
    world: &World,
    address: SocketAddr,
    rate: u64,
    duration: Option<Duration>,
    tally: &Tally,
) {
    let clock = &world.clock;
    let start = clock.now();
    for number in 0u64.. {
        let due = Duration::from_nanos(number.saturating_mul(1_000_000_000 / rate));
        if duration.is_some_and(|duration| due >= duration) {
            break;
        }
        let due = start + due;
        clock.timer(due).await;
        let Inner { requests, under_way, .. } = &*tally.0;
        requests.set(requests.get() + 1);
        if under_way.get() == UNDER_WAY_MAX {
            let why = format!("{UNDER_WAY_MAX} requests wait for their answers already");
            tally.failed(clock.now(), why);
            continue;
        }
        under_way.set(under_way.get() + 1);
        let (world, tally) = (world.clone(), tally.clone());
        tokio::task::spawn_local(async move { visit(&world, address, due, &tally).await });
    }
    while tally.0.under_way.get() > 0 {
        tally.0.done.notified().await;
    }
}

/// One request, from when it was due to its end in the tally.
async fn visit(world: &World, address: SocketAddr, due: Moment, tally: &Tally) {
    let result = tokio::select! {
        biased;
        result = ask(world, address, tally) => result,
        () = world.clock.sleep(TIMEOUT) => Err(anyhow::anyhow!("no answer within 15 s")),
    };
    let now = world.clock.now();
    let latency = now.since(due);
    tally.0.window.borrow_mut().add(now, latency, result.is_err());
    match result {
        Ok(version) => {
            tally.0.latencies.borrow_mut().add(latency);
            *tally.0.versions.borrow_mut().entry(version).or_default() += 1;
        }
        Err(error) => tally.failed(now, format!("{error:#}")),
    }
    tally.0.under_way.set(tally.0.under_way.get() - 1);
    tally.0.done.notify_one();
}

/// Asks for what the page shows, checks it, and gives the version of the cart.
async fn ask(world: &World, address: SocketAddr, tally: &Tally) -> anyhow::Result<String> {
    // A kept connection may have ended meanwhile. GET can be sent again.
    while let Some(stream) = kept(tally) {
        if let Ok(answer) = exchange(stream, tally).await {
            return check(answer);
        }
    }
    let stream = world.network.connect(address).await.context("cannot connect")?;
    check(exchange(stream, tally).await?)
}

fn kept(tally: &Tally) -> Option<Box<dyn Stream>> {
    tally.0.idle.borrow_mut().pop()
}

async fn exchange(mut stream: Box<dyn Stream>, tally: &Tally) -> io::Result<(u16, Vec<u8>)> {
    stream.write_all(b"GET /api/shop HTTP/1.1\r\nHost: web\r\n\r\n").await?;
    let (mut head, mut input, mut buffer) = (ResponseHead::default(), Vec::new(), [0; 4096]);
    loop {
        let parsed = response::parse(&input, false, &mut head).map_err(io::Error::other)?;
        if let Some(parsed) = parsed {
            let BodySize::Length(length) = parsed.size else {
                return Err(io::Error::other("the answer has no length"));
            };
            let body = &input[parsed.bytes..];
            if body.len() as u64 == length {
                let mut idle = tally.0.idle.borrow_mut();
                if parsed.keep_alive && idle.len() < IDLE_MAX {
                    idle.push(stream);
                }
                return Ok((head.status, body.to_vec()));
            }
        }
        if input.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::other("the answer is too long"));
        }
        match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => input.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Whether all that the page shows is there; then the version of the cart.
fn check((status, body): (u16, Vec<u8>)) -> anyhow::Result<String> {
    let text = || String::from_utf8_lossy(&body).trim().to_owned();
    // The mesh answers with a line of text where the shop does not.
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&body) else {
        anyhow::bail!("status {status}: {}", text());
    };
    let errors = answer["errors"].as_object();
    if let Some((name, error)) = errors.and_then(|errors| errors.iter().next()) {
        anyhow::bail!("{name}: {}", error.as_str().unwrap_or_default());
    }
    ensure!(status == 200, "status {status}: {}", text());
    let is_whole = answer["items"].as_array().is_some_and(|items| !items.is_empty())
        && answer["motto"].as_str().is_some_and(|motto| !motto.is_empty());
    let version = answer["cart"]["version"].as_str().filter(|_| is_whole);
    Ok(version.with_context(|| format!("something is missing: {}", text()))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(status: u16, body: &str) -> Result<String, String> {
        check((status, body.as_bytes().to_vec())).map_err(|error| error.to_string())
    }

    #[test]
    fn an_answer_is_right_only_if_it_is_whole() {
        let whole = r#"{"cart":{"version":"v2"},"items":[{}],"motto":"tea","errors":{}}"#;
        assert_eq!(checked(200, whole), Ok("v2".to_owned()));
        assert!(checked(502, whole).unwrap_err().starts_with("status 502"));
        let broken = r#"{"cart":null,"items":[{}],"motto":"tea","errors":{"cart":"status 500"}}"#;
        assert_eq!(checked(502, broken), Err("cart: status 500".to_owned()));
        for part in ["\"items\":[{}]", "\"motto\":\"tea\"", "\"cart\":{\"version\":\"v2\"}"] {
            let without = whole.replace(part, "\"x\":1");
            assert!(checked(200, &without).unwrap_err().contains("missing"), "{without}");
        }
        assert!(checked(503, "no endpoint").unwrap_err() == "status 503: no endpoint");
    }
}
