//! Timeouts of a rule, valid and invalid.

use super::*;
use crate::resource::Resource;
use crate::testing::{check, valid};

const HEAD: &str =
    "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: r }";

fn spec(timeouts: &str) -> String {
    format!(
        "{{parentRefs: [{{group: '', kind: Service, name: a}}], \
         rules: [{{backendRefs: [{{name: b, port: 80}}], timeouts: {timeouts}}}]}}"
    )
}

#[test]
fn valid_ones() {
    let read = |timeouts: &str| match valid(&format!("{HEAD}\nspec: {}", spec(timeouts))).resource {
        Resource::HttpRoute(route) => route.rules[0].timeouts,
        other => panic!("not an HTTPRoute: {other:?}"),
    };
    let after = |millis| Some(Timeout::After(Duration::from_millis(millis)));
    assert_eq!(read("{}"), Timeouts::default());
    assert_eq!(
        read("{request: 1s, backendRequest: 1s}"),
        Timeouts { request: after(1000), backend_request: after(1000) }
    );
    assert_eq!(
        read("{request: 0s, backendRequest: 1h}"),
        Timeouts { request: Some(Timeout::Never), backend_request: after(3_600_000) }
    );
}

#[test]
fn invalid_ones() {
    let (a, b, c) = (
        spec("{request: 500ms, backendRequest: 1s}"),
        spec("{request: 5}"),
        spec("{request: 1.5s, idle: 1s}"),
    );
    check(
        HEAD,
        &[
            (
                &a,
                &["error: spec.rules[0].timeouts.backendRequest: 1s is longer than the 500ms \
                     of the whole request"],
            ),
            (
                &b,
                &["error: spec.rules[0].timeouts.request: a duration is needed, this is the \
                     number 5"],
            ),
            (
                &c,
                &[
                    "error: spec.rules[0].timeouts.request: \"1.5s\" is not a duration: a number \
                     is followed by \
                 h, m, s or ms; write for example 1h30m, 10s or 500ms",
                    "error: spec.rules[0].timeouts.idle: unknown field",
                ],
            ),
        ],
    );
}
