//! The certificate authority at work: what it signs, what it has revoked, and the replacement of
//! its root.
//!
//! All of it is kept in the store: [`kept`] has the state, which changes as one, [`records`] what
//! was issued. A change is written first; then it is in force. Keys are files, see [`Keys`]; beside
//! them is a copy of the state, see [`beside`], so that a store that is restored from an older copy
//! forgets no revocation.

mod beside;
mod error;
mod kept;
mod records;
mod report;
mod time;
mod turn;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;
use weft_identity::{
    Authority, AuthorityError, CertificateDer, KeyHash, LEAF_LIFETIME, PeerFacts, Reason, Rotation,
    Serial, SerialError, TrustBundle, TrustSlot,
};
use weft_model::{ContentHash, ObjectName, SpiffeId, TrustDomain};
use weft_store::{Batch, Expectation, Item, Store, StoreError, Version};
use weft_world::{Clock, Moment, UnixTime};

pub use self::beside::STATE_FILE;
pub use self::error::CaError;
use self::kept::{Kept, REVOCATIONS_MAX};
use self::records::Records;
use self::turn::Turn;
pub(crate) use self::watch::{described, tell};
use crate::api::{RevokeRequest, RevokeResponse};

/// How many records are written at once at most.
const WRITES_MAX: usize = 256;

/// Where the keys of authorities are, by the generation of their roots. Calls wait for a disk.
pub trait Keys: Send + Sync {
    /// The authority of the new `generation`, of which what is missing is made.
    ///
    /// # Errors
    /// [`AuthorityError`].
    fn make(&self, generation: u32, now: UnixTime) -> Result<Authority, AuthorityError>;

    /// The authority of `generation`, which was made before: another root is never made.
    ///
    /// # Errors
    /// [`AuthorityError`].
    fn open(&self, generation: u32, now: UnixTime) -> Result<Authority, AuthorityError>;

    /// The authority of `generation` with the next intermediate: one that somebody has put in
    /// place, or a new one.
    ///
    /// # Errors
    /// [`AuthorityError`].
    fn renew(&self, generation: u32, now: UnixTime) -> Result<Authority, AuthorityError>;

    /// Removes the private keys of `generation`, if they are there.
    ///
    /// # Errors
    /// [`AuthorityError::File`].
    fn destroy(&self, generation: u32) -> Result<(), AuthorityError>;

    /// What was kept last in [`STATE_FILE`], if anything was.
    ///
    /// # Errors
    /// [`AuthorityError::File`].
    fn recall(&self) -> Result<Option<Vec<u8>>, AuthorityError>;

    /// Keeps `state` in [`STATE_FILE`].
    ///
    /// # Errors
    /// [`AuthorityError::File`].
    fn remember(&self, state: &[u8]) -> Result<(), AuthorityError>;
}

/// The certificate authority at work. Cheap to clone.
#[derive(Clone)]
pub struct Ca(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    keys: Arc<dyn Keys>,
    clock: Arc<dyn Clock + Send + Sync>,
    /// When it was opened, by both kinds of time.
    opened: (Moment, UnixTime),
    trust_domain: TrustDomain,
    trust: TrustSlot,
    /// Whom the control plane itself lets in: also holders of certificates below roots that are
    /// withdrawn, so that one who was away gets another.
    admitted: TrustSlot,
    /// Held for reading while a certificate is signed and recorded, for writing while it changes
    /// what may be signed: so whoever changes that knows all that was signed before. Both wait for
    /// the disk, and are taken where that holds up nobody.
    gate: RwLock<()>,
    core: Mutex<Arc<Core>>,
    /// The state that is kept beside the store, where it is known.
    beside: Mutex<Option<Vec<u8>>>,
    records: Mutex<Records>,
    /// Held while records are written, so that whoever finds nothing to write knows it written.
    saving: Mutex<()>,
    /// The numbers of the bundles that were published last, by their versions on the wire.
    published: Mutex<BTreeMap<ContentHash, u64>>,
    /// Told when there is something to do for a rotation.
    stirred: Notify,
}

/// The state, and what it leads to.
struct Core {
    kept: Kept,
    /// The version of `kept` in the store.
    version: Version,
    /// The authorities of the trusted roots.
    authorities: BTreeMap<KeyHash, Arc<Authority>>,
}

impl Core {
    fn signing(&self) -> &Arc<Authority> {
        let root = self.kept.rotation.signing();
        self.authorities.get(&root).expect("the authorities of all trusted roots are open")
    }

    /// Whom the control plane itself lets in, where that is more than `published`.
    fn admitted(&self, published: &TrustBundle) -> Result<TrustBundle, CaError> {
        let pem: String = self.kept.withdrawn().collect();
        let mut roots: Vec<_> = published.roots().values().cloned().collect();
        if !pem.is_empty() {
            let domain = published.trust_domain().clone();
            let withdrawn = TrustBundle::from_pem(domain, pem.as_bytes())?;
            roots.extend(withdrawn.roots().values().cloned());
        }
        let (domain, sequence) = (published.trust_domain().clone(), published.sequence());
        Ok(TrustBundle::new(domain, sequence, roots, published.revocations().clone())?)
    }

    fn bundle(&self, trust_domain: &TrustDomain) -> Result<TrustBundle, CaError> {
        let Core { kept, authorities, .. } = self;
        let roots = authorities.values().map(|authority| authority.root().clone());
        let sequence = kept.sequence;
        let bundle = TrustBundle::new(trust_domain.clone(), sequence, roots, kept.revocations())?;
        let renew_below = match kept.rotation {
            Rotation::Signing { new, .. } => Some(new),
            _ => None,
        };
        Ok(bundle.renewing_below(renew_below))
    }
}

impl Ca {
    /// The trust domain of the authority that `store` has, or that was kept `beside` it.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn trust_domain_of(
        store: &dyn Store,
        keys: &dyn Keys,
    ) -> Result<Option<TrustDomain>, CaError> {
        let found = beside::find(store, keys)?;
        Ok(found.kept.and_then(|kept| kept.trust_domain?.parse().ok()))
    }

    /// The authority of `trust_domain` that `store` and `keys` have; on the first start, a new one.
    ///
    /// # Errors
    /// [`CaError`].
    pub fn open(
        store: Arc<dyn Store>,
        keys: Arc<dyn Keys>,
        clock: Arc<dyn Clock + Send + Sync>,
        trust_domain: TrustDomain,
    ) -> Result<Ca, CaError> {
        let wall = clock.wall();
        let opened = (clock.now(), wall);
        let records = Records::load(&store.list_values(records::PREFIX)?)?;
        let found = beside::find(&*store, &*keys)?;
        let (kept, authorities) = match found.kept {
            Some(mut kept) => {
                kept.trust_domain = Some(trust_domain.to_string());
                let authorities = open_all(&*keys, &kept, &BTreeMap::new(), wall)?;
                (kept, authorities)
            }
            None => {
                let authority = keys.make(1, wall);
                let authority =
                    authority.map_err(|source| CaError::Authority { generation: 1, source })?;
                let kept = Kept::first(&trust_domain, authority.root_key(), wall);
                (kept, [(authority.root_key(), Arc::new(authority))].into())
            }
        };
        let version = match found.stored {
            Some(version) if !found.is_newer => version,
            stored => {
                let expectation = stored.map_or(Expectation::Absent, Expectation::Version);
                let item = Item::put_value(kept::NAME, kept.bytes()).expecting(expectation);
                store.apply(Batch { now: clock.now(), wall, items: vec![item] })?.version
            }
        };
        if found.is_newer && found.stored.is_some() {
            crate::say!(
                "weft control: the store is older than {STATE_FILE}: it was restored from a copy. \
                 The roots, and what is revoked, are as they were last; resources, registrations \
                 and join tokens are as in the copy"
            );
        }
        let core = Core { kept, version, authorities };
        let bundle = core.bundle(&trust_domain)?;
        let admitted = TrustSlot::new(core.admitted(&bundle)?);
        let trust = TrustSlot::new(bundle);
        let ca = Ca(Arc::new(Inner {
            store,
            keys,
            clock,
            opened,
            trust_domain,
            trust,
            admitted,
            gate: RwLock::new(()),
            core: Mutex::new(Arc::new(core)),
            beside: Mutex::new(found.beside),
            records: Mutex::new(records),
            saving: Mutex::default(),
            published: Mutex::default(),
            stirred: Notify::new(),
        }));
        ca.remember_or_try_again(&ca.core().kept);
        Ok(ca)
    }

    /// What is trusted in the mesh.
    pub fn trust(&self) -> &TrustSlot {
        &self.0.trust
    }

    /// Whom the control plane's own port lets in. Who that is, [`prove`](Self::prove) tells.
    pub(crate) fn admitted(&self) -> &TrustSlot {
        &self.0.admitted
    }

    /// Who the peer with `certificates` is, if the control plane lets it in. Below a root that is
    /// withdrawn only what is on record is let in.
    ///
    /// # Errors
    /// What is against it.
    pub(crate) fn prove(
        &self,
        certificates: &[CertificateDer<'static>],
        wall: UnixTime,
    ) -> Result<PeerFacts, String> {
        let admitted = self.0.admitted.load();
        let facts = admitted.facts(certificates, wall).map_err(|error| error.to_string())?;
        // A connection outlives what was judged when it began.
        match self.0.trust.load().judge(&facts, wall) {
            Err(Reason::RootWithdrawn(_)) if self.records().knows(&facts) => {}
            judged => judged.map_err(|reason| reason.to_string())?,
        }
        Ok(facts)
    }

    /// What signs now.
    pub fn authority(&self) -> Arc<Authority> {
        self.core().signing().clone()
    }

    /// Puts the next intermediate to work below the root that signs. Waits for the disk.
    ///
    /// # Errors
    /// [`CaError`]; nothing was changed.
    pub(crate) fn renew(&self) -> Result<(), CaError> {
        let _turn = self.0.gate.write().unwrap_or_else(PoisonError::into_inner);
        let core = self.core();
        let Core { kept, version, authorities } = &*core;
        let root = kept.rotation.signing();
        let generation = kept.generation(root).unwrap_or(kept.last_generation);
        let renewed = self.0.keys.renew(generation, self.0.clock.wall());
        let renewed = renewed.map_err(|source| CaError::Authority { generation, source })?;
        if renewed.root_key() != root {
            let found = renewed.root_key();
            return Err(CaError::Root { generation, found, recorded: root });
        }
        let mut authorities = authorities.clone();
        authorities.insert(root, Arc::new(renewed));
        let next = Core { kept: kept.clone(), version: *version, authorities };
        *self.0.core.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    /// Revokes something, or lets it in again. Waits for the disk; what is signed later knows of
    /// it. The caller then [tells](crate::Discovery::renew_trust) the proxies.
    ///
    /// # Errors
    /// [`CaError`]; nothing was changed.
    pub fn revoke(&self, request: &RevokeRequest) -> Result<RevokeResponse, CaError> {
        let RevokeRequest { identity, serial, undo } = request;
        let undo = *undo;
        match (identity, serial) {
            (Some(text), None) => {
                let identity = self.identity(text)?;
                self.change(|kept| {
                    let changed = kept.revoke_identity(&identity, undo);
                    let note = None;
                    Ok((changed, Revoked { what: identity.to_string(), note }))
                })
            }
            (None, Some(text)) => {
                let serial: Serial = text.parse().map_err(|error: SerialError| {
                    CaError::Invalid { field: "serial", reason: error.to_string() }
                })?;
                self.check_serial(serial, undo)?;
                let on_record = self.records().not_after(&serial);
                // No leaf lives longer than one that is signed now.
                let until = UnixTime(self.at_latest().0 + LEAF_LIFETIME);
                let note = (on_record.is_none() && !undo).then(|| {
                    "no certificate with this serial number is on record: if it is a typing \
                     error, take it back with --undo"
                        .to_owned()
                });
                self.change(|kept| {
                    let changed = kept.revoke_serial(serial, on_record.unwrap_or(until), undo);
                    Ok((changed, Revoked { what: serial.to_string(), note }))
                })
            }
            _ => Err(CaError::Invalid {
                field: "identity",
                reason: "either an identity or a serial number is needed".to_owned(),
            }),
        }
        .map(|(changed, sequence, Revoked { what, note })| RevokeResponse {
            what,
            changed,
            sequence,
            note,
        })
    }

    /// Begins to replace the root by a new one. Waits for the disk.
    ///
    /// # Errors
    /// [`CaError`]; nothing was changed.
    pub fn rotate(&self) -> Result<(), CaError> {
        let _turn = self.0.gate.write().unwrap_or_else(PoisonError::into_inner);
        let core = self.core();
        let mut kept = core.kept.clone();
        let sequence = self.next_sequence(&kept)?;
        let generation = kept.last_generation + 1;
        if let Rotation::Steady { .. } = kept.rotation {
            let made = self.0.keys.make(generation, self.0.clock.wall());
            let authority = made.map_err(|source| CaError::Authority { generation, source })?;
            kept.rotation = kept.rotation.start(authority.root_key(), sequence)?;
            kept.generations.insert(generation, authority.root_key());
            kept.last_generation = generation;
        } else {
            // Says what is under way.
            kept.rotation.start(kept.rotation.signing(), sequence)?;
        }
        self.put(&core, Kept { sequence, ..kept })?;
        self.0.stirred.notify_one();
        Ok(())
    }

    /// Takes the new root away again. Waits for the disk.
    ///
    /// # Errors
    /// [`CaError::Rotation`] if there is none, or certificates are signed below it already.
    pub fn abort(&self) -> Result<(), CaError> {
        let _turn = self.0.gate.write().unwrap_or_else(PoisonError::into_inner);
        let core = self.core();
        let sequence = self.next_sequence(&core.kept)?;
        let rotation = core.kept.rotation.abort(sequence)?;
        self.put(&core, Kept { rotation, sequence, ..core.kept.clone() })?;
        self.0.stirred.notify_one();
        Ok(())
    }

    /// A turn at signing: nothing changes what may be signed until it is given back.
    pub(crate) fn turn(&self) -> Turn<'_> {
        let guard = self.0.gate.read().unwrap_or_else(PoisonError::into_inner);
        Turn { ca: self, core: self.core(), _guard: guard }
    }

    /// The last second of the certificate that the holder of the one that `facts` tell of uses by
    /// now: it may have renewed it.
    pub(crate) fn in_use_until(&self, facts: &PeerFacts) -> UnixTime {
        self.records().in_use_until(&facts.serial).unwrap_or(facts.not_after)
    }

    /// Notes that a holder has proved its certificate.
    pub(crate) fn proved(&self, facts: &PeerFacts) {
        self.records().proved(facts);
        self.0.stirred.notify_one();
    }

    /// Notes that a holder has registered `workload`.
    pub(crate) fn registered(&self, facts: &PeerFacts, workload: &ObjectName) {
        self.records().register(facts, workload);
        self.0.stirred.notify_one();
    }

    /// Notes that a holder ends; `seats` is the number of streams that there were, and `streams`
    /// has the certificates of those that there are.
    pub(crate) fn left(&self, facts: &PeerFacts, seats: u64, streams: &[Serial]) {
        self.records().leave(facts, seats, streams);
        self.0.stirred.notify_one();
    }

    /// Writes what the store does not have of what was noted. Waits for the disk. Who was told that
    /// something is noted may never say it again.
    ///
    /// # Errors
    /// If the store does not take it; it is written the next time.
    pub(crate) fn save(&self) -> Result<(), StoreError> {
        let _turn = self.0.saving.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (now, wall) = (self.0.clock.now(), self.passed());
            let (items, written) = self.records().settle(wall, WRITES_MAX);
            if items.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.0.store.apply(Batch { now, wall, items }) {
                self.records().mark(written);
                return Err(error);
            }
        }
    }

    fn identity(&self, text: &str) -> Result<SpiffeId, CaError> {
        let invalid = |reason: String| CaError::Invalid { field: "identity", reason };
        let identity = if text.starts_with("spiffe:") {
            text.parse::<SpiffeId>().map_err(|error| invalid(error.to_string()))?
        } else {
            let account = text
                .parse()
                .map_err(|error| invalid(format!("{error}: give NAMESPACE/NAME or a SPIFFE ID")))?;
            SpiffeId::new(self.0.trust_domain.clone(), account)
        };
        if *identity.trust_domain() != self.0.trust_domain {
            let own = &self.0.trust_domain;
            return Err(invalid(format!("{identity} is not of this trust domain, {own}")));
        }
        Ok(identity)
    }

    /// Refuses to revoke what all certificates depend on.
    fn check_serial(&self, serial: Serial, undo: bool) -> Result<(), CaError> {
        let core = self.core();
        let is_own =
            core.authorities.values().any(|authority| authority.intermediate().0 == serial);
        if is_own && !undo {
            let reason = "this is the intermediate that signs: everybody would be shut out at \
                          once. `weft ca rotate` replaces it without that";
            return Err(CaError::Invalid { field: "serial", reason: reason.to_owned() });
        }
        Ok(())
    }

    /// Changes what is revoked as `edit` says; unless it says that nothing changed.
    fn change<T>(
        &self,
        edit: impl FnOnce(&mut Kept) -> Result<(bool, T), CaError>,
    ) -> Result<(bool, u64, T), CaError> {
        let _turn = self.0.gate.write().unwrap_or_else(PoisonError::into_inner);
        let core = self.core();
        let mut kept = core.kept.clone();
        let (changed, told) = edit(&mut kept)?;
        if !changed {
            return Ok((false, core.kept.sequence, told));
        }
        if kept.revocations_count() > REVOCATIONS_MAX.max(core.kept.revocations_count()) {
            return Err(CaError::Full);
        }
        kept.sequence = self.next_sequence(&core.kept)?;
        let sequence = kept.sequence;
        self.put(&core, kept)?;
        Ok((true, sequence, told))
    }

    /// The number of the next bundle. It is at least the time in milliseconds, within which there
    /// are no two, so that it does not go back where all that was kept was restored from a copy;
    /// and at least that of the store, where the clock is behind.
    fn next_sequence(&self, kept: &Kept) -> Result<u64, CaError> {
        let wall = kept::millis(self.0.clock.wall());
        Ok(kept.sequence.max(self.0.store.version()?.number()).max(wall) + 1)
    }

    /// Writes the state, then puts it in force. To be called with the gate held for writing.
    fn put(&self, before: &Core, kept: Kept) -> Result<(), CaError> {
        let Inner { store, keys, clock, trust_domain, trust, admitted, core, .. } = &*self.0;
        let (now, wall) = (clock.now(), clock.wall());
        let authorities = open_all(&**keys, &kept, &before.authorities, wall)?;
        let mut next = Core { kept, version: before.version, authorities };
        let bundle = next.bundle(trust_domain)?;
        let admitting = next.admitted(&bundle)?;
        let item = Item::put_value(kept::NAME, next.kept.bytes());
        let items = vec![item.expecting(Expectation::Version(before.version))];
        next.version = store.apply(Batch { now, wall, items })?.version;
        self.remember_or_try_again(&next.kept);
        *core.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        admitted.replace(admitting)?;
        trust.replace(bundle)?;
        Ok(())
    }

    fn core(&self) -> Arc<Core> {
        self.0.core.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a revocation is called.
struct Revoked {
    what: String,
    note: Option<String>,
}

/// The authorities of the trusted roots of `kept`; those in `open` are not opened again.
fn open_all(
    keys: &dyn Keys,
    kept: &Kept,
    open: &BTreeMap<KeyHash, Arc<Authority>>,
    now: UnixTime,
) -> Result<BTreeMap<KeyHash, Arc<Authority>>, CaError> {
    let trusted: BTreeSet<_> = kept.rotation.trusted().into_iter().collect();
    let mut authorities = BTreeMap::new();
    for root in trusted {
        let authority = match open.get(&root) {
            Some(authority) => authority.clone(),
            None => {
                let generation = kept.generation(root).unwrap_or(kept.last_generation);
                let opened = keys.open(generation, now);
                let authority =
                    opened.map_err(|source| CaError::Authority { generation, source })?;
                let found = authority.root_key();
                if found != root {
                    return Err(CaError::Root { generation, found, recorded: root });
                }
                Arc::new(authority)
            }
        };
        authorities.insert(root, authority);
    }
    Ok(authorities)
}

#[cfg(test)]
mod tests;
