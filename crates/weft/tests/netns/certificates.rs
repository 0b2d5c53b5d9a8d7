//! Certificates for the proxies of a test, and wrong ones for strangers.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

/// An authority that signs the certificates of a test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("keys can be made");
        let issuer =
            CertifiedIssuer::self_signed(params, key).expect("the parameters are complete");
        Authority { issuer }
    }

    /// Writes `NAME.pem` and `NAME.key` for the identity of service account `account`.
    pub fn issue(&self, directory: &Path, name: &str, account: &str) {
        self.issue_until(directory, name, account, 2100);
    }

    /// As [`Authority::issue`], valid until the beginning of `year`.
    pub fn issue_until(&self, directory: &Path, name: &str, account: &str, year: i32) {
        let key = KeyPair::generate().expect("keys can be made");
        let uri = format!("spiffe://weft.test/ns/shop/sa/{account}");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("it is ASCII"))];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate =
            params.signed_by(&key, &self.issuer).expect("the parameters are complete");
        write(directory, &format!("{name}.pem"), &certificate.pem());
        write(directory, &format!("{name}.key"), &key.serialize_pem());
    }

    /// Writes the root as `roots.pem`.
    pub fn publish(&self, directory: &Path) {
        write(directory, "roots.pem", &self.issuer.pem());
    }
}

fn write(directory: &Path, name: &str, text: &str) {
    fs::write(directory.join(name), text).expect("the own directory is writable");
}

/// The configuration of a proxy before the workload `shop/web-1` with nginx behind it.
pub const WEB: &str = "
identity: { certificates: web.pem, key: web.key, roots: roots.pem }
inbound:
- listen: 10.77.0.2:15008
  workload: shop/web-1
  generation: 3
  ports:
  - { port: 80, protocol: http, application: 127.0.0.1:8080 }
  - { port: 81, protocol: tcp, application: 127.0.0.1:8080 }
";

/// The configuration of a proxy for a workload that calls `shop/web`.
pub const CALLER: &str = "
identity: { certificates: caller.pem, key: caller.key, roots: roots.pem }
outbound:
- listen: 127.0.0.1:9001
  protocol: http
  service: shop/web
  endpoints:
  - tunnel: 10.77.0.2:15008
    identity: spiffe://weft.test/ns/shop/sa/web
    workload: shop/web-1
    generation: 3
    port: 80
- listen: 127.0.0.1:9002
  protocol: tcp
  service: shop/web
  endpoints:
  - tunnel: 10.77.0.2:15008
    identity: spiffe://weft.test/ns/shop/sa/web
    workload: shop/web-1
    generation: 3
    port: 81
";
