//! Messages between the proxy and the keeper of its command's namespaces, with files in them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use tokio::io::unix::AsyncFd;

/// The most files in a message.
pub const FILES_MAX: usize = 16;

/// The longest message, in bytes: an error's text is the longest there is.
const MESSAGE_BYTES_MAX: usize = 4096;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The exit code that says the same, as shells have it: 128 and the number of the signal.
    pub fn code(self) -> u8 {
        let code = match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => signal.saturating_add(128),
        };
        code.to_le_bytes()[0] // As wait(2): what is above is lost.
    }
}

/// What the keeper says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The namespaces are there. The files: capture, DNS over UDP and over TCP; each for IPv4, and
    /// where there is IPv6 each for that too.
    Ready,
    /// They cannot be made; true if a right is missing.
    Failed(bool, String),
    /// The command runs, as this process.
    Started(i32),
    /// It could not be run, for this error's number.
    NotStarted(i32),
    /// It was stopped by this signal.
    Stopped(i32),
    /// It ended.
    Ended(Exit),
}

/// What the proxy asks of the keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Run the command, for which these suffixes complete short names.
    Start(Vec<String>),
    /// Send it this signal.
    Signal(i32),
    /// Let it go on after it was stopped.
    Continue,
}

impl Report {
    fn encode(&self) -> Vec<u8> {
        let with = |tag: u8, number: i32| [&[tag], &number.to_ne_bytes()[..]].concat();
        match self {
            Report::Ready => vec![b'r'],
            Report::Failed(denied, text) => {
                let mut text = text.clone();
                text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX - 2));
                [&[b'f', u8::from(*denied)], text.as_bytes()].concat()
            }
            Report::Started(process) => with(b's', *process),
            Report::NotStarted(error) => with(b'n', *error),
            Report::Stopped(signal) => with(b't', *signal),
            Report::Ended(Exit::Code(code)) => with(b'e', *code),
            Report::Ended(Exit::Signal(signal)) => with(b'k', *signal),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Report> {
        let (tag, rest) = bytes.split_first()?;
        let number = || rest.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        Some(match tag {
            b'r' => Report::Ready,
            b'f' => {
                let (denied, text) = rest.split_first()?;
                Report::Failed(*denied == 1, String::from_utf8_lossy(text).into_owned())
            }
            b's' => Report::Started(number()?),
            b'n' => Report::NotStarted(number()?),
            b't' => Report::Stopped(number()?),
            b'e' => Report::Ended(Exit::Code(number()?)),
            b'k' => Report::Ended(Exit::Signal(number()?)),
            _ => return None,
        })
    }
}

impl Order {
    fn encode(&self) -> Vec<u8> {
        match self {
            Order::Start(search) => [b"s", search.join(" ").as_bytes()].concat(),
            Order::Signal(signal) => [b"k", &signal.to_ne_bytes()[..]].concat(),
            Order::Continue => b"c".to_vec(),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Order> {
        let (tag, rest) = bytes.split_first()?;
        Some(match tag {
            b's' => {
                let search = str::from_utf8(rest).ok()?.split_ascii_whitespace();
                Order::Start(search.map(str::to_owned).collect())
            }
            b'k' => Order::Signal(i32::from_ne_bytes(*rest.first_chunk()?)),
            b'c' => Order::Continue,
            _ => return None,
        })
    }
}

/// One end of a connection between the two processes. Messages keep their bounds.
pub struct Channel {
    socket: OwnedFd,
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Channel {
    /// Both ends.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let kind = SocketType::SEQPACKET;
        let (one, other) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        Ok((Channel { socket: one }, Channel { socket: other }))
    }

    /// Lets the tokio runtime that is around say when there is a message. Calls then fail with
    /// [`io::ErrorKind::WouldBlock`] where they would wait.
    #[expect(unsafe_code, reason = "tokio cannot see that the file stays open")]
    pub fn into_async(self) -> io::Result<AsyncFd<Channel>> {
        rustix::io::ioctl_fionbio(&self.socket, true)?;
        // SAFETY: the channel owns its only file, gives the number of no other, and closes it when
        // it is dropped, which is after the runtime has let go of it.
        Ok(unsafe { AsyncFd::register(self)? })
    }

    /// Sends a report, with files.
    pub fn report(&self, report: &Report, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send(&report.encode(), files)
    }

    /// Sends an order. Nothing happens if the other end is gone: its last report says how it went.
    pub fn order(&self, order: &Order) -> io::Result<()> {
        match self.send(&order.encode(), &[]) {
            Err(error) if is_gone(&error) => Ok(()),
            other => other,
        }
    }

    /// The next report. `None`: the other end is gone.
    pub fn next_report(&self) -> io::Result<Option<(Report, Vec<OwnedFd>)>> {
        let Some((bytes, files)) = self.receive()? else { return Ok(None) };
        Ok(Some((Report::decode(&bytes).ok_or_else(garbled)?, files)))
    }

    /// The next order. `None`: the other end is gone.
    pub fn next_order(&self) -> io::Result<Option<Order>> {
        let Some((bytes, _)) = self.receive()? else { return Ok(None) };
        Ok(Some(Order::decode(&bytes).ok_or_else(garbled)?))
    }

    /// Sends a message.
    pub fn send(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = files.is_empty() || control.push(SendAncillaryMessage::ScmRights(files));
        debug_assert!(fits, "callers send at most FILES_MAX files");
        loop {
            let parts = [IoSlice::new(bytes)];
            match sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                other => return Ok(other.map(|_| ())?),
            }
        }
    }

    /// The next message. `None`: the other end is gone.
    pub fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut was_reset = false;
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                // It went away before it had read all that was sent to it. That is said once, and
                // before what it has sent itself.
                Err(Errno::CONNRESET) if !was_reset => was_reset = true,
                Err(Errno::CONNRESET) => return Ok(None),
                other => break other?,
            }
        };
        let mut files = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                files.extend(received);
            }
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            // The kernel drops files that the table of descriptors has no room for.
            let text = "files on their way from the keeper were lost: is `ulimit -n` too small?";
            return Err(io::Error::other(text));
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        bytes.truncate(received.bytes);
        Ok(Some((bytes, files)))
    }
}

/// Whether a message could not be sent because nobody is there to read it.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn garbled() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message between weft's processes is garbled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in() {
        let (one, other) = Channel::pair().unwrap();
        let reports = [
            Report::Ready,
            Report::Failed(true, "no".to_owned()),
            Report::Started(7),
            Report::NotStarted(2),
            Report::Stopped(20),
            Report::Ended(Exit::Code(3)),
            Report::Ended(Exit::Signal(15)),
        ];
        for report in reports {
            one.report(&report, &[one.as_fd(), other.as_fd()]).unwrap();
            let (received, files) = other.next_report().unwrap().unwrap();
            assert_eq!((received, files.len()), (report, 2));
        }
        let search = vec!["shop.svc.cluster.local".to_owned(), "cluster.local".to_owned()];
        for order in [Order::Start(search), Order::Signal(10), Order::Continue] {
            one.order(&order).unwrap();
            assert_eq!(other.next_order().unwrap(), Some(order));
        }
        let long = Report::Failed(false, "ä".repeat(10_000));
        one.report(&long, &[]).unwrap();
        assert!(matches!(other.next_report().unwrap().unwrap().0, Report::Failed(false, _)));
        one.send(b"?", &[]).unwrap();
        assert!(other.next_order().is_err());
        drop(one);
        assert_eq!(other.next_order().unwrap(), None);
    }

    #[test]
    fn a_report_is_read_although_its_sender_went_with_an_order_unread() {
        let (one, other) = Channel::pair().unwrap();
        other.order(&Order::Signal(15)).unwrap();
        one.report(&Report::Started(7), &[]).unwrap();
        one.report(&Report::Ended(Exit::Code(3)), &[]).unwrap();
        drop(one);
        for expected in [Report::Started(7), Report::Ended(Exit::Code(3))] {
            assert_eq!(other.next_report().unwrap().map(|(report, _)| report), Some(expected));
        }
        assert!(other.next_report().unwrap().is_none());
    }

    #[test]
    fn an_order_to_who_has_gone_is_none() {
        let (one, other) = Channel::pair().unwrap();
        other.order(&Order::Signal(15)).unwrap();
        one.report(&Report::Ended(Exit::Code(3)), &[]).unwrap();
        drop(one);
        other.order(&Order::Signal(15)).unwrap();
        other.order(&Order::Signal(15)).unwrap();
        let (report, _) = other.next_report().unwrap().unwrap();
        assert_eq!(report, Report::Ended(Exit::Code(3)));
        assert!(other.next_report().unwrap().is_none());
    }

    #[test]
    fn codes_are_as_shells_have_them() {
        assert_eq!(Exit::Code(0).code(), 0);
        assert_eq!(Exit::Code(255).code(), 255);
        assert_eq!(Exit::Signal(15).code(), 143);
    }
}
