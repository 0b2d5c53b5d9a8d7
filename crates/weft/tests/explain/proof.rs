//! What `weft explain` says of a running mesh is what the proxies on both sides then record.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::Value;

use super::generated::{Draw, Request, request, resources};
use super::lab::{Answer, CALLERS, Lab};

/// How many sets of resources are tried, and how many requests with each.
const ROUNDS: usize = 5;
const REQUESTS: usize = 40;

/// Where the numbers begin.
const SEED: u64 = 2;

#[test]
fn what_is_explained_is_what_the_proxies_then_record() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let lab = Lab::start().await;
        let mut draw = Draw(SEED);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for round in 0..ROUNDS {
            let applied = resources(&mut draw, round);
            lab.apply(&applied).await;
            for number in 0..REQUESTS {
                let request = request(&mut draw);
                let trace = format!("{:032x}", 1 + round * REQUESTS + number);
                let kind = prove(&lab, &request, &trace, &applied);
                *seen.entry(kind).or_default() += 1;
            }
        }
        assert_eq!(lab.unexpected(), 0, "a request was recorded where it did not go");
        // It proves little if all requests meet the same end.
        let count = |kind: &str| seen.get(kind).copied().unwrap_or(0);
        assert_eq!(seen.values().sum::<usize>(), ROUNDS * REQUESTS);
        assert!(count("answered") >= 20, "{seen:?}");
        let common = ["deny-rule", "no-allow-rule", "no-route", "no-backend", "bad-path"];
        assert!(common.iter().all(|kind| count(kind) >= 2), "{seen:?}");
    });
}

/// Explains the request, sends it, and compares what was said with what both proxies recorded.
/// Returns how it ended.
fn prove(lab: &Lab, request: &Request, trace: &str, applied: &str) -> String {
    let Request { caller, service, method, authority, target, headers } = request;
    let url = format!("http://{authority}{target}");
    let from = CALLERS[*caller].to_owned();
    let mut arguments = vec![(*method).to_owned(), url, "--from".to_owned(), from];
    // Where it calls from no resource says.
    arguments.extend(["--address", "127.0.0.1", "--output", "json"].map(str::to_owned));
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n");
    for header in headers {
        arguments.extend(["-H".to_owned(), header.clone()]);
        head.push_str(&format!("{header}\r\n"));
    }
    head.push_str(&format!("traceparent: 00-{trace}-00000000000000ff-01\r\n\r\n"));

    let Output { status, stdout, stderr } = lab.explain(&arguments);
    let errors = String::from_utf8(stderr).unwrap();
    let said: Value = serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("{errors}"));
    assert_eq!(status.code(), Some(i32::from(said["answered"] == false)));

    let answer = lab.send(*caller, *service, head.as_bytes());
    let outbound = lab.outbound(trace);
    let attempts = usize::try_from(outbound["attempts"].as_u64().unwrap()).unwrap();
    let inbound = lab.inbound(trace, attempts);
    agree(&said, &answer, &outbound, &inbound).unwrap_or_else(|what| {
        panic!(
            "{what} is not as it was said: {request:?}\nsaid: {said:#}\noutbound: {outbound:#}\n\
             inbound: {inbound:#?}\n{applied}"
        )
    })
}

/// Whether `said` holds of the answer and of all records; if not, what is not as it was said.
/// Returns how the request ended.
fn agree(
    said: &Value,
    answer: &Answer,
    outbound: &Value,
    inbound: &[(String, Value)],
) -> Result<String, &'static str> {
    let check = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(what) };
    check(said["route"] == outbound["route"], "the route")?;
    check(said["rule"] == outbound["rule"], "the rule")?;
    let ways = said["destinations"].as_array().ok_or("the form")?;
    let is_taken = |way: &&Value| {
        way["backend"] == outbound["backend"] && way["backend_port"] == outbound["backend_port"]
    };
    let taken: Vec<_> = ways.iter().filter(is_taken).collect();
    check(ways.is_empty() || !taken.is_empty(), "the backend")?;

    let reason = answer.reason.clone().unwrap_or_default();
    check(outbound["status"] == answer.status, "the status that the caller got")?;

    if inbound.is_empty() {
        // The caller's own proxy has answered.
        let outcomes: Vec<&Value> = match taken.is_empty() {
            true => said["outcomes"].as_array().into_iter().flatten().collect(),
            false => taken.iter().flat_map(|way| way["outcomes"].as_array()).flatten().collect(),
        };
        let is_it = |one: &&Value| {
            one["by"] == "caller-proxy"
                && one["status"] == outbound["status"]
                && one["reason"] == outbound["reason"]
                && one["detail"] == outbound["detail"]
        };
        let found = outcomes.into_iter().find(is_it).ok_or("the caller's proxy's answer")?;
        check(found["reason"] == reason.as_str(), "the reason that the caller got")?;
        return Ok(reason);
    }
    check(outbound["reason"].is_null(), "whose answer it is")?;
    // There may be several attempts, where the rule asks for them, and the last one counts.
    let mut last = None;
    for (workload, record) in inbound {
        let endpoints = taken.iter().flat_map(|way| way["endpoints"].as_array()).flatten();
        let mut endpoints = endpoints.filter(|one| one["workload"] == workload.as_str());
        let endpoint = endpoints.next().ok_or("the endpoint")?;
        check(endpoint["callable"] == true, "whether it may be called")?;
        check(record["peer"] == said["from"], "the identity")?;
        judged(endpoint, record)?;
        if outbound["workload"] == workload.as_str() {
            check(endpoint["address"] == outbound["upstream"], "the address")?;
            last = Some(endpoint);
        }
    }
    let outcome = &last.ok_or("the endpoint that was tried last")?["outcome"];
    if outcome["by"] == "application" {
        check(answer.status == 200 && reason.is_empty(), "the application's answer")?;
        check(outbound["workload"] == answer.body.as_str(), "the application")?;
        return Ok("answered".to_owned());
    }
    check(outcome["status"] == answer.status, "the status")?;
    check(outcome["reason"] == reason.as_str(), "the reason that the caller got")?;
    Ok(reason)
}

/// Whether what is said of an endpoint is what its proxy recorded.
fn judged(endpoint: &Value, record: &Value) -> Result<(), &'static str> {
    let check = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(what) };
    let audited = endpoint["audited"].as_array().into_iter().flatten();
    let audited: Vec<_> = audited.filter_map(Value::as_str).collect();
    check(audited.join(", ") == record["audited"].as_str().unwrap_or_default(), "the audit")?;
    let outcome = &endpoint["outcome"];
    if outcome["by"] == "application" {
        return check(record["status"] == 200 && record["reason"].is_null(), "what is let through");
    }
    check(outcome["by"] == "server-proxy", "who answers")?;
    check(outcome["status"] == record["status"], "the status that the server's proxy recorded")?;
    check(outcome["reason"] == record["reason"], "the reason that the server's proxy recorded")?;
    check(outcome["detail"] == record["detail"], "the reason in words")?;
    let detail = record["detail"].as_str().unwrap_or_default();
    match (endpoint["policy"].as_str(), endpoint["policy_field"].as_str()) {
        (Some(policy), Some(field)) => {
            check(detail.contains(&format!("{policy} {field}")), "the deciding rule")
        }
        _ => check(!detail.contains("authorization/"), "the deciding rule"),
    }
}
