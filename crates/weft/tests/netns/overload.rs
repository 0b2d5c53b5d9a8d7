//! A proxy that is asked for more than its memory allows.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::lab::wait_until;

/// What the proxy may use.
const LIMIT_BYTES: u64 = 64 << 20;

/// How many callers there are at once, each with a body as large as is kept for another try, and an
/// answer that it does not read: together four times what the proxy has room for.
const CALLERS: usize = 3_000;

/// How many listeners they share, so that no one's limit on requests refuses them first.
const LISTENERS: usize = 4;

/// A control group with a limit on memory. It goes away with this value.
struct Group(PathBuf);

impl Group {
    /// Makes the group, in whichever version of control groups the system has.
    fn new() -> Group {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("weft-test-{}", std::process::id());
        let (parent, limit) = if root.join("memory").is_dir() {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            fs::write(root.join("cgroup.subtree_control"), "+memory")
                .expect("as root, groups with a limit on memory can be made");
            (root.to_owned(), "memory.max")
        };
        let group = parent.join(name);
        fs::create_dir(&group).expect("as root, control groups can be made");
        fs::write(group.join(limit), LIMIT_BYTES.to_string()).expect("a limit can be set");
        Group(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        wait_until("the group is empty", || fs::remove_dir(&self.0).is_ok());
    }
}

/// The proxy within the group. It ends with this value.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An application that takes whole requests and answers them after a while.
fn application(listener: &TcpListener) {
    for stream in listener.incoming() {
        let stream = stream.expect("connections can be taken");
        // What its callers do with their connections is no concern of it.
        let serve = move || drop(answer(stream));
        std::thread::Builder::new().stack_size(256 << 10).spawn(serve).expect("threads can be had");
    }
}

fn answer(stream: TcpStream) -> io::Result<()> {
    let (mut reader, mut stream) = (BufReader::new(&stream), &stream);
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line == "\r\n" {
            io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
            std::thread::sleep(Duration::from_millis(500)); // An application that takes its time.
            let body = vec![b'x'; 4 << 20];
            stream.write_all(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
            )?;
            stream.write_all(&body)?;
        }
    }
}

/// What became of the requests.
#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    refused: AtomicU64,
    other: AtomicU64,
}

/// How long a caller takes for the rest of its answer.
const SLOWNESS: Duration = Duration::from_millis(500);

/// Asks, and reads no more than the head of the answer for a while.
fn call(address: &str, tally: &Tally) {
    let asked = || -> io::Result<(TcpStream, String)> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let body = [b'y'; 60_000];
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        (&stream).write_all(head.as_bytes())?;
        // A refusal may come before all of it was taken.
        let _ = (&stream).write_all(&body);
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
    };
    let asked = asked();
    let counter = match &asked {
        Ok((_, head)) if head.starts_with("HTTP/1.1 200") => &tally.answered,
        Ok((_, head)) if head.contains("Weft-Reason: overload\r\n") => &tally.refused,
        Ok((_, head)) => {
            println!("an answer that is neither: {head:?}");
            &tally.other
        }
        Err(error) => {
            println!("no answer: {error}");
            &tally.other
        }
    };
    counter.fetch_add(1, Ordering::Relaxed);
    std::thread::sleep(SLOWNESS); // It is a slow reader.
}

/// The value of `metric` at `url`, which has no labels; 0 where it is not there.
fn shown(url: &str, metric: &str) -> u64 {
    let output = Command::new("curl").args(["-sS", "--fail", url]).output().expect("curl is there");
    let text = String::from_utf8(output.stdout).expect("metrics are text");
    let value = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a value is a number"))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test plays the application and its callers")]
fn a_proxy_short_of_memory_refuses_work_and_lives_on() {
    // Callers and application are in one process: a connection takes two files of it.
    let files = getrlimit(Resource::Nofile);
    let most = Rlimit { current: files.maximum, ..files };
    setrlimit(Resource::Nofile, most).expect("a process may open as many files as it may");
    let group = Group::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    // Whom the system turns away for want of room in the queue would not be the proxy's doing.
    rustix::net::listen(&listener, 4096).expect("a queue may be made longer");
    let backend = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || application(&listener));

    let directory = std::env::temp_dir().join(format!("weft-overload-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("the directory for temporary files is writable");
    let config = directory.join("proxy.yaml");
    let listener = format!(
        "- {{ listen: \"127.0.0.1:0\", protocol: http, endpoints: [{{ address: \"{backend}\" }}] }}\n"
    );
    let text = format!("outbound:\n{}", listener.repeat(LISTENERS));
    fs::write(&config, text).expect("the own directory is writable");
    let script = format!(
        "echo $$ > {}/cgroup.procs && ulimit -n 20000 && exec {} proxy --config {} --access-log off \
         --metrics 127.0.0.1:0",
        group.0.display(),
        env!("CARGO_BIN_EXE_weft"),
        config.display()
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stderr(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let mut errors = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut proxy = Proxy(child);
    let mut said = |before: &str| {
        let mut line = String::new();
        errors.read_line(&mut line).expect("the proxy says where it is");
        let (_, after) = line.trim_end().split_once(before).expect("it says where");
        after.to_owned()
    };
    let metrics = said("metrics at ");
    let addresses: Vec<_> = said("listening at ").split(", ").map(str::to_owned).collect();
    // What it says later must be read, or it would wait.
    std::thread::spawn(move || io::copy(&mut errors, &mut io::sink()));

    let shown = |metric: &str| shown(&metrics, metric);
    wait_until("the memory was looked at", || shown("weft_memory_used_bytes") > 0);
    assert_eq!(shown("weft_memory_limit_bytes"), LIMIT_BYTES);
    assert_eq!(shown("weft_memory_pressure"), 0);

    let tally = Arc::new(Tally::default());
    let callers: Vec<_> = (0..CALLERS)
        .map(|number| {
            let address = addresses[number % LISTENERS].clone();
            let tally = tally.clone();
            let call = move || call(&address, &tally);
            std::thread::Builder::new()
                .stack_size(256 << 10)
                .spawn(call)
                .expect("threads can be had")
        })
        .collect();
    for caller in callers {
        caller.join().expect("a caller counts whatever happens");
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (answered, refused) = (count(&tally.answered), count(&tally.refused));
    let found =
        format!("{answered} answered, {refused} refused, {} otherwise", count(&tally.other));
    assert!(proxy.0.try_wait().expect("it is a child").is_none(), "it was killed: {found}");
    assert!(answered > 0 && refused > 0 && count(&tally.other) == 0, "{found}");

    // With the callers gone, it serves as before.
    wait_until("requests are answered again", || {
        let again = Tally::default();
        call(&addresses[0], &again);
        count(&again.answered) == 1
    });
    drop(proxy);
    drop(group);
    fs::remove_dir_all(&directory).expect("the own directory can be removed");
}
