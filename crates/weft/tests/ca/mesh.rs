//! A mesh of real processes: a control plane, the proxies of a caller and of an application, and
//! the application itself, which is threads of the test.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use weft_control::Joiner;
use weft_control::api::{CaStatus, Holder};
use weft_identity::{Credentials, JoinToken, SvidSlot};
use weft_world::Moment;

use crate::app::{App, Executed};
use crate::load::{self, Kind};
use crate::streams::Stream;

const WEFT: &str = env!("CARGO_BIN_EXE_weft");

/// The most that a test waits for anything: no test takes so long unless it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

const RESOURCES: &str = "
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec:
  selector: { app: cart }
  ports:
  - { name: web, port: 80, targetPort: 8080, appProtocol: http }
  - { name: web2, port: 81, targetPort: 8081, appProtocol: http2 }
  - { name: calls, port: 82, targetPort: 8082, appProtocol: grpc }
  - { name: raw, port: 90, targetPort: 9090, appProtocol: tcp }
";

/// The time, for what is compared with generous bounds.
pub fn now() -> Moment {
    thread_local!(static CLOCK: weft_world::World = weft_net::world());
    CLOCK.with(|world| world.clock.now())
}

/// What a command printed that must succeed.
pub fn must(output: Output) -> String {
    let (said, errors) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    said
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Runs `future` to its end on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap()
        .block_on(future)
}

/// A mesh. Its processes are killed with this value.
pub struct Mesh {
    control: Option<Process>,
    address: SocketAddr,
    pub application: Application,
    /// The application that answers HTTP/2 and gRPC.
    http2: App,
    directory: Directory,
}

/// A directory of the test's own, which goes away with it.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Mesh {
    /// A control plane with the Service `shop/cart`, and no proxy yet.
    pub fn start() -> Mesh {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weft-ca-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        let mut mesh = Mesh {
            control: None,
            address: "127.0.0.1:0".parse().unwrap(),
            application: Application::start(),
            http2: App::start("cart", &Executed::default()),
            directory: Directory(path),
        };
        mesh.start_control();
        let file = mesh.path("shop.yaml");
        fs::write(&file, RESOURCES).unwrap();
        must(mesh.weft(&["apply", "-f", file.to_str().unwrap()]));
        mesh
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }

    pub fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn start_control(&mut self) {
        let (data, listen) = (self.path("data"), self.address.to_string());
        let arguments = ["control", "--listen", &listen, "--data", data.to_str().unwrap()];
        let control = Process::start("control", &arguments);
        let ready = control.says("weft control: ready at ");
        let address = ready.strip_prefix("weft control: ready at ").unwrap();
        self.address = address.split(',').next().unwrap().parse().unwrap();
        self.control = Some(control);
    }

    /// Kills the control plane as a loss of power would.
    pub fn kill_control(&mut self) {
        drop(self.control.take());
    }

    /// Runs a command of the command line.
    pub fn weft(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(WEFT);
        command.args(arguments).env("WEFT_CREDENTIAL", self.path("data/admin"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    pub fn status(&self) -> CaStatus {
        serde_json::from_str(&must(self.weft(&["ca", "status", "-o", "json"]))).unwrap()
    }

    pub fn holder(&self, serial: &str) -> Holder {
        let holders = self.status().holders;
        holders.into_iter().find(|holder| holder.serial == serial).unwrap()
    }

    /// Waits until the status is as `holds` says.
    pub fn until_status(&self, what: &str, holds: impl Fn(&CaStatus) -> bool) {
        let last = RefCell::new(String::new());
        let began = now();
        while now().since(began) < PATIENCE {
            let status = self.status();
            if holds(&status) {
                return;
            }
            *last.borrow_mut() = format!("{:#?}", status.rotation);
        }
        panic!("waited in vain until {what}: {}", last.borrow());
    }

    /// Waits until `holds` says so; what it does takes the time between two looks.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = now();
        while !holds() {
            assert!(now().since(began) < PATIENCE, "waited in vain until {what}");
        }
    }

    pub fn token(&self, account: &str) -> String {
        let mut arguments = vec!["token", "--service-account", account, "--uses", "1"];
        if account == "shop/cart" {
            arguments.extend(["--service", account]);
        }
        must(self.weft(&arguments)).trim().to_owned()
    }

    /// Puts a new token where the proxy of `account` looks for it.
    pub fn new_token(&self, account: &str) {
        let (_, name) = account.split_once('/').unwrap();
        fs::write(self.path(&format!("{name}.token")), self.token(account)).unwrap();
    }

    /// Joins as `account`, without a proxy.
    pub fn join(&self, account: &str) -> Member {
        self.joining(account).unwrap()
    }

    pub fn joining(&self, account: &str) -> Result<Member, String> {
        let token = JoinToken::parse(&self.token(account)).unwrap();
        let account = account.parse().unwrap();
        let joiner = Joiner::new(weft_net::world(), token, account, Vec::new());
        let credentials = block_on(joiner.join()).map_err(|error| error.to_string())?;
        let slot = SvidSlot::with(&credentials.svid);
        Ok(Member { joiner: RefCell::new(joiner), credentials: RefCell::new(credentials), slot })
    }

    /// The proxy of the application.
    pub fn cart(&self) -> Proxy {
        let Application { http, tcp, .. } = &self.application;
        let http2 = self.http2.address;
        let workload = format!(
            "\
workload:
  name: shop/cart-1
  services: [shop/cart]
  listen: 127.0.0.1:0
  ports:
  - {{ port: 8080, servicePort: 80, protocol: http, application: '{http}' }}
  - {{ port: 8081, servicePort: 81, protocol: http2, application: '{http2}' }}
  - {{ port: 8082, servicePort: 82, protocol: grpc, application: '{http2}' }}
  - {{ port: 9090, servicePort: 90, protocol: tcp, application: '{tcp}' }}
"
        );
        self.proxy("cart", "[shop/cart]", &workload)
    }

    /// The proxy of the application once more, on what the last one left.
    pub fn cart_again(&self) -> Proxy {
        Proxy::start(&self.path("cart.yaml"))
    }

    /// What a `weft proxy` says that cannot start, since somebody listens at `taken`.
    pub fn fails(&self, name: &str, taken: SocketAddr) -> String {
        let rest = format!("outbound:\n- {{ listen: '{taken}', service: shop/cart, port: 80 }}\n");
        let file = self.proxy_file(name, "[]", &rest);
        let output = self.weft(&["proxy", "--config", file.to_str().unwrap()]);
        assert!(!output.status.success());
        text(output.stderr)
    }

    /// The same proxy, started again where nobody listens.
    pub fn again(&self, name: &str) -> Proxy {
        let file = self.path(&format!("{name}.yaml"));
        let config = fs::read_to_string(&file).unwrap();
        let (before, rest) = config.split_once("listen: '").unwrap();
        let (_, rest) = rest.split_once('\'').unwrap();
        fs::write(&file, format!("{before}listen: '127.0.0.1:0'{rest}")).unwrap();
        Proxy::start(&file)
    }

    /// Somebody's listener.
    #[expect(clippy::disallowed_methods, reason = "it is in the way of the program")]
    pub fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// The proxy of the caller.
    pub fn web(&self) -> Proxy {
        let outbound = "\
workload:
  name: shop/web-1
  listen: 127.0.0.1:0
  ports: [{ port: 1, protocol: tcp }]
outbound:
- { listen: '127.0.0.1:0', service: shop/cart, port: 80 }
- { listen: '127.0.0.1:0', service: shop/cart, port: 90 }
- { listen: '127.0.0.1:0', service: shop/cart, port: 81 }
- { listen: '127.0.0.1:0', service: shop/cart, port: 82 }
";
        self.proxy("web", "[]", outbound)
    }

    fn proxy(&self, name: &str, services: &str, rest: &str) -> Proxy {
        Proxy::start(&self.proxy_file(name, services, rest))
    }

    fn proxy_file(&self, name: &str, services: &str, rest: &str) -> PathBuf {
        fs::write(self.path(&format!("{name}.token")), self.token(&format!("shop/{name}")))
            .unwrap();
        let config = format!(
            "\
identity: {{ joinToken: {name}.token, serviceAccount: shop/{name}, services: {services} }}
data: {name}.data
{rest}"
        );
        let file = self.path(&format!("{name}.yaml"));
        fs::write(&file, config).unwrap();
        file
    }
}

/// Somebody with an identity and without a proxy.
pub struct Member {
    joiner: RefCell<Joiner>,
    credentials: RefCell<Credentials>,
    slot: SvidSlot,
}

impl Member {
    pub fn serial(&self) -> String {
        self.credentials.borrow().svid.serial().to_string()
    }

    /// Gets a new certificate by the old one.
    pub fn renew(&self) -> Result<(), String> {
        let mut joiner = self.joiner.borrow_mut();
        let renewed = block_on(joiner.renew(&self.slot)).map_err(|error| error.to_string())?;
        self.slot.set(&renewed.svid);
        *self.credentials.borrow_mut() = renewed;
        Ok(())
    }
}

/// A process and what it says. It is killed with this value.
struct Process {
    name: String,
    child: Child,
    said: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Process {
    fn start(name: &str, arguments: &[&str]) -> Process {
        let mut command = Command::new(WEFT);
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = Arc::<(Mutex<Vec<String>>, Condvar)>::default();
        let told = said.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                told.0.lock().unwrap().push(line);
                told.1.notify_all();
            }
        });
        Process { name: name.to_owned(), child, said }
    }

    /// Waits for a line with `words`.
    fn says(&self, words: &str) -> String {
        let (lines, news) = &*self.said;
        let is_missing = |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(words));
        let lines = lines.lock().unwrap();
        let (lines, _) = news.wait_timeout_while(lines, PATIENCE, is_missing).unwrap();
        let found = lines.iter().find(|line| line.contains(words));
        found.cloned().unwrap_or_else(|| panic!("{} never said `{words}`: {lines:#?}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.said.0.lock().unwrap();
            eprintln!("{} said: {lines:#?}", self.name);
        }
    }
}

/// A proxy that runs.
pub struct Proxy {
    process: Process,
    /// Where requests, bytes, requests of HTTP/2 and calls of gRPC for `shop/cart` are taken, if
    /// this is the caller's.
    addresses: Vec<SocketAddr>,
}

impl Proxy {
    fn start(file: &Path) -> Proxy {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let arguments = ["proxy", "--config", file.to_str().unwrap(), "--access-log", "failures"];
        let process = Process::start(name, &arguments);
        let ready = process.says("weft proxy: ready");
        let (_, addresses) = ready.split_once("listening at ").unwrap();
        let addresses = addresses.split(", ").map(|address| address.parse().unwrap()).collect();
        Proxy { process, addresses }
    }

    pub fn says(&self, words: &str) -> String {
        self.process.says(words)
    }

    pub fn kill(self) {
        drop(self);
    }

    /// Asks it to end, and waits until it has.
    pub fn end(mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.process.child);
        kill_process(pid, Signal::TERM).unwrap();
        self.process.child.wait().unwrap()
    }

    /// A connection whose bytes come back.
    pub fn tcp(&self) -> Echo {
        Echo(connect(self.addresses[1]))
    }

    /// The status of one request on a connection of its own; why there is none.
    pub fn get(&self) -> Result<u16, String> {
        get(self.addresses[0])
    }

    /// A response over HTTP/2 that does not end, and a call of gRPC likewise.
    pub fn streams(&self) -> [Stream; 2] {
        [Stream::open(self.addresses[2], false), Stream::open(self.addresses[3], true)]
    }

    /// Requests of HTTP/2 and calls of gRPC, of which none may fail.
    pub fn loads(&self) -> [load::Load; 2] {
        [(2, Kind::Http2), (3, Kind::Grpc)]
            .map(|(index, kind)| load::Load::start(self.addresses[index], kind, 50))
    }

    /// A response that does not end.
    pub fn http_stream(&self) -> HttpStream {
        let mut socket = connect(self.addresses[0]);
        socket.write_all(b"GET /stream HTTP/1.1\r\nhost: cart\r\n\r\n").unwrap();
        let mut stream = BufReader::new(socket);
        let status = head(&mut stream).unwrap();
        assert_eq!(status, 200);
        HttpStream(stream)
    }
}

#[expect(clippy::disallowed_methods, reason = "the application is a plain program")]
fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn get(address: SocketAddr) -> Result<u16, String> {
    let mut socket = connect(address);
    let request = b"GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n";
    socket.write_all(request).map_err(|error| error.to_string())?;
    let mut stream = BufReader::new(socket);
    let status = head(&mut stream)?;
    let mut body = Vec::new();
    stream.read_to_end(&mut body).map_err(|error| error.to_string())?;
    Ok(status)
}

/// Reads a head, and gives its status.
fn head(stream: &mut BufReader<TcpStream>) -> Result<u16, String> {
    let mut line = String::new();
    stream.read_line(&mut line).map_err(|error| error.to_string())?;
    let status = line.split(' ').nth(1).ok_or("the connection was closed")?.parse().unwrap();
    while line.trim_end() != "" {
        line.clear();
        stream.read_line(&mut line).map_err(|error| error.to_string())?;
    }
    Ok(status)
}

/// A connection whose bytes come back.
pub struct Echo(TcpStream);

impl Echo {
    pub fn exchange(&mut self) -> Result<(), String> {
        let Echo(socket) = self;
        let mut back = [0; 5];
        socket.write_all(b"hello").map_err(|error| error.to_string())?;
        socket.read_exact(&mut back).map_err(|error| error.to_string())?;
        assert_eq!(&back, b"hello");
        Ok(())
    }

    /// Waits until it is closed.
    pub fn ends(mut self) {
        assert!(ended(&self.0.read(&mut [0; 64])));
    }
}

/// Waits until `holds` says so.
#[expect(clippy::disallowed_methods, reason = "other processes live in real time")]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = now();
    while !holds() {
        assert!(now().since(began) < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ended(read: &std::io::Result<usize>) -> bool {
    match read {
        Ok(count) => *count == 0,
        Err(error) => {
            !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        }
    }
}

/// A response that does not end.
pub struct HttpStream(BufReader<TcpStream>);

impl HttpStream {
    /// Waits for the next piece.
    pub fn tick(&mut self) -> Result<(), String> {
        let mut piece = [0; 9];
        self.0.read_exact(&mut piece).map_err(|error| error.to_string())?;
        assert_eq!(&piece, b"4\r\ntick\r\n");
        Ok(())
    }

    /// Waits until it is closed, without having come to its end.
    pub fn ends(mut self) {
        assert!(ended(&self.0.read(&mut [0; 64])));
    }
}

/// The application: answers requests, sends back bytes.
pub struct Application {
    http: SocketAddr,
    tcp: SocketAddr,
    streams: Arc<(Mutex<Vec<TcpStream>>, Condvar)>,
}

impl Application {
    #[expect(clippy::disallowed_methods, reason = "the application is a plain program")]
    fn start() -> Application {
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let streams = Arc::<(Mutex<Vec<TcpStream>>, Condvar)>::default();
        let application = Application {
            http: http.local_addr().unwrap(),
            tcp: tcp.local_addr().unwrap(),
            streams: streams.clone(),
        };
        // They end with the test's process.
        std::thread::spawn(move || {
            for socket in http.incoming().map_while(Result::ok) {
                let streams = streams.clone();
                std::thread::spawn(move || drop(answer(socket, &streams)));
            }
        });
        std::thread::spawn(move || {
            for mut socket in tcp.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut back = socket.try_clone()?;
                    std::io::copy(&mut socket, &mut back)
                });
            }
        });
        application
    }

    /// Sends a piece of each response that does not end.
    pub fn tick(&self) {
        let (streams, news) = &*self.streams;
        let streams = streams.lock().unwrap();
        let none = |streams: &mut Vec<TcpStream>| streams.is_empty();
        let (mut streams, _) = news.wait_timeout_while(streams, PATIENCE, none).unwrap();
        assert!(!streams.is_empty(), "no response is open");
        for stream in &mut *streams {
            stream.write_all(b"4\r\ntick\r\n").unwrap();
        }
    }
}

fn answer(socket: TcpStream, streams: &(Mutex<Vec<TcpStream>>, Condvar)) -> std::io::Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    let mut socket = socket;
    loop {
        let mut path = String::new();
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            }
        }
        if path == "/stream" {
            socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            streams.0.lock().unwrap().push(socket.try_clone()?);
            streams.1.notify_all();
        } else {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
    }
}

/// Requests and connections without end, of which none may fail.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: [Arc<AtomicU64>; 2],
    threads: Vec<JoinHandle<()>>,
    failures: Receiver<String>,
}

impl Load {
    pub fn start(web: &Proxy) -> Load {
        let stop = Arc::<AtomicBool>::default();
        let done: [Arc<AtomicU64>; 2] = Default::default();
        let (failed, failures) = sync_channel(16);
        let addresses = [web.addresses[0], web.addresses[1]];
        let threads = [0, 1].map(|kind| {
            let (stop, done, failed) = (stop.clone(), done[kind].clone(), failed.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let result = match kind {
                        0 => match get(addresses[0]) {
                            Ok(200) => Ok(()),
                            Ok(status) => Err(format!("status {status}")),
                            Err(error) => Err(error),
                        },
                        // Each has a tunnel and so a handshake of its own.
                        _ => Echo(connect(addresses[1])).exchange(),
                    };
                    match result {
                        Ok(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => drop(failed.try_send(format!("kind {kind}: {error}"))),
                    }
                }
            })
        });
        Load { stop, done, threads: threads.into(), failures }
    }

    /// Waits until more of both kinds have succeeded, and none has failed.
    pub fn goes_on(&self) {
        let counts = || self.done.each_ref().map(|done| done.load(Ordering::Relaxed));
        let (before, began) = (counts(), now());
        while counts().iter().zip(before).any(|(count, before)| *count < before + 20) {
            assert!(now().since(began) < PATIENCE, "the load stands still");
            self.check();
        }
    }

    fn check(&self) {
        // The pause between two looks.
        if let Ok(failure) = self.failures.recv_timeout(Duration::from_millis(20)) {
            panic!("under load, {failure}");
        }
    }

    /// How much succeeded, if nothing failed.
    pub fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let Load { threads, failures, done, .. } = self;
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let failures: Vec<_> = failures.try_iter().collect();
        assert!(failures.is_empty(), "under load, {failures:?}");
        let [requests, connections] = done.map(|done| done.load(Ordering::Relaxed));
        (requests, connections)
    }
}
