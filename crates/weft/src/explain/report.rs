//! What is said about a request: the proxies' decisions as steps, each with what made it so.

mod route;
mod traffic;

use std::time::Duration;

use weft_decide::authorize::{Decision, Why};
use weft_decide::deadline;
use weft_decide::explain::{self as words, Cause, Stage, Step, Verdict};
use weft_decide::locality::Reach as Distance;
use weft_decide::route::Selected;
use weft_http::RequestHead;
use weft_model::{
    ClientCertificate, Health, ObjectName, OutboundPolicy, Retry, RouteRule, TlsOrigination,
    TlsRoots,
};
use weft_proxy::explain::{Called, Chosen, Endpoint, Explanation, HANDSHAKE_TIMEOUT, Refused, Way};
use weft_proxy::snapshot::{Destination, DestinationName, ExternalAt, Reach};

use self::route::{protocol, route, stream_route};
use self::traffic::{failover, locality, traffic};
use super::mesh::Mesh;
pub use super::outcome::{By, Outcome};
use crate::check::counted;

/// A step, and what did not make it.
pub struct Told {
    /// The step.
    pub step: Step,
    /// What was passed over, each with the reason.
    pub not: Vec<Cause>,
}

/// What is said about a request.
#[derive(Default)]
pub struct Report {
    /// What is decided about it as a whole.
    pub steps: Vec<Told>,
    /// Where it may go.
    pub ways: Vec<WayReport>,
    /// What the caller may get, each once.
    pub outcomes: Vec<Outcome>,
    /// What is spoken, as records have it; none outside of the mesh.
    pub protocol: Option<&'static str>,
    /// How often it is sent again at most, and after which statuses, if the rule says so.
    pub retry: Option<(u32, Vec<u16>)>,
}

/// What is said about a backend.
pub struct WayReport {
    /// The backend's name in records.
    pub backend: Option<String>,
    /// Its port there.
    pub port: Option<u16>,
    /// Host and port, and path and query, with which the request is sent there.
    pub sent: Option<(String, String)>,
    /// Its share of `total`.
    pub share: u64,
    /// The sum of all shares.
    pub total: u64,
    /// What is decided about it.
    pub steps: Vec<Told>,
    /// Whether a hash decides on the endpoint.
    pub is_hashed: bool,
    /// Its endpoints.
    pub endpoints: Vec<EndpointReport>,
    /// What the caller may get, each once.
    pub outcomes: Vec<Outcome>,
    /// What it gets if an attempt takes longer than it may.
    pub late: Option<Outcome>,
}

/// What is said about an endpoint.
pub struct EndpointReport {
    /// The workload, where it is known.
    pub workload: Option<String>,
    /// The address that is dialled.
    pub address: String,
    /// How it fares.
    pub health: &'static str,
    /// Where it runs, as far as that is known: the same zone, region, or elsewhere.
    pub distance: &'static str,
    /// The identity that its proxy must prove; none without a tunnel.
    pub identity: Option<String>,
    /// Whether it may be called.
    pub is_callable: bool,
    /// Whether it is among those that are called first.
    pub is_preferred: bool,
    /// The policy and the field in it that decided about the caller.
    pub policy: Option<(String, String)>,
    /// What in audit would refuse the caller, as records have it.
    pub audited: Vec<String>,
    /// How it is reached, and what it decides.
    pub steps: Vec<Told>,
    /// What the caller gets from it.
    pub outcome: Outcome,
}

impl Report {
    /// What there is to say of what `text` says not to be of the mesh.
    pub fn outside(text: &str, outbound: OutboundPolicy) -> Report {
        let (by, reason) = match outbound {
            OutboundPolicy::Registered => {
                let why = "only what is registered may be called".to_owned();
                (By::Caller, Some(("outside-refused", why)))
            }
            OutboundPolicy::Any | OutboundPolicy::Audit => (By::Application, None),
        };
        let because = by_outbound(outbound);
        let (status, grpc_status, server_reason, is_meant) = Default::default();
        let outcome = Outcome { by, status, grpc_status, reason, server_reason, is_meant };
        let steps = vec![passed(Stage::Name, text, vec![because])];
        Report { steps, outcomes: vec![outcome], ..Report::default() }
    }
}

pub(super) fn passed(stage: Stage, text: impl Into<String>, because: Vec<Cause>) -> Told {
    Told { step: Step { stage, verdict: Verdict::Passed(text.into()), because }, not: vec![] }
}

fn refused(
    stage: Stage,
    reason: &'static str,
    text: impl Into<String>,
    because: Vec<Cause>,
) -> Told {
    let verdict = Verdict::Refused { reason, text: text.into() };
    Told { step: Step { stage, verdict, because }, not: vec![] }
}

/// What the Mesh says of a way to what nobody has registered.
fn by_outbound(outbound: OutboundPolicy) -> Cause {
    let note = match outbound {
        OutboundPolicy::Registered => "",
        OutboundPolicy::Any => "it passes outside of the mesh",
        OutboundPolicy::Audit => "it passes, and is recorded: registered would refuse it",
    };
    of_mesh("spec.defaults.outbound", note)
}

/// The part `field` of the Mesh that is in force.
fn of_mesh(field: &str, note: &str) -> Cause {
    let (field, note) = (field.to_owned(), note.to_owned());
    Cause { kind: "Mesh", object: None, field, note }
}

fn cause(kind: &'static str, object: &ObjectName, field: impl Into<String>) -> Cause {
    let (object, field, note) = (Some(object.clone()), field.into(), String::new());
    Cause { kind, object, field, note }
}

/// The part `field` of the rule that `chosen` is.
fn of_rule(chosen: &Chosen, field: &str) -> Cause {
    let kind = chosen.route.name.kind.kind();
    let field = format!("spec.rules[{}]{field}", chosen.rule_index);
    cause(kind, &chosen.route.name.object, field)
}

/// What there is to say about `explanation` of a request for `called`, whose target was written as
/// `target`; `name` says what its host means.
pub fn report(
    mesh: &Mesh,
    name: String,
    called: &Called,
    target: &str,
    explanation: &Explanation,
) -> Report {
    let Explanation { head, called: found, protocol: spoken, rule, own_answer, ways, .. } =
        explanation;
    let is_http = explanation.is_http();
    let mut report = Report {
        protocol: Some(spoken.name()),
        retry: rule.as_ref().and_then(retries),
        ..Report::default()
    };
    let steps = &mut report.steps;
    let end = |error: &Refused, stage: Stage, mut report: Report| {
        let Refused { verdict, detail, .. } = error;
        let because = match verdict.reason {
            "outside-refused" => vec![of_mesh("spec.defaults.outbound", "")],
            _ => vec![],
        };
        report.steps.push(refused(stage, verdict.reason, detail, because));
        report.outcomes.push(Outcome::refused(explanation, error, By::Caller));
        report
    };
    let Some(destination) = found else {
        steps.push(passed(Stage::Name, name, vec![]));
        return match ways {
            Err(error) => end(error, Stage::Name, report),
            Ok(_) => report,
        };
    };
    let because = match &destination.name {
        DestinationName::Outside(_) | DestinationName::OutsideHost(..) => {
            vec![by_outbound(mesh.settings.outbound)]
        }
        known => port_cause(mesh, known, ""),
    };
    steps.push(passed(Stage::Name, name, because));
    steps.push(protocol(mesh, destination, explanation));
    if is_http {
        if let Err(error) = ways
            && error.verdict.reason != "no-route"
        {
            // What is no request at all names no path.
            let stage = if target.is_empty() { Stage::Protocol } else { Stage::Path };
            return end(error, stage, report);
        }
        let text = match head.target() {
            same if same == target => same.to_owned(),
            other => format!("{other}, which is how {target} is spelled"),
        };
        steps.push(passed(Stage::Path, text, vec![]));
        steps.push(route(called, destination, explanation));
    } else if !destination.routes.is_empty() {
        steps.push(stream_route(destination, explanation));
    }
    if let (Some(chosen), Some(own)) = (rule, own_answer) {
        let step = words::own_answer(&selected(chosen), own);
        steps.push(Told { step, not: vec![] });
        report.outcomes.push(Outcome::own(own));
        return report;
    }
    let ways = match ways {
        Ok(ways) => ways,
        Err(error) => {
            report.outcomes.push(Outcome::refused(explanation, error, By::Caller));
            return report;
        }
    };
    let mut sent = head.clone();
    if let Some(chosen) = rule {
        steps.extend(filters(explanation, chosen, None, &mut sent));
    }
    if is_http && ways.iter().any(|way| way.backend.is_some()) {
        steps.push(timeouts(explanation));
        steps.push(retry(rule.as_ref(), head.is_idempotent(), head.method()));
    }
    for way in ways {
        let way = way_report(mesh, destination, explanation, &sent, way);
        for outcome in &way.outcomes {
            if !report.outcomes.contains(outcome) {
                report.outcomes.push(outcome.clone());
            }
        }
        report.ways.push(way);
    }
    report
}

/// How often a request under the rule is sent again at most, and after which statuses.
fn retries(chosen: &Chosen) -> Option<(u32, Vec<u16>)> {
    let Retry { retries_max, statuses, .. } = chosen.rule().retry.as_ref()?;
    Some((*retries_max, statuses.iter().map(|status| status.get()).collect()))
}

/// The port of the Service that `name` is, if it is one.
fn port_cause(mesh: &Mesh, name: &DestinationName, part: &str) -> Vec<Cause> {
    match name {
        DestinationName::Service(service, port) => {
            let place = mesh.service_port(service, *port);
            let field = place.map(|(place, _)| format!("spec.ports[{place}]{part}"));
            vec![cause("Service", service, field.unwrap_or_default())]
        }
        DestinationName::Workload(workload, _) => vec![cause("Workload", workload, "spec.ports")],
        DestinationName::External(external, _, port) => {
            let place = mesh.external_port(external, *port);
            let field = place.map(|(place, _)| format!("spec.ports[{place}]{part}"));
            vec![cause("ExternalService", external, field.unwrap_or_default())]
        }
        _ => vec![],
    }
}

/// `duration` as resources have it.
pub(super) fn written(duration: Duration) -> String {
    weft_crd::format_duration(duration)
}

fn timeouts(explanation: &Explanation) -> Told {
    let mut limits = Vec::new();
    let mut because = Vec::new();
    if let Some(chosen) = &explanation.rule {
        let timeouts = chosen.rule().timeouts;
        if let Some(request) = timeouts.request() {
            limits.push(format!("{} for the whole request", written(request.duration())));
            because.push(of_rule(chosen, ".timeouts.request"));
        }
        if let Some(attempt) = timeouts.attempt() {
            limits.push(format!("{} for each attempt", written(attempt.duration())));
            because.push(of_rule(chosen, ".timeouts.backendRequest"));
        }
    }
    if let Ok(Some(asked)) = deadline::asked(&explanation.head) {
        limits.push(format!("{} as the caller asks", written(asked)));
    }
    if limits.is_empty() {
        limits.push("none for the request (default)".to_owned());
    }
    limits.push(format!("always {} to open a tunnel", written(HANDSHAKE_TIMEOUT)));
    passed(Stage::Timeouts, limits.join(", "), because)
}

fn retry(chosen: Option<&Chosen>, is_idempotent: bool, method: &str) -> Told {
    let asked = chosen.and_then(|chosen| Some((chosen, chosen.rule().retry.as_ref()?)));
    let Some((chosen, Retry { retries_max, statuses, backoff_base, backoff_max })) = asked else {
        let text = "only what nobody has processed (default)";
        return passed(Stage::Retry, text, vec![]);
    };
    let because = vec![of_rule(chosen, ".retry")];
    if *retries_max == 0 {
        return passed(Stage::Retry, "never: `attempts` is 0", because);
    }
    let mut after: Vec<String> = statuses.iter().map(|status| status.get().to_string()).collect();
    if is_idempotent {
        after.push("failures".to_owned());
    }
    if after.is_empty() {
        let text = format!(
            "at most {retries_max} times, and only what nobody has processed: no status is listed, \
             and {method} is not idempotent"
        );
        return passed(Stage::Retry, text, because);
    }
    let text = format!(
        "at most {retries_max} times after {}, or where nobody has processed it; each time after a \
         random wait, at first below {}, at most {}",
        after.join(", "),
        written(backoff_base.duration()),
        written(backoff_max.duration())
    );
    passed(Stage::Retry, text, because)
}

fn way_report(
    mesh: &Mesh,
    destination: &Destination,
    explanation: &Explanation,
    sent: &RequestHead,
    way: &Way,
) -> WayReport {
    let Way { share, total, backend, instead_of, hashed, fault, endpoints, ends, late, .. } = way;
    let outcomes: Vec<_> = ends.iter().map(|end| Outcome::of(explanation, end)).collect();
    let mut steps = vec![going(destination, explanation.rule.as_ref(), way)];
    if let (Some(chosen), Some(index)) = (&explanation.rule, way.backend_index) {
        steps.extend(filters(explanation, chosen, Some(index), &mut sent.clone()));
    }
    if let Some(fault) = fault {
        let step = words::fault(fault, sent, written);
        steps.push(Told { step, not: vec![] });
    }
    if let Some(backend) = backend {
        steps.extend(failover(mesh, backend, instead_of.as_deref()));
        steps.extend(traffic(mesh, backend, explanation.is_http(), way));
        // A hash means the same endpoint wherever it is; where those outside are, nobody knows.
        let is_outside = matches!(backend.name, DestinationName::External(..));
        if hashed.is_none() && !is_outside && endpoints.iter().any(|endpoint| endpoint.is_callable)
        {
            steps.push(locality(mesh, backend, endpoints));
        }
    }
    let by_tls = backend.as_ref().and_then(|backend| Some((backend, backend.tls()?)));
    let source = by_tls.and_then(|(to, _)| match &to.name {
        DestinationName::External(external, _, port) => mesh.tls_source(external, *port),
        _ => None,
    });
    let tls: Vec<_> = source.into_iter().collect();
    if let (Some((_, settings)), true) = (by_tls, endpoints.is_empty()) {
        let text = format!("where DNS says, {}", self::by_tls(settings));
        steps.push(passed(Stage::Endpoint, text, tls.clone()));
    }
    let endpoints = endpoints.iter().map(|endpoint| {
        let mut report = endpoint_report(explanation, endpoint);
        report.steps[0].step.because.extend(tls.clone());
        report
    });
    let endpoints = endpoints.collect();
    let name = backend.as_ref().map(|backend| &backend.name);
    WayReport {
        backend: name.map(DestinationName::without_port),
        port: name.and_then(DestinationName::port).map(weft_model::Port::get),
        sent: way.sent.clone(),
        share: *share,
        total: *total,
        steps,
        is_hashed: hashed.is_some(),
        endpoints,
        outcomes,
        late: late.as_ref().map(|late| Outcome::refused(explanation, late, By::Caller)),
    }
}

/// Which of the rule's backends `way` leads to.
fn going(destination: &Destination, chosen: Option<&Chosen>, way: &Way) -> Told {
    let Some(chosen) = chosen else {
        return passed(Stage::Destination, format!("to {}", destination.name), vec![]);
    };
    let rule: &RouteRule = chosen.rule();
    let to = match way.backend_index {
        Some(index) => weft_decide::route::Destination::Backend(&rule.backends[index]),
        // Nothing is drawn where there is nothing to draw from.
        None => weft_decide::route::destination(rule, 0.0),
    };
    let mut step = words::destination(&selected(chosen), &to);
    // Which of its hosts that is, is for the call to say where its own rules lead back to it.
    let backend = way.backend.as_ref().map(|backend| &backend.name);
    if let (Verdict::Passed(text), Some(DestinationName::External(_, at, _))) =
        (&mut step.verdict, backend)
    {
        match at {
            ExternalAt::Host(host) => text.push_str(&format!(" ({host})")),
            ExternalAt::Address(address) => text.push_str(&format!(" ({address})")),
            ExternalAt::Endpoints => {}
        }
    }
    Told { step, not: vec![] }
}

fn selected(chosen: &Chosen) -> Selected<'_> {
    Selected { route: &chosen.route, rule_index: chosen.rule_index, rule: chosen.rule() }
}

/// What the filters of the rule do to the request `head`, or those of its backend `backend`.
fn filters(
    explanation: &Explanation,
    chosen: &Chosen,
    backend: Option<usize>,
    head: &mut RequestHead,
) -> Vec<Told> {
    let rule = chosen.rule();
    let (part, found) = match backend {
        None => (".filters".to_owned(), &rule.filters),
        Some(index) => (format!(".backendRefs[{index}].filters"), &rule.backends[index].filters),
    };
    let (selected, asked) = (selected(chosen), &explanation.head);
    let steps = words::filters(&selected, &part, found, &chosen.facts(), asked, head);
    steps.into_iter().map(|step| Told { step, not: vec![] }).collect()
}

/// How an endpoint outside of the mesh is reached, and what it must prove.
fn by_tls(settings: &TlsOrigination) -> String {
    let TlsOrigination { hostname, subject_alt_names, roots, client_certificate } = settings;
    let names: Vec<_> = subject_alt_names.iter().map(ToString::to_string).collect();
    let names = match names.is_empty() {
        true => String::new(),
        false => format!(" to be {}", names.join(" or ")),
    };
    let roots = match roots {
        TlsRoots::Nobody(why) => format!("nobody: {why}"),
        TlsRoots::System => "the system's roots".to_owned(),
        TlsRoots::Certificates(given) => format!("{} given for it", counted(given.len(), "root")),
    };
    let shown = match client_certificate {
        ClientCertificate::None => "",
        ClientCertificate::Workload => ", which may ask for the workload's certificate",
    };
    format!("by TLS, as {hostname}, checked{names} against {roots}{shown}")
}

fn endpoint_report(explanation: &Explanation, endpoint: &Endpoint) -> EndpointReport {
    let Endpoint { spec, distance, is_callable, is_preferred, decision, audits, end } = endpoint;
    let (workload, identity, how) = match &spec.reach {
        Reach::Tunnel(target) => {
            let identity = target.identity.to_string();
            let how = format!("by mutual TLS with {identity}");
            (Some(target.workload.clone()), Some(identity), how)
        }
        Reach::NotInMesh(workload) => {
            (Some(workload.clone()), None, "not at all: it proves no identity".to_owned())
        }
        Reach::Tls(settings) => (None, None, by_tls(settings)),
        Reach::Plain | Reach::Application => (None, None, "in plaintext".to_owned()),
    };
    let health = match spec.health {
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
        Health::Draining => "draining",
    };
    let address = spec.address.to_string();
    let title = workload.as_ref().map_or_else(|| address.clone(), ToString::to_string);
    let because = workload.iter().map(|name| cause("Workload", name, "")).collect();
    let text = format!("{title} at {address}, {health}, {how}");
    let mut steps = vec![match is_callable {
        true => passed(Stage::Endpoint, text, because),
        false => passed(Stage::Endpoint, format!("not {text}"), because),
    }];
    if let Some(decision) = decision {
        let mut step = words::authorization(decision, audits);
        let is_of_mesh = match decision {
            Decision::Allowed { by } => by.is_none(),
            Decision::Denied { why, .. } => matches!(why, Why::NoIdentity | Why::UnguardedDeny),
        };
        if is_of_mesh {
            step.because.push(of_mesh("spec.defaults.authorization", ""));
        }
        steps.push(Told { step, not: vec![] });
    }
    let by = match decision {
        Some(Decision::Allowed { by } | Decision::Denied { by, .. }) => by.as_ref(),
        None => None,
    };
    EndpointReport {
        workload: workload.as_ref().map(ToString::to_string),
        address,
        health,
        distance: match distance {
            Distance::Zone => "zone",
            Distance::Region => "region",
            Distance::All => "elsewhere",
        },
        identity,
        is_callable: *is_callable,
        is_preferred: *is_preferred,
        policy: by.map(|rule| (rule.policy_name().to_string(), rule.field())),
        audited: audits.iter().map(|told| format!("{} {}", told.policy(), told.field())).collect(),
        steps,
        outcome: Outcome::of(explanation, end),
    }
}
