//! Roots and revocations, on the wire.

use prost::Message;
use weft_model::{Revocation, RootCertificate, SerialNumber, Trust, TrustDomain};

use super::common::{list, list_within};
use crate::error::{At, FieldError};

/// The most revocations; with them an object is still within its bytes.
const REVOKED_MAX: usize = 32_768;

#[derive(Clone, PartialEq, Message)]
pub(super) struct TrustBody {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(bytes = "vec", repeated, tag = "2")]
    roots: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    revoked_serials: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "4")]
    revoked_identities: Vec<String>,
    /// The SHA-256 of a public key; empty if nobody is to renew.
    #[prost(bytes = "vec", tag = "5")]
    renew_below: Vec<u8>,
}

impl From<&Trust> for TrustBody {
    fn from(trust: &Trust) -> TrustBody {
        let Trust { domain: _, sequence, roots, revoked, renew_below } = trust;
        let (mut revoked_serials, mut revoked_identities) = (Vec::new(), Vec::new());
        for revocation in revoked {
            match revocation {
                Revocation::Serial(serial) => revoked_serials.push(serial.as_bytes().to_vec()),
                Revocation::Identity(id) => revoked_identities.push(id.to_string()),
            }
        }
        let roots = roots.iter().map(|root| root.der().to_vec()).collect();
        let renew_below = renew_below.map(Vec::from).unwrap_or_default();
        TrustBody { sequence: *sequence, roots, revoked_serials, revoked_identities, renew_below }
    }
}

impl TrustBody {
    pub(super) fn check(self, domain: TrustDomain) -> Result<Trust, FieldError> {
        let TrustBody { sequence, roots, revoked_serials, revoked_identities, renew_below } = self;
        let serial = |bytes: Vec<u8>| Ok(Revocation::Serial(SerialNumber::new(&bytes)?));
        let identity = |text: String| Ok(Revocation::Identity(text.parse()?));
        let serials: Vec<_> = list_within(REVOKED_MAX, "revoked_serials", revoked_serials, serial)?;
        let identities: Vec<_> =
            list_within(REVOKED_MAX, "revoked_identities", revoked_identities, identity)?;
        let renew_below = match renew_below.as_slice() {
            [] => None,
            hash => {
                let hash = hash.try_into().map_err(|_| FieldError::new("is not 32 bytes"));
                Some(hash.at("renew_below")?)
            }
        };
        Ok(Trust {
            domain,
            sequence,
            roots: list("roots", roots, |der: Vec<u8>| Ok(RootCertificate::new(&der)?))?,
            revoked: serials.into_iter().chain(identities).collect(),
            renew_below,
        })
    }
}
