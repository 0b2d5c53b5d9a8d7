//! The life of certificates: what OpenSSL says of them, and connections that outlive replacements.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use weft_identity::{
    Authority, AuthorityFiles, Credentials, HandshakeError, Issued, KeyHash, LEAF_LIFETIME,
    MutualTls, PeerFacts, Reason, Request, Revocations, Rotation, Secured, Svid, Tls, TrustBundle,
};
use weft_model::{SpiffeId, TrustDomain};
use weft_world::{Files, ListenerOptions, Stream, StreamExt, UnixTime, World};

const CART: &str = "spiffe://weft.test/ns/shop/sa/cart";
const WEB: &str = "spiffe://weft.test/ns/shop/sa/web";

fn domain() -> TrustDomain {
    "weft.test".parse().unwrap()
}

fn now() -> UnixTime {
    weft_net::world().clock.wall()
}

/// An empty directory that is removed with this.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn authority(&self, generation: u32) -> Authority {
        let files = weft_net::world().files;
        AuthorityFiles::new(&self.0, generation).open(&*files, &domain(), now()).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn issue(authority: &Authority, text: &str) -> (Request, Issued) {
    let (request, identity) = (Request::generate().unwrap(), text.parse().unwrap());
    let issued = authority.sign(request.csr_der(), &identity, now(), LEAF_LIFETIME).unwrap();
    (request, issued)
}

fn svid(authority: &Authority, text: &str) -> Svid {
    let (request, issued) = issue(authority, text);
    request.finish(issued.chain, &text.parse().unwrap()).unwrap()
}

fn bundle(sequence: u64, authorities: &[&Authority], revocations: Revocations) -> TrustBundle {
    let roots = authorities.iter().map(|authority| authority.root().clone());
    TrustBundle::new(domain(), sequence, roots, revocations).unwrap()
}

/// What `openssl` prints, and whether it succeeded.
fn openssl(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output().expect(
        "this test compares with OpenSSL: install its command line (Debian's package `openssl`)",
    );
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// The lines of `text` without indentation.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

/// The line behind the one that begins with `heading`.
fn below<'t>(lines: &[&'t str], heading: &str) -> &'t str {
    let position = lines.iter().position(|line| line.starts_with(heading));
    lines[position.unwrap_or_else(|| panic!("no `{heading}` in {lines:#?}")) + 1]
}

#[test]
fn openssl_finds_in_certificates_what_is_promised() {
    let directory = Directory::new("openssl");
    let path = &directory.0;
    let authority = directory.authority(1);
    let (_, issued) = issue(&authority, CART);
    let write = |name: &str, pem: &str| std::fs::write(path.join(name), pem).unwrap();
    write("chain.pem", &authority.chain_pem());
    write("leaf.pem", &issued.chain_pem());

    let verify = |root: &str, purpose: &str| {
        let arguments =
            ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", root, "-untrusted"];
        openssl(path, &[&arguments[..], &["chain.pem", "leaf.pem"]].concat())
    };
    for purpose in ["sslclient", "sslserver"] {
        let (is_valid, text) = verify("root-1.pem", purpose);
        assert!(is_valid && text.contains("leaf.pem: OK"), "{text}");
    }
    directory.authority(2);
    let (is_valid, text) = verify("root-2.pem", "sslclient");
    assert!(!is_valid, "{text}");

    let text = openssl(path, &["x509", "-in", "leaf.pem", "-noout", "-text"]).1;
    let leaf = lines(&text);
    assert_eq!(below(&leaf, "X509v3 Subject Alternative Name: critical"), format!("URI:{CART}"));
    assert_eq!(below(&leaf, "X509v3 Key Usage: critical"), "Digital Signature");
    assert_eq!(
        below(&leaf, "X509v3 Extended Key Usage"),
        "TLS Web Server Authentication, TLS Web Client Authentication"
    );
    assert_eq!(below(&leaf, "X509v3 Basic Constraints: critical"), "CA:FALSE");
    assert!(leaf.contains(&"Subject:"), "{text}");
    assert!(leaf.contains(&"ASN1 OID: prime256v1"), "{text}");
    let serial = openssl(path, &["x509", "-in", "leaf.pem", "-noout", "-serial"]).1;
    let serial = serial.trim().strip_prefix("serial=").unwrap();
    assert_eq!(serial.parse(), Ok(issued.serial));
    // One day from now on, and five minutes back.
    let ends = |file: &str, seconds: u64| {
        !openssl(path, &["x509", "-in", file, "-noout", "-checkend", &seconds.to_string()]).0
    };
    assert!(!ends("leaf.pem", 86_400 - 600) && ends("leaf.pem", 86_401));
    assert_eq!(issued.validity.lifetime().as_secs(), 86_400 + 300);

    let text = openssl(path, &["x509", "-in", "chain.pem", "-noout", "-text"]).1;
    let intermediate = lines(&text);
    assert_eq!(below(&intermediate, "X509v3 Basic Constraints: critical"), "CA:TRUE, pathlen:0");
    assert_eq!(below(&intermediate, "X509v3 Key Usage: critical"), "Certificate Sign, CRL Sign");
    assert_eq!(below(&intermediate, "X509v3 Subject Alternative Name"), "URI:spiffe://weft.test");
    assert!(!ends("chain.pem", 365 * 86_400 - 600) && ends("chain.pem", 365 * 86_400 + 1));

    let text = openssl(path, &["x509", "-in", "root-1.pem", "-noout", "-text"]).1;
    let root = lines(&text);
    assert_eq!(below(&root, "X509v3 Basic Constraints: critical"), "CA:TRUE, pathlen:1");
    assert!(!ends("root-1.pem", 3650 * 86_400 - 600) && ends("root-1.pem", 3650 * 86_400 + 1));

    // What the files and hashes are, as others see them.
    let key = openssl(path, &["x509", "-in", "root-1.pem", "-noout", "-pubkey"]).1;
    write("public.pem", &key);
    openssl(
        path,
        &["pkey", "-pubin", "-in", "public.pem", "-outform", "DER", "-out", "public.der"],
    );
    let hash = KeyHash::of(&std::fs::read(path.join("public.der")).unwrap());
    assert_eq!(hash, authority.root_key());
    let (is_valid, text) = openssl(path, &["pkey", "-in", "root-1-key.pem", "-noout", "-check"]);
    assert!(is_valid, "{text}");
}

#[test]
fn openssl_requests_and_authorities_are_taken() {
    let directory = Directory::new("openssl-made");
    let path = &directory.0;
    let authority = directory.authority(1);
    let new_key = ["req", "-new", "-nodes", "-keyout", "key.pem", "-subj", "/CN=whoever"];
    for kind in
        [&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"][..], &["-newkey", "ed25519"]]
    {
        let out = ["-addext", "subjectAltName=DNS:x", "-outform", "DER", "-out", "csr.der"];
        let (is_made, text) = openssl(path, &[&new_key[..], kind, &out].concat());
        assert!(is_made, "{text}");
        let csr = std::fs::read(path.join("csr.der")).unwrap();
        let cart: SpiffeId = CART.parse().unwrap();
        let issued = authority.sign(&csr, &cart, now(), LEAF_LIFETIME).unwrap();
        let key = std::fs::read(path.join("key.pem")).unwrap();
        let svid = Svid::from_pem(issued.chain_pem().as_bytes(), &key).unwrap();
        assert_eq!(*svid.identity(), cart);
    }

    // A root and an intermediate of another hand, with RSA and a SEC1 key.
    let steps: [&[&str]; 4] = [
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "r.key",
            "-out",
            "r.pem",
            "-subj",
            "/O=Elsewhere/CN=Root",
            "-days",
            "30",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ],
        &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "i.key"],
        &["req", "-new", "-key", "i.key", "-out", "i.csr", "-subj", "/C=DE/O=Elsewhere/CN=Issuing"],
        &[
            "x509", "-req", "-in", "i.csr", "-CA", "r.pem", "-CAkey", "r.key", "-out", "i.pem",
            "-days", "20", "-extfile", "i.ext",
        ],
    ];
    let extensions = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n";
    std::fs::write(path.join("i.ext"), extensions).unwrap();
    for step in steps {
        let (is_made, text) = openssl(path, step);
        assert!(is_made, "{text}");
    }
    let read = |name: &str| std::fs::read(path.join(name)).unwrap();
    // `now` is taken a little later than OpenSSL's, which counts from its own.
    let later = UnixTime(now().0 + std::time::Duration::from_secs(2));
    let given =
        Authority::from_pem(domain(), &read("r.pem"), &read("i.pem"), &read("i.key"), later)
            .unwrap();
    assert!(given.key_pem().starts_with("-----BEGIN EC PRIVATE KEY-----"));
    let request = Request::generate().unwrap();
    let issued =
        given.sign(request.csr_der(), &CART.parse().unwrap(), later, LEAF_LIFETIME).unwrap();
    std::fs::write(path.join("leaf.pem"), issued.chain_pem()).unwrap();
    let arguments = ["verify", "-CAfile", "r.pem", "-untrusted", "i.pem", "leaf.pem"];
    let (is_valid, text) = openssl(path, &arguments);
    assert!(is_valid, "{text}");
}

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

type Known = (Secured, PeerFacts);

fn known(secured: Secured) -> Known {
    let facts = secured.facts.clone().unwrap();
    (secured, facts)
}

/// A connection between the two; the error is the server's.
async fn meet(
    client: &MutualTls,
    server: &Rc<MutualTls>,
) -> Result<(Known, Known), HandshakeError> {
    let world = weft_net::world();
    let (client_socket, server_socket) = pair(&world).await;
    let accepting = server.accept(server_socket);
    let accepted = tokio::task::spawn_local(async move {
        let mut known = known(accepting.await?);
        known.0.stream.write_all(b"!").await.map_err(HandshakeError::Io)?;
        Ok(known)
    });
    let connected = async {
        let mut known = known(client.connect(client_socket, None).await?);
        known.0.stream.write_all(b"?").await.map_err(HandshakeError::Io)?;
        let mut byte = [0];
        known.0.stream.read(&mut byte).await.map_err(HandshakeError::Io)?;
        Ok::<_, HandshakeError>(known)
    };
    let connected = connected.await;
    let mut accepted = accepted.await.unwrap()?;
    let mut byte = [0];
    accepted.0.stream.read(&mut byte).await.map_err(HandshakeError::Io)?;
    Ok((connected?, accepted))
}

/// Whether bytes still come through from one to the other.
async fn is_alive(from: &mut Known, to: &mut Known) -> bool {
    let mut byte = [0];
    from.0.stream.write_all(b"x").await.is_ok()
        && to.0.stream.read(&mut byte).await.is_ok_and(|count| count == 1)
}

fn tls(authority: &Authority, text: &str, bundle: TrustBundle) -> Rc<MutualTls> {
    Rc::new(MutualTls::new(&Credentials { svid: svid(authority, text), bundle }).unwrap())
}

#[test]
fn a_revoked_peer_is_found_and_not_let_in_again() {
    run(async {
        let directory = Directory::new("revocation");
        let authority = directory.authority(1);
        let first = bundle(1, &[&authority], Revocations::default());
        let cart = tls(&authority, CART, first.clone());
        let web = tls(&authority, WEB, first);
        let (mut at_web, mut at_cart) = meet(&web, &cart).await.unwrap();
        assert_eq!(
            (at_web.1.identity.to_string(), at_web.1.issuer.root),
            (CART.to_owned(), authority.root_key())
        );
        assert_eq!(at_cart.1.identity.to_string(), WEB);
        assert_eq!(cart.trust().load().judge(&at_cart.1, now()), Ok(()));

        let mut revocations = Revocations::default();
        revocations.identities.insert(WEB.parse().unwrap());
        let second = bundle(2, &[&authority], revocations);
        assert!(cart.replace_trust(second.clone()).unwrap());
        assert!(!cart.replace_trust(second).unwrap(), "it is trusted already");
        let reason = cart.trust().load().judge(&at_cart.1, now()).unwrap_err();
        assert_eq!(reason, Reason::IdentityRevoked(WEB.parse().unwrap()));
        assert!(reason.is_urgent());
        assert!(is_alive(&mut at_web, &mut at_cart).await, "to close it is for the owner");

        let error = meet(&web, &cart).await.err().unwrap().to_string();
        assert!(error.contains("Revoked"), "{error}");
        // The other direction does not know of it yet, and so sees an alert.
        assert!(meet(&cart, &web).await.is_err());
    });
}

#[test]
fn what_is_revoked_during_a_handshake_counts() {
    run(async {
        let directory = Directory::new("race");
        let authority = directory.authority(1);
        let first = bundle(1, &[&authority], Revocations::default());
        let (cart, web) = (tls(&authority, CART, first.clone()), tls(&authority, WEB, first));
        let (client_socket, server_socket) = pair(&weft_net::world()).await;
        // The handshake has begun with what was trusted then.
        let accepting = cart.accept(server_socket);
        let (connecting, mut revocations) =
            (web.connect(client_socket, None), Revocations::default());
        revocations.identities.insert(WEB.parse().unwrap());
        cart.replace_trust(bundle(2, &[&authority], revocations)).unwrap();
        let client = tokio::task::spawn_local(async move {
            let mut known = known(connecting.await?);
            known.0.stream.write_all(b"?").await.map_err(HandshakeError::Io)
        });
        let error = accepting.await.err().unwrap().to_string();
        assert!(error.contains("Revoked"), "{error}");
        let _ = client.await.unwrap();
    });
}

#[test]
fn a_root_is_rotated_under_open_streams() {
    run(async {
        let directory = Directory::new("rotation");
        let (old, new) = (directory.authority(1), directory.authority(2));
        let none = Revocations::default;
        let first = bundle(1, &[&old], none());
        let (cart, web) = (tls(&old, CART, first.clone()), tls(&old, WEB, first));
        let mut open = vec![meet(&web, &cart).await.unwrap()];

        let steady = Rotation::Steady { root: old.root_key() };
        let distributing = steady.start(new.root_key(), 2).unwrap();
        assert_eq!(distributing.signing(), old.root_key());
        // The two are told one after the other; each mixture of old and new must work.
        for (tls, sequence) in [(&cart, 2), (&web, 2)] {
            tls.replace_trust(bundle(sequence, &[&old, &new], none())).unwrap();
            open.push(meet(&web, &cart).await.unwrap());
        }
        for (tls, text) in [(&web, WEB), (&cart, CART)] {
            tls.replace_svid(&svid(&new, text)).unwrap();
            open.push(meet(&web, &cart).await.unwrap());
        }
        for tls in [&cart, &web] {
            tls.replace_trust(bundle(3, &[&new], none())).unwrap();
            open.push(meet(&web, &cart).await.unwrap());
        }
        let last = &open.last().unwrap();
        assert_eq!((last.0.1.issuer.root, last.1.1.issuer.root), (new.root_key(), new.root_key()));

        let trust = cart.trust().load();
        let judgements: Vec<_> =
            open.iter().map(|(_, at_cart)| trust.judge(&at_cart.1, now())).collect();
        let withdrawn = Err(Reason::RootWithdrawn(old.root_key()));
        assert_eq!(judgements[0], withdrawn);
        assert_eq!(judgements.iter().filter(|one| **one == withdrawn).count(), 3);
        assert!(judgements.iter().flat_map(|one| one.as_ref().err()).all(|one| !one.is_urgent()));
        for (at_web, at_cart) in &mut open {
            assert!(is_alive(at_web, at_cart).await && is_alive(at_cart, at_web).await);
        }
    });
}

#[test]
fn credentials_of_somebody_else_are_not_taken() {
    let directory = Directory::new("somebody-else");
    let authority = directory.authority(1);
    let cart = tls(&authority, CART, bundle(1, &[&authority], Revocations::default()));
    let error = cart.replace_svid(&svid(&authority, WEB)).unwrap_err().to_string();
    assert_eq!(error, format!("the new certificate is of {WEB}, and this side is {CART}"));
    let older = bundle(0, &[&authority], Revocations::default());
    let error = cart.replace_trust(older).unwrap_err().to_string();
    assert_eq!(error, "the bundle has the sequence number 0, and 1 is held already");
}

#[test]
fn a_full_disk_is_named() {
    let directory = Directory::new("unwritable");
    let missing = directory.0.join("no/such");
    let files: Rc<dyn Files> = weft_net::world().files;
    let error = AuthorityFiles::new(&missing, 1).open(&*files, &domain(), now()).unwrap_err();
    let expected = format!("cannot write {}", missing.join("root-1-key.pem").display());
    assert!(error.to_string().starts_with(&expected), "{error}");
}
