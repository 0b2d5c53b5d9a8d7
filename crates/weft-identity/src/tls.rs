//! Mutual TLS between proxies, and the seam behind which a simulation replaces it.

use std::io;
use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption, UnbufferedClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, ServerConfig, UnbufferedServerConnection};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::ServerName;
use thiserror::Error;
use weft_model::SpiffeId;
use weft_world::{BoxFuture, Stream};

use crate::credentials::Credentials;
use crate::session::{Session, TlsStream};
use crate::verify::{PeerVerifier, peer_identity};

/// The application protocol of the tunnel between proxies.
pub const ALPN: &[u8] = b"weft/1";

/// A handshake that gave no secured stream.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The connection broke.
    #[error("the connection broke during the TLS handshake")]
    Io(#[source] io::Error),
    /// One side refused the other.
    #[error("TLS handshake failed: {0}")]
    Tls(rustls::Error),
    /// The peer does not speak the tunnel's protocol.
    #[error("the peer did not agree on the application protocol weft/1")]
    Protocol,
}

/// A stream whose peer has proved its identity.
pub struct Secured {
    /// The decrypted bytes.
    pub stream: Box<dyn Stream>,
    /// Who the peer is.
    pub peer: SpiffeId,
}

/// Turns a connection into one that is encrypted and whose peer is known.
pub trait Tls {
    /// Opens a session as the client. `server_name` is sent in the clear, for routing only.
    fn connect(
        &self,
        socket: Box<dyn Stream>,
        server_name: Option<&str>,
    ) -> BoxFuture<'static, Result<Secured, HandshakeError>>;

    /// Answers a session as the server. Clients without a certificate are refused.
    fn accept(
        &self,
        socket: Box<dyn Stream>,
    ) -> BoxFuture<'static, Result<Secured, HandshakeError>>;

    /// The own identity.
    fn identity(&self) -> &SpiffeId;
}

/// [`Tls`] by rustls, for real networks.
pub struct MutualTls {
    identity: SpiffeId,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl MutualTls {
    /// Both directions with `credentials`.
    ///
    /// # Errors
    /// [`rustls::Error`] if the library refuses the combination, which would be a bug.
    pub fn new(credentials: &Credentials) -> Result<MutualTls, rustls::Error> {
        let provider = Arc::new(provider());
        let verifier = Arc::new(PeerVerifier::new(credentials.bundle.clone()));
        let key: Arc<CertifiedKey> = credentials.svid.certified_key.clone();
        let versions = &[&rustls::version::TLS13];

        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?
            .dangerous() // A verifier of our own: identities are URIs, not host names.
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone())));
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let identity = credentials.svid.identity().clone();
        Ok(MutualTls { identity, client: Arc::new(client), server: Arc::new(server) })
    }
}

/// The cryptography in use: AES-128 before AES-256, since both outlast the certificates and the
/// first costs a quarter less; X25519MLKEM768 before all other key exchanges.
pub(crate) fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let is_aes_128 = |suite: &rustls::SupportedCipherSuite| {
        suite.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256
    };
    provider.cipher_suites.sort_by_key(|suite| !is_aes_128(suite));
    provider
}

impl Tls for MutualTls {
    fn connect(
        &self,
        socket: Box<dyn Stream>,
        server_name: Option<&str>,
    ) -> BoxFuture<'static, Result<Secured, HandshakeError>> {
        // An address as the name sends no SNI.
        let unnamed = ServerName::from(std::net::Ipv4Addr::UNSPECIFIED);
        let name = server_name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let connection =
            UnbufferedClientConnection::new(self.client.clone(), name.unwrap_or(unnamed));
        Box::pin(async move {
            let session = Session::Client(connection.map_err(HandshakeError::Tls)?);
            secure(TlsStream::handshake(socket, session).await?)
        })
    }

    fn accept(
        &self,
        socket: Box<dyn Stream>,
    ) -> BoxFuture<'static, Result<Secured, HandshakeError>> {
        let connection = UnbufferedServerConnection::new(self.server.clone());
        Box::pin(async move {
            let session = Session::Server(connection.map_err(HandshakeError::Tls)?);
            secure(TlsStream::handshake(socket, session).await?)
        })
    }

    fn identity(&self) -> &SpiffeId {
        &self.identity
    }
}

/// Finds out who the peer of a finished handshake is.
fn secure(stream: TlsStream) -> Result<Secured, HandshakeError> {
    if stream.alpn() != Some(ALPN) {
        return Err(HandshakeError::Protocol);
    }
    let leaf = stream.peer_certificate();
    let leaf = leaf.ok_or(HandshakeError::Tls(rustls::Error::NoCertificatesPresented))?;
    let peer = peer_identity(leaf).map_err(HandshakeError::Tls)?;
    Ok(Secured { peer, stream: Box::new(stream) })
}
