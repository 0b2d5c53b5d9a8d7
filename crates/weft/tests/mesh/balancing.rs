//! Which of several instances is called, as programs that nobody here wrote notice it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::app::{App, Executed};
use crate::grpcio;
use crate::lab::{
    Lab, Process, Proxy, now, output, ready_addresses, since, succeeded, take_turn, wait_until,
    wait_within,
};

const NAMES: [&str; 5] = ["cart-1", "cart-2", "cart-3", "cart-4", "cart-5"];

/// Five instances of `shop/cart` that speak `protocol`, with their proxies.
fn carts(lab: &Lab, protocol: Option<&str>) -> Vec<(App, Proxy)> {
    let cart = |name: &str| {
        let app = App::start(name, &Executed::default());
        let proxy = lab.replica(name, protocol, &app);
        (app, proxy)
    };
    NAMES.map(cart).into()
}

/// Has `shop/cart` balanced as `load_balancing` says.
fn balance(lab: &Lab, load_balancing: &str) {
    lab.apply(&format!(
        "
apiVersion: weft.dev/v1alpha1
kind: BackendPolicy
metadata: {{ name: cart, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: cart }}]
  loadBalancing: {load_balancing}
"
    ));
}

/// Who answers each of `users`, all of whom one curl asks for, one after the other.
fn owners(lab: &Lab, address: SocketAddr, users: usize) -> Vec<String> {
    let mut config = String::new();
    for user in 0..users {
        write!(
            config,
            "silent\nmax-time = 20\nfail\nwrite-out = \"\\n\"\n\
             header = \"x-user: user-{user}\"\nurl = \"http://{address}/\"\nnext\n"
        )
        .unwrap();
    }
    let path = lab.file("users.curl", config.trim_end_matches("next\n"));
    let said = succeeded(output(Command::new("curl").arg("-K").arg(path)));
    let owners: Vec<_> = said.lines().map(str::to_owned).collect();
    assert_eq!(owners.len(), users, "{said}");
    owners
}

/// Waits until all of some requests of one user reach the same instance.
fn wait_until_hashed(lab: &Lab, address: SocketAddr) {
    wait_until("requests are told apart by their user", || {
        let asked = || owners(lab, address, 4);
        let first = asked();
        (0..4).all(|_| asked() == first)
    });
}

#[test]
fn a_user_keeps_its_instance_while_others_restart() {
    let _turn = take_turn();
    let lab = Lab::new();
    let mut carts = carts(&lab, None);
    let caller = lab.caller("web");
    let address = caller.addresses[0];
    for (algorithm, within) in [("RingHash", 0.35), ("Maglev", 0.25)] {
        let hash_on = "[{ type: Header, name: X-User }]";
        balance(&lab, &format!("{{ algorithm: {algorithm}, hashOn: {hash_on} }}"));
        wait_until_hashed(&lab, address);
        let users = 500;
        let before = owners(&lab, address, users);
        let mut shares = BTreeMap::new();
        before.iter().for_each(|owner| *shares.entry(&**owner).or_insert(0) += 1);
        assert_eq!(shares.len(), NAMES.len(), "{algorithm}: {shares:?}");
        for share in shares.values() {
            let off = (f64::from(*share) - 100.0).abs() / 100.0;
            assert!(off < within, "{algorithm}: {shares:?}");
        }
        // The same users over HTTP/2.
        for (user, owner) in before.iter().enumerate().take(15) {
            let header = format!("x-user: user-{user}");
            let mut curl = Command::new("curl");
            curl.args(["-s", "--max-time", "20", "--http2-prior-knowledge", "-H", &header]);
            let said = succeeded(output(curl.arg(format!("http://{address}/"))));
            assert_eq!(said, *owner, "{algorithm}");
        }
        let users = 60;
        let some = &before[..users];

        carts[1].1.kill();
        let without = owners(&lab, address, users);
        for (before, without) in some.iter().zip(&without) {
            assert_ne!(without, "hello from cart-2", "{algorithm}");
            assert!(before == without || before == "hello from cart-2", "{algorithm}: {before}");
        }
        carts[1].1.start_again();
        wait_until("the instance that is back has its users again", || {
            owners(&lab, address, users) == some
        });
    }
}

#[test]
fn a_call_of_grpcio_keeps_its_instance_too() {
    let lab = Lab::new();
    let _carts = carts(&lab, None);
    let caller = lab.caller("web");
    let address = caller.addresses[0];
    balance(&lab, "{ algorithm: RingHash, hashOn: [{ type: Header, name: x-user }] }");
    wait_until_hashed(&lab, address);
    let users = 12;
    let expected = owners(&lab, address, users);
    let python = grpcio::environment().join("bin/python");
    let script = lab.file("calls.py", include_str!("python/calls.py"));
    let mut calls = Command::new(python);
    let mut calls = calls.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut asked = calls.stdin.take().unwrap();
    for user in 0..users {
        let call = serde_json::json!({
            "address": address.to_string(), "authority": "cart", "path": "/lab.Calls/Get",
            "metadata": [["x-user", format!("user-{user}")]],
        });
        writeln!(asked, "{call}").unwrap();
    }
    drop(asked);
    let said = succeeded(calls.wait_with_output().unwrap());
    let found: Vec<_> = said
        .lines()
        .map(|line| {
            let answer: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(answer["grpc_status"], 0, "{answer}");
            format!("hello from {}", answer["app"].as_str().unwrap())
        })
        .collect();
    assert_eq!(found, expected);
}

/// Who answers curl, and whether it was given a cookie. It keeps its cookies in `jar`.
fn with_jar(address: SocketAddr, jar: &Path) -> (String, bool) {
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "20", "-i", "-c"]).arg(jar).arg("-b").arg(jar);
    let said = succeeded(output(curl.arg(format!("http://{address}/"))));
    let is_given = said.to_ascii_lowercase().contains("set-cookie: cart=");
    (said.lines().last().unwrap().to_owned(), is_given)
}

#[test]
fn curl_is_given_a_cookie_and_kept_by_it() {
    let lab = Lab::new();
    let _carts = carts(&lab, Some("http"));
    let caller = lab.caller("web");
    let address = caller.addresses[0];
    balance(&lab, "{ algorithm: Maglev, hashOn: [{ type: Cookie, name: cart, ttl: 1h }] }");
    wait_until("a cookie is given", || {
        let jar = lab.directory.join("first.jar");
        let _ = std::fs::remove_file(&jar);
        with_jar(address, &jar).1
    });
    let mut found = BTreeSet::new();
    for client in 0..20 {
        let jar = lab.directory.join(format!("{client}.jar"));
        let (first, is_given) = with_jar(address, &jar);
        assert!(is_given, "client {client}");
        for _ in 0..5 {
            assert_eq!(with_jar(address, &jar), (first.clone(), false), "client {client}");
        }
        let kept = std::fs::read_to_string(&jar).unwrap();
        assert!(kept.contains("\t/\t") && kept.contains("#HttpOnly_127.0.0.1"), "{kept}");
        found.insert(first);
    }
    // That 20 clients leave out three of five is out of reach.
    assert!(found.len() >= 3, "{found:?}");
}

#[test]
fn a_stream_of_bytes_goes_by_its_source_address() {
    let lab = Lab::new();
    let _carts = carts(&lab, Some("tcp"));
    let caller = lab.caller("web");
    let url = format!("http://{}/", caller.addresses[0]);
    let hash_on = "[{ type: Header, name: x-user }, { type: SourceAddress }]";
    balance(&lab, &format!("{{ algorithm: RingHash, hashOn: {hash_on} }}"));
    let from = |host: u8| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--max-time", "20", "-H", "x-user: same", "--interface"]);
        succeeded(output(curl.arg(format!("127.0.0.{host}")).arg(&url)))
    };
    wait_until("connections go by their source", || {
        let first = from(1);
        (0..15).all(|_| from(1) == first)
    });
    let all: Vec<_> = (1..=20).map(from).collect();
    assert!(BTreeSet::from_iter(&all).len() >= 3, "{all:?}");
    assert_eq!((1..=20).map(from).collect::<Vec<_>>(), all);
}

/// How many calls each server has answered, of those that `client` tells of from its line `from`
/// on, `count` in all.
fn answered(client: &Process, from: usize, count: usize) -> BTreeMap<String, usize> {
    wait_within(CALLS_WITHIN, &format!("{count} more calls were answered"), || {
        client.said().lines().count() >= from + count
    });
    let mut answered = BTreeMap::new();
    for line in client.said().lines().skip(from).take(count) {
        assert!(!line.starts_with("failed"), "{line}");
        *answered.entry(line.to_owned()).or_default() += 1;
    }
    answered
}

/// Whether each of `servers` has what all have on average, within a fifth.
fn are_even(answered: &BTreeMap<String, usize>, servers: usize) -> bool {
    let mean = answered.values().sum::<usize>() as f64 / servers as f64;
    let is_even = |count: &usize| (*count as f64 - mean).abs() <= mean * 0.2;
    answered.len() == servers && answered.values().all(is_even)
}

/// How long many calls may take; that is not measured.
const CALLS_WITHIN: Duration = Duration::from_secs(150);

/// How soon load is even after servers were added; ten times as long is waited for it.
const EVEN_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn long_connections_of_grpcio_are_spread_evenly_when_servers_are_added() {
    let _turn = take_turn();
    let lab = Lab::new();
    let python = grpcio::environment().join("bin/python");
    let script = lab.file("even_server.py", include_str!("python/even_server.py"));
    let mut command = Command::new(&python);
    command.arg(script).arg("9");
    let servers = Process::start(&lab.directory, "servers", &mut command);
    let addresses = ready_addresses(&servers, "listening at ");
    let replica =
        |number: usize| lab.replica_at(&format!("cart-{number}"), Some("grpc"), addresses[number]);
    let mut replicas: Vec<_> = (0..3).map(replica).collect();
    let callers: Vec<_> = (0..20).map(|number| lab.caller(&format!("web-{number}"))).collect();
    let script = lab.file("even_client.py", include_str!("python/even_client.py"));
    let mut command = Command::new(&python);
    command.arg(script).args(callers.iter().map(|caller| caller.addresses[0].to_string()));
    let clients = Process::start(&lab.directory, "clients", &mut command);
    let three = answered(&clients, 0, 1_000);
    assert_eq!(three.len(), 3, "{three:?}");

    replicas.extend((3..9).map(replica));
    let scaled = now();
    wait_until("ten seconds are over", || since(scaled) >= EVEN_WITHIN);
    // On a machine that has no time for them, calls take longer, and so does it to learn from them.
    loop {
        let nine = answered(&clients, clients.said().lines().count(), 4_500);
        eprintln!("after {:?}: {nine:?}", since(scaled));
        if are_even(&nine, 9) {
            break;
        }
        assert!(since(scaled) < 10 * EVEN_WITHIN, "{nine:?}");
    }
    for caller in &callers {
        let metrics = caller.shown("/metrics");
        let accepted = metrics
            .lines()
            .filter(|line| line.starts_with("weft_connections_total") && line.contains("outbound"));
        assert!(accepted.clone().all(|line| line.ends_with(" 1")), "{metrics}");
        assert!(accepted.count() > 0, "{metrics}");
    }
}
