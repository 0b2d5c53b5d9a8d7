//! Mutual TLS between proxies, and the seam behind which a simulation replaces it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::CertificateError;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientConfig, Resumption, UnbufferedClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::server::{
    NoServerSessionStorage, ResolvesServerCert, ServerConfig, UnbufferedServerConnection,
};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::ServerName;
use thiserror::Error;
use weft_model::SpiffeId;
use weft_world::{BoxFuture, Stream, UnixTime};

use crate::credentials::{Credentials, Svid, SvidSlot};
use crate::session::{Session, TlsStream};
use crate::trust::{PeerFacts, Reason, Trust, TrustBundle, TrustError, TrustSlot};
use crate::verify::{PeerVerifier, refused};

/// The application protocol of the tunnel between proxies.
pub const ALPN: &[u8] = b"weft/1";

/// A handshake that gave no secured stream.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The connection broke.
    #[error("the connection broke during the TLS handshake")]
    Io(#[source] io::Error),
    /// One side refused the other.
    #[error("TLS handshake failed: {}", in_words(.0))]
    Tls(rustls::Error),
    /// The peer does not speak the tunnel's protocol.
    #[error("the peer did not agree on the application protocol weft/1")]
    Protocol,
}

/// The error for people: of a reason of Weft's own, rustls would show the structure around it.
fn in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(reason)) => {
            format!("invalid peer certificate: {}", reason.0)
        }
        error => error.to_string(),
    }
}

/// A stream whose peer has proved its identity.
pub struct Secured {
    /// The decrypted bytes.
    pub stream: Box<dyn Stream>,
    /// Who the peer is.
    pub peer: SpiffeId,
    /// What it can be judged by later, where it showed a certificate.
    pub facts: Option<PeerFacts>,
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

    /// The place of the own certificate, where there is one that others can see.
    fn certificate(&self) -> Option<&SvidSlot> {
        None
    }

    /// Whether a peer that was let in may stay, by what is trusted now.
    ///
    /// # Errors
    /// [`Reason`] why not; whether that closes a live connection is [`Reason::is_urgent`].
    fn judge(&self, peer: &PeerFacts, now: UnixTime) -> Result<(), Reason>;
}

impl<T: Tls + ?Sized> Tls for Arc<T> {
    fn connect(
        &self,
        socket: Box<dyn Stream>,
        server_name: Option<&str>,
    ) -> BoxFuture<'static, Result<Secured, HandshakeError>> {
        (**self).connect(socket, server_name)
    }

    fn accept(
        &self,
        socket: Box<dyn Stream>,
    ) -> BoxFuture<'static, Result<Secured, HandshakeError>> {
        (**self).accept(socket)
    }

    fn identity(&self) -> &SpiffeId {
        (**self).identity()
    }

    fn certificate(&self) -> Option<&SvidSlot> {
        (**self).certificate()
    }

    fn judge(&self, peer: &PeerFacts, now: UnixTime) -> Result<(), Reason> {
        (**self).judge(peer, now)
    }
}

/// New credentials that cannot take the place of the present ones.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReplaceError {
    /// They are of somebody else.
    #[error("the new certificate is of {offered}, and this side is {held}")]
    Identity {
        /// The own identity.
        held: SpiffeId,
        /// That of the certificate.
        offered: SpiffeId,
    },
    /// The bundle is not to be taken.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// [`Tls`] by rustls, for real networks.
///
/// Certificate and trust can be replaced at any time, from any thread: handshakes see the new ones
/// at once, sockets and streams stay as they are.
pub struct MutualTls {
    identity: SpiffeId,
    svid: SvidSlot,
    trust: TrustSlot,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl MutualTls {
    /// Both directions with `credentials`.
    ///
    /// # Errors
    /// [`rustls::Error`] if the library refuses the combination, which would be a bug.
    pub fn new(credentials: &Credentials) -> Result<MutualTls, rustls::Error> {
        let svid = SvidSlot::with(&credentials.svid);
        let trust = TrustSlot::new(credentials.bundle.clone());
        let mut client = client_config(Arc::new(PeerVerifier::mutual(trust.clone())), &svid)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        let resolver = Arc::new(svid.clone());
        let mut server = server_config(PeerVerifier::mutual(trust.clone()), resolver)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        let identity = credentials.svid.identity().clone();
        let (client, server) = (Arc::new(client), Arc::new(server));
        Ok(MutualTls { identity, svid, trust, client, server })
    }

    /// From now on, handshakes prove themselves with `svid`.
    ///
    /// # Errors
    /// [`ReplaceError::Identity`] if it is of another identity; then nothing changes.
    pub fn replace_svid(&self, svid: &Svid) -> Result<(), ReplaceError> {
        if *svid.identity() != self.identity {
            let (held, offered) = (self.identity.clone(), svid.identity().clone());
            return Err(ReplaceError::Identity { held, offered });
        }
        self.svid.set(svid);
        Ok(())
    }

    /// From now on, handshakes trust `bundle`. False if they did already.
    ///
    /// The owner of live connections then has [`Trust::judge`] look at each of them.
    ///
    /// # Errors
    /// [`ReplaceError::Trust`]; then nothing changes.
    pub fn replace_trust(&self, bundle: TrustBundle) -> Result<bool, ReplaceError> {
        Ok(self.trust.replace(bundle)?)
    }

    /// The place of the current certificate, for the connections to the control plane.
    pub fn svid(&self) -> &SvidSlot {
        &self.svid
    }

    /// The place of the current trust.
    pub fn trust(&self) -> &TrustSlot {
        &self.trust
    }
}

/// A client of TLS 1.3 that accepts servers by `verifier`, proves itself with what is in `svid`,
/// and resumes nothing.
pub(crate) fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    svid: &SvidSlot,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous() // A verifier of our own: identities are URIs and hashes, not host names.
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(svid.clone()));
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A server of TLS 1.3 that accepts clients by `verifier`, proves itself by `resolver`, and lets
/// nothing be resumed.
pub(crate) fn server_config(
    verifier: PeerVerifier,
    resolver: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(resolver);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
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
        let (trust, before) = (self.trust.clone(), self.trust.load_full());
        let connection =
            UnbufferedClientConnection::new(self.client.clone(), name.unwrap_or(unnamed));
        Box::pin(async move {
            let session = Session::Client(connection.map_err(HandshakeError::Tls)?);
            secure(TlsStream::handshake(socket, session).await?, &before, &trust)
        })
    }

    fn accept(
        &self,
        socket: Box<dyn Stream>,
    ) -> BoxFuture<'static, Result<Secured, HandshakeError>> {
        let (trust, before) = (self.trust.clone(), self.trust.load_full());
        let connection = UnbufferedServerConnection::new(self.server.clone());
        Box::pin(async move {
            let session = Session::Server(connection.map_err(HandshakeError::Tls)?);
            secure(TlsStream::handshake(socket, session).await?, &before, &trust)
        })
    }

    fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    fn certificate(&self) -> Option<&SvidSlot> {
        Some(&self.svid)
    }

    fn judge(&self, peer: &PeerFacts, now: UnixTime) -> Result<(), Reason> {
        self.trust.load().judge(peer, now)
    }
}

/// Finds out who the peer of a finished handshake is, by what is trusted now: what was revoked
/// while the handshake went on counts. `before` is what was trusted when it began.
fn secure(
    stream: TlsStream,
    before: &Arc<Trust>,
    trust: &TrustSlot,
) -> Result<Secured, HandshakeError> {
    if stream.alpn() != Some(ALPN) {
        return Err(HandshakeError::Protocol);
    }
    let trust = trust.load();
    let now = DefaultTimeProvider.current_time(); // As the handshake itself.
    let now = now.ok_or_else(|| refused("the system has no time")).map_err(HandshakeError::Tls)?;
    let chain = stream.peer_certificates().unwrap_or_default();
    let facts = if Arc::ptr_eq(before, &trust) {
        trust.facts_of_admitted(chain, now)
    } else {
        trust.facts(chain, UnixTime(Duration::from_secs(now.as_secs())))
    };
    let facts = facts.map_err(HandshakeError::Tls)?;
    let peer = facts.identity.clone();
    Ok(Secured { stream: Box::new(stream), peer, facts: Some(facts) })
}
