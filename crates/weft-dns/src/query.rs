//! Queries: read strictly, and compared with what comes back for them.

use crate::name::Name;
use crate::reply;

/// The length of a message's header. Source: RFC 1035, section 4.1.1.
pub(crate) const HEADER_BYTES: usize = 12;

/// What any receiver takes over UDP, in bytes. Source: RFC 1035, section 4.2.1.
const UDP_BYTES_MIN: u16 = 512;

/// The most that is sent over UDP, in bytes, whatever the query allows. It stays on loopback, where
/// nothing is fragmented at this size.
const UDP_BYTES_MAX: u16 = 4096;

pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_SOA: u16 = 6;
pub(crate) const TYPE_AAAA: u16 = 28;
pub(crate) const TYPE_OPT: u16 = 41;
pub(crate) const CLASS_IN: u16 = 1;

/// Bits of the header's second pair of bytes.
pub(crate) const RESPONSE: u16 = 0x8000;
pub(crate) const OPCODE: u16 = 0x7800;
pub(crate) const AUTHORITATIVE: u16 = 0x0400;
pub(crate) const TRUNCATED: u16 = 0x0200;
pub(crate) const RECURSION_DESIRED: u16 = 0x0100;
pub(crate) const RECURSION_AVAILABLE: u16 = 0x0080;

/// Codes of answers. Source: RFC 1035, section 4.1.1; RFC 6891, section 9.
pub(crate) const FORMAT_ERROR: u16 = 1;
pub(crate) const SERVER_FAILURE: u16 = 2;
pub(crate) const NAME_ERROR: u16 = 3;
pub(crate) const NOT_IMPLEMENTED: u16 = 4;
pub(crate) const REFUSED: u16 = 5;
pub(crate) const BAD_VERSION: u16 = 16;

/// A question that somebody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    pub(crate) name: Name,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) edns: Option<Edns>,
    message: Vec<u8>,
}

/// What the extension says. Source: RFC 6891.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    udp_bytes: u16,
    version: u8,
}

/// Why a message is no query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Send this back: it says what is wrong.
    Answered(Vec<u8>),
    /// Send nothing back: it is too short to answer, or an answer itself.
    Ignored,
}

/// The id of `message`, by which an answer is known. `None` if it has no header.
pub fn id_of(message: &[u8]) -> Option<u16> {
    (message.len() >= HEADER_BYTES).then(|| u16_at(message, 0))?
}

/// Gives `message` another id. Nothing happens if it has no header.
pub fn set_id(message: &mut [u8], id: u16) {
    if message.len() >= HEADER_BYTES {
        message[..2].copy_from_slice(&id.to_be_bytes());
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Query {
    /// Reads a query: one question, nothing else but one EDNS record, and nothing behind it.
    ///
    /// # Errors
    /// [`Malformed`], with the answer that the standards have for it.
    pub fn parse(message: &[u8]) -> Result<Query, Malformed> {
        let header = |at| u16_at(message, at).ok_or(Malformed::Ignored);
        if message.len() < HEADER_BYTES {
            return Err(Malformed::Ignored);
        }
        let (id, flags) = (header(0)?, header(2)?);
        if flags & RESPONSE != 0 {
            return Err(Malformed::Ignored);
        }
        let answer = |code| Malformed::Answered(reply::bare(id, flags, code));
        if flags & OPCODE != 0 {
            return Err(answer(NOT_IMPLEMENTED));
        }
        let counts = [header(4)?, header(6)?, header(8)?, header(10)?];
        let well_formed = flags & TRUNCATED == 0 && matches!(counts, [1, 0, 0, 0 | 1]);
        let read = || {
            let name = Name::parse(&message[HEADER_BYTES..])?;
            let at = HEADER_BYTES + name.wire().len();
            let (kind, class) = (u16_at(message, at)?, u16_at(message, at + 2)?);
            let rest = &message[at + 4..];
            let edns = match counts[3] {
                0 => rest.is_empty().then_some(None)?,
                _ => Some(Edns::parse(rest)?),
            };
            Some(Query { id, flags, name, kind, class, edns, message: message.to_vec() })
        };
        let query = well_formed.then(read).flatten().ok_or_else(|| answer(FORMAT_ERROR))?;
        if query.edns.is_some_and(|edns| edns.version > 0) {
            return Err(Malformed::Answered(query.with_code(BAD_VERSION)));
        }
        Ok(query)
    }

    /// What it asks about.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The message that it was read from.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The most bytes that an answer over UDP may have.
    pub(crate) fn udp_bytes_max(&self) -> usize {
        let allowed = self.edns.map_or(UDP_BYTES_MIN, |edns| edns.udp_bytes);
        usize::from(allowed.clamp(UDP_BYTES_MIN, UDP_BYTES_MAX))
    }

    /// Whether `message` is an answer to this query when it was sent with `id`: it repeats the
    /// question, so that a guessed id is not enough to slip in another.
    ///
    /// What it says is the sender's affair, and is not looked at.
    pub fn is_answered_by(&self, message: &[u8], id: u16) -> bool {
        let question = || {
            let flags = u16_at(message, 2)?;
            let name = Name::parse(message.get(HEADER_BYTES..)?)?;
            let at = HEADER_BYTES + name.wire().len();
            let same = name == self.name
                && u16_at(message, at)? == self.kind
                && u16_at(message, at + 2)? == self.class;
            Some(same && flags & RESPONSE != 0 && flags & OPCODE == 0)
        };
        id_of(message) == Some(id) && u16_at(message, 4) == Some(1) && question() == Some(true)
    }
}

impl Edns {
    /// Reads the record, which must be all there is. Source: RFC 6891, section 6.1.2.
    fn parse(bytes: &[u8]) -> Option<Edns> {
        let [0, record @ ..] = bytes else { return None };
        let (fixed, options) = record.split_at_checked(10)?;
        if u16_at(fixed, 0)? != TYPE_OPT || usize::from(u16_at(fixed, 8)?) != options.len() {
            return None;
        }
        Some(Edns { udp_bytes: u16_at(fixed, 2)?, version: fixed[5] })
    }
}
