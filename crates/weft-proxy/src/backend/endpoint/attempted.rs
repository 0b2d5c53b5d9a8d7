//! Attempts at an endpoint, and what they say about it.

use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use weft_decide::balance::AtomicEwma;
use weft_decide::eject::{Cause, Change, Ejector, Measured, Seen, Terms, Ticket, Window};
use weft_decide::locality::Reach;
use weft_model::TrafficPolicy;
use weft_telemetry::Event;
use weft_world::Moment;

use super::Endpoint;
use crate::Proxy;

/// What is known of how an endpoint fares. It outlives connections, and workers may share it.
pub(super) struct State {
    pub(super) latency: AtomicEwma,
    pub(super) in_flight: AtomicU32,
    pub(super) ejector: Ejector,
    pub(super) window: Window,
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
    pub(crate) fn answered(&self, proxy: &Proxy, traffic: &TrafficPolicy) {
        let now = proxy.world.clock.now();
        let (State { latency, window, .. }, took) = (&self.endpoint.state, now.since(self.began));
        latency.observe(took, proxy.since_start(now));
        if self.ticket != Ticket::LastResort && traffic.ejection.peers.latency.is_some() {
            window.answered(took);
        }
        self.endpoint.adapt(&traffic.limits, took, proxy.since_start(now));
    }

    /// Notes what the attempt says about the endpoint. Only the first word counts.
    pub(crate) fn tell(&mut self, proxy: &Proxy, backend: &str, seen: Seen) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let terms = Terms { now: proxy.now(), ..self.terms };
        let State { ejector, window, .. } = &self.endpoint.state;
        if self.ticket != Ticket::LastResort {
            window.observe(seen);
        }
        let change = ejector.observe(self.ticket, seen, &terms);
        self.endpoint.changed(proxy, backend, change, Cause::Consecutive);
    }
}

impl Endpoint {
    /// Has it ejected, since it is worse than its peers by `cause`, if one more may be.
    pub(crate) fn eject(&self, proxy: &Proxy, backend: &str, cause: Cause, terms: &Terms) {
        let change = self.state.ejector.eject(terms);
        self.changed(proxy, backend, change, cause);
    }

    /// What was seen of it since this was asked last.
    pub(crate) fn measured(&self, distance: Reach) -> Measured {
        self.state.window.take(distance)
    }

    /// Tells others of `change`, of which `cause` is why, if it ejects the endpoint.
    fn changed(&self, proxy: &Proxy, backend: &str, change: Change, cause: Cause) {
        match change {
            // Of one that is gone already nobody would say that it is back.
            _ if self.is_retired.get() => {}
            Change::Ejected { .. } if !self.is_ejected.replace(true) => {
                let cause = cause.as_str();
                proxy.recorder.note(Event::Ejected { service: backend, cause });
            }
            Change::Returned => {
                // What it was left out for is no reason to leave it out again.
                self.measured(Reach::All);
                if self.is_ejected.get() {
                    self.is_callable_from(proxy.world.clock.now());
                }
                self.readmitted(proxy, backend);
            }
            _ => {}
        }
    }

    /// Notes that it is no endpoint of the backend any more.
    pub(crate) fn retire(&self, proxy: &Proxy, backend: &str) {
        self.is_retired.set(true);
        self.readmitted(proxy, backend);
        self.close_all();
    }

    /// Notes that it is ejected no more: it is back, or gone.
    fn readmitted(&self, proxy: &Proxy, backend: &str) {
        if self.is_ejected.replace(false) {
            proxy.recorder.note(Event::Readmitted(backend));
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
