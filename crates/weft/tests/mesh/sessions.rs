//! Clients that stay with the instance that first answered them, by curl and its cookies.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::app::{App, Executed};
use crate::lab::{Lab, Proxy, output, succeeded, wait_until};

const NAMES: [&str; 3] = ["cart-1", "cart-2", "cart-3"];

/// Instances of `shop/cart` whose clients stay as `session` says, and a caller.
struct Carts {
    lab: Lab,
    carts: Vec<(App, Proxy)>,
    caller: Proxy,
}

impl Carts {
    fn start(session: &str) -> Carts {
        let lab = Lab::new();
        let cart = |name: &str| {
            let app = App::start(name, &Executed::default());
            let proxy = lab.replica(name, Some("http"), &app);
            (app, proxy)
        };
        let carts = NAMES.map(cart).into();
        let caller = lab.caller("web");
        let address = caller.addresses[0];
        lab.apply(&format!(
            "
apiVersion: weft.dev/v1alpha1
kind: BackendPolicy
metadata: {{ name: cart, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: cart }}]
  loadBalancing: {{ algorithm: RoundRobin }}
  sessionPersistence: {session}
"
        ));
        wait_until("answers name sessions, and all instances give some", || {
            let given = |_| token(&ask(address, &[]));
            (0..6).filter_map(given).collect::<BTreeSet<_>>().len() == NAMES.len()
        });
        Carts { lab, carts, caller }
    }

    fn address(&self) -> SocketAddr {
        self.caller.addresses[0]
    }
}

/// Heads and body of what curl is answered.
fn ask(address: SocketAddr, arguments: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-i", "--fail", "--max-time", "20"]).args(arguments);
    succeeded(output(curl.arg(format!("http://{address}/"))))
}

/// What an answer calls the instance of the session that it gives, if it gives one.
fn token(answer: &str) -> Option<String> {
    let mut lines = answer.lines();
    let line = lines.find(|line| {
        let line = line.to_ascii_lowercase();
        line.starts_with("set-cookie: ") || line.starts_with("x-session: ")
    })?;
    let (_, value) = line.split_once(": ")?;
    let value = value.split_once('=').map_or(value, |(_, value)| value);
    Some(value.split('-').next()?.to_owned())
}

fn owner(answer: &str) -> &str {
    NAMES.into_iter().find(|name| answer.ends_with(*name)).unwrap_or_else(|| panic!("{answer}"))
}

/// What one whose cookies are in `jar` is answered.
fn with_jar(address: SocketAddr, jar: &Path, version: &str) -> String {
    let jar = jar.to_str().unwrap();
    ask(address, &["-b", jar, "-c", jar, version])
}

#[test]
fn a_client_keeps_its_instance_by_its_cookie_until_that_is_gone() {
    let mut carts = Carts::start("{}");
    let address = carts.address();
    let given = ask(address, &[]);
    let cookie = given.lines().find(|line| line.to_lowercase().starts_with("set-cookie:")).unwrap();
    assert!(cookie.contains("weft-session.shop.cart="), "{given}");
    assert!(cookie.trim_end().ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{given}");

    let versions = ["--http1.1", "--http2-prior-knowledge"];
    let jars: Vec<_> = (0..6).map(|jar| carts.lab.directory.join(format!("jar-{jar}"))).collect();
    let first: Vec<_> =
        jars.iter().map(|jar| owner(&with_jar(address, jar, versions[0])).to_owned()).collect();
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), NAMES.len(), "{first:?}");
    for version in versions {
        for (jar, first) in jars.iter().zip(&first) {
            let answer = with_jar(address, jar, version);
            assert_eq!((owner(&answer), token(&answer)), (&**first, None), "{answer}");
        }
    }
    // What is written there is chosen among the instances, or counts as nothing.
    let forged = ["-H", "cookie: weft-session.shop.cart=0123456789abcdef-1-1"];
    assert!(token(&ask(address, &forged)).is_some());

    carts.carts[1].1.kill();
    let moved: Vec<_> =
        jars.iter().map(|jar| owner(&with_jar(address, jar, versions[0])).to_owned()).collect();
    for ((jar, first), moved) in jars.iter().zip(&first).zip(&moved) {
        assert!(moved != "cart-2" && (moved == first || first == "cart-2"), "{first} {moved}");
        // Who had to move stays where it is now.
        assert_eq!(owner(&with_jar(address, jar, versions[1])), moved);
    }
}

#[test]
fn a_client_keeps_its_instance_by_a_header_and_a_session_ends() {
    let session = "{ type: Header, header: { name: X-Session }, idleTimeout: 5s }";
    let carts = Carts::start(session);
    let address = carts.address();
    let given = ask(address, &[]);
    let line = given.lines().find(|line| line.to_lowercase().starts_with("x-session:")).unwrap();
    let first = owner(&given);
    let answers: Vec<_> = (0..6).map(|_| ask(address, &["-H", line.trim_end()])).collect();
    assert!(answers.iter().all(|answer| owner(answer) == first), "{answers:?}");
    wait_until("the session has ended", || owner(&ask(address, &["-H", line.trim_end()])) != first);
}
