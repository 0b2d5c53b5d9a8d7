//! Who the peer of a connection is: identities issued, renewed and revoked, trust in them, and
//! mutual TLS that proves them.
//!
//! - [`Authority`] signs what a client's [`Request`] asks for, for an identity that was attested;
//!   [`JoinToken`]s attest it outside Kubernetes.
//! - [`TrustBundle`]s say whom to trust, [`Rotation`] how one root follows another.
//! - [`MutualTls`] secures connections between proxies, [`ControlKey`] those to the control plane.
//! - [`TlsClient`] opens ordinary TLS to servers outside of the mesh.
//!
//! Within the mesh there is only TLS 1.3, and no session is ever resumed, since a resumed session
//! skips the verifier: a revoked peer would stay in.
//!
//! Deliberately absent: HTTP, Kubernetes, timers, where records and bundles are kept and how they
//! travel, and what a peer may do.

mod address;
mod admin;
mod authority;
mod certificate;
mod control;
mod control_stream;
mod credentials;
mod hex;
mod key;
mod key_hash;
mod renewal;
mod request;
mod rotation;
mod secret;
mod serial;
mod session;
#[cfg(test)]
mod testing;
mod tls;
mod tls_origination;
mod token;
mod trust;
mod verify;

pub use address::{AddressError, ControlAddress};
pub use admin::{AdminCredential, AdminFileError, AdminRecord};
pub use authority::{
    Authority, AuthorityError, AuthorityFiles, CsrError, Issued, LEAF_LIFETIME, Root, SignError,
};
pub use certificate::Validity;
pub use control::{ControlKey, ControlKeyError, control_client_config};
pub use control_stream::{ControlStream, accept_control, connect_control};
pub use credentials::{Credentials, CredentialsError, SavedCredentialsError, Svid, SvidSlot};
pub use key_hash::{KeyHash, KeyHashError};
pub use renewal::{issued_at, renew_at};
pub use request::{Request, RequestError};
pub use rotation::{Acknowledged, Fleet, Missing, Rotation, RotationError, Waiting};
pub use secret::{Bearer, RandomnessError, Secret, SecretHash, SecretId, TextError};
pub use serial::{Serial, SerialError};
pub use tls::{ALPN, HandshakeError, MutualTls, ReplaceError, Secured, Tls};
pub use tls_origination::{
    OriginationError, Spoken, SystemRoots, TlsClient, check_authorities, refused_later,
};
pub use token::{Grant, JoinRecord, JoinRequest, JoinToken, Refusal};
pub use trust::{
    IssuerFacts, PeerFacts, Reason, Revocations, Trust, TrustBundle, TrustError, TrustSlot,
};
pub use verify::peer_identity;

/// How a server or a client of TLS behaves: made here, passed on by those who listen and connect.
pub use rustls::{ClientConfig, ServerConfig};
/// A certificate as it travels.
pub use rustls_pki_types::CertificateDer;
