//! Connections and clocks for tests.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::task::{LocalSet, yield_now};
use weft_world::{Clock, Moment, Stream, Timer, UnixTime};

/// How much may be under way in one direction of a connection, in bytes.
pub(crate) const PIPE_BYTES: usize = 64 * 1024;

/// One end of a connection within the process.
pub(crate) struct Pipe(pub(crate) DuplexStream);

impl Stream for Pipe {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        assert!(!buffer.is_empty(), "to read nothing would look like the end");
        let mut buffer = ReadBuf::new(buffer);
        let read = Pin::new(&mut self.0).poll_read(cx, &mut buffer);
        read.map_ok(|()| buffer.filled().len())
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(buffer) = buffers.iter().find(|buffer| !buffer.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The two ends of a connection: that of the code under test, and the peer's.
pub(crate) fn pipe() -> (Box<dyn Stream>, DuplexStream) {
    let (own, peer) = tokio::io::duplex(PIPE_BYTES);
    (Box::new(Pipe(own)), peer)
}

/// Time that passes when a test says so.
#[derive(Default)]
pub(crate) struct TestClock {
    now: Cell<Moment>,
    waiting: RefCell<Vec<Waker>>,
    /// Whether all that foreign code waits for is over at once, and not never.
    pub(crate) is_over_at_once: Cell<bool>,
}

impl TestClock {
    pub(crate) fn advance(&self, duration: Duration) {
        self.now.set(self.now.get() + duration);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// The clock as the code under test sees it.
pub(crate) struct Handle(Rc<TestClock>);

pub(crate) struct TestTimer(Rc<TestClock>, Moment);

impl Clock for Handle {
    fn now(&self) -> Moment {
        self.0.now.get()
    }

    fn wall(&self) -> UnixTime {
        UnixTime(Duration::ZERO)
    }

    fn timer(&self, at: Moment) -> Box<dyn Timer> {
        Box::new(TestTimer(Rc::clone(&self.0), at))
    }

    fn on_system_clock(&self, _: Duration) -> Duration {
        if self.0.is_over_at_once.get() { Duration::ZERO } else { Duration::MAX }
    }
}

impl Future for TestTimer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.now.get() >= self.1 {
            return Poll::Ready(());
        }
        self.0.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }
}

impl Timer for TestTimer {
    fn reset(&mut self, at: Moment) {
        self.1 = at;
    }
}

pub(crate) fn clock() -> (Rc<TestClock>, Rc<dyn Clock>) {
    let clock = Rc::<TestClock>::default();
    (Rc::clone(&clock), Rc::new(Handle(clock)))
}

/// Runs `test` and the tasks that it spawns, on this thread.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Lets the other tasks run until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if condition() {
            return;
        }
        yield_now().await;
    }
    panic!("waited in vain until {what}");
}

/// Lets the other tasks run until all of them wait.
pub(crate) async fn settle() {
    for _ in 0..200 {
        yield_now().await;
    }
}
