//! What was decided, in words that people can follow back to the resources that they wrote.
//!
//! Nothing is decided here: each function tells what another one's result says.

mod filters;

use std::fmt;
use std::time::Duration;

pub use filters::{filters, own_answer};

use weft_http::RequestHead;
use weft_model::{
    Abort, AbortWith, Backend, CallMatch, Delay, Fault, ObjectName, Parent, PathMatch, PolicyKind,
    Port, Route, RouteName, ValueMatch, WeightedBackend,
};

use crate::authorize::{Audited, Decision, RuleRef, Why};
use crate::balance::{Load, Picked};
use crate::fault::is_for;
use crate::locality::Reach;
use crate::route::test::{call, field, parameter};
use crate::route::{Condition, Considered, Destination, Matched, PassedOver, RouteTable, Selected};

/// One decision about a request or a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was decided.
    pub stage: Stage,
    /// How.
    pub verdict: Verdict,
    /// What made it so.
    pub because: Vec<Cause>,
}

/// What is decided, in the order in which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// What the request's host means.
    Name,
    /// What is spoken.
    Protocol,
    /// Which path it is for.
    Path,
    /// Which rule of which route a request falls under.
    Route,
    /// What the filters of the rule, or of the backend, do.
    Filter,
    /// Which of the rule's backends it goes to.
    Destination,
    /// Which faults are put in on purpose.
    Fault,
    /// Which Service takes over where too few endpoints are healthy.
    Failover,
    /// How long it may take.
    Timeouts,
    /// Whether it is sent again.
    Retry,
    /// How much may be under way.
    Limits,
    /// When endpoints are left out for a while, and when all are called all the same.
    Ejection,
    /// How an endpoint is chosen.
    Balancing,
    /// How far away endpoints are used.
    Locality,
    /// Which endpoint of the backend is called.
    Endpoint,
    /// Whether the workload that is called lets it through.
    Authorization,
}

/// What follows from a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request goes on, in this way.
    Passed(String),
    /// It is refused.
    Refused {
        /// The reason as a stable code.
        reason: &'static str,
        /// The same for people.
        text: String,
    },
}

/// An object that made a decision what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Its kind, as in `HTTPRoute`.
    pub kind: &'static str,
    /// Its namespace and name; none for the Mesh, of which one is in force.
    pub object: Option<ObjectName>,
    /// The part of it that did, as in `spec.rules[1].matches[0]`; empty for the whole.
    pub field: String,
    /// What that part does, if it is not plain; else empty.
    pub note: String,
}

/// Tells which rule the request falls under: what `table`, made for `port` of `parent`, selected.
pub fn route(
    parent: &Parent,
    port: Port,
    table: &RouteTable,
    matched: Option<&Matched<'_>>,
) -> Step {
    let called = named(parent);
    let (verdict, cause) = match matched {
        Some(Matched { selected, match_index, facts: _ }) => {
            let Selected { route, rule_index, rule } = selected;
            let named = rule.name.as_ref().map(|name| format!(" `{name}`")).unwrap_or_default();
            let text = format!("rule {rule_index}{named} of {}", route.name);
            let field = format!("spec.rules[{rule_index}].matches[{match_index}]");
            (Verdict::Passed(text), of_route(&route.name, field, &of_consumers(route, parent)))
        }
        None if table.is_empty() => {
            let note = format!("no route is for its port {port}");
            (Verdict::Passed(format!("to {called} itself")), of_parent(parent, &note))
        }
        None => {
            let text = format!("no rule of the routes of {called}, port {port}, matches");
            (Verdict::Refused { reason: "no-route", text }, of_parent(parent, "routes are for it"))
        }
    };
    Step { stage: Stage::Route, verdict, because: vec![cause] }
}

/// Tells which rule a connection falls under, which is for the server `name` if it says one: what
/// `table`, made for `port` of `parent`, selected.
pub fn stream(
    parent: &Parent,
    port: Port,
    name: Option<&str>,
    selected: Option<&Selected<'_>>,
) -> Step {
    let (verdict, cause) = match selected {
        Some(Selected { route, rule_index, rule: _ }) => {
            let text = format!("rule {rule_index} of {}", route.name);
            let field = match route.hostnames.is_empty() {
                true => format!("spec.rules[{rule_index}]"),
                false => "spec.hostnames".to_owned(),
            };
            (Verdict::Passed(text), of_route(&route.name, field, &of_consumers(route, parent)))
        }
        None => {
            let of = match name {
                Some(name) => format!("the server `{name}`"),
                None => "a connection that names no server".to_owned(),
            };
            let text = format!("no route of {}, port {port}, is for {of}", named(parent));
            (Verdict::Refused { reason: "no-route", text }, of_parent(parent, "routes are for it"))
        }
    };
    Step { stage: Stage::Route, verdict, because: vec![cause] }
}

/// What `parent` is called, a Service by its name alone.
fn named(parent: &Parent) -> String {
    match parent {
        Parent::Service(name) => name.to_string(),
        Parent::External(_) => parent.to_string(),
    }
}

fn of_parent(parent: &Parent, note: &str) -> Cause {
    let (kind, object) = (parent.kind(), Some(parent.object().clone()));
    Cause { kind, object, field: String::new(), note: note.to_owned() }
}

/// For whom `route` holds, if not for all callers of `parent`.
fn of_consumers(route: &Route, parent: &Parent) -> String {
    if !route.is_of_consumers(parent) {
        return String::new();
    }
    format!("it holds for callers of the namespace {} alone", route.name.object.namespace())
}

/// Tells of the routes of `table`, which are for the port that was called, why they do not hold.
pub fn passed_over(table: &RouteTable) -> Vec<Cause> {
    let PassedOver { replaced, of_other_kinds } = table.passed_over();
    let cause = |note: &'static str| {
        move |route: &RouteName| of_route(route, "spec.parentRefs".to_owned(), note)
    };
    let replaced =
        replaced.iter().map(cause("the caller's namespace has routes of its own for this port"));
    let others = of_other_kinds.iter().map(cause("a kind that says more is for this port"));
    replaced.chain(others).collect()
}

/// Tells why the match that `considered` says did not decide about the request `head`.
pub fn considered(head: &RequestHead, considered: &Considered<'_>) -> Cause {
    let Considered { selected, match_index, unmet } = *considered;
    let field = format!("spec.rules[{}].matches[{match_index}]", selected.rule_index);
    let (part, note) = match unmet {
        None => (String::new(), "matches too, and comes later".to_owned()),
        Some(condition) => unmet_in(head, selected, match_index, condition),
    };
    of_route(&selected.route.name, field + &part, &note)
}

/// The part of a match that `condition` is, and why the request does not meet it.
fn unmet_in(
    head: &RequestHead,
    selected: Selected<'_>,
    match_index: usize,
    condition: Condition,
) -> (String, String) {
    let wanted = &selected.rule.matches[match_index];
    let of_value =
        |what: &str, name: &str, found: Option<&str>, wanted: &ValueMatch| match (found, wanted) {
            (None, _) => format!("there is no {what} `{name}`"),
            (Some(found), ValueMatch::Exact(wanted)) => {
                format!("the {what} `{name}` is `{found}`, not `{}`", wanted.as_str())
            }
            (Some(found), ValueMatch::Regex(regex)) => {
                format!("the {what} `{name}`, `{found}`, does not match `{}`", regex.as_str())
            }
        };
    match condition {
        Condition::Path => {
            let path = head.path();
            let note = match &wanted.path {
                PathMatch::Exact(wanted) => format!("the path `{path}` is not `{wanted}`"),
                PathMatch::Prefix(wanted) => {
                    format!("the path `{path}` is neither `{wanted}` nor below it")
                }
                PathMatch::Regex(regex) => {
                    format!("the path `{path}` does not match `{}`", regex.as_str())
                }
                PathMatch::Call(_) => String::new(),
            };
            (".path".to_owned(), note)
        }
        Condition::Call => (String::new(), "it is no call of gRPC".to_owned()),
        Condition::CallService | Condition::CallMethod => {
            let (service, method) = call(head).unwrap_or_default();
            let wanted = match &wanted.path {
                PathMatch::Call(CallMatch { service, method }) => (service, method),
                _ => (&None, &None),
            };
            let (part, found, wanted) = match condition {
                Condition::CallService => ("service", service, wanted.0),
                _ => ("method", method, wanted.1),
            };
            let note = match wanted {
                Some(ValueMatch::Regex(regex)) => {
                    format!("the {part} `{found}` does not match `{}`", regex.as_str())
                }
                wanted => {
                    let wanted = wanted.as_ref().map_or("", ValueMatch::as_str);
                    format!("the {part} `{found}` is not `{wanted}`")
                }
            };
            (format!(".method.{part}"), note)
        }
        Condition::Method => {
            let wanted = wanted.method.as_ref().map_or("", |method| method.as_str());
            (".method".to_owned(), format!("the method {} is not {wanted}", head.method()))
        }
        Condition::Header(index) => {
            let header = &wanted.headers[index];
            let name = header.name.as_str();
            let found = field(head, name);
            let note = of_value("header", name, found.as_deref(), &header.value);
            (format!(".headers[{index}]"), note)
        }
        Condition::Query(index) => {
            let query = &wanted.query[index];
            let found = parameter(head.target(), query.name());
            let note = of_value("parameter", query.name(), found, query.value());
            (format!(".queryParams[{index}]"), note)
        }
    }
}

/// Tells where a request under the selected rule goes.
pub fn destination(selected: &Selected<'_>, destination: &Destination<'_>) -> Step {
    let Selected { route, rule_index, rule } = selected;
    let refused = |reason, text: &str| Verdict::Refused { reason, text: text.to_owned() };
    let mut field = format!("spec.rules[{rule_index}].backendRefs");
    let mut note = String::new();
    let verdict = match destination {
        Destination::Backend(backend) => {
            let is_it = |one: &WeightedBackend| std::ptr::eq(one, *backend);
            let place = rule.backends.iter().position(is_it);
            if let Some(place) = place {
                let weight = |one: &WeightedBackend| u64::from(one.weight.get());
                let total: u64 = rule.backends.iter().map(weight).sum();
                field = format!("{field}[{place}]");
                note = format!("a share of {} in {total}", weight(&rule.backends[place]));
            }
            match &backend.backend {
                Backend::Service { name, port } => {
                    Verdict::Passed(format!("to {name}, port {port}"))
                }
                Backend::External { name, port } => {
                    Verdict::Passed(format!("outside, to ExternalService {name}, port {port}"))
                }
                Backend::Missing { reason } => refused("no-backend", reason),
            }
        }
        Destination::NoBackend => refused("no-backend", "the rule names no backend"),
        Destination::NoWeight => refused("no-weight", "all weights of the rule are 0"),
    };
    let because = vec![of_route(&route.name, field, &note)];
    Step { stage: Stage::Destination, verdict, because }
}

/// Tells whether an attempt is let through; `audits` are what in audit would refuse it.
pub fn authorization<'a>(
    decision: &Decision,
    audits: impl IntoIterator<Item = &'a Audited>,
) -> Step {
    let refused =
        |why: Why, text: &str| Verdict::Refused { reason: why.code(), text: text.to_owned() };
    let (verdict, by) = match decision {
        Decision::Allowed { by: by @ Some(_) } => {
            (Verdict::Passed("a rule allows it".to_owned()), by)
        }
        Decision::Allowed { by: None } => {
            let text = "no policy allows anything, and any identity of the mesh may call then";
            (Verdict::Passed(text.to_owned()), &None)
        }
        Decision::Denied { by, why } => {
            let text = match why {
                Why::DenyRule => "a rule denies it",
                Why::NoAllowRule => "there are allow lists, and no rule in them matches",
                Why::NoIdentity => "the caller has no identity of the mesh",
                Why::UnguardedDeny => "no policy allows anything, and nobody may call then",
                Why::CannotEvaluate => {
                    "a rule cannot be evaluated, as no HTTP is seen or the \
                    path has two readings"
                }
            };
            (refused(*why, text), by)
        }
    };
    let mut because: Vec<_> = by.iter().map(|rule| of_rule(rule, "")).collect();
    let would = "would refuse it, and only records";
    because.extend(audits.into_iter().map(|told| match told {
        Audited::Rule(rule) => of_rule(rule, would),
        Audited::Mesh => {
            Cause { kind: "Mesh", object: None, field: told.field(), note: would.to_owned() }
        }
    }));
    Step { stage: Stage::Authorization, verdict, because }
}

/// Tells what `fault` does to requests like that with `head`.
pub fn fault(fault: &Fault, head: &RequestHead, duration: impl Fn(Duration) -> String) -> Step {
    let mut because = Vec::new();
    let mut cause = |field: &str, note: String| {
        let object = Some(fault.policy.clone());
        because.push(Cause { kind: "FaultPolicy", object, field: field.to_owned(), note });
    };
    let mut parts = Vec::new();
    if let Some(Delay { percent, time }) = fault.delay {
        let (percent, time) = (percent.get(), duration(time.duration()));
        parts.push(format!("{percent} % wait {time}"));
        cause("spec.delay", format!("at most {} of one caller at a time", fault.active_max));
    }
    if let Some(Abort { percent, with }) = fault.abort.filter(|abort| is_for(abort.with, head)) {
        let status = match with {
            AbortWith::Http(status) => format!("status {}", status.get()),
            AbortWith::Grpc(code) => format!("status {} of gRPC", code.get()),
        };
        parts.push(format!("{} % are answered with {status}", percent.get()));
        cause("spec.abort", String::new());
    }
    let text = match parts.is_empty() {
        true => "none, since this is no call of gRPC".to_owned(),
        false => format!("on purpose, {}", parts.join(", and ")),
    };
    Step { stage: Stage::Fault, verdict: Verdict::Passed(text), because }
}

/// Tells how far away endpoints of `backend` are used.
pub fn locality(backend: &ObjectName, reach: Reach) -> Step {
    let text = match reach {
        Reach::Zone => "endpoints of the same zone",
        Reach::Region => "endpoints of the same region",
        Reach::All => "all endpoints",
    };
    let because = vec![of_traffic(backend, "locality, availability and load of its endpoints")];
    Step { stage: Stage::Locality, verdict: Verdict::Passed(text.to_owned()), because }
}

/// Tells which endpoint of `backend` was picked by its load; `name` names them.
pub fn endpoint(
    backend: &ObjectName,
    picked: Option<&Picked>,
    name: impl Fn(usize) -> String,
) -> Step {
    // In milliseconds, as most requests take some.
    let load = |load: Load| format!("{:.3} ms", load.0 * 1000.0);
    let chosen = picked.map(|Picked { index, load: own, over }| {
        let note = match over {
            Some((other, theirs)) => {
                format!("a load of {}, {} has {}", load(*own), name(*other), load(*theirs))
            }
            None => "it is the only one that may be called".to_owned(),
        };
        (name(*index), note)
    });
    chosen_endpoint(backend, chosen)
}

/// Tells which endpoint of `backend` has the turn; `name` names them.
pub fn endpoint_in_turn(
    backend: &ObjectName,
    index: Option<usize>,
    name: impl Fn(usize) -> String,
) -> Step {
    chosen_endpoint(backend, index.map(|index| (name(index), "it was its turn".to_owned())))
}

/// The endpoint's name and why it was chosen, if one was.
fn chosen_endpoint(backend: &ObjectName, chosen: Option<(String, String)>) -> Step {
    let (verdict, note) = match chosen {
        Some((name, note)) => (Verdict::Passed(name), note),
        None => {
            let text = format!("{backend} has no endpoint to call");
            (Verdict::Refused { reason: "no-endpoint", text }, String::new())
        }
    };
    Step { stage: Stage::Endpoint, verdict, because: vec![of_traffic(backend, &note)] }
}

fn of_route(name: &RouteName, field: String, note: &str) -> Cause {
    let object = Some(name.object.clone());
    Cause { kind: name.kind.kind(), object, field, note: note.to_owned() }
}

fn of_rule(rule: &RuleRef, note: &str) -> Cause {
    let name = rule.policy_name();
    let kind = match name.kind {
        PolicyKind::Authorization => "AuthorizationPolicy",
    };
    Cause { kind, object: Some(name.object), field: rule.field(), note: note.to_owned() }
}

fn of_traffic(backend: &ObjectName, note: &str) -> Cause {
    let (field, note) = (String::new(), note.to_owned());
    Cause { kind: "Service", object: Some(backend.clone()), field, note }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Name => "name",
            Stage::Protocol => "protocol",
            Stage::Path => "path",
            Stage::Route => "route",
            Stage::Filter => "filter",
            Stage::Destination => "destination",
            Stage::Failover => "failover",
            Stage::Timeouts => "timeouts",
            Stage::Retry => "retry",
            Stage::Fault => "fault",
            Stage::Limits => "limits",
            Stage::Ejection => "ejection",
            Stage::Balancing => "balancing",
            Stage::Locality => "locality",
            Stage::Endpoint => "endpoint",
            Stage::Authorization => "authorization",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Passed(text) => f.write_str(text),
            Verdict::Refused { reason, text } => write!(f, "refused ({reason}): {text}"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cause { kind, object, field, note } = self;
        f.write_str(kind)?;
        if let Some(object) = object {
            write!(f, " {object}")?;
        }
        if !field.is_empty() {
            write!(f, ", {field}")?;
        }
        if !note.is_empty() {
            write!(f, ": {note}")?;
        }
        Ok(())
    }
}

/// The stage with its verdict in a line, and a line for each cause.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { stage, verdict, because } = self;
        write!(f, "{stage}: {verdict}")?;
        because.iter().try_for_each(|cause| write!(f, "\n  {cause}"))
    }
}

#[cfg(test)]
mod tests;
