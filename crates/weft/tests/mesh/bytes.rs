//! Who may call what the proxies see bytes of only, by redis and its client.

use std::net::{Ipv4Addr, SocketAddr};

use crate::lab::{Lab, PortSpec, Process, Proxy, Spec, wait_until};
use crate::redis::{Redis, answers, client};

/// The callers, by their service accounts.
const CALLERS: [&str; 3] = ["shop/web", "shop/rogue", "dev/job"];

/// Which of the callers (an index into [`CALLERS`]) may call which port of the Service.
type Case = (usize, u16, bool);

/// Rules, who may do what by them, and why the others may not.
const POLICIES: &[(&str, &[Case], &str)] = &[
    (
        "deny: [{ from: [{ identity: 'spiffe://weft.local/ns/shop/sa/rogue' }] }]",
        &[(0, 6379, true), (1, 6379, false), (1, 6380, false), (2, 6379, true)],
        "deny-rule",
    ),
    (
        "allow: [{ from: [{ identity: 'spiffe://weft.local/ns/shop/sa/web' }] }]",
        &[(0, 6379, true), (0, 6380, true), (1, 6379, false), (2, 6380, false)],
        "no-allow-rule",
    ),
    (
        "deny: [{ from: [{ namespace: dev }] }]",
        &[(0, 6379, true), (1, 6379, true), (2, 6379, false)],
        "deny-rule",
    ),
    (
        "allow: [{ from: [{ serviceAccount: shop/rogue }] }]",
        &[(0, 6379, false), (1, 6379, true), (2, 6379, false)],
        "no-allow-rule",
    ),
    (
        "deny: [{ from: [{ cidr: 127.0.0.0/8 }] }]",
        &[(0, 6379, false), (1, 6380, false)],
        "deny-rule",
    ),
    ("allow: [{ from: [{ cidr: 127.0.0.0/8 }] }]", &[(0, 6379, true), (1, 6380, true)], ""),
    (
        "allow: [{ from: [{ cidr: 10.0.0.0/8 }] }]",
        &[(0, 6379, false), (1, 6380, false)],
        "no-allow-rule",
    ),
    (
        "deny: [{ to: [{ ports: [6380] }] }]",
        &[(0, 6379, true), (0, 6380, false), (1, 6380, false)],
        "deny-rule",
    ),
    (
        "allow: [{ from: [{ namespace: shop }], to: [{ ports: [6380] }] }]",
        &[(0, 6379, false), (0, 6380, true), (1, 6380, true), (2, 6380, false)],
        "no-allow-rule",
    ),
    // What asks for HTTP cannot be told of bytes: that is a refusal, whichever list it stands in.
    (
        "deny: [{ from: [{ namespace: dev }], to: [{ methods: [DELETE] }] }]",
        &[(0, 6379, true), (2, 6379, false)],
        "cannot-evaluate",
    ),
    (
        "allow: [{ from: [{ namespace: shop }], to: [{ paths: ['/*'] }] }]",
        &[(0, 6379, false), (1, 6380, false)],
        "cannot-evaluate",
    ),
    (
        "deny: [{ from: [{ serviceAccount: shop/other }] }]",
        &[(0, 6379, true), (1, 6379, true), (2, 6380, true)],
        "",
    ),
];

fn policy(rules: &str) -> String {
    format!(
        "
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{ name: cache, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: cache }}]
  {rules}
"
    )
}

/// A mesh with one replica of `shop/cache`, which is redis by two ports.
struct Mesh {
    lab: Lab,
    server: Proxy,
    callers: [Proxy; CALLERS.len()],
    _redis: Redis,
}

impl Mesh {
    fn new() -> Mesh {
        let lab = Lab::new();
        let redis = Redis::start(&lab, Ipv4Addr::LOCALHOST.into());
        let application = redis.address;
        let port = |port| PortSpec { port, service_port: port, protocol: Some("tcp"), application };
        let server = lab.proxy(&Spec {
            name: "cache-1",
            account: "shop/cache",
            services: &["shop/cache"],
            ports: vec![port(6379), port(6380)],
            ..Spec::default()
        });
        let callers = CALLERS.map(|account| {
            let name = account.replace('/', "-");
            let calls = &[("shop/cache", 6379), ("shop/cache", 6380)];
            lab.proxy(&Spec { name: &name, account, calls, ..Spec::default() })
        });
        Mesh { lab, server, callers, _redis: redis }
    }

    /// Where `caller` calls `port` of the Service.
    fn address(&self, caller: usize, port: u16) -> SocketAddr {
        self.callers[caller].addresses[usize::from(port == 6380)]
    }
}

#[test]
fn policies_are_enforced_for_bytes_as_for_requests() {
    let mesh = Mesh::new();
    for (rules, cases, reason) in POLICIES {
        let begun = mesh.server.log().len();
        mesh.lab.apply(&policy(rules));
        let is_as_told = |&(caller, port, may): &Case| answers(mesh.address(caller, port)) == may;
        wait_until(&format!("`{rules}` is in force"), || cases.iter().all(is_as_told));
        for case in *cases {
            assert!(is_as_told(case), "`{rules}`, {}: {case:?}", CALLERS[case.0]);
        }
        // It was the server's proxy that refused, and it says whom and why.
        for (caller, ..) in cases.iter().filter(|(.., may)| !may) {
            let (namespace, account) = CALLERS[*caller].split_once('/').unwrap();
            let peer = format!("peer=spiffe://weft.local/ns/{namespace}/sa/{account} ");
            let parts = ["direction=inbound", "protocol=tcp", &format!("reason={reason} "), &peer];
            wait_until(&format!("the log has {parts:?}"), || {
                let log = mesh.server.log();
                log[begun..].lines().any(|line| parts.iter().all(|part| line.contains(part)))
            });
        }
    }
    // A no is a no: it is not asked for again.
    let logs = mesh.callers.each_ref().map(Proxy::log).concat();
    let mut refused = logs.lines().filter(|line| line.contains("reason=tunnel-refused"));
    assert!(refused.clone().count() > 0, "{logs}");
    assert!(refused.all(|line| line.contains(" attempts=1 ")), "{logs}");
}

#[test]
fn a_policy_ends_only_the_streams_that_it_forbids() {
    let mesh = Mesh::new();
    let subscriber = |caller: usize| {
        let mut command = client(mesh.address(caller, 6379));
        // It is ended by what is tried, not by its own limit.
        command.args(["subscribe", "news"]);
        let name = format!("subscriber-{caller}");
        let process = Process::start(&mesh.lab.directory, &name, &mut command);
        wait_until("it listens", || process.said().contains("subscribe"));
        process
    };
    let (stays, mut ends) = (subscriber(0), subscriber(1));
    let rogue = "deny: [{ from: [{ serviceAccount: shop/rogue }] }]";
    mesh.lab.apply(&policy(rogue));
    ends.wait();
    mesh.server.wait_for_log(0, "reason=policy-changed");
    // Whoever may still call is heard by whoever still listens.
    let mut publish = client(mesh.address(0, 6379));
    assert!(
        crate::lab::succeeded(crate::lab::output(publish.args(["publish", "news", "tea"])))
            == "1\n"
    );
    wait_until("it goes on", || stays.said().contains("tea"));
}
