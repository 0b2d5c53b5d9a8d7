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

/// The addresses and the tunnel of `shop/cart-1` after `changes`.
fn compiled(changes: impl IntoIterator<Item = Change>) -> (Vec<String>, weft_model::Tunnel) {
    let mut compiler = Compiler::new(Options::default());
    compiler.update(changes, source(1));
    let key: ObjectKey = "workload/shop/cart-1".parse().unwrap();
    let Object::Workload(workload) = compiler.objects()[&key].object() else { panic!("{key}") };
    (workload.addresses.iter().map(ToString::to_string).collect(), workload.tunnel.clone())
}

#[test]
fn assigned_addresses_join_those_of_a_workload_and_not_its_tunnel() {
    let ip = |text: &str| weft_model::Address {
        network: weft_model::Network::default(),
        ip: text.parse().unwrap(),
    };
    let given = || {
        let addresses = [ip("240.119.0.7"), ip("fd77:6566:7400::7")].into();
        let name = "shop/cart-1".parse().unwrap();
        Change::AssignWorkload(name, Some(crate::Assignment::Given(addresses)))
    };
    let stated = |addresses: &str, more: &str| {
        let yaml = workload("cart-1", "cart");
        changes(&yaml.replace("[192.0.2.1]", &format!("[{addresses}]{more}")))
    };
    let tunnel = stated("'2001:db8::1'", ", tunnelPort: 15008").into_iter().chain([given()]);
    let (addresses, tunnel) = compiled(tunnel);
    assert_eq!(addresses, ["240.119.0.7", "2001:db8::1", "fd77:6566:7400::7"]);
    assert_eq!(tunnel, weft_model::Tunnel::One("[2001:db8::1]:15008".parse().unwrap()));
    // Tunnels to each port begin at the first address.
    let (addresses, _) = compiled(stated("192.0.2.1", "").into_iter().chain([given()]));
    assert_eq!(addresses, ["192.0.2.1", "240.119.0.7", "fd77:6566:7400::7"]);
    let (addresses, _) = compiled(stated("'2001:db8::1'", "").into_iter().chain([given()]));
    assert_eq!(addresses, ["2001:db8::1", "fd77:6566:7400::7"]);
}

#[test]
fn addresses_of_the_mesh_are_given_and_not_stated() {
    let mesh = "apiVersion: weft.dev/v1alpha1\nkind: Mesh\nmetadata: { name: mesh }\n\
                spec: { trustDomain: weft.test, addressRange: { v4: 10.5.0.0/16 } }\n---\n";
    let stated = "[192.0.2.1, 10.5.0.7, 'fd77:6566:7400::7'], tunnelPort: 15008";
    let yaml = mesh.to_owned() + &workload("cart-1", "cart").replace("[192.0.2.1]", stated);
    let mut compiler = Compiler::new(Options::default());
    let update = compiler.update(changes(&yaml), source(1));
    let key: ObjectKey = "workload/shop/cart-1".parse().unwrap();
    let Object::Workload(workload) = compiler.objects()[&key].object() else { panic!("{key}") };
    assert_eq!(workload.addresses, ["192.0.2.1".parse().unwrap()].into());
    let findings = update.statuses.iter().flat_map(|status| &status.findings);
    let said: Vec<_> = findings.map(ToString::to_string).collect();
    assert_eq!(
        said,
        [("1", "10.5.0.7"), ("2", "fd77:6566:7400::7")].map(|(index, ip)| format!(
            "spec.addresses[{index}]: {ip} belongs to the Mesh's addressRange, and is not taken for \
             its own"
        ))
    );
}

#[test]
fn only_services_that_it_registered_for_select_a_workload_that_registered_itself() {
    let registered = workload("cart-1", "cart").replace(
        "labels:",
        "annotations: { weft.dev/registered-by: 'spiffe://weft.test/ns/shop/sa/cart', \
         weft.dev/registered-for: 'basket,cart' }, labels:",
    );
    let (own, other) = (service("cart", "cart"), service("ledger", "cart"));
    let key: ObjectKey = "workload/shop/cart-1".parse().unwrap();
    for order in [[&own, &other, &registered], [&registered, &other, &own]] {
        let mut compiler = Compiler::new(Options::default());
        for (revision, yaml) in (1..).zip(order) {
            compiler.update(changes(yaml), source(revision));
        }
        let Object::Workload(workload) = compiler.objects()[&key].object() else { panic!("{key}") };
        let services: Vec<_> = workload.services.keys().map(ToString::to_string).collect();
        assert_eq!(services, ["shop/cart"]);
        let status = compiler.statuses().find(|status| status.key.kind == Kind::Workload);
        let [finding] = &status.unwrap().findings[1..] else { panic!("{status:?}") };
        let said = "Service shop/ledger selects it, which it has not registered itself for";
        assert!(finding.message.starts_with(said), "{finding}");
    }
}
