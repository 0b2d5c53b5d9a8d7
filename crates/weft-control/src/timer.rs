//! Timers as hyper wants them, which may move between threads, over a clock that stays on its own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::sync::oneshot;
use weft_world::{Clock, Moment};

thread_local! {
    /// The clocks that timers of this thread go by.
    static CLOCKS: RefCell<BTreeMap<u64, LocalClock>> = const { RefCell::new(BTreeMap::new()) };
}

/// A clock, and the same moment of it and of the standard library.
#[derive(Clone)]
struct LocalClock {
    clock: Rc<dyn Clock>,
    start: (Moment, Instant),
}

impl LocalClock {
    fn now(&self) -> Instant {
        self.start.1 + self.clock.now().since(self.start.0)
    }
}

/// A timer for hyper over a clock of this thread. It works on this thread only.
#[derive(Clone)]
pub(crate) struct HyperTimer(Arc<Entry>);

/// The place of a clock among those of its thread.
struct Entry(u64);

impl HyperTimer {
    pub(crate) fn new(clock: Rc<dyn Clock>) -> HyperTimer {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        #[expect(clippy::disallowed_methods, reason = "only what is added to it is ever looked at")]
        let start = (clock.now(), Instant::now());
        CLOCKS.with_borrow_mut(|clocks| clocks.insert(number, LocalClock { clock, start }));
        HyperTimer(Arc::new(Entry(number)))
    }

    fn clock(&self) -> LocalClock {
        let clock = CLOCKS.with_borrow(|clocks| clocks.get(&self.0.0).cloned());
        clock.expect("connections stay on the thread that made their timer")
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // At the end of the thread the map may be gone already.
        let _ = CLOCKS.try_with(|clocks| clocks.borrow_mut().remove(&self.0));
    }
}

impl Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        let timer = self.clock().clock.sleep(duration);
        let (mut sender, receiver) = oneshot::channel();
        tokio::task::spawn_local(async move {
            tokio::select! {
                biased;
                () = sender.closed() => {}
                () = timer => drop(sender.send(())),
            }
        });
        Box::pin(HyperSleep(receiver))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    fn now(&self) -> Instant {
        self.clock().now()
    }
}

/// Ready when the task that waits for it says so.
struct HyperSleep(oneshot::Receiver<()>);

impl Sleep for HyperSleep {}

impl Future for HyperSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

/// Runs what hyper has to run beside a connection, on this thread.
#[derive(Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move { drop(future.await) });
    }
}
