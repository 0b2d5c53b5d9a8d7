//! `kill -9` at random moments: what was acknowledged is there, and no half of a batch.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use weft_store::{Item, LocalStore, Store};

use crate::place::Place;
use crate::{apply, key, options};

const ROUNDS: u32 = 200;

/// Where the child finds the store.
const FILE: &str = "WEFT_STORE_KILL_TEST_FILE";

/// The entries that each batch writes with its number.
const DOCUMENTS: [&str; 3] = ["a", "b", "c"];

fn batch(number: u64) -> Vec<Item> {
    // Of different lengths, so that pages come and go.
    let text = format!("{number} {}", "x".repeat(usize::try_from(number % 7).unwrap() * 1500));
    let mut items: Vec<Item> = DOCUMENTS
        .iter()
        .map(|name| Item::put(key("Service", "shop", name), text.as_bytes()))
        .collect();
    items.push(Item::put_value("number", number.to_string().as_bytes()));
    items
}

/// The number of the last batch, which all entries agree on.
fn number(store: &LocalStore) -> u64 {
    let parse = |bytes: &[u8]| -> u64 {
        let text = std::str::from_utf8(bytes).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    let value = store.get_value("number").unwrap().map_or(0, |value| parse(&value.bytes));
    for name in DOCUMENTS {
        let document = store.get(&key("Service", "shop", name)).unwrap();
        let found = document.map_or(0, |document| parse(&document.text));
        assert_eq!(found, value, "{name} is of another batch than the value");
    }
    assert_eq!(store.version().unwrap().number(), value + 1, "a version is missing or used twice");
    value
}

/// Not a test of its own: what the other one starts, and kills.
#[test]
fn child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let store = LocalStore::open(Path::new(&path), &options()).unwrap();
    let mut next = number(&store);
    loop {
        next += 1;
        apply(&store, batch(next)).unwrap();
        // Not `println!`, which the test harness may hold back.
        let mut output = std::io::stdout().lock();
        writeln!(output, "acknowledged {next}").unwrap();
        output.flush().unwrap();
    }
}

#[test]
fn killed_at_any_moment_it_loses_nothing_acknowledged() {
    let place = Place::new();
    let (mut known, mut landed) = (0, 0);
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child", "--nocapture", "--test-threads=1"])
            .env(FILE, place.file())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, receiver) = sync_channel(1 << 20);
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, number)) = line.rsplit_once("acknowledged ") {
                    let _ = sender.send(number.parse::<u64>().unwrap());
                }
            }
        });
        // Some rounds end while the file is opened, some after a few batches; the rest of the
        // moment is as random as the machine is.
        let mut acknowledged = known;
        for _ in 0..round % 8 {
            acknowledged = receiver.recv_timeout(Duration::from_secs(30)).unwrap();
        }
        let pause = u64::from(round).wrapping_mul(2_654_435_761) % 5_000;
        if let Ok(number) = receiver.recv_timeout(Duration::from_micros(pause)) {
            acknowledged = number;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        acknowledged = receiver.try_iter().last().unwrap_or(acknowledged);

        let store = LocalStore::open(place.file(), &options())
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        let found = number(&store);
        assert!(
            found == acknowledged || found == acknowledged + 1,
            "round {round}: found {found}, acknowledged {acknowledged}"
        );
        landed += u32::from(found > acknowledged);
        known = found;
    }
    assert!(known > u64::from(ROUNDS), "hardly anything was written: {known}");
    println!("{known} batches, {landed} of them written when killed but not acknowledged");
}
