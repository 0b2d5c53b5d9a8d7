//! Meshes, valid and invalid.

use super::*;
use crate::resource::Resource;
use crate::testing::{check, parsed, valid};

const HEAD: &str = "apiVersion: weft.dev/v1alpha1\nkind: Mesh\nmetadata: { name: weft }";

fn mesh(spec: &str) -> Mesh {
    match valid(&format!("{HEAD}\nspec: {spec}")).resource {
        Resource::Mesh(mesh) => mesh,
        other => panic!("not a Mesh: {other:?}"),
    }
}

#[test]
fn defaults() {
    let mesh = mesh("{trustDomain: weft.local}");
    assert_eq!(mesh.metadata.namespace, "");
    assert_eq!(mesh.trust_domain, "weft.local");
    assert_eq!(mesh.address_range, AddressRange::DEFAULT);
    assert_eq!(mesh.dns_zone, "cluster.local");
    assert_eq!(mesh.outbound, OutboundPolicy::Any);
    assert_eq!(mesh.unguarded, UnguardedPolicy::AllowMesh);
    // What is known at build time would also be accepted if it were written.
    for block in [mesh.address_range.v4, mesh.address_range.v6] {
        assert_eq!(Cidr::parse(&block.to_string()), Ok(block));
    }
}

#[test]
fn a_whole_one() {
    let mesh = mesh(
        "
  trustDomain: shop.example
  addressRange: { v4: 10.96.0.0/16, v6: 'fd00:10::/64' }
  dnsZone: mesh.example
  defaults: { mtls: Strict, outbound: registered, authorization: Deny }",
    );
    assert_eq!(mesh.address_range.v4.to_string(), "10.96.0.0/16");
    assert_eq!(mesh.address_range.v6.to_string(), "fd00:10::/64");
    assert_eq!(mesh.dns_zone, "mesh.example");
    assert_eq!(mesh.outbound, OutboundPolicy::Registered);
    assert_eq!(mesh.unguarded, UnguardedPolicy::Deny);
}

#[test]
fn what_is_wrong() {
    check(
        HEAD,
        &[
            ("{}", &["error: spec.trustDomain: is required"]),
            (
                "{trustDomain: a, addressRange: {v4: 'fd00::/64', v6: 10.0.0.0/8}}",
                &[
                    "error: spec.addressRange.v4: fd00::/64 is not IPv4",
                    "error: spec.addressRange.v6: 10.0.0.0/8 is not IPv6",
                ],
            ),
            (
                "{trustDomain: a, addressRange: {v4: 10.0.0.1/16, v6: 'fd00::/8'}}",
                &[
                    "error: spec.addressRange.v4: \"10.0.0.1/16\" is not the first address of \
                     its block, that is 10.0.0.0/16",
                    "error: spec.addressRange.v6: /8 is not allowed, the prefix is from /16 to \
                     /120",
                ],
            ),
            (
                "{trustDomain: a, addressRange: {v4: 127.0.0.0/16}}",
                &["error: spec.addressRange.v4: 127.0.0.0/16 overlaps 127.0.0.0/8, which has a \
                     meaning of its own"],
            ),
            (
                "{trustDomain: a, certificateAuthority: {}, telemetry: {}}",
                &[
                    "error: spec.certificateAuthority: not supported yet by this version",
                    "error: spec.telemetry: not supported yet by this version",
                ],
            ),
            (
                "{trustDomain: a, defaults: {mtls: Permissive}}",
                &["error: spec.defaults.mtls: \"Permissive\" is not supported yet by this version"],
            ),
            (
                "{trustDomain: a, defaults: {mtls: strict, outbound: none}}",
                &[
                    "error: spec.defaults.mtls: \"strict\" is not known here",
                    "error: spec.defaults.outbound: \"none\" is not known here",
                ],
            ),
        ],
    );
}

#[test]
fn it_is_in_no_namespace() {
    let yaml = "{apiVersion: weft.dev/v1alpha1, kind: Mesh, metadata: {name: a, namespace: b}, \
    spec: {trustDomain: a}}";
    assert_eq!(
        parsed(yaml).findings[0].to_string(),
        "metadata.namespace: a Mesh is in no namespace"
    );
}

#[test]
fn what_servers_would_not_honour_says_what_can_be_written() {
    let yaml = format!("{HEAD}\nspec: {{trustDomain: a, defaults: {{mtls: Permissive}}}}");
    let text = parsed(&yaml).render();
    assert!(text.contains("\"Permissive\" is not supported yet by this version"), "{text}");
    assert!(text.contains("only `Strict` is, which holds without being written too"), "{text}");
}
