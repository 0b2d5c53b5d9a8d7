//! Whatever policies there are, at whatever levels and in whatever order they came: one more deny
//! rule lets nothing more through.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use weft_compile::{Change, Compiler, Options};
use weft_decide::authorize::{Attempt, Authorizer};
use weft_http::{RequestHead, request};
use weft_model::{GuardScope, ObjectName, Policy, Port, SpiffeId, UnguardedPolicy};
use weft_wire::{Object, ObjectKey, SourceVersion};

const MESH: &str = "
apiVersion: weft.dev/v1alpha1
kind: Mesh
metadata: { name: m }
spec: { trustDomain: mesh.test }
---
apiVersion: v1
kind: Service
metadata: { name: pay, namespace: shop }
spec: { selector: { app: pay }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: { name: pay-1, namespace: shop, labels: { app: pay } }
spec: { addresses: [192.0.2.1], ports: [{ port: 8080 }, { port: 9090 }] }
";

/// Where a policy is attached.
const TARGETS: [&str; 5] = [
    "targetRefs: [{ group: weft.dev, kind: Mesh, name: m }]",
    "targetRefs: [{ group: '', kind: Namespace, name: shop }]",
    "targetRefs: [{ group: '', kind: Service, name: pay }]",
    "selector: { matchLabels: { app: pay } }",
    "selector: { matchLabels: { app: other } }",
];

/// Rules. What looks like a regular expression in a name is none.
const RULES: [&str; 8] = [
    "{}",
    "{ from: [{ namespace: a }] }",
    "{ from: [{ serviceAccount: b/x }] }",
    "{ from: [{ identity: 'spiffe://mesh.test/ns/a/sa/x.y' }] }",
    "{ from: [{ notNamespaces: [b] }] }",
    "{ to: [{ paths: [/a.c, '/d/*'] }] }",
    "{ to: [{ ports: [9090] }] }",
    "{ from: [{ namespace: b }], to: [{ methods: [POST] }, { paths: ['/a(b)+'] }] }",
];

#[derive(Clone, Debug)]
struct Drawn {
    target: &'static str,
    mode: &'static str,
    allow: Option<Vec<&'static str>>,
    deny: Vec<&'static str>,
}

fn rules(most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(RULES.to_vec()), 0..=most)
}

fn policies() -> impl Strategy<Value = Vec<Drawn>> {
    let target = prop::sample::select(TARGETS.to_vec());
    let mode = prop::sample::select(vec!["Enforce", "Enforce", "Audit"]);
    let policy = (target, mode, prop::option::of(rules(3)), rules(1));
    let policy = policy.prop_map(|(target, mode, allow, deny)| Drawn { target, mode, allow, deny });
    prop::collection::vec(policy, 0..5)
}

/// The policy as a change; none if it would say nothing.
fn change(name: &str, policy: &Drawn) -> Option<Change> {
    let Drawn { target, mode, allow, deny } = policy;
    let list = |key: &str, rules: &[&str]| format!("{key}: [{}]\n", rules.join(", "));
    let mut lists = String::new();
    if let Some(allow) = allow {
        lists += &format!("  {}", list("allow", allow));
    }
    if !deny.is_empty() {
        lists += &format!("  {}", list("deny", deny));
    }
    let namespace = if target.contains("Mesh") { "weft-system" } else { "shop" };
    let text = format!(
        "apiVersion: weft.dev/v1alpha1\nkind: AuthorizationPolicy\n\
         metadata: {{ name: {name}, namespace: {namespace} }}\n\
         spec:\n  {target}\n  mode: {mode}\n{lists}"
    );
    (!lists.is_empty()).then(|| put(&text).remove(0))
}

fn put(text: &str) -> Vec<Change> {
    let parsed = weft_crd::parse("it.yaml", text.as_bytes(), &weft_crd::Options::default());
    assert!(!parsed.has_errors(), "{text}\n{}", parsed.render());
    parsed.objects.into_iter().map(|object| Change::Put(Arc::new(object))).collect()
}

/// What guards the workload after these changes came, one by one.
fn guarding(changes: impl IntoIterator<Item = Change>) -> Authorizer {
    let mut compiler = Compiler::new(Options::default());
    for (revision, change) in (1..).zip(changes) {
        compiler.update([change], SourceVersion { epoch: 1, revision });
    }
    let objects = compiler.objects();
    let scopes = ["mesh", "namespace/shop", "service/shop/pay", "workload/shop/pay-1"];
    let mut policies: BTreeSet<ObjectKey> = BTreeSet::new();
    for scope in scopes {
        let scope: GuardScope = scope.parse().expect("a scope");
        let Object::Guards(guards) = objects[&ObjectKey::Guards(scope)].object() else {
            panic!("no guards")
        };
        policies.extend(guards.policies.keys().cloned().map(ObjectKey::Policy));
    }
    let policy = |key: &ObjectKey| -> Arc<Policy> {
        match objects[key].object() {
            Object::Policy(policy) => Arc::clone(policy),
            other => panic!("{other:?}"),
        }
    };
    let own = "mesh.test".parse().expect("a trust domain");
    Authorizer::new(policies.iter().map(policy), UnguardedPolicy::AllowMesh, own)
}

/// Whether each of a few requests is let through.
fn let_through(authorizer: &Authorizer) -> Vec<bool> {
    let accounts: [&str; 4] = ["a/x", "a/x.y", "b/x", "b/xzy"];
    let lines = ["GET /a.c", "GET /abc", "POST /d/e", "GET /d", "POST /a(b)+", "GET /ab"];
    let mut through = Vec::new();
    for account in accounts {
        let account: ObjectName = account.parse().expect("a name");
        let peer = SpiffeId::new("mesh.test".parse().expect("a trust domain"), account);
        for line in lines {
            let mut head = RequestHead::default();
            let bytes = format!("{line} HTTP/1.1\r\nHost: pay\r\n\r\n");
            if request::parse(bytes.as_bytes(), &mut head).is_err() {
                continue;
            }
            for port in [8080, 9090] {
                let attempt = Attempt {
                    peer: Some(&peer),
                    address: [127, 0, 0, 1].into(),
                    port: Port::new(port).expect("a port"),
                    http: Some(&head),
                };
                through.push(authorizer.judge(&attempt).is_allowed());
            }
        }
    }
    assert!(through.len() > 30, "most of the requests are ones");
    through
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn one_more_deny_rule_lets_nothing_more_through(
        drawn in policies(),
        order in Just((0..12usize).collect::<Vec<_>>()).prop_shuffle(),
        target in prop::sample::select(TARGETS.to_vec()),
        rule in prop::sample::select(RULES.to_vec()),
        allow in prop::option::of(rules(2)),
    ) {
        let mut changes = put(MESH);
        for (index, policy) in drawn.iter().enumerate() {
            changes.extend(change(&format!("p{index}"), policy));
        }
        let shuffled = |changes: &[Change]| -> Vec<Change> {
            order.iter().filter_map(|index| changes.get(*index).cloned()).collect()
        };
        let before = let_through(&guarding(changes.clone()));
        prop_assert_eq!(&before, &let_through(&guarding(shuffled(&changes))));

        let more = Drawn { target, mode: "Enforce", allow: None, deny: vec![rule] };
        changes.extend(change("more", &more));
        let after = let_through(&guarding(shuffled(&changes)));
        for (before, after) in before.iter().zip(&after) {
            prop_assert!(!after || *before, "{drawn:?} and {more:?}");
        }
        // Allowing on top of it opens nothing that it denies.
        let denied: Vec<_> = let_through(&guarding(
            put(MESH).into_iter().chain(change("more", &more)),
        ));
        let allow = Drawn { target, mode: "Enforce", allow, deny: vec![] };
        changes.extend(change("and-more", &allow));
        let last = let_through(&guarding(changes));
        for (last, denied) in last.iter().zip(&denied) {
            prop_assert!(!last || *denied, "{drawn:?}, {more:?} and {allow:?}");
        }
    }
}
