//! One call of a control plane: connect, prove, ask, read.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use weft_identity::{
    Bearer, ControlAddress, KeyHash, SvidSlot, connect_control, control_client_config,
};
use weft_world::World;

use crate::client::ClientError;
use crate::io::HyperIo;
use crate::routes::blocking;

/// The longest wait for a connection to one address, its handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait for the addresses of a name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Where a control plane is, and how it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlane {
    /// In the order to be tried.
    pub addresses: Vec<ControlAddress>,
    /// The hash of its key.
    pub control_key: KeyHash,
}

/// Where a control plane is, how it is known, and what the caller proves itself with.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) world: World,
    /// In the order to be tried.
    pub(crate) addresses: Vec<ControlAddress>,
    pub(crate) control_key: KeyHash,
    /// What is shown inside of TLS, once the server has proved its key.
    pub(crate) bearer: Option<Bearer>,
    /// What the TLS client proves itself with, if anything.
    pub(crate) svid: SvidSlot,
}

impl Line {
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, ClientError> {
        let response = self.send(method, path, body).await?;
        let body = self.collect(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.broken(&error))
    }

    #[expect(clippy::disallowed_methods, reason = "the body is limited")]
    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let limited = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = limited.collect().await.map_err(|error| self.broken(&*error))?;
        Ok(body.to_bytes())
    }

    /// Sends a request on a connection of its own; whatever is not a success is an error.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, ClientError> {
        let io = self.connect(b"http/1.1").await?;
        let handshake = hyper::client::conn::http1::handshake(io).await;
        let (mut sender, connection) = handshake.map_err(|error| self.broken(&error))?;
        // It ends with the answer; what goes wrong on it is told to the sender as well.
        tokio::task::spawn_local(async move { drop(connection.await) });
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "weft-control")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(bearer) = &self.bearer {
            let authorization = format!("Bearer {}", *bearer.to_text());
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|error| self.broken(&error))?;
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

    /// A connection on which `protocol` is spoken, as ALPN calls it.
    pub(crate) async fn connect(&self, protocol: &[u8]) -> Result<HyperIo, ClientError> {
        let mut config = control_client_config(self.control_key, &self.svid)
            .map_err(|error| self.unreachable(&error.to_string()))?;
        config.alpn_protocols = vec![protocol.to_vec()];
        let config = Arc::new(config);
        let mut last = "no address is known".to_owned();
        for address in self.socket_addresses().await? {
            let connecting = async {
                let socket = self.world.network.connect(address).await;
                let socket = socket.map_err(|error| error.to_string())?;
                let secured = connect_control(config.clone(), socket).await;
                secured.map_err(|error| error.to_string())
            };
            let connected = tokio::select! {
                biased;
                connected = connecting => connected,
                () = self.world.clock.sleep(CONNECT_TIMEOUT) => Err("no answer within 5 s".into()),
            };
            match connected {
                Ok(secured) => return Ok(HyperIo::new(secured.stream)),
                Err(reason) => last = reason,
            }
        }
        Err(self.unreachable(&last))
    }

    async fn socket_addresses(&self) -> Result<Vec<SocketAddr>, ClientError> {
        let mut found = Vec::new();
        let mut failure: Option<io::Error> = None;
        for address in &self.addresses {
            if let Ok(address) = address.as_str().parse() {
                found.push(address);
                continue;
            }
            let name = address.as_str().to_owned();
            let looking = blocking(move || Ok(name.to_socket_addrs()?.collect::<Vec<_>>()));
            let looked = tokio::select! {
                biased;
                looked = looking => looked,
                () = self.world.clock.sleep(LOOKUP_TIMEOUT) => Err(io::ErrorKind::TimedOut.into()),
            };
            match looked {
                Ok(addresses) => found.extend(addresses),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if found.is_empty() => Err(self.unreachable(&error.to_string())),
            _ => Ok(found),
        }
    }

    fn address(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    fn unreachable(&self, reason: &str) -> ClientError {
        ClientError::Connect { address: self.address(), reason: reason.to_owned() }
    }

    pub(crate) fn broken(&self, error: &(impl std::error::Error + ?Sized)) -> ClientError {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        ClientError::Broken { address: self.address(), reason }
    }
}
