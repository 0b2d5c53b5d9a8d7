//! Join tokens: what a workload outside Kubernetes shows to get its first certificate.
//!
//! A token is bound to one service account and the services that may be registered with it, ends at
//! a date and after a count of uses. It names the key of the control plane, so that it is never
//! shown to anybody else.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use weft_model::{NameError, ObjectName};
use weft_world::UnixTime;
use zeroize::Zeroizing;

use crate::address::ControlAddress;
use crate::key_hash::KeyHash;
use crate::secret::{
    Bearer, RandomnessError, SECRET_SHAPE, Secret, SecretHash, SecretId, TextError, read_text,
    write_text,
};

/// How every join token begins.
const PREFIX: &str = "weft-join.v1.";

/// The most addresses of a control plane in a token.
const ADDRESSES_MAX: usize = 8;

/// What the holder of a token has.
#[derive(Clone, Debug)]
pub struct JoinToken {
    /// Which record it belongs to, and the proof.
    pub bearer: Bearer,
    /// Where the control plane listens, in the order to be tried.
    pub addresses: Vec<ControlAddress>,
    /// The key that the control plane must prove to have before the token is shown to it.
    pub control_key: KeyHash,
}

/// The fields of a token as they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    id: String,
    secret: Zeroized,
    addresses: Vec<String>,
    key: String,
}

/// Text that is wiped from memory when it is dropped.
#[derive(Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub(crate) struct Zeroized(pub(crate) Zeroizing<String>);

impl Clone for Zeroized {
    fn clone(&self) -> Zeroized {
        Zeroized(self.0.clone())
    }
}

impl From<String> for Zeroized {
    fn from(text: String) -> Zeroized {
        Zeroized(Zeroizing::new(text))
    }
}

impl From<Zeroized> for String {
    fn from(text: Zeroized) -> String {
        text.0.to_string()
    }
}

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The service account that its holder gets the identity of.
    pub service_account: ObjectName,
    /// The services that its holder may be registered as an endpoint of.
    pub services: BTreeSet<ObjectName>,
    /// The last moment of its use.
    pub expires: UnixTime,
    /// How often it may be used.
    pub uses: u32,
}

/// What the control plane keeps of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "RawRecord", try_from = "RawRecord")]
pub struct JoinRecord {
    /// By what the record is found.
    pub id: SecretId,
    /// What the secret is compared with.
    pub secret_hash: SecretHash,
    /// What the token allows, its uses counted down.
    pub grant: Grant,
}

/// A record as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    id: SecretId,
    secret_hash: SecretHash,
    service_account: String,
    services: Vec<String>,
    expires_unix_seconds: u64,
    uses_left: u32,
}

/// What the holder of a token asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The service account whose identity is wanted.
    pub service_account: ObjectName,
    /// The services to be registered as an endpoint of.
    pub services: BTreeSet<ObjectName>,
}

/// Why a token does not give what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The secret is not the token's. A token that nobody knows is answered alike.
    #[error("the join token is not valid: it was never issued, was deleted, or is damaged")]
    Unknown,
    /// It is too late.
    #[error("the join token {id} expired at {expires}: have a new one made")]
    Expired {
        /// Which token.
        id: SecretId,
        /// When that was.
        expires: UnixTime,
    },
    /// It has been used as often as it may be.
    #[error("the join token {0} is used up: have a new one made")]
    UsedUp(SecretId),
    /// It is for another service account.
    #[error(
        "the join token {id} is for the service account {granted}, and {requested} was asked for"
    )]
    ServiceAccount {
        /// Which token.
        id: SecretId,
        /// The one that it is for.
        granted: ObjectName,
        /// The one that was asked for.
        requested: ObjectName,
    },
    /// It is not for one of the services.
    #[error("the join token {id} does not allow to serve {requested}, only {}", list(granted))]
    Service {
        /// Which token.
        id: SecretId,
        /// Those that it is for.
        granted: BTreeSet<ObjectName>,
        /// The one that was asked for.
        requested: ObjectName,
    },
}

/// The names in `services`, or `none`.
fn list(services: &BTreeSet<ObjectName>) -> String {
    if services.is_empty() {
        return "none".to_owned();
    }
    services.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl JoinToken {
    /// A new token for `grant`: for its holder, and for the control plane's records.
    ///
    /// # Errors
    /// [`RandomnessError`].
    pub fn issue(
        grant: Grant,
        addresses: Vec<ControlAddress>,
        control_key: KeyHash,
    ) -> Result<(JoinToken, JoinRecord), RandomnessError> {
        let bearer = Bearer { id: SecretId::generate()?, secret: Secret::generate()? };
        let (id, secret_hash) = (bearer.id.clone(), bearer.secret.hash());
        let record = JoinRecord { id, secret_hash, grant };
        Ok((JoinToken { bearer, addresses, control_key }, record))
    }

    /// The token as text, to be handed to its holder once.
    pub fn to_text(&self) -> Zeroizing<String> {
        let payload = Payload {
            id: self.bearer.id.to_string(),
            secret: Zeroized(self.bearer.secret.expose()),
            addresses: self.addresses.iter().map(ToString::to_string).collect(),
            key: self.control_key.to_string(),
        };
        write_text(PREFIX, &payload)
    }

    /// The token in `text`.
    ///
    /// # Errors
    /// [`TextError`], which does not hold the secret.
    pub fn parse(text: &str) -> Result<JoinToken, TextError> {
        let wrong = |field, reason: String| TextError::Field { field, reason };
        let Payload { id, secret, addresses, key } = read_text(PREFIX, text)?;
        let id = id.parse().map_err(|reason: &str| wrong("id", reason.to_owned()))?;
        let secret = Secret::read(&secret.0);
        let secret = secret.ok_or_else(|| wrong("secret", SECRET_SHAPE.to_owned()))?;
        if !(1..=ADDRESSES_MAX).contains(&addresses.len()) {
            let reason = format!("there are {}, 1 to {ADDRESSES_MAX} are allowed", addresses.len());
            return Err(wrong("addresses", reason));
        }
        let addresses: Result<_, _> = addresses.iter().map(|text| text.parse()).collect();
        let addresses = addresses
            .map_err(|error: crate::AddressError| wrong("addresses", error.to_string()))?;
        let control_key =
            key.parse().map_err(|error: crate::KeyHashError| wrong("key", error.to_string()))?;
        Ok(JoinToken { bearer: Bearer { id, secret }, addresses, control_key })
    }
}

impl JoinRecord {
    /// What remains of the token after `request`, if it is granted: the record to be stored before
    /// anything is handed out.
    ///
    /// # Errors
    /// The first [`Refusal`]; nothing about the token is told to who does not know its secret.
    pub fn redeem(
        &self,
        secret: &Secret,
        request: &JoinRequest,
        now: UnixTime,
    ) -> Result<JoinRecord, Refusal> {
        let id = self.id.clone();
        let Grant { service_account, services, expires, uses } = &self.grant;
        if !self.secret_hash.fits(secret) {
            return Err(Refusal::Unknown);
        }
        if now > *expires {
            return Err(Refusal::Expired { id, expires: *expires });
        }
        if request.service_account != *service_account {
            let (granted, requested) = (service_account.clone(), request.service_account.clone());
            return Err(Refusal::ServiceAccount { id, granted, requested });
        }
        if let Some(requested) = request.services.difference(services).next() {
            let (granted, requested) = (services.clone(), requested.clone());
            return Err(Refusal::Service { id, granted, requested });
        }
        let uses = uses.checked_sub(1).ok_or(Refusal::UsedUp(id))?;
        Ok(JoinRecord { grant: Grant { uses, ..self.grant.clone() }, ..self.clone() })
    }
}

impl From<JoinRecord> for RawRecord {
    fn from(record: JoinRecord) -> RawRecord {
        let JoinRecord { id, secret_hash, grant } = record;
        let Grant { service_account, services, expires, uses } = grant;
        RawRecord {
            id,
            secret_hash,
            service_account: service_account.to_string(),
            services: services.iter().map(ToString::to_string).collect(),
            expires_unix_seconds: expires.0.as_secs(),
            uses_left: uses,
        }
    }
}

impl TryFrom<RawRecord> for JoinRecord {
    type Error = NameError;

    fn try_from(raw: RawRecord) -> Result<JoinRecord, NameError> {
        let RawRecord {
            id,
            secret_hash,
            service_account,
            services,
            expires_unix_seconds,
            uses_left,
        } = raw;
        let services: Result<_, _> = services.iter().map(|text| text.parse()).collect();
        let grant = Grant {
            service_account: service_account.parse()?,
            services: services?,
            expires: UnixTime(std::time::Duration::from_secs(expires_unix_seconds)),
            uses: uses_left,
        };
        Ok(JoinRecord { id, secret_hash, grant })
    }
}

#[cfg(test)]
mod tests;
