//! Throw-away certificates for the mTLS pairs: a P-256 root, and a leaf with a SPIFFE identity for
//! each side.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use std::fs;
use std::path::Path;

/// The identity of the calling side.
pub const CLIENT_ID: &str = "spiffe://weft.test/ns/shop/sa/client";
/// The identity of the called side.
pub const WEB_ID: &str = "spiffe://weft.test/ns/shop/sa/web";
/// The DNS name of the called side, for a peer that can only check names.
pub const WEB_NAME: &str = "web.shop.test";

/// Writes `roots.pem` and, for `client` and `web`, `.pem` (leaf), `.key` (PKCS#8) and `-both.pem`
/// into `directory`.
pub fn write(directory: &Path) -> Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = name("weft.test root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root =
        CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?;
    fs::write(directory.join("roots.pem"), root.pem())?;

    for (side, id, names) in
        [("client", CLIENT_ID, vec![]), ("web", WEB_ID, vec![WEB_NAME.to_owned()])]
    {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = name(side);
        params.subject_alt_names.push(SanType::URI(id.try_into()?));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let leaf = params.signed_by(&key, &root)?.pem();
        let key = key.serialize_pem();
        fs::write(directory.join(format!("{side}-both.pem")), format!("{leaf}{key}"))?;
        fs::write(directory.join(format!("{side}.pem")), leaf)?;
        fs::write(directory.join(format!("{side}.key")), key)?;
    }
    Ok(())
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
