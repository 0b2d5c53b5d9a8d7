//! An application in a thread of the test, or in a process of its own, which answers HTTP/1.1,
//! HTTP/2 and gRPC at one port and counts how often it did what a request asked for.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::server::conn::auto;
use tokio::sync::oneshot;
use weft_control::HyperIo;
use weft_world::{ListenerOptions, World};

/// The longest body that is read, in bytes.
pub const BODY_BYTES_MAX: usize = 8 << 20;

/// The header with the name of a request, by which executions are counted.
pub const ID: &str = "x-request-id";

/// The header with the name of the application that answers.
pub const NAME: &str = "x-app";

/// How often an open stream says something.
const TICK: Duration = Duration::from_millis(20);

/// How often each request was executed, by its name. Applications may share it.
#[derive(Clone, Default)]
pub struct Executed {
    counts: Arc<Mutex<HashMap<String, u32>>>,
    may_repeat: Arc<Mutex<HashSet<String>>>,
    /// Where they are written, too, if somebody else counts.
    file: Option<Arc<File>>,
}

impl Executed {
    /// Each is written to `file` before it is answered, a line with its method and name.
    pub fn written_to(file: File) -> Executed {
        Executed { file: Some(Arc::new(file)), ..Executed::default() }
    }

    /// What the programs wrote that share the file with this text.
    pub fn read(text: &str) -> Executed {
        let executed = Executed::default();
        for line in text.lines() {
            let (method, id) = line.split_once(' ').unwrap();
            executed.add(id, method == "GET");
        }
        executed
    }

    fn add(&self, id: &str, may_repeat: bool) {
        if let Some(file) = &self.file {
            let method = if may_repeat { "GET" } else { "POST" };
            // One write each, so that lines of several programs do not mix.
            (&**file).write_all(format!("{method} {id}\n").as_bytes()).unwrap();
        }
        if may_repeat {
            self.may_repeat.lock().unwrap().insert(id.to_owned());
        }
        *self.counts.lock().unwrap().entry(id.to_owned()).or_default() += 1;
    }

    /// How many requests were executed at least once.
    pub fn len(&self) -> usize {
        self.counts.lock().unwrap().len()
    }

    /// How often the requests were executed whose names begin with `prefix`.
    pub fn of(&self, prefix: &str) -> u32 {
        let executed = self.counts.lock().unwrap();
        executed.iter().filter(|(id, _)| id.starts_with(prefix)).map(|(_, count)| count).sum()
    }

    /// The requests that were executed more than once, although they are not idempotent: others may
    /// be, where a route asks for retries and a proxy was killed with the answer in its hands.
    pub fn repeated_writes(&self) -> Vec<String> {
        let may_repeat = self.may_repeat.lock().unwrap();
        self.repeated().into_iter().filter(|id| !may_repeat.contains(id)).collect()
    }

    /// The requests that were executed more than once.
    pub fn repeated(&self) -> Vec<String> {
        let executed = self.counts.lock().unwrap();
        executed.iter().filter(|(_, count)| **count > 1).map(|(id, _)| id.clone()).collect()
    }
}

/// An application. It ends with this value, and all its connections at once.
pub struct App {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl App {
    /// Starts one called `name` at a free port.
    pub fn start(name: &str, executed: &Executed) -> App {
        App::start_at(name, executed, Ipv4Addr::LOCALHOST.into())
    }

    /// The same at a free port of `ip`.
    pub fn start_at(name: &str, executed: &Executed, ip: IpAddr) -> App {
        let (name, executed) = (name.to_owned(), executed.clone());
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            run_local(async {
                let any = SocketAddr::new(ip, 0);
                let tell = |address| tell.send(address).unwrap();
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    () = serve(name, executed, any, tell) => {}
                }
            });
        });
        App { address: told.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Is the application called `name` at `address`; `tell` is told where that is.
pub async fn serve(
    name: String,
    executed: Executed,
    address: SocketAddr,
    tell: impl FnOnce(SocketAddr),
) {
    let world = weft_net::world();
    let listener = world.network.listen(address, ListenerOptions::default()).unwrap();
    tell(listener.local_address());
    accept(listener, Rc::new(Site { name, executed, world })).await;
}

/// Drives `future` on a runtime of its own, on this thread.
pub fn run_local<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap()
        .block_on(future)
}

/// Spawns hyper's tasks on the thread that they belong to.
#[derive(Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// What all connections of an application share.
struct Site {
    name: String,
    executed: Executed,
    world: World,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn accept(mut listener: Box<dyn weft_world::Listener>, site: Rc<Site>) {
    loop {
        let stream = listener.accept().await.unwrap().stream;
        let site = site.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| {
                let site = site.clone();
                async move { answer(&site, request).await }
            });
            let builder = auto::Builder::new(LocalExecutor);
            // A caller that went away is what some tests are about.
            let _ = builder.serve_connection(HyperIo::new(stream), service).await;
        });
    }
}

/// Answers `request`, unless its body does not arrive in full, or it is for a path that ends with
/// `/Wait`.
#[expect(clippy::disallowed_methods, reason = "the body is limited")]
async fn answer(
    site: &Rc<Site>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await?.to_bytes();
    let id = head.headers.get(ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    site.executed.add(id, head.method == Method::GET);
    if head.uri.path().ends_with("/Wait") {
        return std::future::pending().await;
    }
    let is_grpc = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/grpc");
    let body = if head.uri.path().starts_with("/stream") {
        // The first five bytes say how long the message of gRPC is.
        stream(site, if is_grpc { b"\0\0\0\0\x05tick\n" } else { b"tick\n" })
    } else if is_grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Full::new(body).with_trailers(async move { Some(Ok(trailers)) }).boxed_unsync()
    } else if body.is_empty() {
        Full::new(Bytes::from(format!("hello from {}", site.name))).boxed_unsync()
    } else {
        Full::new(body).boxed_unsync()
    };
    let mut response = Response::new(body);
    let fields = response.headers_mut();
    fields.insert(NAME, HeaderValue::from_str(&site.name)?);
    fields.insert(ID, HeaderValue::from_str(id)?);
    if is_grpc {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    }
    Ok(response)
}

/// A body that says something again and again, until nobody listens.
fn stream(site: &Rc<Site>, tick: &'static [u8]) -> Body {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    let world = site.world.clone();
    tokio::task::spawn_local(async move {
        while sender.send_data(Bytes::from_static(tick)).await.is_ok() {
            world.clock.sleep(TICK).await;
        }
    });
    body.boxed_unsync()
}
