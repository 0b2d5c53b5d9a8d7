//! The authorities that are trusted: those of the system, or given ones.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use weft_model::RootCertificate;
use weft_world::Files;

use super::error::OriginationError;

/// Where systems keep the certificates of the authorities that they trust, in one file.
const FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Alpine, Arch, distroless images
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, Red Hat
    "/etc/pki/tls/certs/ca-bundle.crt",   // older ones of these
    "/etc/ssl/ca-bundle.pem",             // SUSE
    "/etc/ssl/cert.pem",                  // Alpine without its bundle
];

/// The largest such file that is read, in bytes: twenty times what is common.
const FILE_BYTES_MAX: usize = 4 << 20;

pub(super) type Anchors = Arc<[TrustAnchor<'static>]>;

/// The authorities that the system trusts, read once, when somebody first needs them. A clone is
/// the same.
#[derive(Clone, Default)]
pub struct SystemRoots {
    file: Option<Arc<Path>>,
    anchors: Arc<OnceLock<Anchors>>,
}

impl SystemRoots {
    /// Those in `file` alone, which is what `SSL_CERT_FILE` means to most programs; for none, those
    /// that are where systems keep them.
    pub fn new(file: Option<PathBuf>) -> SystemRoots {
        SystemRoots { file: file.map(Arc::from), anchors: Arc::default() }
    }

    /// The authorities.
    ///
    /// # Errors
    /// [`OriginationError::NoSystemRoots`]. The next call looks again.
    pub(super) fn load(&self, files: &dyn Files) -> Result<Anchors, OriginationError> {
        if let Some(anchors) = self.anchors.get() {
            return Ok(anchors.clone());
        }
        let given = self.file.as_deref();
        let places: Vec<&Path> = match given {
            Some(file) => vec![file],
            None => FILES.iter().map(Path::new).collect(),
        };
        let mut looked = Vec::new();
        for place in places {
            match files.read(place, FILE_BYTES_MAX).map(|pem| read(&pem)) {
                Ok(anchors) if !anchors.is_empty() => {
                    return Ok(self.anchors.get_or_init(|| anchors.into()).clone());
                }
                Ok(_) => looked.push(format!("{} holds none", place.display())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    looked.push(format!("there is no {}", place.display()));
                }
                Err(error) => looked.push(format!("{}: {error}", place.display())),
            }
        }
        Err(OriginationError::NoSystemRoots { looked: looked.join(", ") })
    }
}

/// Those in `pem` that can be used. What a system trusts beside them says nothing about these.
fn read(pem: &[u8]) -> Vec<TrustAnchor<'static>> {
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    let anchor = |der| Some(webpki::anchor_from_trusted_cert(&der).ok()?.to_owned());
    certificates.filter_map(anchor).collect()
}

/// Whether each of `certificates`, as DER, can vouch for others.
///
/// # Errors
/// Which one cannot, and why, in words.
pub fn check_authorities(certificates: &[Vec<u8>]) -> Result<(), String> {
    for (index, der) in certificates.iter().enumerate() {
        webpki::anchor_from_trusted_cert(&CertificateDer::from(der.as_slice()))
            .map_err(|error| format!("certificate {} cannot be read: {error}", index + 1))?;
    }
    Ok(())
}

/// The authorities that `certificates` are of.
pub(super) fn anchors(
    certificates: &BTreeSet<RootCertificate>,
) -> Result<Anchors, OriginationError> {
    let anchor = |root: &RootCertificate| {
        let der = CertificateDer::from(root.der());
        let anchor = webpki::anchor_from_trusted_cert(&der);
        Ok(anchor.map_err(|error| OriginationError::Root(error.to_string()))?.to_owned())
    };
    certificates.iter().map(anchor).collect()
}
