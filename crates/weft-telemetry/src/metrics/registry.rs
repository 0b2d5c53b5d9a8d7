//! What all workers count together, and what a scrape sees of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weft_world::{Moment, UnixTime};

use crate::AccessLog;
use crate::metrics::backends::{BackendUse, Backends};
use crate::metrics::cell::{Cell, Counter};
use crate::metrics::family::{self, COUNTED_LEN, Counted, DURATIONS, Family, Kind};
use crate::metrics::histogram::{Histogram, HistogramSum};
use crate::metrics::labels::{Label, Labels};
use crate::metrics::process::Process;
use crate::metrics::table::{Cells, Table};

/// What is fixed when a registry is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most label sets of each metric, beside `other`. Default 2,000: a proxy that calls and
    /// is called by a few hundred others stays below, and the histograms of a worker stay below
    /// 5 MB, with exemplars 7 MB.
    pub series_max: usize,
    /// How long a series without a change is shown. Default one hour: longer than between two
    /// runs of most periodic jobs.
    pub idle: Duration,
    /// The version that runs.
    pub version: &'static str,
    /// The revision it was built from; empty if that is not known.
    pub revision: &'static str,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            series_max: 2_000,
            idle: Duration::from_secs(3600),
            version: env!("CARGO_PKG_VERSION"),
            revision: "",
        }
    }
}

/// The moment of a scrape, and what is true just then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scrape {
    /// Now, of one clock for all scrapes: it says which series are out of use.
    pub now: Moment,
    /// Now, in civil time.
    pub wall: UnixTime,
    /// What the system says of this process, where that is to be shown.
    pub process: Option<Process>,
}

/// What all workers of a process count together. Shared by them and by who serves scrapes.
///
/// Its locks are taken when a series is made, when a fact is told, and by scrapes; never to count.
pub struct Registry {
    options: Options,
    tables: Mutex<Tables>,
    backends: Mutex<Backends>,
    facts: Mutex<Facts>,
    /// Grows when workers must ask anew for their cells.
    generation: AtomicU64,
}

#[derive(Default)]
pub(crate) struct Tables {
    counters: [Table<Counter>; COUNTED_LEN],
    durations: Table<Histogram>,
}

/// What is told from elsewhere. What nobody has told is not shown.
#[derive(Clone, Default)]
struct Facts {
    certificate_expiry: Option<UnixTime>,
    config_changed: Option<UnixTime>,
    config_confirmed: Option<UnixTime>,
    is_control_connected: Option<bool>,
    memory: Option<Memory>,
    access_log: Option<LinesOfLog>,
}

/// Lines that were given to be written, and those that were dropped.
type LinesOfLog = [Arc<AtomicU64>; 2];

/// How much memory is used of what may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What counts towards the limit, in bytes.
    pub used: u64,
    /// The limit, in bytes.
    pub limit: u64,
    /// How short of memory the proxy is: 0 not at all, 1 if it refuses new requests, 2 if it lets
    /// new connections wait as well.
    pub pressure: u8,
}

/// A metric with its series, as a scrape sees it.
pub(crate) struct Scraped {
    pub(crate) family: &'static Family,
    pub(crate) series: Vec<(Labels, Value)>,
}

/// The value of a series.
pub(crate) enum Value {
    /// A count.
    Integer(u64),
    /// Anything else.
    Float(f64),
    /// A distribution.
    Histogram(Box<HistogramSum>),
}

impl Registry {
    /// A registry without series.
    pub fn new(options: Options) -> Arc<Registry> {
        Arc::new(Registry {
            options,
            tables: Mutex::default(),
            backends: Mutex::default(),
            facts: Mutex::default(),
            generation: AtomicU64::new(0),
        })
    }

    /// The own certificate ends at `at`. Told anew after each renewal.
    pub fn certificate_expires(&self, at: UnixTime) {
        self.facts().certificate_expiry = Some(at);
    }

    /// Another configuration is in force since `at`.
    pub fn config_changed(&self, at: UnixTime) {
        self.facts().config_changed = Some(at);
    }

    /// The configuration in force is known to be up to date at `at`: its source said so.
    pub fn config_confirmed(&self, at: UnixTime) {
        self.facts().config_confirmed = Some(at);
    }

    /// Whether there is a connection to the control plane, from now on.
    pub fn control_connected(&self, is_connected: bool) {
        self.facts().is_control_connected = Some(is_connected);
    }

    /// This much memory is used, from now on. Not told where there is no limit.
    pub fn memory(&self, memory: Memory) {
        self.facts().memory = Some(memory);
    }

    /// Shows how many lines `log` writes and drops.
    pub fn watch_access_log(&self, log: &AccessLog) {
        self.facts().access_log = Some(log.counters());
    }

    /// A worker has begun to use a backend.
    pub(crate) fn watch_backend(&self, service: &str, port: Option<u16>, used: &Arc<BackendUse>) {
        self.backends().told(service, port, used);
    }

    fn backends(&self) -> MutexGuard<'_, Backends> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    pub(crate) fn series_max(&self) -> usize {
        self.options.series_max
    }

    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        // Whoever panicked has left nothing half done: each change is one insertion.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that there is to show at `scrape`, metrics without series left out.
    pub(crate) fn scrape(&self, scrape: &Scrape) -> Vec<Scraped> {
        let collected = self.collect(scrape.now);
        let sum = |cells: Vec<Arc<Counter>>, kind| {
            let mut sum = 0;
            cells.iter().for_each(|cell| cell.add_to(&mut sum));
            // A gauge is the difference of what came and what went, on any worker.
            if kind == Kind::Gauge { Value::Float(signed(sum)) } else { Value::Integer(sum) }
        };
        let mut scraped = Vec::with_capacity(32);
        for (counted, series) in Counted::ALL.into_iter().zip(collected.counters) {
            let family = counted.family();
            let summed = |(labels, cells)| (labels, sum(cells, family.kind));
            scraped.push(Scraped { family, series: series.into_iter().map(summed).collect() });
        }
        let durations = collected.durations.into_iter().map(|(labels, cells)| {
            let mut sum = Box::<HistogramSum>::default();
            cells.iter().for_each(|cell| cell.add_to(&mut sum));
            (labels, Value::Histogram(sum))
        });
        scraped.push(Scraped { family: &DURATIONS, series: durations.collect() });
        let capped = {
            let mut backends = self.backends();
            backends.show(self.options.series_max, &mut scraped);
            collected.capped.into_iter().chain(backends.capped()).collect::<Vec<_>>()
        };
        let capped = capped.into_iter().map(|(metric, count)| {
            (Labels::from([Label::Borrowed(metric)]), Value::Integer(count))
        });
        scraped.push(Scraped { family: &family::SERIES_CAPPED, series: capped.collect() });
        self.show_facts(scrape.wall, &mut scraped);
        if let Some(process) = scrape.process {
            process.show(&mut scraped);
        }
        scraped.retain(|scraped| !scraped.series.is_empty());
        scraped
    }

    /// The cells in use. Under the lock they are only listed; summed and written is without it.
    fn collect(&self, now: Moment) -> Collected {
        let mut tables = self.tables();
        let Tables { counters, durations } = &mut *tables;
        let mut capped = Vec::with_capacity(COUNTED_LEN + 1);
        let mut is_leaving = false;
        let counters = Counted::ALL.map(|counted| {
            let (table, family) = (&mut counters[counted as usize], counted.family());
            let (series, leaving) = table.collect(family.kind, now, self.options.idle);
            is_leaving |= leaving;
            capped.push((family.name, table.capped()));
            series
        });
        let (series, leaving) = durations.collect(DURATIONS.kind, now, self.options.idle);
        capped.push((DURATIONS.name, durations.capped()));
        if is_leaving || leaving {
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
        Collected { counters, durations: series, capped }
    }

    fn show_facts(&self, now: UnixTime, scraped: &mut Vec<Scraped>) {
        let facts = self.facts().clone();
        let mut show = |family, value: Option<Value>| {
            if let Some(value) = value {
                scraped.push(Scraped { family, series: vec![(Labels::from([]), value)] });
            }
        };
        let seconds = |time: UnixTime| Value::Float(time.0.as_secs_f64());
        show(&family::CERTIFICATE_EXPIRY, facts.certificate_expiry.map(seconds));
        let age = |since: UnixTime| Value::Float(now.0.saturating_sub(since.0).as_secs_f64());
        show(&family::CONFIG_AGE, facts.config_confirmed.map(age));
        show(&family::CONFIG_LAST_CHANGE, facts.config_changed.map(seconds));
        let connected = |is| Value::Integer(u64::from(is));
        show(&family::CONTROL_CONNECTED, facts.is_control_connected.map(connected));
        let memory = |part: fn(Memory) -> u64| facts.memory.map(part).map(Value::Integer);
        show(&family::MEMORY_USED, memory(|memory| memory.used));
        show(&family::MEMORY_LIMIT, memory(|memory| memory.limit));
        show(&family::MEMORY_PRESSURE, memory(|memory| memory.pressure.into()));
        let lines = |counter: usize| {
            let counters = facts.access_log.as_ref()?;
            Some(Value::Integer(counters[counter].load(Ordering::Relaxed)))
        };
        show(&family::ACCESS_LOG_LINES, lines(0));
        show(&family::ACCESS_LOG_DROPPED, lines(1));
        let labels = [self.options.version, self.options.revision].map(Label::Borrowed);
        let series = vec![(Labels::from(labels), Value::Integer(1))];
        scraped.push(Scraped { family: &family::BUILD_INFO, series });
    }
}

struct Collected {
    counters: [Cells<Counter>; COUNTED_LEN],
    durations: Cells<Histogram>,
    capped: Vec<(&'static str, u64)>,
}

/// A sum of additions and subtractions as a number.
fn signed(sum: u64) -> f64 {
    sum.cast_signed() as f64
}

impl Tables {
    pub(crate) fn counters(&mut self, counted: Counted) -> &mut Table<Counter> {
        &mut self.counters[counted as usize]
    }

    pub(crate) fn durations(&mut self) -> &mut Table<Histogram> {
        &mut self.durations
    }
}
