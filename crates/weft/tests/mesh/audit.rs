//! Policies in audit, as curl sees them: nothing is refused, and all is told.

use crate::app::{App, Executed};
use crate::lab::{Lab, Proxy, ask, succeeded, wait_until};

/// The AuthorizationPolicy `trial` for `shop/cart`.
fn policy(mode: &str, rules: &str) -> String {
    format!(
        "
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{ name: trial, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: cart }}]
  mode: {mode}
{rules}"
    )
}

/// How often the server's proxy has told that the policy would have refused something.
fn audited(server: &Proxy) -> u64 {
    let series = "weft_audited_total{policy=\"authorization/shop/trial\"} ";
    let metrics = server.shown("/metrics");
    metrics.lines().find_map(|line| line.strip_prefix(series)).map_or(0, |it| it.parse().unwrap())
}

#[test]
fn what_is_in_audit_refuses_nothing_until_it_is_enforced() {
    let lab = Lab::new();
    let app = App::start("cart-1", &Executed::default());
    let server = lab.replica("cart-1", Some("http"), &app);
    let caller = lab.caller("web");
    let ask = |path: &str| {
        let answer = ask(caller.addresses[0], "GET", path, &[]);
        (answer.status, answer.reason)
    };
    let passed = (200, String::new());
    assert_eq!(ask("/"), passed);

    let rules = "  allow: [{ to: [{ paths: ['/public/*'] }] }]\n  \
                 deny: [{ to: [{ paths: ['/public/secret'] }] }]\n";
    lab.apply(&policy("Audit", rules));
    wait_until("the policy is there", || {
        assert_eq!(ask("/"), passed);
        audited(&server) > 0
    });
    let last_of = |path: &str| {
        let (path, log) = (format!("path={path} "), server.log());
        let line = log.lines().rev().find(|line| line.contains(&path)).unwrap_or_default();
        line.to_owned()
    };
    for (path, field) in [
        ("/other", Some("spec.allow")),
        ("/public/secret", Some("spec.deny[0]")),
        ("/public/page", None),
    ] {
        let before = audited(&server);
        assert_eq!(ask(path), passed, "{path}");
        let told = field.map(|field| format!("audited=\"authorization/shop/trial {field}\""));
        if let Some(told) = &told {
            wait_until("its record is written", || last_of(path).contains("status=200"));
            let line = last_of(path);
            assert!(line.contains(told), "{line}");
        }
        assert_eq!(audited(&server), before + u64::from(field.is_some()), "{path}");
        // Who asks beforehand is told the same.
        let url = format!("http://cart.shop{path}");
        let said = succeeded(lab.weft(&["explain", "GET", &url, "--from", "shop/web"]));
        let would = field.map(|field| {
            format!("shop/trial AuthorizationPolicy {field}: would refuse it, and only records")
        });
        match would {
            Some(would) => assert!(said.contains(&would), "{said}"),
            None => assert!(!said.contains("would refuse"), "{said}"),
        }
    }

    lab.apply(&policy("Enforce", rules));
    wait_until("the policy has effect", || ask("/other") == (403, "no-allow-rule".to_owned()));
    assert_eq!(ask("/public/secret"), (403, "deny-rule".to_owned()));
    assert_eq!(ask("/public/page"), passed);
    // What would pass is no more than any other request.
    wait_until("the last refusal is written", || last_of("/public/secret").contains("status=403"));
    assert_eq!(last_of("/public/page"), "");
}
