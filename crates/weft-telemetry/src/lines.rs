//! Lines for standard error, or wherever a log goes, written by a thread that nobody waits for: a
//! pipe that is not read, or a terminal that was stopped, must not stop whoever has something to
//! say.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// How many lines may wait to be written. Further ones are dropped and counted.
pub(crate) const QUEUE_LINES: usize = 8_192;

/// How much memory they may take, in bytes: lines are as long as callers make them.
const QUEUE_BYTES: usize = 4 << 20;

/// How many more lines may wait that are not of the access log, so that what is rare and for people
/// is not lost among what is neither.
const SAID_LINES: usize = 256;

/// How much memory these may take.
const SAID_BYTES: usize = 256 << 10;

/// How many may wait at once for all to be written.
const FINISHING: usize = 8;

/// How long the end of a process waits for what is still to be written.
pub const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// What a process writes to standard error, once it does so by a queue.
static STANDARD_ERROR: OnceLock<Lines> = OnceLock::new();

/// A queue of lines, and the thread that writes them. Cheap to clone; the thread ends with the last
/// clone.
#[derive(Clone)]
pub struct Lines {
    queue: SyncSender<Message>,
    waiting: Arc<Waiting>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Line(String),
    /// Tells that all before it was written.
    Finish(SyncSender<()>),
}

/// What waits to be written.
#[derive(Default)]
struct Waiting {
    lines: AtomicUsize,
    bytes: AtomicUsize,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One of many.
    Record,
    /// One for people.
    Said,
}

impl Lines {
    /// Lines that a thread of their own writes to `output`, and that thread.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(output: impl Write + Send + 'static) -> io::Result<(Lines, JoinHandle<()>)> {
        let (queue, messages) = sync_channel(QUEUE_LINES + SAID_LINES + FINISHING);
        let waiting = Arc::<Waiting>::default();
        let seen = Arc::clone(&waiting);
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&messages, &seen, output))?;
        Ok((Lines { queue, waiting, dropped: Arc::default() }, thread))
    }

    /// The queue to standard error, by which from now on goes what [`say`] is told.
    ///
    /// # Errors
    /// If the system refuses a thread or a descriptor.
    pub fn standard_error() -> io::Result<Lines> {
        if let Some(lines) = STANDARD_ERROR.get() {
            return Ok(lines.clone());
        }
        // Not by `io::Stderr`, whose lock whoever is stuck would hold.
        let output = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let (lines, _) = Lines::start(output)?;
        Ok(STANDARD_ERROR.get_or_init(|| lines).clone())
    }

    /// How many lines were dropped since too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The counter behind [`Lines::dropped`], which does not keep the thread alive.
    pub(crate) fn dropped_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Has `line`, which has its end, written some time. False: it was dropped.
    pub(crate) fn add(&self, line: String, kind: Kind) -> bool {
        let (lines_max, bytes_max) = match kind {
            Kind::Record => (QUEUE_LINES, QUEUE_BYTES),
            Kind::Said => (QUEUE_LINES + SAID_LINES, QUEUE_BYTES + SAID_BYTES),
        };
        let Waiting { lines, bytes } = &*self.waiting;
        // Several at once may go a little beyond it. The queue itself has a bound as well.
        let has_room = lines.load(Ordering::Relaxed) < lines_max
            && bytes.load(Ordering::Relaxed) + line.capacity() <= bytes_max;
        if has_room {
            let size = line.capacity();
            lines.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add(size, Ordering::Relaxed);
            if self.queue.try_send(Message::Line(line)).is_ok() {
                return true;
            }
            lines.fetch_sub(1, Ordering::Relaxed);
            bytes.fetch_sub(size, Ordering::Relaxed);
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Waits until all lines so far are written, at most for `limit`.
    pub fn finish(&self, limit: Duration) {
        let (tell, told) = sync_channel(1);
        if self.queue.try_send(Message::Finish(tell)).is_ok() {
            let _ = told.recv_timeout(limit);
        }
    }
}

/// Writes a line to standard error: by the queue, if this process has one, so that it is never
/// waited for. Where it cannot be written, as on a full disk, it is lost and all else goes on.
pub fn say(line: fmt::Arguments<'_>) {
    match STANDARD_ERROR.get() {
        Some(lines) => {
            lines.add(format!("{line}\n"), Kind::Said);
        }
        None => drop(writeln!(io::stderr().lock(), "{line}")),
    }
}

/// Waits until what was said has been written, at most for [`FINISH_TIMEOUT`]: for the end of a
/// process.
pub fn finish() {
    if let Some(lines) = STANDARD_ERROR.get() {
        lines.finish(FINISH_TIMEOUT);
    }
}

fn write_all(messages: &Receiver<Message>, waiting: &Waiting, output: impl Write) {
    let mut output = io::BufWriter::new(output);
    let write = |output: &mut io::BufWriter<_>, message| match message {
        Message::Line(line) => {
            // A log that cannot be written must not end the process; what is lost is visible by its
            // lack.
            let _ = output.write_all(line.as_bytes());
            waiting.lines.fetch_sub(1, Ordering::Relaxed);
            waiting.bytes.fetch_sub(line.capacity(), Ordering::Relaxed);
        }
        Message::Finish(tell) => {
            let _ = output.flush();
            let _ = tell.send(());
        }
    };
    while let Ok(message) = messages.recv() {
        write(&mut output, message);
        while let Ok(message) = messages.try_recv() {
            write(&mut output, message);
        }
        let _ = output.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing until it is released, by the other end being dropped.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_has_room_left_for_what_is_said() {
        let (release, stuck) = sync_channel(0);
        let (lines, thread) = Lines::start(Stuck(stuck)).unwrap();
        for _ in 0..2 * QUEUE_LINES {
            lines.add("a line\n".to_owned(), Kind::Record);
        }
        let dropped = lines.dropped();
        assert!(dropped > 0);
        for _ in 0..SAID_LINES {
            lines.add("said\n".to_owned(), Kind::Said);
        }
        assert_eq!(lines.dropped(), dropped);
        for _ in 0..2 * QUEUE_LINES {
            lines.add("said too often\n".to_owned(), Kind::Said);
        }
        assert!(lines.dropped() > dropped);
        // Nobody waits for ever for what nobody reads.
        lines.finish(Duration::from_millis(1));
        drop((lines, release));
        thread.join().unwrap();
    }

    #[test]
    fn long_lines_are_dropped_before_they_fill_the_memory() {
        let (release, stuck) = sync_channel(0);
        let (lines, thread) = Lines::start(Stuck(stuck)).unwrap();
        for _ in 0..2 * QUEUE_BYTES / (64 << 10) {
            lines.add("x".repeat(64 << 10), Kind::Record);
        }
        assert!(lines.dropped() > 0);
        assert!(lines.waiting.bytes.load(Ordering::Relaxed) <= QUEUE_BYTES);
        drop((lines.clone(), release));
        // What was given back is free again.
        lines.finish(Duration::from_secs(60));
        assert_eq!(lines.waiting.bytes.load(Ordering::Relaxed), 0);
        assert_eq!(lines.waiting.lines.load(Ordering::Relaxed), 0);
        drop(lines);
        thread.join().unwrap();
    }
}
