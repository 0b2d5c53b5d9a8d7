//! Who may call whom is judged by the server's own proxy, at once and for what lives as well.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use crate::app::{App, Executed, ID};
use crate::lab::{Lab, PortSpec, Process, Proxy, Spec, ask, wait_until};

/// The callers, by their service accounts.
const CALLERS: [&str; 3] = ["shop/web", "shop/rogue", "dev/job"];

/// A request: by whom (an index into [`CALLERS`]), to which port of the Service (80 or 90), what,
/// and whether it may.
type Case = (usize, u16, &'static str, &'static str, &'static [&'static str], bool);

/// Policies, each with requests that tell whether it is enforced.
const POLICIES: &[(&str, &[Case])] = &[
    (
        "deny: [{ from: [{ identity: 'spiffe://weft.local/ns/shop/sa/rogue' }] }",
        &[(0, 80, "GET", "/", &[], true), (1, 80, "GET", "/", &[], false)],
    ),
    (
        "allow: [{ from: [{ identity: 'spiffe://weft.local/ns/shop/sa/web' }] }]\n  deny: [",
        &[
            (0, 80, "GET", "/", &[], true),
            (1, 80, "GET", "/", &[], false),
            (2, 90, "GET", "/", &[], false),
        ],
    ),
    (
        "deny: [{ from: [{ namespace: dev }] }",
        &[(0, 80, "GET", "/", &[], true), (2, 80, "GET", "/", &[], false)],
    ),
    (
        "allow: [{ from: [{ namespace: dev }] }]\n  deny: [",
        &[(0, 80, "GET", "/", &[], false), (2, 80, "GET", "/", &[], true)],
    ),
    (
        "deny: [{ from: [{ serviceAccount: shop/rogue }] }",
        &[(0, 80, "GET", "/", &[], true), (1, 90, "GET", "/", &[], false)],
    ),
    (
        "allow: [{ from: [{ serviceAccount: shop/rogue }] }]\n  deny: [",
        &[(0, 80, "GET", "/", &[], false), (1, 90, "GET", "/", &[], true)],
    ),
    (
        "deny: [{ from: [{ cidr: 10.0.0.0/8 }] }",
        &[(0, 80, "GET", "/", &[], true), (1, 80, "GET", "/", &[], true)],
    ),
    (
        "deny: [{ from: [{ cidr: 127.0.0.0/8 }] }",
        &[(0, 80, "GET", "/", &[], false), (1, 80, "GET", "/", &[], false)],
    ),
    (
        "allow: [{ from: [{ cidr: 10.0.0.0/8 }] }]\n  deny: [",
        &[(0, 80, "GET", "/", &[], false), (1, 90, "GET", "/", &[], false)],
    ),
    (
        "allow: [{ from: [{ cidr: 127.0.0.0/8 }] }]\n  deny: [",
        &[(0, 80, "GET", "/", &[], true), (1, 90, "GET", "/", &[], true)],
    ),
    (
        "deny: [{ to: [{ ports: [9090] }] }",
        &[(0, 80, "GET", "/", &[], true), (0, 90, "GET", "/", &[], false)],
    ),
    (
        "allow: [{ to: [{ ports: [9090] }] }]\n  deny: [",
        &[(0, 80, "GET", "/", &[], false), (0, 90, "GET", "/", &[], true)],
    ),
    (
        "deny: [{ to: [{ methods: [DELETE] }] }",
        &[(0, 80, "GET", "/", &[], true), (0, 80, "DELETE", "/", &[], false)],
    ),
    (
        "allow: [{ to: [{ methods: [DELETE] }] }]\n  deny: [",
        &[(0, 80, "GET", "/", &[], false), (0, 80, "DELETE", "/", &[], true)],
    ),
    (
        "deny: [{ to: [{ paths: [/admin, '/admin/*'] }] }",
        &[
            (0, 80, "GET", "/", &[], true),
            (0, 80, "GET", "/admin", &[], false),
            (0, 80, "GET", "/admin/users?all", &[], false),
            (0, 80, "GET", "/shop/../admin/users", &[], false),
            (0, 80, "GET", "/%61dmin/users", &[], false),
            (0, 80, "GET", "/administer", &[], true),
        ],
    ),
    (
        "allow: [{ to: [{ paths: ['/public/*'] }] }]\n  deny: [",
        &[
            (0, 80, "GET", "/public/page", &[], true),
            (0, 80, "GET", "/public/../secret", &[], false),
            (0, 80, "GET", "/public/..%2Fsecret", &[], false),
        ],
    ),
    (
        "deny: [{ to: [{ headers: [{ name: x-debug }] }] }",
        &[(0, 80, "GET", "/", &[], true), (0, 80, "GET", "/", &["X-Debug: 1"], false)],
    ),
    (
        "allow: [{ to: [{ headers: [{ name: x-tenant, value: tea }] }] }]\n  deny: [",
        &[
            (0, 80, "GET", "/", &[], false),
            (0, 80, "GET", "/", &["X-Tenant: coffee"], false),
            (0, 80, "GET", "/", &["X-Tenant: tea"], true),
        ],
    ),
    (
        "allow: [{ from: [{ namespace: shop }], to: [{ methods: [GET] }] }]\n  \
         deny: [{ from: [{ serviceAccount: shop/rogue }] }",
        &[
            (0, 80, "GET", "/", &[], true),
            (0, 80, "POST", "/", &[], false),
            (1, 80, "GET", "/", &[], false),
            (2, 80, "GET", "/", &[], false),
        ],
    ),
];

/// A policy for the Service `pay`; `rules` ends in a list of deny rules, to which that for `path`
/// is added.
fn policy(rules: &str, path: &str) -> String {
    let comma = if rules.ends_with('[') { "" } else { ", " };
    format!(
        "
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{ name: pay, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: pay }}]
  {rules}{comma}{{ to: [{{ paths: [{path}] }}] }}]
"
    )
}

/// A mesh with one replica of `shop/pay`, whose two ports take HTTP/1.1 and HTTP/2.
struct Mesh {
    lab: Lab,
    executed: Executed,
    server: Proxy,
    callers: [Proxy; CALLERS.len()],
    _apps: [App; 2],
}

impl Mesh {
    fn new() -> Mesh {
        let lab = Lab::new();
        let executed = Executed::default();
        let apps = ["web-port", "other-port"].map(|name| App::start(name, &executed));
        let protocols = ["http", "http2"].map(Some);
        let [first, second] = apps.each_ref().map(|app| app.address);
        let ports = vec![
            PortSpec { port: 8080, service_port: 80, protocol: protocols[0], application: first },
            PortSpec { port: 9090, service_port: 90, protocol: protocols[1], application: second },
        ];
        let services = &["shop/pay"];
        let server = lab.proxy(&Spec {
            name: "pay-1",
            account: "shop/pay",
            services,
            ports,
            ..Spec::default()
        });
        let callers = CALLERS.map(|account| {
            let name = account.replace('/', "-");
            let calls = &[("shop/pay", 80), ("shop/pay", 90)];
            lab.proxy(&Spec { name: &name, account, calls, ..Spec::default() })
        });
        Mesh { lab, executed, server, callers, _apps: apps }
    }

    /// Where `caller` calls `port` of the Service.
    fn address(&self, caller: usize, port: u16) -> SocketAddr {
        self.callers[caller].addresses[usize::from(port == 90)]
    }
}

#[test]
fn policies_are_enforced_at_the_servers_proxy() {
    let mesh = Mesh::new();
    for (number, (rules, cases)) in POLICIES.iter().enumerate() {
        let path = format!("/applied-{number}");
        mesh.lab.apply(&policy(rules, &path));
        wait_until(&format!("`{rules}` is in force"), || {
            ask(mesh.address(0, 80), "GET", &path, &[]).reason == "deny-rule"
                || ask(mesh.address(1, 80), "GET", &path, &[]).reason == "deny-rule"
        });
        for (index, case) in cases.iter().enumerate() {
            let (caller, port, method, path, fields, may) = *case;
            let id = format!("{ID}: {}-{number}-{index}", if may { "allowed" } else { "denied" });
            let fields: Vec<_> = fields.iter().copied().chain([id.as_str()]).collect();
            let answer = ask(mesh.address(caller, port), method, path, &fields);
            let what = format!("`{rules}`, {}: {case:?}: {answer:?}", CALLERS[caller]);
            assert_eq!(answer.status, if may { 200 } else { 403 }, "{what}");
            assert_eq!(answer.app.is_empty(), !may, "{what}");
            assert_eq!(answer.reason.is_empty(), may, "{what}");
        }
    }
    let allowed = POLICIES.iter().flat_map(|(_, cases)| *cases).filter(|case| case.5).count();
    assert_eq!(mesh.executed.of("allowed-") as usize, allowed);
    assert_eq!(mesh.executed.of("denied-"), 0, "a denied request reached the application");
    // It was the server's proxy that refused, and it says whom.
    let log = mesh.server.log();
    for account in ["shop/sa/rogue", "dev/sa/job"] {
        let peer = format!("peer=spiffe://weft.local/ns/{account}");
        let found = log.lines().any(|line| {
            line.contains("direction=inbound")
                && line.contains("status=403")
                && line.contains(&peer)
        });
        assert!(found, "no refusal of {account} in the log of the server's proxy");
    }
}

/// A stream that curl reads into a file.
struct Reading {
    process: Process,
    path: std::path::PathBuf,
}

impl Reading {
    fn start(mesh: &Mesh, name: &str, port: u16, path: &str) -> Reading {
        let out = mesh.lab.directory.join(format!("{name}-{port}.out"));
        let mut command = Command::new("curl");
        command.args(["-sSN", "--max-time", "120", "-o"]).arg(&out);
        if port == 90 {
            command.arg("--http2-prior-knowledge");
        }
        command.arg(format!("http://{}{path}", mesh.address(0, port)));
        let name = format!("curl-{name}-{port}");
        Reading { process: Process::start(&mesh.lab.directory, &name, &mut command), path: out }
    }

    fn length(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |found| found.len())
    }

    /// Waits until more has come.
    fn goes_on(&self) {
        let before = self.length();
        wait_until(&format!("{} gets more", self.process.name), || self.length() > before + 20);
    }
}

#[test]
fn a_policy_closes_only_the_streams_that_it_forbids() {
    let mesh = Mesh::new();
    let mut forbidden = [80, 90].map(|port| Reading::start(&mesh, "shut", port, "/stream/shut"));
    let mut others = [80, 90].map(|port| Reading::start(&mesh, "open", port, "/stream/open"));
    forbidden.iter().chain(&others).for_each(Reading::goes_on);
    mesh.lab.apply(&policy("deny: [", "/stream/shut"));
    for reading in &mut forbidden {
        // The end is no regular one: the caller knows that something is missing.
        let status = reading.process.wait();
        assert!(!status.success(), "{} ended as if all had come", reading.process.name);
    }
    others.iter().for_each(Reading::goes_on);
    let log = mesh.server.log();
    let closed = log.lines().filter(|line| line.contains("reason=policy-changed"));
    let closed: Vec<_> = closed.collect();
    assert_eq!(closed.len(), 2, "{closed:?}");
    assert!(closed.iter().all(|line| line.contains("path=/stream/shut")), "{closed:?}");
    let answer = ask(mesh.address(0, 80), "GET", "/stream/shut", &[]);
    assert_eq!((answer.status, answer.reason.as_str()), (403, "deny-rule"));
    others.iter_mut().for_each(|reading| reading.process.kill());
}

#[test]
fn a_proxy_that_does_not_know_who_may_call_lets_nobody() {
    let lab = Lab::new();
    let executed = Executed::default();
    let app = App::start("cart-1", &executed);
    let mut server = lab.replica("cart-1", Some("http"), &app);
    server.keep_listeners();
    let caller = lab.caller("web");
    let ask = || ask(caller.addresses[0], "GET", "/", &[]);
    assert_eq!(ask().status, 200);
    let before = executed.len();

    lab.kill_control();
    server.kill();
    // Its identity stays; all that it knew of the mesh is lost.
    fs::remove_file(lab.directory.join("cart-1.data/mesh.state")).unwrap();
    server.start_again();
    let mut answer = ask();
    wait_until("the refusal arrives", || {
        answer = ask();
        answer.status == 503 && answer.body.contains("policy-pending")
    });
    assert!(server.shown("/ready").contains("not known yet"));
    assert_eq!(executed.len(), before, "a request reached the application");
    assert!(server.log().contains("reason=policy-pending"));

    // With the control plane, it learns what it needs.
    lab.start_control();
    wait_until("the server is called again", || ask().status == 200);
    assert_eq!(server.shown("/ready"), "ready\n");
}
