//! Addresses of the mesh, and those that programs listen at.

use crate::lab::{Lab, lines, must};

/// A server at argv[1] and argv[2] that greets who connects, whatever they say.
const GREETER: &str = r#"
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
listener = socket.socket(family, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((address, port))
listener.listen()
print("listening", flush=True)
while True:
    connection, caller = listener.accept()
    connection.sendall(f"{address} was called by {caller[0]}\n".encode())
    connection.close()
"#;

/// Prints what a server at argv[1], a host, and argv[2], a port, sends, by IPv4 and by IPv6.
const CALLER: &str = r#"
import socket, sys
for family in socket.AF_INET, socket.AF_INET6:
    [(*_, address)] = socket.getaddrinfo(*sys.argv[1:3], family, socket.SOCK_STREAM)
    with socket.create_connection(address[:2]) as connection:
        print(family.name, connection.makefile().read(), end="")
"#;

#[test]
fn programs_are_reached_by_ipv4_and_ipv6_wherever_they_listen() {
    let lab = Lab::new();
    let (greeter, caller) = (lab.file("greeter.py", GREETER), lab.file("caller.py", CALLER));
    for (service, address) in
        [("any4", "0.0.0.0"), ("loop4", "127.0.0.1"), ("any6", "::"), ("loop6", "::1")]
    {
        let mut command = lab.server(service, "7000:7001");
        command.arg("python3").arg(&greeter).args([address, "7001"]);
        let server = lab.start(service, command);
        server.wait_for("listening");
        let printed = must(lab.client("web").arg("python3").arg(&caller).args([service, "7000"]));
        let seen: Vec<_> = printed.lines().collect();
        let by = match address {
            "::" => "::ffff:127.0.0.1",
            "::1" => "::1",
            _ => "127.0.0.1",
        };
        let greeting = format!("{address} was called by {by}");
        assert_eq!(seen, [format!("AF_INET {greeting}"), format!("AF_INET6 {greeting}")]);
        let log = server.log();
        assert_eq!(lines(&log, &["direction=inbound", "ns/shop/sa/web"]).len(), 2, "{log}");
    }
}

#[test]
fn tunnels_go_by_ipv6_where_the_workload_is_reached_by_it() {
    let lab = Lab::new();
    let (greeter, caller) = (lab.file("greeter.py", GREETER), lab.file("caller.py", CALLER));
    let options = ["--service", "six", "--port", "7000:7001", "--address", "::1"];
    let mut command = lab.confined("six", &options);
    command.arg("python3").arg(&greeter).args(["127.0.0.1", "7001"]);
    let server = lab.start("six", command);
    server.wait_for("listening");
    let printed = must(lab.client("web").arg("python3").arg(&caller).args(["six", "7000"]));
    let greeting = "127.0.0.1 was called by 127.0.0.1";
    assert_eq!(printed, format!("AF_INET {greeting}\nAF_INET6 {greeting}\n"));
    let log = server.log();
    let tunnels = lines(&log, &["direction=inbound", "destination=[::1]:", "sa/web"]);
    assert_eq!(tunnels.len(), 2, "{log}");
}
