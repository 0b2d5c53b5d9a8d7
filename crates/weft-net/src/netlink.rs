//! Netlink: messages of attributes to the kernel, and what it answers.
//!
//! Source: RFC 3549; the kernel's `Documentation/userspace-api/netlink/intro.rst`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
    socket_with,
};

/// Protocol-independent message types and flags. Source: `linux/netlink.h`.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NETLINK_CAP_ACK: libc::c_int = 10;
const NETLINK_EXT_ACK: libc::c_int = 11;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// `NLM_F_CREATE`: make it if it is not there.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_EXCL`: fail if it is there.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_APPEND`: put it behind the others.
pub(crate) const APPEND: u16 = 0x800;

/// The length of a message's header.
const HEADER_BYTES: usize = 16;

/// The most that the kernel puts into one answer: it never needs more than 32 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The kernel answers within the call: a longer silence is a broken kernel, not a slow one.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Why the kernel refused a request.
#[derive(Debug)]
pub struct NetlinkError {
    /// What was asked for.
    pub what: String,
    /// The error's number as an error.
    pub source: io::Error,
    /// What the kernel said beside the number, in its own words.
    pub said: Option<String>,
}

impl std::fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.source)?;
        match &self.said {
            Some(said) => write!(f, " (the kernel says: {said})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for NetlinkError {}

/// A payload: a fixed head and attributes behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    /// A payload that begins with `head`.
    pub fn new(head: &[u8]) -> Payload {
        Payload { bytes: head.to_vec() }.aligned()
    }

    fn aligned(mut self) -> Payload {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// With an attribute.
    ///
    /// # Panics
    /// If `value` is longer than an attribute can be, 65,531 bytes: callers bound what they say.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Payload {
        let length = u16::try_from(4 + value.len()).expect("callers bound what they say");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.aligned()
    }

    /// With an attribute that is a text, with a zero byte at its end.
    pub fn with_text(self, kind: u16, text: &str) -> Payload {
        self.with(kind, &[text.as_bytes(), b"\0"].concat())
    }

    /// With an attribute that is a number in network byte order.
    pub fn with_u32(self, kind: u16, number: u32) -> Payload {
        self.with(kind, &number.to_be_bytes())
    }

    /// With an attribute that holds others.
    pub fn with_nested(self, kind: u16, inner: &Payload) -> Payload {
        self.with(kind | NLA_F_NESTED, &inner.bytes)
    }
}

/// The attributes in `bytes`: their types without flags, and their values. A broken one ends them.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & NLA_TYPE_MASK, value))
    })
}

/// The value of the first attribute of type `kind` in `bytes`.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// The text in an attribute's value: what stands before the first zero byte.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// One request of several that are sent together.
pub(crate) struct Request {
    /// What it asks for, to follow `cannot`.
    pub what: String,
    /// The type of message.
    pub kind: u16,
    /// Flags beside those that every request has.
    pub flags: u16,
    /// What follows the header.
    pub payload: Payload,
    /// Whether the kernel says that it has done it. It does not for the ends of a transaction.
    pub acknowledged: bool,
}

/// A socket to one of the kernel's netlink families, in the calling thread's network namespace.
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// A socket to routing: links, addresses, routes.
    pub fn route() -> io::Result<Netlink> {
        Netlink::open(None)
    }

    /// A socket to netfilter.
    pub fn netfilter() -> io::Result<Netlink> {
        Netlink::open(Some(netlink::NETFILTER))
    }

    /// A socket of the family `protocol`; without one it is routing, whose number is zero.
    fn open(protocol: Option<Protocol>) -> io::Result<Netlink> {
        let flags = SocketFlags::CLOEXEC;
        let family = AddressFamily::NETLINK;
        let socket = socket_with(family, SocketType::RAW, flags, protocol)?;
        // Older kernels than 4.12 do not say more than a number: they lack inet NAT anyway.
        for option in [NETLINK_CAP_ACK, NETLINK_EXT_ACK] {
            let _ = switch_on(&socket, option);
        }
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Sends `requests` in one piece and waits until all are acknowledged.
    ///
    /// # Errors
    /// The first one that is refused, with the kernel's own words. Those before it may have been
    /// carried out, unless they are a transaction.
    pub fn ask(&mut self, requests: &[Request]) -> Result<(), NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        let mut waiting = Vec::new();
        for (place, request) in requests.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            let acknowledge = if request.acknowledged { NLM_F_ACK } else { 0 };
            let flags = NLM_F_REQUEST | acknowledge | request.flags;
            push(&mut bytes, request.kind, flags, self.sequence, request.payload.bytes());
            if request.acknowledged {
                waiting.push(place);
            }
        }
        let what = |place: usize| requests.get(place).map_or("ask the kernel", |asked| &asked.what);
        let failed = |place: usize, source: io::Error, said: Option<String>| NetlinkError {
            what: what(place).to_owned(),
            source,
            said,
        };
        send(&self.socket, &bytes, SendFlags::empty())
            .map_err(|error| failed(0, error.into(), None))?;
        while let Some(&next) = waiting.first() {
            let answers = self.receive().map_err(|error| failed(next, error, None))?;
            for message in messages(&answers) {
                let place = usize::try_from(message.sequence.wrapping_sub(first)).ok();
                let Some(place) = place.filter(|place| *place < requests.len()) else { continue };
                let Some((error, said)) = message.verdict() else { continue };
                if let Some(error) = error {
                    return Err(failed(place, error, said));
                }
                waiting.retain(|&other| other != place);
            }
        }
        Ok(())
    }

    /// Asks for a list, and gives the payload of each of its messages.
    ///
    /// # Errors
    /// If the kernel refuses. [`io::ErrorKind::NotFound`] where there is nothing of the kind.
    pub fn list(
        &mut self,
        what: &str,
        kind: u16,
        payload: &Payload,
    ) -> Result<Vec<Vec<u8>>, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let failed = |source: io::Error, said| NetlinkError { what: what.to_owned(), source, said };
        let mut bytes = Vec::new();
        push(&mut bytes, kind, NLM_F_REQUEST | NLM_F_DUMP, self.sequence, payload.bytes());
        send(&self.socket, &bytes, SendFlags::empty())
            .map_err(|error| failed(error.into(), None))?;
        let mut found = Vec::new();
        loop {
            let answers = self.receive().map_err(|error| failed(error, None))?;
            for message in messages(&answers) {
                if message.sequence != self.sequence {
                    continue;
                }
                if message.kind == NLMSG_DONE {
                    return Ok(found);
                }
                match message.verdict() {
                    Some((Some(error), said)) => return Err(failed(error, said)),
                    Some((None, _)) => {}
                    None => found.push(message.payload.to_vec()),
                }
            }
        }
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((count, _)) => {
                    buffer.truncate(count);
                    return Ok(buffer);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn push(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, payload: &[u8]) {
    let length = u32::try_from(HEADER_BYTES + payload.len()).expect("payloads are bounded");
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0u32.to_ne_bytes()); // The kernel knows which socket asks.
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[expect(unsafe_code, reason = "no safe interface has this option")]
fn switch_on(socket: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("it is four bytes");
    // SAFETY: the value is a live integer, and its length is the one that is given.
    let result = unsafe {
        let value = std::ptr::from_ref(&on).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, value, length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

struct Message<'b> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'b [u8],
}

/// The messages in what was received. A broken one ends them.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let payload = bytes.get(HEADER_BYTES..length)?;
        let message = Message {
            kind: u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?),
            flags: u16::from_ne_bytes(*bytes.get(6..)?.first_chunk()?),
            sequence: u32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?),
            payload,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

impl Message<'_> {
    /// `None` if it is no verdict, else the error if it is one, and what the kernel said about it.
    fn verdict(&self) -> Option<(Option<io::Error>, Option<String>)> {
        if self.kind != NLMSG_ERROR {
            return None;
        }
        let number = self.payload.first_chunk().map_or(-libc::EBADMSG, |b| i32::from_ne_bytes(*b));
        if number == 0 {
            return Some((None, None));
        }
        let error = io::Error::from_raw_os_error(number.saturating_neg());
        Some((Some(error), self.words()))
    }

    /// What stands behind the error's number and the head of the request, or the whole request.
    fn words(&self) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let asked = usize::try_from(u32::from_ne_bytes(*self.payload.get(4..)?.first_chunk()?));
        let capped = self.flags & NLM_F_CAPPED != 0;
        let length = if capped { HEADER_BYTES } else { asked.ok()?.next_multiple_of(4) };
        let rest = self.payload.get(4usize.checked_add(length)?..)?;
        attribute(rest, NLMSGERR_ATTR_MSG).map(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_come_out_as_they_went_in() {
        let inner = Payload::default().with_text(1, "abc").with_u32(2, 7);
        let payload = Payload::new(&[9, 9]).with(3, b"xyzab").with_nested(4, &inner);
        assert_eq!(&payload.bytes()[..16], b"\x09\x09\0\0\x09\0\x03\0xyzab\0\0\0");
        let rest = &payload.bytes()[4..];
        assert_eq!(attributes(rest).map(|(kind, _)| kind).collect::<Vec<_>>(), [3, 4]);
        let inner = attribute(rest, 4).unwrap();
        assert_eq!(text(attribute(inner, 1).unwrap()), "abc");
        assert_eq!(attribute(inner, 2).unwrap(), [0, 0, 0, 7]);
    }

    #[test]
    fn broken_answers_end_where_they_are_broken() {
        assert_eq!(messages(&[1, 2, 3]).count(), 0);
        assert_eq!(messages(&[8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(attributes(&[3, 0, 0, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 0, 0]).count(), 0);
        let mut bytes = Vec::new();
        push(&mut bytes, NLMSG_ERROR, 0, 1, &[]);
        push(&mut bytes, NLMSG_DONE, 0, 2, &[]);
        bytes.truncate(bytes.len() - 1);
        let found: Vec<_> = messages(&bytes).collect();
        assert_eq!(found.len(), 1);
        assert!(found[0].verdict().unwrap().0.is_some());
    }

    #[test]
    fn the_kernels_words_are_found_behind_a_whole_request_and_behind_its_head() {
        let words = Payload::default().with_text(NLMSGERR_ATTR_MSG, "no such chain");
        for (flags, request) in [(NLM_F_CAPPED, 16), (0, 20)] {
            let mut payload = (-libc::ENOENT).to_ne_bytes().to_vec();
            payload.extend_from_slice(&20u32.to_ne_bytes());
            payload.resize(4 + request, 0);
            payload.extend_from_slice(words.bytes());
            let mut bytes = Vec::new();
            push(&mut bytes, NLMSG_ERROR, flags | NLM_F_ACK_TLVS, 1, &payload);
            let (error, said) = messages(&bytes).next().unwrap().verdict().unwrap();
            assert_eq!(error.unwrap().kind(), io::ErrorKind::NotFound);
            assert_eq!(said.as_deref(), Some("no such chain"));
        }
    }

    #[test]
    fn the_kernel_lists_links_and_refuses_what_is_not_there() {
        const RTM_GETLINK: u16 = 18;
        const RTM_NEWADDR: u16 = 20;
        let mut netlink = Netlink::route().unwrap();
        let links = netlink.list("list links", RTM_GETLINK, &Payload::new(&[0; 16])).unwrap();
        assert!(!links.is_empty());
        let request = Request {
            what: "add no address".to_owned(),
            kind: RTM_NEWADDR,
            flags: CREATE,
            payload: Payload::new(&[255; 8]),
            acknowledged: true,
        };
        let error = netlink.ask(&[request]).unwrap_err();
        assert!(error.to_string().starts_with("cannot add no address: "), "{error}");
    }
}
