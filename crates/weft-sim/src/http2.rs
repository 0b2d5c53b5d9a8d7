//! Programs that speak HTTP/2, for scenarios and tests: callers and applications.
//!
//! Deliberately absent: a codec. It is the proxy's, whose own tests let it meet others.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;

use tokio::task::JoinHandle;
use weft_decide::grpc;
use weft_http::{BodySize, Fields, HeadLimits, RequestHead, ResponseHead, request};
use weft_proxy::error::StreamError;
use weft_proxy::exchange::{Downstream, Piece, Reply, Sink, Source, Upstream};
use weft_proxy::h2::server::{Incoming, Server, ServerStream};
use weft_proxy::h2::{client, server};
use weft_world::{Listener, World};

/// The head that `text` is in HTTP/1.1.
///
/// # Panics
/// If it is none.
pub fn head(text: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let parsed = request::parse_within(HeadLimits::MESH, text.as_bytes(), &mut head);
    parsed.expect("it is well-formed").expect("it is complete");
    head
}

/// The head of a gRPC call of `path`, with more `fields`, each of which ends its line.
pub fn call_head(path: &str, fields: &str) -> RequestHead {
    head(&format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\
         Content-Type: application/grpc\r\n{fields}\r\n"
    ))
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its head.
    pub head: ResponseHead,
    /// Its body.
    pub body: Vec<u8>,
    /// What follows its body.
    pub trailers: Fields,
}

impl Answer {
    /// Its gRPC status, in front of the body or behind it.
    pub fn grpc_status(&self) -> Option<u32> {
        grpc::status(&self.head.fields).or_else(|| grpc::status(&self.trailers))
    }

    /// The reason, if it is Weft's own.
    pub fn reason(&self) -> Option<String> {
        let reason = self.head.fields.get("Weft-Reason")?;
        Some(String::from_utf8_lossy(reason).into_owned())
    }
}

/// A caller's connection. Dropping it breaks it off.
pub struct Client {
    connection: client::Connection,
    driving: JoinHandle<()>,
}

impl Client {
    /// Connects to `at`.
    ///
    /// # Errors
    /// If nobody takes the connection.
    pub async fn connect(world: &World, at: SocketAddr) -> io::Result<Client> {
        let stream = world.network.connect(at).await?;
        let connecting = client::connect(stream, world.clock.clone(), client::Pings::None);
        let (connection, driver) = connecting.await.map_err(io::Error::other)?;
        let driving = tokio::task::spawn_local(driver);
        Ok(Client { connection: connection.within(HeadLimits::MESH), driving })
    }

    /// Whether it takes another request.
    pub fn is_usable(&self) -> bool {
        self.connection.clone().is_usable()
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// If there is none, or only a part of it.
    pub async fn ask(&self, head: &RequestHead, body: &[u8]) -> Result<Answer, StreamError> {
        let size = match body.len() {
            0 => BodySize::None,
            _ => BodySize::Unknown,
        };
        self.ask_with(head, size, body, &Fields::default()).await
    }

    /// The same, with a body of `size` and what follows it.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn ask_with(
        &self,
        head: &RequestHead,
        size: BodySize,
        body: &[u8],
        trailers: &Fields,
    ) -> Result<Answer, StreamError> {
        let mut stream = self.connection.clone().open()?;
        stream.send_head(head, size);
        // An answer may come before the request has ended, and break its rest off.
        let _sent = write(&mut stream, body, trailers).await;
        let mut answer = ResponseHead::default();
        while poll_fn(|cx| stream.poll_head(cx, &mut answer)).await? == Reply::Informational {}
        let body = read(&mut stream).await?;
        Ok(Answer { head: answer, body, trailers: stream.trailers().clone() })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// Serves all connections that `listener` takes: `handle` makes the task for each request.
pub async fn serve<F>(
    mut listener: Box<dyn Listener>,
    world: World,
    handle: impl Fn(Incoming) -> F + Clone + 'static,
) where
    F: Future<Output = ()> + 'static,
{
    while let Ok(accepted) = listener.accept().await {
        let server = Server::new(accepted.stream, world.clock.clone()).within(HeadLimits::MESH);
        let handle = handle.clone();
        drop(tokio::task::spawn_local(server::serve(server, std::future::pending(), handle)));
    }
}

/// Answers a request in full. If its caller is gone, that is its own affair.
pub async fn answer(
    stream: &mut ServerStream,
    head: &ResponseHead,
    body: &[u8],
    trailers: &Fields,
) {
    let is_empty = body.is_empty() && trailers.is_empty();
    stream.send_head(head, if is_empty { BodySize::None } else { BodySize::Unknown });
    let _gone = write(stream, body, trailers).await;
}

/// The whole body.
///
/// # Errors
/// If it breaks off.
pub async fn read(source: &mut dyn Source) -> Result<Vec<u8>, StreamError> {
    let mut body = Vec::new();
    while poll_fn(|cx| source.poll_piece(cx)).await? == Piece::Data {
        let piece = source.piece();
        body.extend_from_slice(piece);
        let count = piece.len();
        source.consume(count);
    }
    Ok(body)
}

async fn write(sink: &mut dyn Sink, body: &[u8], trailers: &Fields) -> Result<(), StreamError> {
    let mut rest = body;
    while !rest.is_empty() {
        let count = poll_fn(|cx| sink.poll_send(cx, rest)).await?;
        rest = &rest[count..];
    }
    sink.end(trailers)?;
    poll_fn(|cx| sink.poll_flush(cx)).await
}
