//! Each case that is drawn is explained, sent, and compared with all that was recorded of it.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::Value;

use super::called::{By, CALLERS, called};
use super::clients::{Answer, curl, redis_cli};
use super::generated::{Case, Drawing, Sent, WAITING, case, resources};
use super::lab::Lab;

/// How many sets of resources are tried at least, and how many cases with each.
const ROUNDS: usize = 5;
const CASES: usize = 50;

/// How many sets are tried until [`WANTED`] has been seen.
const ROUNDS_MAX: usize = 20;

/// Where the numbers begin, unless `WEFT_EXPLAIN_SEED` says it.
const SEED: u64 = 1;

#[test]
fn what_is_explained_is_what_the_proxies_then_record() {
    let seed = std::env::var("WEFT_EXPLAIN_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let mut lab = Lab::start();
    let mut draw = Drawing::new(seed, false);
    let mut seen = Seen::default();
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS && seen.lacks().is_none() {
            break;
        }
        let applied = resources(&mut draw, round);
        lab.apply(&applied);
        for number in 0..CASES {
            let case = case(&mut draw);
            let trace = format!("{:032x}", 1 + round * CASES + number);
            let found = prove(&mut lab, &case, &trace);
            let ended = found.agree().unwrap_or_else(|what| {
                panic!(
                    "seed {seed}: {what} is not as it was said: {found:#?}\n{case:#?}\n{applied}"
                )
            });
            seen.add(&found, &ended);
        }
    }
    println!("{:#?}", seen.0);
    nothing_else(&lab);
    assert_eq!(seen.lacks(), None, "it proves little if all meet the same end");
}

/// Nothing was recorded but what was sent.
fn nothing_else(lab: &Lab) {
    assert_eq!(lab.outbound.left(), [] as [Value; 0], "nobody sent this");
    assert_eq!(lab.store.left(), [] as [Value; 0], "it went where it should not");
    // Where nothing is declared and a caller takes its time, its proxy looks whether the server
    // speaks first. No byte of the caller went that way.
    for record in lab.web.left().iter().filter(|record| record["path"] != WAITING) {
        assert!(record["trace_id"].is_null() && record["bytes_received"] == 0, "{record:#}");
        assert!(record["protocol"] == "tcp", "{record:#}");
    }
}

/// How often what was spoken has ended how, as `PROTOCOL END`.
#[derive(Default)]
struct Seen(BTreeMap<String, usize>);

impl Seen {
    fn add(&mut self, found: &Found, ended: &str) {
        let protocol = found.outbound["protocol"].as_str().unwrap_or_default();
        let mut count = |what: &str| *self.0.entry(format!("{protocol} {what}")).or_default() += 1;
        count(ended);
        if !found.inbound.is_empty() && found.is_rewritten() {
            count("rewritten");
        }
        if attempts(&found.outbound) > 1 {
            count("tried again");
        }
    }

    /// What of [`WANTED`] is not there often enough.
    fn lacks(&self) -> Option<String> {
        let ends = |(protocol, ends): (&'static str, &'static [&'static str])| {
            ends.iter().map(move |end| format!("{protocol} {end}"))
        };
        WANTED.into_iter().flat_map(ends).find(|name| {
            let least = if name.ends_with("answered") { 20 } else { 2 };
            self.0.get(name).copied().unwrap_or(0) < least
        })
    }
}

/// What must have been seen of everything that is HTTP.
const HTTP: [&str; 5] = ["answered", "deny-rule", "no-allow-rule", "no-route", "no-backend"];

/// What must have been seen.
const WANTED: [(&str, &[&str]); 10] = [
    ("http/1.1", &HTTP),
    ("http/1.1", &["tried again", "bad-path", "bad-request"]),
    ("http/1.1", &["redirect", "cors-preflight", "rewritten"]),
    ("http/2", &HTTP),
    ("http/2", &["tried again", "bad-path"]),
    ("http/2", &["redirect", "cors-preflight", "rewritten"]),
    ("grpc", &HTTP),
    ("grpc", &["caller-timeout", "request-timeout"]),
    ("grpc", &["rewritten"]),
    (
        "tcp",
        &[
            "answered",
            "tunnel-refused (deny-rule)",
            "tunnel-refused (no-allow-rule)",
            "tunnel-refused (cannot-evaluate)",
            "no-backend",
        ],
    ),
];

/// What was said of a case, and what has become of it.
#[derive(Debug)]
struct Found {
    said: Value,
    answer: Answer,
    outbound: Value,
    /// Each with its workload.
    inbound: Vec<(String, Value)>,
}

/// Why bytes and TLS are not drawn here.
const DRAWN_WIDELY: &str = "only what is drawn widely has what no program here sends";

type Checked<T> = Result<T, &'static str>;

fn check(holds: bool, what: &'static str) -> Checked<()> {
    if holds { Ok(()) } else { Err(what) }
}

/// Explains the case, then sends it, and collects what both proxies recorded.
fn prove(lab: &mut Lab, case: &Case, trace: &str) -> Found {
    let said = explained(lab, case, &case.sent);
    let answer = send(lab, case, trace);
    match &case.sent {
        Sent::Opaque => {
            let outbound = lab.outbound.take_one("");
            let inbound = match called(false)[case.called].by {
                By::Store => lab.store.take("", attempts(&outbound)),
                By::Web | By::Shadow => Vec::new(),
            };
            Found { said, answer, outbound, inbound }
        }
        // Its first bytes came so late that its proxy looked whether the server speaks first, and
        // was refused for a reason that holds whatever is spoken.
        _ if answer.is_cut() => {
            let (said, answer) = (explained(lab, case, &Sent::Opaque), Answer::default());
            let outbound = lab.outbound.take_one("");
            Found { said, answer, outbound, inbound: Vec::new() }
        }
        _ => {
            let outbound = lab.outbound.take_one(trace);
            // What takes too long may be over before it has arrived, or there a little later.
            let is_late = outbound["reason"].as_str().is_some_and(|it| it.ends_with("-timeout"));
            let count = if is_late { 0 } else { attempts(&outbound) };
            let inbound = lab.web.take(trace, count);
            Found { said, answer, outbound, inbound }
        }
    }
}

fn attempts(outbound: &Value) -> usize {
    usize::try_from(outbound["attempts"].as_u64().unwrap_or(0)).unwrap()
}

/// What is said of the case if `sent` is what is sent.
fn explained(lab: &Lab, case: &Case, sent: &Sent) -> Value {
    let authority = &case.authority;
    let asked = |method: &str, url: String, headers: &[String]| {
        let headers = headers.iter().flat_map(|header| ["-H".to_owned(), header.clone()]);
        [method.to_owned(), url].into_iter().chain(headers).collect::<Vec<_>>()
    };
    let mut arguments = match sent {
        Sent::Opaque => asked("TCP", format!("tcp://{authority}"), &[]),
        Sent::Raw(text) => unreachable!("{DRAWN_WIDELY}, as {text}"),
        Sent::Tls(name) => {
            let server = name.map(|name| ["--server-name", name].map(str::to_owned));
            [
                asked("TLS", format!("tls://{authority}"), &[]),
                server.into_iter().flatten().collect(),
            ]
            .concat()
        }
        Sent::Call { path, headers, waits } => {
            let headers = with_timeout(headers, *waits);
            asked("GRPC", format!("grpc://{authority}{path}"), &headers)
        }
        Sent::Request { is_http2, method, target, headers } => {
            let mut arguments = asked(method, format!("http://{authority}{target}"), headers);
            arguments.extend(is_http2.then(|| "--http2".to_owned()));
            arguments
        }
    };
    // Where it calls from no resource says.
    let others = ["--from", CALLERS[case.caller], "--address", "127.0.0.1", "--output", "json"];
    arguments.extend(others.map(str::to_owned));
    let Output { status, stdout, stderr } = lab.explain(&arguments);
    let said: Value = serde_json::from_slice(&stdout)
        .unwrap_or_else(|_| panic!("{arguments:?}: {}", String::from_utf8_lossy(&stderr)));
    assert_eq!(status.code(), Some(i32::from(said["answered"] == false)), "{arguments:?}");
    said
}

fn with_timeout(headers: &[String], waits: Option<&str>) -> Vec<String> {
    let timeout = waits.map(|waits| format!("grpc-timeout: {waits}"));
    headers.iter().cloned().chain(timeout).collect()
}

/// Sends the case, as one of `trace`.
fn send(lab: &mut Lab, case: &Case, trace: &str) -> Answer {
    let Case { caller, called, authority, sent } = case;
    let address = lab.listener(*caller, *called);
    let traced = |headers: &[String]| {
        let parent = format!("traceparent: 00-{trace}-00000000000000ff-01");
        headers.iter().cloned().chain([parent]).collect::<Vec<_>>()
    };
    match sent {
        Sent::Opaque => redis_cli(address),
        Sent::Raw(_) | Sent::Tls(_) => unreachable!("{DRAWN_WIDELY}"),
        Sent::Request { is_http2, method, target, headers } => {
            curl(address, *is_http2, [*method, authority, target], &traced(headers))
        }
        Sent::Call { path, headers, waits: None } => {
            lab.grpcio.call(address, authority, path, &traced(headers))
        }
        // The library would end the call itself, and the proxy's word on it would not be seen.
        Sent::Call { path, headers, waits } => {
            let of_grpc = ["content-type: application/grpc", "te: trailers"].map(str::to_owned);
            let headers = [with_timeout(&traced(headers), *waits), of_grpc.into()].concat();
            curl(address, true, ["POST", authority, path], &headers)
        }
    }
}

impl Found {
    /// Whether a filter makes it a request for something else, wherever it goes.
    fn is_rewritten(&self) -> bool {
        let said = [&self.said];
        let ways: Vec<_> = listed(&said, "destinations").collect();
        let mut steps = listed(&said, "steps").chain(listed(&ways, "steps"));
        let is_it = |text: &str| text.starts_with("the request is for http://");
        steps.any(|step| step["step"] == "filter" && step["text"].as_str().is_some_and(is_it))
    }

    /// Whether what was said holds of the answer and of all records; if not, what is not as it was
    /// said. Returns how the case ended.
    fn agree(&self) -> Checked<String> {
        let Found { said, answer, outbound, inbound } = self;
        check(said["protocol"] == outbound["protocol"], "what is spoken")?;
        check(said["route"] == outbound["route"], "the route")?;
        check(said["rule"] == outbound["rule"], "the rule")?;
        let got = |found: Option<u64>, name: &str| {
            found.is_none_or(|found| outbound[name].as_u64() == Some(found))
        };
        check(got(answer.status, "status"), "the status that the caller got")?;
        check(got(answer.grpc_status, "grpc_status"), "the status of gRPC that it got")?;

        let ways = said["destinations"].as_array().ok_or("the form")?;
        let is_taken = |way: &&Value| {
            way["backend"] == outbound["backend"] && way["backend_port"] == outbound["backend_port"]
        };
        let taken: Vec<_> = ways.iter().filter(is_taken).collect();
        check(ways.is_empty() || !taken.is_empty(), "the backend")?;
        let endpoints: Vec<_> = listed(&taken, "endpoints").collect();
        for (workload, record) in inbound {
            check(taken.iter().any(|way| arrives(way, record)), "the host or path that arrives")?;
            let mut named = endpoints.iter().filter(|one| one["workload"] == workload.as_str());
            let endpoint = named.next().ok_or("the endpoint")?;
            check(endpoint["callable"] == true, "whether it may be called")?;
            check(record["peer"] == said["from"], "the identity")?;
            judged(endpoint, record)?;
        }
        let last = endpoints.iter().find(|one| one["workload"] == outbound["workload"]);
        if outbound["workload"].is_string() {
            let last = last.ok_or("the endpoint that was tried last")?;
            check(last["address"] == outbound["upstream"], "the address")?;
        }
        if let Some(late) = listed_one(&taken, "late").find(|late| self.is_late(late)) {
            return Ok(late["reason"].as_str().unwrap_or_default().to_owned());
        }
        self.tries(&endpoints)?;
        if outbound["reason"].is_null() {
            return self.carried(&last.ok_or("who answers")?["outcome"]);
        }
        let outcomes: Vec<_> = match last {
            Some(endpoint) => vec![&endpoint["outcome"]],
            None if taken.is_empty() => listed(&[said], "outcomes").collect(),
            None => listed(&taken, "outcomes").collect(),
        };
        self.refused(&outcomes)
    }

    /// Whether it has ended as `late` says, since the application never answered.
    fn is_late(&self, late: &Value) -> bool {
        let Found { answer, outbound, inbound, .. } = self;
        let is_recorded =
            |record: &Value| ["reason", "detail"].iter().all(|name| record[name] == late[name]);
        // If both proxies' time is up at once, it may be the server's that says so.
        let of_server = |record: &Value| record["reason"] == "caller-timeout";
        let is_of_server = inbound.iter().any(|(_, record)| of_server(record));
        outbound["status"] == late["status"]
            && outbound["grpc_status"] == late["grpc_status"]
            && (is_recorded(outbound) || (outbound["reason"].is_null() && is_of_server))
            && (late["reason"] == answer.reason.as_str() || is_of_server)
    }

    /// Whether it was tried as often as the rule says.
    fn tries(&self, endpoints: &[&Value]) -> Checked<()> {
        let Found { said, outbound, inbound, .. } = self;
        let retries = attempts(outbound).saturating_sub(1) as u64;
        let codes = said["retry"]["codes"].as_array().map_or(&[][..], Vec::as_slice);
        let retries_max = said["retry"]["attempts"].as_u64().unwrap_or(0);
        let outcome = |workload: &Value| {
            endpoints.iter().find(|one| one["workload"] == *workload).map(|one| &one["outcome"])
        };
        let is_listed = |outcome: &Value| codes.contains(&outcome["status"]);
        // Nobody has processed what a tunnel was refused for.
        let is_free = |outcome: &Value| outcome["server_reason"].is_string();
        let workloads = inbound.iter().map(|(workload, _)| Value::from(workload.as_str()));
        let outcomes: Vec<_> = workloads.filter_map(|workload| outcome(&workload)).collect();
        let again = outcomes.iter().filter(|one| is_listed(one) || is_free(one)).count();
        check(again as u64 >= retries, "that it is tried again")?;
        let is_asked_for = outcome(&outbound["workload"]).is_some_and(is_listed);
        let is_over = retries >= retries_max || !outbound["retry_denied"].is_null();
        check(!is_asked_for || is_over, "that it is not tried again")?;
        check(outcomes.iter().any(|one| is_free(one)) || retries <= retries_max, "how often")
    }

    /// Whether the answer that was passed on is what `outcome` says.
    fn carried(&self, outcome: &Value) -> Checked<String> {
        let Found { answer, outbound, .. } = self;
        if outcome["by"] == "application" {
            check(answer.reason.is_empty(), "the application's answer")?;
            check(outbound["workload"] == answer.app.as_str(), "the application")?;
            return Ok("answered".to_owned());
        }
        check(outcome["by"] == "server-proxy", "whose answer it is")?;
        check(outcome["status"] == outbound["status"], "the status")?;
        check(outcome["grpc_status"] == outbound["grpc_status"], "the status of gRPC")?;
        check(outcome["reason"] == answer.reason.as_str(), "the reason that the caller got")?;
        Ok(answer.reason.clone())
    }

    /// Whether one of `outcomes` is what the caller's own proxy has answered.
    fn refused(&self, outcomes: &[&Value]) -> Checked<String> {
        let Found { answer, outbound, .. } = self;
        let is_it = |one: &&&Value| {
            let names = ["status", "grpc_status", "reason", "detail"];
            one["by"] == "caller-proxy" && names.iter().all(|name| one[name] == outbound[name])
        };
        let found = outcomes.iter().find(is_it).ok_or("the caller's proxy's answer")?;
        let has_answered = answer.status.is_some() || answer.grpc_status.is_some();
        let is_told = found["reason"] == answer.reason.as_str();
        check(is_told || !has_answered, "the reason that the caller got")?;
        let text = |name: &str| found[name].as_str();
        let reason = text("reason").unwrap_or_default();
        let server = text("server_reason").map(|server| format!(" ({server})"));
        Ok(format!("{reason}{}", server.unwrap_or_default()))
    }
}

/// Whether `record` of the server's proxy is one of a request as it is said to be sent that way.
fn arrives(way: &Value, record: &Value) -> bool {
    // The port of http is written or not, as clients like it.
    let host = |value: &Value| {
        let host = value["authority"].as_str().unwrap_or_default();
        host.strip_suffix(":80").unwrap_or(host).to_owned()
    };
    host(way) == host(record) && way["path"] == record["path"]
}

/// What the lists called `name` of `values` hold.
fn listed<'v>(values: &[&'v Value], name: &str) -> impl Iterator<Item = &'v Value> {
    listed_one(values, name).filter_map(Value::as_array).flatten()
}

fn listed_one<'v>(values: &[&'v Value], name: &str) -> impl Iterator<Item = &'v Value> {
    values.iter().map(move |value| &value[name])
}

/// Whether what is said of an endpoint is what its proxy recorded.
fn judged(endpoint: &Value, record: &Value) -> Checked<()> {
    let audited: Vec<_> = listed(&[endpoint], "audited").filter_map(Value::as_str).collect();
    check(audited.join(", ") == record["audited"].as_str().unwrap_or_default(), "the audit")?;
    let outcome = &endpoint["outcome"];
    if outcome["by"] == "application" {
        return check(record["upstream"].is_string(), "what is let through");
    }
    // What refuses a tunnel answers nothing, and is told by the caller's proxy.
    let told = match outcome["by"] == "server-proxy" {
        true => [("reason", "reason"), ("detail", "detail")],
        false => [("reason", "server_reason"), ("detail", "server_detail")],
    };
    for (recorded, said) in told {
        check(outcome[said] == record[recorded], "what the server's proxy recorded")?;
    }
    if outcome["by"] == "server-proxy" {
        check(outcome["status"] == record["status"], "the status that it recorded")?;
        check(outcome["grpc_status"] == record["grpc_status"], "that of gRPC")?;
    }
    check(record["upstream"].is_null(), "what is not let through")?;
    let detail = record["detail"].as_str().unwrap_or_default();
    match (endpoint["policy"].as_str(), endpoint["policy_field"].as_str()) {
        (Some(policy), Some(field)) => {
            check(detail.contains(&format!("{policy} {field}")), "the deciding rule")
        }
        _ => check(!detail.contains("authorization/"), "the deciding rule"),
    }
}
