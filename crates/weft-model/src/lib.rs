//! The nouns of the mesh: identities and names, as plain checked types.
//!
//! A type enters here when two crates need it; otherwise it stays with its one user. What exists of
//! it is valid: every constructor checks.
//!
//! Deliberately absent: async, I/O, clocks, and the formats in which others write these things.

mod identity;
mod name;

pub use identity::{IdentityError, SpiffeId, TrustDomain};
pub use name::{NameError, ObjectName, is_label, is_subdomain};
