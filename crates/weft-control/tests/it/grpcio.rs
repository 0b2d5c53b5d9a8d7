//! A client that nobody here wrote: grpcio, with the message definitions that Envoy publishes, over
//! TLS by OpenSSL.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use weft_identity::LEAF_LIFETIME;
use weft_wire::discovery::message::OBJECT_TYPE;
use weft_world::Clock;

use crate::lab::{Lab, run_for, until};

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec: { selector: { app: cart }, ports: [{ port: 80 }] }
---
apiVersion: weft.dev/v1alpha1
kind: Workload
metadata: { name: cart-1, namespace: shop, labels: { app: cart } }
spec: { addresses: [192.0.2.1] }
";

/// What is installed from PyPI, once a target folder: by `cargo xtask test` before the tests,
/// or else by the first of them.
const PACKAGES: [&str; 3] = ["grpcio==1.85.1", "xds-protos==1.85.0", "protobuf==7.36.2"];

/// How long a test may take that installs them first.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

/// A Python with the packages.
fn python() -> PathBuf {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    READY.get_or_init(install).clone()
}

fn install() -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let name: String = PACKAGES.join("-").replace("==", "-");
    let ready = cache.join(&name);
    if !ready.exists() {
        eprintln!("installing {} from PyPI into {}", PACKAGES.join(" "), ready.display());
        std::fs::create_dir_all(&cache).unwrap();
        // Under a name of its own until it is whole, should another process do the same.
        let draft = cache.join(format!("draft-{}", std::process::id()));
        must(Command::new("python3").args(["-m", "venv"]).arg(&draft));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        must(Command::new(draft.join("bin/python")).args(pip).args(PACKAGES));
        if std::fs::rename(&draft, &ready).is_err() {
            // It was faster.
            std::fs::remove_dir_all(&draft).unwrap();
        }
    }
    ready.join("bin/python")
}

fn must(command: &mut Command) {
    let output = command.output().expect("python3 is installed: apt-get install python3-venv");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

/// The client, and what it says. It is killed with this value.
struct Client {
    child: Child,
    input: ChildStdin,
    output: Option<BufReader<ChildStdout>>,
}

impl Client {
    fn start(lab: &Lab, python: &Path, mode: &str) -> Client {
        let directory = lab.directory();
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let identity = "spiffe://weft.local/ns/shop/sa/web".parse().unwrap();
        let wall = lab.clock.wall();
        let issued = lab.ca().authority().sign(request.der(), &identity, wall, LEAF_LIFETIME);
        std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(directory.join("chain.pem"), issued.unwrap().chain_pem()).unwrap();
        let mut child = Command::new(python)
            .args(["-c", include_str!("envoy_client.py"), &lab.address.to_string()])
            .arg(directory)
            .arg(mode)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = Some(BufReader::new(child.stdout.take().unwrap()));
        Client { child, input, output }
    }

    /// The next thing that it says. It is waited for elsewhere, since the server is on this thread.
    async fn said(&mut self) -> Value {
        let mut output = self.output.take().unwrap();
        let (line, output) = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            (line, output)
        })
        .await
        .unwrap();
        self.output = Some(output);
        serde_json::from_str(&line).expect(&line)
    }

    /// The responses until one has `name`, all of them acknowledged but that one.
    async fn until_told(&mut self, name: &str) -> Value {
        loop {
            let said = self.said().await;
            assert_eq!(said["type_url"], OBJECT_TYPE, "{said}");
            if said["resources"].get(name).is_some() {
                return said;
            }
            self.does("ack");
        }
    }

    fn does(&mut self, command: &str) {
        writeln!(self.input, "{command}").unwrap();
        self.input.flush().unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn grpcio_subscribes_acknowledges_and_follows() {
    let python = python();
    run_for(PATIENCE, async {
        let lab = Lab::start().await;
        lab.apply(SHOP);
        let enforced = || {
            let resources = lab.discovery().status().resources;
            resources.into_iter().find(|it| it.key.name == "cart").unwrap().enforced.unwrap()
        };
        let mut client = Client::start(&lab, &python, "follow");
        let told = client.until_told("service/shop/cart").await;
        let first = told["resources"]["service/shop/cart"].clone();
        assert_eq!(first[0].as_str().unwrap().len(), 64, "{told}");
        assert_eq!(first[1], OBJECT_TYPE);
        assert!(told["bodies"]["service/shop/cart"].as_u64().unwrap() > 0);
        for name in ["mesh", "trust/weft.local", "workload/shop/cart-1", "answer/service/shop/cart"]
        {
            assert!(told["resources"].get(name).is_some(), "{name}: {told}");
        }
        assert_eq!((enforced().by, enforced().of), (0, 1));
        client.does("ack");
        until("the acknowledgement counts", || enforced().by == 1).await;
        assert_eq!(enforced().behind_ms, None);
        let status = lab.discovery().status().proxies.remove(0);
        assert_eq!(status.unregistered.as_deref(), Some("its workload is not registered"));

        // A change comes by itself. Refused, it does not count, and the reason is shown.
        lab.apply(&SHOP.replace("port: 80", "port: 81"));
        let told = client.until_told("service/shop/cart").await;
        assert_ne!(told["resources"]["service/shop/cart"], first);
        client.does("nack it is too new");
        until("the refusal counts", || !enforced().refused.is_empty()).await;
        assert_eq!((enforced().by, enforced().of), (0, 1));
        assert_eq!(enforced().refused[0].proxy, "shop/web-1");
        assert_eq!(enforced().refused[0].reason, "service/shop/cart: it is too new");

        // What is gone is taken away explicitly.
        lab.delete("Service", "shop", "cart");
        let told = client.until_told("answer/service/shop/cart").await;
        let removed = told["removed"].as_array().unwrap();
        assert!(removed.contains(&"service/shop/cart".into()), "{told}");
        client.does("close");
        let end = client.said().await;
        assert_eq!(end["code"], "OK", "{end}");
        until("the proxy is gone", || lab.discovery().status().proxies.is_empty()).await;
    });
}

#[test]
fn grpcio_is_told_why_it_is_refused() {
    let python = python();
    run_for(PATIENCE, async {
        let lab = Lab::start().await;
        let cases = [
            ("unproved", "UNAUTHENTICATED", "discovery needs a certificate of this mesh"),
            ("type", "INVALID_ARGUMENT", "are not served here"),
            ("compressed", "UNIMPLEMENTED", "a compressed message"),
        ];
        for (mode, code, details) in cases {
            let mut client = Client::start(&lab, &python, mode);
            let end = client.said().await;
            assert_eq!(end["code"], code, "{end}");
            assert!(end["details"].as_str().unwrap().contains(details), "{end}");
        }
    });
}
