//! The resources of a shop with fifty applications, ten for each: what a team keeps in its
//! repository, in the proportions in which it does.

/// How many applications there are.
const APPLICATIONS: usize = 50;

/// The namespaces that they are spread over.
const NAMESPACES: [&str; 5] = ["front", "orders", "payments", "search", "stock"];

/// The manifests, each with the name of its file. Nothing is wrong with them.
pub fn manifests() -> Vec<(String, String)> {
    (0..APPLICATIONS).flat_map(of_application).collect()
}

fn of_application(index: usize) -> Vec<(String, String)> {
    let namespace = NAMESPACES[index % NAMESPACES.len()];
    let app = format!("app-{index}");
    // Who calls it: the one before it.
    let before = (index + APPLICATIONS - 1) % APPLICATIONS;
    let caller = format!("{}/app-{before}", NAMESPACES[before % NAMESPACES.len()]);
    let (high, low) = (index / 200, index % 200 + 1);
    let gateway = "gateway.networking.k8s.io/v1";
    let own = "weft.dev/v1alpha1";
    let service = |version: &str| {
        format!(
            "spec:\n  selector: {{ app: {app}, version: {version} }}\n  ports:\n  - {{ name: http, \
             port: 80, targetPort: 8080, appProtocol: http }}\n  - {{ name: grpc, port: 50051, \
             appProtocol: grpc }}\n"
        )
    };
    let workload = |version: &str, last: usize| {
        format!(
            "spec:\n  serviceAccount: {app}\n  addresses: [10.{last}.{high}.{low}]\n  ports:\n  - {{ \
             name: http, port: 8080 }}\n  - {{ name: grpc, port: 50051 }}\n  locality: {{ region: \
             eu, zone: eu-{version} }}\n"
        )
    };
    let parent = |port: &str| {
        format!("spec:\n  parentRefs: [{{ group: \"\", kind: Service, name: {app}, {port} }}]\n")
    };
    let target = format!("spec:\n  targetRefs: [{{ group: \"\", kind: Service, name: {app} }}]\n");
    let labels = |version: &str| format!(", labels: {{ app: {app}, version: {version} }}");
    let all = [
        ("v1", "Service", app.clone(), String::new(), service("v1")),
        ("v1", "Service", format!("{app}-v2"), String::new(), service("v2")),
        (own, "Workload", format!("{app}-v1-1"), labels("v1"), workload("v1", 1)),
        (own, "Workload", format!("{app}-v2-1"), labels("v2"), workload("v2", 2)),
        (
            gateway,
            "HTTPRoute",
            app.clone(),
            String::new(),
            parent("port: 80")
                + &format!(
                    "  rules:\n  - name: next\n    matches:\n    - headers: [{{ name: x-next, value: \
             \"1\" }}]\n    - path: {{ type: PathPrefix, value: /next }}\n      method: GET\n    \
             filters:\n    - type: RequestHeaderModifier\n      requestHeaderModifier: {{ set: [{{ \
             name: x-version, value: v2 }}], remove: [x-internal] }}\n    backendRefs: [{{ name: \
             {app}-v2, port: 80 }}]\n  - name: all\n    backendRefs:\n    - {{ name: {app}, port: \
             80, weight: 95 }}\n    - {{ name: {app}-v2, port: 80, weight: 5 }}\n    timeouts: {{ \
             request: 2s, backendRequest: 500ms }}\n    retry: {{ attempts: 2, codes: [502, 503] \
             }}\n"
                ),
        ),
        (
            gateway,
            "GRPCRoute",
            app.clone(),
            String::new(),
            parent("port: 50051")
                + &format!(
                    "  rules:\n  - matches: [{{ method: {{ service: shop.v1.App{index}, method: Get }} }}]\n    \
             backendRefs: [{{ name: {app}-v2, port: 50051 }}]\n  - backendRefs: [{{ name: {app}, \
             port: 50051 }}]\n"
                ),
        ),
        (
            own,
            "BackendPolicy",
            app.clone(),
            String::new(),
            target.clone()
                + "  loadBalancing: { algorithm: PeakEwma }\n  limits: { requests: 512, pending: 128 }\n  \
               ejection: { consecutiveFailures: 5, baseTime: 30s, maxEjectedPercent: 50 }\n  \
               retryBudget: { percent: 20, minPerSecond: 10 }\n  timeouts: { connect: 2s, idle: \
               90s \
               }\n",
        ),
        (
            own,
            "AuthorizationPolicy",
            app.clone(),
            String::new(),
            target
                + &format!(
                    "  allow:\n  - from: [{{ serviceAccount: {caller} }}]\n    to: [{{ methods: [GET, POST], \
             paths: [/items, /items/*] }}]\n  - from: [{{ namespace: {namespace} }}]\n  deny:\n  - \
             to: [{{ headers: [{{ name: x-debug }}] }}]\n"
                ),
        ),
        (
            own,
            "FaultPolicy",
            app.clone(),
            String::new(),
            format!(
                "spec:\n  targetRefs:\n  - {{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: \
             {app}, sectionName: next }}\n  match: {{ headers: [{{ name: x-drill }}] }}\n  \
             delay: {{ \
             duration: 1s, percent: 10 }}\n"
            ),
        ),
        (
            own,
            "ExternalService",
            app.clone(),
            String::new(),
            format!(
                "spec:\n  hosts: [api-{index}.example.com]\n  ports: [{{ name: https, port: 443, \
             appProtocol: http, tls: {{ wellKnownCACertificates: System }} }}]\n"
            ),
        ),
    ];
    let written = |(version, kind, name, labels, spec): (&str, &str, String, String, String)| {
        let file = format!("{namespace}-{name}-{}.yaml", kind.to_lowercase());
        let head = format!("metadata: {{ name: {name}, namespace: {namespace}{labels} }}");
        (file, format!("apiVersion: {version}\nkind: {kind}\n{head}\n{spec}"))
    };
    all.into_iter().map(written).collect()
}
