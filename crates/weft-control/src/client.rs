//! The API from the other side: what the command line calls.

use http_body_util::BodyExt;
use hyper::Method;
use serde::de::DeserializeOwned;
use thiserror::Error;
use weft_identity::{AdminCredential, SvidSlot};
use weft_world::World;

use crate::api::{
    AppliedObject, ApplyRequest, ApplyResponse, BackupRequest, CaStatus, ListResponse, ObjectKey,
    Refusal, RevokeRequest, RevokeResponse, RotateRequest, StatusResponse, StoredObject,
    TokenRequest, TokenResponse, WatchEvent,
};
use crate::line::Line;
use crate::routes::{NO_NAMESPACE, REQUEST_BYTES_MAX};

/// A call that did not succeed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The control plane cannot be reached.
    #[error("the control plane at {address} cannot be reached, see that it runs there: {reason}")]
    Connect {
        /// Its address.
        address: String,
        /// Why.
        reason: String,
    },
    /// The control plane said no.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// More than a control plane takes at once.
    #[error(
        "the files are a request of {bytes} bytes, and a control plane takes {REQUEST_BYTES_MAX} \
         at once: apply them in parts"
    )]
    TooLarge {
        /// How much it is.
        bytes: usize,
    },
    /// The connection broke, or the answer is not one.
    #[error("the control plane at {address} did not answer properly: {reason}")]
    Broken {
        /// Its address.
        address: String,
        /// Why.
        reason: String,
    },
}

/// Calls one control plane with one credential.
pub struct Client {
    line: Line,
}

impl Client {
    /// A client that proves itself with `credential`, which also says where to call.
    pub fn new(world: World, credential: AdminCredential) -> Client {
        let AdminCredential { bearer, address, control_key } = credential;
        let svid = SvidSlot::default();
        let addresses = vec![address];
        Client { line: Line { world, addresses, control_key, bearer: Some(bearer), svid } }
    }

    /// See [`crate::Resources::apply`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn apply(&self, request: &ApplyRequest) -> Result<ApplyResponse, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.line.broken(&error))?;
        if body.len() > REQUEST_BYTES_MAX {
            return Err(ClientError::TooLarge { bytes: body.len() });
        }
        self.call(Method::POST, "/api/v1/apply", body).await
    }

    /// See [`crate::Issuer::token`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn token(&self, request: &TokenRequest) -> Result<TokenResponse, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.line.broken(&error))?;
        self.call(Method::POST, "/api/v1/tokens", body).await
    }

    /// See [`crate::Resources::list`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list(
        &self,
        kind: Option<&str>,
        namespace: Option<&str>,
    ) -> Result<ListResponse, ClientError> {
        let path = format!("/api/v1/objects?{}", selection(kind, namespace));
        self.call(Method::GET, &path, Vec::new()).await
    }

    /// See [`crate::Discovery::status`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<StatusResponse, ClientError> {
        self.call(Method::GET, "/api/v1/status", Vec::new()).await
    }

    /// See [`weft_store::Store::backup`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn backup(&self, request: &BackupRequest) -> Result<(), ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.line.broken(&error))?;
        let _: serde_json::Value = self.call(Method::POST, "/api/v1/backup", body).await?;
        Ok(())
    }

    /// How it stands with the certificate authority.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ca_status(&self) -> Result<CaStatus, ClientError> {
        self.call(Method::GET, "/api/v1/ca", Vec::new()).await
    }

    /// See [`crate::Ca::revoke`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke(&self, request: &RevokeRequest) -> Result<RevokeResponse, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.line.broken(&error))?;
        self.call(Method::POST, "/api/v1/ca/revoke", body).await
    }

    /// See [`crate::Ca::rotate`] and [`crate::Ca::abort`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rotate(&self, request: &RotateRequest) -> Result<CaStatus, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.line.broken(&error))?;
        self.call(Method::POST, "/api/v1/ca/rotate", body).await
    }

    /// See [`crate::Resources::get`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get(&self, key: &ObjectKey) -> Result<StoredObject, ClientError> {
        self.call(Method::GET, &path_of(key), Vec::new()).await
    }

    /// See [`crate::Resources::delete`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete(
        &self,
        key: &ObjectKey,
        version: Option<u64>,
    ) -> Result<AppliedObject, ClientError> {
        let query = version.map_or(String::new(), |version| format!("?version={version}"));
        self.call(Method::DELETE, &format!("{}{query}", path_of(key)), Vec::new()).await
    }

    /// Calls `each` for every change after version `from`, until it says no or the watch ends.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn watch(
        &self,
        kind: Option<&str>,
        namespace: Option<&str>,
        from: u64,
        mut each: impl FnMut(WatchEvent) -> bool,
    ) -> Result<(), ClientError> {
        let path = format!("/api/v1/watch?from={from}&{}", selection(kind, namespace));
        let mut response = self.line.send(Method::GET, &path, Vec::new()).await?;
        let mut rest = Vec::new();
        while let Some(frame) = response.body_mut().frame().await {
            let frame = frame.map_err(|error| self.line.broken(&error))?;
            rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let event = serde_json::from_slice(&rest[..end])
                    .map_err(|error| self.line.broken(&error))?;
                rest.drain(..=end);
                if !each(event) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, ClientError> {
        self.line.call(method, path, body).await
    }
}

fn path_of(key: &ObjectKey) -> String {
    let ObjectKey { kind, namespace, name } = key;
    let namespace = if namespace.is_empty() { NO_NAMESPACE } else { namespace };
    format!("/api/v1/objects/{}/{}/{}", encoded(kind), encoded(namespace), encoded(name))
}

fn selection(kind: Option<&str>, namespace: Option<&str>) -> String {
    let named = [("kind", kind), ("namespace", namespace)];
    let pairs = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
    pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

/// `text` for a URL, everything unusual encoded.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
