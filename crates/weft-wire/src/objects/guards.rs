//! Which policies guard what, on the wire.

use prost::Message;
use weft_model::{ContentHash, GuardScope, Guards, PolicyName};

use super::common::list;
use crate::error::{At, FieldError};

#[derive(Clone, PartialEq, Message)]
pub(super) struct GuardsBody {
    #[prost(message, repeated, tag = "1")]
    policies: Vec<PolicyReference>,
}

#[derive(Clone, PartialEq, Message)]
struct PolicyReference {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    hash: Vec<u8>,
}

impl From<&Guards> for GuardsBody {
    fn from(guards: &Guards) -> GuardsBody {
        let Guards { scope: _, policies } = guards;
        let reference = |(name, hash): (&PolicyName, &ContentHash)| {
            let ContentHash(hash) = hash;
            PolicyReference { name: name.to_string(), hash: hash.to_vec() }
        };
        GuardsBody { policies: policies.iter().map(reference).collect() }
    }
}

impl GuardsBody {
    pub(super) fn check(self, scope: GuardScope) -> Result<Guards, FieldError> {
        let GuardsBody { policies } = self;
        let reference = |PolicyReference { name, hash }| {
            let hash = <[u8; 32]>::try_from(hash.as_slice());
            let hash = hash.map_err(|_| FieldError::new("is not 32 bytes"));
            Ok((name.parse::<PolicyName>().at("name")?, ContentHash(hash.at("hash")?)))
        };
        Ok(Guards { scope, policies: list("policies", policies, reference)? })
    }
}
