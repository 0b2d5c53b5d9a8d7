//! What is made anew, and what is remembered.

use super::*;

fn changes(yaml: &str) -> Vec<Change> {
    let parsed = weft_crd::parse("it.yaml", yaml.as_bytes(), &weft_crd::Options::default());
    assert!(!parsed.has_errors(), "{}", parsed.render());
    parsed.objects.into_iter().map(|object| Change::Put(Arc::new(object))).collect()
}

fn service(name: &str, app: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: shop }}\nspec: \
         {{ selector: {{ app: {app} }}, ports: [{{ port: 80 }}] }}\n---\n"
    )
}

fn workload(name: &str, app: &str) -> String {
    format!(
        "apiVersion: weft.dev/v1alpha1\nkind: Workload\nmetadata: {{ name: {name}, namespace: \
         shop, labels: {{ app: {app} }} }}\nspec: {{ addresses: [192.0.2.1] }}\n---\n"
    )
}

fn source(revision: u64) -> SourceVersion {
    SourceVersion { epoch: 1, revision }
}

fn keys(update: &Update) -> Vec<String> {
    update.changed.iter().map(|object| object.key().to_string()).collect()
}

#[test]
fn a_change_touches_what_depends_on_it_and_nothing_else() {
    let mut compiler = Compiler::new(Options::default());
    let all = service("cart", "cart")
        + &service("web", "web")
        + &workload("cart-1", "cart")
        + &workload("web-1", "web");
    let first = compiler.update(changes(&all), source(1));
    assert_eq!(first.changed.len(), 10, "{:?}", keys(&first));
    // The same once more changes nothing, and says so.
    assert_eq!(compiler.update(changes(&all), source(2)), Update::default());
    assert!(compiler.objects().values().all(|object| object.source() == source(1)));
    // A Service that selects other workloads changes these.
    let moved = compiler.update(changes(&service("cart", "web")), source(3));
    assert_eq!(keys(&moved), ["workload/shop/cart-1", "workload/shop/web-1"]);
    assert!(moved.removed.is_empty());
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut compiler = Compiler::new(Options::default());
    compiler.update([], source(1));
    let empty = compiler.remembered();
    let all = service("cart", "cart") + &workload("cart-1", "cart");
    let puts = changes(&all);
    let deletes: Vec<_> = puts
        .iter()
        .map(|change| match change {
            Change::Put(object) => Change::Delete(object.key()),
            other => panic!("{other:?}"),
        })
        .collect();
    compiler.update(puts, source(2));
    assert!(compiler.remembered() > empty);
    let update = compiler.update(deletes, source(3));
    let removed: Vec<_> = update.removed.iter().map(ToString::to_string).collect();
    assert_eq!(
        removed,
        [
            "guards/namespace/shop",
            "guards/service/shop/cart",
            "guards/workload/shop/cart-1",
            "service/shop/cart",
            "workload/shop/cart-1",
        ]
    );
    assert_eq!(compiler.remembered(), empty);
    assert_eq!(compiler.objects().len(), 1);
}
