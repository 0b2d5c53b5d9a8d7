//! Many callers at once: of HTTP/1.1, which read slowly, and of HTTP/2.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::limited::Directory;
use crate::lab::must;

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How large the stacks of the many threads are.
const STACK_BYTES: usize = 256 << 10;

/// How large the body of a request is: about as much as is kept to be sent again.
const BODY_BYTES: usize = 60_000;

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub answered: u64,
    /// A proxy said that it is short of memory, or that the server's is.
    pub refused: u64,
    /// The connection ended before an answer.
    pub ended: u64,
    /// Anything else.
    pub other: BTreeMap<String, u64>,
}

/// Asks at `addresses` in turn, `count` times, all at the same time: who gets an answer reads no
/// more than its head until everybody knows what became of his request.
pub fn call_all(addresses: &[String], count: usize) -> Tally {
    upload_all(addresses, count, &[b'y'; BODY_BYTES])
}

/// The same with this body.
pub fn upload_all(addresses: &[String], count: usize, body: &'static [u8]) -> Tally {
    // Callers and application are in one process: a connection takes two files of it.
    let files = getrlimit(Resource::Nofile);
    let most = Rlimit { current: files.maximum, ..files };
    setrlimit(Resource::Nofile, most).expect("a process may open as many files as it may");
    let tally = Arc::new(Mutex::new(Tally::default()));
    let all = Arc::new(Barrier::new(count));
    let callers: Vec<_> = (0..count)
        .map(|number| {
            let address = addresses[number % addresses.len()].clone();
            let (tally, all) = (tally.clone(), all.clone());
            let call = move || {
                let answer = ask(&address, body);
                let held = note(answer, &mut tally.lock().expect("no caller panics"));
                all.wait();
                drop(held);
            };
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            thread.spawn(call).expect("threads can be had")
        })
        .collect();
    for caller in callers {
        caller.join().expect("a caller counts whatever happens");
    }
    let tally = tally.lock().expect("no caller panics");
    tally.clone()
}

/// Asks once, and counts what came of it.
pub fn call(address: &str, tally: &mut Tally) {
    drop(note(ask(address, &[b'y'; BODY_BYTES]), tally));
}

/// Counts an answer. If it is the server's, the connection is held as long as what this returns.
fn note(answer: io::Result<(TcpStream, String)>, tally: &mut Tally) -> Option<TcpStream> {
    const REFUSALS: [&str; 3] = ["Weft-Reason: overload\r\n", ": overload: ", ": overload\n"];
    match answer {
        Ok((stream, head)) if head.starts_with("HTTP/1.1 200") => {
            tally.answered += 1;
            return Some(stream);
        }
        Ok((_, head)) if head.is_empty() => tally.ended += 1,
        Ok((_, head))
            if head.starts_with("HTTP/1.1 503")
                && REFUSALS.iter().any(|one| head.contains(one)) =>
        {
            tally.refused += 1;
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => tally.ended += 1,
        Ok((_, other)) => *tally.other.entry(other).or_default() += 1,
        Err(error) => *tally.other.entry(error.to_string()).or_default() += 1,
    }
    None
}

/// Asks with a body, and reads no more than the head of the answer, or the whole of a refusal.
#[expect(clippy::disallowed_methods, reason = "the test plays the callers")]
fn ask(address: &str, body: &[u8]) -> io::Result<(TcpStream, String)> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    (&stream).write_all(head.as_bytes())?;
    // A refusal may come before all of it was taken.
    let _ = (&stream).write_all(body);
    let mut head = String::new();
    let mut reader = BufReader::with_capacity(1024, &stream);
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            break;
        }
    }
    if !head.starts_with("HTTP/1.1 200") {
        // What Weft says of it.
        reader.read_line(&mut head)?;
    }
    drop(reader);
    Ok((stream, head))
}

/// How many of `count` requests, each with a body, h2load saw answered with 2xx, and how many with
/// 5xx, where they were sent at once over so many connections of HTTP/2 to `address`.
///
/// It fails unless all of them were answered.
pub fn h2load(directory: &Directory, address: &str, count: usize, connections: usize) -> [u64; 2] {
    let body = directory.file(&format!("body {address}"), &"y".repeat(BODY_BYTES));
    let numbers = [count, connections, count / connections].map(|number| number.to_string());
    let [count, connections, streams] = &numbers;
    let mut command = Command::new("h2load");
    command.args(["-n", count, "-c", connections, "-m", streams, "-d"]).arg(body);
    let said = must(command.arg(format!("http://{address}/")));
    let line = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("h2load said:\n{said}"))
    };
    let number = |line: &str, name: &str| {
        let part = line.split(',').find_map(|part| part.trim().strip_suffix(name));
        let number = part.and_then(|part| part.trim().parse::<u64>().ok());
        number.unwrap_or_else(|| panic!("h2load said:\n{said}"))
    };
    let (requests, codes) = (line("requests:"), line("status codes:"));
    assert_eq!(number(requests, " errored"), 0, "{said}");
    assert_eq!(number(requests, " timeout"), 0, "{said}");
    [number(codes, " 2xx"), number(codes, " 5xx")]
}

/// What became of how many requests that a caller sent at once over so many connections of HTTP/2
/// to `address`, and whose answers it read after a while only.
pub fn slow_h2(
    directory: &Directory,
    address: &str,
    connections: usize,
    streams: usize,
) -> BTreeMap<String, u64> {
    let script = directory.file("slow_h2.py", include_str!("../python/slow_h2.py"));
    let numbers = [connections, streams].map(|number| number.to_string());
    let said = must(Command::new("/usr/bin/python3").arg(script).arg(address).args(numbers));
    serde_json::from_str(&said).expect("it prints an object of numbers")
}

/// What became of how many of `count` tunnels that OpenSSL opened at once at `address`, all with
/// this `preface`: what the proxy answered, in hexadecimal. Those that got `welcome` are held for a
/// while.
pub fn storm(
    directory: &Directory,
    address: &str,
    count: usize,
    preface: &[u8],
    welcome: &[u8],
) -> BTreeMap<String, u64> {
    let script = directory.file("storm.py", include_str!("../python/storm.py"));
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script).arg(address).arg(count.to_string()).args([hex(preface), hex(welcome)]);
    let said = must(command.current_dir(&directory.0));
    serde_json::from_str(&said).expect("it prints an object of numbers")
}

/// Tunnels full of streams, each of which begins with the same bytes and then says nothing more.
pub struct Streams<'t> {
    pub tunnels: usize,
    pub streams: usize,
    pub said: &'t [u8],
    /// Whether nothing is read of what the proxy says on them.
    pub is_deaf: bool,
}

/// What became of how many of `streams`, which OpenSSL opened at `address`, each tunnel with this
/// `opening`: what is said and what is answered. All are held for a while.
pub fn open_streams(
    directory: &Directory,
    address: &str,
    [preface, welcome]: &[Vec<u8>; 2],
    streams: &Streams<'_>,
) -> BTreeMap<String, u64> {
    let script = directory.file("streams.py", include_str!("../python/streams.py"));
    let said = directory.0.join("said");
    std::fs::write(&said, streams.said).expect("the own directory is writable");
    let mut command = Command::new("/usr/bin/python3");
    let numbers = [streams.tunnels, streams.streams].map(|number| number.to_string());
    command.arg(script).arg(address).args(numbers).args([hex(preface), hex(welcome)]);
    command.arg(if streams.is_deaf { "deaf" } else { "" }).arg(said);
    let said = must(command.current_dir(&directory.0));
    serde_json::from_str(&said).expect("it prints an object of numbers")
}

/// `bytes` in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
