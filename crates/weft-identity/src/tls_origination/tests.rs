//! Handshakes over real sockets, with a server in the same process.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::server::{
    ServerConfig, ServerSessionMemoryCache, UnbufferedServerConnection, WebPkiClientVerifier,
};
use rustls::{RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use weft_model::{CertificateUri, PreciseHost, RootCertificate, SubjectAltName};
use weft_world::{ListenerOptions, StreamExt, World};

use super::*;
use crate::Svid;
use crate::testing::{MemoryFiles, WEB, identity, root, svid, wall};

type Issuer = CertifiedIssuer<'static, KeyPair>;

const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

fn issuer() -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that speaks `versions`, by a certificate for `names` that `issuer` has signed.
fn server(
    issuer: &Issuer,
    names: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let name = |name: &&str| match name.contains(':') {
        true => SanType::URI((*name).try_into().unwrap()),
        false => SanType::DnsName((*name).try_into().unwrap()),
    };
    params.subject_alt_names = names.iter().map(name).collect();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    ServerConfig::builder_with_provider(Arc::new(crate::tls::provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap()
}

fn settings(roots: TlsRoots, hostname: &str, names: &[&str]) -> Arc<TlsOrigination> {
    let name = |name: &&str| match name.contains(':') {
        true => SubjectAltName::Uri(CertificateUri::new(name).unwrap()),
        false => SubjectAltName::Dns(PreciseHost::new(name).unwrap()),
    };
    Arc::new(TlsOrigination {
        hostname: PreciseHost::new(hostname).unwrap(),
        subject_alt_names: names.iter().map(name).collect(),
        roots,
        client_certificate: ClientCertificate::None,
    })
}

fn given(issuer: &Issuer) -> TlsRoots {
    TlsRoots::Certificates([RootCertificate::new(issuer.der()).unwrap()].into())
}

fn client(settings: &Arc<TlsOrigination>) -> TlsClient {
    TlsClient::new(settings, &SystemRoots::default(), &MemoryFiles::default(), None).unwrap()
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap()
        .block_on(future)
}

async fn pair(world: &World) -> (Box<dyn Stream>, Box<dyn Stream>) {
    let address = "127.0.0.1:0".parse().unwrap();
    let mut listener = world.network.listen(address, ListenerOptions::default()).unwrap();
    let client = world.network.connect(listener.local_address()).await.unwrap();
    (client, listener.accept().await.unwrap().stream)
}

/// What a server saw of a session that stood.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    alpn: Option<Vec<u8>>,
    was_resumed: bool,
    identity: Option<String>,
}

/// What client and server make of each other, once each has said a byte to the other: in HTTP the
/// client before the server may, and otherwise after it.
async fn meet(
    client: &TlsClient,
    spoken: Spoken,
    server: &Arc<ServerConfig>,
) -> Result<Seen, OriginationError> {
    let (own, other) = pair(&weft_net::world()).await;
    let session = Session::Server(UnbufferedServerConnection::new(server.clone()).unwrap());
    let accepted = tokio::task::spawn_local(async move {
        let mut stream = TlsStream::handshake(other, session).await.ok()?;
        // It speaks first.
        stream.write_all(b"!").await.ok()?;
        let mut byte = [0];
        stream.read(&mut byte).await.ok()?;
        let identity = stream
            .peer_certificates()
            .map(|chain| crate::verify::peer_identity(&chain[0]).unwrap().to_string());
        let Session::Server(session) = stream.session() else { unreachable!() };
        Some(Seen {
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            was_resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            identity,
        })
    });
    let mut stream = client.connect(own, spoken).await?;
    let settings = &client.settings;
    let failed = |error: std::io::Error| {
        let refused = refused_later(&error, settings);
        refused.unwrap_or_else(|| OriginationError::Failed(error.to_string()))
    };
    let mut byte = [0];
    if spoken == Spoken::Opaque {
        stream.read(&mut byte).await.map_err(failed)?;
        stream.write_all(b"?").await.map_err(failed)?;
    } else {
        stream.write_all(b"?").await.map_err(failed)?;
        stream.read(&mut byte).await.map_err(failed)?;
    }
    assert_eq!(&byte, b"!");
    Ok(accepted.await.unwrap().unwrap())
}

#[test]
fn names_and_roots_decide_and_nothing_else() {
    run(async {
        let (issuer, stranger) = (issuer(), issuer());
        let uri = "spiffe://b.example/x";
        let names = ["a.example", "*.w.example", uri];
        for version in BOTH {
            let server = Arc::new(server(&issuer, &names, &[version]));
            let cases: [(&str, &[&str], bool); 11] = [
                ("a.example", &[], true),
                ("b.w.example", &[], true),
                ("w.example", &[], false),
                ("b.b.w.example", &[], false),
                ("b.example", &[], false),
                ("b.example", &["c.example", "a.example"], true),
                ("b.example", &[uri], true),
                // What is only asked for proves nothing.
                ("a.example", &["c.example"], false),
                ("a.example", &["spiffe://b.example/y"], false),
                ("a.example", &["spiffe://B.example/x"], false),
                ("a.example", &["spiffe://b.example/x/"], false),
            ];
            for (hostname, names, is_right) in cases {
                let right = client(&settings(given(&issuer), hostname, names));
                let found = meet(&right, Spoken::Opaque, &server).await;
                match found {
                    Ok(_) => assert!(is_right, "{hostname} {names:?}"),
                    Err(OriginationError::Certificate(why)) => {
                        assert!(!is_right && why.contains("is for a.example"), "{hostname}: {why}");
                    }
                    Err(other) => panic!("{hostname}: {other}"),
                }
                let wrong = client(&settings(given(&stranger), hostname, names));
                let found = meet(&wrong, Spoken::Opaque, &server).await;
                assert!(matches!(found, Err(OriginationError::Certificate(_))), "{found:?}");
            }
            let nobody = client(&settings(TlsRoots::Certificates([].into()), "a.example", &[]));
            let found = meet(&nobody, Spoken::Opaque, &server).await;
            assert!(matches!(found, Err(OriginationError::Certificate(_))), "{found:?}");
        }
    });
}

#[test]
fn what_is_spoken_is_agreed_on() {
    run(async {
        let issuer = issuer();
        let client = client(&settings(given(&issuer), "a.example", &[]));
        let speaking = |protocols: &[&[u8]]| {
            let mut server = server(&issuer, &["a.example"], &BOTH);
            server.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
            Arc::new(server)
        };
        let (both, old, silent) =
            (speaking(&[b"h2", b"http/1.1"]), speaking(&[b"http/1.1"]), speaking(&[]));
        let new = speaking(&[b"h2"]);
        let alpn = async |spoken, server| meet(&client, spoken, server).await.map(|seen| seen.alpn);
        let agreed = |name: &[u8]| Ok(Some(name.to_vec()));
        assert_eq!(alpn(Spoken::Http1, &both).await, agreed(b"http/1.1"));
        assert_eq!(alpn(Spoken::Http2, &both).await, agreed(b"h2"));
        assert_eq!(alpn(Spoken::Opaque, &both).await, Ok(None));
        assert_eq!(alpn(Spoken::Http1, &silent).await, Ok(None));
        for (name, server) in [("silent", &silent), ("old", &old)] {
            assert_eq!(alpn(Spoken::Http2, server).await, Err(OriginationError::NoHttp2), "{name}");
        }
        let refused = alpn(Spoken::Http1, &new).await.unwrap_err().to_string();
        assert!(refused.contains("does not agree to HTTP/1.1"), "{refused}");
    });
}

#[test]
fn tickets_are_kept_by_the_client_that_got_them() {
    run(async {
        let issuer = issuer();
        for version in BOTH {
            let mut server = server(&issuer, &["a.example"], &[version]);
            server.session_storage = ServerSessionMemoryCache::new(8);
            let server = Arc::new(server);
            let settings = settings(given(&issuer), "a.example", &[]);
            let (one, other) = (client(&settings), client(&settings));
            let resumed =
                async |client| meet(client, Spoken::Opaque, &server).await.unwrap().was_resumed;
            assert!(!resumed(&one).await && resumed(&one).await && resumed(&one).await);
            assert!(!resumed(&other).await);
        }
    });
}

#[test]
fn a_server_that_asks_sees_the_workload_only_if_it_may() {
    run(async {
        let issuer = issuer();
        let authority = root(wall()).authority(wall()).unwrap();
        let web: Svid = svid(&authority, WEB, wall());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.root().to_vec())).unwrap();
        let own = SvidSlot::with(&web);
        for version in BOTH {
            let asking = server(&issuer, &["a.example"], &[version]);
            let provider = Arc::new(crate::tls::provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots.clone()),
                provider.clone(),
            )
            .build()
            .unwrap();
            let asking = Arc::new(
                ServerConfig::builder_with_provider(provider)
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .with_client_cert_verifier(verifier)
                    .with_cert_resolver(asking.cert_resolver.clone()),
            );
            let silent = settings(given(&issuer), "a.example", &[]);
            let client_certificate = ClientCertificate::Workload;
            let showing = Arc::new(TlsOrigination { client_certificate, ..(*silent).clone() });
            let (system, files) = (SystemRoots::default(), MemoryFiles::default());
            let client = |settings, own| TlsClient::new(settings, &system, &files, own);
            let shown = client(&showing, Some(&own)).unwrap();
            for _ in 0..2 {
                let seen = meet(&shown, Spoken::Opaque, &asking).await.unwrap();
                assert_eq!(seen.identity.as_deref(), Some(identity(WEB).to_string().as_str()));
                assert!(!seen.was_resumed);
            }
            let hidden = client(&silent, Some(&own)).unwrap();
            let refused = meet(&hidden, Spoken::Opaque, &asking).await.unwrap_err().to_string();
            assert!(refused.contains("it wants a certificate"), "{refused}");
            assert!(matches!(client(&showing, None), Err(OriginationError::NoIdentity)));
        }
    });
}

#[test]
fn system_roots_are_read_once_and_their_absence_is_said() {
    let issuer = issuer();
    let files = MemoryFiles::default();
    let settings = settings(TlsRoots::System, "a.example", &[]);
    let client = |system: &SystemRoots| TlsClient::new(&settings, system, &files, None);
    let system = SystemRoots::default();
    let refused = client(&system).err().unwrap();
    assert!(refused.is_own() && refused.to_string().contains("install them"), "{refused}");
    let place = Path::new("/etc/ssl/certs/ca-certificates.crt");
    files.replace(place, b"nothing").unwrap();
    let refused = client(&system).err().unwrap().to_string();
    assert!(refused.contains("/etc/ssl/certs/ca-certificates.crt holds none"), "{refused}");
    // What cannot be used is no reason not to use the rest.
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    files.replace(place, format!("{broken}{}", issuer.pem()).as_bytes()).unwrap();
    assert!(client(&system).is_ok());
    files.replace(place, b"nothing").unwrap();
    assert!(client(&system).is_ok());
    let other = SystemRoots::new(Some("/other.pem".into()));
    let refused = client(&other).err().unwrap().to_string();
    assert!(refused.contains("there is no /other.pem;"), "{refused}");
}
