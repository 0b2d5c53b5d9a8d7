//! Revocation and the replacement of a root, with real processes: a control plane that is killed,
//! proxies that carry traffic meanwhile, and the command line.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "mesh/app.rs"]
mod app;
/// What the load needs to wait.
mod lab {
    pub use crate::mesh::{PATIENCE, wait_until};
}
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "mesh/load.rs"]
mod load;
#[path = "ca/mesh.rs"]
mod mesh;
#[path = "ca/slow.rs"]
mod slow;
#[path = "ca/streams.rs"]
mod streams;

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weft_control::api::{CaStatus, Phase};

use self::mesh::{Load, Mesh, must, now};
use self::slow::Slow;
use self::streams::Stream;

/// What is promised is a second; what a test may ask of a busy machine is more.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn who_is_revoked_is_shut_out_at_once_and_let_in_again() {
    let mut mesh = Mesh::start();
    let (cart, web) = (mesh.cart(), mesh.web());
    let mut tcp = web.tcp();
    tcp.exchange().unwrap();
    let mut http = web.http_stream();
    mesh.application.tick();
    http.tick().unwrap();
    let streams = web.streams();
    let other = mesh.join("shop/web");
    let before = mesh.status();

    let began = now();
    let said = must(mesh.weft(&["ca", "revoke", "--identity", "shop/web"]));
    assert!(said.contains("spiffe://weft.local/ns/shop/sa/web is revoked"), "{said}");
    tcp.ends();
    http.ends();
    for stream in streams {
        eprintln!("the live stream ended with {}", stream.ends());
    }
    assert!(now().since(began) < SOON, "live streams ended after {:?}", now().since(began));
    cart.says("the identity spiffe://weft.local/ns/shop/sa/web is revoked");

    // What is new is refused, and the logs of both sides say why.
    assert!(web.tcp().exchange().is_err());
    cart.says("invalid peer certificate: Revoked");
    assert!(matches!(web.get(), Ok(502 | 503)));
    web.says("CertificateRevoked");

    // Neither renewal nor joining helps, also after the control plane was killed.
    for _ in 0..2 {
        let error = other.renew().unwrap_err();
        assert!(error.contains("CertificateRevoked"), "{error}");
        let error = mesh.joining("shop/web").err().unwrap();
        assert!(
            error.contains("the identity spiffe://weft.local/ns/shop/sa/web is revoked"),
            "{error}"
        );
        mesh.kill_control();
        mesh.start_control();
    }
    let status = mesh.status();
    assert_eq!(status.revoked_identities, ["spiffe://weft.local/ns/shop/sa/web"]);
    assert!(status.sequence > before.sequence);
    let again = must(mesh.weft(&["ca", "revoke", "--identity", "shop/web"]));
    assert!(again.contains("was revoked already"), "{again}");

    must(mesh.weft(&["ca", "revoke", "--identity", "shop/web", "--undo"]));
    mesh.until("it is let in again", || web.tcp().exchange().is_ok());
    mesh.until("requests, too", || web.get() == Ok(200));
    assert!(mesh.status().sequence > status.sequence);
    other.renew().unwrap();
}

#[test]
fn a_certificate_is_revoked_by_its_serial_number() {
    let mesh = Mesh::start();
    let (one, other) = (mesh.join("shop/cart"), mesh.join("shop/cart"));
    let said = must(mesh.weft(&["ca", "revoke", "--serial", &one.serial()]));
    assert!(said.contains("is revoked"), "{said}");
    assert!(one.renew().unwrap_err().contains("CertificateRevoked"));
    other.renew().unwrap();
    let status = mesh.status();
    assert_eq!(status.revoked_serials[0].serial, one.serial());
    let held = mesh.holder(&other.serial());
    assert!(status.revoked_serials[0].until <= held.not_after, "it is forgotten with its end");

    let mistyped = mesh.weft(&["ca", "revoke", "--serial", "abcd"]);
    let errors = String::from_utf8(mistyped.stderr).unwrap();
    assert!(errors.contains("no certificate with this serial number is on record"), "{errors}");
    let own = mesh.weft(&["ca", "revoke", "--serial", &status.intermediate.serial]);
    let errors = String::from_utf8(own.stderr).unwrap();
    assert!(errors.contains("this is the intermediate that signs"), "{errors}");
    let wrong = mesh.weft(&["ca", "revoke", "--identity", "spiffe://other.test/ns/a/sa/b"]);
    let errors = String::from_utf8(wrong.stderr).unwrap();
    assert!(errors.contains("is not of this trust domain, weft.local"), "{errors}");
}

#[test]
fn a_root_is_replaced_under_load_and_nothing_notices() {
    let mesh = Mesh::start();
    let (_cart, web) = (mesh.cart(), mesh.web());
    let mut tcp = web.tcp();
    tcp.exchange().unwrap();
    let mut http = web.http_stream();
    mesh.application.tick();
    http.tick().unwrap();
    let (streams, loads) = (web.streams(), web.loads());
    let before = mesh.status();
    let control_key = mesh.file("data/control-key.pem");
    let load = Load::start(&web);
    load.goes_on();

    let said = must(mesh.weft(&["ca", "rotate", "--timeout", "100"]));
    assert!(said.contains("signing") && said.contains("is the only root"), "{said}");
    load.goes_on();
    tcp.exchange().unwrap();
    mesh.application.tick();
    http.tick().unwrap();
    streams.iter().for_each(Stream::tick);
    load::more(&loads, 50);
    loads.into_iter().for_each(|load| drop(load.end_whole()));
    let (requests, connections) = load.end();
    assert!(requests > 0 && connections > 0);

    let after = mesh.status();
    assert_eq!(after.roots.len(), 1);
    assert_ne!(after.roots[0].key, before.roots[0].key);
    assert_eq!((after.roots[0].generation, after.roots[0].signs), (2, true));
    assert!(after.holders.iter().all(|holder| holder.root == after.roots[0].key));
    assert_eq!(mesh.file("data/control-key.pem"), control_key);
    for gone in ["data/root-1-key.pem", "data/intermediate-1.pem"] {
        assert!(!mesh.path(gone).exists(), "{gone}");
    }
    // As somebody sees it who is not Weft.
    let (root, identity) = (mesh.path("data/root-2.pem"), mesh.path("web.data/identity.pem"));
    let mut openssl = Command::new("openssl");
    openssl.arg("verify").arg("-CAfile").arg(root);
    let verified = must(openssl.arg("-untrusted").arg(&identity).arg(&identity).output().unwrap());
    assert!(verified.trim_end().ends_with("OK"), "{verified}");

    // The next one finds everything in order.
    must(mesh.weft(&["ca", "rotate", "--timeout", "100"]));
    assert_eq!(mesh.status().roots[0].generation, 3);
    tcp.exchange().unwrap();
    streams.iter().for_each(Stream::tick);
}

#[test]
fn a_rotation_goes_on_after_a_kill_in_any_state_and_names_whom_it_waits_for() {
    let mut mesh = Mesh::start();
    let web = mesh.web();
    let slow = Slow::start(&mesh, "shop/slow", "shop/slow-1");
    // It takes nothing that is new, so that the rotation cannot leave its first state.
    slow.refuses.store(true, Ordering::Relaxed);
    let waits = mesh.weft(&["ca", "rotate", "--timeout", "1"]);
    assert!(!waits.status.success());
    let errors = String::from_utf8(waits.stderr).unwrap();
    assert!(errors.contains("shop/slow-1 holds trust bundle"), "{errors}");
    assert!(errors.contains("goes on in the control plane"), "{errors}");
    let waits_for = |status: &CaStatus, phase, words: &str| {
        let waiting = &status.rotation.waiting_for;
        status.rotation.phase == phase && matches!(&waiting[..], [one] if one.contains(words))
    };
    mesh.kill_control();
    mesh.start_control();
    let words = "shop/slow-1 holds trust bundle";
    mesh.until_status("it distributes", |it| waits_for(it, Phase::Distributing, words));

    slow.refuses.store(false, Ordering::Relaxed);
    mesh.kill_control();
    mesh.start_control();
    // It takes both roots now, but no new certificate.
    let words = "shop/slow-1 has a certificate below the old root";
    mesh.until_status("it signs", |it| waits_for(it, Phase::Signing, words));
    mesh.kill_control();
    mesh.start_control();
    mesh.until_status("it still signs", |it| waits_for(it, Phase::Signing, words));
    let abort = mesh.weft(&["ca", "rotate", "--abort"]);
    let errors = String::from_utf8(abort.stderr).unwrap();
    assert!(errors.contains("certificates are signed below the root"), "{errors}");

    slow.refuses.store(true, Ordering::Relaxed);
    slow.renew();
    let words = "shop/slow-1 holds trust bundle";
    mesh.until_status("it withdraws", |it| waits_for(it, Phase::Withdrawing, words));
    slow.refuses.store(false, Ordering::Relaxed);
    mesh.kill_control();
    assert!(mesh.path("data/root-1-key.pem").exists());
    mesh.start_control();
    must(mesh.weft(&["ca", "rotate", "--timeout", "60"]));
    mesh.until_status("it ends", |it| it.rotation.phase == Phase::Steady);
    drop(web);
}

#[test]
fn a_rotation_is_aborted_before_anything_is_signed() {
    let mesh = Mesh::start();
    let (_cart, web) = (mesh.cart(), mesh.web());
    let before = mesh.status();
    // It never connects, so that the rotation waits for it.
    let _idle = mesh.join("shop/idle");
    assert!(!mesh.weft(&["ca", "rotate", "--timeout", "1"]).status.success());
    let waiting = mesh.status().rotation.waiting_for.join("\n");
    assert!(waiting.contains("ns/shop/sa/idle (certificate "), "{waiting}");
    assert!(waiting.contains("has not been heard of"), "{waiting}");
    must(mesh.weft(&["ca", "rotate", "--abort", "--timeout", "60"]));
    let status = mesh.status();
    assert_eq!(status.rotation.phase, Phase::Steady);
    assert_eq!(status.roots, before.roots);
    assert!(!mesh.path("data/root-2-key.pem").exists());
    assert!(mesh.path("data/root-1-key.pem").exists());
    web.tcp().exchange().unwrap();
}

#[test]
fn a_proxy_that_was_away_is_waited_for_or_renews_when_it_is_back() {
    let mesh = Mesh::start();
    let (cart, web) = (mesh.cart(), mesh.web());
    web.tcp().exchange().unwrap();
    // One that is killed may come back at any moment: it is waited for.
    cart.kill();
    let waits = mesh.weft(&["ca", "rotate", "--timeout", "2"]);
    assert!(!waits.status.success());
    let waiting = mesh.status().rotation.waiting_for.join("\n");
    assert!(waiting.contains("shop/cart-1"), "{waiting}");
    let cart = mesh.cart_again();
    must(mesh.weft(&["ca", "rotate", "--timeout", "100"]));
    mesh.until("it is served", || web.tcp().exchange().is_ok());
    // One that takes its leave is not waited for, and renews when it is back: its certificate
    // holds, and is on record.
    let gone = cart.end();
    assert!(gone.success());
    must(mesh.weft(&["ca", "rotate", "--timeout", "100"]));
    let cart = mesh.cart_again();
    mesh.until("it is served again", || web.tcp().exchange().is_ok());
    let status = mesh.status();
    let held = status.holders.iter().find(|holder| holder.workload == "shop/cart-1").unwrap();
    assert_eq!(held.root, status.roots[0].key);
    drop(cart);
}

#[test]
fn a_rotation_waits_for_nobody_who_is_revoked() {
    let mesh = Mesh::start();
    let (cart, web) = (mesh.cart(), mesh.web());
    web.tcp().exchange().unwrap();
    let lost = mesh.join("shop/lost");
    cart.kill();
    let rotate = |seconds: &str| mesh.weft(&["ca", "rotate", "--timeout", seconds]);
    let waits = rotate("1");
    assert!(!waits.status.success());
    let errors = String::from_utf8(waits.stderr).unwrap();
    assert!(errors.contains("`weft ca revoke --serial`"), "{errors}");
    // As the message names it, so it is revoked: a registered workload that was killed.
    let named = errors.lines().find(|line| line.contains("shop/cart-1 (certificate ")).unwrap();
    let (_, serial) = named.split_once("(certificate ").unwrap();
    let (serial, _) = serial.split_once(')').unwrap();
    assert_eq!(errors.lines().filter(|line| line.contains("cart-1")).count(), 1, "{errors}");
    assert!(errors.contains(&lost.serial()), "{errors}");
    must(mesh.weft(&["ca", "revoke", "--serial", serial]));
    must(mesh.weft(&["ca", "revoke", "--identity", "shop/lost"]));
    must(rotate("100"));

    // Who was revoked by its number joins anew by its token when it starts again.
    mesh.new_token("shop/cart");
    let cart = mesh.cart_again();
    cart.says("joined anew, since the certificate of before proves nothing any more");
    mesh.until("it is served", || web.tcp().exchange().is_ok());
}

#[test]
fn a_start_that_fails_uses_up_no_token_and_holds_no_certificate() {
    let mesh = Mesh::start();
    let (taken, address) = Mesh::listener();
    let errors = mesh.fails("web", address);
    assert!(errors.contains("web.yaml cannot start"), "{errors}");
    let advice = "end what listens there, or give another address";
    assert!(errors.contains(&format!("cannot listen at {address}: ")), "{errors}");
    assert!(errors.contains(advice), "{errors}");
    let config = mesh.path("web.yaml");
    let metrics = address.to_string();
    let shown = mesh.weft(&["proxy", "--config", config.to_str().unwrap(), "--metrics", &metrics]);
    let errors = String::from_utf8(shown.stderr).unwrap();
    assert!(errors.contains("(--metrics)") && errors.contains(advice), "{errors}");
    drop(taken);
    assert_eq!(mesh.status().holders.len(), 0);
    // The token is for one use.
    let web = mesh.again("web");
    assert_eq!(mesh.status().holders.len(), 1);
    // What has registered nothing gives its certificate back, too.
    assert!(web.end().success());
    let holders = mesh.status().holders;
    assert!(matches!(&holders[..], [one] if one.left), "{holders:?}");
    must(mesh.weft(&["ca", "rotate", "--timeout", "60"]));
}
