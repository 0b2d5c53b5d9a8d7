//! Commands whose output nobody reads, or nobody can write.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::{Control, Directory, SERVICE, WEFT, must, weft};

/// SIGPIPE, by which programs end whose output nobody reads.
const SIGPIPE: i32 = 13;

/// The write end of a pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn output_to(stdout: Stdio, credential: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(WEFT);
    command.args(arguments).env("WEFT_CREDENTIAL", credential).stdin(Stdio::null()).stdout(stdout);
    command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn a_command_whose_output_nobody_reads_ends_as_others_do() {
    let directory = Directory::new();
    let _control = Control::start(&directory, "127.0.0.1:0");
    let credential = directory.0.join("data/admin");
    let file = directory.file("shop.yaml", SERVICE);
    let file = file.to_str().unwrap();
    must(weft(&credential, &["apply", "-f", file]));
    for arguments in [
        &["apply", "-f", file][..],
        &["get"],
        &["get", "-o", "yaml"],
        &["get", "-o", "json"],
        &["watch"],
        &["status"],
        &["status", "--json"],
        &["token", "--service-account", "shop/cart"],
        &["explain", "GET", "http://cart/", "--from", "shop/web"],
        &["ca", "status"],
        &["ca", "status", "-o", "json"],
        &["ca", "revoke", "--identity", "shop/gone"],
        &["delete", "service", "cart", "-n", "shop"],
    ] {
        let ended = output_to(closed(), &credential, arguments);
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(
            ended.status.signal(),
            Some(SIGPIPE),
            "{arguments:?}: {:?} {errors}",
            ended.status
        );
        assert!(
            !errors.contains("panicked") && !errors.contains("pipe"),
            "{arguments:?}: {errors}"
        );
    }
    assert!(must(weft(&credential, &["get", "services"])).starts_with("no objects"));
}

#[test]
fn a_command_whose_output_cannot_be_written_says_so() {
    let directory = Directory::new();
    let _control = Control::start(&directory, "127.0.0.1:0");
    let credential = directory.0.join("data/admin");
    let full = || File::options().write(true).open("/dev/full").unwrap().into();
    let ended = output_to(full(), &credential, &["get"]);
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1));
    assert!(errors.contains("cannot write to standard output"), "{errors}");

    // What nobody can be told is no reason to fail.
    let file = directory.file("shop.yaml", SERVICE);
    let mut apply = Command::new(WEFT);
    apply.args(["apply", "-f"]).arg(file).env("WEFT_CREDENTIAL", &credential);
    let ended = apply.stdin(Stdio::null()).stderr(closed()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "Service shop/cart created\n");
    assert!(ended.status.success());
}
