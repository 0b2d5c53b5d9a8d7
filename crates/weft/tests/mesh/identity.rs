//! Who may join, who may register, and which of two instances of one name is the one that counts.

use std::fs;
use std::process::Command;

use weft_control::Client;
use weft_control::api::TokenRequest;
use weft_identity::{AdminCredential, JoinToken};

use crate::app::{App, Executed, run_local};
use crate::lab::{Lab, PortSpec, Process, Proxy, Spec, ask, command, succeeded, wait_until};

/// What a proxy says that cannot join by `token`.
fn refused(lab: &Lab, name: &str, token: &str) -> String {
    let calls = &[("shop/cart", 80)];
    let spec = Spec { name, account: "shop/web", calls, ..Spec::default() };
    let config = lab.file(&format!("{name}.yaml"), &spec.text());
    lab.file(&format!("{name}.token"), token);
    let mut process = Process::start(&lab.directory, name, &mut command(&config));
    let status = process.wait();
    assert!(!status.success(), "{name} ended well");
    assert!(!lab.directory.join(format!("{name}.data/identity.pem")).exists(), "{name} got one");
    process.said()
}

#[test]
fn only_a_valid_token_gives_an_identity() {
    let lab = Lab::new();
    let token = || succeeded(lab.weft(&["token", "--service-account", "shop/web"]));

    // One with a secret that was never issued: that of another token.
    let mut unknown = JoinToken::parse(token().trim()).unwrap();
    unknown.bearer.secret = JoinToken::parse(token().trim()).unwrap().bearer.secret;
    let said = refused(&lab, "unknown", &unknown.to_text());
    assert!(said.contains("never issued, was deleted, or is damaged"), "{said}");

    // One of another control plane, which this one cannot be mistaken for.
    let other = Lab::new();
    let token_of_other = succeeded(other.weft(&["token", "--service-account", "shop/web"]));
    let mut foreign = JoinToken::parse(token_of_other.trim()).unwrap();
    foreign.addresses = JoinToken::parse(token().trim()).unwrap().addresses;
    let said = refused(&lab, "foreign", &foreign.to_text());
    assert!(said.contains("this is not the control plane"), "{said}");

    // One that was used.
    let once = token();
    lab.file("first.token", &once);
    let calls = &[("shop/cart", 80)];
    let spec = Spec { name: "first", account: "shop/web", calls, ..Spec::default() };
    let first = Proxy::start(&lab, "first", &spec.text());
    let said = refused(&lab, "second", &once);
    assert!(said.contains("is used up: have a new one made"), "{said}");
    drop(first);

    // One for another service account.
    let said = refused(
        &lab,
        "other-account",
        &succeeded(lab.weft(&["token", "--service-account", "shop/cart"])),
    );
    assert!(said.contains("is for the service account shop/cart"), "{said}");

    // One that has expired. The command line gives none so short.
    let short = run_local(async {
        let world = weft_net::world();
        let credential = AdminCredential::read(&*world.files, &lab.credential()).unwrap();
        let client = Client::new(world.clone(), credential);
        let (service_account, services) = ("shop/web".to_owned(), Vec::new());
        let request = TokenRequest { service_account, services, uses: 1, lifetime_seconds: 1 };
        let token = client.token(&request).await.unwrap().token;
        let made = world.clock.wall();
        wait_until("the token has expired", || {
            world.clock.wall().0.as_secs() > made.0.as_secs() + 2
        });
        token
    });
    let said = refused(&lab, "expired", &short);
    assert!(said.contains("expired at") && said.contains("have a new one made"), "{said}");
}

#[test]
fn a_workload_is_registered_only_by_its_own_service_account() {
    let lab = Lab::new();
    let executed = Executed::default();
    let app = App::start("cart-1", &executed);
    let _server = lab.replica("cart-1", Some("http"), &app);
    let caller = lab.caller("web");
    let answers = || ask(caller.addresses[0], "GET", "/", &[]);
    assert_eq!((answers().status, answers().app), (200, "cart-1".to_owned()));

    // Somebody else, with an identity of the mesh, wants to be that workload.
    let thief_app = App::start("thief", &executed);
    let text = Spec {
        name: "thief",
        account: "shop/thief",
        ports: vec![PortSpec::web(Some("http"), thief_app.address)],
        ..Spec::default()
    }
    .text();
    lab.token("thief", "shop/thief", &[]);
    let thief = Proxy::start(&lab, "thief", &text.replace("shop/thief\n", "shop/cart-1\n"));
    thief.wait_for_log(0, "not registered");
    let log = thief.log();
    let reason = log.lines().find(|line| line.contains("not registered")).unwrap();
    assert!(reason.contains("shop/cart"), "{reason}");

    // Or wants to serve what its token does not name.
    lab.token("greedy", "shop/thief", &[]);
    let services = &["shop/cart"];
    let ports = vec![PortSpec::web(Some("http"), thief_app.address)];
    let spec = Spec { name: "greedy", account: "shop/thief", services, ports, ..Spec::default() };
    let config = lab.file("greedy.yaml", &spec.text());
    let mut greedy = Process::start(&lab.directory, "greedy", &mut command(&config));
    assert!(!greedy.wait().success());
    assert!(greedy.said().contains("does not allow to serve shop/cart"), "{}", greedy.said());

    // A certificate of somebody else in its directory does not help: it is not used.
    fs::create_dir(lab.directory.join("posing.data")).unwrap();
    succeeded(
        Command::new("chmod").arg("700").arg(lab.directory.join("posing.data")).output().unwrap(),
    );
    fs::copy(
        lab.directory.join("thief.data/identity.pem"),
        lab.directory.join("posing.data/identity.pem"),
    )
    .unwrap();
    let ports = vec![PortSpec::web(Some("http"), thief_app.address)];
    let spec = Spec { name: "posing", account: "shop/cart", ports, ..Spec::default() };
    lab.token("posing", "shop/thief", &[]);
    let config = lab.file("posing.yaml", &spec.text());
    let mut posing = Process::start(&lab.directory, "posing", &mut command(&config));
    assert!(!posing.wait().success());
    assert!(posing.said().contains("is for the service account shop/thief"), "{}", posing.said());

    for _ in 0..20 {
        assert_eq!(answers().app, "cart-1");
    }
}

#[test]
fn the_newer_of_two_instances_of_one_name_counts() {
    let lab = Lab::new();
    let executed = Executed::default();
    let [older_app, newer_app] = ["older", "newer"].map(|name| App::start(name, &executed));
    let older = lab.replica("cart-1", Some("http"), &older_app);
    let caller = lab.caller("web");
    let answers = || ask(caller.addresses[0], "GET", "/", &[]);
    assert_eq!(answers().app, "older");

    // The same workload once more, from a directory of its own.
    let spec = Spec {
        name: "cart-1b",
        account: "shop/cart",
        services: &["shop/cart"],
        ports: vec![PortSpec::web(Some("http"), newer_app.address)],
        ..Spec::default()
    };
    lab.token("cart-1b", "shop/cart", &["shop/cart"]);
    let text = spec.text().replace("name: shop/cart-1b\n", "name: shop/cart-1\n");
    let newer = Proxy::start(&lab, "cart-1b", &text);
    wait_until("the newer one is called", || answers().app == "newer");
    for _ in 0..20 {
        assert_eq!(answers().app, "newer");
    }

    // The older one does not take the name back when it registers again.
    let said = older.log().len();
    lab.kill_control();
    lab.start_control();
    older.wait_for_log(said, "an older one");
    for _ in 0..20 {
        assert_eq!(answers().app, "newer");
    }

    // Who asks for one of them at the address of the other is told so, and no application is asked.
    let yaml = succeeded(lab.weft(&["get", "workload", "cart-1", "-n", "shop", "-o", "yaml"]));
    let generation = yaml.split("generation: ").nth(1).unwrap();
    let generation: u64 = generation.split_whitespace().next().unwrap().parse().unwrap();
    let before = executed.len();
    let endpoint = |tunnel, generation: u64| {
        format!(
            "- listen: '127.0.0.1:0'\n  protocol: http\n  endpoints:\n  - {{ tunnel: '{tunnel}', \
             identity: 'spiffe://weft.local/ns/shop/sa/cart', workload: shop/cart-1, \
             generation: {generation}, port: 8080 }}\n"
        )
    };
    let text = format!(
        "identity: {{ joinToken: direct.token, serviceAccount: shop/web }}\noutbound:\n{}{}",
        endpoint(older.addresses[0], generation),
        endpoint(newer.addresses[0], generation - 1_000_000),
    );
    lab.token("direct", "shop/web", &[]);
    let direct = Proxy::start(&lab, "direct", &text);
    for address in &direct.addresses {
        let answer = ask(*address, "GET", "/", &[]);
        assert_eq!((answer.status, answer.reason.as_str()), (503, "tunnel-refused"), "{answer:?}");
        assert!(answer.body.contains("not-me"), "{answer:?}");
    }
    for proxy in [&older, &newer] {
        assert!(proxy.log().contains("reason=not-me"), "{}", proxy.log());
    }
    assert_eq!(executed.len(), before);
}
