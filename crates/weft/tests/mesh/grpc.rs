//! gRPC by programs that nobody here wrote, and HTTP whose version nobody declared.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::app::{App, Executed};
use crate::authority::Certificate;
use crate::grpcio;
use crate::lab::{Lab, PortSpec, Proxy, Spec, output, succeeded, wait_until};

/// The server of `python/server.py`. It ends with this value.
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    pub fn start(lab: &Lab, python: &Path) -> Server {
        Server::start_with(lab, python, &[])
    }

    /// The same by TLS, where it shows a certificate.
    pub fn secured(lab: &Lab, python: &Path, shown: &Certificate) -> Server {
        Server::start_with(lab, python, &[&shown.key, &shown.certificate])
    }

    fn start_with(lab: &Lab, python: &Path, files: &[&str]) -> Server {
        let script = lab.file("server.py", include_str!("python/server.py"));
        let log = lab.directory.join("server.log");
        let output = fs::File::create(&log).unwrap();
        let child = Command::new(python)
            .arg(script)
            .args(files)
            .stdin(Stdio::piped()) // It ends when this does.
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Server { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has said `text` at least `count` times.
    fn has_said(&self, text: &str, count: usize) {
        wait_until(&format!("the server says `{text}`"), || {
            self.log().matches(text).count() >= count
        });
    }

    pub fn address(&self) -> SocketAddr {
        self.has_said("listening at ", 1);
        self.has_said("\n", 1);
        let log = self.log();
        let (_, rest) = log.split_once("listening at ").unwrap();
        rest.lines().next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn grpcio_finds_nothing_changed_declared_or_not() {
    let lab = Lab::new();
    let python = grpcio::environment().join("bin/python");
    let server = Server::start(&lab, &python);
    let application = server.address();
    let port =
        |port, service_port, protocol| PortSpec { port, service_port, protocol, application };
    let calls_proxy = lab.proxy(&Spec {
        name: "calls-1",
        account: "shop/calls",
        services: &["shop/calls"],
        ports: vec![port(8080, 80, Some("grpc")), port(8081, 81, None)],
        ..Spec::default()
    });
    let calls = &[("shop/calls", 80), ("shop/calls", 81)];
    let caller = lab.proxy(&Spec { name: "web", account: "shop/web", calls, ..Spec::default() });
    let script = lab.file("client.py", include_str!("python/client.py"));
    for (index, address) in caller.addresses.iter().enumerate() {
        let mut client = Command::new(&python);
        let said = succeeded(output(client.arg(&script).arg(address.to_string())));
        assert!(said.ends_with("done\n"), "{address}: {said}");
        // The server knows of deadlines, and sees that nobody waits any more.
        let times = index + 1;
        server.has_said("waiting, deadline known", times);
        server.has_said("the wait is over, active False", times);
        server.has_said("the endless stream is over", times);
    }
    // Both ways were mutual TLS, and were known to be gRPC.
    for proxy in [&caller, &calls_proxy] {
        wait_until("the calls are counted", || {
            let metrics = proxy.shown("/metrics");
            let calls = metrics.lines().filter(|line| line.starts_with("weft_requests_total{"));
            calls.filter(|line| line.contains("protocol=\"grpc\"")).count() > 5
        });
        let metrics = proxy.shown("/metrics");
        // Where nothing is declared and the caller takes its time, the server is asked whether it
        // speaks first, on a connection that is taken back: no caller's bytes went that way.
        let tcp = metrics.lines().filter(|line| line.contains("protocol=\"tcp\""));
        for line in tcp.filter(|line| line.contains("flow=\"received\"")) {
            assert!(line.ends_with(" 0"), "{metrics}");
        }
        assert!(!metrics.contains("protocol=\"unknown\""), "{metrics}");
    }
    let metrics = calls_proxy.shown("/metrics");
    let requests = metrics.lines().filter(|line| line.starts_with("weft_requests_total{"));
    for line in requests {
        assert!(line.contains("peer=\"spiffe://weft.local/ns/shop/sa/web\""), "{line}");
    }
}

#[test]
fn grpcio_is_refused_in_its_own_words() {
    let lab = Lab::new();
    let python = grpcio::environment().join("bin/python");
    let server = Server::start(&lab, &python);
    let application = server.address();
    let port =
        |port, service_port, protocol| PortSpec { port, service_port, protocol, application };
    let calls_proxy = lab.proxy(&Spec {
        name: "calls-1",
        account: "shop/calls",
        services: &["shop/calls"],
        ports: vec![port(8080, 80, Some("grpc")), port(8081, 81, None)],
        ..Spec::default()
    });
    let [web, rogue] = ["web", "rogue"].map(|name| {
        let account = format!("shop/{name}");
        let calls = &[("shop/calls", 80), ("shop/calls", 81)];
        lab.proxy(&Spec { name, account: &account, calls, ..Spec::default() })
    });
    let script = lab.file("refused.py", include_str!("python/refused.py"));
    let said = |address: &SocketAddr| {
        succeeded(output(Command::new(&python).arg(&script).arg(address.to_string())))
    };
    let all = |line: &str| format!("{line}\n").repeat(4);
    for address in web.addresses.iter().chain(&rogue.addresses) {
        assert_eq!(said(address), all("OK"));
    }
    lab.apply(
        "
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: calls, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: calls }]
  deny: [{ from: [{ serviceAccount: shop/rogue }], to: [{ methods: [POST] }] }]
",
    );
    // The same for both ports: the one where gRPC is declared, and the one where nothing is.
    let refused = "PERMISSION_DENIED deny-rule spiffe://weft.local/ns/shop/sa/rogue may not: ";
    let is_refused = |said: &str| {
        said.lines().count() == 4 && said.lines().all(|line| line.starts_with(refused))
    };
    wait_until("the rule is in force", || is_refused(&said(&rogue.addresses[0])));
    for (address, other) in rogue.addresses.iter().zip(&web.addresses) {
        let found = said(address);
        assert!(is_refused(&found), "{found}");
        assert_eq!(said(other), all("OK"));
    }
    // As HTTP has it they were answered; what gRPC says is in the log and in the metrics.
    let parts =
        ["direction=inbound", "protocol=grpc", "status=200", "reason=deny-rule", "grpc_status=7"];
    wait_until(&format!("the log has {parts:?}"), || {
        calls_proxy.log().lines().any(|line| parts.iter().all(|part| line.contains(part)))
    });
    let peer = "peer=\"spiffe://weft.local/ns/shop/sa/rogue\"";
    for metric in ["weft_refusals_total{", "weft_request_duration_seconds_count{"] {
        wait_until(&format!("{metric} is by who called"), || {
            let metrics = calls_proxy.shown("/metrics");
            metrics.lines().any(|line| line.starts_with(metric) && line.contains(peer))
        });
    }
}

#[test]
fn curl_speaks_either_http_where_none_is_declared() {
    let lab = Lab::new();
    let app = App::start("cart-1", &Executed::default());
    let server: Proxy = lab.replica("cart-1", None, &app);
    let caller = lab.caller("web");
    let url = format!("http://{}/", caller.addresses[0]);
    for (argument, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        for body in [&[][..], &["--data-binary", "some bytes"][..]] {
            let mut curl = Command::new("curl");
            curl.args(["-s", "--max-time", "20", "-w", " %{http_version} %{http_code}", argument]);
            let said = succeeded(output(curl.args(body).arg(&url)));
            let text = if body.is_empty() { "hello from cart-1" } else { "some bytes" };
            assert_eq!(said, format!("{text} {version} 200"));
        }
    }
    let protocols = ["protocol=\"http/1.1\"", "protocol=\"http/2\""];
    wait_until("both are counted by both proxies", || {
        [&caller, &server].iter().all(|proxy| {
            let metrics = proxy.shown("/metrics");
            protocols.iter().all(|protocol| metrics.contains(protocol))
        })
    });
}
