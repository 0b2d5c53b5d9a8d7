//! What holds for the whole mesh.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::address::Cidr;
use crate::error::ValueError;
use crate::identity::TrustDomain;
use crate::name::is_subdomain;

/// What every proxy knows of its mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// The first part of every identity.
    pub trust_domain: TrustDomain,
    /// The blocks whose addresses belong to the mesh: an unknown one in them is refused.
    pub cidrs: BTreeSet<Cidr>,
    /// The end of a Service's full name.
    pub dns_zone: DnsZone,
    /// What may leave the mesh.
    pub outbound: OutboundPolicy,
    /// Who may call what no allow rule guards.
    pub unguarded: UnguardedPolicy,
}

impl MeshSettings {
    /// Whether `ip` belongs to the mesh.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.cidrs.iter().any(|block| block.contains(ip))
    }
}

/// The end of a Service's full name, as in `cart.shop.svc.cluster.local`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsZone(String);

impl Default for DnsZone {
    /// `cluster.local`, which programs that were made for Kubernetes write.
    fn default() -> DnsZone {
        DnsZone("cluster.local".to_owned())
    }
}

impl DnsZone {
    /// The zone `text`.
    ///
    /// # Errors
    /// If it is not a DNS subdomain.
    pub fn new(text: &str) -> Result<DnsZone, ValueError> {
        if !is_subdomain(text) {
            let allowed = "at most 253 lower-case letters, digits, inner hyphens and dots";
            return Err(ValueError::new(text, "a DNS zone", allowed));
        }
        Ok(DnsZone(text.to_owned()))
    }

    /// The zone, without a dot at either end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What may leave the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutboundPolicy {
    /// Any destination.
    Any,
    /// The same, and it is recorded what `Registered` would refuse.
    Audit,
    /// Registered ones only.
    Registered,
}

/// Who may call what no allow rule guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnguardedPolicy {
    /// Any identity of the mesh.
    AllowMesh,
    /// The same, and it is recorded what `Deny` would refuse.
    Audit,
    /// Nobody.
    Deny,
}
