//! The store of the control plane is lost, or restored from an older copy, under proxies that know
//! more than it does.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::app::{App, Executed};
use crate::lab::{
    Lab, PATIENCE, Process, Proxy, Spec, WEFT, output, succeeded, wait_until, wait_within,
};

/// Within this a revocation is in force everywhere. Tests allow ten times as much.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

/// The page that says how to back up and restore.
const PAGE: &str = include_str!("../../../../docs/control.md");

/// The blocks of commands in the page's section about it.
fn blocks() -> [String; 3] {
    let (_, rest) = PAGE.split_once("\n## Backup and restore\n").unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let mut blocks = vec![String::new()];
    for line in section.lines() {
        match line.strip_prefix("    ") {
            Some(command) => *blocks.last_mut().unwrap() += &format!("{command}\n"),
            None if blocks.last().unwrap().is_empty() => {}
            None => blocks.push(String::new()),
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks.try_into().expect("a backup, its restoration, and that of all")
}

/// A mesh with a replica of `shop/cart` and callers of three service accounts.
struct Mesh {
    lab: Lab,
    _cart: Proxy,
    _app: App,
    web: Proxy,
    evil: Proxy,
    late: Proxy,
}

impl Mesh {
    fn new() -> Mesh {
        let lab = Lab::new();
        // As the page calls it.
        std::os::unix::fs::symlink("control", lab.directory.join("weft-data")).unwrap();
        let app = App::start("cart-1", &Executed::default());
        let cart = lab.replica("cart-1", Some("http"), &app);
        let caller = |name, account| {
            let calls = &[("shop/cart", 80)];
            lab.proxy(&Spec { name, account, calls, ..Spec::default() })
        };
        let web = caller("web", "shop/web");
        let (evil, late) = (caller("evil", "shop/evil"), caller("late", "shop/late"));
        let mesh = Mesh { lab, _cart: cart, _app: app, web, evil, late };
        mesh.deny("nobody");
        for caller in [&mesh.web, &mesh.evil, &mesh.late] {
            wait_until("all are let in", || status(caller) == "200");
        }
        mesh
    }

    fn data(&self) -> std::path::PathBuf {
        self.lab.directory.join("control")
    }

    /// Runs commands of the page.
    fn run(&self, commands: &str) {
        let path = Path::new(WEFT).parent().unwrap().display().to_string();
        let path = format!("{path}:{}", std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["-euc", commands]).current_dir(&self.lab.directory);
        succeeded(output(bash.env("PATH", path).env_remove("WEFT_CREDENTIAL")));
    }

    /// Has the service account `shop/{account}` denied.
    fn deny(&self, account: &str) {
        self.lab.apply(&format!(
            "
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{ name: cart, namespace: shop }}
spec:
  targetRefs: [{{ group: '', kind: Service, name: cart }}]
  deny: [{{ from: [{{ serviceAccount: shop/{account} }}] }}]
"
        ));
    }

    /// Changes much, and revokes `shop/evil` after another.
    fn go_on(&self) {
        for number in 1..=5 {
            self.deny(&format!("nobody-{number}"));
        }
        self.revoke("gone");
        self.revoke("evil");
        self.is_shut_out(&self.evil);
    }

    /// Revokes `shop/{account}`, and returns what is said besides.
    fn revoke(&self, account: &str) -> String {
        let said = self.lab.weft(&["ca", "revoke", "--identity", &format!("shop/{account}")]);
        let note = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(succeeded(said).contains("is revoked"), "{account}");
        note
    }

    fn is_shut_out(&self, caller: &Proxy) {
        let what = "the revoked one is shut out";
        let took = wait_within(REVOKED_WITHIN * 10, what, || status(caller) == "503");
        eprintln!("{what} within {took:?}");
    }

    /// Kills the control plane and damages its store, and returns what it says then.
    fn damage(&self) -> String {
        self.lab.kill_control();
        fs::write(self.data().join("store.redb"), vec![b'x'; 30_000]).unwrap();
        let mut command = Command::new(WEFT);
        command.args(["control", "--listen", "127.0.0.1:0", "--data"]).arg(self.data());
        let mut process = Process::start(&self.lab.directory, "damaged", &mut command);
        assert!(!process.wait().success());
        process.said()
    }

    /// Waits until the proxies are back and hold what the control plane has.
    fn settled(&self) {
        wait_until("all proxies hold all", || {
            let table = succeeded(self.lab.weft(&["status"]));
            // The one of `shop/evil` may not come back.
            let rows = table.lines().filter(|line| line.contains("spiffe://"));
            let ends = rows.map(|line| line.split_whitespace().rev().take(2).collect::<Vec<_>>());
            ends.filter(|row| *row == ["0", "0"]).count() == 3
        });
    }

    /// What is changed now is in force everywhere, and what was revoked is so still.
    fn obeys(&self) {
        assert_eq!(status(&self.evil), "503");
        let revoked = succeeded(self.lab.weft(&["ca", "status"]));
        assert!(revoked.contains("revoked: spiffe://weft.local/ns/shop/sa/evil"), "{revoked}");
        self.deny("web");
        wait_within(Duration::from_secs(10), "a rule is in force", || status(&self.web) == "403");
        assert_eq!(status(&self.late), "200");
        self.revoke("late");
        self.is_shut_out(&self.late);
        self.deny("nobody");
        wait_within(Duration::from_secs(10), "a rule is gone", || status(&self.web) == "200");
        assert_eq!(status(&self.evil), "503");
    }

    fn control_log(&self) -> String {
        fs::read_to_string(self.lab.directory.join("control.log")).unwrap()
    }
}

/// The status that a caller's application gets; `000` if there is no answer.
fn status(caller: &Proxy) -> String {
    let address: SocketAddr = caller.addresses[0];
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "--max-time", "20", "-w", "%{http_code}"]);
    let said = output(curl.arg(format!("http://{address}/")));
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn a_backup_that_is_restored_as_the_page_says_is_in_force_and_forgets_no_revocation() {
    let mesh = Mesh::new();
    let [backup, restore, _] = blocks();
    mesh.run(&backup);
    mesh.go_on();
    let said = mesh.damage();
    assert!(said.contains("put a copy from a backup in its place"), "{said}");
    assert!(said.contains("\"Backup and restore\" in docs/control.md"), "{said}");
    mesh.run(&restore);
    mesh.lab.start_control();
    mesh.settled();
    mesh.obeys();
}

#[test]
fn a_copy_of_the_stopped_store_is_in_force_and_forgets_no_revocation() {
    let mesh = Mesh::new();
    mesh.lab.kill_control();
    let (store, copy) = (mesh.data().join("store.redb"), mesh.lab.directory.join("copy.redb"));
    fs::copy(&store, &copy).unwrap();
    mesh.lab.start_control();
    mesh.go_on();
    mesh.damage();
    fs::copy(&copy, &store).unwrap();
    mesh.lab.start_control();
    mesh.settled();
    assert!(mesh.control_log().contains("the store is older than authority.json"));
    mesh.obeys();
}

/// Nothing on this machine knows then what was revoked. The proxies do.
#[test]
fn a_directory_that_is_restored_whole_is_in_force_and_what_it_does_not_know_is_named() {
    let mesh = Mesh::new();
    let [backup, _, restore] = blocks();
    mesh.run(&backup);
    mesh.go_on();
    mesh.lab.kill_control();
    mesh.run(&format!("rm -r control weft-data\n{restore}mv weft-data control"));
    mesh.lab.start_control();
    let lost = "the control plane was set back; revoke again spiffe://weft.local/ns/shop/sa/evil";
    wait_until("it says what is lost", || mesh.control_log().contains(lost));
    // Each proxy says so in its own log; it may have been another that was heard first.
    wait_until("the caller's proxy says so", || mesh.web.log().contains(lost));
    wait_until("the status says so", || succeeded(mesh.lab.weft(&["status"])).contains(lost));
    // The proxies still know.
    assert_eq!(status(&mesh.evil), "503");
    // Whoever revokes is told, and what is revoked now counts.
    let note = mesh.revoke("evil");
    assert!(note.contains(lost), "{note}");
    mesh.settled();
    mesh.obeys();
}

#[test]
fn with_a_new_store_all_recover_once_what_is_lost_is_made_again_as_it_says() {
    let mesh = Mesh::new();
    mesh.go_on();
    let said = mesh.damage();
    assert!(said.contains("start once with --new-store"), "{said}");
    fs::remove_file(mesh.data().join("store.redb")).unwrap();
    mesh.lab.start_control_with(&["--new-store"]);
    assert!(mesh.control_log().contains("the store is new: apply the resources again"));
    wait_until("nobody may serve yet", || {
        succeeded(mesh.lab.weft(&["status"])).contains("shop/cart-1 is not registered")
    });
    mesh.deny("nobody");
    // A new token for its Services, by which one of the service account joins.
    let app = App::start("cart-2", &Executed::default());
    let _second = mesh.lab.replica("cart-2", Some("http"), &app);
    let registered = || succeeded(mesh.lab.weft(&["get", "workloads"])).contains("cart-1 ");
    wait_within(PATIENCE, "the one of before is registered again", registered);
    wait_until("callers are answered again", || status(&mesh.web) == "200");
    mesh.obeys();
}
