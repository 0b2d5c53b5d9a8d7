//! Steady load that does not wait for answers, retries nothing, and checks every answer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, TE};
use hyper::{Method, Request, Response, Version};
use weft_control::HyperIo;
use weft_world::{Moment, World};

use crate::app::{BODY_BYTES_MAX, ID, LocalExecutor, NAME, run_local};
use crate::lab::{PATIENCE, wait_until};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The most requests under way. One that is due beyond that has failed.
const UNDER_WAY_MAX: u64 = 2_000;

/// The most failures that are told in full.
const FAILURES_SHOWN: usize = 10;

/// How many connections of HTTP/2 are used in turn.
const SHARED_CONNECTIONS: usize = 4;

/// The bytes of a body that is sent.
const BODY_BYTES: usize = 2_000;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP/1.1, only what may be repeated.
    Http1Get,
    /// HTTP/1.1, by turns GET, and POST with a body.
    Http1,
    /// HTTP/2, only what may be repeated.
    Http2Get,
    /// HTTP/2, by turns as well.
    Http2,
    /// Unary calls of gRPC.
    Grpc,
}

/// What became of the requests so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many were sent.
    pub sent: u64,
    /// How many were answered as they should be, by the application that answered.
    pub answers: BTreeMap<String, u64>,
    /// How many failed.
    pub failed: u64,
    /// The numbers of these, from 0. Of [`Kind::Http1`], odd ones are POST.
    pub failed_numbers: Vec<u32>,
    /// What became of the first ones of these.
    pub failures: Vec<String>,
}

impl Tally {
    /// How many were answered as they should be.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// How many were answered by `app`.
    pub fn by(&self, app: &str) -> u64 {
        self.answers.get(app).copied().unwrap_or_default()
    }

    /// What happened since `before`.
    pub fn since(&self, before: &Tally) -> Tally {
        let mut later = self.clone();
        later.sent -= before.sent;
        later.failed -= before.failed;
        for (app, count) in &mut later.answers {
            *count -= before.by(app);
        }
        later
    }
}

/// Load from a thread of its own.
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Begins to send `rate` requests of `kind` a second to `address`.
    pub fn start(address: SocketAddr, kind: Kind, rate: u32) -> Load {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("load-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let (tally, is_over) = (Arc::<Mutex<Tally>>::default(), Arc::<AtomicBool>::default());
        let (told, over) = (tally.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            let world = weft_net::world();
            let caller = Rc::new(Caller {
                world,
                address,
                kind,
                name,
                tally: told,
                idle: RefCell::default(),
                shared: Default::default(),
                under_way: Cell::new(0),
            });
            run_local(send(caller, rate, &over));
        });
        Load { tally, is_over, thread: Some(thread) }
    }

    /// What became of the requests so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Waits until `count` more requests were answered, and says what became of those that ended
    /// meanwhile.
    pub fn more(&self, count: u64) -> Tally {
        more([self], count).remove(0)
    }

    /// Sends nothing more, waits for the answers, and says what became of all.
    pub fn end(mut self) -> Tally {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.tally()
    }

    /// As [`Load::end`], and nothing must have failed.
    pub fn end_whole(self) -> Tally {
        let tally = self.end();
        assert_eq!(
            tally.failed,
            0,
            "of {} requests {} failed, the first ones so:\n{}",
            tally.sent,
            tally.failed,
            tally.failures.join("\n")
        );
        tally
    }
}

/// As [`Load::more`], for several at a time.
pub fn more<'l>(loads: impl IntoIterator<Item = &'l Load>, count: u64) -> Vec<Tally> {
    let started: Vec<_> = loads.into_iter().map(|load| (load, load.tally())).collect();
    let all = || started.iter().map(|(load, before)| load.tally().since(before));
    wait_until(&format!("{count} more requests are answered"), || {
        all().all(|tally| tally.answered() >= count)
    });
    all().collect()
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Http1Connection = http1::SendRequest<Full<Bytes>>;
type Http2Connection = http2::SendRequest<Full<Bytes>>;

/// Who sends.
struct Caller {
    world: World,
    address: SocketAddr,
    kind: Kind,
    name: String,
    tally: Arc<Mutex<Tally>>,
    idle: RefCell<Vec<Http1Connection>>,
    shared: [tokio::sync::Mutex<Option<Http2Connection>>; SHARED_CONNECTIONS],
    under_way: Cell<u64>,
}

async fn send(caller: Rc<Caller>, rate: u32, is_over: &AtomicBool) {
    let clock = caller.world.clock.clone();
    let start = clock.now();
    let pause = Duration::from_secs(1) / rate;
    for number in 0u32.. {
        clock.timer(start + pause * number).await;
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        caller.tally.lock().unwrap().sent += 1;
        if caller.under_way.get() == UNDER_WAY_MAX {
            caller.failed(number, start, "too many requests wait for their answers already");
            continue;
        }
        caller.under_way.set(caller.under_way.get() + 1);
        let caller = caller.clone();
        tokio::task::spawn_local(async move {
            let began = caller.world.clock.now();
            let result = tokio::select! {
                biased;
                result = caller.ask(number) => result,
                () = caller.world.clock.sleep(TIMEOUT) => Err(format!("nothing in {TIMEOUT:?}")),
            };
            match result {
                Ok(app) => {
                    *caller.tally.lock().unwrap().answers.entry(app).or_default() += 1;
                }
                Err(why) => caller.failed(number, began, &why),
            }
            caller.under_way.set(caller.under_way.get() - 1);
        });
    }
    let limit = clock.now() + PATIENCE;
    while caller.under_way.get() > 0 && clock.now() < limit {
        clock.sleep(pause).await;
    }
}

impl Caller {
    fn failed(&self, number: u32, began: Moment, why: &str) {
        let took = self.world.clock.now().since(began);
        let wall = self.world.clock.wall();
        let mut tally = self.tally.lock().unwrap();
        tally.failed += 1;
        tally.failed_numbers.push(number);
        if tally.failures.len() < FAILURES_SHOWN {
            tally.failures.push(format!("{wall} {}-{number} after {took:?}: {why}", self.name));
        }
    }

    /// Sends the request `number`, checks its answer, and says which application gave it.
    async fn ask(&self, number: u32) -> Result<String, String> {
        let id = format!("{}-{number}", self.name);
        let is_get = match self.kind {
            Kind::Http1Get | Kind::Http2Get => true,
            Kind::Http1 | Kind::Http2 => number.is_multiple_of(2),
            Kind::Grpc => false,
        };
        let body = match self.kind {
            _ if is_get => Bytes::new(),
            Kind::Grpc => framed(&id),
            _ => Bytes::from(id.repeat(BODY_BYTES / id.len())),
        };
        let request = Request::builder().header(ID, &id);
        let request = match self.kind {
            Kind::Grpc => request
                .uri("http://lab/lab.Echo/Unary")
                .header(CONTENT_TYPE, "application/grpc")
                .header(TE, "trailers"),
            Kind::Http2Get | Kind::Http2 => request.uri("http://lab/things"),
            Kind::Http1Get | Kind::Http1 => request.uri("/things").header("host", "lab"),
        };
        let method = if is_get { Method::GET } else { Method::POST };
        let request = request.method(method).body(Full::new(body.clone())).unwrap();
        match self.kind {
            Kind::Http1Get | Kind::Http1 => {
                let mut connection = self.http1().await?;
                let response = connection.send_request(request).await.map_err(explained)?;
                let app = check(response, &id, &body, self.kind).await?;
                self.idle.borrow_mut().push(connection);
                Ok(app)
            }
            Kind::Http2Get | Kind::Http2 | Kind::Grpc => {
                let index = number as usize % SHARED_CONNECTIONS;
                let mut connection = self.http2(index).await?;
                let request = Request::from_parts(
                    {
                        let mut head = request.into_parts();
                        head.0.version = Version::HTTP_2;
                        head.0
                    },
                    Full::new(body.clone()),
                );
                let response = connection.send_request(request).await.map_err(explained)?;
                check(response, &id, &body, self.kind).await
            }
        }
    }

    /// A connection that is free, or a new one.
    async fn http1(&self) -> Result<Http1Connection, String> {
        while let Some(mut kept) = self.take_idle() {
            if kept.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let stream = self.world.network.connect(self.address).await;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        let handshake = http1::handshake(HyperIo::new(stream)).await;
        let (connection, driver) = handshake.map_err(explained)?;
        tokio::task::spawn_local(driver);
        Ok(connection)
    }

    fn take_idle(&self) -> Option<Http1Connection> {
        self.idle.borrow_mut().pop()
    }

    /// One of the connections that requests share, made again if it has ended.
    async fn http2(&self, index: usize) -> Result<Http2Connection, String> {
        let mut shared = self.shared[index].lock().await;
        if let Some(kept) = &*shared
            && !kept.is_closed()
        {
            return Ok(kept.clone());
        }
        let stream = self.world.network.connect(self.address).await;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        let handshake = http2::handshake(LocalExecutor, HyperIo::new(stream)).await;
        let (connection, driver) = handshake.map_err(explained)?;
        tokio::task::spawn_local(driver);
        Ok(shared.insert(connection).clone())
    }
}

/// What is wrong, with its causes.
fn explained(error: hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// A message of gRPC.
fn framed(text: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(text.len()).unwrap());
    bytes.put_slice(text.as_bytes());
    bytes.freeze()
}

/// Whether `response` is the answer to the request `id`, and the whole of it; then who gave it.
#[expect(clippy::disallowed_methods, reason = "the body is limited")]
async fn check(
    response: Response<hyper::body::Incoming>,
    id: &str,
    sent: &Bytes,
    kind: Kind,
) -> Result<String, String> {
    let (head, body) = response.into_parts();
    let text = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let collected = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let collected = collected.map_err(|error| format!("the body of the answer: {error}"))?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let body = collected.to_bytes();
    let shown = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    if head.status != 200 {
        return Err(format!("status {} ({}): {}", head.status, text("weft-reason"), shown()));
    }
    if kind == Kind::Grpc && trailers.get("grpc-status").is_none_or(|status| status != "0") {
        let status = text("grpc-status");
        let message = text("grpc-message");
        return Err(format!("gRPC status {status} `{message}`, trailers {trailers:?}"));
    }
    let app = text(NAME);
    if text(ID) != id {
        return Err(format!("the answer is to `{}`", text(ID)));
    }
    let greeting = format!("hello from {app}");
    let expected = if sent.is_empty() { greeting.as_bytes() } else { &sent[..] };
    if body != expected {
        return Err(format!("{} bytes are wrong: {}", body.len(), shown()));
    }
    Ok(app)
}
