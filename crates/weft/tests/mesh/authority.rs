//! Authorities outside of the mesh, which vouch for servers.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

/// An authority, whose own certificate is in the file NAME.pem.
pub struct Authority {
    directory: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Where the certificate of a server is, and its key.
pub struct Certificate {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    /// A new one, whose files are in `directory`.
    pub fn new(directory: &Path, name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(directory.join(format!("{name}.pem")), issuer.pem()).unwrap();
        Authority { directory: directory.to_owned(), issuer }
    }

    /// A certificate for the hosts `names`, in files called after the first.
    pub fn certificate(&self, names: &[&str]) -> Certificate {
        self.changed(names, |_| {})
    }

    /// The same with what `change` does to it.
    pub fn changed(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())
                .unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let write = |end: &str, text: &str| {
            let path = self.directory.join(format!("{}.{end}", names[0]));
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        Certificate {
            certificate: write("crt", &certificate.pem()),
            key: write("key", &key.serialize_pem()),
        }
    }
}

/// A URI as a name of a certificate.
pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}
