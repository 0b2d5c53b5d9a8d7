//! Metrics: a worker counts in cells of its own, and a scrape adds them up without stopping it.
//!
//! A label set that a worker has met before is counted without a lock and without memory being
//! allocated, but for the exemplars of a series that sees its first trace. A new one costs some
//! microseconds and a lock that workers and scrapes share. Labels come from the configuration, from
//! proved identities and from fixed sets, never from what a caller writes; and there is a limit.

mod backends;
mod cell;
pub(crate) mod family;
mod hash;
pub(crate) mod histogram;
pub(crate) mod labels;
mod process;
mod registry;
mod table;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::rc::Rc;
use std::sync::Arc;

use weft_model::SpiffeId;
use weft_world::UnixTime;

use self::cell::Counter;
use self::family::Counted;
use self::hash::{Hashed, hash};
use self::histogram::{Exemplar, Histogram};
use self::labels::{Label, Labels};
use crate::record::{Direction, Event, Protocol, Record, Recorder};

pub use self::backends::{BackendUse, Limited, Locality};
pub use self::process::Process;
pub use self::registry::{Memory, Options, Registry, Scrape};
pub(crate) use self::registry::{Scraped, Value};

/// The most lines that a worker keeps. One more, and it begins anew: what is in use comes back.
const LINES_MAX: usize = 4_096;

/// The most outcomes that a line keeps, likewise.
const OUTCOMES_MAX: usize = 128;

/// Counts the records of one worker.
///
/// Of one worker each: what several count comes together in their [`Registry`].
pub struct Metrics {
    worker: RefCell<Worker>,
}

impl Metrics {
    /// What counts for `registry` on this worker.
    pub fn new(registry: &Arc<Registry>) -> Metrics {
        let registry = Arc::clone(registry);
        let generation = registry.generation();
        Metrics { worker: RefCell::new(Worker { registry, generation, kept: Kept::default() }) }
    }
}

impl Recorder for Metrics {
    fn finish(&self, record: &Record) {
        self.worker.borrow_mut().finish(record);
    }

    fn note(&self, event: Event<'_>) {
        self.worker.borrow_mut().note(event);
    }
}

struct Worker {
    registry: Arc<Registry>,
    /// That of the registry when what is kept was asked for.
    generation: u64,
    kept: Kept,
}

/// The cells that a worker has asked for.
#[derive(Default)]
struct Kept {
    /// By the hash of their key; where two are equal, the second is one further.
    lines: HashMap<u64, Line, BuildHasherDefault<Hashed>>,
    counters: BTreeMap<(Counted, Labels), Arc<Counter>>,
    durations: BTreeMap<Labels, Arc<Histogram>>,
    /// Taken and gone, by direction.
    connections: [Option<[Arc<Counter>; 2]>; 2],
    /// Queries for names, by their answer.
    queries: Vec<(&'static str, Arc<Counter>)>,
}

/// What requests between the same two have in common.
struct Line {
    direction: Direction,
    protocol: Protocol,
    service: Option<Rc<str>>,
    route: Option<Rc<str>>,
    peer: Option<Rc<SpiffeId>>,
    received: Arc<Counter>,
    sent: Arc<Counter>,
    outcomes: Vec<Outcome>,
    retries: Vec<(&'static str, Arc<Counter>)>,
}

/// What became of requests.
#[derive(PartialEq, Eq)]
struct OutcomeKey {
    status: u16,
    grpc_status: Option<u16>,
    reason: Option<&'static str>,
}

/// Where is counted what became of requests.
struct Outcome {
    key: OutcomeKey,
    ended: Arc<Counter>,
    duration: Option<Arc<Histogram>>,
    refused: Option<Arc<Counter>>,
}

impl Worker {
    fn finish(&mut self, record: &Record) {
        self.look_up_again_if_told();
        let Worker { registry, kept, .. } = self;
        let mut hash = hash(record);
        let Kept { lines, counters, durations, .. } = kept;
        while let Some(line) = lines.get_mut(&hash) {
            if line.is_of(record) {
                return line.count(&mut Cells { registry, counters, durations }, record);
            }
            hash = hash.wrapping_add(1);
        }
        if lines.len() >= LINES_MAX {
            *kept = Kept::default();
        }
        let mut line = kept.line(registry, record);
        line.count(&mut kept.cells(registry), record);
        kept.lines.insert(hash, line);
    }

    fn note(&mut self, event: Event<'_>) {
        self.look_up_again_if_told();
        let Worker { registry, kept, .. } = self;
        match event {
            Event::Opened(direction) => {
                let [taken, open] = kept.connections(registry, direction);
                taken.add(1);
                open.add(1);
            }
            Event::Closed(direction) => kept.connections(registry, direction)[1].subtract_one(),
            Event::Ejected { service, cause } => {
                let mut cells = kept.cells(registry);
                cells.counter(Counted::Ejections, [owned(service), cause.into()]).add(1);
                cells.counter(Counted::EndpointsEjected, [owned(service)]).add(1);
            }
            Event::Readmitted(service) => {
                let mut cells = kept.cells(registry);
                cells.counter(Counted::EndpointsEjected, [owned(service)]).subtract_one();
            }
            Event::Checked { port, has_passed } => {
                let outcome = if has_passed { "passed" } else { "failed" };
                let labels = [port.to_string().into(), outcome.into()];
                kept.cells(registry).counter(Counted::HealthChecks, labels).add(1);
            }
            Event::Audited(policy) => {
                kept.cells(registry).counter(Counted::Audited, [owned(policy)]).add(1);
            }
            Event::Faulted { policy, fault } => {
                let labels = [owned(policy), fault.into()];
                kept.cells(registry).counter(Counted::Faults, labels).add(1);
            }
            Event::Backend { service, port, used } => registry.watch_backend(service, port, used),
            Event::Mirrored { service, outcome } => {
                let labels = [owned(service), outcome.into()];
                kept.cells(registry).counter(Counted::Mirrored, labels).add(1);
            }
            Event::LookedUp(outcome) => {
                kept.cells(registry).counter(Counted::Lookups, [outcome.into()]).add(1);
            }
            Event::Named(answer) => kept.queries(registry, answer).add(1),
        }
    }

    /// Forgets all cells if a series has gone out of use, which may be one of them.
    fn look_up_again_if_told(&mut self) {
        let generation = self.registry.generation();
        if generation != self.generation {
            self.generation = generation;
            self.kept = Kept::default();
        }
    }
}

impl Kept {
    fn cells<'a>(&'a mut self, registry: &'a Registry) -> Cells<'a> {
        Cells { registry, counters: &mut self.counters, durations: &mut self.durations }
    }

    fn connections(&mut self, registry: &Registry, direction: Direction) -> &mut [Arc<Counter>; 2] {
        let Kept { counters, durations, connections, .. } = self;
        connections[direction as usize].get_or_insert_with(|| {
            let mut cells = Cells { registry, counters, durations };
            [Counted::Connections, Counted::ConnectionsOpen]
                .map(|counted| cells.counter(counted, [direction.name().into()]))
        })
    }

    fn queries(&mut self, registry: &Registry, answer: &'static str) -> &Counter {
        let place = match self.queries.iter().position(|(known, _)| *known == answer) {
            Some(place) => place,
            None => {
                let counter = self.cells(registry).counter(Counted::DnsQueries, [answer.into()]);
                self.queries.push((answer, counter));
                self.queries.len() - 1
            }
        };
        &self.queries[place].1
    }

    /// A line for what is like `record`.
    fn line(&mut self, registry: &Registry, record: &Record) -> Line {
        let mut bytes = |flow: &'static str| {
            let [direction, protocol, service, route, peer] = common(record);
            let labels = [direction, protocol, service, route, peer, flow.into()];
            let has_requests = record.protocol.has_requests();
            let counted = if has_requests { Counted::RequestBytes } else { Counted::TcpBytes };
            self.cells(registry).counter(counted, labels)
        };
        Line {
            direction: record.direction,
            protocol: record.protocol,
            service: record.backend.clone(),
            route: record.route.clone(),
            peer: record.peer.clone(),
            received: bytes("received"),
            sent: bytes("sent"),
            outcomes: Vec::new(),
            retries: Vec::new(),
        }
    }
}

/// The labels that say between whom: direction, protocol, service, route and peer.
fn common(record: &Record) -> [Label; 5] {
    let name = |name: &Option<Rc<str>>| name.as_deref().map_or(Label::default(), owned);
    let peer = record.peer.as_ref().map_or(Label::default(), |peer| peer.to_string().into());
    [
        record.direction.name().into(),
        record.protocol.name().into(),
        name(&record.backend),
        name(&record.route),
        peer,
    ]
}

fn owned(text: &str) -> Label {
    text.to_owned().into()
}

impl Line {
    fn is_of(&self, record: &Record) -> bool {
        self.direction == record.direction
            && self.protocol == record.protocol
            && self.service == record.backend
            && self.route == record.route
            && self.peer == record.peer
    }

    fn count(&mut self, cells: &mut Cells<'_>, record: &Record) {
        self.received.add(record.bytes_received);
        self.sent.add(record.bytes_sent);
        self.outcome(cells, record).count(record);
        if record.attempts > 1 {
            let outcome = if record.is_failure() { "failed" } else { "succeeded" };
            self.retries(cells, outcome).add(u64::from(record.attempts - 1));
        }
        if let Some(denied) = record.retry_denied {
            self.retries(cells, denied).add(1);
        }
    }

    fn outcome(&mut self, cells: &mut Cells<'_>, record: &Record) -> &Outcome {
        let key = OutcomeKey::of(record);
        let place = match self.outcomes.iter().position(|outcome| outcome.key == key) {
            Some(place) => place,
            None => {
                if self.outcomes.len() >= OUTCOMES_MAX {
                    self.outcomes.clear();
                }
                self.outcomes.push(Outcome::new(cells, record, key));
                self.outcomes.len() - 1
            }
        };
        &self.outcomes[place]
    }

    fn retries(&mut self, cells: &mut Cells<'_>, outcome: &'static str) -> &Counter {
        let place = match self.retries.iter().position(|(known, _)| *known == outcome) {
            Some(place) => place,
            None => {
                let name = |name: &Option<Rc<str>>| name.as_deref().map_or(Label::default(), owned);
                let labels = [name(&self.service), name(&self.route), outcome.into()];
                let counter = cells.counter(Counted::Retries, labels);
                self.retries.push((outcome, counter));
                self.retries.len() - 1
            }
        };
        &self.retries[place].1
    }
}

impl OutcomeKey {
    fn of(record: &Record) -> OutcomeKey {
        OutcomeKey {
            status: labels::canonical_status(record.status),
            grpc_status: labels::canonical_grpc_status(record.grpc_status),
            reason: record.reason,
        }
    }
}

impl Outcome {
    fn new(cells: &mut Cells<'_>, record: &Record, key: OutcomeKey) -> Outcome {
        let status = labels::status(key.status);
        let status_class = labels::status_class(key.status);
        let grpc_status = labels::grpc_status(key.grpc_status);
        let reason = key.reason.unwrap_or_default();
        let [direction, protocol, service, route, peer] = common(record);
        let refused = key.reason.filter(|_| !record.is_meant).map(|reason| {
            let labels = [direction.clone(), route.clone(), peer.clone(), reason.into()];
            cells.counter(Counted::Refusals, labels)
        });
        let mut duration = None;
        let ended = if record.protocol.has_requests() {
            let class = Label::Borrowed(status_class);
            let labels = [&direction, &protocol, &service, &route, &peer, &class].map(Label::clone);
            duration = Some(cells.duration(labels));
            let [status, grpc, reason] = [status, grpc_status, reason].map(Label::Borrowed);
            let labels = [direction, protocol, service, route, peer, class, status, grpc, reason];
            cells.counter(Counted::Requests, labels)
        } else {
            let labels = [direction, protocol, service, route, peer, reason.into()];
            cells.counter(Counted::TcpConnections, labels)
        };
        Outcome { key, ended, duration, refused }
    }

    fn count(&self, record: &Record) {
        self.ended.add(1);
        if let Some(refused) = &self.refused {
            refused.add(1);
        }
        if let Some(histogram) = &self.duration {
            let bucket = histogram.observe(record.duration);
            // A trace that nobody records cannot be looked at.
            if let Some(trace) = record.trace.filter(|trace| trace.is_sampled == Some(true)) {
                let at = UnixTime(record.started.0.saturating_add(record.duration));
                histogram.keep(bucket, Exemplar { trace, duration: record.duration, at });
            }
        }
    }
}

/// Where cells are asked for: those that this worker has, else the registry.
struct Cells<'a> {
    registry: &'a Registry,
    counters: &'a mut BTreeMap<(Counted, Labels), Arc<Counter>>,
    durations: &'a mut BTreeMap<Labels, Arc<Histogram>>,
}

impl Cells<'_> {
    fn counter<const N: usize>(&mut self, counted: Counted, labels: [Label; N]) -> Arc<Counter> {
        debug_assert_eq!(N, counted.family().labels.len());
        let mut tables = self.registry.tables();
        let table = tables.counters(counted);
        let labels = table.admit(labels.into(), self.registry.series_max());
        let kept = self.counters.entry((counted, Arc::clone(&labels)));
        Arc::clone(kept.or_insert_with(|| table.cell(labels)))
    }

    fn duration<const N: usize>(&mut self, labels: [Label; N]) -> Arc<Histogram> {
        debug_assert_eq!(N, family::DURATIONS.labels.len());
        let mut tables = self.registry.tables();
        let table = tables.durations();
        let labels = table.admit(labels.into(), self.registry.series_max());
        let kept = self.durations.entry(Arc::clone(&labels));
        Arc::clone(kept.or_insert_with(|| table.cell(labels)))
    }
}

#[cfg(test)]
mod tests;
