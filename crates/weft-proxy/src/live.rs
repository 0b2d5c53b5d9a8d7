//! What lives is judged again when that by which it was let in changes.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use weft_identity::PeerFacts;

use crate::Proxy;
use crate::error::ProxyError;

/// All that lives on a worker, and the count of changes.
#[derive(Clone, Default)]
pub(crate) struct Live(Rc<Shared>);

#[derive(Default)]
struct Shared {
    changes: Cell<u64>,
    /// The tasks to be woken by a change; free places are to be filled again.
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Live {
    /// Notes that something changed: everything that lives looks whether it may go on.
    pub(crate) fn change(&self) {
        self.0.changes.set(self.0.changes.get() + 1);
        let wakers: Vec<_> = self.0.wakers.borrow().iter().flatten().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Begins to watch for changes from now on.
    pub(crate) fn watch(&self) -> Watch {
        let Shared { changes, wakers, free } = &*self.0;
        let mut wakers = wakers.borrow_mut();
        let place = free.borrow_mut().pop().unwrap_or_else(|| {
            wakers.push(None);
            wakers.len() - 1
        });
        Watch { shared: self.0.clone(), place, seen: changes.get() }
    }
}

/// Watches for changes.
pub(crate) struct Watch {
    shared: Rc<Shared>,
    place: usize,
    seen: u64,
}

impl Watch {
    /// Whether something changed since this was last asked; if not, the task is woken when it does.
    fn has_changed(&mut self, cx: &Context<'_>) -> bool {
        let changes = self.shared.changes.get();
        if changes != self.seen {
            self.seen = changes;
            return true;
        }
        let mut wakers = self.shared.wakers.borrow_mut();
        let waker = &mut wakers[self.place];
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        false
    }

    /// Drives `future`, unless `judge`, which is asked after each change, is against it.
    pub(crate) async fn over<T>(
        &mut self,
        mut judge: impl FnMut() -> Result<(), ProxyError>,
        future: impl Future<Output = T>,
    ) -> Result<T, ProxyError> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            while self.has_changed(cx) {
                judge()?;
            }
            future.as_mut().poll(cx).map(Ok)
        })
        .await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.wakers.borrow_mut()[self.place] = None;
        self.shared.free.borrow_mut().push(self.place);
    }
}

/// Whether a live connection with `peer` may go on.
///
/// # Errors
/// [`ProxyError::PeerRevoked`].
pub(crate) fn judge_peer(proxy: &Proxy, peer: Option<&PeerFacts>) -> Result<(), ProxyError> {
    let (Some(tls), Some(peer)) = (&proxy.tls, peer) else { return Ok(()) };
    match tls.judge(peer, proxy.world.clock.wall()) {
        Err(reason) if reason.is_urgent() => Err(ProxyError::PeerRevoked(Box::new(reason))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::task::Poll;

    use super::*;

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_change_is_judged_once_and_ends_what_it_forbids() {
        let live = Live::default();
        let judged = Cell::new(0);
        let mut watch = live.watch();
        let judge = || {
            judged.set(judged.get() + 1);
            if judged.get() < 2 { Ok(()) } else { Err(ProxyError::ClientGone) }
        };
        let mut over = pin!(watch.over(judge, pending::<()>()));
        assert!(poll(over.as_mut()).is_pending() && judged.get() == 0);
        live.change();
        assert!(poll(over.as_mut()).is_pending() && judged.get() == 1);
        assert!(poll(over.as_mut()).is_pending() && judged.get() == 1);
        live.change();
        assert!(matches!(poll(over.as_mut()), Poll::Ready(Err(ProxyError::ClientGone))));
    }

    #[test]
    fn places_are_used_again() {
        let live = Live::default();
        for _ in 0..10 {
            let (_one, _other) = (live.watch(), live.watch());
        }
        assert_eq!(live.0.wakers.borrow().len(), 2);
    }
}
