//! Connections that carry many exchanges at a time, and who opens one more.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use weft_world::Moment;

use super::dialling::{Counted, DIALLING_MAX, Dialling, again};
use crate::Proxy;
use crate::error::ProxyError;
use crate::live::{Peer, judge_peer};

/// A connection that carries many exchanges at a time.
pub(super) trait Carries {
    /// How many it carries at most.
    const EXCHANGES_MAX: usize;

    /// Whether it stands and takes exchanges.
    fn is_usable(&mut self) -> bool;

    /// How many more it takes now.
    fn capacity(&mut self) -> usize;

    /// Whether anything was under way since this was last asked.
    fn was_used(&mut self) -> bool;
}

/// A connection that many exchanges share.
pub(super) struct Shared<C> {
    pub(super) connection: C,
    /// What its peer can be judged by.
    pub(super) peer: Option<Rc<Peer>>,
    /// From when on it takes no new exchange; those that are open then go on.
    pub(super) until: Option<Moment>,
    /// When it was found in use for the last time.
    used: Moment,
    /// Whether an exchange has begun since it was last looked over.
    is_used: bool,
}

impl<C> Shared<C> {
    /// The new `connection`, opened at `now`.
    pub(super) fn new(
        connection: C,
        peer: Option<Rc<Peer>>,
        until: Option<Moment>,
        now: Moment,
    ) -> Shared<C> {
        Shared { connection, peer, until, used: now, is_used: false }
    }
}

/// Those to one endpoint.
pub(super) struct Sharing<C> {
    open: RefCell<Vec<Shared<C>>>,
    dialling: Cell<usize>,
    dialled: Notify,
    /// How many wait for a connection that is being opened.
    waiting: Cell<usize>,
    /// How often opening one has failed, and why it did so last.
    failures: Cell<u64>,
    failure: RefCell<Option<ProxyError>>,
}

impl<C> Default for Sharing<C> {
    fn default() -> Sharing<C> {
        let (open, dialling, dialled) = Default::default();
        let (waiting, failures, failure) = Default::default();
        Sharing { open, dialling, dialled, waiting, failures, failure }
    }
}

impl<C: Carries> Sharing<C> {
    /// Does `act` to each.
    pub(super) fn each(&self, act: impl Fn(&C)) {
        self.open.borrow().iter().for_each(|shared| act(&shared.connection));
    }

    /// What `take` takes of the first connection that carries one more exchange.
    pub(super) fn on_free<T>(&self, take: impl FnOnce(&mut Shared<C>) -> T) -> Option<T> {
        let mut open = self.open.borrow_mut();
        open.retain_mut(|shared| shared.connection.is_usable());
        let mut usable = open.iter_mut();
        let free =
            usable.find_map(|shared| (shared.connection.capacity() > 0).then_some(shared))?;
        free.is_used = true;
        Some(take(free))
    }

    /// What `take` finds, once there is something for it: it is asked again after `open` has opened
    /// one more connection to `address`, or has found that another look is worth it, and after
    /// others have. Whoever waits for others holds what `waiting` gives meanwhile.
    ///
    /// # Errors
    /// Why none is to be had.
    pub(super) async fn get<T, O, W>(
        &self,
        address: SocketAddr,
        take: impl Fn() -> Option<T>,
        open: impl Fn() -> O,
        waiting: impl Fn() -> Result<W, ProxyError>,
    ) -> Result<T, ProxyError>
    where
        O: Future<Output = Result<Option<Shared<C>>, ProxyError>>,
    {
        let mut hopeless = None;
        loop {
            if let Some(taken) = take() {
                return Ok(taken);
            }
            if self.dialling.get() < self.dials_wanted() {
                Box::pin(self.dial(address, open())).await?;
            } else {
                let _waiting = waiting()?;
                self.dialled(address, &mut hopeless).await?;
            }
        }
    }

    /// Opens one more by `open`, and tells those who wait.
    async fn dial(
        &self,
        address: SocketAddr,
        open: impl Future<Output = Result<Option<Shared<C>>, ProxyError>>,
    ) -> Result<(), ProxyError> {
        let _dialling = Dialling::new(&self.dialled, &self.dialling);
        let opened = open.await.inspect_err(|error| {
            self.failures.set(self.failures.get() + 1);
            self.failure.replace(Some(again(error, address)));
        });
        self.open.borrow_mut().extend(opened?);
        Ok(())
    }

    /// Waits for one that others open. `hopeless` is of one who waits, and begins as `None`.
    async fn dialled(
        &self,
        address: SocketAddr,
        hopeless: &mut Option<u64>,
    ) -> Result<(), ProxyError> {
        let under_way = self.failures.get() + self.dialling.get() as u64;
        let hopeless = *hopeless.get_or_insert(under_way);
        let _waiting = Counted::new(&self.waiting);
        self.dialled.notified().await;
        // Who waited for dials that have all failed has failed as well: were each to dial in its
        // turn, the last one would wait for as many timeouts.
        let has_failed = self.failures.get() >= hopeless;
        match &*self.failure.borrow() {
            Some(failure) if has_failed && !self.has_free() => Err(again(failure, address)),
            _ => Ok(()),
        }
    }

    /// Tells one that waits for a connection that there may be something else for it.
    pub(super) fn gave_back(&self) {
        if self.waiting.get() > 0 {
            self.dialled.notify_one();
        }
    }

    /// How many connections are to be opened at a time: one, and one more for each full one that
    /// those who wait would make.
    fn dials_wanted(&self) -> usize {
        (1 + self.waiting.get() / C::EXCHANGES_MAX).min(DIALLING_MAX)
    }

    fn has_free(&self) -> bool {
        self.open.borrow_mut().iter_mut().any(|shared| shared.connection.capacity() > 0)
    }

    /// Closes those to peers that are not to be trusted any more.
    pub(super) fn judge(&self, proxy: &Proxy) {
        let mut open = self.open.borrow_mut();
        open.retain(|shared| judge_peer(proxy, shared.peer.as_deref()).is_ok());
    }

    /// Closes all, each as soon as its exchanges have ended.
    pub(super) fn close_all(&self) {
        self.open.borrow_mut().clear();
    }

    /// Takes out the first that `is_it`.
    pub(super) fn take_out(&self, is_it: impl Fn(&C) -> bool) -> Option<C> {
        let mut open = self.open.borrow_mut();
        let found = open.iter().position(|shared| is_it(&shared.connection))?;
        Some(open.remove(found).connection)
    }

    /// Closes those that were unused for `limit`, that are too old and `may_go`, or that the other
    /// side has closed, each as soon as its exchanges have ended.
    pub(super) fn sweep(&self, now: Moment, limit: Duration, may_go: impl Fn(&C) -> bool) {
        self.open.borrow_mut().retain_mut(|shared| {
            let was_used = shared.connection.was_used();
            if std::mem::take(&mut shared.is_used) || was_used {
                shared.used = now;
            }
            let is_old = shared.until.is_some_and(|until| now >= until);
            let is_over = is_old && may_go(&shared.connection);
            !is_over && shared.connection.is_usable() && now.since(shared.used) < limit
        });
    }
}
