//! Handshakes with control planes, right ones and others.

use rustls::{ClientConnection, ServerConnection};

use super::*;
use crate::testing::{CART, MemoryFiles, bundle, identity, root, svid, wall};
use crate::{Authority, Revocations};

/// Leads both sides through a handshake in memory; the error is of the side that failed first.
fn meet(
    client: ClientConfig,
    server: ServerConfig,
) -> Result<(ClientConnection, ServerConnection), String> {
    let name = ServerName::try_from("no.such.name").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    for _ in 0..4 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        server.read_tls(&mut &*bytes).unwrap();
        server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        client.read_tls(&mut &*bytes).unwrap();
        client.process_new_packets().map_err(|error| format!("client: {error}"))?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

fn trust(authority: &Authority) -> TrustSlot {
    TrustSlot::new(bundle(1, &[authority], Revocations::default()))
}

#[test]
fn the_right_key_is_enough_whatever_name_and_date() {
    let authority = root(wall()).authority(wall()).unwrap();
    let key = ControlKey::generate().unwrap();
    let server = key.server_config(&trust(&authority)).unwrap();
    let client = control_client_config(key.hash(), &SvidSlot::default()).unwrap();
    let (client, server) = meet(client, server).unwrap();
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    assert!(server.peer_certificates().is_none());
    assert_eq!(server.server_name(), None, "the name is not sent");
}

#[test]
fn another_key_is_refused_before_anything_is_said() {
    let authority = root(wall()).authority(wall()).unwrap();
    let (key, other) = (ControlKey::generate().unwrap(), ControlKey::generate().unwrap());
    let server = other.server_config(&trust(&authority)).unwrap();
    let client = control_client_config(key.hash(), &SvidSlot::default()).unwrap();
    let error = meet(client, server).err().unwrap();
    assert!(error.starts_with("client: "), "{error}");
    assert!(error.contains(&other.hash().to_string()), "{error}");
}

#[test]
fn the_certificate_without_its_key_is_refused() {
    let authority = root(wall()).authority(wall()).unwrap();
    let (key, other) = (ControlKey::generate().unwrap(), ControlKey::generate().unwrap());
    // Somebody shows the right certificate, which anybody can get, and signs with another key.
    #[derive(Debug)]
    struct Copied(Arc<CertifiedKey>);
    impl rustls::server::ResolvesServerCert for Copied {
        fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }
    }
    let der = PrivateKeyDer::try_from(other.0.der()).unwrap();
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).unwrap();
    let copied = Copied(Arc::new(CertifiedKey::new(vec![key.certificate().unwrap()], signing)));
    let mut server = other.server_config(&trust(&authority)).unwrap();
    server.cert_resolver = Arc::new(copied);
    let client = control_client_config(key.hash(), &SvidSlot::default()).unwrap();
    let error = meet(client, server).err().unwrap();
    assert!(error.contains("BadSignature"), "{error}");
}

#[test]
fn a_client_with_an_identity_is_known() {
    let authority = root(wall()).authority(wall()).unwrap();
    let trust = trust(&authority);
    let key = ControlKey::generate().unwrap();
    let slot = SvidSlot::with(&svid(&authority, CART, wall()));
    let client = control_client_config(key.hash(), &slot).unwrap();
    let (_, server) = meet(client, key.server_config(&trust).unwrap()).unwrap();
    let facts = trust.load().facts(server.peer_certificates().unwrap(), wall()).unwrap();
    assert_eq!(facts.identity, identity(CART));

    slot.clear();
    let client = control_client_config(key.hash(), &slot).unwrap();
    let (_, server) = meet(client, key.server_config(&trust).unwrap()).unwrap();
    assert!(server.peer_certificates().is_none());
}

#[test]
fn a_client_with_a_wrong_identity_is_refused() {
    let (authority, other) =
        (root(wall()).authority(wall()).unwrap(), root(wall()).authority(wall()).unwrap());
    let key = ControlKey::generate().unwrap();
    let meet = |svid: &crate::Svid, revocations| {
        let client = control_client_config(key.hash(), &SvidSlot::with(svid)).unwrap();
        let trust = TrustSlot::new(bundle(1, &[&authority], revocations));
        meet(client, key.server_config(&trust).unwrap()).err().unwrap()
    };
    let error = meet(&svid(&other, CART, wall()), Revocations::default());
    assert!(error.starts_with("server: ") && error.contains("UnknownIssuer"), "{error}");
    let mut revocations = Revocations::default();
    revocations.identities.insert(identity(CART));
    let error = meet(&svid(&authority, CART, wall()), revocations);
    assert!(error.starts_with("server: ") && error.contains("Revoked"), "{error}");
}

#[test]
fn nothing_is_resumed() {
    let authority = root(wall()).authority(wall()).unwrap();
    let key = ControlKey::generate().unwrap();
    let client = control_client_config(key.hash(), &SvidSlot::default()).unwrap();
    let server = key.server_config(&trust(&authority)).unwrap();
    for _ in 0..2 {
        let (client, _) = meet(client.clone(), server.clone()).unwrap();
        assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(client.tls13_tickets_received(), 0);
    }
}

#[test]
fn the_key_is_made_once_and_kept() {
    let files = MemoryFiles::default();
    let path = Path::new("state/control-key.pem");
    let first = ControlKey::open(&files, path, None).unwrap();
    let known = Some(first.hash());
    for known in [None, known] {
        assert_eq!(ControlKey::open(&files, path, known).unwrap().hash(), first.hash());
    }
    let error = |files: &MemoryFiles, path: &Path, known| {
        ControlKey::open(files, path, known).unwrap_err().to_string()
    };
    // One that was in use is never replaced: neither where it is gone, nor by another.
    let gone = error(&files, Path::new("gone"), known);
    assert!(gone.contains("gone: it is gone: restore it from a backup"), "{gone}");
    assert!(!files.content.borrow().contains_key(Path::new("gone")));
    let other = ControlKey::generate().unwrap();
    files.replace(path, other.to_pem().as_bytes()).unwrap();
    let another = error(&files, path, known);
    let expected = format!("it is {}, and {} is the one in use", other.hash(), first.hash());
    assert!(another.contains(&expected), "{another}");

    files.replace(path, b"damaged").unwrap();
    let damaged = error(&files, path, known);
    assert!(damaged.contains("no private key in PEM"), "{damaged}");
    assert_eq!(files.content.borrow()[path], b"damaged");
    files.writes_left.set(Some(0));
    let full = error(&files, Path::new("other"), None);
    assert!(full.starts_with("cannot write the control plane's key other: "), "{full}");
    assert!(format!("{first:?}").contains("hidden"));
}
