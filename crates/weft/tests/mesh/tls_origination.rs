//! TLS that a proxy originates, to nginx, OpenSSL, redis and grpcio, for programs that speak in
//! plaintext.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use crate::authority::{Authority, Certificate, uri};
use crate::grpc::Server;
use crate::grpcio;
use crate::lab::{Lab, Process, Proxy, command, output, succeeded, wait_until};
use crate::nginx;
use crate::redis::{self, free_port};

/// What every server of nginx here answers: what it sees of the request, and of TLS.
const SEEN: &str = "$server_protocol $scheme $http_host $ssl_protocol $ssl_server_name \
                    $ssl_session_reused $connection_requests";

/// nginx with a server for each of `servers`, whose text follows its port, and where they listen.
fn nginx(lab: &Lab, name: &str, servers: &[String]) -> (Process, Vec<SocketAddr>) {
    let directory = lab.directory.join(name);
    std::fs::create_dir(&directory).unwrap();
    loop {
        let addresses: Vec<_> = servers.iter().map(|_| free_address()).collect();
        let server = |(address, rest): (&SocketAddr, &String)| {
            format!("server {{ listen {address} {rest} location / {{ return 200 '{SEEN}'; }} }}\n")
        };
        let texts: String = addresses.iter().zip(servers).map(server).collect();
        let http =
            format!("ssl_session_cache shared:all:1m; ssl_protocols TLSv1.2 TLSv1.3; {texts}");
        let config = nginx::config(&directory, &http);
        let path = lab.file(&format!("{name}.conf"), &config);
        let mut nginx = Command::new("nginx");
        nginx.args(["-e", "stderr", "-c"]).arg(path);
        let process = Process::start(&lab.directory, name, &mut nginx);
        if listens(&process, "getrlimit(RLIMIT_NOFILE)") {
            return (process, addresses);
        }
    }
}

fn free_address() -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port())
}

/// Waits until `process`, which says `ready` then, listens. Not if somebody else has its port.
fn listens(process: &Process, ready: &str) -> bool {
    let (mut is_ready, mut is_taken) = (false, false);
    wait_until(&format!("{} listens", process.name), || {
        let said = process.said();
        is_taken = said.contains("Address already in use");
        is_ready = said.contains(ready);
        is_ready || is_taken
    });
    is_ready && !is_taken
}

/// The text of a server of nginx that shows `shown`.
fn by_tls(more: &str, shown: &Certificate) -> String {
    let Certificate { certificate, key } = shown;
    format!("ssl {more}; ssl_certificate {certificate}; ssl_certificate_key {key};")
}

/// A listener of `weft proxy` that leads to `endpoints` by `tls`.
fn listener(protocol: &str, tls: &str, endpoints: &[SocketAddr]) -> String {
    let endpoint = |address: &SocketAddr| format!("{{ address: '{address}' }}");
    let endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
    let endpoints = endpoints.join(", ");
    format!(
        "- {{ listen: '127.0.0.1:0', protocol: {protocol}, tls: {tls}, endpoints: [{endpoints}] }}\n"
    )
}

fn proxy(lab: &Lab, name: &str, listeners: &[String]) -> Proxy {
    Proxy::start(lab, name, &format!("outbound:\n{}", listeners.concat()))
}

/// What curl gets at `address`, with more `arguments`.
fn curl(address: SocketAddr, arguments: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20"]).args(arguments);
    succeeded(output(curl.arg(format!("http://{address}/"))))
}

/// What is spoken by `settings`, where the authority is `ca`.
const SETTINGS: &str = "{ hostname: api.example.com, roots: ca.pem }";

#[test]
fn curl_in_plaintext_reaches_servers_of_tls() {
    let lab = Lab::new();
    let shown = Authority::new(&lab.directory, "ca").certificate(&["api.example.com"]);
    let (_nginx, addresses) = nginx(
        &lab,
        "nginx",
        &[
            by_tls("http2", &shown),
            by_tls("http2", &shown) + " ssl_protocols TLSv1.2;",
            by_tls("", &shown) + " keepalive_requests 1;",
            by_tls("", &shown) + " keepalive_requests 1; ssl_protocols TLSv1.2;",
        ],
    );
    let declared = |address: &SocketAddr| listener("http", SETTINGS, &[*address]);
    let mut listeners: Vec<_> = addresses.iter().map(declared).collect();
    // Not for those whose tickets are counted: a program that is slow to speak has one connection
    // more opened, to see whether the server speaks first.
    listeners.extend(addresses[..2].iter().map(|one| listener("detect", SETTINGS, &[*one])));
    let caller = proxy(&lab, "caller", &listeners);
    // The host is the one that the program asks for, the name of TLS the one that is declared.
    let host = ["-H", "Host: shop.test"];
    for (index, version) in [(0, "TLSv1.3"), (1, "TLSv1.2")] {
        let address = caller.addresses[index];
        for count in 1..=3 {
            let seen = format!("HTTP/1.1 https shop.test {version} api.example.com . {count}");
            assert_eq!(curl(address, &host), seen);
        }
        // By any listener it is the same server.
        let address = caller.addresses[index + 4];
        let seen = format!("HTTP/1.1 https shop.test {version} api.example.com . 4");
        assert_eq!(curl(address, &host), seen);
        // The ticket of the connection before serves this one, too.
        let seen = format!("HTTP/2.0 https shop.test {version} api.example.com r 1");
        assert_eq!(curl(address, &["--http2-prior-knowledge", host[0], host[1]]), seen);
    }
    for (index, version) in [(2, "TLSv1.3"), (3, "TLSv1.2")] {
        let address = caller.addresses[index];
        for resumed in [".", "r", "r"] {
            let seen = format!("HTTP/1.1 https shop.test {version} api.example.com {resumed} 1");
            assert_eq!(curl(address, &host), seen);
        }
    }
}

#[test]
fn what_a_server_does_not_prove_is_refused() {
    let lab = Lab::new();
    let authority = Authority::new(&lab.directory, "ca");
    let stranger = Authority::new(&lab.directory, "other");
    let good = authority.certificate(&["api.example.com", "b.example.com"]);
    let expired = authority.changed(&["expired.example.com"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    let early = authority.changed(&["early.example.com"], |params| {
        params.not_before = rcgen::date_time_ymd(2200, 1, 1);
        params.not_after = rcgen::date_time_ymd(2201, 1, 1);
    });
    let named = authority.changed(&["*.wild.example.com"], |params| {
        params.subject_alt_names.push(uri("spiffe://example.com/api"));
    });
    let client = authority.changed(&["client.example.com"], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let strange = stranger.certificate(&["strange.example.com"]);
    let (_nginx, addresses) = nginx(
        &lab,
        "nginx",
        &[
            by_tls("", &good),
            by_tls("", &expired),
            by_tls("", &early),
            by_tls("", &named),
            by_tls("", &client),
            by_tls("", &strange),
            ";".to_owned(),
        ],
    );
    let [good, expired, early, named, client, strange, plain] = addresses[..] else { panic!() };
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let uri = "{ hostname: a.example, roots: ca.pem, subjectAltNames: \
               [{ type: URI, uri: 'spiffe://example.com/api' }] }";
    let other_uri = uri.replace("/api", "/api2");
    let replaced = "{ hostname: api.example.com, roots: ca.pem, subjectAltNames: \
                    [{ type: Hostname, hostname: c.example.com }] }";
    let host = |name: &str| format!("{{ hostname: {name}, roots: ca.pem }}");
    let strangers = "{ hostname: strange.example.com, roots: other.pem }";
    // What is refused, each with a part of the reason; and, beside each, what is not.
    let cases: Vec<(SocketAddr, String, Option<&str>)> = vec![
        (good, host("api.example.com"), None),
        (good, host("b.example.com"), None),
        (good, host("c.example.com"), Some("is for api.example.com, b.example.com, and must be")),
        (good, replaced.to_owned(), Some("and must be for c.example.com")),
        (expired, host("expired.example.com"), Some("has expired: it ended 2020-02-01T00:00:00")),
        (early, host("early.example.com"), Some("does not hold yet: it begins 2200-01-01T")),
        (named, host("a.wild.example.com"), None),
        (named, host("a.b.wild.example.com"), Some("is for *.wild.example.com, spiffe://")),
        (named, uri.to_owned(), None),
        (named, other_uri, Some("and must be for spiffe://example.com/api2")),
        (client, host("client.example.com"), Some("is not for servers")),
        (strange, host("strange.example.com"), Some("nobody whom the roots given for it vouch")),
        (strange, strangers.to_owned(), None),
        (strange, "{ hostname: strange.example.com }".to_owned(), Some("the system's roots")),
        (plain, host("api.example.com"), Some("what it answers is no TLS")),
        (nobody, host("api.example.com"), Some("")),
    ];
    let listeners: Vec<_> =
        cases.iter().map(|(address, tls, _)| listener("http", tls, &[*address])).collect();
    let mut program: fn(&Path) -> Command = |config| {
        let mut command = command(config);
        // Somebody is there whom the system trusts, and nobody who is needed.
        command.env("SSL_CERT_FILE", config.with_file_name("ca.pem"));
        command
    };
    let caller =
        Proxy::start_by(&lab, "caller", &format!("outbound:\n{}", listeners.concat()), program);
    for ((address, tls, expected), listener) in cases.iter().zip(&caller.addresses) {
        let said = curl(*listener, &["-i"]);
        match expected {
            None => {
                assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("TLSv1.3"), "{said}")
            }
            // That nobody listens is no matter of TLS.
            Some("") => {
                assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("connect-failed"))
            }
            Some(expected) => {
                assert!(said.starts_with("HTTP/1.1 502 "), "{tls}: {said}");
                assert!(said.contains("\r\nWeft-Reason: tls-origination-failed\r\n"), "{said}");
                assert!(said.contains(&format!("no TLS to {address} as ")), "{said}");
                assert!(said.contains(expected), "{said}, not {expected}");
            }
        }
    }
    let log = caller.log();
    assert!(log.contains("reason=tls-origination-failed"), "{log}");
    // Where the system trusts nobody, whom it trusts counts for nothing.
    program = |config| {
        let mut command = command(config);
        command.env("SSL_CERT_FILE", config.with_file_name("none.pem"));
        command
    };
    let system = [listener("http", "{ hostname: api.example.com }", &[good])];
    let without =
        Proxy::start_by(&lab, "without", &format!("outbound:\n{}", system.concat()), program);
    let said = curl(without.addresses[0], &["-i"]);
    assert!(said.starts_with("HTTP/1.1 502 "), "{said}");
    assert!(said.contains("none here: there is no ") && said.contains("SSL_CERT_FILE"), "{said}");
    // It is read once there is something.
    std::fs::copy(lab.directory.join("ca.pem"), lab.directory.join("none.pem")).unwrap();
    assert!(curl(without.addresses[0], &[]).contains("TLSv1.3"));
}

#[test]
fn http2_is_spoken_with_those_who_agree_alone() {
    let lab = Lab::new();
    let shown = Authority::new(&lab.directory, "ca").certificate(&["api.example.com"]);
    let (_nginx, addresses) = nginx(&lab, "nginx", &[by_tls("", &shown), by_tls("http2", &shown)]);
    let listeners = [
        listener("detect", SETTINGS, &addresses[..1]),
        // Another one that agrees is asked in its place.
        listener("detect", SETTINGS, &addresses),
    ];
    let caller = proxy(&lab, "caller", &listeners);
    let http2 = "--http2-prior-knowledge";
    let said = curl(caller.addresses[0], &["-i", http2]);
    assert!(said.starts_with("HTTP/2 502") && said.contains("does not agree to HTTP/2"), "{said}");
    assert!(curl(caller.addresses[0], &[]).starts_with("HTTP/1.1 https"));
    for _ in 0..20 {
        assert!(curl(caller.addresses[1], &[http2]).starts_with("HTTP/2.0 https"));
    }
}

#[test]
fn another_endpoint_is_asked_where_one_proves_nothing() {
    let lab = Lab::new();
    let authority = Authority::new(&lab.directory, "ca");
    let shown = authority.certificate(&["api.example.com"]);
    let other = authority.certificate(&["other.example.com"]);
    let (_nginx, addresses) = nginx(&lab, "nginx", &[by_tls("", &shown), by_tls("", &other)]);
    let caller = proxy(&lab, "caller", &[listener("http", SETTINGS, &addresses)]);
    // Requests that must not be sent twice, too: nobody has seen them.
    for _ in 0..20 {
        let said = curl(caller.addresses[0], &["-d", "once", "-H", "Connection: close"]);
        assert!(said.starts_with("HTTP/1.1 https"), "{said}");
    }
    wait_until("the other one is ejected", || {
        let metrics = caller.shown("/metrics");
        curl(caller.addresses[0], &[]);
        metrics
            .lines()
            .any(|line| line.starts_with("weft_endpoints_ejected") && line.ends_with(" 1"))
    });
}

#[test]
fn redis_and_its_client_know_nothing_of_each_others_tls() {
    let lab = Lab::new();
    let shown = Authority::new(&lab.directory, "ca").certificate(&["api.example.com"]);
    let (address, _redis) = loop {
        let address = free_address();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--tls-port", &address.port().to_string()]);
        command.args(["--tls-cert-file", &shown.certificate, "--tls-key-file", &shown.key]);
        command.args(["--tls-auth-clients", "no", "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(&lab.directory);
        let process = Process::start(&lab.directory, "redis", &mut command);
        if listens(&process, "Ready to accept connections") {
            break (address, process);
        }
    };
    let wrong = SETTINGS.replace("api.", "other.");
    let listeners = [listener("tcp", SETTINGS, &[address]), listener("tcp", &wrong, &[address])];
    let caller = proxy(&lab, "caller", &listeners);
    assert!(redis::answers(caller.addresses[0]));
    let large = "x".repeat(100_000);
    let mut set = redis::client(caller.addresses[0]);
    assert_eq!(succeeded(output(set.args(["set", "key", &large]))), "OK\n");
    let mut get = redis::client(caller.addresses[0]);
    assert_eq!(succeeded(output(get.args(["get", "key"]))), format!("{large}\n"));
    assert!(!redis::answers(caller.addresses[1]));
    caller.wait_for_log(0, "and must be for other.example.com");
}

#[test]
fn grpcio_finds_nothing_changed_by_tls() {
    let lab = Lab::new();
    let shown = Authority::new(&lab.directory, "ca").certificate(&["api.example.com"]);
    let python = grpcio::environment().join("bin/python");
    let server = Server::secured(&lab, &python, &shown);
    let address = server.address();
    let wrong = SETTINGS.replace("api.", "other.");
    let listeners =
        [listener("detect", SETTINGS, &[address]), listener("detect", &wrong, &[address])];
    let caller = proxy(&lab, "caller", &listeners);
    let script = lab.file("client.py", include_str!("python/client.py"));
    let client =
        |address: SocketAddr| output(Command::new(&python).arg(&script).arg(address.to_string()));
    let said = succeeded(client(caller.addresses[0]));
    assert!(said.ends_with("done\n"), "{said}");
    let refused = client(caller.addresses[1]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("StatusCode.UNAVAILABLE"), "{said}");
    caller.wait_for_log(0, "no TLS to");
}

#[test]
fn a_server_may_ask_who_the_workload_is() {
    let lab = Lab::new();
    let shown = Authority::new(&lab.directory, "ca").certificate(&["api.example.com"]);
    let roots = lab.directory.join("mesh.pem");
    std::fs::copy(lab.directory.join("control/root-1.pem"), &roots).unwrap();
    let (address, _server) = loop {
        let address = free_address();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-www", "-accept", &address.to_string()]);
        command.args(["-cert", &shown.certificate, "-key", &shown.key]);
        command.args(["-Verify", "4", "-verify_return_error", "-CAfile"]).arg(&roots);
        let process = Process::start(&lab.directory, "openssl", &mut command);
        if listens(&process, "ACCEPT") {
            break (address, process);
        }
    };
    let token = lab.token("web", "shop/web", &[]);
    let named = SETTINGS.replace(" }", ", clientCertificate: Workload }");
    let listeners = listener("http", &named, &[address]) + &listener("http", SETTINGS, &[address]);
    let identity =
        format!("identity: {{ joinToken: {}, serviceAccount: shop/web }}", token.display());
    let caller = Proxy::start(&lab, "caller", &format!("{identity}\noutbound:\n{listeners}"));
    let said = curl(caller.addresses[0], &[]);
    assert!(said.contains("URI:spiffe://weft.local/ns/shop/sa/web"), "{said}");
    let said = curl(caller.addresses[1], &["-i"]);
    assert!(said.starts_with("HTTP/1.1 502 "), "{said}");
    assert!(said.contains("it wants a certificate (CertificateRequired)"), "{said}");
}
