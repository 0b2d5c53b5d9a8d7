//! Where requests go, and which share of them.

use super::Traffic;
use super::filters::{self, Filter, Of, Read};
use super::parent_ref::read_group;
use crate::kind::WEFT_GROUP;
use crate::names;
use crate::reader::{At, Fields, Object, fields};
use crate::units::Port;

/// A backend with its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRef {
    /// What it is, with what only that kind has.
    pub kind: BackendKind,
    /// Its namespace. Default: the route's own.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its share, of the sum of all shares of the rule; from 0 to 1,000,000. Default: 1.
    pub weight: u32,
    /// What is done to the requests that go there and to their answers, after what the rule does.
    pub filters: Vec<Filter>,
}

/// A kind of backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendKind {
    /// A Service.
    Service {
        /// The port, as the Service numbers it.
        port: Port,
    },
    /// An ExternalService.
    External {
        /// The port, as it is called.
        port: Port,
    },
    /// A kind that is not known. Its share is answered with 500.
    Other {
        /// Its API group.
        group: String,
        /// Its kind.
        kind: String,
        /// The port, if one was written.
        port: Option<Port>,
    },
}

/// The largest share, as in Gateway API.
const WEIGHT_MAX: u32 = 1_000_000;

const FIELDS: Fields = Fields {
    known: &["group", "kind", "namespace", "name", "port", "weight", "filters"],
    not_yet: &[],
    ignored: &[],
    no_nulls: false,
};

/// Those where nothing can be done to what goes there.
const PLAIN_FIELDS: Fields =
    Fields { known: &["group", "kind", "namespace", "name", "port", "weight"], ..FIELDS };

/// The backend at `at`, and its filters where they stand.
pub(super) fn read<'a>(
    at: &At<'a>,
    own_namespace: &str,
    traffic: Traffic,
) -> Option<(BackendRef, Read<'a>)> {
    let (fields, of) = match traffic {
        Traffic::Http => (FIELDS, Some(Of::Backend)),
        Traffic::Calls => (FIELDS, Some(Of::BackendOfCalls)),
        Traffic::Streams => (PLAIN_FIELDS, None),
    };
    let object = at.object(fields)?;
    let weight = object.or("weight", 1, |at| at.number(0, WEIGHT_MAX));
    let filters = match of {
        Some(of) => {
            let read = |at: &At<'a>| filters::read(at, of, own_namespace);
            object.or("filters", Read::default(), read)
        }
        None => Some(Read::default()),
    };
    let (kind, namespace, name) = read_reference(&object, own_namespace)?;
    let read = filters?;
    let filters = read.filters.clone();
    Some((BackendRef { kind, namespace, name, weight: weight?, filters }, read))
}

/// What the backend at `at` is, which has neither share nor filters.
pub(super) fn read_plain(
    at: &At<'_>,
    own_namespace: &str,
) -> Option<(BackendKind, String, String)> {
    let object = at.object(fields(&["group", "kind", "namespace", "name", "port"]))?;
    read_reference(&object, own_namespace)
}

/// Kind, namespace and name of what `object` refers to. That a kind is not known says whoever looks
/// for it.
fn read_reference(
    object: &Object<'_>,
    own_namespace: &str,
) -> Option<(BackendKind, String, String)> {
    let group = object.or("group", "", read_group);
    let kind = object.or("kind", "Service", At::kind);
    let namespace = object.or("namespace", own_namespace.to_owned(), |at| {
        at.parsed(|text| names::dns_label(text).map(|()| text.to_owned()))
    });
    let name = object
        .need("name", |at| at.parsed(|text| names::dns_subdomain(text).map(|()| text.to_owned())));
    let is_service = (group, kind) == (Some(""), Some("Service"));
    let is_external = (group, kind) == (Some(WEFT_GROUP), Some("ExternalService"));
    let port = if is_service || is_external {
        object.need("port", At::port).map(Some)
    } else {
        object.maybe("port", At::port)
    };
    let (group, kind) = (group?, kind?);
    let kind = match port? {
        Some(port) if is_service => BackendKind::Service { port },
        Some(port) if is_external => BackendKind::External { port },
        port => BackendKind::Other { group: group.to_owned(), kind: kind.to_owned(), port },
    };
    Some((kind, namespace?, name?))
}

/// Warns if what the rule at `at` matches can go nowhere.
pub(crate) fn warn_if_nowhere(at: &At<'_>, backends: &[BackendRef], traffic: Traffic) {
    if backends.is_empty() {
        at.warning(format!("no backendRefs: what matches is {}", traffic.without_backend()));
    } else if backends.iter().all(|backend| backend.weight == 0) {
        at.warning(format!("all weights are 0: what matches is {}", traffic.without_weight()));
    }
}
