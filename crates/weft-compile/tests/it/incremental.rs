//! Whatever changes came in whatever order: the result is that of compiling all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use weft_compile::{Assignment, Change, Compiler, Options, Status, Update};
use weft_crd::{Key, Object};
use weft_model::{Address, ContentHash, Health, Network};
use weft_wire::discovery::World;
use weft_wire::{ObjectKey, SourceVersion};

/// What policies say of backends: each field by one of them, and by some policies several.
const TRAFFIC: [&str; 9] = [
    "limits: { requests: 1, pending: 1, connections: 1, requestsPerEndpoint: 1 }",
    "limits: { requests: 2, adaptiveTolerance: 2 }, loadBalancing: { panicThresholdPercent: 0 }",
    "loadBalancing: { algorithm: Maglev, hashOn: [{ type: Header, name: a }] }",
    "loadBalancing: { subset: { labels: [{ name: a, header: b }] } }, slowStart: { window: 1s }",
    "locality: { prefer: Region, spillAtLoadRatio: 2 }, timeouts: { connect: 1s, idle: 2s }",
    "ejection: { consecutiveFailures: 2, baseTime: 1s, maxEjectedPercent: 9 }",
    "ejection: { failuresAbovePeersPercent: 9, latencyTimesPeers: 2, interval: 9s, minRequests: 9 }",
    "healthCheck: { type: TCP }, retryBudget: { percent: 1, minPerSecond: 2 }",
    "sessionPersistence: {}, healthCheck: { type: HTTP, path: /a }, timeouts: { streamIdle: 3s }",
];

/// What rules say besides. `SERVICE` stands for one.
const RULES: [&str; 4] = [
    "matches: [{ method: GET }], retry: { attempts: 1 },",
    "filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: SERVICE, port: 80 } } }],",
    "timeouts: { request: 1s },",
    "filters: [{ type: CORS, cors: { allowOrigins: ['*'] } }],",
];

/// A few resources of few names, so that they meet.
fn resource(which: u8, name: u8, content: u8) -> String {
    let (a, b) = (content % 3, content / 3 % 3);
    let port = 80 + u16::from(content % 2);
    let head = |version: &str, kind: &str, name: &str, more: &str| {
        let namespace = if kind == "Mesh" { "" } else { ", namespace: shop" };
        format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{ name: {name}{namespace}{more} }}\n"
        )
    };
    let weft = "weft.dev/v1alpha1";
    let created = format!(", creationTimestamp: '2026-01-0{}T00:00:00Z'", content % 2 + 1);
    let service_target = format!("{{ group: '', kind: Service, name: s{a} }}");
    // The routes called 3 are for destinations outside.
    let parent = match name {
        3 => format!("{{ group: weft.dev, kind: ExternalService, name: e{a}, port: {port} }}"),
        _ => format!("{{ group: '', kind: Service, name: s{a}, port: {port} }}"),
    };
    match which {
        0 => {
            let spec = format!(
                "spec: {{ trustDomain: t{a}, defaults: {{ authorization: {} }} }}\n",
                ["AllowMesh", "Deny", "AllowMesh"][usize::from(b)]
            );
            head(weft, "Mesh", &format!("m{name}"), &created) + &spec
        }
        1 => {
            let target = ["8080", "web", "8081"][usize::from(b)];
            let spec = format!(
                "spec: {{ selector: {{ app: a{a} }}, \
                 ports: [{{ port: {port}, targetPort: {target} }}] }}\n"
            );
            head("v1", "Service", &format!("s{name}"), "") + &spec
        }
        2 => {
            let spec = format!(
                "spec: {{ addresses: [192.0.2.{b}], ports: [{{ name: web, port: 9{b} }}] }}\n"
            );
            head(weft, "Workload", &format!("w{name}"), &format!(", labels: {{ app: a{a} }}"))
                + &spec
        }
        3 => {
            let spec = format!(
                "spec: {{ parentRefs: [{parent}], \
                 rules: [{{ name: {}, {} backendRefs: [{{ name: s{b}, port: 80 }}, \
                 {{ group: weft.dev, kind: ExternalService, name: e{b}, port: 80 }}] }}] }}\n",
                ["all", "some"][usize::from(content % 2)],
                RULES[usize::from(content) % RULES.len()].replace("SERVICE", &format!("s{b}"))
            );
            head("gateway.networking.k8s.io/v1", "HTTPRoute", &format!("r{name}"), &created) + &spec
        }
        4 => {
            let (kind, namespace) = [
                ("GRPCRoute", "shop"),
                ("TCPRoute", "shop"),
                ("HTTPRoute", "other"),
                ("TCPRoute", "shop"),
            ][usize::from(name)];
            let spec = format!(
                "spec: {{ parentRefs: [{{ group: '', kind: Service, namespace: shop, name: s{a}, \
                 port: {port} }}], \
                 rules: [{{ backendRefs: [{{ namespace: shop, name: s{b}, port: 80 }}] }}] }}\n"
            );
            let version = "gateway.networking.k8s.io/v1";
            let route = head(version, kind, &format!("r{name}"), &created) + &spec;
            route.replacen("namespace: shop", &format!("namespace: {namespace}"), 1)
        }
        8 => {
            let host = ["a.test", "'*.test'"][usize::from(content % 2)];
            let spec = format!(
                "spec: {{ parentRefs: [{parent}], \
                 hostnames: [{host}], rules: [{{ backendRefs: [{{ name: s{b}, port: 80 }}] }}] }}\n"
            );
            head("gateway.networking.k8s.io/v1", "TLSRoute", &format!("r{name}"), &created) + &spec
        }
        5 => {
            let target = match (name, b) {
                (2, _) => format!("{{ group: weft.dev, kind: Mesh, name: m{a} }}"),
                (_, 0) => "{ group: '', kind: Namespace, name: shop }".to_owned(),
                (_, 1) => {
                    let part = ["", ", sectionName: web"][usize::from(content % 2)];
                    format!("{{ group: weft.dev, kind: ExternalService, name: e{a}{part} }}")
                }
                _ => service_target,
            };
            let fields = TRAFFIC[usize::from(content) % TRAFFIC.len()];
            // Only a policy for Services alone may say these.
            let failover = match target.contains("kind: Service") && content.is_multiple_of(2) {
                true => format!(", failover: {{ backendRef: {{ name: s{b}, port: 80 }} }}"),
                false => String::new(),
            };
            let spec = format!("spec: {{ targetRefs: [{target}], {fields}{failover} }}\n");
            let policy = head(weft, "BackendPolicy", &format!("b{name}"), &created) + &spec;
            of_mesh(policy, name)
        }
        6 => {
            let target = match b {
                0 => service_target,
                1 => format!("{{ group: gateway.networking.k8s.io, kind: GRPCRoute, name: r{a} }}"),
                _ => format!(
                    "{{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: r{a}, \
                     sectionName: all }}"
                ),
            };
            let header = ["", "match: { headers: [{ name: x-a }] }, "][usize::from(content % 2)];
            let what = [
                format!("abort: {{ status: 50{a} }}"),
                format!("abort: {{ grpcStatus: {} }}, maxActive: {}", a + 1, b + 1),
                format!("delay: {{ duration: {}ms, percent: 50 }}", b + 1),
            ];
            let what = &what[usize::from(content % 3)];
            let spec = format!("spec: {{ targetRefs: [{target}], {header}{what} }}\n");
            head(weft, "FaultPolicy", &format!("f{name}"), &created) + &spec
        }
        7 => {
            let hosts = ["e.a", "'*.a', e.b", "s1.shop, t0.t"][usize::from(a)];
            let spec = format!(
                "spec: {{ hosts: [{hosts}], cidrs: [203.0.113.{b}], \
                 ports: [{{ name: web, port: {port} }}] }}\n"
            );
            of_mesh(head(weft, "ExternalService", &format!("e{name}"), &created) + &spec, name)
        }
        9 => {
            let part = ["", ", sectionName: web"][usize::from(content % 2)];
            let target = format!("{{ group: weft.dev, kind: ExternalService, name: e{a}{part} }}");
            let spec = format!(
                "spec: {{ targetRefs: [{target}], validation: {{ hostname: h{content}.test, \
                 caCertificateRefs: [{{ group: '', kind: ConfigMap, name: c{b} }}] }} }}\n"
            );
            let version = "gateway.networking.k8s.io/v1";
            of_mesh(head(version, "BackendTLSPolicy", &format!("t{name}"), &created) + &spec, name)
        }
        10 => {
            let ca = [include_str!("../../../weft-crd/src/certificates/one.pem"), "no certificate"];
            let ca = ca[usize::from(content % 2)].replace('\n', "\n    ");
            let data = format!("data:\n  ca.crt: |\n    {ca}\n");
            of_mesh(head("v1", "ConfigMap", &format!("c{name}"), "") + &data, name)
        }
        _ => {
            let target = match (name, b) {
                (2, _) => format!("targetRefs: [{{ group: weft.dev, kind: Mesh, name: m{a} }}]"),
                (_, 0) => format!("targetRefs: [{service_target}]"),
                (_, 1) => "targetRefs: [{ group: '', kind: Namespace, name: shop }]".to_owned(),
                _ => format!("selector: {{ matchLabels: {{ app: a{a} }} }}"),
            };
            let mode = ["Enforce", "Audit", "Enforce"][usize::from(content % 3)];
            let lists = ["deny", "allow", "audit"][usize::from(b)];
            let spec = format!(
                "spec: {{ {target}, mode: {mode}, {lists}: [{{ from: [{{ namespace: n{a} }}] }}] }}\n"
            );
            of_mesh(head(weft, "AuthorizationPolicy", &format!("p{name}"), "") + &spec, name)
        }
    }
}

/// The policies called 2 are for the whole mesh, and live in its namespace.
fn of_mesh(policy: String, name: u8) -> String {
    match name {
        2 => policy.replace("namespace: shop", "namespace: weft-system"),
        _ => policy,
    }
}

fn object(which: u8, name: u8, content: u8) -> Arc<Object> {
    let text = resource(which, name, content);
    let mut parsed = weft_crd::parse("it.yaml", text.as_bytes(), &weft_crd::Options::default());
    assert!(!parsed.has_errors(), "{text}\n{}", parsed.render());
    Arc::new(parsed.objects.remove(0))
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, u8),
    Delete(u8, u8),
    Assign(u8, u8),
    AssignWorkload(u8, u8),
    Health(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..12u8, 0..4u8, 0..18u8).prop_map(|(which, name, content)| {
            Step::Put(which, name, content)
        }),
        2 => (0..12u8, 0..4u8).prop_map(|(which, name)| Step::Delete(which, name)),
        1 => (0..3u8, 0..4u8).prop_map(|(name, content)| Step::Assign(name, content)),
        1 => (0..3u8, 0..4u8).prop_map(|(name, content)| Step::AssignWorkload(name, content)),
        1 => (0..3u8, 0..3u8).prop_map(|(name, content)| Step::Health(name, content)),
    ]
}

fn change(step: &Step) -> Change {
    match *step {
        Step::Put(which, name, content) => Change::Put(object(which, name, content)),
        Step::Delete(which, name) => Change::Delete(object(which, name, 0).key()),
        Step::Assign(name, content) => {
            Change::Assign(format!("shop/s{name}").parse().expect("a name"), assignment(content))
        }
        Step::AssignWorkload(name, content) => {
            let name = format!("shop/w{name}").parse().expect("a name");
            Change::AssignWorkload(name, assignment(content))
        }
        Step::Health(name, content) => {
            let health = [None, Some(Health::Healthy), Some(Health::Draining)];
            Change::Health(
                format!("shop/w{name}").parse().expect("a name"),
                health[usize::from(content)],
            )
        }
    }
}

fn assignment(content: u8) -> Option<Assignment> {
    let ip = |content: u8| format!("240.119.0.{content}").parse().expect("an address");
    match content {
        0 => None,
        1 => Some(Assignment::Exhausted),
        content => Some(Assignment::Given(BTreeSet::from([Address {
            network: Network::default(),
            ip: ip(content),
        }]))),
    }
}

/// What is there after `steps`, as changes of nothing.
fn from_nothing(steps: &[Step]) -> Vec<Change> {
    let (mut objects, mut assignments) = (BTreeMap::new(), BTreeMap::new());
    let (mut healths, mut of_workloads) = (BTreeMap::new(), BTreeMap::new());
    for step in steps {
        match change(step) {
            Change::Put(object) => {
                objects.insert(object.key(), object);
            }
            Change::Delete(key) => {
                objects.remove(&key);
            }
            Change::Assign(service, assignment) => {
                assignments.insert(service, assignment);
            }
            Change::AssignWorkload(workload, assignment) => {
                of_workloads.insert(workload, assignment);
            }
            Change::Health(workload, health) => {
                healths.insert(workload, health);
            }
        }
    }
    let assign = |(service, assignment)| Change::Assign(service, assignment);
    let health = |(workload, health)| Change::Health(workload, health);
    let objects = objects.into_values().map(Change::Put);
    let assign_workload = |(workload, assignment)| Change::AssignWorkload(workload, assignment);
    let rest = assignments.into_iter().map(assign).chain(healths.into_iter().map(health));
    objects.chain(rest).chain(of_workloads.into_iter().map(assign_workload)).collect()
}

fn source(revision: usize) -> SourceVersion {
    SourceVersion { epoch: 1, revision: u64::try_from(revision).expect("a few") }
}

fn versions(compiler: &Compiler) -> BTreeMap<ObjectKey, ContentHash> {
    let objects = compiler.objects();
    objects.into_iter().map(|(key, object)| (key.clone(), object.version())).collect()
}

fn statuses(compiler: &Compiler) -> BTreeMap<Key, Status> {
    compiler.statuses().map(|status| (status.key.clone(), status.clone())).collect()
}

/// Who goes before `loser`, as `message` about it says, if it says that somebody does.
fn winner(loser: &Key, message: &str) -> Option<Key> {
    let words: Vec<&str> =
        message.split([' ', ',', ':', ';']).filter(|it| !it.is_empty()).collect();
    let at = |pair: [&str; 2]| words.windows(2).position(|found| found == pair);
    let (name, kind) = match (at(["is", "older"]), at(["is", "for"])) {
        (Some(at), _) => (words[at - 1], loser.kind),
        (None, Some(at)) if message.contains("of several kinds of routes, its kind") => {
            (words[at - 1], weft_crd::Kind::from_word(words[at - 2]).expect("a kind"))
        }
        _ => return None,
    };
    // Whose winner is itself is one.
    let name = name.rsplit('/').next().filter(|name| *name != "one")?.to_owned();
    Some(Key { kind, namespace: loser.namespace.clone(), name })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn both_sides_of_a_conflict_are_named(steps in prop::collection::vec(step(), 1..60)) {
        let mut compiler = Compiler::new(Options::default());
        compiler.update(from_nothing(&steps), source(1));
        let all = statuses(&compiler);
        for (loser, status) in &all {
            for finding in &status.findings {
                let Some(winner) = winner(loser, &finding.message) else { continue };
                let said = all.get(&winner).map(|status| &status.findings);
                let names_it = |finding: &weft_crd::Finding| {
                    let mut words = finding.message.split([' ', ',', ':', '/']);
                    words.any(|word| word == loser.name)
                };
                let is_named = said.is_some_and(|said| said.iter().any(names_it));
                prop_assert!(is_named, "{loser} says {finding}, and {winner}: {said:?}");
            }
        }
    }

    #[test]
    fn incremental_equals_cold(
        batches in prop::collection::vec(prop::collection::vec(step(), 1..4), 1..14),
    ) {
        let mut compiler = Compiler::new(Options::default());
        let mut world = World::new();
        let mut told: BTreeMap<Key, Status> = BTreeMap::new();
        for (index, batch) in batches.iter().enumerate() {
            let before = versions(&compiler);
            let update = compiler.update(batch.iter().map(change), source(index + 1));
            let Update { changed, removed, statuses } = update;
            // What is said to have changed has.
            for object in &changed {
                prop_assert_ne!(before.get(object.key()), Some(&object.version()));
                prop_assert_eq!(object.source(), source(index + 1));
            }
            told.extend(statuses.into_iter().map(|status| (status.key.clone(), status)));
            world.apply(changed, removed, source(index + 1));
        }
        let steps: Vec<Step> = batches.concat();
        let mut cold = Compiler::new(Options::default());
        cold.update(from_nothing(&steps), source(1));
        prop_assert_eq!(versions(&compiler), versions(&cold));
        prop_assert_eq!(statuses(&compiler), statuses(&cold));
        // Who follows the updates knows the same.
        let followed: BTreeMap<_, _> =
            world.objects().map(|object| (object.key().clone(), object.version())).collect();
        prop_assert_eq!(followed, versions(&cold));
        told.retain(|key, _| statuses(&cold).contains_key(key));
        prop_assert_eq!(told, statuses(&cold));
    }

    #[test]
    fn what_is_not_accepted_names_a_field(
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let changes = from_nothing(&steps);
        let mut objects = BTreeMap::new();
        for change in &changes {
            if let Change::Put(object) = change {
                objects.insert(object.key(), object.clone());
            }
        }
        let mut compiler = Compiler::new(Options::default());
        compiler.update(changes, source(1));
        for status in compiler.statuses() {
            let is_wrong = status.conditions.iter().any(|condition| !condition.holds);
            prop_assert!(!is_wrong || !status.findings.is_empty(), "{status:?}");
            for finding in &status.findings {
                let place = objects[&status.key].locate(&finding.path);
                prop_assert!(!finding.path.is_empty() && place.is_some(), "{finding:?}");
            }
        }
    }
}
