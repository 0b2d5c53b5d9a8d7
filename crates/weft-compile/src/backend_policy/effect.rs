//! What comes of each field of a backend policy, in view of the others.

use std::collections::BTreeSet;

use weft_crd as crd;
use weft_model::ObjectName;

use super::{age, external_at, fields};
use crate::findings::listed;
use crate::mesh;
use crate::reader::Reader;

/// What comes of a field of a policy, the greatest saying what comes of all of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// An older policy for the same says it otherwise.
    Conflicted,
    /// Whatever it is for has a more specific policy that says it.
    Overridden,
    /// It holds for something, or would if that was there.
    Some,
}

/// What beats a policy with regard to one of its targets.
pub(super) struct Beating<'r, 's> {
    pub(super) reader: &'r Reader<'s>,
    pub(super) policy: &'s crd::BackendPolicy,
    pub(super) target: &'r crd::Target,
    /// The Services that the target means, where they are known.
    pub(super) services: Option<Vec<ObjectName>>,
}

/// Who says a field in the place of a policy.
pub(super) enum Found {
    /// Nobody, at least for one Service; and for the same, younger policies say it without effect.
    Nobody { younger: BTreeSet<String>, first: &'static str },
    /// An older policy for the same, and why it goes first.
    Older(String, &'static str),
    /// For each Service, or each port of one, a more specific one.
    MoreSpecific(&'static str, BTreeSet<String>),
}

impl Beating<'_, '_> {
    pub(super) fn of(&self, field: &str) -> Found {
        let Beating { reader, policy, target, services } = self;
        let crd::Metadata { namespace, .. } = &policy.metadata;
        let mut others: Vec<&crd::BackendPolicy> =
            reader.policies_for(namespace, (*target).clone());
        others.retain(|other| fields(other).contains(field));
        let name = |policy: &crd::BackendPolicy| policy.metadata.name.clone();
        if let Some(oldest) = others.iter().min_by_key(|other| age(other))
            && age(oldest) < age(policy)
        {
            let first = mesh::goes_first(&oldest.metadata, [&policy.metadata]);
            return Found::Older(name(oldest), first);
        }
        let (each, parts) = match target {
            crd::Target::Namespace => {
                let target = |name: &ObjectName| crd::Target::Service(name.name().to_owned());
                ("Service there", services.iter().flatten().map(target).map(Some).collect())
            }
            crd::Target::Service(_) => {
                ("port", services.iter().flatten().flat_map(|name| self.ports(name)).collect())
            }
            crd::Target::ExternalService(external) => {
                let found = external_at(reader, namespace, external);
                let ports = found.into_iter().flat_map(|found| &found.ports);
                let target = |port: &crd::ExternalPort| {
                    Some(crd::Target::ExternalPort(external.clone(), port.name.clone()?))
                };
                ("port", ports.map(target).collect())
            }
            _ => ("", vec![]),
        };
        let own = |target: Option<crd::Target>| {
            let mut own: Vec<&crd::BackendPolicy> = reader.policies_for(namespace, target?);
            own.retain(|other| fields(other).contains(field));
            own.into_iter().min_by_key(|other| age(other)).map(name)
        };
        match parts.into_iter().map(own).collect::<Option<BTreeSet<_>>>() {
            Some(own) if !own.is_empty() => Found::MoreSpecific(each, own),
            _ => {
                others.retain(|other| age(other) > age(policy));
                let younger = others.iter().map(|other| &other.metadata);
                let first = mesh::goes_first(&policy.metadata, younger);
                Found::Nobody { younger: others.into_iter().map(name).collect(), first }
            }
        }
    }

    /// What means each port of the Service `name`; none for a port without a name.
    fn ports(&self, name: &ObjectName) -> Vec<Option<crd::Target>> {
        let ports = self.reader.service(name).into_iter().flat_map(|(_, found)| &found.ports);
        let ports = ports.filter(|port| port.protocol == crd::Protocol::Tcp);
        let target = |port: &crd::ServicePort| {
            Some(crd::Target::ServicePort(name.name().to_owned(), port.name.clone()?))
        };
        ports.map(target).collect()
    }
}

impl Found {
    pub(super) fn effect(&self) -> Effect {
        match self {
            Found::Nobody { .. } => Effect::Some,
            Found::Older(..) => Effect::Conflicted,
            Found::MoreSpecific(..) => Effect::Overridden,
        }
    }

    pub(super) fn message(&self, target: &str) -> Option<String> {
        match self {
            Found::Nobody { .. } => None,
            Found::Older(older, first) => {
                Some(format!("no effect on {target}: BackendPolicy {older} is {first}"))
            }
            Found::MoreSpecific(each, own) => {
                let own = listed(own);
                Some(format!(
                    "no effect on {target}: each {each} has it from a policy of its own, \
                     BackendPolicy {own}"
                ))
            }
        }
    }
}
