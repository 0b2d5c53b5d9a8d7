//! Disks that are full or read-only under a control plane and under a proxy.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::lab::{Lab, Running, lines, must, output, wait_until};

const WEFT: &str = env!("CARGO_BIN_EXE_weft");

/// Where the control plane listens.
const CONTROL: &str = "127.0.0.1:15010";

/// A small disk, in a mount namespace of its own. It goes away with this value.
struct Disk {
    holder: Running,
    place: PathBuf,
}

impl Disk {
    /// A disk of `kib` KiB, called `name`.
    fn new(lab: &Lab, name: &str, kib: u32) -> Disk {
        let place = lab.directory.join(name);
        fs::create_dir(&place).expect("the own directory is writable");
        let script = format!(
            "mount -t tmpfs -o size={kib}k,mode=700 weft-test {} && echo mounted && \
             exec sleep infinity",
            place.display()
        );
        let arguments = ["--mount", "sh", "-c", &script];
        let holder = lab.start(&lab.server, &format!("{name}-disk"), "unshare", &arguments);
        holder.wait_for("mounted");
        Disk { holder, place }
    }

    /// The file at `path` of the disk, as it is called from outside of its namespace.
    fn seen(&self, path: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root).join(self.place.strip_prefix("/").expect("it is absolute")).join(path)
    }

    /// How a program is started that sees the disk: what precedes it and its arguments.
    fn entered(&self) -> [String; 3] {
        ["--target".to_owned(), self.holder.id().to_string(), "--mount".to_owned()]
    }

    /// Starts `weft` with `arguments` where the disk is seen.
    fn start(&self, lab: &Lab, name: &str, arguments: &[&str]) -> Running {
        let entered = self.entered();
        let mut all: Vec<&str> = entered.iter().map(String::as_str).collect();
        all.push(WEFT);
        all.extend(arguments);
        lab.start(&lab.server, name, "nsenter", &all)
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut file = fs::File::create(self.seen("filler")).expect("a file can be made");
        for size in [64 << 10, 1 << 10, 1] {
            while file.write_all(&vec![b'.'; size]).is_ok() {}
        }
    }

    /// Gives it back.
    fn empty(&self) {
        fs::remove_file(self.seen("filler")).expect("it is there");
    }

    /// Lets nothing be written from now on, or all.
    fn remount(&self, how: &str) {
        let mut command = Command::new("nsenter");
        command.args(self.entered()).args(["mount", "-o", &format!("remount,bind,{how}")]);
        must(command.arg(&self.place));
    }

    /// Starts a control plane with its files on the disk, and waits until it is ready.
    fn control(&self, lab: &Lab, name: &str) -> Running {
        let data = self.place.join("data");
        let data = data.to_str().expect("the path is ours");
        let control = self.start(lab, name, &["control", "--listen", CONTROL, "--data", data]);
        control.wait_for("weft control: ready");
        control
    }

    /// Runs `weft` with `arguments` as the admin.
    fn admin(&self, lab: &Lab, arguments: &[&str]) -> Output {
        let credential = self.seen("data/admin");
        output(lab.server.command(WEFT).args(arguments).env("WEFT_CREDENTIAL", credential))
    }

    /// Applies the Service `shop/NAME`, with some bytes that mean nothing.
    fn apply(&self, lab: &Lab, name: &str, bytes: usize) -> Result<(), String> {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: shop\n  \
             annotations: {{ padding: '{}' }}\n\
             spec: {{ selector: {{ app: {name} }}, ports: [{{ port: 80 }}] }}\n",
            ".".repeat(bytes)
        );
        self.apply_text(lab, &text)
    }

    fn apply_text(&self, lab: &Lab, text: &str) -> Result<(), String> {
        let file = lab.file("applied.yaml", text);
        let output = self.admin(lab, &["apply", "-f", file.to_str().expect("the path is ours")]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(errors) }
    }

    /// The Services that there are.
    fn services(&self, lab: &Lab) -> Vec<String> {
        let output = self.admin(lab, &["get", "services"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rows = text.lines().skip(1);
        rows.filter_map(|row| row.split_whitespace().nth(2).map(str::to_owned)).collect()
    }
}

/// The configuration of a proxy that calls `shop/cart`, with a token for `uses`, called `name`.
fn caller(lab: &Lab, disk: &Disk, name: &str, data: &Path) -> String {
    let token = disk.admin(lab, &["token", "--service-account", "shop/web"]);
    assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
    lab.file(&format!("{name}.token"), token.stdout);
    let config = format!(
        "identity: {{ joinToken: {name}.token, serviceAccount: shop/web }}\ndata: {}\n\
         outbound: [{{ listen: '127.0.0.1:0', service: shop/cart, port: 80 }}]\n",
        data.display()
    );
    let path = lab.file(&format!("{name}.yaml"), config);
    path.to_str().expect("the path is ours").to_owned()
}

/// Something for the proxy to follow.
const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: cart, namespace: shop }
spec:
  parentRefs: [{ group: '', kind: Service, name: cart, port: 80 }]
  rules: [{ backendRefs: [{ name: cart, port: 80 }] }]
";

#[test]
fn a_control_plane_on_a_full_disk_refuses_changes_loses_none_and_goes_on() {
    let lab = Lab::new();
    let disk = Disk::new(&lab, "full", 4096);
    let control = disk.control(&lab, "control");
    disk.apply(&lab, "cart", 10).expect("there is room");
    let config = caller(&lab, &disk, "web", &lab.directory.join("web.data"));
    let start = |name: &str| {
        let proxy = lab.start(&lab.server, name, WEFT, &["proxy", "--config", &config]);
        proxy.wait_for("weft proxy: ready");
        proxy.wait_for("weft: connected to the control plane");
        proxy
    };
    let proxy = start("web-1");

    disk.fill();
    let mut acknowledged = vec!["cart".to_owned()];
    let error = loop {
        let name = format!("cart-{}", acknowledged.len());
        match disk.apply(&lab, &name, 100_000) {
            Ok(()) => acknowledged.push(name),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 100, "the disk is not full");
    };
    let store = disk.place.join("data/store.redb");
    let expected = format!(
        "cannot write {}: the change was not made: its disk is full: make room there and try again",
        store.display()
    );
    assert!(error.contains(&expected), "{error}");
    assert!(control.log().contains(&expected), "{}", control.log());

    // What was acknowledged is there, and nothing else; and proxies are told of it, those that
    // come back as well.
    acknowledged.sort();
    assert_eq!(disk.services(&lab), acknowledged);
    proxy.stop();
    let proxy = start("web-2");
    // The same after a crash.
    drop(control);
    proxy.wait_for("the control plane is away");
    let control = disk.control(&lab, "control-again");
    assert_eq!(disk.services(&lab), acknowledged);
    let error = disk.apply(&lab, "more", 100_000).expect_err("it is still full");
    assert!(error.contains("its disk is full"), "{error}");

    // With room, it works again by itself.
    disk.empty();
    disk.apply(&lab, "more", 100_000).expect("there is room");
    acknowledged.push("more".to_owned());
    acknowledged.sort();
    assert_eq!(disk.services(&lab), acknowledged);
    drop(control);
    let _control = disk.control(&lab, "control-at-last");
    assert_eq!(disk.services(&lab), acknowledged);
}

#[test]
fn a_control_plane_on_a_read_only_disk_is_read_and_works_again_once_it_can_write() {
    let lab = Lab::new();
    let disk = Disk::new(&lab, "read-only", 4096);
    // Where there is nothing to be read, there is nothing to be done.
    disk.remount("ro");
    let data = disk.place.join("data");
    let first = disk.start(&lab, "first", &["control", "--data", data.to_str().expect("ours")]);
    first.wait_for("Read-only file system");
    let said = first.log();
    assert!(said.contains(&format!("cannot make the directory {}", data.display())), "{said}");
    disk.remount("rw");

    let control = disk.control(&lab, "control");
    disk.apply(&lab, "cart", 10).expect("it can be written");
    drop(control);
    disk.remount("ro");
    let control = disk.control(&lab, "control-again");
    assert_eq!(disk.services(&lab), ["cart"]);
    let error = disk.apply(&lab, "more", 10).expect_err("it is read-only");
    let expected =
        "the change was not made: its disk is read-only: mount it writable and try again";
    assert!(error.contains(expected) && error.contains("store.redb"), "{error}");
    assert!(control.log().contains(expected), "{}", control.log());
    assert_eq!(disk.services(&lab), ["cart"]);

    disk.remount("rw");
    disk.apply(&lab, "more", 10).expect("it can be written");
    assert_eq!(disk.services(&lab), ["cart", "more"]);
}

#[test]
fn a_proxy_whose_disk_is_full_serves_on_and_keeps_all_once_there_is_room() {
    a_proxy_that_cannot_write_serves_on(Disk::fill, Disk::empty, "make room on its disk");
}

#[test]
fn a_proxy_whose_disk_is_read_only_serves_on_and_keeps_all_once_it_can_write() {
    let (close, open) = (|disk: &Disk| disk.remount("ro"), |disk: &Disk| disk.remount("rw"));
    a_proxy_that_cannot_write_serves_on(close, open, "mount its disk writable");
}

/// Has a proxy's disk closed from its start by `close` until `open`, of which it is to say
/// `remedy`.
fn a_proxy_that_cannot_write_serves_on(close: fn(&Disk), open: fn(&Disk), remedy: &str) {
    let lab = Lab::new();
    let disk = Disk::new(&lab, "of-control", 4096);
    let control = disk.control(&lab, "control");
    disk.apply(&lab, "cart", 10).expect("there is room");
    let own = Disk::new(&lab, "of-proxy", 256);
    let data = own.place.join("data");
    fs::DirBuilder::new().create(own.seen("data")).expect("it can be made");
    must(Command::new("chmod").arg("700").arg(own.seen("data")));
    close(&own);

    // The token is good for one use: what it gives must not be lost over a full disk.
    let config = caller(&lab, &disk, "web", &data);
    let proxy = own.start(&lab, "web-1", &["proxy", "--config", &config]);
    proxy.wait_for("weft proxy: ready");
    // Said by another thread.
    proxy.wait_for("weft: what is known of the mesh is not kept on disk");
    let log = proxy.log();
    for (what, file) in
        [("the certificate", "identity.pem"), ("what is known of the mesh", "mesh.state")]
    {
        let what = format!("weft: {what} is not kept on disk");
        let [line] = lines(&log, &[&what])[..] else { panic!("{what}: {log}") };
        assert!(line.contains(data.join(file).to_str().expect("the path is ours")), "{line}");
        assert!(line.ends_with(remedy), "{line}");
    }
    // It follows changes all the same, and says it once.
    disk.apply_text(&lab, ROUTE).expect("there is room");
    let is_in_force = || {
        let routes = disk.admin(&lab, &["get", "httproutes"]);
        String::from_utf8_lossy(&routes.stdout).contains(" 1/1 ")
    };
    wait_until("the proxy follows", is_in_force);
    assert_eq!(lines(&proxy.log(), &["is not kept on disk"]).len(), 2, "{}", proxy.log());

    open(&own);
    proxy.wait_for("weft: the certificate is kept on disk again");
    proxy.wait_for("weft: what is known of the mesh is kept on disk again");
    // So that it starts from there, with nobody to ask.
    drop(proxy);
    drop(control);
    let proxy = own.start(&lab, "web-2", &["proxy", "--config", &config]);
    proxy.wait_for("weft proxy: ready, as spiffe://weft.local/ns/shop/sa/web");
}
