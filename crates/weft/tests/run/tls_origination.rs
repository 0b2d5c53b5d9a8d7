//! TLS that proxies open to destinations outside, for programs that speak in plaintext.

use std::fs;
use std::process::Command;

use crate::authority::{Authority, Certificate, uri};
use crate::egress::{OTHER, Outside, external, mesh};
use crate::lab::{Lab, OUTSIDE, Running, lines, must, output};
use crate::nginx;

/// What every server of nginx here answers: what it sees of the request, and of TLS.
const SEEN: &str = "$server_addr $scheme $http_host $ssl_server_name";

/// What no server may see that does not prove who it is.
const CONFIDENTIAL: &str = "told-in-confidence";

/// Passes bytes on from argv[1], port argv[2], to the port argv[3] there, and writes those of the
/// clients to the file argv[4].
const WIRETAP: &str = r#"
import socket, sys, threading
address, port, target, record = sys.argv[1:]
record = open(record, "ab", buffering=0)
def carry(source, sink, is_client):
    try:
        while data := source.recv(65536):
            if is_client: record.write(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError: pass
listener = socket.create_server((address, int(port)))
print("tapped", flush=True)
while True:
    client, _ = listener.accept()
    server = socket.create_connection((address, int(target)))
    for ends in [(client, server, True), (server, client, False)]:
        threading.Thread(target=carry, args=ends, daemon=True).start()
"#;

/// nginx outside, with a server at each port of `servers`, at both addresses there: for which host,
/// and what it shows.
fn nginx(lab: &Lab, outside: &Outside, servers: &[(&str, &str, &Certificate)]) -> Running {
    let directory = lab.directory.join("nginx");
    fs::create_dir(&directory).unwrap();
    let server = |(port, name, shown): &(&str, &str, &Certificate)| {
        let Certificate { certificate, key } = shown;
        format!(
            "server {{ listen {OUTSIDE}:{port} ssl; listen {OTHER}:{port} ssl; server_name {name};
               ssl_certificate {certificate}; ssl_certificate_key {key};
               location / {{ return 200 '{SEEN}\\n'; }} }}\n"
        )
    };
    let servers: String = servers.iter().map(server).collect();
    let path = lab.file("nginx.conf", nginx::config(&directory, &servers));
    let mut command = outside.host.command("nginx");
    command.args(["-e", "stderr", "-c"]).arg(path);
    let nginx = lab.start("nginx", command);
    nginx.wait_for("getrlimit(RLIMIT_NOFILE)");
    nginx
}

/// An ExternalService that is `what`, with TLS on `port`, where the authority in AUTHORITY.pem
/// vouches and the rest of it is `tls`.
fn by_tls(lab: &Lab, (name, what): (&str, &str), port: &str, tls: &str, authority: &str) -> String {
    let pem = fs::read_to_string(lab.directory.join(format!("{authority}.pem"))).unwrap();
    let pem: String = pem.lines().map(|line| format!("\n        {line}")).collect();
    format!(
        "apiVersion: weft.dev/v1alpha1\nkind: ExternalService\n\
         metadata: {{ name: {name}, namespace: shop }}\nspec:\n  {what}\n  ports:\n  \
         - port: {port}\n    tls:\n      {tls}\n      caCertificates: |{pem}\n---\n"
    )
}

/// A ConfigMap of the namespace shop with the authority in AUTHORITY.pem.
fn config_map(lab: &Lab, authority: &str) -> String {
    let pem = fs::read_to_string(lab.directory.join(format!("{authority}.pem"))).unwrap();
    let pem: String = pem.lines().map(|line| format!("\n    {line}")).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {authority}, namespace: shop }}\n\
         data:\n  ca.crt: |{pem}\n---\n"
    )
}

/// A BackendTLSPolicy of the namespace shop, for what is called the same.
fn policy(name: &str, validation: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\n\
         metadata: {{ name: {name}, namespace: shop }}\nspec:\n  \
         targetRefs: [{{ group: weft.dev, kind: ExternalService, name: {name} }}]\n  \
         validation: {{ {validation} }}\n---\n"
    )
}

/// What is said, and logged, by the shell `script` in the mesh.
fn shell(command: &mut Command, script: &str) -> (String, String) {
    let output = output(command.args(["sh", "-c", script]));
    let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (of(&output.stdout), of(&output.stderr))
}

#[test]
fn curl_in_plaintext_reaches_hosts_outside_by_tls() {
    let lab = Lab::new();
    let outside = Outside::new(&lab);
    let authority = Authority::new(&lab.directory, "ca");
    let shown = authority.certificate(&["api.outside.example", "*.wild.outside.example"]);
    let one = authority.certificate(&["one.example.com"]);
    let two = authority.certificate(&["two.example.com"]);
    let _nginx = nginx(
        &lab,
        &outside,
        &[
            ("443", "api.outside.example", &shown),
            ("444", "one.example.com", &one),
            ("444", "two.example.com", &two),
        ],
    );
    outside.names(&format!("api.outside.example 1 {OUTSIDE}\na.wild.outside.example 1 {OTHER}\n"));
    let api = ("api", "hosts: [api.outside.example, '*.wild.outside.example']");
    let many = format!(
        "hosts: [one.example.com, two.example.com]\n  endpoints: [{{ address: {OUTSIDE} }}]"
    );
    let block = format!("cidrs: [{OTHER}/32]");
    let by_system = "hosts: [api.outside.example], ports: [{ port: 8443, appProtocol: http, \
                     tls: { wellKnownCACertificates: System } }], \
                     endpoints: [{ address: 10.77.0.3, port: 443 }]";
    let cart = "apiVersion: v1\nkind: Service\nmetadata: { name: cart, namespace: shop }\n\
                spec: { selector: { app: cart }, ports: [{ port: 80 }] }\n---\n\
                apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
                metadata: { name: cart, namespace: shop }\nspec:\n  \
                parentRefs: [{ group: '', kind: Service, name: cart }]\n  rules:\n  - backendRefs: \
                [{ group: weft.dev, kind: ExternalService, name: system, namespace: weft-system, \
                port: 8443 }]\n";
    lab.apply(
        &(mesh("registered")
            + &by_tls(&lab, api, "443", "", "ca")
            + &by_tls(&lab, ("many", &many), "444", "", "ca")
            + &by_tls(&lab, ("block", &block), "444", "hostname: two.example.com", "ca")
            + &external("weft-system", "system", by_system)
            + cart),
    );
    let mut web = lab.client("web");
    // Whom the system trusts.
    web.env("SSL_CERT_FILE", lab.directory.join("ca.pem"));
    let script = format!(
        "curl='curl -sS -m 20'; $curl http://api.outside.example:443/; \
         $curl http://a.wild.outside.example:443/; $curl http://{OTHER}:444/; $curl http://cart/; \
         for host in one two one two; do $curl http://$host.example.com:444/; done; \
         $curl -k https://one.example.com:444/; $curl http://a_b.wild.outside.example:443/"
    );
    let (said, log) = shell(&mut web, &script);
    let expected = [
        format!("{OUTSIDE} https api.outside.example:443 api.outside.example"),
        format!("{OTHER} https a.wild.outside.example:443 a.wild.outside.example"),
        format!("{OTHER} https {OTHER}:444 two.example.com"),
        // Rules lead there, too, and the host stays the one that was called.
        format!("{OTHER} https cart api.outside.example"),
        // Those who share endpoints share no session.
        format!("{OUTSIDE} https one.example.com:444 one.example.com"),
        format!("{OUTSIDE} https two.example.com:444 two.example.com"),
        format!("{OUTSIDE} https one.example.com:444 one.example.com"),
        format!("{OUTSIDE} https two.example.com:444 two.example.com"),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{log}");
    assert_eq!(lines(&log, &["reason=tls-in-tls", "one.example.com"]).len(), 1, "{log}");
    // No certificate has a name like that.
    let nameless =
        ["reason=tls-origination-failed", "as a_b.wild.outside.example: that is no name"];
    assert_eq!(lines(&log, &nameless).len(), 1, "{log}");
}

#[test]
fn what_does_not_prove_its_name_is_told_nothing() {
    let lab = Lab::new();
    let mut outside = Outside::new(&lab);
    let authority = Authority::new(&lab.directory, "ca");
    let stranger = Authority::new(&lab.directory, "stranger");
    let good = authority.certificate(&["api.outside.example"]);
    let other = authority.certificate(&["other.outside.example"]);
    let expired = authority.changed(&["expired", "api.outside.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    let strange = stranger.certificate(&["strange", "api.outside.example"]);
    let system = "its certificate was issued by nobody whom the system's roots vouch for";
    let given = "its certificate was issued by nobody whom the roots given for it vouch for";
    // What is shown at each port, and why that is refused.
    let cases = [
        (Some(&good), None),
        (Some(&other), Some("must be for api.outside.example")),
        (Some(&expired), Some("has expired: it ended 2020-02-01T00:00:00")),
        (Some(&strange), Some(given)),
        (None, Some("what it answers is no TLS")),
        (Some(&good), Some(system)),
    ];
    let script = lab.file("wiretap.py", WIRETAP);
    let mut servers = Vec::new();
    for (index, (shown, _)) in cases.iter().enumerate() {
        let (port, behind) = (format!("{}", 4430 + index), format!("{}", 5430 + index));
        match shown {
            None => outside.serve(&lab, OUTSIDE, &behind, None),
            Some(Certificate { certificate, key }) => {
                let mut command = outside.host.command("openssl");
                command.args(["s_server", "-www", "-accept", &format!("{OUTSIDE}:{behind}")]);
                command.args(["-cert", certificate, "-key", key]);
                let server = lab.start(&format!("openssl-{index}"), command);
                server.wait_for("ACCEPT");
                servers.push(server);
            }
        }
        let mut command = outside.host.command("python3");
        let record = lab.file(&format!("tapped-{index}"), "");
        command.arg(&script).args([OUTSIDE, &port, &behind]).arg(record);
        let tap = lab.start(&format!("tap-{index}"), command);
        tap.wait_for("tapped");
        servers.push(tap);
    }
    outside.names(&format!("api.outside.example 1 {OUTSIDE}\n"));
    let services: String = (0..5)
        .map(|index| {
            let what = format!(
                "hosts: [api{index}.outside.example]\n  \
                                endpoints: [{{ address: {OUTSIDE} }}]"
            );
            let service = (&*format!("api{index}"), &*what);
            by_tls(
                &lab,
                service,
                &format!("{}", 4430 + index),
                "hostname: api.outside.example",
                "ca",
            )
        })
        .collect();
    let by_system = "hosts: [api.outside.example], ports: [{ port: 4435, \
                     tls: { wellKnownCACertificates: System } }]";
    lab.apply(&(mesh("any") + &services + &external("shop", "api5", by_system)));
    let mut web = lab.client("web");
    // The system trusts somebody, and nobody who is needed.
    web.env("SSL_CERT_FILE", lab.directory.join("stranger.pem"));
    let curl = format!("curl -isS -m 20 -H 'X: {CONFIDENTIAL}'");
    let script = format!(
        "for index in 0 1 2 3 4; do {curl} http://api$index.outside.example:443$index/; \
         echo; echo end; done; {curl} http://api.outside.example:4435/; echo; echo end"
    );
    let (said, log) = shell(&mut web, &script);
    let said: Vec<_> = said.split("\nend\n").collect();
    assert_eq!(said.len(), cases.len() + 1, "{said:#?}\n{log}");
    for (index, ((_, refused), said)) in cases.iter().zip(said).enumerate() {
        match refused {
            None => assert!(said.starts_with("HTTP/1.1 200 "), "{said}\n{log}"),
            Some(why) => {
                assert!(said.starts_with("HTTP/1.1 502 ") && said.contains(why), "{said}\n{log}");
                assert!(said.contains("\r\nWeft-Reason: tls-origination-failed\r\n"), "{said}");
            }
        }
        let tapped = fs::read(lab.directory.join(format!("tapped-{index}"))).unwrap();
        assert!(tapped.starts_with(&[22, 3]), "{index}: a handshake begins it: {tapped:?}");
        let tapped = String::from_utf8_lossy(&tapped);
        assert!(!tapped.contains(CONFIDENTIAL) && !tapped.contains("GET"), "{index}: {tapped}");
    }
}

#[test]
fn roots_that_cannot_be_read_are_refused_before_anybody_goes_by_them() {
    let lab = Lab::new();
    lab.file("none.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let service = by_tls(&lab, ("api", "hosts: [api.outside.example]"), "443", "", "none");
    let path = lab.file("none.yaml", service);
    for command in ["check", "apply"] {
        let output = output(lab.user("./weft").args([command, "-f"]).arg(&path));
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("caCertificates: certificate 1 cannot be read"), "{said}");
        assert!(said.contains("none.yaml:11"), "{said}");
    }
}

#[test]
fn backend_tls_policies_are_followed_and_closed_where_nobody_can_vouch() {
    let lab = Lab::new();
    let mut outside = Outside::new(&lab);
    let authority = Authority::new(&lab.directory, "ca");
    Authority::new(&lab.directory, "stranger");
    let shown = authority.changed(&["api.outside.example"], |params| {
        params.subject_alt_names.push(uri("spiffe://outside.example/api"));
    });
    let _nginx = nginx(&lab, &outside, &[("443", "api.outside.example", &shown)]);
    // In plaintext it would answer.
    outside.serve(&lab, OUTSIDE, "8080", None);
    outside.names(&format!("api.outside.example 9 {OUTSIDE}\n"));
    let by_config_map =
        |name: &str| format!("caCertificateRefs: [{{ group: '', kind: ConfigMap, name: {name} }}]");
    let ca = by_config_map("ca");
    let api = "hostname: api.outside.example";
    let names = |name: &str| format!("subjectAltNames: [{{ type: URI, uri: '{name}' }}]");
    // What the policy of each service says, and what a part of the answer is.
    let cases = [
        (format!("{api}, {ca}"), "200 https"),
        (format!("hostname: other.outside.example, {ca}"), "502 its certificate is for api."),
        (format!("{api}, {}, {ca}", names("spiffe://outside.example/api")), "200 https"),
        (format!("{api}, {}, {ca}", names("urn:other")), "502 its certificate is for api."),
        (format!("{api}, {}", by_config_map("stranger")), "502 the roots given for it vouch"),
        (format!("{api}, {}", by_config_map("absent")), "502 ConfigMap shop/absent is not there"),
        (format!("{api}, wellKnownCACertificates: System"), "200 https"),
    ];
    let service = |index: usize| {
        let spec = format!(
            "hosts: [api{index}.outside.example], ports: [{{ port: 443 }}], \
             endpoints: [{{ address: {OUTSIDE} }}]"
        );
        external("shop", &format!("api{index}"), &spec)
    };
    let services: String = (0..cases.len()).map(service).collect();
    let of_case = |(index, (validation, _)): (usize, &(String, &str))| {
        policy(&format!("api{index}"), validation)
    };
    let policies: String = cases.iter().enumerate().map(of_case).collect();
    let plain = "hosts: [plain.outside.example], ports: [{ port: 8080 }], \
                 endpoints: [{ address: 10.77.0.2 }]";
    lab.apply(
        &(mesh("any")
            + &config_map(&lab, "ca")
            + &config_map(&lab, "stranger")
            + &services
            + &policies
            + &external("shop", "plain", plain)
            + &policy("plain", &format!("{api}, {}", by_config_map("absent")))),
    );
    let mut web = lab.client("web");
    web.env("SSL_CERT_FILE", lab.directory.join("ca.pem"));
    let curl = "curl -sS -m 20 -w ' %{http_code}\\n'";
    let hosts: String = (0..cases.len()).map(|index| format!("api{index} ")).collect();
    let script = format!(
        "for host in {hosts}; do {curl} http://$host.outside.example:443/ | tr '\\n' ' '; echo; \
         done; {curl} http://plain.outside.example:8080/ | tr '\\n' ' '"
    );
    let (said, log) = shell(&mut web, &script);
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said.len(), cases.len() + 1, "{said:#?}\n{log}");
    for ((validation, expected), said) in cases.iter().zip(&said) {
        let (status, part) = expected.split_once(' ').unwrap();
        assert!(said.contains(part) && said.contains(status), "{validation}: {said}\n{log}");
    }
    let said = said.last().unwrap();
    assert!(said.contains("502") && said.contains("absent is not there"), "{said}");
    assert!(lines(&log, &["plain.outside.example", "tls-origination-failed"]).len() == 1, "{log}");
    let found = must(lab.user("./weft").args(["get", "backendtlspolicies"]));
    assert!(found.contains("NoValidCACertificate"), "{found}");

    // Once it is there, it is gone by.
    lab.apply(&config_map(&lab, "ca").replace("name: ca,", "name: absent,"));
    let script = format!("{curl} http://api5.outside.example:443/");
    let (said, log) = shell(&mut lab.client("web"), &script);
    assert!(said.contains("https api5.outside.example:443 api.outside.example"), "{said}\n{log}");
}
