//! Signals: those that end a process, and those that it passes on.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// A signal that asks the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: somebody wants it to end in order.
    Terminate,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGHUP: its terminal was closed.
    Hangup,
}

/// Waits for SIGTERM, SIGINT or SIGHUP; not for the last if the process was started to ignore it,
/// as by `nohup`.
///
/// # Errors
/// If the system refuses a handler.
pub async fn terminated() -> io::Result<Signal> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup =
        if is_ignored(libc::SIGHUP) { None } else { Some(signal(SignalKind::hangup())?) };
    let hung_up = async {
        match &mut hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => Ok(Signal::Terminate),
        _ = interrupt.recv() => Ok(Signal::Interrupt),
        _ = hung_up => Ok(Signal::Hangup),
    }
}

/// Whether this process ignores the signal.
fn is_ignored(number: i32) -> bool {
    #[expect(unsafe_code, reason = "signals are the system's")]
    // SAFETY: zeroes are a valid `sigaction`; the call writes one, and changes nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(number, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Ends the process as writing to a pipe that nobody reads ends any other program: by SIGPIPE, and
/// without a word.
///
/// Rust's programs ignore that signal, and those that hold connections must: it would come from
/// sockets too. So it is for whom has met the end of a pipe, and has nothing else to do.
#[expect(clippy::disallowed_methods, reason = "it ends like by the signal, which skips as much")]
pub fn end_by_closed_pipe() -> ! {
    #[expect(unsafe_code, reason = "signals are the system's")]
    // SAFETY: the default action has no handler that could run, and both calls take plain numbers.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::raise(libc::SIGPIPE);
    }
    // The signal may be blocked: then the process ends as a shell would report it.
    std::process::exit(128 + libc::SIGPIPE)
}

/// The number of the signal that asks a process to end.
pub const TERMINATE: i32 = libc::SIGTERM;

/// The number of the signal that somebody at a terminal ends a process by.
pub const INTERRUPT: i32 = libc::SIGINT;

/// Those that somebody who signals a program may mean its command by: all but those that cannot be
/// caught, that a fault or a limit of this process raises, that stop a job, and SIGPIPE, which this
/// process ignores; and but real-time signals, which mean something between a program's own parts.
const FORWARDED: [i32; 13] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGURG,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGWINCH,
    libc::SIGIO,
    libc::SIGPWR,
];

/// The signals that are passed on to a command. From its making on, none of them has another
/// effect on this process, also after it is dropped.
pub(crate) struct Forwarded {
    streams: Vec<(i32, Stream)>,
}

impl Forwarded {
    pub fn new() -> io::Result<Forwarded> {
        let listen = |number| Ok((number, signal(SignalKind::from_raw(number))?));
        let streams = FORWARDED.into_iter().map(listen).collect::<io::Result<_>>()?;
        Ok(Forwarded { streams })
    }

    /// The number of the next signal. Several of one kind may come as one, as is usual.
    pub async fn next(&mut self) -> i32 {
        poll_fn(|cx| {
            for (number, stream) in &mut self.streams {
                if let Poll::Ready(Some(())) = stream.poll_recv(cx) {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }
}
