//! Which certificates of peers are accepted: those that chain to a root, name one identity, and are
//! not revoked.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage};
use weft_model::SpiffeId;

use crate::certificate;
use crate::key_hash::KeyHash;
use crate::serial::Serial;
use crate::trust::{IssuerFacts, PeerFacts, Reason, Trust, TrustBundle, TrustSlot};

/// How many intermediates are remembered with their roots. A mesh has one or two.
const KNOWN_MAX: usize = 8;

/// The identity that the certificate of a peer names, whoever signed it.
///
/// # Errors
/// [`CertificateError`] if it has not exactly one URI, or if that is no identity.
/// Source: X.509-SVID, section 2.
pub fn peer_identity(leaf: &CertificateDer<'_>) -> Result<SpiffeId, rustls::Error> {
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| refused(&error.to_string()))?;
    let mut names = leaf.valid_uri_names();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err(refused("the certificate has not exactly one URI as its subject"));
    };
    name.parse().map_err(|error: weft_model::IdentityError| refused(&error.to_string()))
}

/// A refusal for a reason that rustls has no word for.
pub(crate) fn refused(reason: &str) -> rustls::Error {
    let reason: Box<dyn std::error::Error + Send + Sync> = reason.into();
    CertificateError::Other(rustls::OtherError(Arc::from(reason))).into()
}

/// How certificates lead to the roots of a bundle.
#[derive(Debug)]
pub(crate) struct Paths {
    anchors: Vec<TrustAnchor<'static>>,
    keys: Vec<KeyHash>,
    algorithms: WebPkiSupportedAlgorithms,
    /// Intermediates that have led to a root before, so that the root of a finished handshake's
    /// peer is found without verifying signatures once more.
    known: ArcSwap<Vec<Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    intermediate: CertificateDer<'static>,
    issuer: Arc<IssuerFacts>,
}

/// Lets a certificate pass whatever its purpose.
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

impl Paths {
    pub(crate) fn new(bundle: &TrustBundle) -> Paths {
        let mut paths = Paths {
            anchors: Vec::new(),
            keys: Vec::new(),
            algorithms: crate::tls::provider().signature_verification_algorithms,
            known: ArcSwap::default(),
        };
        // A revoked root stays an anchor, so that what it signed is refused as revoked rather than
        // as unknown.
        for (key, root) in bundle.roots() {
            // Checked when the bundle was made.
            if let Ok(anchor) = webpki::anchor_from_trusted_cert(root) {
                paths.anchors.push(anchor.to_owned());
                paths.keys.push(*key);
            }
        }
        paths
    }

    /// Who vouches for `leaf`, after verifying every signature and date on the way to a root.
    fn find(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: impl ExtendedKeyUsageValidator,
    ) -> Result<Arc<IssuerFacts>, rustls::Error> {
        let algorithms = self.algorithms.all;
        let path = leaf
            .verify_for_usage(algorithms, &self.anchors, intermediates, now, purpose, None, None)
            .map_err(reason)?;
        let anchor = path.anchor();
        let position = self.anchors.iter().position(|known| std::ptr::eq(known, anchor));
        let root = self.keys[position.expect("a path ends at one of the given anchors")];
        let mut serials = Vec::new();
        for intermediate in path.intermediate_certificates() {
            let serial = Serial::from_bytes(intermediate.serial());
            serials.push(serial.ok_or_else(|| refused("a serial number has more than 20 bytes"))?);
        }
        let issuer = Arc::new(IssuerFacts { root, intermediates: serials });
        if let Some(intermediate) = self.only_way(leaf, intermediates)
            && self.remembered(intermediate).is_none()
        {
            self.remember(intermediate, &issuer);
        }
        Ok(issuer)
    }

    /// The intermediate through which every path from `leaf` to a root must lead, if that can be
    /// told without looking at signatures.
    fn only_way<'i, 'c>(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &'i [CertificateDer<'c>],
    ) -> Option<&'i CertificateDer<'c>> {
        let [only] = intermediates else { return None };
        // An anchor's subject is without the outer tag, as the issuer is.
        let by_root = self.anchors.iter().any(|anchor| anchor.subject.as_ref() == leaf.issuer());
        (!by_root).then_some(only)
    }

    fn remembered(&self, intermediate: &CertificateDer<'_>) -> Option<Arc<IssuerFacts>> {
        let known = self.known.load();
        let found = known.iter().find(|known| known.intermediate.as_ref() == intermediate.as_ref());
        found.map(|known| known.issuer.clone())
    }

    fn remember(&self, intermediate: &CertificateDer<'_>, issuer: &Arc<IssuerFacts>) {
        let (intermediate, issuer) = (intermediate.clone().into_owned(), issuer.clone());
        let mut next = Vec::clone(&self.known.load());
        if next.len() >= KNOWN_MAX {
            next.remove(0);
        }
        next.push(Known { intermediate, issuer });
        self.known.store(Arc::new(next)); // If two do so at once, one is remembered next time.
    }
}

impl Trust {
    /// Lets a peer in, or not, by the certificates that it shows in a handshake.
    fn admit(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: impl ExtendedKeyUsageValidator,
    ) -> Result<PeerFacts, rustls::Error> {
        let certificate = EndEntityCert::try_from(leaf).map_err(reason)?;
        let issuer = self.paths.find(&certificate, intermediates, now, purpose)?;
        self.facts_under(leaf, issuer, now)
    }

    /// Who the peer with the certificates `chain`, leaf first, is, if it is let in at `now`.
    ///
    /// # Errors
    /// [`rustls::Error::InvalidCertificate`].
    pub fn facts(
        &self,
        chain: &[CertificateDer<'_>],
        now: weft_world::UnixTime,
    ) -> Result<PeerFacts, rustls::Error> {
        let (leaf, intermediates) = split(chain)?;
        self.admit(leaf, intermediates, UnixTime::since_unix_epoch(now.0), AnyPurpose)
    }

    /// As [`facts`](Self::facts), of a peer that this very trust has let in a moment ago: no
    /// signature is verified again.
    pub(crate) fn facts_of_admitted(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<PeerFacts, rustls::Error> {
        let (leaf, intermediates) = split(chain)?;
        let certificate = EndEntityCert::try_from(leaf).map_err(reason)?;
        let way = self.paths.only_way(&certificate, intermediates);
        match way.and_then(|intermediate| self.paths.remembered(intermediate)) {
            Some(issuer) => self.facts_under(leaf, issuer, now),
            None => self.admit(leaf, intermediates, now, AnyPurpose),
        }
    }

    fn facts_under(
        &self,
        leaf: &CertificateDer<'_>,
        issuer: Arc<IssuerFacts>,
        now: UnixTime,
    ) -> Result<PeerFacts, rustls::Error> {
        let identity = peer_identity(leaf)?;
        let parsed = certificate::parse(leaf).map_err(|error| refused(&error))?;
        let serial = certificate::serial(&parsed)
            .ok_or_else(|| refused("a serial number has more than 20 bytes"))?;
        let not_after = certificate::validity(&parsed).not_after;
        let facts = PeerFacts { identity, serial, not_after, issuer };
        let now = weft_world::UnixTime(std::time::Duration::from_secs(now.as_secs()));
        match self.judge(&facts, now) {
            Ok(()) => Ok(facts),
            Err(reason) if reason.is_revocation() => Err(CertificateError::Revoked.into()),
            Err(Reason::Expired { .. }) => Err(CertificateError::Expired.into()),
            Err(reason) => Err(refused(&reason.to_string())),
        }
    }
}

/// The leaf of `chain`, and the rest.
fn split<'a, 'c>(
    chain: &'a [CertificateDer<'c>],
) -> Result<(&'a CertificateDer<'c>, &'a [CertificateDer<'c>]), rustls::Error> {
    chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)
}

/// Accepts the peers that the current trust lets in.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    trust: TrustSlot,
    algorithms: WebPkiSupportedAlgorithms,
    /// Whether a client must show a certificate at all.
    mandatory: bool,
}

impl PeerVerifier {
    /// Every peer must prove itself.
    pub(crate) fn mutual(trust: TrustSlot) -> PeerVerifier {
        let algorithms = crate::tls::provider().signature_verification_algorithms;
        PeerVerifier { trust, algorithms, mandatory: true }
    }

    /// Clients may prove themselves. If they try to, it must succeed.
    pub(crate) fn optional(trust: TrustSlot) -> PeerVerifier {
        PeerVerifier { mandatory: false, ..PeerVerifier::mutual(trust) }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), rustls::Error> {
        self.trust.load().admit(leaf, intermediates, now, usage).map(drop)
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }
}

/// The reason in rustls' words, so that the peer gets the alert that fits.
pub(crate) fn reason(error: webpki::Error) -> rustls::Error {
    use webpki::Error as E;
    let certificate_error = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::InvalidCertValidity => CertificateError::Expired,
        E::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::CertRevoked => CertificateError::Revoked,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
    };
    certificate_error.into()
}

impl ServerCertVerifier for PeerVerifier {
    /// The name in SNI is for routing; whether the peer is the wanted one is decided by its
    /// identity, after the handshake.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now, KeyUsage::server_auth())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[] // A stranger learns nothing of the roots.
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now, KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
