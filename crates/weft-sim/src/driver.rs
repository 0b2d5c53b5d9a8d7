//! What moves simulated time: when no task can run, the next event happens.
//!
//! The runtime says that it is about to park, which is the one moment at which nothing can run. If
//! the next event is within the present millisecond, it happens; otherwise the driver sleeps, and
//! the runtime itself goes to the driver's time or to an earlier timer of foreign code.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use crate::clock::Event;
use crate::error::SimError;
use crate::simulation::Kernel;

/// Who is told that nothing can run. It crosses to the runtime's hook, which must be `Send`.
#[derive(Clone, Default)]
pub(crate) struct Quiet {
    waiting: Arc<Mutex<(Option<Waker>, bool)>>,
}

impl Quiet {
    /// Nothing can run.
    pub(crate) fn reached(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = waiting.0.take() {
            waiting.1 = true;
            waker.wake();
        }
    }

    /// Whether nothing could run since `waker` was left; if not, it is left now.
    fn take_or_wait(&self, waker: &Waker) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = std::mem::take(&mut waiting.1);
        waiting.0 = (!reached).then(|| waker.clone());
        reached
    }
}

/// Lets events happen, without end.
#[expect(clippy::disallowed_methods, reason = "simulated time rests on the paused clock of tokio")]
pub(crate) async fn drive(kernel: Rc<Kernel>, quiet: Quiet) {
    let mut sleep = Box::pin(tokio::time::sleep(std::time::Duration::ZERO));
    poll_fn(move |cx| {
        if !quiet.take_or_wait(cx.waker()) {
            return Poll::Pending;
        }
        if let Some(message) = crate::panics::take() {
            kernel.halt(SimError::Panicked { message });
        }
        if kernel.is_halted() {
            return Poll::Pending; // The main future has been woken and ends the run.
        }
        let Some(at) = kernel.timeline.next_at() else { return Poll::Pending };
        match kernel.timeline.instant_before(at) {
            Some(instant) => {
                sleep.as_mut().reset(instant);
                kernel.timeline.set_sleeper(at, cx.waker().clone());
                if Pin::new(&mut sleep).poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
            }
            None => {
                kernel.step();
                happen(&kernel);
                cx.waker().wake_by_ref(); // To wait for quiet again.
            }
        }
        Poll::Pending
    })
    .await
}

fn happen(kernel: &Kernel) {
    match kernel.timeline.advance() {
        Some(Event::Wake(waker)) => waker.wake(),
        Some(Event::Deliver(delivery)) => kernel.net.borrow_mut().deliver(delivery),
        Some(Event::Probe(probe)) => kernel.net.borrow_mut().probe(probe),
        Some(Event::TimeLimit) => {
            let limit = kernel.options.time_limit;
            kernel.halt(SimError::TimeLimit { limit, last: kernel.trace.last_at() });
        }
        None => {}
    }
}
