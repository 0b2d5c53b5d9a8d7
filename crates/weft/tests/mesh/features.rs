//! Proxies of an older release beside the control plane of this one: what they cannot read they
//! refuse, say so, and go on with what they had.
//!
//! There is one release only, so they are this program, started again, with fewer features.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use weft_wire::Release;

use crate::app::{App, Executed};
use crate::lab::{Answer, Lab, PortSpec, Proxy, Spec, ask, command, output, succeeded, wait_until};

/// The file of the proxy that the process runs. It is one if this is there.
const CONFIG: &str = "WEFT_TEST_OLDER_CONFIG";

/// The schema that it reads.
const READS: &str = "WEFT_TEST_OLDER_READS";

/// A proxy of version 0.0.9, which lacks all features.
fn older(config: &Path) -> Command {
    reading(1, config)
}

/// One that reads the schema before this release's.
fn of_schema_before(config: &Path) -> Command {
    reading(0, config)
}

/// One that reads the schema after this release's.
fn of_schema_after(config: &Path) -> Command {
    reading(2, config)
}

fn reading(schema: u32, config: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["features::child", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(CONFIG, config).env(READS, schema.to_string());
    command
}

/// Not a test of its own: what the others start.
#[test]
fn child() {
    let Ok(config) = std::env::var(CONFIG) else { return };
    let schema = std::env::var(READS).unwrap().parse().unwrap();
    let release = Release { version: "0.0.9".to_owned(), schema, features: [].into() };
    let arguments = command(Path::new(&config));
    let arguments = arguments.get_args().map(OsString::from);
    weft::main(["weft".into()].into_iter().chain(arguments), release);
}

const UPGRADE: &str = "upgrade this proxy to the version of the control plane, or a newer one";

/// All requests go to `cart`, but for those that `matches` describes, which go to `other`.
fn route(matches: &str, other: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: cart, namespace: shop }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: cart, port: 80 }}]
  rules:
  - {{ backendRefs: [{{ name: cart, port: 80 }}] }}
  - {{ matches: [{{ {matches} }}], backendRefs: [{{ name: {other}, port: 80 }}] }}
"
    )
}

fn policy(allow: &str) -> String {
    format!(
        "
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{ name: cart, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: cart }}]
  allow: [{{ from: [{{ {allow} }}] }}]
"
    )
}

fn caller<'s>(name: &'s str, account: &'s str) -> Spec<'s> {
    Spec { name, account, calls: &[("shop/cart", 80)], ..Spec::default() }
}

fn replica<'s>(name: &'s str, app: &App) -> Spec<'s> {
    let ports = vec![PortSpec::web(Some("http"), app.address)];
    Spec { name, account: "shop/cart", services: &["shop/cart"], ports, ..Spec::default() }
}

fn get(proxy: &Proxy, path: &str) -> Answer {
    ask(proxy.addresses[0], "GET", path, &[])
}

/// What `weft get` says of how many have `kind` `cart` in force.
fn enforced(lab: &Lab, kind: &str) -> String {
    let table = succeeded(lab.weft(&["get", kind, "cart", "-n", "shop"]));
    let row = table.lines().nth(1).unwrap_or_default();
    row.split_once(" yes ").map(|(_, rest)| rest.trim().to_owned()).unwrap_or_default()
}

fn wait_for_enforced(lab: &Lab, kind: &str, wanted: &str, is_refused: bool) {
    wait_until(&format!("{kind} is enforced {wanted}"), || {
        let found = enforced(lab, kind);
        found.starts_with(wanted) && found.contains("refused") == is_refused
    });
}

/// Checks that `weft status` and the YAML of `kind` say that `who` refuses `object`, and why.
fn check_told(lab: &Lab, who: &str, object: &str, kind: &str, reason: &str) {
    let status = succeeded(lab.weft(&["status"]));
    assert!(status.contains(&format!("{who} refuses {object}: {reason}\n")), "{status}");
    let row = status.lines().find(|line| line.contains(who)).unwrap();
    assert!(row.contains(" 0.0.9 "), "{status}");
    let yaml = succeeded(lab.weft(&["get", kind, "cart", "-n", "shop", "-o", "yaml"]));
    let joined: String = yaml.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(joined.contains(&format!("{object}: {reason}")), "{yaml}");
}

/// Checks that nobody answers a caller of `proxy`, whose log says `why`.
fn check_closed(proxy: &Proxy, why: &str) {
    let asked = output(Command::new("curl").arg(format!("http://{}/", proxy.addresses[0])));
    assert!(!asked.status.success(), "{asked:?}");
    proxy.wait_for_log(0, why);
}

/// Asks again and again, with curl, as long as `during` takes: `app` answers every time.
fn always_answered<T>(
    address: SocketAddr,
    fields: &[&str],
    app: &str,
    during: impl FnOnce() -> T,
) -> T {
    struct Over<'s>(&'s AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also where the rest fails: nobody is to wait for ever.
        let over = Over(&is_over);
        let asking = scope.spawn(|| {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                let answer = ask(address, "GET", "/", fields);
                assert_eq!((answer.status, answer.app.as_str()), (200, app), "{answer:?}");
                count += 1;
            }
            count
        });
        let result = during();
        drop(over);
        let count = asking.join().unwrap();
        eprintln!("{count} requests with {fields:?}, all answered by {app}");
        assert!(count > 0);
        result
    })
}

/// What has the field that the first route looks for.
const NEXT: &[&str] = &["X-Next: 1"];

#[test]
fn a_route_that_an_older_proxy_cannot_read_stays_as_it_was_there_until_it_is_upgraded() {
    let lab = Lab::new();
    let executed = Executed::default();
    let (cart, next) = (App::start("cart", &executed), App::start("next", &executed));
    let _cart = lab.proxy(&replica("cart-1", &cart));
    let ports = vec![PortSpec::web(Some("http"), next.address)];
    let services = &["shop/next"];
    let spec = Spec { name: "next-1", account: "shop/next", services, ports, ..Spec::default() };
    let _next = lab.proxy(&spec);
    lab.apply(&route("headers: [{ name: x-next, value: '1' }]", "next"));
    let newer = lab.proxy(&caller("newer", "shop/web"));
    let mut behind = lab.proxy_by(older, &caller("older", "shop/old"));
    behind.keep_listeners();
    let (here, there) = (newer.addresses[0], behind.addresses[0]);
    let app = |address, path: &str, fields: &[&str]| ask(address, "GET", path, fields).app;
    for address in [here, there] {
        wait_until("both lead there", || app(address, "/", NEXT) == "next");
    }
    wait_for_enforced(&lab, "httproute", "2/2", false);

    // The one after it leads to `cart` only, as far as the control plane knows.
    let object = "route/http/shop/cart";
    let reason = format!("requires the feature query-match, which weft 0.0.9 lacks: {UPGRADE}");
    always_answered(there, NEXT, "next", || {
        let from = behind.log().len();
        // Whoever waits for it is told at once.
        let applied = route("queryParams: [{ name: next, value: '1' }]", "cart");
        let waited = lab.apply_with(&["--wait=600"], &applied);
        let said = String::from_utf8_lossy(&waited.stderr);
        let refuses = "  spiffe://weft.local/ns/shop/sa/old refuses";
        assert!(said.contains(&format!("{refuses} {object}: {reason}\n")), "{said}");
        assert!(!waited.status.success(), "{said}");
        wait_until("the newer takes it", || app(here, "/", NEXT) == "cart");
        let said =
            format!("weft: {object} is not put to work, and what was before stays: {reason}");
        behind.wait_for_log(from, &said);
        wait_for_enforced(&lab, "httproute", "1/2", true);
        check_told(&lab, "spiffe://weft.local/ns/shop/sa/old", object, "httproute", &reason);
    });
    assert_eq!(app(there, "/?next=1", &[]), "cart");

    // It starts again with what it kept, and refuses again.
    behind.terminate();
    behind.start_again();
    always_answered(there, NEXT, "next", || {
        wait_for_enforced(&lab, "httproute", "1/2", true);
        let status = succeeded(lab.weft(&["status"]));
        assert!(status.contains(&format!("refuses {object}: {reason}")), "{status}");
    });

    // One that never had another does not call the Service as if there were none.
    let mut late = lab.proxy_by(older, &caller("late", "shop/late"));
    late.wait_for_log(0, &format!("weft: {object} is not put to work: {reason}"));
    check_closed(&late, &format!("{object} is refused: {reason}"));
    late.terminate();

    // What the object requires no more, it takes.
    lab.apply(&route("path: { type: Exact, value: /next }", "next"));
    wait_for_enforced(&lab, "httproute", "2/2", false);
    assert_eq!((app(there, "/next", &[]), app(there, "/", NEXT)), both("next", "cart"));
    assert!(!succeeded(lab.weft(&["status"])).contains("refuses"));

    // And all of it, once it is upgraded.
    lab.apply(&route("queryParams: [{ name: next, value: '2' }]", "next"));
    wait_for_enforced(&lab, "httproute", "1/2", true);
    assert_eq!(app(there, "/?next=2", &[]), "cart");
    behind.terminate();
    behind.program = command;
    behind.start_again();
    wait_for_enforced(&lab, "httproute", "2/2", false);
    assert_eq!((app(there, "/?next=2", &[]), app(there, "/next", &[])), both("next", "cart"));
}

fn both(one: &str, other: &str) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

#[test]
fn a_policy_that_an_older_proxy_cannot_read_opens_nothing() {
    let lab = Lab::new();
    let executed = Executed::default();
    let (app, second) = (App::start("cart", &executed), App::start("second", &executed));
    let mut behind = lab.proxy_by(older, &replica("cart-1", &app));
    lab.apply(&policy("serviceAccount: shop/web"));
    let web = lab.proxy(&caller("web", "shop/web"));
    let rogue = lab.proxy(&caller("rogue", "shop/rogue"));
    let other = lab.proxy(&caller("other", "shop/other"));
    let answers = || [&web, &rogue, &other].map(|caller| get(caller, "/").status);
    wait_until("the first policy is in force", || answers() == [200, 403, 403]);

    // Whoever passes over the exception lets `rogue` in.
    let object = "policy/authorization/shop/cart";
    let reason = format!("requires the feature peer-exceptions, which weft 0.0.9 lacks: {UPGRADE}");
    always_answered(web.addresses[0], &[], "cart", || {
        lab.apply(&policy("namespace: shop, notServiceAccounts: [shop/rogue]"));
        wait_for_enforced(&lab, "authorizationpolicy", "0/1", true);
        check_told(&lab, "shop/cart-1", object, "authorizationpolicy", &reason);
        let said =
            format!("weft: {object} is not put to work, and what was before stays: {reason}");
        behind.wait_for_log(0, &said);
        assert_eq!(answers(), [200, 403, 403]);
        behind.wait_for_log(0, "weft: guards/service/shop/cart is not put to work");

        // One that has nothing from before is closed, and others are asked instead.
        let mut fresh = lab.proxy_by(older, &replica("cart-2", &second));
        fresh.wait_for_log(0, &format!("weft: {object} is not put to work: {reason}"));
        wait_for_enforced(&lab, "authorizationpolicy", "0/2", true);
        assert!(!fresh.shown("/ready").starts_with("ready"), "{}", fresh.shown("/ready"));
        assert_eq!(answers(), [200, 403, 403]);
        fresh.terminate();
    });

    behind.terminate();
    behind.program = command;
    behind.start_again();
    wait_for_enforced(&lab, "authorizationpolicy", "1/1", false);
    wait_until("the second policy is in force", || answers() == [200, 403, 200]);
    assert!(!succeeded(lab.weft(&["status"])).contains("refuses"));
}

#[test]
fn proxies_of_another_schema_serve_nothing_and_say_who_is_to_be_upgraded() {
    let lab = Lab::new();
    let executed = Executed::default();
    let app = App::start("cart", &executed);
    let _cart = lab.proxy(&replica("cart-1", &app));
    let newer = "upgrade the control plane to the version of this proxy, or a newer one";
    let cases = [
        ("before", 0, of_schema_before as crate::lab::Program, UPGRADE),
        ("after", 2, of_schema_after, newer),
    ];
    for (name, reads, program, what) in cases {
        let account = format!("shop/{name}");
        let proxy = lab.proxy_by(program, &caller(name, &account));
        let reason = format!("of schema 1, and weft 0.0.9 reads schema {reads}: {what}");
        proxy.wait_for_log(0, &format!("service/shop/cart is not put to work: {reason}"));
        check_closed(&proxy, "service-unknown");
        let who = format!("spiffe://weft.local/ns/shop/sa/{name}");
        check_told(&lab, &who, "service/shop/cart", "service", &reason);
    }
}
