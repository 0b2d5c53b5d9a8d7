//! A Kubernetes API server with its etcd and nothing else, asked by curl.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::corpus::Case;

/// Where `cargo xtask test` puts the programs and Gateway API.
const INSTALLED: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/kubernetes");

/// How long the server may take to be ready. That it has ended is noticed at once.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often it is asked whether it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The token of an administrator.
const TOKEN: &str = "administrator-of-a-test";

/// The kinds of Gateway API that are installed, as its files call them.
const KINDS: [&str; 5] =
    ["backendtlspolicies", "grpcroutes", "httproutes", "tcproutes", "tlsroutes"];

/// A channel of Gateway API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Standard,
    Experimental,
}

/// What the server says of an object.
#[derive(Debug)]
pub enum Answer {
    Taken,
    Refused {
        /// The fields that it names, each once.
        fields: Vec<String>,
        #[expect(dead_code, reason = "shown where it differs")]
        message: String,
    },
}

/// A server that ends with this value.
pub struct Server {
    directory: PathBuf,
    port: u16,
    children: Vec<Child>,
}

impl Server {
    /// Starts one that knows the kinds of `channel`.
    pub fn start(channel: Channel) -> Server {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("api-server-{}-{channel:?}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let [etcd, peer, port] = free_ports();
        let mut server = Server { directory, port, children: Vec::new() };
        server.start_etcd(etcd, peer);
        server.start_api_server(etcd);
        // Until then it does not know its own paths either.
        server.wait_for("/readyz");
        server.wait_for("/api/v1/namespaces/default");
        for kind in KINDS {
            let channel = format!("{channel:?}").to_lowercase();
            let file = format!("{INSTALLED}/{channel}/gateway.networking.k8s.io_{kind}.yaml");
            let resource = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
            assert_eq!(server.ask(resource, Some(Path::new(&file))), 201, "{file}");
            server.wait_for(&format!("/apis/gateway.networking.k8s.io/v1/{kind}"));
        }
        server
    }

    fn start_etcd(&mut self, port: u16, peer: u16) {
        let client = format!("http://127.0.0.1:{port}");
        let data = self.directory.join("etcd").display().to_string();
        let listen = format!("http://127.0.0.1:{peer}");
        let arguments = [
            ["--data-dir", &data],
            ["--listen-client-urls", &client],
            ["--advertise-client-urls", &client],
            ["--listen-peer-urls", &listen],
            ["--initial-advertise-peer-urls", &listen],
            ["--initial-cluster", &format!("default={listen}")],
            ["--log-level", "warn"],
        ];
        self.start_part("etcd", arguments.as_flattened(), &["--unsafe-no-fsync"]);
    }

    fn start_api_server(&mut self, etcd: u16) {
        let file = |name: &str, text: &str| {
            let path = self.directory.join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let public = file("service-accounts.pub", &key.public_key_pem());
        let key = file("service-accounts.key", &key.serialize_pem());
        let tokens = file("tokens.csv", &format!("{TOKEN},test,test,system:masters\n"));
        let certificates = self.directory.join("certificates").display().to_string();
        let arguments = [
            ["--etcd-servers", &format!("http://127.0.0.1:{etcd}")],
            ["--bind-address", "127.0.0.1"],
            ["--advertise-address", "127.0.0.1"],
            ["--endpoint-reconciler-type", "none"],
            ["--secure-port", &self.port.to_string()],
            ["--cert-dir", &certificates],
            ["--token-auth-file", &tokens],
            ["--authorization-mode", "RBAC"],
            ["--service-cluster-ip-range", "10.96.0.0/16"],
            ["--service-account-issuer", "https://kubernetes.default.svc"],
            ["--service-account-key-file", &public],
            ["--service-account-signing-key-file", &key],
        ];
        self.start_part("kube-apiserver", arguments.as_flattened(), &[]);
    }

    fn start_part(&mut self, part: &str, arguments: &[&str], more: &[&str]) {
        let log = File::create(self.directory.join(format!("{part}.log"))).unwrap();
        let mut command = Command::new(Path::new(INSTALLED).join("kube"));
        command.arg(part).args(arguments).args(more);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn();
        self.children.push(child.expect("`cargo xtask test --only kubernetes` builds it"));
    }

    /// Waits until there is `resource`.
    #[expect(clippy::disallowed_methods, reason = "other processes live in real time")]
    fn wait_for(&mut self, resource: &str) {
        let began = std::time::Instant::now();
        loop {
            let status = self.ask(resource, None);
            if status == 200 {
                return;
            }
            let ended = self.children.iter_mut().any(|child| child.try_wait().unwrap().is_some());
            let late = began.elapsed() > PATIENCE;
            assert!(!late && !ended, "{resource}: {status}\n{}", self.log());
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// The ends of what the parts have written.
    fn log(&self) -> String {
        let of = |part| {
            let text = fs::read(self.directory.join(format!("{part}.log"))).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<_> = text.lines().rev().take(20).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        format!("etcd:\n{}\nkube-apiserver:\n{}", of("etcd"), of("kube-apiserver"))
    }

    /// What it says of each of `cases` as a new object, which is not kept. They all are asked by
    /// one curl, over one connection.
    pub fn create(&self, cases: &[Case]) -> Vec<Answer> {
        let answers = self.directory.join("answers");
        fs::create_dir(&answers).unwrap();
        let mut requests = Vec::new();
        for (index, case) in cases.iter().enumerate() {
            let [body, answer] = ["yaml", "json"].map(|of| answers.join(format!("{index}.{of}")));
            fs::write(&body, &case.yaml).unwrap();
            let resource = format!("{}?dryRun=All&fieldValidation=Strict", case.resource);
            let to = format!(
                "data-binary = \"@{}\"\noutput = \"{}\"\n",
                body.display(),
                answer.display()
            );
            requests.push(self.request(&resource) + &to);
        }
        let statuses = self.curl(&requests.join("next\n"));
        let answer = |(index, status): (usize, &str)| {
            let answer = fs::read(answers.join(format!("{index}.json"))).unwrap();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            match status {
                "201" => Answer::Taken,
                "400" | "422" => Answer::Refused {
                    fields: fields(&answer).into_iter().collect(),
                    message: answer["message"].to_string(),
                },
                _ => panic!("{status} {answer} for {}", cases[index].yaml),
            }
        };
        statuses.lines().enumerate().map(answer).collect()
    }

    /// The status that `resource` is answered with, 0 if nobody answers. With a `body` it is made.
    fn ask(&self, resource: &str, body: Option<&Path>) -> u16 {
        let mut request = self.request(resource) + "output = \"/dev/null\"\n";
        if let Some(body) = body {
            request += &format!("data-binary = \"@{}\"\n", body.display());
        }
        self.curl(&request).trim().parse().unwrap_or(0)
    }

    /// A request as curl's configuration has it.
    fn request(&self, resource: &str) -> String {
        // The server's certificate is one that it made itself a moment ago, and this is loopback.
        format!(
            "url = \"https://127.0.0.1:{}{resource}\"\ninsecure\nmax-time = {}\n\
             header = \"Authorization: Bearer {TOKEN}\"\nheader = \"Content-Type: \
             application/yaml\"\nwrite-out = \"%{{http_code}}\\n\"\n",
            self.port,
            PATIENCE.as_secs()
        )
    }

    /// What curl says of the requests in `config`: a line with the status of each.
    fn curl(&self, config: &str) -> String {
        let file = self.directory.join("requests");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("curl");
        let output = command.args(["--silent", "--config"]).arg(file).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Ports that were free a moment ago.
#[expect(clippy::disallowed_methods, reason = "other processes listen there")]
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.each_ref().map(|listener| listener.local_addr().unwrap().port())
}

/// The fields that a refusal names.
fn fields(answer: &Value) -> BTreeSet<String> {
    let causes = answer["details"]["causes"].as_array().cloned().unwrap_or_default();
    let named = causes.iter().filter_map(|cause| cause["field"].as_str());
    let named = named.filter(|field| *field != "<nil>").map(str::to_owned);
    // What cannot be decoded has no causes, and names the field in words.
    let message = answer["message"].as_str().unwrap_or_default();
    let unknown = message.split("unknown field \"").skip(1).filter_map(|rest| rest.split_once('"'));
    let mistyped = message.split_once("Go struct field ").and_then(|(_, rest)| {
        let (of, _) = rest.split_once(" of type")?;
        Some(of.split_once('.')?.1.to_owned())
    });
    named.chain(unknown.map(|(field, _)| field.to_owned())).chain(mistyped).collect()
}
