//! One rule: from whom, to what.

use crate::cidr::Cidr;
use crate::finding::quoted;
use crate::identity::{ServiceAccount, SpiffeId};
use crate::names;
use crate::reader::{At, Fields, fields};
use crate::units::Port;

/// A request matches if one of `from` and one of `to` does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Who calls. Absent: anyone, with or without an identity. Never empty.
    pub from: Option<Vec<Peer>>,
    /// What is called. Absent: anything. Never empty.
    pub to: Option<Vec<Operation>>,
}

/// A caller matches if all that is set does; at least one condition is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// It has this identity.
    pub identity: Option<SpiffeId>,
    /// It has this service account, in the mesh's own trust domain.
    pub service_account: Option<ServiceAccount>,
    /// Its service account is in this namespace of the mesh's own trust domain.
    pub namespace: Option<String>,
    /// It calls from an address in this block.
    pub cidr: Option<Cidr>,
    /// It has none of these identities.
    pub not_identities: Vec<SpiffeId>,
    /// It has none of these service accounts.
    pub not_service_accounts: Vec<ServiceAccount>,
    /// It is in none of these namespaces.
    pub not_namespaces: Vec<String>,
    /// It calls from none of these blocks.
    pub not_cidrs: Vec<Cidr>,
}

/// A request matches if all that is set does; at least one condition is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    /// One of these ports of the workload; empty means any.
    pub ports: Vec<Port>,
    /// One of these methods; empty means any.
    pub methods: Vec<String>,
    /// One of these paths; empty means any.
    pub paths: Vec<PathPattern>,
    /// All of these headers.
    pub headers: Vec<HeaderCondition>,
}

impl Operation {
    /// Whether it can only be judged by who understands HTTP.
    pub fn needs_http(&self) -> bool {
        !(self.methods.is_empty() && self.paths.is_empty() && self.headers.is_empty())
    }
}

/// A condition on the path, which never includes the query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathPattern {
    /// This path and no other.
    Exact(String),
    /// What is below this, which ends with `/`: written `/charges/*`, which is not `/charges`.
    Below(String),
}

/// A condition on a header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderCondition {
    /// Its name, in lower case.
    pub name: String,
    /// Its value. Absent: any, as long as the header is there.
    pub value: Option<String>,
}

/// More items than these belong into several rules.
const ITEMS_MAX: usize = 64;

// A field that was left empty must not read as "anyone", hence no nulls anywhere below.
const RULE_FIELDS: Fields =
    Fields { known: &["from", "to"], not_yet: &["when"], ignored: &[], no_nulls: true };

const PEER_FIELDS: Fields = fields(&[
    "identity",
    "serviceAccount",
    "namespace",
    "cidr",
    "notIdentities",
    "notServiceAccounts",
    "notNamespaces",
    "notCidrs",
])
.without_nulls();

const OPERATION_FIELDS: Fields = Fields {
    known: &["ports", "methods", "paths", "headers"],
    not_yet: &["hosts", "notPorts", "notMethods", "notPaths", "notHeaders"],
    ignored: &[],
    no_nulls: true,
};

const LEAVE_OUT: &str = "it would match nothing; leave the field out to match everything";

pub(super) fn read(at: &At<'_>) -> Option<Rule> {
    let object = at.object(RULE_FIELDS)?;
    let from = object.maybe("from", |at| at.filled_list(ITEMS_MAX, LEAVE_OUT, read_peer));
    let to = object.maybe("to", |at| at.filled_list(ITEMS_MAX, LEAVE_OUT, read_operation));
    Some(Rule { from: from?, to: to? })
}

fn read_peer(at: &At<'_>) -> Option<Peer> {
    let object = at.object(PEER_FIELDS)?;
    let identity = |at: &At<'_>| at.parsed(SpiffeId::parse);
    let account = |at: &At<'_>| at.parsed(ServiceAccount::parse);
    let namespace =
        |at: &At<'_>| at.parsed(|text| names::dns_label(text).map(|()| text.to_owned()));
    let cidr = |at: &At<'_>| at.parsed(Cidr::parse);
    let positive = (
        object.maybe("identity", identity),
        object.maybe("serviceAccount", account),
        object.maybe("namespace", namespace),
        object.maybe("cidr", cidr),
    );
    let why = "it would exclude nobody; leave the field out";
    let negative = (
        object.or("notIdentities", Vec::new(), |at| at.filled_list(ITEMS_MAX, why, identity)),
        object.or("notServiceAccounts", Vec::new(), |at| at.filled_list(ITEMS_MAX, why, account)),
        object.or("notNamespaces", Vec::new(), |at| at.filled_list(ITEMS_MAX, why, namespace)),
        object.or("notCidrs", Vec::new(), |at| at.filled_list(ITEMS_MAX, why, cidr)),
    );
    let peer = Peer {
        identity: positive.0?,
        service_account: positive.1?,
        namespace: positive.2?,
        cidr: positive.3?,
        not_identities: negative.0?,
        not_service_accounts: negative.1?,
        not_namespaces: negative.2?,
        not_cidrs: negative.3?,
    };
    if object.is_empty() {
        return at.error_help(
            format!("at least one of {} is required", PEER_FIELDS.known.join(", ")),
            "to match every caller, leave out `from`",
        );
    }
    Some(peer)
}

fn read_operation(at: &At<'_>) -> Option<Operation> {
    let object = at.object(OPERATION_FIELDS)?;
    let ports = object.or("ports", Vec::new(), |at| at.filled_list(ITEMS_MAX, LEAVE_OUT, At::port));
    let methods =
        object.or("methods", Vec::new(), |at| at.filled_list(ITEMS_MAX, LEAVE_OUT, read_method));
    let paths =
        object.or("paths", Vec::new(), |at| at.filled_list(ITEMS_MAX, LEAVE_OUT, read_path));
    let headers =
        object.or("headers", Vec::new(), |at| at.filled_list(ITEMS_MAX, LEAVE_OUT, read_header));
    let operation =
        Operation { ports: ports?, methods: methods?, paths: paths?, headers: headers? };
    if object.is_empty() {
        return at.error_help(
            "at least one of ports, methods, paths, headers is required",
            "to match every request, leave out `to`",
        );
    }
    Some(operation)
}

fn read_method(at: &At<'_>) -> Option<String> {
    let text = at.text_within(32)?;
    if text.chars().any(|c| c.is_ascii_lowercase()) {
        return at.error_help(
            format!("{} would match nothing: methods are told apart by case", quoted(text)),
            format!("write {}", text.to_ascii_uppercase()),
        );
    }
    match names::http_token(text) {
        Ok(()) => Some(text.to_owned()),
        Err(_) => at.error(format!("{} is not a method", quoted(text))),
    }
}

fn read_path(at: &At<'_>) -> Option<PathPattern> {
    let text = at.text_within(1024)?;
    let (plain, below) = match text.strip_suffix("/*") {
        Some(plain) => (format!("{plain}/"), true),
        None => (text.to_owned(), false),
    };
    if let Err(why) = names::http_path(&plain) {
        return at.error(why);
    }
    if let Some(part) = [";", "%3B", "%3b"].into_iter().find(|part| plain.contains(part)) {
        return at.error_help(
            format!("{} holds `{part}`, and every request for it would be refused", quoted(text)),
            "some applications take off what follows a semicolon, so that such a path has two \
             readings: write the path without it",
        );
    }
    if plain.contains('*') {
        return at.error_help(
            format!("{} has a `*` that is not its whole last segment", quoted(text)),
            "write `/charges/*` for all that is below `/charges/`",
        );
    }
    Some(if below { PathPattern::Below(plain) } else { PathPattern::Exact(plain) })
}

pub(crate) fn read_header(at: &At<'_>) -> Option<HeaderCondition> {
    let object = at.object(fields(&["name", "value"]).without_nulls())?;
    let name = object.need("name", |at| {
        at.parsed(|text| names::matched_header(text).map(|()| text.to_ascii_lowercase()))
    });
    let value = object
        .maybe("value", |at| at.parsed(|text| names::header_value(text).map(|()| text.to_owned())));
    Some(HeaderCondition { name: name?, value: value? })
}
