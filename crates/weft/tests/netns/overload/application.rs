//! An application that takes its time, and gives large answers, in HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::server::conn::auto;
use weft_control::HyperIo;
use weft_world::ListenerOptions;

/// How long it takes for an answer.
const SLOWNESS: Duration = Duration::from_millis(500);

/// How long one that stalls lets a body wait.
const STALL: Duration = Duration::from_secs(8);

/// The longest body that is read, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Starts one with answers of this size, in bytes, and says where. It ends with the process.
pub fn start(answer_bytes: usize) -> SocketAddr {
    start_with(answer_bytes, Duration::ZERO)
}

/// The same, of one that reads a request's head, and nothing of its body for a while.
pub fn start_stalling(answer_bytes: usize) -> SocketAddr {
    start_with(answer_bytes, STALL)
}

fn start_with(answer_bytes: usize, stall: Duration) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .expect("event loops can be had");
        runtime.block_on(async {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = weft_net::world().network.listen(any, ListenerOptions::default());
            let mut listener = listener.expect("loopback is there");
            tell.send(listener.local_address()).expect("somebody wants to know");
            let answer = Bytes::from(vec![b'x'; answer_bytes]);
            loop {
                let stream = listener.accept().await.expect("connections can be taken").stream;
                let answer = answer.clone();
                tokio::task::spawn_local(async move {
                    let service = service_fn(|request| give(request, stall, answer.clone()));
                    let builder = auto::Builder::new(LocalExecutor);
                    // What its callers do with their connections is no concern of it.
                    let _ = builder.serve_connection(HyperIo::new(stream), service).await;
                });
            }
        });
    });
    told.recv().expect("it says where")
}

/// Takes the whole of a request, after `stall`, and answers after a while.
#[expect(clippy::disallowed_methods, reason = "the body is limited")]
async fn give(
    request: Request<Incoming>,
    stall: Duration,
    answer: Bytes,
) -> Result<Response<Full<Bytes>>, Infallible> {
    weft_net::world().clock.sleep(stall).await;
    let _ = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    weft_net::world().clock.sleep(SLOWNESS).await;
    Ok(Response::new(Full::new(answer)))
}

/// Spawns hyper's tasks on the thread that they belong to.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
