//! Which endpoint of a backend is called.

/// The endpoint after the one called at turn `turn - 1`, of `count` endpoints.
///
/// `None` if there is no endpoint for which `is_usable` holds.
pub fn round_robin(turn: usize, count: usize, is_usable: impl Fn(usize) -> bool) -> Option<usize> {
    (0..count).map(|step| turn.wrapping_add(step) % count).find(|&index| is_usable(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_and_pass_over_what_is_not_usable() {
        let turns = |usable: &[bool]| -> Vec<_> {
            (0..4).map(|turn| round_robin(turn, usable.len(), |index| usable[index])).collect()
        };
        assert_eq!(turns(&[true, true, true]), [Some(0), Some(1), Some(2), Some(0)]);
        assert_eq!(turns(&[true, false, true]), [Some(0), Some(2), Some(2), Some(0)]);
        assert_eq!(turns(&[false, false]), [None; 4]);
        assert_eq!(turns(&[]), [None; 4]);
        assert_eq!(round_robin(usize::MAX, 3, |_| true), Some(usize::MAX % 3));
    }
}
