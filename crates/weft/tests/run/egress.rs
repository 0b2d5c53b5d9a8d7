//! Destinations outside of the mesh: by name, by address, and all that is not registered.

use std::path::PathBuf;

use crate::lab::{Host, Lab, OUTSIDE, Running, lines, must};

/// Another address of the host outside.
pub const OTHER: &str = "10.77.0.3";

/// A name server at 127.0.0.53, over UDP and TCP, that says what stands in the file argv[1] when it
/// is asked: lines of NAME TTL and an address, an alias, `cut` (over UDP) or `silent`.
const NAME_SERVER: &str = r#"
import socket, struct, sys, threading
def wire(name): return b"".join(bytes([len(it)]) + it.encode() for it in name.split(".")) + b"\0"
def answer(query, is_stream):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    name, kind = ".".join(labels), int.from_bytes(query[at + 1:at + 3], "big")
    print("asked", name, kind, "tcp" if is_stream else "udp", flush=True)
    known = [line.split() for line in open(sys.argv[1])]
    question, records, flags, owner = query[12:at + 5], [], 0x8180, name
    for _ in range(4):
        for line in known:
            if line[0] != owner: continue
            ttl, what = struct.pack(">I", int(line[1])), line[2]
            if what == "silent": return None
            if what == "cut":
                if not is_stream: flags |= 0x200
            elif what[0].isdigit():
                data = socket.inet_aton(what)
                if kind == 1: records.append(wire(owner) + b"\0\1\0\1" + ttl + b"\0\4" + data)
            else:
                data = wire(what)
                size = struct.pack(">H", len(data))
                records.append(wire(owner) + b"\0\5\0\1" + ttl + size + data)
                owner = what
    if not any(line[0] == name for line in known): flags |= 3
    if flags & 0x200: records = []
    counts = struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
    return query[:2] + counts + question + b"".join(records)
def streams():
    while True:
        stream, _ = listener.accept()
        query = stream.recv(65535)
        said = answer(query[2:], True)
        if said: stream.sendall(struct.pack(">H", len(said)) + said)
        stream.close()
listener = socket.create_server(("127.0.0.53", 53))
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.53", 53))
threading.Thread(target=streams, daemon=True).start()
print("listening", flush=True)
while True:
    query, caller = server.recvfrom(4096)
    said = answer(query, False)
    if said: server.sendto(said, caller)
"#;

/// A server of HTTP, with TLS where argv[3] is a certificate with its key, at argv[1] and the port
/// argv[2]: it says its address and the host that it was asked for.
const SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        said = f"{sys.argv[1]} as {self.headers['host']}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print("serving", flush=True)
server.serve_forever()
"#;

/// What is there outside, and what runs there.
pub struct Outside {
    pub host: Host,
    names: PathBuf,
    name_server: Running,
    servers: Vec<Running>,
}

impl Outside {
    pub fn new(lab: &Lab) -> Outside {
        let host = lab.outside();
        must(host.command("ip").args(["address", "add", &format!("{OTHER}/24"), "dev", "veth0"]));
        let names = lab.file("names", "");
        let script = lab.file("name_server.py", NAME_SERVER);
        let mut command = lab.host.command("python3");
        command.arg(script).arg(&names);
        let name_server = lab.start("name_server", command);
        name_server.wait_for("listening");
        lab.file("server.py", SERVER);
        Outside { host, names, name_server, servers: Vec::new() }
    }

    /// Has the name server say `names` from now on.
    pub fn names(&self, names: &str) {
        let new = self.names.with_extension("new");
        std::fs::write(&new, names).unwrap();
        std::fs::rename(new, &self.names).unwrap();
    }

    pub fn serve(&mut self, lab: &Lab, address: &str, port: &str, certificate: Option<&str>) {
        let mut command = self.host.command("python3");
        command.arg(lab.directory.join("server.py")).args([address, port]);
        command.args(certificate.map(|name| lab.directory.join(name)));
        let server = lab.start(&format!("server-{address}-{port}"), command);
        server.wait_for("serving");
        self.servers.push(server);
    }

    fn serve_redis(&mut self, lab: &Lab) {
        let mut command = self.host.command("redis-server");
        let options = ["--port", "6379", "--bind", OUTSIDE, "--protected-mode", "no"];
        command.args(options).args(["--save", "", "--appendonly", "no"]);
        let redis = lab.start("redis", command);
        redis.wait_for("Ready to accept connections");
        self.servers.push(redis);
    }
}

/// A certificate for no host in particular, with its key, as a file of the lab.
fn certificate(lab: &Lab) -> &'static str {
    let path = lab.directory.join("tls.pem");
    let mut make = lab.host.command("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    make.args(["-days", "2", "-subj", "/CN=outside", "-keyout"]).arg(&path).arg("-out").arg("-");
    let certificate = must(&mut make);
    let key = std::fs::read_to_string(&path).unwrap();
    lab.file("tls.pem", key + &certificate);
    "tls.pem"
}

/// A Mesh of which what is not registered goes out as `outbound` says.
pub fn mesh(outbound: &str) -> String {
    format!(
        "apiVersion: weft.dev/v1alpha1\nkind: Mesh\nmetadata: {{ name: mesh }}\n\
         spec: {{ trustDomain: weft.local, defaults: {{ outbound: {outbound} }} }}\n---\n"
    )
}

/// An ExternalService.
pub fn external(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: weft.dev/v1alpha1\nkind: ExternalService\n\
         metadata: {{ name: {name}, namespace: {namespace} }}\nspec: {{ {spec} }}\n---\n"
    )
}

/// The services of all tests here.
fn services() -> String {
    let api = "hosts: [api.outside.example], ports: [{ port: 80, appProtocol: http }, \
               { port: 443, appProtocol: https }]";
    let redis = "hosts: ['*.db.outside.example'], ports: [{ port: 6379, appProtocol: tcp }]";
    let block = format!("cidrs: [{OTHER}/32], ports: [{{ port: 8080 }}]");
    external("shop", "api", api)
        + &external("weft-system", "redis", redis)
        + &external("shop", "block", &block)
}

#[test]
fn hosts_outside_are_called_by_name_wherever_they_are() {
    let lab = Lab::new();
    let mut outside = Outside::new(&lab);
    let certificate = certificate(&lab);
    for address in [OUTSIDE, OTHER] {
        outside.serve(&lab, address, "80", None);
        outside.serve(&lab, address, "443", Some(certificate));
    }
    outside.serve_redis(&lab);
    let at = |address: &str| {
        format!(
            "api.outside.example 1 cdn.example\ncdn.example 1 {address}\n\
             one.db.outside.example 1 cut\none.db.outside.example 1 {OUTSIDE}\n"
        )
    };
    outside.names(&at(OUTSIDE));
    lab.apply(&(mesh("any") + &services()));

    // What stands for a name is nobody's address, and the same each time.
    let ask = "getent ahostsv4 api.outside.example; getent ahostsv6 api.outside.example";
    let found = lab.shell("web", ask);
    assert!(found.starts_with("241.") && found.contains("fd77:6566:7401::"), "{found}");
    assert_eq!(lab.shell("web", ask), found);

    let mut command = lab.client("web");
    command.args(["sh", "-c", "while read line; do sh -c \"$line\" 2>&1; echo end; done"]);
    let mut shell = lab.start_typed("web", command);
    let mut said = |line: &str| {
        let before = shell.output().len();
        shell.type_in(format!("{line}\n").as_bytes());
        crate::lab::wait_until(line, || shell.output()[before..].ends_with("end\n"));
        shell.output()[before..].trim_end_matches("end\n").to_owned()
    };
    let here = format!("{OUTSIDE} as api.outside.example\n");
    assert_eq!(said("curl -sS -m 20 http://api.outside.example/"), here);
    assert_eq!(said("curl -sS -m 20 -6 http://api.outside.example/"), here);
    assert_eq!(said("curl -sS -m 20 -k https://api.outside.example/"), here);
    assert_eq!(said("redis-cli -h one.db.outside.example set tea oolong"), "OK\n");
    // It was told to ask over TCP for that one.
    assert!(outside.name_server.output().contains("asked one.db.outside.example 1 tcp"));

    // A connection that lives, whose host is elsewhere meanwhile. New ones go there.
    let live = "redis-cli -h one.db.outside.example --raw subscribe news > heard 2>&1 &";
    said(live);
    let redis = |line: &str| {
        must(outside.host.command("redis-cli").args(["-h", OUTSIDE]).args(line.split(' ')))
    };
    crate::lab::wait_until("it listens", || redis("pubsub channels") == "news\n");
    outside.names(&at(OTHER).replace(&format!("cut\none.db.outside.example 1 {OUTSIDE}"), OTHER));
    let there = format!("{OTHER} as api.outside.example\n");
    let mut turned = || said("curl -sS -m 20 http://api.outside.example/") == there;
    crate::lab::wait_until("new connections go there", &mut turned);
    assert_eq!(said("curl -sS -m 20 -k https://api.outside.example/"), there);
    crate::lab::wait_until("new ones find no Redis there", || {
        said("redis-cli -h one.db.outside.example get tea") != "oolong\n"
    });
    redis("publish news still");
    crate::lab::wait_until("it is heard", || said("cat heard").ends_with("still\n"));

    // While DNS is silent, the last answer serves.
    outside.names("api.outside.example 1 silent\n");
    let silent = "asked api.outside.example 1";
    let before = lines(&outside.name_server.output(), &[silent]).len();
    let asked = || lines(&outside.name_server.output(), &[silent]).len();
    crate::lab::wait_until("it was asked again", || {
        assert_eq!(said("curl -sS -m 20 http://api.outside.example/"), there);
        asked() > before
    });
    assert_eq!(said("curl -sS -m 20 http://api.outside.example/"), there);
    shell.wait_for("it is not known where api.outside.example is: no name server has answered");
    let log = shell.log();
    let http = lines(&log, &["backend=shop/api", "backend_port=80", "protocol=http/1.1"]);
    assert!(http.iter().any(|line| line.contains(&format!("upstream={OUTSIDE}:80"))), "{log}");
    assert!(http.iter().any(|line| line.contains(&format!("upstream={OTHER}:80"))), "{log}");
    assert!(!lines(&log, &["backend=weft-system/redis", "protocol=tcp"]).is_empty(), "{log}");
}

#[test]
fn what_is_not_registered_is_refused_and_says_so() {
    let lab = Lab::new();
    let mut outside = Outside::new(&lab);
    let certificate = certificate(&lab);
    outside.serve(&lab, OUTSIDE, "80", None);
    outside.serve(&lab, OUTSIDE, "443", Some(certificate));
    outside.serve(&lab, OUTSIDE, "8080", None);
    outside.serve(&lab, OTHER, "8080", None);
    outside.names(&format!(
        "api.outside.example 1 {OUTSIDE}\nwww.outside.example 1 {OUTSIDE}\n\
         inside.db.outside.example 1 127.0.0.1\n"
    ));
    lab.apply(&(mesh("registered") + &services()));
    let run = |line: &str| {
        let output = crate::lab::output(lab.client("web").args(["sh", "-c", line]));
        let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (of(&output.stdout), of(&output.stderr))
    };
    let refused = |line: &str, parts: &[&str]| {
        let (said, log) = run(line);
        assert!(!said.contains(" as "), "{line}: {said}");
        assert_eq!(lines(&log, parts).len(), 1, "{line}: {parts:?}:\n{log}");
    };
    let curl = "curl -sS -m 20";
    // What is registered passes, by its name and by its block.
    let api = "api.outside.example";
    assert_eq!(run(&format!("{curl} http://{api}/")).0, format!("{OUTSIDE} as {api}\n"));
    assert_eq!(run(&format!("{curl} -k https://{api}/")).0, format!("{OUTSIDE} as {api}\n"));
    let block = format!("http://{OTHER}:8080/");
    assert_eq!(run(&format!("{curl} {block}")).0, format!("{OTHER} as {OTHER}:8080\n"));
    // An address that it has by the proxy's own answer is the host's, too.
    let both = format!("{curl} http://{api}/; {curl} -H 'Host: {api}' http://{OUTSIDE}/");
    assert_eq!(run(&both).0.lines().count(), 2, "{:?}", run(&both));

    // Other names resolve, and go nowhere; other ports of the same host do not either.
    refused(
        &format!("getent hosts www.outside.example; {curl} http://www.outside.example/"),
        &["reason=outside-refused", OUTSIDE, "asked for as www.outside.example"],
    );
    refused(&format!("{curl} http://{OUTSIDE}:8080/"), &["reason=outside-refused", "8080"]);
    let by_name = ["reason=outside-refused", "8080", "asked for as api.outside.example"];
    refused(&format!("{curl} http://{api}:8080/"), &by_name);
    // A name opens no other: neither by Host nor by the name in TLS, nor without one.
    let other = format!("{curl} -o /dev/null -w '%{{http_code}}' -H 'Host: www.outside.example'");
    let (said, log) = run(&format!("{other} http://{api}/"));
    assert_eq!((said.as_str(), lines(&log, &["reason=wrong-host"]).len()), ("421", 1), "{log}");
    let connect = format!("{curl} -k --connect-to www.outside.example:443:{api}:443");
    let parts = ["reason=wrong-server-name", "TLS for www.outside.example"];
    refused(&format!("{connect} https://www.outside.example/"), &parts);
    let nameless = format!("echo | openssl s_client -noservername -connect {api}:443 2>&1");
    refused(&nameless, &["reason=wrong-server-name", "TLS for no server by name"]);

    // There is no such host; and one that is not outside.
    let status = format!("{curl} -o /dev/null -w '%{{http_code}}'");
    lab.apply(&external("shop", "gone", "hosts: ['*.gone.example'], ports: [{ port: 80 }]"));
    let (said, log) = run(&format!("{status} http://a.gone.example/"));
    assert_eq!((said.as_str(), lines(&log, &["reason=host-unknown"]).len()), ("503", 1), "{log}");
    let inside = "redis-cli -h inside.db.outside.example ping";
    refused(inside, &["reason=lookup-failed", "none of its addresses is outside"]);
}

#[test]
fn in_audit_all_passes_and_what_is_not_registered_is_recorded() {
    let lab = Lab::new();
    let mut outside = Outside::new(&lab);
    outside.serve(&lab, OUTSIDE, "80", None);
    outside.serve(&lab, OUTSIDE, "8080", None);
    // Several hosts are at one address.
    outside.names(&format!("api.outside.example 9 {OUTSIDE}\nwww.outside.example 9 {OUTSIDE}\n"));
    lab.apply(&(mesh("audit") + &services()));
    let mut command = lab.confined("web", &["--metrics", "127.0.0.1:9901"]);
    let script = format!(
        "curl='curl -sS -m 20'; $curl http://api.outside.example/; \
         $curl -H 'Host: other.example' http://{OUTSIDE}/; $curl http://www.outside.example/; \
         $curl http://api.outside.example:8080/; read go"
    );
    command.args(["sh", "-c", &script]);
    let mut shell = lab.start_typed("web", command);
    shell.wait_for("as api.outside.example:8080");
    let hosts =
        ["api.outside.example", "other.example", "www.outside.example", "api.outside.example:8080"];
    let expected: String = hosts.iter().map(|host| format!("{OUTSIDE} as {host}\n")).collect();
    assert_eq!(shell.output(), expected);
    shell.wait_for("outside api.outside.example:8080");
    let log = shell.log();
    let audited = lines(&log, &["audited=\"mesh spec.defaults.outbound\""]);
    assert_eq!(audited.len(), 3, "{log}");
    assert!(lines(&log, &["backend=shop/api"]).iter().all(|line| !line.contains("audited")));
    let metrics = must(lab.user("curl").args(["-sS", "http://127.0.0.1:9901/metrics"]));
    let count = lines(&metrics, &["weft_audited_total{policy=\"mesh\"} 3"]);
    assert_eq!(count.len(), 1, "{metrics}");
    shell.type_in(b"\n");
    assert!(shell.end().success());
}
