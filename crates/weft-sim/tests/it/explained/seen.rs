//! What was drawn, and how it ended.

use std::collections::BTreeMap;
use std::fmt;

use super::agree::{Ended, Found};
use super::generated::Case;

/// How often what was spoken ended how, as `PROTOCOL END`.
#[derive(Default)]
pub(super) struct Seen(BTreeMap<String, usize>);

/// How often each must have been seen under as many seeds as are always tried.
const FLOORS: [(&str, usize); 0] = [];

impl Seen {
    pub(super) fn add(&mut self, _case: &Case, found: &Found, ended: &Ended) {
        let protocol = found.said.protocol.name();
        let mut count = |what: &str| *self.0.entry(format!("{protocol} {what}")).or_default() += 1;
        count(&ended.how);
        ended.notes.iter().for_each(|note| count(note));
    }

    /// What was seen less often than it must be.
    pub(super) fn lacks(&self) -> Vec<String> {
        let times = |name: &str| self.0.get(name).copied().unwrap_or(0);
        let few = FLOORS.iter().filter(|(name, least)| times(name) < *least);
        few.map(|(name, least)| format!("{name}: {} of {least}", times(name))).collect()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, times)| writeln!(f, "{times:>6} {name}"))
    }
}
