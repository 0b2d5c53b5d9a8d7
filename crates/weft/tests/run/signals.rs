//! How a command ends, what it is told, and who ends with it.

use std::process::Command;

use crate::lab::{Lab, Running, descendants, is_alive, lines, output, wait_until};

/// Ends with 5 when it is told to end, and says what it was told.
const TRAPS: &str = "trap 'echo got TERM; exit 5' TERM; trap 'echo got USR1' USR1; echo ready; \
                     while :; do sleep 0.05; done";

#[test]
fn the_exit_code_is_the_commands() {
    let lab = Lab::new();
    for (line, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
    {
        let ended = output(lab.client("web").args(["sh", "-c", line])).status;
        assert_eq!(ended.code(), Some(code), "{line}");
    }
    lab.file("no-program", "");
    for (program, code) in [("./no-such-program", 127), ("./no-program", 126)] {
        let ended = output(lab.client("web").arg(program));
        assert_eq!(ended.status.code(), Some(code));
        let errors = String::from_utf8(ended.stderr).unwrap();
        assert!(errors.contains(&format!("weft: cannot run {program}\n")), "{errors}");
    }
}

#[test]
fn signals_are_passed_on() {
    let lab = Lab::new();
    let mut command = lab.client("web");
    command.args(["sh", "-c", TRAPS]);
    let mut running = lab.start("web", command);
    running.wait_for("ready");
    running.signal("USR1");
    running.wait_for("got USR1");
    running.signal("TERM");
    assert_eq!(running.end().code(), Some(5));
    assert!(running.output().ends_with("got TERM\n"), "{}", running.output());
}

/// `shell` on a terminal, with a script `./confined` that runs a command in the mesh.
fn on_terminal(lab: &Lab, shell: &str) -> Running {
    let line = lab.arguments("web", &[]).join(" ");
    let script = lab.file("confined", format!("exec {line} \"$@\" 2>/dev/null\n"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(script, mode).unwrap();
    let mut terminal: Command = lab.user("script");
    terminal.args(["--quiet", "--return", "--command", shell, "/dev/null"]);
    terminal.env("PS1", "prompt> ").env("TERM", "dumb");
    lab.start_typed("terminal", terminal)
}

#[test]
fn control_c_reaches_the_command() {
    let lab = Lab::new();
    lab.file("job", "trap 'echo got INT; exit 9' INT; echo ready; sleep 1000; true\n");
    let mut terminal = on_terminal(&lab, "sh ./confined sh ./job");
    terminal.wait_for("ready");
    terminal.type_in(b"\x03");
    terminal.wait_for("got INT");
    assert_eq!(terminal.end().code(), Some(9));
}

#[test]
fn a_stopped_command_goes_on() {
    let lab = Lab::new();
    lab.file("job", "echo ready; exec cat\n");
    let mut terminal = on_terminal(&lab, "bash --norc --noprofile -i");
    terminal.type_in(b"sh ./confined sh ./job\n");
    terminal.wait_for("\nready");
    terminal.type_in(b"\x1a");
    terminal.wait_for("Stopped");
    // The prompt is back; then the command, which gets the next line.
    terminal.type_in(b"echo fore''ground; fg\n");
    terminal.wait_for("\nforeground");
    terminal.type_in(b"to be repeated\n");
    wait_until("the line is typed and repeated", || {
        lines(&terminal.output(), &["to be repeated"]).len() == 2
    });
    terminal.type_in(b"\x04");
    terminal.type_in(b"exit 0\n");
    assert!(terminal.end().success());
}

#[test]
fn the_command_ends_with_weft_and_nobody_calls_it_any_more() {
    let lab = Lab::new();
    let handler = "import http.server as h\n\
         class Handler(h.BaseHTTPRequestHandler):\n\
         \tprotocol_version = 'HTTP/1.1'\n\
         \tdef do_GET(self):\n\
         \t\tself.send_response(204)\n\
         \t\tself.end_headers()\n\
         server = h.ThreadingHTTPServer(('', 8000), Handler)\n\
         print('listening', flush=True)\n\
         server.serve_forever()\n";
    lab.file("server.py", handler);
    let [one, mut other] = ["one", "other"].map(|name| {
        let mut command = lab.server("cart", "80:8000/http");
        command.args(["sh", "-c", "sleep 1000 & exec python3 server.py"]);
        let server = lab.start(name, command);
        server.wait_for("listening");
        server
    });
    // They take turns, so that the one that ends is soon called, however long it took before.
    lab.apply(
        "apiVersion: weft.dev/v1alpha1\nkind: BackendPolicy\n\
         metadata: { name: cart, namespace: shop }\n\
         spec:\n  targetRefs: [{ group: '', kind: Service, name: cart }]\n  \
         loadBalancing: { algorithm: RoundRobin }\n",
    );
    // Requests without pause, in a log of the proxy's.
    let mut command = lab.client("web");
    let forever = "while :; do curl -sS -o /dev/null 'http://cart/?[1-50]' || echo failed; done";
    command.args(["sh", "-c", forever]);
    let client = lab.start("client", command);
    let served = |server: &Running| lines(&server.log(), &["status=204"]).len();
    wait_until("both are called", || served(&one) > 50 && served(&other) > 50);
    let processes = descendants(other.id());
    let names: Vec<_> = processes.iter().map(|(_, name)| name.as_str()).collect();
    for name in ["weft-keeper", "python3", "sleep"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let all = |text: &str| lines(text, &["direction=outbound", "authority=cart"]).len();
    let again = |text: &str| lines(text, &["authority=cart", "attempts=2"]).len();
    let before = again(&client.log());

    other.signal("KILL");
    assert_eq!(other.end().code(), None);
    wait_until("all have ended", || !processes.iter().any(|(process, _)| is_alive(*process)));
    let called = all(&client.log());
    wait_until("others take over", || all(&client.log()) > called + 1000);
    let log = client.log();
    // A request that found it gone was sent to the other, and then it was left alone, for a second
    // at first; ten times as many as that makes would still be few.
    let [began, ended] = [called, all(&log)].map(|count| {
        let lines = lines(&log, &["direction=outbound", "authority=cart"]);
        seconds(lines[count - 1])
    });
    let tried = again(&log) - before;
    let most = 10.0 * (1.0 + (ended - began));
    assert!(tried >= 1 && tried as f64 <= most, "{tried} in {} s", ended - began);
    assert!(!client.output().contains("failed"), "{}", client.output());
    let failed = lines(&log, &["authority=cart", "reason="]);
    assert!(failed.is_empty(), "{failed:#?}");
}

/// When a line of the access log says that it began, in seconds of its day.
fn seconds(line: &str) -> f64 {
    let (_, time) = line.split_once("time=").unwrap();
    let (_, time) = time.split_once('T').unwrap();
    let parts = time.split_once('Z').unwrap().0.split(':');
    parts.fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

/// Sends to the first caller on port 7000, or reads what it has to say, and then ends.
const ONCE: &str = r#"
import os, socket, sys, time
listener = socket.create_server(("", 7000))
print("listening", flush=True)
connection, _ = listener.accept()
if sys.argv[1] == "send":
    connection.sendall(b"x" * 5_000_000)
else:
    while not os.path.exists("may-read"):
        time.sleep(0.01)
    print(len(connection.makefile("rb").read()), flush=True)
"#;

/// Sends until there was no room for a while, and says how much that was.
const FILL: &str = r#"
import select
sent = 0
c.setblocking(False)
while select.select([], [c], [], 0.3)[1]:
    sent += c.send(b"x" * 65536)
print(sent, flush=True)
"#;

#[test]
fn last_words_arrive() {
    let lab = Lab::new();
    lab.file("once.py", ONCE);
    let once = |service: &str, what: &str| {
        let mut command = lab.server(service, "7000");
        command.args(["python3", "once.py", what]);
        let server = lab.start(service, command);
        server.wait_for("listening");
        server
    };
    let call = |service: &str, what: &str| {
        let address = format!("({service:?}, 7000)");
        let script = format!("import socket; c = socket.create_connection({address})\n{what}");
        let mut command = lab.client("web");
        command.args(["python3", "-c", &script]);
        lab.start("client", command)
    };
    // As much as there is room for on the way, and the listener reads only when the caller has
    // ended.
    let mut listener = once("listener", "receive");
    let mut client = call("listener", FILL);
    wait_until("the caller has sent what it could", || client.output().contains('\n'));
    let is_there = || descendants(client.id()).iter().any(|(_, name)| name == "python3");
    wait_until("the caller has ended", || !is_there());
    lab.file("may-read", "");
    assert!(listener.end().success());
    let sent = client.output();
    assert_eq!(listener.output(), format!("listening\n{sent}"));
    assert!(client.end().success());

    let mut speaker = once("speaker", "send");
    let mut client = call("speaker", "print(len(c.makefile('rb').read()))");
    assert!(client.end().success());
    assert_eq!(client.output(), "5000000\n");
    assert!(speaker.end().success());
}
