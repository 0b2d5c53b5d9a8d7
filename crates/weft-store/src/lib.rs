//! The resource store outside Kubernetes: in memory, or in one file.
//!
//! It keeps three kinds of entries: **documents** (resources as their authors wrote them, under
//! kind, namespace and name), **values** (small named state of the control plane's own: join-token
//! hashes, revocations, address assignments) and **leases** (registrations that must be renewed).
//! One [`Batch`] may change any of them together; all of it happens or none. The store has one
//! [`Version`] for all that is in it, and each batch that changes something raises it by one.
//!
//! Everything is held in memory, and a change is shown to nobody before its journal has it on the
//! disk (`journal.rs`, `file.rs`). So reads never wait for the disk, a disk that fails leaves the
//! old state readable, and the memory taken is a little more than the bytes stored.
//!
//! Deliberately absent: what a document means (bytes come in and go out unread); private keys,
//! which would lie here in clear; any clock, since callers bring the time; any async runtime:
//! calls that write block until the disk has it, and [`Watch::poll_next`] fits every executor.

mod batch;
mod error;
mod feed;
mod file;
mod journal;
mod key;
mod lease;
mod local;
mod medium;
mod plan;
mod state;
mod store;
mod version;

pub use batch::{Applied, Batch, Conflict, Expectation, Item, Outcome};
pub use error::{Fate, StoreError};
pub use feed::{Commit, Event, Watch};
pub use key::{DocumentKey, EntryKey};
pub use lease::{EXPIRED_AFTER, Lease, LeaseState, Registration};
pub use local::{LocalStore, Options};
pub use plan::{BYTES_MAX, NAME_BYTES_MAX};
pub use store::{Document, Filter, Listing, Store, Value};
pub use version::Version;
