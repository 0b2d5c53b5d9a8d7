//! PostgreSQL, with and without TLS of its own.

use crate::lab::{Lab, lines, must};

#[test]
fn postgresql_keeps_its_own_tls() {
    let lab = Lab::new();
    let directory = lab.directory.display();
    lab.file("password", "tea");
    must(lab.user("initdb").args([
        "--pgdata=pg",
        "--username=shop",
        "--pwfile=password",
        "--auth=scram-sha-256",
        "--no-sync",
    ]));
    must(lab.user("openssl").args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=postgres",
        "-addext",
        "subjectAltName=DNS:postgres",
        "-keyout",
        "pg/server.key",
        "-out",
        "pg/server.crt",
    ]));
    let mut command = lab.server("postgres", "5432");
    command.args(["postgres", "-D", "pg", "-c", "ssl=on", "-c", "listen_addresses=localhost"]);
    command.args(["-c", &format!("unix_socket_directories={directory}"), "-c", "fsync=off"]);
    let server = lab.start("postgres", command);
    server.wait_for("database system is ready to accept connections");

    let query = |options: &str, sql: &str| {
        let mut client = lab.client("web");
        client.env("PGPASSWORD", "tea").args(["psql", "-X", "-A", "-t", "-c", sql]);
        must(client.arg(format!("host=postgres user=shop dbname=postgres {options}")))
    };
    let is_tls = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(query("sslmode=require", is_tls), "t|TLSv1.3\n");
    // The server's own certificate is what the client sees.
    let whole = format!("sslmode=verify-full sslrootcert={directory}/pg/server.crt");
    assert_eq!(query(&whole, is_tls), "t|TLSv1.3\n");
    assert_eq!(query("sslmode=disable", is_tls), "f|\n");
    for mode in ["require", "disable"] {
        let options = format!("sslmode={mode}");
        assert_eq!(
            query(&options, "SELECT sum(n) FROM generate_series(1, 100000) n"),
            "5000050000\n"
        );
        assert_eq!(query(&options, "SELECT repeat('x', 5000000)").len(), 5_000_001);
    }
    let log = server.log();
    let seen =
        lines(&log, &["direction=inbound protocol=tcp", "spiffe://weft.local/ns/shop/sa/web"]);
    assert_eq!(seen.len(), 7, "{log}");
    // The server ends a TLS session by a reset, as psql says goodbye twice; and psql, whose proxy
    // ends with it, does not wait for that. Nothing else broke.
    let broken = lines(&log, &["direction=", "reason="]);
    let ends = ["Connection reset by peer", "reason=client-gone"];
    let is_end = |line: &&str| ends.iter().any(|end| line.contains(end));
    assert!(broken.iter().all(is_end), "{broken:#?}");
}
