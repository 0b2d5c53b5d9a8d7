//! A confined command on a terminal, which `script` makes.

use std::process::Command;

use crate::Case;
use crate::lab::{Running, User, this_program};

pub const CASES: &[Case] = &[
    ("the command has the terminal, and gives it back", the_command_has_the_terminal),
    ("control-c reaches the command alone", control_c_reaches_the_command),
    ("control-c reaches a command in a pipeline", control_c_reaches_a_pipeline),
    ("a stopped command goes on with the shell's help", a_stopped_command_goes_on),
    ("a command in the background can come forward", a_command_comes_forward),
];

/// `line`, run by bash on a terminal of its own. In it, `$0` confines a command.
fn on_terminal(user: User, shell: &str, line: &str) -> Running {
    let program = this_program().to_str().unwrap();
    let wrapper = this_program().with_file_name(format!("run-{user:?}"));
    let text = format!("#!/bin/sh\nexec '{program}' --probe -- \"$@\" 2>/dev/null\n");
    std::fs::write(&wrapper, text).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let wrapper = wrapper.to_str().unwrap();
    let line = line.replace("$0", wrapper);
    let mut command: Command = user.command("script");
    let inner = if line.is_empty() { shell.to_owned() } else { format!("{shell} '{line}'") };
    command.args(["--quiet", "--return", "--command", &inner, "/dev/null"]);
    command.env("PS1", "prompt> ").env("TERM", "dumb");
    Running::start(command)
}

/// Prints the process group of the shell that runs it, and that of the terminal's foreground.
const GROUPS: &str = "cut -d\" \" -f5,8 /proc/self/stat";

fn the_command_has_the_terminal(user: User) {
    let line =
        format!("$0 sh -c \"test -t 0 && test -t 1 && echo in; {GROUPS}\"; echo out; {GROUPS}");
    let line = line.replace("\\\"", "\"").replace("-d\" \"", "-d\\  ");
    let mut running = on_terminal(user, "sh -c", &line);
    running.wait_for("in");
    let mut groups = Vec::new();
    groups.push(running.wait_for(" "));
    running.wait_for("out");
    groups.push(running.wait_for(" "));
    for pair in &groups {
        let (own, foreground) = pair.trim().split_once(' ').unwrap();
        assert_eq!(own, foreground);
    }
    assert_ne!(groups[0], groups[1], "the command's group is its own");
    assert!(running.end().success());
}

fn control_c_reaches_the_command(user: User) {
    let trap = "trap \"echo got INT; exit 9\" INT";
    let line = format!("$0 sh -c \"{}; sleep 1000 & echo ready; wait\"", trap.replace('"', "\\\""));
    let mut running = on_terminal(user, "sh -c", &line);
    running.wait_for("ready");
    running.type_in(b"\x03");
    running.wait_for("got INT");
    assert_eq!(running.end().code(), Some(9));
}

fn control_c_reaches_a_pipeline(user: User) {
    // The whole job gets the signal: `cat` is deaf to it, and ends with the pipe.
    let trap = "trap \"echo got INT; exit 9\" INT";
    let line = format!(
        "trap : INT; $0 sh -c \"{}; sleep 1000 & echo ready; wait\" | (trap \"\" INT; exec cat)",
        trap.replace('"', "\\\"")
    );
    let mut running = on_terminal(user, "sh -c", &line);
    running.wait_for("ready");
    running.type_in(b"\x03");
    running.wait_for("got INT");
}

fn a_stopped_command_goes_on(user: User) {
    let mut running = on_terminal(user, "bash --norc --noprofile -i", "");
    let program = this_program().with_file_name(format!("run-{user:?}"));
    running.type_in(format!("{} sh -c 'echo rea''dy; exec cat'\n", program.display()).as_bytes());
    running.wait_for("ready");
    // `exec`, since a shell that is about to start a program cannot stop.
    running.type_in(b"\x1a");
    running.wait_for("Stopped");
    running.type_in(b"echo fore''ground; jobs; fg\n");
    running.wait_for("foreground");
    running.wait_for("Stopped");
    running.wait_for("sh -c");
    running.type_in(b"so''me line\n");
    // Once as it is typed, and once from `cat`.
    running.wait_for("so''me line");
    running.wait_for("so''me line");
    running.type_in(b"\x04");
    running.type_in(b"echo code $?; exit 0\n");
    running.wait_for("code 0");
    assert!(running.end().success());
}

fn a_command_comes_forward(user: User) {
    let mut running = on_terminal(user, "bash --norc --noprofile -i", "");
    let program = this_program().with_file_name(format!("run-{user:?}"));
    running.type_in(format!("{} sh -c 'echo rea''dy; exec cat' &\n", program.display()).as_bytes());
    running.wait_for("ready");
    // It reads from a terminal that it does not have.
    running.type_in(b"until jobs | grep -q Stopped; do :; done; echo stop''ped; fg\n");
    running.wait_for("stopped");
    running.wait_for("sh -c");
    running.type_in(b"some line\n");
    running.wait_for("some line");
    running.wait_for("some line");
    running.type_in(b"\x04");
    running.type_in(b"exit 0\n");
    assert!(running.end().success());
}
