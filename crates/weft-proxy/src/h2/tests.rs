//! HTTP/2 against the `h2` crate on the other side, and against frames made by hand.

mod failures;
mod hostile;
mod lifetime;
mod relay;
mod upstream;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::{spawn_local, yield_now};
use weft_http::{BodySize, ResponseHead};
use weft_world::{Buffer, Clock, Stream};

use super::client::{Connection, Pings};
use super::server::{Incoming, Server};
use crate::error::ProxyError;
use crate::exchange::{Exchange, Upstream};
use crate::testing::{PIPE_BYTES, Pipe, TestClock, clock, pipe, run, settle, until};

/// A connection to the server at the other end of the pipe, driven by a task.
async fn connect(stream: Box<dyn Stream>, clock: Rc<dyn Clock>) -> Connection {
    let (connection, driver) = super::client::connect(stream, clock, Pings::Sent).await.unwrap();
    spawn_local(driver);
    connection
}

/// What became of the exchanges.
type Log = Rc<RefCell<Vec<Result<(), ProxyError>>>>;

/// Carries one request to `upstream` and its answer back, as the proxy does.
async fn carry(incoming: Incoming, upstream: &mut dyn Upstream) -> Result<(), ProxyError> {
    let Incoming { mut head, size, mut stream } = incoming;
    let mut response = ResponseHead::default();
    let known = size.unwrap_or(BodySize::Unknown);
    let mut exchange = Exchange::new(&mut head, known, &mut response, &mut stream);
    let result = match size {
        Ok(_) => exchanged(&mut exchange, upstream).await,
        Err(error) => Err(ProxyError::BadRequest(error)),
    };
    if let Err(error) = &result
        && !exchange.has_answered()
        && !matches!(error, ProxyError::ClientGone)
    {
        let verdict = error.verdict();
        let mut head = ResponseHead::with_status(verdict.status);
        head.fields.append("weft-reason", verdict.reason.as_bytes());
        let _ = exchange.answer(&head, error.to_string().as_bytes()).await;
    }
    result
}

async fn exchanged(
    exchange: &mut Exchange<'_>,
    upstream: &mut dyn Upstream,
) -> Result<(), ProxyError> {
    let address = "192.0.2.1:80".parse().unwrap();
    let moved = Cell::new(0);
    let reply = exchange.ask(upstream, address, &moved).await?;
    exchange.relay(upstream, reply, address, &moved).await
}

/// A proxy between the two streams, HTTP/2 on both sides. It ends with its callers' connection.
fn proxy(downstream: Box<dyn Stream>, upstream: Box<dyn Stream>) -> Log {
    let log = Log::default();
    let shared = Rc::clone(&log);
    spawn_local(async move {
        let (_, clock) = clock();
        let connection = connect(upstream, Rc::clone(&clock)).await;
        let server = Server::new(downstream, clock);
        let handle = move |incoming| {
            let (mut connection, log) = (connection.clone(), Rc::clone(&shared));
            async move {
                let mut upstream = connection.open().unwrap();
                let result = carry(incoming, &mut upstream).await;
                drop(upstream);
                log.borrow_mut().push(result);
            }
        };
        super::server::serve(server, std::future::pending(), handle).await;
    });
    log
}

/// A caller by the `h2` crate, driven by a task.
async fn caller(stream: DuplexStream) -> ::h2::client::SendRequest<Bytes> {
    let (send, connection) = ::h2::client::handshake(stream).await.unwrap();
    spawn_local(async move { drop(connection.await) });
    send
}

/// A request as an application gets it, and the means to answer it.
type Asked = ::http::Request<::h2::RecvStream>;
type Respond = ::h2::server::SendResponse<Bytes>;

/// A server by the `h2` crate: `handle` makes the task for each request.
fn application<F: Future<Output = ()> + 'static>(
    stream: DuplexStream,
    handle: impl Fn(Asked, Respond) -> F + 'static,
) {
    spawn_local(async move {
        let mut connection = ::h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            spawn_local(handle(request, respond));
        }
    });
}

/// The whole of a body, and the trailers behind it.
async fn read_all(
    body: &mut ::h2::RecvStream,
) -> Result<(Vec<u8>, Option<::http::HeaderMap>), ::h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        bytes.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len())?;
    }
    Ok((bytes, body.trailers().await?))
}

fn get(path: &str) -> ::http::Request<()> {
    ::http::Request::get(format!("http://shop{path}")).body(()).unwrap()
}

fn post(path: &str) -> ::http::Request<()> {
    ::http::Request::post(format!("http://shop{path}")).body(()).unwrap()
}

/// Frames by hand.
mod raw {
    use super::*;

    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const CONTINUATION: u8 = 9;

    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
    pub const END_HEADERS: u8 = 4;

    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Frame {
        pub kind: u8,
        pub flags: u8,
        pub stream: u32,
        pub payload: Vec<u8>,
    }

    impl Frame {
        /// The error code of RST_STREAM or GOAWAY.
        pub fn code(&self) -> u32 {
            let at = if self.kind == GOAWAY { 4 } else { 0 };
            u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
        }
    }

    pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend_from_slice(&[kind, flags]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    /// A header block in which nothing is compressed.
    pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in fields {
            out.push(0);
            for text in [name, value] {
                if text.len() < 127 {
                    out.push(u8::try_from(text.len()).unwrap());
                } else {
                    // The rest of the length in groups of seven bits.
                    out.push(127);
                    let mut rest = text.len() - 127;
                    while rest >= 128 {
                        out.push(u8::try_from(rest % 128).unwrap() | 128);
                        rest /= 128;
                    }
                    out.push(u8::try_from(rest).unwrap());
                }
                out.extend_from_slice(text.as_bytes());
            }
        }
        out
    }

    pub const REQUEST: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "http"), (":authority", "shop"), (":path", "/")];

    /// A caller that sends what it likes.
    pub struct Peer(pub DuplexStream);

    impl Peer {
        /// Begins a connection to a server.
        pub async fn caller(mut stream: DuplexStream) -> Peer {
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
            let mut peer = Peer(stream);
            peer.send(SETTINGS, 0, 0, &[]).await;
            peer
        }

        /// Takes the connection of a client.
        pub async fn server(mut stream: DuplexStream) -> Peer {
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
            let mut peer = Peer(stream);
            peer.send(SETTINGS, 0, 0, &[]).await;
            peer
        }

        pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
            // Whether the other side still listens is seen by what it says.
            let _ = self.0.write_all(&frame(kind, flags, stream, payload)).await;
        }

        /// The next frame, or none at the end of the connection.
        pub async fn next(&mut self) -> Option<Frame> {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        }

        /// The next frame of one of these kinds; the others are passed over.
        pub async fn next_of(&mut self, kinds: &[u8]) -> Frame {
            loop {
                let frame = self.next().await.expect("the connection ended");
                if kinds.contains(&frame.kind) {
                    return frame;
                }
            }
        }

        /// Whether what was sent so far makes the other side reset `stream`.
        pub async fn is_reset(&mut self, stream: u32) -> bool {
            settle().await;
            self.send(PING, 0, 0, b"so far? ").await;
            let frame = self.next_of(&[RST_STREAM, PING]).await;
            assert!(frame.kind == PING || frame.stream == stream, "{frame:?}");
            frame.kind == RST_STREAM
        }
    }
}
