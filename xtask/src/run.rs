//! Runs other programs: output passed on, time taken, tests counted.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The cargo that started this program, with `arguments`.
pub fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs `command` in this program's place; its exit code is the result.
///
/// # Errors
/// If it cannot be started.
pub fn replace(mut command: Command) -> Result<ExitCode> {
    let status = command.status().with_context(|| cannot_start(&command))?;
    // A program that was killed by a signal has no code.
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// What a program that ended left behind.
#[derive(Debug)]
pub struct Outcome {
    /// It exited with code 0.
    pub success: bool,
    /// It wrote something other than white space to its standard output.
    pub said_something: bool,
    /// The tests it reported.
    pub tally: Tally,
}

/// Runs `command` to its end, passing on its output as it comes. It gets no input.
///
/// # Errors
/// If it cannot be started or its output cannot be read.
pub fn stream(mut command: Command) -> Result<Outcome> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| cannot_start(&command))?;
    let mut output = BufReader::new(child.stdout.take().expect("standard output is piped"));
    let (mut line, mut said_something, mut tally) = (Vec::new(), false, Tally::default());
    loop {
        line.clear();
        if output.read_until(b'\n', &mut line).context("the program's output broke off")? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        print!("{text}"); // Not written directly, so that in tests it is captured.
        said_something |= !text.trim().is_empty();
        tally.add(Tally::of_line(&text).unwrap_or_default());
    }
    let status = child.wait().context("the program's end was not reported")?;
    Ok(Outcome { success: status.success(), said_something, tally })
}

fn cannot_start(command: &Command) -> String {
    format!("{} could not be started: is it installed?", command.get_program().display())
}

/// Numbers of tests, as the test harness reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were there and did not run.
    pub ignored: u64,
}

impl Tally {
    /// The numbers in a line such as `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    pub fn of_line(line: &str) -> Option<Tally> {
        let numbers = line.trim_start().strip_prefix("test result:")?;
        let count = |what: &str| {
            let before = &numbers[..numbers.find(what)?];
            before.split_whitespace().next_back()?.parse().ok()
        };
        Some(Tally {
            passed: count(" passed;")?,
            failed: count(" failed;")?,
            ignored: count(" ignored;")?,
        })
    }

    /// Adds the tests of `other`.
    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// Measures how long a step takes.
pub struct Stopwatch(Instant);

#[expect(clippy::disallowed_methods, reason = "steps of xtask take real time")]
impl Stopwatch {
    /// A stopwatch that runs from now on.
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// The time since the start.
    pub fn read(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 7 filtered out";
        assert_eq!(Tally::of_line(line), Some(Tally { passed: 12, failed: 3, ignored: 1 }));
        let coloured = "test result: \x1b[32mok\x1b(B\x1b[m. 2 passed; 0 failed; 0 ignored; …\n";
        assert_eq!(Tally::of_line(coloured), Some(Tally { passed: 2, failed: 0, ignored: 0 }));
    }

    #[test]
    fn other_lines_are_not() {
        for line in
            ["", "running 3 tests", "test result: unclear", "9 passed; 0 failed; 0 ignored;"]
        {
            assert_eq!(Tally::of_line(line), None, "{line}");
        }
    }

    #[test]
    fn output_of_several_test_binaries_is_added_up() {
        let mut shell = Command::new("sh");
        let one = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured";
        shell.args(["-c", &format!("echo '{one}'; echo; echo '{one}'; exit 3")]);
        let outcome = stream(shell).unwrap();
        assert!(!outcome.success);
        assert_eq!(outcome.tally, Tally { passed: 4, failed: 0, ignored: 0 });
    }
}
