//! Resources over a store in memory.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use weft_store::{LocalStore, Options as StoreOptions};

use super::*;
use crate::api::SourceFile;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec: { selector: { app: cart }, ports: [{ port: 80 }] }
";

fn resources() -> Resources {
    let store = LocalStore::in_memory(&StoreOptions::at(Moment::default()));
    Resources::new(Arc::new(store), Options::default(), "weft.local".parse().unwrap())
}

fn request(text: &str) -> ApplyRequest {
    let file = SourceFile { name: "shop.yaml".to_owned(), text: text.to_owned() };
    ApplyRequest { files: vec![file], namespace: None, dry_run: false }
}

fn apply(resources: &Resources, request: &ApplyRequest) -> Result<ApplyResponse, ApplyError> {
    let wall = UnixTime(Duration::from_secs(1_795_413_823));
    let applied = resources.apply(request, Moment::default(), wall)?;
    Ok(applied.response(Vec::new()))
}

fn key() -> ObjectKey {
    let (kind, namespace, name) = ("svc".to_owned(), "shop".to_owned(), "cart".to_owned());
    ObjectKey { kind, namespace, name }
}

#[test]
fn what_is_applied_can_be_read_and_applied_again() {
    let resources = resources();
    let first = apply(&resources, &request(SERVICE)).unwrap();
    assert_eq!(first.objects[0].action, Action::Created);
    let again = apply(&resources, &request(SERVICE)).unwrap();
    assert_eq!(again.objects[0].action, Action::Unchanged);
    let stored = resources.get(&key()).unwrap();
    assert_eq!(stored.resource_version, first.objects[0].resource_version);
    assert!(stored.yaml.contains("creationTimestamp: \"2026-11-23T"), "{}", stored.yaml);
    // What was read carries its version, and is no change.
    let read = apply(&resources, &request(&stored.yaml)).unwrap();
    assert_eq!(read.objects[0].action, Action::Unchanged);
    let changed = stored.yaml.replace("80", "81");
    let written = apply(&resources, &request(&changed)).unwrap();
    assert_eq!(written.objects[0].action, Action::Configured);
    // The same once more is a change to something that has changed meanwhile.
    let error = apply(&resources, &request(&changed.replace("81", "82"))).unwrap_err();
    assert_eq!(error.reason(), ("conflict", 409));
    assert!(error.to_string().contains("read it again"), "{error}");
}

#[test]
fn wrong_objects_change_nothing_and_all_is_said() {
    let resources = resources();
    let wrong = format!("{SERVICE}---\n{}", SERVICE.replace("80", "0").replace("cart", "web"));
    let error = apply(&resources, &request(&wrong)).unwrap_err();
    assert_eq!(error.reason(), ("invalid", 422));
    let refusal = error.refusal();
    assert_eq!(refusal.findings.len(), 1, "{}", refusal.message);
    assert!(refusal.message.contains("--> shop.yaml:11:"), "{}", refusal.message);
    assert!(resources.list(None, None).unwrap().objects.is_empty());
}

#[test]
fn a_mesh_of_another_trust_domain_is_refused() {
    let resources = resources();
    let mesh = "apiVersion: weft.dev/v1alpha1\nkind: Mesh\nmetadata: { name: mesh }\n\
                spec: { trustDomain: other.local }\n";
    for dry_run in [true, false] {
        let error = apply(&resources, &ApplyRequest { dry_run, ..request(mesh) }).unwrap_err();
        assert_eq!(error.reason(), ("invalid", 422));
        let said = error.to_string();
        let first = "error: spec.trustDomain: other.local is another one: this control plane's is \
                     weft.local\n --> shop.yaml:4:22\n";
        assert!(said.starts_with(first) && said.contains("`--trust-domain other.local`"), "{said}");
    }
    assert!(resources.list(None, None).unwrap().objects.is_empty());
    apply(&resources, &request(&mesh.replace("other", "weft"))).unwrap();
}

#[test]
fn a_dry_run_changes_nothing() {
    let resources = resources();
    let dry = ApplyRequest { dry_run: true, ..request(SERVICE) };
    assert_eq!(apply(&resources, &dry).unwrap().objects[0].action, Action::Created);
    assert!(resources.list(None, None).unwrap().objects.is_empty());
    apply(&resources, &request(SERVICE)).unwrap();
    assert_eq!(apply(&resources, &dry).unwrap().objects[0].action, Action::Unchanged);
    let stale = ApplyRequest {
        dry_run: true,
        ..request(&SERVICE.replace("name: cart", "name: cart, resourceVersion: '7'"))
    };
    assert_eq!(apply(&resources, &stale).unwrap_err().reason().0, "conflict");
}

#[test]
fn objects_are_listed_and_deleted_by_any_word_for_their_kind() {
    let resources = resources();
    apply(&resources, &request(SERVICE)).unwrap();
    assert_eq!(resources.list(Some("services"), Some("shop")).unwrap().objects.len(), 1);
    assert!(resources.list(Some("Service"), Some("other")).unwrap().objects.is_empty());
    let error = resources.list(Some("Gadget"), None).unwrap_err().to_string();
    assert!(error.starts_with("there is no kind `Gadget`; there are Mesh, Service"), "{error}");
    let delete =
        |version| resources.delete(&key(), version, Moment::default(), UnixTime(Duration::ZERO));
    assert_eq!(delete(Some(99)).unwrap_err().reason().0, "conflict");
    assert_eq!(delete(None).unwrap().action, Action::Deleted);
    assert_eq!(delete(None).unwrap_err().reason().0, "not-found");
}

#[test]
fn a_watch_sees_what_it_asks_for() {
    let resources = resources();
    let from = resources.list(None, None).unwrap().resource_version;
    let mut watch = resources.watch(Some("svc"), None, from).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(watch.poll_next(&mut cx).is_pending());
    apply(&resources, &request(SERVICE)).unwrap();
    let Poll::Ready(Ok(events)) = watch.poll_next(&mut cx) else { panic!("nothing seen") };
    assert!(matches!(&events[..], [WatchEvent::Put { object }] if object.key.name == "cart"));
    resources.delete(&key(), None, Moment::default(), UnixTime(Duration::ZERO)).unwrap();
    let Poll::Ready(Ok(events)) = watch.poll_next(&mut cx) else { panic!("nothing seen") };
    assert!(matches!(&events[..], [WatchEvent::Deleted { .. }]));
    assert_eq!(resources.watch(None, None, 999).err().unwrap().reason(), ("gone", 410));
}

#[test]
fn a_status_is_not_kept() {
    let resources = resources();
    apply(&resources, &request(SERVICE)).unwrap();
    let stored = resources.get(&key()).unwrap();
    for status in ["status: {}\n", "status:\n  conditions:\n  - type: Accepted\n", "status:\n- a\n"]
    {
        let with_status = format!("{}{status}", stored.yaml);
        let again = apply(&resources, &request(&with_status)).unwrap();
        assert_eq!(again.objects[0].action, Action::Unchanged, "{status}");
        let first = format!("{status}{}", stored.yaml);
        let again = apply(&resources, &request(&first)).unwrap();
        assert_eq!(again.objects[0].action, Action::Unchanged, "{status}");
    }
}
