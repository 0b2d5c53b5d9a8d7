//! Who the peer of a connection is: SVIDs, trust bundles, and mutual TLS that proves both.
//!
//! Only TLS 1.3, only mutual, and no session is ever resumed, since a resumed session skips the
//! verifier: a revoked peer would stay in.
//!
//! Deliberately absent: HTTP, Kubernetes, where certificates come from, and what a peer may do.

mod credentials;
mod session;
mod tls;
mod verify;

pub use credentials::{Credentials, CredentialsError, Svid, TrustBundle};
pub use tls::{ALPN, HandshakeError, MutualTls, Secured, Tls};
pub use verify::peer_identity;
