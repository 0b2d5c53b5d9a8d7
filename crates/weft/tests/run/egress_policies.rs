//! How destinations outside are treated: what one port bears, and what is forbidden by now.

use crate::egress::{Outside, external, mesh};
use crate::lab::{Lab, OUTSIDE, Running, lines, must, wait_until};

/// A server of HTTP at argv[1] and the port argv[2]: what is below `/hang` it begins to answer, and
/// never ends; all else it answers.
const HANGING: &str = r#"
import http.server, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "1000" if self.path.startswith("/hang") else "3")
        self.end_headers()
        self.wfile.write(b"ok\n")
        self.wfile.flush()
        if self.path.startswith("/hang"): threading.Event().wait()
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
print("serving", flush=True)
Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"#;

fn hanging(lab: &Lab, outside: &Outside, address: &str, port: &str) -> Running {
    let script = lab.file("hanging.py", HANGING);
    let mut command = outside.host.command("python3");
    command.arg(script).args([address, port]);
    let server = lab.start(&format!("hanging-{address}-{port}"), command);
    server.wait_for("serving");
    server
}

/// A BackendPolicy of the namespace shop for `target` of what is outside.
fn policy(name: &str, target: &str, spec: &str) -> String {
    format!(
        "apiVersion: weft.dev/v1alpha1\nkind: BackendPolicy\n\
         metadata: {{ name: {name}, namespace: shop }}\nspec:\n  \
         targetRefs: [{{ group: weft.dev, kind: ExternalService, name: {target} }}]\n  {spec}\n---\n"
    )
}

/// A shell in the mesh, to be told what to do.
struct Shell(Running);

impl Shell {
    fn new(lab: &Lab) -> Shell {
        let mut command = lab.client("web");
        command.args(["sh", "-c", "while read line; do eval \"$line\" 2>&1; echo end; done"]);
        Shell(lab.start_typed("web", command))
    }

    /// What `line` prints, once it has ended.
    fn say(&mut self, line: &str) -> String {
        let before = self.0.output().len();
        self.0.type_in(format!("{line}\n").as_bytes());
        wait_until(line, || self.0.output()[before..].ends_with("end\n"));
        self.0.output()[before..].trim_end_matches("end\n").to_owned()
    }

    /// The status of a request for `url`, and why it is refused if it is.
    fn status(&mut self, url: &str) -> String {
        let curl = "curl -sS -m 20 -o /dev/null -w '%{http_code} %header{weft-reason}'";
        self.say(&format!("{curl} {url}")).trim_end().to_owned()
    }

    /// Begins a request for `url` that is answered for ever, in the file `name`.
    fn hang(&mut self, lab: &Lab, url: &str, name: &str) {
        let curl = format!("curl -sSN -m 600 -o {name} {url} 2> {name}.err");
        let end = format!("echo $! > {name}.id; wait $!; echo $? > {name}.code");
        self.say(&format!("{{ {curl} & {end}; }} 2> {name}.shell & true"));
        wait_until(name, || has_something(lab, name));
    }
}

/// Whether there is something in the file `name`.
fn has_something(lab: &Lab, name: &str) -> bool {
    std::fs::metadata(lab.directory.join(name)).is_ok_and(|found| found.len() > 0)
}

#[test]
fn one_port_outside_is_treated_otherwise_than_another() {
    let lab = Lab::new();
    let outside = Outside::new(&lab);
    let _servers = ["80", "90"].map(|port| hanging(&lab, &outside, OUTSIDE, port));
    outside.names(&format!("api.outside.example 1 {OUTSIDE}\n"));
    let api = "hosts: [api.outside.example], ports: [{ name: web, port: 80, appProtocol: http }, \
               { name: admin, port: 90, appProtocol: http }]";
    lab.apply(
        &(mesh("registered")
            + &external("shop", "api", api)
            + &policy("all", "api", "limits: { requests: 2 }")
            + &policy("admin", "api, sectionName: admin", "limits: { requests: 1 }")),
    );
    let (web, admin) = ("http://api.outside.example", "http://api.outside.example:90");
    let mut shell = Shell::new(&lab);
    shell.hang(&lab, &format!("{web}/hang"), "web");
    shell.hang(&lab, &format!("{admin}/hang"), "admin");
    assert_eq!(shell.status(web), "200");
    assert_eq!(shell.status(admin), "503 limit-requests");
    // Without the policy of the port, that of the whole holds there.
    must(lab.user("./weft").args(["delete", "backendpolicy", "admin", "-n", "shop"]));
    wait_until("the other one holds", || shell.status(admin) == "200");
    shell.hang(&lab, &format!("{admin}/hang"), "second");
    assert_eq!(shell.status(admin), "503 limit-requests");
    assert_eq!(shell.status(web), "200");
}

#[test]
fn what_lives_is_ended_once_it_may_not_leave_any_more() {
    let lab = Lab::new();
    let outside = Outside::new(&lab);
    let _servers = ["80", "81", "82", "83"].map(|port| hanging(&lab, &outside, OUTSIDE, port));
    let hosts = ["http", "bytes", "led", "kept"];
    let name = |host: &str| format!("{host}.outside.example 1 {OUTSIDE}\n");
    outside.names(&hosts.map(name).concat());
    let of = |name: &str, port: u16, spoken: &str| {
        let spec = format!(
            "hosts: [{name}.outside.example], ports: [{{ port: {port}, appProtocol: {spoken} }}]"
        );
        external("shop", name, &spec)
    };
    let kept = of("kept", 83, "http");
    let gone = of("http", 80, "http") + &of("bytes", 81, "tcp") + &of("led", 82, "http");
    let cart = "apiVersion: v1\nkind: Service\nmetadata: { name: cart, namespace: shop }\n\
                spec: { selector: { app: cart }, ports: [{ port: 80 }] }\n---\n\
                apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
                metadata: { name: cart, namespace: shop }\nspec:\n  parentRefs: [{ group: '', \
                kind: Service, name: cart }]\n  rules: [{ backendRefs: [{ group: weft.dev, kind: \
                ExternalService, name: led, port: 82 }] }]\n---\n";
    lab.apply(&(mesh("registered") + &kept + &gone + cart));
    let mut shell = Shell::new(&lab);
    let urls = [
        ("http", "http://http.outside.example/hang"),
        ("bytes", "http://bytes.outside.example:81/hang"),
        ("led", "http://cart/hang"),
        ("kept", "http://kept.outside.example:83/hang"),
    ];
    for (name, url) in urls {
        shell.hang(&lab, url, name);
    }
    let ended = |name: &str| has_something(&lab, &format!("{name}.code"));

    // What all may leave by goes on, whatever is registered.
    lab.apply(&mesh("any"));
    for name in ["http", "bytes", "led"] {
        must(lab.user("./weft").args(["delete", "externalservice", name, "-n", "shop"]));
    }
    wait_until("they are not known", || shell.status("http://cart/") == "500 no-backend");
    assert_eq!(shell.status("http://http.outside.example/"), "200");
    assert!(!hosts.iter().any(|name| ended(name)), "{}", shell.0.log());

    lab.apply(&mesh("registered"));
    for name in ["http", "bytes", "led"] {
        wait_until(name, || ended(name));
    }
    let log = shell.0.log();
    for backend in ["backend=shop/http", "backend=shop/bytes", "backend=shop/led"] {
        let parts = ["reason=policy-changed", backend, "it was allowed before a change"];
        assert_eq!(lines(&log, &parts).len(), 1, "{backend}:\n{log}");
    }
    assert!(!ended("kept"), "{log}");
    assert_eq!(shell.status("http://kept.outside.example:83/"), "200");
}

#[test]
fn limits_hold_for_each_address_of_a_block_that_is_called() {
    let lab = Lab::new();
    let outside = Outside::new(&lab);
    // All of these are that host.
    let range = "10.78.0.0/20";
    must(outside.host.command("ip").args(["route", "add", "local", range, "dev", "lo"]));
    must(lab.host.command("ip").args(["route", "add", range, "via", OUTSIDE]));
    let serve = |port| hanging(&lab, &outside, "0.0.0.0", port);
    let (_web, bytes) = (serve("80"), serve("81"));
    let block = format!(
        "cidrs: [{range}], ports: [{{ name: web, port: 80, appProtocol: http }}, \
         {{ name: bytes, port: 81, appProtocol: tcp }}]"
    );
    lab.apply(
        &(mesh("registered")
            + &external("shop", "block", &block)
            + &policy("block", "block", "limits: { requests: 1, connections: 1 }")),
    );
    let (one, other) = ("http://10.78.0.1", "http://10.78.0.2");
    let mut shell = Shell::new(&lab);
    shell.hang(&lab, &format!("{one}/hang"), "web");
    shell.hang(&lab, &format!("{one}:81/hang"), "bytes");
    let full = "503 limit-requests";
    assert_eq!(shell.status(one), full);
    assert_eq!(shell.status(other), "200");
    let refused = format!("curl -sS -m 20 {one}:81/");
    assert!(!shell.say(&refused).starts_with("ok"));
    assert_eq!(lines(&shell.0.log(), &["reason=limit-connections", "10.78.0.1:81"]).len(), 1);
    assert_eq!(shell.say(&format!("curl -sS -m 20 {other}:81/")), "ok\n");

    // However many others are called meanwhile.
    let scan = "curl -sS -m 100 'http://10.78.[4-8].[0-255]/' | sort | uniq -c";
    assert_eq!(shell.say(scan).trim(), "1280 ok");
    assert_eq!(shell.status(one), full);
    assert!(!shell.say(&refused).starts_with("ok"));
    assert_eq!(lines(&shell.0.log(), &["reason=limit-connections", "10.78.0.1:81"]).len(), 2);
    // It is over with what was under way.
    shell.say("kill $(cat web.id)");
    wait_until("there is room again", || shell.status(one) == "200");
    drop(bytes);
    let _bytes = serve("81");
    wait_until("also for bytes", || shell.say(&refused) == "ok\n");
}
