//! What a caller speaks, by its first bytes; or, if it is silent, by whether its server speaks
//! first. No timer decides.

mod hello;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use weft_world::{BoxFuture, Buffer, Clock, Stream};

use crate::backend::Connected;
use crate::error::ProxyError;
use crate::prefixed::Prefixed;
use crate::time::{HEAD_TIMEOUT, within};

pub use self::hello::{HELLO_BYTES_MAX, Hello, HelloError, hello};

/// What a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2, from its preface on.
    Http2,
    /// Something else, TLS included.
    Opaque,
}

/// The first bytes of every HTTP/2 connection (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What every connection of TLS begins with: a record of a handshake.
///
/// Source: RFC 8446, section 5.1.
pub(crate) const TLS_HANDSHAKE: &[u8] = &[22, 3];

/// The longest method that is looked for, in bytes. Registered ones have at most 17.
const METHOD_BYTES_MAX: usize = 24;

/// The longest first line that is waited for, in bytes. What is longer and has begun like a
/// request is one, and the codec says what is wrong with it.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// What `bytes`, the first of a connection, are; `None` if only more of them can tell.
pub fn of_bytes(bytes: &[u8]) -> Option<Spoken> {
    let compared = bytes.len().min(HTTP2_PREFACE.len());
    if bytes[..compared] == HTTP2_PREFACE[..compared] {
        return (compared == HTTP2_PREFACE.len()).then_some(Spoken::Http2);
    }
    // It is opaque, but whether it is TLS must be known as well: some is refused for its name.
    if bytes == &TLS_HANDSHAKE[..1] {
        return None;
    }
    let is_upper = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_');
    let method = bytes.iter().take_while(|byte| is_upper(byte)).count();
    let Some(separator) = bytes.get(method) else {
        return (method > METHOD_BYTES_MAX).then_some(Spoken::Opaque);
    };
    if method == 0 || method > METHOD_BYTES_MAX || *separator != b' ' {
        return Some(Spoken::Opaque);
    }
    let line = &bytes[method + 1..];
    match line.iter().position(|&byte| byte == b'\n') {
        Some(end) => {
            let line = line[..end].strip_suffix(b"\r").unwrap_or(&line[..end]);
            let version = line.len().checked_sub(9).map(|at| &line[at..]);
            let is_http = version.is_some_and(|version| version.starts_with(b" HTTP/1."));
            Some(if is_http { Spoken::Http1 } else { Spoken::Opaque })
        }
        None => (line.len() > LINE_BYTES_MAX).then_some(Spoken::Http1),
    }
}

/// Whether `bytes`, the first of a connection on which HTTP is spoken, are HTTP/2; `None` if only
/// more of them can tell.
fn is_http2(bytes: &[u8]) -> Option<bool> {
    let compared = bytes.len().min(HTTP2_PREFACE.len());
    if bytes[..compared] != HTTP2_PREFACE[..compared] {
        return Some(false);
    }
    (compared == HTTP2_PREFACE.len()).then_some(true)
}

/// Which HTTP a caller speaks on a port where HTTP is declared; `None` if it ends the connection
/// or is silent for longer than `limit`. A first word that stays without a second is left to the
/// codec of HTTP/1.1, which has an answer to that.
pub(crate) async fn http(
    clock: &dyn Clock,
    stream: &mut Prefixed,
    limit: Duration,
) -> Option<Spoken> {
    loop {
        match is_http2(stream.seen()) {
            Some(true) => return Some(Spoken::Http2),
            Some(false) => return Some(Spoken::Http1),
            None => {}
        }
        let has_begun = !stream.seen().is_empty();
        let limit = if has_begun { HEAD_TIMEOUT } else { limit };
        match within(clock, limit, poll_fn(|cx| stream.poll_more(cx))).await {
            Some(Ok(0)) | None if has_begun => return Some(Spoken::Http1),
            Some(Ok(0) | Err(_)) | None => return None,
            Some(Ok(_)) => {}
        }
    }
}

/// A connection that is being opened.
pub(crate) type Dialling = BoxFuture<'static, Result<Connected<Box<dyn Stream>>, ProxyError>>;

/// What is spoken on a connection, and the connection to the server if one was opened already.
pub(crate) struct Detected {
    pub(crate) spoken: Spoken,
    pub(crate) upstream: Option<Connected<Prefixed>>,
    /// One that is still being opened, and is not needed.
    pub(crate) unneeded: Option<Dialling>,
}

impl Detected {
    /// That `spoken` is spoken, as was known without asking anybody.
    pub(crate) fn known(spoken: Spoken) -> Detected {
        Detected { spoken, upstream: None, unneeded: None }
    }
}

/// How long is waited for first words.
pub(crate) struct Waits {
    /// For those of the caller, before the server is dialled.
    pub(crate) silence: Duration,
    /// For those of either.
    pub(crate) idle: Duration,
}

/// Finds out what is spoken where nobody declared it.
///
/// The caller's first bytes decide. If it is silent for `silence`, `dial` opens a connection to the
/// server, and if that speaks first, the connection is opaque; but the SETTINGS with which an
/// HTTP/2 server may begin are held until the caller's bytes decide. A proxy there that refuses
/// since the bytes are opaque may take HTTP: then too the caller's bytes decide, for which it has
/// [`HEAD_TIMEOUT`]; any other refusal holds whatever is spoken. Two that are both silent are left
/// so for as long as `idle`.
///
/// # Errors
/// What `dial` and `broken` say; [`ProxyError::ClientGone`], [`ProxyError::StoodStill`].
pub(crate) async fn detect(
    clock: &dyn Clock,
    downstream: &mut Prefixed,
    Waits { silence, idle }: Waits,
    dial: impl FnOnce() -> Dialling,
    broken: impl Fn(io::Error) -> ProxyError,
) -> Result<Detected, ProxyError> {
    let mut dial = Some(dial);
    let mut dialling = None;
    let mut upstream: Option<Connected<Prefixed>> = None;
    let mut timer = clock.sleep(silence);
    let (mut spoken, mut refused) = (None, None);
    poll_fn(|cx| {
        while spoken.is_none() {
            match downstream.poll_more(cx) {
                // Whatever it was, there will be no more of it: the server may have an answer.
                Poll::Ready(Ok(0)) => spoken = Some(Spoken::Opaque),
                Poll::Ready(Ok(_)) => spoken = of_bytes(downstream.seen()),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(ProxyError::ClientGone)),
                Poll::Pending => break,
            }
        }
        match spoken {
            // What is being opened is what is needed.
            Some(Spoken::Opaque) if dialling.is_some() => {}
            Some(spoken) => {
                let (upstream, unneeded) = (upstream.take(), dialling.take());
                return Poll::Ready(Ok(Detected { spoken, upstream, unneeded }));
            }
            None => {
                if let Some(start) = dial.take_if(|_| Pin::new(&mut timer).poll(cx).is_ready()) {
                    dialling = Some(start());
                }
            }
        }
        if let Some(future) = &mut dialling
            && let Poll::Ready(opened) = future.as_mut().poll(cx)
        {
            dialling = None;
            match opened {
                Ok(connected) => {
                    upstream = Some(connected.map(Prefixed::new));
                    timer.reset(clock.now() + idle);
                }
                Err(error) if spoken.is_none() && error.is_of_opaque() => {
                    timer = clock.sleep(HEAD_TIMEOUT);
                    refused = Some(error);
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if let Some(error) = refused.take_if(|_| Pin::new(&mut timer).poll(cx).is_ready()) {
            return Poll::Ready(Err(error));
        }
        let Some(Connected { stream: server, .. }) = &mut upstream else { return Poll::Pending };
        // A tunnel's preface must leave, so that the server there is dialled.
        let _ = server.poll_flush(cx);
        while spoken.is_none() {
            match server.poll_more(cx) {
                Poll::Pending => {
                    let stood_still = || Err(ProxyError::StoodStill { limit: idle });
                    return Pin::new(&mut timer).poll(cx).map(|()| stood_still());
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(error))),
                Poll::Ready(Ok(count)) if count > 0 && may_be_settings(server.seen()) => {}
                // Its end, too, is a first word.
                Poll::Ready(Ok(_)) => spoken = Some(Spoken::Opaque),
            }
        }
        Poll::Ready(Ok(Detected { upstream: upstream.take(), ..Detected::known(Spoken::Opaque) }))
    })
    .await
}

/// Whether `bytes` are, or may become, one SETTINGS frame of HTTP/2 and nothing else but frames
/// that may follow it: then the server waits for its caller all the same.
fn may_be_settings(bytes: &[u8]) -> bool {
    const SETTINGS: u8 = 4;
    let Some((header, _)) = bytes.split_at_checked(9) else {
        // 24 bits of length, which is a multiple of 6 and small; then the type.
        return bytes.first().is_none_or(|&byte| byte == 0)
            && bytes.get(3).is_none_or(|&byte| byte == SETTINGS);
    };
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    let is_on_stream_0 = header[5..9] == [0; 4];
    length <= 256
        && length.is_multiple_of(6)
        && header[3] == SETTINGS
        && header[4] == 0
        && is_on_stream_0
}

/// Polls for more of what `stream` has to say, into `buffer`; zero bytes are its end.
pub(crate) fn poll_fill(
    stream: &mut dyn Stream,
    buffer: &mut Buffer,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let room = buffer.room(1);
    if room.is_empty() {
        return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
    }
    let count = match stream.poll_read(cx, room) {
        Poll::Ready(result) => result?,
        Poll::Pending => {
            buffer.release_if_empty();
            return Poll::Pending;
        }
    };
    buffer.fill(count);
    buffer.release_if_empty();
    Poll::Ready(Ok(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        use Spoken::*;
        let cases: &[(&[u8], Option<Spoken>)] = &[
            (b"", None),
            (b"G", None),
            (b"GET", None),
            (b"GET /", None),
            (b"GET / HTTP/1.1\r", None),
            (b"GET / HTTP/1.1\r\n", Some(Http1)),
            (b"GET / HTTP/1.0\n", Some(Http1)),
            (b"OPTIONS * HTTP/1.1\r\n", Some(Http1)),
            (b"GET key\r\n", Some(Opaque)),
            (b"PING\r\n", Some(Opaque)),
            (b"QUIT", None),
            (b"*1\r\n$4\r\nPING\r\n", Some(Opaque)),
            (b"\x16", None),
            (b"\x16\x03", Some(Opaque)),
            (b"\x16\x03\x01\x02\x00", Some(Opaque)),
            (b"\x16\x00", Some(Opaque)),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Some(Opaque)),
            (b"PRI", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Some(Opaque)),
            (b"EHLO mail\r\n", Some(Opaque)),
            (b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGH", Some(Opaque)),
            (b"get / HTTP/1.1\r\n", Some(Opaque)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(of_bytes(bytes), *expected, "{}", bytes.escape_ascii());
        }
        let long = [b"GET /".to_vec(), vec![b'a'; LINE_BYTES_MAX + 1]].concat();
        assert_eq!(of_bytes(&long), Some(Http1));
    }

    #[test]
    fn more_bytes_never_change_the_answer() {
        let whole = b"POST /items?a=b HTTP/1.1\r\nHost: cart\r\n\r\n";
        let first = (0..whole.len()).find_map(|count| of_bytes(&whole[..count]));
        assert_eq!(first, Some(Spoken::Http1));
        assert_eq!(of_bytes(whole), first);
    }

    #[test]
    fn the_settings_of_a_server_are_no_word() {
        assert!(may_be_settings(&[0]) && may_be_settings(&[0, 0, 6, 4]));
        assert!(may_be_settings(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4]));
        // MariaDB's greeting, SSH's, a GOAWAY.
        assert!(!may_be_settings(b"\x6e\x00\x00\x00\x0a5.5.5"));
        assert!(!may_be_settings(b"SSH-2.0-"));
        assert!(!may_be_settings(&[0, 0, 8, 7, 0, 0, 0, 0, 0]));
        assert!(!may_be_settings(&[0, 0, 5, 4, 0, 0, 0, 0, 0]));
    }
}
