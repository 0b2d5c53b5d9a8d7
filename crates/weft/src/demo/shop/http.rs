//! HTTP as the shop's programs speak it: servers that answer in JSON, and a client that keeps
//! connections.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;

use super::{Shop, TokioListener, TokioStream, accept};

/// The longest body that is read.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// How many idle connections a client keeps.
const IDLE_MAX: usize = 16;

/// An answer of a server.
pub type Answer = Response<Full<Bytes>>;

/// Serves HTTP/1.1: GET only, with `answer` for each path. A broken service answers 500.
pub async fn serve<A, F>(shop: Rc<Shop>, listener: TokioListener, answer: A) -> anyhow::Result<()>
where
    A: Fn(Rc<Shop>, String) -> F + Clone + 'static,
    F: Future<Output = Answer> + 'static,
{
    let shop = &shop;
    accept(shop, listener, |stream| {
        let (shop, answer) = (shop.clone(), answer.clone());
        async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (shop, answer) = (shop.clone(), answer.clone());
                async move { Ok::<_, Infallible>(respond(shop, &request, answer).await) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            let served = server.serve_connection(TokioIo::new(stream), service).await;
            // A caller that went away in between is not worth a line.
            if let Err(error) = served.as_ref()
                && error.is_parse()
            {
                shop.say(error);
            }
        }
    })
    .await
}

async fn respond<A, F>(shop: Rc<Shop>, request: &Request<Incoming>, answer: A) -> Answer
where
    A: Fn(Rc<Shop>, String) -> F,
    F: Future<Output = Answer>,
{
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "GET only");
    }
    if shop.faults.fails() {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "this instance is broken on purpose");
    }
    answer(shop, request.uri().path().to_owned()).await
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    typed(status, "application/json", Bytes::from(value.to_string()))
}

/// An answer in plain text.
pub fn plain(status: StatusCode, text: &str) -> Answer {
    typed(status, "text/plain; charset=utf-8", Bytes::from(format!("{text}\n")))
}

/// An answer of the media type `kind`.
pub fn typed(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    answer
}

/// A client of one address, which keeps its connections.
pub struct Client {
    name: &'static str,
    address: SocketAddr,
    idle: RefCell<Vec<SendRequest<Empty<Bytes>>>>,
}

impl Client {
    /// A client that calls `name` at `address`.
    pub fn new(name: &'static str, address: SocketAddr) -> Client {
        Client { name, address, idle: RefCell::default() }
    }

    /// What is answered to `GET path`, and it must be JSON with status 200.
    pub async fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let request = || {
            let request = Request::get(path).header(header::HOST, self.name);
            request.body(Empty::new()).context("the request")
        };
        // A kept connection may have ended meanwhile. GET can be sent again.
        while let Some(mut connection) = self.kept() {
            if connection.ready().await.is_ok()
                && let Ok(answer) = connection.send_request(request()?).await
            {
                return self.read(answer, connection).await;
            }
        }
        let stream = TokioStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (mut connection, driver) = handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(driver);
        let answer = connection.send_request(request()?).await?;
        self.read(answer, connection).await
    }

    fn kept(&self) -> Option<SendRequest<Empty<Bytes>>> {
        self.idle.borrow_mut().pop()
    }

    async fn read(
        &self,
        answer: Response<Incoming>,
        connection: SendRequest<Empty<Bytes>>,
    ) -> anyhow::Result<serde_json::Value> {
        let (head, body) = answer.into_parts();
        let body = whole(body).await?;
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        if head.status != StatusCode::OK {
            let text = String::from_utf8_lossy(&body);
            let reason = head.headers.get("weft-reason").and_then(|value| value.to_str().ok());
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            bail!("status {}{reason}: {}", head.status.as_u16(), text.trim());
        }
        serde_json::from_slice(&body).context("the answer is no JSON")
    }
}

/// All of `body`, if it is not too long.
#[expect(clippy::disallowed_methods, reason = "it is limited")]
pub async fn whole(body: Incoming) -> anyhow::Result<Bytes> {
    let collected = Limited::new(body, BODY_BYTES_MAX).collect().await;
    Ok(collected.map_err(|error| anyhow::anyhow!("the body: {error}"))?.to_bytes())
}
