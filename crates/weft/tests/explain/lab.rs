//! A mesh of real processes on the loopback: a control plane, two servers behind their proxies, and
//! two callers' proxies, all of whose records are kept.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use serde_json::Value;
use weft_control::Client;
use weft_control::api::{ApplyRequest, SourceFile, StatusResponse, TokenRequest};
use weft_identity::AdminCredential;

use crate::WEFT;

/// The longest wait for anything, so that a test that failed ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// The Services, each with the labels that it selects and the port that both sides have.
pub const SERVICES: [(&str, &str, u16); 6] = [
    ("cart", "cart: both", 80),
    ("cart-v1", "cart: both, version: v1", 80),
    ("cart-v2", "cart: both, version: v2", 80),
    ("pay", "pay: both", 81),
    ("pay-v1", "pay: both, version: v1", 81),
    ("pay-v2", "pay: both, version: v2", 81),
];

/// Who calls, as service accounts.
pub const CALLERS: [&str; 2] = ["shop/web", "other/bot"];

/// A process that writes records to its standard error. It is killed with this value.
struct Process(Child);

/// Records by the trace that the caller gave, each with the name of the process that wrote it.
#[derive(Default)]
struct Records {
    by_trace: Mutex<BTreeMap<String, Vec<(String, Value)>>>,
    news: Condvar,
}

impl Records {
    /// Takes the records of the request of `trace`, once there are `count`.
    fn take(&self, trace: &str, count: usize) -> Vec<(String, Value)> {
        let kept = self.by_trace.lock().unwrap();
        let lacks =
            |kept: &mut BTreeMap<String, Vec<_>>| kept.get(trace).map_or(0, Vec::len) < count;
        let (mut kept, waited) = self.news.wait_timeout_while(kept, PATIENCE, lacks).unwrap();
        assert!(!waited.timed_out(), "there are not {count} records of {trace}: {kept:#?}");
        kept.remove(trace).unwrap_or_default()
    }
}

impl Process {
    /// Starts `weft` with `arguments`, called `name`, and waits until it says that it is ready, and
    /// where. Its records go to `records`.
    fn start(name: &str, arguments: &[&str], records: &Arc<Records>) -> (Process, Vec<SocketAddr>) {
        let mut command = Command::new(WEFT);
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let errors = child.stderr.take().unwrap();
        let (tell, told) = mpsc::sync_channel(1);
        let (name, records) = (name.to_owned(), records.clone());
        std::thread::spawn(move || read(errors, &name, &records, &tell));
        let process = Process(child);
        let ready = told.recv_timeout(PATIENCE).expect("it says that it is ready");
        let addresses = ready.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        (process, addresses)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(errors: ChildStderr, name: &str, records: &Records, tell: &mpsc::SyncSender<String>) {
    for line in BufReader::new(errors).lines().map_while(Result::ok) {
        if let Ok(record) = serde_json::from_str::<Value>(&line) {
            let trace = record["trace_id"].as_str().unwrap_or_default().to_owned();
            let mut kept = records.by_trace.lock().unwrap();
            kept.entry(trace).or_default().push((name.to_owned(), record));
            records.news.notify_all();
        } else if line.contains(": ready") {
            let _ = tell.try_send(line);
        }
    }
}

/// A directory of the test's own, which goes away with it.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The mesh.
pub struct Lab {
    callers: Vec<(Process, Vec<SocketAddr>)>,
    servers: Vec<Process>,
    outbound: Arc<Records>,
    inbound: Arc<Records>,
    client: Client,
    _control: Process,
    directory: Directory,
}

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its `Weft-Reason`.
    pub reason: Option<String>,
    /// Its body.
    pub body: String,
}

impl Lab {
    /// Starts everything. To be called where an event loop runs.
    pub async fn start() -> Lab {
        let name = format!("weft-explain-{}", std::process::id());
        let directory = Directory(std::env::temp_dir().join(name));
        fs::create_dir_all(&directory.0).unwrap();
        let data = directory.0.join("data");
        let data_text = data.to_str().unwrap();
        let listen = ["control", "--listen", "127.0.0.1:0", "--data", data_text];
        let (control, _) = Process::start("control", &listen, &Arc::default());
        let world = weft_net::world();
        let credential = AdminCredential::read(&*world.files, &data.join("admin")).unwrap();
        let client = Client::new(world, credential);
        let (callers, servers, outbound, inbound) = Default::default();
        let mut lab =
            Lab { callers, servers, outbound, inbound, client, _control: control, directory };
        lab.apply(&services()).await;
        for version in ["v1", "v2"] {
            lab.server(version).await;
        }
        for caller in CALLERS {
            lab.caller(caller).await;
        }
        lab
    }

    /// Makes resources, and waits until every proxy has all of them in force.
    pub async fn apply(&self, text: &str) {
        let files = vec![SourceFile { name: "lab".to_owned(), text: text.to_owned() }];
        let request = ApplyRequest { files, namespace: None, dry_run: false };
        self.client.apply(&request).await.unwrap();
        self.settled().await;
    }

    async fn settled(&self) {
        // A list is answered once everything before it was compiled and told.
        self.client.list(None, None).await.unwrap();
        let world = weft_net::world();
        let deadline = world.clock.now() + PATIENCE;
        let wanted = self.callers.len() + self.servers.len();
        loop {
            let StatusResponse { proxies, .. } = self.client.status().await.unwrap();
            assert!(proxies.iter().all(|proxy| proxy.refused.is_empty()), "{proxies:#?}");
            let is_settled = proxies.iter().all(|proxy| proxy.pending == 0);
            if is_settled && proxies.len() == wanted {
                return;
            }
            assert!(world.clock.now() < deadline, "not in force everywhere: {proxies:#?}");
        }
    }

    /// The file of a token for `account` and `services`.
    async fn token(&self, account: &str, services: &[String]) -> String {
        let request = TokenRequest {
            service_account: account.to_owned(),
            services: services.to_vec(),
            uses: 1,
            lifetime_seconds: 600,
        };
        let token = self.client.token(&request).await.unwrap().token;
        let name = format!("{}.token", account.replace('/', "-"));
        fs::write(self.directory.0.join(&name), token).unwrap();
        name
    }

    fn proxy(
        &self,
        name: &str,
        config: &str,
        records: &Arc<Records>,
    ) -> (Process, Vec<SocketAddr>) {
        let path = self.directory.0.join(format!("{}.yaml", name.replace('/', "-")));
        fs::write(&path, config).unwrap();
        let log = ["--access-log", "all", "--access-log-format", "json"];
        let arguments = [&["proxy", "--config", path.to_str().unwrap()][..], &log].concat();
        Process::start(name, &arguments, records)
    }

    /// Starts the server of `version`, which serves both Services.
    async fn server(&mut self, version: &str) {
        let name = format!("shop/server-{version}");
        let is_own = |service: &&str| !service.contains("-v") || service.ends_with(version);
        let services: Vec<_> = SERVICES.iter().map(|(service, ..)| *service).collect();
        let services = services.into_iter().filter(is_own);
        let services: Vec<_> = services.map(|service| format!("shop/{service}")).collect();
        let account = format!("shop/server-{version}");
        let token = self.token(&account, &services).await;
        let (application, services) = (application(&name), services.join(", "));
        let config = format!(
            "
identity: {{ joinToken: {token}, serviceAccount: {account}, services: [{services}] }}
workload:
  name: {name}
  services: [{services}]
  listen: 127.0.0.1:0
  ports:
  - {{ port: 8080, servicePort: 80, protocol: http, application: '{application}' }}
  - {{ port: 8081, servicePort: 81, protocol: http, application: '{application}' }}
"
        );
        let (process, _) = self.proxy(&name, &config, &self.inbound);
        self.servers.push(process);
    }

    /// Starts the proxy of `account`, which listens for both Services.
    async fn caller(&mut self, account: &str) {
        let token = self.token(account, &[]).await;
        let config = format!(
            "
identity: {{ joinToken: {token}, serviceAccount: {account} }}
outbound:
- {{ listen: '127.0.0.1:0', service: shop/cart, port: 80 }}
- {{ listen: '127.0.0.1:0', service: shop/pay, port: 81 }}
"
        );
        let caller = self.proxy(account, &config, &self.outbound);
        self.callers.push(caller);
    }

    /// Sends `head` by the proxy of `caller`, counted as [`CALLERS`] are, to the Service that its
    /// listener `service` is for.
    pub fn send(&self, caller: usize, service: usize, head: &[u8]) -> Answer {
        let mut stream = connect(self.callers[caller].1[service]);
        stream.write_all(head).unwrap();
        let (mut answer, mut body) = (BufReader::new(stream), Vec::new());
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let field = |wanted: &str| {
            let fields = lines.iter().filter_map(|line| line.split_once(": "));
            let mut found = fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.next().map(|(_, value)| value.to_owned())
        };
        let length = field("content-length").unwrap_or_default().parse().unwrap_or(0);
        body.resize(length, 0);
        answer.read_exact(&mut body).unwrap();
        let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        let body = String::from_utf8(body).unwrap();
        Answer { status, reason: field("weft-reason"), body }
    }

    /// What the caller's proxy recorded of the request of `trace`.
    pub fn outbound(&self, trace: &str) -> Value {
        let mut records = self.outbound.take(trace, 1);
        assert_eq!(records.len(), 1, "{records:#?}");
        records.remove(0).1
    }

    /// What servers' proxies recorded of it in `attempts`, each with its workload.
    pub fn inbound(&self, trace: &str, attempts: usize) -> Vec<(String, Value)> {
        self.inbound.take(trace, attempts)
    }

    /// The records that nobody has taken.
    pub fn unexpected(&self) -> usize {
        let count = |records: &Records| records.by_trace.lock().unwrap().len();
        count(&self.outbound) + count(&self.inbound)
    }

    /// What `weft explain` says, `arguments` behind it, about the running mesh.
    pub fn explain(&self, arguments: &[String]) -> Output {
        let mut command = Command::new(WEFT);
        command.arg("explain").args(arguments).stdin(Stdio::null());
        command.env("WEFT_CREDENTIAL", self.credential()).output().unwrap()
    }

    fn credential(&self) -> PathBuf {
        Path::new(&self.directory.0).join("data/admin")
    }
}

/// The Services as resources.
fn services() -> String {
    let service = |(name, selector, port): &(&str, &str, u16)| {
        let target = 8000 + port;
        format!(
            "---
apiVersion: v1
kind: Service
metadata: {{ name: {name}, namespace: shop }}
spec:
  selector: {{ {selector} }}
  ports: [{{ port: {port}, targetPort: {target}, appProtocol: http }}]
"
        )
    };
    let idle = ("idle", "nobody: here", 80);
    SERVICES.iter().chain([&idle]).map(service).collect()
}

/// An application that answers each request with its own name, and ends with the process.
#[expect(clippy::disallowed_methods, reason = "an application knows nothing of Weft's world")]
fn application(name: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
    let serve = move |mut stream: TcpStream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while let Some(Ok(line)) = lines.next() {
            // Its requests have no bodies.
            if line.is_empty() && stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

#[expect(clippy::disallowed_methods, reason = "a caller knows nothing of Weft's world")]
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}
