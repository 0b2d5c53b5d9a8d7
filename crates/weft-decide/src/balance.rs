//! Which endpoint of a backend is called.
//!
//! Endpoints are numbers, from 0, of those that the caller holds. Choosing one allocates nothing;
//! what the choice by a hash needs is made when the endpoints change.

mod ewma;
mod hash;
mod key;
mod maglev;
mod ring;
pub mod slow_start;
mod table;

pub use ewma::{AtomicEwma, COST_DEFAULT, COST_MIN, Ewma, HALF_LIFE};
pub(crate) use hash::hash;
pub(crate) use key::cookie;
pub use key::{Key, Source, key};
pub use maglev::{Maglev, SLOTS};
pub use ring::{POINTS, POINTS_MAX, Ring};
pub use table::Table;

/// How much is waiting at an endpoint: the requests that would be under way with one more, times
/// the seconds that a request there takes, where these count.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Load(pub f64);

/// An endpoint, and what it was preferred to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picked {
    /// The endpoint.
    pub index: usize,
    /// Its load.
    pub load: Load,
    /// The other one that was drawn, with its load; none if there was only one to be had.
    pub over: Option<(usize, Load)>,
}

/// The endpoint whose turn it is, of `count` endpoints: of the usable ones, the one whose last turn
/// was the earliest. `None` if there is none.
///
/// `last_turn` says the number of an endpoint's last turn, which grows with each turn of any; 0 of
/// one that had none, and `None` of one that is not usable. So of those that are usable at the same
/// times all have equally many turns, also where others take part only now and then, as far ones
/// do; and nobody makes up for turns that it has missed.
pub fn round_robin(count: usize, last_turn: impl Fn(usize) -> Option<u64>) -> Option<usize> {
    let usable = (0..count).filter_map(|index| Some((last_turn(index)?, index)));
    usable.min().map(|(_, index)| index)
}

/// How much lower a load by latency must be to count as lower. Less is chance: without it, of two
/// idle endpoints the one that answered a little sooner last time would get nearly all requests. It
/// is below 2, which is what one request under way makes of an idle endpoint's load.
pub const TOLERANCE: f64 = 1.5;

/// The same for loads that are counts, none of which is chance.
pub const EXACT: f64 = 1.0;

/// Of two different endpoints that are drawn, the one with the lower load; `None` if none is to be
/// had. A load that is not lower by more than the factor `tolerance` counts as equal.
///
/// `load` says `None` of an endpoint that may not be called. `draw_a` and `draw_b` are drawn by the
/// caller from `0.0..1.0`, independently. Each endpoint that may be called is as likely to be drawn
/// as any other, and of equal loads the first drawn wins, so that equals are called equally often.
/// It asks for two loads where all may be called, and else up to four times for each.
///
/// Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
pub fn pick(
    count: usize,
    draw_a: f64,
    draw_b: f64,
    tolerance: f64,
    load: impl Fn(usize) -> Option<Load>,
) -> Option<Picked> {
    debug_assert!((0.0..1.0).contains(&draw_a) && (0.0..1.0).contains(&draw_b));
    let (first, rest_a) = place(draw_a, count)?;
    let drawn = place(draw_b, count - 1);
    let rest_b = drawn.map_or(draw_b, |(_, rest)| rest);
    // All but the first, in order.
    let second = drawn.map(|(index, _)| if index >= first { index + 1 } else { index });
    let of = |index: usize| load(index).map(|load| (index, load));
    if let (Some(first), Some(second)) = (of(first), second.and_then(of)) {
        return Some(lighter(first, Some(second), tolerance));
    }
    let those = |but: Option<usize>| (0..count).filter(move |index| Some(*index) != but);
    let first = of(first).or_else(|| one_of(rest_a, || those(None).filter_map(of)))?;
    let second = one_of(rest_b, || those(Some(first.0)).filter_map(of));
    Some(lighter(first, second, tolerance))
}

/// One endpoint, each of those that are usable with the same probability; `None` if there is none.
/// `draw` is drawn by the caller from `0.0..1.0`.
pub fn random(count: usize, draw: f64, is_usable: impl Fn(usize) -> bool) -> Option<usize> {
    debug_assert!((0.0..1.0).contains(&draw));
    let (drawn, rest) = place(draw, count)?;
    if is_usable(drawn) {
        return Some(drawn);
    }
    one_of(rest, || (0..count).filter(|index| is_usable(*index)))
}

/// One of `all`, by what a draw leaves over once its place is known: that is again evenly spread
/// over `0.0..1.0`, and says nothing about the place.
fn one_of<T, I: Iterator<Item = T>>(rest: f64, all: impl Fn() -> I) -> Option<T> {
    let (wanted, _) = place(rest, all().count())?;
    all().nth(wanted)
}

fn lighter(first: (usize, Load), second: Option<(usize, Load)>, tolerance: f64) -> Picked {
    let (chosen, over) = match second {
        Some(second) if second.1.0 * tolerance < first.1.0 => (second, Some(first)),
        _ => (first, second),
    };
    Picked { index: chosen.0, load: chosen.1, over }
}

/// In which of `count` equal parts of `0.0..1.0` the draw is, and where in that part, from 0 to 1.
fn place(draw: f64, count: usize) -> Option<(usize, f64)> {
    let last = count.checked_sub(1)?;
    let scaled = draw * count as f64;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is cut off on purpose, and not negative"
    )]
    let index = (scaled as usize).min(last);
    Some((index, (scaled - index as f64).clamp(0.0, 1.0 - f64::EPSILON)))
}

#[cfg(test)]
mod tests;
