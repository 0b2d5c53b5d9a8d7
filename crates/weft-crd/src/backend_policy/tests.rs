//! BackendPolicies, valid and invalid.

use super::*;
use crate::balance::Algorithm;
use crate::resource::Resource;
use crate::session_persistence::SessionCarrier;
use crate::subset::{SubsetFallback, SubsetLabel};
use crate::testing::{check, valid};

const HEAD: &str =
    "apiVersion: weft.dev/v1alpha1\nkind: BackendPolicy\nmetadata: { name: p, namespace: shop }";
const TARGET: &str = "targetRefs: [{group: '', kind: Service, name: payments}]";

fn policy(spec: &str) -> BackendPolicy {
    match valid(&format!("{HEAD}\nspec: {spec}")).resource {
        Resource::BackendPolicy(policy) => *policy,
        other => panic!("not a BackendPolicy: {other:?}"),
    }
}

#[test]
fn what_is_not_written_is_left_open() {
    let policy = policy(&format!("{{{TARGET}}}"));
    assert_eq!(policy.targets, [Target::Service("payments".to_owned())]);
    assert_eq!((policy.load_balancing, policy.slow_start), (None, None));
    assert_eq!(policy.limits, Limits::default());
    assert_eq!(policy.timeouts, BackendTimeouts::default());
}

#[test]
fn a_whole_one() {
    let policy = policy(&format!(
        "
  {TARGET}
  loadBalancing: {{ algorithm: PeakEwma, panicThresholdPercent: 30 }}
  slowStart: {{ window: 30s }}
  locality: {{ prefer: Zone, spillAtLoadRatio: 1.3 }}
  limits: {{ requests: 512, pending: 128, connections: 64, requestsPerEndpoint: 32,
    adaptiveTolerance: 1.5 }}
  ejection: {{ consecutiveFailures: 5, baseTime: 30s, maxEjectedPercent: 50,
    failuresAbovePeersPercent: 30, latencyTimesPeers: 2.5, interval: 30s, minRequests: 20 }}
  retryBudget: {{ percent: 20, minPerSecond: 10 }}
  timeouts: {{ connect: 2s, idle: 1m, streamIdle: 8h }}"
    ));
    let algorithm = Algorithm::PeakEwma;
    assert_eq!(policy.load_balancing, Some(LoadBalancing { algorithm, hash_on: vec![] }));
    assert_eq!(policy.panic_threshold, Percent::new(30));
    assert_eq!(policy.slow_start, Some(Duration::from_secs(30)));
    assert_eq!(
        policy.locality,
        LocalityPreference {
            prefer: Some(Prefer::Zone),
            spill_at_load_ratio: Some(Ratio::from_thousandths(1300)),
        }
    );
    assert_eq!(
        policy.limits,
        Limits {
            requests: Some(512),
            pending: Some(128),
            connections: Some(64),
            requests_per_endpoint: Some(32),
            adaptive_tolerance: Some(Some(Ratio::from_thousandths(1500))),
        }
    );
    assert_eq!(
        policy.ejection,
        Ejection {
            consecutive_failures: Some(5),
            base_time: Some(Duration::from_secs(30)),
            ejected_max: Percent::new(50),
            failures_above_peers: Percent::new(30),
            latency_times_peers: Some(Some(Ratio::from_thousandths(2500))),
            interval: Some(Duration::from_secs(30)),
            requests_min: Some(20),
        }
    );
    assert_eq!(
        policy.retry_budget,
        RetryBudget { percent: Percent::new(20), per_second_min: Some(10) }
    );
    assert_eq!(
        policy.timeouts,
        BackendTimeouts {
            connect: Some(Duration::from_secs(2)),
            idle: Some(Duration::from_secs(60)),
            stream_idle: Some(Duration::from_secs(8 * 3600)),
        }
    );
}

#[test]
fn a_bound_can_be_taken_away() {
    let none = "ejection: {latencyTimesPeers: 0}, limits: {adaptiveTolerance: 0}";
    let policy = policy(&format!("{{{TARGET}, {none}}}"));
    assert_eq!(policy.ejection.latency_times_peers, Some(None));
    assert_eq!(policy.limits.adaptive_tolerance, Some(None));
}

#[test]
fn it_may_be_for_a_namespace_or_the_mesh() {
    let of_namespace = "targetRefs: [{group: '', kind: Namespace, name: shop}]";
    assert_eq!(policy(&format!("{{{of_namespace}}}")).targets, [Target::Namespace]);
    let text = format!("{HEAD}\nspec: {{targetRefs: [{{group: weft.dev, kind: Mesh, name: m}}]}}");
    let text = text.replace("namespace: shop", "namespace: weft-system");
    let Resource::BackendPolicy(policy) = valid(&text).resource else { panic!("{text}") };
    assert_eq!(policy.targets, [Target::Mesh("m".to_owned())]);
}

#[test]
fn what_is_wrong() {
    let spec = |rest: &str| format!("{{{TARGET}, {rest}}}");
    let specs = [
        spec("limits: {requests: 0, pending: 0, open: 1}"),
        spec("locality: {prefer: Rack, spillAtLoadRatio: 0.5}"),
        spec("locality: {spillAtLoadRatio: 1.23456}"),
        spec("ejection: {consecutiveFailures: 0, baseTime: 0s, maxEjectedPercent: 101}"),
        spec("ejection: {latencyTimesPeers: 0.5, interval: 100ms, minRequests: 0}"),
        spec("ejection: {failuresAbovePeersPercent: -1, latencyTimesPeers: 101, interval: 1h}"),
        spec("timeouts: {connect: 0s, request: 1s}"),
        spec("targetSelectors: {}, keepAlive: {}, slowStart: {window: 2h}"),
    ];
    let findings: [&[&str]; 8] = [
        &[
            "error: spec.limits.requests: 0 is not allowed, the least is 1",
            "error: spec.limits.pending: 0 is not allowed, the least is 1",
            "error: spec.limits.open: unknown field",
        ],
        &[
            "error: spec.locality.prefer: \"Rack\" is not known here",
            "error: spec.locality.spillAtLoadRatio: 0.5 is not allowed, the least is 1",
        ],
        &["error: spec.locality.spillAtLoadRatio: 1.23456 has too many decimals, the most is 3"],
        &[
            "error: spec.ejection.consecutiveFailures: 0 is not allowed, the least is 1",
            "error: spec.ejection.baseTime: 0s is not allowed, the least is 1ms",
            "error: spec.ejection.maxEjectedPercent: 101 is not allowed, the most is 100",
        ],
        &[
            "error: spec.ejection.latencyTimesPeers: 0.5 is not allowed, the least is 1",
            "error: spec.ejection.interval: 100ms is not allowed, the least is 1s",
            "error: spec.ejection.minRequests: 0 is not allowed, the least is 1",
        ],
        &[
            "error: spec.ejection.failuresAbovePeersPercent: -1 is not allowed, the least is 0",
            "error: spec.ejection.latencyTimesPeers: 101 is not allowed, the most is 100",
            "error: spec.ejection.interval: 1h is not allowed, the most is 10m",
        ],
        &[
            "error: spec.timeouts.connect: 0s is not allowed, the least is 1ms",
            "error: spec.timeouts.request: unknown field",
        ],
        &[
            "error: spec.targetSelectors: not supported yet by this version",
            "error: spec.keepAlive: not supported yet by this version",
            "error: spec.slowStart.window: 2h is not allowed, the most is 1h",
        ],
    ];
    let cases: Vec<(&str, &[&str])> = specs.iter().map(String::as_str).zip(findings).collect();
    check(HEAD, &cases);
}

#[test]
fn targets() {
    check(
        HEAD,
        &[
            ("{}", &["error: spec.targetRefs: is required"]),
            (
                "{targetRefs: []}",
                &["error: spec.targetRefs: an empty list is not allowed: a policy is for \
                     something"],
            ),
            (
                "{targetRefs: [{kind: Service, name: a}]}",
                &["error: spec.targetRefs[0].group: is required"],
            ),
            (
                "{targetRefs: [{group: '', kind: Service, name: a}, {group: core, kind: Service, \
                 name: a}]}",
                &["error: spec.targetRefs[1]: names the same as spec.targetRefs[0]"],
            ),
            (
                "{targetRefs: [{group: '', kind: Service, name: a, namespace: b}]}",
                &["error: spec.targetRefs[0].namespace: is not allowed: a policy lives in the \
                     namespace of its target"],
            ),
            ("{targetRefs: [{group: '', kind: Service, name: a, sectionName: b}]}", &[]),
            (
                "{targetRefs: [{group: '', kind: Namespace, name: shop, sectionName: b}]}",
                &["error: spec.targetRefs[0].sectionName: a \"Namespace\" has no sections"],
            ),
            (
                "{targetRefs: [{group: weft.dev, kind: ExternalService, name: a, sectionName: b}]}",
                &[],
            ),
            (
                "{targetRefs: [{group: '', kind: Service, name: a, sectionName: b}], \
                 healthCheck: {tcp: {}}}",
                &["error: spec.healthCheck: a policy for one port cannot say it: it is the \
                   workload that is healthy or not"],
            ),
            ("{targetRefs: [{group: weft.dev, kind: ExternalService, name: a}]}", &[]),
            (
                "{targetRefs: [{group: '', kind: Pod, name: a}]}",
                &["error: spec.targetRefs[0].kind: \"Pod\" of group \"\" cannot be a target"],
            ),
        ],
    );
}

#[test]
fn sessions() {
    let read = |text: &str| {
        policy(&format!("{{{TARGET}, sessionPersistence: {text}}}")).session_persistence.unwrap()
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let cookie = |name: Option<&str>, path: &str, is_permanent| SessionCarrier::Cookie {
        name: name.map(str::to_owned),
        path: path.to_owned(),
        is_permanent,
    };
    let session = |carrier, absolute, idle| SessionPersistence { carrier, absolute, idle };
    assert_eq!(read("{}"), session(cookie(None, "/", false), None, None));
    assert_eq!(
        read(
            "{type: Cookie, cookie: {name: s, path: /a, lifetimeType: Permanent},
              absoluteTimeout: 1h, idleTimeout: 5m}"
        ),
        session(cookie(Some("s"), "/a", true), seconds(3600), seconds(300))
    );
    assert_eq!(
        read("{type: Header, header: {name: X-Session}}"),
        session(SessionCarrier::Header("x-session".to_owned()), None, None)
    );
    let of = "spec.sessionPersistence";
    for (text, finding) in [
        ("{type: Header}", format!("error: {of}.header: is required")),
        (
            "{type: Header, header: {name: x}, cookie: {}}",
            format!("error: {of}.cookie: does not go with the type \"Header\""),
        ),
        (
            "{header: {name: x}}",
            format!("error: {of}.header: does not go with the type \"Cookie\""),
        ),
        (
            "{cookie: {lifetimeType: Permanent}}",
            format!(
                "error: {of}: a permanent cookie needs an absoluteTimeout, for which it is kept"
            ),
        ),
        (
            "{cookie: {path: '/a;b'}}",
            format!("error: {of}.cookie.path: a cookie's path has no semicolon, comma or blank"),
        ),
        (
            "{idleTimeout: 0s}",
            format!("error: {of}.idleTimeout: 0s is not allowed, the least is 1ms"),
        ),
        ("{sessionName: x}", format!("error: {of}.sessionName: unknown field")),
    ] {
        check(HEAD, &[(&format!("{{{TARGET}, sessionPersistence: {text}}}"), &[&finding])]);
    }
}

#[test]
fn subsets() {
    let whole = "labels: [{name: version, header: X-Version, default: v1},
                          {name: shop.dev/track, header: x-track}], fallback: Default";
    let read = |text: &str| {
        policy(&format!("{{{TARGET}, loadBalancing: {{subset: {{{text}}}}}}}")).subset.unwrap()
    };
    let label = |name: &str, header: &str, default: Option<&str>| SubsetLabel {
        name: name.to_owned(),
        header: header.to_owned(),
        default: default.map(str::to_owned),
    };
    assert_eq!(
        read(whole),
        Subset {
            labels: vec![
                label("version", "x-version", Some("v1")),
                label("shop.dev/track", "x-track", None)
            ],
            fallback: SubsetFallback::Default,
        }
    );
    let least = "labels: [{name: version, header: x-version}]";
    assert_eq!(read(least).fallback, SubsetFallback::None);
    let of = "spec.loadBalancing.subset";
    for (text, finding) in [
        ("", format!("error: {of}.labels: is required")),
        (
            "labels: []",
            format!(
                "error: {of}.labels: an empty list is not allowed: a label tells instances apart"
            ),
        ),
        ("labels: [{name: version}]", format!("error: {of}.labels[0].header: is required")),
        (
            "labels: [{name: v, header: a}, {name: v, header: b}]",
            format!("error: {of}.labels[1]: the label v is wanted by {of}.labels[0]"),
        ),
        (
            "labels: [{name: v, header: a}], fallback: Default",
            format!(
                "error: {of}.fallback: none of the labels has a default: `Any` means all instances"
            ),
        ),
        (
            "labels: [{name: v, header: a}], fallback: Some",
            format!("error: {of}.fallback: \"Some\" is not known here"),
        ),
    ] {
        check(
            HEAD,
            &[(&format!("{{{TARGET}, loadBalancing: {{subset: {{{text}}}}}}}"), &[&finding])],
        );
    }
}
