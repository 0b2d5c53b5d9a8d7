//! How much of the traffic to a backend may be retries.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weft_model::RetryBudget;

/// How long requests and retries are remembered, in seconds.
///
/// Long enough for the share to mean something with little traffic, short enough for the requests
/// of a good time not to pay for the retries of a bad one.
pub const WINDOW_SECONDS: u32 = 10;

/// Slots for the whole seconds of the window, the one that has just begun included.
const SLOTS: u32 = WINDOW_SECONDS;

/// The requests that a client proxy sent to a backend lately, and how many of them again.
///
/// A retry is allowed if, with it, the retries of the window are at most the policy's share of its
/// first attempts, or those of the current second are at most what the policy allows per second in
/// any case. Threads share it; it never blocks. Two retries that are asked for in the very same
/// moment may both get the last place: as many are too many as there are threads, less one.
///
/// Source: the window and the guaranteed rate are those of Finagle's `RetryBudget`. Different here:
/// what a second leaves of the guaranteed rate is not saved up for the next, so that there is no
/// burst after a quiet time. Envoy's budget, a share of the requests that are under way, was not
/// taken: of fast requests so few are under way at once that the share is mostly none.
#[derive(Debug, Default)]
pub struct Budget {
    slots: [AtomicU64; SLOTS as usize],
}

/// What was counted in one second. Kept in 64 bits: 20 for the second, modulo 12 days; 22 for each
/// number, beyond which nothing more is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    second: u32,
    requests: u32,
    retries: u32,
}

const SECOND_MASK: u32 = (1 << 20) - 1;
const COUNT_MAX: u32 = (1 << 22) - 1;

impl Budget {
    /// Counts a request, the first attempt of it. `now` is the time since a common start.
    pub fn request(&self, now: Duration) {
        self.count(now, |slot| Slot { requests: (slot.requests + 1).min(COUNT_MAX), ..slot });
    }

    /// Whether a retry would be allowed. It is not counted.
    pub fn has_room(&self, policy: &RetryBudget, now: Duration) -> bool {
        let second = second(now);
        let (mut requests, mut retries, mut retries_now) = (0u64, 0u64, 0u64);
        for slot in &self.slots {
            let slot = Slot::from_bits(slot.load(Ordering::Relaxed));
            if second.wrapping_sub(slot.second) & SECOND_MASK < WINDOW_SECONDS {
                requests += u64::from(slot.requests);
                retries += u64::from(slot.retries);
            }
            if slot.second == second {
                retries_now += u64::from(slot.retries);
            }
        }
        let is_within_share = (retries + 1) * 100 <= requests * u64::from(policy.percent.get());
        is_within_share || retries_now < u64::from(policy.per_second_min)
    }

    /// Counts a retry if it is allowed, and says whether it is.
    pub fn retry(&self, policy: &RetryBudget, now: Duration) -> bool {
        let has_room = self.has_room(policy, now);
        if has_room {
            self.count(now, |slot| Slot { retries: (slot.retries + 1).min(COUNT_MAX), ..slot });
        }
        has_room
    }

    fn count(&self, now: Duration, counted: impl Fn(Slot) -> Slot) {
        let second = second(now);
        let place = now.as_secs() % u64::from(SLOTS);
        let next = |bits| {
            let found = Slot::from_bits(bits);
            let slot =
                if found.second == second { found } else { Slot { second, ..Slot::default() } };
            Some(counted(slot).to_bits())
        };
        let place = usize::try_from(place).expect("it is less than the number of slots");
        // It cannot fail, as there is always a next value.
        let _ = self.slots[place].fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

impl Slot {
    fn to_bits(self) -> u64 {
        let Slot { second, requests, retries } = self;
        u64::from(second) << 44 | u64::from(requests) << 22 | u64::from(retries)
    }

    fn from_bits(bits: u64) -> Slot {
        let part = |shift: u32, most: u32| {
            u32::try_from(bits >> shift & u64::from(most)).expect("it is masked")
        };
        Slot {
            second: part(44, SECOND_MASK),
            requests: part(22, COUNT_MAX),
            retries: part(0, COUNT_MAX),
        }
    }
}

/// The second that `now` is in, modulo 2^20.
fn second(now: Duration) -> u32 {
    u32::try_from(now.as_secs() & u64::from(SECOND_MASK)).expect("it is masked")
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use weft_model::Percent;

    use super::*;

    fn policy(percent: u8, per_second_min: u32) -> RetryBudget {
        RetryBudget { percent: Percent::new(percent).unwrap(), per_second_min }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// How many of many retries are allowed.
    fn allowed(budget: &Budget, policy: &RetryBudget, now: Duration) -> usize {
        (0..1000).filter(|_| budget.retry(policy, now)).count()
    }

    #[test]
    fn retries_are_a_share_of_the_requests_of_the_window() {
        let budget = Budget::default();
        for number in 0..100 {
            budget.request(seconds(number / 10));
        }
        assert!(budget.has_room(&policy(20, 0), seconds(9)));
        assert_eq!(allowed(&budget, &policy(20, 0), seconds(9)), 20);
        assert!(!budget.has_room(&policy(20, 0), seconds(9)));
        // The requests are forgotten, and then the retries.
        assert_eq!(allowed(&budget, &policy(90, 0), seconds(14)), 45 - 20);
        assert_eq!(allowed(&budget, &policy(100, 0), seconds(30)), 0);
    }

    #[test]
    fn some_are_allowed_in_any_second() {
        let budget = Budget::default();
        for second in [0, 1, 2, 9, 10, 11, 100] {
            assert_eq!(allowed(&budget, &policy(20, 3), seconds(second)), 3, "{second}");
        }
        assert_eq!(allowed(&budget, &policy(0, 0), seconds(200)), 0);
        budget.request(seconds(200));
        assert_eq!(allowed(&budget, &policy(0, 0), seconds(200)), 0);
        assert_eq!(allowed(&budget, &policy(100, 0), seconds(200)), 1);
    }

    #[test]
    fn numbers_that_are_too_large_are_cut() {
        let slot = Slot { second: SECOND_MASK, requests: COUNT_MAX, retries: COUNT_MAX };
        assert_eq!(Slot::from_bits(slot.to_bits()), slot);
        let budget = Budget::default();
        budget.slots[0].store(Slot { second: 0, ..slot }.to_bits(), Ordering::Relaxed);
        budget.request(Duration::ZERO);
        let found = Slot::from_bits(budget.slots[0].load(Ordering::Relaxed));
        assert_eq!(found, Slot { second: 0, ..slot });
    }

    #[test]
    fn threads_lose_no_request() {
        let budget = Arc::new(Budget::default());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let budget = Arc::clone(&budget);
                std::thread::spawn(move || {
                    (0..1000).for_each(|number| budget.request(seconds(number / 100)));
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(allowed(&budget, &policy(5, 0), seconds(9)), 200);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn a_list_of_all_that_happened_agrees(
            percent in 0..=100u8,
            per_second_min in 0..4u32,
            start in 0..3_000_000u64,
            events in vec((0..4_000u64, any::<bool>()), 1..300),
        ) {
            let (budget, policy) = (Budget::default(), policy(percent, per_second_min));
            let mut seen: VecDeque<(u64, bool)> = VecDeque::new();
            let mut now = seconds(start);
            for (pause, is_retry) in events {
                // Most events come close together.
                now += Duration::from_millis(if pause < 1_000 { pause } else { pause % 7 });
                let second = now.as_secs();
                seen.retain(|(at, _)| second - at < u64::from(WINDOW_SECONDS));
                if !is_retry {
                    budget.request(now);
                    seen.push_back((second, false));
                    continue;
                }
                let retries = seen.iter().filter(|(_, is_retry)| *is_retry).count();
                let requests = seen.len() - retries;
                let in_second = seen.iter().filter(|event| **event == (second, true)).count();
                let expected = (retries + 1) * 100 <= requests * usize::from(percent)
                    || in_second < per_second_min as usize;
                prop_assert_eq!(budget.retry(&policy, now), expected);
                if expected {
                    seen.push_back((second, true));
                }
            }
        }
    }
}
