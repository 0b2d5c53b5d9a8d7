//! Objects for tests: one of each kind, with all that it can hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use weft_model::{
    Abort, AbortCode, AbortStatus, AbortWith, Address, AllowedNames, AllowedOrigin,
    AuthorizationPolicy, Backend, CallMatch, CertificateUri, Cidr, ClientCertificate, ContentHash,
    Cors, Delay, DnsZone, ExactValue, ExternalEndpoint, ExternalPort, ExternalService, ExternalTls,
    Fault, Filter, Fraction, GuardScope, Guards, HeaderCondition, HeaderEdits, HeaderMatch,
    HeaderName, Health, HostPattern, HttpPath, Locality, MeshSettings, Method, Mirror, MtlsMode,
    Namespace, Network, ObjectName, Operation, OutboundPolicy, Parent, PathMatch, PathPattern,
    PathRewrite, Peer, Percent, Policy, PolicyMode, Port, PreciseHost, Protocol, QueryMatch,
    Redirect, RedirectStatus, RegexText, Retry, RetryStatus, Revocation, RootCertificate, Route,
    RouteMatch, RouteParent, RouteRule, Rule, Scheme, SerialNumber, Service, ServicePort,
    SubjectAltName, TimeBound, Timeouts, TlsRoots, TrafficPolicy, Trust, Tunnel, UnguardedPolicy,
    UrlRewrite, ValueMatch, Weight, WeightedBackend, Workload, WorkloadPort,
};

use crate::objects::Object;

impl From<Service> for Object {
    fn from(service: Service) -> Object {
        Object::Service(Arc::new(service))
    }
}

impl From<Workload> for Object {
    fn from(workload: Workload) -> Object {
        Object::Workload(Arc::new(workload))
    }
}

impl From<ExternalService> for Object {
    fn from(external: ExternalService) -> Object {
        Object::External(Arc::new(external))
    }
}

impl From<Route> for Object {
    fn from(route: Route) -> Object {
        Object::Route(Arc::new(route))
    }
}

impl From<Policy> for Object {
    fn from(policy: Policy) -> Object {
        Object::Policy(Arc::new(policy))
    }
}

/// `text` as whatever is needed.
pub(crate) fn read<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub(crate) fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

pub(crate) fn address(text: &str) -> Address {
    Address { network: Network::default(), ip: read(text) }
}

/// A Service with one port.
pub(crate) fn service(name: &str, vip: &str) -> Service {
    let settings = ServicePort {
        name: None,
        protocol: Protocol::Detect,
        mtls: MtlsMode::Strict,
        traffic: None,
    };
    Service {
        name: read(name),
        vips: BTreeSet::from([address(vip)]),
        ports: BTreeMap::from([(port(80), settings)]),
        traffic: TrafficPolicy::default(),
    }
}

/// A destination outside of the mesh.
pub(crate) fn external(name: &str) -> ExternalService {
    let settings =
        ExternalPort { name: None, protocol: Protocol::Detect, tls: None, traffic: None };
    ExternalService {
        name: read(name),
        is_for_mesh: false,
        hosts: BTreeSet::from([HostPattern::new("api.example.com").unwrap()]),
        cidrs: BTreeSet::new(),
        ports: BTreeMap::from([(port(80), settings)]),
        endpoints: BTreeSet::new(),
        traffic: TrafficPolicy::default(),
        routes: BTreeSet::new(),
    }
}

/// TLS that proxies originate.
pub(crate) fn tls() -> ExternalTls {
    let name = CertificateUri::new("spiffe://example.com/api").unwrap();
    ExternalTls {
        hostname: None,
        subject_alt_names: BTreeSet::from([SubjectAltName::Uri(name)]),
        roots: TlsRoots::System,
        client_certificate: ClientCertificate::Workload,
    }
}

fn full_external() -> ExternalService {
    let mut external = external("weft-system/api");
    external.is_for_mesh = true;
    external.hosts.insert(HostPattern::new("*.example.com").unwrap());
    external.cidrs.insert(Cidr::new(read("203.0.113.0"), 24).unwrap());
    let (name, tls) = (Some("web".to_owned()), Some(tls()));
    let settings = ExternalPort { name, protocol: Protocol::Http, tls, traffic: None };
    external.ports.insert(port(443), settings);
    let at = |ip, port| ExternalEndpoint { ip: read(ip), port };
    external.endpoints.extend([at("192.0.2.9", None), at("2001:db8::9", Some(port(8443)))]);
    external
}

/// A workload of some Services.
pub(crate) fn workload(name: &str, ip: &str, services: &[&str]) -> Workload {
    let ports = BTreeMap::from([(port(80), port(8080))]);
    let services = services.iter().map(|service| (read(service), ports.clone()));
    Workload {
        name: read(name),
        generation: 1,
        identity: Some(read("spiffe://weft.local/ns/shop/sa/cart")),
        network: Network::default(),
        addresses: BTreeSet::from([read(ip)]),
        locality: None,
        health: Health::Healthy,
        ports: BTreeMap::new(),
        mtls: MtlsMode::Strict,
        services: services.collect(),
        tunnel: Tunnel::PerPort { elsewhere: BTreeMap::new() },
        labels: Default::default(),
        health_checks: Default::default(),
    }
}

/// A route of one Service to some others.
pub(crate) fn route(name: &str, parent: &str, backends: &[&str]) -> Route {
    let every = RouteMatch {
        path: PathMatch::Prefix(HttpPath::new("/").unwrap()),
        headers: vec![],
        query: vec![],
        method: None,
    };
    let backend = |name: &&str| WeightedBackend {
        backend: Backend::Service { name: read(name), port: port(80) },
        weight: Weight::new(1).unwrap(),
        filters: vec![],
    };
    let rule = RouteRule {
        name: None,
        matches: vec![every],
        filters: vec![],
        backends: backends.iter().map(backend).collect(),
        timeouts: Timeouts::default(),
        retry: None,
        faults: vec![],
    };
    Route {
        name: read(name),
        created: 0,
        parents: BTreeSet::from([RouteParent {
            parent: Parent::Service(read(parent)),
            port: None,
        }]),
        hostnames: BTreeSet::new(),
        rules: vec![rule],
    }
}

/// A policy that denies a namespace.
pub(crate) fn policy(name: &str, denied: &str) -> Policy {
    let peer = Peer { namespace: Some(Namespace::new(denied).unwrap()), ..Peer::default() };
    Policy::Authorization(AuthorizationPolicy {
        name: read(name),
        mode: PolicyMode::Enforce,
        allow: None,
        deny: vec![Rule { from: Some(vec![peer]), to: None }],
        audit: vec![],
    })
}

pub(crate) fn mesh() -> MeshSettings {
    MeshSettings {
        trust_domain: read("weft.local"),
        cidrs: BTreeSet::from([
            Cidr::new(read("240.119.0.0"), 16).unwrap(),
            Cidr::new(read("fd77:6566:7400::"), 64).unwrap(),
        ]),
        dns_zone: DnsZone::new("cluster.local").unwrap(),
        outbound: OutboundPolicy::Registered,
        unguarded: UnguardedPolicy::Deny,
    }
}

pub(crate) fn trust(sequence: u64) -> Trust {
    let revoked = [
        Revocation::Serial(SerialNumber::new(&[1, 2, 3]).unwrap()),
        Revocation::Identity(read("spiffe://weft.local/ns/shop/sa/old")),
    ];
    Trust {
        domain: read("weft.local"),
        sequence,
        roots: BTreeSet::from([RootCertificate::new(b"a root").unwrap()]),
        revoked: revoked.into(),
        renew_below: None,
    }
}

pub(crate) fn guards(scope: GuardScope, policies: &[(&str, ContentHash)]) -> Guards {
    let policies = policies.iter().map(|(name, hash)| (read(name), *hash));
    Guards { scope, policies: policies.collect(), ports: BTreeMap::new() }
}

/// One object of each kind, with all that it can hold.
pub(crate) fn one_of_each() -> Vec<Object> {
    let mut full_service = service("shop/cart", "240.119.0.1");
    full_service.vips.insert(address("fd77:6566:7400::1"));
    let settings = ServicePort {
        name: Some("grpc".to_owned()),
        protocol: Protocol::Grpc,
        mtls: MtlsMode::Permissive,
        traffic: None,
    };
    full_service.ports.insert(port(81), settings);
    let mut full_workload = workload("shop/cart-1", "192.0.2.7", &["shop/cart", "shop/all"]);
    full_workload.locality = Some(Locality::new("eu", Some("eu-1")).unwrap());
    full_workload.ports = BTreeMap::from([(
        port(8080),
        WorkloadPort { protocol: Protocol::Http, mtls: MtlsMode::Permissive },
    )]);
    full_workload.tunnel =
        Tunnel::PerPort { elsewhere: BTreeMap::from([(port(8080), port(15008))]) };
    let mut other_workload = workload("shop/cart-2", "2001:db8::7", &[]);
    other_workload.identity = None;
    other_workload.health = Health::Draining;
    other_workload.tunnel = Tunnel::One(read("127.0.0.1:4000"));
    let name: ObjectName = read("shop/callers");
    let hash = ContentHash([7; 32]);
    let guards = guards(
        GuardScope::Service(read("shop/cart")),
        &[
            ("authorization/shop/callers", hash),
            ("authorization/shop/others", ContentHash([8; 32])),
        ],
    );
    let renewing = Trust { domain: read("other.local"), renew_below: Some([9; 32]), ..trust(3) };
    vec![
        Object::Mesh(Arc::new(mesh())),
        Object::Trust(Arc::new(trust(3))),
        Object::Policy(Arc::new(Policy::Authorization(full_policy(name)))),
        Object::Guards(Arc::new(guards)),
        Object::Service(Arc::new(full_service)),
        Object::Workload(Arc::new(full_workload)),
        Object::Workload(Arc::new(other_workload)),
        Object::Route(Arc::new(full_route())),
        Object::Trust(Arc::new(renewing)),
        Object::Route(Arc::new(filtered_route())),
        Object::Route(Arc::new(call_route())),
        Object::Route(Arc::new(stream_route())),
        Object::Route(Arc::new(route("http/other/mine", "shop/cart", &["shop/cart-v1"]))),
        Object::Policy(Arc::new(auditing_policy())),
        Object::Route(Arc::new(faulty_route())),
        Object::External(Arc::new(full_external())),
        Object::Route(Arc::new(outside_route())),
        Object::Guards(Arc::new(guards_of_port())),
        Object::Service(Arc::new(service_of_ports())),
        Object::External(Arc::new(routed_external())),
        Object::Route(Arc::new(external_route("http/shop/egress", "shop/routed"))),
        Object::External(Arc::new(external_of_ports())),
    ]
}

/// With another policy for its port than for the rest.
pub(crate) fn external_of_ports() -> ExternalService {
    let mut external = external("shop/apart");
    let traffic = TrafficPolicy { slow_start: TimeBound::from_millis(7), ..Default::default() };
    external.ports.get_mut(&port(80)).unwrap().traffic = Some(Box::new(traffic));
    external
}

/// A destination outside that has rules.
pub(crate) fn routed_external() -> ExternalService {
    let routes = BTreeSet::from([read("http/shop/egress")]);
    ExternalService { routes, ..external("shop/routed") }
}

/// A route for calls to the destination outside `parent`: to a Service, and to itself.
pub(crate) fn external_route(name: &str, parent: &str) -> Route {
    let mut route = route(name, "shop/cart", &["shop/cart-v1"]);
    let parent: ObjectName = read(parent);
    let backend = Backend::External { name: parent.clone(), port: port(80) };
    let itself = WeightedBackend { backend, ..route.rules[0].backends[0].clone() };
    route.rules[0].backends.push(itself);
    let parent = Parent::External(parent);
    route.parents = BTreeSet::from([RouteParent { parent, port: Some(port(80)) }]);
    route
}

/// With one policy for one port, and one for all.
pub(crate) fn guards_of_port() -> Guards {
    let names = [("authorization/shop/all", [7; 32]), ("authorization/shop/one", [8; 32])];
    let mut guards = guards(
        GuardScope::Service(read("shop/ports")),
        &names.map(|(name, hash)| (name, ContentHash(hash))),
    );
    guards.ports.insert(read("authorization/shop/one"), BTreeSet::from([port(80), port(90)]));
    guards
}

/// With another policy for its port than for the rest.
pub(crate) fn service_of_ports() -> Service {
    let mut service = service("shop/ports", "240.119.0.4");
    let traffic = TrafficPolicy { slow_start: TimeBound::from_millis(7), ..Default::default() };
    service.ports.get_mut(&port(80)).unwrap().traffic = Some(Box::new(traffic));
    service
}

fn full_policy(name: ObjectName) -> AuthorizationPolicy {
    let peer = Peer {
        identity: Some(read("spiffe://weft.local/ns/shop/sa/web")),
        service_account: Some(read("shop/web")),
        namespace: Some(Namespace::new("shop").unwrap()),
        cidr: Some(Cidr::new(read("10.0.0.0"), 8).unwrap()),
        not_identities: BTreeSet::from([read("spiffe://weft.local/ns/dev/sa/web")]),
        not_service_accounts: BTreeSet::from([read("dev/web")]),
        not_namespaces: BTreeSet::from([Namespace::new("dev").unwrap()]),
        not_cidrs: BTreeSet::from([Cidr::new(read("10.1.0.0"), 16).unwrap()]),
    };
    let path = |text| HttpPath::new(text).unwrap();
    let header = |name, value: Option<&str>| HeaderCondition {
        name: HeaderName::new(name).unwrap(),
        value: value.map(|value| ExactValue::new(value).unwrap()),
    };
    let operation = Operation {
        ports: BTreeSet::from([port(8080), port(8081)]),
        methods: BTreeSet::from([Method::new("GET").unwrap(), Method::new("POST").unwrap()]),
        paths: BTreeSet::from([PathPattern::Exact(path("/a")), PathPattern::Below(path("/a/"))]),
        headers: vec![header("x-debug", None), header("x-tenant", Some("blue"))],
    };
    AuthorizationPolicy {
        name,
        mode: PolicyMode::Enforce,
        allow: Some(vec![Rule { from: Some(vec![peer]), to: Some(vec![operation]) }]),
        deny: vec![Rule { from: None, to: Some(vec![]) }],
        audit: vec![Rule { from: None, to: None }],
    }
}

/// One of each kind, with all that it can hold.
pub(crate) fn filters() -> Vec<Filter> {
    let name = |text| HeaderName::new(text).unwrap();
    let field = |key, value| (name(key), ExactValue::new(value).unwrap());
    let edits = |key| {
        let set = vec![field(key, "1"), field("x-other", "2")];
        HeaderEdits::new(set, vec![field("x-added", "3")], vec![name("x-removed")]).unwrap()
    };
    let path = |text| HttpPath::new(text).unwrap();
    let rewrite = UrlRewrite {
        hostname: Some(PreciseHost::new("a.example").unwrap()),
        path: Some(PathRewrite::Prefix(path("/x"))),
    };
    let redirect = Redirect {
        scheme: Some(Scheme::Https),
        hostname: rewrite.hostname.clone(),
        port: Some(port(8443)),
        path: Some(PathRewrite::Full(path("/"))),
        status: RedirectStatus::new(308).unwrap(),
    };
    let origins = ["*", "https://a.example", "http://*.a.example:81", "http://*"];
    let cors = Cors {
        origins: origins.iter().map(|text| AllowedOrigin::new(text).unwrap()).collect(),
        credentials: true,
        methods: AllowedNames::These(vec![Method::new("PUT").unwrap()]),
        headers: AllowedNames::Any,
        expose: AllowedNames::These(vec![name("x-a"), name("x-b")]),
        max_age_s: 60,
    };
    let copied = Backend::Service { name: "shop/cart-v2".parse().unwrap(), port: port(80) };
    let mirror = Mirror { backend: copied, share: Fraction::new(1, 3).unwrap() };
    vec![
        Filter::RequestHeaders(edits("x-request")),
        Filter::ResponseHeaders(edits("x-answer")),
        Filter::Rewrite(rewrite),
        Filter::Redirect(redirect),
        Filter::Cors(cors),
        Filter::Mirror(mirror),
    ]
}

/// Faults of all sorts.
pub(crate) fn faults() -> Vec<Fault> {
    let percent = Percent::new(5).unwrap();
    let header = |name, value: Option<&str>| HeaderCondition {
        name: HeaderName::new(name).unwrap(),
        value: value.map(|value| ExactValue::new(value).unwrap()),
    };
    let drill = Fault {
        policy: read("shop/drill"),
        headers: vec![header("x-drill", Some("1")), header("x-user", None)],
        delay: TimeBound::from_millis(2000).map(|time| Delay { percent, time }),
        abort: Some(Abort { percent, with: AbortWith::Grpc(AbortCode::new(14).unwrap()) }),
        active_max: Fault::ACTIVE_MAX,
    };
    let with = AbortWith::Http(AbortStatus::new(503).unwrap());
    let other = Fault { headers: vec![], delay: None, ..drill.clone() };
    vec![drill, Fault { abort: Some(Abort { percent, with }), ..other }]
}

fn auditing_policy() -> Policy {
    let full = full_policy(read("shop/auditing"));
    Policy::Authorization(AuthorizationPolicy { mode: PolicyMode::Audit, ..full })
}

fn outside_route() -> Route {
    let mut route = route("http/shop/outside", "shop/cart", &["shop/cart-v1"]);
    let backend = Backend::External { name: read("shop/api"), port: port(443) };
    let share = Fraction::new(1, 3).unwrap();
    route.rules[0].filters = vec![Filter::Mirror(Mirror { backend: backend.clone(), share })];
    route.rules[0].backends[0].backend = backend;
    route
}

fn faulty_route() -> Route {
    let mut route = route("http/shop/faulty", "shop/cart", &["shop/cart-v1"]);
    route.rules[0].faults = faults();
    route
}

fn filtered_route() -> Route {
    let mut route = route("http/shop/filtered", "shop/cart", &["shop/cart-v1"]);
    route.rules[0].filters = filters();
    route.rules[0].backends[0].filters = filters().into_iter().take(3).collect();
    route
}

fn call_route() -> Route {
    let mut route = route("grpc/shop/calls", "shop/calls", &["shop/calls-v1"]);
    let exact = |text| Some(ValueMatch::Exact(ExactValue::new(text).unwrap()));
    let call = |service, method| RouteMatch {
        path: PathMatch::Call(CallMatch { service, method }),
        headers: vec![],
        query: vec![],
        method: None,
    };
    let regex = ValueMatch::Regex(RegexText::new("Get.*").unwrap());
    route.rules[0].matches =
        vec![call(exact("shop.Calls"), exact("Get")), call(None, Some(regex)), call(None, None)];
    route
}

fn stream_route() -> Route {
    let mut route = route("tls/shop/streams", "shop/streams", &["shop/streams-v1"]);
    route.hostnames = BTreeSet::from(["*.example.com".to_owned()]);
    route.rules[0].matches.clear();
    route
}

fn full_route() -> Route {
    let bound = |millis| TimeBound::from_millis(millis);
    let exact = |text| ValueMatch::Exact(ExactValue::new(text).unwrap());
    let regex = |text| RegexText::new(text).unwrap();
    let canary = RouteMatch {
        path: PathMatch::Exact(HttpPath::new("/v2").unwrap()),
        headers: vec![HeaderMatch {
            name: HeaderName::new("x-canary").unwrap(),
            value: exact("1"),
        }],
        query: vec![QueryMatch::new("q", ValueMatch::Regex(regex("a+"))).unwrap()],
        method: Some(Method::new("GET").unwrap()),
    };
    let by_regex = RouteMatch {
        path: PathMatch::Regex(regex("/(a|b)+")),
        headers: vec![],
        query: vec![],
        method: None,
    };
    let missing = WeightedBackend {
        backend: Backend::Missing { reason: "Service shop/gone is not there".to_owned() },
        weight: Weight::new(0).unwrap(),
        filters: vec![],
    };
    let mut route = route("http/shop/canary", "shop/cart", &["shop/cart-v1", "shop/cart-v2"]);
    route.created = -1;
    route
        .parents
        .insert(RouteParent { parent: Parent::Service(read("shop/cart")), port: Some(port(80)) });
    route.hostnames = BTreeSet::from(["*.example.com".to_owned(), "example.com".to_owned()]);
    route.rules[0].name = Some("canary".to_owned());
    route.rules[0].matches = vec![canary, by_regex];
    route.rules[0].backends.push(missing);
    route.rules[0].timeouts = Timeouts::new(bound(2000), bound(500)).unwrap();
    route.rules[0].retry = Some(Retry {
        statuses: [502, 503].map(|code| RetryStatus::new(code).unwrap()).into(),
        ..Retry::default()
    });
    route
}
