//! Names of the mesh, and of the world outside.

use crate::lab::{Lab, OUTSIDE, Running, lines, must, output};

/// A name server at 127.0.0.53 that knows `www.outside.example`, and prints what it is asked.
const RESOLVER: &str = r#"
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.53", 53))
print("listening", flush=True)
while True:
    query, caller = server.recvfrom(4096)
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    name, kind = ".".join(labels).lower(), int.from_bytes(query[at + 1:at + 3], "big")
    print("asked", name, kind, flush=True)
    question, answers, code = query[12:at + 5], b"", 0 if name == "www.outside.example" else 3
    if kind == 1 and not code:
        answers = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4" + socket.inet_aton(sys.argv[1])
    counts = bytes([0, 1, 0, 1 if answers else 0, 0, 0, 0, 0])
    server.sendto(query[:2] + bytes([0x81, 0x80 | code]) + counts + question + answers, caller)
"#;

/// Asks argv[1], a server, for the addresses that argv[2:], names, have, each as it is written, and
/// prints the codes and how many answers there are.
const ASK: &str = r#"
import socket, sys
for name in sys.argv[2:]:
    said = [name]
    for kind in 1, 28:
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        query = b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + bytes([0, kind, 0, 1])
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(20)
        client.connect((sys.argv[1], 53))
        client.send(query)
        answer = client.recv(4096)
        assert answer[:2] == query[:2] and answer[2] & 0x80
        said += [str(answer[3] & 15), str(int.from_bytes(answer[6:8], "big"))]
    print(*said)
"#;

/// All ways to write the name of a Service, from within its namespace.
pub const NAMES: [&str; 4] = ["cart", "cart.shop", "cart.shop.svc", "cart.shop.svc.cluster.local"];

fn cart(lab: &Lab) -> Running {
    lab.file("hello", "hello\n");
    let mut command = lab.server("cart", "80:8000/http");
    command.args(["python3", "-u", "-m", "http.server", "8000"]);
    let server = lab.start("cart", command);
    server.wait_for("Serving HTTP");
    server
}

fn resolver(lab: &Lab) -> Running {
    let script = lab.file("resolver.py", RESOLVER);
    let mut command = lab.host.command("python3");
    command.arg(script).arg(OUTSIDE);
    let resolver = lab.start("resolver", command);
    resolver.wait_for("listening");
    resolver
}

#[test]
fn every_way_to_write_a_name_leads_there() {
    let lab = Lab::new();
    let _server = cart(&lab);
    let resolver = resolver(&lab);
    // Nobody has told this one of the cart when it asks for the first time, whichever name it is.
    for name in NAMES {
        let said = lab.shell("web", &format!("getent ahosts {name}"));
        let addresses: Vec<_> = said.lines().filter(|line| line.contains("STREAM")).collect();
        assert!(addresses.iter().any(|line| line.starts_with("240.119.")), "{said}");
        assert!(addresses.iter().any(|line| line.starts_with("fd77:6566:7400:0:")), "{said}");
        let family = format!("getent ahostsv4 {name}; getent ahostsv6 {name}; getent hosts {name}");
        assert!(lab.shell("web", &family).lines().count() > 6);
        let url = format!("http://{name}/hello");
        let python = format!("import urllib.request as u; print(u.urlopen('{url}').read())");
        assert_eq!(
            lab.shell("web", &format!("curl -sS -4 {url}; curl -sS -6 {url}")),
            "hello\nhello\n"
        );
        assert_eq!(must(lab.client("web").args(["python3", "-c", &python])), "b'hello\\n'\n");
    }
    // Another namespace's programs have to name this one.
    let mut other = lab.user("./weft");
    let token = lab.file("other.token", {
        must(lab.user("./weft").args(["token", "--service-account", "other/web"]))
    });
    let run = ["run", "--namespace", "other", "--service-account", "web", "--data", "other.data"];
    other.args(run).arg("--token").arg(token).args(["--", "sh", "-c"]);
    let said = must(other.arg("getent hosts cart || echo none; curl -sS http://cart.shop/hello"));
    assert_eq!(said, "none\nhello\n");
    let asked = resolver.output();
    assert!(lines(&asked, &["asked", "cart"]).is_empty(), "{asked}");
}

#[test]
fn resolvers_without_a_search_list_are_answered() {
    let lab = Lab::new();
    let _server = cart(&lab);
    let resolver = resolver(&lab);
    let ask = lab.file("ask.py", ASK);
    let ask = |server: &str, names: &[&str]| {
        must(lab.client("web").arg("python3").arg(&ask).arg(server).args(names))
    };
    // One server is like another: no query leaves but by the mesh's.
    for server in ["127.0.0.1", OUTSIDE] {
        let mut names = NAMES.to_vec();
        names.push("CART.shop.SVC.cluster.LOCAL");
        let found: String = names.iter().map(|name| format!("{name} 0 1 0 1\n")).collect();
        assert_eq!(ask(server, &names), found, "{server}");
    }
    let names = ["nobody", "nobody.shop.svc", "nobody.shop.svc.cluster.local", "x.cluster.local"];
    let missing: String = names.iter().map(|name| format!("{name} 3 0 3 0\n")).collect();
    assert_eq!(ask("127.0.0.1", &names), missing);
    let asked = resolver.output();
    assert!(lines(&asked, &["asked"]).is_empty(), "{asked}");

    assert_eq!(ask("127.0.0.1", &["www.outside.example"]), "www.outside.example 0 1 0 0\n");
    assert_eq!(ask("127.0.0.1", &["no.outside.example"]), "no.outside.example 3 0 3 0\n");
    let asked = resolver.output();
    let expected = ["www", "no"]
        .map(|name| format!("asked {name}.outside.example 1\nasked {name}.outside.example 28\n"));
    assert_eq!(asked, format!("listening\n{}", expected.concat()));
}

#[test]
fn the_zone_is_what_the_mesh_says() {
    let lab = Lab::new();
    let _server = cart(&lab);
    let resolver = resolver(&lab);
    let zone = |zone: &str| {
        lab.apply(&format!(
            "apiVersion: weft.dev/v1alpha1\nkind: Mesh\nmetadata: {{ name: mesh }}\n\
             spec: {{ trustDomain: weft.local, dnsZone: {zone} }}\n"
        ));
    };
    zone("shop.example");
    let ask = "cat /etc/resolv.conf; getent hosts cart.shop.svc.cluster.local || echo none; \
               curl -sS http://cart.shop.svc.shop.example/hello http://cart/hello";
    assert_eq!(
        lab.shell("web", ask),
        "nameserver 127.0.0.1\noptions ndots:2\nsearch shop.svc.shop.example svc.shop.example \
         shop.example\nnone\nhello\nhello\n"
    );
    let asked = resolver.output();
    assert!(lines(&asked, &["asked", "shop.example"]).is_empty(), "{asked}");
    assert!(!lines(&asked, &["asked cart.shop.svc.cluster.local 1"]).is_empty(), "{asked}");

    // A program that runs has the search list that it was started with; full names are the new
    // zone's at once.
    let script = "cd /; grep -o 'svc.shop.example ' /etc/resolv.conf; read go; \
                  until curl -sS http://cart.shop.svc.new.example/hello; do sleep 0.1; done; \
                  curl -sS http://cart/hello";
    let mut command = lab.client("web");
    command.args(["sh", "-c", script]);
    let mut running = lab.start_typed("running", command);
    running.wait_for("svc.shop.example");
    zone("new.example");
    running.type_in(b"\n");
    running.wait_for("hello\nhello");
    assert_eq!(running.end().code(), Some(0));
}

#[test]
fn names_outside_are_asked_of_the_hosts_name_server() {
    let mut lab = Lab::new();
    let outside = lab.outside();
    let resolver = resolver(&lab);
    lab.file("hello", "hello from outside\n");
    let mut command = outside.command("python3");
    command.args(["-u", "-m", "http.server", "8080", "--directory"]).arg(&lab.directory);
    let server = lab.start("outside", command);
    server.wait_for("Serving HTTP");

    let hello = "curl -sS http://www.outside.example:8080/hello";
    assert_eq!(lab.shell("web", hello), "hello from outside\n");
    assert_eq!(lab.shell("web", "getent hosts no.outside.example || echo none"), "none\n");
    // The mesh's own names never leave the machine.
    assert_eq!(lab.shell("web", "getent hosts nobody || echo none"), "none\n");
    let asked = resolver.output();
    let leaked: Vec<_> = asked.lines().filter(|line| line.contains("asked nobody")).collect();
    assert!(leaked.is_empty() || leaked == ["asked nobody 1"], "{asked}");
    assert!(lines(&asked, &["cluster.local"]).is_empty(), "{asked}");
    assert!(!lines(&asked, &["asked www.outside.example 1"]).is_empty(), "{asked}");

    // With the control plane away, too. Of names of the mesh that are not known it is said why.
    let ask = lab.file("ask.py", ASK);
    let unknown = format!("python3 {} 127.0.0.1 cart.shop.svc.cluster.local", ask.display());
    let mut command = lab.client("web");
    command.args(["sh", "-c", &format!("echo ready; read line; {hello}; {unknown}")]);
    let mut client = lab.start_typed("client", command);
    client.wait_for("ready");
    lab.stop_control();
    client.wait_for("the control plane is away");
    client.type_in(b"\n");
    assert!(client.end().success());
    let said = "ready\nhello from outside\ncart.shop.svc.cluster.local 2 0 2 0\n";
    assert_eq!(client.output(), said);
    let log = client.log();
    let [line] = lines(&log, &["the name of Service shop/cart is not answered"])[..] else {
        panic!("{log}")
    };
    assert!(line.contains("the control plane did not answer within 2 s"), "{line}");
    // Without a name server, the answer is that there is none, and not a long silence.
    drop(resolver);
    lab.start_control();
    let said = output(lab.client("web").args(["getent", "hosts", "www.outside.example"]));
    assert_eq!(said.status.code(), Some(2));
}
