//! Resources that are made, changed and deleted, several at once.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weft_control::api::{ApplyRequest, ObjectKey, SourceFile};

use super::{Cut, Found, Mesh, Work, answered};
use crate::draw::Draw;

/// How many changes are made one after the other.
const CHANGES: usize = 3;

/// How many objects there are of each kind at most.
const NAMES: usize = 3;

const KINDS: [(&str, &str, &str); 5] = [
    ("Service", "v1", "{ selector: { app: NAME }, ports: [{ port: 80 }] }"),
    (
        "Workload",
        "weft.dev/v1alpha1",
        "{ addresses: [192.0.2.7], serviceAccount: NAME, ports: [{ port: 80 }] }",
    ),
    (
        "HTTPRoute",
        "gateway.networking.k8s.io/v1",
        "{ parentRefs: [{ group: '', kind: Service, name: NAME }], \
         rules: [{ backendRefs: [{ name: NAME, port: 80 }] }] }",
    ),
    (
        "BackendPolicy",
        "weft.dev/v1alpha1",
        "{ targetRefs: [{ group: '', kind: Service, name: NAME }], limits: { requests: 7 } }",
    ),
    (
        "AuthorizationPolicy",
        "weft.dev/v1alpha1",
        "{ targetRefs: [{ group: '', kind: Service, name: NAME }], \
         allow: [{ from: [{ namespace: kept }] }] }",
    ),
];

/// The objects that are there, and the number of the change that wrote each.
type Numbers = BTreeMap<ObjectKey, u64>;

#[derive(Default)]
pub struct Changes {
    number: u64,
    acknowledged: Numbers,
    /// What is there if the change under way was made.
    tried: Option<Numbers>,
    versions: BTreeMap<ObjectKey, u64>,
    /// Who was ever shown with which address.
    addresses: BTreeMap<IpAddr, ObjectKey>,
}

impl Work for Changes {
    async fn work(&mut self, mesh: &Mesh, draw: &mut Draw) -> Result<(), Cut> {
        for _ in 0..CHANGES {
            let present = self.acknowledged.len();
            if present > 0 && draw.in_hundred(25) {
                self.delete(mesh, draw.below(present)).await?;
            } else {
                self.apply(mesh, draw).await?;
            }
            self.acknowledged = self.tried.take().unwrap();
        }
        Ok(())
    }
}

impl Changes {
    async fn apply(&mut self, mesh: &Mesh, draw: &mut Draw) -> Result<(), Cut> {
        self.number += 1;
        let mut next = self.acknowledged.clone();
        let mut text = String::new();
        let first = draw.below(KINDS.len() * NAMES);
        for index in 0..1 + draw.below(6) {
            let index = (first + index) % (KINDS.len() * NAMES);
            let (kind, version, spec) = KINDS[index % KINDS.len()];
            let name = format!("it-{}", index / KINDS.len());
            text.push_str(&format!(
                "---\napiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n  \
                 namespace: kept\n  labels: {{ change: '{}' }}\n  annotations: {{ long: '{}' }}\n\
                 spec: {}\n",
                self.number,
                ".".repeat(draw.below(20_000)),
                spec.replace("NAME", &name)
            ));
            let namespace = "kept".to_owned();
            next.insert(ObjectKey { kind: kind.to_owned(), namespace, name }, self.number);
        }
        self.tried = Some(next);
        let files = vec![SourceFile { name: "change".to_owned(), text }];
        let request = ApplyRequest { files, namespace: None, dry_run: false };
        for object in answered(mesh.client().apply(&request).await)?.objects {
            mesh.told(object.resource_version);
            self.versions.insert(object.key, object.resource_version);
        }
        Ok(())
    }

    async fn delete(&mut self, mesh: &Mesh, index: usize) -> Result<(), Cut> {
        let mut next = self.acknowledged.clone();
        let key = next.keys().nth(index).unwrap().clone();
        next.remove(&key);
        self.tried = Some(next);
        mesh.told(answered(mesh.client().delete(&key, None).await)?.resource_version);
        self.versions.remove(&key);
        Ok(())
    }

    /// What was acknowledged is there, with all of the change that was cut off or nothing of it.
    pub fn check(&mut self, found: &Found) {
        let mut numbers = Numbers::new();
        let mut versions = BTreeMap::new();
        for object in found.listed.objects.iter().filter(|it| it.key.namespace == "kept") {
            let number = object.yaml.split("change: \"").nth(1).unwrap().split('"').next().unwrap();
            numbers.insert(object.key.clone(), number.parse().unwrap());
            versions.insert(object.key.clone(), object.resource_version);
            for address in object.status.iter().flat_map(|status| &status.addresses) {
                let owner = self.addresses.entry(*address).or_insert_with(|| object.key.clone());
                assert_eq!(*owner, object.key, "{address} is given to somebody else");
            }
            let given = self.addresses.values().filter(|owner| **owner == object.key).count();
            assert!(given <= 2, "{:?} has got other addresses", object.key);
        }
        let Changes { acknowledged, tried, .. } = &*self;
        assert!(
            numbers == *acknowledged || tried.as_ref() == Some(&numbers),
            "acknowledged: {acknowledged:#?}\ntried: {tried:#?}\nfound: {numbers:#?}"
        );
        for (key, version) in &self.versions {
            if numbers.get(key) == acknowledged.get(key) {
                assert_eq!(versions[key], *version, "{key:?} has another version");
            }
        }
        (self.acknowledged, self.tried, self.versions) = (numbers, None, versions);
    }
}
