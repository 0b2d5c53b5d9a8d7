//! Resources, and what is sent, drawn from a seed. Shared with the test that explains a mesh of
//! real programs, which draws no more than these speak.

#[path = "wide.rs"]
mod wide;

use super::called::{CALLERS, Called, called};
use super::draw::Draw;

/// What is drawn from.
pub struct Drawing {
    numbers: Draw,
    /// Whether all is drawn that there is, or only what real programs are there for.
    pub is_wide: bool,
}

impl Drawing {
    /// What follows from `seed`.
    pub fn new(seed: u64, is_wide: bool) -> Drawing {
        Drawing { numbers: Draw(seed), is_wide }
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.numbers.below(end)
    }

    /// True in `percent` of a hundred cases.
    pub fn in_hundred(&mut self, percent: usize) -> bool {
        self.numbers.in_hundred(percent)
    }

    pub fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }

    /// From `least` to `most` of what `make` makes, joined.
    pub fn some(
        &mut self,
        least: usize,
        most: usize,
        joint: &str,
        mut make: impl FnMut(&mut Drawing) -> String,
    ) -> String {
        let count = least + self.below(most - least + 1);
        (0..count).map(|_| make(self)).collect::<Vec<_>>().join(joint)
    }
}

/// How many routes and policies there are, always of the same names, so that none has to go.
const ROUTES: usize = 7;
const CALL_ROUTES: usize = 2;
const STREAM_ROUTES: usize = 2;
const POLICIES: usize = 4;

const METHODS: [&str; 4] = ["GET", "GET", "POST", "DELETE"];

/// Origins of pages, of which routes allow some.
const ORIGINS: [&str; 3] = ["http://a.example", "http://b.a.example:81", "null"];
const PATHS: [&str; 6] = ["/", "/items", "/items/1", "/admin", "/v1", "/v2/x"];

/// Methods of gRPC.
const CALLS: [&str; 4] = ["/lab.Calls/Get", "/lab.Calls/Put", "/lab.Admin/Get", "/lab.Admin/Drop"];

/// One that is never answered.
pub const WAITING: &str = "/lab.Calls/Wait";

/// Routes, policies, and what makes each proxy hear of them at one moment: all Services change in
/// `round`.
pub fn resources(draw: &mut Drawing, round: usize) -> String {
    let mut text = String::new();
    for Called { name: service, .. } in called(draw.is_wide) {
        let name = format!("beacon-{service}");
        let traffic = if draw.is_wide { wide::traffic(draw, service) } else { String::new() };
        text.push_str(&format!(
            "---
apiVersion: weft.dev/v1alpha1
kind: BackendPolicy
metadata: {{ name: {name}, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: {service} }}]
  limits: {{ requests: {} }}
{traffic}",
            500 + round
        ));
    }
    for index in 0..ROUTES {
        text.push_str(&route(draw, index));
    }
    for index in 0..CALL_ROUTES {
        text.push_str(&call_route(draw, index));
    }
    for index in 0..STREAM_ROUTES {
        text.push_str(&stream_route(draw, index));
    }
    text.push_str(&consumer_route(draw));
    for index in 0..POLICIES {
        text.push_str(&policy(draw, index));
    }
    if draw.is_wide {
        text.push_str(&wide::resources(draw));
    }
    text
}

fn route(draw: &mut Drawing, index: usize) -> String {
    // One that is for nobody called is as good as none.
    let called = [("cart", 80), ("pay", 81), ("calls", 82), ("late", 83), ("idle", 80)];
    let (service, port) = called[draw.below(called.len() - usize::from(draw.is_wide))];
    let mut rules = draw.some(1, 3, "", |draw| rule(draw, service, port));
    if service == "calls" {
        rules.push_str(&format!(
            "  - matches: [{{ path: {{ type: Exact, value: '{WAITING}' }} }}]
    backendRefs: [{{ name: calls-v1, port: 82 }}]
    timeouts: {{ request: {} }}
",
            draw.one(&["50ms", "150ms"])
        ));
    }
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: route-{index}, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: {service}, port: {port} }}]
  rules:
{rules}"
    )
}

fn call_route(draw: &mut Drawing, index: usize) -> String {
    // Mostly for nobody called, so that there are calls under HTTPRoutes, too.
    let called = [("calls", 82), ("open", 84), ("idle", 80), ("idle", 80), ("idle", 80)];
    let (service, port) = called[draw.below(called.len())];
    let rules = draw.some(1, 3, "", |draw| {
        let matches = draw.some(0, 2, ", ", |draw| {
            let method = draw.one(&[
                "service: lab.Calls",
                "service: lab.Calls, method: Get",
                "method: Get",
                "type: RegularExpression, service: 'lab[.].*', method: '[GP][eu]t'",
                "type: RegularExpression, service: '.*Admin'",
            ]);
            let headers = ["", ", headers: [{ name: X-Canary, value: '1' }]"];
            format!("{{ method: {{ {method} }}{} }}", draw.one(&headers))
        });
        let filters = if draw.in_hundred(30) { header_modifier(draw) } else { String::new() };
        let backends = backends(draw, service, port);
        format!("  - {{ matches: [{matches}], filters: [{filters}], backendRefs: [{backends}] }}\n")
    });
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{ name: calls-{index}, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: {service}, port: {port} }}]
  rules:
{rules}"
    )
}

fn stream_route(draw: &mut Drawing, index: usize) -> String {
    let called = [("store", 85), ("cache", 86), ("idle", 80)];
    let (service, port) = called[draw.below(called.len())];
    let backends = backends(draw, service, port);
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {{ name: streams-{index}, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: {service}, port: {port} }}]
  rules: [{{ backendRefs: [{backends}] }}]
"
    )
}

/// A route that holds for one of the callers alone.
fn consumer_route(draw: &mut Drawing) -> String {
    let called = [("cart", 80), ("pay", 81), ("late", 83), ("idle", 80)];
    let (service, port) = called[draw.below(called.len())];
    let backends = backends(draw, service, port);
    let matches = one_match(draw, &PATHS);
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: mine, namespace: other }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: {service}, namespace: shop, port: {port} }}]
  rules:
  - {{ matches: [{matches}], backendRefs: [{backends}] }}
  - {{ matches: [{{ path: {{ value: /items }} }}], backendRefs: [{backends}] }}
"
    )
}

/// One or two backends, which may have no weight and may not be there.
fn backends(draw: &mut Drawing, service: &str, port: u16) -> String {
    draw.some(1, 2, ", ", |draw| {
        let version = draw.one(&["-v1", "-v1", "-v2", "-v2", "-gone"]);
        let weight = [0, 1, 1, 3][draw.below(4)];
        let place = format!("name: {service}{version}, namespace: shop, port: {port}");
        format!("{{ {place}, weight: {weight} }}")
    })
}

fn rule(draw: &mut Drawing, service: &str, port: u16) -> String {
    let paths: &[&str] = if service == "calls" { &CALLS } else { &PATHS };
    let matches = draw.some(0, 2, ", ", |draw| one_match(draw, paths));
    // What clients of gRPC make of a redirect is theirs.
    if service != "calls" && draw.in_hundred(12) {
        return format!("  - matches: [{matches}]\n    filters: [{}]\n", redirect(draw));
    }
    let is_prefix = matches.is_empty();
    let mut filters = filters(draw, paths, is_prefix);
    if draw.is_wide {
        wide::add_filters(draw, &mut filters);
    }
    let is_rewritten = filters.contains("URLRewrite");
    let backends = draw.some(0, 3, ", ", |draw| {
        let weight = [0, 1, 1, 3][draw.below(4)];
        let version = draw.one(&["-v1", "-v1", "-v2", "-v2", "-gone"]);
        let filters = filters_of_backend(draw, is_prefix && !is_rewritten);
        let place = match draw.is_wide && draw.in_hundred(6) {
            true => "group: weft.dev, kind: ExternalService, name: pay, port: 80".to_owned(),
            false => format!("name: {service}{version}, port: {port}"),
        };
        format!("{{ {place}, weight: {weight}, filters: [{filters}] }}")
    });
    // A rule without backends answers 500, which is enough of them once in a while.
    let backends = match backends.is_empty() && draw.in_hundred(80) {
        true => format!("{{ name: {service}-v1, port: {port} }}"),
        false => backends,
    };
    let mut text = format!(
        "  - matches: [{matches}]\n    filters: [{filters}]\n    backendRefs: [{backends}]\n"
    );
    if draw.in_hundred(30) {
        text.push_str("    timeouts: { request: 50s, backendRequest: 40s }\n");
    }
    if draw.in_hundred(60) {
        text.push_str("    retry: { attempts: 2, backoff: 1ms, codes: [403, 503] }\n");
    }
    text
}

fn redirect(draw: &mut Drawing) -> String {
    if draw.is_wide && draw.in_hundred(50) {
        return wide::redirect(draw);
    }
    let redirect = draw.one(&[
        "{ scheme: https }",
        "{ port: 8443, statusCode: 307 }",
        "{ hostname: other.example, statusCode: 308 }",
        "{ path: { type: ReplaceFullPath, replaceFullPath: /all }, statusCode: 301 }",
    ]);
    format!("{{ type: RequestRedirect, requestRedirect: {redirect} }}")
}

/// Filters of a rule, which may lead to other ends: policies look at paths and headers.
/// `is_prefix` says that the rule has one match, and one by a prefix.
fn filters(draw: &mut Drawing, paths: &[&'static str], is_prefix: bool) -> String {
    let mut filters = Vec::new();
    if draw.in_hundred(40) {
        let origin = draw.one(&["'*'", "'http://a.example'", "'http://*.a.example:81'"]);
        let more = if draw.is_wide { wide::cors(draw) } else { String::new() };
        filters.push(format!("{{ type: CORS, cors: {{ allowOrigins: [{origin}]{more} }} }}"));
    }
    if draw.in_hundred(25) {
        filters.push(header_modifier(draw));
    }
    if draw.in_hundred(45) {
        let path = draw.one(paths);
        let path = match is_prefix && draw.in_hundred(50) {
            true => "{ type: ReplacePrefixMatch, replacePrefixMatch: /items }".to_owned(),
            false => format!("{{ type: ReplaceFullPath, replaceFullPath: {path} }}"),
        };
        filters.push(format!("{{ type: URLRewrite, urlRewrite: {{ path: {path} }} }}"));
    }
    filters.join(", ")
}

fn filters_of_backend(draw: &mut Drawing, is_prefix: bool) -> String {
    let mut filters = Vec::new();
    if draw.is_wide && draw.in_hundred(20) {
        filters.push(wide::of_answers(draw));
    }
    if draw.in_hundred(15) {
        filters.push(header_modifier(draw));
    }
    if draw.in_hundred(30) {
        let path = match is_prefix {
            true => ", path: { type: ReplacePrefixMatch, replacePrefixMatch: '' }",
            false => "",
        };
        filters.push(format!(
            "{{ type: URLRewrite, urlRewrite: {{ hostname: other.example{path} }} }}"
        ));
    }
    filters.join(", ")
}

fn header_modifier(draw: &mut Drawing) -> String {
    let edits = draw.one(&[
        "set: [{ name: X-Canary, value: '1' }]",
        "add: [{ name: x-canary, value: '2' }]",
        "remove: [X-Canary]",
    ]);
    format!("{{ type: RequestHeaderModifier, requestHeaderModifier: {{ {edits} }} }}")
}

fn one_match(draw: &mut Drawing, paths: &[&'static str]) -> String {
    let mut parts = Vec::new();
    if draw.in_hundred(70) {
        parts.push(match draw.below(3) {
            0 => format!("path: {{ type: Exact, value: '{}' }}", draw.one(paths)),
            1 => {
                let path = draw.one(paths);
                let prefix = draw.one(&[path, path, "/lab.Calls"]);
                format!("path: {{ type: PathPrefix, value: '{prefix}' }}")
            }
            _ => {
                let of_calls = "/lab[.][A-Z][a-z]+/Get";
                let regex = draw.one(&["/v[0-9]+", "/items/[0-9]*", "/.*m.*", of_calls]);
                format!("path: {{ type: RegularExpression, value: '{regex}' }}")
            }
        });
    }
    if draw.is_wide {
        parts.extend(wide::parts_of_match(draw));
    }
    // Each list once.
    let has = |parts: &[String], name: &str| parts.iter().any(|part| part.starts_with(name));
    if draw.in_hundred(30) && !has(&parts, "headers") {
        let (kind, value) =
            [("Exact", "1"), ("Exact", "2"), ("RegularExpression", "[0-9]")][draw.below(3)];
        let header = format!("{{ type: {kind}, name: X-Canary, value: '{value}' }}");
        parts.push(format!("headers: [{header}]"));
    }
    if draw.in_hundred(20) && !has(&parts, "queryParams") {
        let value = draw.one(&["1", "2"]);
        parts.push(format!("queryParams: [{{ name: page, value: '{value}' }}]"));
    }
    if draw.in_hundred(30) {
        parts.push(format!("method: {}", draw.one(&METHODS)));
    }
    format!("{{ {} }}", parts.join(", "))
}

fn policy(draw: &mut Drawing, index: usize) -> String {
    let scope = if draw.is_wide && draw.in_hundred(40) { wide::scope(draw) } else { scope(draw) };
    let (namespace, scope) = scope;
    let mode = if draw.is_wide && draw.in_hundred(25) { "  mode: Audit\n" } else { "" };
    let mut lists = mode.to_owned();
    for (name, percent) in [("allow", 30), ("deny", 60), ("audit", 30)] {
        if draw.in_hundred(percent) {
            let rules = draw.some(1, 3, "", |draw| policy_rule(draw, name == "allow"));
            lists.push_str(&format!("  {name}:\n{rules}"));
        }
    }
    if lists == mode {
        lists = format!("  audit:\n{}", policy_rule(draw, false));
    }
    // Of the same name in both namespaces, one that says nothing but to records.
    let other = if namespace == "shop" { "weft-system" } else { "shop" };
    let harmless = match other {
        "shop" => "targetRefs: [{ group: '', kind: Service, name: idle }]".to_owned(),
        _ => "selector: { matchLabels: { nobody: here } }".to_owned(),
    };
    let nothing = "  audit:\n  - from: [{ namespace: nobody }]\n";
    let document = |namespace: &str, scope: &str, lists: &str| {
        format!(
            "---
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{ name: policy-{index}, namespace: {namespace} }}
spec:
  {scope}
{lists}"
        )
    };
    document(namespace, scope, &lists) + &document(other, &harmless, nothing)
}

fn scope(draw: &mut Drawing) -> (&'static str, &'static str) {
    match draw.below(13) {
        0 => ("weft-system", "targetRefs: [{ group: weft.dev, kind: Mesh, name: mesh }]"),
        1 => ("shop", "targetRefs: [{ group: '', kind: Namespace, name: shop }]"),
        2 => ("shop", "selector: { matchLabels: { version: v2 } }"),
        3 => ("shop", "targetRefs: [{ group: '', kind: Service, name: cart }]"),
        4 => ("shop", "targetRefs: [{ group: '', kind: Service, name: cart-v1 }]"),
        5 => ("shop", "targetRefs: [{ group: '', kind: Service, name: pay }]"),
        6 | 7 => ("shop", "targetRefs: [{ group: '', kind: Service, name: calls }]"),
        8 => ("shop", "targetRefs: [{ group: '', kind: Service, name: open }]"),
        9 => ("shop", "targetRefs: [{ group: '', kind: Service, name: late }]"),
        10 => ("shop", "targetRefs: [{ group: '', kind: Service, name: store }]"),
        11 => ("shop", "targetRefs: [{ group: '', kind: Service, name: cache }]"),
        _ => ("shop", "targetRefs: [{ group: '', kind: Service, name: idle }]"),
    }
}

/// A rule; one that allows is mostly wide, so that not all is refused.
fn policy_rule(draw: &mut Drawing, is_wide: bool) -> String {
    let mut parts = Vec::new();
    if draw.in_hundred(50) {
        let peer = match draw.below(5) {
            0 => "{ serviceAccount: shop/web }",
            1 => "{ serviceAccount: other/bot }",
            2 => "{ namespace: shop }",
            3 => "{ namespace: other, notCidrs: [10.0.0.0/8] }",
            // Where real programs call from, and where one simulated caller does.
            _ if !draw.is_wide => "{ cidr: 127.0.0.0/8, notNamespaces: [other] }",
            _ => "{ cidr: 192.0.2.0/24, notNamespaces: [other] }",
        };
        parts.push(format!("from: [{peer}]"));
    }
    if parts.is_empty() || !draw.in_hundred(if is_wide { 50 } else { 30 }) {
        let mut conditions = Vec::new();
        if draw.in_hundred(40) {
            conditions.push(format!("methods: [{}]", draw.one(&METHODS)));
        }
        if draw.in_hundred(50) {
            let calls = ["/lab.Calls/*", "/lab.Admin/*", "/lab.Calls/Put"];
            let paths = ["/items", "/items/*", "/admin", "/v1", "/*"];
            let path = draw.one(&[&paths[..], &calls].concat());
            conditions.push(format!("paths: ['{path}']"));
        }
        if draw.in_hundred(25) {
            let value = draw.one(&["", ", value: '1'", ", value: '2'"]);
            conditions.push(format!("headers: [{{ name: x-canary{value} }}]"));
        }
        if conditions.is_empty() {
            conditions
                .push(format!("ports: [{}]", draw.one(&["8080", "8081", "8082", "8084", "8085"])));
        }
        parts.push(format!("to: [{{ {} }}]", conditions.join(", ")));
    }
    format!("  - {{ {} }}\n", parts.join(", "))
}

/// What is sent to one of [`called`].
#[derive(Debug)]
pub struct Case {
    /// Who sends it, counted as [`CALLERS`] are.
    pub caller: usize,
    /// What is called, counted as [`called`] is and then what else there is.
    pub called: usize,
    /// Host and port.
    pub authority: String,
    /// What is sent.
    pub sent: Sent,
}

/// What is sent.
#[derive(Debug)]
pub enum Sent {
    /// A request that is no call.
    Request {
        /// Whether it is one of HTTP/2.
        is_http2: bool,
        /// Its method.
        method: &'static str,
        /// Path and query.
        target: String,
        /// Its headers.
        headers: Vec<String>,
    },
    /// What is HTTP/1, or is to look like it: all bytes, in which `HOST` stands for host and port.
    Raw(&'static str),
    /// A call of gRPC.
    Call {
        /// Service and method.
        path: &'static str,
        /// Its metadata.
        headers: Vec<String>,
        /// How long it waits for an answer that never comes, if it is so.
        waits: Option<&'static str>,
    },
    /// TLS of the program's own, for the server of this name, if for one.
    Tls(Option<&'static str>),
    /// What is not HTTP.
    Opaque,
}

/// Something that is sent, called by the name that its caller has for the Service.
pub fn case(draw: &mut Drawing) -> Case {
    if draw.is_wide && draw.in_hundred(25) {
        return wide::extra_case(draw);
    }
    // The last one of all gets copies alone.
    let all = called(draw.is_wide);
    let count = all.len() - usize::from(draw.is_wide);
    let (caller, called) = (draw.below(CALLERS.len()), draw.below(count));
    let Called { name, port, .. } = all[called];
    let suffix = if caller == 0 { draw.one(&["", ".shop"]) } else { ".shop" };
    let suffix = if draw.in_hundred(30) { ".shop.svc.cluster.local" } else { suffix };
    let sent = match name {
        "calls" => call(draw),
        "open" if draw.in_hundred(40) => call(draw),
        "own" => wide::own_tls(draw),
        "cache" if draw.is_wide && draw.in_hundred(20) => wide::own_tls(draw),
        "store" | "cache" => Sent::Opaque,
        // There HTTP is declared, and this is none.
        "cart" | "pay" if draw.in_hundred(5) => Sent::Opaque,
        _ => request(draw),
    };
    Case { caller, called, authority: format!("{name}{suffix}:{port}"), sent }
}

fn call(draw: &mut Drawing) -> Sent {
    let mut waits = draw.in_hundred(25).then(|| draw.one(&["100m", "200m"]));
    if draw.is_wide && draw.in_hundred(8) {
        waits = Some(draw.one(&["9x", "1000000000S", "20S"]));
    }
    let path = if waits.is_some() { WAITING } else { draw.one(&CALLS) };
    Sent::Call { path, headers: headers(draw), waits }
}

fn request(draw: &mut Drawing) -> Sent {
    if draw.is_wide && draw.in_hundred(8) {
        return wide::odd(draw);
    }
    let strange = [
        "/items/../admin",
        "/%69tems",
        "/items/./1",
        "//items",
        "/items%2F1",
        "/items%5c",
        "/a\\b",
        "/../items",
        "/items/%zz",
    ];
    let path = if draw.in_hundred(20) { draw.one(&strange) } else { draw.one(&PATHS) };
    let mut headers = headers(draw);
    let is_preflight = draw.in_hundred(15);
    if is_preflight || draw.in_hundred(20) {
        headers.push(format!("Origin: {}", draw.one(&ORIGINS)));
    }
    if is_preflight {
        headers.push("Access-Control-Request-Method: PUT".to_owned());
    }
    if draw.is_wide && draw.in_hundred(12) {
        headers.push(format!("X-Status: {}", draw.one(&["503", "500", "404"])));
    }
    if is_preflight && draw.is_wide && draw.in_hundred(50) {
        headers.push("Access-Control-Request-Headers: x-a, x-b".to_owned());
    }
    let method = if is_preflight { "OPTIONS" } else { draw.one(&METHODS) };
    let query = if draw.in_hundred(30) { draw.one(&["?page=1", "?page=2", "?x=/../"]) } else { "" };
    Sent::Request {
        is_http2: draw.in_hundred(50),
        method,
        target: format!("{path}{query}"),
        headers,
    }
}

fn headers(draw: &mut Drawing) -> Vec<String> {
    let mut headers = Vec::new();
    if draw.in_hundred(50) {
        headers.push(format!("X-Canary: {}", draw.one(&["1", "2", "x"])));
    }
    if draw.in_hundred(5) {
        headers.push("X-Canary: 1".to_owned());
    }
    if draw.is_wide {
        wide::add_headers(draw, &mut headers);
    }
    headers
}
