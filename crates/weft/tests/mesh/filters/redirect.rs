//! Requests that are sent elsewhere.

use crate::filters::{Shop, VERSIONS};
use crate::lab::{output, succeeded, wait_until};

const RULES: &str = "
  - name: old
    matches: [{ path: { value: /old } }]
    filters:
    - type: RequestRedirect
      requestRedirect:
        { path: { type: ReplacePrefixMatch, replacePrefixMatch: /new }, statusCode: 301 }
    - type: ResponseHeaderModifier
      responseHeaderModifier: { set: [{ name: Cache-Control, value: max-age=60 }] }
  - matches: [{ path: { value: /secure } }]
    filters: [{ type: RequestRedirect, requestRedirect: { scheme: https } }]
  - matches: [{ path: { value: /port } }]
    filters: [{ type: RequestRedirect, requestRedirect: { port: 8443, statusCode: 307 } }]
  - matches: [{ path: { value: /elsewhere } }]
    filters:
    - type: RequestRedirect
      requestRedirect:
        { scheme: https, hostname: other.example, port: 443, statusCode: 308,
          path: { type: ReplaceFullPath, replaceFullPath: /full } }
  - matches: [{ path: { value: /see } }]
    filters:
    - { type: RequestRedirect, requestRedirect: { hostname: see.example, statusCode: 303 } }
  - matches: [{ path: { value: /new } }]
    backendRefs: [{ name: web-v1, port: 80 }]
";

#[test]
fn callers_are_sent_where_the_route_says() {
    let shop = Shop::start(RULES);
    for version in VERSIONS {
        for (target, status, location) in [
            ("/old/a?b=1&c", 301, "http://web/new/a?b=1&c"),
            ("/old", 301, "http://web/new"),
            ("/secure/a%20b", 302, "https://web/secure/a%20b"),
            ("/port", 307, "http://web:8443/port"),
            ("/elsewhere/x?y", 308, "https://other.example/full?y"),
            ("/see", 303, "http://see.example/see"),
        ] {
            let answer = shop.ask(version, target, &["-d", "a body that nobody reads"]);
            assert_eq!(answer.status, status, "{target}: {answer:?}");
            assert_eq!(answer.field("location").as_deref(), Some(location), "{target}");
            assert_eq!(answer.field("weft-reason").as_deref(), Some("redirect"), "{target}");
            let cache = (status == 301).then_some("max-age=60");
            assert_eq!(answer.field("cache-control").as_deref(), cache);
        }
        // curl goes there, on the same connection. (By HTTP/2 it takes none twice that it was not
        // told of: version 7.88 fails with any server.)
        if version != VERSIONS[0] {
            continue;
        }
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sSL", "--max-time", "20", version]);
        curl.args(["--connect-to", &format!("::{}", shop.address())]);
        curl.args(["-w", "\n%{num_redirects} %{num_connects} %{url_effective}"]);
        let said = succeeded(output(curl.arg("http://web/old/a?b")));
        let (body, followed) = said.split_once('\n').unwrap();
        assert!(body.contains("\"/new/a?b\""), "{said}");
        assert_eq!(followed, "1 1 http://web/new/a?b");
    }
    // They are counted, and none of them has failed.
    let counted = |metrics: &str, start: &str, label: &str| {
        metrics.lines().filter(|line| line.starts_with(start) && line.contains(label)).count()
    };
    wait_until("the redirects are counted", || {
        let metrics = shop.caller.shown("/metrics");
        let of_redirects = "route=\"http/shop/web\"";
        let moved = metrics.lines().filter(|line| line.contains("reason=\"redirect\""));
        moved.filter(|line| line.contains(of_redirects)).count() >= 10
    });
    let metrics = shop.caller.shown("/metrics");
    assert_eq!(counted(&metrics, "weft_refusals_total{", ""), 0, "{metrics}");
    assert_eq!(counted(&metrics, "weft_requests_total{", "status_class=\"5xx\""), 0, "{metrics}");
    assert!(!shop.caller.log().contains("reason=redirect"), "they are among no failures");
}
