//! The server's side: it takes the streams that a client opens.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::JoinSet;
use weft_wire::mux::MuxError;
use weft_world::{Clock, Stream, Timer};

use super::{Driver, FAREWELL_TIMEOUT, MuxStream, Shared, Windows};
use crate::time::DOWNSTREAM_IDLE_TIMEOUT;

/// The server's side of a connection.
struct Server {
    driver: Driver,
    /// Whether streams were opened by what was read last.
    has_opened: bool,
}

impl Server {
    /// The next stream, or none once the connection has ended.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<MuxStream>> {
        if let Some(stream) = self.driver.opened.pop_front() {
            return Poll::Ready(Some(stream));
        }
        // Before more is read, those that were opened get their turn: a request that is refused
        // holds what has come of it no longer than that.
        if std::mem::take(&mut self.has_opened) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let ended = self.driver.poll(cx);
        match self.driver.opened.pop_front() {
            Some(stream) => {
                self.has_opened = true;
                Poll::Ready(Some(stream))
            }
            None => ended.map(|()| None),
        }
    }

    /// Tells the client to open no more streams: those it opens now are not looked at.
    fn go_away(&self) {
        let Shared { goes_away, farewell, last, .. } = &*self.driver.shared;
        if !goes_away.replace(true) {
            farewell.set(Some(last.get()));
            self.driver.shared.wake();
        }
    }
}

/// Serves a connection to its end: `handle` makes the task for each stream that it does not refuse.
///
/// Once `drain` is ready, the client is told to open no further streams. Dropping this breaks off
/// all tasks. Returns what the client did wrong, if it was ended for that.
pub async fn serve<F>(
    stream: Box<dyn Stream>,
    clock: &dyn Clock,
    windows: &Windows,
    drain: impl Future<Output = ()>,
    mut handle: impl FnMut(MuxStream) -> Option<F>,
) -> Option<MuxError>
where
    F: Future<Output = ()> + 'static,
{
    let driver = Driver::new(stream, Shared::new(false, windows));
    let mut server = Server { driver, has_opened: false };
    let mut working = JoinSet::new();
    let mut drain = pin!(drain);
    let mut idle = Idle { since: clock.now(), timer: None };
    loop {
        let is_idle = working.is_empty();
        let goes_away = server.driver.shared.goes_away.get();
        let limit = if goes_away { FAREWELL_TIMEOUT } else { DOWNSTREAM_IDLE_TIMEOUT };
        tokio::select! {
            biased;
            () = &mut drain, if !goes_away => {
                server.go_away();
                idle = Idle { since: clock.now(), timer: None };
            }
            Some(_) = working.join_next() => idle.since = clock.now(),
            stream = poll_fn(|cx| server.poll_accept(cx)) => match stream {
                Some(stream) => {
                    if let Some(task) = handle(stream) {
                        working.spawn_local(task);
                    }
                }
                None => break,
            },
            () = poll_fn(|cx| idle.poll(cx, clock, limit)), if is_idle => {
                if goes_away {
                    break;
                }
                server.go_away();
                idle = Idle { since: clock.now(), timer: None };
            }
        }
    }
    // Their streams have ended with the connection, which they notice by themselves.
    while working.join_next().await.is_some() {}
    server.driver.shared.fault.get()
}

/// How long no stream was open. The timer is moved only when it ends.
struct Idle {
    since: weft_world::Moment,
    timer: Option<Box<dyn Timer>>,
}

impl Idle {
    /// Ready once it was for `limit`.
    fn poll(&mut self, cx: &mut Context<'_>, clock: &dyn Clock, limit: Duration) -> Poll<()> {
        let due = self.since + limit;
        loop {
            let timer = self.timer.get_or_insert_with(|| clock.timer(due));
            if Pin::new(&mut *timer).poll(cx).is_pending() {
                return Poll::Pending;
            }
            if clock.now() >= due {
                return Poll::Ready(());
            }
            timer.reset(due);
        }
    }
}
