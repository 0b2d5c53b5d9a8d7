//! Who may do what, on the wire.

use prost::{Message, Oneof};
use weft_model::{
    AuthorizationPolicy, ExactValue, HeaderCondition, HeaderName, HttpPath, Method, Namespace,
    ObjectName, Operation, PathPattern, Peer, PolicyMode, Rule,
};

use super::common::{CidrMessage, from_port, list, needed, to_port};
use crate::error::{At, FieldError};

#[derive(Clone, PartialEq, Message)]
pub(super) struct AuthorizationBody {
    /// Absent is not the same as empty.
    #[prost(message, optional, tag = "1")]
    allow: Option<RuleList>,
    #[prost(message, repeated, tag = "2")]
    deny: Vec<RuleMessage>,
    #[prost(message, repeated, tag = "3")]
    audit: Vec<RuleMessage>,
    #[prost(bool, tag = "4")]
    audit_only: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RuleList {
    #[prost(message, repeated, tag = "1")]
    rules: Vec<RuleMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct RuleMessage {
    #[prost(message, optional, tag = "1")]
    from: Option<PeerList>,
    #[prost(message, optional, tag = "2")]
    to: Option<OperationList>,
}

#[derive(Clone, PartialEq, Message)]
struct PeerList {
    #[prost(message, repeated, tag = "1")]
    peers: Vec<PeerMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct OperationList {
    #[prost(message, repeated, tag = "1")]
    operations: Vec<OperationMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct PeerMessage {
    #[prost(string, optional, tag = "1")]
    identity: Option<String>,
    #[prost(string, optional, tag = "2")]
    service_account: Option<String>,
    #[prost(string, optional, tag = "3")]
    namespace: Option<String>,
    #[prost(message, optional, tag = "4")]
    cidr: Option<CidrMessage>,
    #[prost(string, repeated, tag = "5")]
    not_identities: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    not_service_accounts: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    not_namespaces: Vec<String>,
    #[prost(message, repeated, tag = "8")]
    not_cidrs: Vec<CidrMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct OperationMessage {
    #[prost(uint32, repeated, tag = "1")]
    ports: Vec<u32>,
    #[prost(string, repeated, tag = "2")]
    methods: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    paths: Vec<PathMessage>,
    #[prost(message, repeated, tag = "4")]
    headers: Vec<HeaderMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct PathMessage {
    #[prost(oneof = "PathKind", tags = "1, 2")]
    path: Option<PathKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum PathKind {
    #[prost(string, tag = "1")]
    Exact(String),
    #[prost(string, tag = "2")]
    Below(String),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HeaderMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

impl From<&AuthorizationPolicy> for AuthorizationBody {
    fn from(policy: &AuthorizationPolicy) -> AuthorizationBody {
        let AuthorizationPolicy { name: _, mode, allow, deny, audit } = policy;
        let rules = |rules: &[Rule]| rules.iter().map(RuleMessage::new).collect();
        AuthorizationBody {
            allow: allow.as_deref().map(|allow| RuleList { rules: rules(allow) }),
            deny: rules(deny),
            audit: rules(audit),
            audit_only: *mode == PolicyMode::Audit,
        }
    }
}

impl AuthorizationBody {
    pub(super) fn check(self, name: ObjectName) -> Result<AuthorizationPolicy, FieldError> {
        let AuthorizationBody { allow, deny, audit, audit_only } = self;
        let allow = allow.map(|RuleList { rules }| list("allow", rules, RuleMessage::check));
        Ok(AuthorizationPolicy {
            name,
            mode: if audit_only { PolicyMode::Audit } else { PolicyMode::Enforce },
            allow: allow.transpose()?,
            deny: list("deny", deny, RuleMessage::check)?,
            audit: list("audit", audit, RuleMessage::check)?,
        })
    }
}

impl RuleMessage {
    fn new(rule: &Rule) -> RuleMessage {
        let Rule { from, to } = rule;
        let peers = |from: &Vec<Peer>| from.iter().map(PeerMessage::new).collect();
        let operations = |to: &Vec<Operation>| to.iter().map(OperationMessage::new).collect();
        RuleMessage {
            from: from.as_ref().map(|from| PeerList { peers: peers(from) }),
            to: to.as_ref().map(|to| OperationList { operations: operations(to) }),
        }
    }

    fn check(self) -> Result<Rule, FieldError> {
        let RuleMessage { from, to } = self;
        let from = from.map(|PeerList { peers }| list("from", peers, PeerMessage::check));
        let to =
            to.map(|OperationList { operations }| list("to", operations, OperationMessage::check));
        Ok(Rule { from: from.transpose()?, to: to.transpose()? })
    }
}

impl PeerMessage {
    fn new(peer: &Peer) -> PeerMessage {
        let Peer {
            identity,
            service_account,
            namespace,
            cidr,
            not_identities,
            not_service_accounts,
            not_namespaces,
            not_cidrs,
        } = peer;
        PeerMessage {
            identity: identity.as_ref().map(ToString::to_string),
            service_account: service_account.as_ref().map(ToString::to_string),
            namespace: namespace.as_ref().map(ToString::to_string),
            cidr: cidr.as_ref().map(Into::into),
            not_identities: not_identities.iter().map(ToString::to_string).collect(),
            not_service_accounts: not_service_accounts.iter().map(ToString::to_string).collect(),
            not_namespaces: not_namespaces.iter().map(ToString::to_string).collect(),
            not_cidrs: not_cidrs.iter().map(Into::into).collect(),
        }
    }

    fn check(self) -> Result<Peer, FieldError> {
        let PeerMessage {
            identity,
            service_account,
            namespace,
            cidr,
            not_identities,
            not_service_accounts,
            not_namespaces,
            not_cidrs,
        } = self;
        let to_identity = |text: String| Ok(text.parse()?);
        let to_account = |text: String| Ok(text.parse()?);
        let to_namespace = |text: String| Ok(Namespace::new(&text)?);
        Ok(Peer {
            identity: identity.map(to_identity).transpose().at("identity")?,
            service_account: service_account.map(to_account).transpose().at("service_account")?,
            namespace: namespace.map(to_namespace).transpose().at("namespace")?,
            cidr: cidr.map(CidrMessage::check).transpose().at("cidr")?,
            not_identities: list("not_identities", not_identities, to_identity)?,
            not_service_accounts: list("not_service_accounts", not_service_accounts, to_account)?,
            not_namespaces: list("not_namespaces", not_namespaces, to_namespace)?,
            not_cidrs: list("not_cidrs", not_cidrs, CidrMessage::check)?,
        })
    }
}

impl OperationMessage {
    fn new(operation: &Operation) -> OperationMessage {
        let Operation { ports, methods, paths, headers } = operation;
        OperationMessage {
            ports: ports.iter().copied().map(from_port).collect(),
            methods: methods.iter().map(ToString::to_string).collect(),
            paths: paths.iter().map(PathMessage::new).collect(),
            headers: headers.iter().map(HeaderMessage::new).collect(),
        }
    }

    fn check(self) -> Result<Operation, FieldError> {
        let OperationMessage { ports, methods, paths, headers } = self;
        Ok(Operation {
            ports: list("ports", ports, to_port)?,
            methods: list("methods", methods, |text: String| Ok(Method::new(&text)?))?,
            paths: list("paths", paths, PathMessage::check)?,
            headers: list("headers", headers, HeaderMessage::check)?,
        })
    }
}

impl PathMessage {
    fn new(pattern: &PathPattern) -> PathMessage {
        let kind = match pattern {
            PathPattern::Exact(path) => PathKind::Exact(path.to_string()),
            PathPattern::Below(path) => PathKind::Below(path.to_string()),
        };
        PathMessage { path: Some(kind) }
    }

    fn check(self) -> Result<PathPattern, FieldError> {
        let PathMessage { path } = self;
        Ok(match needed("path", path)? {
            PathKind::Exact(path) => PathPattern::Exact(HttpPath::new(&path)?),
            PathKind::Below(path) if !path.ends_with('/') => {
                return Err(FieldError::new("does not end with `/`"));
            }
            PathKind::Below(path) => PathPattern::Below(HttpPath::new(&path)?),
        })
    }
}

impl HeaderMessage {
    pub(super) fn new(header: &HeaderCondition) -> HeaderMessage {
        let HeaderCondition { name, value } = header;
        HeaderMessage {
            name: name.to_string(),
            value: value.as_ref().map(|value| value.as_str().to_owned()),
        }
    }

    pub(super) fn check(self) -> Result<HeaderCondition, FieldError> {
        let HeaderMessage { name, value } = self;
        Ok(HeaderCondition {
            name: HeaderName::new(&name).at("name")?,
            value: value.map(|value| ExactValue::new(&value)).transpose().at("value")?,
        })
    }
}
