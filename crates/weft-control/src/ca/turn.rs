//! Signing, while nothing changes what may be signed.

use std::sync::{Arc, RwLockReadGuard};

use weft_identity::{Issued, LEAF_LIFETIME, Serial, SignError};
use weft_model::SpiffeId;
use weft_store::Item;
use weft_world::UnixTime;

use super::records::Record;
use super::{Ca, Core};

/// A turn at signing.
pub(crate) struct Turn<'a> {
    pub(super) ca: &'a Ca,
    pub(super) core: Arc<Core>,
    pub(super) _guard: RwLockReadGuard<'a, ()>,
}

/// A certificate that is signed, to be handed out once it is on record.
pub(crate) struct Drafted {
    pub(crate) issued: Issued,
    serial: Serial,
    record: Record,
}

impl Turn<'_> {
    /// Whether `identity` is revoked.
    pub(crate) fn is_revoked(&self, identity: &SpiffeId) -> bool {
        self.ca.0.trust.load().bundle().revocations().identities.contains(identity)
    }

    /// Signs a certificate, which renews `before` if it does, and says how the store is to put it
    /// on record.
    ///
    /// # Errors
    /// [`SignError`].
    pub(crate) fn sign(
        &self,
        csr: &[u8],
        identity: &SpiffeId,
        wall: UnixTime,
        before: Option<Serial>,
    ) -> Result<(Drafted, Vec<Item>), SignError> {
        let authority = self.core.signing();
        let issued = authority.sign(csr, identity, wall, LEAF_LIFETIME)?;
        let mut records = self.ca.records();
        let (serial, record) = records.draft(&issued, identity, authority.root_key(), before, wall);
        let items = records.items(serial, &record);
        Ok((Drafted { issued, serial, record }, items))
    }

    /// Notes that the store has put a certificate on record, and gives it.
    pub(crate) fn recorded(&self, drafted: Drafted) -> Issued {
        let Drafted { issued, serial, record } = drafted;
        self.ca.records().take(serial, record);
        issued
    }
}
