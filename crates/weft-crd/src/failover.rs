//! `failover` of a BackendPolicy: which Service takes over.

use crate::names;
use crate::reader::{At, Fields, fields};
use crate::units::{Percent, Port};

/// Which Service takes over where too few endpoints are healthy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Failover {
    /// Its name, in the namespace of the Service that the policy is for.
    pub service: String,
    /// Its port. Absent: the one with the number that was called.
    pub port: Option<Port>,
    /// It takes over while a smaller share is healthy. Default: 50 %, as that below which the
    /// unhealthy ones are called where nobody takes over.
    pub healthy_min: Percent,
}

const HEALTHY_MIN: Percent = Percent::new(50).expect("at most 100");

const BACKEND: Fields = Fields {
    known: &["group", "kind", "name", "port"],
    // With a ReferenceGrant there.
    not_yet: &["namespace"],
    ignored: &[],
    no_nulls: false,
};

pub(crate) fn read(at: &At<'_>) -> Option<Failover> {
    let object = at.object(fields(&["backendRef", "minHealthyPercent"]))?;
    let backend = object.need("backendRef", read_backend);
    let healthy_min =
        object.or("minHealthyPercent", HEALTHY_MIN, |at| Percent::new(at.number(1, 100)?));
    let (service, port) = backend?;
    Some(Failover { service, port, healthy_min: healthy_min? })
}

fn read_backend(at: &At<'_>) -> Option<(String, Option<Port>)> {
    let object = at.object(BACKEND)?;
    let group = object.or("group", (), |at| at.choice(&[("", ())], &["weft.dev"]));
    let kind = object.or("kind", (), |at| at.choice(&[("Service", ())], &["ExternalService"]));
    let name = object
        .need("name", |at| at.parsed(|text| names::dns_subdomain(text).map(|()| text.to_owned())));
    let port = object.maybe("port", At::port);
    group.and(kind)?;
    Some((name?, port?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;
    use crate::testing::{check, valid};

    const HEAD: &str = "apiVersion: weft.dev/v1alpha1\nkind: BackendPolicy\nmetadata: { name: p, namespace: shop }";

    fn spec(failover: &str) -> String {
        format!("{{targetRefs: [{{group: '', kind: Service, name: a}}], failover: {failover}}}")
    }

    #[test]
    fn a_service_takes_over() {
        let read =
            |failover: &str| match valid(&format!("{HEAD}\nspec: {}", spec(failover))).resource {
                Resource::BackendPolicy(policy) => policy.failover.unwrap(),
                other => panic!("not a BackendPolicy: {other:?}"),
            };
        let expected = |port, percent| Failover {
            service: "b".to_owned(),
            port,
            healthy_min: Percent::new(percent).unwrap(),
        };
        assert_eq!(read("{backendRef: {name: b}}"), expected(None, 50));
        let whole =
            "{backendRef: {group: '', kind: Service, name: b, port: 81}, minHealthyPercent: 70}";
        assert_eq!(read(whole), expected(Port::new(81), 70));
    }

    #[test]
    fn what_is_wrong() {
        let cases: [(&str, &[&str]); 4] = [
            ("{}", &["error: spec.failover.backendRef: is required"]),
            ("{backendRef: {}}", &["error: spec.failover.backendRef.name: is required"]),
            (
                "{backendRef: {name: b, namespace: c}, minHealthyPercent: 0}",
                &[
                    "error: spec.failover.backendRef.namespace: not supported yet by this version",
                    "error: spec.failover.minHealthyPercent: 0 is not allowed, the least is 1",
                ],
            ),
            (
                "{backendRef: {kind: Pod, name: b, weight: 1}}",
                &[
                    "error: spec.failover.backendRef.kind: \"Pod\" is not known here",
                    "error: spec.failover.backendRef.weight: unknown field",
                ],
            ),
        ];
        let specs = cases.map(|(failover, _)| spec(failover));
        let findings = cases.map(|(_, findings)| findings);
        let cases: Vec<(&str, &[&str])> = specs.iter().map(String::as_str).zip(findings).collect();
        check(HEAD, &cases);
        let of_all = "{targetRefs: [{group: '', kind: Namespace, name: shop}], failover: {backendRef: {name: b}}}";
        let only = "error: spec.failover: only a policy for Services alone may say what takes over";
        check(HEAD, &[(of_all, &[only])]);
    }
}
