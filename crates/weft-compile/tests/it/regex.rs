//! What is checked is what proxies can do: an expression that is taken from an author is compiled
//! by proxies.

use std::sync::Arc;

use weft_crd::Resource;
use weft_decide::route::RouteTable;
use weft_model::{Parent, Port};
use weft_wire::{Object, SourceVersion};

/// Whether `weft check` takes the expression, and whether a proxy does; `None` where it does not
/// come so far.
fn taken(expression: &str) -> (bool, Option<bool>) {
    let text = format!(
        "
apiVersion: v1
kind: Service
metadata: {{ name: web, namespace: shop }}
spec: {{ selector: {{ app: web }}, ports: [{{ port: 80 }}] }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: web, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: web }}]
  rules:
  - matches: [{{ path: {{ type: RegularExpression, value: {expression:?} }} }}]
    backendRefs: [{{ name: web, port: 80 }}]
"
    );
    let parsed = weft_crd::parse("in.yaml", text.as_bytes(), &weft_crd::Options::default());
    if parsed.has_errors() {
        let field = "spec.rules[0].matches[0].path.value";
        assert!(parsed.findings.iter().all(|it| it.path == field), "{}", parsed.render());
        return (false, None);
    }
    assert!(parsed.objects.iter().any(|it| matches!(it.resource, Resource::HttpRoute(_))));
    let mut compiler = weft_compile::Compiler::new(weft_compile::Options::default());
    let objects = parsed.objects.into_iter().map(|it| weft_compile::Change::Put(Arc::new(it)));
    compiler.update(objects, SourceVersion { epoch: 1, revision: 1 });
    let routes: Vec<_> = compiler
        .objects()
        .values()
        .filter_map(|object| match object.object() {
            Object::Route(route) => Some(route.clone()),
            _ => None,
        })
        .collect();
    let service = Parent::Service("shop/web".parse().expect("a name"));
    let table = RouteTable::new(&routes, &service, Port::new(80).expect("a port"), None);
    (true, (!routes.is_empty()).then_some(table.is_ok()))
}

#[test]
fn what_is_taken_is_compiled_by_proxies() {
    for fine in [
        r"/users/\w{1,36}",
        r"/[\w.-]{1,64}",
        r"/\w{1,253}",
        "/(?:[^/]{1,255}/){1,8}",
        "/é[a-z]+",
        "/b?[é]{2}",
        "(?i)/A|/b",
    ] {
        assert_eq!(taken(fine), (true, Some(true)), "{fine}");
    }
    for wrong in
        ["/(?:a{1000}){1000}", "/(?:[^/]{1,255}/){1,800}", "/(", "/a)(b", "(?x) /a # c", "/(?=a)"]
    {
        assert!(!taken(wrong).0, "{wrong}");
    }
}
