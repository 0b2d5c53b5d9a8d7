//! What a policy says that can have no effect on what it is for: as bytes are spoken there that
//! nobody looks into, or as something else that holds there leaves nothing to it.

use std::collections::{BTreeMap, BTreeSet};

use weft_crd as crd;
use weft_model::{Balance, HashOn, ObjectName, Percent, Prefer, TrafficPolicy};

use super::{layers, layers_of_external, merged, of_external, sources_in};
use crate::findings::listed;
use crate::reader::Reader;
use crate::service::declared;

/// A port, or all ports that are called alike.
struct Place {
    /// Whose it is.
    owner: String,
    /// How it is called.
    traffic: TrafficPolicy,
    /// Whose field holds.
    sources: BTreeMap<&'static str, crd::Key>,
    /// Whether it is declared that no HTTP is spoken there.
    is_bytes: bool,
}

/// Why a field has no effect.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// It is about requests, and there are none.
    Bytes,
    /// Something else that is said there leaves nothing to it.
    Said(String),
}

/// What one target of a policy means, as far as that is known.
pub(super) struct Futile {
    policy: crd::Key,
    places: Vec<Place>,
}

impl Futile {
    /// The ports of `services`, or those of the ExternalService that `target` means. What is for
    /// the whole mesh is for Services of which each may say the rest otherwise.
    pub(super) fn new(
        reader: &Reader<'_>,
        policy: &crd::BackendPolicy,
        target: &crd::Target,
        services: &[ObjectName],
    ) -> Futile {
        let crd::Metadata { namespace, name, .. } = &policy.metadata;
        let part = match target {
            crd::Target::ServicePort(_, port) => Some(port),
            _ => None,
        };
        let mut places = Vec::new();
        for service in services {
            let Some((_, found)) = reader.service(service) else { continue };
            let ports = found.ports.iter().filter(|port| {
                port.protocol == crd::Protocol::Tcp
                    && part.is_none_or(|part| port.name.as_ref() == Some(part))
            });
            for port in ports {
                let own = port.name.as_deref();
                places.push(Place {
                    owner: format!("Service {service}"),
                    traffic: merged(reader, service, own),
                    sources: sources_in(layers(reader, service, own)),
                    is_bytes: is_bytes(port.app_protocol),
                });
            }
        }
        let external = match target {
            crd::Target::ExternalService(name) => Some((name, None)),
            crd::Target::ExternalPort(name, port) => Some((name, Some(port.as_str()))),
            _ => None,
        };
        if let Some((external, part)) = external
            && let Ok(external) = ObjectName::new(namespace, external)
            && let Some((_, found)) = reader.external(&external)
        {
            let is_meant =
                |port: &&crd::ExternalPort| part.is_none() || port.name.as_deref() == part;
            places.extend(found.ports.iter().filter(is_meant).map(|port| {
                let own = port.name.as_deref();
                Place {
                    owner: format!("ExternalService {external}"),
                    traffic: of_external(reader, &external, own),
                    sources: sources_in(layers_of_external(reader, &external, own)),
                    is_bytes: is_bytes(port.app_protocol),
                }
            }));
        }
        let (kind, namespace, name) = (crd::Kind::BackendPolicy, namespace.clone(), name.clone());
        Futile { policy: crd::Key { kind, namespace, name }, places }
    }

    /// Why the policy's `field` has no effect wherever it holds, and the field to say it of.
    pub(super) fn why(&self, field: &'static str) -> Option<(&'static str, String)> {
        let holds = |place: &&Place| place.sources.get(field) == Some(&self.policy);
        let places: Vec<_> = self.places.iter().filter(holds).collect();
        let why = places.iter().map(|place| place.why(field)).collect::<Option<BTreeSet<_>>>()?;
        let bytes = || {
            let owners = places.iter().filter(|place| place.is_bytes);
            let owners = listed(&owners.map(|place| place.owner.clone()).collect());
            format!("it is for HTTP, and {owners} declares that none is spoken there")
        };
        let words = why.into_iter().map(|why| match why {
            Why::Bytes => bytes(),
            Why::Said(words) => words,
        });
        let words = words.collect::<Vec<_>>().join("; or ");
        let field = match field {
            "spec.loadBalancing.algorithm" => "spec.loadBalancing.hashOn",
            field => field,
        };
        (!words.is_empty()).then_some((field, words))
    }
}

fn is_bytes(protocol: Option<crd::AppProtocol>) -> bool {
    declared(protocol).is_some_and(|protocol| !protocol.is_http())
}

impl Place {
    fn why(&self, field: &str) -> Option<Why> {
        let Place { owner: _, traffic, sources: _, is_bytes } = self;
        let hash_on = traffic.balance.hash_on();
        // A connection has an address, and nothing else to hash.
        let is_hashed = match is_bytes {
            true => hash_on.contains(&HashOn::SourceAddress),
            false => !hash_on.is_empty(),
        };
        let said = |words: &str| Some(Why::Said(words.to_owned()));
        match field {
            "spec.sessionPersistence"
            | "spec.retryBudget.percent"
            | "spec.retryBudget.minPerSecond"
            | "spec.limits.requests"
            | "spec.limits.pending" => is_bytes.then_some(Why::Bytes),
            // Connections go by the defaults.
            "spec.loadBalancing.subset" => {
                let labels = traffic.subset.iter().flat_map(|subset| &subset.labels);
                let has_default = labels.into_iter().any(|label| label.default.is_some());
                (*is_bytes && !has_default).then_some(Why::Bytes)
            }
            "spec.loadBalancing.algorithm" => {
                (*is_bytes && !hash_on.is_empty() && !is_hashed).then_some(Why::Bytes)
            }
            "spec.slowStart.window" if is_hashed && traffic.slow_start.is_some() => {
                let by = match traffic.balance {
                    Balance::Maglev(_) => "Maglev",
                    _ => "RingHash",
                };
                said(&format!("by loadBalancing.algorithm {by} each key has one place"))
            }
            "spec.locality.spillAtLoadRatio" if traffic.locality.prefer == Prefer::None => {
                said("locality.prefer is None, so that all endpoints are as near")
            }
            "spec.limits.requestsPerEndpoint" => {
                let (all, one) = (traffic.limits.requests, traffic.limits.requests_per_endpoint?);
                let words = format!("of requests, limits.requests lets {all} be under way in all");
                // Streams of bytes count at their endpoint alone.
                (!is_bytes && one > all).then_some(Why::Said(words))
            }
            "spec.ejection.maxEjectedPercent" => None,
            field if field.starts_with("spec.ejection.") => {
                let is_none_out = Some(traffic.ejection.ejected_max) == Percent::new(0);
                is_none_out
                    .then(|| Why::Said("ejection.maxEjectedPercent is 0: none is left out".into()))
            }
            _ => None,
        }
    }
}
