//! What holds for the whole mesh: the one Mesh that is in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_crd as crd;
use weft_model::{Cidr, DnsZone, MeshSettings, OutboundPolicy, UnguardedPolicy};
use weft_wire::{Object, ObjectKey};

use crate::compiler::Output;
use crate::findings::{Findings, listed};
use crate::reader::Reader;
use crate::status::Condition;

/// The Mesh that is in force: the oldest, and of equally old ones the first by name.
pub(crate) fn in_force<'s>(reader: &Reader<'s>) -> Option<&'s crd::Mesh> {
    let age = |(_, mesh): &(&crd::Object, &crd::Mesh)| {
        (created(&mesh.metadata), mesh.metadata.name.clone())
    };
    reader.meshes().into_iter().min_by_key(age).map(|(_, mesh)| mesh)
}

/// When a resource was made, in seconds since the Unix epoch. What nobody dated is the youngest.
pub(crate) fn created(metadata: &crd::Metadata) -> i64 {
    metadata.creation_timestamp.map_or(i64::MAX, |timestamp| timestamp.unix())
}

/// Why `winner` goes before all of `others`, in words that follow `is`.
pub(crate) fn goes_first<'m>(
    winner: &crd::Metadata,
    others: impl IntoIterator<Item = &'m crd::Metadata>,
) -> &'static str {
    let is_older = |other| created(winner) < created(other);
    let (older, as_old): (Vec<_>, Vec<_>) = others.into_iter().partition(|other| is_older(other));
    match (older.is_empty(), as_old.is_empty()) {
        (_, true) => "older",
        (true, false) => "as old, and first by name",
        (false, false) => "older, or as old and first by name",
    }
}

pub(crate) fn compile(reader: &Reader<'_>) -> Output {
    let object = in_force(reader).and_then(|mesh| settings(mesh).ok());
    Output { object: object.map(|mesh| Object::Mesh(Arc::new(mesh))), status: None }
}

fn settings(mesh: &crd::Mesh) -> Result<MeshSettings, String> {
    let crd::Mesh { metadata: _, trust_domain, address_range, dns_zone, outbound, unguarded } =
        mesh;
    let crd::AddressRange { v4, v6 } = address_range;
    let block = |cidr: &crd::Cidr| Cidr::new(cidr.first(), cidr.prefix());
    let text = |error: &dyn ToString| error.to_string();
    Ok(MeshSettings {
        trust_domain: trust_domain.parse().map_err(|error| text(&error))?,
        cidrs: BTreeSet::from([
            block(v4).map_err(|error| text(&error))?,
            block(v6).map_err(|error| text(&error))?,
        ]),
        dns_zone: DnsZone::new(dns_zone).map_err(|error| text(&error))?,
        outbound: match outbound {
            crd::OutboundPolicy::Any => OutboundPolicy::Any,
            crd::OutboundPolicy::Audit => OutboundPolicy::Audit,
            crd::OutboundPolicy::Registered => OutboundPolicy::Registered,
        },
        unguarded: match unguarded {
            crd::UnguardedPolicy::AllowMesh => UnguardedPolicy::AllowMesh,
            crd::UnguardedPolicy::Audit => UnguardedPolicy::Audit,
            crd::UnguardedPolicy::Deny => UnguardedPolicy::Deny,
        },
    })
}

/// Whether the Mesh called `name` is the one in force.
pub(crate) fn status(reader: &Reader<'_>, name: &str) -> Output {
    let meshes = reader.meshes();
    let own = meshes.into_iter().find(|(_, mesh)| mesh.metadata.name == name);
    let Some((object, mesh)) = own else { return Output::default() };
    let mut findings = Findings::new(object);
    let winner = in_force(reader).map(|mesh| mesh.metadata.name.as_str());
    if winner == Some(name) {
        let others = reader.meshes().into_iter().map(|(_, other)| other.metadata.name.clone());
        let others: BTreeSet<String> = others.filter(|other| other != name).collect();
        if !others.is_empty() {
            let message = format!(
                "no effect of Mesh {}: there is one, and this one is older",
                listed(&others)
            );
            findings.warning("metadata.name", message);
        }
    }
    let (conditions, objects) = match (winner, settings(mesh)) {
        (Some(winner), _) if winner != name => {
            findings.error("metadata.name", format!("there is one Mesh, and {winner} is older"));
            (vec![Condition::accepted(false, "Conflicted")], vec![])
        }
        (_, Err(message)) => {
            findings.error("spec", message);
            (vec![Condition::accepted(false, "Invalid")], vec![])
        }
        (_, Ok(_)) => (vec![Condition::accepted(true, "Accepted")], vec![ObjectKey::Mesh]),
    };
    Output { object: None, status: Some(findings.status(conditions, objects)) }
}
