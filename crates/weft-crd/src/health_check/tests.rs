//! `healthCheck`, valid and invalid.

use super::*;
use crate::resource::Resource;
use crate::testing::{check, valid};

const HEAD: &str =
    "apiVersion: weft.dev/v1alpha1\nkind: BackendPolicy\nmetadata: { name: p, namespace: shop }";

fn spec(health_check: &str) -> String {
    format!("{{targetRefs: [{{group: '', kind: Service, name: a}}], healthCheck: {health_check}}}")
}

fn read(health_check: &str) -> Option<Option<HealthCheck>> {
    match valid(&format!("{HEAD}\nspec: {}", spec(health_check))).resource {
        Resource::BackendPolicy(policy) => policy.health_check,
        other => panic!("not a BackendPolicy: {other:?}"),
    }
}

#[test]
fn each_type_and_what_is_taken_where_nothing_is_said() {
    let with = |probe| HealthCheck {
        probe,
        port: None,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        failure_threshold: NonZeroU32::new(3).unwrap(),
        success_threshold: NonZeroU32::new(1).unwrap(),
    };
    let http = |statuses: &[u16]| Probe::Http {
        path: "/healthz".to_owned(),
        expected_statuses: statuses.to_vec(),
    };
    let grpc = |service: &str| Probe::Grpc { service: service.to_owned() };
    for (written, probe) in [
        ("{type: HTTP, path: /healthz}", http(&[])),
        ("{type: HTTP, path: /healthz, expectedStatuses: [200, 429]}", http(&[200, 429])),
        ("{type: GRPC}", grpc("")),
        ("{type: GRPC, service: shop.Cart}", grpc("shop.Cart")),
        ("{type: TCP}", Probe::Tcp),
    ] {
        assert_eq!(read(written), Some(Some(with(probe))), "{written}");
    }
    assert_eq!(read("{type: None}"), Some(None));
    let whole = "{type: TCP, port: 81, interval: 30s, timeout: 3s, failureThreshold: 5, \
                 successThreshold: 2}";
    let expected = HealthCheck {
        probe: Probe::Tcp,
        port: Port::new(81),
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(3),
        failure_threshold: NonZeroU32::new(5).unwrap(),
        success_threshold: NonZeroU32::new(2).unwrap(),
    };
    assert_eq!(read(whole), Some(Some(expected)));
}

#[test]
fn what_is_wrong() {
    let cases: [(&str, &[&str]); 9] = [
        ("{}", &["error: spec.healthCheck.type: is required"]),
        ("{type: Exec}", &["error: spec.healthCheck.type: \"Exec\" is not known here"]),
        ("{type: HTTP}", &["error: spec.healthCheck.path: is required"]),
        (
            "{type: HTTP, path: healthz}",
            &["error: spec.healthCheck.path: \"healthz\" does not start with `/`"],
        ),
        (
            "{type: HTTP, path: /, expectedStatuses: [100]}",
            &["error: spec.healthCheck.expectedStatuses[0]: 100 is not allowed, the least is 200"],
        ),
        (
            "{type: TCP, path: /, service: a}",
            &[
                "error: spec.healthCheck.path: is for HTTP only",
                "error: spec.healthCheck.service: is for GRPC only",
            ],
        ),
        (
            "{type: TCP, interval: 100ms, failureThreshold: 0}",
            &[
                "error: spec.healthCheck.interval: 100ms is not allowed, the least is 1s",
                "error: spec.healthCheck.failureThreshold: 0 is not allowed, the least is 1",
            ],
        ),
        (
            "{type: TCP, interval: 2s, timeout: 3s}",
            &["error: spec.healthCheck.timeout: 3s is not allowed, the interval is 2s"],
        ),
        (
            "{type: GRPC, service: a b}",
            &["error: spec.healthCheck.service: may hold no spaces, \
             and of letters only those of ASCII"],
        ),
    ];
    let specs = cases.map(|(health_check, _)| spec(health_check));
    let findings = cases.map(|(_, findings)| findings);
    let cases: Vec<(&str, &[&str])> = specs.iter().map(String::as_str).zip(findings).collect();
    check(HEAD, &cases);
}
