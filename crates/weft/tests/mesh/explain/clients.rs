//! The programs that send what was drawn: curl, gRPC's own library for Python, and Redis' client.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::lab::{output, succeeded};
use crate::redis;

/// What a program was answered. Where it was answered nothing, all is empty.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status of HTTP, where the program tells it.
    pub status: Option<u64>,
    /// The status of gRPC.
    pub grpc_status: Option<u64>,
    /// Its `Weft-Reason`.
    pub reason: String,
    /// The application that answered.
    pub app: String,
}

impl Answer {
    /// Whether nothing was answered: the connection has ended.
    pub fn is_cut(&self) -> bool {
        // What gRPC's library says itself is UNAVAILABLE.
        let is_said =
            self.grpc_status.is_some_and(|status| status != 14) || !self.reason.is_empty();
        self.status.is_none() && !is_said
    }
}

/// Has curl send a request to `address`, by HTTP/2 if `is_http2`.
pub fn curl(
    address: SocketAddr,
    is_http2: bool,
    [method, authority, target]: [&str; 3],
    headers: &[String],
) -> Answer {
    let version = if is_http2 { "--http2-prior-knowledge" } else { "--http1.1" };
    let mut command = Command::new("curl");
    command.args(["-s", "--max-time", "60", version, "-X", method, "-o", "/dev/null"]);
    command.args(["--connect-to", &format!("::{address}"), "--request-target", target]);
    command.args(headers.iter().flat_map(|header| ["-H", header]));
    let shown = ["%{http_code}", "%header{grpc-status}", "%header{weft-reason}", "%header{x-app}"];
    command.args(["-w", &shown.join("\n"), &format!("http://{authority}/")]);
    let said = String::from_utf8(output(&mut command).stdout).unwrap();
    let [status, grpc_status, reason, app] = said.split('\n').collect::<Vec<_>>()[..] else {
        panic!("{command:?}: {said}");
    };
    Answer {
        status: status.parse().ok().filter(|status| *status > 0),
        grpc_status: grpc_status.parse().ok(),
        reason: reason.to_owned(),
        app: app.to_owned(),
    }
}

/// Has Redis' client ask `address` which server that is, by which the answer says it.
pub fn redis_cli(address: SocketAddr) -> Answer {
    let said = output(redis::client(address).args(["--no-raw", "get", NAME])).stdout;
    let said = String::from_utf8(said).unwrap();
    let name = said.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    Answer { app: name.unwrap_or_default().to_owned(), ..Answer::default() }
}

/// Has the server at `address` answer `name` to [`redis_cli`].
pub fn name_redis(address: SocketAddr, name: &str) {
    succeeded(output(redis::client(address).args(["set", NAME, name])));
}

/// The key that a Redis keeps its name by.
const NAME: &str = "name";

/// gRPC's library for Python, as `python/calls.py` uses it.
pub struct Grpcio {
    child: Child,
    asking: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Grpcio {
    /// Starts `script`.
    pub fn start(python: &Path, script: &Path) -> Grpcio {
        let mut command = Command::new(python);
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let asking = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Grpcio { child, asking, answers }
    }

    /// Has it call the method at `path` at `address`.
    pub fn call(
        &mut self,
        address: SocketAddr,
        authority: &str,
        path: &str,
        headers: &[String],
    ) -> Answer {
        let metadata = headers.iter().filter_map(|header| {
            let (name, value) = header.split_once(": ")?;
            Some([name.to_lowercase(), value.to_owned()])
        });
        let metadata: Vec<_> = metadata.collect();
        let address = address.to_string();
        let call = json!({
            "address": address, "authority": authority, "path": path, "metadata": metadata
        });
        writeln!(self.asking, "{call}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        let (reason, app) = (text("reason"), text("app"));
        Answer { status: None, grpc_status: said["grpc_status"].as_u64(), reason, app }
    }
}

impl Drop for Grpcio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
