//! A command in a network of its own, whose only way out is a proxy.
//!
//! [`confine`] divides the process before it has threads. The child, the keeper, enters a network
//! namespace and a mount namespace (within a user namespace where the process is not root), sets
//! them up, makes the listeners there, and later runs the command there. The process itself stays
//! in the host's namespaces and gains no right. The two talk over a socket:
//!
//! ```text
//!   host's namespaces               |  the command's namespaces
//!   proxy  --start, signal-->  keeper --fork, exec--> command
//!          <--stopped, ended--      |
//!          <--listeners, sockets--  |
//! ```
//!
//! Files that are made in a namespace work in it wherever they are used, so that the proxy serves
//! listeners of the command's network, and makes connections there, without being in it.
//!
//! - TCP that is not for loopback comes to the capture listeners, with its original destination.
//! - DNS comes to the sockets for it, whichever server was meant. `/etc/resolv.conf` and
//!   `/etc/nsswitch.conf` are covered so that short names are resolved by it.
//! - Everything else (UDP, ICMP) is refused with EPERM. Unix sockets with a path belong to the
//!   file system and are not confined; abstract ones are. Files that are open across exec are
//!   passed on as they are: a socket among them stays in the host's network.
//! - The command has no capabilities and cannot gain any (`no_new_privs`). So it can neither undo
//!   this nor, in a user namespace, use the rights it would have there. As in a container, `sudo`
//!   does not work. It may bind all ports but 53 and [`CAPTURE_PORT`] on loopback.
//! - When the command ends, what it has left running ends too. When the proxy is killed, the
//!   keeper ends all of them; when the keeper is killed, the kernel ends the command.

mod command;
mod error;
mod inside;
mod keeper;
mod link;
mod mounts;
mod rights;
mod terminal;
mod wire;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::io::unix::AsyncFd;
use weft_world::{Listener, ListenerOptions};

use self::error::ConfineError as Error;
use self::wire::{Channel, Order, Report};
use crate::datagram::Datagrams;
use crate::signal::Forwarded;
use crate::socket::SystemListener;

pub use error::ConfineError;
pub use inside::InsideNetwork;
pub use link::{OWN_IPV4, OWN_IPV6};
pub use wire::Exit;

/// The port on loopback, inside, to which TCP is led.
pub const CAPTURE_PORT: u16 = 15001;

/// What is to be confined.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program, looked for in `PATH` unless it has a slash.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Namespaces that are ready, and no command in them yet. Dropping it takes them away.
pub struct Confined {
    control: Channel,
    sockets: Channel,
    files: Vec<OwnedFd>,
    keeper: Keeper,
}

/// What a proxy serves in the command's network, and the command.
pub struct Opened {
    /// Take the command's TCP connections; `Accepted::destination` says where each wanted to go.
    /// One for IPv4, and one for IPv6 where the system has it.
    pub captured: Vec<Box<dyn Listener>>,
    /// Take its DNS queries over UDP.
    pub dns_datagrams: Vec<Datagrams>,
    /// Take its DNS queries over TCP.
    pub dns_listeners: Vec<Box<dyn Listener>>,
    /// The network that the command is in, loopback included.
    pub inside: InsideNetwork,
    /// The command.
    pub command: ConfinedCommand,
}

/// A command in its namespaces. Dropping it ends the command and takes the namespaces away.
pub struct ConfinedCommand {
    control: AsyncFd<Channel>,
    signals: Option<Forwarded>,
    /// How it has ended, while what it has left behind may still be there.
    ended: Option<Exit>,
    _keeper: Keeper,
}

/// What happens next to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This process got the signal with this number, to be passed to it.
    Signal(i32),
    /// It has ended.
    Ended(Exit),
}

/// The keeper's process. Dropping it ends the command, the keeper and the namespaces.
struct Keeper {
    process: Pid,
    /// The keeper ends when this is closed, by whatever end of this process.
    lifeline: Option<OwnedFd>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.lifeline = None;
        let wait = || waitpid(Some(self.process), WaitOptions::empty());
        while matches!(wait(), Err(rustix::io::Errno::INTR)) {}
    }
}

/// Makes the namespaces, with all in them that needs no proxy yet.
///
/// To be called first of all, since it divides the process. Files other than standard input,
/// output and error that are to be kept from the command must be close-on-exec.
///
/// # Errors
/// See [`ConfineError`]. Nothing is left behind.
pub fn confine(plan: &Plan) -> Result<Confined, ConfineError> {
    let threads = fs::read_dir("/proc/self/task").map_err(Error::Keeper)?.count();
    if threads != 1 {
        return Err(Error::Threads(threads));
    }
    let (control, their_control) = Channel::pair().map_err(Error::Keeper)?;
    let (sockets, their_sockets) = Channel::pair().map_err(Error::Keeper)?;
    let (their_lifeline, lifeline) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::Keeper(error.into()))?;
    let keeper = match divide().map_err(Error::Keeper)? {
        Some(process) => Keeper { process, lifeline: Some(lifeline) },
        None => {
            // The proxy's ends must be its own, so that the keeper sees it go.
            drop((control, sockets, lifeline));
            keeper::run(plan, &their_control, &their_sockets, &their_lifeline)
        }
    };
    drop((their_control, their_sockets, their_lifeline));
    match control.next_report().map_err(Error::Keeper)? {
        Some((Report::Ready, files)) => Ok(Confined { control, sockets, files, keeper }),
        Some((Report::Failed(true, text), _)) => Err(Error::NotAllowed(text)),
        Some((Report::Failed(false, text), _)) => Err(Error::Failed(text)),
        Some(_) | None => Err(Error::Keeper(gone())),
    }
}

/// Makes a second process that goes on from here. `None`: this is it.
#[expect(unsafe_code, reason = "the standard library starts programs only")]
fn divide() -> io::Result<Option<Pid>> {
    // SAFETY: there is one thread, as the caller has made sure, so that no lock is held by one
    // that the child does not have.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        child => Ok(Pid::from_raw(child)),
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the process that keeps them has gone")
}

impl Confined {
    /// Makes what the keeper has handed over usable in the tokio runtime that is around.
    ///
    /// # Errors
    /// If the runtime has no room for more files.
    pub fn open(self) -> io::Result<Opened> {
        let Confined { control, sockets, files, keeper } = self;
        let families = files.len() / keeper::SOCKETS_PER_FAMILY;
        let mut files = files.into_iter();
        let mut opened = Opened {
            captured: Vec::new(),
            dns_datagrams: Vec::new(),
            dns_listeners: Vec::new(),
            inside: InsideNetwork::new(sockets)?,
            command: ConfinedCommand {
                control: control.into_async()?,
                signals: None,
                ended: None,
                _keeper: keeper,
            },
        };
        for _ in 0..families {
            // In the order in which the keeper makes them.
            let mut next = || files.next().ok_or_else(gone);
            let redirected = ListenerOptions { redirected: true, ..ListenerOptions::default() };
            let captured = SystemListener::adopt(next()?, redirected)?.only_redirected();
            opened.captured.push(Box::new(captured));
            opened.dns_datagrams.push(Datagrams::adopt(next()?)?);
            let listener = SystemListener::adopt(next()?, ListenerOptions::default())?;
            opened.dns_listeners.push(Box::new(listener));
        }
        Ok(opened)
    }
}

impl ConfinedCommand {
    /// Runs the command. From now on, signals to this process are for it, and come with
    /// [`ConfinedCommand::next`].
    ///
    /// `search` are the suffixes that are tried for short names, at most 6 (glibc looked at no more
    /// before version 2.26), each a domain name without a dot at its end.
    ///
    /// # Errors
    /// As `execve(2)`: [`io::ErrorKind::NotFound`] if there is no such program.
    pub async fn start(&mut self, search: Vec<String>) -> io::Result<()> {
        self.signals = Some(Forwarded::new()?);
        self.order(&Order::Start(search))?;
        match self.next_report().await? {
            Report::Started(_) => Ok(()),
            Report::NotStarted(error) => Err(io::Error::from_raw_os_error(error)),
            other => Err(unexpected(&other)),
        }
    }

    /// What happens next: a signal came that is meant for the command, or the command has ended,
    /// and all that it has left behind with it. When the terminal stops the command, this process
    /// stops too.
    ///
    /// It may be dropped and called again.
    ///
    /// # Errors
    /// If the keeper was killed; the command then was killed too.
    pub async fn next(&mut self) -> io::Result<Next> {
        loop {
            if let Some(exit) = self.ended {
                // The keeper goes when the last process has gone.
                while next_report(&self.control).await?.is_some() {}
                return Ok(Next::Ended(exit));
            }
            let signals = self.signals.as_mut().ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, "the command was not started")
            })?;
            let report = tokio::select! {
                biased;
                report = next_report(&self.control) => report?.ok_or_else(gone)?,
                signal = signals.next() => return Ok(Next::Signal(signal)),
            };
            match report {
                Report::Stopped(signal) => {
                    // The shell sees this process stop. When it lets it go on, so does the command.
                    terminal::stop_this_thread(signal);
                    self.order(&Order::Continue)?;
                }
                Report::Ended(exit) => self.ended = Some(exit),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Sends the command a signal, by its number: one that terminals send goes to its process
    /// group, another to itself alone. Nothing happens if it has ended.
    ///
    /// # Errors
    /// If the keeper was killed.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.order(&Order::Signal(signal))
    }

    fn order(&self, order: &Order) -> io::Result<()> {
        self.control.get_ref().order(order)
    }

    async fn next_report(&self) -> io::Result<Report> {
        next_report(&self.control).await?.ok_or_else(gone)
    }
}

async fn next_report(control: &AsyncFd<Channel>) -> io::Result<Option<Report>> {
    loop {
        let mut ready = control.readable().await?;
        if let Ok(received) = ready.try_io(|control| control.get_ref().next_report()) {
            return Ok(received?.map(|(report, _)| report));
        }
    }
}

fn unexpected(report: &Report) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the keeper said {report:?} unasked"))
}
