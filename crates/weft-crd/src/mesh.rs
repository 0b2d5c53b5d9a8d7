//! `weft.dev/v1alpha1` Mesh: what holds for the whole mesh.
//!
//! Deliberately absent: the certificate authority's and the telemetry's settings and servers that
//! take plaintext, refused by name until they are built; that there is only one Mesh, which takes
//! more than one object to see.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cidr::Cidr;
use crate::metadata::{Header, Metadata};
use crate::names;
use crate::reader::{At, Fields, fields};

/// What holds for the whole mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// What every object has; a Mesh is in no namespace.
    pub metadata: Metadata,
    /// The first part of every identity.
    pub trust_domain: String,
    /// Where Services and workloads outside Kubernetes get their addresses from.
    pub address_range: AddressRange,
    /// The end of a Service's full name, `cart.shop.svc.ZONE`. Default: `cluster.local`, since that
    /// is what programs written for Kubernetes expect.
    pub dns_zone: String,
    /// What may leave the mesh. Default: `any`, so that joining breaks no program.
    pub outbound: OutboundPolicy,
    /// Who may call what no allow rule guards. Default: `AllowMesh`, so that joining breaks no
    /// program.
    pub unguarded: UnguardedPolicy,
}

/// Blocks of addresses that belong to the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// IPv4. Default: 240.119.0.0/16, in a block that no network routes, so that nothing real is
    /// hidden.
    pub v4: Cidr,
    /// IPv6. Default: fd77:6566:7400::/64, a unique local one.
    pub v6: Cidr,
}

impl AddressRange {
    /// Whether one of the blocks has `ip`.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.v4.contains(ip) || self.v6.contains(ip)
    }

    const DEFAULT: AddressRange = AddressRange {
        v4: Cidr::known(IpAddr::V4(Ipv4Addr::new(240, 119, 0, 0)), 16),
        v6: Cidr::known(IpAddr::V6(Ipv6Addr::new(0xfd77, 0x6566, 0x7400, 0, 0, 0, 0, 0)), 64),
    };
}

/// What may leave the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutboundPolicy {
    /// Any destination.
    Any,
    /// The same, and it is recorded what `registered` would refuse.
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

const FIELDS: Fields = Fields {
    known: &["trustDomain", "addressRange", "dnsZone", "defaults"],
    not_yet: &["certificateAuthority", "telemetry"],
    ignored: &[],
    no_nulls: false,
};

pub(crate) fn read(header: Header, at: &At<'_>) -> Option<Mesh> {
    let object = at.object(FIELDS)?;
    let trust_domain = object.need("trustDomain", |at| {
        at.parsed(|text| names::trust_domain(text).map(|()| text.to_owned()))
    });
    let address_range = object.or("addressRange", AddressRange::DEFAULT, read_address_range);
    let dns_zone = object.or("dnsZone", "cluster.local".to_owned(), |at| {
        at.parsed(|text| names::dns_subdomain(text).map(|()| text.to_owned()))
    });
    let defaults =
        Defaults { outbound: OutboundPolicy::Any, unguarded: UnguardedPolicy::AllowMesh };
    let defaults = object.or("defaults", defaults, |at| read_defaults(at, defaults));
    let Defaults { outbound, unguarded } = defaults?;
    Some(Mesh {
        metadata: header.metadata?,
        trust_domain: trust_domain?,
        address_range: address_range?,
        dns_zone: dns_zone?,
        outbound,
        unguarded,
    })
}

#[derive(Clone, Copy)]
struct Defaults {
    outbound: OutboundPolicy,
    unguarded: UnguardedPolicy,
}

fn read_defaults(at: &At<'_>, defaults: Defaults) -> Option<Defaults> {
    let object = at.object(fields(&["mtls", "outbound", "authorization"]))?;
    let mtls = object.or("mtls", (), read_mtls);
    let outbound = object.or("outbound", defaults.outbound, |at| {
        at.choice(
            &[
                ("any", OutboundPolicy::Any),
                ("audit", OutboundPolicy::Audit),
                ("registered", OutboundPolicy::Registered),
            ],
            &[],
        )
    });
    let unguarded = object.or("authorization", defaults.unguarded, |at| {
        at.choice(
            &[
                ("AllowMesh", UnguardedPolicy::AllowMesh),
                ("Audit", UnguardedPolicy::Audit),
                ("Deny", UnguardedPolicy::Deny),
            ],
            &[],
        )
    });
    mtls?;
    Some(Defaults { outbound: outbound?, unguarded: unguarded? })
}

/// Servers take nothing but mutual TLS, so a Mesh that promises more to their clients is refused.
fn read_mtls(at: &At<'_>) -> Option<()> {
    if at.text()? == "Permissive" {
        return at.error_help(
            "\"Permissive\" is not supported yet by this version",
            "only `Strict` is, which holds without being written too: servers refuse plaintext",
        );
    }
    at.choice(&[("Strict", ())], &[])
}

fn read_address_range(at: &At<'_>) -> Option<AddressRange> {
    let object = at.object(fields(&["v4", "v6"]))?;
    let v4 = object.or("v4", AddressRange::DEFAULT.v4, |at| read_block(at, "IPv4", 8, 28));
    let v6 = object.or("v6", AddressRange::DEFAULT.v6, |at| read_block(at, "IPv6", 16, 120));
    Some(AddressRange { v4: v4?, v6: v6? })
}

/// A block of one family that is neither too large to be meant nor too small to last.
fn read_block(at: &At<'_>, family: &str, least: u8, most: u8) -> Option<Cidr> {
    let block = at.parsed(Cidr::parse)?;
    if block.first().is_ipv4() != (family == "IPv4") {
        return at.error(format!("{block} is not {family}"));
    }
    if !(least..=most).contains(&block.prefix()) {
        return at.error(format!(
            "/{} is not allowed, the prefix is from /{least} to /{most}",
            block.prefix()
        ));
    }
    let reserved = [
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "::/16",
        "fe80::/10",
        "ff00::/8",
    ];
    let meant = reserved.iter().filter_map(|text| Cidr::parse(text).ok());
    for other in meant {
        if other.contains(block.first()) || block.contains(other.first()) {
            return at.error(format!("{block} overlaps {other}, which has a meaning of its own"));
        }
    }
    Some(block)
}

#[cfg(test)]
mod tests;
