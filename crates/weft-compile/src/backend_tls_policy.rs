//! BackendTLSPolicies: TLS that callers open to what is outside of the mesh. They have no wire
//! object of their own, but become part of the ExternalServices that they are for.
//!
//! What is for a port goes before what is for all of them. Of two for the same the older one holds,
//! be it right or not: where nobody whom it names can vouch, nobody is called.

use std::collections::BTreeSet;

use weft_crd as crd;
use weft_model::{ExternalTls, ObjectName, TlsRoots};
use weft_wire::ObjectKey;

use crate::compiler::Output;
use crate::findings::{Findings, listed};
use crate::mesh;
use crate::reader::{Reader, policy};
use crate::status::Condition;
use crate::tls_origination;

policy!(BackendTlsPolicy);

/// How TLS is opened to the servers of `port`, as the ExternalService itself says or a policy for
/// it; none if what programs say goes out as it is.
pub(crate) fn of_port(
    reader: &Reader<'_>,
    external: &crd::ExternalService,
    port: &crd::ExternalPort,
) -> Option<ExternalTls> {
    if let Some(own) = &port.tls {
        return Some(tls_origination::to_model(own));
    }
    let policy = in_force(reader, external, port)?;
    let with = |roots| {
        tls_origination::to_model(&crd::TlsOrigination {
            hostname: Some(policy.hostname.clone()),
            subject_alt_names: policy.subject_alt_names.clone(),
            roots,
            client_certificate: crd::ClientCertificate::None,
        })
    };
    Some(match roots(reader, policy) {
        (Some(roots), _) => with(roots),
        (None, broken) => {
            let crd::Metadata { namespace, name, .. } = &policy.metadata;
            let why: Vec<_> = broken.into_iter().map(|broken| broken.message).collect();
            let why = format!("BackendTLSPolicy {namespace}/{name}: {}", why.join(", "));
            ExternalTls { roots: TlsRoots::Nobody(why.into()), ..with(crd::TlsRoots::System) }
        }
    })
}

/// The policy that says how TLS is opened to `port`, where one does.
pub(crate) fn in_force<'s>(
    reader: &Reader<'s>,
    external: &crd::ExternalService,
    port: &crd::ExternalPort,
) -> Option<&'s crd::BackendTlsPolicy> {
    if why_not(port).is_some() {
        return None;
    }
    let crd::Metadata { namespace, name, .. } = &external.metadata;
    let of_part = |part: &String| {
        let target = crd::Target::ExternalPort(name.clone(), part.clone());
        in_turn(reader, namespace, target).first().copied()
    };
    port.name.as_ref().and_then(of_part).or_else(|| {
        let target = crd::Target::ExternalService(name.clone());
        in_turn(reader, namespace, target).first().copied()
    })
}

/// Why no policy says how TLS is opened to `port`, if none can.
fn why_not(port: &crd::ExternalPort) -> Option<&'static str> {
    match (&port.tls, port.app_protocol) {
        (Some(_), _) => Some("the ExternalService has tls there itself"),
        (None, Some(crd::AppProtocol::Tls)) => {
            Some("programs speak TLS there themselves, as its appProtocol says")
        }
        (None, _) => None,
    }
}

/// The policies for `target`, each before those that it beats.
fn in_turn<'s>(
    reader: &Reader<'s>,
    namespace: &str,
    target: crd::Target,
) -> Vec<&'s crd::BackendTlsPolicy> {
    let mut policies: Vec<&crd::BackendTlsPolicy> = reader.policies_for(namespace, target);
    policies.sort_by_key(|policy| age(policy));
    policies
}

fn age(policy: &crd::BackendTlsPolicy) -> (i64, &str) {
    (mesh::created(&policy.metadata), &policy.metadata.name)
}

/// What is wrong with a reference to certificates.
struct Broken {
    index: usize,
    reason: &'static str,
    message: String,
}

/// Who may vouch by `policy`, if anybody, and what is wrong with references to others.
fn roots(
    reader: &Reader<'_>,
    policy: &crd::BackendTlsPolicy,
) -> (Option<crd::TlsRoots>, Vec<Broken>) {
    if policy.authorities.is_empty() {
        return (Some(crd::TlsRoots::System), vec![]);
    }
    let (mut certificates, mut broken) = (Vec::new(), Vec::new());
    for (index, authority) in policy.authorities.iter().enumerate() {
        match read(reader, &policy.metadata.namespace, authority) {
            Ok(read) => certificates.extend(read),
            Err((reason, message)) => broken.push(Broken { index, reason, message }),
        }
    }
    let roots = (!certificates.is_empty()).then_some(crd::TlsRoots::Certificates(certificates));
    (roots, broken)
}

/// The certificates that `authority` leads to.
fn read(
    reader: &Reader<'_>,
    namespace: &str,
    authority: &crd::AuthorityRef,
) -> Result<Vec<Vec<u8>>, (&'static str, String)> {
    let crd::AuthorityRef { group, kind, name } = authority;
    if (group.as_str(), kind.as_str()) != ("", "ConfigMap") {
        let message = format!("{kind} of group {group:?} is not known to hold certificates");
        return Err(("InvalidKind", message));
    }
    let invalid =
        |what: String| ("InvalidCACertificateRef", format!("ConfigMap {namespace}/{name} {what}"));
    let (_, map) =
        reader.config_map(namespace, name).ok_or_else(|| invalid("is not there".into()))?;
    let pem = map.ca.as_ref().ok_or_else(|| invalid("has no ca.crt".into()))?;
    crd::read_certificates(pem).map_err(|wrong| invalid(format!("ca.crt {wrong}")))
}

/// Whether the policy `name` is in force: what it is for is there, no older one is for the same,
/// and somebody whom it names can vouch.
pub(crate) fn status(reader: &Reader<'_>, name: &ObjectName) -> Output {
    let Some((object, policy)) = reader.policy::<crd::BackendTlsPolicy>(name) else {
        return Output::default();
    };
    let mut findings = Findings::new(object);
    let (mut effects, mut objects) = (Vec::new(), BTreeSet::new());
    for (index, target) in policy.targets.iter().enumerate() {
        let path = format!("spec.targetRefs[{index}]");
        effects.push(effect(reader, policy, target, &path, &mut findings));
        if let crd::Target::ExternalService(external) | crd::Target::ExternalPort(external, _) =
            target
            && let Ok(external) = ObjectName::new(name.namespace(), external)
            && reader.external(&external).is_some()
        {
            objects.insert(ObjectKey::External(external));
        }
    }
    let (roots, broken) = roots(reader, policy);
    for Broken { index, message, .. } in &broken {
        findings.error(&format!("spec.validation.caCertificateRefs[{index}]"), message);
    }
    let best = effects.iter().max().copied().unwrap_or(Effect::Refused);
    let accepted = match best {
        Effect::Refused => Condition::accepted(false, "Invalid"),
        Effect::Conflicted => Condition::accepted(false, "Conflicted"),
        _ if roots.is_none() => Condition::accepted(false, "NoValidCACertificate"),
        Effect::Overridden => Condition::accepted(true, "Overridden"),
        Effect::Missing | Effect::Some => Condition::accepted(true, "Accepted"),
    };
    let resolved = match broken.first() {
        None => Condition::resolved(true, "ResolvedRefs"),
        Some(broken) => Condition::resolved(false, broken.reason),
    };
    let attached = match effects.contains(&Effect::Missing) {
        false => Condition::attached(true, "Attached"),
        true => Condition::attached(false, "TargetNotFound"),
    };
    let conditions = vec![accepted, resolved, attached];
    Output {
        object: None,
        status: Some(findings.status(conditions, objects.into_iter().collect())),
    }
}

/// What is to be said of a ConfigMap itself. What becomes of its certificates, those policies say
/// that refer to it.
pub(crate) fn status_of_map(reader: &Reader<'_>, name: &ObjectName) -> Output {
    let Some((object, _)) = reader.config_map(name.namespace(), name.name()) else {
        return Output::default();
    };
    let accepted = Condition::accepted(true, "Accepted");
    Output { object: None, status: Some(Findings::new(object).status(vec![accepted], vec![])) }
}

/// What comes of a policy for one of its targets; the greatest says what comes of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    /// It cannot be done there.
    Refused,
    /// An older one is for the same.
    Conflicted,
    /// Others are for each of its ports.
    Overridden,
    /// There is no such target, and it would hold if there was.
    Missing,
    /// It holds.
    Some,
}

/// What comes of `policy` for its `target`, which stands at `path`.
fn effect(
    reader: &Reader<'_>,
    policy: &crd::BackendTlsPolicy,
    target: &crd::Target,
    path: &str,
    findings: &mut Findings<'_>,
) -> Effect {
    let namespace = &policy.metadata.namespace;
    let (name, part) = match target {
        crd::Target::ExternalService(name) => (name, None),
        crd::Target::ExternalPort(name, part) => (name, Some(part)),
        crd::Target::Service(_)
        | crd::Target::ServicePort(..)
        | crd::Target::Mesh(_)
        | crd::Target::Namespace
        | crd::Target::Route(..) => {
            findings.error(
                path,
                "the workloads of a Service are in the mesh: mutual TLS proves who they are, and no \
                 other TLS is opened within it; what is outside is an ExternalService",
            );
            return Effect::Refused;
        }
    };
    let name = ObjectName::new(namespace, name).ok();
    let Some((_, external)) = name.and_then(|name| reader.external(&name)) else {
        findings.error(path, "this ExternalService is not there");
        return Effect::Missing;
    };
    let is_meant =
        |port: &&crd::ExternalPort| part.is_none_or(|part| port.name.as_ref() == Some(part));
    let ports: Vec<_> = external.ports.iter().filter(is_meant).collect();
    if ports.is_empty() {
        findings.error(path, "this ExternalService has no port of this name");
        return Effect::Missing;
    }
    let others = in_turn(reader, namespace, target.clone());
    if let Some(older) = others.iter().find(|other| age(other) < age(policy)) {
        let first = mesh::goes_first(&older.metadata, [&policy.metadata]);
        let older = &older.metadata.name;
        let message =
            format!("no effect: BackendTLSPolicy {older} is {first}, and is for the same");
        findings.error(path, message);
        return Effect::Conflicted;
    }
    let younger = others.iter().filter(|other| age(other) > age(policy));
    let younger: Vec<_> = younger.map(|other| &other.metadata).collect();
    if !younger.is_empty() {
        let first = mesh::goes_first(&policy.metadata, younger.iter().copied());
        let younger = listed(&younger.into_iter().map(|other| other.name.clone()).collect());
        let message = format!(
            "no effect of BackendTLSPolicy {younger}: this one is {first}, and for the same"
        );
        findings.warning(path, message);
    }
    let mut effect = Effect::Refused;
    for port in ports {
        let number = port.port;
        if let Some(why) = why_not(port) {
            let message = format!("no effect on port {number}: {why}");
            match part {
                Some(_) => findings.error(path, message),
                None => findings.warning(path, message),
            }
            continue;
        }
        let holds = in_force(reader, external, port).map(age) == Some(age(policy));
        effect = effect.max(if holds { Effect::Some } else { Effect::Overridden });
    }
    effect
}
