//! Who gets an identity: holders of join tokens, and workloads that renew theirs.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use thiserror::Error;
use weft_identity::{
    Bearer, CertificateDer, ControlAddress, Grant, Issued, JoinRecord, JoinRequest, JoinToken,
    KeyHash, PeerFacts, RandomnessError, Refusal, SignError,
};
use weft_model::{NameError, ObjectName, SpiffeId};
use weft_store::{Batch, Expectation, Item, Store, StoreError};
use weft_world::{Moment, UnixTime};

use crate::api::{IssueRequest, IssueResponse, TokenRequest, TokenResponse};
use crate::ca::Ca;
use crate::discovery::Discovery;
use crate::grants;

/// The name of a join token's record among the values of the store.
const TOKENS: &str = "join-tokens/";

/// The longest life of a join token.
const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// How often a record is read again after somebody else has used the same token meanwhile.
const TRIES: u32 = 16;

/// Why no certificate or token was handed out.
#[derive(Debug, Error)]
pub enum IssueError {
    /// The token does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The peer of a renewal proved nothing, or is not to be trusted any more.
    #[error("renewal needs a valid certificate of this mesh: {0}")]
    Unproved(String),
    /// The identity is revoked.
    #[error(
        "the identity {0} is revoked: nobody gets a certificate of it before an administrator \
         lets it in again (`weft ca revoke --identity {account} --undo`)",
        account = .0.service_account()
    )]
    Revoked(SpiffeId),
    /// The request names something that is no name.
    #[error("{field}: {source}")]
    Name {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: NameError,
    },
    /// The request has a value that is not allowed.
    #[error("{field}: {message}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is wrong with it, and what is allowed.
        message: &'static str,
    },
    /// The certificate cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// No secret can be made.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds what this version cannot read.
    #[error("the record of the join token is malformed: {0}")]
    Record(String),
}

impl IssueError {
    /// The stable code of the reason, and the HTTP status that goes with it.
    pub fn reason(&self) -> (&'static str, u16) {
        match self {
            IssueError::Refused(Refusal::Unknown) => ("token-refused", 401),
            IssueError::Refused(_) => ("token-refused", 403),
            IssueError::Unproved(_) => ("not-proved", 401),
            IssueError::Revoked(_) => ("identity-revoked", 403),
            IssueError::Name { .. } | IssueError::Field { .. } | IssueError::Sign(_) => {
                ("invalid", 422)
            }
            IssueError::Randomness(_) | IssueError::Store(_) | IssueError::Record(_) => {
                ("issuing-failed", 503)
            }
        }
    }
}

/// Hands out tokens and certificates.
#[derive(Clone)]
pub struct Issuer {
    /// Where tokens are recorded.
    pub store: Arc<dyn Store>,
    /// What signs, and what is revoked.
    pub ca: Ca,
    /// How holders of a token reach this control plane.
    pub address: ControlAddress,
    /// How they know that it is this one.
    pub control_key: KeyHash,
}

impl Issuer {
    /// Makes a join token.
    ///
    /// # Errors
    /// [`IssueError::Name`], [`IssueError::Field`], [`IssueError::Store`].
    pub fn token(
        &self,
        request: &TokenRequest,
        now: Moment,
        wall: UnixTime,
    ) -> Result<TokenResponse, IssueError> {
        let lifetime = Duration::from_secs(request.lifetime_seconds);
        if lifetime.is_zero() || lifetime > TOKEN_LIFETIME_MAX {
            let message = "at least 1 s and at most 366 days are allowed";
            return Err(IssueError::Field { field: "lifetime", message });
        }
        if request.uses == 0 {
            let message = "at least one use is needed";
            return Err(IssueError::Field { field: "uses", message });
        }
        let grant = Grant {
            service_account: name("serviceAccount", &request.service_account)?,
            services: request
                .services
                .iter()
                .map(|text| name("services", text))
                .collect::<Result<_, _>>()?,
            expires: UnixTime(wall.0 + lifetime),
            uses: request.uses,
        };
        let addresses = vec![self.address.clone()];
        let (token, record) = JoinToken::issue(grant, addresses, self.control_key)?;
        let item = record_item(&record)?.expecting(Expectation::Absent);
        self.store.apply(Batch { now, wall, items: vec![item] })?;
        Ok(TokenResponse { id: record.id.to_string(), token: token.to_text().to_string() })
    }

    /// Exchanges one use of a token for a certificate. From then on the service account may serve
    /// the Services that the request names.
    ///
    /// # Errors
    /// [`IssueError`]. Nothing is handed out before the use is recorded.
    pub fn join(
        &self,
        bearer: &Bearer,
        request: &IssueRequest,
        now: Moment,
        wall: UnixTime,
    ) -> Result<IssueResponse, IssueError> {
        let wanted = JoinRequest {
            service_account: name("serviceAccount", &request.service_account)?,
            services: request
                .services
                .iter()
                .map(|text| name("services", text))
                .collect::<Result<_, _>>()?,
        };
        let key = format!("{TOKENS}{}", bearer.id);
        let mut tries = TRIES;
        let response = loop {
            let value = self.store.get_value(&key)?.ok_or(Refusal::Unknown)?;
            let record: JoinRecord = serde_json::from_slice(&value.bytes)
                .map_err(|error| IssueError::Record(error.to_string()))?;
            let rest = record.redeem(&bearer.secret, &wanted, wall)?;
            let trust_domain = self.ca.trust().load().bundle().trust_domain().clone();
            let identity = SpiffeId::new(trust_domain, wanted.service_account.clone());
            let turn = self.ca.turn();
            if turn.is_revoked(&identity) {
                return Err(IssueError::Revoked(identity));
            }
            let (drafted, record) = turn.sign(&csr(request)?, &identity, wall, None)?;
            let item = record_item(&rest)?.expecting(Expectation::Version(value.version));
            let more = grants::more(&*self.store, &wanted.service_account, &wanted.services)?;
            let items = std::iter::once(item).chain(more).chain(record).collect();
            match self.store.apply(Batch { now, wall, items }) {
                Ok(_) => break self.response(&identity, &turn.recorded(drafted)),
                Err(StoreError::Conflict(_)) if tries > 0 => tries -= 1,
                Err(error) => return Err(error.into()),
            }
        };
        Ok(response)
    }

    /// Exchanges a valid certificate for a new one of the same identity. Waits for the disk.
    ///
    /// # Errors
    /// [`IssueError`]. Nothing is handed out before it is on record.
    pub fn renew(
        &self,
        certificates: &[CertificateDer<'static>],
        request: &IssueRequest,
        now: Moment,
        wall: UnixTime,
    ) -> Result<IssueResponse, IssueError> {
        // Before it is asked what is revoked.
        let turn = self.ca.turn();
        let facts = self.prove(certificates, wall)?;
        let asked = name("serviceAccount", &request.service_account)?;
        if asked != *facts.identity.service_account() {
            let reason = format!("{} asks to be {asked}", facts.identity);
            return Err(IssueError::Unproved(reason));
        }
        let PeerFacts { identity, serial, .. } = &facts;
        let (drafted, items) = turn.sign(&csr(request)?, identity, wall, Some(*serial))?;
        self.store.apply(Batch { now, wall, items })?;
        Ok(self.response(identity, &turn.recorded(drafted)))
    }

    /// Notes that the holder of a certificate uses it: the one that it renewed is in use no more.
    /// Waits for the disk.
    ///
    /// # Errors
    /// [`IssueError::Unproved`], [`IssueError::Store`].
    pub fn installed(
        &self,
        certificates: &[CertificateDer<'static>],
        wall: UnixTime,
    ) -> Result<(), IssueError> {
        self.ca.proved(&self.prove(certificates, wall)?);
        Ok(self.ca.save()?)
    }

    /// Notes that the holder of a certificate ends, unless `discovery` has another stream of it.
    /// Waits for the disk.
    ///
    /// # Errors
    /// [`IssueError::Unproved`], [`IssueError::Store`].
    pub(crate) fn ended(
        &self,
        certificates: &[CertificateDer<'static>],
        wall: UnixTime,
        discovery: &Discovery,
    ) -> Result<(), IssueError> {
        let facts = self.prove(certificates, wall)?;
        let (seats, streams) = discovery.seats();
        self.ca.left(&facts, seats, &streams);
        Ok(self.ca.save()?)
    }

    /// Who the peer is.
    fn prove(
        &self,
        certificates: &[CertificateDer<'static>],
        wall: UnixTime,
    ) -> Result<PeerFacts, IssueError> {
        self.ca.prove(certificates, wall).map_err(IssueError::Unproved)
    }

    fn response(&self, identity: &SpiffeId, issued: &Issued) -> IssueResponse {
        let trust = self.ca.trust().load();
        let bundle = trust.bundle();
        let revocations = bundle.revocations();
        IssueResponse {
            identity: identity.to_string(),
            chain_pem: issued.chain_pem(),
            roots_pem: bundle.roots_pem(),
            trust_sequence: bundle.sequence(),
            revoked_identities: revocations.identities.iter().map(ToString::to_string).collect(),
            revoked_serials: revocations.serials.keys().map(ToString::to_string).collect(),
            renew_below: bundle.renew_below().map(|root| root.to_string()),
        }
    }
}

fn csr(request: &IssueRequest) -> Result<Vec<u8>, IssueError> {
    let message = "it is not base64 of a PKCS#10 request in DER";
    BASE64.decode(&request.csr).map_err(|_| IssueError::Field { field: "csr", message })
}

fn name(field: &'static str, text: &str) -> Result<ObjectName, IssueError> {
    text.parse().map_err(|source| IssueError::Name { field, source })
}

fn record_item(record: &JoinRecord) -> Result<Item, IssueError> {
    let bytes =
        serde_json::to_vec(record).map_err(|error| IssueError::Record(error.to_string()))?;
    Ok(Item::put_value(format!("{TOKENS}{}", record.id), bytes))
}
