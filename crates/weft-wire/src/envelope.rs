//! The one form in which an object goes over the wire, is stored, and is counted as enforced.
//!
//! An envelope says what its body is before anyone reads that. Its version is the SHA-256 of its
//! one encoding without the source version: whoever compiles the same object gets the same version.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use prost::Message;
use weft_model::{ContentHash, ObjectName};

use crate::error::{FieldError, ObjectError, ObjectProblem};
use crate::feature::{Feature, Release};
use crate::key::ObjectKey;
use crate::objects::Object;

/// The largest object that is sent: above any that people write, and small enough that a proxy can
/// hold two versions of it.
pub const OBJECT_BYTES_MAX: usize = 1 << 20;

/// The schema of all bodies. A change by which all objects would be read wrongly takes the next
/// one; what only some of them hold is a [`Feature`].
pub const SCHEMA: u32 = 1;

/// How recent the sources were from which an object was compiled.
///
/// Revisions are comparable within one epoch only: each start of a control plane draws a new one,
/// since its store may have been restored from a copy, or replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceVersion {
    /// Which start of the control plane, drawn at random.
    pub epoch: u64,
    /// The store's revision; grows.
    pub revision: u64,
}

impl SourceVersion {
    /// Whether this is certainly older than `other`.
    pub fn is_older_than(self, other: SourceVersion) -> bool {
        self.epoch == other.epoch && self.revision < other.revision
    }
}

impl fmt::Display for SourceVersion {
    /// `EPOCH/REVISION`, the epoch with 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}/{}", self.epoch, self.revision)
    }
}

impl FromStr for SourceVersion {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<SourceVersion, FieldError> {
        let error = || FieldError::new("not a source version, EPOCH/REVISION");
        let (epoch, revision) = text.split_once('/').ok_or_else(error)?;
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| error())?;
        let revision = revision.parse().map_err(|_| error())?;
        Ok(SourceVersion { epoch, revision })
    }
}

/// The message. Fields are written in the order of their tags, and absent ones not at all.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(fixed64, tag = "3")]
    epoch: u64,
    #[prost(uint64, tag = "4")]
    revision: u64,
    #[prost(uint32, tag = "5")]
    schema: u32,
    #[prost(string, repeated, tag = "6")]
    required_features: Vec<String>,
    #[prost(bytes = "vec", tag = "7")]
    body: Vec<u8>,
}

/// An object together with its one encoding.
#[derive(Clone, Debug)]
pub struct WireObject {
    key: ObjectKey,
    source: SourceVersion,
    version: ContentHash,
    object: Object,
    bytes: Vec<u8>,
}

impl WireObject {
    /// `object`, compiled from sources of the version `source`.
    ///
    /// # Errors
    /// [`ObjectProblem::TooLarge`].
    pub fn new(object: Object, source: SourceVersion) -> Result<Arc<WireObject>, ObjectError> {
        let required = Feature::required_by(&object);
        let names = required.into_iter().map(|feature| feature.name().to_owned()).collect();
        WireObject::assemble(object, source, names).map(Arc::new)
    }

    fn assemble(
        object: Object,
        source: SourceVersion,
        required_features: Vec<String>,
    ) -> Result<WireObject, ObjectError> {
        let key = object.key();
        let mut envelope = Envelope {
            kind: key.kind().to_owned(),
            name: key.name(),
            epoch: 0,
            revision: 0,
            schema: SCHEMA,
            required_features,
            body: object.to_body(),
        };
        let version = hash(&envelope.encode_to_vec());
        envelope.epoch = source.epoch;
        envelope.revision = source.revision;
        let bytes = envelope.encode_to_vec();
        check_size(bytes.len())
            .map_err(|problem| ObjectError { object: key.to_string(), problem })?;
        Ok(WireObject { key, source, version, object, bytes })
    }

    /// What the object that `bytes` are calls itself, whether or not it can be read.
    pub(crate) fn name_of(bytes: &[u8]) -> Option<String> {
        let Envelope { kind, name, .. } = Envelope::decode(bytes).ok()?;
        Some(format!("{kind}/{name}").trim_end_matches('/').to_owned())
    }

    /// The Services that go by the rules of the object called `key`, which `bytes` are, whether or
    /// not it can be read.
    pub(crate) fn ruled_by(key: &ObjectKey, bytes: &[u8]) -> BTreeSet<ObjectName> {
        Envelope::decode(bytes).map(|it| Object::ruled_by(key, &it.body)).unwrap_or_default()
    }

    /// The object that `bytes` are, as `release` reads it. `name` is what the sender calls it.
    ///
    /// # Errors
    /// [`ObjectError`], if `release` cannot be sure to understand all of it.
    pub fn decode(
        name: &str,
        bytes: &[u8],
        release: &Release,
    ) -> Result<Arc<WireObject>, ObjectError> {
        WireObject::read(bytes, release)
            .map(Arc::new)
            .map_err(|problem| ObjectError { object: crate::shown(name), problem })
    }

    fn read(bytes: &[u8], release: &Release) -> Result<WireObject, ObjectProblem> {
        check_size(bytes.len())?;
        let envelope = Envelope::decode(bytes).map_err(|_| ObjectProblem::Unreadable)?;
        let Envelope { kind, name, epoch, revision, schema, required_features, body } = envelope;
        let source = SourceVersion { epoch, revision };
        let version = || release.version.clone();
        let reads = release.schema;
        if schema != reads {
            return Err(ObjectProblem::Schema { schema, reads, version: version() });
        }
        let features = release.lacking(&required_features);
        if !features.is_empty() {
            return Err(ObjectProblem::Lacking { features, version: version() });
        }
        let key = ObjectKey::new(&kind, &name)
            .map_err(|error| ObjectProblem::Field(error.within("name")))?;
        let object = Object::from_body(&key, &body)
            .map_err(|error| error.map_or(ObjectProblem::Unreadable, ObjectProblem::Field))?;
        // There is one encoding of what this version knows. Other bytes hold something else. What
        // it requires is the sender's to say: one that is older knows of fewer features.
        let again = WireObject::assemble(object, source, in_order(required_features))
            .map_err(|error| error.problem)?;
        if again.bytes != bytes {
            return Err(ObjectProblem::Unreadable);
        }
        Ok(again)
    }

    /// Its name.
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// How recent its sources were.
    pub fn source(&self) -> SourceVersion {
        self.source
    }

    /// What stands for its content.
    pub fn version(&self) -> ContentHash {
        self.version
    }

    /// What it says.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Its encoding.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The same content from the same sources.
impl PartialEq for WireObject {
    fn eq(&self, other: &WireObject) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for WireObject {}

/// Each once, in the order in which they are written.
fn in_order(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

fn check_size(bytes: usize) -> Result<(), ObjectProblem> {
    match bytes > OBJECT_BYTES_MAX {
        true => Err(ObjectProblem::TooLarge { bytes, max: OBJECT_BYTES_MAX }),
        false => Ok(()),
    }
}

/// The SHA-256 of `bytes`.
pub(crate) fn hash(bytes: &[u8]) -> ContentHash {
    let digest = digest(&SHA256, bytes);
    ContentHash(digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
}

#[cfg(test)]
mod tests;
