//! Two proxies with one directory, and two with one name.

use std::time::Duration;

use weft_control::api::{ProxyStatus, StatusResponse};

use crate::app::{App, Executed};
use crate::lab::{
    Lab, PortSpec, Process, Proxy, Spec, ask, command, succeeded, wait_until, wait_within,
};

/// By when an instance that has gone without a word has made room: its stream's end is seen at
/// once, then it counts for 30 s, and the other one asks every 10 s.
const FORGOTTEN: Duration = Duration::from_secs(60);

fn cart<'s>(app: &App) -> Spec<'s> {
    Spec {
        name: "cart-1",
        account: "shop/cart",
        services: &["shop/cart"],
        ports: vec![PortSpec::web(Some("http"), app.address)],
        ..Spec::default()
    }
}

/// The proxies of `shop/cart-1`.
fn status(lab: &Lab) -> Vec<ProxyStatus> {
    let text = succeeded(lab.weft(&["status", "--json"]));
    let StatusResponse { proxies, .. } = serde_json::from_str(&text).unwrap();
    proxies.into_iter().filter(|proxy| proxy.workload == "shop/cart-1").collect()
}

#[test]
fn a_directory_is_one_proxys_until_that_has_ended() {
    let lab = Lab::new();
    let app = App::start("cart-1", &Executed::default());
    let mut first = lab.proxy(&cart(&app));
    let config = lab.directory.join("cart-1.yaml");
    let mut second = Process::start(&lab.directory, "second", &mut command(&config));
    assert_eq!(second.wait().code(), Some(1), "{}", second.said());
    let errors = second.said();
    let directory = lab.directory.join("cart-1.data");
    let words = "is in use by another process: end that one, or give this one another `data`";
    assert!(errors.contains(&format!("{} {words}", directory.display())), "{errors}");
    assert_eq!(first.shown("/ready"), "ready\n");
    assert_eq!(status(&lab).len(), 1);
    // However it ends, the next one need not wait.
    for _ in 0..5 {
        first.kill();
        first.start_again();
    }
}

#[test]
fn an_older_instance_comes_back_once_a_newer_one_of_its_name_has_gone() {
    let lab = Lab::new();
    let executed = Executed::default();
    let apps = ["older", "newer"].map(|name| App::start(name, &executed));
    let older = lab.proxy(&cart(&apps[0]));
    let caller = lab.caller("web");
    let answers = || ask(caller.addresses[0], "GET", "/", &[]).app;
    assert_eq!(answers(), "older");

    // As if on another machine: it shares nothing but the name.
    lab.token("newer", "shop/cart", &["shop/cart"]);
    let text = cart(&apps[1]).text().replace("cart-1.", "newer.");
    let mut newer = Proxy::start(&lab, "newer", &text);
    let lost = "weft: not registered any more: another instance has the name shop/cart-1";
    older.wait_for_log(0, lost);
    wait_until("the newer one is called", || answers() == "newer");
    let proxies = status(&lab);
    let unregistered: Vec<_> =
        proxies.iter().filter_map(|proxy| proxy.unregistered.as_deref()).collect();
    assert_eq!((proxies.len(), unregistered.len()), (2, 1), "{proxies:#?}");
    assert!(unregistered[0].contains("another instance has its name"), "{unregistered:?}");
    let text = succeeded(lab.weft(&["status"]));
    assert!(text.contains("shop/cart-1 is not registered by this proxy: another"), "{text}");

    let back = "weft: registered with the control plane again";
    newer.terminate();
    older.wait_for_log(0, back);
    wait_until("the older one is called", || answers() == "older");
    assert!(status(&lab)[0].unregistered.is_none());

    // Without a word, too.
    newer.start_again();
    wait_until("the newer one is called", || answers() == "newer");
    newer.kill();
    wait_within(FORGOTTEN, "the older one is called", || answers() == "older");
    assert_eq!(older.log().matches(lost).count(), 2, "{}", older.log());
    assert_eq!(older.log().matches(back).count(), 2, "{}", older.log());

    // A Workload that somebody took away comes back as well.
    succeeded(lab.weft(&["delete", "workload", "cart-1", "-n", "shop"]));
    older.wait_for_log(0, "not registered any more: its Workload was taken away");
    wait_until("it is registered again", || older.log().matches(back).count() == 3);
    wait_until("the older one is called", || answers() == "older");
}
