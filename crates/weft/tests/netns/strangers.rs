//! Clients that must not come in, with a client of TLS that is not ours.

use std::process::Command;

use crate::certificates::{Authority, WEB};
use crate::lab::{Lab, lines, output, wait_until};

/// What `openssl s_client` says when it tries to open a tunnel with `arguments`.
fn knock(lab: &Lab, arguments: &[&str]) -> String {
    let mut command: Command = lab.client.command("timeout");
    command.current_dir(&lab.directory);
    command.args(["10", "openssl", "s_client", "-connect", "10.77.0.2:15008", "-alpn", "weft/1"]);
    // It reads until the server ends the connection: with TLS 1.3 the refusal comes after the
    // client's own handshake.
    let done = output(command.args(["-CAfile", "roots.pem", "-ign_eof"]).args(arguments));
    [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}

#[test]
fn strangers_are_refused_and_the_log_says_why() {
    let lab = Lab::new();
    let (authority, other) = (Authority::new("root"), Authority::new("other"));
    authority.publish(&lab.directory);
    authority.issue(&lab.directory, "web", "web");
    authority.issue_until(&lab.directory, "expired", "caller", 2020);
    other.issue(&lab.directory, "other", "caller");
    let web = lab.proxy(&lab.server, "web", WEB);

    for (arguments, alert, reason) in [
        (&[][..], "certificate required", "peer sent no certificates"),
        (&["-cert", "other.pem", "-key", "other.key"], "unknown ca", "UnknownIssuer"),
        (&["-cert", "expired.pem", "-key", "expired.key"], "certificate expired", "expired"),
        (&["-tls1_2"], "protocol version", "peer is incompatible"),
    ] {
        let said = knock(&lab, arguments);
        assert!(said.contains(alert), "openssl with {arguments:?} said:\n{said}");
        let parts = ["direction=inbound", "reason=handshake-failed", reason];
        wait_until(&format!("a line in the log with {reason}"), || {
            lines(&web.log(), &parts).len() == 1
        });
    }
}

#[test]
fn plaintext_is_refused_and_the_log_says_why() {
    let lab = Lab::new();
    let authority = Authority::new("root");
    authority.publish(&lab.directory);
    authority.issue(&lab.directory, "web", "web");
    let web = lab.proxy(&lab.server, "web", WEB);
    let mut curl = lab.client.command("curl");
    let answer = output(curl.args(["-sS", "-m", "10", "http://10.77.0.2:15008/"]));
    assert!(!answer.status.success());
    web.wait_for("reason=handshake-failed");
    assert!(!lines(&web.log(), &["corrupt message"]).is_empty(), "{}", web.log());
}
