//! TLS that proxies originate, on the wire.

use prost::{Message, Oneof};
use weft_model::{
    CertificateUri, ClientCertificate, ExternalTls, PreciseHost, RootCertificate, SubjectAltName,
    TlsRoots,
};

use super::common::{list, needed, numbered};
use crate::error::{At, FieldError};

#[derive(Clone, PartialEq, Message)]
pub(super) struct TlsMessage {
    #[prost(string, optional, tag = "1")]
    hostname: Option<String>,
    #[prost(string, repeated, tag = "2")]
    dns_names: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    uris: Vec<String>,
    #[prost(oneof = "RootsMessage", tags = "4, 5, 7")]
    roots: Option<RootsMessage>,
    #[prost(int32, tag = "6")]
    client_certificate: i32,
}

/// Absent, they are nobody's: so none that is left out means all that the system trusts.
#[derive(Clone, PartialEq, Oneof)]
enum RootsMessage {
    #[prost(message, tag = "4")]
    System(SystemMessage),
    #[prost(message, tag = "5")]
    Certificates(CertificatesMessage),
    /// Why nobody.
    #[prost(string, tag = "7")]
    Nobody(String),
}

#[derive(Clone, PartialEq, Message)]
struct SystemMessage {}

#[derive(Clone, PartialEq, Message)]
struct CertificatesMessage {
    #[prost(bytes = "vec", repeated, tag = "1")]
    der: Vec<Vec<u8>>,
}

numbered!(from_client, to_client, ClientCertificate, { None = 1, Workload = 2 });

impl From<&ExternalTls> for TlsMessage {
    fn from(tls: &ExternalTls) -> TlsMessage {
        let ExternalTls { hostname, subject_alt_names, roots, client_certificate } = tls;
        let (mut dns_names, mut uris) = (Vec::new(), Vec::new());
        for name in subject_alt_names {
            match name {
                SubjectAltName::Dns(host) => dns_names.push(host.to_string()),
                SubjectAltName::Uri(uri) => uris.push(uri.as_str().to_owned()),
            }
        }
        let roots = match roots {
            TlsRoots::System => RootsMessage::System(SystemMessage {}),
            TlsRoots::Certificates(roots) => {
                let der = roots.iter().map(|root| root.der().to_vec()).collect();
                RootsMessage::Certificates(CertificatesMessage { der })
            }
            TlsRoots::Nobody(why) => RootsMessage::Nobody(why.to_string()),
        };
        TlsMessage {
            hostname: hostname.as_ref().map(ToString::to_string),
            dns_names,
            uris,
            roots: Some(roots),
            client_certificate: from_client(*client_certificate),
        }
    }
}

impl TlsMessage {
    pub(super) fn check(self) -> Result<ExternalTls, FieldError> {
        let TlsMessage { hostname, dns_names, uris, roots, client_certificate } = self;
        let dns = |text: String| Ok(SubjectAltName::Dns(PreciseHost::new(&text)?));
        let uri = |text: String| Ok(SubjectAltName::Uri(CertificateUri::new(&text)?));
        let mut names: Vec<_> = list("dns_names", dns_names, dns)?;
        names.append(&mut list("uris", uris, uri)?);
        let roots = match needed("roots", roots)? {
            RootsMessage::System(SystemMessage {}) => TlsRoots::System,
            RootsMessage::Certificates(CertificatesMessage { der }) => {
                let root = |der: Vec<u8>| Ok(RootCertificate::new(&der)?);
                TlsRoots::Certificates(list("certificates", der, root)?)
            }
            RootsMessage::Nobody(why) => TlsRoots::Nobody(why.into()),
        };
        let hostname = hostname.map(|host| PreciseHost::new(&host).at("hostname"));
        Ok(ExternalTls {
            hostname: hostname.transpose()?,
            subject_alt_names: names.into_iter().collect(),
            roots,
            client_certificate: to_client(client_certificate).at("client_certificate")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(roots: TlsRoots) -> ExternalTls {
        let dns = SubjectAltName::Dns(PreciseHost::new("b.example").unwrap());
        let uri = SubjectAltName::Uri(CertificateUri::new("spiffe://b.example/x").unwrap());
        ExternalTls {
            hostname: Some(PreciseHost::new("a.example").unwrap()),
            subject_alt_names: [dns, uri].into(),
            roots,
            client_certificate: ClientCertificate::Workload,
        }
    }

    #[test]
    fn what_is_sent_is_read_the_same() {
        let certificate = RootCertificate::new(&[1, 2, 3]).unwrap();
        let given = TlsRoots::Certificates([certificate].into());
        let nobody = TlsRoots::Nobody("because".into());
        for roots in [TlsRoots::System, TlsRoots::Certificates([].into()), given, nobody] {
            let sent = tls(roots);
            let body = TlsMessage::from(&sent).encode_to_vec();
            assert_eq!(TlsMessage::decode(&*body).unwrap().check(), Ok(sent));
        }
        let nameless = ExternalTls { hostname: None, ..tls(TlsRoots::System) };
        assert_eq!(TlsMessage::from(&nameless).check(), Ok(nameless));
    }

    #[test]
    fn what_is_missing_or_wrong_is_refused() {
        let sent = TlsMessage::from(&tls(TlsRoots::System));
        type Change = fn(&mut TlsMessage);
        let changes: [(Change, &str); 6] = [
            (|it| it.roots = None, "roots: is missing"),
            (|it| it.client_certificate = 0, "client_certificate: the choice 0"),
            (|it| it.hostname = Some("*.example".to_owned()), "hostname: "),
            (|it| it.hostname = Some(String::new()), "hostname: "),
            (|it| it.dns_names.push("*.example".to_owned()), "dns_names[1]: "),
            (|it| it.uris.push(String::new()), "uris[1]: "),
        ];
        for (change, expected) in changes {
            let mut wrong = sent.clone();
            change(&mut wrong);
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}, not {expected}");
        }
    }
}
