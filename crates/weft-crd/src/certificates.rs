//! Certificates of authorities, as PEM.
//!
//! Deliberately absent: whether one of them can vouch for others, which `weft-identity` says.

use rustls_pki_types::pem::{Error, PemObject, SectionKind};

/// The most certificates, and bytes of text: a bundle of all that a company has. Whom the world
/// trusts the system knows.
const CERTIFICATES_MAX: usize = 64;
const BYTES_MAX: usize = 256 << 10;

/// The most bytes of one, without its base64.
const CERTIFICATE_BYTES_MAX: usize = 64 << 10;

const BEGIN: &str = "-----BEGIN ";

/// The certificates in `pem`, as DER.
///
/// # Errors
/// What is wrong with them, in words.
pub fn read_certificates(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    if pem.len() > BYTES_MAX {
        return Err(format!("{} bytes are not allowed, the most is {BYTES_MAX}", pem.len()));
    }
    let begun = pem.lines().filter(|line| line.trim_start().starts_with(BEGIN)).count();
    if begun > CERTIFICATES_MAX {
        return Err(format!(
            "{begun} certificates are not allowed, the most is {CERTIFICATES_MAX}"
        ));
    }
    let mut certificates: Vec<Vec<u8>> = Vec::new();
    for (index, section) in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()).enumerate() {
        let ordinal = index + 1;
        let (kind, der) = section.map_err(|error| broken(ordinal, &error))?;
        if kind != SectionKind::Certificate {
            return Err(format!("section {ordinal} is {}, certificates are needed", named(kind)));
        }
        if der.is_empty() || der.len() > CERTIFICATE_BYTES_MAX {
            let bytes = der.len();
            return Err(format!(
                "certificate {ordinal} has {bytes} bytes, 1 to {CERTIFICATE_BYTES_MAX} are allowed"
            ));
        }
        if let Some(first) = certificates.iter().position(|known| *known == der) {
            return Err(format!("certificate {ordinal} is the same as {}", first + 1));
        }
        certificates.push(der);
    }
    match certificates.len() {
        0 => Err(format!(
            "holds no certificate: PEM is needed, which begins {BEGIN}CERTIFICATE-----"
        )),
        // What the reader has passed over is of a kind that it does not know.
        read if read < begun => Err("holds something else beside certificates".to_owned()),
        _ => Ok(certificates),
    }
}

fn broken(ordinal: usize, error: &Error) -> String {
    match error {
        Error::MissingSectionEnd { .. } => {
            format!("section {ordinal} is cut short, its last line is missing")
        }
        Error::IllegalSectionStart { line } => {
            let line = String::from_utf8_lossy(line);
            format!("section {ordinal} begins with {line:?}, which is no line of PEM")
        }
        Error::Base64Decode(reason) => {
            format!("section {ordinal} is not in base64: {reason}")
        }
        _ => format!("section {ordinal} cannot be read"),
    }
}

fn named(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::PublicKey => "a public key",
        // It is not said of what kind: whoever reads this should not have it here at all.
        SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey => {
            "a private key, which belongs nowhere but to its owner"
        }
        SectionKind::Crl => "a list of revocations",
        SectionKind::Csr => "a request for a certificate",
        _ => "something else",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two authorities, made by `openssl req -x509 -newkey ec -pkeyopt
    /// ec_paramgen_curve:prime256v1`.
    pub(crate) const ONE: &str = include_str!("certificates/one.pem");
    pub(crate) const OTHER: &str = include_str!("certificates/other.pem");

    #[test]
    fn a_bundle_is_read_whole() {
        let both = read_certificates(&format!("# of the company\n{ONE}\n{OTHER}")).unwrap();
        assert_eq!(both.len(), 2);
        assert_ne!(both[0], both[1]);
    }

    #[test]
    fn what_is_no_certificate_is_refused_with_its_place() {
        let body = |kind: &str, text: &str| {
            format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
        };
        let long = ONE.repeat(CERTIFICATES_MAX + 1);
        let cut = &ONE[..ONE.len() - 30];
        for (pem, expected) in [
            ("", "holds no certificate"),
            ("nonsense", "holds no certificate"),
            (&body("CERTIFICATE", ""), "certificate 1 has 0 bytes"),
            (&body("CERTIFICATE", &"AAAA".repeat(30_000)), "certificate 1 has 90000 bytes"),
            (&body("CERTIFICATE", "%"), "section 1 is not in base64"),
            (cut, "section 1 is cut short"),
            (&format!("{ONE}{ONE}"), "certificate 2 is the same as 1"),
            (&format!("{ONE}{}", body("PRIVATE KEY", "AAAA")), "section 2 is a private key"),
            (&format!("{ONE}{}", body("TRUSTED CERTIFICATE", "AAAA")), "something else beside"),
            (&"a".repeat(BYTES_MAX + 1), "262145 bytes are not allowed"),
            (&long, "65 certificates are not allowed"),
        ] {
            let found = read_certificates(pem).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
    }
}
