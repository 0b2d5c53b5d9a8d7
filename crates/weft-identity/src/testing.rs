//! What the tests of several modules need: a mesh with a clock that stands still, and a disk.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weft_model::{SpiffeId, TrustDomain};
use weft_world::{Files, UnixTime};

use crate::{Authority, LEAF_LIFETIME, Request, Revocations, Root, Svid, TrustBundle};

pub(crate) const CART: &str = "spiffe://weft.test/ns/shop/sa/cart";
pub(crate) const WEB: &str = "spiffe://weft.test/ns/shop/sa/web";

pub(crate) const DAY: u64 = 86_400;

/// 2026-11-23T06:03:43Z, and `seconds` more.
pub(crate) fn at(seconds: u64) -> UnixTime {
    UnixTime(Duration::from_secs(1_795_413_823 + seconds))
}

/// The time by which rustls goes in a handshake.
pub(crate) fn wall() -> UnixTime {
    weft_net::world().clock.wall()
}

pub(crate) fn domain() -> TrustDomain {
    "weft.test".parse().unwrap()
}

pub(crate) fn identity(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

pub(crate) fn root(now: UnixTime) -> Root {
    Root::generate(domain(), now).unwrap()
}

/// An SVID of `text`, by `authority`.
pub(crate) fn svid(authority: &Authority, text: &str, now: UnixTime) -> Svid {
    let (request, identity) = (Request::generate().unwrap(), identity(text));
    let issued = authority.sign(request.csr_der(), &identity, now, LEAF_LIFETIME).unwrap();
    request.finish(issued.chain, &identity).unwrap()
}

/// A bundle of the roots of `authorities`.
pub(crate) fn bundle(
    sequence: u64,
    authorities: &[&Authority],
    revocations: Revocations,
) -> TrustBundle {
    let roots = authorities.iter().map(|authority| authority.root().clone());
    TrustBundle::new(domain(), sequence, roots, revocations).unwrap()
}

/// A disk in memory, which can be full.
#[derive(Default)]
pub(crate) struct MemoryFiles {
    pub(crate) content: RefCell<BTreeMap<PathBuf, Vec<u8>>>,
    /// How many more files can be written, if that is limited.
    pub(crate) writes_left: Cell<Option<u32>>,
}

impl Files for MemoryFiles {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        let content = self.content.borrow();
        let content = content.get(path).ok_or(io::ErrorKind::NotFound)?;
        if content.len() > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(content.clone())
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        if let Some(left) = self.writes_left.get() {
            let left = left.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            self.writes_left.set(Some(left));
        }
        self.content.borrow_mut().insert(path.to_owned(), content.to_owned());
        Ok(())
    }
}
