//! Which endpoints may be called, by how they fare.

use weft_model::{Health, Percent};

/// How endpoints must fare to be called, the better ones first. Of the unhealthy nobody has heard
/// for a while, which does not prove that they are gone.
const BEST_FIRST: &[&[Health]] = &[&[Health::Healthy], &[Health::Unhealthy]];

/// The same in panic.
const ALL: &[&[Health]] = &[&[Health::Healthy, Health::Unhealthy]];

/// How endpoints must fare to be called, those before the others; each a list of equals. `healths`
/// are those of all endpoints of the backend.
///
/// If less than `threshold` of those that are not about to end are healthy, all of these are
/// called. The few would have the load of all, and fall over it. That so many are gone at once is
/// less likely than that they cannot be heard; and those that are gone cost little, since what they
/// have not processed is sent to another one, and they are left out for a while then.
///
/// Source: Envoy's panic threshold.
pub fn callable(
    healths: impl Iterator<Item = Health>,
    threshold: Percent,
) -> &'static [&'static [Health]] {
    let (mut healthy, mut all) = (0, 0);
    for health in healths {
        healthy += u64::from(health == Health::Healthy);
        all += u64::from(health != Health::Draining);
    }
    match healthy * 100 < all * u64::from(threshold.get()) {
        true => ALL,
        false => BEST_FIRST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_the_threshold_all_are_called() {
        use Health::{Draining, Healthy, Unhealthy};
        let is_panic = |healths: &[Health], threshold| {
            let threshold = Percent::new(threshold).unwrap();
            callable(healths.iter().copied(), threshold) == ALL
        };
        assert!(!is_panic(&[Healthy, Healthy], 50));
        assert!(!is_panic(&[Healthy, Unhealthy], 50), "a half is not less than a half");
        assert!(is_panic(&[Healthy, Unhealthy, Unhealthy], 50));
        assert!(!is_panic(&[Healthy, Unhealthy, Draining, Draining], 50));
        assert!(is_panic(&[Unhealthy, Draining], 50));
        assert!(is_panic(&[Healthy, Healthy, Unhealthy], 100));
        assert!(!is_panic(&[Unhealthy, Unhealthy], 0), "0 is never");
        assert!(!is_panic(&[], 100) && !is_panic(&[Draining], 100));
    }
}
