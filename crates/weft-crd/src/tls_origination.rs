//! `tls` of what is outside of the mesh: TLS that the proxies of its callers originate.
//!
//! The fields are those of Gateway API's BackendTLSPolicy, `spec.validation`, but for the
//! certificates of authorities, which stand here themselves, and for `clientCertificate`.

use crate::certificates::read_certificates;
use crate::finding::quoted;
use crate::names;
use crate::reader::{At, check_unique, fields};

/// How TLS is opened, and what a server must prove.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsOrigination {
    /// The name that is asked for (SNI), and that the certificate must have. Absent: the host that
    /// is called.
    pub hostname: Option<String>,
    /// Where there are any, one of these is what the certificate must have.
    pub subject_alt_names: Vec<SubjectAltName>,
    /// Who may have issued the certificate.
    pub roots: TlsRoots,
    /// What is shown to a server that asks for a certificate. Default: nothing.
    pub client_certificate: ClientCertificate,
}

/// A name that a certificate has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectAltName {
    /// A host.
    Hostname(String),
    /// A URI.
    Uri(String),
}

/// Who may have issued a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsRoots {
    /// Whom the system trusts that the proxy runs on.
    System,
    /// These authorities, as DER. That each can vouch for others is not known here.
    Certificates(Vec<Vec<u8>>),
}

impl TlsRoots {
    /// How many bytes the certificates have.
    pub(crate) fn size(&self) -> usize {
        match self {
            TlsRoots::System => 0,
            TlsRoots::Certificates(certificates) => certificates.iter().map(Vec::len).sum(),
        }
    }
}

/// What is shown to a server that asks for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientCertificate {
    /// Nothing.
    #[default]
    None,
    /// That of the calling workload.
    Workload,
}

/// As many as BackendTLSPolicy takes.
const NAMES_MAX: usize = 5;

/// How long URIs may be, in bytes, as in Gateway API.
const URI_BYTES_MAX: usize = 253;

pub(crate) fn read(at: &At<'_>) -> Option<TlsOrigination> {
    let object = at.object(
        fields(&[
            "hostname",
            "subjectAltNames",
            "wellKnownCACertificates",
            "caCertificates",
            "clientCertificate",
        ])
        .without_nulls(),
    )?;
    let hostname = object.maybe("hostname", read_host);
    let names = object.or("subjectAltNames", Vec::new(), read_names);
    let system = object.maybe("wellKnownCACertificates", |at| at.choice(&[("System", ())], &[]));
    let given = object.maybe("caCertificates", |at| at.parsed(read_certificates));
    let known = [("None", ClientCertificate::None), ("Workload", ClientCertificate::Workload)];
    let client_certificate =
        object.or("clientCertificate", ClientCertificate::None, |at| at.choice(&known, &[]));
    let roots = match (system?, given?) {
        (Some(()), None) => TlsRoots::System,
        (None, Some(certificates)) => TlsRoots::Certificates(certificates),
        (Some(()), Some(_)) => {
            let message = "either this or wellKnownCACertificates: the system's authorities are \
                           not trusted beside given ones";
            return object.field("caCertificates")?.error(message);
        }
        (None, None) => {
            return at.error_help(
                "one of wellKnownCACertificates, caCertificates is required",
                "wellKnownCACertificates: System trusts whom the system trusts",
            );
        }
    };
    Some(TlsOrigination {
        hostname: hostname?,
        subject_alt_names: names?,
        roots,
        client_certificate: client_certificate?,
    })
}

/// A host. That a pattern is wanted, or what it would match, nobody could tell.
pub(crate) fn read_host(at: &At<'_>) -> Option<String> {
    let host = at.parsed(|text| names::hostname(text).map(|()| text.to_owned()))?;
    match host.starts_with("*.") {
        true => at.error(format!("{} has a wildcard, one host is needed", quoted(&host))),
        false => Some(host),
    }
}

pub(crate) fn read_names(at: &At<'_>) -> Option<Vec<SubjectAltName>> {
    let why = "leave it out, and the certificate must have the hostname";
    let names = at.filled_list(NAMES_MAX, why, read_name)?;
    let placed = at.items(NAMES_MAX)?.into_iter().zip(&names);
    let unique = check_unique(placed, |_, first| format!("is the same as {first}"));
    unique.then_some(names)
}

fn read_name(at: &At<'_>) -> Option<SubjectAltName> {
    #[derive(Clone, Copy)]
    enum Type {
        Hostname,
        Uri,
    }
    let object = at.object(fields(&["type", "hostname", "uri"]).without_nulls())?;
    let known = [("Hostname", Type::Hostname), ("URI", Type::Uri)];
    let (of, other) = match object.need("type", |at| at.choice(&known, &[]))? {
        Type::Hostname => (object.need("hostname", read_host).map(SubjectAltName::Hostname), "uri"),
        Type::Uri => (object.need("uri", read_uri).map(SubjectAltName::Uri), "hostname"),
    };
    match object.field(other) {
        Some(at) => at.error("is not for names of this type"),
        None => of,
    }
}

fn read_uri(at: &At<'_>) -> Option<String> {
    at.text_within(URI_BYTES_MAX)?;
    at.parsed(|text| {
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let is_of_uris = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
        match is_scheme && !rest.is_empty() && rest.chars().all(is_of_uris) {
            true => Ok(text.to_owned()),
            false => Err(format!("{} is no absolute URI", quoted(text))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::tests::{ONE, OTHER};
    use crate::finding::Finding;
    use crate::object::Options;
    use crate::report::Report;
    use crate::yaml;

    /// What `tls` is, and what is wrong with it.
    fn read_text(tls: &str) -> (Option<TlsOrigination>, Vec<String>) {
        let node = yaml::documents(tls).remove(0).root.unwrap();
        let options = Options::default();
        let report = Report::new("test.yaml".into(), None, &options);
        let read = read(&At::root(&node, &report));
        let told =
            |finding: Finding| format!("{}: {finding}", finding.position.as_ref().unwrap().line);
        (read, report.findings().into_iter().map(told).collect())
    }

    fn indented(pem: &str) -> String {
        pem.lines().map(|line| format!("\n  {line}")).collect()
    }

    #[test]
    fn what_is_right() {
        let (read, findings) = read_text("{wellKnownCACertificates: System}");
        assert_eq!((read.unwrap().hostname, findings), (None, vec![]));
        let (read, findings) = read_text("{hostname: a.example, wellKnownCACertificates: System}");
        assert_eq!(findings, Vec::<String>::new());
        let expected = TlsOrigination {
            hostname: Some("a.example".to_owned()),
            subject_alt_names: vec![],
            roots: TlsRoots::System,
            client_certificate: ClientCertificate::None,
        };
        assert_eq!(read.unwrap(), expected);
        let text = format!(
            "hostname: a.example\nsubjectAltNames:\n- {{type: Hostname, hostname: b.example}}\n\
             - {{type: URI, uri: 'spiffe://b.example/x'}}\nclientCertificate: Workload\n\
             caCertificates: |{}{}\n",
            indented(ONE),
            indented(OTHER)
        );
        let (read, findings) = read_text(&text);
        assert_eq!(findings, Vec::<String>::new());
        let read = read.unwrap();
        let names = [
            SubjectAltName::Hostname("b.example".to_owned()),
            SubjectAltName::Uri("spiffe://b.example/x".to_owned()),
        ];
        assert_eq!(read.subject_alt_names, names);
        assert_eq!(read.client_certificate, ClientCertificate::Workload);
        assert!(matches!(read.roots, TlsRoots::Certificates(found) if found.len() == 2));
    }

    #[test]
    fn what_is_wrong() {
        let one = indented(ONE);
        let cut = one.replace("-----END", "-----");
        let system = "wellKnownCACertificates: System";
        for (text, expected) in [
            ("{}", ["1: one of wellKnownCACertificates,"].as_slice()),
            (&format!("hostname:\n{system}"), &["1: hostname: has no value"]),
            (
                "hostname: '*.a.example'\nwellKnownCACertificates: system",
                &[
                    "1: hostname: \"*.a.example\" has a wildcard",
                    "2: wellKnownCACertificates: \"sys",
                ],
            ),
            (
                &format!("hostname: 10.0.0.1\n{system}"),
                &["1: hostname: \"10.0.0.1\" is an address"],
            ),
            (&format!("hostname: a.b\n{system}\ncaCertificates:"), &["3: caCertificates: has no"]),
            (
                &format!("hostname: a.b\n{system}\ncaCertificates: |{one}"),
                &["4: caCertificates: either this or wellKnownCACertificates"],
            ),
            (
                &format!("hostname: a.b\ncaCertificates: |{cut}"),
                &["3: caCertificates: section 1 is cut short"],
            ),
            (&format!("hostname: a.b\n{system}\ninsecure: true"), &["3: insecure: unknown field"]),
            (
                &format!("hostname: a.b\n{system}\nsubjectAltNames: []"),
                &["3: subjectAltNames: an empty list is not allowed"],
            ),
            (
                &format!(
                    "hostname: a.b\n{system}\nsubjectAltNames:\n- {{type: URI, uri: 'b.example'}}\n\
                     - {{type: Hostname, uri: 'a:b'}}\n- {{type: IP}}\n\
                     - {{type: URI, uri: 'a:b', hostname: c}}"
                ),
                &[
                    "4: subjectAltNames[0].uri: \"b.example\" is no absolute URI",
                    "5: subjectAltNames[1].hostname: is required",
                    "5: subjectAltNames[1].uri: is not for names of this type",
                    "6: subjectAltNames[2].type: \"IP\" is not known here",
                    "7: subjectAltNames[3].hostname: is not for names of this type",
                ],
            ),
            (
                &format!(
                    "hostname: a.b\n{system}\nsubjectAltNames:\n- {{type: URI, uri: 'a:b'}}\n\
                     - {{type: URI, uri: 'a:b'}}"
                ),
                &["5: subjectAltNames[1]: is the same as subjectAltNames[0]"],
            ),
        ] {
            let (_, findings) = read_text(text);
            assert_eq!(findings.len(), expected.len(), "{findings:#?} for {text}");
            for (found, expected) in findings.iter().zip(expected) {
                assert!(found.starts_with(expected), "{found}, not {expected}");
            }
        }
    }
}
