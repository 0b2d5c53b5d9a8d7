//! What is said of the certificate authority.

use serde::{Deserialize, Serialize};

/// How it stands with the certificate authority. Times are in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaStatus {
    /// The trust domain.
    pub trust_domain: String,
    /// The number of the trust bundle that is published. It grows with each change.
    pub sequence: u64,
    /// The roots that are trusted, and one that is on its way out.
    pub roots: Vec<RootStatus>,
    /// What signs.
    pub intermediate: IntermediateStatus,
    /// How far the replacement of a root is.
    pub rotation: RotationStatus,
    /// The identities that are revoked.
    pub revoked_identities: Vec<String>,
    /// The certificates that are revoked and have not expired.
    pub revoked_serials: Vec<RevokedSerial>,
    /// Who holds a certificate that has not expired.
    pub holders: Vec<Holder>,
}

/// A root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootStatus {
    /// The hash of its key.
    pub key: String,
    /// The number in the names of its files.
    pub generation: u32,
    /// When it begins and ends to hold. Absent of one that is on its way out.
    pub validity: Option<(u64, u64)>,
    /// Whether certificates are signed below it.
    pub signs: bool,
    /// Whether it is trusted.
    pub trusted: bool,
}

/// An intermediate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntermediateStatus {
    /// Its serial number.
    pub serial: String,
    /// When it begins and ends to hold.
    pub validity: (u64, u64),
    /// When the next one is to be made.
    pub renew_at: u64,
}

/// How far the replacement of a root is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationStatus {
    /// How far.
    pub phase: Phase,
    /// The root to go, if one is.
    pub old: Option<String>,
    /// The root to stay.
    pub new: String,
    /// Whom it waits for, in words: who, and what is missing.
    pub waiting_for: Vec<String>,
}

/// How far the replacement of a root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// There is one root, and nothing to do.
    Steady,
    /// Both are trusted, the old one signs; until all proxies hold both.
    Distributing,
    /// Both are trusted, the new one signs; until all have a certificate below it.
    Signing,
    /// One is trusted; until no proxy holds the other.
    Withdrawing,
}

/// A certificate that is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedSerial {
    /// Its serial number.
    pub serial: String,
    /// When it is forgotten: its certificate has expired then.
    pub until: u64,
}

/// Somebody with a certificate that has not expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its workload, as `NAMESPACE/NAME`; empty if none is known.
    pub workload: String,
    /// Its identity.
    pub identity: String,
    /// The serial number of the certificate that was issued to it last.
    pub serial: String,
    /// The last second of that.
    pub not_after: u64,
    /// The hash of the key of the root above it.
    pub root: String,
    /// Whether it has said that it ends.
    pub left: bool,
}

/// What is to be revoked, or let in again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// An identity: `NAMESPACE/NAME` of a service account, or a SPIFFE ID.
    #[serde(default)]
    pub identity: Option<String>,
    /// The serial number of a certificate, hexadecimal.
    #[serde(default)]
    pub serial: Option<String>,
    /// Whether it is to be let in again.
    #[serde(default)]
    pub undo: bool,
}

/// What became of a [`RevokeRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeResponse {
    /// What was revoked, as it is written in the trust bundle.
    pub what: String,
    /// Whether that is new.
    pub changed: bool,
    /// The number of the trust bundle that says so.
    pub sequence: u64,
    /// What else there is to know, if anything.
    #[serde(default)]
    pub note: Option<String>,
}

/// A root to be replaced, or to be kept after all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// Whether the new root is to be taken away again.
    #[serde(default)]
    pub abort: bool,
}
