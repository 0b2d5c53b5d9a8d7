//! nginx, Python's server, curl and a client in Python.

use std::os::unix::fs::chown;

use crate::lab::{Lab, lines, must};
use crate::nginx;

/// A download that takes more than buffers.
const MEGABYTES: usize = 100;

/// Asks `http://web/` for something a hundred times on one connection, and says what the last answer was.
const CLIENT: &str = r#"
import http.client
connection = http.client.HTTPConnection("web")
for number in range(100):
    if number % 2:
        connection.request("POST", "/", b"x" * number)
    else:
        connection.request("GET", "/hello")
    answer = connection.getresponse()
    body = answer.read()
print(answer.status, len(body))
"#;

#[test]
fn nginx_serves_requests_and_a_large_download() {
    let lab = Lab::new();
    let directory = lab.directory.display();
    let html = lab.directory.join("html");
    std::fs::create_dir(&html).unwrap();
    chown(&html, Some(5), Some(60)).unwrap();
    lab.file("html/index.html", "the cart\n");
    let script =
        format!("head -c {MEGABYTES}M /dev/urandom > html/large && sha256sum < html/large");
    let sum = must(lab.user("sh").args(["-c", &script]));
    let server = |port: u16, more: &str| {
        format!(
            "server {{ listen 127.0.0.1:{port} {more}; root {directory}/html;
               location = /echo {{ return 200 \"$server_protocol $http_host\\n\"; }} }}"
        )
    };
    let config = nginx::config(&lab.directory, &(server(8080, "") + &server(8081, "http2")));
    let config = lab.file("nginx.conf", config);
    let options = ["--service", "cart", "--port", "80:8080", "--port", "81:8081"];
    let mut command = lab.confined("cart", &options);
    command.args(["nginx", "-e", "stderr", "-c"]).arg(config);
    let nginx = lab.start("nginx", command);
    let shell = |line: &str| lab.shell("web", line);
    let curl = "curl -sSf --retry 20 --retry-connrefused --retry-delay 0 --retry-all-errors";
    shell(&format!("{curl} http://cart/"));

    // Three requests of one connection, as curl sees it.
    let said = shell(
        "curl -sS http://cart/echo http://cart/echo http://cart/echo -w '%{http_version} \
         %{num_connects}\\n'",
    );
    let connects: Vec<_> = said.lines().filter(|line| line.starts_with("1.1 ")).collect();
    assert_eq!(connects, ["1.1 1", "1.1 0", "1.1 0"], "{said}");
    assert_eq!(lines(&said, &["HTTP/1.1 cart"]).len(), 3, "{said}");

    // One request each: curl 7.88 breaks off at the second of such a connection, wherever it leads.
    let said = shell(
        "for i in 1 2 3; do curl -sS --http2-prior-knowledge http://cart:81/echo -w \
         '%{http_version}\\n' || exit; done",
    );
    assert_eq!(said, "HTTP/2.0 cart:81\n2\n".repeat(3));

    for url in ["http://cart/large", "--http2-prior-knowledge http://cart:81/large"] {
        assert_eq!(shell(&format!("curl -sS {url} | sha256sum")), sum, "{url}");
    }
    let log = nginx.log();
    let by = "peer=spiffe://weft.local/ns/shop/sa/web";
    assert!(
        lines(&log, &["protocol=http/1.1", "path=/large", "status=200", by]).len() == 1,
        "{log}"
    );
    assert!(lines(&log, &["protocol=http/2", "path=/large", "status=200", by]).len() == 1, "{log}");
    let size = format!("bytes_sent={}", MEGABYTES << 20);
    assert_eq!(lines(&log, &["path=/large", &size]).len(), 2, "{log}");
}

#[test]
fn python_serves_and_calls() {
    let lab = Lab::new();
    lab.file("hello", "hello\n");
    let mut command = lab.server("web", "80:8000");
    let handler = "import http.server as h\n\
         class Handler(h.SimpleHTTPRequestHandler):\n\
         \x20   protocol_version = 'HTTP/1.1'\n\
         \x20   def do_POST(self):\n\
         \x20       body = self.rfile.read(int(self.headers['content-length']))\n\
         \x20       self.send_response(200)\n\
         \x20       self.send_header('content-length', str(len(body)))\n\
         \x20       self.end_headers()\n\
         \x20       self.wfile.write(body)\n\
         server = h.ThreadingHTTPServer(('', 8000), Handler)\n\
         print('listening')\n\
         server.serve_forever()\n";
    let handler = lab.file("server.py", handler);
    command.args(["python3", "-u"]).arg(handler);
    let server = lab.start("web", command);
    server.wait_for("listening");
    let said = lab.shell("cli", "curl -sS http://web/hello");
    assert_eq!(said, "hello\n");
    let client = lab.file("client.py", CLIENT);
    assert_eq!(must(lab.client("cli").arg("python3").arg(client)), "200 99\n");
    let log = server.log();
    let by = ["direction=inbound", "status=200", "peer=spiffe://weft.local/ns/shop/sa/cli"];
    assert_eq!(lines(&log, &by).len(), 101, "{log}");

    // The server that comes with Python, which closes after each answer.
    let mut command = lab.server("files", "80:8000/http");
    command.args(["python3", "-u", "-m", "http.server", "8000"]);
    let files = lab.start("files", command);
    files.wait_for("Serving HTTP");
    let said = lab.shell("cli", "curl -sS http://files/hello http://files/hello");
    assert_eq!(said, "hello\nhello\n");
}
