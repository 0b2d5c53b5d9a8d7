//! Credentials in a file that only their owner can read, so that a proxy can start while its
//! control plane is away.

use std::io;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use weft_model::{IdentityError, SpiffeId};
use weft_world::{Files, UnixTime};
use zeroize::Zeroizing;

use super::{Credentials, CredentialsError, Svid};
use crate::certificate;
use crate::key_hash::KeyHashError;
use crate::serial::{Serial, SerialError};
use crate::trust::{Revocations, TrustBundle};

/// The most bytes of a file with credentials.
const FILE_BYTES_MAX: usize = 1 << 20;

/// What stands before the roots, with the number of their set behind it.
const ROOTS: &str = "# trusted roots, set ";

/// What stands before a serial number and before an identity that are revoked.
const REVOKED_SERIAL: &str = "# revoked serial ";
const REVOKED_IDENTITY: &str = "# revoked identity ";

/// What stands before the hash of the root below which certificates are to be renewed at once.
const RENEW_BELOW: &str = "# renew below ";

/// A file with credentials that cannot be used.
#[derive(Debug, Error)]
pub enum SavedCredentialsError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It does not hold what was saved.
    #[error("{path}: {reason}")]
    Content {
        /// Which file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Credentials {
    /// Writes key, certificates, roots and revocations to `path`, for its owner only.
    ///
    /// # Errors
    /// [`SavedCredentialsError::File`].
    pub fn save(&self, files: &dyn Files, path: &Path) -> Result<(), SavedCredentialsError> {
        let Credentials { svid, bundle } = self;
        let revoked = bundle.revocations();
        let serials = revoked.serials.keys().map(|serial| format!("{REVOKED_SERIAL}{serial}\n"));
        let identities = revoked.identities.iter().map(|it| format!("{REVOKED_IDENTITY}{it}\n"));
        let text = Zeroizing::new(format!(
            "{}{}{ROOTS}{}\n{}{}{}",
            **svid.key_pem,
            certificate::to_pem(svid.chain()),
            bundle.sequence(),
            bundle.renew_below().map_or(String::new(), |root| format!("{RENEW_BELOW}{root}\n")),
            serials.chain(identities).collect::<String>(),
            bundle.roots_pem()
        ));
        files.replace(path, text.as_bytes()).map_err(|source| file(path, source))
    }

    /// The credentials in `path`; none if there is no such file.
    ///
    /// # Errors
    /// [`SavedCredentialsError`].
    pub fn load(
        files: &dyn Files,
        path: &Path,
    ) -> Result<Option<Credentials>, SavedCredentialsError> {
        let bytes = match files.read(path, FILE_BYTES_MAX) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(file(path, source)),
        };
        let wrong = |reason: String| {
            let path = path.display().to_string();
            SavedCredentialsError::Content { path, reason }
        };
        let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
        let parts = text.split_once(ROOTS).and_then(|(own, rest)| {
            let (sequence, roots) = rest.split_once('\n')?;
            Some((own, sequence.parse().ok()?, roots))
        });
        let (own, sequence, roots) =
            parts.ok_or_else(|| wrong("it is not a file of saved credentials".to_owned()))?;
        let (mut revocations, mut renew_below) = (Revocations::default(), None);
        for line in roots.lines() {
            if let Some(serial) = line.strip_prefix(REVOKED_SERIAL) {
                let serial: Serial = serial.parse().map_err(|error: SerialError| {
                    wrong(format!("{REVOKED_SERIAL}{serial}: {error}"))
                })?;
                revocations.serials.insert(serial, UnixTime(Duration::MAX));
            } else if let Some(identity) = line.strip_prefix(REVOKED_IDENTITY) {
                let identity: SpiffeId = identity.parse().map_err(|error: IdentityError| {
                    wrong(format!("{REVOKED_IDENTITY}{identity}: {error}"))
                })?;
                revocations.identities.insert(identity);
            } else if let Some(root) = line.strip_prefix(RENEW_BELOW) {
                let root = root.parse().map_err(|error: KeyHashError| wrong(error.to_string()))?;
                renew_below = Some(root);
            }
        }
        let read = || -> Result<Credentials, CredentialsError> {
            let svid = Svid::from_pem(own.as_bytes(), own.as_bytes())?;
            let trust_domain = svid.identity().trust_domain().clone();
            let roots =
                certificate::from_pem(roots.as_bytes()).map_err(CredentialsError::Certificates)?;
            let bundle = TrustBundle::new(trust_domain, sequence, roots, revocations)?;
            Ok(Credentials { svid, bundle: bundle.renewing_below(renew_below) })
        };
        read().map(Some).map_err(|error| wrong(error.to_string()))
    }
}

fn file(path: &Path, source: io::Error) -> SavedCredentialsError {
    SavedCredentialsError::File { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LEAF_LIFETIME, Request, Root};

    #[test]
    fn credentials_come_back_as_they_were_saved() {
        let now = UnixTime(Duration::from_secs(1_800_000_000));
        let root = Root::generate("weft.test".parse().unwrap(), now).unwrap();
        let authority = root.authority(now).unwrap();
        let identity = "spiffe://weft.test/ns/shop/sa/cart".parse().unwrap();
        let request = Request::generate().unwrap();
        let issued = authority.sign(request.csr_der(), &identity, now, LEAF_LIFETIME).unwrap();
        let svid = request.finish_pem(issued.chain_pem().as_bytes(), &identity).unwrap();
        let roots = root.certificate_pem();
        let roots = certificate::from_pem(roots.as_bytes()).unwrap();
        let revoked = Revocations {
            serials: [("0abc".parse().unwrap(), UnixTime(Duration::MAX))].into(),
            identities: ["spiffe://weft.test/ns/shop/sa/old".parse().unwrap()].into(),
            ..Revocations::default()
        };
        let bundle = TrustBundle::new("weft.test".parse().unwrap(), 7, roots, revoked).unwrap();
        let bundle = bundle.renewing_below(Some(root.key_hash()));
        let credentials = Credentials { svid, bundle };

        let world = weft_net::world();
        let name = format!("weft-identity-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("identity");
        assert!(Credentials::load(&*world.files, &path).unwrap().is_none());
        credentials.save(&*world.files, &path).unwrap();
        let loaded = Credentials::load(&*world.files, &path).unwrap().unwrap();
        assert_eq!(loaded.svid.chain(), credentials.svid.chain());
        assert_eq!(loaded.bundle, credentials.bundle);

        world.files.replace(&path, b"-----BEGIN PRIVATE KEY-----").unwrap();
        let error = Credentials::load(&*world.files, &path).unwrap_err().to_string();
        assert!(error.ends_with("it is not a file of saved credentials"), "{error}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
