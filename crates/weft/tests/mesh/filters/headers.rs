//! Headers, hosts and paths that a route changes, for the rule and for the backend.

use crate::filters::{Shop, VERSIONS};
use crate::lab::wait_until;

const RULES: &str = "
  - matches: [{ path: { value: /api } }]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{ name: X-Set, value: rule }, { name: X-Both, value: rule }]
        add: [{ name: X-Added, value: rule }]
        remove: [X-Removed]
    - type: ResponseHeaderModifier
      responseHeaderModifier:
        set: [{ name: X-Set, value: rule }]
        add: [{ name: X-Added, value: rule }]
        remove: [X-Removed]
    - type: URLRewrite
      urlRewrite:
        hostname: api.example
        path: { type: ReplacePrefixMatch, replacePrefixMatch: /v2/ }
    backendRefs: [{ name: web-v1, port: 80 }]
  - matches: [{ path: { value: /backend } }]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: { set: [{ name: X-Both, value: rule }] }
    backendRefs:
    - { name: web-v1, port: 80, weight: 0 }
    - name: web-v2
      port: 80
      filters:
      - type: RequestHeaderModifier
        requestHeaderModifier: { add: [{ name: x-both, value: backend }] }
      - type: ResponseHeaderModifier
        responseHeaderModifier: { set: [{ name: X-Version, value: v2 }] }
      - type: URLRewrite
        urlRewrite: { hostname: v2.example, path: { type: ReplaceFullPath, replaceFullPath: /all } }
  - matches: [{ path: { value: /again } }]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: { add: [{ name: X-Added, value: rule }] }
    - type: ResponseHeaderModifier
      responseHeaderModifier: { add: [{ name: X-Added, value: rule }] }
    - type: URLRewrite
      urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /again/and } }
    backendRefs: [{ name: web-v1, port: 80 }]
    retry: { attempts: 2, backoff: 1ms, codes: [503] }
  - backendRefs: [{ name: web-v1, port: 80 }]
";

#[test]
fn headers_hosts_and_paths_are_changed_as_the_route_says() {
    let shop = Shop::start(RULES);
    let fields =
        ["-H", "X-Set: mine", "-H", "x-added: a", "-H", "X-ADDED: b", "-H", "x-removed: 1"];
    for version in VERSIONS {
        let sent = [&fields[..], &["-d", "a body"]].concat();
        let answer = shop.ask(version, "/api/a%20b/?c=/api", &sent);
        assert_eq!(answer.status, 200, "{answer:?}");
        let asked = answer.asked();
        assert_eq!(
            (asked.path(), asked.fields("host")),
            ("/v2/a%20b/?c=/api", vec!["api.example"])
        );
        assert_eq!(asked.fields("x-set"), ["rule"]);
        assert_eq!(asked.fields("x-both"), ["rule"]);
        assert_eq!(asked.fields("x-added"), ["a", "b,rule"]);
        assert_eq!(asked.fields("x-removed"), [""; 0]);
        assert_eq!(asked.0["sent"], "a body");
        let answered = ["x-set", "x-added", "x-removed", "x-app"].map(|name| answer.field(name));
        let expected = [Some("rule"), Some("app,rule"), None, Some("web-v1")];
        assert_eq!(answered, expected.map(|value| value.map(str::to_owned)), "{answer:?}");
        assert_eq!(shop.ask(version, "/api", &[]).asked().path(), "/v2");

        let answer = shop.ask(version, "/backend/x?y", &fields);
        let asked = answer.asked();
        assert_eq!((asked.path(), asked.fields("host")), ("/all?y", vec!["v2.example"]));
        assert_eq!(asked.fields("x-both"), ["rule,backend"]);
        assert_eq!(asked.fields("x-set"), ["mine"]);
        assert_eq!(answer.field("x-version").as_deref(), Some("v2"));
        assert_eq!(answer.field("x-removed").as_deref(), Some("app"));

        // What a rule does not mention stays as it was.
        let answer = shop.ask(version, "/other", &fields);
        let asked = answer.asked();
        assert_eq!((asked.path(), asked.fields("host")), ("/other", vec!["web"]));
        assert_eq!((asked.fields("x-set"), asked.fields("x-removed")), (vec!["mine"], vec!["1"]));
        assert_eq!(answer.field("x-added").as_deref(), Some("app"));
    }
}

#[test]
fn a_request_that_is_sent_again_is_changed_once() {
    let shop = Shop::start(RULES);
    for version in VERSIONS {
        let before = shop.ask(version, "/other", &[]).asked().0["asked"].as_u64().unwrap();
        let answer = shop.ask(version, "/again/x?status=503", &[]);
        assert_eq!(answer.status, 503);
        let asked = answer.asked();
        assert_eq!(asked.0["asked"].as_u64().unwrap() - before, 3, "it is tried three times");
        assert_eq!(asked.path(), "/again/and/x?status=503");
        assert_eq!(asked.fields("x-added"), ["rule"]);
        assert_eq!(answer.field("x-added").as_deref(), Some("app,rule"));
    }
}

#[test]
fn the_servers_proxy_authorizes_what_it_is_asked_for() {
    let shop = Shop::start(RULES);
    shop.lab.apply(
        "apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: web, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: web-v1 }]
  allow:
  - to:
    - paths: ['/v2/*']
      headers: [{ name: x-both, value: rule }, { name: host, value: api.example }]
",
    );
    wait_until("the policy is in force", || shop.ask(VERSIONS[0], "/other", &[]).status == 403);
    for version in VERSIONS {
        assert_eq!(shop.ask(version, "/api/x", &[]).status, 200);
        // What the policy allows the caller cannot say itself: no rule leads there.
        let own = ["-H", "x-both: rule", "-H", "Host: api.example"];
        assert_eq!(shop.ask(version, "/v2/x", &own).status, 200);
        let refused = shop.ask(version, "/v2/x", &[]);
        assert_eq!(refused.field("weft-reason").as_deref(), Some("no-allow-rule"));
        // An answer of the server's proxy is an answer too.
        let refused = shop.ask(version, "/again", &[]);
        assert_eq!((refused.status, refused.field("x-added")), (403, Some("rule".to_owned())));
    }
}
