//! Answers: written here, or taken from a resolver.

use crate::query::{
    AUTHORITATIVE, BAD_VERSION, CLASS_IN, FORMAT_ERROR, HEADER_BYTES, NAME_ERROR, OPCODE, Query,
    RECURSION_AVAILABLE, RECURSION_DESIRED, REFUSED, RESPONSE, SERVER_FAILURE, TRUNCATED, TYPE_A,
    TYPE_AAAA, TYPE_OPT, TYPE_SOA, set_id,
};
use crate::{Answer, Name, Transport, Zones};

/// How long it may be kept that there is no such name, or no address of the kind, in seconds.
/// Short, since services come.
const NEGATIVE_TTL: u32 = 5;

/// What is taken over UDP, in bytes, as told by EDNS. Source: RFC 9715, section 3.2.
pub(crate) const UDP_BYTES_TAKEN: u16 = 1232;

/// The length of the EDNS record without options.
const EDNS_BYTES: usize = 11;

/// A pointer to the question's name, right behind the header. Source: RFC 1035, section 4.1.4.
const POINTER_TO_QUESTION: [u8; 2] = [0xc0, 0x0c];

/// The longest message in a stream.
const TCP_BYTES_MAX: usize = 65_535;

/// An answer without a question, to a message whose question cannot be read.
pub(crate) fn bare(id: u16, flags: u16, code: u16) -> Vec<u8> {
    let flags = RESPONSE | flags & (OPCODE | RECURSION_DESIRED) | code;
    let mut message = Vec::with_capacity(HEADER_BYTES);
    message.extend_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&flags.to_be_bytes());
    message.resize(HEADER_BYTES, 0);
    message
}

impl Query {
    /// The message that says `answer`.
    ///
    /// Other types than A and AAAA have no records. [`Answer::NotOurs`] is, by who asks for it, of
    /// a name that nobody else may be asked for: there is none.
    pub fn answered(&self, answer: &Answer, zones: &Zones, transport: Transport) -> Vec<u8> {
        let (records, ttl, code) = match answer {
            Answer::Addresses { v4, v6, ttl } => {
                let records: Vec<Vec<u8>> = match self.kind {
                    TYPE_A => v4.iter().map(|address| address.octets().to_vec()).collect(),
                    TYPE_AAAA => v6.iter().map(|address| address.octets().to_vec()).collect(),
                    _ => Vec::new(),
                };
                (records, *ttl, 0)
            }
            Answer::NoSuchName | Answer::NotOurs => (Vec::new(), 0, NAME_ERROR),
        };
        let mut message = self.head(AUTHORITATIVE | RECURSION_AVAILABLE | code);
        if records.is_empty() {
            if let Some(zone) = zones.apex_over(&self.name) {
                push_authority(&mut message, zone);
            }
            return self.ended(message);
        }
        let most = match transport {
            Transport::Udp => self.udp_bytes_max(),
            Transport::Tcp => TCP_BYTES_MAX,
        };
        let room = most.saturating_sub(message.len() + EDNS_BYTES);
        let each = POINTER_TO_QUESTION.len() + 10 + records[0].len();
        let fitting = room / each;
        if fitting < records.len() && transport == Transport::Udp {
            return self.truncated();
        }
        let count = u16::try_from(records.len().min(fitting)).unwrap_or(u16::MAX);
        for record in &records[..usize::from(count)] {
            push_record(&mut message, &POINTER_TO_QUESTION, self.kind, ttl, record);
        }
        message[6..8].copy_from_slice(&count.to_be_bytes());
        self.ended(message)
    }

    /// The message that says that nobody could be asked.
    pub fn failed(&self) -> Vec<u8> {
        self.with_code(SERVER_FAILURE)
    }

    /// The message that says that this is not answered here.
    pub fn refused(&self) -> Vec<u8> {
        self.with_code(REFUSED)
    }

    /// What to send back when `answer`, for which [`Query::is_answered_by`] holds, came from a
    /// resolver. It gets the query's id; what is too long for a datagram is asked for over TCP.
    pub fn relayed(&self, mut answer: Vec<u8>, transport: Transport) -> Vec<u8> {
        if transport == Transport::Udp && answer.len() > self.udp_bytes_max() {
            return self.truncated();
        }
        set_id(&mut answer, self.id);
        answer
    }

    /// The message that says to ask again over TCP.
    fn truncated(&self) -> Vec<u8> {
        self.ended(self.head(TRUNCATED | RECURSION_AVAILABLE))
    }

    /// A message with `code` and nothing else.
    pub(crate) fn with_code(&self, code: u16) -> Vec<u8> {
        debug_assert!(code != FORMAT_ERROR, "then there is no query");
        let mut message = self.ended(self.head(RECURSION_AVAILABLE | code & 0xf));
        if code == BAD_VERSION
            && let Some(place) = message.len().checked_sub(EDNS_BYTES)
        {
            // The upper bits stand in the EDNS record, where others have the time to live.
            message[place + 5] = (code >> 4).to_be_bytes()[1];
        }
        message
    }

    /// Header and question.
    fn head(&self, flags: u16) -> Vec<u8> {
        let mut message = bare(self.id, self.flags, 0);
        let flags = u16::from_be_bytes([message[2], message[3]]) | flags;
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[5] = 1;
        message.extend_from_slice(self.name.wire());
        message.extend_from_slice(&self.kind.to_be_bytes());
        message.extend_from_slice(&self.class.to_be_bytes());
        message
    }

    /// With an EDNS record at the end, if the query has one. Source: RFC 6891, section 6.1.1.
    fn ended(&self, mut message: Vec<u8>) -> Vec<u8> {
        if self.edns.is_some() {
            message[11] = 1;
            message.push(0);
            message.extend_from_slice(&TYPE_OPT.to_be_bytes());
            message.extend_from_slice(&UDP_BYTES_TAKEN.to_be_bytes());
            message.extend_from_slice(&[0; 6]);
        }
        message
    }
}

fn push_record(message: &mut Vec<u8>, owner: &[u8], kind: u16, ttl: u32, data: &[u8]) {
    let length = u16::try_from(data.len()).expect("records here are short");
    message.extend_from_slice(owner);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    message.extend_from_slice(&ttl.to_be_bytes());
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(data);
}

/// The record by which others know how long to keep a negative answer. Source: RFC 2308, section 3.
fn push_authority(message: &mut Vec<u8>, zone: &Name) {
    let mut data = [zone.wire(), zone.wire()].concat();
    // Serial number, refresh, retry, expiry; nobody transfers this zone.
    for number in [1u32, 3600, 600, 86_400, NEGATIVE_TTL] {
        data.extend_from_slice(&number.to_be_bytes());
    }
    push_record(message, zone.wire(), TYPE_SOA, NEGATIVE_TTL, &data);
    message[9] = 1;
}
