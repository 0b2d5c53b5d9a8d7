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

/// What of a pod's `spec` is used, and of its containers, and of its `status`.
const POD: [&str; 3] = ["serviceAccountName", "containers", "initContainers"];
const CONTAINER: [&str; 2] = ["name", "ports"];
const POD_STATUS: [&str; 4] = ["phase", "podIP", "podIPs", "conditions"];

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
        Kind::Pod => {
            if given.deletion_timestamp.is_some() {
                document["metadata"]["deletionTimestamp"] = json!(given.deletion_timestamp);
            }
            document["spec"] = pod(data.remove("spec")?)?;
            document["status"] = status(data.remove("status").unwrap_or_default());
        }
        Kind::ConfigMap => {
            // A root of TLS is all that is used of one.
            let root = data.remove("data")?.get_mut("ca.crt")?.take();
            document["data"] = json!({ "ca.crt": root });
        }
        _ => document["spec"] = data.remove("spec").unwrap_or_default(),
    }
    Some(document.to_string())
}

/// What is used of a pod's `spec`.
fn pod(mut spec: Value) -> Option<Value> {
    for key in ["containers", "initContainers"] {
        if let Some(Value::Array(list)) = spec.get_mut(key) {
            list.iter_mut().for_each(|it| *it = kept(it.take(), &CONTAINER));
        }
    }
    Some(kept(spec, &POD))
}

/// What is used of a pod's `status`.
fn status(mut status: Value) -> Value {
    if let Some(Value::Array(conditions)) = status.get_mut("conditions") {
        conditions.retain(|condition| condition["type"] == "Ready");
        conditions.iter_mut().for_each(|it| *it = kept(it.take(), &["type", "status"]));
    }
    kept(status, &POD_STATUS)
}

/// Of the map `value` what is called like one of `fields`.
fn kept(value: Value, fields: &[&str]) -> Value {
    match value {
        Value::Object(mut map) => {
            map.retain(|key, _| fields.contains(&key.as_str()));
            Value::Object(map)
        }
        other => other,
    }
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
    let ports: Vec<_> = ports.into_iter().flatten().map(|it| kept(it, &SERVICE_PORT)).collect();
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

    /// A pod's status has times and messages that change when nothing does.
    #[test]
    fn of_a_pod_it_is_kept_where_it_is_and_whether_it_serves() {
        let object = json!({
            "metadata": {
                "name": "web-1", "namespace": "shop", "deletionTimestamp": "2026-01-02T03:05:05Z",
            },
            "spec": {
                "serviceAccountName": "web", "nodeName": "node-1", "volumes": [],
                "containers": [{ "name": "a", "image": "b", "ports": [{ "containerPort": 80 }] }],
            },
            "status": {
                "phase": "Running", "podIPs": [{ "ip": "198.18.65.3" }], "hostIP": "198.18.0.2",
                "containerStatuses": [{}], "conditions": [
                    { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z" },
                    { "type": "Initialized", "status": "True" },
                ],
            },
        });
        let expected = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "web-1", "namespace": "shop", "deletionTimestamp": "2026-01-02T03:05:05Z",
            },
            "spec": {
                "serviceAccountName": "web",
                "containers": [{ "name": "a", "ports": [{ "containerPort": 80 }] }],
            },
            "status": {
                "phase": "Running", "podIPs": [{ "ip": "198.18.65.3" }],
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        });
        assert_eq!(reduced(Kind::Pod, object), Some(expected));
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
