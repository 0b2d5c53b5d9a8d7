//! What holds for the whole mesh, on the wire.

use prost::Message;
use weft_model::{DnsZone, MeshSettings, OutboundPolicy, UnguardedPolicy};

use super::common::{CidrMessage, list, numbered};
use crate::error::{At, FieldError};

numbered!(from_outbound, to_outbound, OutboundPolicy, { Any = 1, Registered = 2, Audit = 3 });
numbered!(from_unguarded, to_unguarded, UnguardedPolicy, { AllowMesh = 1, Deny = 2, Audit = 3 });

#[derive(Clone, PartialEq, Message)]
pub(super) struct MeshBody {
    #[prost(string, tag = "1")]
    trust_domain: String,
    #[prost(message, repeated, tag = "2")]
    cidrs: Vec<CidrMessage>,
    #[prost(string, tag = "3")]
    dns_zone: String,
    #[prost(int32, tag = "4")]
    outbound: i32,
    #[prost(int32, tag = "5")]
    unguarded: i32,
}

impl From<&MeshSettings> for MeshBody {
    fn from(mesh: &MeshSettings) -> MeshBody {
        let MeshSettings { trust_domain, cidrs, dns_zone, outbound, unguarded } = mesh;
        MeshBody {
            trust_domain: trust_domain.to_string(),
            cidrs: cidrs.iter().map(Into::into).collect(),
            dns_zone: dns_zone.as_str().to_owned(),
            outbound: from_outbound(*outbound),
            unguarded: from_unguarded(*unguarded),
        }
    }
}

impl MeshBody {
    pub(super) fn check(self) -> Result<MeshSettings, FieldError> {
        let MeshBody { trust_domain, cidrs, dns_zone, outbound, unguarded } = self;
        Ok(MeshSettings {
            trust_domain: trust_domain.parse().at("trust_domain")?,
            cidrs: list("cidrs", cidrs, CidrMessage::check)?,
            dns_zone: DnsZone::new(&dns_zone).at("dns_zone")?,
            outbound: to_outbound(outbound).at("outbound")?,
            unguarded: to_unguarded(unguarded).at("unguarded")?,
        })
    }
}
