//! Rules for calls of hosts outside of the mesh: to the inside, and back out again.

use std::fs;

use crate::authority::Authority;
use crate::egress::{OTHER, Outside, external, mesh};
use crate::lab::{Lab, OUTSIDE, Running, lines, must, output, wait_until};
use crate::nginx;

/// A route of `kind` called `name`, for what `parents` are, with `rules`.
fn route(kind: &str, name: &str, parents: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\n\
         metadata: {{ name: {name}, namespace: shop }}\nspec:\n  parentRefs: [{parents}]\n  {rules}\
         \n---\n"
    )
}

/// The ExternalService `name`, as a reference.
fn outside(name: &str, part: &str) -> String {
    format!("{{ group: weft.dev, kind: ExternalService, name: {name}{part} }}")
}

/// nginx in the mesh, as `service`, whose servers are `servers`.
fn inside(lab: &Lab, service: &str, port: &str, servers: &str) -> Running {
    let directory = lab.directory.join(format!("{service}-nginx"));
    must(lab.user("mkdir").arg(&directory));
    let config = nginx::config(&directory, servers).replace("user root;", "");
    let path = lab.file(&format!("{service}.conf"), config);
    let mut command = lab.server(service, port);
    command.args(["nginx", "-e", "stderr", "-c"]).arg(path);
    let server = lab.start(service, command);
    server.wait_for("getrlimit(RLIMIT_NOFILE)");
    server
}

/// What is said, and logged, by the shell `script` in the mesh.
fn shell(lab: &Lab, script: &str) -> (String, String) {
    let output = output(lab.client("web").args(["sh", "-c", script]));
    let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (of(&output.stdout), of(&output.stderr))
}

const HTTP: &str = "hosts: [api.outside.example, '*.eu.outside.example'], cidrs: [10.77.0.3/32], \
                    ports: [{ name: web, port: 80, appProtocol: http }, { port: 8080 }]";

#[test]
fn a_canary_moves_calls_of_hosts_outside_into_the_mesh_and_back() {
    let mut lab = Lab::new();
    let mut there = Outside::new(&lab);
    for (address, port) in [(OUTSIDE, "80"), (OUTSIDE, "8080"), (OTHER, "80")] {
        there.serve(&lab, address, port, None);
    }
    there.names(&format!("api.outside.example 1 {OUTSIDE}\na.eu.outside.example 1 {OTHER}\n"));
    let answers =
        "server { listen 8080; location / { return 200 'inside as $http_host $uri\\n'; } }";
    let inside = inside(&lab, "canary", "80:8080/http", answers);
    let itself = outside("api", ", port: 80");
    let rule = |path: &str, more: &str, backends: &str| {
        format!(
            "  - {{ matches: [{{ path: {{ value: {path} }} }}], {more} backendRefs: [{backends}] \
             }}\n"
        )
    };
    let routes = |share: u32| {
        let canary = "{ name: canary, port: 80";
        let rewrite = "filters: [{ type: URLRewrite, urlRewrite: { hostname: new.example, \
                       path: { type: ReplacePrefixMatch, replacePrefixMatch: /v2 } } }],";
        let copy = "filters: [{ type: RequestMirror, requestMirror: { backendRef: \
                    { name: canary, port: 80 } } }],";
        let rules = String::from("rules:\n")
            + &rule("/out", "", &itself)
            + &rule("/in", rewrite, &format!("{canary} }}"))
            + &rule("/copied", copy, &itself)
            + &rule(
                "/moved",
                "",
                &format!(
                    "{canary}, weight: {share} }}, {}",
                    outside("api", &format!(", port: 80, weight: {}", 100 - share))
                ),
            );
        route("HTTPRoute", "canary", &outside("api", ", sectionName: web"), &rules)
    };
    let services = external("shop", "api", HTTP);
    lab.apply(&(mesh("registered") + &services + &routes(0)));

    let curl = "curl -sS -m 20";
    let (api, wild) = ("http://api.outside.example", "http://a.eu.outside.example");
    let calls = format!(
        "for url in {api} {wild} http://{OTHER}; do {curl} $url/out; {curl} $url/in/a; done; \
         {curl} {api}/copied; {curl} {api}:8080/moved; \
         {curl} -o /dev/null -w '%{{http_code}} %header{{weft-reason}}\\n' {api}/other"
    );
    let expected = format!(
        "{OUTSIDE} as api.outside.example\ninside as new.example /v2/a\n\
         {OTHER} as a.eu.outside.example\ninside as new.example /v2/a\n\
         {OTHER} as {OTHER}\ninside as new.example /v2/a\n\
         {OUTSIDE} as api.outside.example\n{OUTSIDE} as api.outside.example:8080\n404 no-route\n"
    );
    let (said, log) = shell(&lab, &calls);
    assert_eq!(said, expected, "{log}");
    let by_rule = |rule: &str, backend: &str| {
        let parts = ["route=http/shop/canary", rule, backend];
        assert_eq!(lines(&log, &parts).len(), 3, "{parts:?}:\n{log}");
    };
    by_rule("rule=0", "backend=shop/api ");
    by_rule("rule=1", "backend=shop/canary ");
    assert_eq!(lines(&log, &["rule=2"]).len(), 1, "{log}");
    wait_until("the copy has come", || inside.log().contains("path=/copied"));

    // While it calls, all of it moves, and half of it back.
    let mut command = lab.client("web");
    command.args(["sh", "-c", "while read line; do sh -c \"$line\" 2>&1; echo end; done"]);
    let mut typed = lab.start_typed("typed", command);
    let mut count = |calls: usize| {
        let before = typed.output().len();
        let line = format!("for i in $(seq {calls}); do {curl} {api}/moved; done\n");
        typed.type_in(line.as_bytes());
        wait_until(&line, || typed.output()[before..].ends_with("end\n"));
        let said = typed.output()[before..].to_owned();
        let (inside, outside) =
            (lines(&said, &["inside as"]).len(), lines(&said, &[OUTSIDE, " as "]).len());
        assert_eq!(inside + outside, calls, "{said}");
        inside
    };
    assert_eq!(count(5), 0);
    lab.apply(&routes(100));
    wait_until("all of it is inside", || count(5) == 5);
    lab.apply(&routes(50));
    wait_until("some of it is outside", || (1..39).contains(&count(40)));
    lab.apply(&routes(0));
    wait_until("all of it is outside again", || count(5) == 0);
    // Without the route all goes the plain way.
    must(lab.user("./weft").args(["delete", "httproute", "canary", "-n", "shop"]));
    let other = format!("{curl} {api}/other");
    wait_until("it is plain", || {
        shell(&lab, &other).0 == format!("{OUTSIDE} as api.outside.example\n")
    });

    // What a proxy has kept of the rules holds when it starts while the control plane is away.
    lab.apply(&routes(0));
    let words = lab.arguments("kept", &[]);
    let kept = |lab: &Lab| {
        let mut command = lab.user(&words[0]);
        must(command.args(&words[1..]).args(["sh", "-c", &calls]))
    };
    assert_eq!(kept(&lab), expected);
    lab.stop_control();
    assert_eq!(kept(&lab), expected);
    lab.start_control();
}

#[test]
fn a_listener_of_weft_proxy_for_a_host_follows_the_rules_too() {
    let lab = Lab::new();
    let mut there = Outside::new(&lab);
    there.serve(&lab, OUTSIDE, "80", None);
    there.names(&format!("api.outside.example 1 {OUTSIDE}\n"));
    let answers = "server { listen 8080; location / { return 200 'inside as $http_host\\n'; } }";
    let _inside = inside(&lab, "canary", "80:8080/http", answers);
    let itself = outside("api", ", port: 80");
    let rules = format!(
        "rules:\n  - {{ matches: [{{ headers: [{{ name: x-canary, value: '1' }}] }}], \
         backendRefs: [{{ name: canary, port: 80 }}] }}\n  - {{ matches: [{{ path: {{ value: /a }} \
         }}], backendRefs: [{itself}] }}"
    );
    lab.apply(
        &(mesh("registered")
            + &external("shop", "api", HTTP)
            + &route("HTTPRoute", "canary", &outside("api", ""), &rules)),
    );
    let token = must(lab.user("./weft").args(["token", "--service-account", "shop/web"]));
    lab.file("proxy.token", token);
    lab.file(
        "proxy.yaml",
        "identity: { joinToken: proxy.token, serviceAccount: shop/web }\ndata: proxy.data\noutbound:\n\
         - { listen: '127.0.0.1:9001', host: api.outside.example, port: 80 }\n",
    );
    let mut command = lab.user("./weft");
    command.args(["proxy", "--access-log", "all", "--config", "proxy.yaml"]);
    let proxy = lab.start("proxy", command);
    let curl = |arguments: &[&str]| {
        let mut curl = lab.user("curl");
        curl.args(["-sS", "-m", "20", "-H", "Host: api.outside.example"]).args(arguments);
        let output = output(&mut curl);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let at = "http://127.0.0.1:9001";
    wait_until("it is ready", || !curl(&[&format!("{at}/a")]).is_empty());
    assert_eq!(curl(&[&format!("{at}/a")]), format!("{OUTSIDE} as api.outside.example\n"));
    let header = ["-H", "X-Canary: 1"];
    assert_eq!(curl(&[header[0], header[1], at]), "inside as api.outside.example\n");
    let said = curl(&[at]);
    assert!(said.contains("no-route") && said.contains("shop/api"), "{said}\n{}", proxy.log());
}

#[test]
fn calls_of_grpc_and_by_tls_of_the_proxys_go_by_rules() {
    let lab = Lab::new();
    let there = Outside::new(&lab);
    let authority = Authority::new(&lab.directory, "ca");
    let shown = authority.certificate(&["api.outside.example"]);
    let directory = lab.directory.join("nginx");
    fs::create_dir(&directory).unwrap();
    // An answer of gRPC without a message.
    let call = |who: &str| {
        format!(
            "add_header grpc-status 0; add_header who '{who} by $scheme'; \
             default_type application/grpc; return 200 '';"
        )
    };
    let servers = format!(
        "server {{ listen {OUTSIDE}:443 ssl http2; ssl_certificate {}; ssl_certificate_key {};
           location / {{ {} }} }}\n",
        shown.certificate,
        shown.key,
        call("outside")
    );
    let path = lab.file("nginx.conf", nginx::config(&directory, &servers));
    let mut command = there.host.command("nginx");
    command.args(["-e", "stderr", "-c"]).arg(path);
    let nginx = lab.start("nginx", command);
    nginx.wait_for("getrlimit(RLIMIT_NOFILE)");
    there.names(&format!("api.outside.example 1 {OUTSIDE}\n"));
    let answers = format!("server {{ listen 8080 http2; location / {{ {} }} }}", call("inside"));
    let _inside = inside(&lab, "canary", "80:8080/grpc", &answers);
    let pem = fs::read_to_string(lab.directory.join("ca.pem")).unwrap();
    let pem: String = pem.lines().map(|line| format!("\n        {line}")).collect();
    let api = format!(
        "apiVersion: weft.dev/v1alpha1\nkind: ExternalService\n\
         metadata: {{ name: api, namespace: shop }}\nspec:\n  hosts: [api.outside.example]\n  \
         ports:\n  - port: 443\n    appProtocol: grpc\n    tls:\n      caCertificates: |{pem}\n---\n"
    );
    let itself = outside("api", ", port: 443");
    let rules = format!(
        "rules:\n  - {{ matches: [{{ method: {{ service: pay.Charges, method: New }} }}], \
         backendRefs: [{{ name: canary, port: 80 }}] }}\n  - {{ matches: [{{ method: {{ service: \
         pay.Charges }} }}], backendRefs: [{itself}] }}"
    );
    lab.apply(
        &(mesh("registered")
            + &api
            + &route("GRPCRoute", "calls", &outside("api", ", port: 443"), &rules)),
    );
    let script = "call() { printf '\\0\\0\\0\\0\\0' | curl -sS -m 20 --http2-prior-knowledge \
                  -H 'content-type: application/grpc' -H 'te: trailers' --data-binary @- \
                  -o /dev/null -w '%header{who} %header{grpc-status}\\n' \
                  http://api.outside.example:443$1; }; call /pay.Charges/New; \
                  call /pay.Charges/List; call /pay.Refunds/New";
    let (said, log) = shell(&lab, script);
    assert_eq!(said, "inside by http 0\noutside by https 0\n 12\n", "{log}");
    assert_eq!(lines(&log, &["route=grpc/shop/calls", "backend=shop/canary"]).len(), 1, "{log}");
    assert_eq!(lines(&log, &["route=grpc/shop/calls", "backend=shop/api"]).len(), 1, "{log}");
    assert_eq!(lines(&log, &["reason=no-route"]).len(), 1, "{log}");
}

#[test]
fn connections_go_by_the_name_of_their_server_and_by_port() {
    let lab = Lab::new();
    let mut there = Outside::new(&lab);
    let authority = Authority::new(&lab.directory, "ca");
    let names = ["api.outside.example", "new.outside.example"];
    let shown = authority.certificate(&names);
    let pem = [&shown.certificate, &shown.key].map(|path| fs::read_to_string(path).unwrap());
    let pem = lab.file("server.pem", pem.concat()).file_name().unwrap().to_owned();
    there.serve(&lab, OUTSIDE, "443", pem.to_str());
    there.serve(&lab, OUTSIDE, "8443", pem.to_str());
    there.serve(&lab, OUTSIDE, "9000", None);
    let name = |name: &&str| format!("{name} 1 {OUTSIDE}\n");
    there.names(&names.iter().map(name).collect::<String>());
    let answers = "server { listen 8443 ssl; ssl_certificate server.pem; \
                   ssl_certificate_key server.pem; \
                   location / { return 200 'inside by $scheme\\n'; } }";
    let answers =
        answers.replace("server.pem", &lab.directory.join("server.pem").to_string_lossy());
    let _inside = inside(&lab, "canary", "443:8443/tls", &answers);
    let api = "hosts: [api.outside.example, new.outside.example], ports: [{ name: declared, \
               port: 443, appProtocol: https }, { name: any, port: 8443 }, { name: bytes, \
               port: 9000, appProtocol: tcp }]";
    let back = |port: u16| {
        let itself = outside("api", &format!(", port: {port}"));
        format!("hostnames: [api.outside.example]\n  rules: [{{ backendRefs: [{itself}] }}]")
    };
    let new = "hostnames: [new.outside.example]\n  rules: [{ backendRefs: [{ name: canary, \
               port: 443 }] }]";
    let both = format!("{}, {}", outside("api", ", port: 443"), outside("api", ", port: 8443"));
    let bytes = "rules: [{ backendRefs: [{ name: canary, port: 443, weight: 0 }, \
                 { group: weft.dev, kind: ExternalService, name: api, port: 9000 }] }]";
    let resources = mesh("registered")
        + &external("shop", "api", api)
        + &route("TLSRoute", "new", &both, new)
        + &route("TLSRoute", "declared", &outside("api", ", sectionName: declared"), &back(443))
        + &route("TLSRoute", "any", &outside("api", ", sectionName: any"), &back(8443))
        + &route("TCPRoute", "bytes", &outside("api", ", sectionName: bytes"), bytes);
    lab.apply(&resources);
    let curl = "curl -sS -m 20 -k";
    let (said, log) = shell(
        &lab,
        &format!(
            "for at in api.outside.example:443 api.outside.example:8443 new.outside.example:443 \
             new.outside.example:8443; do {curl} https://$at/; done; \
             {curl} http://api.outside.example:9000/"
        ),
    );
    let expected = [
        format!("{OUTSIDE} as api.outside.example"),
        format!("{OUTSIDE} as api.outside.example:8443"),
        "inside by https".to_owned(),
        "inside by https".to_owned(),
        format!("{OUTSIDE} as api.outside.example:9000"),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{log}");
    assert_eq!(lines(&log, &["route=tcp/shop/bytes", "backend=shop/api"]).len(), 1, "{log}");
    assert_eq!(lines(&log, &["route=tls/shop/new", "backend=shop/canary"]).len(), 2, "{log}");
    // A name opens no other, also where only the route says that TLS is spoken.
    let connect = "--connect-to other.example:8443:api.outside.example:8443";
    let (said, log) = shell(&lab, &format!("{curl} {connect} https://other.example:8443/"));
    assert_eq!(said, "");
    assert_eq!(lines(&log, &["reason=wrong-server-name"]).len(), 1, "{log}");
}
