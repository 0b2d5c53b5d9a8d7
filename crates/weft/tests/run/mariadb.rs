//! MariaDB, whose server speaks first.

use crate::lab::{Lab, descendants, lines, must, wait_until};

/// Prints the median time, in microseconds, from the call of connect to the first byte.
const FIRST_BYTE: &str = r#"
import socket, statistics, sys, time
address = socket.gethostbyname(sys.argv[1])
def once():
    began = time.perf_counter()
    with socket.create_connection((address, 3306)) as connection:
        assert connection.recv(1)
        return (time.perf_counter() - began) * 1e6
print(round(statistics.median(once() for _ in range(41))))
"#;

/// The most that the mesh may add to the first byte: ten times what is promised.
const ADDED_MICROS_MAX: i64 = 10 * 5_000;

#[test]
fn mariadb_is_queried_and_its_greeting_is_not_waited_for() {
    let lab = Lab::new();
    let directory = lab.directory.display();
    must(lab.user("mariadb-install-db").args([
        "--no-defaults",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        &format!("--datadir={directory}/db"),
    ]));
    lab.file(
        "db.sql",
        "CREATE USER shop@localhost IDENTIFIED BY 'tea';\nGRANT ALL ON *.* TO shop@localhost;",
    );
    let mut command = lab.server("db", "3306");
    command.args([
        "mariadbd",
        "--no-defaults",
        "--bind-address=0.0.0.0",
        "--port=3306",
        &format!("--datadir={directory}/db"),
        &format!("--socket={directory}/db.sock"),
        &format!("--init-file={directory}/db.sql"),
    ]);
    let db = lab.start("db", command);
    db.wait_for("ready for connections");

    let query = |sql: &str| {
        let mut client = lab.client("web");
        let options = ["--no-defaults", "--skip-ssl", "-h", "db", "-ushop", "-ptea", "-N"];
        must(client.arg("mariadb").args(options).args(["-e", sql]))
    };
    query(
        "CREATE DATABASE shop; USE shop; CREATE TABLE item (id INT AUTO_INCREMENT PRIMARY KEY, \
         name VARCHAR(100)); INSERT INTO item (name) SELECT CONCAT('tea ', seq) \
         FROM seq_1_to_10000;",
    );
    let answer = query("SELECT COUNT(*), SUM(id), MAX(LENGTH(name)) FROM shop.item");
    assert_eq!(answer, "10000\t50005000\t9\n");
    // A large answer, too, comes whole.
    assert_eq!(query("SELECT REPEAT('x', 4000000)").len(), 4_000_001);
    // Nobody dialled and went away again.
    assert_eq!(query("SHOW STATUS LIKE 'Aborted_connects'"), "Aborted_connects\t0\n");
    let log = db.log();
    let seen =
        lines(&log, &["direction=inbound protocol=tcp", "spiffe://weft.local/ns/shop/sa/web"]);
    assert!(seen.len() >= 4, "{log}");

    let script = lab.file("first_byte.py", FIRST_BYTE);
    let script = script.to_str().unwrap();
    let micros = |text: String| text.trim().parse::<i64>().unwrap();
    let meshed = micros(must(lab.client("web").args(["python3", script, "db"])));
    let (server, _) = descendants(db.id()).into_iter().find(|(_, it)| it == "mariadbd").unwrap();
    let inside = ["--target", &server.to_string(), "--net", "python3", script, "127.0.0.1"];
    let unmeshed = micros(must(std::process::Command::new("nsenter").args(inside)));
    println!("first byte: {unmeshed} us without the mesh, {meshed} us through it");
    assert!(meshed - unmeshed < ADDED_MICROS_MAX, "{meshed} and {unmeshed} us");
    drop(db);
    wait_until("the database is gone", || {
        !std::path::Path::new(&format!("/proc/{server}")).exists()
    });
}
