//! What was compiled, as a tree that people can read and compare.

use weft_compile::{Compiler, Status};
use weft_model::{
    Abort, AbortWith, AllowedNames, AuthorizationPolicy, Backend, CallMatch, ContentHash, Cors,
    Delay, ExternalService, ExternalTls, Fault, Filter, Guards, HeaderCondition, HeaderEdits,
    HealthCheck, MeshSettings, Mirror, Operation, Parent, PathMatch, PathPattern, PathRewrite,
    Peer, Policy, PolicyMode, PolicyName, Port, Probe, Redirect, Retry, Route, RouteMatch,
    RouteRule, Rule, Service, ServicePort, TlsRoots, TrafficPolicy, Trust, Tunnel, UrlRewrite,
    ValueMatch, Workload,
};
use weft_wire::Object;

use crate::yaml::Tree;

/// All that `compiler` made.
pub fn compiled(compiler: &Compiler) -> String {
    let objects = compiler.objects();
    let objects = objects.iter().map(|(key, wire)| (key.to_string(), object(wire.object())));
    let tree = Tree::Map(vec![
        ("objects".to_owned(), Tree::Map(objects.collect())),
        ("statuses".to_owned(), Tree::Map(compiler.statuses().map(status).collect())),
    ]);
    tree.lines(0)
}

fn status(status: &Status) -> (String, Tree) {
    let Status { key, conditions, findings, objects } = status;
    let condition = |condition: &weft_compile::Condition| {
        let parent = condition.parent.map_or(String::new(), |parent| format!("[{parent}]"));
        let (kind, reason) = (condition.kind.as_str(), condition.reason);
        format!("{kind}{parent} {} {reason}", condition.holds)
    };
    let finding = |finding: &weft_crd::Finding| {
        let line = finding.position.as_ref().map_or(0, |position| position.line);
        format!("{line}: {}: {finding}", finding.severity)
    };
    let tree = Tree::map([
        ("conditions", Tree::list(conditions.iter().map(condition))),
        ("findings", Tree::list(findings.iter().map(finding))),
        ("objects", Tree::list(objects)),
    ]);
    (key.to_string(), tree)
}

fn object(object: &Object) -> Tree {
    match object {
        Object::Mesh(it) => mesh(it),
        Object::Trust(it) => trust(it),
        Object::Policy(it) => match &**it {
            Policy::Authorization(policy) => authorization_policy(policy),
        },
        Object::Guards(it) => guards(it),
        Object::Service(it) => service(it),
        Object::Workload(it) => workload(it),
        Object::External(it) => external(it),
        Object::Route(it) => route(it),
    }
}

fn mesh(mesh: &MeshSettings) -> Tree {
    let MeshSettings { trust_domain, cidrs, dns_zone, outbound, unguarded } = mesh;
    Tree::map([
        ("trustDomain", Tree::text(trust_domain)),
        ("cidrs", Tree::list(cidrs)),
        ("dnsZone", Tree::text(dns_zone.as_str())),
        ("outbound", Tree::text(format!("{outbound:?}"))),
        ("unguarded", Tree::text(format!("{unguarded:?}"))),
    ])
}

fn trust(trust: &Trust) -> Tree {
    Tree::map([("sequence", Tree::text(trust.sequence))])
}

fn service(service: &Service) -> Tree {
    let Service { name: _, vips, ports, traffic } = service;
    let own = |(port, settings): (&Port, &ServicePort)| {
        Some((port.to_string(), traffic_policy(settings.traffic.as_deref()?)))
    };
    let own = ports.iter().filter_map(own).collect();
    let ports = ports.iter().map(|(port, settings)| {
        let name = settings.name.as_ref().map_or(String::new(), |name| format!("{name} "));
        (port.to_string(), Tree::text(format!("{name}{:?} {:?}", settings.protocol, settings.mtls)))
    });
    Tree::map([
        ("vips", Tree::list(vips)),
        ("ports", Tree::Map(ports.collect())),
        ("trafficOfPorts", Tree::Map(own)),
        ("traffic", traffic_policy(traffic)),
    ])
}

fn external(external: &ExternalService) -> Tree {
    let ExternalService { name: _, is_for_mesh, hosts, cidrs, ports, endpoints, traffic, routes } =
        external;
    let ports = ports.iter().map(|(port, settings)| {
        let name = settings.name.as_ref().map_or(String::new(), |name| format!("{name} "));
        let tls = settings.tls.as_ref().map_or(String::new(), tls);
        let own =
            settings.traffic.as_ref().map_or(String::new(), |own| format!(" {:?}", own.limits));
        (port.to_string(), Tree::text(format!("{name}{:?}{tls}{own}", settings.protocol)))
    });
    let endpoints = endpoints.iter().map(|endpoint| match endpoint.port {
        Some(port) => format!("{} {port}", endpoint.ip),
        None => endpoint.ip.to_string(),
    });
    let cidr = |cidr: &weft_model::Cidr| format!("{}/{}", cidr.first(), cidr.prefix());
    Tree::map([
        ("for", Tree::text(if *is_for_mesh { "mesh" } else { "namespace" })),
        ("hosts", Tree::list(hosts)),
        ("cidrs", Tree::list(cidrs.iter().map(cidr))),
        ("ports", Tree::Map(ports.collect())),
        ("endpoints", Tree::list(endpoints)),
        ("traffic", traffic_policy(traffic)),
        ("routes", Tree::list(routes)),
    ])
}

fn tls(settings: &ExternalTls) -> String {
    let ExternalTls { hostname, subject_alt_names, roots, client_certificate } = settings;
    let hostname = hostname.as_ref().map_or("its host".to_owned(), ToString::to_string);
    let names: Vec<_> = subject_alt_names.iter().map(ToString::to_string).collect();
    let roots = match roots {
        TlsRoots::Nobody(why) => format!("nobody: {why}"),
        TlsRoots::System => "the system's".to_owned(),
        TlsRoots::Certificates(given) => format!("{} given", given.len()),
    };
    format!(" by TLS as {hostname}, names {names:?}, roots {roots}, shows {client_certificate:?}")
}

/// What is not as it would be by default.
fn traffic_policy(traffic: &TrafficPolicy) -> Tree {
    let default = TrafficPolicy::default();
    let other = |is: String, default: String| match is == default {
        true => Tree::List(vec![]),
        false => Tree::text(is),
    };
    let TrafficPolicy {
        balance,
        panic_threshold,
        slow_start,
        locality,
        limits,
        ejection,
        failover,
        subset,
        session,
        retry_budget,
        timeouts,
        faults,
    } = traffic;
    Tree::map([
        ("balance", other(format!("{balance:?}"), format!("{:?}", default.balance))),
        ("panic", other(format!("{panic_threshold:?}"), format!("{:?}", default.panic_threshold))),
        ("slowStart", other(format!("{slow_start:?}"), format!("{:?}", default.slow_start))),
        ("locality", other(format!("{locality:?}"), format!("{:?}", default.locality))),
        ("limits", other(format!("{limits:?}"), format!("{:?}", default.limits))),
        ("ejection", other(format!("{ejection:?}"), format!("{:?}", default.ejection))),
        ("failover", Tree::maybe(failover.as_ref().map(|it| format!("{it:?}")))),
        ("subset", Tree::maybe(subset.as_ref().map(|it| format!("{it:?}")))),
        ("session", Tree::maybe(session.as_ref().map(|it| format!("{it:?}")))),
        ("budget", other(format!("{retry_budget:?}"), format!("{:?}", default.retry_budget))),
        ("timeouts", other(format!("{timeouts:?}"), format!("{:?}", default.timeouts))),
        ("faults", Tree::list(faults.iter().map(fault))),
    ])
}

fn fault(fault: &Fault) -> String {
    let Fault { policy, headers, delay, abort, active_max } = fault;
    let delay = delay
        .map(|Delay { percent, time }| format!(", {} % wait {} ms", percent.get(), time.millis()));
    let abort = abort.map(|Abort { percent, with }| {
        let status = match with {
            AbortWith::Http(status) => status.get().to_string(),
            AbortWith::Grpc(code) => format!("{} of gRPC", code.get()),
        };
        format!(", {} % get {status}", percent.get())
    });
    let headers = headers.iter().map(|header| format!(", if {}", header_text(header)));
    let (delay, abort) = (delay.unwrap_or_default(), abort.unwrap_or_default());
    format!("{policy}{}{delay}{abort}, at most {active_max}", headers.collect::<String>())
}

fn workload(workload: &Workload) -> Tree {
    let Workload {
        name: _,
        generation,
        identity,
        network,
        addresses,
        locality,
        health,
        ports,
        mtls,
        services,
        labels,
        tunnel,
        health_checks,
    } = workload;
    let ports = ports.iter().map(|(port, settings)| {
        (port.to_string(), Tree::text(format!("{:?} {:?}", settings.protocol, settings.mtls)))
    });
    let services = services.iter().map(|(service, ports)| {
        (service.to_string(), Tree::list(ports.iter().map(|(from, to)| format!("{from} to {to}"))))
    });
    let place = locality.as_ref().map(|it| [it.region(), it.zone().unwrap_or("-")].join("/"));
    let tunnel = match tunnel {
        Tunnel::None => "none".to_owned(),
        Tunnel::PerPort { elsewhere } => {
            let pairs = elsewhere.iter().map(|(from, to)| format!(", {from} at {to}"));
            format!("per port{}", pairs.collect::<String>())
        }
        Tunnel::One(address) => address.to_string(),
    };
    Tree::map([
        ("generation", Tree::text(generation)),
        ("identity", Tree::maybe(identity.as_ref())),
        ("network", Tree::text(network)),
        ("addresses", Tree::list(addresses)),
        ("locality", Tree::maybe(place)),
        ("health", Tree::text(format!("{health:?}"))),
        ("mtls", Tree::text(format!("{mtls:?}"))),
        ("ports", Tree::Map(ports.collect())),
        ("services", Tree::Map(services.collect())),
        ("labels", Tree::list(labels.iter().map(|(name, value)| format!("{name}: {value}")))),
        ("tunnel", Tree::text(tunnel)),
        ("healthChecks", Tree::list(health_checks.iter().map(health_check))),
    ])
}

fn health_check(check: &HealthCheck) -> String {
    let HealthCheck { port, probe, interval, timeout, failures, successes } = check;
    let statuses = match probe {
        Probe::Http { statuses, .. } => format!(" {statuses:?}"),
        Probe::Grpc { .. } | Probe::Tcp => String::new(),
    };
    let (interval, timeout) = (interval.duration(), timeout.duration());
    format!("{port}: {probe}{statuses} each {interval:?} in {timeout:?}, {failures}/{successes}")
}

fn guards(guards: &Guards) -> Tree {
    let Guards { scope: _, policies, ports } = guards;
    let policy = |(name, hash): (&PolicyName, &ContentHash)| {
        let ports = ports.get(name).map(|ports| format!(" of {ports:?}"));
        let text = format!("{}{}", &hash.to_string()[..16], ports.unwrap_or_default());
        (name.to_string(), Tree::text(text))
    };
    Tree::Map(policies.iter().map(policy).collect())
}

fn route(route: &Route) -> Tree {
    let Route { name: _, created, parents, hostnames, rules } = route;
    let parent = |parent: &weft_model::RouteParent| {
        let port = parent.port.map_or(String::new(), |port| format!(":{port}"));
        match &parent.parent {
            Parent::Service(name) => format!("{name}{port}"),
            Parent::External(name) => format!("outside {name}{port}"),
        }
    };
    Tree::map([
        (
            "created",
            Tree::text(if *created == i64::MAX { "never".into() } else { created.to_string() }),
        ),
        ("parents", Tree::list(parents.iter().map(parent))),
        ("hostnames", Tree::list(hostnames)),
        ("rules", Tree::List(rules.iter().map(route_rule).collect())),
    ])
}

fn route_rule(rule: &RouteRule) -> Tree {
    let RouteRule { name, matches, filters, backends, timeouts, retry, faults } = rule;
    let backend = |backend: &weft_model::WeightedBackend| {
        let weight = backend.weight.get();
        let mut text = format!("{weight} of {}", target(&backend.backend));
        backend.filters.iter().for_each(|one| text.push_str(&format!("; {}", filter(one))));
        text
    };
    let bound = |bound: Option<weft_model::TimeBound>| {
        Tree::maybe(bound.map(|bound| format!("{:?}", bound.duration())))
    };
    Tree::map([
        ("name", Tree::maybe(name.as_ref())),
        ("matches", Tree::list(matches.iter().map(route_match))),
        ("filters", Tree::list(filters.iter().map(filter))),
        ("backends", Tree::list(backends.iter().map(backend))),
        ("request", bound(timeouts.request())),
        ("attempt", bound(timeouts.attempt())),
        ("retry", Tree::maybe(retry.as_ref().map(retries))),
        ("faults", Tree::list(faults.iter().map(fault))),
    ])
}

fn filter(filter: &Filter) -> String {
    match filter {
        Filter::RequestHeaders(it) => format!("request: {}", edits(it)),
        Filter::ResponseHeaders(it) => format!("answer: {}", edits(it)),
        Filter::Redirect(Redirect { scheme, hostname, port, path, status }) => {
            let scheme = scheme.map(|scheme| scheme.as_str().to_owned());
            let port = port.map(|port| format!("port {port}"));
            let parts = [scheme, hostname.as_ref().map(ToString::to_string), port];
            let parts = parts.into_iter().chain([path.as_ref().map(rewrite)]);
            let parts: Vec<_> = parts.flatten().collect();
            format!("{} to {}", status.get(), parts.join(", "))
        }
        Filter::Rewrite(UrlRewrite { hostname, path }) => {
            let hostname = hostname.as_ref().map(|host| format!("host {host}"));
            let parts: Vec<_> =
                [hostname, path.as_ref().map(rewrite)].into_iter().flatten().collect();
            format!("rewrite: {}", parts.join(", "))
        }
        Filter::Mirror(Mirror { backend, share }) => {
            format!("copies: {share} to {}", target(backend))
        }
        Filter::Cors(cors) => {
            let Cors { origins, credentials, methods, headers, expose, max_age_s } = cors;
            let origins: Vec<_> = origins.iter().map(ToString::to_string).collect();
            let with = if *credentials { " with credentials" } else { "" };
            format!(
                "cors: {}{with}, methods {}, headers {}, exposes {}, {max_age_s} s",
                origins.join(" "),
                names(methods),
                names(headers),
                names(expose)
            )
        }
    }
}

fn target(backend: &Backend) -> String {
    match backend {
        Backend::Service { name, port } => format!("{name}:{port}"),
        Backend::External { name, port } => format!("outside {name}:{port}"),
        Backend::Missing { reason } => format!("nothing: {reason}"),
    }
}

fn edits(edits: &HeaderEdits) -> String {
    let field = |joint: &str, (name, value): &weft_model::HeaderValue| {
        format!("{name} {joint} {}", value.as_str())
    };
    let set = edits.set().iter().map(|it| field("=", it));
    let add = edits.add().iter().map(|it| field("+", it));
    let all = set.chain(add).chain(edits.remove().iter().map(|name| format!("no {name}")));
    all.collect::<Vec<_>>().join(", ")
}

fn rewrite(path: &PathRewrite) -> String {
    match path {
        PathRewrite::Full(path) => format!("path {path}"),
        PathRewrite::Prefix(path) => format!("prefix {path}"),
    }
}

fn names<T: std::fmt::Display>(names: &AllowedNames<T>) -> String {
    match names {
        AllowedNames::Any => "*".to_owned(),
        AllowedNames::These(names) if names.is_empty() => "none".to_owned(),
        AllowedNames::These(names) => {
            names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
    }
}

fn retries(retry: &Retry) -> String {
    let Retry { retries_max, statuses, backoff_base, backoff_max } = retry;
    let statuses: Vec<_> = statuses.iter().map(|status| status.get()).collect();
    let (base, max) = (backoff_base.duration(), backoff_max.duration());
    format!("{retries_max} after {statuses:?}, {base:?} to {max:?}")
}

fn route_match(one: &RouteMatch) -> String {
    let RouteMatch { path, headers, query, method } = one;
    let value = |value: &ValueMatch| match value {
        ValueMatch::Exact(text) => format!("= {}", text.as_str()),
        ValueMatch::Regex(regex) => format!("~ {}", regex.as_str()),
    };
    let path = match path {
        PathMatch::Exact(path) => format!("path = {path}"),
        PathMatch::Prefix(path) => format!("path below {path}"),
        PathMatch::Regex(regex) => format!("path ~ {}", regex.as_str()),
        PathMatch::Call(CallMatch { service, method }) => {
            let name = |name: &Option<ValueMatch>| name.as_ref().map_or("any".to_owned(), value);
            format!("call service {}, method {}", name(service), name(method))
        }
    };
    let headers = headers.iter().map(|it| format!("header {} {}", it.name, value(&it.value)));
    let query = query.iter().map(|it| format!("query {} {}", it.name(), value(it.value())));
    let method = method.iter().map(|method| format!("method = {method}"));
    let all: Vec<_> = std::iter::once(path).chain(headers).chain(query).chain(method).collect();
    all.join(", ")
}

fn authorization_policy(policy: &AuthorizationPolicy) -> Tree {
    let AuthorizationPolicy { name: _, mode, allow, deny, audit } = policy;
    let rules = |rules: &[Rule]| Tree::List(rules.iter().map(rule).collect());
    let allow = allow.as_deref().map_or(Tree::List(vec![]), |allow| match allow {
        [] => Tree::text("nobody"),
        allow => rules(allow),
    });
    let mode = (*mode != PolicyMode::default()).then(|| format!("{mode:?}"));
    Tree::map([
        ("mode", Tree::maybe(mode)),
        ("allow", allow),
        ("deny", rules(deny)),
        ("audit", rules(audit)),
    ])
}

fn rule(rule: &Rule) -> Tree {
    let Rule { from, to } = rule;
    let from = from.as_ref().map_or(Tree::text("anyone"), |it| Tree::list(it.iter().map(peer)));
    let to = to.as_ref().map_or(Tree::text("anything"), |it| Tree::list(it.iter().map(operation)));
    Tree::map([("from", from), ("to", to)])
}

fn peer(peer: &Peer) -> String {
    let Peer {
        identity,
        service_account,
        namespace,
        cidr,
        not_identities,
        not_service_accounts,
        not_namespaces,
        not_cidrs,
    } = peer;
    let mut all: Vec<String> = Vec::new();
    all.extend(identity.iter().map(ToString::to_string));
    all.extend(service_account.iter().map(|it| format!("account {it}")));
    all.extend(namespace.iter().map(|it| format!("namespace {it}")));
    all.extend(cidr.iter().map(ToString::to_string));
    all.extend(not_identities.iter().map(|it| format!("not {it}")));
    all.extend(not_service_accounts.iter().map(|it| format!("not account {it}")));
    all.extend(not_namespaces.iter().map(|it| format!("not namespace {it}")));
    all.extend(not_cidrs.iter().map(|it| format!("not {it}")));
    all.join(", ")
}

fn operation(operation: &Operation) -> String {
    let Operation { ports, methods, paths, headers } = operation;
    let mut all: Vec<String> = Vec::new();
    all.extend(ports.iter().map(|it| format!("port {it}")));
    all.extend(methods.iter().map(ToString::to_string));
    all.extend(paths.iter().map(|path| match path {
        PathPattern::Exact(path) => path.to_string(),
        PathPattern::Below(path) => format!("{path}*"),
    }));
    all.extend(headers.iter().map(header_text));
    all.join(" ")
}

fn header_text(header: &HeaderCondition) -> String {
    let HeaderCondition { name, value } = header;
    match value {
        Some(value) => format!("{name}: {}", value.as_str()),
        None => format!("{name}: any"),
    }
}
