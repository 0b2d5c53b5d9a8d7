//! The opening of a tunnel between two proxies: what the client wants, and the server's answer.
//!
//! Each is one frame: its length as two bytes, most significant first, then a protobuf message.
//! The inner protocol's bytes follow. The client may send them ahead, before the answer is there.

use std::net::IpAddr;

use prost::Message;
use thiserror::Error;

/// The most bytes of a frame's message.
pub const FRAME_BYTES_MAX: usize = 4096;

/// A frame that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The message is empty or longer than [`FRAME_BYTES_MAX`].
    #[error("the frame has {0} bytes, 1 to 4096 are allowed")]
    Length(usize),
    /// The message is not what it should be.
    #[error("the frame is malformed: {0}")]
    Malformed(&'static str),
}

/// What is spoken inside of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum InnerProtocol {
    /// Nothing that this version knows.
    Unspecified = 0,
    /// HTTP/1.1, one request after the other.
    Http1 = 1,
    /// HTTP/2.
    Http2 = 2,
    /// Bytes that only the applications understand.
    Opaque = 3,
}

/// What the client of a tunnel wants.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Preface {
    /// The workload that it means to reach, as `NAMESPACE/NAME`.
    #[prost(string, tag = "1")]
    pub workload: String,
    /// The generation of that workload; another one is another instance.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    /// The Service by which it came to this workload, for telemetry only.
    #[prost(string, tag = "3")]
    pub service: String,
    /// The address of the application, 4 or 16 bytes; empty where the server knows it.
    #[prost(bytes = "vec", tag = "4")]
    pub target_address: Vec<u8>,
    /// The port of the application, 1 to 65535.
    #[prost(uint32, tag = "5")]
    pub target_port: u32,
    /// What is spoken inside.
    #[prost(enumeration = "InnerProtocol", tag = "6")]
    pub protocol: i32,
    /// How long opaque bytes may stand still before the client ends the tunnel, in milliseconds;
    /// zero where it does not say.
    #[prost(uint64, tag = "7")]
    pub idle_ms: u64,
}

impl Preface {
    /// The port of the application.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] if it is none.
    pub fn port(&self) -> Result<u16, FrameError> {
        match u16::try_from(self.target_port) {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(FrameError::Malformed("the target port is not 1 to 65535")),
        }
    }

    /// The address of the application, if the client named one.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] if it is neither of IPv4 nor of IPv6.
    pub fn address(&self) -> Result<Option<IpAddr>, FrameError> {
        if self.target_address.is_empty() {
            return Ok(None);
        }
        let bytes = self.target_address.as_slice();
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
        let address = v4.or_else(|_| v6());
        address.map(Some).map_err(|_| FrameError::Malformed("the target address is no IP address"))
    }
}

/// What the server of a tunnel decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Verdict {
    /// Nothing that this version knows: to be taken as refused.
    Unspecified = 0,
    /// The inner protocol may begin.
    Accepted = 1,
    /// Nothing reached the application, and nothing will.
    Refused = 2,
    /// As refused, since the workload is about to end: choose another.
    Draining = 3,
}

/// The server's answer to a [`Preface`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Answer {
    /// What it decided.
    #[prost(enumeration = "Verdict", tag = "1")]
    pub verdict: i32,
    /// The stable reason code, unless accepted.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// The object that caused it, or more detail, for people.
    #[prost(string, tag = "3")]
    pub detail: String,
}

/// `message` as a frame.
///
/// # Errors
/// [`FrameError::Length`] if the message is too long.
pub fn encode(message: &impl Message) -> Result<Vec<u8>, FrameError> {
    let length = message.encoded_len();
    let prefix = u16::try_from(length).ok().filter(|_| (1..=FRAME_BYTES_MAX).contains(&length));
    let prefix = prefix.ok_or(FrameError::Length(length))?;
    let mut frame = Vec::with_capacity(2 + length);
    frame.extend_from_slice(&prefix.to_be_bytes());
    message.encode_raw(&mut frame);
    Ok(frame)
}

/// The message of the frame at the start of `input`, and the frame's length; `None` if it is not
/// complete yet.
///
/// # Errors
/// [`FrameError`]; the connection cannot be used further.
pub fn decode<M: Message + Default>(input: &[u8]) -> Result<Option<(M, usize)>, FrameError> {
    let Some((prefix, rest)) = input.split_first_chunk::<2>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes(*prefix));
    if !(1..=FRAME_BYTES_MAX).contains(&length) {
        return Err(FrameError::Length(length));
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let message = M::decode(body).map_err(|_| FrameError::Malformed("no protobuf message"))?;
    Ok(Some((message, 2 + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preface() -> Preface {
        Preface {
            workload: "shop/web-1".to_owned(),
            generation: 7,
            service: "shop/web".to_owned(),
            target_address: vec![10, 0, 0, 1],
            target_port: 80,
            protocol: InnerProtocol::Http1.into(),
            idle_ms: 3_600_000,
        }
    }

    #[test]
    fn a_frame_is_read_as_it_was_written_wherever_it_is_cut() {
        let mut bytes = encode(&preface()).unwrap();
        let length = bytes.len();
        bytes.extend_from_slice(b"GET / HTTP/1.1");
        for end in 0..length {
            assert_eq!(decode::<Preface>(&bytes[..end]), Ok(None));
        }
        assert_eq!(decode(&bytes), Ok(Some((preface(), length))));
    }

    #[test]
    fn the_bytes_are_the_ones_that_other_versions_read() {
        let answer = Answer {
            verdict: Verdict::Refused.into(),
            reason: "not-me".to_owned(),
            detail: String::new(),
        };
        assert_eq!(encode(&answer).unwrap(), b"\x00\x0a\x08\x02\x12\x06not-me");
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(decode::<Preface>(b"\0\0"), Err(FrameError::Length(0)));
        assert_eq!(decode::<Preface>(b"GET /"), Err(FrameError::Length(0x4745)));
        let malformed = decode::<Preface>(b"\0\x02\xff\xff");
        assert!(matches!(malformed, Err(FrameError::Malformed(_))));
        let long = Preface { workload: "x".repeat(5000), ..preface() };
        assert!(matches!(encode(&long), Err(FrameError::Length(_))));
    }

    #[test]
    fn targets_are_checked() {
        assert_eq!(preface().port(), Ok(80));
        assert!(Preface { target_port: 0, ..preface() }.port().is_err());
        assert!(Preface { target_port: 65_536, ..preface() }.port().is_err());
        assert_eq!(preface().address(), Ok(Some("10.0.0.1".parse().unwrap())));
        assert!(Preface { target_address: vec![1, 2, 3], ..preface() }.address().is_err());
        assert_eq!(Preface { target_address: vec![], ..preface() }.address(), Ok(None));
    }
}
