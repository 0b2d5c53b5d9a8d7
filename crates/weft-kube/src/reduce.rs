//! What is kept of an object: what is used of it, and nothing that changes without need.
//!
//! The API server's own objects have fields that Weft does not know, and have a right to: of these
//! only the known ones are kept. Kinds that ask Weft for something are kept whole, so that what
//! cannot be honoured is found and named.

use kube::api::DynamicObject;
use serde_json::{Map, Value, json};
use weft_crd::Kind;

/// What of a Service's `spec` is used.
const SERVICE: [&str; 4] = ["selector", "clusterIP", "clusterIPs", "type"];

/// What of a port of a Service is used.
const SERVICE_PORT: [&str; 5] = ["name", "port", "targetPort", "protocol", "appProtocol"];

/// The document of `object`; none if it is nothing to the mesh.
pub(crate) fn document(kind: Kind, object: DynamicObject) -> Option<String> {
    let DynamicObject { metadata: given, data, .. } = object;
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), given.name?.into());
    metadata.extend(given.namespace.map(|it| ("namespace".to_owned(), it.into())));
    let created = given.creation_timestamp;
    metadata.extend(created.map(|it| ("creationTimestamp".to_owned(), json!(it))));
    metadata.extend(given.uid.map(|it| ("uid".to_owned(), it.into())));
    metadata.extend(given.generation.map(|it| ("generation".to_owned(), it.into())));
    if let Some(labels) = given.labels.filter(|labels| !labels.is_empty()) {
        metadata.insert("labels".to_owned(), json!(labels));
    }
    // Others' annotations may be large, and change often.
    let annotations = given.annotations.unwrap_or_default().into_iter();
    let own: Map<_, _> = annotations
        .filter(|(name, _)| name.starts_with("weft.dev/"))
        .map(|(name, value)| (name, value.into()))
        .collect();
    if !own.is_empty() {
        metadata.insert("annotations".to_owned(), own.into());
    }
    let mut document = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.name(),
        "metadata": metadata,
    });
    let Value::Object(mut data) = data else { return None };
    match kind {
        Kind::Service => document["spec"] = service(data.remove("spec")?)?,
        Kind::ConfigMap => {
            // A root of TLS is all that is used of one.
            let root = data.remove("data")?.get_mut("ca.crt")?.take();
            document["data"] = json!({ "ca.crt": root });
        }
        _ => document["spec"] = data.remove("spec").unwrap_or_default(),
    }
    Some(document.to_string())
}

/// What is used of a Service's `spec`; none where it is only another name of something.
fn service(spec: Value) -> Option<Value> {
    let Value::Object(mut spec) = spec else { return None };
    if spec.get("type").is_some_and(|it| it == "ExternalName") {
        return None;
    }
    let ports = spec.remove("ports").and_then(|ports| match ports {
        Value::Array(ports) => Some(ports),
        _ => None,
    });
    let port = |port: Value| match port {
        Value::Object(mut port) => {
            port.retain(|key, _| SERVICE_PORT.contains(&key.as_str()));
            Value::Object(port)
        }
        other => other,
    };
    let ports: Vec<_> = ports.into_iter().flatten().map(port).collect();
    spec.retain(|key, _| SERVICE.contains(&key.as_str()));
    spec.insert("ports".to_owned(), ports.into());
    Some(Value::Object(spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduced(kind: Kind, object: Value) -> Option<Value> {
        let object = serde_json::from_value(object).unwrap();
        document(kind, object).map(|text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn of_a_service_what_is_used_is_kept() {
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7",
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "managedFields": [{ "manager": "kubectl" }],
                "annotations": { "weft.dev/a": "b", "kubectl.kubernetes.io/last": "{}" },
            },
            "spec": {
                "selector": { "app": "web" }, "clusterIP": "198.19.0.9", "clusterIPs": ["198.19.0.9"],
                "type": "NodePort", "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Local",
                "ports": [{ "port": 80, "protocol": "TCP", "targetPort": "http", "nodePort": 30000 }],
            },
            "status": { "loadBalancer": {} },
        });
        let expected = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u",
                "creationTimestamp": "2026-01-02T03:04:05Z", "annotations": { "weft.dev/a": "b" },
            },
            "spec": {
                "selector": { "app": "web" }, "clusterIP": "198.19.0.9", "clusterIPs": ["198.19.0.9"],
                "type": "NodePort",
                "ports": [{ "port": 80, "protocol": "TCP", "targetPort": "http" }],
            },
        });
        assert_eq!(reduced(Kind::Service, object), Some(expected));
    }

    #[test]
    fn what_is_nothing_to_the_mesh_is_not_kept() {
        let named = json!({
            "metadata": { "name": "a", "namespace": "b" },
            "spec": { "type": "ExternalName", "externalName": "a.example" },
        });
        assert_eq!(reduced(Kind::Service, named), None);
        let settings = json!({
            "metadata": { "name": "a", "namespace": "b" }, "data": { "settings": "large" },
        });
        assert_eq!(reduced(Kind::ConfigMap, settings), None);
    }

    /// Or what cannot be honoured would not be found.
    #[test]
    fn what_asks_for_something_is_kept_whole() {
        let spec = json!({ "parentRefs": [{ "name": "a" }], "unknown": { "deep": [1, null] } });
        let object = json!({ "metadata": { "name": "a", "namespace": "b" }, "spec": spec });
        assert_eq!(reduced(Kind::HttpRoute, object).unwrap()["spec"], spec);
    }
}
