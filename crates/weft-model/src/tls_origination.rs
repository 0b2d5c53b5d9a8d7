//! TLS that a proxy originates: ordinary TLS, to an endpoint outside of the mesh.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::error::ValueError;
use crate::route::PreciseHost;
use crate::trust::RootCertificate;

/// How TLS is opened to an endpoint outside of the mesh, and what its certificate must prove.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsOrigination {
    /// The name that is asked for (SNI), and that the certificate must have.
    pub hostname: PreciseHost,
    /// Where there are any, the certificate must have one of these, and `hostname` is only asked
    /// for.
    pub subject_alt_names: BTreeSet<SubjectAltName>,
    /// Who may have issued the certificate.
    pub roots: TlsRoots,
    /// What is shown to a server that asks for a certificate.
    pub client_certificate: ClientCertificate,
}

/// The same for destinations of several hosts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExternalTls {
    /// The name that is asked for. None: the host that is called.
    pub hostname: Option<PreciseHost>,
    /// As for one host.
    pub subject_alt_names: BTreeSet<SubjectAltName>,
    /// Who may have issued the certificates.
    pub roots: TlsRoots,
    /// What is shown to servers that ask for a certificate.
    pub client_certificate: ClientCertificate,
}

impl ExternalTls {
    /// How TLS is opened where `host` is called; none if nothing says which name to ask for.
    pub fn to(&self, host: Option<&str>) -> Option<TlsOrigination> {
        let ExternalTls { hostname, subject_alt_names, roots, client_certificate } = self.clone();
        let called = || host.and_then(|host| PreciseHost::new(host).ok());
        let hostname = hostname.or_else(called)?;
        Some(TlsOrigination { hostname, subject_alt_names, roots, client_certificate })
    }
}

/// A name that a certificate has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectAltName {
    /// A host, which a wildcard in the certificate may stand for.
    Dns(PreciseHost),
    /// A URI, letter by letter.
    Uri(CertificateUri),
}

/// A URI that a certificate can have as its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateUri(Arc<str>);

impl CertificateUri {
    /// The URI `text`.
    ///
    /// # Errors
    /// If it has no scheme, nothing behind it, a character that no URI has, or over 253 bytes.
    pub fn new(text: &str) -> Result<CertificateUri, ValueError> {
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let is_of_uris = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
        if !is_scheme || rest.is_empty() || !rest.chars().all(is_of_uris) || text.len() > 253 {
            let allowed = "an absolute URI of at most 253 bytes";
            return Err(ValueError::new(text, "a URI of a certificate", allowed));
        }
        Ok(CertificateUri(text.into()))
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SubjectAltName::Dns(host) => host.fmt(f),
            SubjectAltName::Uri(uri) => f.write_str(&uri.0),
        }
    }
}

/// Who may have issued a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TlsRoots {
    /// Whom the system that the proxy runs on trusts.
    System,
    /// These alone. None at all: nobody.
    Certificates(BTreeSet<RootCertificate>),
    /// Nobody, for this reason: whom to trust stands where nothing can be read.
    Nobody(Arc<str>),
}

impl TlsRoots {
    /// How many bytes the certificates have.
    pub fn bytes(&self) -> usize {
        match self {
            TlsRoots::System | TlsRoots::Nobody(_) => 0,
            TlsRoots::Certificates(certificates) => {
                certificates.iter().map(|certificate| certificate.der().len()).sum()
            }
        }
    }
}

/// What a proxy shows to a server that asks for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientCertificate {
    /// Nothing, which is the default: to whom a workload tells its identity is not for all to see.
    #[default]
    None,
    /// That of its workload, by which it is known in the mesh.
    Workload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_its_own_name_unless_there_is_another() {
        let mut tls = ExternalTls {
            hostname: None,
            subject_alt_names: BTreeSet::new(),
            roots: TlsRoots::System,
            client_certificate: ClientCertificate::None,
        };
        let name = |tls: &ExternalTls, host| tls.to(host).map(|to| to.hostname.to_string());
        assert_eq!(name(&tls, Some("a.example")).as_deref(), Some("a.example"));
        assert_eq!((name(&tls, None), name(&tls, Some("a_b.example"))), (None, None));
        tls.hostname = Some(PreciseHost::new("b.example").unwrap());
        for host in [Some("a.example"), None] {
            assert_eq!(name(&tls, host).as_deref(), Some("b.example"));
        }
    }

    #[test]
    fn uris_are_absolute() {
        for right in ["spiffe://a.example/ns/x/sa/y", "urn:uuid:1", "https://a.example:8/?q=[1]"] {
            assert_eq!(CertificateUri::new(right).unwrap().as_str(), right);
        }
        let long = format!("urn:{}", "a".repeat(250));
        for wrong in ["", "a.example", "://a", "1a:b", "urn:", "urn:a b", "urn:é", "a:\"", &long] {
            assert!(CertificateUri::new(wrong).is_err(), "{wrong}");
        }
    }
}
