//! Handshakes over real sockets, with peers that should be let in and peers that should not.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::rc::Rc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use weft_identity::{
    Credentials, HandshakeError, MutualTls, Secured, Svid, Tls, TrustBundle, peer_identity,
};
use weft_world::{ListenerOptions, Stream, StreamExt, World};

type Root = CertifiedIssuer<'static, KeyPair>;

fn root() -> Root {
    root_named("root")
}

fn root_named(name: &str) -> Root {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `uris`, with what `change` does to it.
fn leaf(
    root: &Root,
    uris: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names =
        uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    let certificate = params.signed_by(&key, root).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn credentials(root: &Root, trusted: &Root, uri: &str) -> Credentials {
    credentials_with(root, trusted, uri, |_| {})
}

fn credentials_with(
    root: &Root,
    trusted: &Root,
    uri: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> Credentials {
    let (certificate, key) = leaf(root, &[uri], change);
    Credentials {
        svid: Svid::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap(),
        bundle: TrustBundle::from_pem("weft.test".parse().unwrap(), trusted.pem().as_bytes())
            .unwrap(),
    }
}

const CART: &str = "spiffe://weft.test/ns/shop/sa/cart";
const WEB: &str = "spiffe://weft.test/ns/shop/sa/web";

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap()
        .block_on(future)
}

/// Both ends of a connection over loopback.
async fn pair(world: &World) -> (Box<dyn Stream>, Box<dyn Stream>) {
    let address = "127.0.0.1:0".parse().unwrap();
    let mut listener = world.network.listen(address, ListenerOptions::default()).unwrap();
    let client = world.network.connect(listener.local_address()).await.unwrap();
    (client, listener.accept().await.unwrap().stream)
}

/// What client and server make of each other. The client reads a byte, since with TLS 1.3 it learns
/// only then whether it was let in.
async fn meet(
    client: &Credentials,
    server: &Credentials,
) -> (Result<Secured, String>, Result<Secured, HandshakeError>) {
    let world = weft_net::world();
    let (client, server) = (MutualTls::new(client).unwrap(), MutualTls::new(server).unwrap());
    let (client_socket, server_socket) = pair(&world).await;
    let accepted = tokio::task::spawn_local(async move {
        let mut secured = server.accept(server_socket).await?;
        secured.stream.write_all(b"!").await.map_err(HandshakeError::Io)?;
        Ok(secured)
    });
    let connected = async {
        let mut secured =
            client.connect(client_socket, Some("cart.shop")).await.map_err(|e| e.to_string())?;
        secured.stream.write_all(b"?").await.map_err(|e| e.to_string())?;
        let mut byte = [0];
        secured.stream.read(&mut byte).await.map_err(|e| e.to_string())?;
        assert_eq!(&byte, b"!");
        Ok(secured)
    }
    .await;
    (connected, accepted.await.unwrap())
}

#[test]
fn both_sides_learn_who_the_other_is() {
    run(async {
        let root = root();
        let (cart, web) = (credentials(&root, &root, CART), credentials(&root, &root, WEB));
        let (connected, accepted) = meet(&web, &cart).await;
        assert_eq!(connected.unwrap().peer.to_string(), CART);
        assert_eq!(accepted.unwrap().peer.to_string(), WEB);
    });
}

#[test]
fn a_client_of_another_root_is_refused() {
    run(async {
        let (root, other) = (root(), root_named("other"));
        let server = credentials(&root, &root, CART);
        let (connected, accepted) = meet(&credentials(&other, &root, WEB), &server).await;
        let error = accepted.err().unwrap().to_string();
        assert!(error.contains("UnknownIssuer"), "{error}");
        assert!(connected.err().unwrap().contains("UnknownCA"));
    });
}

#[test]
fn a_root_of_the_same_name_is_another_root() {
    run(async {
        let (root, other) = (root(), root());
        let server = credentials(&root, &root, CART);
        let error = meet(&credentials(&other, &root, WEB), &server).await.1.err().unwrap();
        assert!(error.to_string().contains("BadSignature"), "{error}");
    });
}

#[test]
fn a_server_of_another_root_is_refused() {
    run(async {
        let (root, other) = (root(), root_named("other"));
        let client = credentials(&root, &root, WEB);
        let (connected, _) = meet(&client, &credentials(&other, &root, CART)).await;
        assert!(connected.err().unwrap().contains("UnknownIssuer"));
    });
}

#[test]
fn an_expired_client_is_refused() {
    run(async {
        let root = root();
        let server = credentials(&root, &root, CART);
        let client = credentials_with(&root, &root, WEB, |params| {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        });
        let error = meet(&client, &server).await.1.err().unwrap().to_string();
        assert!(error.contains("expired"), "{error}");
    });
}

#[test]
fn an_identity_of_another_trust_domain_is_refused() {
    run(async {
        let root = root();
        let server = credentials(&root, &root, CART);
        let client = credentials(&root, &root, "spiffe://other.test/ns/shop/sa/web");
        let error = meet(&client, &server).await.1.err().unwrap().to_string();
        assert!(error.contains("is not of the trust domain weft.test"), "{error}");
    });
}

#[test]
fn a_certificate_for_servers_only_is_no_client() {
    run(async {
        let root = root();
        let server = credentials(&root, &root, CART);
        let client = credentials_with(&root, &root, WEB, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let error = meet(&client, &server).await.1.err().unwrap().to_string();
        assert!(error.contains("InvalidPurpose"), "{error}");
    });
}

#[test]
fn bytes_come_through_whole_in_both_directions() {
    run(async {
        let root = root();
        let (cart, web) = (credentials(&root, &root, CART), credentials(&root, &root, WEB));
        let (connected, accepted) = meet(&web, &cart).await;
        let (mut client, mut server) = (connected.unwrap().stream, accepted.unwrap().stream);
        let sent: Rc<Vec<u8>> = Rc::new((0..3_000_000u32).map(|i| (i % 251) as u8).collect());
        let expected = sent.clone();
        let writer = tokio::task::spawn_local(async move {
            client.write_all(&sent).await.unwrap();
            client.close().await.unwrap();
            let mut echoed = vec![0; 100_000];
            let mut count = 0;
            loop {
                match client.read(&mut echoed).await.unwrap() {
                    0 => return count,
                    more => count += more,
                }
            }
        });
        let (mut received, mut piece) = (vec![0; 1], vec![0; 50_000]);
        server.read(&mut received).await.unwrap();
        assert_eq!(received, b"?");
        received.clear();
        loop {
            match server.read(&mut piece).await.unwrap() {
                0 => break,
                count => received.extend_from_slice(&piece[..count]),
            }
        }
        assert!(received == *expected);
        server.write_all(&received[..1_000_000]).await.unwrap();
        server.close().await.unwrap();
        assert_eq!(writer.await.unwrap(), 1_000_000);
    });
}

#[test]
fn an_end_without_close_notify_is_an_error() {
    run(async {
        let root = root();
        let (cart, web) = (credentials(&root, &root, CART), credentials(&root, &root, WEB));
        let (connected, accepted) = meet(&web, &cart).await;
        drop(connected);
        let mut server = accepted.unwrap().stream;
        let mut bytes = [0; 8];
        server.read(&mut bytes).await.unwrap();
        assert!(server.read(&mut bytes).await.is_err());
    });
}

#[test]
fn wrong_credentials_say_what_is_wrong() {
    let root = root();
    let (certificate, key) = leaf(&root, &[CART], |_| {});
    let (other_certificate, _) = leaf(&root, &[WEB], |_| {});
    let error = |certificate: &str, key: &str| {
        Svid::from_pem(certificate.as_bytes(), key.as_bytes()).err().unwrap().to_string()
    };
    assert!(error("nothing", &key).starts_with("no certificates in PEM"));
    assert!(error(&certificate, "nothing").starts_with("no private key in PEM"));
    assert!(error(&other_certificate, &key).contains("does not belong"));
    for uris in [&[][..], &[CART, WEB], &["https://cart"], &["spiffe://weft.test/cart"]] {
        let (certificate, key) = leaf(&root, uris, |_| {});
        let error = error(&certificate, &key);
        assert!(error.starts_with("the first certificate is no X.509-SVID"), "{error}");
    }
    let der = rustls_pki_types::CertificateDer::from(&b"garbage"[..]);
    assert!(peer_identity(&der).is_err());
}
