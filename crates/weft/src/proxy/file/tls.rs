//! `tls` in the file of `weft proxy`: how TLS is opened to servers outside of the mesh.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use weft_model::{
    CertificateUri, ClientCertificate, PreciseHost, RootCertificate, SubjectAltName,
    TlsOrigination, TlsRoots,
};
use weft_world::Files;

use super::raw::{RawClientCertificate, RawNameType, RawSubjectAltName, RawTls};

/// Checks what was read, and reads the roots that it names.
pub(super) fn check(
    files: &dyn Files,
    directory: &Path,
    raw: RawTls,
    has_identity: bool,
) -> anyhow::Result<TlsOrigination> {
    let RawTls { hostname, subject_alt_names, roots, client_certificate } = raw;
    let client_certificate = match client_certificate {
        None => ClientCertificate::None,
        Some(RawClientCertificate::Workload) => {
            ensure!(has_identity, "clientCertificate: this file gives no `identity` to show");
            ClientCertificate::Workload
        }
    };
    let names = super::each("subjectAltNames", subject_alt_names, name)?;
    Ok(TlsOrigination {
        hostname: PreciseHost::new(&hostname).context("hostname")?,
        subject_alt_names: names.into_iter().collect(),
        roots: match roots {
            None => TlsRoots::System,
            Some(path) => TlsRoots::Certificates(certificates(files, &directory.join(path))?),
        },
        client_certificate,
    })
}

fn name(raw: RawSubjectAltName) -> anyhow::Result<SubjectAltName> {
    let RawSubjectAltName { of, hostname, uri } = raw;
    match (of, hostname, uri) {
        (RawNameType::Hostname, Some(host), None) => {
            Ok(SubjectAltName::Dns(PreciseHost::new(&host)?))
        }
        (RawNameType::Uri, None, Some(uri)) => Ok(SubjectAltName::Uri(CertificateUri::new(&uri)?)),
        (RawNameType::Hostname, ..) => bail!("type Hostname goes with `hostname` alone"),
        (RawNameType::Uri, ..) => bail!("type URI goes with `uri` alone"),
    }
}

fn certificates(files: &dyn Files, path: &Path) -> anyhow::Result<BTreeSet<RootCertificate>> {
    let pem = crate::proxy::read(files, path).context("roots")?;
    let authorities = authorities(&pem).map_err(|wrong| anyhow!(wrong));
    let authorities = authorities.with_context(|| format!("roots: {}", path.display()))?;
    authorities.iter().map(|der| Ok(RootCertificate::new(der)?)).collect()
}

fn authorities(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let pem = str::from_utf8(pem).map_err(|_| "it is not UTF-8".to_owned())?;
    let authorities = weft_crd::read_certificates(pem)?;
    weft_identity::check_authorities(&authorities)?;
    Ok(authorities)
}
