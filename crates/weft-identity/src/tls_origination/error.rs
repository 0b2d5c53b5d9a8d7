//! Why there is no TLS with a server outside of the mesh, and what to do about it.

use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError};
use thiserror::Error;
use weft_model::{ClientCertificate, TlsOrigination, TlsRoots};
use weft_world::UnixTime;

use super::Spoken;
use super::verify::accepted;
use crate::tls::HandshakeError;

/// Why there is no TLS with a server outside of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OriginationError {
    /// The system trusts nobody, as far as can be seen.
    #[error(
        "the system's roots are to vouch for it, and there are none here: {looked}; install them \
         (package ca-certificates), or have SSL_CERT_FILE name them"
    )]
    NoSystemRoots {
        /// Where they were looked for, and what was found.
        looked: String,
    },
    /// Nobody is trusted, for this reason.
    #[error("nobody is trusted to vouch for it: {0}")]
    NoRoots(Arc<str>),
    /// A certificate that is to be trusted cannot be used as such.
    #[error("a certificate that is to vouch for it is no authority's: {0}")]
    Root(String),
    /// Nothing says which name it is to prove.
    #[error("that is no name that a certificate could prove, and no other one is given")]
    NoName,
    /// There is no certificate of the workload to show.
    #[error("it is to see the workload's certificate, and this proxy has no identity")]
    NoIdentity,
    /// What the server's certificate proves is not enough.
    #[error("{0}")]
    Certificate(String),
    /// The server does not speak HTTP/2.
    #[error(
        "it does not agree to HTTP/2 (ALPN h2), which is to be spoken there: declare HTTP/1.1 \
         (`http`) if it speaks that alone"
    )]
    NoHttp2,
    /// The server does not speak HTTP/1.1, and maybe HTTP/2.
    #[error(
        "it does not agree to HTTP/1.1 (ALPN http/1.1), which is to be spoken there: declare \
         HTTP/2 if it speaks that alone"
    )]
    NoHttp1,
    /// The server refused the handshake.
    #[error("it refused the handshake: {0}")]
    Refused(String),
    /// It took too long.
    #[error("its handshake took longer than 10 s")]
    TimedOut,
    /// There was no handshake, for another reason.
    #[error("{0}")]
    Failed(String),
}

impl OriginationError {
    /// Whether the reason is here, and not at the server.
    pub fn is_own(&self) -> bool {
        match self {
            OriginationError::NoSystemRoots { .. }
            | OriginationError::NoRoots(_)
            | OriginationError::Root(_)
            | OriginationError::NoName
            | OriginationError::NoIdentity => true,
            OriginationError::Certificate(_)
            | OriginationError::NoHttp2
            | OriginationError::NoHttp1
            | OriginationError::Refused(_)
            | OriginationError::TimedOut
            | OriginationError::Failed(_) => false,
        }
    }
}

/// Why a handshake by `settings` failed.
pub(super) fn of_handshake(
    error: HandshakeError,
    settings: &TlsOrigination,
    spoken: Spoken,
) -> OriginationError {
    match error {
        HandshakeError::Tls(error) => of_tls(error, settings, spoken),
        HandshakeError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            OriginationError::Failed("it ended the connection during the handshake".to_owned())
        }
        HandshakeError::Io(error) => {
            OriginationError::Failed(format!("the connection broke during the handshake: {error}"))
        }
        HandshakeError::Protocol => OriginationError::NoHttp2,
    }
}

/// The same of what the library says.
pub(super) fn of_tls(
    error: rustls::Error,
    settings: &TlsOrigination,
    spoken: Spoken,
) -> OriginationError {
    match error {
        rustls::Error::InvalidCertificate(error) => {
            OriginationError::Certificate(of_certificate(&error, settings))
        }
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => match spoken {
            Spoken::Http2 => OriginationError::NoHttp2,
            Spoken::Http1 | Spoken::Opaque => OriginationError::NoHttp1,
        },
        rustls::Error::AlertReceived(alert) => OriginationError::Refused(of_alert(alert, settings)),
        rustls::Error::InvalidMessage(_) => OriginationError::Failed(
            "what it answers is no TLS: a port for plaintext, maybe".to_owned(),
        ),
        other => OriginationError::Failed(format!("the handshake failed: {other}")),
    }
}

fn of_certificate(error: &CertificateError, settings: &TlsOrigination) -> String {
    let at = |time: &rustls_pki_types::UnixTime| {
        UnixTime(std::time::Duration::from_secs(time.as_secs())).to_string()
    };
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            let (now, end) = (at(time), at(not_after));
            format!("its certificate has expired: it ended {end}, and here it is {now}")
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let (now, start) = (at(time), at(not_before));
            format!("its certificate does not hold yet: it begins {start}, and here it is {now}")
        }
        CertificateError::UnknownIssuer => {
            let roots = match &settings.roots {
                TlsRoots::System => "the system's roots",
                TlsRoots::Certificates(_) | TlsRoots::Nobody(_) => "the roots given for it",
            };
            format!(
                "its certificate was issued by nobody whom {roots} vouch for: if it is to be \
                 trusted, give the certificate of its authority as a root"
            )
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = accepted(settings).iter().map(ToString::to_string).collect();
            let presented = match presented.is_empty() {
                true => "no name".to_owned(),
                false => presented.join(", "),
            };
            format!(
                "its certificate is for {presented}, and must be for {}: if it is the right \
                 server, give its name as hostname or among subjectAltNames",
                names.join(" or ")
            )
        }
        CertificateError::InvalidPurpose => "its certificate is not for servers".to_owned(),
        CertificateError::Other(other) => match other.0.downcast_ref() {
            Some(webpki::Error::CaUsedAsEndEntity) => {
                "its certificate is an authority's (CA:TRUE), which is none for servers".to_owned()
            }
            _ => format!("its certificate is refused: {other}"),
        },
        other => format!("its certificate is refused: {other}"),
    }
}

/// Whether a server says by `alert` that it wants another certificate of its client.
fn is_about_client(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

fn of_alert(alert: AlertDescription, settings: &TlsOrigination) -> String {
    match alert {
        alert if is_about_client(alert) => match settings.client_certificate {
            ClientCertificate::None => format!(
                "it wants a certificate ({alert:?}): `clientCertificate: Workload` shows that of \
                 the workload"
            ),
            ClientCertificate::Workload => {
                format!("it does not take the workload's certificate ({alert:?})")
            }
        },
        AlertDescription::UnrecognisedName => {
            format!("it serves no {} ({alert:?})", settings.hostname)
        }
        AlertDescription::ProtocolVersion => {
            format!("it speaks neither TLS 1.2 nor 1.3 ({alert:?})")
        }
        alert => format!("{alert:?}"),
    }
}

/// Why a server of `settings` refused a session that seemed to stand, if `error` says that: of TLS
/// 1.3 a client's certificate is judged when the client has gone on already. Nothing that the
/// client has sent was processed then.
pub fn refused_later(error: &io::Error, settings: &TlsOrigination) -> Option<OriginationError> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) if is_about_client(*alert) => {
            Some(OriginationError::Refused(of_alert(*alert, settings)))
        }
        _ => None,
    }
}
