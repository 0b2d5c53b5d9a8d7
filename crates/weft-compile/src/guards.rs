//! Guards: for each scope the policies that it has, so that none can be missing unnoticed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_crd as crd;
use weft_model::{GuardScope, Guards, ObjectName, PolicyKind, PolicyName, Port};
use weft_wire::Object;

use crate::authorization_policy;
use crate::compiler::Output;
use crate::reader::Reader;
use crate::service::to_port;

pub(crate) fn compile(reader: &Reader<'_>, scope: &GuardScope) -> Output {
    let Some(whole) = policies(reader, scope) else { return Output::default() };
    let reference = |policy: &crd::AuthorizationPolicy| {
        let crd::Metadata { namespace, name, .. } = &policy.metadata;
        // The reader lets no other names through.
        let name = ObjectName::new(namespace, name).ok()?;
        let converted = authorization_policy::convert(policy, &name);
        Some((PolicyName { kind: PolicyKind::Authorization, object: name }, converted.version))
    };
    let mut policies: BTreeMap<_, _> = whole.into_iter().filter_map(reference).collect();
    let mut ports: BTreeMap<PolicyName, BTreeSet<Port>> = BTreeMap::new();
    if let GuardScope::Service(name) = scope {
        for (port, policy) in for_ports(reader, name) {
            let Some((policy, version)) = reference(policy) else { continue };
            // One that is for all ports stays so.
            if ports.contains_key(&policy) || !policies.contains_key(&policy) {
                policies.insert(policy.clone(), version);
                ports.entry(policy).or_default().insert(port);
            }
        }
    }
    let guards = Guards { scope: scope.clone(), policies, ports };
    Output { object: Some(Object::Guards(Arc::new(guards))), status: None }
}

/// The policies for single ports of the Service `name`, each with one of its ports.
fn for_ports<'s>(
    reader: &Reader<'s>,
    name: &ObjectName,
) -> Vec<(Port, &'s crd::AuthorizationPolicy)> {
    let ports = reader.service(name).into_iter().flat_map(|(_, found)| &found.ports);
    let policies = ports.filter(|port| port.protocol == crd::Protocol::Tcp).flat_map(|port| {
        let target = |named: &String| {
            let target = crd::Target::ServicePort(name.name().to_owned(), named.clone());
            reader.policies_for(name.namespace(), target)
        };
        let found = port.name.as_ref().map(target).unwrap_or_default();
        found.into_iter().map(|policy| (to_port(port.port), policy))
    });
    policies.collect()
}

/// The policies of `scope`, if there is such a thing to be guarded.
fn policies<'s>(
    reader: &Reader<'s>,
    scope: &GuardScope,
) -> Option<Vec<&'s crd::AuthorizationPolicy>> {
    match scope {
        GuardScope::Mesh => {
            // There is one mesh, also while its Mesh is called otherwise or is not there: a policy
            // for all must not fall silent for that.
            Some(reader.authorization_policies_for_mesh(&reader.options.mesh_namespace))
        }
        GuardScope::Namespace(namespace) => {
            let namespace = namespace.as_str();
            let policies = reader.policies_for(namespace, crd::Target::Namespace);
            reader.has_workloads(namespace).then_some(policies)
        }
        GuardScope::Service(name) => {
            reader.service(name)?;
            let target = crd::Target::Service(name.name().to_owned());
            Some(reader.policies_for(name.namespace(), target))
        }
        GuardScope::Workload(name) => {
            let (_, workload) = reader.workload(name)?;
            let labels = &workload.metadata.labels;
            Some(reader.authorization_policies_selecting(name.namespace(), labels))
        }
    }
}
