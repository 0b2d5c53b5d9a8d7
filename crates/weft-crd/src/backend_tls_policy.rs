//! `gateway.networking.k8s.io/v1` BackendTLSPolicy: TLS that the proxies of callers open.
//!
//! Deliberately absent: `options`, of which there are none here; whether what it refers to is
//! there, which takes more than one object to see.

use crate::metadata::{Header, Metadata};
use crate::names;
use crate::reader::{At, Fields, fields};
use crate::route::read_group;
use crate::target::{self, Allowed, Target};
use crate::tls_origination::{SubjectAltName, read_host, read_names};

/// How callers open TLS to what it is for, and what the servers must prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTlsPolicy {
    /// What every object has.
    pub metadata: Metadata,
    /// What it is for: ExternalServices and Services of its own namespace, and ports of these.
    pub targets: Vec<Target>,
    /// The name that is asked for (SNI), and that the certificate must have.
    pub hostname: String,
    /// Where there are any, one of these is what the certificate must have.
    pub subject_alt_names: Vec<SubjectAltName>,
    /// Who may have issued the certificate. Empty: whom the system trusts.
    pub authorities: Vec<AuthorityRef>,
}

/// Where certificates of authorities are, in the namespace of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityRef {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
}

/// As many as Gateway API allows.
const AUTHORITIES_MAX: usize = 8;

const FIELDS: Fields = Fields {
    known: &["targetRefs", "validation"],
    not_yet: &["options"],
    ignored: &[],
    no_nulls: true,
};

const ALLOWED: Allowed = Allowed { external: true, ..Allowed::SERVICES };

pub(crate) fn read(header: Header, at: &At<'_>) -> Option<BackendTlsPolicy> {
    let object = at.object(FIELDS)?;
    let targets = object.need("targetRefs", |at| {
        let targets = target::read(at, &header.namespace, ALLOWED)?;
        check_parts(at, &targets)?;
        Some(targets)
    });
    let validation = object.need("validation", read_validation);
    let (targets, (hostname, subject_alt_names, authorities)) = (targets?, validation?);
    let metadata = header.metadata?;
    Some(BackendTlsPolicy { metadata, targets, hostname, subject_alt_names, authorities })
}

/// Checks that of several references to one object each says which port.
fn check_parts(at: &At<'_>, targets: &[Target]) -> Option<()> {
    let is_of = |part: &Target, whole: &Target| match (part, whole) {
        (Target::ServicePort(name, _), Target::Service(of))
        | (Target::ExternalPort(name, _), Target::ExternalService(of)) => name == of,
        _ => false,
    };
    let places = at.items(targets.len())?;
    let has_part = |whole: &Target| targets.iter().any(|part| is_of(part, whole));
    let wrong = places.iter().zip(targets).find(|(_, target)| has_part(target));
    match wrong {
        None => Some(()),
        Some((at, _)) => {
            at.error("sectionName is required: another entry is for a port of the same")
        }
    }
}

type Validation = (String, Vec<SubjectAltName>, Vec<AuthorityRef>);

fn read_validation(at: &At<'_>) -> Option<Validation> {
    let object = at.object(
        fields(&["hostname", "subjectAltNames", "wellKnownCACertificates", "caCertificateRefs"])
            .without_nulls(),
    )?;
    let hostname = object.need("hostname", read_host);
    let names = object.or("subjectAltNames", Vec::new(), read_names);
    let system = object.maybe("wellKnownCACertificates", |at| at.choice(&[("System", ())], &[]));
    let authorities =
        object.or("caCertificateRefs", Vec::new(), |at| at.list(AUTHORITIES_MAX, read_authority));
    let (hostname, names, system, authorities) = (hostname?, names?, system?, authorities?);
    match (system, authorities.is_empty()) {
        (Some(()), false) => object.field("caCertificateRefs")?.error(
            "either this or wellKnownCACertificates: the system's authorities are not trusted \
             beside given ones",
        ),
        (None, true) => at.error_help(
            "one of wellKnownCACertificates, caCertificateRefs is required",
            "wellKnownCACertificates: System trusts whom the system trusts",
        ),
        _ => Some((hostname, names, authorities)),
    }
}

fn read_authority(at: &At<'_>) -> Option<AuthorityRef> {
    let object = at.object(fields(&["group", "kind", "name"]).without_nulls())?;
    let group = object.need("group", read_group);
    let kind = object.need("kind", At::kind);
    let name = object
        .need("name", |at| at.parsed(|text| names::dns_subdomain(text).map(|()| text.to_owned())));
    Some(AuthorityRef { group: group?.to_owned(), kind: kind?.to_owned(), name: name? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;
    use crate::testing::{check, valid};

    const HEAD: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\n\
                        metadata: { name: p, namespace: shop }";

    #[test]
    fn a_whole_one() {
        let spec = "
  targetRefs:
  - { group: weft.dev, kind: ExternalService, name: api, sectionName: web }
  - { group: '', kind: Service, name: cart }
  validation:
    hostname: a.example
    subjectAltNames: [{ type: URI, uri: 'spiffe://a.example/b' }]
    caCertificateRefs:
    - { group: '', kind: ConfigMap, name: ca }
    - { group: certificates.k8s.io, kind: ClusterTrustBundle, name: b }";
        let policy = match valid(&format!("{HEAD}\nspec: {spec}")).resource {
            Resource::BackendTlsPolicy(policy) => policy,
            other => panic!("not a BackendTLSPolicy: {other:?}"),
        };
        let targets = [
            Target::ExternalPort("api".to_owned(), "web".to_owned()),
            Target::Service("cart".to_owned()),
        ];
        assert_eq!(policy.targets, targets);
        assert_eq!((policy.hostname.as_str(), policy.subject_alt_names.len()), ("a.example", 1));
        let kinds: Vec<_> = policy.authorities.iter().map(|one| one.kind.as_str()).collect();
        assert_eq!(kinds, ["ConfigMap", "ClusterTrustBundle"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let target = "{ group: '', kind: Service, name: a }";
        let with =
            |validation: &str| format!("{{targetRefs: [{target}], validation: {validation}}}");
        let system = "wellKnownCACertificates: System";
        let ca = "caCertificateRefs: [{group: '', kind: ConfigMap, name: a}]";
        let both = format!("[{target}, {{group: '', kind: Service, name: a, sectionName: b}}]");
        let nine = ["{group: '', kind: ConfigMap, name: a}"; 9].join(", ");
        check(
            HEAD,
            &[
                (
                    "{}",
                    &["error: spec.targetRefs: is required", "error: spec.validation: is required"],
                ),
                (&with("{}"), &["error: spec.validation.hostname: is required"]),
                (
                    &with("{hostname: a.b}"),
                    &["error: spec.validation: one of wellKnownCACertificates, caCertificateRefs \
                       is required"],
                ),
                (
                    &with(&format!("{{hostname: a.b, {system}, {ca}}}")),
                    &["error: spec.validation.caCertificateRefs: either this or \
                       wellKnownCACertificates: the system's authorities are not trusted beside \
                       given ones"],
                ),
                (
                    &with(&format!("{{hostname: '*.b', {system}}}")),
                    &[
                        "error: spec.validation.hostname: \"*.b\" has a wildcard, one host is needed",
                    ],
                ),
                (
                    &with(&format!("{{hostname: a.b, caCertificateRefs: [{nine}]}}")),
                    &["error: spec.validation.caCertificateRefs: 9 items are not allowed, the \
                       most is 8"],
                ),
                (
                    &format!(
                        "{{targetRefs: [{target}], options: {{}}, \
                              validation: {{hostname: a.b, {system}}}}}"
                    ),
                    &["error: spec.options: not supported yet by this version"],
                ),
                (
                    &format!("{{targetRefs: {both}, validation: {{hostname: a.b, {system}}}}}"),
                    &[
                        "error: spec.targetRefs[0]: sectionName is required: another entry is for a \
                       port of the same",
                    ],
                ),
                (
                    &format!(
                        "{{targetRefs: [{{group: weft.dev, kind: Mesh, name: m}}], \
                              validation: {{hostname: a.b, {system}}}}}"
                    ),
                    &[
                        "error: spec.targetRefs[0].kind: \"Mesh\" of group \"weft.dev\" cannot be a \
                       target",
                    ],
                ),
            ],
        );
    }
}
