//! Copies of requests that go elsewhere beside them. Nothing that happens to a copy is seen by the
//! caller, and nothing waits for one.

use std::rc::Rc;
use std::time::Duration;

use weft_decide::deadline::{self, Deadline};
use weft_http::{BodySize, RequestHead, ResponseHead};
use weft_model::{Backend as To, RouteRule, Timeouts};
use weft_telemetry::Event;

use super::{Recording, Tries, attempt};
use crate::Proxy;
use crate::backend::{Backend, Tried};
use crate::connection::Connection;
use crate::copies::Copied;
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::outbound::{of_external, of_service};
use crate::snapshot::Destination;

/// How long a copy may take. A request that streams for longer is copied for so long.
const MIRROR_TIMEOUT: Duration = Duration::from_secs(60);

/// A copy of a request, and where it goes.
struct Copy {
    backend: Rc<Backend>,
    head: RequestHead,
    size: BodySize,
    body: Copied,
    /// By what its endpoint is chosen, if by something.
    key: Option<u64>,
    timeouts: Timeouts,
}

/// Has copies of the request, which is for what was `called`, go where the filters of its `rule`
/// say. To be done when these have changed its head, and before its body is sent.
pub(super) fn start(
    proxy: &Rc<Proxy>,
    connection: &Connection,
    called: &Destination,
    exchange: &mut Exchange<'_>,
    rule: &RouteRule,
    recording: &Recording<'_>,
) {
    if exchange.head.upgrade {
        return; // What is spoken then is nothing to be copied.
    }
    for mirror in rule.mirrors() {
        let (name, port) = match &mirror.backend {
            To::Service { name, port } | To::External { name, port } => (name, port),
            To::Missing { .. } => continue,
        };
        if !mirror.share.takes(proxy.world.entropy.fraction()) {
            continue;
        }
        let snapshot = proxy.configuration.load();
        let not_sent = |outcome| {
            proxy.recorder.note(Event::Mirrored { service: &name.to_string(), outcome });
        };
        if proxy.drain.copies() >= proxy.overload.copies_max() {
            not_sent("mirror-full");
            continue;
        }
        let found = match &mirror.backend {
            To::External { .. } => of_external(&snapshot, called, name, *port),
            _ => of_service(&snapshot, name, *port),
        };
        let destination = match found {
            Ok(destination) => destination,
            Err(error) => {
                not_sent(error.verdict().reason);
                continue;
            }
        };
        proxy.outside.prepare(proxy, &destination);
        let destination = proxy.outside.current(&destination);
        let own = snapshot.own.as_ref().and_then(|own| own.locality.as_ref());
        let backend = proxy.backends.of(proxy, &destination, own);
        let mut head = exchange.head.clone();
        // Its body comes in any case.
        head.fields.remove(b"expect");
        let key = backend.key(proxy, connection.downstream, Some(&head)).map(|key| key.hash);
        let size = exchange.size;
        let body = exchange.copies.get_or_insert_default().open(size);
        let copy = Copy { backend, head, size, body, key, timeouts: rule.timeouts };
        let record = connection.record(recording.record.protocol, proxy.world.clock.wall());
        let (proxy, codec) = (proxy.clone(), recording.codec);
        let of_worker = proxy.clone();
        of_worker.spawn(async move {
            let mut recording = Recording::of_copy(&proxy, codec, record);
            copy.go(&proxy, &mut recording).await;
            recording.close();
        });
    }
}

impl Copy {
    /// Sends it, and notes what became of it.
    async fn go(mut self, proxy: &Proxy, recording: &mut Recording<'_>) {
        self.backend.describe(&mut recording.record);
        let result = self.send(proxy, recording).await;
        let reason = result.err().map(|error| match self.body.is_behind() {
            true => "mirror-behind",
            false => error.verdict().reason,
        });
        recording.record.reason = reason;
    }

    async fn send(
        &mut self,
        proxy: &Proxy,
        recording: &mut Recording<'_>,
    ) -> Result<(), ProxyError> {
        let Copy { backend, head, size, body, key, timeouts } = self;
        let asked = deadline::asked(head).map_err(ProxyError::BadTimeout)?;
        let left = asked.unwrap_or(MIRROR_TIMEOUT).min(MIRROR_TIMEOUT);
        let tries = Tries {
            policy: None,
            key: *key,
            set_cookie: None,
            deadline: Deadline::new(timeouts, Some(left), proxy.now()),
            idle: MIRROR_TIMEOUT.min(backend.timeouts().stream_idle.duration()),
            // It has ended soon by itself.
            leaving: None,
            changes: proxy.live.changes(),
            is_final: true,
        };
        let mut response = ResponseHead::default();
        let mut exchange = Exchange::new(head, *size, &mut response, body);
        let _place = backend.request_place()?;
        recording.record.attempts = 1;
        let mut tried = Tried::default();
        attempt(proxy, backend, &mut exchange, recording, &tries, &mut tried).await.map(drop)
    }
}
