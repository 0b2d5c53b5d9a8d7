//! The API from the other side: what the command line calls.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use thiserror::Error;
use weft_identity::{
    AdminCredential, HandshakeError, SvidSlot, connect_control, control_client_config,
};
use weft_world::World;

use crate::api::{
    AppliedObject, ApplyRequest, ApplyResponse, ListResponse, ObjectKey, Refusal, StoredObject,
    WatchEvent,
};
use crate::io::HyperIo;
use crate::routes::NO_NAMESPACE;

/// The longest wait for a connection, its handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A call that did not succeed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The control plane cannot be reached.
    #[error("the control plane at {address} cannot be reached: {reason}")]
    Connect {
        /// Its address.
        address: String,
        /// Why.
        reason: String,
    },
    /// The control plane said no.
    #[error("{}", .0.message)]
    Refused(Refusal),
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
    world: World,
    credential: AdminCredential,
}

impl Client {
    /// A client that proves itself with `credential`, which also says where to call.
    pub fn new(world: World, credential: AdminCredential) -> Client {
        Client { world, credential }
    }

    /// See [`crate::Resources::apply`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn apply(&self, request: &ApplyRequest) -> Result<ApplyResponse, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.broken(&error))?;
        self.call(Method::POST, "/api/v1/apply", body).await
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
        let mut response = self.send(Method::GET, &path, Vec::new()).await?;
        let mut rest = Vec::new();
        while let Some(frame) = response.body_mut().frame().await {
            let frame = frame.map_err(|error| self.broken(&error))?;
            rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let event =
                    serde_json::from_slice(&rest[..end]).map_err(|error| self.broken(&error))?;
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
        let response = self.send(method, path, body).await?;
        let body = self.collect(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.broken(&error))
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let limited = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = limited.collect().await.map_err(|error| self.broken(&*error))?;
        Ok(body.to_bytes())
    }

    /// Sends a request on a connection of its own; whatever is not a success is an error.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, ClientError> {
        let connecting = self.connect();
        let io = tokio::select! {
            biased;
            connected = connecting => connected?,
            () = self.world.clock.sleep(CONNECT_TIMEOUT) => {
                return Err(self.unreachable("no answer within 10 s"));
            }
        };
        let handshake = hyper::client::conn::http1::handshake(io).await;
        let (mut sender, connection) = handshake.map_err(|error| self.broken(&error))?;
        // It ends with the answer; what goes wrong on it is told to the sender as well.
        tokio::task::spawn_local(async move { drop(connection.await) });
        let authorization = format!("Bearer {}", *self.credential.bearer.to_text());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.credential.address.as_str())
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.broken(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let body = self.collect(response).await?;
        Err(match serde_json::from_slice(&body) {
            Ok(refusal) => ClientError::Refused(refusal),
            Err(_) => {
                let text = String::from_utf8_lossy(&body);
                self.broken(&io::Error::other(format!("{status}: {text}")))
            }
        })
    }

    async fn connect(&self) -> Result<HyperIo, ClientError> {
        let config = control_client_config(self.credential.control_key, &SvidSlot::default())
            .map_err(|error| self.unreachable(&error.to_string()))?;
        let mut last = "the name has no address".to_owned();
        for address in self.addresses()? {
            let socket = match self.world.network.connect(address).await {
                Ok(socket) => socket,
                Err(error) => {
                    last = error.to_string();
                    continue;
                }
            };
            let connected: Result<_, HandshakeError> =
                connect_control(Arc::new(config), socket).await;
            let secured = connected.map_err(|error| self.unreachable(&error.to_string()))?;
            return Ok(HyperIo::new(secured.stream));
        }
        Err(self.unreachable(&last))
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>, ClientError> {
        // A command has nothing else to do while the name is looked up.
        let found = self.credential.address.as_str().to_socket_addrs();
        Ok(found.map_err(|error| self.unreachable(&error.to_string()))?.collect())
    }

    fn unreachable(&self, reason: &str) -> ClientError {
        let address = self.credential.address.to_string();
        ClientError::Connect { address, reason: reason.to_owned() }
    }

    fn broken(&self, error: &(impl std::error::Error + ?Sized)) -> ClientError {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        ClientError::Broken { address: self.credential.address.to_string(), reason }
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
