//! The resources: checked when they come in, kept as their authors wrote them.

use std::sync::Arc;

use thiserror::Error;
use weft_compile::Status;
use weft_crd::{
    ConfigMap, ExternalPort, Finding, Key, Kind, Object, ObjectName, Options, Parsed, Platform,
    Resource, Severity, Timestamp, TlsRoots, harmless, parse_all,
};
use weft_model::TrustDomain;
use weft_store::{
    Batch, Document, DocumentKey, Event, Expectation, Filter, Item, Outcome, Store, StoreError,
    Version,
};
use weft_world::{Moment, UnixTime};

use crate::api::{
    Action, AppliedObject, ApplyRequest, ApplyResponse, ListResponse, ObjectKey, Refusal,
    StoredObject, WatchEvent,
};

/// Why resources were not changed.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// Something is wrong with the objects. Nothing was changed.
    #[error("{rendered}")]
    Invalid {
        /// All that is wrong.
        findings: Vec<Finding>,
        /// The same with the source lines.
        rendered: String,
    },
    /// There is no such kind.
    #[error("there is no kind `{0}`; there are {1}")]
    Kind(String, String),
    /// Without a Mesh, all traffic would be refused.
    #[error(
        "{0} is the only Mesh, and without one all traffic is refused: change it with `weft apply`, \
         or apply another before you delete it"
    )]
    OnlyMesh(String),
    /// They are kept by Kubernetes, and only copied from there.
    #[error("the resources of this mesh are in Kubernetes: change them there, as with kubectl")]
    Kubernetes,
    /// There is no such object.
    #[error("{0} does not exist")]
    Missing(String),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ApplyError {
    /// The stable code of the reason, and the HTTP status that goes with it.
    pub fn reason(&self) -> (&'static str, u16) {
        match self {
            ApplyError::Invalid { .. } => ("invalid", 422),
            ApplyError::Kind(..) => ("unknown-kind", 404),
            ApplyError::Missing(_) => ("not-found", 404),
            ApplyError::OnlyMesh(_) => ("only-mesh", 409),
            ApplyError::Kubernetes => ("in-kubernetes", 409),
            ApplyError::Store(error) => match error {
                StoreError::Conflict(_) => ("conflict", 409),
                StoreError::NamedTwice { .. }
                | StoreError::BadKey { .. }
                | StoreError::TooLarge { .. } => ("invalid", 422),
                StoreError::Compacted { .. } | StoreError::Ahead { .. } => ("gone", 410),
                _ => ("store-failed", 503),
            },
        }
    }

    /// As it is said to the caller.
    pub fn refusal(self) -> Refusal {
        let (reason, _) = self.reason();
        let message = self.to_string();
        let findings =
            if let ApplyError::Invalid { findings, .. } = self { findings } else { Vec::new() };
        Refusal { reason: reason.to_owned(), message, findings }
    }
}

/// The resources in a store.
#[derive(Clone)]
pub struct Resources {
    store: Arc<dyn Store>,
    options: Options,
    /// That of all identities, which every Mesh is to name.
    trust_domain: TrustDomain,
}

impl Resources {
    /// The resources in `store`, read as `options` say, of a mesh whose identities are of
    /// `trust_domain`.
    pub fn new(store: Arc<dyn Store>, options: Options, trust_domain: TrustDomain) -> Resources {
        Resources { store, options, trust_domain }
    }

    /// That the resources are this store's own.
    fn check_writable(&self) -> Result<(), ApplyError> {
        match self.options.platform {
            Platform::Standalone => Ok(()),
            Platform::Kubernetes => Err(ApplyError::Kubernetes),
        }
    }

    /// Makes the resources as the files say: all of them, or none.
    ///
    /// An object that carries a `resourceVersion` is written only if that is still its version.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing was changed.
    pub fn apply(
        &self,
        request: &ApplyRequest,
        now: Moment,
        wall: UnixTime,
    ) -> Result<Applied, ApplyError> {
        self.check_writable()?;
        let mut options = self.options.clone();
        if let Some(namespace) = &request.namespace {
            options.namespace.clone_from(namespace);
        }
        let files = request.files.iter().map(|file| (file.name.as_str(), file.text.as_bytes()));
        let mut parsed = parse_all(files, &options);
        let foreign = parsed.objects.iter().filter_map(|object| self.of_another_domain(object));
        let foreign: Vec<Finding> = foreign.collect();
        parsed.findings.extend(foreign);
        let unknown: Vec<Finding> = parsed.objects.iter().filter_map(of_another_store).collect();
        parsed.findings.extend(unknown);
        check_authorities(&mut parsed);
        if parsed.has_errors() {
            let rendered = parsed.render();
            return Err(ApplyError::Invalid { findings: parsed.findings, rendered });
        }
        let objects = &parsed.objects;
        let actions = if request.dry_run {
            objects.iter().map(|object| self.foresee(object)).collect::<Result<Vec<_>, _>>()?
        } else {
            let items = objects.iter().map(item).collect();
            let applied = self.store.apply(Batch { now, wall, items })?;
            applied.outcomes.into_iter().map(action).collect()
        };
        let objects = objects.iter().zip(actions).map(|(object, (action, version))| {
            let resource_version = version.number();
            AppliedObject { key: key_of(object), action, resource_version, not_accepted: None }
        });
        let applied = objects.collect();
        let version = self.store.version()?.number();
        let created = parsed.objects.iter().map(|object| self.created(object, wall));
        let created = created.collect::<Result<_, _>>()?;
        Ok(Applied { parsed, applied, created, version })
    }

    /// Since when `object` is there, if it is not new.
    fn created(&self, object: &Object, now: UnixTime) -> Result<Timestamp, ApplyError> {
        let found = self.store.get(&document_key(object))?;
        Ok(timestamp(found.map_or(now, |document| document.created)))
    }

    /// What is wrong with a Mesh by whose trust domain nobody has an identity.
    fn of_another_domain(&self, object: &Object) -> Option<Finding> {
        let Resource::Mesh(mesh) = &object.resource else { return None };
        let own = &self.trust_domain;
        if mesh.trust_domain == own.to_string() {
            return None;
        }
        let message =
            format!("{} is another one: this control plane's is {own}", mesh.trust_domain);
        let help = format!(
            "its identities are of {own}, which does not change: write that, or make another \
             control plane with `--trust-domain {}` and another `--data`",
            mesh.trust_domain
        );
        Some(Finding { help: Some(help), ..error(object, "spec.trustDomain", message) })
    }

    /// What applying `object` would do.
    fn foresee(&self, object: &Object) -> Result<(Action, Version), ApplyError> {
        let key = document_key(object);
        let expected = expectation(object);
        let Some(found) = self.store.get(&key)? else {
            let conflict = weft_store::Conflict {
                key: weft_store::EntryKey::Document(key),
                expected,
                found: None,
            };
            let is_met = !matches!(expected, Expectation::Version(_));
            let foreseen = (Action::Created, Version::new(0));
            return if is_met {
                Ok(foreseen)
            } else {
                Err(StoreError::Conflict(vec![conflict]).into())
            };
        };
        if let Expectation::Version(version) = expected
            && version != found.version
        {
            let conflict = weft_store::Conflict {
                key: weft_store::EntryKey::Document(key),
                expected,
                found: Some(found.version),
            };
            return Err(StoreError::Conflict(vec![conflict]).into());
        }
        let is_same = *found.text == *stored_text(object).as_bytes();
        let action = if is_same { Action::Unchanged } else { Action::Configured };
        Ok((action, found.version))
    }

    /// The objects of a kind, a namespace, or all.
    ///
    /// # Errors
    /// [`ApplyError::Kind`], [`ApplyError::Store`].
    pub fn list(
        &self,
        kind: Option<&str>,
        namespace: Option<&str>,
    ) -> Result<ListResponse, ApplyError> {
        let filter = filter(kind, namespace)?;
        let listing = self.store.list(&filter)?;
        let objects = listing.documents.iter().map(|document| self.stored(document)).collect();
        Ok(ListResponse { resource_version: listing.version.number(), objects })
    }

    /// One object.
    ///
    /// # Errors
    /// [`ApplyError::Kind`], [`ApplyError::Missing`], [`ApplyError::Store`].
    pub fn get(&self, key: &ObjectKey) -> Result<StoredObject, ApplyError> {
        let key = known_key(key)?;
        match self.store.get(&key)? {
            Some(document) => Ok(self.stored(&document)),
            None => Err(ApplyError::Missing(key.to_string())),
        }
    }

    /// Deletes one object, if `version` is still its own where it is given.
    ///
    /// # Errors
    /// [`ApplyError::Kind`], [`ApplyError::Missing`], [`ApplyError::OnlyMesh`],
    /// [`ApplyError::Store`].
    pub fn delete(
        &self,
        key: &ObjectKey,
        version: Option<u64>,
        now: Moment,
        wall: UnixTime,
    ) -> Result<AppliedObject, ApplyError> {
        self.check_writable()?;
        let document_key = known_key(key)?;
        self.keep_a_mesh(&document_key)?;
        let expected =
            version.map_or(Expectation::Any, |version| Expectation::Version(Version::new(version)));
        let item = Item::delete(document_key.clone()).expecting(expected);
        let applied = self.store.apply(Batch { now, wall, items: vec![item] })?;
        if applied.outcomes == [Outcome::Missing] {
            return Err(ApplyError::Missing(document_key.to_string()));
        }
        let key = object_key(&document_key);
        let resource_version = applied.version.number();
        let action = Action::Deleted;
        Ok(AppliedObject { key, action, resource_version, not_accepted: None })
    }

    /// Refuses to delete the only Mesh.
    fn keep_a_mesh(&self, key: &DocumentKey) -> Result<(), ApplyError> {
        if key.kind != Kind::Mesh.name() {
            return Ok(());
        }
        let filter = Filter { kind: Some(key.kind.clone()), namespace: None };
        match &self.store.list(&filter)?.documents[..] {
            [only] if only.key == *key => Err(ApplyError::OnlyMesh(key.to_string())),
            _ => Ok(()),
        }
    }

    /// The changes after a version, as they come.
    ///
    /// # Errors
    /// [`ApplyError::Kind`], [`ApplyError::Store`].
    pub fn watch(
        &self,
        kind: Option<&str>,
        namespace: Option<&str>,
        from: u64,
    ) -> Result<Watch, ApplyError> {
        let filter = filter(kind, namespace)?;
        let inner = self.store.watch(Version::new(from))?;
        Ok(Watch { inner, filter, resources: self.clone() })
    }

    /// A document with what the store says of it.
    fn stored(&self, document: &Document) -> StoredObject {
        let created_ms = u64::try_from(document.created.0.as_millis()).unwrap_or(u64::MAX);
        let name = document.key.to_string();
        let mut parsed = weft_crd::parse(&name, &document.text, &self.options);
        let yaml = match parsed.objects.as_mut_slice() {
            [object] => {
                object.stamp(&document.version.to_string(), timestamp(document.created));
                object.to_yaml()
            }
            // Written by another version of weft, which knew more or less: shown as it is kept.
            _ => String::from_utf8_lossy(&document.text).into_owned(),
        };
        let key = object_key(&document.key);
        let resource_version = document.version.number();
        StoredObject { key, resource_version, created_ms, yaml, status: None }
    }
}

/// What was applied, or would be.
pub struct Applied {
    parsed: Parsed,
    applied: Vec<AppliedObject>,
    /// Since when each of them is there.
    created: Vec<Timestamp>,
    /// The store's version by then.
    pub(crate) version: u64,
}

impl Applied {
    /// The objects as the files say, for the compiler.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Arc<Object>> {
        let with_ages = self.parsed.objects.iter().zip(&self.created);
        with_ages.map(|(object, created)| {
            let mut object = object.clone();
            object.stamp("", *created);
            Arc::new(object)
        })
    }

    /// What to answer, where `statuses` are what becomes of each of the objects.
    pub(crate) fn response(mut self, statuses: Vec<Option<Status>>) -> ApplyResponse {
        let mut found = Vec::new();
        for (applied, status) in self.applied.iter_mut().zip(statuses) {
            let Some(status) = status else { continue };
            applied.not_accepted = status.not_accepted().map(str::to_owned);
            found.extend(status.findings);
        }
        self.parsed.add(found);
        let rendered = self.parsed.render();
        ApplyResponse { objects: self.applied, findings: self.parsed.findings, rendered }
    }
}

/// The changes after a version.
pub struct Watch {
    inner: weft_store::Watch,
    filter: Filter,
    resources: Resources,
}

impl Watch {
    /// The next changes, one or more at a time.
    ///
    /// # Errors
    /// [`ApplyError::Store`] once the watch has ended: list again and watch from there.
    pub fn poll_next(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<Vec<WatchEvent>, ApplyError>> {
        loop {
            let commit = std::task::ready!(self.inner.poll_next(cx))?;
            let events: Vec<_> = commit
                .events
                .iter()
                .filter_map(|event| self.event(event, commit.version))
                .collect();
            if !events.is_empty() {
                return std::task::Poll::Ready(Ok(events));
            }
        }
    }

    fn event(&self, event: &Event, version: Version) -> Option<WatchEvent> {
        match event {
            Event::Put(document) if self.filter.matches(&document.key) => {
                Some(WatchEvent::Put { object: self.resources.stored(document) })
            }
            Event::Deleted(key) if self.filter.matches(key) => Some(WatchEvent::Deleted {
                key: object_key(key),
                resource_version: version.number(),
            }),
            _ => None,
        }
    }
}

fn item(object: &Object) -> Item {
    let text = stored_text(object).into_bytes();
    Item::put(document_key(object), text).expecting(expectation(object))
}

/// The object as it is kept: without a status, which says what became of it at one moment.
fn stored_text(object: &Object) -> String {
    let text = object.to_stored();
    let mut is_status = false;
    let kept = text.split_inclusive('\n').filter(|line| {
        // The fields of the object are the only lines that begin at the margin, but for the items
        // of a list that is one of them.
        if !line.starts_with([' ', '-']) {
            is_status = line.starts_with("status:");
        }
        !is_status
    });
    kept.collect()
}

/// The version that `object` asks for.
fn expectation(object: &Object) -> Expectation {
    let Some(text) = &object.metadata().resource_version else { return Expectation::Any };
    // One that is none was refused before; no object has this.
    Expectation::Version(Version::new(text.parse().unwrap_or(u64::MAX)))
}

/// What is wrong with a resource version that cannot be one of the store's.
fn of_another_store(object: &Object) -> Option<Finding> {
    let text = object.metadata().resource_version.as_ref()?;
    text.parse::<u64>().err()?;
    let message = format!("`{}` is not one of this store", harmless(text));
    let help = "read the object again, or leave it out".to_owned();
    Some(Finding { help: Some(help), ..error(object, "metadata.resourceVersion", message) })
}

fn action(outcome: Outcome) -> (Action, Version) {
    match outcome {
        Outcome::Created(version) => (Action::Created, version),
        Outcome::Updated(version) => (Action::Configured, version),
        Outcome::Unchanged(version) => (Action::Unchanged, version),
        Outcome::Deleted | Outcome::Missing => (Action::Deleted, Version::new(0)),
    }
}

fn document_key(object: &Object) -> DocumentKey {
    let key = object.key();
    DocumentKey::new(key.kind.name(), key.namespace, key.name)
}

fn key_of(object: &Object) -> ObjectKey {
    object_key(&document_key(object))
}

pub(crate) fn object_key(key: &DocumentKey) -> ObjectKey {
    let DocumentKey { kind, namespace, name } = key.clone();
    ObjectKey { kind, namespace, name }
}

/// The kind that a word on the command line means.
fn known_kind(word: &str) -> Result<Kind, ApplyError> {
    Kind::from_word(word).ok_or_else(|| {
        let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        ApplyError::Kind(word.to_owned(), known.join(", "))
    })
}

fn known_key(key: &ObjectKey) -> Result<DocumentKey, ApplyError> {
    let kind = known_kind(&key.kind)?;
    let namespace = if kind.is_namespaced() { key.namespace.as_str() } else { "" };
    Ok(DocumentKey::new(kind.name(), namespace, key.name.as_str()))
}

/// As metadata have it, to the second.
fn timestamp(time: UnixTime) -> Timestamp {
    Timestamp::from_unix(i64::try_from(time.0.as_secs()).unwrap_or(i64::MAX))
}

/// Adds to `parsed` which of the certificates that its objects trust can vouch for nobody.
pub fn check_authorities(parsed: &mut Parsed) {
    let findings: Vec<_> = parsed.objects.iter().flat_map(unusable_authorities).collect();
    parsed.findings.extend(findings);
}

fn unusable_authorities(object: &Object) -> Vec<Finding> {
    let external = match &object.resource {
        Resource::ExternalService(external) => external,
        Resource::ConfigMap(ConfigMap { ca: Some(ca), .. }) => {
            let read = weft_crd::read_certificates(ca);
            let wrong = read.and_then(|read| weft_identity::check_authorities(&read)).err();
            return wrong.into_iter().map(|wrong| error(object, "data[ca.crt]", wrong)).collect();
        }
        _ => return vec![],
    };
    let of_port = |(index, port): (usize, &ExternalPort)| {
        let TlsRoots::Certificates(certificates) = &port.tls.as_ref()?.roots else { return None };
        let wrong = weft_identity::check_authorities(certificates).err()?;
        Some(error(object, &format!("spec.ports[{index}].tls.caCertificates"), wrong))
    };
    external.ports.iter().enumerate().filter_map(of_port).collect()
}

/// What is wrong at `path` of `object`.
fn error(object: &Object, path: &str, message: String) -> Finding {
    let Key { kind, namespace, name } = object.key();
    let kind = kind.name().to_owned();
    Finding {
        severity: Severity::Error,
        path: path.to_owned(),
        message,
        help: None,
        position: object.locate(path),
        object: Some(ObjectName { kind, namespace, name }),
    }
}

fn filter(kind: Option<&str>, namespace: Option<&str>) -> Result<Filter, ApplyError> {
    let kind = kind.map(known_kind).transpose()?.map(|kind| kind.name().to_owned());
    Ok(Filter { kind, namespace: namespace.map(ToOwned::to_owned) })
}

#[cfg(test)]
mod tests;
