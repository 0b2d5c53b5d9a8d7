//! Commands in networks of their own, with real programs, as root and as an ordinary user.
//!
//! This program runs the cases, and is also what they run: `weft run` without a mesh behind it.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod cases;
mod inside;
mod lab;
mod probe;
mod rules;
mod signals;
mod terminal;

use std::process::ExitCode;

use crate::lab::User;

/// A case, and whether it is for each kind of user.
type Case = (&'static str, fn(User));

const CASES: &[&[Case]] = &[cases::CASES, signals::CASES, terminal::CASES, rules::CASES];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--probe") => return probe::run(&arguments[1..]),
        Some("--inside") => return inside::run(&arguments[1..]),
        Some("--rules") => return rules::run(),
        _ => {}
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let (mut passed, mut failed) = (0, 0);
    for user in User::all() {
        for (name, case) in CASES.iter().copied().flatten() {
            let name = format!("{name} as {user:?}");
            if filter.is_some_and(|filter| !name.contains(filter)) {
                continue;
            }
            let fine = std::panic::catch_unwind(|| case(user)).is_ok();
            println!("test {name} ... {}", if fine { "ok" } else { "FAILED" });
            if fine { passed += 1 } else { failed += 1 }
        }
    }
    lab::clean();
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
