//! Attempts at an endpoint, and what they say about it.

use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use weft_decide::balance::AtomicEwma;
use weft_decide::eject::{Change, Ejector, Seen, Terms, Ticket};
use weft_telemetry::Event;
use weft_world::Moment;

use super::Endpoint;
use crate::Proxy;

/// What is known of how an endpoint fares. It outlives connections, and workers may share it.
pub(super) struct State {
    pub(super) latency: AtomicEwma,
    pub(super) in_flight: AtomicU32,
    pub(super) ejector: Ejector,
}

/// An attempt that is under way at an endpoint as long as the value lives.
pub(crate) struct Attempted {
    pub(super) endpoint: Rc<Endpoint>,
    pub(super) terms: Terms,
    pub(super) ticket: Ticket,
    /// When there was a connection for it; before, when it began.
    pub(super) began: Moment,
    pub(super) is_told: bool,
}

impl Attempted {
    /// Notes that there is a connection for it. The endpoint's time counts from here on: opening
    /// one takes longer than most answers, and would make each new endpoint look slow.
    pub(crate) fn connected(&mut self, proxy: &Proxy) {
        self.began = proxy.world.clock.now();
    }

    /// Notes that the endpoint has answered.
    pub(crate) fn answered(&self, proxy: &Proxy) {
        let now = proxy.world.clock.now();
        let latency = &self.endpoint.state.latency;
        latency.observe(now.since(self.began), proxy.since_start(now));
    }

    /// Notes what the attempt says about the endpoint. Only the first word counts.
    pub(crate) fn tell(&mut self, proxy: &Proxy, backend: &str, seen: Seen) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let terms = Terms { now: proxy.now(), ..self.terms };
        let Endpoint { state, is_ejected, .. } = &*self.endpoint;
        match state.ejector.observe(self.ticket, seen, &terms) {
            Change::Ejected { .. } if !is_ejected.replace(true) => {
                proxy.recorder.note(Event::Ejected(backend));
            }
            Change::Returned if is_ejected.replace(false) => {
                self.endpoint.is_callable_from(proxy.world.clock.now());
                proxy.recorder.note(Event::Readmitted(backend));
            }
            _ => {}
        }
    }
}

impl Drop for Attempted {
    fn drop(&mut self) {
        self.endpoint.state.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.is_told {
            self.endpoint.state.ejector.observe(self.ticket, Seen::Nothing, &self.terms);
        }
    }
}
