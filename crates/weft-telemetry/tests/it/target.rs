//! A target for scrapes: the least of an HTTP server around a registry.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use weft_telemetry::expose::{Format, encode, negotiate};
use weft_telemetry::metrics::{Metrics, Process, Registry, Scrape};
use weft_world::{Moment, UnixTime};

/// How long is waited for a scrape, or for a byte of one.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers scrapes on a thread of its own until it is dropped.
pub struct Target {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    scrapes: Receiver<()>,
    last_format: Arc<Mutex<Option<Format>>>,
    thread: Option<JoinHandle<()>>,
}

impl Target {
    /// Exposes `registry`, and has `count` count on a worker before each of the first scrapes.
    pub fn start(registry: &Arc<Registry>, batches: u64, count: fn(&Metrics)) -> Target {
        let listener = listen();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let last_format = Arc::new(Mutex::new(None));
        // One place: who does not look at each scrape sees that there was one.
        let (scraped, scrapes) = sync_channel(1);
        let server = Server {
            registry: Arc::clone(registry),
            is_over: Arc::clone(&is_over),
            last_format: Arc::clone(&last_format),
            scraped,
        };
        let thread = std::thread::spawn(move || server.run(&listener, batches, count));
        Target { address, is_over, scrapes, last_format, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The format of the last answer.
    pub fn last_format(&self) -> Option<Format> {
        *self.last_format.lock().unwrap()
    }

    /// Waits until it has been scraped.
    pub fn wait_for_scrape(&self) {
        self.scrapes.recv_timeout(PATIENCE).expect("Prometheus scrapes once a second");
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = connect(self.address); // Wakes the thread.
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

struct Server {
    registry: Arc<Registry>,
    is_over: Arc<AtomicBool>,
    last_format: Arc<Mutex<Option<Format>>>,
    scraped: SyncSender<()>,
}

impl Server {
    fn run(&self, listener: &TcpListener, batches: u64, count: fn(&Metrics)) {
        let metrics = Metrics::new(&self.registry);
        for number in 0.. {
            let (stream, _) = listener.accept().unwrap();
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            if number < batches {
                count(&metrics);
            }
            self.answer(&stream, number);
            let _ = self.scraped.try_send(());
        }
    }

    fn answer(&self, mut stream: &TcpStream, number: u64) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "GET /metrics HTTP/1.1");
        let mut accept = String::new();
        for line in lines {
            let line = line.unwrap();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("Accept: ") {
                value.clone_into(&mut accept);
            }
        }
        let format = negotiate(&accept);
        *self.last_format.lock().unwrap() = Some(format);
        let scrape = Scrape {
            now: Moment::default() + Duration::from_secs(number),
            wall: UnixTime(Duration::from_secs(1_795_413_900)),
            process: Some(Process::read().unwrap()),
        };
        let body = encode(&self.registry, format, &scrape);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            format.content_type(),
            body.len(),
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "the stranger that scrapes needs a real socket")]
fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// A connection to a server on loopback.
#[expect(clippy::disallowed_methods, reason = "the stranger that scrapes has real sockets")]
pub fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    TcpStream::connect(address)
}
