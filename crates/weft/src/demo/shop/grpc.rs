//! gRPC over hyper's HTTP/2: the framing, the status, a server and a client.
//!
//! Source: gRPC over HTTP2, the protocol's own description.

use std::cell::RefCell;
use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use prost::Message;

use super::TokioStream;
use super::http::BODY_BYTES_MAX;

/// Before each message: a byte that says whether it is compressed, and its length in four.
const PREFIX_BYTES: usize = 5;

/// Spawns hyper's tasks on the thread that they belong to.
#[derive(Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A status of gRPC, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok = 0,
    InvalidArgument = 3,
    Unimplemented = 12,
    Internal = 13,
}

/// The trailers that end a call.
pub fn trailers(status: Status, message: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(status as u16));
    if !message.is_empty() {
        trailers.insert("grpc-message", HeaderValue::from_static(message));
    }
    trailers
}

/// `message` with its prefix.
pub fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("the shop's messages are small"));
    message.encode(&mut bytes).expect("the buffer grows as needed");
    bytes.freeze()
}

/// Takes messages out of the bytes that arrive.
#[derive(Default)]
pub struct Frames {
    bytes: BytesMut,
}

impl Frames {
    /// Adds what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message; none if it has not arrived in full.
    ///
    /// # Errors
    /// If it is compressed, too long or no such message.
    pub fn next<M: Message + Default>(&mut self) -> anyhow::Result<Option<M>> {
        let Some(prefix) = self.bytes.get(..PREFIX_BYTES) else { return Ok(None) };
        ensure!(prefix[0] == 0, "the message is compressed, which was not agreed on");
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        ensure!(length <= BODY_BYTES_MAX, "a message of {length} bytes is too long");
        if self.bytes.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.bytes.advance(PREFIX_BYTES);
        let message = M::decode(self.bytes.split_to(length)).context("the message is malformed")?;
        Ok(Some(message))
    }
}

/// A client of one address, over one connection, which is made again when it has ended.
pub struct Client {
    authority: &'static str,
    address: SocketAddr,
    connection: RefCell<Option<SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// A client that calls `authority` at `address`.
    pub fn new(authority: &'static str, address: SocketAddr) -> Client {
        Client { authority, address, connection: RefCell::default() }
    }

    /// The one answer to a call of `method`, as in `shop.Catalog/List`.
    pub async fn unary<M: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> anyhow::Result<M> {
        let mut answers = self.call(method, request).await?;
        let answer = answers.next().await?.context("it ended without an answer")?;
        let more: Option<M> = answers.next().await?;
        ensure!(more.is_none(), "there is more than one answer");
        Ok(answer)
    }

    /// The answers to a call of `method`.
    pub async fn call(&self, method: &str, request: &impl Message) -> anyhow::Result<Answers> {
        let mut connection = self.connection().await?;
        let request = Request::post(format!("http://{}/{method}", self.authority))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Full::new(frame(request)))
            .context("the request")?;
        let (head, body) = connection.send_request(request).await?.into_parts();
        ensure!(
            head.status == StatusCode::OK,
            "status {}{}",
            head.status.as_u16(),
            head.headers
                .get("weft-reason")
                .and_then(|value| value.to_str().ok())
                .map(|reason| format!(" ({reason})"))
                .unwrap_or_default()
        );
        // An answer that is only a status has it in its head.
        check(&head.headers)?;
        Ok(Answers { body, frames: Frames::default(), has_status: false })
    }

    async fn connection(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let kept = self.connection.borrow().clone();
        if let Some(mut kept) = kept
            && kept.ready().await.is_ok()
        {
            return Ok(kept);
        }
        let stream = TokioStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = handshake(LocalExecutor, TokioIo::new(stream)).await?;
        tokio::task::spawn_local(driver);
        self.connection.replace(Some(connection.clone()));
        Ok(connection)
    }
}

/// The answers of a call as they arrive.
pub struct Answers {
    body: Incoming,
    frames: Frames,
    has_status: bool,
}

impl Answers {
    /// The next answer; none when the call has ended well.
    ///
    /// # Errors
    /// If the call ended with another status, without one, or the answer is malformed.
    pub async fn next<M: Message + Default>(&mut self) -> anyhow::Result<Option<M>> {
        loop {
            if let Some(message) = self.frames.next()? {
                return Ok(Some(message));
            }
            match self.body.frame().await.transpose()? {
                None => {
                    ensure!(self.has_status, "the call ended without a status");
                    return Ok(None);
                }
                Some(frame) => {
                    if let Some(data) = frame.data_ref() {
                        self.frames.push(data);
                    } else if let Some(trailers) = frame.trailers_ref() {
                        ensure!(trailers.contains_key("grpc-status"), "trailers without a status");
                        check(trailers)?;
                        self.has_status = true;
                    }
                }
            }
        }
    }
}

/// Fails if `fields` have a status that is not 0.
fn check(fields: &HeaderMap) -> anyhow::Result<()> {
    let text = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(status) => bail!("gRPC status {status}: {}", text("grpc-message").unwrap_or_default()),
    }
}

/// The head of an answer, for `body`.
pub fn answer<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Text {
        #[prost(string, tag = "1")]
        text: String,
    }

    #[test]
    fn messages_come_out_however_the_bytes_arrive() {
        let sent = [Text { text: "tea".to_owned() }, Text::default()];
        let bytes: Vec<u8> = sent.iter().flat_map(|message| frame(message).to_vec()).collect();
        for step in 1..=bytes.len() {
            let (mut frames, mut taken) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(step) {
                frames.push(piece);
                while let Some(message) = frames.next::<Text>().unwrap() {
                    taken.push(message);
                }
            }
            assert_eq!(taken, sent);
        }
    }

    #[test]
    fn hostile_frames_are_refused() {
        for bytes in [
            &[1, 0, 0, 0, 0][..],
            &[0, 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 1, 0, 1],
            &[0, 0, 0, 0, 2, 0xff, 0xff],
        ] {
            let mut frames = Frames::default();
            frames.push(bytes);
            assert!(frames.next::<Text>().is_err(), "{bytes:?}");
        }
    }
}
