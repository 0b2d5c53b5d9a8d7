//! The load generator: HTTP/1.1 keep-alive connections driven from one thread, with the backend in
//! the same loop.
//!
//! Two paces. *Saturation* is a closed loop: each connection asks again as soon as it was answered,
//! and the loop polls without sleeping, so that the proxies never wake anybody. *Fixed* is an open
//! loop: requests are due at equal distances whether or not the earlier ones were answered, and
//! latency counts from when a request was due, so that a stall is charged to every request it
//! delayed.
//!
//! Every answer is checked. A run with a failure has no figures worth reading.
//!
//! Another protocol (gRPC) or behaviour (clients that go away) is another client beside [`Client`]
//! in this loop.

use crate::backend::{self, BODY_BYTES, Backend};
use crate::clock;
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Connections held open by a run.
pub const CONNECTIONS: usize = 64;

const REQUEST: &[u8] =
    b"GET /items/42 HTTP/1.1\r\nHost: web.shop.test\r\nUser-Agent: weft-bench\r\n\r\n";
const ANSWER_BYTES_MAX: usize = 8 * 1024;
const EVENTS_MAX: usize = 256;
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Closed loop, one outstanding request on each connection, busy polling.
    Saturation,
    /// Open loop.
    Fixed {
        /// Requests per second over all connections.
        per_second: u32,
    },
}

/// An end of the measuring window, when the caller reads the proxies' CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The window opens.
    Begin,
    /// The window closes.
    End,
}

/// What one run counted.
pub struct Tally {
    /// Right answers that arrived within the window.
    pub completed: u64,
    /// Wrong answers, lost connections and requests never answered, in the window or around it.
    pub failures: u64,
    /// What the first failure was.
    pub first_failure: Option<String>,
    /// How long the window was, nanoseconds.
    pub window_ns: u64,
    /// Nanoseconds from when a request was due to its last byte, for requests due within the
    /// window.
    pub latency_ns: Histogram<u64>,
}

impl Tally {
    fn new() -> Self {
        // 1 µs to 60 s with three significant digits.
        let latency_ns = Histogram::new_with_bounds(1_000, 60_000_000_000, 3)
            .expect("the bounds and precision are valid");
        Self { completed: 0, failures: 0, first_failure: None, window_ns: 0, latency_ns }
    }

    fn fail(&mut self, reason: String) {
        self.failures += 1;
        self.first_failure.get_or_insert(reason);
    }
}

/// The generator: one epoll instance, the backend on it, and the connections of the current run.
pub struct Load {
    epoll: OwnedFd,
    backend: Backend,
    clients: Vec<Option<Client>>,
    idle: VecDeque<usize>,
    events: Vec<epoll::Event>,
    body: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    received: Box<[u8; ANSWER_BYTES_MAX]>,
    filled: usize,
    /// When the outstanding request was due; `None` while there is none.
    due_ns: Option<u64>,
}

impl Load {
    /// A generator with its backend on a free port and no client connections.
    pub fn new() -> Result<Self> {
        // Timers are needed to the microsecond; the default slack is 50.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let backend = Backend::bind(&epoll)?;
        Ok(Self {
            epoll,
            backend,
            clients: Vec::new(),
            idle: VecDeque::new(),
            events: Vec::with_capacity(EVENTS_MAX),
            body: backend::body(),
        })
    }

    /// Where the backend listens.
    pub fn backend(&self) -> SocketAddr {
        self.backend.address()
    }

    /// Replaces the client connections by `count` new ones to `entry`.
    pub fn connect(&mut self, entry: SocketAddr, count: usize) -> Result<()> {
        self.clients.clear();
        self.idle.clear();
        for index in 0..count {
            let stream = TcpStream::connect_timeout(&entry, CONNECT_PATIENCE)
                .with_context(|| format!("connection {index} to {entry}"))?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let token = epoll::EventData::new_u64(index as u64);
            epoll::add(&self.epoll, &stream, token, epoll::EventFlags::IN)?;
            let received = Box::new([0; ANSWER_BYTES_MAX]);
            self.clients.push(Some(Client { stream, received, filled: 0, due_ns: None }));
            self.idle.push_back(index);
        }
        Ok(())
    }

    /// Sends one request to `entry` again and again until it is answered, at most for `patience`,
    /// with `mark` in the head of the answer.
    pub fn probe(
        &mut self,
        entry: SocketAddr,
        mark: Option<&str>,
        patience: Duration,
    ) -> Result<()> {
        clock::retry(patience, Duration::from_millis(1), || {
            self.connect(entry, 1)?;
            let mut tally = Tally::new();
            self.send_next(clock::now_ns(), &mut tally);
            let deadline = clock::now_ns() + clock::to_ns(Duration::from_millis(500));
            while self.idle.is_empty() && tally.failures == 0 {
                if clock::now_ns() >= deadline {
                    bail!("{entry} does not answer");
                }
                self.turn(1_000_000, 0, &mut tally)?;
            }
            match tally.first_failure {
                Some(reason) => bail!("{entry}: {reason}"),
                None if mark.is_some_and(|mark| !self.has_received(mark)) => {
                    bail!("{entry}: the rules are not in force")
                }
                None => Ok(()),
            }
        })
    }

    /// Whether the last answer on the first connection has the header field `mark`.
    fn has_received(&self, mark: &str) -> bool {
        let Some(Some(client)) = self.clients.first() else { return false };
        let head = &client.received[..backend::head_bytes(&client.received[..]).unwrap_or(0)];
        let head = String::from_utf8_lossy(head);
        head.lines().any(|line| line.eq_ignore_ascii_case(mark))
    }

    /// Drives the connections for `warm_up` and then for the measuring `window`; `at_edge` is
    /// called at both its ends.
    pub fn run(
        &mut self,
        pace: Pace,
        warm_up: Duration,
        window: Duration,
        mut at_edge: impl FnMut(Edge) -> Result<()>,
    ) -> Result<Tally> {
        let mut tally = Tally::new();
        let mut due = DueTimes::new(pace, clock::now_ns());
        let begin_ns = clock::now_ns() + clock::to_ns(warm_up);

        self.drive(pace, &mut due, begin_ns, u64::MAX, &mut tally)?;
        at_edge(Edge::Begin)?;
        tally.completed = 0;
        let opened_ns = clock::now_ns();
        self.drive(pace, &mut due, opened_ns + clock::to_ns(window), opened_ns, &mut tally)?;
        tally.window_ns = clock::now_ns() - opened_ns;
        at_edge(Edge::End)?;

        let completed = tally.completed;
        self.drain(&mut due, opened_ns, &mut tally)?;
        tally.completed = completed;
        Ok(tally)
    }

    /// Sends and receives until `until_ns`; latencies are kept of requests due at `keep_from_ns` or
    /// later.
    fn drive(
        &mut self,
        pace: Pace,
        due: &mut DueTimes,
        until_ns: u64,
        keep_from_ns: u64,
        tally: &mut Tally,
    ) -> Result<()> {
        loop {
            let now_ns = clock::now_ns();
            if now_ns >= until_ns {
                return Ok(());
            }
            if tally.failures >= self.clients.len() as u64 {
                bail!("no connection is left: {}", tally.first_failure.as_deref().unwrap_or("?"));
            }
            let timeout_ns = match pace {
                Pace::Saturation => {
                    while !self.idle.is_empty() {
                        self.send_next(clock::now_ns(), tally);
                    }
                    0
                }
                Pace::Fixed { .. } => {
                    due.advance(now_ns);
                    self.send_due(due, tally);
                    due.next_ns.min(until_ns).saturating_sub(clock::now_ns())
                }
            };
            self.turn(timeout_ns, keep_from_ns, tally)?;
        }
    }

    /// Waits for the answers that are still out; those that do not come are failures.
    fn drain(&mut self, due: &mut DueTimes, keep_from_ns: u64, tally: &mut Tally) -> Result<()> {
        let deadline = clock::now_ns() + clock::to_ns(DRAIN_PATIENCE);
        loop {
            self.send_due(due, tally);
            let busy =
                self.clients.iter().flatten().filter(|client| client.due_ns.is_some()).count();
            if busy == 0 && due.waiting.is_empty() {
                return Ok(());
            }
            if clock::now_ns() >= deadline {
                tally.fail(format!("{} requests were never answered", busy + due.waiting.len()));
                return Ok(());
            }
            self.turn(1_000_000, keep_from_ns, tally)?;
        }
    }

    fn send_due(&mut self, due: &mut DueTimes, tally: &mut Tally) {
        while !self.idle.is_empty() {
            let Some(due_ns) = due.waiting.pop_front() else { return };
            self.send_next(due_ns, tally);
        }
    }

    /// Sends a request, due at `due_ns`, on the connection that has been idle longest.
    fn send_next(&mut self, due_ns: u64, tally: &mut Tally) {
        let index = self.idle.pop_front().expect("the caller saw an idle connection");
        let Some(client) = &mut self.clients[index] else { return };
        client.due_ns = Some(due_ns);
        match client.stream.write(REQUEST) {
            Ok(written) if written == REQUEST.len() => {}
            Ok(written) => self.lose(index, format!("only {written} bytes were taken"), tally),
            Err(error) => self.lose(index, format!("sending: {error}"), tally),
        }
    }

    /// Waits up to `timeout_ns` for events and handles them.
    fn turn(&mut self, timeout_ns: u64, keep_from_ns: u64, tally: &mut Tally) -> Result<()> {
        self.events.clear();
        let timeout = clock::timespec(timeout_ns);
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll_wait"),
        }
        for position in 0..self.events.len() {
            let token = self.events[position].data.u64();
            if token & backend::TOKEN_BIT != 0 {
                self.backend.on_ready(&self.epoll, token).context("the backend")?;
            } else {
                let index = usize::try_from(token).context("tokens are indexes")?;
                self.receive(index, keep_from_ns, tally);
            }
        }
        Ok(())
    }

    fn receive(&mut self, index: usize, keep_from_ns: u64, tally: &mut Tally) {
        let Some(Some(client)) = self.clients.get_mut(index) else { return };
        match client.receive(&self.body) {
            Ok(None) => {}
            Ok(Some(due_ns)) => {
                tally.completed += 1;
                if due_ns >= keep_from_ns {
                    tally.latency_ns.saturating_record(clock::now_ns().saturating_sub(due_ns));
                }
                self.idle.push_back(index);
            }
            Err(reason) => self.lose(index, reason, tally),
        }
    }

    fn lose(&mut self, index: usize, reason: String, tally: &mut Tally) {
        tally.fail(reason);
        self.clients[index] = None; // Closing removes it from epoll.
        self.idle.retain(|idle| *idle != index);
    }
}

impl Client {
    /// Reads what is there; when the answer is complete and right, gives back when its request was
    /// due.
    fn receive(&mut self, body: &[u8]) -> Result<Option<u64>, String> {
        match self.stream.read(&mut self.received[self.filled..]) {
            Ok(0) if self.filled == 0 => return Err("the connection was closed".to_owned()),
            Ok(0) => return Err("the answer was cut short or is too long".to_owned()),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(format!("receiving: {error}")),
        }
        let Some(answer_bytes) = check_answer(&self.received[..self.filled], body)? else {
            return Ok(None);
        };
        if self.filled > answer_bytes {
            return Err(format!("{} bytes too many", self.filled - answer_bytes));
        }
        self.filled = 0;
        self.due_ns.take().map(Some).ok_or_else(|| "an answer that nobody asked for".to_owned())
    }
}

/// The length of the answer at the start of `bytes` once it is complete, or what is wrong with it.
fn check_answer(bytes: &[u8], body: &[u8]) -> Result<Option<usize>, String> {
    let Some(head_bytes) = backend::head_bytes(bytes) else { return Ok(None) };
    let head = &bytes[..head_bytes];
    if !head.starts_with(b"HTTP/1.1 200") {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(format!("answered {}", String::from_utf8_lossy(line)));
    }
    match content_length(head) {
        Some(BODY_BYTES) => {}
        Some(length) => return Err(format!("a body of {length} bytes")),
        None => return Err("an answer without Content-Length".to_owned()),
    }
    let answer_bytes = head_bytes + BODY_BYTES;
    match bytes.get(head_bytes..answer_bytes) {
        None => Ok(None),
        Some(received) if received == body => Ok(Some(answer_bytes)),
        Some(_) => Err("another body than was sent".to_owned()),
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        if !name.eq_ignore_ascii_case(NAME) {
            return None;
        }
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    })
}

/// When the requests of an open loop are due.
struct DueTimes {
    interval_ns: u64,
    next_ns: u64,
    /// Due, and waiting for an idle connection.
    waiting: VecDeque<u64>,
}

impl DueTimes {
    fn new(pace: Pace, start_ns: u64) -> Self {
        let interval_ns = match pace {
            Pace::Saturation => u64::MAX,
            Pace::Fixed { per_second } => 1_000_000_000 / u64::from(per_second.max(1)),
        };
        Self { interval_ns, next_ns: start_ns, waiting: VecDeque::new() }
    }

    /// Moves what has become due by `now_ns` to the waiting ones.
    fn advance(&mut self, now_ns: u64) {
        while self.next_ns <= now_ns {
            self.waiting.push_back(self.next_ns);
            self.next_ns = self.next_ns.saturating_add(self.interval_ns);
        }
    }
}

#[cfg(test)]
mod tests;
