//! Ordinary TLS to servers outside of the mesh, which prove a name to authorities that are trusted.
//!
//! What a server has to prove is checked when a session begins anew. A resumed one (RFC 8446,
//! section 2.2) proves by its ticket that it continues such a one; tickets are kept with the client
//! that got them, and so go with its settings.

mod error;
mod roots;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientConfig, Resumption, UnbufferedClientConnection};
use rustls_pki_types::ServerName;
use weft_model::{ClientCertificate, TlsOrigination, TlsRoots};
use weft_world::{BoxFuture, Files, Stream};

use crate::credentials::SvidSlot;
use crate::session::{Session, TlsStream};

pub use self::error::{OriginationError, refused_later};
pub use self::roots::{SystemRoots, check_authorities};
use self::verify::ServerVerifier;

/// How many servers the tickets are kept of. All of a client have one name.
const SERVERS_MAX: usize = 1;

/// What is spoken within TLS, which both sides agree on by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1, which is also spoken with a server that says nothing.
    Http1,
    /// HTTP/2. The server must agree.
    Http2,
    /// Something else, of which nothing is said.
    Opaque,
}

/// Opens TLS to servers outside of the mesh, by one [`TlsOrigination`].
pub struct TlsClient {
    settings: Arc<TlsOrigination>,
    name: ServerName<'static>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    opaque: Arc<ClientConfig>,
}

impl TlsClient {
    /// A client that goes by `settings`. `own` is the place of the workload's certificate.
    ///
    /// # Errors
    /// [`OriginationError`] if `settings` ask for what is not there.
    pub fn new(
        settings: &Arc<TlsOrigination>,
        system: &SystemRoots,
        files: &dyn Files,
        own: Option<&SvidSlot>,
    ) -> Result<TlsClient, OriginationError> {
        let anchors = match &settings.roots {
            TlsRoots::System => system.load(files)?,
            TlsRoots::Certificates(certificates) => roots::anchors(certificates)?,
            TlsRoots::Nobody(why) => return Err(OriginationError::NoRoots(why.clone())),
        };
        let name = ServerName::try_from(settings.hostname.as_str().to_owned())
            .map_err(|_| OriginationError::Failed("no server has a name like that".to_owned()))?;
        let own = match settings.client_certificate {
            ClientCertificate::None => None,
            ClientCertificate::Workload => Some(own.ok_or(OriginationError::NoIdentity)?),
        };
        let verifier = Arc::new(ServerVerifier::new(anchors, settings));
        let opaque =
            config(verifier, own).map_err(|error| OriginationError::Failed(error.to_string()))?;
        let speaking = |alpn: &[u8]| {
            // The tickets are the same ones.
            let mut config = opaque.clone();
            config.alpn_protocols = vec![alpn.to_vec()];
            Arc::new(config)
        };
        let (http1, http2) = (speaking(b"http/1.1"), speaking(b"h2"));
        Ok(TlsClient { settings: settings.clone(), name, http1, http2, opaque: Arc::new(opaque) })
    }

    /// Opens a session over `socket`.
    pub fn connect(
        &self,
        socket: Box<dyn Stream>,
        spoken: Spoken,
    ) -> BoxFuture<'static, Result<Box<dyn Stream>, OriginationError>> {
        let config = match spoken {
            Spoken::Http1 => &self.http1,
            Spoken::Http2 => &self.http2,
            Spoken::Opaque => &self.opaque,
        };
        let connection = UnbufferedClientConnection::new(config.clone(), self.name.clone());
        let settings = self.settings.clone();
        Box::pin(async move {
            let failed = |error| error::of_tls(error, &settings, spoken);
            let session = Session::Client(connection.map_err(failed)?);
            let failed = |error| error::of_handshake(error, &settings, spoken);
            let mut stream = TlsStream::handshake(socket, session).await.map_err(failed)?;
            if spoken == Spoken::Opaque {
                stream.settle().await.map_err(failed)?;
            }
            if spoken == Spoken::Http2 && stream.alpn() != Some(b"h2") {
                return Err(OriginationError::NoHttp2);
            }
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// A client of TLS 1.2 and 1.3 that accepts servers by `verifier`, and shows what is in `own`.
fn config(
    verifier: Arc<dyn ServerCertVerifier>,
    own: Option<&SvidSlot>,
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(crate::tls::provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous() // A verifier of our own: for several names, and for words that say what to do.
        .with_custom_certificate_verifier(verifier);
    Ok(match own {
        None => {
            let mut config = builder.with_no_client_auth();
            config.resumption = Resumption::in_memory_sessions(SERVERS_MAX);
            config
        }
        Some(own) => {
            let mut config = builder.with_client_cert_resolver(Arc::new(own.clone()));
            // The server would go on with the certificate of then.
            config.resumption = Resumption::disabled();
            config
        }
    })
}
