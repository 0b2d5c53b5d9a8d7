//! The process that keeps a command's namespaces, makes sockets in them, and runs the command.
//!
//! It has one thread and ends by itself: when the command has ended, or when the proxy is gone. It
//! never stops with the terminal's job, since all signals are blocked.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group,
    set_child_subreaper, wait,
};
use rustix::thread::set_name;
use socket2::{Domain, Protocol, Socket, Type};

use super::error::{ConfineError, SetUpError, set_up};
use super::mounts::{self, ResolvConf};
use super::terminal::{SignalFile, SignalMask, Terminal, block_signals};
use super::wire::{Channel, Exit, FILES_MAX, Order, Report};
use super::{CAPTURE_PORT, Plan, command, inside, link, rights};
use crate::nft::Redirection;
use crate::socket;

/// The capture listener, and DNS over UDP and over TCP.
pub const SOCKETS_PER_FAMILY: usize = 3;

const DNS_PORT: u16 = 53;

/// Keeps the namespaces, and ends this process in the end.
pub fn run(plan: &Plan, control: &Channel, sockets: &Channel, lifeline: &OwnedFd) -> ! {
    let kept = std::panic::catch_unwind(|| keep(plan, control, sockets, lifeline));
    let code = i32::from(!matches!(kept, Ok(Ok(()))));
    leave(code)
}

#[expect(unsafe_code, reason = "the standard library's exit runs what belongs to the proxy")]
fn leave(code: i32) -> ! {
    // SAFETY: it ends the process, and runs nothing of it.
    unsafe { libc::_exit(code) }
}

fn keep(plan: &Plan, control: &Channel, sockets: &Channel, lifeline: &OwnedFd) -> io::Result<()> {
    let (signals, mask) = block_signals()?;
    set_name(c"weft-keeper")?;
    // What the command leaves behind becomes a child of this process.
    set_child_subreaper(Some(getpid()))?;
    let (files, resolv_conf) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            let denied = matches!(error, ConfineError::NotAllowed(_));
            return control.report(&Report::Failed(denied, error.to_string()), &[]);
        }
    };
    let lent: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    control.report(&Report::Ready, &lent)?;
    drop(files);
    let terminal = Terminal::open();
    let mut running = Running { plan, resolv_conf, mask, terminal, command: None };
    let result = running.serve(control, sockets, lifeline, &signals);
    running.end_all();
    result
}

/// Enters the namespaces and makes all that is in them. The files are those of [`Report::Ready`].
fn prepare() -> Result<(Vec<OwnedFd>, ResolvConf), ConfineError> {
    rights::enter()?;
    let made = set_up_network().and_then(|files| Ok((files, mounts::cover()?)));
    made.map_err(|SetUpError { text, denied }| {
        // Where user namespaces are made without their rights, this is where it shows.
        if denied { rights::not_allowed(&text) } else { ConfineError::Failed(text) }
    })
}

fn set_up_network() -> Result<Vec<OwnedFd>, SetUpError> {
    // Without capabilities, the command could not bind the ports below 1024. Where the setting is
    // not writable, it still cannot.
    let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    // An administrator may have switched off IPv6 for the host's links. It is needed inside.
    let _ = fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0");
    let own = [IpAddr::V4(link::OWN_IPV4), IpAddr::V6(link::OWN_IPV6)];
    link::set_up(&own[..1])?;
    // A kernel without IPv6 has no route for it either, and so no way around.
    let has_ipv6 = match link::set_up(&own[1..]) {
        Err(error) if lacks_family(&error.source) => false,
        other => other.map(|()| true)?,
    };
    let redirection = Redirection {
        table: "weft".to_owned(),
        capture_port: CAPTURE_PORT,
        dns_port: Some(DNS_PORT),
        own: own.to_vec(),
        exclude_cidrs: Vec::new(),
        exclude_ports: Vec::new(),
        refuse_others: true,
    };
    redirection.install()?;
    let mut files = sockets_at(Ipv4Addr::LOCALHOST.into())?;
    if has_ipv6 {
        files.extend(sockets_at(Ipv6Addr::LOCALHOST.into())?);
    }
    debug_assert!(files.len() <= FILES_MAX);
    Ok(files)
}

/// Whether the kernel does not know the family of addresses, or has it switched off for good.
fn lacks_family(error: &io::Error) -> bool {
    let number = error.raw_os_error().unwrap_or_default();
    [libc::EAFNOSUPPORT, libc::EOPNOTSUPP, libc::EACCES].contains(&number)
}

/// The sockets of one family, at its loopback address.
fn sockets_at(loopback: IpAddr) -> Result<Vec<OwnedFd>, SetUpError> {
    let capture = SocketAddr::new(loopback, CAPTURE_PORT);
    // Not at the wildcard address: an answer would then come from an address that nobody asked.
    let dns = SocketAddr::new(loopback, DNS_PORT);
    let failed = |at: SocketAddr| set_up(format!("cannot listen at {at} inside"));
    let bind_udp = || {
        let kind = Type::DGRAM.nonblocking();
        let socket = Socket::new(Domain::for_address(dns), kind, Some(Protocol::UDP))?;
        socket.bind(&dns.into())?;
        io::Result::Ok(socket)
    };
    Ok(vec![
        socket::listening(capture, false).map_err(failed(capture))?.into(),
        bind_udp().map_err(failed(dns))?.into(),
        socket::listening(dns, false).map_err(failed(dns))?.into(),
    ])
}

struct Running<'p> {
    plan: &'p Plan,
    resolv_conf: ResolvConf,
    /// Which signals were blocked when the proxy was started.
    mask: SignalMask,
    terminal: Option<Terminal>,
    command: Option<Pid>,
}

impl Running<'_> {
    /// Serves until the command has ended or the proxy is gone.
    fn serve(
        &mut self,
        control: &Channel,
        sockets: &Channel,
        lifeline: &OwnedFd,
        signals: &SignalFile,
    ) -> io::Result<()> {
        let mut serve_sockets = true;
        loop {
            let mut files = vec![
                PollFd::new(control, PollFlags::IN),
                PollFd::new(signals, PollFlags::IN),
                PollFd::new(lifeline, PollFlags::empty()),
                PollFd::new(sockets, PollFlags::IN),
            ];
            if !serve_sockets {
                files.pop();
            }
            match poll(&mut files, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let ready: Vec<bool> = files.iter().map(|file| !file.revents().is_empty()).collect();
            if ready[2] {
                return Ok(()); // It is closed, which is the only thing that happens to it.
            }
            if ready[1] {
                signals.empty()?;
                if self.reap(control)? {
                    return Ok(());
                }
            }
            if ready[0] {
                match control.next_order()? {
                    Some(order) => self.obey(order, control)?,
                    None => return Ok(()),
                }
            }
            if ready.get(3) == Some(&true) {
                // The proxy may have given up its network inside, and still wait for the command.
                serve_sockets = inside::serve(sockets);
            }
        }
    }

    fn obey(&mut self, order: Order, control: &Channel) -> io::Result<()> {
        match (order, self.command) {
            (Order::Start(search), None) => {
                let terminal = self.terminal.as_ref().filter(|terminal| terminal.is_for_command());
                let started = self.resolv_conf.complete_by(&search);
                let started = started.and_then(|()| command::start(self.plan, self.mask, terminal));
                let report = match started {
                    Ok(process) => {
                        self.command = Some(process);
                        Report::Started(process.as_raw_pid())
                    }
                    Err(error) => Report::NotStarted(error.raw_os_error().unwrap_or(libc::EIO)),
                };
                control.report(&report, &[])
            }
            (Order::Signal(number), Some(process)) => {
                // It may have ended: its process is not forgotten before this one has seen it.
                let _ = Signal::from_named_raw(number).map(|signal| {
                    if terminals_send(signal) {
                        kill_process_group(process, signal)
                    } else {
                        kill_process(process, signal)
                    }
                });
                Ok(())
            }
            (Order::Continue, Some(process)) => {
                self.let_go_on(process);
                Ok(())
            }
            (Order::Start(_), Some(_)) | (Order::Signal(_) | Order::Continue, None) => Ok(()),
        }
    }

    /// Lets the command go on, with the terminal if the job has it.
    fn let_go_on(&self, process: Pid) {
        if let Some(terminal) = &self.terminal {
            terminal.give_to(process);
        }
        let _ = kill_process_group(process, Signal::CONT);
    }

    /// Takes note of children that have ended or stopped. True once the command has ended.
    fn reap(&self, control: &Channel) -> io::Result<bool> {
        loop {
            let (process, status) = match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some(found)) => found,
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(false),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if Some(process) != self.command {
                continue;
            }
            if let Some(exit) = ended(status) {
                if let Some(terminal) = &self.terminal {
                    terminal.take_from(process);
                }
                control.report(&Report::Ended(exit), &[])?;
                return Ok(true);
            }
            let Some(signal) = status.stopping_signal() else { continue };
            let wants_terminal = [Signal::TTIN, Signal::TTOU].iter().any(|s| s.as_raw() == signal);
            match &self.terminal {
                // A job in the foreground whose command did not need the terminal before.
                Some(terminal) if wants_terminal && terminal.is_ours() => self.let_go_on(process),
                terminal => {
                    if let Some(terminal) = terminal {
                        terminal.take_from(process);
                    }
                    control.report(&Report::Stopped(signal), &[])?;
                }
            }
        }
    }

    /// Ends all processes that are left, however they were started.
    fn end_all(&self) {
        loop {
            for child in children() {
                let _ = kill_process(child, Signal::KILL);
            }
            // The children of one that ends become this process's, and are ended next.
            match wait(WaitOptions::empty()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        if let (Some(terminal), Some(process)) = (&self.terminal, self.command) {
            terminal.take_from(process);
        }
    }
}

/// Whether terminals send it, which do so to all processes of a group.
fn terminals_send(signal: Signal) -> bool {
    [Signal::INT, Signal::QUIT, Signal::HUP, Signal::WINCH].contains(&signal)
}

fn ended(status: WaitStatus) -> Option<Exit> {
    let code = status.exit_status().map(Exit::Code);
    code.or_else(|| status.terminating_signal().map(Exit::Signal))
}

/// The children of this process.
fn children() -> Vec<Pid> {
    let own = getpid();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let processes = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.filter_map(Pid::from_raw).filter(|process| parent(*process) == Some(own)).collect()
}

/// The parent of `process`. Source: proc_pid_stat(5).
fn parent(process: Pid) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_pid())).ok()?;
    // The name stands in parentheses, and may have some itself.
    let (_, rest) = status.rsplit_once(") ")?;
    Pid::from_raw(rest.split(' ').nth(1)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_read_from_the_status() {
        assert_eq!(parent(getpid()), rustix::process::getppid());
    }
}
