//! Which endpoint of a backend is called.
//!
//! Nothing here allocates. Endpoints are numbers, from 0, of those that the caller holds.

mod ewma;

pub use ewma::{AtomicEwma, COST_DEFAULT, COST_MIN, Ewma, HALF_LIFE};

/// How much is waiting at an endpoint: the seconds that a request there takes, times the requests
/// that would be under way with one more.
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

/// How much lower a load must be to count as lower. Less is chance: without it, of two idle
/// endpoints the one that answered a little sooner last time would get nearly all requests. It is
/// below 2, which is what one request under way makes of an idle endpoint's load.
pub const TOLERANCE: f64 = 1.5;

/// Of two different endpoints that are drawn, the one with the lower load; `None` if none is to be
/// had. Loads that differ by less than [`TOLERANCE`] count as equal.
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
        return Some(lighter(first, Some(second)));
    }
    // What a draw leaves over once its place is known is again evenly spread over `0.0..1.0`, and
    // says nothing about the place: so it can decide among those that may be called.
    let usable = |but: Option<usize>| (0..count).filter(move |index| Some(*index) != but);
    let nth = |rest: f64, but: Option<usize>| {
        let (wanted, _) = place(rest, usable(but).filter_map(of).count())?;
        usable(but).filter_map(of).nth(wanted)
    };
    let first = of(first).or_else(|| nth(rest_a, None))?;
    Some(lighter(first, nth(rest_b, Some(first.0))))
}

fn lighter(first: (usize, Load), second: Option<(usize, Load)>) -> Picked {
    let (chosen, over) = match second {
        Some(second) if second.1.0 * TOLERANCE < first.1.0 => (second, Some(first)),
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
