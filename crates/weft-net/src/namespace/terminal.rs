//! Signals and the terminal: who is in its foreground, and what stops.
//!
//! Source: credentials(7), "Process groups"; tcsetpgrp(3); signal(7).

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{FileType, fstat};
use rustix::process::{Pid, getpgrp, getpid};
use rustix::termios::{isatty, tcgetpgrp, tcsetpgrp};

/// The terminal that controls this session.
pub struct Terminal {
    file: OwnedFd,
    job: Pid,
}

impl Terminal {
    /// The terminal, if there is one.
    pub fn open() -> Option<Terminal> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        tcgetpgrp(&file).ok()?;
        Some(Terminal { file: file.into(), job: getpgrp() })
    }

    /// The same terminal, for the child to be.
    pub fn share(&self) -> io::Result<Terminal> {
        Ok(Terminal { file: self.file.try_clone()?, job: self.job })
    }

    /// Whether the job that this process belongs to is in the foreground.
    pub fn is_ours(&self) -> bool {
        tcgetpgrp(&self.file) == Ok(self.job)
    }

    /// Whether the command is to have the terminal from the start: it reads from it, and nobody
    /// further down a pipeline may want to. Otherwise it gets it when it asks.
    pub fn is_for_command(&self) -> bool {
        let output = fstat(io::stdout());
        let piped = output.is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Fifo);
        self.is_ours() && isatty(io::stdin()) && !piped
    }

    /// Gives the terminal to the process group `group`, if the job has it. All signals must be
    /// blocked, as in the keeper: otherwise who is not in the foreground is stopped.
    pub fn give_to(&self, group: Pid) {
        if self.is_ours() {
            let _ = tcsetpgrp(&self.file, group);
        }
    }

    /// Gives the terminal back to the job, if the process group `group` has it.
    pub fn take_from(&self, group: Pid) {
        if tcgetpgrp(&self.file) == Ok(group) {
            let _ = tcsetpgrp(&self.file, self.job);
        }
    }

    /// Takes the terminal for this process, the leader of its group, while all signals are
    /// blocked. It allocates nothing.
    ///
    /// # Errors
    /// As tcsetpgrp(3).
    pub fn take(&self) -> io::Result<()> {
        Ok(tcsetpgrp(&self.file, getpid())?)
    }
}

/// A file that can be read when a child has ended or stopped.
pub struct SignalFile(File);

impl AsFd for SignalFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl SignalFile {
    /// Takes what is there.
    pub fn empty(&self) -> io::Result<()> {
        let mut room = [0; 8 * size_of::<libc::signalfd_siginfo>()];
        match (&self.0).read(&mut room) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

/// The signals that a thread has blocked.
#[derive(Clone, Copy)]
pub struct SignalMask(libc::sigset_t);

impl SignalMask {
    /// Lets the calling thread have these blocked, and no others. It allocates nothing.
    ///
    /// # Errors
    /// None that is known.
    pub fn set(&self) -> io::Result<()> {
        block(&self.0).map(|_| ())
    }
}

/// Blocks all signals that can be, and tells of SIGCHLD by a file instead. Gives what was blocked
/// before.
#[expect(unsafe_code, reason = "no safe interface has signal files")]
pub fn block_signals() -> io::Result<(SignalFile, SignalMask)> {
    let before = SignalMask(block(&set_of(None))?);
    let set = set_of(Some(libc::SIGCHLD));
    // SAFETY: the set is initialised, and no file is to be changed.
    let file =
        unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the file was just opened, and nobody else knows it.
    Ok((SignalFile(unsafe { File::from_raw_fd(file) }), before))
}

/// Stops the process as `signal` would, from this thread: it is over when the process goes on.
///
/// Where nobody could let it go on (an orphaned group), the kernel does not stop it either.
#[expect(unsafe_code, reason = "no safe interface sends a signal to a thread")]
pub fn stop_this_thread(signal: i32) {
    if [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGSTOP].contains(&signal) {
        // SAFETY: these signals have no handlers in Weft, so that nothing runs.
        unsafe { libc::raise(signal) };
    }
}

/// A set of one signal, or of all.
#[expect(unsafe_code, reason = "no safe interface has sets of signals")]
fn set_of(signal: Option<i32>) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: each of the first two calls initialises the set, and the third needs just that.
    unsafe {
        match signal {
            None => libc::sigfillset(set.as_mut_ptr()),
            Some(signal) => {
                libc::sigemptyset(set.as_mut_ptr());
                libc::sigaddset(set.as_mut_ptr(), signal)
            }
        };
        set.assume_init()
    }
}

/// Blocks the signals of `set`, and no others. Gives what was blocked before.
#[expect(unsafe_code, reason = "no safe interface has sets of signals")]
fn block(set: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    let mut before = set_of(None);
    // SAFETY: both sets are initialised, and outlive the call.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const *set, &raw mut before) } {
        0 => Ok(before),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
