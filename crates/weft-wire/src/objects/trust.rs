//! Roots and revocations, on the wire.

use prost::Message;
use weft_model::{Revocation, RootCertificate, SerialNumber, Trust, TrustDomain};

use super::common::{list, list_within};
use crate::error::FieldError;

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
}

impl From<&Trust> for TrustBody {
    fn from(trust: &Trust) -> TrustBody {
        let Trust { domain: _, sequence, roots, revoked } = trust;
        let (mut revoked_serials, mut revoked_identities) = (Vec::new(), Vec::new());
        for revocation in revoked {
            match revocation {
                Revocation::Serial(serial) => revoked_serials.push(serial.as_bytes().to_vec()),
                Revocation::Identity(id) => revoked_identities.push(id.to_string()),
            }
        }
        let roots = roots.iter().map(|root| root.der().to_vec()).collect();
        TrustBody { sequence: *sequence, roots, revoked_serials, revoked_identities }
    }
}

impl TrustBody {
    pub(super) fn check(self, domain: TrustDomain) -> Result<Trust, FieldError> {
        let TrustBody { sequence, roots, revoked_serials, revoked_identities } = self;
        let serial = |bytes: Vec<u8>| Ok(Revocation::Serial(SerialNumber::new(&bytes)?));
        let identity = |text: String| Ok(Revocation::Identity(text.parse()?));
        let serials: Vec<_> = list_within(REVOKED_MAX, "revoked_serials", revoked_serials, serial)?;
        let identities: Vec<_> =
            list_within(REVOKED_MAX, "revoked_identities", revoked_identities, identity)?;
        Ok(Trust {
            domain,
            sequence,
            roots: list("roots", roots, |der: Vec<u8>| Ok(RootCertificate::new(&der)?))?,
            revoked: serials.into_iter().chain(identities).collect(),
        })
    }
}
