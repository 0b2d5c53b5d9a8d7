//! Responses over HTTP/2 that do not end, and calls of gRPC likewise.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, TE};
use weft_control::HyperIo;

use crate::app::{LocalExecutor, run_local};
use crate::mesh::PATIENCE;

/// What is heard of a stream.
#[derive(Debug, Default)]
struct Heard {
    /// The bytes of its body so far.
    bytes: usize,
    /// How it ended.
    end: Option<Result<String, String>>,
}

/// A response that does not end, on a connection of its own.
pub struct Stream(Arc<(Mutex<Heard>, Condvar)>);

impl Stream {
    /// Opens one at `address`, a call of gRPC if `is_grpc`, and waits until it says something.
    pub fn open(address: SocketAddr, is_grpc: bool) -> Stream {
        let heard = Arc::<(Mutex<Heard>, Condvar)>::default();
        let told = heard.clone();
        // It ends with the stream, or with the test's process.
        std::thread::spawn(move || {
            let end = run_local(listen(address, is_grpc, &told));
            told.0.lock().unwrap().end = Some(end);
            told.1.notify_all();
        });
        let stream = Stream(heard);
        stream.tick();
        stream
    }

    /// Waits until something new has come.
    pub fn tick(&self) {
        let before = self.0.0.lock().unwrap().bytes;
        self.wait(|heard| heard.bytes > before || heard.end.is_some());
        let heard = self.0.0.lock().unwrap();
        assert!(heard.end.is_none(), "the stream ended: {heard:?}");
    }

    /// Waits until it has ended, which must not look like its whole.
    pub fn ends(self) -> String {
        self.wait(|heard| heard.end.is_some());
        let end = self.0.0.lock().unwrap().end.take().unwrap();
        end.expect_err("what was broken off looks whole")
    }

    fn wait(&self, holds: impl Fn(&Heard) -> bool) {
        let (heard, news) = &*self.0;
        let heard = heard.lock().unwrap();
        let (heard, _) = news.wait_timeout_while(heard, PATIENCE, |heard| !holds(heard)).unwrap();
        assert!(holds(&heard), "nothing new: {heard:?}");
    }
}

/// Reads the stream to its end: how it ended, or why it is not whole.
async fn listen(
    address: SocketAddr,
    is_grpc: bool,
    told: &(Mutex<Heard>, Condvar),
) -> Result<String, String> {
    let world = weft_net::world();
    let stream = world.network.connect(address).await.map_err(|error| error.to_string())?;
    let handshake = http2::handshake(LocalExecutor, HyperIo::new(stream)).await;
    let (mut connection, driver) = handshake.map_err(|error| error.to_string())?;
    tokio::task::spawn_local(driver);
    let mut request = Request::builder().uri("http://cart/stream");
    if is_grpc {
        request = request.method("POST").header(CONTENT_TYPE, "application/grpc");
        request = request.header(TE, "trailers");
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = connection.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, mut body) = response.into_parts();
    if head.status != 200 || head.headers.contains_key("grpc-status") {
        return Err(format!("refused: {head:?}"));
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("broken off: {error:?}"))?;
        match frame.into_data() {
            Ok(data) => told.0.lock().unwrap().bytes += data.len(),
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap();
                let is_well = trailers.get("grpc-status").is_some_and(|status| status == "0");
                return if is_well {
                    Ok(format!("{trailers:?}"))
                } else {
                    Err(format!("{trailers:?}"))
                };
            }
        }
        told.1.notify_all();
    }
    Ok("the end of the body".to_owned())
}
