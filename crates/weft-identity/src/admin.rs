//! The credential with which people and CI change the mesh.

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use weft_world::Files;
use zeroize::Zeroizing;

use crate::address::{AddressError, ControlAddress};
use crate::key_hash::{KeyHash, KeyHashError};
use crate::secret::{
    Bearer, RandomnessError, SECRET_SHAPE, Secret, SecretHash, SecretId, TEXT_BYTES_MAX, TextError,
    read_text, write_text,
};
use crate::token::Zeroized;

/// How every admin credential begins.
const PREFIX: &str = "weft-admin.v1.";

/// A credential file that cannot be used.
#[derive(Debug, Error)]
pub enum AdminFileError {
    /// It cannot be read.
    #[error("cannot read the admin credential {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why it cannot.
        source: std::io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the admin credential {path}: {source}")]
    Write {
        /// Which file.
        path: String,
        /// Why it cannot.
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{path} holds no admin credential: {source}")]
    Content {
        /// Which file.
        path: String,
        /// What is wrong.
        source: TextError,
    },
}

/// What its holder has, in a file that only they can read.
#[derive(Clone, Debug)]
pub struct AdminCredential {
    /// Which record it belongs to, and the proof.
    pub bearer: Bearer,
    /// Where the control plane listens.
    pub address: ControlAddress,
    /// The key that the control plane must prove to have before the proof is shown to it.
    pub control_key: KeyHash,
}

/// What the control plane keeps of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminRecord {
    /// By what the record is found.
    pub id: SecretId,
    /// What the secret is compared with.
    pub secret_hash: SecretHash,
}

/// The fields of a credential as they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    address: String,
    key: String,
    id: String,
    secret: Zeroized,
}

impl AdminCredential {
    /// A new credential: for its holder, and for the control plane's records.
    ///
    /// # Errors
    /// [`RandomnessError`].
    pub fn issue(
        address: ControlAddress,
        control_key: KeyHash,
    ) -> Result<(AdminCredential, AdminRecord), RandomnessError> {
        let bearer = Bearer { id: SecretId::generate()?, secret: Secret::generate()? };
        let record = AdminRecord { id: bearer.id.clone(), secret_hash: bearer.secret.hash() };
        Ok((AdminCredential { bearer, address, control_key }, record))
    }

    /// The credential as text, as a file or an environment variable holds it.
    pub fn to_text(&self) -> Zeroizing<String> {
        let payload = Payload {
            address: self.address.to_string(),
            key: self.control_key.to_string(),
            id: self.bearer.id.to_string(),
            secret: Zeroized(self.bearer.secret.expose()),
        };
        write_text(PREFIX, &payload)
    }

    /// The credential in `text`.
    ///
    /// # Errors
    /// [`TextError`], which does not hold the secret.
    pub fn parse(text: &str) -> Result<AdminCredential, TextError> {
        let wrong = |field, reason: String| TextError::Field { field, reason };
        let Payload { address, key, id, secret } = read_text(PREFIX, text)?;
        let id = id.parse().map_err(|reason: &str| wrong("id", reason.to_owned()))?;
        let secret = Secret::read(&secret.0);
        let secret = secret.ok_or_else(|| wrong("secret", SECRET_SHAPE.to_owned()))?;
        let address =
            address.parse().map_err(|error: AddressError| wrong("address", error.to_string()))?;
        let control_key =
            key.parse().map_err(|error: KeyHashError| wrong("key", error.to_string()))?;
        Ok(AdminCredential { bearer: Bearer { id, secret }, address, control_key })
    }

    /// Writes the credential to `path`, which then can be read by its owner only.
    ///
    /// # Errors
    /// [`AdminFileError::Write`].
    pub fn write(&self, files: &dyn Files, path: &Path) -> Result<(), AdminFileError> {
        let mut text = Zeroizing::new(String::with_capacity(TEXT_BYTES_MAX + 1));
        text.push_str(&self.to_text());
        text.push('\n');
        files.replace(path, text.as_bytes()).map_err(|source| {
            let path = path.display().to_string();
            AdminFileError::Write { path, source }
        })
    }

    /// The credential in the file at `path`.
    ///
    /// # Errors
    /// [`AdminFileError::Read`], [`AdminFileError::Content`].
    pub fn read(files: &dyn Files, path: &Path) -> Result<AdminCredential, AdminFileError> {
        let name = || path.display().to_string();
        let content = files
            .read(path, TEXT_BYTES_MAX + 64)
            .map_err(|source| AdminFileError::Read { path: name(), source })?;
        let content = Zeroizing::new(content);
        // What is not text begins otherwise.
        let text = std::str::from_utf8(&content).unwrap_or_default();
        AdminCredential::parse(text)
            .map_err(|source| AdminFileError::Content { path: name(), source })
    }
}

impl AdminRecord {
    /// Whether `bearer` proves possession of this credential. Takes the same time wherever the
    /// secrets differ.
    pub fn admits(&self, bearer: &Bearer) -> bool {
        self.secret_hash.fits(&bearer.secret) && self.id == bearer.id
    }
}

#[cfg(test)]
mod tests;
