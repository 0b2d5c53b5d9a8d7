//! `weft apply --wait`: what it says is in force, is; and what is not, it names.

use std::process::Output;
use std::time::Duration;

use rustix::process::Signal;

use crate::app::{App, Executed};
use crate::lab::{Lab, ask, now, since, succeeded};

/// How often something is changed.
const ROUNDS: usize = 20;

/// A policy of `shop/cart` that keeps `shop/web` away from `path`.
fn policy(path: &str) -> String {
    format!(
        "
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{ name: no-web, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: cart }}]
  deny:
  - from: [{{ serviceAccount: shop/web }}]
    to: [{{ paths: [{path}] }}]
"
    )
}

/// A route of `service` for `path` only.
fn route(service: &str, path: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: {service}, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: {service}, port: 80 }}]
  rules:
  - matches: [{{ path: {{ value: {path} }} }}]
    backendRefs: [{{ name: {service}, port: 80 }}]
"
    )
}

/// What `output`, which must be a failure, says of it.
fn failed(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_enforced_holds_from_the_next_request_on() {
    let lab = Lab::new();
    let app = App::start("cart-1", &Executed::default());
    let _replica = lab.replica("cart-1", Some("http"), &app);
    let caller = lab.caller("web");
    let answer = |path: &str| {
        let answer = ask(caller.addresses[0], "GET", path, &[]);
        (answer.status, answer.reason)
    };
    assert_eq!(answer("/a").0, 200);
    let (here, there) = ("/a", "/b");
    for round in 0..ROUNDS {
        let (open, closed) = if round % 2 == 0 { (here, there) } else { (there, here) };
        let said = succeeded(lab.apply_with(&["--wait"], &policy(closed)));
        assert!(
            said.ends_with("AuthorizationPolicy shop/no-web is enforced by 1 of 1\n"),
            "{said}"
        );
        assert_eq!((answer(open).0, answer(closed).0), (200, 403), "round {round}");
        let said = succeeded(lab.apply_with(&["--wait"], &route("cart", open)));
        assert!(said.ends_with("HTTPRoute shop/cart is enforced by 1 of 1\n"), "{said}");
        assert_eq!(answer(open).0, 200, "round {round}");
        assert_eq!(answer(closed), (404, "no-route".to_owned()), "round {round}");
        succeeded(lab.apply_with(&["--wait"], &route("cart", "/")));
    }

    // Whom nothing concerns is not waited for.
    let other = "
apiVersion: v1
kind: Service
metadata: { name: other, namespace: shop }
spec: { ports: [{ port: 80 }] }
---";
    let said = succeeded(lab.apply_with(&["--wait"], &(other.to_owned() + &route("other", "/"))));
    let nobody = "is enforced by 0 of 0: no proxy that is connected has to do with it";
    for object in ["Service shop/other", "HTTPRoute shop/other"] {
        assert!(said.contains(&format!("{object} {nobody}\n")), "{said}");
    }
    // Nor is what no proxy will ever be told of.
    let elsewhere = policy("/a").replace("name: cart", "name: nowhere");
    let said = failed(&lab.apply_with(&["--wait"], &elsewhere));
    assert!(said.contains("AuthorizationPolicy shop/no-web"), "{said}");
    assert!(said.contains("not Attached: TargetNotFound"), "{said}");
}

#[test]
fn who_lags_is_named_when_the_time_is_over() {
    let lab = Lab::new();
    let app = App::start("cart-1", &Executed::default());
    let (mut first, second) =
        (lab.replica("cart-1", Some("http"), &app), lab.replica("cart-2", Some("http"), &app));
    let said = succeeded(lab.apply_with(&["--wait"], &policy("/a")));
    assert!(said.ends_with(" is enforced by 2 of 2\n"), "{said}");

    first.signal(Signal::STOP);
    let began = now();
    let said = failed(&lab.apply_with(&["--wait=2"], &policy("/b")));
    assert!(since(began) >= Duration::from_secs(2), "{:?}", since(began));
    let named = "AuthorizationPolicy shop/no-web is enforced by 1 of 2\n  shop/cart-1 has not \
                 acknowledged it yet";
    assert!(said.contains("not in force everywhere after 2 s"), "{said}");
    assert!(said.contains(named) && !said.contains("cart-2"), "{said}");
    // It is applied all the same, and waiting for it once more is a matter of applying it again.
    first.signal(Signal::CONT);
    let said = succeeded(lab.apply_with(&["--wait"], &policy("/b")));
    let unchanged = "AuthorizationPolicy shop/no-web unchanged\n";
    assert_eq!(said, format!("{unchanged}AuthorizationPolicy shop/no-web is enforced by 2 of 2\n"));

    // One that died is registered for a while, and may be anywhere.
    first.kill();
    let said = failed(&lab.apply_with(&["--wait=1"], &policy("/c")));
    assert!(said.contains("shop/cart-1 is registered, and its proxy not connected"), "{said}");
    first.start_again();
    let said = succeeded(lab.apply_with(&["--wait"], &policy("/c")));
    assert!(said.ends_with(" is enforced by 2 of 2\n"), "{said}");
    // One that ends in order is nobody to wait for.
    first.terminate();
    let said = succeeded(lab.apply_with(&["--wait"], &policy("/d")));
    assert!(said.ends_with(" is enforced by 1 of 1\n"), "{said}");
    drop(second);
}
