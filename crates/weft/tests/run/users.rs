//! Who runs it: root too, and nobody in the place of the one who runs the control plane.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::lab::{Lab, USER, descendants, lines, must, output};
use crate::names::NAMES;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: { name: mine, namespace: shop }
spec: { selector: { app: mine }, ports: [{ port: 80 }] }
";

/// What a command said that must fail.
fn refused(command: &mut Command) -> String {
    let output = output(command);
    assert!(!output.status.success(), "{command:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn another_user_can_neither_read_the_credential_nor_apply() {
    let lab = Lab::new();
    let other = |program: &str| lab.run_by("nobody", "nogroup", program);
    let file = lab.file("mine.yaml", SERVICE);
    let control = lab.directory.join("control");
    let admin = control.join("admin");
    let (owner, ids) = (fs::metadata(&admin).unwrap().uid(), must(other("id").arg("-u")));
    assert_ne!(owner.to_string(), ids.trim());
    let denied = refused(other("cat").arg(&admin));
    assert!(denied.contains("Permission denied"), "{denied}");

    let apply = || {
        let mut apply = other("./weft");
        apply.args(["apply", "-f"]).arg(&file);
        apply
    };
    let credential = "cannot read the admin credential control/admin: Permission denied";
    let remedy = "run this as the user who runs the control plane, or have them give you a copy";
    let error = refused(&mut apply());
    assert!(error.contains(credential) && error.contains(remedy), "{error}");
    let error = refused(apply().env_remove("WEFT_CREDENTIAL"));
    assert!(error.contains("WEFT_CREDENTIAL"), "{error}");
    let error = refused(other("./weft").args(["token", "--service-account", "shop/web"]));
    assert!(error.contains(credential) && error.contains(remedy), "{error}");
    let second = ["control", "--data", "control", "--listen", "127.0.0.1:0"];
    let error = refused(other("./weft").args(second));
    assert!(error.contains("the control plane of control cannot start"), "{error}");
    // By HTTP/1.1: over HTTP/2, curl 7.88 loses an answer that comes before the body was taken.
    let call =
        ["-sk", "--http1.1", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "--data", "{}"];
    let said = must(other("curl").args(call).arg("https://127.0.0.1:15010/api/v1/apply"));
    assert_eq!(said, "401");

    // Where somebody opens the directory, which no start would accept, the file is still shut.
    fs::set_permissions(&control, fs::Permissions::from_mode(0o755)).unwrap();
    let error = refused(&mut apply());
    assert!(error.contains(credential) && error.contains(remedy), "{error}");
    // Nothing of all that was done, and whose it is can do it.
    assert_eq!(must(lab.user("./weft").args(["get", "services"])), "no objects\n");
    must(lab.user("./weft").args(["apply", "-f"]).arg(&file));
    assert!(must(lab.user("./weft").args(["get", "services"])).contains("mine"));
}

#[test]
fn root_runs_programs_in_networks_of_their_own_too() {
    let lab = Lab::new();
    lab.file("hello", "hello\n");
    let root = |account: &str, options: &[&str]| {
        let arguments = lab.arguments(account, options);
        let mut command = lab.run_by("root", "root", &arguments[0]);
        command.args(&arguments[1..]);
        command
    };
    let mut command = root("cart", &["--service", "cart", "--port", "80:8000/http"]);
    command.args(["python3", "-u", "-m", "http.server", "8000"]);
    let server = lab.start("cart", command);
    server.wait_for("Serving HTTP");

    for name in NAMES {
        let said = must(root("web", &[]).args(["getent", "ahosts", name]));
        assert!(said.lines().any(|line| line.starts_with("240.119.")), "{said}");
        let url = format!("http://{name}/hello");
        assert_eq!(must(root("web", &[]).args(["curl", "-sS", &url])), "hello\n", "{name}");
    }
    let log = server.log();
    let by = ["direction=inbound", "path=/hello", "status=200"];
    let proved = [&by[..], &["peer=spiffe://weft.local/ns/shop/sa/web"]].concat();
    assert_eq!(lines(&log, &proved).len(), NAMES.len(), "{log}");
    assert_eq!(lines(&log, &by).len(), NAMES.len(), "{log}");

    // An ordinary user's programs are in the same mesh.
    assert_eq!(lab.shell("web", "curl -sS http://cart/hello"), "hello\n");
    // Its rights are root's own, and need no user namespace; its network is not the host's.
    let (python, _) =
        descendants(server.id()).into_iter().find(|(_, name)| name.starts_with("python")).unwrap();
    let namespace =
        |process: u32, kind: &str| fs::read_link(format!("/proc/{process}/ns/{kind}")).unwrap();
    let own = std::process::id();
    assert_eq!(fs::metadata(format!("/proc/{python}")).unwrap().uid(), 0);
    assert_eq!(namespace(python, "user"), namespace(own, "user"));
    let host = must(lab.host.command("readlink").arg("/proc/self/ns/net"));
    assert_ne!(namespace(python, "net").to_string_lossy(), host.trim());
    let ordinary = lab.shell("web", "id -un; readlink /proc/self/ns/user");
    assert!(ordinary.starts_with(&format!("{USER}\n")), "{ordinary}");
}
