//! Which names are the mesh's, and which service a name means.

use std::net::{Ipv4Addr, Ipv6Addr};

use weft_model::{DnsZone, Namespace, ObjectName, is_label};

use crate::query::{CLASS_IN, Query};
use crate::{Answer, Name};

/// The label below a zone that all services are below.
const SERVICES: &str = "svc";

/// How names are read by the programs of one namespace.
#[derive(Clone, Debug)]
pub struct Zones {
    zone: DnsZone,
    apex: Name,
    namespace: Namespace,
}

/// What a query is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A service, if there is one of this name.
    Service {
        /// Which.
        name: ObjectName,
        /// The name could also be one of the Internet's: [`Answer::NotOurs`] hands the query on.
        maybe_outside: bool,
    },
    /// A name whose answer is known.
    Known(Answer),
    /// A name that is not the mesh's.
    Outside,
    /// Another class than the Internet's, which nobody is asked about.
    Refused,
}

impl Zones {
    /// For programs of `namespace`, in a mesh whose services are below `zone`.
    pub fn new(zone: DnsZone, namespace: Namespace) -> Zones {
        // A zone that is longer than names may be has no names below it.
        let apex = Name::of(zone.as_str()).unwrap_or_else(|| {
            Name::of("invalid").expect("it is one short label") // RFC 6761, section 6.4.
        });
        Zones { zone, apex, namespace }
    }

    /// The suffixes that complete short names, for `resolv.conf`, in their order.
    pub fn search(&self) -> Vec<String> {
        let (namespace, zone) = (self.namespace.as_str(), self.zone.as_str());
        vec![format!("{namespace}.{SERVICES}.{zone}"), format!("{SERVICES}.{zone}"), zone.into()]
    }

    /// The zone's own name, if `name` is in the zone.
    pub(crate) fn apex_over(&self, name: &Name) -> Option<&Name> {
        let labels: Vec<&[u8]> = name.labels().collect();
        let apex: Vec<&[u8]> = self.apex.labels().collect();
        let below = labels.len().checked_sub(apex.len())?;
        let same = labels[below..].iter().zip(apex).all(|(one, two)| one.eq_ignore_ascii_case(two));
        same.then_some(&self.apex)
    }

    /// What `query` is about.
    ///
    /// - `NAME.NAMESPACE.svc.ZONE`, and all else below the zone, is the mesh's and never leaves.
    /// - `NAME` is a service of the own namespace, and `NAME.NAMESPACE.svc` one of another.
    /// - `NAME.NAMESPACE` is a service too, unless the mesh does not know the namespace.
    /// - `localhost` is loopback (RFC 6761, section 6.3).
    pub fn subject(&self, query: &Query) -> Subject {
        if query.class != CLASS_IN {
            return Subject::Refused;
        }
        let labels = query.name.labels().map(|label| {
            // What is not ASCII is no name of a service, and is equal to nothing below.
            String::from_utf8_lossy(label).to_ascii_lowercase()
        });
        let labels: Vec<String> = labels.collect();
        let mut parts: Vec<&str> = labels.iter().map(String::as_str).collect();
        if parts.last() == Some(&"localhost") {
            return Subject::Known(Answer::Addresses {
                v4: vec![Ipv4Addr::LOCALHOST],
                v6: vec![Ipv6Addr::LOCALHOST],
                ttl: 3600,
            });
        }
        if self.apex_over(&query.name).is_some() {
            parts.truncate(parts.len() - self.apex.labels().count());
            return match parts[..] {
                [name, namespace, SERVICES] => service(namespace, name, false),
                // Names are below these, so that they are there themselves. RFC 8020, section 2.
                [] | [SERVICES] => nothing_there(),
                [namespace, SERVICES] if is_label(namespace) => nothing_there(),
                _ => Subject::Known(Answer::NoSuchName),
            };
        }
        match parts[..] {
            [name] => service(self.namespace.as_str(), name, false),
            [name, namespace, SERVICES] => service(namespace, name, false),
            [name, namespace] => service(namespace, name, true),
            _ => Subject::Outside,
        }
    }
}

/// A name that exists and has no records.
fn nothing_there() -> Subject {
    Subject::Known(Answer::Addresses { v4: Vec::new(), v6: Vec::new(), ttl: 0 })
}

fn service(namespace: &str, name: &str, maybe_outside: bool) -> Subject {
    // A label may hold any bytes, a dot too; the name of a service may not.
    let name = is_label(name).then(|| ObjectName::new(namespace, name).ok()).flatten();
    match name {
        Some(name) => Subject::Service { name, maybe_outside },
        // It cannot be the name of a service, as `_dmarc.example`.
        None if maybe_outside => Subject::Outside,
        None => Subject::Known(Answer::NoSuchName),
    }
}
