//! Which policies guard what, on the wire.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use weft_model::{ContentHash, GuardScope, Guards, PolicyName, Port};

use super::common::{from_port, list, to_port};
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
    #[prost(uint32, repeated, tag = "3")]
    ports: Vec<u32>,
}

impl From<&Guards> for GuardsBody {
    fn from(guards: &Guards) -> GuardsBody {
        let Guards { scope: _, policies, ports } = guards;
        let reference = |(name, hash): (&PolicyName, &ContentHash)| {
            let ContentHash(hash) = hash;
            let ports = ports.get(name).into_iter().flatten().copied().map(from_port).collect();
            PolicyReference { name: name.to_string(), hash: hash.to_vec(), ports }
        };
        GuardsBody { policies: policies.iter().map(reference).collect() }
    }
}

impl GuardsBody {
    pub(super) fn check(self, scope: GuardScope) -> Result<Guards, FieldError> {
        let GuardsBody { policies } = self;
        let reference = |PolicyReference { name, hash, ports }| {
            let name = name.parse::<PolicyName>().at("name")?;
            let hash = <[u8; 32]>::try_from(hash.as_slice());
            let hash = hash.map_err(|_| FieldError::new("is not 32 bytes"));
            let hash = ContentHash(hash.at("hash")?);
            if !(ports.is_empty() || matches!(scope, GuardScope::Service(_))) {
                return Err(FieldError::new("is not of a Service")).at("ports");
            }
            let ports: BTreeSet<Port> = list("ports", ports, to_port)?;
            Ok((name, (hash, ports)))
        };
        let references: BTreeMap<_, _> = list("policies", policies, reference)?;
        let (mut policies, mut ports) = (BTreeMap::new(), BTreeMap::new());
        for (name, (hash, own)) in references {
            if !own.is_empty() {
                ports.insert(name.clone(), own);
            }
            policies.insert(name, hash);
        }
        Ok(Guards { scope, policies, ports })
    }
}
