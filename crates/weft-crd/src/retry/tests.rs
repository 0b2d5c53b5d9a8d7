//! Retries of a rule, valid and invalid.

use super::*;
use crate::resource::Resource;
use crate::testing::{check, valid};

const HEAD: &str =
    "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: r }";

fn spec(retry: &str) -> String {
    format!(
        "{{parentRefs: [{{group: '', kind: Service, name: a}}], \
         rules: [{{backendRefs: [{{name: b, port: 80}}], retry: {retry}}}]}}"
    )
}

#[test]
fn valid_ones() {
    let read = |retry: &str| match valid(&format!("{HEAD}\nspec: {}", spec(retry))).resource {
        Resource::HttpRoute(route) => route.rules[0].retry.clone().unwrap(),
        other => panic!("not an HTTPRoute: {other:?}"),
    };
    let none = Retry { attempts: 1, backoff: None, codes: BTreeSet::new() };
    assert_eq!(read("{}"), none);
    assert_eq!(read("{attempts: 0}"), Retry { attempts: 0, ..none });
    assert_eq!(
        read("{attempts: 2, backoff: 25ms, codes: [503, 502]}"),
        Retry {
            attempts: 2,
            backoff: Some(Duration::from_millis(25)),
            codes: BTreeSet::from([502, 503])
        }
    );
}

#[test]
fn invalid_ones() {
    let all = spec("{attempts: -1, backoff: 0s, codes: [399, 600, '503'], perTry: 1}");
    check(
        HEAD,
        &[(
            &all,
            &[
                "error: spec.rules[0].retry.attempts: -1 is not allowed, the least is 0",
                "error: spec.rules[0].retry.backoff: 0s is not allowed, the least is 1ms",
                "error: spec.rules[0].retry.codes[0]: 399 is not allowed, the least is 400",
                "error: spec.rules[0].retry.codes[1]: 600 is not allowed, the most is 599",
                "error: spec.rules[0].retry.codes[2]: a number is needed, this is the string \
                 \"503\"",
                "error: spec.rules[0].retry.perTry: unknown field",
            ],
        )],
    );
}
