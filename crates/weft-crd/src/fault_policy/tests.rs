//! FaultPolicies, valid and invalid.

use super::*;
use crate::kind::Kind;
use crate::resource::Resource;
use crate::testing::{check, valid};

const HEAD: &str =
    "apiVersion: weft.dev/v1alpha1\nkind: FaultPolicy\nmetadata: { name: p, namespace: shop }";
const TARGET: &str = "targetRefs: [{group: '', kind: Service, name: cart}]";

fn policy(spec: &str) -> FaultPolicy {
    match valid(&format!("{HEAD}\nspec: {spec}")).resource {
        Resource::FaultPolicy(policy) => policy,
        other => panic!("not a FaultPolicy: {other:?}"),
    }
}

#[test]
fn a_whole_one() {
    let policy = policy(
        "
  targetRefs:
  - { group: '', kind: Service, name: cart }
  - { group: gateway.networking.k8s.io, kind: HTTPRoute, name: cart }
  - { group: gateway.networking.k8s.io, kind: HTTPRoute, name: cart, sectionName: items }
  - { group: gateway.networking.k8s.io, kind: GRPCRoute, name: cart }
  match: { headers: [{ name: X-Drill, value: '1' }, { name: x-user }] }
  delay: { duration: 2s, percent: 10 }
  abort: { status: 503, percent: 5 }
  maxActive: 7",
    );
    let route = |section: Option<&str>| {
        Target::Route(Kind::HttpRoute, "cart".to_owned(), section.map(ToOwned::to_owned))
    };
    let service = Target::Service("cart".to_owned());
    let calls = Target::Route(Kind::GrpcRoute, "cart".to_owned(), None);
    assert_eq!(policy.targets, [service, route(None), route(Some("items")), calls]);
    let header = |name: &str, value: Option<&str>| HeaderCondition {
        name: name.to_owned(),
        value: value.map(ToOwned::to_owned),
    };
    assert_eq!(policy.headers, [header("x-drill", Some("1")), header("x-user", None)]);
    let percent = |number| Percent::new(number).unwrap();
    let delay = Delay { percent: percent(10), duration: Duration::from_secs(2) };
    assert_eq!(policy.delay, Some(delay));
    assert_eq!(policy.abort, Some(Abort { percent: percent(5), with: AbortWith::Http(503) }));
    assert_eq!(policy.active_max, Some(7));
}

#[test]
fn what_is_not_written_is_all() {
    let policy = policy(&format!("{{{TARGET}, abort: {{grpcStatus: 14}}}}"));
    assert_eq!(policy.abort, Some(Abort { percent: ALL, with: AbortWith::Grpc(14) }));
    assert_eq!((policy.headers, policy.delay, policy.active_max), (vec![], None, None));
}

#[test]
fn what_is_wrong() {
    check(
        HEAD,
        &[
            (
                "{targetRefs: [{group: '', kind: Service, name: cart}]}",
                &["error: spec: at least one of delay, abort is required"],
            ),
            (
                "{targetRefs: [{group: '', kind: Namespace, name: shop}], abort: {status: 200}}",
                &[
                    "error: spec.targetRefs[0].kind: \"Namespace\" of group \"\" cannot be a target",
                    "error: spec.abort.status: 200 is not allowed, the least is 400",
                ],
            ),
            (
                "{targetRefs: [{group: '', kind: Service, name: a, sectionName: b}], match: {}, \
                 delay: {duration: 6m, percent: 0}, abort: {}, maxActive: 0}",
                &[
                    "error: spec.match.headers: is required",
                    "error: spec.delay.duration: 6m is not allowed, the most is 5m",
                    "error: spec.delay.percent: 0 is not allowed, the least is 1",
                    "error: spec.abort: one of status, grpcStatus is required",
                    "error: spec.maxActive: 0 is not allowed, the least is 1",
                ],
            ),
            (
                "{targetRefs: [{group: '', kind: Service, name: a}], \
                 abort: {status: 503, grpcStatus: 0}}",
                &["error: spec.abort.grpcStatus: 0 is not allowed, the least is 1"],
            ),
            (
                "{targetRefs: [{group: '', kind: Service, name: a}], \
                 abort: {status: 503, grpcStatus: 14}, delay: }",
                &[
                    "error: spec.abort.grpcStatus: cannot stand beside status",
                    "error: spec.delay: has no value: write one, or leave the field out",
                ],
            ),
        ],
    );
}
