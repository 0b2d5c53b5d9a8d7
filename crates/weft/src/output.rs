//! What commands print for whoever has asked: the one place that writes to standard output.

use std::fmt::Display;
use std::io::{self, Write as _};

use anyhow::Context as _;

/// How a command prints what it has found.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Prints `text` and a line end.
///
/// Where nobody reads it any more, as behind `weft get | head`, the process ends here, as others
/// do.
///
/// # Errors
/// If it cannot be written for another reason.
pub fn print_line(text: impl Display) -> anyhow::Result<()> {
    print(format_args!("{text}\n"))
}

/// Says `text`, which has its line ends unless it is empty, on standard error; it may be lost.
pub fn say_all(text: &str) {
    if let Some(lines) = text.strip_suffix('\n') {
        weft_control::say!("{lines}");
    }
}

/// Prints `text` as it is. See [`print_line`].
///
/// # Errors
/// As [`print_line`].
pub fn print(text: impl Display) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match write!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => weft_net::end_by_closed_pipe(),
        written => written.context("cannot write to standard output"),
    }
}
