//! Whether plaintext is let through.
//!
//! Servers only have `Strict`, and so no control plane says anything else.

/// Which traffic a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MtlsMode {
    /// Only tunnels with mutual TLS; only endpoints with an identity are called.
    Strict,
    /// Plaintext too, from and to those without identity.
    Permissive,
}
