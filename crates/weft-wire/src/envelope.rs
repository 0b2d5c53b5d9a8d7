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
use weft_model::ContentHash;

use crate::error::{FieldError, ObjectError};
use crate::key::ObjectKey;
use crate::objects::Object;

/// The largest object that is sent: above any that people write, and small enough that a proxy can
/// hold two versions of it.
pub const OBJECT_BYTES_MAX: usize = 1 << 20;

/// The schema of all bodies. A change that an older version would read wrongly takes the next one.
pub const SCHEMA: u32 = 1;

/// The features that this version has, of those that objects can require. None so far.
pub const FEATURES: &[&str] = &[];

/// How recent the sources were from which an object was compiled.
///
/// Revisions are comparable within one epoch only: a store that was restored from a copy, or
/// replaced, starts a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceVersion {
    /// Which life of the store, drawn at random when it begins.
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
    /// [`ObjectError::TooLarge`].
    pub fn new(object: Object, source: SourceVersion) -> Result<Arc<WireObject>, ObjectError> {
        WireObject::assemble(object, source, Vec::new()).map(Arc::new)
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
        check_size(bytes.len(), || key.to_string())?;
        Ok(WireObject { key, source, version, object, bytes })
    }

    /// The bytes of the same object, if it required `feature` of who takes it.
    #[cfg(test)]
    pub(crate) fn requiring(&self, feature: &str) -> Vec<u8> {
        let mut envelope = Envelope::decode(self.bytes.as_slice()).unwrap();
        envelope.required_features.push(feature.to_owned());
        envelope.encode_to_vec()
    }

    /// The object that `bytes` are. `name` is what the sender calls it.
    ///
    /// # Errors
    /// [`ObjectError`], if this version cannot be sure to understand all of it.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Arc<WireObject>, ObjectError> {
        let named = || crate::shown(name);
        check_size(bytes.len(), named)?;
        let unreadable = || ObjectError::Unreadable { object: named() };
        let envelope = Envelope::decode(bytes).map_err(|_| unreadable())?;
        let Envelope { kind, name, epoch, revision, schema, required_features, body } = envelope;
        let source = SourceVersion { epoch, revision };
        let unsupported = |what| ObjectError::Unsupported { object: named(), what };
        if schema != SCHEMA {
            return Err(unsupported(format!("schema {schema}")));
        }
        let is_lacking = |feature: &&String| !FEATURES.contains(&feature.as_str());
        if let Some(feature) = required_features.iter().find(is_lacking) {
            return Err(unsupported(format!("the feature {}", crate::shown(feature))));
        }
        let field = |field| ObjectError::Field { object: named(), field };
        let key = ObjectKey::new(&kind, &name).map_err(|error| field(error.within("name")))?;
        let object = Object::from_body(&key, &body).map_err(|error| match error {
            None => unreadable(),
            Some(error) => field(error),
        })?;
        // There is one encoding of what this version knows. Other bytes hold something else.
        let known: BTreeSet<String> = required_features.into_iter().collect();
        let again = WireObject::assemble(object, source, known.into_iter().collect())?;
        if again.bytes != bytes {
            return Err(unreadable());
        }
        Ok(Arc::new(again))
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

fn check_size(bytes: usize, object: impl Fn() -> String) -> Result<(), ObjectError> {
    if bytes > OBJECT_BYTES_MAX {
        return Err(ObjectError::TooLarge { object: object(), bytes, max: OBJECT_BYTES_MAX });
    }
    Ok(())
}

/// The SHA-256 of `bytes`.
pub(crate) fn hash(bytes: &[u8]) -> ContentHash {
    let digest = digest(&SHA256, bytes);
    ContentHash(digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
}

#[cfg(test)]
mod tests;
