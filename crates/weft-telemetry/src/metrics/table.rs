//! The series of one metric: which there are, and when they are forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weft_world::Moment;

use crate::metrics::cell::Cell;
use crate::metrics::family::Kind;
use crate::metrics::labels::{Label, Labels, OTHER};

/// How long a series that is out of use stays in memory although it is not shown any more. A
/// worker that holds on to it has noticed by then; see [`Table::collect`].
const FAREWELL: Duration = Duration::from_secs(60);

/// Series with their cells.
pub(crate) type Cells<C> = Vec<(Labels, Vec<Arc<C>>)>;

/// The series of one metric.
pub(crate) struct Table<C> {
    series: BTreeMap<Labels, Series<C>>,
    /// How many label sets were counted under `other`.
    capped: u64,
}

struct Series<C> {
    /// A cell that nobody else holds is free for the next worker, with what it has counted.
    cells: Vec<Arc<C>>,
    seen: Seen,
}

/// What was seen of a series when it was last collected.
#[derive(Clone, Copy)]
enum Seen {
    /// Nothing yet.
    New,
    /// It had this total, for the first time at this moment.
    Unchanged(u64, Moment),
    /// The same for so long that since this moment it is not shown any more.
    Leaving(u64, Moment),
}

impl<C> Default for Table<C> {
    fn default() -> Table<C> {
        Table { series: BTreeMap::new(), capped: 0 }
    }
}

impl<C: Cell> Table<C> {
    /// `labels`, or `other` for each of them if they would be a series too many.
    pub(crate) fn admit(&mut self, labels: Labels, series_max: usize) -> Labels {
        if self.series.len() < series_max || self.series.contains_key(&labels) {
            return labels;
        }
        self.capped += 1;
        labels.iter().map(|_| Label::Borrowed(OTHER)).collect()
    }

    /// A cell of the series `labels` for one worker alone.
    pub(crate) fn cell(&mut self, labels: Labels) -> Arc<C> {
        let new = || Series { cells: Vec::new(), seen: Seen::New };
        let series = self.series.entry(labels).or_insert_with(new);
        series.seen = Seen::New;
        if let Some(place) = series.cells.iter_mut().position(|cell| Arc::get_mut(cell).is_some()) {
            return Arc::clone(&series.cells[place]);
        }
        let cell = Arc::new(C::default());
        series.cells.push(Arc::clone(&cell));
        cell
    }

    /// How many label sets were counted under `other`, each time that a worker asked.
    pub(crate) fn capped(&self) -> u64 {
        self.capped
    }

    /// The series that are in use with their cells, by label. True: some have gone out of use, and
    /// workers must ask anew for their cells.
    ///
    /// A series that has not changed for `idle` is not shown any more. A minute later, when no
    /// worker can be in the middle of counting in it, it is forgotten; if it has changed meanwhile,
    /// or a worker has asked for it, it stays. So nothing that was counted is lost.
    pub(crate) fn collect(&mut self, kind: Kind, now: Moment, idle: Duration) -> (Cells<C>, bool) {
        let mut shown = Vec::with_capacity(self.series.len());
        let mut is_leaving = false;
        self.series.retain(|labels, series| {
            let totals = series.cells.iter().map(|cell| cell.total());
            let total = totals.fold(0, u64::wrapping_add);
            // A gauge that is not zero speaks of something that is there.
            let may_leave = kind != Kind::Gauge || total == 0;
            series.seen = match series.seen {
                Seen::Unchanged(last, since) if last == total => {
                    if may_leave && now.since(since) >= idle {
                        is_leaving = true;
                        Seen::Leaving(total, now)
                    } else {
                        series.seen
                    }
                }
                Seen::Leaving(last, since) if last == total => {
                    if now.since(since) >= FAREWELL {
                        return false;
                    }
                    series.seen
                }
                Seen::New | Seen::Unchanged(..) | Seen::Leaving(..) => Seen::Unchanged(total, now),
            };
            if !matches!(series.seen, Seen::Leaving(..)) {
                shown.push((Arc::clone(labels), series.cells.clone()));
            }
            true
        });
        (shown, is_leaving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::cell::Counter;

    const IDLE: Duration = Duration::from_secs(3600);

    fn labels(name: &'static str) -> Labels {
        [Label::Borrowed(name)].into()
    }

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn shown(table: &mut Table<Counter>, kind: Kind, now: Moment) -> Vec<(String, u64)> {
        let (series, _) = table.collect(kind, now, IDLE);
        let sum = |cells: &[Arc<Counter>]| {
            let mut sum = 0;
            cells.iter().for_each(|cell| cell.add_to(&mut sum));
            sum
        };
        series.iter().map(|(labels, cells)| (labels.join(","), sum(cells))).collect()
    }

    #[test]
    fn each_worker_has_a_cell_and_leaves_it_to_the_next() {
        let mut table = Table::<Counter>::default();
        let (one, two) = (table.cell(labels("a")), table.cell(labels("a")));
        one.add(1);
        two.add(2);
        assert_eq!(shown(&mut table, Kind::Counter, at(0)), [("a".to_owned(), 3)]);
        drop(one);
        let three = table.cell(labels("a"));
        three.add(4);
        assert_eq!(shown(&mut table, Kind::Counter, at(1)), [("a".to_owned(), 7)]);
        assert_eq!(table.series[&labels("a")].cells.len(), 2);
    }

    #[test]
    fn beyond_the_most_series_is_other() {
        let mut table = Table::<Counter>::default();
        for name in ["a", "b"] {
            let admitted = table.admit(labels(name), 2);
            table.cell(admitted);
        }
        assert_eq!(table.admit(labels("c"), 2), labels("other"));
        assert_eq!(table.admit(labels("a"), 2), labels("a"));
        assert_eq!(table.capped(), 1);
    }

    #[test]
    fn a_series_out_of_use_leaves_in_two_steps() {
        let mut table = Table::<Counter>::default();
        let (idle, busy) = (table.cell(labels("idle")), table.cell(labels("busy")));
        idle.add(1);
        assert_eq!(shown(&mut table, Kind::Counter, at(0)).len(), 2);
        busy.add(1);
        assert_eq!(shown(&mut table, Kind::Counter, at(3599)).len(), 2);
        assert_eq!(shown(&mut table, Kind::Counter, at(3600)), [("busy".to_owned(), 1)]);
        assert_eq!(table.series.len(), 2, "it may be in use at this moment");
        assert!(!table.collect(Kind::Counter, at(3659), IDLE).1);
        assert_eq!(table.series.len(), 2);
        table.collect(Kind::Counter, at(3660), IDLE);
        assert_eq!(table.series.len(), 1);
    }

    #[test]
    fn what_is_counted_while_a_series_leaves_is_not_lost() {
        let mut table = Table::<Counter>::default();
        let cell = table.cell(labels("a"));
        cell.add(1);
        shown(&mut table, Kind::Counter, at(0));
        assert_eq!(shown(&mut table, Kind::Counter, at(3600)), []);
        cell.add(1);
        assert_eq!(shown(&mut table, Kind::Counter, at(3670)), [("a".to_owned(), 2)]);
        // The same if a worker asks for it instead of counting.
        assert_eq!(shown(&mut table, Kind::Counter, at(9000)), []);
        drop(cell);
        table.cell(labels("a")).add(1);
        assert_eq!(shown(&mut table, Kind::Counter, at(9100)), [("a".to_owned(), 3)]);
    }

    #[test]
    fn a_gauge_that_is_not_zero_stays() {
        let mut table = Table::<Counter>::default();
        let (one, two) = (table.cell(labels("a")), table.cell(labels("a")));
        one.add(1);
        shown(&mut table, Kind::Gauge, at(0));
        assert_eq!(shown(&mut table, Kind::Gauge, at(9000)), [("a".to_owned(), 1)]);
        two.subtract_one();
        assert_eq!(shown(&mut table, Kind::Gauge, at(9001)), [("a".to_owned(), 0)]);
        assert_eq!(shown(&mut table, Kind::Gauge, at(20_000)), []);
    }
}
