//! A report as text for people and as JSON for programs, with the same content.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::{Value, json};
use weft_crd::Key;
use weft_decide::explain::{Cause, Verdict};

use super::ask::tame;
use super::mesh::Mesh;
use super::report::{By, EndpointReport, Outcome, Report, Told, WayReport};

/// How many matches that did not decide are shown as text.
const PASSED_OVER_MAX: usize = 16;

/// How many endpoints of a kind are named as text.
const NAMED_MAX: usize = 3;

/// What was asked, for the first line.
pub struct Question<'q> {
    /// The method.
    pub method: &'q str,
    /// The URL.
    pub url: &'q str,
    /// The identity of the caller.
    pub identity: String,
    /// The address that servers see it at, where that is known.
    pub address: Option<IpAddr>,
    /// The route and rule that it falls under, as records have them.
    pub rule: Option<(String, String)>,
}

/// The report as text.
pub fn text(mesh: &Mesh, question: &Question<'_>, report: &Report) -> String {
    let Question { method, url, identity, address, rule: _ } = question;
    let mut out = String::new();
    let place = match address {
        Some(address) => format!("at {address}"),
        None => "whose address is not known".to_owned(),
    };
    line(&mut out, 0, format_args!("{method} {url} from {identity}, {place}"));
    out.push('\n');
    report.steps.iter().for_each(|told| step(&mut out, mesh, 0, told));
    for way in &report.ways {
        out.push('\n');
        way_text(&mut out, mesh, way);
    }
    out.push('\n');
    for outcome in &report.outcomes {
        line(&mut out, 0, format_args!("outcome: {}", in_words(outcome)));
    }
    out
}

fn way_text(out: &mut String, mesh: &Mesh, way: &WayReport) {
    for (index, told) in way.steps.iter().enumerate() {
        step(out, mesh, usize::from(index > 0), told);
    }
    for same in kinds(&way.endpoints) {
        endpoints_text(out, mesh, way, &same);
    }
    for outcome in &way.outcomes {
        line(out, 1, format_args!("outcome: {}", in_words(outcome)));
    }
}

/// Endpoints that differ by name only, together.
fn kinds(endpoints: &[EndpointReport]) -> Vec<Vec<&EndpointReport>> {
    let is_like = |one: &EndpointReport, other: &EndpointReport| {
        let decided = |it: &EndpointReport| it.steps.get(1).map(|told| told.step.clone());
        (one.health, one.distance, &one.identity, one.is_preferred)
            == (other.health, other.distance, &other.identity, other.is_preferred)
            && decided(one) == decided(other)
            && (one.outcome.by, &one.outcome.reason) == (other.outcome.by, &other.outcome.reason)
    };
    let mut kinds: Vec<Vec<&EndpointReport>> = Vec::new();
    for endpoint in endpoints {
        match kinds.iter_mut().find(|kind| is_like(kind[0], endpoint)) {
            Some(kind) => kind.push(endpoint),
            None => kinds.push(vec![endpoint]),
        }
    }
    kinds
}

/// Endpoints of one kind. Whether the outcome differs between kinds, `is_mixed` says.
fn endpoints_text(out: &mut String, mesh: &Mesh, way: &WayReport, same: &[&EndpointReport]) {
    for endpoint in same.iter().take(NAMED_MAX) {
        endpoint.steps.iter().take(1).for_each(|told| step(out, mesh, 1, told));
    }
    if same.len() > NAMED_MAX {
        let more = same.len() - NAMED_MAX;
        line(out, 1, format_args!("endpoint: {more} more of the same"));
    }
    let Some(endpoint) = same.first().filter(|endpoint| endpoint.is_callable) else { return };
    endpoint.steps.iter().skip(1).for_each(|told| step(out, mesh, 2, told));
    if !endpoint.is_preferred {
        let when = match way.is_hashed {
            true => "that to which the hash belongs may not be called",
            false => "the nearer ones are overloaded",
        };
        line(out, 2, format_args!("only if {when}"));
    }
    if way.outcomes.len() > 1 {
        line(out, 2, format_args!("outcome there: {}", in_words(&endpoint.outcome)));
    }
}

fn step(out: &mut String, mesh: &Mesh, depth: usize, told: &Told) {
    let Told { step, not } = told;
    line(out, depth, format_args!("{}: {}", step.stage, step.verdict));
    for cause in &step.because {
        line(out, depth + 1, format_args!("{}", cause_text(mesh, cause)));
    }
    for cause in not.iter().take(PASSED_OVER_MAX) {
        line(out, depth + 1, format_args!("not {}", cause_text(mesh, cause)));
    }
    if not.len() > PASSED_OVER_MAX {
        let more = not.len() - PASSED_OVER_MAX;
        line(out, depth + 1, format_args!("nor {more} more, which --output json names"));
    }
}

/// As in `shop/cart HTTPRoute spec.rules[0].matches[1]: a note  (route.yaml:14)`.
fn cause_text(mesh: &Mesh, cause: &Cause) -> String {
    let (key, place) = mesh.place(cause);
    let Cause { kind, field, note, .. } = cause;
    let mut text = match &key {
        Some(Key { namespace, name, .. }) if namespace.is_empty() => format!("{name} {kind}"),
        Some(Key { namespace, name, .. }) => format!("{namespace}/{name} {kind}"),
        None => (*kind).to_owned(),
    };
    if !field.is_empty() {
        let _ = write!(text, " {field}");
    }
    if !note.is_empty() {
        let _ = write!(text, ": {note}");
    }
    if let Some(place) = place {
        let _ = write!(text, "  ({}:{})", place.file, place.line);
    }
    text
}

fn line(out: &mut String, depth: usize, text: std::fmt::Arguments<'_>) {
    let text = tame(&text.to_string());
    let _ = writeln!(out, "{:width$}{text}", "", width = 2 * depth);
}

/// What a caller gets, in a line.
fn in_words(outcome: &Outcome) -> String {
    let Outcome { by, status, grpc_status, reason, server_reason, is_meant: _ } = outcome;
    let Some((reason, detail)) = reason else { return "an application answers".to_owned() };
    let what = match (status, grpc_status) {
        (_, Some(grpc)) => format!("the call fails with status {grpc}"),
        (Some(status), None) => format!("status {status}"),
        (None, None) => "the connection is closed".to_owned(),
    };
    let who = match by {
        By::Application | By::Server => "server's",
        By::Caller => "caller's",
    };
    let server = server_reason.as_ref().map(|(reason, _)| format!(" ({reason})"));
    let server = server.unwrap_or_default();
    format!("{what}, {reason}{server}, by the {who} proxy: {detail}")
}

/// The report as JSON.
pub fn json(mesh: &Mesh, question: &Question<'_>, report: &Report) -> Value {
    let Question { method, url, identity, address, rule } = question;
    let steps =
        |steps: &[Told]| -> Vec<Value> { steps.iter().map(|told| step_json(mesh, told)).collect() };
    let outcomes =
        |outcomes: &[Outcome]| -> Vec<Value> { outcomes.iter().map(outcome_json).collect() };
    let endpoint = |endpoint: &EndpointReport| {
        let policy = endpoint.policy.as_ref();
        json!({
            "workload": endpoint.workload,
            "address": endpoint.address,
            "health": endpoint.health,
            "distance": endpoint.distance,
            "identity": endpoint.identity,
            "callable": endpoint.is_callable,
            "preferred": endpoint.is_preferred,
            "policy": policy.map(|(name, _)| name),
            "policy_field": policy.map(|(_, field)| field),
            "audited": endpoint.audited,
            "steps": steps(&endpoint.steps),
            "outcome": outcome_json(&endpoint.outcome),
        })
    };
    let way = |way: &WayReport| {
        json!({
            "backend": way.backend,
            "backend_port": way.port,
            "authority": way.sent.as_ref().map(|(authority, _)| authority),
            "path": way.sent.as_ref().map(|(_, path)| path),
            "share": way.share,
            "of": way.total,
            "steps": steps(&way.steps),
            "endpoints": way.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
            "outcomes": outcomes(&way.outcomes),
            "late": way.late.as_ref().map(outcome_json),
        })
    };
    let retry = report.retry.as_ref();
    json!({
        "method": method,
        "url": url,
        "from": identity,
        "address": address,
        "protocol": report.protocol,
        "route": rule.as_ref().map(|(route, _)| route),
        "rule": rule.as_ref().map(|(_, rule)| rule),
        "retry": retry.map(|(attempts, codes)| json!({ "attempts": attempts, "codes": codes })),
        "steps": steps(&report.steps),
        "destinations": report.ways.iter().map(way).collect::<Vec<_>>(),
        "outcomes": outcomes(&report.outcomes),
        "answered": report.is_answered(),
    })
}

fn step_json(mesh: &Mesh, told: &Told) -> Value {
    let Told { step, not } = told;
    let causes = |causes: &[Cause]| -> Vec<Value> {
        causes.iter().map(|cause| cause_json(mesh, cause)).collect()
    };
    let (text, refused) = match &step.verdict {
        Verdict::Passed(text) => (text, None),
        Verdict::Refused { reason, text } => (text, Some(*reason)),
    };
    let mut value = json!({
        "step": step.stage.to_string(),
        "text": text,
        "because": causes(&step.because),
    });
    if let Some(reason) = refused {
        value["refused"] = json!(reason);
    }
    if !not.is_empty() {
        value["not"] = json!(causes(not));
    }
    value
}

fn cause_json(mesh: &Mesh, cause: &Cause) -> Value {
    let (key, place) = mesh.place(cause);
    let Cause { kind, field, note, .. } = cause;
    let mut value = json!({ "kind": kind });
    let mut put = |name: &str, text: &str| {
        if !text.is_empty() {
            value[name] = json!(text);
        }
    };
    if let Some(Key { namespace, name, .. }) = &key {
        put("namespace", namespace);
        put("name", name);
    }
    put("field", field);
    put("note", note);
    if let Some(place) = place {
        put("file", &place.file);
        value["line"] = json!(place.line);
    }
    value
}

fn outcome_json(outcome: &Outcome) -> Value {
    let Outcome { by, status, grpc_status, reason, server_reason, is_meant: _ } = outcome;
    let by = match by {
        By::Application => "application",
        By::Server => "server-proxy",
        By::Caller => "caller-proxy",
    };
    let mut value = json!({ "by": by });
    let named = [("status", status.map(u32::from)), ("grpc_status", *grpc_status)];
    for (name, number) in named {
        if let Some(number) = number {
            value[name] = json!(number);
        }
    }
    if let Some((reason, detail)) = reason {
        value["reason"] = json!(reason);
        value["detail"] = json!(detail);
    }
    if let Some((reason, detail)) = server_reason {
        value["server_reason"] = json!(reason);
        value["server_detail"] = json!(detail);
    }
    value
}
