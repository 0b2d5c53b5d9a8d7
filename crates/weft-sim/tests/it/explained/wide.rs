//! What is drawn for simulated proxies beside what real programs are there for.

use super::super::called::{CALLERS, EXTRA, Extra, called};
use super::{Case, Drawing, Sent, request};

/// How many policies put faults in.
const FAULTS: usize = 4;

/// How many routes go by the server that TLS is for.
const SERVER_ROUTES: usize = 2;

/// What connections of TLS are for, and what routes are for.
const SERVERS: [&str; 4] = ["a.example", "b.a.example", "c.b.a.example", "d.example"];

/// More of what clients of a Service go by.
pub fn traffic(draw: &mut Drawing, service: &str) -> String {
    let mut text = String::new();
    let mut balancing = Vec::new();
    if draw.in_hundred(60) {
        balancing.push(draw.one(&[
            "algorithm: RoundRobin",
            "algorithm: Random",
            "algorithm: Maglev, hashOn: [{ type: Header, name: X-User }]",
            "algorithm: RingHash, hashOn: [{ type: Header, name: X-User }, { type: Cookie, name: c }]",
            "algorithm: Maglev, hashOn: [{ type: Cookie, name: c, ttl: 1h }]",
            "algorithm: RingHash, hashOn: [{ type: SourceAddress }]",
        ]));
    }
    if draw.in_hundred(30) {
        balancing.push(draw.one(&[
            "subset: { labels: [{ name: version, header: X-Version }] }",
            "subset: { labels: [{ name: version, header: X-Version, default: v2 }] }",
            "subset: { labels: [{ name: version, header: X-Version }], fallback: Any }",
            "subset: { labels: [{ name: version, header: X-Version, default: v1 }], \
             fallback: Default }",
        ]));
    }
    if draw.in_hundred(20) {
        balancing.push(draw.one(&["panicThresholdPercent: 0", "panicThresholdPercent: 100"]));
    }
    if !balancing.is_empty() {
        text.push_str(&format!("  loadBalancing: {{ {} }}\n", balancing.join(", ")));
    }
    if draw.in_hundred(25) {
        let how = draw.one(&["Zone", "Region"]);
        text.push_str(&format!("  locality: {{ prefer: {how} }}\n"));
    }
    if draw.in_hundred(20) {
        text.push_str(draw.one(&[
            "  sessionPersistence: {}\n",
            "  sessionPersistence: { type: Header, header: { name: X-Session } }\n",
        ]));
    }
    if draw.in_hundred(40) {
        let other = draw.one(&["-v1", "-v2", "-gone"]);
        let percent = draw.one(&["50", "100"]);
        text.push_str(&format!(
            "  failover: {{ backendRef: {{ name: {service}{other} }}, \
             minHealthyPercent: {percent} }}\n"
        ));
    }
    text
}

/// Policies and routes of kinds that real programs are not there for.
pub fn resources(draw: &mut Drawing) -> String {
    // What has failed a few times is to be called as before: how that goes is for other tests.
    let mut text = "---
apiVersion: weft.dev/v1alpha1
kind: BackendPolicy
metadata: { name: patient, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Namespace, name: shop }]
  ejection: { maxEjectedPercent: 0 }
"
    .to_owned();
    for index in 0..FAULTS {
        text.push_str(&fault(draw, index));
    }
    for index in 0..SERVER_ROUTES {
        text.push_str(&server_route(draw, index));
    }
    if draw.in_hundred(80) {
        text.push_str(&external(draw));
    }
    text
}

/// What is outside.
fn external(draw: &mut Drawing) -> String {
    let hosts =
        draw.one(&["api.pay.example", "'*.pay.example'", "api.pay.example, x.eu.pay.example"]);
    let cidrs = draw.one(&["", "\n  cidrs: [198.51.100.128/25]"]);
    let endpoints = draw.one(&[
        "{ address: 198.51.100.7 }",
        "{ address: 198.51.100.7 }, { address: 198.51.100.8 }",
    ]);
    let namespace = draw.one(&["shop", "shop", "weft-system"]);
    format!(
        "---
apiVersion: weft.dev/v1alpha1
kind: ExternalService
metadata: {{ name: pay, namespace: {namespace} }}
spec:
  hosts: [{hosts}]{cidrs}
  ports:
  - {{ port: 80, appProtocol: http }}
  - {{ port: 443, appProtocol: tls }}
  - {{ port: 5432, appProtocol: tcp }}
  - {{ port: 8080 }}
  endpoints: [{endpoints}]
"
    )
}

/// Something that is sent to one of [`EXTRA`].
pub fn extra_case(draw: &mut Drawing) -> Case {
    let (caller, index) = (draw.below(CALLERS.len()), draw.below(EXTRA.len()));
    let (host, port, is_host) = match EXTRA[index] {
        Extra::Host(host, port) => (host, port, true),
        Extra::Address(address, port) => (address, port, false),
    };
    let sent = match port {
        443 => own_tls_for(draw, &["api.pay.example", "x.eu.pay.example", "a.example"]),
        5432 | 8085 => Sent::Opaque,
        80 if draw.in_hundred(8) => Sent::Raw(NAMELESS),
        8080 if is_host && draw.in_hundred(30) => {
            own_tls_for(draw, &["api.pay.example", "a.example"])
        }
        _ => request(draw),
    };
    // A name opens no other, whatever is asked for.
    let host = if is_host && draw.in_hundred(20) { "other.example" } else { host };
    let called = called(true).len() + index;
    Case { caller, called, authority: format!("{host}:{port}"), sent }
}

fn fault(draw: &mut Drawing, index: usize) -> String {
    let target = draw.one(&[
        "{ group: '', kind: Service, name: cart }",
        "{ group: '', kind: Service, name: pay-v1 }",
        "{ group: '', kind: Service, name: calls, sectionName: main }",
        "{ group: '', kind: Service, name: open }",
        "{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: route-0 }",
        "{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: route-1 }",
        "{ group: gateway.networking.k8s.io, kind: GRPCRoute, name: calls-0 }",
    ]);
    let headers = draw.one(&[
        "",
        "  match: { headers: [{ name: x-canary }] }\n",
        "  match: { headers: [{ name: x-canary, value: '1' }] }\n",
    ]);
    let percent = draw.one(&["1", "50", "100", "100"]);
    let what = draw.one(&[
        "abort: { status: 418, percent: PERCENT }",
        "abort: { grpcStatus: 8, percent: PERCENT }",
        "delay: { duration: 20ms, percent: PERCENT }",
        "delay: { duration: 20ms, percent: 50 }\n  abort: { status: 503, percent: PERCENT }",
    ]);
    let what = what.replace("PERCENT", percent);
    format!(
        "---
apiVersion: weft.dev/v1alpha1
kind: FaultPolicy
metadata: {{ name: fault-{index}, namespace: shop }}
spec:
  targetRefs: [{target}]
{headers}  {what}
"
    )
}

fn server_route(draw: &mut Drawing, index: usize) -> String {
    let (service, port) = [("own", 87), ("own", 87), ("cache", 86)][draw.below(3)];
    let host = draw.one(&["a.example", "'*.a.example'", "b.a.example", "'*.example'"]);
    let backends = super::backends(draw, service, port);
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {{ name: servers-{index}, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: {service}, port: {port} }}]
  hostnames: [{host}]
  rules: [{{ backendRefs: [{backends}] }}]
"
    )
}

/// Filters that are for copies and for answers.
pub fn add_filters(draw: &mut Drawing, filters: &mut String) {
    let mut more = Vec::new();
    if draw.in_hundred(25) {
        let service = draw.one(&["shadow", "shadow-v1", "shadow-v2", "shadow-gone"]);
        let share = draw.one(&[
            "",
            ", percent: 0",
            ", percent: 50",
            ", fraction: { numerator: 1, denominator: 3 }",
        ]);
        more.push(format!(
            "{{ type: RequestMirror, requestMirror: {{ \
             backendRef: {{ name: {service}, port: 88 }}{share} }} }}"
        ));
    }
    if draw.in_hundred(25) {
        more.push(of_answers(draw));
    }
    for filter in more {
        if !filters.is_empty() {
            filters.push_str(", ");
        }
        filters.push_str(&filter);
    }
}

/// A filter for answers.
pub fn of_answers(draw: &mut Drawing) -> String {
    let edits = draw.one(&[
        "set: [{ name: X-Canary, value: '9' }]",
        "add: [{ name: x-canary, value: '8' }, { name: X-Added, value: a }]",
        "remove: [X-Canary, X-App2]",
        "add: [{ name: Vary, value: X-User }]",
    ]);
    format!("{{ type: ResponseHeaderModifier, responseHeaderModifier: {{ {edits} }} }}")
}

/// What more a rule says of origins.
pub fn cors(draw: &mut Drawing) -> String {
    let more = [
        ", allowCredentials: true",
        ", allowMethods: [GET, PUT]",
        ", allowMethods: ['*'], allowHeaders: ['*']",
        ", allowHeaders: [X-A], exposeHeaders: [X-B]",
        ", exposeHeaders: ['*'], maxAge: 60",
        "",
    ];
    draw.one(&more).to_owned()
}

pub fn redirect(draw: &mut Drawing) -> String {
    let redirect = draw.one(&[
        "{ path: { type: ReplaceFullPath, replaceFullPath: /all }, hostname: h.example, port: 80 }",
        "{ scheme: https, hostname: h.example, port: 443, statusCode: 301 }",
        "{ scheme: http, statusCode: 303 }",
    ]);
    format!("{{ type: RequestRedirect, requestRedirect: {redirect} }}")
}

/// More of what a match may ask for.
pub fn parts_of_match(draw: &mut Drawing) -> Option<String> {
    if !draw.in_hundred(30) {
        return None;
    }
    let part = draw.one(&[
        "headers: [{ name: X-Version, value: v1 }]",
        "headers: [{ type: RegularExpression, name: X-Version, value: 'v.' }, \
         { name: X-User, value: a }]",
        "headers: [{ name: x-user, value: b }]",
        "queryParams: [{ type: RegularExpression, name: page, value: '[12]' }]",
        "queryParams: [{ name: page, value: '1' }, { name: x, value: /../ }]",
    ]);
    Some(part.to_owned())
}

/// What more a policy may be for: ports.
pub fn scope(draw: &mut Drawing) -> (&'static str, &'static str) {
    let scope = draw.one(&[
        "targetRefs: [{ group: '', kind: Service, name: cart, sectionName: main }]",
        "targetRefs: [{ group: '', kind: Service, name: pay-v2, sectionName: main }]",
        "targetRefs: [{ group: '', kind: Service, name: open, sectionName: main }]",
        "targetRefs: [{ group: '', kind: Service, name: own, sectionName: main }]",
        "targetRefs: [{ group: '', kind: Service, name: shadow }]",
        "targetRefs: [{ group: '', kind: Service, name: shadow-v1, sectionName: main }]",
        "targetRefs: [{ group: '', kind: Service, name: cart }, \
         { group: '', kind: Service, name: calls }]",
    ]);
    ("shop", scope)
}

/// TLS of the program's own, or what is none where it is asked for.
pub fn own_tls(draw: &mut Drawing) -> Sent {
    own_tls_for(draw, &SERVERS)
}

fn own_tls_for(draw: &mut Drawing, servers: &[&'static str]) -> Sent {
    if draw.in_hundred(12) {
        return Sent::Opaque;
    }
    Sent::Tls(draw.in_hundred(85).then(|| draw.one(servers)))
}

/// Requests that few programs send, and what is none.
const ODD: [&str; 19] = [
    "GET /items HTTP/1.0\r\nHost: HOST\r\n\r\n",
    "GET /items HTTP/1.1\r\n\r\n",
    "GET http://HOST/items HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "GET http://other.example/items HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "GET /items HTTP/1.1\r\nHost: HOST\r\nHost: other.example\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "CONNECT HOST HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "HEAD /items HTTP/1.1\r\nHost: HOST\r\nX-Canary: 1\r\n\r\n",
    "HEAD /items/1?page=1 HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "GET /v1 HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "GET /v1 HTTP/1.1\r\nHost: HOST\r\nWeft-Held: 1\r\nWeft-Not-Processed: a\r\n\r\n",
    "GET /items HTTP/1.1\r\nHost: HOST\r\nX-Canary : 1\r\n\r\n",
    "GET /items HTTP/1.1\r\nHost: HOST\r\nConnection: X-Canary\r\nX-Canary: 1\r\n\r\n",
    "POST /items HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n\r\nabc",
    "POST /v1 HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST /v1 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "GET /items#a HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "GET items HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "GET /items/1 HTTP/1.1\r\nHost: HOST\r\nX-Status: 503\r\nX-User:   a  \r\n\r\n",
];

/// One that names no host, and so means the address or the host that it is sent to. Where a
/// listener for a Service is, only its proxy knows.
const NAMELESS: &str = "GET /items HTTP/1.0\r\n\r\n";

/// One of them.
pub fn odd(draw: &mut Drawing) -> Sent {
    Sent::Raw(draw.one(&ODD))
}

/// What more requests have.
pub fn add_headers(draw: &mut Drawing, headers: &mut Vec<String>) {
    if draw.in_hundred(60) {
        headers.push(format!("X-User: {}", draw.one(&["a", "b", "c", "d"])));
    }
    if draw.in_hundred(40) {
        headers.push(format!("X-Version: {}", draw.one(&["v1", "v2", "v9"])));
    }
    if draw.in_hundred(20) {
        headers.push(format!("Cookie: {}", draw.one(&["c=1", "c=2; d=3", "d=4"])));
    }
}
