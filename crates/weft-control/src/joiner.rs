//! How a proxy gets its identity from a control plane, and keeps it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::Method;
use thiserror::Error;
use weft_identity::{
    Credentials, CredentialsError, JoinToken, KeyHash, Request, RequestError, Serial, SvidSlot,
    TrustBundle,
};
use weft_model::{
    IdentityError, ObjectName, Revocation, SerialNumber, SpiffeId, TrustDomain, ValueError,
};
use weft_world::World;

use crate::api::{IssueRequest, IssueResponse};
use crate::client::ClientError;
use crate::line::{ControlPlane, Line};

/// No identity could be had.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The control plane did not give one.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer is not what was asked for.
    #[error("the control plane's answer cannot be used: {0}")]
    Answer(String),
    /// The request cannot be made, or its answer does not fit.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl From<CredentialsError> for JoinError {
    fn from(error: CredentialsError) -> JoinError {
        JoinError::Answer(error.to_string())
    }
}

impl From<IdentityError> for JoinError {
    fn from(error: IdentityError) -> JoinError {
        JoinError::Answer(error.to_string())
    }
}

impl From<ValueError> for JoinError {
    fn from(error: ValueError) -> JoinError {
        JoinError::Answer(error.to_string())
    }
}

/// Gets certificates for one service account.
pub struct Joiner {
    line: Line,
    service_account: ObjectName,
    services: Vec<ObjectName>,
}

impl Joiner {
    /// A joiner for `service_account`, to be registered for `services`, by `token`.
    pub fn new(
        world: World,
        token: JoinToken,
        service_account: ObjectName,
        services: Vec<ObjectName>,
    ) -> Joiner {
        let JoinToken { bearer, addresses, control_key } = token;
        let svid = SvidSlot::default();
        let line = Line { world, addresses, control_key, bearer: Some(bearer), svid };
        Joiner { line, service_account, services }
    }

    /// Where the control plane is, and how it is known.
    pub fn control_plane(&self) -> ControlPlane {
        let Line { addresses, control_key, .. } = &self.line;
        ControlPlane { addresses: addresses.clone(), control_key: *control_key }
    }

    /// Uses the token once. The key is made here and stays here.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn join(&self) -> Result<Credentials, JoinError> {
        // Without the certificate, if there was one: the handshake fails over one that has expired.
        let line = Line { svid: SvidSlot::default(), ..self.line.clone() };
        self.issue(&line, "/api/v1/join").await
    }

    /// Gets a new certificate for a new key, proved by the present certificate in `svid`.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn renew(&mut self, svid: &SvidSlot) -> Result<Credentials, JoinError> {
        self.line.svid = svid.clone();
        self.issue(&self.line, "/api/v1/renew").await
    }

    async fn issue(&self, line: &Line, path: &str) -> Result<Credentials, JoinError> {
        let request = Request::generate()?;
        let asked = IssueRequest {
            service_account: self.service_account.to_string(),
            services: self.services.iter().map(ToString::to_string).collect(),
            csr: BASE64.encode(request.csr_der()),
        };
        let body = serde_json::to_vec(&asked).map_err(|error| line.broken(&error))?;
        let answer: IssueResponse = line.call(Method::POST, path, body).await?;
        let identity: SpiffeId = answer.identity.parse()?;
        if *identity.service_account() != self.service_account {
            return Err(JoinError::Answer(format!("it is for {identity}")));
        }
        let svid = request.finish_pem(answer.chain_pem.as_bytes(), &identity)?;
        let trust_domain = identity.trust_domain().clone();
        let bundle = bundle(trust_domain, &answer)?;
        Ok(Credentials { svid, bundle })
    }

    /// Has it known that the certificate in `svid` is in use, and none before it any more.
    ///
    /// # Errors
    /// [`JoinError::Client`].
    pub async fn installed(&mut self, svid: &SvidSlot) -> Result<(), JoinError> {
        self.line.svid = svid.clone();
        let done: serde_json::Value =
            self.line.call(Method::POST, "/api/v1/installed", Vec::new()).await?;
        drop(done);
        Ok(())
    }
}

/// Whom to trust, as an answer says: roots and revocations, as discovery would bring them.
fn bundle(trust_domain: TrustDomain, answer: &IssueResponse) -> Result<TrustBundle, JoinError> {
    let unreadable = |what: &str| JoinError::Answer(format!("`{what}` cannot be read"));
    let roots = TrustBundle::from_pem(trust_domain, answer.roots_pem.as_bytes())?;
    let mut trust = roots.under_sequence(answer.trust_sequence).to_model()?;
    for identity in &answer.revoked_identities {
        trust.revoked.insert(Revocation::Identity(identity.parse()?));
    }
    for text in &answer.revoked_serials {
        let serial: Serial = text.parse().map_err(|_| unreadable(text))?;
        let serial = SerialNumber::new(serial.as_bytes())?;
        trust.revoked.insert(Revocation::Serial(serial));
    }
    if let Some(text) = &answer.renew_below {
        let root: KeyHash = text.parse().map_err(|_| unreadable(text))?;
        trust.renew_below = Some(*root.as_bytes());
    }
    Ok(TrustBundle::from_model(&trust)?)
}
