//! Who runs it: nobody else in the place of the one who runs the control plane.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::lab::{Lab, must, output};

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

    // Where somebody opens the directory, which the next start would refuse, the file is still shut.
    fs::set_permissions(&control, fs::Permissions::from_mode(0o755)).unwrap();
    let error = refused(&mut apply());
    assert!(error.contains(credential) && error.contains(remedy), "{error}");
    // Nothing of all that was done, and whose it is can do it.
    assert_eq!(must(lab.user("./weft").args(["get", "services"])), "no objects\n");
    must(lab.user("./weft").args(["apply", "-f"]).arg(&file));
    assert!(must(lab.user("./weft").args(["get", "services"])).contains("mine"));
}
