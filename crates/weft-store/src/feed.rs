//! What changed lately, and those who watch it.
//!
//! There is no queue per watcher: all read one bounded history, each from its own place. One that
//! is too slow finds its place gone, and is told to list again; until then it costs nothing. So a
//! watcher can neither hold up a writer nor fill the memory, however many there are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::StoreError;
use crate::key::DocumentKey;
use crate::lease::Registration;
use crate::store::Document;
use crate::version::Version;

/// All that one batch changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The store's version after it.
    pub version: Version,
    /// The changes, in the order of the batch.
    pub events: Vec<Event>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A document was written.
    Put(Document),
    /// A document was deleted.
    Deleted(DocumentKey),
    /// A lease was registered, or registered with something else.
    Registered(Registration),
    /// A lease was removed.
    Deregistered(String),
}

impl Event {
    /// About how many bytes it keeps in memory.
    fn bytes(&self) -> usize {
        size_of::<Event>()
            + match self {
                Event::Put(document) => document.text.len(),
                Event::Registered(registration) => registration.text.len(),
                Event::Deleted(_) | Event::Deregistered(_) => 0,
            }
    }
}

/// The history, shared by the store and its watchers.
pub struct Feed {
    history: Mutex<History>,
    /// Told of every change, for those who wait with their thread.
    changed: Condvar,
    events_max: usize,
    bytes_max: usize,
}

struct History {
    commits: VecDeque<Arc<Commit>>,
    events: usize,
    bytes: usize,
    /// The version of the last commit that was let go, or the first version of all.
    oldest: Version,
    latest: Version,
    closed: bool,
    /// Who is to be woken, by the number of the watch.
    wakers: BTreeMap<u64, Waker>,
    watches: u64,
}

impl Feed {
    /// The feed of a store at `version`, which remembers about `events_max` events and `bytes_max`
    /// bytes of them.
    pub fn new(version: Version, events_max: usize, bytes_max: usize) -> Feed {
        let history = History {
            commits: VecDeque::new(),
            events: 0,
            bytes: 0,
            oldest: version,
            latest: version,
            closed: false,
            wakers: BTreeMap::new(),
            watches: 0,
        };
        Feed { history: Mutex::new(history), changed: Condvar::new(), events_max, bytes_max }
    }

    /// Tells everyone of `commit`. Whoever is to be woken is returned, to be woken when the caller
    /// holds no lock: a waker may run the watcher at once.
    #[must_use = "wake them"]
    pub fn publish(&self, commit: Commit) -> Vec<Waker> {
        let mut history = self.history();
        debug_assert!(commit.version > history.latest, "versions grow");
        history.latest = commit.version;
        if commit.events.is_empty() {
            return Vec::new();
        }
        history.events += commit.events.len();
        history.bytes += commit.events.iter().map(Event::bytes).sum::<usize>();
        history.commits.push_back(Arc::new(commit));
        // The last commit stays however large it is, or nobody could ever follow.
        while history.commits.len() > 1
            && (history.events > self.events_max || history.bytes > self.bytes_max)
        {
            history.forget_one();
        }
        self.changed.notify_all();
        std::mem::take(&mut history.wakers).into_values().collect()
    }

    /// Tells everyone that nothing will come any more.
    pub fn close(&self) {
        let mut history = self.history();
        history.closed = true;
        let wakers = std::mem::take(&mut history.wakers);
        drop(history);
        self.changed.notify_all();
        wakers.into_values().for_each(Waker::wake);
    }

    /// A watch of what comes after `from`.
    pub fn watch(self: &Arc<Self>, from: Version) -> Result<Watch, StoreError> {
        let mut history = self.history();
        if from > history.latest {
            return Err(StoreError::Ahead { from, latest: history.latest });
        }
        history.after(from)?;
        history.watches += 1;
        Ok(Watch { feed: self.clone(), number: history.watches, seen: from })
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // Nothing that holds the lock stops half-way.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    fn forget_one(&mut self) {
        if let Some(commit) = self.commits.pop_front() {
            self.events -= commit.events.len();
            self.bytes -= commit.events.iter().map(Event::bytes).sum::<usize>();
            self.oldest = commit.version;
        }
    }

    /// The first commit after version `seen`, if there was one since.
    fn after(&self, seen: Version) -> Result<Option<&Arc<Commit>>, StoreError> {
        if seen < self.oldest {
            return Err(StoreError::Compacted { from: seen, oldest: self.oldest });
        }
        let next = self.commits.partition_point(|commit| commit.version <= seen);
        match self.commits.get(next) {
            None if self.closed => Err(StoreError::Closed),
            commit => Ok(commit),
        }
    }
}

/// One watcher's place in the history.
///
/// After an error, all further calls give the same error.
pub struct Watch {
    feed: Arc<Feed>,
    number: u64,
    seen: Version,
}

impl Watch {
    /// The version of the last commit that was given, at first the one watched from.
    pub fn seen(&self) -> Version {
        self.seen
    }

    /// The next commit, if there is one already.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if the watcher was too slow, [`StoreError::Closed`] if the store
    /// is gone and all was given.
    pub fn try_next(&mut self) -> Result<Option<Arc<Commit>>, StoreError> {
        let next = self.feed.history().after(self.seen)?.cloned();
        Ok(next.inspect(|commit| self.seen = commit.version))
    }

    /// The next commit, or `Pending`, in which case the task of `context` is woken by it.
    ///
    /// # Errors
    /// As [`try_next`](Watch::try_next).
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Arc<Commit>, StoreError>> {
        let mut history = self.feed.history();
        let next = match history.after(self.seen) {
            Ok(Some(commit)) => commit.clone(),
            Ok(None) => {
                // Still under the lock, so that no commit comes between the look and this.
                history.wakers.insert(self.number, context.waker().clone());
                return Poll::Pending;
            }
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.seen = next.version;
        Poll::Ready(Ok(next))
    }

    /// The next commit, for which the thread waits up to `timeout`.
    ///
    /// # Errors
    /// As [`try_next`](Watch::try_next).
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Arc<Commit>>, StoreError> {
        let history = self.feed.history();
        let nothing_yet = |history: &mut History| matches!(history.after(self.seen), Ok(None));
        let waited = self.feed.changed.wait_timeout_while(history, timeout, nothing_yet);
        let (history, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let next = history.after(self.seen)?.cloned();
        Ok(next.inspect(|commit| self.seen = commit.version))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.feed.history().wakers.remove(&self.number);
    }
}
