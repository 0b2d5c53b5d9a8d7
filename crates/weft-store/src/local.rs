//! The store of one machine: all in memory, each change first in a journal.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use weft_world::Moment;

use crate::batch::{Applied, Batch};
use crate::error::{Fate, StoreError};
use crate::feed::{Commit, Feed, Watch};
use crate::file;
use crate::journal::{Forgetful, Journal};
use crate::key::DocumentKey;
use crate::lease::Lease;
use crate::medium::Disk;
use crate::plan::plan;
use crate::state::{self, Entries, Revision, State};
use crate::store::{Document, Filter, Listing, Store, Value};
use crate::version::Version;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The moment of opening, at which the time of all leases starts anew.
    pub now: Moment,
    /// How many events are remembered for watchers. Default 10,000: some minutes of a busy mesh.
    pub history_events_max: usize,
    /// How many bytes they may keep in memory. Default 16 MiB.
    pub history_bytes_max: usize,
}

impl Options {
    /// The defaults, for a store that is opened at `now`.
    pub fn at(now: Moment) -> Options {
        Options { now, history_events_max: 10_000, history_bytes_max: 16 << 20 }
    }
}

/// The store of one machine, in memory or in a file.
///
/// Writers wait for one another and for the disk; readers wait for neither.
pub struct LocalStore {
    /// Taken before `state`, and held while the disk writes.
    writer: Mutex<Writer>,
    state: Mutex<State>,
    feed: Arc<Feed>,
}

struct Writer {
    journal: Box<dyn Journal>,
    /// Whether the journal must recover before it can be written to.
    broken: bool,
    /// The revision that it may hold or not, and when its batch came.
    in_doubt: Option<(Revision, Moment)>,
}

/// A journal, and what it holds.
pub struct Opened {
    /// The journal.
    pub journal: Box<dyn Journal>,
    /// Whether it must recover before it can be written to.
    pub broken: bool,
    /// The version it is at.
    pub version: Version,
    /// What it holds.
    pub entries: Entries,
}

impl LocalStore {
    /// An empty store that is gone with the process.
    pub fn in_memory(options: &Options) -> LocalStore {
        let (journal, version) = (Box::new(Forgetful::new()), Version::FIRST);
        let opened = Opened { journal, broken: false, version, entries: Entries::new() };
        LocalStore::new(opened, options)
    }

    /// The store in the file at `path`, which is made if it is not there.
    ///
    /// Another file beside it, with `.lock` after its name, keeps other processes out. On a
    /// read-only disk the store can be read, and written to once the disk can be.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Damaged`], [`StoreError::NewerSchema`], and
    /// [`StoreError::Open`] if the system does not let the file be opened or made.
    pub fn open(path: impl Into<PathBuf>, options: &Options) -> Result<LocalStore, StoreError> {
        Ok(LocalStore::new(file::open(Disk::new(path.into()))?, options))
    }

    /// The store over what was opened.
    pub(crate) fn new(opened: Opened, options: &Options) -> LocalStore {
        let Options { now, history_events_max, history_bytes_max } = *options;
        let Opened { journal, broken, version, entries } = opened;
        let feed = Feed::new(version, history_events_max, history_bytes_max);
        LocalStore {
            writer: Mutex::new(Writer { journal, broken, in_doubt: None }),
            state: Mutex::new(State::new(version, entries, now)),
            feed: Arc::new(feed),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock stops half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows `revision`, which is durable, to readers and watchers.
    fn show(&self, revision: Revision, now: Moment) {
        let mut state = self.state();
        let commit = Commit { version: revision.version, events: state::events(&revision) };
        state.install(revision, now);
        // Under the lock of the state, so that a listing's version is never ahead of the feed.
        let wakers = self.feed.publish(commit);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Makes a broken journal usable, and learns what became of the revision in doubt: `true` if it
    /// is durable, and shown now.
    fn settle(&self, writer: &mut Writer) -> Result<bool, StoreError> {
        if !writer.broken {
            return Ok(false);
        }
        let found = writer.journal.recover()?;
        let shown = self.state().version;
        let made = match &writer.in_doubt {
            Some((revision, _)) if revision.version == found => true,
            _ if found == shown => false,
            _ => {
                let what = format!("it is at version {found} and was left at {shown}");
                return Err(StoreError::Damaged { path: writer.journal.path(), what });
            }
        };
        writer.broken = false;
        if let Some((revision, now)) = writer.in_doubt.take()
            && made
        {
            self.show(revision, now);
        }
        Ok(made)
    }

    /// Makes `revision` durable, then shows it.
    fn commit(
        &self,
        writer: &mut Writer,
        revision: Revision,
        now: Moment,
    ) -> Result<(), StoreError> {
        let Err(source) = writer.journal.record(&revision) else {
            self.show(revision, now);
            return Ok(());
        };
        writer.broken = true;
        writer.in_doubt = Some((revision, now));
        // Often the disk says at once what became of it: full, it still can be read.
        let fate = match self.settle(writer) {
            Ok(true) => return Ok(()),
            Ok(false) => Fate::NotMade,
            Err(_) => Fate::InDoubt,
        };
        Err(StoreError::Write { path: writer.journal.path(), fate, source })
    }
}

impl Store for LocalStore {
    fn version(&self) -> Result<Version, StoreError> {
        Ok(self.state().version)
    }

    fn get(&self, key: &DocumentKey) -> Result<Option<Document>, StoreError> {
        Ok(self.state().document(key))
    }

    fn list(&self, filter: &Filter) -> Result<Listing, StoreError> {
        Ok(self.state().list(filter))
    }

    fn get_value(&self, name: &str) -> Result<Option<Value>, StoreError> {
        Ok(self.state().value(name))
    }

    fn list_values(&self, prefix: &str) -> Result<Vec<Value>, StoreError> {
        Ok(self.state().values(prefix))
    }

    fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        Ok(self.state().lease(name))
    }

    fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        Ok(self.state().leases())
    }

    fn apply(&self, batch: Batch) -> Result<Applied, StoreError> {
        let now = batch.now;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // What an earlier batch left in doubt decides what this one finds.
        self.settle(&mut writer).map_err(as_write)?;
        let plan = {
            let state = self.state();
            plan(state.version, &state.entries, batch)?
        };
        if let Some(revision) = plan.revision {
            self.commit(&mut writer, revision, now)?;
        }
        let mut state = self.state();
        for name in plan.renewed {
            state.renew(&name, now);
        }
        Ok(plan.applied)
    }

    fn renew(&self, name: &str, now: Moment) -> Result<(), StoreError> {
        let renewed = self.state().renew(name, now);
        renewed.then_some(()).ok_or_else(|| StoreError::NoSuchLease { name: name.to_owned() })
    }

    fn watch(&self, from: Version) -> Result<Watch, StoreError> {
        self.feed.watch(from)
    }

    fn backup(&self, path: &Path) -> Result<(), StoreError> {
        let (version, entries) = {
            let state = self.state();
            (state.version, state.entries.clone())
        };
        file::backup(path, version, &entries)
    }
}

impl Drop for LocalStore {
    fn drop(&mut self) {
        self.feed.close();
    }
}

/// The journal's trouble with recovering, as the trouble of a batch that was not even begun.
fn as_write(error: StoreError) -> StoreError {
    match error {
        StoreError::Open { path, source } => {
            StoreError::Write { path, fate: Fate::NotMade, source }
        }
        StoreError::InUse { path } => {
            let source = io::Error::from(io::ErrorKind::ResourceBusy);
            StoreError::Write { path, fate: Fate::NotMade, source }
        }
        other => other,
    }
}
