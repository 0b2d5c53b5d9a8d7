//! Whether a request is tried again.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::reader::{At, check_unique, fields};

/// Whether a request is tried again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retry {
    /// How often at most, the first attempt not counted; 0 means never. Default: 1.
    pub attempts: u32,
    /// Below what the random wait before the first retry is; it doubles with each. Absent: default.
    pub backoff: Option<Duration>,
    /// The statuses, from 400 to 599, after which it is tried again.
    pub codes: BTreeSet<u16>,
}

/// More attempts than this help nobody: the retry budget would stop them.
const ATTEMPTS_MAX: u32 = 100;
/// As many as there are statuses.
const CODES_MAX: usize = 200;

/// Source: GEP-1731. Without a back-off between attempts a route is refused.
pub(crate) fn read(at: &At<'_>) -> Option<Retry> {
    let object = at.object(fields(&["attempts", "backoff", "codes"]))?;
    let attempts = object.or("attempts", 1, |at| at.number(0, ATTEMPTS_MAX));
    let backoff = object.maybe("backoff", At::positive_duration);
    let codes = object.or("codes", Vec::new(), read_codes);
    if attempts == Some(0) {
        for at in ["backoff", "codes"].into_iter().filter_map(|field| object.field(field)) {
            at.warning("no effect: attempts is 0, so that nothing is tried again");
        }
    }
    Some(Retry { attempts: attempts?, backoff: backoff?, codes: codes?.into_iter().collect() })
}

fn read_codes(at: &At<'_>) -> Option<Vec<u16>> {
    let codes: Vec<u16> = at.list(CODES_MAX, |at| at.number(400, 599))?;
    let placed = at.items(CODES_MAX)?.into_iter().zip(&codes);
    check_unique(placed, |code, first| format!("{code} is already listed as {first}"));
    Some(codes)
}

#[cfg(test)]
mod tests;
