//! TLS that proxies originate, as the model has it.

use std::collections::BTreeSet;

use weft_crd as crd;
use weft_model::{
    CertificateUri, ClientCertificate, ExternalTls, PreciseHost, RootCertificate, SubjectAltName,
    TlsRoots,
};

/// What `written` means. If it holds what cannot be, which no checked one does, nobody is trusted.
pub(crate) fn to_model(written: &crd::TlsOrigination) -> ExternalTls {
    checked(written).unwrap_or_else(|| ExternalTls {
        hostname: None,
        subject_alt_names: BTreeSet::new(),
        roots: TlsRoots::Nobody("its settings cannot be said".into()),
        client_certificate: ClientCertificate::None,
    })
}

fn checked(written: &crd::TlsOrigination) -> Option<ExternalTls> {
    let crd::TlsOrigination { hostname, subject_alt_names, roots, client_certificate } = written;
    let name = |name: &crd::SubjectAltName| match name {
        crd::SubjectAltName::Hostname(host) => PreciseHost::new(host).ok().map(SubjectAltName::Dns),
        crd::SubjectAltName::Uri(uri) => CertificateUri::new(uri).ok().map(SubjectAltName::Uri),
    };
    let root = |der: &Vec<u8>| RootCertificate::new(der).ok();
    let hostname = hostname.as_ref().map(|host| PreciseHost::new(host));
    Some(ExternalTls {
        hostname: hostname.transpose().ok()?,
        subject_alt_names: subject_alt_names.iter().map(name).collect::<Option<_>>()?,
        roots: match roots {
            crd::TlsRoots::System => TlsRoots::System,
            crd::TlsRoots::Certificates(certificates) => {
                let certificates: Option<_> = certificates.iter().map(root).collect();
                TlsRoots::Certificates(certificates?)
            }
        },
        client_certificate: match client_certificate {
            crd::ClientCertificate::None => ClientCertificate::None,
            crd::ClientCertificate::Workload => ClientCertificate::Workload,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_written_is_kept() {
        let written = crd::TlsOrigination {
            hostname: Some("a.example".to_owned()),
            subject_alt_names: vec![
                crd::SubjectAltName::Uri("urn:b".to_owned()),
                crd::SubjectAltName::Hostname("c.example".to_owned()),
            ],
            roots: crd::TlsRoots::Certificates(vec![vec![1], vec![2]]),
            client_certificate: crd::ClientCertificate::Workload,
        };
        let model = to_model(&written);
        let names: Vec<_> = model.subject_alt_names.iter().map(ToString::to_string).collect();
        assert_eq!(
            (model.hostname.unwrap().as_str(), names),
            ("a.example", vec!["c.example".into(), "urn:b".to_owned()])
        );
        assert!(matches!(model.roots, TlsRoots::Certificates(roots) if roots.len() == 2));
        assert_eq!(model.client_certificate, ClientCertificate::Workload);
        let wrong = crd::TlsOrigination { hostname: Some("*".to_owned()), ..written };
        assert!(matches!(to_model(&wrong).roots, TlsRoots::Nobody(_)));
    }
}
