//! Authorization policies: who may do what. Which workloads they guard is in [`crate::guards`].

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_crd as crd;
use weft_model::{
    AuthorizationPolicy, Cidr, ContentHash, ExactValue, HeaderCondition, HeaderName, HttpPath,
    Method, Namespace, ObjectName, Operation, PathPattern, Peer, Policy, PolicyKind, PolicyMode,
    PolicyName, Rule, SpiffeId,
};
use weft_wire::{Object, ObjectKey, SourceVersion, WireObject};

use crate::compiler::Output;
use crate::findings::{Findings, listed};
use crate::mesh;
use crate::reader::{Reader, policy};
use crate::service::{with_port, without_http};
use crate::status::Condition;

policy!(AuthorizationPolicy);

pub(crate) fn compile(reader: &Reader<'_>, name: &ObjectName) -> Output {
    let Some((object, policy)) = reader.policy::<crd::AuthorizationPolicy>(name) else {
        return Output::default();
    };
    let mut findings = Findings::new(object);
    let Converted { policy: compiled, version: _, wrong } = convert(policy, name);
    let accepted = match wrong {
        None => Condition::accepted(true, "Accepted"),
        Some(message) => {
            findings.error("spec", format!("cannot be evaluated, so it denies all: {message}"));
            Condition::accepted(false, "Invalid")
        }
    };
    let attached = match is_attached(reader, policy, name, &mut findings) {
        true => Condition::attached(true, "Attached"),
        false => Condition::attached(false, "TargetNotFound"),
    };
    warn_without_http(reader, policy, name, &mut findings);
    let key = PolicyName { kind: PolicyKind::Authorization, object: name.clone() };
    let status = findings.status(vec![accepted, attached], vec![ObjectKey::Policy(key)]);
    Output { object: Some(Object::Policy(compiled)), status: Some(status) }
}

/// Warns of rules that ask for HTTP where none is spoken, as those declare who are guarded.
fn warn_without_http(
    reader: &Reader<'_>,
    policy: &crd::AuthorizationPolicy,
    name: &ObjectName,
    findings: &mut Findings<'_>,
) {
    let declares_none = |target| without_http(reader, name.namespace(), target);
    let targets = policy.scope.targets().iter().map(declares_none);
    let Some(services) = targets.collect::<Option<BTreeSet<_>>>() else { return };
    let named = listed(&services.iter().map(ToString::to_string).collect());
    if services.is_empty() {
        return;
    }
    let why = format!("it asks for HTTP, and Service {named} declares that none is spoken there");
    let allow = policy.allow.as_deref().unwrap_or_default();
    let of_deny = "refuses whatever else it is for";
    for (field, rules, effect) in
        [("allow", allow, "allows nothing"), ("deny", &*policy.deny, of_deny)]
    {
        for (index, rule) in rules.iter().enumerate() {
            let operations = rule.to.iter().flatten().enumerate();
            for (at, _) in operations.filter(|(_, operation)| operation.needs_http()) {
                let path = format!("spec.{field}[{index}].to[{at}]");
                findings.warning(&path, format!("{effect}: {why}"));
            }
        }
    }
}

/// Whether all that the policy is for is there.
fn is_attached(
    reader: &Reader<'_>,
    policy: &crd::AuthorizationPolicy,
    name: &ObjectName,
    findings: &mut Findings<'_>,
) -> bool {
    let targets = match &policy.scope {
        crd::Scope::Workloads(selector) => {
            let is_there = reader.has_selected(name.namespace(), &selector.match_labels);
            if !is_there {
                findings.warning("spec.selector", "selects no workload: it has no effect yet");
            }
            return is_there;
        }
        crd::Scope::Targets(targets) => targets,
    };
    let mut is_attached = true;
    for (index, target) in targets.iter().enumerate() {
        let missing = match target {
            crd::Target::Namespace => None,
            crd::Target::Route(..)
            | crd::Target::ExternalService(_)
            | crd::Target::ExternalPort(..) => Some("no such target is possible"),
            crd::Target::Service(service) => {
                let service = ObjectName::new(name.namespace(), service).ok();
                let is_there = service.is_some_and(|service| reader.service(&service).is_some());
                (!is_there).then_some("this Service is not there")
            }
            crd::Target::ServicePort(service, port) => {
                with_port(reader, name.namespace(), service, port).err()
            }
            crd::Target::Mesh(wanted) => {
                let mesh = mesh::in_force(reader).map(|mesh| &mesh.metadata.name);
                (mesh != Some(wanted))
                    .then_some("no such Mesh is in force: it holds for the whole mesh all the same")
            }
        };
        if let Some(message) = missing {
            let path = format!("spec.targetRefs[{index}]");
            match target {
                crd::Target::Mesh(_) => findings.warning(&path, message),
                _ => findings.error(&path, message),
            }
            is_attached = false;
        }
    }
    is_attached
}

/// What a policy says.
pub(crate) struct Converted {
    pub(crate) policy: Arc<Policy>,
    /// What stands for its content.
    pub(crate) version: ContentHash,
    /// Why it cannot be said. Then nobody may do anything.
    pub(crate) wrong: Option<String>,
}

/// What `policy`, which is called `name`, says.
pub(crate) fn convert(policy: &crd::AuthorizationPolicy, name: &ObjectName) -> Converted {
    // The version is of the content alone, so any source will do.
    let wire = |policy: &Arc<Policy>| {
        WireObject::new(Object::Policy(Arc::clone(policy)), SourceVersion::default())
    };
    let sayable = rules_of(policy, name).and_then(|policy| {
        let policy = Arc::new(Policy::Authorization(policy));
        let version = wire(&policy).map_err(|error| error.to_string())?.version();
        Ok(Converted { policy, version, wrong: None })
    });
    sayable.unwrap_or_else(|message| {
        let deny = vec![Rule { from: None, to: None }];
        let mode = to_mode(policy.mode);
        let (name, audit) = (name.clone(), vec![]);
        let closed = AuthorizationPolicy { name, mode, allow: None, deny, audit };
        let policy = Arc::new(Policy::Authorization(closed));
        let version = wire(&policy).expect("one rule is small").version();
        Converted { policy, version, wrong: Some(message) }
    })
}

fn rules_of(
    policy: &crd::AuthorizationPolicy,
    name: &ObjectName,
) -> Result<AuthorizationPolicy, String> {
    let crd::AuthorizationPolicy { metadata: _, scope: _, mode, allow, deny, audit } = policy;
    let rules = |rules: &[crd::Rule]| rules.iter().map(rule).collect::<Result<Vec<_>, _>>();
    Ok(AuthorizationPolicy {
        name: name.clone(),
        mode: to_mode(*mode),
        allow: allow.as_deref().map(rules).transpose()?,
        deny: rules(deny)?,
        audit: rules(audit)?,
    })
}

fn to_mode(mode: crd::PolicyMode) -> PolicyMode {
    match mode {
        crd::PolicyMode::Enforce => PolicyMode::Enforce,
        crd::PolicyMode::Audit => PolicyMode::Audit,
    }
}

fn rule(rule: &crd::Rule) -> Result<Rule, String> {
    let crd::Rule { from, to } = rule;
    let peers = |from: &Vec<crd::Peer>| from.iter().map(peer).collect();
    let operations = |to: &Vec<crd::Operation>| to.iter().map(operation).collect();
    Ok(Rule {
        from: from.as_ref().map(peers).transpose()?,
        to: to.as_ref().map(operations).transpose()?,
    })
}

fn peer(peer: &crd::Peer) -> Result<Peer, String> {
    let crd::Peer {
        identity: own,
        service_account,
        namespace: own_namespace,
        cidr: own_cidr,
        not_identities,
        not_service_accounts,
        not_namespaces,
        not_cidrs,
    } = peer;
    Ok(Peer {
        identity: own.as_ref().map(identity).transpose()?,
        service_account: service_account.as_ref().map(account).transpose()?,
        namespace: own_namespace.as_deref().map(namespace).transpose()?,
        cidr: own_cidr.as_ref().map(cidr).transpose()?,
        not_identities: each(not_identities, identity)?,
        not_service_accounts: each(not_service_accounts, account)?,
        not_namespaces: each(not_namespaces, |name| namespace(name))?,
        not_cidrs: each(not_cidrs, cidr)?,
    })
}

fn each<T, U: Ord>(
    items: &[T],
    convert: impl Fn(&T) -> Result<U, String>,
) -> Result<BTreeSet<U>, String> {
    items.iter().map(convert).collect()
}

fn identity(identity: &crd::SpiffeId) -> Result<SpiffeId, String> {
    identity.to_string().parse().map_err(|error| format!("{error}"))
}

fn account(account: &crd::ServiceAccount) -> Result<ObjectName, String> {
    let crd::ServiceAccount { namespace, name } = account;
    ObjectName::new(namespace, name).map_err(|error| error.to_string())
}

fn namespace(name: &str) -> Result<Namespace, String> {
    Namespace::new(name).map_err(|error| error.to_string())
}

fn cidr(cidr: &crd::Cidr) -> Result<Cidr, String> {
    Cidr::new(cidr.first(), cidr.prefix()).map_err(|error| error.to_string())
}

fn operation(operation: &crd::Operation) -> Result<Operation, String> {
    let crd::Operation { ports, methods, paths, headers } = operation;
    let method = |text: &String| Method::new(text).map_err(|error| error.to_string());
    Ok(Operation {
        ports: ports.iter().copied().map(crate::service::to_port).collect(),
        methods: each(methods, method)?,
        paths: each(paths, path)?,
        headers: headers.iter().map(header).collect::<Result<_, _>>()?,
    })
}

fn path(pattern: &crd::PathPattern) -> Result<PathPattern, String> {
    let convert = |text: &str| HttpPath::new(text).map_err(|error| error.to_string());
    Ok(match pattern {
        crd::PathPattern::Exact(path) => PathPattern::Exact(convert(path)?),
        crd::PathPattern::Below(path) => PathPattern::Below(convert(path)?),
    })
}

pub(crate) fn header(header: &crd::HeaderCondition) -> Result<HeaderCondition, String> {
    let crd::HeaderCondition { name, value } = header;
    let to_value = |text: &String| ExactValue::new(text).map_err(|error| error.to_string());
    Ok(HeaderCondition {
        name: HeaderName::new(name).map_err(|error| error.to_string())?,
        value: value.as_ref().map(to_value).transpose()?,
    })
}
