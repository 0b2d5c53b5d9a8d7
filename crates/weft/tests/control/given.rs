//! Authorities that somebody else has made, with OpenSSL, in the words of docs/certificates.md.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{Control, Directory, WEFT, must, not_started, weft};

/// Where the authorities are made, and the control plane's own directory, with nothing in it yet.
fn directories() -> (Directory, Directory) {
    let (made, directory) = (Directory::new(), Directory::new());
    fs::DirBuilder::new().mode(0o700).create(directory.0.join("data")).unwrap();
    (made, directory)
}

/// Runs `openssl`, whose arguments have no spaces in them, in the directory.
fn openssl(directory: &Directory, arguments: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(arguments.split_whitespace()).current_dir(&directory.0);
    must(command.output().expect("openssl is installed: apt-get install openssl"))
}

/// Puts `content` into a file of the control plane.
fn give(directory: &Directory, name: &str, content: impl AsRef<[u8]>) {
    fs::write(directory.0.join("data").join(name), content).unwrap();
}

const P256: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
const USAGE: &str = "-addext keyUsage=critical,keyCertSign,cRLSign";

/// Makes `NAME.pem` and `NAME-key.pem`, a root with a key of the kind that `key` says.
fn root(made: &Directory, name: &str, key: &str) {
    openssl(
        made,
        &format!(
            "req -x509 {key} -days 3650 -subj /O=Shop/CN=Shop-{name} {USAGE} -keyout \
             {name}-key.pem -out {name}.pem"
        ),
    );
}

/// Makes `NAME.pem` and `NAME-key.pem`, signed by `above`, with what is put on its certificate.
fn below(made: &Directory, name: &str, above: &str, extensions: &str) {
    openssl(
        made,
        &format!(
            "req {P256} -subj /O=Shop/CN=Shop-{name} {extensions} -keyout {name}-key.pem -out \
             {name}.csr"
        ),
    );
    openssl(
        made,
        &format!(
            "x509 -req -in {name}.csr -CA {above}.pem -CAkey {above}-key.pem -CAcreateserial -days \
             365 -copy_extensions copyall -out {name}.pem"
        ),
    );
}

fn authority(path_length: u8) -> String {
    format!("-addext basicConstraints=critical,CA:TRUE,pathlen:{path_length} {USAGE}")
}

/// The content of files one after the other.
fn together(made: &Directory, names: &[&str]) -> Vec<u8> {
    names.iter().flat_map(|name| fs::read(made.0.join(name)).unwrap()).collect()
}

/// A proxy with an identity. It is killed with this value.
struct Proxy(Child);

impl Proxy {
    /// Joins with a token, and waits until it has its certificate, in `cart.data/identity.pem`.
    fn join(directory: &Directory) -> Proxy {
        use std::io::{BufRead, BufReader};
        let token = ["token", "--service-account", "shop/cart"];
        directory.file("cart.token", &must(weft(&directory.0.join("data/admin"), &token)));
        let config = directory.file(
            "cart.yaml",
            "identity: { joinToken: cart.token, serviceAccount: shop/cart }\n\
             data: cart.data\n\
             outbound: [{ listen: '127.0.0.1:0', service: shop/web, port: 80 }]\n",
        );
        let mut command = Command::new(WEFT);
        command.args(["proxy", "--config"]).arg(config).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let proxy = Proxy(child);
        let ready = lines.find(|line| line.starts_with("weft proxy: ready, as spiffe://"));
        ready.expect("it joins");
        std::thread::spawn(move || lines.count()); // What it says later must not fill the pipe.
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the proxy's chain leads to `root` and to no other, as OpenSSL sees it.
fn verify(directory: &Directory, root: &Path) {
    let root = root.display();
    let identity = "cart.data/identity.pem";
    let said = openssl(
        directory,
        &format!(
            "verify -no-CApath -no-CAstore -x509_strict -CAfile {root} -untrusted {identity} \
             {identity}"
        ),
    );
    assert_eq!(said, format!("{identity}: OK\n"));
}

#[test]
fn a_given_root_signs_and_the_next_root_may_be_given_too() {
    let (made, directory) = directories();
    root(&made, "first", P256);
    give(&directory, "root-1.pem", together(&made, &["first.pem"]));
    give(&directory, "root-1-key.pem", together(&made, &["first-key.pem"]));
    let _control = Control::start(&directory, "127.0.0.1:0");
    let _proxy = Proxy::join(&directory);
    verify(&directory, &made.0.join("first.pem"));
    // Nothing of what was given has been touched.
    for (name, given) in [("root-1.pem", "first.pem"), ("root-1-key.pem", "first-key.pem")] {
        assert_eq!(
            fs::read(directory.0.join("data").join(name)).unwrap(),
            together(&made, &[given])
        );
    }

    root(&made, "second", "-newkey rsa:2048 -nodes");
    give(&directory, "root-2.pem", together(&made, &["second.pem"]));
    give(&directory, "root-2-key.pem", together(&made, &["second-key.pem"]));
    must(weft(&directory.0.join("data/admin"), &["ca", "rotate", "--timeout", "100"]));
    verify(&directory, &made.0.join("second.pem"));
}

#[test]
fn a_given_intermediate_signs_without_the_roots_key() {
    let (made, directory) = directories();
    root(&made, "root", "-newkey rsa:2048 -nodes");
    below(&made, "between", "root", &authority(1));
    below(&made, "mesh", "between", &authority(0));
    give(&directory, "root-1.pem", together(&made, &["root.pem"]));
    let all = together(&made, &["mesh.pem", "between.pem", "mesh-key.pem"]);
    give(&directory, "intermediate-1.pem", &all);
    let _control = Control::start(&directory, "127.0.0.1:0");
    let _proxy = Proxy::join(&directory);
    verify(&directory, &made.0.join("root.pem"));
    let data = directory.0.join("data");
    assert!(!data.join("root-1-key.pem").exists());
    assert_eq!(fs::read(data.join("intermediate-1.pem")).unwrap(), all);
}

#[test]
fn authorities_that_cannot_be_are_refused_with_file_and_remedy() {
    let (made, directory) = directories();
    root(&made, "root", P256);
    root(&made, "other", P256);
    below(&made, "mesh", "root", &authority(0));
    below(&made, "leaf", "root", "-addext basicConstraints=critical,CA:FALSE");
    expired(&made, "old");
    let key = "root-1-key.pem";
    let both = "intermediate-1.pem";
    let cases: [(&str, &str, &[&str], &str); 8] = [
        ("root.pem", key, &["other-key.pem"], "the key of the root certificate does not belong"),
        ("old.pem", key, &["old-key.pem"], "it holds from 2020-01-01"),
        ("leaf.pem", key, &["leaf-key.pem"], "it is not that of an authority"),
        ("mesh.pem", key, &["mesh-key.pem"], "it allows 0 authorities below it (pathlen)"),
        ("root.pem", key, &["root.pem"], "no private key in PEM (PKCS#8, SEC1 or PKCS#1)"),
        ("root.pem", both, &["mesh.pem", "root-key.pem"], "does not belong to its certificate"),
        (
            "other.pem",
            both,
            &["mesh.pem", "mesh-key.pem"],
            "peers that trust the root would refuse",
        ),
        ("root.pem", both, &["root.pem", "root-key.pem"], "it is the root itself"),
    ];
    for (root, name, parts, reason) in cases {
        for name in [key, both] {
            let _ = fs::remove_file(directory.0.join("data").join(name));
        }
        give(&directory, "root-1.pem", together(&made, &[root]));
        let given = together(&made, parts);
        give(&directory, name, &given);
        let error = not_started(&directory, "127.0.0.1:0");
        let data = directory.0.join("data");
        let files =
            format!("{}, {}: ", data.join("root-1.pem").display(), data.join(name).display());
        for part in [&*files, reason, "put others there, as docs/certificates.md says"] {
            assert!(error.contains(part), "{root} {parts:?}: no `{part}`: {error}");
        }
        assert_eq!(fs::read(data.join(name)).unwrap(), given, "{name} was changed");
    }

    // What was wrong is put right, and the same directory is good.
    fs::remove_file(directory.0.join("data").join(both)).unwrap();
    let error = not_started(&directory, "127.0.0.1:0");
    assert!(error.contains("intermediate-1.pem is missing, and "), "{error}");
    assert!(error.contains("give an intermediate with its key, or the root's key"), "{error}");
    give(&directory, key, together(&made, &["root-key.pem"]));
    let _control = Control::start(&directory, "127.0.0.1:0");
    let _proxy = Proxy::join(&directory);
    verify(&directory, &made.0.join("root.pem"));
}

/// Makes a root whose dates are long over. Only `openssl ca` sets dates in every version.
fn expired(made: &Directory, name: &str) {
    made.file("index.txt", "");
    made.file(
        "ca.conf",
        "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nnew_certs_dir = .\nrand_serial = yes\n\
         default_md = sha256\npolicy = any\nx509_extensions = root\n[any]\ncommonName = supplied\n\
         [root]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign\n\
         subjectKeyIdentifier = hash\n",
    );
    openssl(
        made,
        &format!("req {P256} -subj /CN=Shop-{name} -keyout {name}-key.pem -out {name}.csr"),
    );
    openssl(
        made,
        &format!(
            "ca -batch -notext -selfsign -config ca.conf -in {name}.csr -keyfile {name}-key.pem \
             -startdate 20200101000000Z -enddate 20210101000000Z -out {name}.pem"
        ),
    );
}
