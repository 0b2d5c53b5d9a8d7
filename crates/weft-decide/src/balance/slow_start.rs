//! How much of its part an endpoint gets that is new, or back.

use std::time::Duration;

/// The least share of its part that an endpoint gets: without requests it does not warm up.
pub const SHARE_MIN: f64 = 0.1;

/// The share of its part that an endpoint gets that may be called since `age`, where it grows to
/// the whole over `window`; evenly, from [`SHARE_MIN`] on.
pub fn share(window: Duration, age: Duration) -> f64 {
    let grown = age.as_secs_f64() / window.as_secs_f64().max(f64::MIN_POSITIVE);
    grown.clamp(SHARE_MIN, 1.0)
}

/// The share that an endpoint must have for one choice, where `most` is the largest of any that is
/// usable. `draw` is drawn by the caller from `0.0..1.0`. So over many choices each takes part as
/// often as its share says, compared with the others, and one at least in each.
pub fn admitted_from(most: f64, draw: f64) -> f64 {
    debug_assert!((0.0..1.0).contains(&draw));
    most * draw
}

/// By how much the numbers of turns grow. Between two is the place of one that is put off.
pub const STEP: u64 = 2;

/// What counts as the last turn of one of `count` endpoints that has just had the turn `turn`,
/// where it has `share` of its part, compared with the one that has most: as if it came as many
/// turns later as all others have more.
///
/// `draw` is drawn by the caller from `0.0..1.0`, and decides about parts of a turn.
pub fn turn(turn: u64, count: usize, share: f64, draw: f64) -> u64 {
    debug_assert!((0.0..1.0).contains(&draw));
    if share >= 1.0 {
        return turn;
    }
    let others = count.saturating_sub(1) as f64;
    let put_off = others * (1.0 / share.max(SHARE_MIN) - 1.0) + draw;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is cut off on purpose, and not negative"
    )]
    let put_off = put_off as u64;
    turn.saturating_add(put_off.saturating_mul(STEP)).saturating_add(STEP / 2)
}

#[cfg(test)]
mod tests;
