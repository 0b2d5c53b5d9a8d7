//! Civil time that jumps under programs at work, as when a machine's clock is set: by libfaketime,
//! which leaves the time that passes alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::app::{App, Executed};
use crate::lab::{Lab, Process, Proxy, Spec, ask, command, succeeded, wait_until};

/// In seconds: more than the life of a certificate, and much less than that of what signs it.
const TWO_DAYS: i64 = 2 * 86_400;

/// More than the time for which anybody is remembered.
const TEN_DAYS: i64 = 10 * 86_400;

/// The clock of one program.
pub struct Jumping {
    file: PathBuf,
}

impl Jumping {
    /// A clock that is right, for the program called `name`.
    pub fn new(directory: &Path, name: &str) -> Jumping {
        let clock = Jumping { file: Jumping::file(directory, name) };
        clock.set(0);
        clock
    }

    fn file(directory: &Path, name: &str) -> PathBuf {
        directory.join(format!("{name}.clock"))
    }

    /// Sets it so many seconds ahead of the right one.
    pub fn set(&self, ahead: i64) {
        // Renamed, so that nobody reads half of it.
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{ahead:+}\n")).unwrap();
        fs::rename(next, &self.file).unwrap();
    }

    /// Has `command` go by the clock of the program called `name`, if it has one.
    pub fn rule(directory: &Path, name: &str, command: &mut Command) {
        let file = Jumping::file(directory, name);
        if !file.exists() {
            return;
        }
        let folder = format!("/usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH);
        let library = Path::new(&folder).join("libfaketimeMT.so.1");
        assert!(library.exists(), "{}: apt-get install faketime", library.display());
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// A mesh of one caller and one server, all with clocks that can be set.
struct Mesh {
    lab: Lab,
    control: Jumping,
    cart: (Jumping, Proxy),
    web: (Jumping, Proxy),
    _app: App,
}

impl Mesh {
    fn new() -> Mesh {
        let lab = Lab::prepared(|directory| drop(Jumping::new(directory, "control")));
        let control = Jumping::new(&lab.directory, "control");
        let app = App::start("cart-1", &Executed::default());
        let clock = Jumping::new(&lab.directory, "cart-1");
        let cart = (clock, lab.replica("cart-1", Some("http"), &app));
        let clock = Jumping::new(&lab.directory, "web");
        let web = (clock, lab.caller("web"));
        assert!(is_served(&web.1));
        Mesh { lab, control, cart, web, _app: app }
    }

    /// Whether the workload `shop/cart-1` may be called.
    fn is_there(&self) -> bool {
        succeeded(self.lab.weft(&["get", "workloads"])).contains("cart-1")
    }

    /// What the caller called `name` says, which has a token and is refused while the clock of the
    /// control plane is `ahead`.
    fn refused(&self, name: &str, ahead: i64) -> String {
        self.lab.token(name, "shop/web", &[]);
        let config = self.lab.file(&format!("{name}.yaml"), &caller(name).text());
        self.control.set(ahead);
        let mut process = Process::start(&self.lab.directory, name, &mut command(&config));
        assert!(!process.wait().success());
        self.control.set(0);
        process.said()
    }
}

/// A caller of `shop/cart`.
fn caller(name: &str) -> Spec<'_> {
    Spec { name, account: "shop/web", calls: &[("shop/cart", 80)], ..Spec::default() }
}

/// Whether a request of `caller` is answered by the application.
fn is_served(caller: &Proxy) -> bool {
    ask(caller.addresses[0], "GET", "/", &[]).status == 200
}

#[test]
fn a_proxy_whose_clock_jumps_says_so_and_is_well_again_when_it_is_right() {
    let mesh = Mesh::new();
    for (clock, proxy) in [&mesh.web, &mesh.cart] {
        let all = proxy.log().len();
        for ahead in [TWO_DAYS, -TWO_DAYS] {
            let begun = proxy.log().len();
            clock.set(ahead);
            proxy
                .wait_for_log(begun, "a new one is asked for; if the clock is wrong, set it right");
            // The control plane, whose clock is right, takes the certificate that does not hold
            // here, and gives another: it needs no join token for that.
            proxy.wait_for_log(begun, "the clock of this machine or of the control plane is wrong");
            let begun = proxy.log().len();
            clock.set(0);
            proxy.wait_for_log(begun, "the certificate holds again");
            wait_until("requests are answered", || is_served(&mesh.web.1));
        }
        let renewals = proxy.log()[all..].matches("of the control plane is wrong").count();
        assert!(renewals < 50, "{renewals} certificates were asked for, without a pause");
    }
}

#[test]
fn who_starts_anew_after_its_clock_went_back_is_the_newer_one() {
    let mut mesh = Mesh::new();
    let (clock, cart) = &mut mesh.cart;
    // Short enough for its certificate to hold by either clock.
    clock.set(3600);
    cart.terminate();
    cart.start_again();
    wait_until("requests are answered", || is_served(&mesh.web.1));
    cart.kill();
    clock.set(0);
    let begun = cart.log().len();
    cart.start_again();
    wait_until("requests are answered", || is_served(&mesh.web.1));
    let log = cart.log();
    assert!(!log[begun..].contains("an older one"), "{log}");
}

#[test]
fn while_a_clock_is_wrong_handshakes_are_refused_with_the_dates() {
    let mesh = Mesh::new();
    for (name, ahead, reason) in [
        ("ahead", TWO_DAYS, "certificate expired: verification time"),
        ("behind", -TWO_DAYS, "certificate not valid yet: verification time"),
    ] {
        // Started anew, it has no tunnel from before.
        let clock = Jumping::new(&mesh.lab.directory, name);
        clock.set(ahead);
        let caller = mesh.lab.caller(name);
        let answer = ask(caller.addresses[0], "GET", "/", &[]);
        assert_eq!((answer.status, answer.reason.as_str()), (503, "handshake-failed"));
        // Records are written by a thread of their own, perhaps after the answer is there.
        caller.wait_for_log(0, reason);
        caller.wait_for_log(0, "and by this machine's clock it is");
        let begun = caller.log().len();
        clock.set(0);
        caller.wait_for_log(begun, "the certificate holds again");
        wait_until("requests are answered", || is_served(&caller));
    }
}

#[test]
fn a_control_plane_whose_clock_jumps_expires_nobody_and_goes_on() {
    let mesh = Mesh::new();
    for (name, ahead) in [("ahead", TEN_DAYS), ("behind", -TWO_DAYS)] {
        mesh.control.set(ahead);
        // Leases go by the time that passes. Changes are made, and enforced.
        mesh.lab.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: shop }}\n\
             spec: {{ selector: {{ app: none }}, ports: [{{ port: 80 }}] }}\n"
        ));
        let status = succeeded(mesh.lab.weft(&["status"]));
        assert!(status.contains("shop/cart-1") && status.contains("sa/web"), "{status}");
        assert!(mesh.is_there() && is_served(&mesh.web.1));
    }
    mesh.control.set(0);
    assert!(mesh.is_there() && is_served(&mesh.web.1));
    for (_, proxy) in [&mesh.web, &mesh.cart] {
        assert!(!proxy.log().contains("is away"), "{}", proxy.log());
    }
}

#[test]
fn who_joins_while_the_clock_of_the_control_plane_is_wrong_is_told_so() {
    let mesh = Mesh::new();
    // Ahead: the certificate does not hold by the clock of the proxy, which is right. No clock will
    // make that good, and it is said what will.
    mesh.control.set(TEN_DAYS);
    let mut early = mesh.lab.caller("early");
    early.wait_for_log(0, "and by this machine's clock it is");
    mesh.control.set(0);
    early.wait_for_log(0, "is used up: have a new one made");
    mesh.lab.token("early", "shop/web", &[]);
    early.terminate();
    early.start_again();
    wait_until("requests are answered", || is_served(&early));

    // Behind: nothing can be signed by what does not hold yet, and the token is not used up.
    let said = mesh.refused("late", -TWO_DAYS);
    assert!(said.contains("the authority's own certificates hold from"), "{said}");
    assert!(said.contains("set the clock of the control plane right if it is wrong"), "{said}");
    assert!(is_served(&Proxy::start(&mesh.lab, "late", &caller("late").text())));
}

#[test]
fn a_join_token_ends_by_the_clock_of_the_control_plane_alone() {
    let mesh = Mesh::new();
    let said = mesh.refused("late", TWO_DAYS);
    assert!(said.contains("expired at") && said.contains("have a new one made"), "{said}");
    // It was not used up by that.
    assert!(is_served(&Proxy::start(&mesh.lab, "late", &caller("late").text())));
}
