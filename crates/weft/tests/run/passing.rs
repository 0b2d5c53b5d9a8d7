//! What passes by the mesh, and what does not: addresses outside, unknown ones, published ports.

use std::process::Command;

use crate::lab::{Host, Lab, OUTSIDE, Running, lines, must, output};

/// A server that comes with Python, at port 8080 of the host outside.
fn serve(lab: &Lab, outside: &Host) -> Running {
    lab.file("hello", "hello from outside\n");
    python_server(lab, "outside", outside.command("python3"), "8080")
}

/// Python's own server at `port`, started by `command`, with the lab's files.
fn python_server(lab: &Lab, name: &str, mut command: Command, port: &str) -> Running {
    command.args(["-u", "-m", "http.server", port, "--directory"]).arg(&lab.directory);
    let server = lab.start(name, command);
    server.wait_for("Serving HTTP");
    server
}

/// What the shell that `running` is prints and says with the exit code of `line`, its `number`-th.
fn typed(running: &mut Running, number: usize, line: &str) -> String {
    let before = running.output().len();
    let end = format!("end {number}");
    running.type_in(format!("{line}; echo code $?; echo {end}\n").as_bytes());
    running.wait_for(&end);
    running.output()[before..].replace(&format!("{end}\n"), "")
}

#[test]
fn unknown_addresses_of_the_mesh_are_refused_and_the_outside_passes() {
    let mut lab = Lab::new();
    let outside = lab.outside();
    let _server = serve(&lab, &outside);
    let mut command = lab.client("web");
    command.arg("sh");
    let mut shell = lab.start_typed("web", command);
    let hello = format!("curl -sS http://{OUTSIDE}:8080/hello");
    let passes = "hello from outside\ncode 0\n";
    assert_eq!(typed(&mut shell, 1, &hello), passes);

    // In the mesh's ranges, and nobody's. Curl takes it for an empty answer, or a reset.
    let is_refused = |said: &str| ["code 52\n", "code 56\n"].contains(&said);
    let unknown = ["240.119.1.1:80", "[fd77:6566:7400:0:1:1:1:1]:80"];
    for (number, address) in unknown.iter().enumerate() {
        let said = typed(&mut shell, 10 + number, &format!("curl -sS http://{address}/"));
        assert!(is_refused(&said), "{said}");
        let destination = format!("destination={address}");
        let parts = ["direction=outbound", "reason=address-unknown", &destination];
        shell.wait_for(&destination);
        let log = shell.log();
        let [line] = lines(&log, &parts)[..] else { panic!("{log}") };
        assert!(line.contains("there is no such thing"), "{line}");
    }

    lab.stop_control();
    shell.wait_for("the control plane is away");
    assert_eq!(typed(&mut shell, 20, &hello), passes);
    let said = typed(&mut shell, 21, "curl -sS http://240.119.2.2:80/");
    assert!(is_refused(&said), "{said}");
    shell.wait_for("destination=240.119.2.2:80");
    let log = shell.log();
    let [line] = lines(&log, &["reason=address-unknown", "240.119.2.2:80"])[..] else {
        panic!("{log}")
    };
    assert!(line.contains("the control plane did not answer within 2 s"), "{line}");
    // What was found not to be there is known by now.
    assert!(is_refused(&typed(&mut shell, 22, "curl -sS http://240.119.1.1:80/")));
    shell.type_in(b"exit 3\n");
    assert_eq!(shell.end().code(), Some(3));
}

#[test]
fn what_runs_on_the_host_of_a_workload_is_reached_whatever_was_called_before() {
    let lab = Lab::new();
    let _outside = lab.outside();
    // In the mesh at port 8080, at the address of its host, where others have that port and 9999.
    let options = ["--service", "cart", "--port", "80:8080/http", "--address", "10.77.0.1"];
    let mut command = lab.confined("cart", &options);
    let says = "mkdir -p in && echo cart > in/hello && cd in && \
                exec python3 -u -m http.server 8080";
    command.args(["sh", "-c", says]);
    let cart = lab.start("cart", command);
    cart.wait_for("Serving HTTP");
    lab.file("hello", "the host\n");
    let _same = python_server(&lab, "same", lab.user("python3"), "8080");
    let _other = python_server(&lab, "other", lab.user("python3"), "9999");
    let host = "curl -sS http://10.77.0.1:8080/hello http://10.77.0.1:9999/hello";
    let said = lab.shell("web", &format!("{host} && curl -sS http://cart/hello && {host}"));
    assert_eq!(said, "the host\nthe host\ncart\nthe host\nthe host\n");
}

#[test]
fn excluded_ports_and_blocks_pass_where_nothing_else_does() {
    let lab = Lab::new();
    let outside = lab.outside();
    let _server = serve(&lab, &outside);
    lab.apply(
        "apiVersion: weft.dev/v1alpha1\nkind: Mesh\nmetadata: { name: mesh }\n\
         spec: { trustDomain: weft.local, defaults: { outbound: registered } }\n",
    );
    let url = format!("http://{OUTSIDE}:8080/hello");
    let call = |options: &[&str]| output(lab.confined("web", options).args(["curl", "-sS", &url]));
    let refused = call(&[]);
    let log = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert_eq!(lines(&log, &["reason=outside-refused"]).len(), 1, "{log}");
    for options in [
        ["--exclude-port", "8080"],
        ["--exclude-cidr", "10.77.0.0/24"],
        ["--exclude-cidr", "10.77.0.2/32"],
    ] {
        assert_eq!(call(&options).stdout, b"hello from outside\n", "{options:?}");
    }
    for options in [["--exclude-port", "8081"], ["--exclude-cidr", "10.77.0.1/32"]] {
        assert!(!call(&options).status.success(), "{options:?}");
    }
    let wrong = call(&["--exclude-cidr", "10.77.0.2/24"]);
    let errors = String::from_utf8_lossy(&wrong.stderr);
    assert!(wrong.status.code() == Some(1) && errors.contains("--exclude-cidr"), "{errors}");
}

#[test]
fn published_ports_are_reached_from_outside() {
    let lab = Lab::new();
    let outside = lab.outside();
    lab.file("hello", "hello from inside\n");
    let options = [
        "--publish",
        "8000",
        "--publish",
        "18000:8000",
        "--publish",
        "10.77.0.1:8080:8001",
        "--publish",
        "[::1]:8080:8001",
    ];
    let mut command = lab.confined("site", &options);
    let both = "python3 -u -m http.server 8000 --bind 127.0.0.1 & \
                exec python3 -u -m http.server 8001 --bind ::1";
    command.args(["sh", "-c", both]);
    let site = lab.start("site", command);
    site.wait_for("Serving HTTP on 127.0.0.1 port 8000");
    site.wait_for("Serving HTTP on ::1 port 8001");
    let hello = |mut curl: Command, at: &str| {
        let said = must(curl.args(["-sS", &format!("http://{at}/hello")]));
        assert_eq!(said, "hello from inside\n", "{at}");
    };
    for at in ["127.0.0.1:8000", "127.0.0.1:18000", "10.77.0.1:8080", "[::1]:8080"] {
        hello(lab.user("curl"), at);
    }
    hello(outside.command("curl"), "10.77.0.1:8080");
    // Nothing else of the command is there.
    let refused = output(lab.user("curl").args(["-sS", "http://127.0.0.1:8001/"]));
    assert_eq!(refused.status.code(), Some(7));
}
