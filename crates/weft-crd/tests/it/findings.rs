//! Golden text: what a person sees when something is wrong.

use weft_crd::{Options, parse, parse_all};

/// Checks what is shown for `yaml`, read as `shop.yaml`.
fn shows(yaml: &str, expected: &str) {
    let rendered = parse("shop.yaml", yaml.as_bytes(), &Options::default()).render();
    assert_eq!(rendered, expected, "\n--- shown:\n{rendered}--- expected:\n{expected}");
}

#[test]
fn all_that_is_wrong_in_a_route_at_once() {
    shows(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: checkout, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: checkout }]
  rules:
  - matchs: [{ method: GET }]
    backendRefs:
    - { name: checkout-v1, port: 80, weight: -1 }
    - name: checkout-v2
      weight: 5
    filters:
    - type: RequestRedirect
  - backendRefs: [{ name: checkout-v1, port: \"80\" }]
    timeouts: { request: 1s, backendRequest: 1m }
",
        "\
error: spec.rules[0].matchs: unknown field
 --> shop.yaml:7:5
  |
7 |   - matchs: [{ method: GET }]
  |     ^^^^^^
  = in HTTPRoute shop/checkout
  = help: did you mean `matches`?

error: spec.rules[0].backendRefs[0].weight: -1 is not allowed, the least is 0
 --> shop.yaml:9:46
  |
9 |     - { name: checkout-v1, port: 80, weight: -1 }
  |                                              ^^
  = in HTTPRoute shop/checkout

error: spec.rules[0].backendRefs[1].port: is required
  --> shop.yaml:10:7
   |
10 |     - name: checkout-v2
   |       ^^^^
   = in HTTPRoute shop/checkout

error: spec.rules[0].filters[0].requestRedirect: is required
  --> shop.yaml:13:7
   |
13 |     - type: RequestRedirect
   |       ^^^^
   = in HTTPRoute shop/checkout

error: spec.rules[1].backendRefs[0].port: a number is needed, this is the string \"80\"
  --> shop.yaml:14:46
   |
14 |   - backendRefs: [{ name: checkout-v1, port: \"80\" }]
   |                                              ^^^^
   = in HTTPRoute shop/checkout
   = help: leave out the quotes: 80

error: spec.rules[1].timeouts.backendRequest: 1m is longer than the 1s of the whole request
  --> shop.yaml:15:46
   |
15 |     timeouts: { request: 1s, backendRequest: 1m }
   |                                              ^^
   = in HTTPRoute shop/checkout
",
    );
}

#[test]
fn kinds_that_are_not_read() {
    shows(
        "\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: HTTPRoute
metadata: { name: a }
---
apiVersion: weft.dev/v1alpha1
kind: RateLimitPolicy
metadata: { name: b }
---
apiVersion: weft.dev/v1alpha1
kind: WorkLoad
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: d, namespace: shop }
---
name: e
---
- f
",
        "\
error: apiVersion: \"gateway.networking.k8s.io/v1beta1\" is not known for HTTPRoute
 --> shop.yaml:1:13
  |
1 | apiVersion: gateway.networking.k8s.io/v1beta1
  |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = in HTTPRoute default/a
  = help: write gateway.networking.k8s.io/v1

error: kind: \"RateLimitPolicy\" of \"weft.dev/v1alpha1\" is not supported yet by this version
 --> shop.yaml:6:7
  |
6 | kind: RateLimitPolicy
  |       ^^^^^^^^^^^^^^^
  = in RateLimitPolicy default/b

error: kind: \"WorkLoad\" of \"weft.dev/v1alpha1\" is not known here
  --> shop.yaml:10:7
   |
10 | kind: WorkLoad
   |       ^^^^^^^^
   = in WorkLoad default/(no name)
   = help: did you mean `Workload`?

error: kind: \"Deployment\" of \"apps/v1\" is not known here
  --> shop.yaml:13:7
   |
13 | kind: Deployment
   |       ^^^^^^^^^^
   = in Deployment shop/d
   = help: known here: Mesh, Service, Workload, ExternalService, HTTPRoute, GRPCRoute, \
    TLSRoute, TCPRoute, BackendPolicy, BackendTLSPolicy, AuthorizationPolicy, FaultPolicy, \
    ConfigMap

error: apiVersion: is required
  --> shop.yaml:16:1
   |
16 | name: e
   | ^^^^
 
error: kind: is required
  --> shop.yaml:16:1
   |
16 | name: e
   | ^^^^

error: a map is needed, this is a list
  --> shop.yaml:18:1
   |
18 | - f
   | ^^^
"
        .replace(" \n", "\n")
        .as_str(),
    );
}

#[test]
fn what_is_not_yaml_hides_no_other_document() {
    shows(
        "\
apiVersion: v1
kind: [Service
---
apiVersion: v1
kind: Service
metadata: { name: cart, name: kart }
spec: { selector: { app: cart }, ports: [{ port: 80 }], <<: {} }
",
        "\
error: not valid YAML: unclosed bracket '['
 --> shop.yaml:2:7
  |
2 | kind: [Service
  |       ^

error: metadata.name: written twice, first in line 6
 --> shop.yaml:6:25
  |
6 | metadata: { name: cart, name: kart }
  |                         ^^^^
  = in Service default/cart

error: spec: the merge key `<<` is not supported
 --> shop.yaml:7:57
  |
7 | spec: { selector: { app: cart }, ports: [{ port: 80 }], <<: {} }
  |                                                         ^^
  = in Service default/cart
  = help: write the fields out; an alias of a whole value is supported
",
    );
}

#[test]
fn a_long_line_is_shown_around_the_mark() {
    let labels: String = (0..40).map(|n| format!(r#""label-{n}":"x","#)).collect();
    let metadata = format!(r#""metadata":{{"name":"cart","labels":{{{labels}"z":"x"}}}}"#);
    let spec = r#""spec":{"selector":{"app":"cart"},"ports":[{"port":0}]}"#;
    let status = r#""status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}"#;
    let json = format!(r#"{{"apiVersion":"v1","kind":"Service",{metadata},{spec},{status}}}"#);
    shows(
        &json,
        r#"error: spec.ports[0].port: 0 is not allowed, the least is 1
 --> shop.yaml:1:724
  |
1 | … lector":{"app":"cart"},"ports":[{"port":0}]},"status":{"loadBalancer":{"ingress" …
  |                                           ^
  = in Service default/cart
"#,
    );
}

#[test]
fn text_of_others_cannot_drive_the_terminal() {
    let yaml =
        "apiVersion: v1\nkind: \"Ser\\e[31mvice\" # \u{202e}\nmetadata: {\tname: \"\\u0007\" }\n";
    let rendered = parse("a\u{1b}.yaml", yaml.as_bytes(), &Options::default()).render();
    assert!(rendered.contains(r#""Ser\u{1b}[31mvice" of "v1" is not known here"#), "{rendered}");
    assert!(rendered.chars().all(|c| c == '\n' || !c.is_control()), "{rendered:?}");
    assert!(!rendered.contains('\u{202e}'), "{rendered:?}");
}

#[test]
fn an_object_may_be_written_once() {
    let yaml = crate::samples::SERVICE;
    let files = [("a.yaml", yaml.as_bytes()), ("b.yaml", yaml.as_bytes())];
    let parsed = parse_all(files, &Options::default());
    assert_eq!(parsed.objects.len(), 1);
    assert_eq!(
        parsed.render(),
        "\
error: metadata.name: written twice: first at a.yaml:4:9
 --> b.yaml:4:9
  |
4 |   name: payments
  |         ^^^^^^^^
  = in Service shop/payments
"
    );
}

#[test]
fn files_that_cannot_be_read() {
    let large = vec![b' '; weft_crd::FILE_BYTES_MAX + 1];
    let parsed =
        parse_all([("a.yaml", &b"a: \xff"[..]), ("b.yaml", large.as_slice())], &Options::default());
    assert_eq!(
        parsed.render(),
        "\
error: a.yaml: not UTF-8 from byte 3

error: b.yaml: 8388609 bytes are not allowed in a file, the most is 8388608
"
    );
}

#[test]
fn findings_travel_as_json() {
    let parsed = parse("a.yaml", b"kind: Mesh", &Options::default());
    let json = serde_json::to_string(&parsed.findings).expect("plain data");
    let expected = serde_json::json!([{
        "severity": "error",
        "path": "apiVersion",
        "message": "is required",
        "position": { "file": "a.yaml", "line": 1, "column": 1, "length": 4 },
        "object": { "kind": "Mesh", "namespace": "", "name": "" },
    }]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).expect("JSON"), expected);
    let back: Vec<weft_crd::Finding> = serde_json::from_str(&json).expect("what was written");
    assert_eq!(back, parsed.findings);
}

/// A mesh needs no grant for its routes, and Gateways, which do, are not there yet.
#[test]
fn what_only_gateways_need_is_refused_by_name_and_so_are_old_versions() {
    for (version, kind, expected) in [
        ("gateway.networking.k8s.io/v1", "ReferenceGrant", "is not supported yet by this version"),
        ("gateway.networking.k8s.io/v1beta1", "ReferenceGrant", "is not supported yet"),
        ("gateway.networking.k8s.io/v1", "UDPRoute", "is not supported yet by this version"),
        ("gateway.networking.k8s.io/v1alpha2", "TCPRoute", "is not known for TCPRoute"),
        ("gateway.networking.k8s.io/v1alpha3", "TLSRoute", "is not known for TLSRoute"),
    ] {
        let text =
            format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{ name: a }}\nspec: {{}}\n");
        let parsed = parse("it.yaml", text.as_bytes(), &Options::default());
        assert!(
            parsed.objects.is_empty() && parsed.render().contains(expected),
            "{}",
            parsed.render()
        );
    }
}
