//! How a confined command ends, and what is left then: nothing.

use crate::Case;
use crate::lab::{
    Running, User, is_inhabited, output, processes_with, signal, this_program, wait_until,
};

pub const CASES: &[Case] = &[
    ("exit codes are passed through", exit_codes_are_passed_through),
    ("signals are passed on", signals_are_passed_on),
    ("what is left behind ends", what_is_left_behind_ends),
    ("a lack of files is an error", a_lack_of_files_is_an_error),
    ("a killed proxy takes all with it", a_killed_proxy_takes_all_with_it),
    ("a killed keeper takes the command with it", a_killed_keeper_takes_the_command_with_it),
];

/// An argument that no other process has.
fn token(name: &str, user: User) -> String {
    format!("weft-{name}-{user:?}-{}", std::process::id())
}

/// A shell that says in which namespaces it is, and then runs `script`, in which `$0` is `token`.
fn shell(user: User, script: &str, token: &str) -> Running {
    let script = format!("readlink /proc/self/ns/net /proc/self/ns/mnt; {script}");
    Running::start(user.confined(&["sh", "-c", &script, token]))
}

/// Waits until the processes with `token` and the `namespaces` are gone.
fn nothing_is_left(token: &str, namespaces: &[String]) {
    wait_until("the processes end", || processes_with(token).is_empty());
    wait_until("the namespaces are gone", || !namespaces.iter().any(|link| is_inhabited(link)));
}

fn exit_codes_are_passed_through(user: User) {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139),
    ] {
        let status = output(user.confined(&["sh", "-c", script])).status;
        assert_eq!(status.code(), Some(code), "{script}");
    }
    assert_eq!(output(user.confined(&["/no/such/program"])).status.code(), Some(127));
    assert_eq!(output(user.confined(&["no-such-program"])).status.code(), Some(127));
    assert_eq!(output(user.confined(&["/etc/passwd"])).status.code(), Some(126));
}

fn signals_are_passed_on(user: User) {
    for name in [
        "TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", "ALRM", "URG", "VTALRM", "PROF",
        "IO", "PWR",
    ] {
        let token = token(name, user);
        // `wait` ends when a trapped signal comes, `sleep` in the foreground does not.
        let script = format!(
            "trap 'echo got {name}; exit 9' {name}; sleep 1000 & echo ready; \
             while true; do wait; done"
        );
        let mut running = shell(user, &script, &token);
        let namespaces = [running.wait_for("net:"), running.wait_for("mnt:")];
        running.wait_for("ready");
        running.signal(name);
        running.wait_for(&format!("got {name}"));
        assert_eq!(running.end().code(), Some(9));
        nothing_is_left(&token, &namespaces);
    }
}

fn what_is_left_behind_ends(user: User) {
    let token = token("left", user);
    // In a session of its own, with a child, deaf to all it can be deaf to.
    let script = "setsid sh -c 'trap \"\" TERM HUP INT; echo daemon; sleep 1000 & wait' \"$0\" & \
         exit 3";
    let mut running = shell(user, script, &token);
    let namespaces = [running.wait_for("net:"), running.wait_for("mnt:")];
    assert_eq!(running.end().code(), Some(3));
    nothing_is_left(&token, &namespaces);
}

fn a_lack_of_files_is_an_error(user: User) {
    let token = token("files", user);
    let mut worked = Vec::new();
    for most in (4..40).step_by(2) {
        let mut limited = user.command("timeout");
        limited.args(["--signal=KILL", "60", "prlimit", &format!("--nofile={most}")]);
        limited.arg(this_program()).args(["--probe", "--", "sh", "-c", "exit 7", &token]);
        limited.env("RUST_BACKTRACE", "0");
        let status = output(limited).status;
        // It worked, or it failed with an error or a panic of the probe, or, where these tests were
        // started with files open, with the loader's error before that: it did not hang.
        let codes = [Some(7), Some(101), Some(125), Some(126), Some(127)];
        assert!(codes.contains(&status.code()), "{status}");
        worked.push(status.code() == Some(7));
        nothing_is_left(&token, &[]);
    }
    assert!(!worked[0] && worked[worked.len() - 1], "{worked:?}");
    assert!(worked.is_sorted(), "more files do no harm: {worked:?}");
}

fn a_killed_proxy_takes_all_with_it(user: User) {
    let token = token("killed", user);
    let script = "setsid sh -c 'echo ready; sleep 1000; true' \"$0\" & wait";
    let mut running = shell(user, script, &token);
    let namespaces = [running.wait_for("net:"), running.wait_for("mnt:")];
    running.wait_for("ready");
    assert!(namespaces.iter().all(|link| is_inhabited(link)));
    running.signal("KILL");
    assert_eq!(running.end().code(), None);
    nothing_is_left(&token, &namespaces);
}

fn a_killed_keeper_takes_the_command_with_it(user: User) {
    let token = token("keeper", user);
    let mut running = shell(user, "echo keeper $PPID; exec sleep 1000", &token);
    let namespaces = [running.wait_for("net:"), running.wait_for("mnt:")];
    let keeper = running.wait_for("keeper");
    signal(keeper.trim().rsplit(' ').next().unwrap().parse().unwrap(), "KILL");
    assert_eq!(running.end().code(), Some(124));
    nothing_is_left(&token, &namespaces);
}
