//! Where an authority is kept: three files for each generation of the root.

use std::io;
use std::path::{Path, PathBuf};

use weft_model::TrustDomain;
use weft_world::{Files, UnixTime};
use zeroize::Zeroizing;

use super::{Authority, AuthorityError, Root, check};
use crate::key::PrivateKey;

/// The most bytes of one of the files.
const FILE_BYTES_MAX: usize = 1 << 20;

/// The files of one authority:
///
/// - `root-N.pem`, the root's certificate;
/// - `root-N-key.pem`, its private key, which may be taken away and kept elsewhere;
/// - `intermediate-N.pem`, the intermediate's certificate, those between it and the root if there
///   are any, and its private key, in one file so that both are replaced at once.
///
/// `N` is the generation, which grows by one with each rotation of the root.
#[derive(Clone, Debug)]
pub struct AuthorityFiles {
    root: PathBuf,
    root_key: PathBuf,
    intermediate: PathBuf,
}

impl AuthorityFiles {
    /// The files of `generation` in `directory`, which must exist.
    pub fn new(directory: &Path, generation: u32) -> AuthorityFiles {
        AuthorityFiles {
            root: directory.join(format!("root-{generation}.pem")),
            root_key: directory.join(format!("root-{generation}-key.pem")),
            intermediate: directory.join(format!("intermediate-{generation}.pem")),
        }
    }

    /// The files with private keys: once they are gone, nothing can be signed below this root.
    pub fn secrets(&self) -> [&Path; 2] {
        [&self.root_key, &self.intermediate]
    }

    /// The authority in the files; whatever is not there yet is made, if what it is made from is.
    ///
    /// It is written from the top down, so that after a crash the next start goes on where the last
    /// one was, and no key that is there is ever overwritten.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn open(
        &self,
        files: &dyn Files,
        trust_domain: &TrustDomain,
        now: UnixTime,
    ) -> Result<Authority, AuthorityError> {
        let root_pem = read(files, &self.root)?;
        let intermediate_pem = read(files, &self.intermediate)?;
        if let (Some(root_pem), Some(both)) = (&root_pem, &intermediate_pem) {
            let read = Authority::from_pem(trust_domain.clone(), root_pem, both, both, now);
            return read.map_err(|error| self.wrong(&self.intermediate, error));
        }
        if intermediate_pem.is_some() {
            return Err(self.missing_root("put the certificate of the root above it there"));
        }
        let root = match (root_pem, read(files, &self.root_key)?) {
            (Some(certificate), Some(key)) => {
                Root::from_pem(trust_domain.clone(), &certificate, &key, now)
                    .map_err(|error| self.wrong(&self.root_key, error))?
            }
            (Some(_), None) => {
                return Err(AuthorityError::Missing {
                    missing: self.intermediate.clone(),
                    present: self.root.clone(),
                    advice: "give an intermediate with its key, or the root's key to make one",
                });
            }
            (None, key) => {
                self.make_root(files, trust_domain, key.as_ref().map(|key| key.as_slice()), now)?
            }
        };
        self.make_intermediate(files, &root, now)
    }

    /// Checks what must be there of an authority that was in use, before it is
    /// [opened](Self::open): says whether the intermediate is, which may be made anew.
    ///
    /// # Errors
    /// [`AuthorityError::Gone`] if the root is not.
    pub fn check_in_use(&self, files: &dyn Files) -> Result<bool, AuthorityError> {
        if read(files, &self.root)?.is_none() {
            return Err(AuthorityError::Gone { missing: self.root.clone() });
        }
        Ok(read(files, &self.intermediate)?.is_some())
    }

    /// Checks that the root's key, if it is there, is one by which the next intermediate can be
    /// made.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn check_root_key(
        &self,
        files: &dyn Files,
        trust_domain: &TrustDomain,
        now: UnixTime,
    ) -> Result<(), AuthorityError> {
        let (Some(certificate), Some(key)) =
            (read(files, &self.root)?, read(files, &self.root_key)?)
        else {
            return Ok(());
        };
        let root = Root::from_pem(trust_domain.clone(), &certificate, &key, now);
        root.map(drop).map_err(|error| self.wrong(&self.root_key, error))
    }

    /// As [`open`](Self::open); but where the intermediate does not hold now and the root's key is
    /// there, with a new intermediate in its place. Then also what was against the one of before.
    ///
    /// It may have been made while this machine's clock was wrong, and no other would be in its
    /// place before that time comes. If it is now that the clock is wrong, the next start, or the
    /// next renewal, makes another in the same way.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn open_or_renew(
        &self,
        files: &dyn Files,
        trust_domain: &TrustDomain,
        now: UnixTime,
    ) -> Result<(Authority, Option<AuthorityError>), AuthorityError> {
        let against = match self.open(files, trust_domain, now) {
            Err(error) if error.is_of_dates() => error,
            opened => return opened.map(|authority| (authority, None)),
        };
        match self.renew(files, trust_domain, now) {
            Ok(authority) => Ok((authority, Some(against))),
            // The dates say more: perhaps only the clock is to be set right.
            Err(AuthorityError::Missing { .. }) => Err(against),
            Err(error) => Err(error),
        }
    }

    /// A new intermediate below the same root, in the place of the old one. Needs the root's key.
    ///
    /// # Errors
    /// [`AuthorityError`]; [`AuthorityError::Missing`] without the root's key.
    pub fn renew(
        &self,
        files: &dyn Files,
        trust_domain: &TrustDomain,
        now: UnixTime,
    ) -> Result<Authority, AuthorityError> {
        let Some(certificate) = read(files, &self.root)? else {
            return Err(self.missing_root("put the certificate of the root above it there"));
        };
        let Some(key) = read(files, &self.root_key)? else {
            return Err(AuthorityError::Missing {
                missing: self.root_key.clone(),
                present: self.root.clone(),
                advice: "bring the root's key back for as long as this takes, or put a new \
                         intermediate with its key into its file",
            });
        };
        let root = Root::from_pem(trust_domain.clone(), &certificate, &key, now)
            .map_err(|error| self.wrong(&self.root_key, error))?;
        self.make_intermediate(files, &root, now)
    }

    fn make_root(
        &self,
        files: &dyn Files,
        trust_domain: &TrustDomain,
        key_pem: Option<&[u8]>,
        now: UnixTime,
    ) -> Result<Root, AuthorityError> {
        let root = match key_pem {
            Some(pem) => {
                let what = check::ROOT;
                let key = PrivateKey::from_pem(pem).map_err(|reason| {
                    self.wrong(&self.root_key, AuthorityError::Key { what, reason })
                })?;
                Root::with_key(trust_domain.clone(), key, now)?
            }
            None => {
                let root = Root::generate(trust_domain.clone(), now)?;
                write(files, &self.root_key, root.key_pem().as_bytes())?;
                root
            }
        };
        write(files, &self.root, root.certificate_pem().as_bytes())?;
        Ok(root)
    }

    fn make_intermediate(
        &self,
        files: &dyn Files,
        root: &Root,
        now: UnixTime,
    ) -> Result<Authority, AuthorityError> {
        // A given root may not allow what is to be below it.
        let authority = root.authority(now).map_err(|error| self.wrong(&self.root_key, error))?;
        let (chain, key) = (authority.chain_pem(), authority.key_pem());
        let mut both = Zeroizing::new(String::with_capacity(chain.len() + key.len()));
        both.push_str(&chain);
        both.push_str(&key);
        write(files, &self.intermediate, both.as_bytes())?;
        Ok(authority)
    }

    /// `error`, which is in the root's file or in `other`.
    fn wrong(&self, other: &Path, error: AuthorityError) -> AuthorityError {
        let (root, other) = (self.root.clone(), other.to_owned());
        AuthorityError::Content { root, other, source: Box::new(error) }
    }

    fn missing_root(&self, advice: &'static str) -> AuthorityError {
        let (missing, present) = (self.root.clone(), self.intermediate.clone());
        AuthorityError::Missing { missing, present, advice }
    }
}

/// The content of the file, or nothing if there is no such file.
fn read(files: &dyn Files, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, AuthorityError> {
    match files.read(path, FILE_BYTES_MAX) {
        Ok(content) => Ok(Some(Zeroizing::new(content))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::File { action: "read", path: path.into(), source }),
    }
}

fn write(files: &dyn Files, path: &Path, content: &[u8]) -> Result<(), AuthorityError> {
    let failed = |source| AuthorityError::File { action: "write", path: path.into(), source };
    files.replace(path, content).map_err(failed)
}

#[cfg(test)]
mod tests;
