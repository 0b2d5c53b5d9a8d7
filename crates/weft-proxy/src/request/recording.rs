//! The record of a request under way.

use weft_decide::deadline::{self, Deadline};
use weft_decide::grpc::is_call;
use weft_http::RequestHead;
use weft_model::Timeouts;
use weft_telemetry::trace::TraceContext;
use weft_telemetry::{Event, Protocol, Record};
use weft_world::Moment;

use crate::Proxy;
use crate::connection::{Codec, Connection};
use crate::drain::Busy;
use crate::error::ProxyError;
use crate::exchange::Exchange;

/// A record under way. If the request is dropped, it is finished all the same.
pub(super) struct Recording<'p> {
    proxy: &'p Proxy,
    pub(super) record: Record,
    pub(super) codec: Codec,
    began: Moment,
    is_finished: bool,
    /// Whether it is of a copy, which is no request of the caller's.
    is_copy: bool,
    busy: Option<Busy>,
}

impl<'p> Recording<'p> {
    pub(super) fn start(
        proxy: &'p Proxy,
        connection: &Connection,
        codec: Codec,
        exchange: &Exchange<'_>,
    ) -> Recording<'p> {
        let clock = &proxy.world.clock;
        let protocol = match codec {
            Codec::Http1 => Protocol::Http1,
            Codec::Http2 if is_call(exchange.head) => Protocol::Grpc,
            Codec::Http2 => Protocol::Http2,
        };
        let mut record = connection.record(protocol, clock.wall());
        record.method.push_str(exchange.head.method());
        record.authority.push_str(exchange.head.authority());
        record.target.push_str(exchange.head.target());
        record.trace = TraceContext::from_fields(&exchange.head.fields);
        record.audited = connection.audited(proxy);
        let busy = Some(proxy.drain.busy());
        let (began, is_finished, is_copy) = (clock.now(), false, false);
        Recording { proxy, record, codec, began, is_finished, is_copy, busy }
    }

    /// That of a copy, for which no drain waits.
    pub(super) fn of_copy(proxy: &'p Proxy, codec: Codec, record: Record) -> Recording<'p> {
        let busy = Some(proxy.drain.copy());
        let (began, is_finished, is_copy) = (proxy.world.clock.now(), false, true);
        Recording { proxy, record, codec, began, is_finished, is_copy, busy }
    }

    /// By when the request must be answered, as `timeouts` and its caller say.
    pub(super) fn deadline(
        &self,
        head: &RequestHead,
        timeouts: &Timeouts,
    ) -> Result<Deadline, ProxyError> {
        let asked = deadline::asked(head).map_err(ProxyError::BadTimeout)?;
        Ok(Deadline::new(timeouts, asked, self.proxy.since_start(self.began)))
    }

    pub(super) fn answered(&mut self, status: u16) {
        self.record.status = status;
        self.record.first_byte = Some(self.proxy.world.clock.now().since(self.began));
    }

    /// Closes it, and gives back what a drain waits for.
    pub(super) fn finish(mut self, exchange: &Exchange<'_>) -> Option<Busy> {
        self.record.bytes_received = exchange.bytes_received;
        self.record.bytes_sent = exchange.bytes_sent;
        self.close();
        self.busy.take()
    }

    pub(super) fn close(&mut self) {
        self.is_finished = true;
        if self.is_copy {
            let service = self.record.backend.as_deref().unwrap_or_default();
            let outcome = self.record.reason.unwrap_or("answered");
            return self.proxy.recorder.note(Event::Mirrored { service, outcome });
        }
        self.record.duration = self.proxy.world.clock.now().since(self.began);
        self.proxy.recorder.finish(&self.record);
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.record.reason = self.record.reason.or(Some("aborted"));
            self.close();
        }
    }
}
