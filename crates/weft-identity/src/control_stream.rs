//! Connections to a control plane, secured in either direction.

use std::sync::Arc;

use rustls::client::{ClientConfig, UnbufferedClientConnection};
use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls_pki_types::{CertificateDer, ServerName};
use weft_world::Stream;

use crate::session::{Session, TlsStream};
use crate::tls::HandshakeError;

/// A secured connection to or from a control plane.
pub struct ControlStream {
    /// The decrypted bytes.
    pub stream: Box<dyn Stream>,
    /// What the peer proved itself with, leaf first; empty for a client that proved nothing.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// Opens a session with a control plane, as [`control_client_config`](crate::control_client_config)
/// says.
///
/// # Errors
/// [`HandshakeError`].
pub async fn connect_control(
    config: Arc<ClientConfig>,
    socket: Box<dyn Stream>,
) -> Result<ControlStream, HandshakeError> {
    let unnamed = ServerName::from(std::net::Ipv4Addr::UNSPECIFIED);
    let connection =
        UnbufferedClientConnection::new(config, unnamed).map_err(HandshakeError::Tls)?;
    Ok(finished(TlsStream::handshake(socket, Session::Client(connection)).await?))
}

/// Answers a session as a control plane, as
/// [`ControlKey::server_config`](crate::ControlKey::server_config) says.
///
/// # Errors
/// [`HandshakeError`].
pub async fn accept_control(
    config: Arc<ServerConfig>,
    socket: Box<dyn Stream>,
) -> Result<ControlStream, HandshakeError> {
    let connection = UnbufferedServerConnection::new(config).map_err(HandshakeError::Tls)?;
    Ok(finished(TlsStream::handshake(socket, Session::Server(connection)).await?))
}

fn finished(stream: TlsStream) -> ControlStream {
    let certificates = stream.peer_certificates().unwrap_or_default().to_vec();
    ControlStream { stream: Box::new(stream), certificates }
}
