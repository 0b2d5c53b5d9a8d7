//! A real control plane, called by the real command line and by curl, killed at random moments.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

#[path = "../../weft-sim/tests/it/explained/draw.rs"]
mod draw;
#[path = "control/given.rs"]
mod given;
#[path = "control/kill.rs"]
mod kill;
#[path = "control/pipe.rs"]
mod pipe;
#[path = "control/watch.rs"]
mod watch;
#[path = "control/wrong.rs"]
mod wrong;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use rustix::process::{Pid, Signal, kill_process};
use weft_control::{ConnectionState, Joiner, Observer, Subscriber};
use weft_identity::{AdminCredential, AuthorityFiles, Credentials, JoinToken, MutualTls, SvidSlot};
use weft_world::UnixTime;

const WEFT: &str = env!("CARGO_BIN_EXE_weft");

/// A directory of the test's own, which goes away with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("weft-control-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A control plane. It is killed with this value.
struct Control {
    child: Child,
    address: SocketAddr,
    /// What it says besides.
    said: Receiver<String>,
}

impl Control {
    /// Starts one on the files in `directory`, at `listen`.
    fn start(directory: &Directory, listen: &str) -> Control {
        Control::start_by(Command::new(WEFT), directory, listen)
    }

    /// The same by `command`, which the arguments are added to.
    fn start_by(mut command: Command, directory: &Directory, listen: &str) -> Control {
        command.args(["control", "--listen", listen, "--data"]).arg(directory.0.join("data"));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, said) = sync_channel(1024);
        let address = loop {
            let line = lines.next().expect("it has ended").unwrap();
            if let Some(address) = line.strip_prefix("weft control: ready at ") {
                break address.split(',').next().unwrap().parse().unwrap();
            }
            sender.send(line).unwrap();
        };
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                drop(sender.try_send(line));
            }
        });
        Control { child, address, said }
    }

    /// Waits until it says something that has `part` in it.
    fn says(&self, part: &str) -> String {
        loop {
            let line = self.said.recv_timeout(std::time::Duration::from_secs(30));
            let line = line.unwrap_or_else(|_| panic!("it does not say `{part}`"));
            if line.contains(part) {
                return line;
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill(); // SIGKILL: nothing is left to it to put in order.
        let _ = self.child.wait();
    }
}

fn weft(credential: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(WEFT);
    command.args(arguments).env("WEFT_CREDENTIAL", credential).stdin(Stdio::null());
    command.output().unwrap()
}

/// What a command printed that must succeed.
fn must(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command said that must fail.
fn refused(output: Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec: { selector: { app: cart }, ports: [{ port: 80 }] }
";

#[test]
fn resources_are_applied_shown_and_deleted() {
    let directory = Directory::new();
    let _control = Control::start(&directory, "127.0.0.1:0");
    let credential = directory.0.join("data/admin");
    let file = directory.file("shop.yaml", SERVICE);
    let file = file.to_str().unwrap();

    assert_eq!(must(weft(&credential, &["apply", "-f", file])), "Service shop/cart created\n");
    assert_eq!(must(weft(&credential, &["apply", "-f", file])), "Service shop/cart unchanged\n");
    let table = must(weft(&credential, &["get", "services"]));
    assert!(
        table.starts_with("KIND     NAMESPACE  NAME  VERSION  ACCEPTED  ENFORCED  AGE\n"),
        "{table}"
    );
    assert!(table.contains("yes       0/0       "), "{table}");
    let yaml = must(weft(&credential, &["get", "svc", "cart", "-n", "shop", "-o", "yaml"]));
    assert!(yaml.contains("type: Accepted") && yaml.contains("addresses:"), "{yaml}");
    // What became of it is not part of it.
    let again = directory.file("again.yaml", &yaml);
    let again = must(weft(&credential, &["apply", "-f", again.to_str().unwrap()]));
    assert_eq!(again, "Service shop/cart unchanged\n");
    let changed = directory.file("changed.yaml", &yaml.replace("port: 80", "port: 81"));
    let changed = changed.to_str().unwrap();
    let configured = must(weft(&credential, &["apply", "-f", changed]));
    assert_eq!(configured, "Service shop/cart configured\n");
    // The same change again is based on a version that is no longer there.
    let conflict = directory.file("conflict.yaml", &yaml.replace("port: 80", "port: 82"));
    let error = refused(weft(&credential, &["apply", "-f", conflict.to_str().unwrap()]));
    assert!(error.contains("read it again and repeat the change"), "{error}");
    let deleted = must(weft(&credential, &["delete", "svc", "cart", "-n", "shop"]));
    assert_eq!(deleted, "Service shop/cart deleted\n");
    assert_eq!(must(weft(&credential, &["get", "services"])), "no objects\n");
}

#[test]
fn wrong_resources_are_refused_with_all_that_is_wrong() {
    let directory = Directory::new();
    let _control = Control::start(&directory, "127.0.0.1:0");
    let credential = directory.0.join("data/admin");
    let text = SERVICE.replace("port: 80", "port: 0").replace("selector", "selectr");
    let file = directory.file("wrong.yaml", &text);
    let error = refused(weft(&credential, &["apply", "-f", file.to_str().unwrap()]));
    assert!(error.contains("spec.ports[0].port: 0 is not allowed, the least is 1"), "{error}");
    assert!(error.contains("did you mean `selector`?"), "{error}");
    assert!(error.contains("wrong.yaml:5:"), "{error}");
    let error = refused(weft(&credential, &["apply", "-f", "/nowhere.yaml"]));
    assert!(error.contains("cannot read /nowhere.yaml"), "{error}");
}

#[test]
fn without_the_credential_nothing_is_told_or_changed() {
    let directory = Directory::new();
    let control = Control::start(&directory, "127.0.0.1:0");
    let error = refused(weft(Path::new("/nowhere"), &["get"]));
    assert!(error.contains("cannot read the admin credential /nowhere"), "{error}");

    // Somebody else's credential, from another control plane, moved to this one's address.
    let other = Directory::new();
    let stranger = Control::start(&other, "127.0.0.1:0");
    let files = weft_net::world().files;
    let mut credential = AdminCredential::read(&*files, &other.0.join("data/admin")).unwrap();
    credential.address = control.address.to_string().parse().unwrap();
    let forged = directory.0.join("forged");
    credential.write(&*files, &forged).unwrap();
    let error = refused(weft(&forged, &["get"]));
    assert!(error.contains("certificate: this is not the control plane: its key is"), "{error}");
    drop(stranger);

    // The right server, and a proof that it does not know.
    let own = AdminCredential::read(&*files, &directory.0.join("data/admin")).unwrap();
    credential.control_key = own.control_key;
    credential.write(&*files, &forged).unwrap();
    let error = refused(weft(&forged, &["get"]));
    assert!(error.contains("not one of this control plane's"), "{error}");
    let file = directory.file("shop.yaml", SERVICE);
    let error = refused(weft(&forged, &["apply", "-f", file.to_str().unwrap()]));
    assert!(error.contains("not one of this control plane's"), "{error}");

    // No proof at all, by a client that is not ours.
    let url = format!("https://{}/api/v1/objects", control.address);
    let curl = Command::new("curl").args(["-sk", "-w", "%{http_code}", &url]).output();
    let said = must(curl.expect("curl is installed: apt-get install curl"));
    assert!(said.contains("credential-missing") && said.ends_with("401"), "{said}");
}

#[test]
fn two_control_planes_do_not_share_a_directory_and_strangers_do_not_read_it() {
    let directory = Directory::new();
    let _control = Control::start(&directory, "127.0.0.1:0");
    let data = directory.0.join("data");
    let second = || {
        let mut command = Command::new(WEFT);
        command.args(["control", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
        refused(command.output().unwrap())
    };
    assert!(second().contains("is in use: stop the other control plane"));
    must(Command::new("chmod").arg("755").arg(&data).output().unwrap());
    assert!(second().contains("can be read by others, and holds keys: chmod 700"));
}

/// What a control plane says that cannot start on the files in `directory`.
fn not_started(directory: &Directory, listen: &str) -> String {
    let mut command = Command::new(WEFT);
    command.args(["control", "--listen", listen, "--data"]).arg(directory.0.join("data"));
    refused(command.output().unwrap())
}

#[test]
fn damaged_files_are_named_and_nothing_starts_on_a_part_of_them() {
    let directory = Directory::new();
    drop(Control::start(&directory, "127.0.0.1:0"));
    let data = directory.0.join("data");
    type Damage = fn(&[u8]) -> Vec<u8>;
    let flipped: Damage = |bytes| {
        let mut bytes = bytes.to_vec();
        bytes[4_096..12_288].iter_mut().for_each(|byte| *byte ^= 0xff);
        bytes
    };
    let half: Damage = |bytes| bytes[..bytes.len() / 2].to_vec();
    let nothing: Damage = |_| Vec::new();
    let cases = [
        ("store.redb", flipped),
        ("store.redb", half),
        ("store.redb", nothing),
        ("control-key.pem", half),
        ("root-1.pem", half),
        ("intermediate-1.pem", half),
        ("intermediate-1.pem", nothing),
    ];
    for (name, damage) in cases {
        let path = data.join(name);
        let whole = fs::read(&path).unwrap();
        let damaged = damage(&whole);
        fs::write(&path, &damaged).unwrap();
        let error = not_started(&directory, "127.0.0.1:0");
        assert!(error.contains(path.to_str().unwrap()), "{name}: {error}");
        assert!(error.contains("from a backup"), "{name}: {error}");
        // A key is never made in the place of one that is there. (redb marks a file that it looks
        // into, but changes nothing of what is in it.)
        let is_same = fs::read(&path).unwrap() == damaged;
        assert!(is_same || name == "store.redb", "{name} was changed");
        fs::write(&path, whole).unwrap();
    }
    drop(Control::start(&directory, "127.0.0.1:0"));
}

#[test]
fn files_that_are_gone_are_named_and_no_other_takes_their_place() {
    let directory = Directory::new();
    drop(Control::start(&directory, "127.0.0.1:0"));
    let data = directory.0.join("data");
    for name in ["store.redb", "control-key.pem", "root-1.pem"] {
        let path = data.join(name);
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let error = not_started(&directory, "127.0.0.1:0");
        assert!(error.contains(path.to_str().unwrap()), "{name}: {error}");
        assert!(error.contains(" is gone"), "{name}: {error}");
        assert!(error.contains("from a backup"), "{name}: {error}");
        assert!(!path.exists(), "{name} was made anew");
        fs::write(&path, whole).unwrap();
    }
    // With two of them gone, neither tells of the other.
    let (store, key) = (data.join("store.redb"), data.join("control-key.pem"));
    for path in [&store, &key] {
        fs::rename(path, path.with_extension("away")).unwrap();
    }
    assert!(not_started(&directory, "127.0.0.1:0").contains("store.redb is gone"));
    let mut new = Command::new(WEFT);
    new.args(["control", "--new-store", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
    let error = refused(new.output().unwrap());
    assert!(error.contains("control-key.pem is gone, and authority.json is there"), "{error}");
    for path in [&store, &key] {
        fs::rename(path.with_extension("away"), path).unwrap();
    }
    // Another key is none either.
    let (other, whole) = (Directory::new(), fs::read(&key).unwrap());
    drop(Control::start(&other, "127.0.0.1:0"));
    fs::copy(other.0.join("data/control-key.pem"), &key).unwrap();
    let error = not_started(&directory, "127.0.0.1:0");
    assert!(error.contains(" is the one in use: restore it from a backup"), "{error}");
    fs::write(&key, whole).unwrap();
    let error = refused(new.output().unwrap());
    assert!(error.contains("--new-store: ") && error.contains("move it away first"), "{error}");

    // What can be made of the rest is, and that is said.
    let (intermediate, state) = (data.join("intermediate-1.pem"), data.join("authority.json"));
    let (signed, kept) = (fs::read(&intermediate).unwrap(), fs::read(&state).unwrap());
    fs::remove_file(&intermediate).unwrap();
    fs::remove_file(&state).unwrap();
    let control = Control::start(&directory, "127.0.0.1:0");
    control.says("the intermediate of the root of generation 1 was gone, and a new one is made");
    assert_ne!(fs::read(&intermediate).unwrap(), signed);
    assert_eq!(fs::read(&state).unwrap(), kept);
    drop(control);
    fs::write(&state, &kept[..kept.len() / 2]).unwrap();
    let error = not_started(&directory, "127.0.0.1:0");
    assert!(error.contains("authority.json beside the store is damaged"), "{error}");
    fs::write(&state, kept).unwrap();

    // The root's key is not needed yet, and would be missed at the wrong time.
    let key = data.join("root-1-key.pem");
    fs::write(&key, "damaged").unwrap();
    let control = Control::start(&directory, "127.0.0.1:0");
    let said = control.says("it goes on without the root's key");
    assert!(said.contains(&format!("{}: the key of the root", key.display())), "{said}");
    drop(control);
    assert_eq!(fs::read(&key).unwrap(), b"damaged");
    fs::remove_file(&intermediate).unwrap();
    assert!(not_started(&directory, "127.0.0.1:0").contains("root-1-key.pem"));
}

#[test]
fn a_backup_is_for_its_owner_only_and_takes_no_files_place() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = Directory::new();
    let _control = Control::start(&directory, "127.0.0.1:0");
    let credential = directory.0.join("data/admin");
    let backup = |credential: &Path| {
        let mut command = Command::new(WEFT);
        command.args(["control", "backup", "copy.redb"]).current_dir(&directory.0);
        command.env("WEFT_CREDENTIAL", credential).output().unwrap()
    };
    let path = directory.0.join("copy.redb");
    assert!(refused(backup(Path::new("/nowhere"))).contains("cannot read the admin credential"));
    assert_eq!(
        must(backup(&credential)),
        format!("{} has the store as it is now\n", path.display())
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let copy = fs::read(&path).unwrap();
    let error = refused(backup(&credential));
    let expected = format!("cannot write the backup {}: there is a file already", path.display());
    assert!(error.contains(&expected), "{error}");
    assert_eq!(fs::read(&path).unwrap(), copy);
}

#[test]
fn a_port_in_use_is_named() {
    let (directory, other) = (Directory::new(), Directory::new());
    let taken = Control::start(&other, "127.0.0.1:0");
    let address = taken.address.to_string();
    let error = not_started(&directory, &address);
    let advice = format!("cannot listen at {address}: give another with --listen");
    assert!(error.contains(&advice) && error.contains("Address already in use"), "{error}");

    let config = directory.file(
        "proxy.yaml",
        &format!(
            "outbound:\n- {{ listen: '{address}', protocol: http, \
             endpoints: [{{ address: '127.0.0.1:1' }}] }}\n"
        ),
    );
    let mut proxy = Command::new(WEFT);
    let error = refused(proxy.args(["proxy", "--config"]).arg(config).output().unwrap());
    assert!(error.contains(&format!("cannot listen at {address}")), "{error}");
    assert!(error.contains("end what listens there, or give another address"), "{error}");
}

/// A policy for a name that is misspelt, a route for a port that is not there, a Mesh too many.
const NOT_MEANT: &str = "
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: closed, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: crat }]
  deny: [{ from: [{ serviceAccount: shop/web }] }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: split, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: cart, port: 81 }]
  rules: [{ backendRefs: [{ name: cart, port: 80 }] }]
---
apiVersion: weft.dev/v1alpha1
kind: Mesh
metadata: { name: second }
spec: { trustDomain: weft.local, defaults: { authorization: Deny } }
---
";

#[test]
fn what_has_no_effect_says_so_when_it_is_applied() {
    let directory = Directory::new();
    let _control = Control::start(&directory, "127.0.0.1:0");
    let admin = directory.0.join("data/admin");
    let file = directory.file("all.yaml", &format!("{NOT_MEANT}{SERVICE}"));
    let path = file.to_str().unwrap();
    for (arguments, action, end) in [
        (&["apply", "-f", path, "--dry-run"][..], "created", " (dry run)"),
        (&["apply", "-f", path], "created", ""),
        (&["apply", "-f", path], "unchanged", ""),
    ] {
        let output = weft(&admin, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for expected in [
            "error: spec.targetRefs[0]: this Service is not there\n",
            "error: spec.parentRefs[0]: Service shop/cart has no such port\n",
            "error: metadata.name: there is one Mesh, and mesh is older\n",
        ] {
            let (_, rest) = said.split_once(expected).expect(&said);
            assert!(rest.trim_start().starts_with(&format!("--> {path}:")), "{said}");
        }
        assert_eq!(said.matches("-->").count(), 3, "{said}");
        let expected = [
            format!("AuthorizationPolicy shop/closed {action}{end}"),
            format!("HTTPRoute shop/split {action}, and not in force: NoMatchingParent{end}"),
            format!("Mesh second {action}, and not in force: Conflicted{end}"),
            format!("Service shop/cart {action}{end}"),
        ];
        assert_eq!(must(output).lines().collect::<Vec<_>>(), expected);
    }
    // Both sides say it.
    let mesh = must(weft(&admin, &["get", "mesh", "mesh", "-o", "yaml"]));
    let (mesh, _) = mesh.split_once("status:").unwrap();
    let file = directory.file("mesh.yaml", mesh);
    let output = weft(&admin, &["apply", "-f", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected =
        "warning: metadata.name: no effect of Mesh second: there is one, and this one is older\n";
    assert!(said.starts_with(expected), "{said}");
    assert_eq!(must(output), "Mesh mesh unchanged\n");
    // What is in order says nothing.
    let file = directory.file("service.yaml", SERVICE);
    let output = weft(&admin, &["apply", "-f", file.to_str().unwrap()]);
    assert_eq!(output.stderr, b"");
    assert_eq!(must(output), "Service shop/cart unchanged\n");
}

#[test]
fn a_terminal_that_is_closed_ends_it_in_order_unless_it_was_told_to_stay() {
    for (told, stays) in [("--default-signal=HUP", false), ("--ignore-signal=HUP", true)] {
        let directory = Directory::new();
        let mut command = Command::new("env");
        command.args([told, WEFT]);
        let mut control = Control::start_by(command, &directory, "127.0.0.1:0");
        let get = || must(weft(&directory.0.join("data/admin"), &["get"]));
        get();
        let id = Pid::from_child(&control.child);
        kill_process(id, Signal::HUP).unwrap();
        if stays {
            get();
            kill_process(id, Signal::TERM).unwrap();
        }
        let by = if stays { "Terminate" } else { "Hangup" };
        control.says(&format!("weft control: ended by {by}"));
        assert!(control.child.wait().unwrap().success());
    }
}

#[test]
fn a_control_plane_elsewhere_says_so_in_its_credential() {
    let directory = Directory::new();
    let admin = directory.0.join("data/admin");
    let before = Control::start(&directory, "127.0.0.1:0");
    let (old, copy) = (before.address, directory.file("copy", ""));
    fs::copy(&admin, copy).unwrap();
    drop(before);
    let now = Control::start(&directory, "127.0.0.1:0");
    let said = now.says("data/admin said");
    assert!(said.contains(&format!("said {old}, and says {} now", now.address)), "{said}");
    now.says("export WEFT_CREDENTIAL=");
    must(weft(&admin, &["get"]));
    let is_private = fs::metadata(&admin).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&is_private.permissions()) & 0o77, 0);
    // The same secret at another place.
    let copied = AdminCredential::read(&*weft_net::world().files, &directory.0.join("copy"));
    let found = AdminCredential::read(&*weft_net::world().files, &admin).unwrap();
    assert_eq!(
        found.to_text(),
        AdminCredential { address: found.address.clone(), ..copied.unwrap() }.to_text()
    );
}

#[test]
fn a_credential_that_is_gone_is_made_anew_and_the_one_before_is_refused() {
    let directory = Directory::new();
    let control = Control::start(&directory, "127.0.0.1:0");
    let listen = control.address.to_string();
    drop(control);
    let (admin, lost) = (directory.0.join("data/admin"), directory.0.join("lost"));
    fs::rename(&admin, &lost).unwrap();
    let control = Control::start(&directory, &listen);
    control.says("data/admin was gone, and is made anew");
    must(weft(&admin, &["get"]));
    assert!(refused(weft(&lost, &["get"])).contains("not one of this control plane's"));
    drop(control);
    // Nothing is made in the place of what is there.
    fs::write(&admin, "rubbish").unwrap();
    let control = Control::start(&directory, &listen);
    control.says("to get another, remove ");
    assert_eq!(fs::read_to_string(&admin).unwrap(), "rubbish");
}

#[test]
fn a_start_that_would_mislead_everybody_is_refused() {
    let directory = Directory::new();
    drop(Control::start(&directory, "127.0.0.1:0"));
    let start = |arguments: &[&str]| {
        let mut command = Command::new(WEFT);
        command.args(["control", "--data"]).arg(directory.0.join("data")).args(arguments);
        refused(command.output().unwrap())
    };
    // Its identities are of another domain.
    let error = start(&["--listen", "127.0.0.1:0", "--trust-domain", "other.test"]);
    assert!(error.contains("--trust-domain says other.test"), "{error}");
    assert!(error.contains("of weft.local, which does not change"), "{error}");
    // Nobody would find it.
    for listen in ["0.0.0.0:15010", "[::]:0"] {
        let error = start(&["--listen", listen]);
        assert!(error.contains(&format!("--advertise is needed where --listen is {listen}")));
        assert!(error.contains("`--advertise control.example.com:15010`"), "{error}");
        let error = start(&["--listen", listen, "--advertise", "0.0.0.0:15010"]);
        assert!(error.contains("--advertise: nobody reaches 0.0.0.0:15010"), "{error}");
    }
}

#[test]
fn another_trust_domain_stays_what_it_was() {
    let directory = Directory::new();
    for arguments in [&["--trust-domain", "shop.test"][..], &[]] {
        let mut command = Command::new(WEFT);
        command.args(["control", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(directory.0.join("data")).args(arguments).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = said.next().unwrap().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ready.ends_with("trust domain shop.test"), "{ready}");
    }
}

#[test]
fn the_only_mesh_is_not_deleted_and_nothing_is_not_applied() {
    let directory = Directory::new();
    let _control = Control::start(&directory, "127.0.0.1:0");
    let credential = directory.0.join("data/admin");
    let error = refused(weft(&credential, &["delete", "mesh", "mesh"]));
    assert!(error.contains("is the only Mesh, and without one all traffic is refused"), "{error}");
    let other = "apiVersion: weft.dev/v1alpha1\nkind: Mesh\nmetadata: { name: other }\n\
                 spec: { trustDomain: weft.local }\n";
    let file = directory.file("mesh.yaml", other);
    must(weft(&credential, &["apply", "-f", file.to_str().unwrap()]));
    must(weft(&credential, &["delete", "mesh", "mesh"]));
    let error = refused(weft(&credential, &["delete", "mesh", "other"]));
    assert!(error.contains("is the only Mesh"), "{error}");
    // Nor is it made one by which nobody has an identity.
    let foreign = directory.file("foreign.yaml", &other.replace("weft.local", "other.local"));
    for more in [&[][..], &["--dry-run"]] {
        let arguments = [&["apply", "-f", foreign.to_str().unwrap()], more].concat();
        let error = refused(weft(&credential, &arguments));
        assert!(error.contains("this control plane's is weft.local"), "{error}");
        assert!(error.contains("foreign.yaml:4:22"), "{error}");
    }
    let missing = refused(weft(&credential, &["delete", "mesh", "mesh"]));
    assert!(missing.contains("does not exist"), "{missing}");

    let empty = directory.file("empty.yaml", "# Nothing yet.\n");
    let error = refused(weft(&credential, &["apply", "-f", empty.to_str().unwrap()]));
    assert!(error.contains("there is no object in") && error.contains("empty.yaml"), "{error}");
}

#[test]
fn files_of_a_proxy_that_are_missing_or_malformed_are_named() {
    let directory = Directory::new();
    let proxy = |path: &Path| {
        refused(Command::new(WEFT).args(["proxy", "--config"]).arg(path).output().unwrap())
    };
    let missing = directory.0.join("nowhere.yaml");
    let error = proxy(&missing);
    assert!(error.contains(&format!("cannot read {}", missing.display())), "{error}");

    let config = directory.file("proxy.yaml", "identity: [\nfoo");
    let error = proxy(&config);
    assert!(error.contains("proxy.yaml is malformed"), "{error}");
    assert!(error.contains(&format!("{}:1:11", config.display())), "{error}");
    let config = directory.file("proxy.yaml", "outbond: []\ninbound: [{ lisen: 1 }]\n");
    let error = proxy(&config);
    assert!(error.contains("outbond: there are data,"), "{error}");
    assert!(error.contains("inbound[0].lisen: there are generation,"), "{error}");
    let config = directory.file(
        "proxy.yaml",
        "outbound: [{ listen: '127.0.0.1:0' }]\n\
         inbound: [{ listen: '127.0.0.1:0', workload: a/b, ports: [] }]\n",
    );
    let error = proxy(&config);
    assert!(error.contains("outbound[0]: endpoints: needed"), "{error}");
    assert!(error.contains("inbound[0]: this file gives no `identity`"), "{error}");

    let config = directory.file(
        "proxy.yaml",
        "identity: { joinToken: web.token, serviceAccount: shop/web }\n\
         outbound: [{ listen: '127.0.0.1:0', service: shop/cart, port: 80 }]\n",
    );
    let error = proxy(&config);
    let token = directory.0.join("web.token");
    assert!(error.contains(&format!("cannot read {}", token.display())), "{error}");
    directory.file("web.token", "rubbish");
    let error = proxy(&config);
    assert!(error.contains("identity.joinToken: web.token"), "{error}");
    assert!(error.contains("it does not begin with `weft-join.v1.`"), "{error}");
}

/// A token for the service account `shop/cart` and the Service `shop/cart`, good for `uses`.
fn token(credential: &Path, uses: &str) -> JoinToken {
    let arguments =
        ["token", "--service-account", "shop/cart", "--service", "shop/cart", "--uses", uses];
    JoinToken::parse(must(weft(credential, &arguments)).trim()).unwrap()
}

/// What becomes of joining with `token` as `account` for `service`.
async fn join(token: &JoinToken, account: &str, service: &str) -> Result<Credentials, String> {
    let (account, service) = (account.parse().unwrap(), service.parse().unwrap());
    let joiner = Joiner::new(weft_net::world(), token.clone(), account, vec![service]);
    joiner.join().await.map_err(|error| error.to_string())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap()
        .block_on(future)
}

#[test]
fn a_join_token_gives_one_identity_and_only_as_often_as_it_says() {
    let directory = Directory::new();
    let control = Control::start(&directory, "127.0.0.1:0");
    let two = token(&directory.0.join("data/admin"), "2");
    run(async {
        let error = join(&two, "shop/web", "shop/cart").await.err().unwrap();
        assert!(
            error.contains("is for the service account shop/cart, and shop/web was"),
            "{error}"
        );
        let error = join(&two, "shop/cart", "shop/web").await.err().unwrap();
        assert!(error.contains("does not allow to serve shop/web, only shop/cart"), "{error}");
        let credentials = join(&two, "shop/cart", "shop/cart").await.unwrap();
        let identity = credentials.svid.identity().to_string();
        assert_eq!(identity, "spiffe://weft.local/ns/shop/sa/cart");
    });
    // What was refused has cost no use, and what was used stays used over a restart.
    let listen = control.address.to_string();
    drop(control);
    let _control = Control::start(&directory, &listen);
    run(async {
        join(&two, "shop/cart", "shop/cart").await.unwrap();
        let error = join(&two, "shop/cart", "shop/cart").await.err().unwrap();
        assert!(error.contains("is used up: have a new one made"), "{error}");
    });
}

#[test]
fn a_certificate_renews_itself_and_no_other() {
    let directory = Directory::new();
    let _control = Control::start(&directory, "127.0.0.1:0");
    let token = token(&directory.0.join("data/admin"), "1");
    run(async {
        let joiner = |account: &str| {
            Joiner::new(weft_net::world(), token.clone(), account.parse().unwrap(), vec![])
        };
        let mut cart = joiner("shop/cart");
        let first = cart.join().await.unwrap();
        let tls = MutualTls::new(&first).unwrap();
        let second = cart.renew(tls.svid()).await.unwrap();
        assert_eq!(second.svid.identity(), first.svid.identity());
        assert_ne!(second.svid.serial(), first.svid.serial());
        let error = joiner("shop/web").renew(tls.svid()).await.err().unwrap().to_string();
        assert!(error.contains("asks to be shop/web"), "{error}");
        let error = cart.renew(&SvidSlot::default()).await.err().unwrap().to_string();
        assert!(error.contains("renewal needs a valid certificate of this mesh"), "{error}");
    });
}

/// Makes the data of a control plane whose intermediate is so old that the next one is due.
fn with_old_intermediate(directory: &Directory) -> AuthorityFiles {
    use std::os::unix::fs::DirBuilderExt;
    let data = directory.0.join("data");
    fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
    let world = weft_net::world();
    let age = std::time::Duration::from_secs(300 * 86_400);
    let past = UnixTime(world.clock.wall().0 - age);
    let files = AuthorityFiles::new(&data, 1);
    files.open(&*world.files, &"weft.local".parse().unwrap(), past).unwrap();
    files
}

#[test]
fn an_intermediate_is_renewed_in_time_and_what_it_signed_stays_good() {
    let directory = Directory::new();
    let files = with_old_intermediate(&directory);
    let control = Control::start(&directory, "127.0.0.1:0");
    control.says("a new intermediate signs from now on, which holds until");
    let world = weft_net::world();
    let domain = "weft.local".parse().unwrap();
    let now = world.clock.wall();
    let renewed = files.open(&*world.files, &domain, now).unwrap();
    assert!(renewed.renew_at() > now);
    let token = token(&directory.0.join("data/admin"), "1");
    run(async {
        let credentials = join(&token, "shop/cart", "shop/cart").await.unwrap();
        // It is signed by the new one: with the old one's root, and proved to the control plane.
        let account = "shop/cart".parse().unwrap();
        let mut joiner = Joiner::new(weft_net::world(), token, account, vec![]);
        joiner.renew(&SvidSlot::with(&credentials.svid)).await.unwrap();
    });
}

#[test]
fn without_the_roots_key_it_is_said_what_to_do_and_everything_goes_on() {
    let directory = Directory::new();
    with_old_intermediate(&directory);
    fs::remove_file(directory.0.join("data/root-1-key.pem")).unwrap();
    let control = Control::start(&directory, "127.0.0.1:0");
    let said = control.says("is not renewed");
    assert!(said.contains("bring the root's key back for as long as this takes"), "{said}");
    let token = token(&directory.0.join("data/admin"), "1");
    run(async { join(&token, "shop/cart", "shop/cart").await.unwrap() });
}

#[test]
fn the_proxies_that_are_connected_are_shown() {
    let directory = Directory::new();
    let _control = Control::start(&directory, "127.0.0.1:0");
    let credential = directory.0.join("data/admin");
    assert_eq!(must(weft(&credential, &["status"])), "no proxies are connected\n");
    let token = token(&credential, "1");
    run(async {
        let service_account = "shop/cart".parse().unwrap();
        let joiner = Joiner::new(weft_net::world(), token, service_account, vec![]);
        let credentials = joiner.join().await.unwrap();
        let this = weft_wire::Release::this();
        let release = weft_wire::Release { version: "7.7".to_owned(), ..this };
        let client = weft_wire::discovery::Client::new("shop/cart-1", release);
        let svid = SvidSlot::with(&credentials.svid);
        let world = weft_net::world();
        let subscriber = Subscriber::new(world, joiner.control_plane(), svid, None, client);
        let (_asks, receiver) = tokio::sync::mpsc::channel(1);
        let (told, connected) = tokio::sync::oneshot::channel();
        let mut quiet = Quiet(Some(told));
        let status = async {
            connected.await.unwrap();
            tokio::task::spawn_blocking(move || must(weft(&credential, &["status"]))).await
        };
        tokio::select! {
            biased;
            () = subscriber.run(receiver, &mut quiet) => panic!("it has an end"),
            status = status => {
                let status = status.unwrap();
                let row = "\nshop/cart-1  spiffe://weft.local/ns/shop/sa/cart  2";
                assert!(status.starts_with("WORKLOAD     IDENTITY"), "{status}");
                assert!(status.contains(row) && status.contains("h          7.7  "), "{status}");
            }
        }
    });
}

/// Tells when the first response was taken.
struct Quiet(Option<tokio::sync::oneshot::Sender<()>>);

impl Observer for Quiet {
    fn check(&self, _: &weft_wire::Object) -> Result<(), String> {
        Ok(())
    }

    fn changed(&mut self, _: &weft_wire::discovery::Client, _: &weft_wire::discovery::Outcome) {
        self.0.take().map(|told| told.send(()));
    }

    fn connection(&mut self, _: ConnectionState) {}

    fn registered(&mut self, _: &weft_control::api::RegisterResponse) {}
}
