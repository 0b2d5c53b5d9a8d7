//! Redis: pipelines, publish and subscribe, large values.

use std::io::Write as _;
use std::process::Stdio;

use crate::lab::{Lab, lines, wait_until};

/// A value that is larger than all buffers on its way, and whose bytes do not repeat early.
const VALUE_BYTES: usize = 10_000_000;

/// How many messages are published, about a hundred a second.
const MESSAGES: usize = 300;

#[test]
fn redis_serves_pipelines_subscribers_and_large_values() {
    let lab = Lab::new();
    let mut command = lab.server("redis", "6379");
    let options = ["--port", "6379", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    command.arg("redis-server").args(options);
    let redis = lab.start("redis", command);
    redis.wait_for("Ready to accept connections");
    let shell = |line: &str| lab.shell("web", line);

    assert_eq!(shell("redis-cli -h redis ping"), "PONG\n");
    assert_eq!(
        shell("redis-cli -h redis set tea oolong; redis-cli -h redis get tea"),
        "OK\noolong\n"
    );
    let commands: String = (0..20_000).map(|i| format!("SET key:{i} {i}\r\n")).collect();
    lab.file("commands", commands);
    let said = shell("redis-cli -h redis --pipe < commands && redis-cli -h redis dbsize");
    assert!(said.contains("errors: 0, replies: 20000\n") && said.ends_with("20001\n"), "{said}");

    let letter = |i: usize| b'a' + (i * i / 1000 % 26).to_le_bytes()[0];
    let value: Vec<u8> = (0..VALUE_BYTES).map(letter).collect();
    lab.file("value", &value);
    let said = shell(
        "redis-cli -h redis -x set value < value && redis-cli -h redis strlen value && \
         redis-cli -h redis get value | head -c 10000000 | cmp - value && echo same",
    );
    assert_eq!(said, format!("OK\n{VALUE_BYTES}\nsame\n"));

    // A subscriber that only listens, and a publisher that speaks now and then.
    let mut command = lab.client("listener");
    command.args(["redis-cli", "-h", "redis", "subscribe", "news"]);
    let subscriber = lab.start("subscriber", command);
    subscriber.wait_for("subscribe");
    let mut publisher = lab.client("web");
    publisher.args(["redis-cli", "-h", "redis", "-i", "0.01"]).stdin(Stdio::piped());
    let mut publisher = publisher.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = publisher.stdin.take().unwrap();
    for number in 0..MESSAGES {
        writeln!(input, "publish news message-{number}").unwrap();
    }
    drop(input);
    assert!(publisher.wait().unwrap().success());
    let heard = || subscriber.output();
    wait_until("all is heard", || heard().contains(&format!("message-{}\n", MESSAGES - 1)));
    let heard = heard();
    let numbers: Vec<&str> =
        heard.lines().filter_map(|line| line.strip_prefix("message-")).collect();
    assert_eq!(numbers, (0..MESSAGES).map(|n| n.to_string()).collect::<Vec<_>>());

    let log = redis.log();
    let refused = lines(&log, &["direction=inbound", "reason="]);
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(!lines(&log, &["protocol=tcp", "peer=spiffe://weft.local/ns/shop/sa/web"]).is_empty());
}
